//! Locks, semaphores and queues: waiters that are not polled, re-entrancy, and long queues.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use support::polled::{ReadyAnd, WakeCounter, now, poll};
use support::{Log, poll_once, some_turns};
use torsade::defer::{self, DeferredError, DeferredList};
use torsade::locks::{
    DeferredLock, DeferredQueue, DeferredSemaphore, Event, LockError, LockGuard, Watched,
};
use torsade::scope::scope;
use torsade::{Cancelled, Clock, Deferred, Failure, task, yield_now};

/// Work under a permit, or a lock, that ends only when it is cancelled.
fn endless(name: &'static str, log: &Log) -> Deferred<u32> {
    let (work, resolver) = Deferred::<u32>::pair();
    log.note(format_args!("{name} starts"));
    let log = log.clone();
    work.on_cancel(move || {
        drop(resolver);
        log.note(format_args!("{name} is cancelled"));
    })
}

/// Ends a list of these members before they are done.
fn end_early(how: &str, members: Vec<Deferred<u32>>) {
    let (decides, resolver) = Deferred::<u32>::pair();
    let with_decides = |members: Vec<_>| members.into_iter().chain([decides]);
    match how {
        "gather" => {
            let all = defer::gather(with_decides(members));
            resolver.errback("no");
            drop(all.add_errback(|_| Ok(Vec::new())));
        }
        "race" => {
            let all = defer::race(with_decides(members));
            resolver.callback(1);
            drop(all);
        }
        "first of nested" => {
            let mut members = members.into_iter();
            let pairs = [2, 2].map(|count| {
                let pair: Vec<_> = members.by_ref().take(count).collect();
                defer::gather(pair).map(|_| 0)
            });
            let all = defer::first(with_decides(pairs.into()));
            resolver.callback(1);
            drop(all);
        }
        "decided already" => {
            resolver.callback(1);
            drop(defer::first(with_decides(members)));
        }
        "cancelled" => {
            let all = defer::list(members);
            all.cancel();
            drop(all);
        }
        _ => panic!("{how}?"),
    }
}

#[test]
fn ending_a_list_early_starts_no_member_that_waits_for_another_and_leaves_none_running() {
    for how in [
        "gather",
        "race",
        "first of nested",
        "decided already",
        "cancelled",
    ] {
        for has_callback in [false, true] {
            let log = Log::default();
            let semaphore = DeferredSemaphore::new(1).unwrap();
            let lock = DeferredLock::new(());
            for has_lock in [false, true] {
                let members = ["a", "b", "c", "d"].map(|name| {
                    let log = log.clone();
                    let member = match has_lock {
                        false => semaphore.run(move || endless(name, &log)),
                        true => lock.run(move |_| endless(name, &log)),
                    };
                    match has_callback {
                        true => member.map(|n| n),
                        false => member,
                    }
                });
                end_early(how, members.into());
                assert_eq!(log.take(), ["a starts", "a is cancelled"], "{how}");
            }
            assert_eq!(
                (semaphore.available(), semaphore.waiting()),
                (1, 0),
                "{how}"
            );
            assert!(lock.try_acquire().is_some(), "{how}");
        }
    }
}

#[test]
fn a_waiter_outside_of_the_list_is_granted_the_permit_of_a_cancelled_member() {
    let log = Log::default();
    let semaphore = DeferredSemaphore::new(1).unwrap();
    let run = |name| {
        let log = log.clone();
        semaphore.run(move || endless(name, &log))
    };
    // Nothing is left to be served after the first list.
    end_early("race", vec![run("a"), run("b")]);
    log.take();
    let members = vec![run("a"), run("b")];
    let other = run("other");
    end_early("race", members);
    assert_eq!(log.take(), ["a starts", "a is cancelled", "other starts"]);
    other.cancel();
    drop(other.add_errback(|_| Ok(0)));
    assert_eq!(log.take(), ["other is cancelled"]);
    assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
}

