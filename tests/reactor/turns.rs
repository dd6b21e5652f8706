//! The loop itself: the order of a turn, its life, triggers, threads, foreign loops, panics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, alive, cpu_time, expect_reports, some_turns, until};
use torsade::clock::TimedOut;
use torsade::reactor::{ReactorError, Stopped};
use torsade::report::Origin;
use torsade::{Clock, Deferred, Failure, OnPanic, Phase, Reactor, spawn, testing, yield_now};

on_both! {
    async fn a_turn_runs_threads_then_timers_then_tasks_then_io(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let to = log.clone();
        let spy = Spy::new(&Log::new()).on_data(move |_, _| to.note("io"));
        let handle = reactor.connect(port.local_addr(), spy).await?;
        handle.transport().unwrap().write("x");
        let (to, clock) = (log.clone(), reactor.clone());
        // Asked for in the other direction, from one batch.
        reactor.call_soon(move || {
            let note = |what: &'static str| {
                let to = to.clone();
                move || to.note(what)
            };
            // The server has answered by the time this turn's I/O comes.
            spawn({
                let note = note("task");
                async move { note() }
            })
            .detach();
            clock.call_soon(note("soon"));
            clock.call_later(Duration::ZERO, note("timer"));
            clock.remote().call(|| REMOTE.with(|log| log.borrow().as_ref().unwrap().note("thread"))).unwrap();
            REMOTE.with(|log| drop(log.replace(Some(to.clone()))));
        });
        until(|| log.all().len() >= 5).await;
        let mut all = log.take();
        // The echo may come in one turn or the next.
        all.retain(|note| note != "io");
        assert_eq!(all, ["thread", "timer", "task", "soon"]);
        REMOTE.with(|log| drop(log.take()));
        handle.transport().unwrap().lose_connection();
        port.stop().await?;
    }

    async fn a_call_soon_from_a_batch_runs_in_the_next_batch(reactor) {
        let log = Log::new();
        let (to, again) = (log.clone(), reactor.clone());
        reactor.call_soon(move || {
            to.note("a");
            let inner = to.clone();
            again.call_soon(move || inner.note("c"));
        });
        let to = log.clone();
        reactor.call_soon(move || to.note("b"));
        yield_now().await;
        assert_eq!(log.all(), ["a", "b"]);
        yield_now().await;
        assert_eq!(log.take(), ["a", "b", "c"]);
    }

    async fn a_timer_without_delay_runs_in_the_next_turn(reactor) {
        let log = Log::new();
        let (to, clock) = (log.clone(), reactor.clone());
        reactor.call_later(Duration::ZERO, move || {
            to.note("timer");
            let inner = to.clone();
            clock.call_later(Duration::ZERO, move || inner.note("again"));
            let inner = to.clone();
            clock.call_soon(move || inner.note("soon"));
        });
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["timer", "soon", "again"]);
    }

    async fn timers_of_one_deadline_run_in_the_order_of_the_requests(reactor) {
        let log = Log::new();
        let at = reactor.now() + MS;
        for n in 0..100 {
            let to = log.clone();
            reactor.call_at(at, move || to.note(n));
        }
        reactor.sleep(MS * 2).await?;
        assert!(log.take().iter().map(|n| n.parse::<i32>().unwrap()).eq(0..100));
    }

    async fn endless_rescheduling_starves_no_other_work(reactor) {
        fn soon(reactor: &Reactor, go: &Rc<Cell<bool>>) {
            if go.get() {
                let (again, go) = (reactor.clone(), go.clone());
                reactor.call_soon(move || soon(&again, &go));
            }
        }
        fn later(reactor: &Reactor, go: &Rc<Cell<bool>>) {
            if go.get() {
                let (again, go) = (reactor.clone(), go.clone());
                reactor.call_later(Duration::ZERO, move || later(&again, &go));
            }
        }
        let go = Rc::new(Cell::new(true));
        soon(&reactor, &go);
        later(&reactor, &go);
        let task = go.clone();
        let spinning = spawn(async move {
            while task.get() {
                yield_now().await;
            }
        });
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..20 {
            conn.write_all(b"ping").await?;
            conn.read_exact(&mut [0; 4]).await?;
        }
        go.set(false);
        spinning.await?;
        drop(conn);
        port.stop().await?;
    }

    async fn a_run_inside_a_turn_is_refused(reactor) {
        let failure = reactor.run().unwrap_err();
        assert_failure!(failure, ReactorError::AlreadyRunning);
        let other = Reactor::in_memory()?;
        let failure = other.run_until(async {}).unwrap_err();
        assert_failure!(failure, ReactorError::AlreadyRunning);
        for step in [
            &(|| other.iterate(Duration::ZERO)) as &dyn Fn(),
            &|| testing::settle(&other),
            &|| other.advance(MS),
            &|| other.run_until_current(),
            &|| other.do_iteration(None),
        ] {
            assert!(catch_unwind(AssertUnwindSafe(step)).is_err());
        }
        assert!(!other.has_ended());
    }

    async fn calls_from_eight_threads_keep_each_threads_order(reactor) {
        thread_local!(static GOT: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) });
        const EACH: usize = 5_000;
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let remote = reactor.remote();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        remote
                            .call(move || GOT.with(|got| got.borrow_mut().push((thread, n))))
                            .unwrap();
                    }
                })
            })
            .collect();
        until(|| GOT.with(|got| got.borrow().len()) == 8 * EACH).await;
        for thread in threads {
            thread.join().unwrap();
        }
        let got = GOT.take();
        for thread in 0..8 {
            let order = got.iter().filter(|(from, _)| *from == thread).map(|(_, n)| *n);
            assert!(order.eq(0..EACH));
        }
        let _ = reactor;
    }

    async fn a_thread_wakes_a_loop_that_sleeps(reactor) {
        for _ in 0..200 {
            let (deferred, resolver) = Deferred::<u8>::pair();
            WAKE.with(|wake| drop(wake.replace(Some(resolver))));
            let remote = reactor.remote();
            let thread = std::thread::spawn(move || {
                remote.call(|| {
                    WAKE.take().unwrap().callback(7);
                })
            });
            assert_eq!(deferred.await?, 7);
            thread.join().unwrap()?;
        }
    }

    async fn a_panic_is_reported_with_the_place_that_registered_it(reactor) {
        let reports = expect_reports(&reactor);
        reactor.call_soon(|| panic!("a call"));
        let line = line!() - 1;
        reactor.call_later(Duration::ZERO, || panic!("a timer"));
        spawn(async { panic!("a task") }).detach();
        drop(Deferred::succeed(1).add_callback(|_| -> Result<(), Failure> { panic!("a callback") }));
        reactor.remote().call(|| panic!("from a thread"))?;
        until(|| reports.borrow().len() == 5).await;
        let reports = reports.take();
        assert!(reports.iter().all(|report| report.location().file() == file!() && report.is_panic()));
        let of = |origin| reports.iter().filter(|report| report.origin() == origin).count();
        assert_eq!((of(Origin::Call), of(Origin::DelayedCall), of(Origin::Task), of(Origin::Deferred)), (2, 1, 1, 1));
        assert!(reports.iter().any(|report| report.location().line() == line));
        yield_now().await;
    }

    async fn a_hook_for_reports_may_panic(reactor) {
        testing::expect_panics(&reactor);
        reactor.on_report(|_| panic!("worse"));
        reactor.call_soon(|| panic!("bad"));
        spawn(async { panic!("bad") }).detach();
        some_turns().await;
        assert_eq!(testing::take_reports(&reactor).len(), 2);
    }

    async fn hooks_for_reports_add_up(reactor) {
        let log = Log::new();
        for name in ["first", "second"] {
            let log = log.clone();
            reactor.on_report(move |report| log.note(format!("{name}: {}", report.failure())));
        }
        drop(Deferred::<()>::fail(Failure::new("lost")));
        assert_eq!(log.take(), ["first: lost", "second: lost"]);
        let reports = testing::take_reports(&reactor);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].failure().to_string(), "lost");
        assert!(testing::take_reports(&reactor).is_empty());
    }
}

