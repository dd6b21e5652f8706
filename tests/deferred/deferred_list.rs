//! Several Deferreds at once, which the scripts with numbers (see `conformance`) do not cover:
//! types, locations, re-entrant code, and very many of them on a small stack.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::future::FusedFuture;
use futures::stream::{self, StreamExt};
use torsade::clock::TimedOut;
use torsade::defer::{self, DeferredError, DeferredList, FailureGroup, FirstError};
use torsade::locks::DeferredQueue;
use torsade::report::Origin;
use torsade::{
    Cancelled, Clock, Deferred, Failure, Reactor, Resolver, VirtualClock, testing, yield_now,
};
use tracing::subscriber::NoSubscriber;

const MANY: u32 = 30_000;
/// So many that a few bytes of stack for each would be too much.
const DEEP: u32 = 3_000;

/// Runs `test` on a stack of 512 KiB.
fn on_small_stack(test: fn()) {
    let thread = thread::Builder::new().stack_size(512 * 1024);
    thread.spawn(test).unwrap().join().unwrap();
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

fn pairs<T>(count: u32) -> (Vec<Deferred<T>>, Vec<Resolver<T>>) {
    (0..count).map(|_| Deferred::pair()).unzip()
}

#[test]
fn members_come_from_anything_that_gives_them() {
    let one = || Deferred::succeed(1);
    assert_eq!(result(defer::gather([one(), one()])).unwrap(), [1, 1]);
    assert_eq!(result(defer::gather(vec![one()])).unwrap(), [1]);
    let doubled = (1..4).map(|n| Deferred::succeed(n).map(|n| n * 2));
    assert_eq!(result(defer::gather(doubled)).unwrap(), [2, 4, 6]);
    assert_eq!(result(defer::race(Some(one()))).unwrap(), (0, 1));
    assert!(
        result(defer::gather(Vec::<Deferred<u8>>::new()))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn tasks_and_futures_can_be_members() {
    testing::run(async |reactor| {
        let tasks = (0..3).map(|n| reactor.spawn(async move { n }));
        assert_eq!(defer::gather(tasks).await?, [0, 1, 2]);

        let sleeps = [2, 1, 3].map(|n| reactor.sleep(Duration::from_secs(n)));
        assert_eq!(defer::race(sleeps).await?.0, 1);

        let endless = (0..3).map(|_| reactor.spawn(pending::<()>()));
        let all = defer::gather(endless);
        yield_now().await;
        all.cancel();
        assert!(all.await.unwrap_err().is::<Cancelled>());
        Ok(())
    });
}

#[test]
fn without_a_reactor_a_future_fails_and_a_deferred_does_not() {
    assert_eq!(result(defer::gather([Deferred::succeed(1)])).unwrap(), [1]);
    let failure = result(defer::gather([async { Ok(1) }])).unwrap_err();
    assert!(matches!(failure.find(), Some(DeferredError::NoReactor)));
}

#[test]
fn big_and_aligned_values_keep_their_shape() {
    #[repr(align(64))]
    #[derive(Clone, Debug, PartialEq)]
    struct Big([u64; 100]);
    let (members, resolvers) = pairs(2);
    let winner = defer::race(members).map(|(index, big): (_, Big)| (index, big.0[99]));
    for resolver in resolvers.into_iter().rev() {
        resolver.callback(Big([7; 100]));
    }
    assert_eq!(result(winner).unwrap(), (1, 7));
    let (deferred, resolver) = Deferred::pair();
    let shared = deferred.shared();
    let waiter = shared.wait();
    resolver.callback(Big([8; 100]));
    assert_eq!(result(waiter).unwrap(), Big([8; 100]));
}

#[test]
fn the_first_error_leads_to_the_members_own() {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let line = line!() + 1;
    let own = Failure::from(refused());
    let failure = result(defer::gather([
        Deferred::succeed(1),
        Deferred::fail(own.clone()),
    ]));
    let failure = failure.unwrap_err();
    let error = failure.downcast_ref::<FirstError>().unwrap();
    assert_eq!(error.index(), 1);
    assert!(error.failure().ptr_eq(&own));
    assert!(failure.find::<io::Error>().is_some());
    assert_eq!(failure.location().line(), line);
    assert_eq!(format!("{failure}"), "member 1 failed");
    assert_eq!(
        format!("{failure:#}"),
        "member 1 failed: connection refused"
    );

    let same = result(defer::gather([
        Deferred::succeed(1),
        Deferred::fail(own.clone()),
    ]));
    assert_eq!(
        error,
        same.unwrap_err().downcast_ref::<FirstError>().unwrap()
    );
    let other = result(defer::gather([Deferred::<u8>::fail(own)]));
    assert_ne!(
        error,
        other.unwrap_err().downcast_ref::<FirstError>().unwrap()
    );
    let other = result(defer::gather([
        Deferred::succeed(1),
        Deferred::fail(refused()),
    ]));
    assert_ne!(
        error,
        other.unwrap_err().downcast_ref::<FirstError>().unwrap()
    );
}

#[test]
fn a_group_of_failures_tells_some_and_keeps_all() {
    let all_fail = |count: u32| {
        let members = (0..count).map(|n| Deferred::<()>::fail(Failure::new(n.to_string())));
        result(defer::race(members)).unwrap_err()
    };
    assert_eq!(all_fail(2).to_string(), "all 2 failed: 0; 1");
    let many = all_fail(8);
    assert_eq!(many.to_string(), "all 8 failed: 0; 1; 2; 3; 4; and 3 more");
    assert_eq!(
        many.downcast_ref::<FailureGroup>()
            .unwrap()
            .failures()
            .len(),
        8
    );
}

#[test]
fn a_late_failure_is_reported_once_with_the_members_place() {
    let observed = Rc::new(RefCell::new(Vec::new()));
    let reactor = Reactor::in_memory().unwrap();
    let log = observed.clone();
    reactor.on_report(move |report| log.borrow_mut().push(report.clone()));
    let line = line!() + 3;
    let ended = reactor.run_until(async {
        let (winner, win) = Deferred::pair();
        let (loser, lose) = Deferred::pair();
        let outcome = DeferredList::new([winner, loser]).let_rest_run().race();
        win.callback(1);
        lose.errback(Failure::new("late"));
        // And one that had failed before the race began.
        let after = Deferred::fail(Failure::new("before"));
        drop(defer::race([Deferred::succeed(1), after]));
        drop(outcome);
    });
    ended.unwrap();
    let observed = observed.take();
    assert_eq!(observed.len(), 2);
    assert_eq!(observed[0].failure().to_string(), "late");
    assert_eq!(
        (observed[0].origin(), observed[0].location().line()),
        (Origin::Deferred, line)
    );
    assert_eq!(observed[1].failure().to_string(), "before");
    assert_eq!(observed[1].location().line(), line + 5);
}

#[test]
fn a_timeout_of_a_gather_fails_with_timed_out() {
    let clock = VirtualClock::new();
    let (members, _resolvers) = pairs::<()>(3);
    let limited = defer::gather(members).timeout(Duration::from_secs(1), &clock);
    clock.advance(Duration::from_secs(1));
    assert!(result(limited).unwrap_err().is::<TimedOut>());
    let (members, _resolvers) = pairs::<()>(3);
    let limited = defer::race(members).timeout(Duration::from_secs(1), &clock);
    clock.advance(Duration::from_secs(1));
    assert!(result(limited).unwrap_err().is::<TimedOut>());
}

#[test]
fn an_iterator_that_panics_has_its_members_cancelled() {
    let (mut members, resolvers) = pairs::<()>(2);
    let mut cancelled = 0;
    let given = members
        .drain(..)
        .chain(std::iter::from_fn(|| resume_unwind(Box::new("oh"))));
    let caught = catch_unwind(AssertUnwindSafe(|| drop(defer::gather(given))));
    assert!(caught.is_err());
    for resolver in resolvers {
        cancelled += u32::from(resolver.is_cancelled());
    }
    assert_eq!(cancelled, 2);
}

#[test]
fn an_iterator_may_fire_its_members_and_make_another_list() {
    let (members, resolvers) = pairs(3);
    let mut resolvers = resolvers.into_iter();
    let given = members.into_iter().inspect(|_| {
        // The first is fired when the iterator is asked for the second, and so on: the member just
        // returned is not taken yet.
        if resolvers.len() < 3 {
            resolvers
                .next()
                .unwrap()
                .callback(result(defer::list([Deferred::succeed(5)])).unwrap().len());
        } else {
            resolvers.next().unwrap().callback(0);
        }
    });
    assert_eq!(result(defer::gather(given)).unwrap(), [0, 1, 1]);
}

#[test]
fn a_member_may_have_been_polled_before() {
    let (mut polled, resolver) = Deferred::pair();
    assert!(poll(&mut polled).is_pending());
    let (mut taken, fire) = Deferred::pair();
    fire.callback(3);
    assert!(poll(&mut taken).is_ready());
    let all = defer::list([polled, taken]);
    resolver.callback(1);
    let mut all = result(all).unwrap().into_iter();
    assert_eq!(all.next().unwrap().unwrap(), 1);
    assert!(is_error!(
        all.next().unwrap().unwrap_err(),
        DeferredError::ResultTaken
    ));
}

#[test]
fn a_canceller_may_fire_another_member() {
    // While the remaining members of a race are cancelled, and while all of a list are.
    for decided in [true, false] {
        let (members, mut resolvers) = pairs::<u32>(3);
        let last = resolvers.pop().unwrap();
        let mut members = members.into_iter();
        let first = members.next().unwrap().on_cancel(move || last.callback(30));
        let members = [first, members.next().unwrap(), members.next().unwrap()];
        if decided {
            let won = defer::race(members);
            resolvers.pop().unwrap().callback(20);
            assert_eq!(result(won).unwrap(), (1, 20));
        } else {
            let all = defer::list(members);
            all.cancel();
            let all = result(all).unwrap();
            assert!(all[0].as_ref().is_err_and(Failure::is::<Cancelled>));
            assert!(all[1].as_ref().is_err_and(Failure::is::<Cancelled>));
            assert_eq!(*all[2].as_ref().unwrap(), 30);
        }
    }
}

#[test]
fn a_member_may_be_fired_while_another_is_taken() {
    // Taking the item of the second makes room, which fires the first.
    let members = || {
        let (first, resolver) = Deferred::pair();
        let queue = DeferredQueue::with_limits(1, None);
        queue.put('a').unwrap();
        queue
            .put_when_room('b')
            .add_callback(move |()| resolver.callback('x'));
        ([first, queue.get()], queue)
    };
    let (both, _queue) = members();
    assert_eq!(result(defer::gather(both)).unwrap(), ['x', 'a']);
    let (both, _queue) = members();
    let all = result(defer::list(both)).unwrap();
    assert!(all.into_iter().map(Result::unwrap).eq(['x', 'a']));
    let (both, _queue) = members();
    assert_eq!(result(defer::race(both)).unwrap(), (1, 'a'));
    let ([first, second], queue) = members();
    let last = queue.get();
    let rest = DeferredList::new([first, second]).let_rest_run();
    assert_eq!(result(rest.race()).unwrap(), (1, 'a'));
    assert_eq!(result(last).unwrap(), 'b');
}

#[test]
fn cancelling_a_list_cancels_each_member_once_and_before_its_callbacks_run() {
    testing::run(async |reactor| {
        let observed = Rc::new(RefCell::new(Vec::new()));
        let reports = observed.clone();
        let inside = reactor.clone();
        reactor.on_report(move |_| {
            let taken = testing::take_reports(&inside);
            reports
                .borrow_mut()
                .extend(taken.iter().map(ToString::to_string));
        });
        for rest_runs in [false, true] {
            let log = Rc::new(RefCell::new(Vec::new()));
            let note = |what: &'static str| {
                let log = log.clone();
                move || log.borrow_mut().push(what)
            };
            let (a, _a) = Deferred::<()>::pair();
            let (b, _b) = Deferred::<()>::pair();
            let (once, _once) = Deferred::<()>::pair();
            let (twice, _twice) = Deferred::<()>::pair();
            let (noted_once, noted_twice) = (note("c told"), note("c told again"));
            let c = Deferred::from_future(async move {
                let _ = once.on_cancel(noted_once).await;
                let _ = twice.on_cancel(noted_twice).await;
                Ok(())
            });
            let mut all = DeferredList::new([a.on_cancel(note("a")), b.on_cancel(note("b")), c]);
            if rest_runs {
                all = all.let_rest_run();
            }
            for _ in 0..3 {
                yield_now().await;
            }
            let ended = note("outcome");
            let outcome = all.gather().add_both(move |result| {
                ended();
                assert!(result.unwrap_err().is::<Cancelled>());
            });
            outcome.cancel();
            for _ in 0..5 {
                yield_now().await;
            }
            assert_eq!(*log.borrow(), ["a", "b", "c told", "outcome"]);
        }
        assert!(observed.borrow().is_empty(), "{:?}", observed.borrow());
        Ok(())
    });
}

#[test]
fn a_members_callback_may_cancel_or_drop_the_outcome_it_belongs_to() {
    for drops in [false, true] {
        let slot = Rc::new(RefCell::new(None::<Deferred<Vec<u32>>>));
        let own = slot.clone();
        let (members, resolvers) = pairs(2);
        let members = members.into_iter().map(move |member: Deferred<u32>| {
            let own = own.clone();
            member.map(move |n| {
                let outcome = own.borrow_mut().take();
                if let Some(mut outcome) = outcome {
                    if drops {
                        assert!(poll(&mut outcome).is_pending());
                        drop(outcome);
                    } else {
                        outcome.cancel();
                        *own.borrow_mut() = Some(outcome);
                    }
                }
                n
            })
        });
        *slot.borrow_mut() = Some(defer::gather(members));
        let mut resolvers = resolvers.into_iter();
        resolvers.next().unwrap().callback(1);
        assert!(resolvers.next().unwrap().is_cancelled());
        if let Some(outcome) = slot.take() {
            assert!(result(outcome).unwrap_err().is::<Cancelled>());
        }
    }
}

#[test]
fn a_destructor_that_uses_the_list_finds_it_consistent() {
    struct Meddles(Rc<RefCell<Option<Deferred<()>>>>, Option<Resolver<Self>>);
    impl Drop for Meddles {
        fn drop(&mut self) {
            if let Some(outcome) = self.0.take() {
                outcome.cancel();
                *self.0.borrow_mut() = Some(outcome.map(|()| ()));
            }
            drop(self.1.take());
        }
    }
    let slot = Rc::new(RefCell::new(None));
    let (members, resolvers) = pairs(3);
    let [first, second, third] = <[_; 3]>::try_from(resolvers).unwrap();
    let outcome = defer::gather(members).add_both(|result: Result<Vec<Meddles>, _>| {
        assert_eq!(
            result
                .err()
                .unwrap()
                .downcast_ref::<FirstError>()
                .unwrap()
                .index(),
            1
        );
    });
    *slot.borrow_mut() = Some(outcome);
    // Its destructor runs when the gather has failed: it cancels the gather, and drops the third
    // member's resolver.
    first.callback(Meddles(slot.clone(), Some(third)));
    second.errback(Failure::new("no"));
    assert!(result(slot.take().unwrap()).is_ok());
}

#[test]
fn a_destructor_that_panics_is_no_members_business() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new("boom"));
        }
    }
    let _quiet = tracing::subscriber::set_default(NoSubscriber::new());
    let (members, resolvers) = pairs(3);
    let outcome = defer::gather(members).add_both(|result| drop(result.err()));
    let mut resolvers = resolvers.into_iter();
    resolvers.next().unwrap().callback(Bomb);
    resolvers.next().unwrap().errback(Failure::new("no"));
    assert!(resolvers.next().unwrap().is_cancelled());
    assert!(result(outcome).is_ok());
    // Settled members, of which those after the winner are dropped at once.
    let outcome = defer::first([Deferred::fail(Failure::new("no")), Deferred::succeed(Bomb)]);
    assert!(result(outcome).unwrap().1.is_err());
}

