//! Spans of `tracing`: what is made inside a span runs inside it, and each connection has its own.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use support::{HERE, Log, MS, subscribe, until};
use torsade::net::datagram::{DatagramPort, DatagramProtocol};
use torsade::process::{Command, Process, ProcessProtocol};
use torsade::scope::scope;
use torsade::{
    Address, Clock, Context, Deferred, Failure, Protocol, Transport, fail, spawn, testing,
    yield_now,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber, info_span};
use tracing_core::span::Current;

/// A subscriber that knows in which span each thread is, and what the spans' fields are.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    made: Vec<(&'static Metadata<'static>, String)>,
    entered: Vec<(std::thread::ThreadId, u64)>,
    /// What the targets of spans contain.
    only: &'static str,
    /// How many handles there are, of all spans.
    handles: usize,
}

impl Spans {
    /// Installs a subscriber on this thread.
    fn install() -> (Self, tracing::subscriber::DefaultGuard) {
        let spans = Self::default();
        (spans.clone(), subscribe(spans))
    }

    /// Makes a subscriber for the spans whose target contains a word.
    fn only(word: &'static str) -> Self {
        let spans = Self::default();
        spans.0.lock().unwrap().only = word;
        spans
    }

    fn handles(&self) -> usize {
        self.0.lock().unwrap().handles
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().contains(self.0.lock().unwrap().only)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut text));
        let mut known = self.0.lock().unwrap();
        known.made.push((span.metadata(), text));
        known.handles += 1;
        Id::from_u64(known.made.len() as u64)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        let entered = (std::thread::current().id(), span.into_u64());
        self.0.lock().unwrap().entered.push(entered);
    }

    fn exit(&self, span: &Id) {
        let left = (std::thread::current().id(), span.into_u64());
        let mut known = self.0.lock().unwrap();
        let at = known.entered.iter().rposition(|entered| *entered == left);
        let at = at.expect("it was entered");
        known.entered.remove(at);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.0.lock().unwrap().handles += 1;
        span.clone()
    }

    fn try_close(&self, _span: Id) -> bool {
        self.0.lock().unwrap().handles -= 1;
        false
    }

    fn current_span(&self) -> Current {
        let here = std::thread::current().id();
        let known = self.0.lock().unwrap();
        let mut entered = known.entered.iter().rev();
        match entered.find(|(thread, _)| *thread == here) {
            Some((_, number)) => {
                let (metadata, _) = known.made[*number as usize - 1];
                Current::new(Id::from_u64(*number), metadata)
            }
            None => Current::none(),
        }
    }
}

/// Returns the name and the fields of the span of the calling code.
fn here() -> String {
    let current = Span::current();
    let text = current.with_subscriber(|(id, dispatch)| {
        let spans = dispatch.downcast_ref::<Spans>().unwrap();
        spans.0.lock().unwrap().made[id.into_u64() as usize - 1]
            .1
            .clone()
    });
    text.unwrap_or_default()
}

/// Notes the span of each of its hooks.
#[derive(Clone, Default)]
struct Notes(Log, Rc<Cell<Option<Transport>>>);

impl Protocol for Notes {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.1.set(Some(cx.transport().clone()));
        self.0.note(format!("made in {}", here()));
        cx.call_later(MS, |notes, _cx| {
            notes.0.note(format!("timer in {}", here()))
        });
        let handle = cx.handle();
        cx.reactor().call_later(MS, move || {
            handle.post(|notes, _cx| notes.0.note(format!("post in {}", here())));
        });
        cx.when(Deferred::succeed(1), |notes, _cx, _one| {
            notes.0.note(format!("result in {}", here()));
        });
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0.note(format!("data in {}", here()));
        let log = self.0.clone();
        spawn(async move {
            yield_now().await;
            log.note(format!("task in {}", here()));
        })
        .detach();
        if data == b"panic" {
            panic!("it panics");
        }
        cx.write(data);
    }

    fn connection_lost(&mut self, _reason: Failure) {
        self.0.note(format!("lost in {}", here()));
    }
}

/// Notes the span of each of its hooks.
struct Datagrams(Log);

impl DatagramProtocol for Datagrams {
    fn started(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        self.0.note(format!("started in {}", here()));
        cx.call_later(MS, |me, _cx| me.0.note(format!("timer in {}", here())));
        let handle = cx.handle();
        cx.reactor().call_later(MS, move || {
            handle.post(|me, _cx| me.0.note(format!("post in {}", here())));
        });
    }

    fn datagram_received(
        &mut self,
        _cx: &mut Context<'_, Self, DatagramPort>,
        _data: &[u8],
        _from: Address,
    ) {
        self.0.note(format!("data in {}", here()));
    }

    fn stopped(&mut self) {
        self.0.note(format!("stopped in {}", here()));
    }
}

