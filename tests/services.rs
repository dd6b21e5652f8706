//! Services: starting and stopping in order, and a client that comes back.

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, until};
use torsade::net::ConnectionRefused;
use torsade::repeat::{SchedulerStopped, Slice};
use torsade::services::{
    self, Backoff, ClientService, MultiService, NameTaken, NoProtocol, PortService, Service,
    TimerService,
};
use torsade::{
    Address, Cancelled, Clock, Context, Cooperator, DatagramPort, DatagramProtocol, Deferred,
    Failure, Port, Reactor, Resolver, VirtualClock, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

/// Notes what is asked of it, and stops when told to.
#[derive(Clone)]
struct Part {
    name: &'static str,
    log: Log,
    running: Rc<Cell<bool>>,
    /// Stopping takes until this is fired.
    ends: Rc<RefCell<Option<Resolver<()>>>>,
    is_slow: bool,
    is_broken: bool,
}

impl Part {
    fn new(name: &'static str, log: &Log) -> Self {
        Self {
            name,
            log: log.clone(),
            running: Rc::default(),
            ends: Rc::default(),
            is_slow: false,
            is_broken: false,
        }
    }

    fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    fn broken(mut self) -> Self {
        self.is_broken = true;
        self
    }
}

impl Service for Part {
    fn start(&self) -> Result<(), Failure> {
        self.log.note(format_args!("start {}", self.name));
        if self.is_broken {
            return Err(Failure::new("broken"));
        }
        self.running.set(true);
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        self.log.note(format_args!("stop {}", self.name));
        self.running.set(false);
        if !self.is_slow {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        *self.ends.borrow_mut() = Some(resolver);
        deferred
    }

    fn is_running(&self) -> bool {
        self.running.get()
    }
}

#[test]
fn members_start_in_order_and_stop_in_reverse_each_after_the_one_behind_it() {
    let log = Log::new();
    let slow = Part::new("b", &log).slow();
    let all = MultiService::new();
    for part in [Part::new("a", &log), slow.clone(), Part::new("c", &log)] {
        all.add(part).unwrap();
    }
    assert!(log.is_empty());
    all.start().unwrap();
    all.start().unwrap();
    assert_eq!(log.take(), ["start a", "start b", "start c"]);
    let stopped = all.stop();
    assert!(!stopped.is_settled() && !all.is_running());
    assert_eq!(log.take(), ["stop c", "stop b"]);
    slow.ends.take().unwrap().callback(());
    assert_eq!(log.take(), ["stop a"]);
    assert!(stopped.is_settled() && all.stop().is_settled());
}

#[test]
fn every_stop_waits_for_the_end_and_a_start_before_it_comes_after_it() {
    let log = Log::new();
    let slow = Part::new("b", &log).slow();
    let all = MultiService::new();
    all.add(Rc::new(Part::new("a", &log))).unwrap();
    all.add(slow.clone()).unwrap();
    all.start().unwrap();
    log.take();
    let (one, other) = (all.stop(), all.stop());
    assert!(!one.is_settled() && !other.is_settled());
    all.start().unwrap();
    assert!(all.is_running());
    assert_eq!(log.take(), ["stop b"]);
    slow.ends.take().unwrap().callback(());
    assert_eq!(log.take(), ["stop a", "start a", "start b"]);
    assert!(one.is_settled() && other.is_settled() && all.is_running());
    let last = all.stop();
    all.start().unwrap();
    let after_all = all.stop();
    slow.ends.take().unwrap().callback(());
    assert!(last.is_settled() && after_all.is_settled() && !all.is_running());
    assert_eq!(log.take(), ["stop b", "stop a"]);
}

#[test]
fn a_member_that_panics_when_it_is_to_stop_keeps_no_other_from_stopping() {
    struct Bad;
    impl Service for Bad {
        fn start(&self) -> Result<(), Failure> {
            Ok(())
        }
        fn stop(&self) -> Deferred<()> {
            panic!("not me")
        }
        fn is_running(&self) -> bool {
            true
        }
    }
    let log = Log::new();
    let all = MultiService::new();
    all.add(Part::new("a", &log)).unwrap();
    all.add(Bad).unwrap();
    all.start().unwrap();
    assert!(all.stop().is_settled());
    assert_eq!(log.take(), ["start a", "stop a"]);
}

#[test]
fn a_beat_that_is_left_running_is_no_failure_when_the_program_ends() {
    torsade::testing::run(async |reactor| {
        let beat = TimerService::new(&reactor, SECOND, || {});
        beat.start()?;
        reactor.sleep(SECOND * 3).await?;
        beat.stop().await
    });
    let reactor = Reactor::in_memory().unwrap();
    let reports = Rc::new(Cell::new(0));
    let count = reports.clone();
    reactor.on_report(move |_| count.set(count.get() + 1));
    let clock = reactor.clone();
    reactor
        .run_until(async move {
            TimerService::new(&clock, SECOND, || {}).start().unwrap();
            clock.sleep(SECOND).await.unwrap();
        })
        .unwrap();
    drop(reactor);
    assert_eq!(reports.get(), 0);
}

#[test]
fn when_a_member_cannot_start_those_before_it_are_stopped_again() {
    let log = Log::new();
    let all = MultiService::new();
    all.add(Part::new("a", &log)).unwrap();
    all.add(Part::new("b", &log).broken()).unwrap();
    all.add(Part::new("c", &log)).unwrap();
    assert_eq!(all.start().unwrap_err().to_string(), "broken");
    assert_eq!(log.take(), ["start a", "start b", "stop a"]);
    assert!(!all.is_running());
}

#[test]
fn a_member_whose_stop_fails_keeps_no_other_from_stopping() {
    struct Bad(Part);
    impl Service for Bad {
        fn start(&self) -> Result<(), Failure> {
            self.0.start()
        }
        fn stop(&self) -> Deferred<()> {
            drop(self.0.stop());
            Deferred::fail(Failure::new("no end"))
        }
        fn is_running(&self) -> bool {
            self.0.is_running()
        }
    }
    let reactor = Reactor::in_memory().unwrap();
    let reports = Rc::new(Cell::new(0));
    let count = reports.clone();
    reactor.on_report(move |_| count.set(count.get() + 1));
    let log = Log::new();
    let inner = log.clone();
    reactor
        .run_until(async move {
            let all = MultiService::new();
            all.add(Part::new("a", &inner)).unwrap();
            all.add(Bad(Part::new("b", &inner))).unwrap();
            all.start().unwrap();
            all.stop().await.unwrap();
        })
        .unwrap();
    assert_eq!(log.take(), ["start a", "start b", "stop b", "stop a"]);
    assert_eq!(reports.get(), 1);
}

#[test]
fn members_come_and_go_while_it_runs_and_are_found_by_name() {
    let log = Log::new();
    let all = MultiService::new();
    all.add_named("a", Part::new("a", &log)).unwrap();
    let failure = all.add_named("a", Part::new("again", &log)).unwrap_err();
    assert_eq!(failure.check(), Some(&NameTaken("a".into())));
    all.start().unwrap();
    all.add_named("b", Part::new("b", &log)).unwrap();
    assert!(all.add(Part::new("c", &log).broken()).is_err());
    assert_eq!((all.len(), log.take().len()), (2, 3));
    assert!(all.get("b").unwrap().is_running());
    assert!(all.remove("b").is_settled() && all.get("b").is_none());
    assert!(all.remove("nobody").is_settled());
    assert_eq!(log.take(), ["stop b"]);
}

#[test]
fn the_shutdown_waits_for_an_attached_service() {
    let reactor = Reactor::in_memory().unwrap();
    let log = Log::new();
    let part = Part::new("a", &log).slow();
    let (inner, clock) = (part, reactor.clone());
    let seen = log.clone();
    reactor
        .run_until(async move {
            services::attach(&clock, inner.clone()).unwrap();
            let later = clock.clone();
            clock.call_later(MS, move || {
                later.stop().unwrap();
                later.call_later(SECOND, move || {
                    seen.note("a second later");
                    inner.ends.take().unwrap().callback(());
                });
            });
            std::future::pending::<()>().await
        })
        .unwrap_err();
    assert_eq!(log.take(), ["start a", "stop a", "a second later"]);
}

#[test]
fn a_timer_service_starts_at_once_and_its_end_waits_for_the_call_under_way() {
    let clock = VirtualClock::new();
    let log = Log::new();
    let gate: Rc<RefCell<Option<Resolver<()>>>> = Rc::default();
    let (seen, slot, busy) = (log.clone(), gate.clone(), Rc::new(Cell::new(false)));
    let is_busy = busy.clone();
    let beat = TimerService::new(&clock, SECOND, move || {
        seen.note("beat");
        let (deferred, resolver) = Deferred::pair();
        if is_busy.get() {
            *slot.borrow_mut() = Some(resolver);
        } else {
            resolver.callback(());
        }
        deferred
    });
    assert!(beat.stop().is_settled());
    for _ in 0..2 {
        beat.start().unwrap();
        beat.start().unwrap();
        clock.advance(SECOND);
        assert_eq!(log.take().len(), 2);
        assert!(beat.is_running());
        busy.set(true);
        clock.advance(SECOND);
        let stopped = beat.stop();
        assert!(!beat.is_running() && !stopped.is_settled());
        gate.take().unwrap().callback(());
        assert!(stopped.is_settled());
        clock.advance(SECOND * 5);
        assert_eq!(log.take(), ["beat"]);
        busy.set(false);
    }
}

#[test]
fn a_timer_service_whose_function_failed_can_be_started_again() {
    let reactor = Reactor::in_memory().unwrap();
    let reports = Rc::new(Cell::new(0));
    let count = reports.clone();
    reactor.on_report(move |_| count.set(count.get() + 1));
    let calls = Rc::new(Cell::new(0));
    let seen = calls.clone();
    let clock = reactor.clone();
    reactor
        .run_until(async move {
            let beat = TimerService::new(&clock, SECOND, move || {
                seen.set(seen.get() + 1);
                match seen.get() {
                    1 => Err(Failure::new("no")),
                    2 => panic!("never"),
                    _ => Ok(()),
                }
            });
            for _ in 1..=3 {
                beat.start().unwrap();
                clock.sleep(SECOND / 2).await.unwrap();
                assert!(beat.is_running());
                beat.stop().await.unwrap();
            }
        })
        .unwrap();
    assert_eq!((calls.get(), reports.get()), (3, 2));
}

/// A port that counts its connections, and can break them.
fn server(reactor: &Reactor, log: &Log) -> Result<Port, Failure> {
    let log = log.clone();
    reactor.listen(HERE, move |_| Spy::named(&log, "server"))
}

on_both! {
    async fn a_port_service_opens_and_closes_its_port(reactor) {
        let service = PortService::new(&reactor, |reactor| reactor.listen(HERE, |_| Spy::echo()));
        for _ in 0..2 {
            assert!(!service.is_running() && service.port().is_none());
            service.start()?;
            service.start()?;
            let port = service.port().unwrap();
            drop(reactor.connect_stream(port.local_addr()).await?);
            service.stop().await?;
            assert!(!port.is_listening());
        }
        let taken = reactor.listen(HERE, |_| Spy::echo())?;
        let address = taken.local_addr();
        let service = PortService::new(&reactor, move |reactor| reactor.listen(&address, |_| Spy::echo()));
        assert!(service.start().is_err() && !service.is_running());
        taken.stop().await?;
        service.start()?;
        service.stop().await?;
    }

    async fn closed_tells_the_reason_after_connection_lost(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        let given_up = handle.closed();
        given_up.cancel();
        assert!(given_up.await.unwrap_err().is::<Cancelled>());
        let seen = log.clone();
        let closed = handle.closed().map(move |reason| seen.note(support::how(&reason)));
        handle.transport().unwrap().abort_connection();
        closed.await?;
        assert_eq!(log.take(), ["made", "lost aborted", "aborted"]);
        port.stop().await?;
    }

    async fn a_client_is_given_to_all_who_wait_and_at_once_when_it_is_there(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        assert!(client.when_connected().await.unwrap_err().is::<Cancelled>());
        client.start()?;
        client.start()?;
        let (one, other) = (client.when_connected(), client.when_connected());
        assert!(!one.is_settled());
        let (one, other) = (one.await?, other.await?);
        assert!(one.is_connected() && other.is_connected());
        assert!(client.when_connected().is_settled());
        let (stopped, again) = (client.stop(), client.stop());
        assert!(!stopped.is_settled() && !client.is_running());
        stopped.await?;
        again.await?;
        assert!(!one.is_connected());
        while !log.has("server lost done") {
            yield_now().await;
        }
        assert_eq!(log.count("server made"), 1);
        port.stop().await?;
    }

    async fn a_start_while_it_stops_connects_again_after_the_end(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        client.start()?;
        let first = client.when_connected().await?;
        let stopped = client.stop();
        client.start()?;
        assert!(client.is_running());
        stopped.await?;
        assert!(!first.is_connected());
        let second = client.when_connected().await?;
        assert!(second.is_connected());
        client.stop().await?;
        assert_eq!(log.count("server made"), 2);
        port.stop().await?;
    }

    async fn a_stop_while_it_connects_gives_that_up(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        client.start()?;
        let waiting = client.when_connected();
        let stopped = client.stop();
        assert!(waiting.await.unwrap_err().is::<Cancelled>());
        stopped.await?;
        assert_eq!(log.count("server made"), log.count("server lost done"));
        port.stop().await?;
    }

    async fn a_protocol_may_stop_its_own_service_as_soon_as_it_is_connected(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let slot: Rc<RefCell<Option<ClientService<Spy>>>> = Rc::default();
        let (own, seen) = (slot.clone(), log.clone());
        let client = ClientService::new(&reactor, port.local_addr(), move || {
            let own = own.clone();
            Spy::named(&seen, "client").on_made(move |_| {
                let client = own.take().unwrap();
                drop(client.stop());
            })
        })?;
        *slot.borrow_mut() = Some(client.clone());
        client.start()?;
        until(|| log.has("client lost done")).await;
        until(|| log.has("server lost done")).await;
        assert!(!client.is_running() && client.stop().await.is_ok());
        port.stop().await?;
    }

    async fn each_stop_is_told_of_the_end_whenever_it_comes(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        client.start()?;
        let handle = client.when_connected().await?;
        let again = client.clone();
        let second = handle.closed().add_callback(move |_| again.stop());
        client.stop().await?;
        second.await?;
        port.stop().await?;
    }

    async fn who_is_told_of_a_stop_may_start_it_again(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        client.start()?;
        let again = client.clone();
        client.when_connected().add_errback(move |failure| {
            again.start().unwrap();
            drop(failure);
            again.when_connected()
        }).add_callback(|_| ());
        client.stop().await?;
        assert!(client.is_running());
        client.when_connected().await?;
        client.stop().await?;
        port.stop().await?;
    }

    async fn a_function_that_panics_is_a_failure_to_connect_or_to_start(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let mut calls = 0;
        let client = ClientService::new(&reactor, port.local_addr(), move || {
            calls += 1;
            assert!(calls > 1, "not yet");
            Spy::echo()
        })?
        .backoff(Backoff::new().initial(MS).jitter(Duration::ZERO));
        client.start()?;
        let failure = client.when_connected_within(1).await.unwrap_err();
        assert!(failure.is_panic());
        client.when_connected().await?;
        client.stop().await?;

        let mut calls = 0;
        let service = PortService::new(&reactor, move |reactor| {
            calls += 1;
            assert!(calls > 1, "not yet");
            reactor.listen(HERE, |_| Spy::echo())
        });
        assert!(service.start().unwrap_err().is_panic() && !service.is_running());
        service.start()?;
        let (stopped, again) = (service.clone().stop(), service.stop());
        assert!(!service.is_running());
        stopped.await?;
        again.await?;
        port.stop().await?;
    }

    async fn what_is_prepared_comes_before_those_who_wait(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let (gate, resolver) = Deferred::pair();
        let gate = RefCell::new(Some(gate));
        let seen = log.clone();
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?
            .prepare(move |_handle| {
                seen.note("preparing");
                gate.take().unwrap()
            });
        client.start()?;
        let waiting = client.when_connected();
        while !log.has("preparing") {
            yield_now().await;
        }
        assert!(!waiting.is_settled() && !client.when_connected().is_settled());
        resolver.callback(());
        waiting.await?;
        client.stop().await?;
        port.stop().await?;
    }

    async fn a_stop_while_it_prepares_ends_the_connection(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let seen = log.clone();
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?
            .prepare(move |_handle| {
                let (gate, resolver) = Deferred::<()>::pair();
                let log = seen.clone();
                std::mem::forget(resolver);
                gate.on_cancel(move || log.note("given up"))
            });
        client.start()?;
        let waiting = client.when_connected();
        while !log.has("server made") {
            yield_now().await;
        }
        client.stop().await?;
        assert!(waiting.await.unwrap_err().is::<Cancelled>());
        while !log.has("server lost done") {
            yield_now().await;
        }
        assert!(log.has("given up"));
        port.stop().await?;
    }

    async fn a_client_that_was_lost_connects_again(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::named(&seen, "server").on_data(|cx, _| cx.abort_connection())
        })?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?
            .backoff(Backoff::new().initial(MS).jitter(Duration::ZERO));
        client.start()?;
        for _ in 0..3 {
            let handle = client.when_connected().await?;
            handle.transport().unwrap().write("x");
            handle.closed().await?;
        }
        client.when_connected().await?;
        assert!(log.count("server made") >= 3);
        client.stop().await?;
        port.stop().await?;
    }

    async fn a_stop_while_it_waits_to_try_again_is_at_once_and_leaves_no_timer(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        port.stop().await?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
        client.start()?;
        client.when_connected_within(1).await.unwrap_err();
        yield_now().await;
        assert!(!support::alive(&reactor).is_empty(), "the wait of a second or so");
        let waiting = client.when_connected();
        let (stopped, start) = (client.stop(), reactor.now());
        assert!(waiting.is_settled() && waiting.await.unwrap_err().is::<Cancelled>());
        stopped.await?;
        assert!(reactor.now() - start < SECOND && support::alive(&reactor).is_empty());
    }

    async fn a_port_of_datagrams_is_a_service_as_well(reactor) {
        struct Ear(Log);
        impl DatagramProtocol for Ear {
            fn datagram_received(&mut self, _: &mut Context<'_, Self, DatagramPort>, data: &[u8], _: Address) {
                self.0.note(data.escape_ascii());
            }
            fn stopped(&mut self) {
                self.0.note("stopped");
            }
        }
        let log = Log::new();
        let seen = log.clone();
        let service = PortService::new(&reactor, move |reactor| {
            reactor.listen_udp(HERE, Ear(seen.clone()))
        });
        let all = MultiService::new();
        all.add(service.clone())?;
        let socket = reactor.bind_udp(HERE)?;
        for _ in 0..2 {
            all.start()?;
            let port = service.port().unwrap();
            socket.send_to(b"hello", port.local_addr()).await?;
            until(|| log.has("hello")).await;
            all.stop().await?;
            assert!(!port.is_listening() && service.port().is_none() && !service.is_running());
            assert_eq!(log.take(), ["hello", "stopped"]);
        }
    }

    async fn a_cooperator_is_a_service_as_well(reactor) {
        let cooperator = Cooperator::unstarted(&reactor, Slice::default());
        let all = MultiService::new();
        all.add(cooperator.clone())?;
        let steps = Rc::new(Cell::new(0));
        let count = steps.clone();
        let work = cooperator.cooperate((0..1000).map(move |_| count.set(count.get() + 1)));
        support::some_turns().await;
        assert_eq!(steps.get(), 0);
        all.start()?;
        work.when_done().await?;
        assert_eq!(steps.get(), 1000);
        let endless = cooperator.cooperate(std::iter::repeat(()));
        let ended = endless.when_done();
        all.stop().await?;
        assert!(!cooperator.is_running());
        ended.await.unwrap_err().trap::<SchedulerStopped>()?;
        all.start()?;
        cooperator.cooperate(std::iter::once(())).when_done().await?;
        all.stop().await?;
    }
}

