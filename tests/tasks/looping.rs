//! Delayed, periodic and cooperative work, with tasks, sockets and reports.

use std::cell::{Cell, RefCell};
use std::future::ready;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use support::{HERE, Log, MS, Spy, expect_reports, poll_once, some_turns, until};
use torsade::clock::ClockStopped;
use torsade::repeat::{CooperateError, Interval, MissedTicks, Pace, Slice};
use torsade::testing;
use torsade::{
    Cancelled, Clock, Cooperator, Deferred, Failure, LoopingCall, Reactor, VirtualClock,
    defer_later, interval, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

/// Takes ticks one after another, the tick of 1 s at 3.5 s: returns when each was due, and when it
/// came.
async fn late(reactor: &Reactor, missed: MissedTicks) -> Result<Vec<(u128, u128)>, Failure> {
    let start = reactor.now();
    let mut ticks = interval(reactor, SECOND).missed_ticks(missed);
    ticks.tick().await?;
    reactor.sleep(SECOND * 7 / 2).await?;
    let mut came = Vec::new();
    for _ in 0..5 {
        let due = ticks.tick().await?;
        came.push((
            (due - start).as_millis(),
            (reactor.now() - start).as_millis(),
        ));
    }
    Ok(came)
}

/// Logs when it is dropped, and then calls a function.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

on_both! {
    async fn the_ticks_of_an_interval_lie_on_its_grid(reactor) {
        let before = reactor.now();
        let mut ticks = interval(&reactor, MS * 2);
        let start = ticks.deadline();
        assert!(start >= before && start <= reactor.now());
        for n in 0..5 {
            assert_eq!(ticks.tick().await?, start + MS * 2 * n);
            assert!(reactor.now() >= start + MS * 2 * n);
        }
        assert_eq!(ticks.period(), MS * 2);
    }

    async fn an_interval_begins_at_its_starting_time(reactor) {
        let first = reactor.now() + MS * 3;
        let mut ticks = interval(&reactor, MS).starting_at(first);
        assert_eq!(ticks.tick().await?, first);
        assert_eq!(ticks.tick().await?, first + MS);
        ticks.reset_at(first + MS * 5);
        assert_eq!(ticks.tick().await?, first + MS * 5);
    }

    async fn an_interval_without_a_period_ticks_once_a_turn(reactor) {
        let others = Rc::new(Cell::new(0));
        let count = others.clone();
        let other = reactor.spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        let mut ticks = interval(&reactor, Duration::ZERO);
        for n in 0..100 {
            assert!(others.get() >= n, "the other task has had {} turns of {n}", others.get());
            ticks.tick().await?;
        }
        other.cancel().await;
    }

    async fn an_interval_is_an_ordinary_stream(reactor) {
        let ticks = interval(&reactor, MS);
        let start = ticks.deadline();
        let ticks = ticks.take(3).filter_map(|tick| ready(tick.ok()));
        let ticks: Vec<_> = ticks.collect().await;
        assert_eq!(ticks, [start, start + MS, start + MS * 2]);
    }

    async fn a_looping_call_waits_for_its_async_block(reactor) {
        let (running, count) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (clock, calls, inside) = (reactor.clone(), count.clone(), running.clone());
        let call = LoopingCall::with_handle(move |looping| {
            let (clock, calls, inside) = (clock.clone(), calls.clone(), inside.clone());
            let looping = looping.clone();
            async move {
                inside.set(inside.get() + 1);
                assert_eq!(inside.get(), 1, "two calls overlap");
                clock.sleep(MS * 3).await?;
                inside.set(inside.get() - 1);
                calls.set(calls.get() + 1);
                if calls.get() == 3 {
                    looping.stop();
                }
                Ok(())
            }
        });
        let (looping, done) = call.start(&reactor, MS * 2);
        done.await?;
        assert_eq!(count.get(), 3);
        assert!(!looping.is_running());
    }

    async fn dropping_an_awaited_end_of_a_loop_stops_the_loop_and_its_pending_call(reactor) {
        let log = Log::new();
        let note = log.clone();
        let call = LoopingCall::new(move || {
            let (waits, resolver) = Deferred::<()>::pair();
            let (cancelled, failed) = (note.clone(), note.clone());
            let waits = waits.on_cancel(move || {
                cancelled.note("cancelled");
                drop(resolver);
            });
            async move {
                failed.note("called");
                let failure = waits.await.unwrap_err();
                failed.note(failure.is::<Cancelled>());
                Err::<(), _>(failure)
            }
        });
        let (looping, done) = call.start(&reactor, MS);
        let waiting = reactor.spawn(done);
        until(|| log.has("called")).await;
        waiting.cancel().await;
        until(|| log.has("true")).await;
        assert_eq!(log.take(), ["called", "cancelled", "true"]);
        assert!(!looping.is_running());
    }

    async fn a_failure_of_a_loop_is_reported_if_its_deferred_was_dropped(reactor) {
        let reports = expect_reports(&reactor);
        LoopingCall::new(|| Err::<(), _>(Failure::new("no more"))).start(&reactor, MS);
        LoopingCall::new(|| panic!("oh")).start(&reactor, MS);
        until(|| reports.borrow().len() == 2).await;
        some_turns().await;
        let reports = reports.borrow();
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0].failure().to_string(), "no more");
        assert!(reports[1].is_panic());
    }

    async fn a_failure_after_a_loop_was_cancelled_is_reported(reactor) {
        let reports = expect_reports(&reactor);
        let (deferred, resolver) = Deferred::<()>::pair();
        let pending = RefCell::new(Some(deferred));
        let call = LoopingCall::new(move || {
            let pending = pending.take().unwrap();
            async move {
                let _ = pending.await;
                yield_now().await;
                Err::<(), _>(Failure::new("while clearing up"))
            }
        });
        let (_, done) = call.start(&reactor, MS);
        some_turns().await;
        reactor.sleep(MS).await?;
        done.cancel();
        assert!(done.await.unwrap_err().is::<Cancelled>());
        until(|| !reports.borrow().is_empty()).await;
        assert_eq!(reports.borrow()[0].failure().to_string(), "while clearing up");
        drop(resolver);
    }

    async fn a_deferred_call_may_be_an_async_block(reactor) {
        let clock = reactor.clone();
        let answer = defer_later(&reactor, MS, move || async move {
            clock.sleep(MS).await?;
            Ok(42)
        });
        assert_eq!(answer.await?, 42);
    }

    async fn work_without_end_keeps_neither_sockets_nor_timers_waiting(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let steps = Rc::new(Cell::new(0_u64));
        let count = steps.clone();
        let cooperator = Cooperator::new(&reactor);
        let work = cooperator.cooperate(std::iter::repeat_with(move || count.set(count.get() + 1)));
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..5 {
            let before = steps.get();
            conn.write_all(b"ping").await?;
            let mut buffer = [0; 4];
            conn.read_exact(&mut buffer).await?;
            assert_eq!(&buffer, b"ping");
            assert!(steps.get() > before, "the work stands still");
        }
        reactor.sleep(Duration::ZERO).await?;
        work.stop()?;
        drop(conn);
        port.stop().await?;
    }

    async fn a_step_may_be_an_async_block(reactor) {
        let (log, clock) = (Log::new(), reactor.clone());
        let note = log.clone();
        let work = (0..3).map(move |n| {
            let (note, clock) = (note.clone(), clock.clone());
            async move {
                clock.sleep(MS).await?;
                note.note(n);
                Ok(())
            }
        });
        let mut work = Cooperator::new(&reactor).coiterate(work).await?;
        assert_eq!(log.take(), ["0", "1", "2"]);
        assert!(work.next().is_none());
    }

    async fn a_pace_leaves_turns_for_other_work(reactor) {
        let (turns, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (count, is_done) = (turns.clone(), done.clone());
        let other = reactor.spawn(async move {
            while !is_done.get() {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        let mut pace = Pace::with_slice(&reactor, Slice { steps: 10, ..Slice::default() });
        let task = reactor.spawn(async move {
            for _ in 0..100 {
                pace.step().await;
            }
        });
        task.await?;
        done.set(true);
        other.await?;
        assert!(turns.get() >= 10, "{} turns", turns.get());
    }

    async fn a_pace_may_rest(reactor) {
        let start = reactor.now();
        let slice = Slice { steps: 2, rest: MS, ..Slice::default() };
        let mut pace = Pace::with_slice(&reactor, slice);
        for _ in 0..6 {
            pace.step().await;
        }
        assert!(reactor.now() >= start + MS * 3);
    }

    async fn a_failure_of_work_is_reported_once_if_its_end_was_not_requested(reactor) {
        let reports = expect_reports(&reactor);
        let cooperator = Cooperator::new(&reactor);
        let fail = |text: &'static str| std::iter::once(Err::<(), _>(Failure::new(text)));
        // The handle is dropped first.
        drop(cooperator.cooperate(fail("one")));
        // The work ends first.
        let two = cooperator.cooperate(fail("two"));
        // Its end was requested, before or after it.
        let three = cooperator.cooperate(fail("three"));
        let observed = three.when_done().add_errback(|_| ());
        let four = cooperator.cooperate(fail("four"));
        // Its end was requested, and that Deferred was dropped.
        let five = cooperator.cooperate(fail("five"));
        let asked = five.when_done();
        asked.cancel();
        assert!(asked.await.is_err());
        observed.await?;
        some_turns().await;
        assert!(four.when_done().await.is_err());
        let said = || reports.borrow().iter().map(|r| r.failure().to_string()).collect::<Vec<_>>();
        assert_eq!(said(), ["one"]);
        drop((two.clone(), three, four));
        assert_eq!(said(), ["one"]);
        assert_eq!(reports.borrow()[0].location().file(), file!());
        drop(two);
        drop(five);
        assert_eq!(said(), ["one", "two", "five"]);
    }

    async fn that_work_was_stopped_is_not_reported(reactor) {
        let reports = expect_reports(&reactor);
        let cooperator = Cooperator::new(&reactor);
        let work = || std::iter::repeat_with(|| ());
        cooperator.cooperate(work()).stop()?;
        drop(cooperator.cooperate(work()));
        cooperator.stop();
        some_turns().await;
        assert!(reports.borrow().is_empty());
    }

    async fn a_failure_of_a_step_after_its_work_was_stopped_is_reported(reactor) {
        let reports = expect_reports(&reactor);
        let (deferred, resolver) = Deferred::<()>::pair();
        let work = Cooperator::new(&reactor).cooperate(std::iter::once(async move {
            let failure = deferred.await.unwrap_err();
            assert!(failure.is::<Cancelled>());
            Err::<(), _>(Failure::new("while clearing up"))
        }));
        reactor.sleep(MS).await?;
        some_turns().await;
        work.stop()?;
        until(|| !reports.borrow().is_empty()).await;
        assert_eq!(reports.borrow()[0].failure().to_string(), "while clearing up");
        drop(resolver);
    }

    async fn destructors_of_work_may_do_as_they_like(reactor) {
        let reports = expect_reports(&reactor);
        let cooperator = Cooperator::new(&reactor);
        let (log, again) = (Log::new(), cooperator.clone());
        let note = log.clone();
        let guard = OnDrop(move || {
            let note = note.clone();
            drop(again.cooperate(std::iter::once_with(move || note.note("late work"))));
            panic!("and then");
        });
        let work = cooperator.cooperate((0..10).map(move |_| {
            let _ = &guard;
        }));
        let sibling = cooperator.cooperate((0..3).map(drop));
        work.stop()?;
        until(|| log.has("late work")).await;
        sibling.when_done().await?;
        assert_eq!(reports.borrow().len(), 1);
        assert!(is_error!(work.when_done().await.unwrap_err(), CooperateError::TaskStopped));
    }
}

on_both_by_hand! {
    fn a_loop_that_was_left_to_itself_ends_with_its_reactor_in_silence(reactor) {
        let reports = expect_reports(&reactor);
        let (calls, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count, note) = (calls.clone(), dropped.clone());
        let guard = OnDrop(move || note.set(note.get() + 1));
        let inner = reactor.clone();
        LoopingCall::with_handle(move |looping| {
            let _ = &guard;
            assert!(looping.is_running());
            count.set(count.get() + 1);
            if count.get() == 3 {
                inner.stop().unwrap();
            }
        })
        .start(&reactor, MS);
        let slice = Slice { rest: MS, ..Slice::default() };
        let cooperator = Cooperator::with_slice(&reactor, slice);
        drop(cooperator.cooperate(std::iter::repeat_with(|| ())));
        drop(cooperator.coiterate(std::iter::repeat_with(|| ())));
        reactor.run().unwrap();
        assert!(reports.borrow().is_empty(), "{:?}", reports.borrow());
        assert_eq!((calls.get(), dropped.get()), (3, 1));
    }

    fn the_deferred_of_a_loop_fails_when_its_reactor_has_ended(reactor) {
        let (_, done) = LoopingCall::new(|| ()).start(&reactor, SECOND * 100);
        let inner = reactor.clone();
        reactor.call_later(MS, move || inner.stop().unwrap());
        reactor.run().unwrap();
        let observed = Rc::new(Cell::new(false));
        let note = observed.clone();
        done.add_callbacks(
            |_| unreachable!(),
            move |failure| note.set(failure.is::<ClockStopped>()),
        );
        assert!(observed.get());
    }
}

#[test]
fn missed_ticks_are_handled_as_configured() {
    testing::run(async |reactor| {
        let burst = late(&reactor, MissedTicks::Burst).await?;
        assert_eq!(
            burst,
            [
                (1_000, 3_500),
                (2_000, 3_500),
                (3_000, 3_500),
                (4_000, 4_000),
                (5_000, 5_000)
            ]
        );
        let delay = late(&reactor, MissedTicks::Delay).await?;
        assert_eq!(
            delay,
            [
                (1_000, 3_500),
                (4_500, 4_500),
                (5_500, 5_500),
                (6_500, 6_500),
                (7_500, 7_500)
            ]
        );
        let skip = late(&reactor, MissedTicks::Skip).await?;
        assert_eq!(
            skip,
            [
                (1_000, 3_500),
                (4_000, 4_000),
                (5_000, 5_000),
                (6_000, 6_000),
                (7_000, 7_000)
            ]
        );
        Ok(())
    });
}

#[test]
fn a_start_that_has_passed_is_due_at_once() {
    testing::run(async |reactor| {
        reactor.sleep(SECOND).await?;
        let now = reactor.now();
        let start = now - SECOND / 2;
        let mut ticks = interval(&reactor, SECOND).starting_at(start);
        assert_eq!((ticks.tick().await?, reactor.now()), (start, now));
        assert_eq!(
            (ticks.tick().await?, reactor.now()),
            (start + SECOND, start + SECOND)
        );
        Ok(())
    });
}

#[test]
fn a_tick_that_was_given_up_is_still_to_come() {
    testing::run(async |reactor| {
        let start = reactor.now();
        let mut ticks = interval(&reactor, SECOND).starting_at(start + SECOND);
        for _ in 0..3 {
            assert!(poll_once(&mut Box::pin(ticks.tick())).await.is_pending());
        }
        reactor.sleep(SECOND * 3 / 2).await?; // it is due while nothing waits
        assert_eq!(ticks.tick().await?, start + SECOND);
        assert_eq!(ticks.tick().await?, start + SECOND * 2);
        Ok(())
    });
}

#[test]
fn a_reset_interval_begins_a_new_grid() {
    testing::run(async |reactor| {
        let start = reactor.now();
        let mut ticks = interval(&reactor, SECOND);
        ticks.tick().await?;
        reactor.sleep(SECOND / 4).await?;
        ticks.reset();
        assert_eq!(ticks.deadline(), start + SECOND * 5 / 4);
        assert_eq!(ticks.tick().await?, start + SECOND * 5 / 4);
        assert_eq!(ticks.tick().await?, start + SECOND * 9 / 4);
        Ok(())
    });
}

#[test]
fn an_interval_tells_that_its_clock_has_stopped() {
    let clock = VirtualClock::new();
    let mut ticks: Interval = interval(&clock, SECOND);
    drop(clock);
    testing::run(async move |_| {
        for _ in 0..2 {
            assert!(ticks.tick().await.unwrap_err().is::<ClockStopped>());
        }
        assert!(ticks.next().await.unwrap().is_err());
        assert!(ticks.next().await.is_none());
        Ok(())
    });
}

/// A bug would compute deadlines from when the call or the tick came, and not from the grid.
#[test]
fn a_year_of_ticks_does_not_drift() {
    const DAY: Duration = Duration::from_secs(86_400);
    testing::run(async |reactor| {
        let start: Instant = reactor.now();
        let (calls, clock) = (Rc::new(RefCell::new(Vec::new())), reactor.clone());
        let log = calls.clone();
        let (looping, done) = LoopingCall::new(move || {
            log.borrow_mut().push(clock.now());
            defer_later(&clock, Duration::from_nanos(333), || ())
        })
        .start(&reactor, DAY);
        let mut ticks = interval(&reactor, DAY);
        for day in 0..365 {
            assert_eq!(ticks.tick().await?, start + DAY * day);
            reactor.sleep(Duration::from_nanos(777)).await?;
        }
        looping.stop();
        done.await?;
        let wanted: Vec<_> = (0..365).map(|day| start + DAY * day).collect();
        assert_eq!(*calls.borrow(), wanted);
        Ok(())
    });
}

#[test]
fn neither_handles_nor_iterators_nor_functions_are_kept_when_all_is_over() {
    let clock = VirtualClock::new();
    let owned = Rc::new(());
    let hold = owned.clone();
    let (looping, done) = LoopingCall::with_handle(move |looping| {
        let _ = (&hold, looping.clone());
    })
    .start(&clock, SECOND);
    clock.advance(SECOND);
    assert!(looping.stop());
    drop(done);
    assert_eq!(Rc::strong_count(&owned), 1);

    let (hold, own) = (owned.clone(), Rc::new(RefCell::new(None)));
    let cooperator = Cooperator::new(&clock);
    let handle = own.clone();
    let task = cooperator.cooperate((0..2).map(move |_| drop((hold.clone(), handle.clone()))));
    *own.borrow_mut() = Some(task.clone());
    let hold = owned.clone();
    let asked = task.when_done().add_callback(move |()| drop(hold));
    clock.advance(SECOND);
    assert!(asked.is_settled());
    assert_eq!(Rc::strong_count(&owned), 1);
    assert_eq!(Rc::strong_count(&own), 1);

    let hold = owned.clone();
    let endless = cooperator.cooperate(std::iter::repeat_with(move || {
        let _ = &hold;
        Deferred::<()>::pair().0.map(drop) // is lost at once
    }));
    drop(clock);
    assert!(endless.is_finished());
    assert_eq!(Rc::strong_count(&owned), 1);
}

#[test]
fn many_tasks_are_paused_and_stopped_quickly() {
    let clock = VirtualClock::new();
    let cooperator = Cooperator::new(&clock);
    let log = Rc::new(RefCell::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..100_000)
        .map(|n| {
            let log = log.clone();
            cooperator.cooperate((0..3).map(move |_| log.borrow_mut().push(n)))
        })
        .collect();
    let pauses = tasks.iter().rev().map(|task| task.pause().unwrap());
    let mut pauses = pauses.collect::<Vec<_>>().into_iter();
    // Each returns to the end of the queue.
    drop(pauses.by_ref().take(3).collect::<Vec<_>>());
    clock.advance(Duration::ZERO);
    assert_eq!(log.borrow()[..4], [99_999, 99_998, 99_997, 99_999]);
    drop(pauses);
    cooperator.stop();
    assert!(tasks.iter().all(|task| task.is_finished()));
    // Searching the whole queue for each takes minutes.
    assert!(start.elapsed() < Duration::from_secs(20));
}
