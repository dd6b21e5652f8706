//! The watchdog sees user code of every kind: whatever blocks the loop is named by the line that
//! registered it.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io::Write;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use torsade::reactor::Interest;

use support::{HERE, MS, until};
use torsade::locks::DeferredLock;

use torsade::net::{ClientFactory, Connector, NameResolver};
#[cfg(unix)]
use torsade::process::{Command, Process, ProcessProtocol};
use torsade::reactor::Blocked;
use torsade::scope::scope;
use torsade::services::{ClientService, MultiService, PortService, Service, TimerService};
use torsade::transport::{Flow, Producer};
use torsade::{
    Address, Clock, Context, Cooperator, DatagramPort, DatagramProtocol, Deferred, Factory,
    Failure, LoopingCall, Phase, Protocol, Reactor, Transport, defer, defer_later, spawn,
    yield_now,
};
#[cfg(unix)]
use torsade::{Descriptor, Watch};

/// Keeps the thread busy.
fn block() {
    let until = Instant::now() + BUSY;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A type with all hooks: it blocks in one of them, and echoes.
struct Slow(&'static str);

impl Slow {
    fn at(&self, hook: &str) {
        if self.0 == hook {
            block();
        }
    }
}

impl Protocol for Slow {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.at("connection_made");
        if self.0 == "write_ready" {
            cx.write(vec![0; 1 << 20]);
        } else if self.0 != "nothing" {
            cx.write("x");
        }
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.at("data_received");
        if self.0 == "nothing" {
            cx.write(data);
        } else {
            cx.lose_connection();
        }
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.at("eof_received");
        cx.lose_connection();
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        self.at("write_ready");
        cx.lose_connection();
    }

    fn connection_lost(&mut self, _reason: Failure) {
        self.at("connection_lost");
    }
}

impl Factory for Slow {
    type Protocol = Self;

    fn build_protocol(&mut self, _peer: Address) -> Option<Self> {
        self.at("build_protocol");
        Some(Self("nothing"))
    }

    fn started(&mut self) {
        self.at("started");
    }

    fn stopped(&mut self) {
        self.at("stopped");
    }
}

impl ClientFactory for Slow {
    type Protocol = Self;

    fn build_protocol(&mut self, _peer: Address) -> Option<Self> {
        self.at("build_protocol");
        Some(Self("some"))
    }

    fn started_connecting(&mut self, _connector: &Connector) {
        self.at("started_connecting");
    }

    fn connection_failed(&mut self, _connector: &Connector, _reason: Failure) {
        self.at("connection_failed");
    }

    fn connection_lost(&mut self, _connector: &Connector, _reason: Failure) {
        self.at("connection_lost");
    }

    fn started(&mut self) {
        self.at("started");
    }

    fn stopped(&mut self) {
        self.at("stopped");
    }
}

impl Producer for Slow {
    fn resume_producing(&mut self, consumer: &Transport) {
        self.at("resume_producing");
        consumer.write(vec![0; 1 << 20]);
    }

    fn pause_producing(&mut self) {
        self.at("pause_producing");
    }

    fn stop_producing(&mut self) {
        self.at("stop_producing");
    }
}

impl DatagramProtocol for Slow {
    fn started(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        self.at("started");
        let _ = cx.write("x", cx.local_addr());
    }

    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        _data: &[u8],
        _from: Address,
    ) {
        self.at("datagram_received");
        drop(cx.stop());
    }

    fn stopped(&mut self) {
        self.at("stopped");
    }
}

impl Service for Slow {
    fn start(&self) -> Result<(), Failure> {
        self.at("start");
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        self.at("stop");
        Deferred::succeed(())
    }

    fn is_running(&self) -> bool {
        true
    }
}

impl NameResolver for Slow {
    fn resolve(&self, _reactor: &Reactor, _host: &str, _port: u16) -> Deferred<Vec<SocketAddr>> {
        block();
        Deferred::fail(Failure::new("no such name"))
    }
}

#[cfg(unix)]
impl ProcessProtocol for Slow {
    fn connection_made(&mut self, _cx: &mut Context<'_, Self, Process>) {
        self.at("connection_made");
    }

    fn out_received(&mut self, _cx: &mut Context<'_, Self, Process>, _data: &[u8]) {
        self.at("out_received");
    }

    fn out_connection_lost(&mut self, _cx: &mut Context<'_, Self, Process>) {
        self.at("out_connection_lost");
    }