/// Notes the span of each of its hooks.
struct Says(Log);

impl Says {
    fn note(&self, hook: &str) {
        self.0.note(format!("{hook} in {}", here()));
    }
}

impl ProcessProtocol for Says {
    fn connection_made(&mut self, cx: &mut Context<'_, Self, Process>) {
        self.note("made");
        cx.handle().post(|me, _cx| me.note("post"));
    }

    fn child_data_received(
        &mut self,
        _cx: &mut Context<'_, Self, Process>,
        _fd: i32,
        _data: &[u8],
    ) {
        self.note("data");
    }

    fn child_connection_lost(&mut self, _cx: &mut Context<'_, Self, Process>, _fd: i32) {
        self.note("lost");
    }

    fn process_exited(
        &mut self,
        _cx: &mut Context<'_, Self, Process>,
        _exited: Result<ExitStatus, Failure>,
    ) {
        self.note("exited");
    }

    fn process_ended(&mut self, _ended: Result<ExitStatus, Failure>) {
        self.note("ended");
    }
}

on_both! {
    async fn a_task_keeps_the_span_it_was_spawned_in(reactor) {
        let (spans, _guard) = Spans::install();
        let seen = info_span!("request", number = 7).in_scope(|| {
            reactor.spawn(async {
                let first = here();
                yield_now().await;
                let inner = spawn(async { here() }).await.unwrap();
                let named = torsade::task::spawn_named("it", async { here() }).await.unwrap();
                [first, here(), inner, named]
            })
        });
        let plain = reactor.spawn(async { here() });
        assert_eq!(here(), "", "only the task is in it");
        assert_eq!(seen.await?, ["request number=7"; 4]);
        assert_eq!(plain.await?, "");
        assert_eq!(spans.handles(), 0, "no task is left, and no handle");
    }

    async fn children_of_a_scope_keep_it_too(_reactor) {
        let (_spans, _guard) = Spans::install();
        let seen = scope(async |scope| {
            let child = info_span!("part").in_scope(|| {
                scope.spawn(async {
                    yield_now().await;
                    Ok(here())
                })
            });
            assert_eq!(here(), "");
            child.await
        });
        assert_eq!(seen.await?, "part");
    }

    async fn a_timer_and_a_call_run_in_the_span_they_were_made_in(reactor) {
        let (spans, _guard) = Spans::install();
        let log = Log::new();
        let notes = |what: &'static str| {
            let log = log.clone();
            move || log.note(format!("{what} in {}", here()))
        };
        let (call, timer, plain) = (notes("call"), notes("timer"), notes("plain"));
        info_span!("outer").in_scope(|| {
            reactor.call_soon(call);
            reactor.call_later(MS, timer);
            reactor.call_later(3600 * 1000 * MS, || ()).cancel();
        });
        reactor.call_later(2 * MS, plain);
        reactor.sleep(3 * MS).await?;
        until(|| log.all().len() >= 3).await;
        // On a busy machine the first timer is due in the same turn as the call.
        let mut all = log.take();
        all.sort();
        assert_eq!(all, ["call in outer", "plain in ", "timer in outer"]);
        assert_eq!(spans.handles(), 0);
    }

    async fn a_trigger_runs_in_the_span_it_was_added_in(reactor) {
        let (_spans, _guard) = Spans::install();
        let log = Log::new();
        let notes = log.clone();
        info_span!("outer").in_scope(|| {
            reactor.add_system_event_trigger(torsade::Phase::During, "own", move || {
                notes.note(here());
            });
        });
        reactor.fire_system_event("own");
        assert_eq!(log.take(), ["outer"]);
    }

    async fn a_looping_call_stays_in_the_span_it_was_started_in(reactor) {
        let (_spans, _guard) = Spans::install();
        let log = Log::new();
        let looping = {
            let log = log.clone();
            torsade::LoopingCall::new(move || log.note(here()))
        };
        let (looping, running) = info_span!("outer").in_scope(|| looping.start(&reactor, MS));
        let mut all = Vec::new();
        while all.len() < 3 {
            reactor.sleep(MS).await?;
            all.extend(log.take());
        }
        looping.stop();
        running.await?;
        assert!(all.iter().all(|name| name == "outer"), "{all:?}");
    }

    async fn a_callback_runs_in_the_span_it_was_added_in(_reactor) {
        let (spans, _guard) = Spans::install();
        let (deferred, resolver) = Deferred::<u32>::pair();
        let log = Log::new();
        let (one, two, three) = (log.clone(), log.clone(), log.clone());
        let deferred = deferred.add_callback(move |_| one.note(format!("plain in {}", here())));
        let deferred = info_span!("outer").in_scope(|| {
            let deferred = deferred.add_callback(move |()| {
                two.note(format!("callback in {}", here()));
                Err::<u32, _>(Failure::new("no"))
            });
            deferred.add_errback(async move |_failure| {
                yield_now().await;
                three.note(format!("errback in {}", here()));
                Ok(1)
            })
        });
        info_span!("firing").in_scope(|| resolver.callback(1));
        assert_eq!(deferred.await?, 1);
        assert_eq!(log.take(), ["plain in firing", "callback in outer", "errback in outer"]);
        assert_eq!(spans.handles(), 0);
    }

    async fn work_for_a_thread_and_for_the_loop_keeps_its_span(reactor) {
        let (_spans, _guard) = Spans::install();
        let spans = tracing::dispatcher::get_default(Clone::clone);
        let work = info_span!("outer").in_scope(|| {
            reactor.spawn_blocking(move || tracing::dispatcher::with_default(&spans, || Ok(here())))
        });
        assert_eq!(work.await?, "outer");
        let (deferred, resolver) = Deferred::pair();
        let resolver = torsade_resolver(resolver);
        info_span!("outer").in_scope(|| {
            reactor.remote().call(move || resolver(here()))
        })?;
        assert_eq!(deferred.await?, "outer");
    }

    async fn all_hooks_of_a_connection_run_in_a_span_of_its_own(reactor) {
        let (spans, _guard) = Spans::install();
        let notes = Notes::default();
        let building = notes.clone();
        let port = reactor.listen(HERE, move |_peer| building.clone())?;
        let mut client = reactor.connect_stream(port.local_addr()).await?;
        client.write_all(b"x").await?;
        client.read_exact(&mut [0]).await?;
        reactor.sleep(3 * MS).await?;
        let log = &notes.0;
        until(|| log.all().len() >= 6).await;
        let span = format!("connection peer={} endpoint={}", client.local_addr()?, port.local_addr());
        drop(client);
        until(|| log.has(&format!("lost in {span}"))).await;
        let mut all = log.take();
        all.sort();
        let expected = ["data", "lost", "made", "post", "result", "task", "timer"];
        assert_eq!(all, expected.map(|hook| format!("{hook} in {span}")));
        port.stop().await?;
        assert_eq!(spans.handles(), 0);
    }

    async fn all_hooks_of_a_datagram_port_run_in_a_span_of_its_own(reactor) {
        let (spans, _guard) = Spans::install();
        let log = Log::new();
        let port = reactor.listen_datagram(HERE, Datagrams(log.clone()))?;
        let sender = reactor.bind_datagram(HERE)?;
        sender.send_to(b"x", port.local_addr()).await?;
        reactor.sleep(3 * MS).await?;
        until(|| log.all().len() >= 4).await;
        let span = format!("datagrams endpoint={}", port.local_addr());
        port.stop().await?;
        let mut all = log.take();
        all.sort();
        let expected = ["data", "post", "started", "stopped", "timer"];
        assert_eq!(all, expected.map(|hook| format!("{hook} in {span}")));
        drop(port);
        assert_eq!(spans.handles(), 0);
    }

    async fn all_hooks_of_a_process_run_in_a_span_of_its_own(reactor) {
        let (spans, _guard) = Spans::install();
        let log = Log::new();
        let (command, name) = match testing::Programs::new(&reactor) {
            Ok(programs) => {
                programs.add("say", async |mut actor| {
                    actor.take_stdout()?.write_all(b"x").await?;
                    Ok(0)
                });
                (Command::new("say"), "say")
            }
            Err(_) => (Command::new("sh").args(["-c", "echo x"]), "sh"),
        };
        let handle = command.spawn_protocol(&reactor, Says(log.clone()))?;
        let pid = handle.transport().and_then(|process| process.pid()).unwrap();
        handle.closed().await?;
        let span = format!("process program={name} pid={pid}");
        let mut all = log.take();
        all.sort();
        all.dedup();
        let expected = ["data", "ended", "exited", "lost", "made", "post"];
        assert_eq!(all, expected.map(|hook| format!("{hook} in {span}")));
        drop(handle);
        until(|| spans.handles() == 0).await;
    }

    async fn two_connections_have_two_spans(reactor) {
        let (spans, _guard) = Spans::install();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let sees = seen.clone();
        let port = reactor.serve(HERE, async move |mut conn| {
            let before = Span::current().id();
            conn.read_exact(&mut [0]).await?;
            assert_eq!(Span::current().id(), before);
            assert!(here().starts_with("connection peer="), "{}", here());
            sees.borrow_mut().push(before);
            Ok(())
        })?;
        let mut one = reactor.connect_stream(port.local_addr()).await?;
        let mut two = reactor.connect_stream(port.local_addr()).await?;
        two.write_all(b"x").await?;
        one.write_all(b"x").await?;
        until(|| seen.borrow().len() == 2).await;
        assert_ne!(seen.borrow()[0], seen.borrow()[1]);
        drop((one, two));
        port.stop().await?;
        yield_now().await;
        assert!(spans.handles() <= 1, "the last task's, at most: {}", spans.handles());
    }

    async fn failures_are_reported_in_the_span_of_their_task_or_connection(reactor) {
        let (_spans, _guard) = Spans::install();
        let log = Log::new();
        let notes = log.clone();
        testing::expect_panics(&reactor);
        reactor.on_report(move |report| notes.note(format!("{} in {}", report.failure(), here())));
        info_span!("outer").in_scope(|| {
            spawn(async { Err::<(), _>(fail!("task")) }).detach();
            spawn(async { Err::<(), _>(std::io::Error::other("error")) }).detach();
            reactor.call_soon(|| panic!("call"));
        });
        spawn(async { Err::<(), _>(fail!("plain")) }).detach();
        until(|| log.has("plain in ")).await;
        let all = log.take();
        assert_eq!(all[0], "task in outer");
        assert_eq!(all[1], "error in outer");
        assert!(all[2].contains("call") && all[2].ends_with("in outer"), "{}", all[2]);
        let (deferred, resolver) = Deferred::<u32>::pair();
        let add = || deferred.add_callback(|_| Err::<u32, _>(fail!("callback")));
        drop(info_span!("outer").in_scope(add));
        resolver.callback(1);
        assert_eq!(log.take(), ["callback in outer"]);

        let serving = reactor.serve(HERE, async move |_conn| Err(fail!("handler")))?;
        let client = reactor.connect_stream(serving.local_addr()).await?;
        until(|| !log.is_empty()).await;
        assert!(log.all()[0].starts_with("handler in connection peer="), "{:?}", log.all());
        drop(client);
        serving.stop().await?;
        log.take();

        let listening = reactor.listen(HERE, |_peer| Notes::default())?;
        let mut client = reactor.connect_stream(listening.local_addr()).await?;
        client.write_all(b"panic").await?;
        until(|| !log.is_empty()).await;
        assert!(log.all()[0].contains("it panics in connection peer="), "{:?}", log.all());
        reactor.sleep(3 * MS).await?;
        drop(client);
        listening.stop().await?;
        testing::take_reports(&reactor);
    }

    async fn a_connection_keeps_its_span_when_it_gets_another_handler(reactor) {
        let (_spans, _guard) = Spans::install();
        let (notes, before) = (Notes::default(), Rc::new(RefCell::new(String::new())));
        let (next, first) = (notes.clone(), before.clone());
        let port = reactor.serve(HERE, async move |conn| {
            *first.borrow_mut() = here();
            conn.become_protocol(next.clone()).await?;
            Ok(())
        })?;
        let mut client = reactor.connect_stream(port.local_addr()).await?;
        client.write_all(b"x").await?;
        client.read_exact(&mut [0]).await?;
        assert!(notes.0.has(&format!("data in {}", before.borrow())), "{:?}", notes.0.all());
        reactor.sleep(3 * MS).await?;
        drop(client);
        until(|| notes.0.has(&format!("lost in {}", before.borrow()))).await;
        port.stop().await?;
    }

    async fn a_subscriber_without_interest_in_connections_makes_no_span_of_them(reactor) {
        let spans = Spans::only("reactor");
        let _guard = subscribe(spans.clone());
        let notes = Notes::default();
        let building = notes.clone();
        let port = reactor.listen(HERE, move |_peer| building.clone())?;
        let mut client = reactor.connect_stream(port.local_addr()).await?;
        client.write_all(b"x").await?;
        client.read_exact(&mut [0]).await?;
        reactor.sleep(3 * MS).await?;
        drop(client);
        until(|| notes.0.has("lost in ")).await;
        assert_eq!(spans.0.lock().unwrap().made.len(), 0);
        let seen = info_span!("own").in_scope(|| spawn(async { here() }));
        assert_eq!(seen.await?, "own");
        port.stop().await?;
    }

    async fn without_a_span_nothing_is_kept(reactor) {
        let (spans, _guard) = Spans::install();
        spawn(async { assert!(Span::current().is_none()) }).await?;
        reactor.sleep(MS).await?;
        let (deferred, resolver) = Deferred::<u32>::pair();
        let deferred = deferred.map(|n| (n, here()));
        resolver.callback(1);
        assert_eq!(deferred.await?, (1, String::new()));
        assert_eq!(spans.0.lock().unwrap().made.len(), 0);
    }
}

/// Makes a closure for the loop's thread that may be created on it, too.
fn torsade_resolver(resolver: torsade::Resolver<String>) -> impl FnOnce(String) + Send {
    let resolver = torsade::task::SendWrapper::new(resolver);
    move |text| resolver.take().callback(text)
}
