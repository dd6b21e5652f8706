//! A client that reconnects: connecting, delays, waiters, and stopping.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{HERE, Log, MS, Spy, expect_reports, until};
use torsade::net::ConnectError;
use torsade::services::{Backoff, ClientService, PortService, Service, ServiceError};
use torsade::{Cancelled, Clock, Deferred, Failure, Port, Reactor, yield_now};

const SECOND: Duration = Duration::from_secs(1);

/// A port that counts its connections, and can reset them.
fn server(reactor: &Reactor, log: &Log) -> Result<Port, Failure> {
    let log = log.clone();
    reactor.listen(HERE, move |_| Spy::named(&log, "server"))
}

on_both! {
    async fn closed_gives_the_reason_after_connection_lost(reactor) {
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

    async fn when_connected_waits_for_the_start_and_fails_after_a_stop(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let make = || ClientService::new(&reactor, port.local_addr(), Spy::echo);
        let client = make()?;
        let (one, other) = (client.when_connected(), client.when_connected_within(1));
        yield_now().await;
        assert!(!one.is_settled() && !other.is_settled());
        client.start()?;
        assert!(one.await?.is_connected() && other.await?.is_connected());
        client.stop().await?;
        assert!(client.when_connected().await.unwrap_err().is::<Cancelled>());
        client.start()?;
        assert!(client.when_connected().await?.is_connected());
        client.stop().await?;

        let never = make()?;
        let (one, other) = (never.when_connected(), make()?.when_connected());
        assert!(other.await.unwrap_err().is::<Cancelled>());
        never.stop().await?;
        assert!(one.await.unwrap_err().is::<Cancelled>());
        port.stop().await?;
    }

    async fn when_connected_gives_the_handle_to_all_waiters(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?;
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

    async fn a_start_while_stopping_reconnects_after_the_stop(reactor) {
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

    async fn a_stop_while_connecting_cancels_the_attempt(reactor) {
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

    async fn the_deferred_of_each_stop_fires(reactor) {
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

    async fn the_callback_of_a_stop_may_start_it_again(reactor) {
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

    async fn the_preparation_runs_before_the_waiters(reactor) {
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

    async fn a_stop_while_preparing_closes_the_connection(reactor) {
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

    async fn a_lost_client_reconnects(reactor) {
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

    async fn a_stop_during_a_delay_is_immediate_and_leaves_no_timer(reactor) {
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

    async fn failures_are_counted_and_when_connected_within_limits_them(reactor) {
        let address = support::free_addr(&reactor).await?;
        let quick = Backoff::new().initial(MS).factor(1.0).jitter(Duration::ZERO);
        let client = ClientService::new(&reactor, address, Spy::echo)?.backoff(quick);
        client.start()?;
        let (once, thrice) = (client.when_connected_within(1), client.when_connected_within(3));
        let ever = client.when_connected();
        assert!(is_error!(once.await.unwrap_err(), ConnectError::Refused { .. }));
        assert!(!thrice.is_settled());
        assert!(is_error!(thrice.await.unwrap_err(), ConnectError::Refused { .. }));
        assert!(client.failures() >= 3 && !ever.is_settled());
        // It connects as soon as a server listens, and the failures are reset.
        let port = reactor.listen(address, |_| Spy::echo())?;
        ever.await?;
        assert_eq!(client.failures(), 0);
        client.stop().await?;
        port.stop().await?;
    }

    async fn no_protocol_or_a_failed_preparation_is_a_failure_to_connect(reactor) {
        let log = Log::new();
        let port = server(&reactor, &log)?;
        let client = ClientService::new(&reactor, port.local_addr(), || None::<Spy>)?;
        client.start()?;
        assert!(matches!(client.when_connected_within(1).await.unwrap_err().trap()?, ServiceError::NoProtocol));
        client.stop().await?;
        let client = ClientService::new(&reactor, port.local_addr(), Spy::echo)?
            .prepare(|_| Err::<(), _>(Failure::new("not good enough")));
        client.start()?;
        let failure = client.when_connected_within(1).await.unwrap_err();
        assert_eq!(failure.to_string(), "not good enough");
        client.stop().await?;
        until(|| log.has("server lost done")).await;
        port.stop().await?;
    }
}

/// Runs a test in memory, where time is virtual.
fn in_memory(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure> + 'static) {
    torsade::testing::run_on(Reactor::in_memory().unwrap(), test);
}

#[test]
fn retries_have_growing_delays_that_restart_after_a_success() {
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
        // Each success restarts the delays.
        assert_eq!(tries.take(), [16]);
        client.stop().await?;
        port.stop().await
    });
}

#[test]
fn after_a_loss_the_first_delay_is_used_once_and_later_ones_grow() {
    in_memory(async |reactor| {
        let address = "10.0.0.1:80";
        let policy = Backoff::new()
            .initial(SECOND)
            .factor(2.0)
            .jitter(Duration::ZERO);
        let tries = Rc::new(RefCell::new(Vec::new()));
        let (seen, clock) = (tries.clone(), reactor.clone());
        let client = ClientService::new(&reactor, address, move || {
            seen.borrow_mut().push(clock.now());
            Spy::echo()
        })?
        .backoff(policy);
        let port = reactor.listen(address, |_| Spy::echo())?;
        client.start()?;
        let handle = client.when_connected().await?;
        reactor.sleep(SECOND * 100).await?;
        port.stop().await?;
        tries.take();
        handle.transport().unwrap().lose_connection();
        handle.closed().await?;
        let lost = reactor.now();
        reactor.sleep(SECOND * 20).await?;
        let after = |tries: &RefCell<Vec<Instant>>| -> Vec<u64> {
            let tries = tries.take().into_iter();
            tries.map(|at| (at - lost).as_secs()).collect()
        };
        assert_eq!(after(&tries), [1, 3, 7, 15]);
        assert_eq!(client.failures(), 4);

        // The same when it is started again.
        client.stop().await?;
        client.start()?;
        reactor.sleep(SECOND * 4).await?;
        assert_eq!(after(&tries), [20, 21, 23]);
        client.stop().await
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
fn when_connected_within_fails_with_the_last_failure() {
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
        assert!(is_error!(failure, ConnectError::Refused { .. }) && reactor.now() == start);
        let failure = thrice.await.unwrap_err();
        assert!(is_error!(failure, ConnectError::Refused { .. }) && client.failures() == 3);
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
        assert!(matches!(failure.trap()?, ServiceError::NoProtocol));
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

#[test]
fn a_cancelled_attempt_does_not_count_for_the_next_start() {
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
fn a_panic_without_waiters_is_reported() {
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
        assert_eq!(reports[0].location().file(), file!());
        Ok(())
    });
}

#[test]
fn the_end_of_the_reactor_during_a_delay_fails_the_waiters() {
    let reactor = Reactor::in_memory().unwrap();
    let ended = reactor.run_until(async {
        let client = ClientService::new(&reactor, "10.0.0.1:80", Spy::echo)?;
        client.start()?;
        client.when_connected_within(1).await.unwrap_err();
        Ok::<_, Failure>((client.clone(), client.when_connected()))
    });
    let (client, waiting) = ended.unwrap().unwrap();
    drop(reactor);
    assert!(waiting.is_settled() && !client.is_running());
    let seen = Log::new();
    let log = seen.clone();
    drop(waiting.map(drop).add_errback(move |failure| {
        log.note(failure.is::<Cancelled>());
    }));
    assert_eq!(seen.take(), ["true"]);
}