#[test]
fn a_member_that_another_members_canceller_has_fired_is_cancelled_in_its_turn() {
    for how in ["gather", "race", "decided already", "cancelled"] {
        let log = Log::default();
        let (second, resolver) = Deferred::<u32>::pair();
        let (first, unused) = Deferred::<u32>::pair();
        let first = first.on_cancel(move || {
            drop(unused);
            resolver.callback(0);
        });
        let seen = log.clone();
        let second = second.add_callback(move |_| endless("second", &seen));
        end_early(how, vec![first, second]);
        assert_eq!(
            log.take(),
            ["second starts", "second is cancelled"],
            "{how}"
        );
    }
}

on_both! {
    async fn an_item_can_be_put_for_a_waiter_that_returned_to_the_queue(_reactor) {
        let queue = DeferredQueue::with_limits(0, None);
        let mut first = queue.get();
        queue.put('a')?;
        // It was offered the lock, and was not polled in time.
        some_turns().await;
        assert_eq!(queue.try_get(), Some('a'));
        let second = queue.put_when_room('b');
        assert!(!second.is_settled());
        assert!(poll(&mut first).is_pending());
        assert!(second.is_settled());
        assert!(poll(&mut first).comes_ready_and(|item| item.is_ok_and(|item| item == 'b')));
    }

    async fn an_arm_of_a_select_that_lost_its_turn_does_not_hold_the_lock(reactor) {
        // The "futurelock" that Oxide has described: the lock is held for a while; a task polls a
        // future that waits for it, then continues with something else that needs the lock, and
        // keeps the future.
        let lock = DeferredLock::new(0);
        let guard = lock.try_acquire();
        let holder = reactor.clone();
        reactor.call_later(Duration::from_millis(5), move || {
            drop(guard);
            holder.call_soon(|| ());
        });
        let mine = lock.clone();
        let task = reactor.spawn(async move {
            let mut first = mine.acquire();
            let mut tick = pin!(yield_now());
            poll_fn(|cx| {
                assert!(Pin::new(&mut first).poll(cx).is_pending());
                tick.as_mut().poll(cx)
            })
            .await;
            // The other arm has won. `first` is alive, and is not polled.
            let mut second = mine.acquire().await?;
            *second += 1;
            drop(second);
            // It was not forgotten.
            let mut third = first.await?;
            *third += 1;
            Ok::<_, Failure>(())
        });
        task.await??;
        assert_eq!(*lock.acquire().await?, 2);
    }

    async fn a_stream_of_futures_whose_consumer_is_busy_does_not_hold_the_semaphore(reactor) {
        let semaphore = DeferredSemaphore::new(1)?;
        let waiting = semaphore.clone();
        let acquired = futures::stream::iter(0..4).map(move |_| waiting.acquire()).buffered(2);
        let mut acquired = pin!(acquired);
        let mut count = 0;
        while let Some(permit) = acquired.next().await {
            drop(permit?);
            // While this waits, the futures in the buffer are not polled.
            drop(semaphore.acquire().await?);
            count += 1;
        }
        assert_eq!(count, 4);
        let _ = reactor;
    }

    async fn a_get_that_is_not_polled_does_not_keep_the_item(reactor) {
        let queue = DeferredQueue::new();
        let mut kept = queue.get();
        assert!(poll_once(&mut kept).await.is_pending());
        let other = queue.clone();
        let task = reactor.spawn(async move { other.get().await });
        some_turns().await;
        queue.put('a')?;
        assert_eq!(task.await??, 'a');
        queue.put('b')?;
        assert_eq!(kept.await?, 'b');
    }

    async fn unpolled_waiters_block_no_others(reactor) {
        let lock = DeferredLock::new(());
        let guard = lock.try_acquire();
        let mut cupboard: Vec<_> = (0..20).map(|_| lock.acquire()).collect();
        for kept in &mut cupboard[10..] {
            assert!(poll_once(kept).await.is_pending());
        }
        let mine = lock.clone();
        let task = reactor.spawn(async move { mine.acquire().await.map(drop) });
        some_turns().await;
        drop(guard);
        task.await??;
        // They were passed over once; from then on none waits for them.
        for _ in 0..3 {
            let guard = lock.try_acquire().expect("it is free for all");
            let mine = lock.clone();
            let task = reactor.spawn(async move { mine.acquire().await.map(drop) });
            yield_now().await;
            drop(guard);
            yield_now().await;
            yield_now().await;
            assert!(task.is_finished());
        }
        for kept in cupboard {
            drop(kept.await?);
        }
    }

    async fn tasks_get_the_lock_in_the_order_of_their_calls(reactor) {
        let (lock, log) = (DeferredLock::new(()), Log::new());
        let guard = lock.try_acquire();
        let calls: Vec<_> = (0..10).map(|n| (n, lock.acquire())).collect();
        // They are polled in another order.
        let tasks: Vec<_> = calls.into_iter().rev().map(|(n, waits)| {
            let log = log.clone();
            reactor.spawn(async move {
                let _guard = waits.await?;
                log.note(n);
                yield_now().await;
                Ok::<_, Failure>(())
            })
        }).collect();
        some_turns().await;
        drop(guard);
        for task in tasks {
            task.await??;
        }
        assert_eq!(log.take().join(" "), "0 1 2 3 4 5 6 7 8 9");
    }

    async fn a_task_that_is_dropped_with_an_offer_passes_it_on_at_once(reactor) {
        let lock = DeferredLock::new(());
        let guard = lock.try_acquire();
        let mine = lock.clone();
        let first = reactor.spawn(async move { mine.acquire().await });
        let mine = lock.clone();
        let second = reactor.spawn(async move { mine.acquire().await });
        some_turns().await;
        drop(guard);
        // `first` is woken, and never polled again.
        assert!(first.cancel().await.is_none());
        drop(second.await??);
        assert!(!lock.is_locked());
    }

    async fn a_get_that_is_dropped_between_wake_and_poll_loses_nothing(reactor) {
        let queue = DeferredQueue::new();
        for n in 0..10 {
            let mine = queue.clone();
            let task = reactor.spawn(async move { mine.get().await });
            some_turns().await;
            queue.put(n)?;
            assert_eq!(queue.try_get(), None);
            assert!(task.cancel().await.is_none());
            assert_eq!(queue.try_get(), Some(n));
        }
    }

    async fn a_cancelled_coroutine_that_has_an_offer_is_cancelled_at_its_next_await(reactor) {
        let lock = DeferredLock::new(());
        let guard = lock.try_acquire();
        let (mine, log) = (lock.clone(), Log::new());
        let notes = log.clone();
        let work = Deferred::from_future(async move {
            let _guard = mine.acquire().await?;
            notes.note("has it");
            let (never, _resolver) = Deferred::<()>::pair();
            never.await
        });
        some_turns().await;
        drop(guard);
        work.cancel();
        assert!(work.await.unwrap_err().is::<Cancelled>());
        assert_eq!(log.take(), ["has it"]);
        assert!(!lock.is_locked());
        let _ = reactor;
    }

    async fn a_step_that_returns_an_acquire_is_no_cupboard_either(reactor) {
        // The core that is awaited is not the one in the queue.
        let lock = DeferredLock::new(());
        let guard = lock.try_acquire();
        let mine = lock.clone();
        let (start, go) = Deferred::pair();
        let mut kept = start.add_callback(move |()| mine.acquire());
        assert!(poll_once(&mut kept).await.is_pending());
        go.callback(());
        let mine = lock.clone();
        let task = reactor.spawn(async move { mine.acquire().await.map(drop) });
        some_turns().await;
        drop(guard);
        task.await??;
        drop(kept.await?);

        // When it is polled, it is served in its turn.
        let guard = lock.try_acquire();
        let mine = lock.clone();
        let outer = Deferred::succeed(()).add_callback(|()| ()).add_callback(move |()| mine.acquire());
        let (start, go) = Deferred::pair();
        let awaited = reactor.spawn(start.add_callback(move |()| outer));
        let mine = lock.clone();
        let later = reactor.spawn(async move { mine.acquire().await.map(drop) });
        some_turns().await;
        go.callback(());
        some_turns().await;
        drop(guard);
        drop(awaited.await??);
        later.await??;
    }

    async fn an_offer_moves_with_the_deferred_that_has_it(reactor) {
        let queue = DeferredQueue::new();
        let waits = queue.get();
        queue.put(1)?;
        // It is offered, and now a callback returns it, to a task that awaits that callback's
        // Deferred.
        let (start, go) = Deferred::pair();
        let task = reactor.spawn(start.add_callback(move |()| waits));
        some_turns().await;
        assert_eq!(queue.len(), 1);
        go.callback(());
        assert_eq!(task.await??, 1);
        assert!(queue.is_empty());
    }

    async fn dropping_the_end_of_a_chain_leaves_the_item_in_the_queue(reactor) {
        let queue = DeferredQueue::new();
        let (start, go) = Deferred::pair();
        let mine = queue.clone();
        let chain = start.add_callback(move |()| mine.get());
        go.callback(());
        assert_eq!(queue.waiting(), 1);
        drop(chain);
        assert_eq!(queue.waiting(), 0);
        let mine = queue.clone();
        let (start, go) = Deferred::pair();
        drop(start.add_callback(move |()| mine.get()));
        queue.put('x')?;
        go.callback(());
        assert_eq!(queue.try_get(), Some('x'));
        let _ = reactor;
    }

    async fn members_of_lists_and_scopes_stand_in_line_like_anybody(reactor) {
        // The first of a race that gets the lock wins; the others leave the queue, or run on.
        for lets_run in [false, true] {
            let (lock, log) = (DeferredLock::new(()), Log::new());
            let guard = lock.try_acquire();
            let members = (0..3).map(|n| {
                let log = log.clone();
                lock.acquire().map(move |guard| {
                    log.note(n);
                    guard
                })
            });
            let members = DeferredList::new(members);
            let first = match lets_run {
                true => members.let_rest_run().first(),
                false => members.first(),
            };
            drop(guard);
            let (index, won) = first.await?;
            assert_eq!(index, 0);
            drop(won?);
            some_turns().await;
            let expected: &[&str] = if lets_run { &["0", "1", "2"] } else { &["0"] };
            assert_eq!(log.take(), expected);
            assert_eq!((lock.is_locked(), lock.waiting()), (false, 0));
        }
        // Children that are cancelled in the queue take nothing out.
        let semaphore = DeferredSemaphore::new(1)?;
        let held = semaphore.try_acquire();
        let mine = semaphore.clone();
        let ended = scope(async |scope| {
            for _ in 0..3 {
                let mine = mine.clone();
                scope.spawn(async move { mine.acquire().await.map(drop) });
            }
            some_turns().await;
            drop(held);
            Err::<(), _>(Failure::new("enough"))
        });
        assert_eq!(ended.await.unwrap_err().to_string(), "enough");
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
        let _ = reactor;
    }

    async fn a_scope_that_ends_starts_no_child_that_waits_for_another(_reactor) {
        let log = Log::new();
        let semaphore = DeferredSemaphore::new(1)?;
        let (mine, seen) = (semaphore.clone(), log.clone());
        let ended = scope(async |scope| {
            for name in ["a", "b", "c"] {
                let seen = seen.clone();
                let running = mine.run(move || endless(name, &seen));
                scope.spawn(running);
            }
            some_turns().await;
            Err::<(), _>(Failure::new("enough"))
        });
        assert_eq!(ended.await.unwrap_err().to_string(), "enough");
        assert_eq!(log.take(), ["a starts", "a is cancelled"]);
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    }

    async fn run_async_has_the_value_to_the_end(reactor) {
        let lock = DeferredLock::new(Vec::new());
        let runs: Vec<_> = (0..3).map(|n| lock.run_async(async move |words: &mut Vec<u32>| {
            words.push(n);
            yield_now().await;
            words.push(n);
            Ok(words.len())
        })).collect();
        for run in runs {
            run.await?;
        }
        assert_eq!(*lock.acquire().await?, [0, 0, 1, 1, 2, 2]);
        let stuck = lock.run_async(async |_| pending::<Result<(), Failure>>().await);
        some_turns().await;
        assert!(lock.is_locked());
        stuck.cancel();
        assert!(stuck.await.unwrap_err().is::<Cancelled>());
        some_turns().await;
        assert!(!lock.is_locked());
        let failed = lock.run_async(async |_| Err::<(), _>(Failure::new("no")));
        assert!(failed.await.is_err());
        assert!(!lock.is_locked());
        let _ = reactor;
    }

    async fn a_stream_takes_items_as_it_yields_them_and_ends_with_the_last_handle(reactor) {
        let queue = DeferredQueue::new();
        let mut items = queue.stream();
        assert!(poll_fn(|cx| Poll::Ready(items.poll_next_unpin(cx))).await.is_pending());
        queue.put(1)?;
        assert_eq!(queue.len(), 1);
        drop(items);
        assert_eq!(queue.waiting(), 0);
        let items = queue.stream();
        let all = reactor.spawn(items.collect::<Vec<_>>());
        queue.put(2)?;
        some_turns().await;
        let last = queue.clone();
        drop(queue);
        last.put(3)?;
        drop(last);
        assert_eq!(all.await?, [1, 2, 3]);
    }

    async fn waiters_for_space_and_waiters_for_items_serve_each_other(reactor) {
        let queue = DeferredQueue::with_limits(2, None);
        let source = queue.clone();
        let sender = reactor.spawn(async move {
            for n in 0..100 {
                source.put_when_room(n).await?;
                // One item more than are stored may be on its way to the getter.
                assert!(source.len() <= 3);
            }
            Ok::<_, Failure>(())
        });
        for n in 0..100 {
            assert_eq!(queue.get().await?, n);
        }
        sender.await??;
    }

    async fn big_and_small_requests_are_served_in_order(reactor) {
        let semaphore = DeferredSemaphore::new(4)?;
        let (log, held) = (Log::new(), semaphore.try_acquire_many(3));
        let tasks: Vec<_> = [4, 1, 2, 1, 3].into_iter().map(|count| {
            let (waits, log) = (semaphore.acquire_many(count), log.clone());
            reactor.spawn(async move {
                let permit = waits.await?;
                log.note(permit.count());
                yield_now().await;
                Ok::<_, Failure>(())
            })
        }).collect();
        some_turns().await;
        assert!(log.is_empty() && semaphore.available() == 1);
        drop(held);
        for task in tasks {
            task.await??;
        }
        assert_eq!(log.take().join(" "), "4 1 2 1 3");
        assert_eq!(semaphore.available(), 4);
    }

    async fn events_and_watched_values_tell_everybody(reactor) {
        let event = Event::new();
        let tasks: Vec<_> = (0..5).map(|_| reactor.spawn(event.wait())).collect();
        some_turns().await;
        event.set();
        event.clear();
        for task in tasks {
            task.await??;
        }
        let mut waits = event.wait();
        assert!(poll_once(&mut waits).await.is_pending());
        drop(event);
        assert!(is_error!(waits.await.unwrap_err(), DeferredError::Abandoned));

        let value = Watched::new(0);
        let mut watchers = [value.watch(), value.watch()];
        let waits = watchers[0].changed();
        value.set(1);
        waits.await?;
        watchers[0].changed().await?;
        assert_eq!((*watchers[0].get(), watchers[0].has_changed()), (1, false));
        let waits = watchers[0].changed();
        drop(value);
        assert!(is_error!(waits.await.unwrap_err(), LockError::WatchEnded));
        watchers[1].changed().await?;
        assert_eq!(*watchers[1].get(), 1);
        assert!(is_error!(watchers[1].changed().await.unwrap_err(), LockError::WatchEnded));
    }
}