#[test]
fn nothing_is_kept_of_a_list_that_is_over() {
    let kept = Rc::new(());
    let value = || kept.clone();
    for how in 0..6 {
        let (members, mut resolvers) = pairs::<Rc<()>>(3);
        let held = value();
        let members = members.into_iter().map(move |member| {
            let held = held.clone();
            member.on_cancel(move || drop(held))
        });
        let list = DeferredList::new(members);
        let ended = match how {
            0 => list.all().map(|_| ()),
            1 | 2 => list.gather().map(|_| ()),
            3 => list.let_rest_run().race().map(|_| ()),
            4 => list.first().map(|_| ()),
            _ => list.race().map(|_| ()),
        };
        resolvers.pop().unwrap().callback(value());
        match how {
            1 => resolvers.pop().unwrap().errback(Failure::new("no")),
            2 => ended.cancel(),
            _ => {}
        }
        for resolver in resolvers {
            resolver.callback(value());
        }
        drop(ended.add_both(|_| ()));
        assert_eq!(Rc::strong_count(&kept), 1, "{how}");
    }
}

#[test]
fn lists_of_lists_work_and_cancel_each_other() {
    let (left, mut left_ends) = pairs::<u32>(2);
    let (right, right_ends) = pairs::<u32>(2);
    let outcome = defer::race([defer::gather(left), defer::gather(right)]);
    for end in right_ends {
        assert!(!end.is_cancelled());
        end.callback(1);
    }
    assert_eq!(result(outcome).unwrap(), (1, vec![1, 1]));
    assert!(left_ends.pop().unwrap().is_cancelled());
    assert!(left_ends.pop().unwrap().is_cancelled());
}

