//! Debug mode: the trace of a failure, the live tree, and the watchdog.

use std::cell::RefCell;
#[cfg(unix)]
use std::io::Read;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use support::debugged::{debugged, next_line, shapes};
use support::{HERE, MS, expect_reports, own};
use torsade::failure::TraceFrame;
use torsade::reactor::{Blocked, RemoteResolver};
use torsade::{Clock, Deferred, Failure, Reactor, fail, testing, yield_now};

/// The steps of a failure's trace, each with its line.
fn way(failure: &Failure) -> Vec<(&'static str, u32)> {
    let step = |hop: &TraceFrame| match hop {
        TraceFrame::Callback { added } => ("callback", added.line()),
        TraceFrame::Deferred { made, .. } => ("Deferred", made.line()),
        TraceFrame::Awaited { at, .. } => ("await", at.line()),
        TraceFrame::Task(task) => ("task", task.spawned.line()),
        _ => ("something new", 0),
    };
    failure.trace().iter().map(step).collect()
}

#[test]
fn each_receiver_of_a_failure_has_its_own_trace() {
    testing::run_on(debugged(), async |_reactor| {
        let (deferred, resolver) = Deferred::<u32>::pair();
        let shared = deferred.shared();
        let first_line = next_line();
        let first = shared.wait().map(|n| n + 1);
        let many: Vec<_> = (0..80).map(|_| shared.wait().map(|n| n + 2)).collect();
        let last_line = next_line();
        let last = shared.wait().map(|n| n + 3);
        let failure = Failure::new("no answer");
        resolver.errback(failure.clone());
        let (first, last) = (first.await.unwrap_err(), last.await.unwrap_err());
        assert!(way(&first).contains(&("callback", first_line)), "{first:?}");
        assert!(!way(&first).contains(&("callback", last_line)), "{first:?}");
        assert!(way(&last).contains(&("callback", last_line)), "{last:?}");
        assert!(!way(&last).contains(&("callback", first_line)), "{last:?}");
        for other in many {
            assert_eq!(way(&other.await.unwrap_err()).len(), way(&first).len());
        }
        // They are the same failure all the same, and a holder of a clone sees its state.
        assert!(first.ptr_eq(&last) && first.ptr_eq(&failure));
        assert_eq!(way(&failure), []);
        let text = "no answer";
        assert!(first.to_string() == text && failure.to_string() == text);
        Ok(())
    });
}

#[test]
fn a_failure_tells_the_way_it_has_come() {
    testing::run_on(debugged(), async |_reactor| {
        let made = next_line();
        let (deferred, resolver) = Deferred::<u32>::pair();
        let added = next_line();
        let inner = deferred.add_callback(|n| Ok(n + 1));
        let outer_made = next_line();
        let outer = Deferred::succeed(()).add_callback(move |()| inner);
        let last = next_line();
        let outer = outer.add_callback(|n| Ok(n * 2));
        let spawned = next_line();
        let task = torsade::task::spawn_named("reader", async move { outer.await.map(|n| n + 1) });
        yield_now().await;
        let fired = next_line();
        resolver.errback(Failure::new("no answer"));
        let failure = task.await?.unwrap_err();
        assert_eq!(
            way(&failure),
            [
                ("callback", added),
                ("callback", last),
                ("Deferred", made),
                ("await", spawned),
            ]
        );
        let Some(TraceFrame::Deferred {
            fired: Some(at), ..
        }) = failure.trace().into_iter().nth(2)
        else {
            panic!("{failure:?}");
        };
        assert_eq!(at.line(), fired);
        let text = format!("{failure:?}");
        assert!(text.contains("in the task `reader` spawned at"), "{text}");
        assert_ne!(outer_made, 0);
        Ok(())
    });
}

#[test]
fn a_callback_that_waits_for_another_deferred_is_on_the_way() {
    testing::run_on(debugged(), async |_reactor| {
        let (start, go) = Deferred::<()>::pair();
        let made = next_line();
        let (inner, resolver) = Deferred::<u32>::pair();
        let added = next_line();
        let outer = start.add_callback(move |()| inner);
        let outer = outer.add_callback(|n| Ok(n + 1));
        let last = next_line() - 2;
        go.callback(());
        resolver.errback(Failure::new("no answer"));
        let failure = outer.await.unwrap_err();
        let steps = way(&failure);
        assert_eq!(
            steps[..3],
            [("Deferred", made), ("callback", added), ("callback", last)]
        );
        assert_eq!(steps.len(), 5, "{steps:?}"); // the outer Deferred, and the await
        Ok(())
    });
}

