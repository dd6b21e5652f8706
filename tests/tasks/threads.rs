//! Threads: work that leaves the loop and returns, pools, and requests of other threads to the
//! loop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use torsade::reactor::Grace;

use support::{Log, MS, alive, expect_reports, some_turns, until};
use torsade::clock::TimedOut;
use torsade::reactor::{ReactorError, Stopped};
use torsade::task::{Locals, TaskLocal};
use torsade::threads::{CancelToken, PoolError, ThreadPool};
use torsade::{Cancelled, Clock, Deferred, Failure, Phase, Reactor, Remote, yield_now};

/// Sends the thread on which it is dropped.
struct Dropped(mpsc::Sender<thread::ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

/// Makes a pool of one thread that is busy until the sender is dropped.
fn busy(pool: &ThreadPool) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    pool.call_in_thread(move || {
        begun.send(()).unwrap();
        let _ = held.recv();
    })
    .unwrap();
    has_begun.recv().unwrap();
    release
}

on_both! {
    async fn work_runs_on_another_thread_and_its_result_returns(reactor) {
        let here = thread::current().id();
        let there = reactor.spawn_blocking(|| Ok(thread::current().id())).await?;
        assert_ne!(there, here);
        let log = Log::new();
        let note = log.clone();
        reactor.spawn_blocking(|| Ok(1))
            .add_callback(move |n| {
                assert_eq!(thread::current().id(), here);
                note.note(n);
            })
            .await?;
        assert_eq!(log.take(), ["1"]);
    }

    async fn no_result_arrives_inside_the_call(reactor) {
        let (sender, receiver) = mpsc::channel();
        let deferred = reactor.spawn_blocking(move || Ok(sender.send(())?));
        receiver.recv()?;
        // It is done or nearly done, and yet:
        assert!(!deferred.is_settled());
        deferred.await?;
    }

    async fn an_error_and_a_panic_become_the_failure(reactor) {
        let failure = reactor.spawn_blocking::<()>(|| Err(Failure::new("no"))).await.unwrap_err();
        assert_eq!(failure.to_string(), "no");
        let failure = reactor.spawn_blocking::<()>(|| panic!("oh")).await.unwrap_err();
        assert!(failure.is_panic());
        assert_eq!(failure.location().file(), file!());
        // The pool is usable.
        assert_eq!(reactor.spawn_blocking(|| Ok(2)).await?, 2);
        // Work is counted when its thread looks for more.
        while reactor.thread_pool().statistics().panicked == 0 {
            yield_now().await;
        }
        assert_eq!(reactor.thread_pool().statistics().queued, 0);
    }

    async fn threads_have_names(reactor) {
        let name = || Ok(thread::current().name().map(str::to_owned));
        assert_eq!(reactor.spawn_blocking(name).await?.as_deref(), Some("torsade-pool-1"));
        let pool = ThreadPool::builder().name("disk").build();
        assert_eq!(pool.spawn_blocking(&reactor, name).await?.as_deref(), Some("disk-1"));
    }

    async fn no_more_threads_than_suggested_work_at_once(reactor) {
        reactor.thread_pool().adjust(0, 3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..200).map(|_| {
            let (now, most) = (now.clone(), most.clone());
            reactor.spawn_blocking(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        }).collect();
        for one in all {
            one.await?;
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
        // Three that wait for each other need three threads.
        let meeting = Arc::new(Barrier::new(3));
        let all: Vec<_> = (0..3).map(|_| {
            let meeting = meeting.clone();
            reactor.spawn_blocking(move || { meeting.wait(); Ok(()) })
        }).collect();
        for one in all {
            one.await?;
        }
        assert_eq!(reactor.thread_pool().statistics().max, 3);
    }

    async fn cancelling_queued_work_drops_it_here_at_once(reactor) {
        let pool = ThreadPool::new(0, 1);
        let release = busy(&pool);
        let (sender, drops) = mpsc::channel();
        let held = Dropped(sender);
        let ran = Arc::new(AtomicUsize::new(0));
        let note = ran.clone();
        let queued = pool.spawn_blocking(&reactor, move || {
            let _held = held;
            note.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(pool.statistics().queued, 1);
        queued.cancel();
        assert_eq!(drops.try_recv(), Ok(thread::current().id()));
        assert_eq!(pool.statistics().queued, 0);
        queued.await.unwrap_err().trap::<Cancelled>()?;
        drop(release);
        pool.spawn_blocking(&reactor, || Ok(())).await?;
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }

    async fn a_result_that_is_not_awaited_is_dropped_on_the_loops_thread(reactor) {
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let (sender, drops) = mpsc::channel();
        let working = reactor.spawn_blocking(move || { let token = CancelToken::current();
            begun.send(())?;
            let _ = held.recv();
            assert!(token.is_cancelled());
            Ok(Dropped(sender))
        });
        has_begun.recv()?;
        working.cancel();
        working.await.map(drop).unwrap_err().trap::<Cancelled>()?;
        assert!(alive(&reactor).is_empty());
        drop(release);
        let mut dropped_on = None;
        until(|| {
            dropped_on = drops.try_recv().ok();
            dropped_on.is_some()
        }).await;
        assert_eq!(dropped_on, Some(thread::current().id()));
    }

    async fn work_that_was_called_off_may_look_at_its_token(reactor) {
        let (begun, has_begun) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        let endless = reactor.spawn_blocking(move || { let token = CancelToken::current();
            begun.send(())?;
            while !token.is_cancelled() {
                thread::yield_now();
            }
            ended.send(())?;
            Ok(())
        });
        has_begun.recv()?;
        endless.cancel();
        endless.await.unwrap_err().trap::<Cancelled>()?;
        has_ended.recv()?;
    }

    async fn a_dropped_deferred_lets_the_work_run_on(reactor) {
        let (sender, done) = mpsc::channel();
        drop(reactor.spawn_blocking(move || Ok(sender.send(())?)));
        done.recv()?;
    }

    async fn a_full_queue_refuses_work_and_drops_it_here(reactor) {
        let pool = ThreadPool::builder().max(1).queue_limit(2).build();
        let release = busy(&pool);
        let queued = [(); 2].map(|()| pool.spawn_blocking(&reactor, || Ok(())));
        let (sender, drops) = mpsc::channel();
        let held = Dropped(sender);
        let refused = pool.spawn_blocking(&reactor, move || {
            drop(held);
            Ok(())
        });
        assert_eq!(drops.try_recv(), Ok(thread::current().id()));
        let failure = refused.await.unwrap_err();
        assert_eq!(failure.trap::<PoolError>()?, &PoolError::Full { limit: 2 });
        // Called off work makes room.
        let [one, other] = queued;
        one.cancel();
        one.await.unwrap_err().trap::<Cancelled>()?;
        let fits = pool.spawn_blocking(&reactor, || Ok(7));
        drop(release);
        other.await?;
        assert_eq!(fits.await?, 7);
    }

    async fn work_in_a_pool_that_is_stopped_fails(reactor) {
        let pool = ThreadPool::new(0, 1);
        let release = busy(&pool);
        let queued = pool.spawn_blocking(&reactor, || Ok(()));
        let left = pool.stop(Duration::ZERO);
        assert_eq!((left.running.len(), left.dropped.len()), (1, 1));
        assert!(left.running[0].file().ends_with("threads.rs"));
        assert_failure!(queued.await.unwrap_err(), PoolError::NotStarted);
        let late = pool.spawn_blocking(&reactor, || Ok(()));
        assert_eq!(late.await.unwrap_err().trap::<PoolError>()?, &PoolError::Closed);
        drop(release);
        assert!(pool.stop(Duration::from_secs(20)).is_clean());
        assert_eq!(pool.statistics().threads, 0);
    }

    async fn work_that_is_not_awaited_runs_and_its_panic_is_reported(reactor) {
        let reports = expect_reports(&reactor);
        let (to, got) = mpsc::channel();
        drop(reactor.spawn_blocking(move || { to.send("called").unwrap(); Ok(()) }));
        assert_eq!(got.recv()?, "called");
        drop(reactor.spawn_blocking(|| -> Result<(), Failure> { panic!("in a thread") }));
        until(|| !reports.borrow().is_empty()).await;
        assert_eq!(reports.borrow().len(), 1);
        assert!(reports.borrow()[0].to_string().contains("in a thread"));
        assert_eq!(reports.borrow()[0].location().file(), file!());
    }

    async fn work_has_its_own_token_and_other_threads_have_one_that_is_never_cancelled(reactor) {
        assert!(!CancelToken::current().is_cancelled());
        let (tell, observed) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let working = reactor.spawn_blocking(move || {
            tell.send(CancelToken::current())?;
            let _ = held.recv();
            Ok(())
        });
        let token = observed.recv()?;
        assert!(!token.is_cancelled());
        working.cancel();
        assert!(token.is_cancelled());
        drop(release);
        working.await.unwrap_err().trap::<Cancelled>()?;
        // The same thread, other work.
        reactor.thread_pool().adjust(0, 1);
        assert!(!reactor.spawn_blocking(|| Ok(CancelToken::current().is_cancelled())).await?);
    }

    async fn work_that_is_awaited_is_a_leftover_and_is_in_the_dump(reactor) {
        let (release, held) = mpsc::channel::<()>();
        let working = reactor.spawn_blocking(move || { let _ = held.recv(); Ok(()) });
        assert_eq!(alive(&reactor), ["work in a thread"]);
        let dump = reactor.dump();
        let node = dump.roots.iter().find(|node| node.kind == "work in a thread").unwrap();
        assert_eq!(node.location.file(), file!());
        drop(release);
        working.await?;
        assert!(alive(&reactor).is_empty());
    }

    async fn task_locals_that_are_for_threads_go_along_with_work(reactor) {
        static TRACE: TaskLocal<u32> = TaskLocal::shared();
        static MINE: TaskLocal<u32> = TaskLocal::new();
        let here = || (TRACE.get(), MINE.get());
        let pool = ThreadPool::new(0, 1);
        let seen = MINE.scope(8, TRACE.scope(7, async {
            let first = pool.spawn_blocking(&reactor, move || Ok(here()));
            let second = TRACE.sync_scope(9, || pool.spawn_blocking(&reactor, move || Ok(here())));
            let (sender, observed) = mpsc::channel();
            pool.call_in_thread(move || sender.send(here()).unwrap())?;
            assert_eq!(observed.recv()?, (Some(7), None));
            Ok::<_, Failure>([first.await?, second.await?])
        }));
        assert_eq!(seen.await?, [(Some(7), None), (Some(9), None)]);
        // The thread keeps nothing of it, and calls from other threads only do what was requested.
        assert_eq!(pool.spawn_blocking(&reactor, move || Ok(here())).await?, (None, None));
        let remote = reactor.remote();
        let came = TRACE.scope(7, async {
            reactor.spawn_blocking(move || {
                let locals = Locals::capture().for_threads();
                Ok((remote.blocking_call(move || Ok(here()))?, remote.blocking_call(move || Ok(locals.run(here)))?))
            }).await
        });
        assert_eq!(came.await?, ((None, None), (Some(7), None)));
    }

    async fn a_thread_starts_a_task_here_and_has_its_result(reactor) {
        let here = thread::current().id();
        let remote = reactor.remote();
        let result = reactor.spawn_blocking(move || {
            let task = remote.spawn(move || async move {
                let not_send = Rc::new(thread::current().id());
                yield_now().await;
                *not_send == here
            })?;
            let panics = remote.spawn(|| async { panic!("oh") })?;
            let failure = panics.join().unwrap_err();
            assert!(failure.is_panic());
            let cannot_begin = remote.spawn(|| -> std::future::Ready<()> { panic!("oh") })?;
            assert!(cannot_begin.join().unwrap_err().is_panic());
            let mut endless = remote.spawn(std::future::pending::<()>)?;
            endless.cancel();
            endless.join().unwrap_err().trap::<Cancelled>()?;
            task.join()
        });
        assert!(result.await?);
    }

    async fn a_task_whose_remote_handle_is_dropped_runs_on(reactor) {
        thread_local!(static RAN: Cell<bool> = const { Cell::new(false) });
        let remote = reactor.remote();
        reactor.spawn_blocking(move || {
            drop(remote.spawn(|| async {
                for _ in 0..3 {
                    yield_now().await;
                }
                RAN.set(true);
            })?);
            Ok(())
        }).await?;
        until(|| RAN.get()).await;
    }

    async fn a_blocking_call_has_a_value_a_deferred_an_async_block_or_a_failure(reactor) {
        let remote = reactor.remote();
        let all = reactor.spawn_blocking(move || {
            let value = remote.blocking_call(|| Ok(1))?;
            let deferred = remote.blocking_call(|| {
                let (deferred, resolver) = Deferred::pair();
                Reactor::current().unwrap().call_soon(move || resolver.callback(2));
                deferred
            })?;
            let block = remote.blocking_call(async || { yield_now().await; Ok(3) })?;
            remote.blocking_call(|| {})?;
            let failure = remote.blocking_call(|| Err::<(), _>(Failure::new("no"))).unwrap_err();
            let panic = remote.blocking_call(|| -> Result<(), Failure> { panic!("oh") }).unwrap_err();
            assert!(panic.is_panic());
            Ok((value, deferred, block, failure.to_string()))
        });
        assert_eq!(all.await?, (1, 2, 3, "no".to_owned()));
    }

    async fn a_blocking_call_on_a_loops_thread_is_refused(reactor) {
        let refused = |remote: &Remote| matches!(remote.blocking_call(|| Ok(())).unwrap_err().downcast_ref(), Some(ReactorError::WouldDeadlock));
        assert!(refused(&reactor.remote()));
        // Nor may one loop wait for another.
        let (sender, receiver) = mpsc::channel();
        let (done, is_done) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let reactor = Reactor::in_memory().unwrap();
            sender.send(reactor.remote()).unwrap();
            let _ = is_done.recv();
        });
        assert!(refused(&receiver.recv()?));
        drop(done);
        other.join().unwrap();
        let task = reactor.remote().spawn(|| async {})?;
        assert_failure!(task.join().unwrap_err(), ReactorError::WouldDeadlock);
        some_turns().await;
    }
}

on_both_by_hand! {
    fn work_that_never_began_is_reported_when_the_reactor_ends(reactor) {
        let reports = expect_reports(&reactor);
        reactor.thread_pool().adjust(0, 1);
        reactor.set_grace(Grace { threads: MS * 20, ..Grace::default() });
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let waiting = Rc::new(RefCell::new(Vec::new()));
        let log = waiting.clone();
        let start = Instant::now();
        reactor.run_until(async {
            let running = reactor.spawn_blocking(move || {
                begun.send(())?;
                let _ = held.recv();
                Ok(())
            });
            has_begun.recv().unwrap();
            drop(running.add_both(move |result| log.borrow_mut().push(result.unwrap_err())));
            drop(reactor.spawn_blocking(|| -> Result<(), Failure> { unreachable!() }));
        }).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(waiting.borrow()[0].is::<Stopped>());
        let reports = reports.borrow();
        let observed: Vec<_> = reports.iter().map(|report| (
            matches!(report.failure().downcast_ref(), Some(ReactorError::StillRunning)),
            matches!(report.failure().downcast_ref(), Some(PoolError::NotStarted)),
            report.location().file(),
        )).collect();
        assert_eq!(observed, [(true, false, file!()), (false, true, file!())]);
        let late = reactor.spawn_blocking(|| Ok(()));
        assert!(late.is_settled());
        drop(late.add_errback(|_| ()));
        drop(release);
    }

    fn work_that_is_never_begun_is_reported_only_if_no_deferred_failed(reactor) {
        let reports = expect_reports(&reactor);
        reactor.thread_pool().adjust(0, 1);
        reactor.set_grace(Grace { threads: MS, ..Grace::default() });
        let (release, held) = mpsc::channel::<()>();
        let observed = Rc::new(Cell::new(0));
        reactor.run_until(async {
            let busy = reactor.spawn_blocking(move || {
                let _ = held.recv();
                Ok(())
            });
            drop(busy.add_both(|_| ()));
            for _ in 0..1_000 {
                let (queued, observed) = (reactor.spawn_blocking(|| Ok(())), observed.clone());
                drop(queued.add_both(move |result| {
                    assert!(result.unwrap_err().is::<Stopped>());
                    observed.set(observed.get() + 1);
                }));
            }
            for _ in 0..10 {
                drop(reactor.spawn_blocking(|| Ok(())));
            }
        }).unwrap();
        assert_eq!(observed.get(), 1_000);
        let reports = reports.borrow();
        let count = |which: fn(&Failure) -> bool| {
            reports.iter().filter(|report| which(report.failure())).count()
        };
        assert_eq!(count(|end| matches!(end.downcast_ref(), Some(PoolError::NotStarted))), 1);
        assert_eq!(count(|end| matches!(end.downcast_ref(), Some(ReactorError::StillRunning))), 1);
        assert_eq!(reports.len(), 2);
        drop(release);
    }

    fn work_that_was_given_is_finished_before_the_reactor_ends(reactor) {
        let reports = expect_reports(&reactor);
        reactor.thread_pool().adjust(0, 1);
        reactor.set_grace(Grace { threads: Duration::from_secs(20), ..Grace::default() });
        let done = Arc::new(AtomicUsize::new(0));
        reactor.run_until(async {
            for _ in 0..50 {
                let done = done.clone();
                drop(reactor.spawn_blocking(move || Ok(done.fetch_add(1, Ordering::SeqCst))));
            }
        }).unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 50);
        assert!(reports.borrow().is_empty(), "{reports:?}");
        let pool = reactor.thread_pool();
        assert_eq!(pool.statistics().threads, 0);
    }

    fn a_reactor_without_work_in_threads_ends_without_waiting(reactor) {
        reactor.set_grace(Grace { threads: Duration::from_secs(3600), ..Grace::default() });
        reactor.run_until(async {
            reactor.spawn_blocking(|| Ok(())).await.unwrap();
        }).unwrap();
    }

    fn a_blocking_call_ends_with_the_reactor(reactor) {
        let remote = reactor.remote();
        let before = thread::spawn({
            let remote = remote.clone();
            move || remote.blocking_call(Deferred::<()>::pair_that_waits)
        });
        let stop = reactor.clone();
        reactor.run_until(async {
            until(|| alive(&stop).contains(&"call from a thread")).await;
        }).unwrap();
        assert!(before.join().unwrap().unwrap_err().is::<Stopped>());
        let after = thread::spawn(move || {
            let gone = remote.spawn(|| async {}).is_err();
            (gone, remote.blocking_call(|| Ok(())).unwrap_err())
        });
        let (gone, failure) = after.join().unwrap();
        assert!(gone && matches!(failure.downcast_ref(), Some(ReactorError::Ended)));
    }

    fn a_thread_that_waits_for_a_reactor_that_never_runs_gets_an_error_when_it_is_dropped(reactor) {
        let remote = reactor.remote();
        let (asked, has_asked) = mpsc::channel();
        let waits = thread::spawn(move || {
            let task = remote.spawn(|| async {}).unwrap();
            asked.send(()).unwrap();
            let called = remote.blocking_call(|| Ok(())).unwrap_err();
            (called, task.join().unwrap_err())
        });
        has_asked.recv().unwrap();
        drop(reactor);
        let (called, joined) = waits.join().unwrap();
        assert!(matches!(called.downcast_ref(), Some(ReactorError::Ended)) && matches!(joined.downcast_ref(), Some(ReactorError::Ended)));
    }

    fn work_that_waits_for_the_loop_does_not_hold_up_its_end(reactor) {
        reactor.set_grace(Grace { threads: Duration::from_secs(3600), ..Grace::default() });
        let (remote, waits) = (reactor.remote(), reactor.clone());
        let (observed, how) = mpsc::channel();
        reactor.run_until(async {
            drop(waits.spawn_blocking(move || {
                let first = remote.blocking_call(Deferred::<()>::pair_that_waits).unwrap_err();
                let second = remote.blocking_call(|| Ok(())).unwrap_err();
                observed.send((first.is::<Stopped>(), matches!(second.downcast_ref(), Some(ReactorError::Ended)))).unwrap(); Ok(()) }));
            until(|| alive(&waits).contains(&"call from a thread")).await;
        }).unwrap();
        assert_eq!(how.recv().unwrap(), (true, true));
    }

    fn calls_are_made_when_the_loop_runs_and_never_inside_anything_else(reactor) {
        let remote = reactor.remote();
        thread_local!(static LOG: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) });
        LOG.take();
        let note = |what| LOG.with(|log| log.borrow_mut().push(what));
        assert!(remote.is_on_reactor_thread());
        let there = remote.clone();
        let far = thread::spawn(move || {
            there.call(move || note("from elsewhere")).unwrap();
            there.is_on_reactor_thread()
        });
        assert!(!far.join().unwrap());
        let again = remote.clone();
        remote.call(move || {
            again.call(move || note("nested")).unwrap();
            note("from here");
        }).unwrap();
        assert!(LOG.take().is_empty());
        reactor.run_until_current();
        assert_eq!(LOG.take(), ["from elsewhere", "from here"]);
        reactor.run_until_current();
        assert_eq!(LOG.take(), ["nested"]);
    }

    fn threads_may_be_used_before_shutdown_triggers_end(reactor) {
        let log = Log::new();
        let (note, pool) = (log.clone(), reactor.clone());
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || {
            pool.spawn_blocking(|| Ok("saved")).map(move |what| note.note(what))
        });
        reactor.run_until(async {}).unwrap();
        assert_eq!(log.take(), ["saved"]);
    }

    fn calls_of_eight_threads_are_made_in_the_order_of_each(reactor) {
        let calls: usize = std::env::var("TORSADE_THREAD_CALLS").map_or(50_000, |n| n.parse().unwrap());
        thread_local!(static NEXT: RefCell<[usize; 8]> = const { RefCell::new([0; 8]) });
        NEXT.take();
        let builder = support::builder_like(&reactor).on_panic(torsade::OnPanic::Unwind);
        let reactor = builder.build().unwrap();
        let left = Arc::new(AtomicUsize::new(8 * calls));
        let stop = reactor.clone();
        thread_local!(static STOP: RefCell<Option<Reactor>> = const { RefCell::new(None) });
        STOP.set(Some(stop));
        let home = thread::current().id();
        let threads: Vec<_> = (0..8).map(|thread| {
            let (remote, left) = (reactor.remote(), left.clone());
            thread::spawn(move || for n in 0..calls {
                let left = left.clone();
                remote.call(move || {
                    NEXT.with(|next| {
                        let next = &mut next.borrow_mut()[thread];
                        assert_eq!(*next, n);
                        *next += 1;
                    });
                    assert_eq!(thread::current().id(), home);
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        STOP.take().unwrap().stop().unwrap();
                    }
                }).unwrap();
            })
        }).collect();
        reactor.run().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(NEXT.take(), [calls; 8]);
    }
}