mod reports_and_limits {
    use super::*;

    on_both! {
        async fn a_failure_that_the_program_reported_is_not_reported_again(reactor) {
            let failure = Failure::new("lost");
            failure.clone().report("while looking");
            drop(Deferred::<()>::fail(failure));
            assert_eq!(testing::take_reports(&reactor).len(), 1);
        }

        async fn a_report_names_the_activity_and_the_connection(reactor) {
            let line = line!() + 2;
            let protocol = Spy::new(&Log::new()).on_data(|_, _| {
                Failure::new("no such user").report("while looking for the user");
            });
            let port = reactor.listen(HERE, once(protocol))?;
            let served = reactor.serve(HERE, async |mut conn| {
                let read = conn.read(&mut [0; 8]).await?;
                Failure::new("too short").report(format_args!("after {read} bytes"));
                Ok(())
            })?;
            for (address, doing, what) in [
                (port.local_addr(), "while looking for the user", "no such user"),
                (served.local_addr(), "after 2 bytes", "too short"),
            ] {
                let mut conn = reactor.connect_stream(address).await?;
                conn.write_all(b"hi").await?;
                let mut reports = Vec::new();
                until(|| {
                    reports.extend(testing::take_reports(&reactor));
                    !reports.is_empty()
                })
                .await;
                let here = conn.local_addr()?;
                assert_eq!(reports[0].origin(), Origin::Caught);
                assert_eq!(reports[0].doing(), Some(doing));
                assert_eq!(reports[0].connection(), Some(&here));
                assert_eq!(reports[0].failure().to_string(), what);
                assert_eq!(reports[0].location().file(), file!());
                let said = reports[0].to_string();
                assert!(said.starts_with(&format!("a failure {doing}, reported at ")), "{said}");
                assert!(said.contains(&format!(", connection with {here}: {what}")), "{said}");
                if doing.starts_with("while") {
                    assert_eq!(reports[0].location().line(), line);
                }
            }
            Failure::new("elsewhere").report("outside a connection");
            assert_eq!(testing::take_reports(&reactor)[0].connection(), None);
            port.stop().await?;
            served.stop().await?;
        }

        async fn a_panic_in_a_hook_names_the_connection(reactor) {
            testing::expect_panics(&reactor);
            let protocol = Spy::new(&Log::new()).on_data(|_, _| panic!("bad byte"));
            let port = reactor.listen(HERE, once(protocol))?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"x").await?;
            let mut reports = Vec::new();
            until(|| {
                reports.extend(testing::take_reports(&reactor));
                !reports.is_empty()
            })
            .await;
            assert_eq!(reports[0].connection(), Some(&conn.local_addr()?));
            port.stop().await?;
        }