#[test]
fn a_report_shows_the_way() {
    testing::run_on(debugged(), async |reactor| {
        let observed = expect_reports(&reactor);
        let (deferred, resolver) = Deferred::<()>::pair();
        let line = next_line();
        drop(deferred.add_callback(|()| Err::<(), _>(Failure::new("lost"))));
        resolver.callback(());
        let text = observed.borrow()[0].to_string();
        assert!(
            text.contains("lost") && text.contains("by way of the callback added at"),
            "{text}"
        );
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
        assert_eq!(observed.borrow().len(), 1);
        observed.borrow_mut().clear();
        Ok(())
    });
}

#[test]
fn without_debug_mode_nothing_is_remembered() {
    let reactor = Reactor::builder().in_memory().debug(false).build().unwrap();
    testing::run_on(reactor, async |reactor| {
        let (deferred, resolver) = Deferred::<u32>::pair();
        let waiting = reactor.spawn(deferred);
        yield_now().await;
        let dump = reactor.dump();
        assert!(!dump.is_complete);
        assert!(
            dump.roots
                .iter()
                .all(|root| root.kind == "task" && root.waits_for.is_empty())
        );
        assert!(dump.to_string().contains("debug mode is off"));
        resolver.errback(Failure::new("no"));
        let failure = waiting.await?.unwrap_err();
        assert!(failure.trace().is_empty());
        Ok(())
    });
}

#[test]
fn the_dump_shows_what_waits_for_what() {
    testing::run_on(debugged(), async |reactor| {
        let clock = reactor.clone();
        let nap = Deferred::from_future(async move { clock.sleep(MS * 50).await });
        let outer = Deferred::succeed(()).add_callback(move |()| nap);
        let (never, resolver) = Deferred::<()>::pair();
        let waiter = reactor.spawn_named("waiter", never);
        let waiter = reactor.spawn_named("waiter's waiter", async move { waiter.await? });
        let napper = reactor.spawn_named("napper", outer);
        let call = reactor.call_later(MS, || ());
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(
            shapes(&reactor),
            [
                "delayed call",
                "napper(Deferred(task(sleep)))",
                "waiter's waiter(waiter(Deferred))"
            ]
        );
        let text = reactor.dump().to_string();
        assert!(text.contains("└─ sleep, due in 50ms (made at "), "{text}");
        call.cancel();
        resolver.callback(());
        waiter.await??;
        napper.await?
    });
}

#[test]
fn a_task_that_awaits_several_shows_those_it_still_waits_for() {
    testing::run_on(debugged(), async |reactor| {
        let (one, first) = Deferred::<u32>::pair();
        let (two, second) = Deferred::<u32>::pair();
        let both =
            reactor.spawn_named("both", async move { futures::future::join(one, two).await });
        yield_now().await;
        assert_eq!(shapes(&reactor), ["both(Deferred Deferred)"]);
        second.callback(2);
        yield_now().await;
        assert_eq!(shapes(&reactor), ["both(Deferred)"]);
        first.callback(1);
        assert!(both.await?.0.is_ok());
        Ok(())
    });
}

#[test]
fn a_cycle_is_shown_and_marked() {
    let reactor = debugged();
    let text = reactor.run_until(async {
        let (slot, take) = Deferred::<torsade::Task<()>>::pair();
        let one = reactor.spawn_named("one", async move {
            if let Ok(two) = slot.await {
                let _ = two.await;
            }
        });
        let two = reactor.spawn_named("two", async move {
            let _ = one.await;
        });
        take.callback(two);
        for _ in 0..5 {
            yield_now().await;
        }
        reactor.dump().to_string()
    });
    let text = text.unwrap();
    assert!(
        text.contains("waits for all of these: a deadlock"),
        "{text}"
    );
    assert_eq!(text.matches("task `one`").count(), 2, "{text}");
    assert_eq!(text.matches("task `two`").count(), 1, "{text}");
}