#[test]
fn a_member_that_waits_for_its_own_list_fails() {
    // The list is what the member's callback returns, at the first level or below one more list.
    for levels in 1..4 {
        let slot = Rc::new(RefCell::new(None::<Deferred<Vec<u32>>>));
        let (own, observed) = (slot.clone(), Rc::new(Cell::new(false)));
        let log = observed.clone();
        let (member, resolver) = Deferred::pair();
        let member = member
            .add_callback(move |_: u32| own.take().unwrap())
            .map(|values| values[0]);
        let (other, _fire_other) = Deferred::pair();
        let mut outcome = defer::gather([other, member]);
        for _ in 1..levels {
            outcome = defer::gather([outcome.map(|values| values[0])]);
        }
        *slot.borrow_mut() = Some(outcome.add_errback(move |failure| {
            log.set(matches!(
                failure.find(),
                Some(DeferredError::WaitsForItself)
            ));
            Ok(vec![0])
        }));
        resolver.callback(1);
        assert!(observed.get(), "{levels}");
    }
}

#[test]
fn a_list_shows_how_many_it_waits_for() {
    let (members, mut resolvers) = pairs::<u32>(3);
    let all = defer::gather(members);
    resolvers.pop().unwrap().callback(1);
    let shown = format!("{all:?}");
    assert!(shown.contains("waits for 2 Deferreds"), "{shown}");
}

