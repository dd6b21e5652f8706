//! Thread pools: how they grow, how they treat work, and what they leave behind. Tests that need a
//! process of their own run in children, which are this program.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use torsade::reactor::Grace;
use torsade::threads::CancelToken;

use support::{MS, await_that, expect_reports};
use torsade::net::{NameResolver, SystemResolver};
use torsade::reactor::ReactorError;
use torsade::threads::{PoolError, ThreadPool};
use torsade::{Failure, Reactor, testing};

#[test]
fn threads_are_started_one_by_one_as_work_comes_ten_at_most_by_default() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let pool = reactor.thread_pool();
        assert_eq!((pool.statistics().threads, pool.statistics().max), (0, 10));
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let all: Vec<_> = (1..=12)
            .map(|n| {
                let held = held.clone();
                let working = reactor.spawn_blocking(move || {
                    let _ = held.lock().unwrap().recv();
                    Ok(thread::current().name().map(str::to_owned))
                });
                assert_eq!(pool.statistics().threads, n.min(10));
                working
            })
            .collect();
        await_that(|| pool.statistics().running == 10);
        let statistics = pool.statistics();
        assert_eq!(
            (statistics.queued, statistics.idle, statistics.finished),
            (2, 0, 0)
        );
        // More threads can be added at any time.
        reactor.thread_pool().adjust(0, 12);
        await_that(|| pool.statistics().running == 12);
        drop(release);
        let mut names = HashSet::new();
        for one in all {
            names.insert(one.await?);
        }
        assert_eq!(names.len(), 12);
        await_that(|| pool.statistics().idle == 12);
        let statistics = pool.statistics();
        assert_eq!((statistics.running, statistics.queued), (0, 0));
        assert_eq!((statistics.finished, statistics.panicked), (12, 0));
        // And fewer: idle threads end.
        reactor.thread_pool().adjust(0, 3);
        await_that(|| pool.statistics().threads == 3);
        Ok(())
    });
}

#[test]
fn threads_that_a_pool_keeps_wait_however_short_the_limit_of_idle_ones_is() {
    let pool = ThreadPool::builder()
        .min(1)
        .idle_after(Duration::ZERO)
        .build();
    pool.call_in_thread(|| ()).unwrap();
    await_that(|| pool.statistics().idle == 1);
    for _ in 0..10_000 {
        assert_eq!(
            pool.statistics().idle,
            1,
            "it looks for work again and again"
        );
    }
    pool.adjust(0, 10);
    await_that(|| pool.statistics().threads == 0);
}

#[test]
fn values_held_by_work_are_dropped_on_its_thread_before_its_result_is_sent() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let held = Arc::new(());
        let kept = held.clone();
        reactor
            .spawn_blocking(move || {
                let _kept = kept;
                Ok(())
            })
            .await?;
        assert_eq!(Arc::strong_count(&held), 1);
        Ok(())
    });
}