        async fn a_reported_panic_neither_stops_nor_unwinds(reactor) {
            let caught = Deferred::succeed(()).add_callback(|()| -> Result<(), Failure> { panic!("oh") });
            caught.await.unwrap_err().report("while trying");
            yield_now().await;
            let reports = testing::take_reports(&reactor);
            assert!(reports[0].is_panic() && reports.len() == 1);
        }

        async fn a_limit_holds_for_a_future_that_borrows(reactor) {
            let mut text = String::from("a");
            let value = reactor.timeout(MS * 100, async {
                text.push('b');
                text.len()
            });
            assert_eq!(value.await?, 2);
            let never = reactor.timeout(MS, async { text.push('c'); std::future::pending::<u8>().await });
            let failure = never.await.unwrap_err();
            assert_eq!(failure.trap::<TimedOut>()?.0, MS);
            assert_eq!(failure.location().file(), file!());
            assert_eq!(text, "abc");
        }

        async fn a_result_at_the_limit_is_in_time(reactor) {
            let both = reactor.timeout(MS, reactor.sleep(MS));
            assert!(both.await?.is_ok());
        }
    }
}

/// Attaches a protocol to the first connection.
fn once(protocol: Spy) -> impl FnMut(torsade::Address) -> Option<Spy> {
    let mut protocol = Some(protocol);
    move |_| protocol.take()
}