#[test]
fn a_line_of_thirty_thousand_is_drawn_in_pieces() {
    let reactor = debugged();
    let text = reactor.run_until(async {
        let (first, resolver) = Deferred::<()>::pair();
        let mut last = first;
        for _ in 0..30_000 {
            let inner = last;
            let (outer, go) = Deferred::<()>::pair();
            last = outer.add_callback(move |()| inner);
            go.callback(());
            // Its own consumer must be known when it is given away, or it would leave the line.
            last = last.map(|()| ());
        }
        let text = reactor.dump().to_string();
        resolver.callback(());
        assert!(last.is_settled());
        text
    });
    let text = text.unwrap();
    assert!(text.contains("shown below"));
    let drawn = text
        .lines()
        .filter(|line| !line.contains("shown below"))
        .count();
    assert_eq!(drawn, 30_001 + "main".lines().count());
    assert!(text.lines().all(|line| line.len() < 2_000));
}

#[test]
fn finished_items_are_removed_from_the_dump() {
    testing::run_on(debugged(), async |reactor| {
        let clock = reactor.clone();
        let task = reactor.spawn_named("sleeper", async move {
            // Each sleep, each Deferred is noted by the task.
            for _ in 0..10_000 {
                clock.sleep(MS).await?;
                let (deferred, resolver) = Deferred::<()>::pair();
                clock.call_later(MS, move || resolver.callback(()));
                deferred.await?;
            }
            Ok::<_, Failure>(())
        });
        let before = shapes(&reactor).len();
        task.await??;
        assert!(before <= 2 && shapes(&reactor).is_empty());
        Ok(())
    });
}

#[test]
fn connections_and_ports_are_shown_with_their_readers() {
    for reactor in [debugged(), Reactor::builder().debug(true).build().unwrap()] {
        testing::run_on(reactor, async |reactor| {
            let port = reactor.serve(HERE, async |mut conn| {
                conn.read(&mut [0; 8]).await?;
                Ok(())
            })?;
            let client = reactor.connect_stream(port.local_addr()).await?;
            for _ in 0..100 {
                yield_now().await;
            }
            let until = Instant::now() + Duration::from_secs(20);
            while !shapes(&reactor).contains(&"task(connection)".to_owned()) {
                assert!(Instant::now() < until, "{}", reactor.dump());
                reactor.sleep(MS).await?;
            }
            assert_eq!(shapes(&reactor), ["connection", "port", "task(connection)"]);
            let text = reactor.dump().to_string();
            assert!(
                text.contains(&format!("with {}", port.local_addr())),
                "{text}"
            );
            drop(client);
            port.stop().await
        });
    }
}

/// Returns the calls that a reactor with this limit reports for `work`.
fn blamed(limit: Duration, work: impl AsyncFnOnce(Reactor)) -> Vec<Blocked> {
    let observed = Rc::new(RefCell::new(Vec::new()));
    let log = observed.clone();
    let reactor = Reactor::builder()
        .watchdog(limit)
        .on_blocked(move |blocked| log.borrow_mut().push(blocked))
        .build()
        .unwrap();
    reactor.run_until(work(reactor.clone())).unwrap();
    observed.take()
}