#[test]
fn a_loop_that_is_shut_down_with_an_offer_passes_it_on() {
    let lock = DeferredLock::new(());
    let guard = Cell::new(lock.try_acquire());
    let kept = lock.acquire();
    let log = Log::new();
    let reactor = torsade::Reactor::in_memory().unwrap();
    let (mine, notes) = (lock, log.clone());
    reactor
        .run_until(async {
            // Offered to `kept`, which is not polled; the loop ends before its round does.
            drop(guard.take());
            mine.acquire().add_callback(move |_| notes.note("second"));
        })
        .unwrap();
    drop(reactor);
    assert_eq!(log.take(), ["second"]);
    drop(now(kept));
}

#[test]
fn guards_in_tasks_dropped_at_the_end_of_a_loop_are_released_in_order() {
    let (lock, log) = (DeferredLock::new(()), Log::new());
    let reactor = torsade::Reactor::in_memory().unwrap();
    for n in 0..3 {
        let (mine, notes) = (lock.clone(), log.clone());
        let task = reactor.spawn(async move {
            let _guard = mine.acquire().await;
            notes.note(format!("task {n}"));
            pending::<()>().await;
        });
        task.detach();
    }
    let (mine, notes) = (lock.clone(), log.clone());
    reactor
        .run_until(async {
            some_turns().await;
            mine.acquire().add_callback(move |_| notes.note("callback"));
            assert_eq!(mine.waiting(), 3);
        })
        .unwrap();
    drop((reactor, mine));
    // None of the tasks that were dropped in the queue had it.
    assert_eq!(log.take(), ["task 0", "callback"]);
    assert_eq!((lock.is_locked(), lock.waiting()), (false, 0));
}

