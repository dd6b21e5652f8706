//! Locks, semaphores, queues and events without a loop: guards, limits, and re-entrant code.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::Stream;
use support::Log;
use support::polled::{ReadyAnd, WakeCounter, now, poll};
use torsade::defer::DeferredError;
use torsade::locks::{
    DeferredLock, DeferredQueue, DeferredSemaphore, Event, LockError, LockGuard, QueueOverflow,
    SemaphorePermit, Watched,
};
use torsade::{Cancelled, Clock, Deferred, Failure};

#[test]
fn cancelling_after_the_grant_changes_nothing() {
    let (lock, kept) = (DeferredLock::new(()), Rc::new(Cell::new(None)));
    let keep = kept.clone();
    let chain = lock
        .acquire()
        .add_callback(move |guard| keep.set(Some(guard)));
    chain.cancel();
    assert!(lock.is_locked());
    drop(kept.take());
    assert!(!lock.is_locked());
}

#[test]
fn a_guard_in_a_chain_holds_until_the_chain_drops_it() {
    let lock = DeferredLock::new(());
    let chain = lock.acquire().add_callback(|guard| {
        let _guard = guard;
        Err::<(), _>(Failure::new("oh"))
    });
    assert!(!lock.is_locked());
    chain.add_errback(|_| ());
    // This is the limit that the docs name.
    let chain = lock.acquire().add_callback(Ok);
    assert!(lock.is_locked());
    drop(chain);
    assert!(!lock.is_locked());
}

#[test]
fn a_panic_releases_and_does_not_poison() {
    let lock = DeferredLock::new(0);
    let chain = lock.acquire().add_callback(|mut n| {
        *n = 1;
        panic!("oh");
    });
    chain.add_errback(|failure| assert!(failure.is_panic()));
    assert_eq!(*lock.try_acquire().unwrap(), 1);
    let run = lock.run(|n| {
        *n = 2;
        panic!("oh");
    });
    run.add_errback(|failure| assert!(failure.is_panic()));
    assert_eq!(*lock.try_acquire().unwrap(), 2);
}

#[test]
fn release_acquire_and_cancel_inside_a_waiters_callback() {
    let (lock, log) = (DeferredLock::new(()), Log::new());
    let guard = lock.try_acquire();
    let third = Rc::new(RefCell::new(None));
    let (note, again, cancels) = (log.clone(), lock.clone(), third.clone());
    lock.acquire().add_callback(move |guard| {
        note.note("first");
        assert!(again.try_acquire().is_none());
        let inner = note.clone();
        again.acquire().add_callback(move |_| inner.note("last"));
        let third: Option<Deferred<()>> = cancels.borrow_mut().take();
        third.unwrap().cancel();
        drop(guard);
        // The next waiter has not run inside this callback.
        note.note("first is done");
    });
    let note = log.clone();
    lock.acquire().add_callback(move |_| note.note("second"));
    let note = log.clone();
    let waits = lock
        .acquire()
        .add_both(move |result| note.note(result.map_or("cancelled", |_| "?")));
    third.replace(Some(waits));
    drop(guard);
    assert_eq!(
        log.take(),
        ["first", "cancelled", "first is done", "second", "last"]
    );
    assert!(!lock.is_locked());
}

