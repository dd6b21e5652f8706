//! Deferreds: types, locations and values, which the scripts with numbers (see `conformance`) do
//! not cover.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::polled::WakeCounter;
use torsade::clock::TimedOut;
use torsade::defer::{self, DeferredError};
use torsade::failure::Panicked;
use torsade::{
    Cancelled, Clock, Deferred, Failure, Reactor, Resolver, VirtualClock, testing, yield_now,
};

#[track_caller]
fn result<T>(mut deferred: Deferred<T>) -> Result<T, Failure> {
    match Pin::new(&mut deferred).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it is still pending: {deferred:?}"),
    }
}

#[test]
fn each_callback_may_change_the_type() {
    let (deferred, resolver) = Deferred::pair();
    let deferred = deferred
        .add_callback(|word: &'static str| Ok(word.len()))
        .map(|len| vec![0_u8; len])
        .add_callback(|bytes| Deferred::succeed(bytes.into_boxed_slice()))
        .add_both(|bytes| Ok(bytes?.len() as f64))
        .add_callback(|_| ())
        .map(|()| "end".to_owned());
    resolver.callback("three");
    assert_eq!(result(deferred).unwrap(), "end");
}

#[test]
fn values_of_every_shape_pass_through() {
    #[repr(align(64))]
    #[derive(Debug, PartialEq)]
    struct Aligned(u8);
    let big = [7_u64; 100];
    for fired in [false, true] {
        let (deferred, resolver) = Deferred::pair();
        let mut resolver = Some(resolver);
        if fired {
            resolver.take().unwrap().callback(Aligned(1));
        }
        let captured = Aligned(2);
        let deferred = deferred
            .add_callback(move |it| Ok((it, captured)))
            .add_callback(move |(it, captured)| Ok((it.0 + captured.0, big)))
            .add_callback(|(sum, big)| Ok((sum, big[99], ())))
            .map(|(sum, last, ())| (Aligned(sum), last));
        if let Some(resolver) = resolver {
            resolver.callback(Aligned(1));
        }
        assert_eq!(result(deferred).unwrap(), (Aligned(3), 7));
    }
}

#[test]
fn each_value_is_dropped_exactly_once() {
    struct Counted(Rc<Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Rc::new(Cell::new(0));
    let counted = || Counted(drops.clone());
    let check = |expected: u32| assert_eq!(drops.replace(0), expected);

    // A value on its way, closures that ran, and closures that were skipped.
    let (deferred, resolver) = Deferred::pair();
    let mut deferred = deferred;
    for _ in 0..20 {
        let captured = counted();
        deferred = deferred.add_callback(move |value: Counted| {
            let _ran = captured;
            Ok(value)
        });
        let captured = counted();
        deferred = deferred.add_errback(move |failure| {
            let _passed_by = captured;
            Err(failure)
        });
    }
    check(0);
    resolver.callback(counted());
    check(40);
    drop(result(deferred));
    check(1);

    // One fails half-way, and one has a last value that is not taken.
    let (deferred, resolver) = Deferred::pair();
    let (first, second) = (counted(), counted());
    let deferred = deferred
        .add_callback(move |_: Counted| {
            drop(first);
            Err::<Counted, _>(Failure::new("no"))
        })
        .map(|value| (value, second))
        .map(|(value, _)| value);
    resolver.callback(counted());
    check(3);
    drop(
        deferred
            .add_errback(|_| Err(Failure::new("no")))
            .add_both(|_| Ok(())),
    );
    check(0);
    drop(Deferred::succeed(counted()).map(|value| value));
    check(1);

    // Late, paused, cancelled and never fired.
    let (deferred, resolver) = Deferred::pair();
    deferred.cancel();
    resolver.callback(counted());
    drop(deferred.add_both(|_| Ok(())));
    check(1);
    let (mut deferred, resolver) = Deferred::pair();
    let pause = deferred.pause();
    resolver.callback(counted());
    drop(deferred);
    check(0);
    drop(pause);
    check(1);
    let (deferred, resolver) = Deferred::<()>::pair();
    let captured = [counted(), counted(), counted()];
    let deferred = deferred.on_cancel(move || drop(captured));
    resolver.callback(());
    check(3);
    drop(deferred);
    let (deferred, resolver) = Deferred::<()>::pair();
    let captured = counted();
    drop(deferred.add_both(move |_| {
        let _held = captured;
        Ok(())
    }));
    drop(resolver);
    check(1);
}

#[test]
fn chains_longer_than_one_block_keep_their_order() {
    for length in 1..100 {
        let log = Rc::new(RefCell::new(Vec::new()));
        let (mut deferred, resolver) = Deferred::pair();
        for n in 0..length {
            let log = log.clone();
            deferred = deferred.add_callback(move |()| log.borrow_mut().push(n));
            if n % 7 == 0 {
                // Stops there, and continues.
                let (inner, fire) = Deferred::pair();
                fire.callback(());
                deferred = deferred.add_callback(move |()| inner);
            }
        }
        resolver.callback(());
        assert!(deferred.is_settled());
        assert_eq!(*log.borrow(), (0..length).collect::<Vec<_>>());
    }
}

#[test]
fn a_chain_may_be_paused_and_added_to_anywhere() {
    for length in 1..40_usize {
        for stop in 0..length {
            let log = Rc::new(RefCell::new(Vec::new()));
            let pauses = Rc::new(RefCell::new(Vec::new()));
            let slot = Rc::new(RefCell::new(None::<Deferred<()>>));
            let (mut deferred, resolver) = Deferred::pair();
            for n in 0..length {
                let (log, slot, pauses) = (log.clone(), slot.clone(), pauses.clone());
                deferred = deferred.add_callback(move |()| {
                    log.borrow_mut().push(n);
                    if n == stop {
                        let mut own = slot.take().unwrap();
                        pauses.borrow_mut().push(own.pause());
                        let added = own.add_callback(move |()| log.borrow_mut().push(length));
                        *slot.borrow_mut() = Some(added);
                    }
                });
            }
            *slot.borrow_mut() = Some(deferred);
            resolver.callback(());
            assert_eq!(log.borrow().len(), stop + 1);
            pauses.take();
            assert_eq!(*log.borrow(), (0..=length).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_panic_keeps_its_payload_and_the_place_of_its_callback() {
    let fails = |()| -> Result<(), Failure> { std::panic::resume_unwind(Box::new(7_u8)) };
    let deferred = Deferred::succeed(());
    let line = line!() + 1;
    let deferred = deferred.add_callback(fails);
    let failure = result(deferred).unwrap_err();
    assert_eq!(failure.location().file(), file!());
    assert_eq!(failure.location().line(), line);
    let panicked = failure.downcast_ref::<Panicked>().unwrap();
    assert!(panicked.take_payload().unwrap().is::<u8>());
}

#[test]
fn a_closure_that_only_panics_may_stand_in_for_a_callback() {
    let (deferred, resolver) = Deferred::pair();
    let deferred = deferred.add_callback(|_: u8| panic!("not this time"));
    resolver.errback(Failure::new("passed by"));
    assert_eq!(result(deferred).unwrap_err().to_string(), "passed by");
}

#[test]
fn a_failure_has_the_line_that_fired_lost_or_cancelled_it() {
    let (deferred, resolver) = Deferred::<()>::pair();
    let line = line!() + 1;
    resolver.errback(DeferredError::Abandoned);
    assert_eq!(result(deferred).unwrap_err().location().line(), line);

    let line = line!() + 1;
    let (deferred, resolver) = Deferred::<()>::pair();
    drop(resolver);
    let failure = result(deferred).unwrap_err();
    assert!(is_error!(failure, DeferredError::Abandoned));
    assert_eq!(failure.location().line(), line);

    let (deferred, _resolver) = Deferred::<()>::pair();
    let line = line!() + 1;
    deferred.cancel();
    let failure = result(deferred).unwrap_err();
    assert!(failure.is::<Cancelled>());
    assert_eq!(failure.location().line(), line);
}

#[test]
fn a_deferred_has_the_line_that_made_it() {
    let line = line!() + 1;
    let (deferred, _resolver) = Deferred::<()>::pair();
    assert_eq!(deferred.location().unwrap().line(), line);
    let deferred = deferred.map(|()| 1);
    assert_eq!(deferred.location().unwrap().line(), line);
    let there = deferred.location().unwrap().to_string();
    assert_eq!(
        format!("{deferred:?}"),
        format!("Deferred(pending, made at {there})")
    );
}

#[test]
fn debug_shows_what_a_deferred_waits_for() {
    let (inner, fire_inner) = Deferred::<()>::pair();
    let location = inner.location().unwrap().to_string();
    let (outer, fire_outer) = Deferred::<()>::pair();
    let outer = outer.add_callback(move |()| inner);
    fire_outer.callback(());
    let shown = format!("{outer:?}");
    assert!(shown.contains("waiting"), "{shown}");
    assert!(
        shown.contains(&format!("waits for the Deferred made at {location}")),
        "{shown}"
    );
    fire_inner.callback(());
    assert!(format!("{outer:?}").contains("fired"));
}

#[test]
fn the_resolver_sees_a_cancel() {
    let (deferred, resolver) = Deferred::<()>::pair();
    assert!(!resolver.is_cancelled());
    deferred.cancel();
    assert!(resolver.is_cancelled());
    drop(deferred.add_both(|_| Ok(())));
}

#[test]
fn a_canceller_set_while_the_deferred_waits_for_another_is_dropped() {
    for fired_first in [false, true] {
        let asked = Rc::new(Cell::new(""));
        let (log, late) = (asked.clone(), asked.clone());
        let (inner, _fire_inner) = Deferred::<()>::pair();
        let inner = inner.on_cancel(move || log.set("inner"));
        let (outer, fire_outer) = Deferred::pair();
        let outer = if fired_first {
            fire_outer.callback(());
            outer.add_callback(move |()| inner)
        } else {
            let outer = outer.add_callback(move |()| inner);
            fire_outer.callback(());
            outer
        };
        let outer = outer.on_cancel(move || late.set("outer"));
        outer.cancel();
        assert_eq!(asked.get(), "inner");
        assert!(result(outer).unwrap_err().is::<Cancelled>());
    }
}

#[test]
fn a_future_that_sees_a_cancel_too_late_stops_nothing_else() {
    testing::run(async |_reactor| {
        let (awaited, fire_awaited) = Deferred::<()>::pair();
        let (other, fire_other) = Deferred::<()>::pair();
        let (gate, behind_gate) = futures::channel::oneshot::channel::<()>();
        let future = Deferred::from_future(async {
            awaited.await?;
            let _ = behind_gate.await;
            Ok(())
        });
        let deferred = future.add_errback(|_| other);
        yield_now().await;
        // It is woken, and will see the cancel at its next `await`; it is dropped before that.
        fire_awaited.callback(());
        deferred.cancel();
        let deferred = deferred.on_cancel(|| {});
        deferred.cancel();
        yield_now().await;
        assert!(!fire_other.is_cancelled());
        fire_other.callback(());
        drop(gate);
        yield_now().await;
        deferred.await
    });
}

#[test]
fn a_callback_that_returns_a_taken_deferred_fails() {
    for fired_first in [false, true] {
        let mut taken = Deferred::succeed(1);
        let polled = Pin::new(&mut taken).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready());
        let (outer, fire_outer) = Deferred::pair();
        let outer = if fired_first {
            fire_outer.callback(());
            outer.add_callback(move |()| taken)
        } else {
            let outer = outer.add_callback(move |()| taken);
            fire_outer.callback(());
            outer
        };
        assert!(outer.is_settled());
        assert!(is_error!(
            result(outer).unwrap_err(),
            DeferredError::ResultTaken
        ));
    }
}

#[test]
fn a_canceller_finds_the_deferred_in_a_consistent_state() {
    // Its destructor undoes a pause and adds a callback, before the firing has run anything.
    struct Meddles(Rc<RefCell<Option<Deferred<u32>>>>, Option<defer::Pause>);
    impl Drop for Meddles {
        fn drop(&mut self) {
            let deferred = self.0.take().unwrap();
            self.1 = None;
            *self.0.borrow_mut() = Some(deferred.map(|n| n + 1));
        }
    }
    for paused in [false, true] {
        let slot = Rc::new(RefCell::new(None));
        let (mut deferred, resolver) = Deferred::pair();
        let pause = paused.then(|| deferred.pause());
        let meddles = Meddles(slot.clone(), pause);
        *slot.borrow_mut() = Some(deferred.on_cancel(move || drop(meddles)));
        resolver.callback(1);
        assert_eq!(result(slot.take().unwrap()).unwrap(), 2);
    }
}

#[test]
fn a_round_of_deferreds_that_wait_for_each_other_is_refused() {
    // Each of them returns the next, and the last the first.
    for length in 1..6 {
        for first in 0..length {
            let slots: Vec<_> = (0..length)
                .map(|_| Rc::new(RefCell::new(None::<Deferred<usize>>)))
                .collect();
            let mut resolvers = Vec::new();
            let refused = Rc::new(Cell::new(0));
            for n in 0..length {
                let next = slots[(n + 1) % length].clone();
                let (deferred, resolver) = Deferred::pair();
                let count = refused.clone();
                let deferred = deferred
                    .add_callback(move |_| next.take().unwrap())
                    .add_errback(move |failure| {
                        assert!(is_error!(failure, DeferredError::WaitsForItself));
                        count.set(count.get() + 1);
                        Ok(n)
                    });
                *slots[n].borrow_mut() = Some(deferred);
                resolvers.push(resolver);
            }
            resolvers.rotate_left(first);
            for resolver in resolvers {
                resolver.callback(0);
            }
            assert_eq!(refused.get(), 1, "{length} of them, from {first}");
        }
    }
}

#[test]
fn a_canceller_that_drops_the_resolver_has_brought_nothing() {
    let clock = VirtualClock::new();
    let (deferred, resolver) = Deferred::pair();
    let work = clock.call_later(Duration::from_secs(9), move || resolver.callback(1));
    let deferred = deferred.on_cancel(move || {
        work.cancel();
    });
    let said = Rc::new(RefCell::new(None));
    let log = said.clone();
    deferred
        .timeout(Duration::from_secs(1), &clock)
        .add_both(move |result| *log.borrow_mut() = Some(result));
    clock.advance(Duration::from_secs(1));
    let failure = said.take().unwrap().unwrap_err();
    assert!(failure.is::<TimedOut>(), "{failure:?}");
}

#[test]
fn a_future_that_waits_for_itself_is_ended_by_a_cancel() {
    testing::run(async |_reactor| {
        let slot = Rc::new(RefCell::new(None::<Deferred<u32>>));
        let own = slot.clone();
        let (gate, open) = Deferred::pair();
        let future = Deferred::from_future(async move {
            gate.await?;
            let own = own.take();
            own.unwrap().await
        });
        let ended = Rc::new(Cell::new(false));
        let seen = ended.clone();
        let future = future.add_errback(move |failure| {
            seen.set(failure.is::<Cancelled>());
            Ok(0)
        });
        yield_now().await;
        open.callback(());
        // It is awake, and sees the cancel when it waits again: for itself.
        future.cancel();
        *slot.borrow_mut() = Some(future);
        yield_now().await;
        yield_now().await;
        assert!(ended.get());
        Ok(())
    });
}

#[test]
fn futures_that_wait_for_each_other_are_ended_by_a_cancel() {
    type Slot = Rc<RefCell<Option<Deferred<()>>>>;
    testing::run(async |_reactor| {
        for length in 1..5 {
            let slots: Vec<Slot> = (0..length).map(|_| Slot::default()).collect();
            let ended = Rc::new(Cell::new(0));
            for n in 0..length {
                let (next, ended) = (slots[(n + 1) % length].clone(), ended.clone());
                let future = Deferred::from_future(async move {
                    std::future::poll_fn(|cx| match &mut *next.borrow_mut() {
                        Some(next) => Pin::new(next).poll(cx),
                        None => Poll::Ready(Ok(())),
                    })
                    .await
                });
                let future = future.add_errback(move |failure| {
                    assert!(failure.is::<Cancelled>());
                    ended.set(ended.get() + 1);
                    Err(failure)
                });
                *slots[n].borrow_mut() = Some(future);
            }
            yield_now().await;
            assert_eq!(ended.get(), 0);
            slots[0].borrow().as_ref().unwrap().cancel();
            for _ in 0..length {
                yield_now().await;
            }
            assert_eq!(ended.get(), length);
            for slot in slots {
                let left = slot.take();
                drop(left);
            }
        }
        Ok(())
    });
}

#[test]
fn several_that_a_future_awaits_are_cancelled_in_the_order_in_which_it_polled_them() {
    testing::run(async |_reactor| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let deferreds: Vec<_> = (0..20)
            .map(|n| {
                let log = log.clone();
                let (deferred, resolver) = Deferred::<()>::pair();
                std::mem::forget(resolver);
                deferred.on_cancel(move || log.borrow_mut().push(n))
            })
            .collect();
        let all = Deferred::from_future(async move {
            futures::future::join_all(deferreds).await;
            Ok(())
        });
        yield_now().await;
        all.cancel();
        assert_eq!(*log.borrow(), (0..20).collect::<Vec<_>>());
        all.await
    });
}

#[test]
fn a_deferred_fired_by_a_replaced_waker_wakes_the_new_one() {
    thread_local! {
        static RESOLVER: Cell<Option<Resolver<u32>>> = const { Cell::new(None) };
    }

    struct Fires;

    impl Wake for Fires {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Fires {
        fn drop(&mut self) {
            if let Some(resolver) = RESOLVER.take() {
                resolver.callback(7);
            }
        }
    }

    let (mut deferred, resolver) = Deferred::pair();
    let first = Waker::from(Arc::new(Fires));
    let polled = Pin::new(&mut deferred).poll(&mut Context::from_waker(&first));
    assert!(polled.is_pending());
    drop(first);
    RESOLVER.set(Some(resolver));
    let counter = Arc::new(WakeCounter::default());
    let second = Waker::from(counter.clone());
    let polled = Pin::new(&mut deferred).poll(&mut Context::from_waker(&second));
    assert!(polled.is_ready() || counter.count() == 1);
    assert_eq!(result(deferred).unwrap(), 7);
}

/// Returns the text of a panic.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn a_panic_that_no_reactor_contains_unwinds_to_the_call_that_led_to_it() {
    let boom = || |_: Result<i32, Failure>| -> Result<i32, Failure> { panic!("boom") };
    type Lead = fn(Deferred<i32>, Resolver<i32>);
    let calls: [(&str, Lead); 6] = [
        ("callback", |deferred, resolver| {
            drop(deferred);
            resolver.callback(1);
        }),
        ("errback", |deferred, resolver| {
            drop(deferred);
            resolver.errback("no");
        }),
        ("drop of the resolver", |deferred, resolver| {
            drop(deferred);
            drop(resolver);
        }),
        ("drop of the Deferred", |deferred, resolver| {
            let settled = deferred;
            resolver.callback(1);
            drop(settled);
        }),
        ("unpause", |mut deferred, resolver| {
            let pause = deferred.pause();
            drop(deferred);
            resolver.callback(1);
            pause.unpause();
        }),
        ("cancel", |deferred, _resolver| {
            let (outer, go) = Deferred::<()>::pair();
            let chained = outer.add_callback(move |()| deferred);
            go.callback(());
            chained.cancel();
        }),
    ];
    for (name, lead) in calls {
        let (deferred, resolver) = Deferred::pair();
        let deferred = deferred.map(|n: i32| n).add_both(boom());
        assert_eq!(panic_of(|| lead(deferred, resolver)), "boom", "{name}");
    }
    let added = || drop(Deferred::succeed(1).add_callback(|n| assert_eq!(n, 2, "added late")));
    assert!(panic_of(added).contains("added late"));
    // No panic is left for a later call to resume.
    drop(Deferred::succeed(1).add_callback(|n| assert_eq!(n, 1)));
}

#[test]
fn a_panic_that_is_handled_as_a_failure_does_not_unwind() {
    let (deferred, resolver) = Deferred::<i32>::pair();
    let said = Rc::new(RefCell::new(String::new()));
    let log = said.clone();
    drop(
        deferred
            .add_callback(|_| -> Result<(), Failure> { panic!("boom") })
            .add_errback(move |failure| *log.borrow_mut() = failure.to_string()),
    );
    resolver.callback(1);
    assert_eq!(*said.borrow(), "panicked: boom");
}

#[test]
fn a_panic_unwinds_after_the_whole_chain_has_run() {
    let (first, resolver) = Deferred::<i32>::pair();
    let seen = Rc::new(Cell::new(0));
    let log = seen.clone();
    let shared = first.shared();
    drop(
        shared
            .wait()
            .add_callback(|_: i32| -> Result<(), Failure> { panic!("boom") }),
    );
    drop(shared.wait().add_callback(move |n| log.set(n)));
    assert_eq!(panic_of(|| resolver.callback(7)), "boom");
    assert_eq!(seen.get(), 7);
}

#[test]
fn advancing_a_clock_lets_panics_of_calls_and_of_deferreds_through_alike() {
    let clock = VirtualClock::new();
    let second = Duration::from_secs(1);
    clock.call_later(second, || panic!("a call"));
    drop(torsade::defer_later(&clock, second * 2, || {
        panic!("a Deferred")
    }));
    let (limited, _resolver) = Deferred::<()>::pair();
    let limited = limited.timeout(second * 3, &clock);
    drop(limited.add_errback(|_| panic!("a limit")));
    let seen = Rc::new(Cell::new(false));
    let log = seen.clone();
    clock.call_later(second * 4, move || log.set(true));
    for wanted in ["a call", "a Deferred", "a limit"] {
        assert_eq!(panic_of(|| clock.advance(second)), wanted);
    }
    clock.advance(second);
    assert!(seen.get());
}

#[test]
fn advancing_a_clock_inside_a_reactor_lets_panics_through_as_well() {
    testing::run(async |_| {
        let clock = VirtualClock::new();
        let second = Duration::from_secs(1);
        drop(torsade::defer_later(&clock, second, || panic!("inside")));
        assert_eq!(panic_of(|| clock.advance(second)), "inside");
        Ok(())
    });
}

/// Returns what is reported when this runs in a reactor.
fn reports_of(main: impl FnOnce()) -> Vec<String> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    let reactor = Reactor::in_memory().unwrap();
    reactor.on_report(move |report| log.borrow_mut().push(report.failure().to_string()));
    reactor.run_until(async { main() }).unwrap();
    drop(reactor);
    reports.take()
}

#[test]
fn a_failure_that_many_do_not_handle_is_reported_once() {
    let reports = reports_of(|| {
        let (deferred, resolver) = Deferred::<u32>::pair();
        let shared = deferred.shared();
        let one = shared.wait().map(|n| n + 1);
        let other = shared
            .wait()
            .add_errback(|failure| Err(failure.context("asking")));
        let both = defer::gather([shared.wait(), shared.wait()]);
        drop((one, other, both));
        resolver.errback(Failure::new("no answer"));
    });
    assert_eq!(reports, ["no answer"]);

    let reports = reports_of(|| {
        let failure = Failure::new("the line is dead");
        let all = [0; 3].map(|_| Deferred::<u32>::fail(failure.clone()));
        drop(defer::race(all));
        drop(Deferred::<u32>::fail(failure));
    });
    assert_eq!(
        reports,
        ["all 3 failed: the line is dead; the line is dead; the line is dead"]
    );

    // Two failures with equal texts are two.
    let reports = reports_of(|| {
        for _ in 0..2 {
            drop(Deferred::<u32>::fail(Failure::new("no answer")));
        }
    });
    assert_eq!(reports.len(), 2);
}

#[test]
fn a_shared_failure_that_all_handle_is_not_reported() {
    let reports = reports_of(|| {
        let (deferred, resolver) = Deferred::<u32>::pair();
        let shared = deferred.shared();
        for _ in 0..3 {
            drop(shared.wait().add_errback(|_| Ok(0)));
            // Consumers that only listened have left.
            drop(shared.wait());
        }
        resolver.errback(Failure::new("no answer"));
    });
    assert_eq!(reports, [""; 0]);
}

#[test]
fn the_cancel_of_an_await_that_was_given_up_is_not_reported() {
    let reports = reports_of(|| {
        let (deferred, resolver) = Deferred::<u32>::pair();
        let inner = deferred.add_errback(|failure| Err(failure.context("reading")));
        let shared = defer::race([inner]).shared();
        let outer = shared.wait();
        drop(shared);
        outer.cancel();
        assert!(resolver.is_cancelled());
        assert!(result(outer).unwrap_err().is::<Cancelled>());
    });
    assert_eq!(reports, [""; 0]);
}

#[test]
fn a_panic_dropped_inside_a_callback_does_not_break_the_callbacks_chain() {
    let broken =
        || Deferred::succeed(()).add_callback(|()| -> Result<(), Failure> { panic!("inner") });
    let (deferred, resolver) = Deferred::pair();
    let seen = Rc::new(Cell::new(0));
    let log = seen.clone();
    let chain = deferred
        .add_callback(move |()| drop(broken()))
        .add_callback(move |()| log.set(log.get() + 1));
    drop(chain);
    assert_eq!(panic_of(|| resolver.callback(())), "inner");
    assert_eq!(seen.get(), 1);
    let added = || drop(Deferred::succeed(()).add_callback(move |()| drop(broken())));
    assert_eq!(panic_of(added), "inner");
}

#[test]
fn a_failure_with_many_paths_is_stored_once() {
    let (mut deferred, resolver) = Deferred::<u32>::pair();
    // Twice as many paths at each level.
    for _ in 0..40 {
        let shared = deferred.shared();
        deferred = defer::race([shared.wait(), shared.wait()]).map(|(first, _)| first as u32);
    }
    resolver.errback(Failure::new("no way"));
    let failure = testing::failure_of(deferred);
    assert!(failure.to_string().contains("no way"));
}