    fn process_exited(
        &mut self,
        _cx: &mut Context<'_, Self, Process>,
        _exited: Result<std::process::ExitStatus, Failure>,
    ) {
        self.at("process_exited");
    }

    fn process_ended(&mut self, _ended: Result<std::process::ExitStatus, Failure>) {
        self.at("process_ended");
    }
}

/// A descriptor with hooks.
#[cfg(unix)]
struct Ear(UnixStream, Slow);

#[cfg(unix)]
impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(unix)]
impl Descriptor for Ear {
    fn do_read(&mut self, watch: &Watch<Self>) -> std::io::Result<()> {
        self.1.at("do_read");
        watch.remove_reader();
        Ok(())
    }

    fn do_write(&mut self, _watch: &Watch<Self>) -> std::io::Result<()> {
        self.1.at("do_write");
        Err(std::io::Error::other("enough"))
    }

    fn connection_lost(&mut self, _reason: &Failure) {
        self.1.at("connection_lost");
    }
}

/// A value whose destructor takes its time.
struct SlowDrop;

impl Drop for SlowDrop {
    fn drop(&mut self) {
        block();
    }
}

type Kind = (
    &'static str,
    fn(Reactor) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>>,
);

/// Kinds of user code.
macro_rules! kinds {
    ($($name:literal: $body:expr,)+) => {
        vec![$({
            let kind: Kind = ($name, |reactor| Box::pin($body(reactor)));
            kind
        }),+]
    };
}

fn of_the_loop() -> Vec<Kind> {
    kinds! {
        "a task": async |reactor: Reactor| {
            reactor.spawn(async { block() }).await
        },
        "a named task": async |_reactor: Reactor| {
            torsade::task::spawn_named("slow", async { block() }).await
        },
        "call_soon": async |reactor: Reactor| {
            reactor.call_soon(block);
            yield_now().await;
            Ok(())
        },
        "call_later": async |reactor: Reactor| {
            reactor.call_later(MS, block);
            reactor.sleep(MS * 2).await
        },
        "Remote::call": async |reactor: Reactor| {
            reactor.remote().call(block)?;
            yield_now().await;
            Ok(())
        },
        "Remote::spawn": async |reactor: Reactor| {
            reactor.remote().spawn(|| async { block() })?.await
        },
        "Remote::blocking_call": async |reactor: Reactor| {
            let remote = reactor.remote();
            reactor.spawn_blocking(move || remote.blocking_call(|| { block(); Ok(()) })).await
        },
        "a trigger": async |reactor: Reactor| {
            reactor.add_system_event_trigger(Phase::During, "mine", block);
            reactor.fire_system_event("mine");
            Ok(())
        },
        "a shutdown trigger": async |reactor: Reactor| {
            reactor.add_system_event_trigger(Phase::Before, "shutdown", block);
            Ok(())
        },
        "a callback": async |_reactor: Reactor| {
            Deferred::succeed(()).map(|()| block()).await
        },
        "an errback": async |_reactor: Reactor| {
            Deferred::<()>::fail(Failure::new("no")).add_errback(|_| { block(); Ok(()) }).await
        },
        "an async callback": async |_reactor: Reactor| {
            Deferred::succeed(()).add_callback(async |()| { yield_now().await; block(); Ok(()) }).await
        },
        "a canceller": async |_reactor: Reactor| {
            let (deferred, resolver) = Deferred::<()>::pair();
            let deferred = deferred.on_cancel(block);
            deferred.cancel();
            drop((deferred.add_both(drop), resolver));
            Ok(())
        },
        "a future that became a Deferred": async |_reactor: Reactor| {
            Deferred::from_future(async { yield_now().await; block(); Ok(()) }).await
        },
        "execute": async |_reactor: Reactor| {
            defer::execute(|| { block(); Ok(()) }).await
        },
        "defer_later": async |reactor: Reactor| {
            defer_later(&reactor, MS, block).await
        },
        "a looping call": async |reactor: Reactor| {
            let (looping, _done) = LoopingCall::new(block).start_later(&reactor, MS);
            reactor.sleep(MS * 2).await?;
            looping.stop();
            Ok(())
        },
        "cooperative work": async |reactor: Reactor| {
            Cooperator::new(&reactor).cooperate((0..1).map(|_| block())).when_done().await
        },
        "a child of a scope": async |_reactor: Reactor| {
            scope(async |s| { s.spawn(async { block(); Ok(()) }).await }).await
        },
        "the body of a scope": async |_reactor: Reactor| {
            scope(async |_| { block(); Ok(()) }).await
        },
        "work with a lock": async |_reactor: Reactor| {
            DeferredLock::new(()).run(|()| block()).await
        },
        "the result of a thread": async |reactor: Reactor| {
            reactor.spawn_blocking(|| Ok(())).map(|()| block()).await
        },
        "a hook for reports": async |reactor: Reactor| {
            reactor.on_report(|_| block());
            drop(Deferred::<()>::fail(Failure::new("unhandled")));
            Ok(())
        },
        "a destructor": async |reactor: Reactor| {
            let slow = SlowDrop;
            let call = reactor.call_later(MS * 1000, move || drop(slow));
            spawn(async move { call.cancel(); }).await
        },
        "a task that is dropped": async |reactor: Reactor| {
            let slow = SlowDrop;
            let task = reactor.spawn(async move { pending::<()>().await; drop(slow) });
            yield_now().await;
            task.cancel().await;
            Ok(())
        },
        "a service of a timer": async |reactor: Reactor| {
            let service = TimerService::new(&reactor, MS * 1000, block);
            service.start()?;
            yield_now().await;
            service.stop().await
        },
        "a service among others": async |_reactor: Reactor| {
            let all = MultiService::new();
            all.add(Slow("start"))?;
            all.start()?;
            all.stop().await
        },
        "a service among others that stops": async |_reactor: Reactor| {
            let all = MultiService::new();
            all.add(Slow("stop"))?;
            all.start()?;
            all.stop().await
        },
        "a service of a port": async |reactor: Reactor| {
            let service = PortService::new(&reactor, |reactor| {
                block();
                reactor.listen(HERE, |_| Slow("nothing"))
            });
            service.start()?;
            service.stop().await
        },
    }
}