#[test]
fn a_gather_is_awaited_like_anything() {
    testing::run(async |reactor| {
        let (members, resolvers) = pairs(3);
        reactor.call_soon(move || {
            for (n, resolver) in resolvers.into_iter().enumerate() {
                resolver.callback(n);
            }
        });
        assert_eq!(defer::gather(members).await?, [0, 1, 2]);
        Ok(())
    });
}

#[test]
fn a_coroutine_that_is_cancelled_in_a_gather_cancels_the_members() {
    testing::run(async |_reactor| {
        let (members, resolvers) = pairs::<u32>(2);
        let run = Deferred::from_future(async move {
            let failure = defer::gather(members).await.unwrap_err();
            assert!(failure.is::<Cancelled>());
            Ok(7)
        });
        yield_now().await;
        run.cancel();
        assert!(resolvers.iter().all(Resolver::is_cancelled));
        assert_eq!(run.await?, 7);
        Ok(())
    });
}

#[test]
fn a_terminated_deferred_reports_it() {
    let mut deferred = Deferred::succeed(1);
    assert!(!deferred.is_terminated());
    assert!(poll(&mut deferred).is_ready());
    assert!(deferred.is_terminated());
}

#[test]
fn streams_become_deferreds_and_deferreds_streams() {
    testing::run(async |_reactor| {
        let failing = stream::iter([Ok(1), Err(Failure::new("no")), Ok(3)]);
        assert_eq!(
            Deferred::from_stream(failing)
                .await
                .unwrap_err()
                .to_string(),
            "no"
        );
        let one: Vec<_> = Deferred::succeed(1).into_stream().collect().await;
        assert_eq!(one.len(), 1);
        Ok(())
    });
}