#[test]
fn a_guard_is_released_by_a_destructor_and_a_waker_re_enters() {
    struct Last(Option<LockGuard<u32>>, Log);
    impl Drop for Last {
        fn drop(&mut self) {
            drop(self.0.take());
            self.1.note("destructor");
        }
    }
    struct Meddler(DeferredQueue<u32>);
    // A queue stays on its thread, and so does this waker.
    let (lock, log) = (DeferredLock::new(1), Log::new());
    let guard = lock.try_acquire();
    let note = log.clone();
    lock.acquire().add_callback(move |guard| {
        let last = Last(Some(guard), note);
        drop(last);
    });
    let note = log.clone();
    lock.acquire().add_callback(move |_| note.note("next"));
    let owner: Deferred<Last> = Deferred::succeed(Last(guard, log.clone()));
    drop(owner);
    assert_eq!(log.take(), ["destructor", "next", "destructor"]);

    thread_local! {
        static QUEUE: RefCell<Option<Meddler>> = const { RefCell::new(None) };
    }
    struct Puts;
    impl Wake for Puts {
        fn wake(self: Arc<Self>) {
            QUEUE.with(|queue| {
                let queue = queue.borrow().as_ref().map(|meddler| meddler.0.clone());
                let queue = queue.unwrap();
                // The item is offered to the waiter that is being woken.
                assert_eq!(queue.try_get(), None);
                queue.put(2).unwrap();
            });
        }
    }
    impl Drop for Puts {
        fn drop(&mut self) {
            QUEUE.with(|queue| {
                let meddler = queue.borrow_mut().take();
                meddler.unwrap().0.put(3).unwrap();
            });
        }
    }
    let queue = DeferredQueue::new();
    QUEUE.with(|slot| slot.replace(Some(Meddler(queue.clone()))));
    let mut waits = queue.get();
    let waker: Waker = Arc::new(Puts).into();
    assert!(
        Pin::new(&mut waits)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    queue.put(1).unwrap();
    assert_eq!(now(waits), 1);
    assert_eq!(queue.try_get(), Some(2));
    assert_eq!(queue.try_get(), Some(3));
}

#[test]
fn an_offer_during_the_exchange_of_a_waker_is_not_lost() {
    // The old waker's destructor puts the item, when no waker is stored.
    thread_local! {
        static QUEUE: Cell<Option<DeferredQueue<u32>>> = const { Cell::new(None) };
    }
    struct Puts;
    impl Wake for Puts {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Puts {
        fn drop(&mut self) {
            let queue = QUEUE.with(Cell::take);
            queue.unwrap().put(1).unwrap();
        }
    }
    let queue = DeferredQueue::new();
    QUEUE.with(|slot| slot.set(Some(queue.clone())));
    let mut waits = queue.get();
    let first: Waker = Arc::new(Puts).into();
    assert!(
        Pin::new(&mut waits)
            .poll(&mut Context::from_waker(&first))
            .is_pending()
    );
    drop(first);
    let counter = Arc::new(WakeCounter::default());
    let second = counter.clone().into();
    let polled = Pin::new(&mut waits).poll(&mut Context::from_waker(&second));
    assert!(polled.is_pending() && counter.count() == 1);
    assert_eq!(now(waits), 1);
}

#[test]
fn on_cancel_is_called_and_the_position_in_the_queue_is_kept() {
    let (lock, log) = (DeferredLock::new(()), Log::new());
    let guard = lock.try_acquire();
    let note = log.clone();
    let waits = lock.acquire().on_cancel(move || note.note("told"));
    drop(guard);
    drop(now(waits));
    assert!(log.is_empty());
    let guard = lock.try_acquire();
    let (early, late) = (log.clone(), log.clone());
    let waits = lock
        .acquire()
        .on_cancel(move || early.note("replaced"))
        .on_cancel(move || late.note("told"));
    waits.cancel();
    assert_eq!((log.take(), lock.waiting()), (vec!["told".to_owned()], 0));
    waits.add_both(|result| assert!(result.unwrap_err().is::<Cancelled>()));
    let waits = lock.acquire().on_cancel(|| panic!("oh"));
    waits.cancel();
    assert_eq!(lock.waiting(), 0);
    waits.add_both(|result| assert!(result.unwrap_err().is_panic()));
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn a_limit_in_time_leaves_the_line() {
    let (clock, lock) = (torsade::VirtualClock::new(), DeferredLock::new(()));
    let guard = lock.try_acquire();
    let waits = lock.acquire().timeout(Duration::from_secs(1), &clock);
    clock.advance(Duration::from_secs(1));
    waits.add_both(|result| assert!(result.unwrap_err().is::<torsade::clock::TimedOut>()));
    assert_eq!(lock.waiting(), 0);
    drop(guard);
    // A limit on a free lock: the lock is taken at once.
    let chain = lock
        .acquire()
        .timeout(Duration::from_secs(1), &clock)
        .add_callback(|_| ());
    assert!(chain.is_settled());
    assert!(clock.delayed_calls().is_empty());
}

#[test]
fn a_paused_deferred_keeps_its_guard_and_continues_with_it() {
    let (lock, log) = (DeferredLock::new(()), Log::new());
    let guard = lock.try_acquire();
    let mut waits = lock.acquire();
    let pause = waits.pause();
    let note = log.clone();
    let chain = waits.add_callback(move |_| note.note("ran"));
    drop(guard);
    assert!(log.is_empty() && lock.is_locked());
    drop(pause);
    assert_eq!(log.take(), ["ran"]);
    assert!(chain.is_settled() && !lock.is_locked());
}

#[test]
fn waiters_that_nothing_can_serve_are_abandoned() {
    let queue = DeferredQueue::<u32>::with_limits(0, None);
    let waits = queue.get();
    drop(queue);
    waits.add_both(|result| assert!(is_error!(result.unwrap_err(), DeferredError::Abandoned)));

    let queue = DeferredQueue::with_limits(1, None);
    queue.put(1).unwrap();
    let (got, mut put) = (queue.get(), queue.put_when_room(2));
    assert!(poll(&mut put).is_pending());
    drop(queue);
    assert!(
        poll(&mut put)
            .comes_ready_and(|result| is_error!(result.unwrap_err(), DeferredError::Abandoned))
    );
    // The item is still there.
    assert_eq!(now(got), 1);

    let semaphore = DeferredSemaphore::new(1).unwrap();
    let (kept, waits) = (semaphore.acquire(), semaphore.acquire_many(2));
    drop(semaphore);
    // A permit is a handle as well: a Deferred may still wait for it.
    let permit = now(kept);
    assert!(!waits.is_settled());
    drop(permit);
    waits.add_both(|result| assert!(is_error!(result.unwrap_err(), DeferredError::Abandoned)));

    let lock = DeferredLock::new('v');
    let waits = lock.acquire();
    drop(lock);
    assert_eq!(*now(waits), 'v');
}

#[test]
fn nothing_owns_itself() {
    for kind in 0..4 {
        let value = Rc::new(());
        let lock = DeferredLock::new(value.clone());
        let guard = lock.try_acquire();
        let waits = lock.acquire();
        match kind {
            // Waiting, offered, given, and waiting for a callback.
            0 => drop((lock, waits, guard)),
            1 => {
                drop(guard);
                drop((lock, waits));
            }
            2 => {
                drop(guard);
                let guard = now(waits);
                drop(lock);
                drop(guard);
            }
            _ => {
                drop(waits.add_callback(|_| ()));
                drop(lock);
                drop(guard);
            }
        }
        assert_eq!(Rc::strong_count(&value), 1, "{kind}");
    }
}

#[test]
fn a_closed_semaphore_tells_everybody() {
    let (semaphore, log) = (DeferredSemaphore::new(1).unwrap(), Log::new());
    let offered = semaphore.acquire();
    let held = semaphore.try_acquire().unwrap();
    for _ in 0..2 {
        let log = log.clone();
        let both = move |result: Result<SemaphorePermit, Failure>| {
            assert!(is_error!(result.unwrap_err(), LockError::SemaphoreClosed));
            log.note("closed");
        };
        semaphore.acquire().add_both(both);
    }
    semaphore.close();
    assert_eq!(log.take(), ["closed", "closed"]);
    offered.add_both(|result| assert!(is_error!(result.unwrap_err(), LockError::SemaphoreClosed)));
    semaphore
        .acquire()
        .add_both(|result| assert!(is_error!(result.unwrap_err(), LockError::SemaphoreClosed)));
    assert!(semaphore.try_acquire().is_none() && semaphore.is_closed());
    drop(held);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn permits_are_forgotten_and_added() {
    assert_eq!(DeferredSemaphore::new(0).unwrap_err(), LockError::NoPermits);
    let (semaphore, log) = (DeferredSemaphore::new(2).unwrap(), Log::new());
    semaphore.try_acquire().unwrap().forget();
    assert_eq!(semaphore.available(), 1);
    let note = log.clone();
    semaphore
        .acquire_many(3)
        .add_callback(move |permit| note.note(permit.count()));
    semaphore.add_permits(1);
    assert!(log.is_empty());
    semaphore.add_permits(1);
    assert_eq!(
        (log.take(), semaphore.available()),
        (vec!["3".to_owned()], 3)
    );
    let nothing = now(semaphore.acquire_many(0));
    assert_eq!((nothing.count(), semaphore.available()), (0, 3));
}

#[test]
#[should_panic(expected = "cannot count that many permits")]
fn too_many_permits_are_refused() {
    let semaphore = DeferredSemaphore::new(1).unwrap();
    let _held = semaphore.try_acquire();
    semaphore.add_permits(usize::MAX);
}

#[test]
fn the_limits_of_a_queue() {
    let queue = DeferredQueue::with_limits(0, 1);
    assert_eq!(queue.put('a'), Err(QueueOverflow('a')));
    let waits = queue.get();
    let refused = now(queue.get().add_errback(|failure| {
        assert_eq!(
            *failure.trap::<LockError>()?,
            LockError::QueueUnderflow { waiting: 1 }
        );
        Ok('?')
    }));
    assert_eq!(refused, '?');
    queue.put('b').unwrap();
    assert_eq!(queue.put('c'), Err(QueueOverflow('c')));
    assert_eq!((queue.len(), now(waits)), (1, 'b'));

    // A Deferred that waits for space is served by one that waits for an item.
    let put = queue.put_when_room('d');
    let log = Log::new();
    let note = log.clone();
    queue.get().add_callback(move |item| note.note(item));
    assert_eq!(log.take(), ["d"]);
    now(put);
    let cancelled = queue.put_when_room('e');
    cancelled.cancel();
    cancelled.add_both(|result| assert!(result.unwrap_err().is::<Cancelled>()));
    drop(queue.put_when_room('f'));
    assert_eq!(now(queue.get()), 'f');
}

#[test]
fn an_event_fires_the_waiters_it_had() {
    let (event, log) = (Event::new(), Log::new());
    let (note, again) = (log.clone(), event.clone());
    event.wait().add_callback(move |()| {
        note.note("first");
        again.clear();
        let note = note.clone();
        again.wait().add_callback(move |()| note.note("next time"));
    });
    let note = log.clone();
    event.wait().add_callback(move |()| note.note("second"));
    let gone = event.wait();
    gone.cancel();
    gone.add_both(|result| assert!(result.unwrap_err().is::<Cancelled>()));
    event.set();
    assert_eq!(log.take(), ["first", "second"]);
    assert!(!event.is_set());
    event.set();
    assert_eq!(log.take(), ["next time"]);
    now(event.wait());
}

#[test]
fn a_watcher_asks_again_inside_its_callback() {
    fn follow(mut watcher: torsade::locks::Watcher<u32>, log: Log) {
        let waits = watcher.changed();
        waits.add_callbacks(
            move |()| {
                log.note(watcher.get());
                follow(watcher, log);
            },
            |failure| assert!(is_error!(failure, LockError::WatchEnded)),
        );
    }
    let (value, log) = (Watched::new(0), Log::new());
    follow(value.watch(), log.clone());
    let meddler = value.clone();
    let watcher = value.watch();
    watcher.changed().add_callback(move |()| meddler.set(10));
    value.set(1);
    value.update(|n| n + 1);
    assert_eq!(log.take(), ["1", "10", "11"]);
    drop(value);
}

#[test]
fn a_canceller_of_the_users_is_called_beside_the_librarys() {
    let log = Log::new();
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.note(what)
    };
    // A canceller that is set later replaces the user's own.
    let (first, second) = (note("first"), note("queue"));
    let queue = DeferredQueue::with_limits(1, None);
    queue.put('a').unwrap();
    let waits = queue.put_when_room('b').on_cancel(first).on_cancel(second);
    waits.cancel();
    assert!(waits.add_errback(|_| ()).is_settled());
    assert_eq!(now(queue.get()), 'a');
    assert!(queue.is_empty());

    // A panic in the user's canceller does not stop the library's.
    queue.put('a').unwrap();
    let waits = queue
        .put_when_room('b')
        .on_cancel(|| std::panic::resume_unwind(Box::new("oh")));
    waits.cancel();
    waits.add_errback(|failure| assert!(failure.is_panic()));
    assert_eq!(now(queue.get()), 'a');
    assert!(queue.is_empty());
    assert_eq!(log.take(), ["queue"]);
}

#[test]
fn a_stream_does_not_count_for_the_backlog() {
    let queue = DeferredQueue::<u32>::with_limits(None, 1);
    let mut items = queue.stream();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut items).poll_next(&mut cx).is_pending());
    let first = queue.get();
    queue.get().add_errback(|failure| {
        assert_eq!(
            *failure.trap::<LockError>()?,
            LockError::QueueUnderflow { waiting: 1 }
        );
        Ok(0)
    });
    assert!(!first.is_settled());
    drop(items);
    drop(first);
    let first = queue.get();
    assert!(!first.is_settled());
}

#[test]
fn no_item_overtakes_items_that_wait_for_space() {
    let queue = DeferredQueue::with_limits(1, None);
    queue.put('a').unwrap();
    let (inner, refused) = (queue.clone(), Rc::new(Cell::new(false)));
    let was_refused = refused.clone();
    queue.put_when_room('b').add_callback(move |()| {
        // Room again, while waiting items are let in: it is for the next one.
        assert_eq!(inner.try_get(), Some('b'));
        was_refused.set(inner.put('x').is_err());
    });
    let last = queue.put_when_room('c');
    assert_eq!(now(queue.get()), 'a');
    assert!(refused.get());
    assert!(last.is_settled());
    assert_eq!(queue.try_get(), Some('c'));
}

#[test]
fn a_destructor_that_panics_does_not_keep_a_queue_from_its_end() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("boom"));
        }
    }

    let queue = DeferredQueue::with_limits(0, None);
    let puts = [(); 2].map(|()| queue.put_when_room(Bomb));
    let mut items = queue.stream();
    drop(queue);
    for put in puts {
        put.add_errback(|failure| assert!(is_error!(failure, DeferredError::Abandoned)));
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut items).poll_next(&mut cx).is_ready());
}