fn of_connections() -> Vec<Kind> {
    kinds! {
        "connection_made": |reactor| talk(reactor, "connection_made"),
        "data_received": |reactor| talk(reactor, "data_received"),
        "eof_received": async |reactor: Reactor| {
            let port = reactor.listen(HERE, |_| Slow("eof_received"))?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.read(&mut [0]).await?;
            conn.close().await?;
            while conn.read(&mut [0]).await? > 0 {}
            port.stop().await
        },
        "write_ready": |reactor| talk(reactor, "write_ready"),
        "connection_lost": |reactor| talk(reactor, "connection_lost"),
        "Handle::post": async |reactor: Reactor| {
            let (port, handle) = connected(&reactor).await?;
            handle.post(|_, cx| { block(); cx.lose_connection() });
            handle.closed().await?;
            port.stop().await
        },
        "Handle::ask": async |reactor: Reactor| {
            let (port, handle) = connected(&reactor).await?;
            handle.ask(|_, cx| { block(); cx.lose_connection() }).await?;
            port.stop().await
        },
        "Context::call_later": async |reactor: Reactor| {
            let (port, handle) = connected(&reactor).await?;
            handle.post(|_, cx| drop(cx.call_later(MS, |_, cx| { block(); cx.lose_connection() })));
            handle.closed().await?;
            port.stop().await
        },
        "Context::when": async |reactor: Reactor| {
            let (port, handle) = connected(&reactor).await?;
            handle.post(|_, cx| cx.when(Deferred::succeed(()), |_, cx, _| { block(); cx.lose_connection() }));
            handle.closed().await?;
            port.stop().await
        },
        "Context::become_protocol": async |reactor: Reactor| {
            let (port, handle) = connected(&reactor).await?;
            handle.post(|_, cx| cx.become_protocol(Slow("data_received"), b"rest"));
            handle.closed().await?;
            port.stop().await
        },
        "build_protocol": |reactor| make(reactor, "build_protocol"),
        "a factory's started": |reactor| make(reactor, "started"),
        "a factory's stopped": |reactor| make(reactor, "stopped"),
        "a closure that makes protocols": async |reactor: Reactor| {
            let port = reactor.listen(HERE, |_| { block(); Slow("some") })?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.read(&mut [0]).await?;
            drop(conn);
            port.stop().await
        },
        "a handler of connections": async |reactor: Reactor| {
            let port = reactor.serve(HERE, async |_| { block(); Ok(()) })?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.read(&mut [0]).await?;
            port.stop().await
        },
        "a client factory's build_protocol": |reactor| connect(reactor, "build_protocol"),
        "a client factory's started": |reactor| connect(reactor, "started"),
        "a client factory's started_connecting": |reactor| connect(reactor, "started_connecting"),
        "a client factory's connection_failed": |reactor| connect(reactor, "connection_failed"),
        "a client factory's connection_lost": |reactor| connect(reactor, "connection_lost"),
        "a client factory's stopped": |reactor| connect(reactor, "stopped"),
        "what a client service makes": async |reactor: Reactor| {
            let port = reactor.listen(HERE, |_| Slow("nothing"))?;
            let service = ClientService::new(&reactor, port.local_addr(), || {
                block();
                Slow("nothing")
            })?;
            service.start()?;
            service.when_connected().await?;
            service.stop().await?;
            port.stop().await
        },
        "what prepares a client service's connection": async |reactor: Reactor| {
            let port = reactor.listen(HERE, |_| Slow("nothing"))?;
            let service = ClientService::new(&reactor, port.local_addr(), || Slow("nothing"))?
                .prepare(|_| block());
            service.start()?;
            service.when_connected().await?;
            service.stop().await?;
            port.stop().await
        },
        "resume_producing": |reactor| produce(reactor, "resume_producing"),
        "pause_producing": |reactor| produce(reactor, "pause_producing"),
        "stop_producing": |reactor| produce(reactor, "stop_producing"),
        "a resolver of names": async |reactor: Reactor| {
            reactor.set_resolver(Slow("resolve"));
            drop(reactor.resolve("some.example").await);
            Ok(())
        },
        "a datagram protocol's started": |reactor| exchange(reactor, "started"),
        "datagram_received": |reactor| exchange(reactor, "datagram_received"),
        "a datagram protocol's stopped": |reactor| exchange(reactor, "stopped"),
    }
}

