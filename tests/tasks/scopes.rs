//! Structured concurrency: scopes and their children, join sets, shields, and graceful cancelling.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use support::{Log, MS, expect_reports, poll_once, some_turns};
use torsade::clock::{ClockStopped, TimedOut, VirtualClock};
use torsade::scope::{JoinSet, ScopeBuilder, cancel_within, scope, shield};
use torsade::task::TaskLocal;
use torsade::{Cancelled, Clock, Deferred, Failure, defer, spawn, yield_now};

/// Logs when it is dropped.
struct Guard(Log, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.note(format_args!("{} dropped", self.1));
    }
}

/// A waker that does nothing, and can be counted.
struct Idle;

impl Wake for Idle {
    fn wake(self: Arc<Self>) {}
}

static USER: TaskLocal<&str> = TaskLocal::new();

on_both! {
    async fn a_scope_waits_for_all_its_children(reactor) {
        let log = Log::new();
        let value = scope(async |s| {
            for (name, delay) in [("slow", 3), ("quick", 1)] {
                let (log, reactor) = (&log, &reactor);
                s.spawn(async move {
                    reactor.sleep(MS * delay).await?;
                    log.note(name);
                    Ok(())
                });
            }
            log.note("body");
            Ok(7)
        })
        .await?;
        assert_eq!((value, log.take()), (7, ["body", "quick", "slow"].map(String::from).to_vec()));
    }

    async fn the_first_failure_ends_the_rest_and_is_the_scopes(reactor) {
        let log = Log::new();
        let failed = scope(async |s| {
            let guard = Guard(log.clone(), "sibling");
            s.spawn(async move {
                let _guard = guard;
                pending::<Result<(), _>>().await
            });
            s.spawn(async {
                reactor.sleep(MS).await?;
                Err::<(), _>(Failure::new("no luck"))
            });
            let _guard = Guard(log.clone(), "body");
            pending::<Result<(), _>>().await
        })
        .await;
        assert_eq!(failed.unwrap_err().to_string(), "no luck");
        let mut dropped = log.take();
        dropped.sort();
        assert_eq!(dropped, ["body dropped", "sibling dropped"]);
    }

    async fn a_body_that_fails_ends_the_children(_reactor) {
        let log = Log::new();
        let failed = scope(async |s| {
            let guard = Guard(log.clone(), "child");
            s.spawn(async move {
                let _guard = guard;
                pending::<Result<(), _>>().await
            });
            yield_now().await;
            Err::<(), _>(Failure::new("no body"))
        })
        .await;
        assert_eq!(failed.unwrap_err().to_string(), "no body");
        assert_eq!(log.take(), ["child dropped"]);
    }

    async fn children_may_borrow_and_change_what_outlives_the_scope(_reactor) {
        let (mut one, mut two) = (vec![1], vec![2]);
        let (first, second) = (&mut one, &mut two);
        scope(async move |s| {
            s.spawn(async move {
                yield_now().await;
                first.push(10);
                Ok(())
            });
            s.spawn(async move {
                second.push(20);
                Ok(())
            });
            Ok(())
        })
        .await?;
        assert_eq!((one, two), (vec![1, 10], vec![2, 20]));
    }

    async fn awaiting_a_child_returns_its_value(_reactor) {
        let words = scope(async |s| {
            let one = s.spawn(async { Ok("one") });
            let two = s.spawn(async {
                yield_now().await;
                Ok("two")
            });
            assert!(!two.is_finished());
            let words = [two.await?, one.await?];
            Ok(words)
        });
        assert_eq!(words.await?, ["two", "one"]);
    }

    async fn children_have_children(_reactor) {
        let count = Cell::new(0);
        scope(async |s| {
            let (inner, count) = (s.clone(), &count);
            s.spawn(async move {
                yield_now().await;
                for _ in 0..3 {
                    inner.spawn(async move {
                        count.set(count.get() + 1);
                        Ok(())
                    });
                }
                Ok(())
            });
            Ok(())
        })
        .await?;
        assert_eq!(count.get(), 3);
    }

    async fn a_deadline_ends_the_scope(reactor) {
        let log = Log::new();
        let start = reactor.now();
        let late = ScopeBuilder::new()
            .deadline(&reactor, MS * 5)
            .run(async |s| {
                s.spawn(async {
                    let _guard = Guard(log.clone(), "child");
                    reactor.sleep(Duration::from_secs(3600)).await
                });
                Ok(())
            })
            .await;
        assert_eq!(late.unwrap_err().trap::<TimedOut>()?.0, MS * 5);
        assert_eq!(log.take(), ["child dropped"]);
        assert!(reactor.now() - start < Duration::from_secs(60));
    }

    async fn a_scope_whose_deadline_cannot_come_any_more_fails_with_that(_reactor) {
        let clock = VirtualClock::new();
        let mut scope = pin!(
            ScopeBuilder::new()
                .deadline(&clock, MS * 5)
                .run(async |_| pending::<Result<(), Failure>>().await)
        );
        assert!(poll_once(&mut scope).await.is_pending());
        drop(clock);
        let failure = scope.await.unwrap_err();
        assert!(is_error!(failure, ClockStopped), "{failure:?}");
    }

    async fn a_deadline_that_does_not_come_changes_nothing(reactor) {
        let value = ScopeBuilder::new()
            .deadline(&reactor, Duration::from_secs(3600))
            .run(async |_| Ok(1))
            .await?;
        assert_eq!(value, 1);
    }

    async fn with_a_grace_a_child_sees_the_cancel_at_its_await_and_cleans_up(reactor) {
        let log = Log::new();
        let (never, _resolver) = Deferred::<()>::pair();
        let failed = ScopeBuilder::new()
            .grace(&reactor, Duration::from_secs(3600))
            .run(async |s| {
                let (log, reactor) = (&log, &reactor);
                s.spawn(async move {
                    let observed = never.await.unwrap_err();
                    log.note(observed.is::<Cancelled>());
                    reactor.sleep(MS).await?;
                    log.note("cleaned up");
                    Ok(())
                });
                yield_now().await;
                Err::<(), _>(Failure::new("enough"))
            })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "enough");
        assert_eq!(log.take(), ["true", "cleaned up"]);
    }

    async fn a_child_may_watch_for_the_end_while_it_does_something_else(reactor) {
        let log = Log::new();
        let value = ScopeBuilder::new()
            .grace(&reactor, Duration::from_secs(3600))
            .run(async |s| {
                let (here, log) = (s.clone(), &log);
                s.spawn(async move {
                    here.cancelled().await;
                    log.note("noticed");
                    Ok(())
                });
                yield_now().await;
                s.cancel();
                assert!(s.is_cancelled());
                Ok("done")
            })
            .await?;
        // The body was done, so ending the others is no failure.
        assert_eq!((value, log.take()), ("done", vec!["noticed".to_owned()]));
    }

    async fn children_left_after_the_grace_are_dropped(reactor) {
        let log = Log::new();
        let start = reactor.now();
        let failed = ScopeBuilder::new()
            .grace(&reactor, MS * 10)
            .run(async |s| {
                let guard = Guard(log.clone(), "stubborn");
                s.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), _>>().await
                });
                yield_now().await;
                Err::<(), _>(Failure::new("enough"))
            })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "enough");
        assert_eq!(log.take(), ["stubborn dropped"]);
        assert!(reactor.now() - start >= MS * 10);
    }

    async fn a_shielded_child_is_neither_cancelled_nor_dropped_but_waited_for(reactor) {
        let log = Log::new();
        let failed = scope(async |s| {
            let (log, reactor) = (&log, &reactor);
            s.spawn_shielded(async move {
                reactor.sleep(MS * 5).await?;
                log.note("saved");
                Ok(())
            });
            yield_now().await;
            Err::<(), _>(Failure::new("enough"))
        })
        .await;
        assert_eq!(failed.unwrap_err().to_string(), "enough");
        assert_eq!(log.take(), ["saved"]);
    }

    async fn giving_a_scope_up_drops_everything_at_once(reactor) {
        let log = Log::new();
        let handle = RefCell::new(None);
        let mut running = Box::pin(scope(async |s| {
            for name in ["one", "two"] {
                let guard = Guard(log.clone(), name);
                s.spawn_shielded(async move {
                    let _guard = guard;
                    pending::<Result<(), _>>().await
                });
            }
            handle.replace(Some(s.clone()));
            let _guard = Guard(log.clone(), "body");
            pending::<Result<(), _>>().await
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(running.as_mut().poll(&mut cx).is_pending());
        // The scope's future has not taken this child over when the scope is dropped. The child
        // owns the scope's handle.
        let (guard, held) = (Guard(log.clone(), "fresh"), handle.take().unwrap());
        let outside = held.clone();
        outside.spawn(async move {
            let _held = (guard, held);
            Ok(())
        });
        assert!(log.is_empty());
        drop(running);
        let mut dropped = log.take();
        dropped.sort();
        assert_eq!(dropped, ["body dropped", "fresh dropped", "one dropped", "two dropped"]);
        drop(reactor);
    }

    async fn children_spawned_while_the_scope_ends_are_dropped(_reactor) {
        let log = Log::new();
        let failed = scope(async |s| {
            s.cancel();
            let guard = Guard(log.clone(), "late");
            let child = s.spawn(async move {
                let _guard = guard;
                Ok(())
            });
            assert!(child.is_finished());
            child.await
        })
        .await;
        assert!(failed.unwrap_err().is::<Cancelled>());
        assert_eq!(log.take(), ["late dropped"]);
    }

    async fn a_child_that_panics_has_failed(reactor) {
        let failed = scope(async |s| {
            s.spawn(async {
                if true {
                    std::panic::resume_unwind(Box::new("oh"));
                }
                Ok(())
            });
            pending::<Result<(), _>>().await
        })
        .await;
        let failure = failed.unwrap_err();
        assert!(failure.is_panic());
        drop(reactor);
    }

    async fn further_failures_are_reported(reactor) {
        let failed = ScopeBuilder::new()
            .grace(&reactor, Duration::from_secs(3600))
            .run(async |s| {
                for words in ["first", "second"] {
                    s.spawn(async move { Err::<(), _>(Failure::new(words)) });
                }
                Ok(())
            });
        let observed = expect_reports(&reactor);
        assert_eq!(failed.await.unwrap_err().to_string(), "first");
        assert_eq!(observed.borrow().len(), 1);
        assert_eq!(observed.borrow()[0].failure().to_string(), "second");
        observed.borrow_mut().clear();
    }

    async fn children_see_the_locals_of_the_code_that_spawned_them(_reactor) {
        let found = USER
            .scope("anna", async {
                scope(async |s| {
                    let child = s.spawn(async {
                        yield_now().await;
                        Ok(USER.get())
                    });
                    let inner = USER.sync_scope("bert", || s.spawn(async { Ok(USER.get()) }));
                    Ok((child.await?, inner.await?))
                })
                .await
            })
            .await?;
        assert_eq!(found, (Some("anna"), Some("bert")));
        assert_eq!(USER.get(), None);
    }

    async fn cancelling_a_deferred_reaches_into_the_scopes_of_its_future(_reactor) {
        let log = Log::new();
        let note = log.clone();
        let (never, _resolver) = Deferred::<()>::pair();
        let work = Deferred::from_future(async move {
            scope(async |s| {
                s.spawn(async {
                    note.note(never.await.is_err());
                    Ok(())
                });
                Ok(())
            })
            .await
        });
        some_turns().await;
        work.cancel();
        work.await?;
        assert_eq!(log.take(), ["true"]);
    }

    async fn ten_thousand_children_take_turns(_reactor) {
        let count = Cell::new(0);
        scope(async |s| {
            for _ in 0..10_000 {
                s.spawn(async {
                    yield_now().await;
                    count.set(count.get() + 1);
                    Ok(())
                });
            }
            Ok(())
        })
        .await?;
        assert_eq!(count.get(), 10_000);
    }

    async fn a_set_gives_results_in_the_order_they_come(reactor) {
        let mut set = JoinSet::new();
        assert!(set.join_next().await.is_none());
        for n in [3, 1, 2] {
            let clock = reactor.clone();
            set.spawn_named(format!("task {n}"), async move {
                clock.sleep(MS * n * 30).await.map(|()| n)
            });
        }
        set.spawn(async { std::panic::resume_unwind(Box::new("oh")) });
        assert_eq!(set.len(), 4);
        assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
        let order: Vec<u32> = set.join_all().await.into_iter().map(|n| n.unwrap().unwrap()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    async fn dropping_a_set_ends_its_tasks_and_detaching_does_not(_reactor) {
        let log = Log::new();
        for ends in [true, false] {
            let mut set = JoinSet::new();
            let note = log.clone();
            set.spawn(async move {
                let guard = Guard(note.clone(), "task");
                yield_now().await;
                yield_now().await;
                note.note("ran on");
                drop(guard);
            });
            yield_now().await;
            if !ends {
                set.detach_all();
            }
            drop(set);
            some_turns().await;
            log.note("then");
        }
        assert_eq!(log.take(), ["task dropped", "then", "ran on", "task dropped", "then"]);
    }

    async fn shutting_a_set_down_waits_until_its_tasks_are_dropped(_reactor) {
        let log = Log::new();
        let mut set = JoinSet::new();
        let guard = Guard(log.clone(), "task");
        set.spawn(async move {
            let _guard = guard;
            pending::<()>().await
        });
        yield_now().await;
        set.shutdown().await;
        assert_eq!(log.take(), ["task dropped"]);
    }

    async fn a_shield_holds_against_dropping_too(reactor) {
        let done = Rc::new(Cell::new(0));
        let start = || {
            let (note, clock) = (done.clone(), reactor.clone());
            shield(async move {
                clock.sleep(MS * 3).await?;
                note.set(note.get() + 1);
                Ok(())
            })
        };
        let mut awaited = start();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(std::pin::Pin::new(&mut awaited).poll(&mut cx).is_pending());
        drop(awaited);
        let cancelled = start();
        cancelled.cancel();
        assert!(cancelled.await.unwrap_err().is::<Cancelled>());
        start().await?;
        reactor.sleep(MS * 10).await?;
        assert_eq!(done.get(), 3);
    }

    async fn a_failure_behind_a_shield_is_reported_when_it_is_no_longer_awaited(reactor) {
        let observed = expect_reports(&reactor);
        let (source, resolver) = Deferred::<()>::pair();
        let shielded = shield(source);
        shielded.cancel();
        assert!(shielded.await.unwrap_err().is::<Cancelled>());
        assert!(observed.borrow().is_empty());
        resolver.errback(Failure::new("too late"));
        assert_eq!(observed.borrow().len(), 1);
        observed.borrow_mut().clear();
    }

    async fn a_graceful_cancel_drops_work_that_continues_for_too_long(reactor) {
        let log = Log::new();
        let guard = Guard(log.clone(), "work");
        let (never, _resolver) = Deferred::<()>::pair();
        let work = Deferred::from_future(async move {
            let _guard = guard;
            let _ = never.await;
            pending::<Result<(), _>>().await
        });
        some_turns().await;
        let start = reactor.now();
        let ended = cancel_within(work, MS * 10, &reactor).await;
        assert!(ended.unwrap_err().is::<Cancelled>());
        assert!(reactor.now() - start >= MS * 10);
        some_turns().await;
        assert_eq!(log.take(), ["work dropped"]);
        let task = spawn(async { 1 });
        assert_eq!(task.await?, 1);
    }

    async fn a_child_that_was_just_spawned_ends_with_the_scope(_reactor) {
        let log = Log::new();
        let failed = scope(async |s| {
            let (inner, guard) = (s.clone(), Guard(log.clone(), "fresh"));
            s.spawn(async move {
                inner.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), _>>().await
                });
                Err::<(), _>(Failure::new("no"))
            });
            Ok(())
        });
        let failed = failed.now_or_never().expect("nothing is left to be waited for");
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(log.take(), ["fresh dropped"]);
    }

    async fn a_child_that_was_spawned_from_outside_ends_with_the_scope(_reactor) {
        let handle = RefCell::new(None);
        let mut running = Box::pin(scope(async |s| {
            handle.replace(Some(s));
            pending::<Result<(), _>>().await
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(running.as_mut().poll(&mut cx).is_pending());
        let handle = handle.take().unwrap();
        let child = handle.spawn(pending::<Result<(), _>>());
        let shielded = handle.spawn_shielded(async { Ok(7) });
        handle.cancel();
        assert!(running.as_mut().poll(&mut cx).is_ready());
        assert!(child.await.unwrap_err().is::<Cancelled>());
        assert_eq!(shielded.await?, 7);
    }

    async fn with_a_grace_a_child_that_was_just_spawned_is_cancelled_too(reactor) {
        let log = Log::new();
        let (never, _resolver) = Deferred::<()>::pair();
        let failed = ScopeBuilder::new().grace(&reactor, MS * 20).run(async |s| {
            let (inner, log) = (s.clone(), &log);
            s.spawn(async move {
                inner.spawn(async move {
                    log.note(never.await.unwrap_err().is::<Cancelled>());
                    Ok(())
                });
                Err::<(), _>(Failure::new("no"))
            });
            Ok(())
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "no");
        assert_eq!(log.take(), ["true"]);
    }

    async fn a_dropped_wait_for_the_end_leaves_nothing_behind(_reactor) {
        let idle = Arc::new(Idle);
        scope(async |s| {
            for _ in 0..100 {
                let watcher = Arc::new(Idle);
                let waker = Waker::from(watcher.clone());
                let mut watching = Box::pin(s.cancelled());
                for _ in 0..3 {
                    assert!(watching.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                }
                drop((watching, waker));
                assert_eq!(Arc::strong_count(&watcher), 1);
            }
            let waker = Waker::from(idle.clone());
            let mut watching = Box::pin(s.cancelled());
            assert!(watching.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            s.cancel();
            assert_eq!(watching.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
            Ok(())
        })
        .await?;
        assert_eq!(Arc::strong_count(&idle), 1);
    }

    async fn the_handle_of_a_panicking_child_returns_the_panic(reactor) {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("boom"));
            }
        }

        for in_destructor in [false, true] {
            let panicked = Cell::new(false);
            let grace = ScopeBuilder::new().grace(&reactor, Duration::from_secs(3600));
            let failed = grace.run(async |s| {
                let bomb = in_destructor.then(|| Bomb);
                let child = s.spawn(poll_fn(move |_| {
                    if bomb.is_none() {
                        std::panic::resume_unwind(Box::new("oh"));
                    }
                    Poll::Ready(Ok(()))
                }));
                panicked.set(child.await.unwrap_err().is_panic());
                Ok(())
            })
            .await;
            assert!(failed.unwrap_err().is_panic());
            assert!(panicked.get());
        }
    }

    async fn children_are_cancelled_and_dropped_in_the_order_of_spawning(reactor) {
        let log = Log::new();
        for has_grace in [false, true] {
            let mut scoping = ScopeBuilder::new();
            if has_grace {
                scoping = scoping.grace(&reactor, MS);
            }
            let ended = scoping.run(async |s| {
                for name in ["one", "two", "three"] {
                    let guard = Guard(log.clone(), name);
                    let note = log.clone();
                    let (never, resolver) = Deferred::<()>::pair();
                    s.spawn(async move {
                        let (_guard, _resolver) = (guard, resolver);
                        let never = never.on_cancel(move || note.note(format_args!("{name} asked")));
                        let _ = never.await;
                        pending::<Result<(), _>>().await
                    });
                }
                yield_now().await;
                s.cancel();
                Ok(())
            });
            ended.await?;
            let notes = log.take();
            let those = |what: &str| -> Vec<_> {
                let those = notes.iter().filter_map(|note| note.strip_suffix(what));
                those.map(String::from).collect()
            };
            assert_eq!(those(" asked"), ["one", "two", "three"]);
            assert_eq!(those(" dropped"), ["one", "two", "three"]);
        }
    }

    async fn a_set_ends_its_tasks_in_the_order_of_spawning(_reactor) {
        let log = Log::new();
        let start = || {
            let mut set = JoinSet::new();
            for name in ["one", "two", "three", "four"] {
                let guard = Guard(log.clone(), name);
                if name == "two" {
                    set.spawn(async {});
                } else {
                    set.spawn(async move {
                        let _guard = guard;
                        pending::<()>().await
                    });
                }
            }
            set
        };
        let order = ["one dropped", "three dropped", "four dropped"];
        let mut set = start();
        set.join_next().await.unwrap()?;
        log.take();
        set.cancel_all();
        some_turns().await;
        assert_eq!(log.take(), order);
        let mut set = start();
        set.join_next().await.unwrap()?;
        log.take();
        set.shutdown().await;
        assert_eq!(log.take(), order);
    }

    async fn a_graceful_cancel_drops_the_members_of_a_list_that_go_on(reactor) {
        let log = Log::new();
        let stubborn = |name| {
            let (guard, note) = (Guard(log.clone(), name), log.clone());
            let (never, resolver) = Deferred::<()>::pair();
            Deferred::from_future(async move {
                let (_guard, _resolver) = (guard, resolver);
                let _ = never.await;
                note.note("swallowed");
                pending::<Result<(), _>>().await
            })
        };
        let gathered = defer::gather([stubborn("one"), stubborn("two")]);
        let all = defer::list([stubborn("three"), stubborn("four")]);
        some_turns().await;
        let gathered = cancel_within(gathered.map(drop), MS, &reactor);
        let all = cancel_within(all.map(drop), MS, &reactor);
        assert_eq!([gathered.await.is_ok(), all.await.is_ok()], [false, true]);
        some_turns().await;
        let mut notes = log.take();
        notes.sort();
        let dropped = ["four", "one"].map(|name| format!("{name} dropped"));
        assert_eq!(notes[..2], dropped);
        assert_eq!(notes.len(), 8);
    }
}