#[test]
fn one_of_work_that_waits_for_each_other_has_a_thread_each() {
    let pool = ThreadPool::new(0, 8);
    let (meeting, done) = (Arc::new(Barrier::new(8)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..8 {
        let (meeting, done) = (meeting.clone(), done.clone());
        pool.call_in_thread(move || {
            meeting.wait();
            done.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    assert!(pool.stop(Duration::from_secs(20)).is_clean());
    assert_eq!(done.load(Ordering::SeqCst), 8);
}

#[test]
fn stopping_waits_as_long_as_it_may_and_no_longer() {
    let pool = ThreadPool::new(0, 1);
    let (release, held) = mpsc::channel::<()>();
    pool.call_in_thread(move || assert!(held.recv().is_err()))
        .unwrap();
    await_that(|| pool.statistics().running == 1);
    let start = Instant::now();
    let left = pool.stop(MS * 30);
    assert!(start.elapsed() >= MS * 30 && start.elapsed() < Duration::from_secs(10));
    assert_eq!((left.running.len(), left.dropped.len()), (1, 0));
    drop(release);
    let start = Instant::now();
    assert!(pool.stop(Duration::from_secs(3600)).is_clean());
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_end_of_a_reactor_reports_the_work_that_still_runs() {
    let still = Failure::new(ReactorError::StillRunning).to_string();
    assert_eq!(
        still,
        "the work was still running on its thread when the reactor ended"
    );
    let never = Failure::new(PoolError::NotStarted).to_string();
    assert_eq!(never, "the thread pool was stopped before the work began");
    assert_eq!(
        PoolError::Full { limit: 3 }.to_string(),
        "the thread pool's queue is full: 3 calls are queued"
    );
}

#[test]
fn an_invalid_pool_panics_at_the_callers_line() {
    let pool = ThreadPool::new(0, 1);
    let reactor = Reactor::in_memory().unwrap();
    let asked: [&dyn Fn(); 6] = [
        &|| drop(ThreadPool::new(0, 0)),
        &|| drop(ThreadPool::new(2, 1)),
        &|| drop(ThreadPool::builder().max(0).build()),
        &|| drop(ThreadPool::builder().name("a\0b").build()),
        &|| pool.adjust(2, 1),
        &|| reactor.thread_pool().adjust(0, 0),
    ];
    let (sender, places) = mpsc::channel();
    let before = panic::take_hook();
    let here = thread::current().id();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            let location = info.location().map(|location| location.file().to_owned());
            sender.send(location).unwrap();
        }
    }));
    let refused = asked.map(|ask| panic::catch_unwind(AssertUnwindSafe(ask)).is_err());
    panic::set_hook(before);
    assert_eq!(refused, [true; 6]);
    assert!(
        places
            .try_iter()
            .eq([Some(file!()); 6].map(|file| file.map(str::to_owned)))
    );
    assert_eq!(pool.statistics().max, 1);
}

#[test]
fn a_reactor_waits_half_a_second_for_its_threads_by_default() {
    let reactor = Reactor::in_memory().unwrap();
    let reports = expect_reports(&reactor);
    let (release, held) = mpsc::channel::<()>();
    let start = Instant::now();
    reactor
        .run_until(async {
            drop(reactor.spawn_blocking(move || {
                assert!(held.recv().is_err());
                Ok(())
            }))
        })
        .unwrap();
    assert!(start.elapsed() >= MS * 500);
    assert_eq!(reports.borrow().len(), 1);
    drop(release);
}

#[test]
fn a_result_for_an_ended_loop_is_dropped_on_its_own_thread() {
    struct Told(mpsc::Sender<ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    let (dropped, droppers) = mpsc::channel();
    let (begun, maker) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let reactor = Reactor::in_memory().unwrap();
    expect_reports(&reactor);
    reactor.set_grace(Grace {
        threads: Duration::ZERO,
        ..Grace::default()
    });
    let maker = reactor
        .run_until(async {
            let working = reactor.spawn_blocking(move || {
                let result = Told(dropped);
                begun.send(thread::current().id())?;
                let _ = held.recv();
                Ok(result)
            });
            drop(working.add_both(|result| assert!(result.is_err())));
            maker.recv().unwrap()
        })
        .unwrap();
    drop((reactor, release));
    assert_eq!(droppers.recv().unwrap(), maker);
}

/// The role of a child.
#[cfg(target_os = "linux")]
#[test]
fn role() {
    support::role::play(async |reactor, name| match name {
        "no thread" => children::no_thread(reactor).await,
        "leaves nothing" => children::leaves_nothing(reactor).await,
        "panics" => children::panics(),
        other => panic!("{other}"),
    });
}

#[cfg(target_os = "linux")]
mod children {
    use std::fs;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use torsade::{Signal, yield_now};

    use super::*;
    use support::role;

    /// The stack that a thread requests, in bytes.
    const STACK: u64 = 1 << 30;

    /// The system refuses threads: all submitted work is refused, until there are threads again.
    pub(super) async fn no_thread(reactor: &Reactor) -> Result<(), Failure> {
        let (begin, end) = (Arc::new(Barrier::new(5)), Arc::new(Barrier::new(5)));
        // Of one thread: while one submitter tries to start it, no other may rely on it.
        let pool = ThreadPool::new(0, 1);
        let others: Vec<_> = (0..4)
            .map(|_| {
                let (begin, end, pool) = (begin.clone(), end.clone(), pool.clone());
                thread::spawn(move || {
                    let warm: Vec<_> = (0..100).map(|n| Box::new([n; 100])).collect();
                    drop(warm);
                    begin.wait();
                    for _ in 0..500 {
                        let refused = pool.call_in_thread(|| unreachable!());
                        assert_eq!(refused, Err(PoolError::NoThread));
                    }
                    end.wait();
                })
            })
            .collect();
        let before = getrlimit(Resource::As);
        let status = fs::read_to_string("/proc/self/status")?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let kilobytes: u64 = size.unwrap().trim().trim_end_matches(" kB").parse()?;
        // There is enough memory, but not for the stack of a thread.
        let limit = Rlimit {
            current: Some(kilobytes * 1024 + STACK / 2),
            maximum: before.maximum,
        };
        setrlimit(Resource::As, limit)?;
        begin.wait();
        let refused = reactor.spawn_blocking(|| Ok(())).await.unwrap_err();
        end.wait();
        setrlimit(Resource::As, before)?;
        refused.trap::<PoolError>()?;
        let statistics = pool.statistics();
        assert_eq!((statistics.threads, statistics.queued), (0, 0));
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(reactor.spawn_blocking(|| Ok(1)).await?, 1);
        assert_eq!(pool.spawn_blocking(reactor, || Ok(2)).await?, 2);
        Ok(())
    }

    /// Nothing is left of many reactors with work on threads, calls from threads, and signals.
    pub(super) async fn leaves_nothing(reactor: &Reactor) -> Result<(), Failure> {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        let count = || (count("/proc/self/fd"), count("/proc/self/task"));
        let before = count();
        for round in 0..60 {
            let made = if round % 2 == 0 {
                Reactor::new
            } else {
                Reactor::in_memory
            };
            // A reactor on a separate thread, because this thread's reactor is in a turn.
            let other = thread::spawn(move || {
                testing::run_on(made().unwrap(), async |reactor| {
                    let remote = reactor.remote();
                    let all: Vec<_> = (0..5)
                        .map(|n| {
                            let remote = remote.clone();
                            reactor.spawn_blocking(move || {
                                remote.call(|| {})?;
                                let task = remote.spawn(async || yield_now().await)?;
                                task.join()?;
                                remote.blocking_call(move || Ok(n))
                            })
                        })
                        .collect();
                    for (n, one) in all.into_iter().enumerate() {
                        assert_eq!(one.await?, n);
                    }
                    let cancelled = reactor.spawn_blocking(|| {
                        let token = CancelToken::current();
                        while !token.is_cancelled() {
                            thread::yield_now();
                        }
                        Ok(())
                    });
                    cancelled.cancel();
                    drop(cancelled.await);
                    drop(SystemResolver::new().resolve(&reactor, "127.1", 80).await);
                    let observed = Signal::USR2.wait(&reactor);
                    testing::deliver_signal(&reactor, Signal::USR2);
                    observed.await?;
                    Ok(())
                });
            });
            other.join().unwrap();
        }
        // Idle threads of the resolvers' pools were asked to end, which takes a moment.
        await_that(|| count() == before);
        let _ = reactor;
        Ok(())
    }

    /// Panics in a pool without a reactor.
    pub(super) fn panics() -> Result<(), Failure> {
        let pool = ThreadPool::new(0, 1);
        pool.call_in_thread(|| panic!("the work"))?;
        pool.call_in_thread(|| {})?;
        pool.call_in_thread(|| panic!("the third"))?;
        assert!(pool.stop(Duration::from_secs(20)).is_clean());
        let statistics = pool.statistics();
        assert_eq!((statistics.finished, statistics.panicked), (3, 2));
        Ok(())
    }

    #[test]
    fn panics_in_a_separate_pool_are_reported_once_each_with_the_location_of_the_work() {
        let said = role::end(role::child("panics").spawn().unwrap());
        let reports: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("torsade: a panic in work for a thread"))
            .collect();
        assert_eq!(reports.len(), 2, "{said}");
        for (report, what) in reports.iter().zip(["the work", "the third"]) {
            assert!(report.contains(what) && report.contains(file!()), "{said}");
        }
    }

    #[test]
    fn where_the_system_gives_no_thread_work_is_refused_and_none_is_left_in_the_queue() {
        let mut child = role::child("no thread");
        child.env("RUST_MIN_STACK", STACK.to_string());
        role::end(child.spawn().unwrap());
    }

    #[test]
    fn neither_threads_nor_descriptors_are_left() {
        role::end(role::child("leaves nothing").spawn().unwrap());
    }
}