#[test]
#[should_panic(expected = "the test did not handle")]
fn a_hook_for_reports_does_not_replace_the_check_of_a_test() {
    testing::run(async |reactor| {
        reactor.on_report(|_| {});
        drop(Deferred::<()>::fail(Failure::new("lost")));
        Ok(())
    });
}

#[test]
#[should_panic(expected = "the test did not handle")]
fn a_panic_that_was_expected_and_not_taken_fails_a_test() {
    testing::run(async |reactor| {
        testing::expect_panics(&reactor);
        reactor.call_soon(|| panic!("unhandled"));
        yield_now().await;
        Ok(())
    });
}

thread_local! {
    static REMOTE: RefCell<Option<Log>> = const { RefCell::new(None) };
    static WAKE: RefCell<Option<torsade::Resolver<u8>>> = const { RefCell::new(None) };
}

on_both_by_hand! {
    fn main_may_borrow_and_its_value_is_returned(reactor) {
        let words = vec!["a".to_owned(), "b".to_owned()];
        let mut seen = Vec::new();
        let n = reactor
            .run_until(async {
                for word in &words {
                    yield_now().await;
                    seen.push(word.as_str());
                }
                seen.len()
            })
            .unwrap();
        assert_eq!((n, seen), (2, vec!["a", "b"]));
        assert!(reactor.has_ended());
    }

    fn stop_is_refused_unless_it_runs(reactor) {
        assert!(matches!(reactor.stop(), Err(ReactorError::NotRunning)));
        let inner = reactor.clone();
        reactor.add_system_event_trigger(Phase::After, "startup", move || {
            assert!(inner.is_running());
            inner.stop().unwrap();
            assert!(!inner.is_running());
            assert!(matches!(inner.stop(), Err(ReactorError::NotRunning)));
        });
        reactor.run().unwrap();
        assert!(matches!(reactor.stop(), Err(ReactorError::NotRunning)));
        assert_failure!(reactor.run().unwrap_err(), ReactorError::NotRestartable);
        assert!(reactor.has_ended());
    }

    fn a_stop_before_main_is_done_drops_it(reactor) {
        let (log, stop) = (Log::new(), reactor.clone());
        struct Noting(Log);
        impl Drop for Noting {
            fn drop(&mut self) {
                self.0.note("dropped");
            }
        }
        let noting = Noting(log.clone());
        reactor.call_later(MS, move || stop.stop().unwrap());
        let result = reactor.run_until(async move {
            let _noting = noting;
            std::future::pending::<()>().await
        });
        result.unwrap_err().trap::<Stopped>().unwrap();
        assert_eq!(log.take(), ["dropped"]);
    }

    fn tasks_that_wait_when_the_reactor_ends_are_dropped_silently(reactor) {
        let reports = expect_reports(&reactor);
        let (main, log) = (reactor.clone(), Log::new());
        let observed = log.clone();
        let result = reactor.run_until(async move {
            let work = || {
                std::thread::park_timeout(MS * 10);
                Ok(())
            };
            // A task waits, and so does main; and a task that handles its failures gets this one.
            let task = main.clone();
            main.spawn(async move { task.spawn_blocking(work).await }).detach();
            let noted = main.spawn_blocking(work).add_errback(move |failure| {
                observed.note(&failure);
                Ok(())
            });
            drop(noted);
            drop(torsade::defer_later(&main, MS * 1000, || Ok(())));
            main.stop().unwrap();
            main.spawn_blocking(work).await
        });
        result.unwrap_err().trap::<Stopped>().unwrap();
        assert_eq!(log.take(), ["the reactor was stopped"]);
        let reports = reports.borrow();
        let waiting = reports.iter().filter(|report| report.origin() != Origin::Thread);
        assert_eq!(waiting.count(), 0, "{reports:?}");
    }

    fn main_may_panic_while_it_is_dropped(reactor) {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let reports = expect_reports(&reactor);
        let stop = reactor.clone();
        reactor.call_later(MS, move || stop.stop().unwrap());
        let result = reactor.run_until(async {
            let _bomb = Bomb;
            std::future::pending::<()>().await
        });
        result.unwrap_err().trap::<Stopped>().unwrap();
        assert!(reactor.has_ended());
        assert_eq!(reports.borrow().len(), 1);
    }

    fn a_panic_of_main_leaves_run_after_the_shutdown_triggers(reactor) {
        let log = Log::new();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || to.note("before"));
        let panic = catch_unwind(AssertUnwindSafe(|| reactor.run_until(async { panic!("main") })));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "main");
        assert_eq!(log.take(), ["before"]);
        assert!(reactor.has_ended());
    }

    fn crash_leaves_everything_and_it_can_be_run_again(reactor) {
        let log = Log::new();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || to.note("shutdown"));
        let to = log.clone();
        reactor.call_later(MS * 300, move || to.note("timer"));
        let crash = reactor.clone();
        reactor.call_soon(move || crash.crash());
        reactor.run().unwrap();
        assert!(!reactor.has_ended() && !reactor.is_running() && log.is_empty());
        let crash = reactor.clone();
        reactor.call_soon(move || {
            crash.stop().unwrap();
            crash.crash();
        });
        reactor.run().unwrap();
        assert!(!reactor.has_ended() && log.is_empty(), "crash takes the stop back");
        let stop = reactor.clone();
        reactor.call_later(MS * 301, move || stop.stop().unwrap());
        reactor.run().unwrap();
        assert_eq!(log.take(), ["timer", "shutdown"]);
    }

    fn triggers_run_in_their_phases_and_before_is_waited_for(reactor) {
        let log = Log::new();
        let add = |phase, event: &str, what: &'static str| {
            let to = log.clone();
            reactor.add_system_event_trigger(phase, event, move || to.note(what))
        };
        for event in ["startup", "shutdown"] {
            add(Phase::After, event, if event == "startup" { "up 3" } else { "down 4" });
            add(Phase::During, event, if event == "startup" { "up 2" } else { "down 3" });
            let (to, clock) = (log.clone(), reactor.clone());
            let name = if event == "startup" { "up 1" } else { "down 1" };
            reactor.add_system_event_trigger(Phase::Before, event, async move || {
                let before = clock.is_running();
                clock.sleep(MS).await?;
                to.note(format_args!("{name} {before}"));
                Ok(())
            });
        }
        add(Phase::Before, "shutdown", "down 0");
        let gone = add(Phase::Before, "shutdown", "never");
        assert!(gone.remove());
        assert!(!gone.remove());
        let (to, stop) = (log.clone(), reactor.clone());
        reactor.add_system_event_trigger(Phase::After, "startup", move || {
            to.note("running");
            stop.stop().unwrap();
        });
        reactor.run().unwrap();
        assert_eq!(
            log.take(),
            ["up 1 false", "up 2", "up 3", "running", "down 0", "down 1 false", "down 3", "down 4"]
        );
    }

    fn a_trigger_that_fails_or_panics_is_reported_and_the_others_run(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", || panic!("one"));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", || Err(Failure::new("two")));
        reactor.add_system_event_trigger(Phase::Before, "shutdown", async || Err(Failure::new("three")));
        reactor.add_system_event_trigger(Phase::During, "shutdown", || Err(Failure::new("four")));
        reactor.add_system_event_trigger(Phase::After, "shutdown", move || to.note("after"));
        reactor.run_until(async {}).unwrap();
        let reports = reports.take();
        assert!(reports.iter().all(|report| report.origin() == Origin::Trigger && report.location().file() == file!()));
        assert_eq!((reports.len(), log.take()), (4, vec!["after".to_owned()]));
    }

    fn custom_events_are_fired_once(reactor) {
        let log = Log::new();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::During, "supper", move || to.note("eaten"));
        reactor.fire_system_event("supper");
        reactor.fire_system_event("supper");
        assert_eq!(log.take(), ["eaten"]);
    }

    fn an_ended_reactor_accepts_nothing(reactor) {
        let remote = reactor.remote();
        reactor.run_until(async {}).unwrap();
        let held = Rc::new(());
        let hold = || {
            let held = held.clone();
            move || drop(held.clone())
        };
        reactor.call_soon(hold());
        reactor.call_later(MS, hold());
        reactor.add_system_event_trigger(Phase::After, "startup", hold());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", hold());
        let hold_too = hold();
        reactor.spawn(async move { hold_too() }).detach();
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(reactor.listen(HERE, |_| Spy::echo()).is_err());
        let reports = expect_reports(&reactor);
        assert!(reactor.connect_stream("127.0.0.1:9").is_settled());
        assert!(reports.borrow().is_empty());
        assert!(matches!(remote.call(|| {}), Err(ReactorError::Ended)));
        assert!(remote.has_ended() && alive(&reactor).is_empty());
        reactor.iterate(Duration::ZERO);
    }

    fn one_that_is_dropped_unrun_frees_everything(reactor) {
        let held = Rc::new(());
        let hold = || {
            let held = held.clone();
            move || drop(held.clone())
        };
        reactor.call_soon(hold());
        reactor.call_later(MS, hold());
        reactor.add_system_event_trigger(Phase::After, "startup", hold());
        let in_task = hold();
        reactor.spawn(async move { in_task() }).detach();
        let waits = held.clone();
        let waiting = async move {
            let _held = waits;
            std::future::pending::<()>().await;
        };
        reactor.spawn(waiting).detach();
        let in_factory = held.clone();
        reactor
            .listen(HERE, move |_| {
                let _ = &in_factory;
                Spy::echo()
            })
            .unwrap();
        let remote = reactor.remote();
        assert_eq!(Rc::strong_count(&held), 7);
        drop(reactor);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(remote.has_ended());
    }

    fn nothing_is_done_while_the_start_waits(reactor) {
        let before = cpu_time();
        let (waits, resolver) = Deferred::<()>::pair();
        reactor.add_system_event_trigger(Phase::Before, "startup", move || waits);
        let turns = Rc::new(Cell::new(0));
        let (count, clock) = (turns.clone(), reactor.clone());
        reactor.spawn(async move {
            clock.sleep(MS * 300).await?;
            resolver.callback(());
            Ok::<(), Failure>(())
        }).detach();
        reactor.run_until(std::future::poll_fn(move |_| {
            count.set(count.get() + 1);
            std::task::Poll::Ready(())
        })).unwrap();
        assert_eq!(turns.get(), 1);
        assert!(cpu_time() - before < 100_000, "it span");
    }

    fn panics_can_stop_or_leave_run(reactor) {
        let reactor = support::builder_like(&reactor).on_panic(OnPanic::Stop).build().unwrap();
        reactor.on_report(|_| {});
        reactor.call_soon(|| panic!("stop"));
        reactor.run().unwrap();
        assert!(reactor.has_ended());

        let reactor = Reactor::builder().in_memory().on_panic(OnPanic::Unwind).build().unwrap();
        reactor.on_report(|_| {});
        reactor.call_soon(|| std::panic::panic_any(42_u64));
        let panic = catch_unwind(AssertUnwindSafe(|| reactor.run())).unwrap_err();
        assert_eq!(*panic.downcast::<u64>().unwrap(), 42);

        let reactor = Reactor::builder().in_memory().on_panic(OnPanic::Unwind).build().unwrap();
        reactor.on_report(|_| {});
        for step in [&Reactor::run_until_current as &dyn Fn(&Reactor), &|r| r.iterate(Duration::ZERO), &|r| testing::settle(r)] {
            reactor.call_soon(|| panic!("oh"));
            assert!(catch_unwind(AssertUnwindSafe(|| step(&reactor))).is_err());
        }
        reactor.iterate(Duration::ZERO);
    }
}

