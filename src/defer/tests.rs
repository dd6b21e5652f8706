//! Tests that need private access: reports, and futures that run as Deferreds.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::failure::Cancelled;
use crate::report::{Report, SinkGuard};
use crate::task::{Entered, Executor, yield_now};

/// Collects reports, and runs futures by hand.
struct Lab {
    executor: Rc<Executor>,
    reports: Rc<RefCell<Vec<Report>>>,
    _entered: Entered,
    _sink_guard: SinkGuard,
}

impl Lab {
    fn new() -> Self {
        let executor = Executor::new(|| {});
        let reports = Rc::new(RefCell::new(Vec::new()));
        let sink = reports.clone();
        Self {
            _entered: executor.enter(),
            _sink_guard: report::redirect(Rc::new(move |report| sink.borrow_mut().push(report))),
            executor,
            reports,
        }
    }

    fn run(&self) {
        while self.executor.run_batch(|| false) > 0 {}
    }

    /// Takes the reports.
    fn reports(&self) -> Vec<String> {
        let reports = self.reports.take();
        reports
            .iter()
            .map(|report| {
                assert_eq!(report.location().file(), file!());
                format!("{:?}: {}", report.origin(), report.failure())
            })
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.executor.shut_down();
        if !std::thread::panicking() {
            assert_eq!(self.reports(), Vec::<String>::new(), "left over");
        }
    }
}

fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, Failure>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn result<T>(mut deferred: Deferred<T>) -> Result<T, Failure> {
    match poll(&mut deferred) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it is still pending: {deferred:?}"),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_unhandled_failure_is_reported_once_with_the_location_of_its_deferred() {
    let lab = Lab::new();
    let line = line!() + 1;
    let (deferred, resolver) = Deferred::<()>::pair();
    drop(deferred);
    resolver.errback(Failure::new("lost"));
    {
        let reports = lab.reports.borrow();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].location().line(), line);
        assert_eq!(reports[0].failure().location().line(), line + 2);
    }
    assert_eq!(lab.reports(), ["Deferred: lost"]);
}

#[test]
fn it_is_reported_when_the_deferred_is_dropped_if_that_comes_later() {
    let lab = Lab::new();
    let (deferred, resolver) = Deferred::<()>::pair();
    resolver.errback(Failure::new("lost"));
    let deferred = deferred.map(|()| 1).add_callback(|_| Ok(()));
    assert_eq!(lab.reports(), NOTHING);
    drop(deferred);
    assert_eq!(lab.reports(), ["Deferred: lost"]);
    drop(Deferred::<()>::fail(Failure::new("failed")));
    assert_eq!(lab.reports(), ["Deferred: failed"]);
}

#[test]
fn a_handled_failure_is_not_reported() {
    let lab = Lab::new();
    let (deferred, resolver) = Deferred::<()>::pair();
    drop(deferred.add_errback(|_| Ok(())));
    resolver.errback(Failure::new("handled"));
    let (deferred, resolver) = Deferred::<()>::pair();
    resolver.errback(Failure::new("fetched"));
    assert!(result(deferred).is_err());
    drop(Deferred::<()>::fail(Failure::new("fetched")).add_both(|_| Ok(())));
    assert_eq!(lab.reports(), NOTHING);
}

#[test]
fn a_failure_passed_to_another_deferred_is_reported_by_the_last_one_only() {
    let lab = Lab::new();
    let (inner, fire_inner) = Deferred::<()>::pair();
    let line = line!() + 1;
    let (outer, fire_outer) = Deferred::<()>::pair();
    let outer = outer.add_callback(move |()| inner).map(|()| 1);
    fire_outer.callback(());
    fire_inner.errback(Failure::new("moved"));
    assert_eq!(lab.reports(), NOTHING);
    drop(outer);
    assert_eq!(lab.reports.borrow()[0].location().line(), line);
    assert_eq!(lab.reports(), ["Deferred: moved"]);
}

#[test]
fn a_dropped_chain_that_waits_reports_its_failure_at_the_end() {
    let lab = Lab::new();
    for steps_after in [false, true] {
        let (inner, fire_inner) = Deferred::<()>::pair();
        let (outer, fire_outer) = Deferred::<()>::pair();
        let outer = outer.add_callback(move |()| inner);
        drop(if steps_after {
            outer.map(|()| ())
        } else {
            outer
        });
        fire_outer.callback(());
        fire_inner.errback(Failure::new("moved"));
        assert_eq!(lab.reports(), ["Deferred: moved"]);
    }
}