/// A server whose protocols block in `hook`, and a client that answers.
#[track_caller]
fn talk(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let port = reactor.listen(HERE, move |_| Slow(hook));
    async move {
        let port = port?;
        let handle = reactor.connect(port.local_addr(), Slow("nothing")).await?;
        handle.closed().await?;
        port.stop().await
    }
}

async fn connected(reactor: &Reactor) -> Result<(torsade::Port, torsade::Handle<Slow>), Failure> {
    let port = reactor.listen(HERE, |_| Slow("nothing"))?;
    let handle = reactor.connect(port.local_addr(), Slow("nothing")).await?;
    Ok((port, handle))
}

#[track_caller]
fn make(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let port = reactor.listen_factory(HERE, Slow(hook));
    async move {
        let port = port?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.read(&mut [0]).await?;
        drop(conn);
        port.stop().await
    }
}

#[track_caller]
fn connect(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let port = reactor.listen(HERE, |_| Slow("nothing"));
    let to = port.as_ref().map(|port| port.local_addr().to_string());
    let to = match hook {
        "connection_failed" => "127.0.0.1:1".to_owned(),
        _ => to.unwrap_or_default(),
    };
    let connector = Connector::start(&reactor, &*to, Slow(hook));
    async move {
        let connector = connector?;
        until(|| connector.state() == torsade::net::ConnectorState::Disconnected).await;
        port?.stop().await
    }
}

#[track_caller]
fn produce(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let accepted: Rc<RefCell<Option<Transport>>> = Rc::default();
    let kept = accepted.clone();
    let port = reactor.listen(HERE, move |_| {
        let kept = kept.clone();
        support::Spy::new(&support::Log::new())
            .on_made(move |transport| drop(kept.replace(Some(transport.clone()))))
    });
    async move {
        let port = port?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        until(|| accepted.borrow().is_some()).await;
        let transport = accepted.take().expect("it was kept");
        transport.register_producer(Slow(hook), Flow::Pull)?;
        if hook == "pause_producing" {
            transport.unregister_producer();
            transport.register_producer(Slow(hook), Flow::Push)?;
            transport.write(vec![0; 1 << 20]);
        }
        conn.read(&mut [0; 100]).await?;
        yield_now().await;
        transport.abort_connection();
        while conn.read(&mut [0; 1000]).await.is_ok_and(|n| n > 0) {}
        port.stop().await
    }
}

#[track_caller]
fn exchange(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let opened = reactor.listen_datagram(HERE, Slow(hook));
    async move {
        let opened = opened?;
        opened.handle::<Slow>().unwrap().closed().await?;
        Ok(())
    }
}