#[test]
fn time_in_memory_jumps_only_when_there_is_nothing_to_do() {
    let reactor = Reactor::in_memory().unwrap();
    let log = Log::new();
    let to = log.clone();
    reactor.call_later(MS * 1000, move || to.note("timer"));
    reactor
        .run_until(async {
            let before = reactor.now();
            for _ in 0..1000 {
                yield_now().await;
            }
            let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
            let mut conn = reactor.connect_stream(port.local_addr()).await.unwrap();
            for _ in 0..100 {
                conn.write_all(b"x").await.unwrap();
                conn.read_exact(&mut [0]).await.unwrap();
            }
            assert_eq!(reactor.now(), before);
            assert!(log.is_empty());
            reactor.sleep(MS * 2000).await.unwrap();
            assert_eq!(reactor.now() - before, MS * 2000);
        })
        .unwrap();
    assert_eq!(log.take(), ["timer"]);
}

#[test]
fn time_that_is_manual_moves_by_advance_only() {
    let reactor = Reactor::builder().manual_time().build().unwrap();
    let log = Log::new();
    for n in [3, 1, 2] {
        let (to, clock) = (log.clone(), reactor.clone());
        let start = reactor.now();
        reactor.call_later(MS * 1000 * n, move || {
            to.note(format_args!("{n} at {:?}", clock.now() - start));
        });
    }
    std::thread::sleep(MS * 2);
    testing::settle(&reactor);
    assert!(log.is_empty());
    reactor.advance(MS * 2500);
    assert_eq!(log.take(), ["1 at 1s", "2 at 2s"]);
    reactor.advance(MS * 500);
    assert_eq!(log.take(), ["3 at 3s"]);
}