#[test]
fn a_canceller_that_releases_and_acquires_again_has_left_the_queue() {
    let (lock, log) = (DeferredLock::new(()), Log::new());
    let held = Cell::new(lock.try_acquire());
    let (again, notes) = (lock.clone(), log.clone());
    let first = lock.acquire().on_cancel(move || {
        drop(held.take());
        let inner = notes.clone();
        again.acquire().add_callback(move |_| inner.note("last"));
        notes.note("told");
    });
    let notes = log.clone();
    let second = lock.acquire().map(move |_| notes.note("second"));
    first.cancel();
    first.add_both(|result| assert!(result.unwrap_err().is::<Cancelled>()));
    assert_eq!(log.take(), ["second", "last", "told"]);
    assert!(second.is_settled() && !lock.is_locked());
}

#[test]
fn without_a_loop_all_waiters_get_an_offer_at_once() {
    let lock = DeferredLock::new(());
    let guard = lock.try_acquire();
    let counters: [Arc<WakeCounter>; 3] = Default::default();
    let mut waits: Vec<_> = counters.iter().map(|_| lock.acquire()).collect();
    for (deferred, counter) in waits.iter_mut().zip(&counters) {
        let waker = counter.clone().into();
        assert!(
            Pin::new(deferred)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    drop(guard);
    assert!(counters.iter().all(|counter| counter.count() == 1));
    // The first to ask has the lock; the others are in the queue, in their old positions.
    let guard = now(waits.remove(1));
    let log = Log::new();
    for (deferred, name) in waits.into_iter().zip(["first", "third"]) {
        let log = log.clone();
        deferred.add_callback(move |_| log.note(name));
    }
    drop(guard);
    assert_eq!(log.take(), ["first", "third"]);
}

#[test]
fn a_kept_future_blocks_no_other_under_block_on() {
    let lock = DeferredLock::new(());
    let guard = lock.try_acquire();
    let mut first = lock.acquire();
    task::block_on(async {
        assert!(poll_once(&mut first).await.is_pending());
        let mut second = lock.acquire();
        assert!(poll_once(&mut second).await.is_pending());
        drop(guard);
        drop(second.await.unwrap());
        drop(first.await.unwrap());
    });
}

#[test]
fn thirty_thousand_run_one_after_the_other() {
    const MANY: usize = 30_000;
    let lock = DeferredLock::new(0);
    let guard = lock.try_acquire();
    for _ in 0..MANY {
        lock.acquire().add_callback(|mut n| *n += 1);
    }
    assert_eq!(lock.waiting(), MANY);
    drop(guard);
    assert_eq!(*lock.try_acquire().unwrap(), MANY);

    let semaphore = DeferredSemaphore::new(3).unwrap();
    let all = semaphore.try_acquire_many(3);
    let count = Rc::new(Cell::new(0));
    for _ in 0..MANY {
        let count = count.clone();
        semaphore.run(move || count.set(count.get() + 1));
    }
    drop(all);
    assert_eq!((count.get(), semaphore.available()), (MANY, 3));

    let queue = DeferredQueue::new();
    for n in 0..MANY {
        let again = queue.clone();
        queue
            .get()
            .add_callback(move |got: usize| {
                again.put(got + 1).map_err(drop).unwrap();
                Ok(())
            })
            .add_callback(move |()| assert!(n < MANY));
    }
    queue.put(0).unwrap();
    assert_eq!(queue.try_get(), Some(MANY));
}

#[test]
fn a_hundred_thousand_steps_that_each_return_an_acquire_use_no_stack() {
    let lock = DeferredLock::new(0);
    let (mut chain, start) = Deferred::pair();
    for _ in 0..100_000 {
        let lock = lock.clone();
        chain = chain.add_callback(move |mut guard: LockGuard<usize>| {
            *guard += 1;
            drop(guard);
            lock.acquire()
        });
    }
    start.callback(lock.try_acquire().unwrap());
    assert_eq!(*now(chain), 100_000);
}

#[test]
fn a_hundred_thousand_are_dropped_and_cancelled_in_no_time() {
    let lock = DeferredLock::new(());
    let guard = lock.try_acquire();
    let waits: Vec<_> = (0..100_000).map(|_| lock.acquire()).collect();
    for (n, deferred) in waits.iter().enumerate() {
        if n % 2 == 0 {
            deferred.cancel();
        }
    }
    assert_eq!(lock.waiting(), 50_000);
    for (n, deferred) in waits.into_iter().enumerate() {
        match n % 2 {
            0 => drop(deferred.add_both(|failed| assert!(failed.is_err()))),
            _ => drop(deferred),
        }
    }
    assert_eq!(lock.waiting(), 0);
    drop(guard);
    assert!(lock.try_acquire().is_some());
}

#[test]
fn a_waiter_that_leaves_passes_its_offer_on() {
    for how in ["cancel", "drop", "drop polled"] {
        let (lock, log) = (DeferredLock::new(()), Log::new());
        let guard = lock.try_acquire();
        let mut first = lock.acquire();
        if how == "drop polled" {
            assert!(poll(&mut first).is_pending());
        }
        let note = log.clone();
        lock.acquire().add_callback(move |_| note.note("second"));
        assert_eq!(lock.waiting(), 2);
        match how {
            "cancel" => {
                first.cancel();
                assert!(
                    poll(&mut first)
                        .comes_ready_and(|result| result.unwrap_err().is::<Cancelled>())
                );
            }
            _ => drop(first),
        }
        assert_eq!((lock.waiting(), log.take()), (1, vec![]), "{how}");
        drop(guard);
        assert_eq!(log.take(), ["second"], "{how}");
        assert_eq!(lock.waiting(), 0);
    }
}

#[test]
fn a_big_request_that_leaves_the_queue_lets_small_ones_in() {
    let (semaphore, log) = (DeferredSemaphore::new(3).unwrap(), Log::new());
    let held = semaphore.try_acquire();
    let big = semaphore.acquire_many(3);
    for name in ["a", "b", "c"] {
        let log = log.clone();
        semaphore.acquire().add_callback(move |permit| {
            log.note(name);
            Ok(permit)
        });
    }
    assert!(log.is_empty());
    big.cancel();
    // A Deferred that was dropped drops its guard.
    assert_eq!(log.take(), ["a", "b", "c"]);
    assert_eq!(semaphore.available(), 2);
    drop(big.add_both(|_| ()));
    drop(held);
    assert_eq!(semaphore.available(), 3);
}