/// Keeps the thread busy.
fn block(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn the_watchdog_names_each_callback_and_task_that_blocks_the_loop() {
    let limit = MS * 40;
    let mut lines = Vec::new();
    let observed = blamed(limit, async |reactor| {
        lines.push(next_line());
        reactor.call_later(MS, move || block(limit * 2));
        reactor.sleep(MS * 2).await.unwrap();
        lines.push(next_line());
        let task = reactor.spawn(async move { block(limit * 2) });
        task.await.unwrap();
        let (deferred, resolver) = Deferred::<()>::pair();
        lines.push(next_line());
        drop(deferred.map(move |()| block(limit * 2)));
        // It is the callback that is blamed, not the call that fires.
        reactor.call_soon(move || resolver.callback(()));
        reactor.sleep(MS).await.unwrap();
    });
    // A busy machine may have delayed others as well.
    let named: Vec<u32> = observed
        .iter()
        .filter(|blocked| blocked.took >= limit * 2)
        .map(|blocked| blocked.location.line())
        .collect();
    for line in &lines {
        assert!(named.contains(line), "{line} is not among {observed:?}");
    }
}

#[test]
fn a_panic_in_the_watchdogs_hook_is_contained() {
    let line = next_line() + 2;
    let reactor = Reactor::builder()
        .watchdog(MS)
        .on_blocked(|_| std::panic::resume_unwind(Box::new("no more")))
        .build()
        .unwrap();
    let observed = expect_reports(&reactor);
    let work = async || {
        let (deferred, resolver) = Deferred::<()>::pair();
        let deferred = deferred.map(|()| block(MS * 10));
        resolver.callback(());
        deferred.await?;
        let (deferred, resolver) = Deferred::<()>::pair();
        let deferred = deferred.map(|()| {
            block(MS * 10);
            std::panic::resume_unwind(Box::new("oh"))
        });
        resolver.callback(());
        deferred.await
    };
    let failure = reactor.run_until(work()).unwrap().unwrap_err();
    assert!(failure.to_string().contains("oh"), "{failure}");
    let observed = std::mem::take(&mut *observed.borrow_mut());
    assert!(observed.len() >= 2);
    for report in observed {
        assert!(report.failure().to_string().contains("no more"));
        assert_eq!(report.location().line(), line);
    }
}

#[test]
fn the_watchdog_does_not_report_quick_calls() {
    let observed = blamed(Duration::from_secs(20), async |reactor| {
        for _ in 0..100 {
            reactor.call_soon(|| block(MS / 10));
            yield_now().await;
        }
    });
    assert_eq!(observed, []);
}

/// Not a test by itself: `the_watchdog_reports_a_call_that_never_returns` and
/// `sigusr1_writes_the_tree` run it and read its output.
#[test]
fn play() {
    match std::env::var("PLAY").as_deref() {
        Ok("never") => {
            let reactor = Reactor::builder().watchdog(MS * 20).build().unwrap();
            reactor.call_soon(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            reactor.run().unwrap();
        }
        Ok("stuck") => {
            let builder = Reactor::builder().debug(true).dumps_on_signal(true);
            let reactor = builder.build().unwrap();
            let (deferred, _resolver) = Deferred::<()>::pair();
            let stuck = reactor.spawn_named("stuck", deferred);
            reactor.call_later(MS, || println!("ready"));
            reactor.run().unwrap();
            drop(stuck);
        }
        _ => {}
    }
}

/// This very program, in which nothing but `play` runs.
fn player(play: &str) -> Child {
    own::command("play")
        .env("PLAY", play)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_watchdog_reports_a_call_that_never_returns() {
    let mut child = player("never");
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = said.any(|line| line.unwrap().contains("still blocks the loop, after 20ms"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(found);
}

#[cfg(unix)]
#[test]
fn sigusr1_writes_the_tree() {
    let mut child = player("stuck");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-USR1", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("└─ Deferred, pending") {
        assert_ne!(said.read_line(&mut text).unwrap(), 0, "{text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said.read_to_string(&mut text).unwrap();
    assert!(text.contains("everything that is alive"), "{text}");
    assert!(text.contains("task `stuck`, waits"), "{text}");
}

#[test]
fn a_deferred_fired_from_another_thread_has_the_line_that_fired_it() {
    type Fire = fn(RemoteResolver<()>);
    let line = line!() + 1;
    let ways: [Fire; 3] = [
        |resolver| resolver.callback(()).unwrap(),
        |resolver| resolver.errback("no").unwrap(),
        |resolver| resolver.resolve(Err(fail!("no"))).unwrap(),
    ];
    testing::run_on(debugged(), async |reactor| {
        for (way, line) in ways.into_iter().zip(line + 1..) {
            let (answer, resolver) = RemoteResolver::<()>::pair(&reactor);
            let other = thread::spawn(move || way(resolver));
            let failing = answer.add_callback(|()| Err::<(), _>(fail!("a callback's own")));
            let failure = failing.await.unwrap_err();
            other.join().unwrap();
            let fired = failure.trace().into_iter().find_map(|hop| match hop {
                TraceFrame::Deferred { fired, .. } => fired,
                _ => None,
            });
            let fired = fired.map(|at| (at.file(), at.line()));
            assert_eq!(fired, Some((file!(), line)), "{failure:?}");
        }
        Ok(())
    });
}