/// A wake while no wait is in progress must not be forgotten.
#[test]
fn a_host_loop_is_woken_for_events_between_the_two_halves_of_a_turn() {
    let reactor = Reactor::new().unwrap();
    reactor.run_until_current();
    let remote = reactor.remote();
    let call =
        move || remote.call(|| REMOTE.with(|log| log.borrow().as_ref().unwrap().note("remote")));
    std::thread::spawn(call).join().unwrap().unwrap();
    reactor.do_iteration(Some(Duration::ZERO));
    assert_eq!(reactor.poll_timeout(), Some(Duration::ZERO));
    let log = Log::new();
    REMOTE.with(|slot| drop(slot.replace(Some(log.clone()))));
    reactor.run_until_current();
    assert!(log.has("remote"));
    assert_eq!(reactor.poll_timeout(), None);
    REMOTE.with(|slot| drop(slot.take()));
}

#[test]
fn two_reactors_take_turns_on_a_thread() {
    let (one, two) = (Reactor::new().unwrap(), Reactor::in_memory().unwrap());
    let log = Log::new();
    for (name, reactor) in [("one", &one), ("two", &two), ("one", &one)] {
        let to = log.clone();
        reactor.call_soon(move || to.note(name));
        reactor.iterate(Duration::ZERO);
    }
    assert_eq!(log.take(), ["one", "two", "one"]);
    one.run_until(async { assert!(Reactor::current().is_some()) })
        .unwrap();
    two.run_until(async {}).unwrap();
    assert!(Reactor::current().is_none());
}
