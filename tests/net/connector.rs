//! Connecting with a factory: the calls that it gets, and the requests of its connector.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, how, nowhere, until};
use torsade::net::{
    Backoff, ClientFactory, ConnectError, Connector, ConnectorState, Reconnecting, Retries,
};
use torsade::testing::wait_until;
use torsade::{Address, Cancelled, Clock, Failure, Reactor};

const SECOND: Duration = Duration::from_secs(1);

type Hook = Box<dyn FnMut(&Connector)>;

/// A factory that records its calls.
struct Telling {
    log: Log,
    builds: bool,
    begins: Option<Hook>,
    ends: Option<Hook>,
}

impl Telling {
    fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            builds: true,
            begins: None,
            ends: None,
        }
    }

    fn at_begin(mut self, f: impl FnMut(&Connector) + 'static) -> Self {
        self.begins = Some(Box::new(f));
        self
    }

    /// Sets a function to call after a failure or a loss.
    fn at_end(mut self, f: impl FnMut(&Connector) + 'static) -> Self {
        self.ends = Some(Box::new(f));
        self
    }

    fn ended(&mut self, connector: &Connector) {
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        if let Some(ends) = &mut self.ends {
            ends(connector);
        }
    }
}

impl ClientFactory for Telling {
    type Protocol = Spy;

    fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
        self.log.note("build");
        self.builds.then(|| Spy::new(&self.log))
    }

    fn started_connecting(&mut self, connector: &Connector) {
        self.log.note("connecting");
        if let Some(begins) = &mut self.begins {
            begins(connector);
        }
    }

    fn connection_failed(&mut self, connector: &Connector, reason: Failure) {
        let refused = is_error!(reason, ConnectError::Refused { .. });
        let what = match reason.is::<Cancelled>() {
            true => "cancelled",
            false if refused => "refused",
            false => "otherwise",
        };
        self.log.note(format_args!("failed {what}"));
        self.ended(connector);
    }

    fn connection_lost(&mut self, connector: &Connector, reason: Failure) {
        self.log.note(format_args!("over {}", how(&reason)));
        self.ended(connector);
    }

    fn started(&mut self) {
        self.log.note("started");
    }

    fn stopped(&mut self) {
        self.log.note("stopped");
    }
}

