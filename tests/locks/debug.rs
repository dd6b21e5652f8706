//! Debug mode: which task holds what other tasks wait for.

use std::cell::RefCell;
use std::rc::Rc;

use futures::StreamExt;
use support::MS;
use support::debugged::{debugged, next_line, shapes, tree};
#[cfg(unix)]
use torsade::locks::DeferredFilesystemLock;
use torsade::{
    Deferred, DeferredLock, DeferredQueue, DeferredSemaphore, Failure, Reactor, testing, yield_now,
};

/// Takes two locks, one after the other, and keeps them.
async fn take_both(first: DeferredLock, second: DeferredLock) -> Result<(), Failure> {
    let _first = first.acquire().await?;
    yield_now().await;
    let _second = second.acquire().await?;
    Ok(())
}

#[test]
fn the_holder_of_a_lock_is_shown_below_its_waiters() {
    testing::run_on(debugged(), async |reactor| {
        let made = next_line();
        let lock = DeferredLock::new(());
        let mine = lock.clone();
        let (never, resolver) = Deferred::<()>::pair();
        let since = next_line() + 1;
        let holder = reactor.spawn_named("holder", async move {
            let _guard = mine.acquire().await?;
            never.await
        });
        yield_now().await;
        let waiting = lock.acquire();
        let text = format!("{waiting:?}");
        let location = |line| format!("{}:{line}:", file!());
        let (made, since) = (location(made), location(since));
        for part in [
            format!("waits for the lock made at {made}"),
            format!("held by task `holder` since {since}"),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
        let waiter = reactor.spawn_named("waiter", waiting);
        yield_now().await;
        assert_eq!(
            shapes(&reactor),
            ["waiter(Deferred(lock(holder(Deferred))))"]
        );
        let text = reactor.dump().to_string();
        assert!(
            text.contains(&format!("held by task `holder` since {since}")),
            "{text}"
        );
        assert!(text.contains(&format!("(made at {made}")), "{text}");
        resolver.callback(());
        holder.await??;
        drop(waiter.await??);
        assert!(shapes(&reactor).is_empty());
        Ok(())
    });
}

#[test]
fn a_stream_of_a_queue_is_shown_with_its_users_line() {
    testing::run_on(debugged(), async |reactor| {
        let queue = DeferredQueue::<u32>::new();
        let made = next_line();
        let mut items = queue.stream();
        let reader = reactor.spawn_named("reader", async move { items.next().await });
        yield_now().await;
        assert_eq!(shapes(&reactor), ["reader(Deferred(queue))"]);
        let (text, location) = (reactor.dump().to_string(), format!("{}:{made}:", file!()));
        assert!(text.contains(&location), "{text}");
        drop(queue);
        assert_eq!(reader.await?, None);
        Ok(())
    });
}

#[test]
fn two_locks_the_wrong_way_round_are_a_deadlock() {
    testing::run_on(debugged(), async |reactor| {
        let (pen, page) = (DeferredLock::default(), DeferredLock::default());
        let tasks = [
            reactor.spawn_named("one", take_both(pen.clone(), page.clone())),
            reactor.spawn_named("two", take_both(page.clone(), pen.clone())),
        ];
        yield_now().await;
        yield_now().await;
        assert_eq!(
            tree(&reactor),
            [
                "task `one`, waits",
                "Deferred, pending",
                "lock, held by task `two`",
                "task `two`, waits",
                "Deferred, pending",
                "lock, held by task `one`",
                "task `one`, which waits for all of these: a deadlock",
            ]
        );
        for task in tasks {
            drop(task.cancel());
        }
        Ok(())
    });
}

#[test]
fn a_task_that_takes_a_lock_twice_waits_for_itself() {
    testing::run_on(debugged(), async |reactor| {
        let lock = DeferredLock::default();
        let task = reactor.spawn_named("twice", take_both(lock.clone(), lock.clone()));
        yield_now().await;
        yield_now().await;
        assert_eq!(
            tree(&reactor),
            [
                "task `twice`, waits",
                "Deferred, pending",
                "lock, held by task `twice`",
                "task `twice`, which waits for all of these: a deadlock",
            ]
        );
        drop(task.cancel());
        // A child of a scope is named as well, and so is a guard taken with `try_acquire`.
        let lock = DeferredLock::new(());
        let mine = lock.clone();
        let task = reactor.spawn(torsade::scope::scope(async move |scope| {
            scope.spawn(async move {
                let _held = mine.try_acquire();
                mine.acquire().await.map(drop)
            });
            Ok(())
        }));
        yield_now().await;
        yield_now().await;
        assert_eq!(
            tree(&reactor)[1..],
            [
                "child, waits",
                "Deferred, pending",
                "lock, held by a child",
                "child, which waits for all of these: a deadlock",
            ]
        );
        drop(task.cancel());
        Ok(())
    });
}

#[test]
fn a_guard_passed_to_a_task_through_callbacks_belongs_to_the_task() {
    testing::run_on(debugged(), async |reactor| {
        // Through a time limit, and returned from a callback.
        for way in 0..2 {
            let (lock, clock) = (DeferredLock::new(()), reactor.clone());
            let first = lock.try_acquire();
            let mine = lock.clone();
            let task = reactor.spawn_named("holder", async move {
                let waits = match way {
                    0 => mine.acquire().timeout(MS * 50, &clock),
                    _ => Deferred::succeed(()).add_callback(move |()| mine.acquire()),
                };
                let _guard = waits.await?;
                std::future::pending::<Result<(), Failure>>().await
            });
            yield_now().await;
            let waiting = lock.acquire();
            assert!(
                format!("{waiting:?}").contains("held by task `main` since "),
                "{waiting:?}"
            );
            drop(first);
            yield_now().await;
            yield_now().await;
            assert!(
                format!("{waiting:?}").contains("held by task `holder`"),
                "{waiting:?}"
            );
            drop(task.cancel());
            drop(waiting.await?);
        }
        Ok(())
    });
}

#[test]
fn a_lock_that_a_chain_holds_shows_what_the_chain_waits_for() {
    testing::run_on(debugged(), async |reactor| {
        // Each runs something that needs the other lock; one lock is free at first, and one must be
        // waited for.
        let (pen, page) = (DeferredLock::default(), DeferredLock::default());
        let held = page.try_acquire();
        let wants = [(page.clone(), pen.clone()), (pen, page)];
        for (first, second) in wants {
            drop(first.run(move |()| second.acquire().map(drop)));
        }
        assert_eq!(
            tree(&reactor)
                .iter()
                .filter(|line| line.contains("deadlock"))
                .count(),
            0
        );
        drop(held);
        let tree = tree(&reactor);
        let deadlocks = tree.iter().filter(|line| line.ends_with(": a deadlock"));
        assert_eq!(deadlocks.count(), 1, "{tree:#?}");
        let held = tree
            .iter()
            .filter(|line| *line == "lock, held by a Deferred");
        assert_eq!(held.count(), 2, "{tree:#?}");
        // Members that hold values for which other members of their list wait.
        for is_free in [true, false] {
            let (pen, page) = (DeferredLock::new(()), DeferredLock::new(()));
            let held = (!is_free).then(|| pen.try_acquire());
            let members = [pen.acquire(), page.acquire(), pen.acquire()];
            let both = torsade::defer::gather(members);
            drop(held);
            let text = reactor.dump().to_string();
            assert_eq!(text.matches(": a deadlock").count(), 2, "{is_free}: {text}");
            both.cancel();
            drop(both.add_errback(|_| Ok(Vec::new())));
        }
        Ok(())
    });
}

#[test]
fn a_guard_that_a_callback_stores_has_no_known_holder() {
    testing::run_on(debugged(), async |reactor| {
        let (lock, kept) = (DeferredLock::new(()), Rc::new(RefCell::new(None)));
        let keep = kept.clone();
        let other = lock.clone();
        let task = reactor.spawn_named("innocent", async move {
            other
                .acquire()
                .add_callback(move |guard| drop(keep.replace(Some(guard))))
                .await?;
            other.acquire().await.map(drop)
        });
        yield_now().await;
        yield_now().await;
        assert_eq!(
            tree(&reactor),
            ["task `innocent`, waits", "Deferred, pending", "lock, held"]
        );
        drop(kept.take());
        task.await?
    });
}

#[test]
fn all_holders_of_a_semaphore_are_shown() {
    testing::run_on(debugged(), async |reactor| {
        let semaphore = DeferredSemaphore::new(3)?;
        let held = semaphore.try_acquire();
        let tasks = ["one", "two"].map(|name| {
            let mine = semaphore.clone();
            reactor.spawn_named(name, async move {
                let permit = mine.acquire().await?;
                yield_now().await;
                let more = mine.acquire_many(2).await?;
                drop(more);
                drop(permit);
                Ok::<_, Failure>(())
            })
        });
        yield_now().await;
        yield_now().await;
        let text = reactor.dump().to_string();
        let parts = [
            "semaphore, 0 of 3 left, 1 held by task `main` since ",
            ", 1 held by task `one` since ",
            ", 1 held by task `two` since ",
        ];
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("deadlock"), "{text}");
        drop(held);
        for task in tasks {
            drop(task.cancel());
        }
        yield_now().await;
        let all = semaphore.try_acquire_many(3);
        let many = semaphore.acquire();
        assert!(format!("{many:?}").contains("0 of 3 left, 3 held by task `main` since "));
        drop((all, many));
        // Of many holders, some are named.
        let semaphore = DeferredSemaphore::new(100)?;
        let held: Vec<_> = (0..100).map(|_| semaphore.try_acquire()).collect();
        let text = format!("{:?}", semaphore.acquire());
        assert!(text.contains(", and 95 more"), "{text}");
        drop(held);
        Ok(())
    });
}