#[test]
fn the_result_of_another_deferred_after_a_cancel_is_dropped() {
    let (source, fire) = Deferred::pair();
    let (chained, resolver) = Deferred::pair();
    source.chain_deferred(resolver);
    chained.cancel();
    fire.callback(1);
    assert!(result(chained).unwrap_err().is::<Cancelled>());
    // A waiter with a canceller stays in the list.
    let (source, fire) = Deferred::pair();
    let waiter = source.shared().wait().on_cancel(|| {});
    waiter.cancel();
    fire.callback(1);
    assert!(result(waiter).unwrap_err().is::<Cancelled>());
}

#[test]
fn a_clone_that_panics_fails_its_own_waiter() {
    struct Fussy(Rc<Cell<u32>>);
    impl Clone for Fussy {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            if self.0.get() == 2 {
                resume_unwind(Box::new("no more"));
            }
            Self(self.0.clone())
        }
    }
    let (deferred, resolver) = Deferred::pair();
    let shared = deferred.shared();
    let waiters = [shared.wait(), shared.wait(), shared.wait()];
    resolver.callback(Fussy(Rc::default()));
    let results = result(defer::list(waiters)).unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(results[1].as_ref().is_err_and(Failure::is_panic));
}

#[test]
fn a_shared_deferred_can_be_awaited_several_times() {
    testing::run(async |reactor| {
        let slept = defer::ensure(reactor.sleep(Duration::from_secs(1)));
        let shared = slept.map(|()| 5).shared();
        let tasks = (0..3).map(|_| {
            let shared = shared.clone();
            reactor.spawn(async move { shared.await.unwrap() })
        });
        assert_eq!(defer::gather(tasks).await?, [5, 5, 5]);
        assert_eq!((&shared).await?, 5);
        Ok(())
    });
}