on_all! {
    async fn the_factory_is_called_for_each_step_after_the_protocol(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let connector = Connector::start(&reactor, port.local_addr(), Telling::new(&log))?;
        assert!(log.is_empty() && connector.state() == ConnectorState::Connecting);
        assert!(matches!(connector.connect(), Err(ConnectError::Busy(ConnectorState::Connecting))));
        until(|| log.has("made")).await;
        assert_eq!(connector.state(), ConnectorState::Connected);
        assert!(matches!(connector.stop_connecting(), Err(ConnectError::Busy(ConnectorState::Connected))));
        connector.disconnect();
        assert!(!log.has("lost done"));
        until(|| log.has("stopped")).await;
        let all = ["started", "connecting", "build", "made", "lost done", "over done", "stopped"];
        assert_eq!(log.take(), all);
        assert!(matches!(connector.stop_connecting(), Err(ConnectError::Busy(ConnectorState::Disconnected))));
        connector.disconnect();

        // The connector can be used again.
        connector.connect()?;
        until(|| log.has("made")).await;
        connector.disconnect();
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), all);
        port.stop().await?;
    }

    async fn a_factory_that_retries_is_not_stopped_between_attempts(reactor) {
        let log = Log::new();
        let mut left = 2;
        let factory = Telling::new(&log).at_end(move |connector| {
            if left > 0 {
                left -= 1;
                connector.connect().unwrap();
            }
        });
        Connector::start(&reactor, nowhere(&reactor).await?, factory)?;
        until(|| log.has("stopped")).await;
        let again = ["connecting", "failed refused"];
        let mut all = vec!["started"];
        all.extend(again.repeat(3));
        all.push("stopped");
        assert_eq!(log.take(), all);
    }

    async fn an_attempt_is_cancelled_before_at_and_after_its_start(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let connector = Connector::start(&reactor, port.local_addr(), Telling::new(&log))?;
        connector.stop_connecting()?;
        assert!(log.is_empty());
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["started", "connecting", "failed cancelled", "stopped"]);

        let factory = Telling::new(&log).at_begin(|connector| connector.stop_connecting().unwrap());
        let connector = Connector::start(&reactor, port.local_addr(), factory)?;
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["started", "connecting", "failed cancelled", "stopped"]);
        assert_eq!(connector.state(), ConnectorState::Disconnected);

        let factory = Telling::new(&log).at_begin(|connector| {
            let connector = connector.clone();
            let reactor = connector.reactor().unwrap();
            reactor.call_soon(move || connector.disconnect());
        });
        Connector::start(&reactor, port.local_addr(), factory)?;
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["started", "connecting", "failed cancelled", "stopped"]);
        port.stop().await?;
    }

    async fn without_a_protocol_the_connection_is_closed_normally(reactor) {
        let (log, server) = (Log::new(), Log::new());
        let seen = server.clone();
        let port = reactor.listen(HERE, move |_| Spy::new(&seen))?;
        let mut factory = Telling::new(&log);
        factory.builds = false;
        Connector::start(&reactor, port.local_addr(), factory)?;
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["started", "connecting", "build", "over done", "stopped"]);
        until(|| server.has("lost done")).await;
        port.stop().await?;
    }

    async fn a_panic_in_a_hook_does_not_skip_the_other_hooks(reactor) {
        torsade::testing::expect_panics(&reactor);
        let log = Log::new();
        let factory = Telling::new(&log)
            .at_begin(|_| panic!("at the beginning"))
            .at_end(|_| panic!("at the end"));
        Connector::start(&reactor, nowhere(&reactor).await?, factory)?;
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["started", "connecting", "failed refused", "stopped"]);
        assert_eq!(torsade::testing::take_reports(&reactor).len(), 2);
    }

    async fn a_panic_in_connection_lost_does_not_skip_the_factorys(reactor) {
        let reports = support::expect_reports(&reactor);
        let (log, port) = (Log::new(), reactor.listen(HERE, |_| Spy::echo())?);
        struct Bad(Log);
        impl ClientFactory for Bad {
            type Protocol = Spy;
            fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
                Some(Spy::new(&self.0).on_lost(|_| panic!("not the end")))
            }
            fn connection_lost(&mut self, _connector: &Connector, reason: Failure) {
                self.0.note(format_args!("over {}", how(&reason)));
            }
            fn stopped(&mut self) {
                self.0.note("stopped");
            }
        }
        let connector = Connector::start(&reactor, port.local_addr(), Bad(log.clone()))?;
        until(|| log.has("made")).await;
        connector.disconnect();
        until(|| log.has("stopped")).await;
        assert_eq!(log.take(), ["made", "lost done", "over done", "stopped"]);
        assert_eq!(reports.borrow().len(), 1);
        port.stop().await?;
    }

    async fn reconnecting_after_a_loss_does_not_call_stopped(reactor) {
        let log = Log::new();
        let mut left = 2;
        let port = reactor.listen(HERE, |_| Spy::echo().on_made(|cx| cx.lose_connection()))?;
        let factory = Telling::new(&log).at_end(move |connector| {
            if left > 0 {
                left -= 1;
                connector.connect().unwrap();
            }
        });
        Connector::start(&reactor, port.local_addr(), factory)?;
        until(|| log.has("stopped")).await;
        let again = ["connecting", "build", "made", "eof", "lost done", "over done"];
        let mut all = vec!["started"];
        all.extend(again.repeat(3));
        all.push("stopped");
        assert_eq!(log.take(), all);
        port.stop().await?;
    }

    async fn a_reconnecting_factory_stops_after_max_retries(reactor) {
        let log = Log::new();
        let quick = Backoff::new().initial(MS).factor(1.0).jitter(Duration::ZERO);
        let factory = Reconnecting::new(Telling::new(&log)).backoff(quick).max_retries(3);
        let retries = factory.retries();
        let connector = Connector::start(&reactor, nowhere(&reactor).await?, factory)?;
        wait_until(&reactor, SECOND * 20, || log.count("failed refused") >= 4).await?;
        reactor.sleep(MS * 10).await?;
        assert_eq!((log.count("failed refused"), retries.count()), (4, 3));
        retries.reset();
        connector.connect()?;
        wait_until(&reactor, SECOND * 20, || log.count("failed refused") >= 6).await?;
        retries.stop_trying();
        assert!(!retries.is_trying());
        let count = log.count("failed refused");
        reactor.sleep(MS * 10).await?;
        assert_eq!(log.count("connecting"), log.count("failed refused") + log.count("failed cancelled"));
        assert_eq!(log.count("failed refused"), count);
        retries.continue_trying();
        retries.reset();
        reactor.sleep(MS * 10).await?;
        assert_eq!(log.count("failed refused"), count);
        connector.connect()?;
        wait_until(&reactor, SECOND * 20, || log.count("failed refused") >= count + 2).await?;
        retries.stop_trying();
    }

    async fn stop_trying_leaves_an_established_connection_open(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let quick = Backoff::new().initial(MS).factor(1.0).jitter(Duration::ZERO);
        let factory = Reconnecting::new(Telling::new(&log)).backoff(quick);
        let retries = factory.retries();
        let connector = Connector::start(&reactor, port.local_addr(), factory)?;
        until(|| log.has("made")).await;
        connector.disconnect();
        wait_until(&reactor, SECOND * 20, || log.count("made") >= 2).await?;
        retries.stop_trying();
        assert_eq!(connector.state(), ConnectorState::Connected);
        connector.disconnect();
        until(|| log.count("over done") == 2).await;
        reactor.sleep(MS * 10).await?;
        assert_eq!((log.count("made"), connector.state()), (2, ConnectorState::Disconnected));
        port.stop().await?;
    }
}

