//! Services: starting and stopping in order; ports, timers and work as services.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, until};
use torsade::repeat::{CooperateError, Slice};
use torsade::services::{self, MultiService, PortService, Service, ServiceError, TimerService};
use torsade::{
    Address, Clock, Context, Cooperator, DatagramPort, DatagramProtocol, Deferred, Failure,
    Reactor, Resolver, VirtualClock,
};

const SECOND: Duration = Duration::from_secs(1);

/// A service that records its calls, and stops upon request.
#[derive(Clone)]
struct Part {
    name: &'static str,
    log: Log,
    running: Rc<Cell<bool>>,
    /// The stop ends when this is fired.
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
fn members_start_in_order_and_stop_in_reverse_order() {
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
fn every_stop_waits_for_the_end_and_a_start_meanwhile_follows_it() {
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
fn a_panic_in_stop_does_not_skip_the_other_members() {
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
    // No reactor contains the panic: it continues once the others have stopped.
    let stopped = catch_unwind(AssertUnwindSafe(|| drop(all.stop())));
    assert_eq!(*stopped.unwrap_err().downcast::<&str>().unwrap(), "not me");
    assert_eq!(log.take(), ["start a", "stop a"]);
}

#[test]
fn a_running_timer_service_is_no_failure_at_the_end() {
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
fn a_failed_start_stops_the_members_before_it() {
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
fn a_failed_stop_does_not_skip_the_other_members() {
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
fn members_are_added_removed_and_found_by_name_while_running() {
    let log = Log::new();
    let all = MultiService::new();
    all.add_named("a", Part::new("a", &log)).unwrap();
    let failure = all.add_named("a", Part::new("again", &log)).unwrap_err();
    assert_eq!(
        failure.downcast_ref(),
        Some(&ServiceError::NameTaken { name: "a".into() })
    );
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
fn a_panic_in_start_is_a_failed_start() {
    struct Panics;
    impl Service for Panics {
        fn start(&self) -> Result<(), Failure> {
            panic!("it cannot")
        }
        fn stop(&self) -> Deferred<()> {
            unreachable!("it never ran")
        }
        fn is_running(&self) -> bool {
            false
        }
    }
    let log = Log::new();
    let all = MultiService::new();
    all.add(Part::new("a", &log)).unwrap();
    all.add(Panics).unwrap();
    all.add(Part::new("c", &log)).unwrap();
    assert!(all.start().unwrap_err().is_panic());
    assert_eq!(log.take(), ["start a", "stop a"]);
    assert!(!all.is_running());
    let others = MultiService::new();
    others.start().unwrap();
    assert!(others.add(Panics).unwrap_err().is_panic());
    assert!(others.is_empty() && others.is_running());
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
fn a_timer_service_starts_at_once_and_its_stop_waits_for_the_current_call() {
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

    async fn a_datagram_port_is_a_service(reactor) {
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
            reactor.listen_datagram(HERE, Ear(seen.clone()))
        });
        let all = MultiService::new();
        all.add(service.clone())?;
        let socket = reactor.bind_datagram(HERE)?;
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

    async fn a_cooperator_is_a_service(reactor) {
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
        assert!(is_error!(ended.await.unwrap_err(), CooperateError::SchedulerStopped));
        all.start()?;
        cooperator.cooperate(std::iter::once(())).when_done().await?;
        all.stop().await?;
    }

    async fn a_timer_service_uses_the_reactors_clock(reactor) {
        let count = Rc::new(Cell::new(0));
        let seen = count.clone();
        let beat = TimerService::new(&reactor, MS, move || seen.set(seen.get() + 1));
        beat.start()?;
        assert_eq!(count.get(), 0, "not inside the call");
        torsade::testing::wait_until(&reactor, MS * 20_000, || count.get() >= 4).await?;
        beat.stop().await?;
        let last = count.get();
        reactor.sleep(MS * 5).await?;
        assert_eq!(count.get(), last);
    }
}

/// A service that stops all in its start.
struct Stopper(MultiService, Log, Cell<bool>);

impl Service for Stopper {
    fn start(&self) -> Result<(), Failure> {
        self.1.note("start stopper");
        drop(self.0.stop());
        self.2.set(true);
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        self.1.note("stop stopper");
        self.2.set(false);
        Deferred::succeed(())
    }

    fn is_running(&self) -> bool {
        self.2.get()
    }
}

#[test]
fn a_member_that_stops_all_in_its_start_leaves_nothing_running() {
    let log = Log::new();
    let all = MultiService::new();
    let after = TimerService::new(&VirtualClock::new(), MS, || Ok(()));
    all.add(Stopper(all.clone(), log.clone(), Cell::default()))
        .unwrap();
    all.add(after.clone()).unwrap();
    all.start().unwrap();
    assert!(!all.is_running() && !after.is_running());
    assert_eq!(log.all().last().unwrap(), "stop stopper");

    // A member that is added later does the same.
    log.take();
    let all = MultiService::new();
    all.start().unwrap();
    all.add(Stopper(all.clone(), log.clone(), Cell::default()))
        .unwrap();
    assert!(!all.is_running());
    assert_eq!(log.take(), ["start stopper", "stop stopper"]);
}