#[test]
fn a_panic_at_the_end_is_reported_as_one() {
    let lab = Lab::new();
    drop(
        Deferred::succeed(())
            .add_callback(|()| -> Result<(), Failure> { resume_unwind(Box::new("oh")) }),
    );
    assert!(lab.reports.borrow()[0].is_panic());
    assert_eq!(lab.reports(), ["Deferred: panicked: oh"]);
}

#[test]
fn an_abandoned_deferred_is_reported_with_the_line_that_made_it() {
    let lab = Lab::new();
    let line = line!() + 1;
    let (deferred, resolver) = Deferred::<()>::pair();
    drop((resolver, deferred));
    assert_eq!(
        lab.reports.borrow()[0].failure().location().line(),
        line,
        "the failure's own place"
    );
    assert_eq!(lab.reports().len(), 1);
}

#[test]
fn a_cancelled_deferred_without_callbacks_is_reported_with_the_line_that_cancelled() {
    let lab = Lab::new();
    let (deferred, resolver) = Deferred::<()>::pair();
    let line = line!() + 1;
    deferred.cancel();
    drop(deferred);
    assert_eq!(lab.reports.borrow()[0].failure().location().line(), line);
    assert_eq!(lab.reports(), ["Deferred: cancelled"]);
    resolver.callback(());
}

#[test]
fn giving_up_an_await_reports_every_failure_except_the_cancel() {
    let lab = Lab::new();
    let (mut deferred, resolver) = Deferred::<()>::pair();
    assert!(poll(&mut deferred).is_pending());
    drop(deferred);
    assert!(resolver.is_cancelled());
    drop(resolver);
    assert_eq!(lab.reports(), NOTHING);

    // It was cancelled before, and then given up.
    let (mut deferred, resolver) = Deferred::<()>::pair();
    assert!(poll(&mut deferred).is_pending());
    deferred.cancel();
    drop((deferred, resolver));
    assert_eq!(lab.reports(), NOTHING);

    let (deferred, resolver) = Deferred::<()>::pair();
    let mut deferred = deferred.on_cancel(move || resolver.errback(Failure::new("no")));
    assert!(poll(&mut deferred).is_pending());
    drop(deferred);
    assert_eq!(lab.reports(), ["Deferred: no"]);
}

#[test]
fn a_late_result_after_a_cancel_is_dropped_silently() {
    let lab = Lab::new();
    let (deferred, resolver) = Deferred::<()>::pair();
    deferred.cancel();
    resolver.errback(Failure::new("late"));
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
    assert_eq!(lab.reports(), NOTHING);
}

#[test]
fn a_canceller_that_fires_and_then_panics_is_reported() {
    let lab = Lab::new();
    let (deferred, resolver) = Deferred::pair();
    let deferred = deferred.on_cancel(move || {
        resolver.callback(1);
        resume_unwind(Box::new("oh"))
    });
    deferred.cancel();
    assert_eq!(result(deferred).unwrap(), 1);
    assert_eq!(lab.reports(), ["Canceller: panicked: oh"]);
}

#[test]
fn a_destructor_that_panics_is_reported_and_breaks_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new("bomb"));
        }
    }
    let lab = Lab::new();
    // A value that is not taken.
    let (deferred, resolver) = Deferred::pair();
    drop(deferred);
    resolver.callback(Bomb);
    // A canceller that is not needed.
    let (deferred, resolver) = Deferred::pair();
    let bomb = Bomb;
    let deferred = deferred.on_cancel(move || drop(bomb));
    resolver.callback(2);
    assert_eq!(result(deferred).unwrap(), 2);
    // A result that comes too late.
    let (deferred, resolver) = Deferred::pair();
    deferred.cancel();
    resolver.callback(Bomb);
    drop(deferred.add_errback(|_| -> Result<Bomb, Failure> { Err(Failure::new("x")) }));
    assert_eq!(
        lab.reports(),
        [
            "Destructor: panicked: bomb",
            "Destructor: panicked: bomb",
            "Destructor: panicked: bomb",
            "Deferred: x",
        ]
    );
    // A callback that is skipped: the failure continues.
    let bomb = Bomb;
    let passed = Deferred::<()>::fail(Failure::new("first")).add_callback(move |()| {
        let _held = bomb;
    });
    assert_eq!(result(passed).unwrap_err().to_string(), "first");
    assert_eq!(lab.reports(), ["Destructor: panicked: bomb"]);
}