/// Runs a test in memory, where time is virtual.
fn in_memory(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure> + 'static) {
    torsade::testing::run_on(Reactor::in_memory().unwrap(), test);
}

fn exact() -> Backoff {
    Backoff::new()
        .initial(SECOND)
        .factor(2.0)
        .max_delay(SECOND * 5)
        .jitter(Duration::ZERO)
}

#[test]
fn it_reconnects_after_growing_delays_until_it_succeeds() {
    in_memory(async |reactor| {
        let log = Log::new();
        let tries = Rc::new(RefCell::new(Vec::new()));
        let (seen, clock, start) = (tries.clone(), reactor.clone(), reactor.now());
        let factory = Telling::new(&log).at_begin(move |_| {
            let at: Duration = clock.now() - start;
            seen.borrow_mut().push(at.as_secs());
        });
        let factory = Reconnecting::new(factory).backoff(exact());
        let retries = factory.retries();
        let connector = Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND * 13).await?;
        assert_eq!(tries.take(), [0, 1, 3, 7, 12]);
        assert_eq!(retries.count(), 5);
        let port = reactor.listen("10.0.0.1:80", |_| Spy::echo())?;
        reactor.sleep(SECOND * 5).await?;
        assert_eq!((tries.take(), retries.count()), (vec![17], 0));
        connector.disconnect();
        reactor.sleep(SECOND * 2).await?;
        // The connection that was closed is made again, after a short delay.
        assert_eq!(
            (tries.take(), connector.state()),
            (vec![19], ConnectorState::Connected)
        );
        retries.stop_trying();
        connector.disconnect();
        reactor.sleep(SECOND * 99).await?;
        assert!(tries.take().is_empty());
        port.stop().await
    });
}

#[test]
fn after_a_loss_the_first_delay_is_used_once_and_later_ones_grow() {
    in_memory(async |reactor| {
        let log = Log::new();
        let tries = Rc::new(RefCell::new(Vec::new()));
        let (seen, clock, start) = (tries.clone(), reactor.clone(), reactor.now());
        let factory = Telling::new(&log).at_begin(move |_| {
            let at: Duration = clock.now() - start;
            seen.borrow_mut().push(at.as_secs());
        });
        let port = reactor.listen("10.0.0.1:80", |_| Spy::echo())?;
        let factory = Reconnecting::new(factory).backoff(exact());
        let retries = factory.retries();
        let connector = Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND * 10).await?;
        port.stop().await?;
        connector.disconnect();
        reactor.sleep(SECOND * 9).await?;
        assert_eq!(tries.take(), [0, 11, 13, 17]);
        retries.stop_trying();
        Ok(())
    });
}