#[test]
fn waiters_of_a_queue_are_shown() {
    testing::run_on(debugged(), async |reactor| {
        let queue = DeferredQueue::<u32>::with_limits(1, None);
        let (gets, getter) = (queue.clone(), queue.clone());
        let got = reactor.spawn_named("getter", async move { getter.get().await });
        yield_now().await;
        assert_eq!(
            tree(&reactor),
            [
                "task `getter`, waits",
                "Deferred, pending",
                "queue, 0 of 1 stored"
            ]
        );
        queue.put(1)?;
        assert_eq!(got.await??, 1);
        queue.put(2)?;
        let puts = reactor.spawn_named("putter", queue.put_when_room(3));
        yield_now().await;
        assert_eq!(
            tree(&reactor),
            [
                "task `putter`, waits",
                "Deferred, pending",
                "queue, 1 of 1 stored"
            ]
        );
        assert_eq!(gets.get().await?, 2);
        puts.await??;
        Ok(())
    });
}

#[cfg(unix)]
#[test]
fn a_wait_for_a_file_system_lock_names_the_holding_process() {
    testing::run_on(debugged(), async |reactor| {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("debug.lock");
        let _ = std::fs::remove_file(&path);
        let lock = DeferredFilesystemLock::new(&path, &reactor);
        assert!(lock.lock()?);
        let waits = reactor.spawn_named("waiter", lock.defer_until_locked(None));
        yield_now().await;
        let text = reactor.dump().to_string();
        let name = format!("filesystem lock `{}`, held by this process", path.display());
        assert!(text.contains(&name), "{text}");
        assert!(waits.cancel().await.is_none());
        lock.unlock()?;
        std::os::unix::fs::symlink("1", &path)?;
        let waits = lock.defer_until_locked(None);
        assert!(
            format!("{waits:?}").contains("held by process 1)"),
            "{waits:?}"
        );
        std::fs::remove_file(&path)?;
        assert!(format!("{waits:?}").contains(", free)"), "{waits:?}");
        waits.cancel();
        assert!(waits.await.is_err());
        Ok(())
    });
}

#[test]
fn without_debug_mode_a_lock_does_not_know_its_holder() {
    let reactor = Reactor::builder().in_memory().debug(false).build().unwrap();
    testing::run_on(reactor, async |_reactor| {
        let lock = DeferredLock::new(());
        let held = lock.acquire().await?;
        let waits = lock.acquire();
        let text = format!("{waits:?}");
        assert!(text.contains("waits for the lock made at "), "{text}");
        assert!(text.ends_with(", held)"), "{text}");
        drop(held);
        assert!(format!("{waits:?}").ends_with(", free)"));
        Ok(())
    });
}