#[test]
fn a_deferred_that_waits_for_itself_fails_and_is_reported() {
    let lab = Lab::new();
    let slot = Rc::new(RefCell::new(None::<Deferred<()>>));
    let (deferred, resolver) = Deferred::pair();
    let own = slot.clone();
    let deferred = deferred.add_callback(move |()| own.take().unwrap());
    *slot.borrow_mut() = Some(deferred);
    resolver.callback(());
    assert_eq!(
        lab.reports(),
        [format!("Deferred: {}", DeferredError::WaitsForItself)],
        "no code holds it any more"
    );
}

#[test]
fn two_deferreds_that_wait_for_each_other_fail_and_are_freed() {
    let lab = Lab::new();
    let alive = Rc::new(());
    for tail in [false, true] {
        let slot = Rc::new(RefCell::new(None::<Deferred<()>>));
        let (one, fire_one) = Deferred::pair();
        let (own, held) = (slot.clone(), alive.clone());
        let one = one.add_callback(move |()| {
            let _held = &held;
            own.take().unwrap()
        });
        let one = if tail { one } else { one.map(|()| ()) };
        // The other Deferred waits for the first, and the first is going to wait for it.
        let (other, fire_other) = Deferred::pair();
        let held = alive.clone();
        let other = other.add_callback(move |()| {
            let _held = &held;
            one
        });
        *slot.borrow_mut() = Some(other);
        fire_other.callback(());
        fire_one.callback(());
        assert_eq!(
            lab.reports(),
            [format!("Deferred: {}", DeferredError::WaitsForItself)]
        );
    }
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_task_is_woken_exactly_once_and_not_polled_inside_the_firing() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let (deferred, resolver) = Deferred::pair();
    let mut deferred = deferred.map(|n: u32| n + 1);
    let pause = deferred.pause();
    for _ in 0..3 {
        assert!(Pin::new(&mut deferred).poll(&mut cx).is_pending());
    }
    resolver.callback(1);
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "it is paused");
    pause.unpause();
    let again = deferred.pause();
    again.unpause();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(2)) = Pin::new(&mut deferred).poll(&mut cx) else {
        panic!("it was woken for nothing")
    };
    drop(deferred);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "no waker is left over");
}

#[test]
fn a_waker_that_panics_breaks_nothing() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("waker"));
        }
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            resume_unwind(Box::new("dropped"));
        }
    }
    let lab = Lab::new();
    let (mut deferred, resolver) = Deferred::pair();
    let bad = Waker::from(Arc::new(Bad));
    assert!(
        Pin::new(&mut deferred)
            .poll(&mut Context::from_waker(&bad))
            .is_pending()
    );
    mem::forget(bad);
    resolver.callback(1);
    assert_eq!(result(deferred).unwrap(), 1);
    assert_eq!(lab.reports(), ["Deferred: panicked: waker"]);
}

#[test]
fn a_future_starts_in_the_next_turn_and_gives_its_result() {
    let lab = Lab::new();
    let deferred = Deferred::from_future(async { Ok(1) }).map(|n| n + 1);
    assert!(!deferred.is_settled());
    lab.run();
    assert_eq!(result(deferred).unwrap(), 2);
    let panics = Deferred::<()>::from_future(async { resume_unwind(Box::new("oh")) });
    lab.run();
    assert!(result(panics).unwrap_err().is_panic());
}

#[test]
fn a_callback_may_return_an_async_block() {
    let lab = Lab::new();
    let (inner, fire_inner) = Deferred::<u32>::pair();
    let deferred = Deferred::succeed(1).add_callback(|n| async move { Ok(n + inner.await?) });
    lab.run();
    fire_inner.callback(2);
    lab.run();
    assert_eq!(result(deferred).unwrap(), 3);
}

#[test]
fn without_a_reactor_a_future_fails() {
    let deferred = Deferred::from_future(async { Ok(1) });
    assert!(matches!(
        result(deferred).unwrap_err().downcast_ref(),
        Some(DeferredError::NoReactor)
    ));
}