#[test]
fn stop_trying_and_max_retries_end_the_retries() {
    in_memory(async |reactor| {
        let log = Log::new();
        let factory = Reconnecting::new(Telling::new(&log)).max_retries(3);
        Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND * 600).await?;
        assert_eq!(log.count("failed refused"), 4);

        // A connection without a protocol is no success.
        log.take();
        let port = reactor.listen("10.0.0.2:80", |_| Spy::echo())?;
        let mut factory = Telling::new(&log);
        factory.builds = false;
        let factory = Reconnecting::new(factory).max_retries(3);
        Connector::start(&reactor, "10.0.0.2:80", factory)?;
        reactor.sleep(SECOND * 600).await?;
        assert_eq!(log.count("over done"), 4);
        port.stop().await?;

        log.take();
        let factory = Reconnecting::new(Telling::new(&log)).backoff(exact());
        let retries = factory.retries();
        Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND / 2).await?;
        retries.stop_trying();
        reactor.sleep(SECOND * 600).await?;
        assert_eq!(log.count("failed refused"), 1);
        Ok(())
    });
}

#[test]
fn reset_restarts_the_delays_and_continue_trying_resumes() {
    in_memory(async |reactor| {
        let log = Log::new();
        let (tries, clock) = (Rc::new(RefCell::new(Vec::new())), reactor.clone());
        let (seen, start) = (tries.clone(), reactor.now());
        let factory = Telling::new(&log).at_begin(move |_| {
            let at: Duration = clock.now() - start;
            seen.borrow_mut().push(at.as_secs());
        });
        let factory = Reconnecting::new(factory).backoff(exact());
        let retries = factory.retries();
        let connector = Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND * 4).await?;
        retries.reset();
        reactor.sleep(SECOND * 8 + SECOND / 2).await?;
        // The delay under way keeps its length; later ones start over.
        assert_eq!(tries.take(), [0, 1, 3, 7, 8, 10]);
        retries.stop_trying();
        assert!(!retries.is_trying() && retries.count() > 0);
        retries.continue_trying();
        retries.reset();
        reactor.sleep(SECOND * 60).await?;
        assert!(retries.is_trying() && tries.take().is_empty());
        connector.connect()?;
        reactor.sleep(SECOND * 2).await?;
        assert_eq!(tries.take(), [72, 73]);
        retries.stop_trying();
        Ok(())
    });
}

#[test]
fn a_factory_stops_its_own_retries() {
    struct Twice(Log, Retries);
    impl ClientFactory for Twice {
        type Protocol = Spy;
        fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
            Some(Spy::new(&self.0))
        }
        fn connection_failed(&mut self, _connector: &Connector, _reason: Failure) {
            self.0.note("failed");
            if self.1.count() == 1 {
                self.1.stop_trying();
            }
        }
    }
    in_memory(async |reactor| {
        let log = Log::new();
        let factory = Reconnecting::with_retries(|retries| Twice(log.clone(), retries));
        let factory = factory.backoff(exact());
        let retries = factory.retries();
        Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND * 60).await?;
        assert_eq!((log.count("failed"), retries.is_trying()), (2, false));
        Ok(())
    });
}

#[test]
fn a_connection_made_during_a_delay_ends_the_delay() {
    in_memory(async |reactor| {
        let log = Log::new();
        let factory = Reconnecting::new(Telling::new(&log)).backoff(exact());
        let retries = factory.retries();
        let connector = Connector::start(&reactor, "10.0.0.1:80", factory)?;
        reactor.sleep(SECOND / 2).await?;
        assert_eq!(connector.state(), ConnectorState::Disconnected);
        let port = reactor.listen("10.0.0.1:80", |_| Spy::echo())?;
        connector.connect()?;
        reactor.sleep(SECOND * 60).await?;
        assert_eq!((log.count("connecting"), log.count("made")), (2, 1));
        retries.stop_trying();
        connector.disconnect();
        reactor.sleep(SECOND).await?;
        port.stop().await
    });
}