/// A Deferred that never fires.
trait Waits {
    fn pair_that_waits() -> Self;
}

impl Waits for Deferred<()> {
    fn pair_that_waits() -> Self {
        let (deferred, resolver) = Self::pair();
        std::mem::forget(resolver);
        deferred
    }
}

#[test]
fn in_memory_time_stands_still_while_work_is_awaited_and_continues_when_it_is_cancelled() {
    torsade::testing::run(async |reactor| {
        let (release, held) = mpsc::channel::<()>();
        let working = reactor.spawn_blocking(move || {
            let _ = held.recv();
            Ok(())
        });
        let woke = Rc::new(Cell::new(false));
        let note = woke.clone();
        reactor.call_later(MS, move || note.set(true));
        let start = reactor.now();
        let releaser = thread::spawn(move || {
            for _ in 0..200 {
                thread::yield_now();
            }
            drop(release);
        });
        working.await?;
        assert_eq!((reactor.now(), woke.get()), (start, false));
        releaser.join().unwrap();

        // Cancelled work blocks nothing.
        let (release, held) = mpsc::channel::<()>();
        let working = reactor.spawn_blocking(move || {
            let _ = held.recv();
            Ok(())
        });
        some_turns().await;
        working.cancel();
        reactor.sleep(MS * 2).await?;
        assert!(woke.get());
        drop(release);
        working.await.unwrap_err().trap::<Cancelled>()?;
        Ok(())
    });
}