#[test]
fn very_many_that_are_there() {
    on_small_stack(|| {
        let members = (0..MANY).map(Deferred::succeed);
        assert_eq!(result(defer::gather(members)).unwrap().len(), MANY as usize);
        let members = (0..MANY).map(|_| Deferred::<()>::fail(Failure::new("no")));
        assert_eq!(result(defer::list(members)).unwrap().len(), MANY as usize);
    });
}

#[test]
fn very_many_fired_in_a_row() {
    on_small_stack(|| {
        let (members, resolvers) = pairs(MANY);
        let all = defer::gather(members);
        for (n, resolver) in (0..).zip(resolvers) {
            resolver.callback(n);
        }
        assert!(result(all).unwrap().into_iter().eq(0..MANY));
    });
}

#[test]
fn very_many_dropped_unfired() {
    on_small_stack(|| {
        let (members, resolvers) = pairs::<u32>(MANY);
        let all = defer::list(members);
        drop(resolvers);
        let all = result(all).unwrap();
        assert!(all.iter().all(|it| {
            it.as_ref()
                .is_err_and(|failure| is_error!(failure, DeferredError::Abandoned))
        }));
        // The outcome first, as when its waiter gave up.
        let (members, resolvers) = pairs::<u32>(MANY);
        let mut all = defer::gather(members);
        assert!(poll(&mut all).is_pending());
        drop(all);
        assert!(resolvers.iter().all(Resolver::is_cancelled));
    });
}