/// In memory, where time is moved.
fn in_memory(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure> + 'static) {
    torsade::testing::run_on(Reactor::in_memory().unwrap(), test);
}

#[test]
fn a_client_tries_again_after_waits_that_grow_and_begins_anew_after_a_success() {
    in_memory(async |reactor| {
        let address = "10.0.0.1:80";
        let policy = Backoff::new()
            .initial(SECOND)
            .factor(2.0)
            .jitter(Duration::ZERO);
        let tries = Rc::new(RefCell::new(Vec::new()));
        let (seen, clock) = (tries.clone(), reactor.clone());
        let start = reactor.now();
        let client = ClientService::new(&reactor, address, move || {
            let at: Duration = clock.now() - start;
            seen.borrow_mut().push(at.as_secs());
            Spy::echo()
        })?
        .backoff(policy);
        client.start()?;
        let waiting = client.when_connected();
        reactor.sleep(SECOND * 8).await?;
        assert_eq!(tries.take(), [0, 1, 3, 7]);
        assert_eq!(client.failures(), 4);
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(address, move |_| {
            Spy::new(&seen).on_made(|transport| transport.lose_connection())
        })?;
        let handle = waiting.await?;
        assert_eq!((tries.take(), client.failures()), (vec![15], 0));
        handle.closed().await?;
        reactor.sleep(SECOND * 3 / 2).await?;
        // Each success begins the waits anew.
        assert_eq!(tries.take(), [16]);
        client.stop().await?;
        port.stop().await
    });
}