#[cfg(unix)]
fn of_the_system() -> Vec<Kind> {
    kinds! {
        "do_read": |reactor| watch(reactor, "do_read"),
        "do_write": |reactor| watch(reactor, "do_write"),
        "a descriptor's connection_lost": |reactor| watch(reactor, "connection_lost"),
        "a process's connection_made": |reactor| start(reactor, "connection_made"),
        "out_received": |reactor| start(reactor, "out_received"),
        "out_connection_lost": |reactor| start(reactor, "out_connection_lost"),
        "process_exited": |reactor| start(reactor, "process_exited"),
        "process_ended": |reactor| start(reactor, "process_ended"),
        "what waits for a signal": async |reactor: Reactor| {
            let heard = torsade::Signal::USR2.wait(&reactor).map(|_| block());
            torsade::Signal::USR2.raise()?;
            heard.await
        },
    }
}

#[cfg(unix)]
#[track_caller]
fn watch(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let (one, mut other) = UnixStream::pair().unwrap();
    let watch = reactor.watch(Ear(one, Slow(hook)), Interest::Read);
    async move {
        other.write_all(b"x")?;
        let watch = watch?;
        watch.add_writer();
        until(|| !watch.is_watched()).await;
        Ok(())
    }
}

#[cfg(unix)]
#[track_caller]
fn start(
    reactor: Reactor,
    hook: &'static str,
) -> impl Future<Output = Result<(), Failure>> + 'static {
    let handle = Command::new("echo")
        .arg("x")
        .spawn_protocol(&reactor, Slow(hook));
    async move {
        handle?.closed().await?;
        Ok(())
    }
}

/// Where that was registered which a reactor blames for `kind`, if it is not all that the reactor
/// was run for.
fn blamed(kind: &Kind) -> Vec<Blocked> {
    let observed = Rc::new(RefCell::new(Vec::new()));
    let log = observed.clone();
    let reactor = Reactor::builder()
        .debug(false)
        .watchdog(BUSY / 2)
        .on_blocked(move |blocked| log.borrow_mut().push(blocked))
        .build()
        .unwrap();
    reactor.on_report(|_| {});
    let main = line!() + 1;
    let done = reactor.run_until(async { kind.1(reactor.clone()).await });
    let done = done.unwrap();
    assert!(done.is_ok(), "{}: {done:?}", kind.0);
    drop(reactor);
    let mut observed = observed.take();
    observed.retain(|blocked| blocked.location.line() != main);
    observed
}

#[track_caller]
fn each_is_named(kinds: Vec<Kind>) {
    let mut missing = String::new();
    for kind in kinds {
        let observed = blamed(&kind);
        let is_named =
            |blocked: &Blocked| blocked.took >= BUSY && blocked.location.file() == file!();
        if !observed.iter().any(is_named) {
            missing += &format!("{}: {observed:?}\n", kind.0);
        }
    }
    assert!(missing.is_empty(), "not named:\n{missing}");
}

#[test]
fn blocking_calls_in_the_loop_and_in_deferreds_are_named() {
    each_is_named(of_the_loop());
}

#[test]
fn blocking_hooks_of_connections_and_datagram_ports_are_named() {
    each_is_named(of_connections());
}

#[cfg(unix)]
#[test]
fn blocking_hooks_of_descriptors_processes_and_signals_are_named() {
    each_is_named(of_the_system());
}

#[test]
fn a_blocking_main_future_is_named_without_debug_mode() {
    let observed = Rc::new(RefCell::new(Vec::new()));
    let log = observed.clone();
    let reactor = Reactor::builder()
        .debug(false)
        .watchdog(BUSY / 2)
        .on_blocked(move |blocked: Blocked| log.borrow_mut().push(blocked.location.line()))
        .build()
        .unwrap();
    let line = line!() + 1;
    reactor.run_until(async { block() }).unwrap();
    assert_eq!(*observed.borrow(), [line]);
}

/// A blocking hook would be reported for ever.
#[test]
fn a_hook_of_the_watchdog_that_blocks_is_not_named_itself() {
    let count = Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    let reactor = Reactor::builder()
        .watchdog(BUSY / 2)
        .on_blocked(move |_| {
            counted.set(counted.get() + 1);
            block();
            drop(Deferred::succeed(()).map(|()| block()));
        })
        .build()
        .unwrap();
    reactor
        .run_until(poll_fn(|_| {
            block();
            std::task::Poll::Ready(())
        }))
        .unwrap();
    assert_eq!(count.get(), 1);
}

const BUSY: Duration = Duration::from_millis(20);