/// A coroutine of which `body` awaits the first of two Deferreds and gets the second; cancelled
/// while it waits.
fn cancelled_while_waiting<F>(
    body: impl FnOnce(Deferred<u32>, Deferred<u32>) -> F,
) -> (Lab, Deferred<u32>, [Resolver<u32>; 2])
where
    F: Future<Output = Result<u32, Failure>> + 'static,
{
    let lab = Lab::new();
    let (first, fire_first) = Deferred::pair();
    let (second, fire_second) = Deferred::pair();
    let deferred = Deferred::from_future(body(first, second));
    lab.run();
    deferred.cancel();
    assert!(fire_first.is_cancelled());
    assert!(!deferred.is_settled(), "the coroutine decides, in its turn");
    lab.run();
    (lab, deferred, [fire_first, fire_second])
}

#[test]
fn a_cancelled_coroutine_may_let_it_escape() {
    let (_lab, deferred, fire) = cancelled_while_waiting(async |first, _| first.await);
    fire.into_iter().for_each(|resolver| resolver.callback(0));
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_cancelled_coroutine_may_make_another_failure_of_it() {
    let (_lab, deferred, fire) =
        cancelled_while_waiting(async |first, _| first.await.map_err(|_| Failure::new("another")));
    fire.into_iter().for_each(|resolver| resolver.callback(0));
    assert_eq!(result(deferred).unwrap_err().to_string(), "another");
}

#[test]
fn a_cancelled_coroutine_may_succeed() {
    let (_lab, deferred, fire) = cancelled_while_waiting(async |first, _| first.await.or(Ok(7)));
    fire.into_iter().for_each(|resolver| resolver.callback(0));
    assert_eq!(result(deferred).unwrap(), 7);
}

#[test]
fn a_cancelled_coroutine_may_continue_and_be_cancelled_again() {
    let (lab, deferred, [_, fire_second]) = cancelled_while_waiting(async |first, second| {
        assert!(first.await.unwrap_err().is::<Cancelled>());
        second.await
    });
    assert!(!deferred.is_settled());
    assert!(!fire_second.is_cancelled());
    deferred.cancel();
    assert!(fire_second.is_cancelled());
    lab.run();
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_coroutine_continues_with_the_value_of_a_canceller() {
    let lab = Lab::new();
    let (inner, resolver) = Deferred::<u32>::pair();
    let inner = inner.on_cancel(move || resolver.callback(5));
    let deferred = Deferred::from_future(async { Ok(inner.await? + 1) });
    lab.run();
    deferred.cancel();
    lab.run();
    assert_eq!(result(deferred).unwrap(), 6);
}

#[test]
fn a_cancel_reaches_the_innermost_of_nested_coroutines() {
    let lab = Lab::new();
    let (innermost, resolver) = Deferred::<u32>::pair();
    let mut deferred = innermost;
    for _ in 0..10 {
        let inner = deferred;
        deferred = Deferred::from_future(inner);
    }
    lab.run();
    deferred.cancel();
    assert!(resolver.is_cancelled());
    lab.run();
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_cancel_that_comes_before_the_woken_coroutine_runs_reaches_its_next_await() {
    let lab = Lab::new();
    let (first, fire_first) = Deferred::<u32>::pair();
    let (second, fire_second) = Deferred::<u32>::pair();
    let seen = Rc::new(Cell::new(0));
    let log = seen.clone();
    let deferred = Deferred::from_future(async move {
        log.set(first.await?);
        second.await
    });
    lab.run();
    fire_first.callback(3);
    deferred.cancel();
    lab.run();
    assert_eq!(seen.get(), 3, "the result that came in time was not lost");
    assert!(fire_second.is_cancelled());
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_coroutine_that_cancels_itself_finds_out_at_its_next_await() {
    let lab = Lab::new();
    let (inner, resolver) = Deferred::<u32>::pair();
    let own = Rc::new(RefCell::new(None::<Deferred<u32>>));
    let slot = own.clone();
    let deferred = Deferred::from_future(async move {
        slot.borrow().as_ref().unwrap().cancel();
        inner.await
    });
    *own.borrow_mut() = Some(deferred);
    lab.run();
    assert!(resolver.is_cancelled());
    assert!(result(own.take().unwrap()).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_coroutine_that_waits_for_no_deferred_is_dropped() {
    let lab = Lab::new();
    let alive = Rc::new(());
    for start in [false, true] {
        let held = alive.clone();
        let deferred = Deferred::<()>::from_future(async move {
            let _held = held;
            pending().await
        });
        if start {
            lab.run();
        }
        deferred.cancel();
        assert!(result(deferred).unwrap_err().is::<Cancelled>());
        lab.run();
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}

#[test]
fn a_deferred_that_fired_and_was_left_alone_does_not_stop_a_cancel() {
    let lab = Lab::new();
    let (mut kept, fire_kept) = Deferred::<u32>::pair();
    let deferred = Deferred::<()>::from_future(async move {
        // Waits once for either, and continues without looking at what woke it.
        let mut polled = false;
        poll_fn(|cx| {
            if mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            assert!(Pin::new(&mut kept).poll(cx).is_pending());
            Poll::Pending
        })
        .await;
        pending::<()>().await;
        drop(kept);
        Ok(())
    });
    lab.run();
    fire_kept.callback(1);
    lab.run();
    deferred.cancel();
    assert!(deferred.is_settled(), "it waits for no Deferred");
    assert!(result(deferred).unwrap_err().is::<Cancelled>());
}

#[test]
fn everything_that_a_coroutine_awaits_at_once_is_cancelled() {
    let lab = Lab::new();
    let (one, fire_one) = Deferred::<u32>::pair();
    let (two, fire_two) = Deferred::<u32>::pair();
    let deferred = Deferred::from_future(async {
        let (one, two) = futures::future::join(one, two).await;
        Ok(one.unwrap_or(1) + two.unwrap_or(2))
    });
    lab.run();
    deferred.cancel();
    assert!(fire_one.is_cancelled() && fire_two.is_cancelled());
    lab.run();
    assert_eq!(result(deferred).unwrap(), 3);
}

#[test]
fn a_coroutine_that_awaits_many_in_turn_remembers_a_handful() {
    let lab = Lab::new();
    let deferred = Deferred::from_future(async {
        for _ in 0..1_000 {
            let (deferred, resolver) = Deferred::pair();
            let fire = async {
                yield_now().await;
                resolver.callback(());
            };
            futures::future::join(deferred, fire).await.0?;
        }
        Ok(())
    });
    lab.run();
    result(deferred).unwrap();
}

#[test]
fn a_dropped_coroutine_runs_on_unless_it_was_awaited() {
    let lab = Lab::new();
    let seen = Rc::new(Cell::new(0));
    for awaited in [false, true] {
        let log = seen.clone();
        let mut deferred = Deferred::from_future(async move {
            yield_now().await;
            log.set(log.get() + 1);
            Ok(())
        });
        if awaited {
            assert!(poll(&mut deferred).is_pending());
        }
        drop(deferred);
        lab.run();
        assert_eq!(seen.get(), 1);
    }
    drop(Deferred::<()>::from_future(async {
        Err(Failure::new("lost"))
    }));
    lab.run();
    assert_eq!(lab.reports(), ["Deferred: lost"]);
}

#[test]
fn a_coroutine_leaves_nothing_behind_however_it_ends() {
    let alive = Rc::new(());
    {
        let lab = Lab::new();
        let held = [(); 4].map(|()| alive.clone());
        let [finished, cancelled, waiting, unstarted] = held;
        let (inner, _resolver) = Deferred::<()>::pair();
        let finished = Deferred::from_future(async move {
            drop(finished);
            Ok(())
        });
        let cancelled = Deferred::from_future(async move {
            let _held = cancelled;
            inner.await
        });
        let waiting = Deferred::<()>::from_future(async move {
            let _held = waiting;
            pending().await
        });
        lab.run();
        cancelled.cancel();
        lab.run();
        let unstarted = Deferred::from_future(async move {
            drop(unstarted);
            Ok(())
        });
        result(finished).unwrap();
        assert!(result(cancelled).is_err());
        lab.executor.shut_down();
        for ended in [waiting, unstarted] {
            assert!(result(ended).unwrap_err().is::<Cancelled>());
        }
        let late = Deferred::from_future(async { Ok(()) });
        assert!(result(late).unwrap_err().is::<Cancelled>());
    }
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn failures_of_misuse_have_a_location() {
    let (mut deferred, resolver) = Deferred::pair();
    resolver.callback(1);
    assert!(poll(&mut deferred).is_ready());
    let Poll::Ready(Err(failure)) = poll(&mut deferred) else {
        panic!("there was one result")
    };
    assert!(matches!(
        failure.downcast_ref(),
        Some(DeferredError::ResultTaken)
    ));
    let failure = result(deferred.map(|n| n + 1)).unwrap_err();
    assert!(matches!(
        failure.downcast_ref(),
        Some(DeferredError::ResultTaken)
    ));
    assert_eq!(failure.location().file(), file!());
}