#[test]
fn the_jitter_is_within_its_bounds_and_the_same_in_each_run_in_memory() {
    let waits = || {
        let tries = Rc::new(RefCell::new(Vec::new()));
        let seen = tries.clone();
        in_memory(async move |reactor| {
            let policy = Backoff::new().initial(SECOND).factor(1.0).jitter(SECOND);
            let clock = reactor.clone();
            let client = ClientService::new(&reactor, "10.0.0.1:80", move || {
                seen.borrow_mut().push(clock.now());
                Spy::echo()
            })?
            .backoff(policy);
            client.start()?;
            reactor.sleep(SECOND * 60).await?;
            client.stop().await
        });
        let tries = tries.take();
        let waits = tries.windows(2).map(|pair| pair[1] - pair[0]);
        waits.collect::<Vec<_>>()
    };
    let first = waits();
    assert!(first.len() > 30);
    assert!(first.iter().all(|wait| (SECOND..SECOND * 2).contains(wait)));
    assert!(first.windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(first, waits());
}

#[test]
fn who_waits_for_so_many_failures_is_told_the_last_of_them() {
    in_memory(async |reactor| {
        let client = ClientService::new(&reactor, "10.0.0.1:80", Spy::echo)?;
        client.start()?;
        let start = reactor.now();
        let (once, thrice) = (
            client.when_connected_within(1),
            client.when_connected_within(3),
        );
        let ever = client.when_connected();
        let failure = once.await.unwrap_err();
        assert!(failure.is::<ConnectionRefused>() && reactor.now() == start);
        let failure = thrice.await.unwrap_err();
        assert!(failure.is::<ConnectionRefused>() && client.failures() == 3);
        assert!(!ever.is_settled());
        let stopped = client.stop();
        assert!(ever.await.unwrap_err().is::<Cancelled>());
        stopped.await
    });
}

#[test]
fn no_protocol_and_a_failed_preparation_count_as_failures() {
    in_memory(async |reactor| {
        let port = reactor.listen("10.0.0.1:80", |_| Spy::echo())?;
        let client = ClientService::new(&reactor, "10.0.0.1:80", || None::<Spy>)?;
        client.start()?;
        let failure = client.when_connected_within(1).await.unwrap_err();
        failure.trap::<NoProtocol>()?;
        client.stop().await?;

        let log = Log::new();
        let seen = log.clone();
        let client = ClientService::new(&reactor, "10.0.0.1:80", move || Spy::new(&seen))?
            .prepare(|_| Err::<(), _>(Failure::new("not good enough")));
        client.start()?;
        let failure = client.when_connected_within(2).await.unwrap_err();
        assert_eq!(failure.to_string(), "not good enough");
        client.stop().await?;
        assert_eq!(log.take(), ["made", "lost done", "made", "lost done"]);
        port.stop().await
    });
}