#[test]
fn on_the_machine_a_timeout_calls_work_off() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (release, held) = mpsc::channel::<()>();
        let working = reactor.spawn_blocking(move || {
            let _ = held.recv();
            Ok(())
        });
        let failure = working.timeout(MS, &reactor).await.unwrap_err();
        failure.trap::<TimedOut>()?;
        drop(release);
        Ok(())
    });
}

#[test]
fn idle_threads_end_and_new_ones_are_started() {
    let pool = ThreadPool::builder().max(2).idle_after(MS).build();
    for round in 1..=3 {
        let (sender, done) = mpsc::channel();
        pool.call_in_thread(move || sender.send(()).unwrap())
            .unwrap();
        done.recv().unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while pool.statistics().threads > 0 {
            assert!(Instant::now() < patience, "idle threads do not end");
            thread::park_timeout(MS);
        }
        assert_eq!(pool.statistics().finished, round);
    }
    let stays = ThreadPool::builder()
        .min(1)
        .max(2)
        .idle_after(Duration::ZERO)
        .build();
    let release = busy(&stays);
    drop(release);
    for _ in 0..100 {
        assert_eq!(stays.statistics().threads, 1);
        thread::yield_now();
    }
}

#[test]
fn a_blocked_thread_does_not_keep_another_from_being_started() {
    let pool = ThreadPool::new(0, 2);
    let release = busy(&pool);
    let (sender, done) = mpsc::channel();
    pool.call_in_thread(move || sender.send(()).unwrap())
        .unwrap();
    done.recv().unwrap();
    drop(release);
}