#[test]
fn very_many_cancelled() {
    on_small_stack(|| {
        let (members, resolvers) = pairs::<u32>(MANY);
        let won = defer::race(members);
        won.cancel();
        assert!(resolvers.iter().all(Resolver::is_cancelled));
        assert!(result(won).unwrap_err().is::<Cancelled>());
    });
}

/// Gathers inside gathers, each with one more member, which is the first or the last.
fn nested(leaf_first: bool) -> (Deferred<Vec<u32>>, Vec<Resolver<u32>>) {
    let (innermost, resolver) = Deferred::pair();
    let mut resolvers = vec![resolver];
    let mut all = defer::gather([innermost]);
    for _ in 1..DEEP {
        let (leaf, resolver) = Deferred::pair();
        resolvers.push(resolver);
        let inner = all.map(|values| values[0]);
        let members = if leaf_first {
            [leaf, inner]
        } else {
            [inner, leaf]
        };
        all = defer::gather(members);
    }
    (all, resolvers)
}

#[test]
fn lists_very_deep_inside_lists() {
    on_small_stack(|| {
        for leaf_first in [false, true] {
            // Fired, from the outermost and from the innermost.
            for outermost_first in [false, true] {
                let (all, mut resolvers) = nested(leaf_first);
                if outermost_first {
                    resolvers.reverse();
                }
                for resolver in resolvers {
                    resolver.callback(1);
                }
                assert_eq!(result(all).unwrap()[0], 1);
            }
            let (all, resolvers) = nested(leaf_first);
            all.cancel();
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            assert!(result(all).is_err());
            // The failure of the innermost has passed through every level, and of the outermost
            // through one.
            let (all, mut resolvers) = nested(leaf_first);
            resolvers.swap_remove(0).errback(Failure::new("no"));
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            let failure = result(all).unwrap_err();
            assert_eq!(failure.chain().count() as u32, DEEP + 1);
            drop(failure);
            let (all, mut resolvers) = nested(leaf_first);
            resolvers.pop().unwrap().errback(Failure::new("no"));
            assert!(resolvers.iter().all(Resolver::is_cancelled));
            assert_eq!(result(all).unwrap_err().chain().count(), 2);
            // Left alone.
            let (all, resolvers) = nested(leaf_first);
            drop(all.add_errback(|_| Ok(Vec::new())));
            drop(resolvers);
        }
    });
}

#[test]
fn very_many_that_fire_each_other() {
    on_small_stack(|| {
        for innermost_first in [false, true] {
            let (first, fire) = Deferred::pair();
            let (mut deferred, mut fire) = (first, Some(fire));
            if innermost_first {
                fire.take().unwrap().callback(0);
            }
            for _ in 0..MANY {
                let (next, resolver) = Deferred::pair();
                deferred.map(|n: u32| n + 1).chain_deferred(resolver);
                deferred = next;
            }
            if let Some(fire) = fire {
                fire.callback(0);
            }
            assert_eq!(result(deferred).unwrap(), MANY);
        }
    });
}

#[test]
fn many_shared_deferreds_in_a_chain() {
    on_small_stack(|| {
        let (mut deferred, fire) = Deferred::pair();
        for _ in 0..MANY {
            deferred = deferred.shared().wait();
        }
        fire.callback(1);
        assert_eq!(result(deferred).unwrap(), 1);
        let (deferred, fire) = Deferred::pair();
        let shared = deferred.shared();
        let waiters: Vec<_> = (0..MANY).map(|_| shared.wait()).collect();
        fire.callback(1);
        assert_eq!(result(defer::gather(waiters)).unwrap().len(), MANY as usize);
    });
}
