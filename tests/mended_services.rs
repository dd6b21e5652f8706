//! Services: what was given up, panics that nobody waits for, and members that stop all.

mod support;

use std::cell::Cell;
use std::time::Duration;

use support::{Log, MS, Spy, expect_reports};
use torsade::services::{Backoff, ClientService, MultiService, Service, TimerService};
use torsade::{Clock, Deferred, Failure, Reactor, VirtualClock, yield_now};

/// In memory, where time is moved.
fn in_memory(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure> + 'static) {
    torsade::testing::run_on(Reactor::in_memory().unwrap(), test);
}

#[test]
fn an_attempt_that_was_given_up_is_no_failure_of_the_next_ones() {
    in_memory(async |reactor| {
        let log = Log::new();
        let port = reactor.listen("10.0.0.1:80", |_| Spy::echo())?;
        let seen = log.clone();
        let client = ClientService::new(&reactor, "10.0.0.1:80", move || {
            seen.note("build");
            Spy::echo()
        })?;
        client.start()?;
        while !log.has("build") {
            yield_now().await;
        }
        let stopped = client.stop();
        client.start()?;
        client.when_connected_within(1).await?;
        stopped.await?;
        assert_eq!((log.count("build"), client.failures()), (2, 0));
        client.stop().await?;
        port.stop().await
    });
}

#[test]
fn a_panic_that_nobody_waits_for_is_reported() {
    in_memory(async |reactor| {
        let reports = expect_reports(&reactor);
        let mut calls = 0;
        let client = ClientService::new(&reactor, "10.0.0.1:80", move || {
            calls += 1;
            assert!(calls != 2, "not twice");
            None::<Spy>
        })?
        .backoff(Backoff::new().initial(MS).jitter(Duration::ZERO));
        client.start()?;
        reactor.sleep(MS * 1000).await?;
        client.stop().await?;
        let reports = reports.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].failure().is_panic());
        assert_eq!(reports[0].place().file(), file!());
        Ok(())
    });
}

/// Stops all when it is started.
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
fn a_member_that_stops_all_when_it_starts_leaves_nothing_running() {
    let log = Log::new();
    let all = MultiService::new();
    let after = TimerService::new(&VirtualClock::new(), MS, || Ok(()));
    all.add(Stopper(all.clone(), log.clone(), Cell::default()))
        .unwrap();
    all.add(after.clone()).unwrap();
    all.start().unwrap();
    assert!(!all.is_running() && !after.is_running());
    assert_eq!(log.all().last().unwrap(), "stop stopper");

    // One that comes while all run does the same.
    log.take();
    let all = MultiService::new();
    all.start().unwrap();
    all.add(Stopper(all.clone(), log.clone(), Cell::default()))
        .unwrap();
    assert!(!all.is_running());
    assert_eq!(log.take(), ["start stopper", "stop stopper"]);
}