#[test]
fn one_thread_does_its_work_in_order_whatever_panics() {
    let pool = ThreadPool::new(0, 1);
    let log = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100 {
        let log = log.clone();
        let work = move || {
            assert!(n != 50, "fifty");
            log.lock().unwrap().push(n);
        };
        pool.call_in_thread(work).unwrap();
    }
    assert!(pool.stop(Duration::from_secs(20)).is_clean());
    let expected: Vec<u32> = (0..100).filter(|n| *n != 50).collect();
    assert_eq!(*log.lock().unwrap(), expected);
    let statistics = pool.statistics();
    assert_eq!((statistics.finished, statistics.panicked), (100, 1));
}

#[test]
fn a_pool_that_grows_starts_queued_work() {
    let pool = ThreadPool::new(0, 1);
    let meeting = Arc::new(Barrier::new(3));
    let (sender, done) = mpsc::channel();
    for _ in 0..3 {
        let (meeting, sender) = (meeting.clone(), sender.clone());
        pool.call_in_thread(move || {
            meeting.wait();
            sender.send(()).unwrap();
        })
        .unwrap();
    }
    pool.adjust(0, 3);
    assert_eq!(done.iter().take(3).count(), 3);
}

#[test]
fn dropping_the_last_handle_of_a_pool_lets_queued_work_finish() {
    let pool = ThreadPool::new(0, 1);
    let release = busy(&pool);
    let (sender, done) = mpsc::channel();
    pool.call_in_thread(move || sender.send(thread::current().id()).unwrap())
        .unwrap();
    drop(pool);
    drop(release);
    assert_ne!(done.recv().unwrap(), thread::current().id());
    // And its thread ends: the sender was dropped with its closure, and nothing else is left.
    assert!(done.recv().is_err());
}
