//! Virtual time and other threads: time stands still while their work is awaited, and moves when
//! that work waits for the loop itself; a test that can never continue fails at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use torsade::threads::CancelToken;

use futures::StreamExt;
use futures::channel::oneshot;
use futures::stream::FuturesUnordered;
use support::{MS, own};
use torsade::clock::TimedOut;
use torsade::locks::DeferredLock;
use torsade::scope::{JoinSet, scope};
use torsade::threads::ThreadPool;
use torsade::{Clock, Deferred, Failure, Reactor, Remote, task, testing};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Sleeps on the loop, from another thread.
fn sleep_there(remote: &Remote, time: Duration) -> Result<(), Failure> {
    remote.blocking_call(async move || {
        let reactor = Reactor::current().expect("this is its thread");
        reactor.sleep(time).await
    })
}

#[test]
fn work_that_waits_for_a_sleep_on_the_loop_ends_when_that_is_over() {
    testing::run(async |reactor| {
        let (remote, start) = (reactor.remote(), reactor.now());
        let work = reactor.spawn_blocking(move || {
            sleep_there(&remote, HOUR)?;
            sleep_there(&remote, HOUR)
        });
        work.await?;
        assert_eq!(reactor.now() - start, 2 * HOUR);
        Ok(())
    });
}

#[test]
fn a_dump_shows_work_that_waits_for_the_loop() {
    testing::run(async |reactor| {
        let remote = reactor.remote();
        let looking = reactor.clone();
        let dumped = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let seen = dumped.clone();
        reactor.call_later(SECOND, move || {
            seen.replace(looking.dump().to_string());
        });
        reactor
            .spawn_blocking(move || sleep_there(&remote, HOUR))
            .await?;
        let dumped = dumped.take();
        assert!(
            dumped.contains("work in a thread, waits for this loop"),
            "{dumped}"
        );
        Ok(())
    });
}

#[test]
fn work_that_joins_or_awaits_a_task_of_the_loop_ends_when_that_does() {
    testing::run(async |reactor| {
        let (remote, start) = (reactor.remote(), reactor.now());
        let spawn = move || {
            remote.spawn(async || {
                let reactor = Reactor::current().expect("this is its thread");
                reactor.sleep(HOUR).await.map(|()| 7)
            })
        };
        let work = reactor.spawn_blocking(move || {
            let joined = spawn()?.join()??;
            let awaited = task::block_on(spawn()?)??;
            Ok(joined + awaited)
        });
        assert_eq!(work.await?, 14);
        assert_eq!(reactor.now() - start, 2 * HOUR);
        Ok(())
    });
}

#[test]
fn a_limit_ends_the_waiting_for_work_that_waits_for_the_loop() {
    testing::run(async |reactor| {
        let (remote, start) = (reactor.remote(), reactor.now());
        let (hold, held) = oneshot::channel::<()>();
        let work = reactor.spawn_blocking(move || {
            remote.blocking_call(async move || {
                let _ = held.await;
                Ok(())
            })
        });
        let failure = work.timeout(HOUR, &reactor).await.unwrap_err();
        failure.trap::<TimedOut>()?;
        assert_eq!(reactor.now() - start, HOUR);
        // The call that is not awaited any more would be left behind.
        drop(hold);
        Ok(())
    });
}

#[test]
fn a_limit_ends_the_waiting_for_work_that_never_ends() {
    testing::run(async |reactor| {
        let start = reactor.now();
        let rounds = Arc::new(AtomicUsize::new(0));
        let count = rounds.clone();
        let work = reactor.spawn_blocking(move || {
            let token = CancelToken::current();
            loop {
                token.check()?;
                count.fetch_add(1, Ordering::SeqCst);
                thread::park_timeout(MS);
            }
            #[allow(unreachable_code, reason = "it gives the closure its type")]
            Ok(())
        });
        let failure = work.timeout(SECOND / 2, &reactor).await.unwrap_err();
        failure.trap::<TimedOut>()?;
        assert_eq!(reactor.now() - start, SECOND / 2);
        assert!(rounds.load(Ordering::SeqCst) > 0);
        Ok(())
    });
}

#[test]
fn time_stands_still_as_long_as_one_thread_really_works() {
    testing::run(async |reactor| {
        let (remote, start) = (reactor.remote(), reactor.now());
        let sleeping = reactor.spawn_blocking(move || sleep_there(&remote, HOUR));
        let (remote, waits) = (reactor.remote(), Arc::new(AtomicBool::new(false)));
        let seen = waits.clone();
        reactor.call_later(Duration::from_millis(1), move || {
            seen.store(true, Ordering::SeqCst)
        });
        let working = reactor.spawn_blocking(move || {
            let begun = Instant::now();
            while begun.elapsed() < MS * 20 {
                thread::yield_now();
                assert!(!waits.load(Ordering::SeqCst), "time went on");
            }
            remote.blocking_call(|| Ok(Reactor::current().map(|reactor| reactor.now())))
        });
        assert_eq!(working.await?, Some(start));
        sleeping.await?;
        assert_eq!(reactor.now() - start, HOUR);
        Ok(())
    });
}

#[test]
fn work_in_line_behind_threads_that_wait_for_the_loop_does_not_hold_the_time() {
    testing::run(async |reactor| {
        let (pool, start) = (ThreadPool::new(0, 2), reactor.now());
        let work: Vec<_> = (0..6)
            .map(|_| {
                let remote = reactor.remote();
                pool.spawn_blocking(&reactor, move || sleep_there(&remote, HOUR))
            })
            .collect();
        for done in work {
            done.await?;
        }
        assert_eq!(reactor.now() - start, 3 * HOUR);
        assert!(pool.stop(10 * SECOND).is_clean());
        Ok(())
    });
}

#[test]
fn waking_and_going_to_sleep_again_never_lets_time_slip() {
    for _ in 0..20 {
        testing::run(async |reactor| {
            let (remote, start) = (reactor.remote(), reactor.now());
            reactor.call_later(HOUR, || {});
            let work = reactor.spawn_blocking(move || {
                for _ in 0..100 {
                    // Each is answered at once: in between the thread works.
                    remote.blocking_call(|| Ok(()))?;
                }
                remote.blocking_call(|| Ok(Reactor::current().map(|reactor| reactor.now())))
            });
            assert_eq!(work.await?, Some(start));
            reactor.sleep(HOUR).await
        });
    }
}

#[test]
fn other_threads_that_are_not_awaited_do_not_stop_the_time() {
    testing::run(async |reactor| {
        let (remote, start) = (reactor.remote(), reactor.now());
        let (done, joined) = oneshot::channel();
        let other = thread::spawn(move || done.send(sleep_there(&remote, HOUR)));
        joined.await.expect("it is sent")?;
        assert_eq!(reactor.now() - start, HOUR);
        other.join().expect("it does not panic").expect("we waited");
        Ok(())
    });
}

/// How long a thread that holds a waker is waited for.
const FOR_THREADS: Duration = Duration::from_secs(2);

/// Returns the panic of a test that must fail, and the real time that it took.
fn failing(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) -> (String, Duration) {
    let start = Instant::now();
    let panic = catch_unwind(AssertUnwindSafe(|| testing::run(test))).unwrap_err();
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    (text.expect("a panic has a text"), start.elapsed())
}

/// Returns the panic of a test that must fail at once. A loaded machine may take long now and then;
/// that another thread is waited for takes long each time.
#[track_caller]
fn failing_at_once(test: impl AsyncFn(Reactor) -> Result<(), Failure>) -> String {
    let mut times = Vec::new();
    while times.len() < 5 {
        let (text, took) = failing(&test);
        if took < FOR_THREADS {
            return text;
        }
        times.push(took);
    }
    panic!("it takes {times:?}");
}

#[test]
fn a_test_that_cannot_continue_fails_at_once_with_a_dump() {
    let text = failing_at_once(async |reactor| {
        let port = reactor.listen("127.0.0.1:0", |_| support::Spy::echo())?;
        let (never, _resolver) = Deferred::<()>::pair();
        never.await?;
        port.stop().await
    });
    assert!(text.contains("the test cannot go on"), "{text}");
    assert!(text.contains("port") && text.contains(file!()), "{text}");
}

#[test]
fn it_fails_at_once_wherever_it_is_stuck() {
    fn stuck(name: &str, test: impl AsyncFn(Reactor) -> Result<(), Failure>) {
        let text = failing_at_once(test);
        assert!(text.contains("the test cannot go on"), "{name}: {text}");
    }
    let at = "127.0.0.1:0";
    stuck("a task", async |reactor| {
        reactor.spawn(std::future::pending::<()>()).await
    });
    stuck("a scope", async |_| {
        scope(async |scope| {
            scope.spawn(std::future::pending::<Result<(), Failure>>());
            Ok(())
        })
        .await
    });
    stuck("a task of many", async |_| {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending::<()>());
        tasks.join_next().await.expect("there is one")
    });
    stuck("a connection", async |reactor| {
        let mut listener = reactor.bind(at)?;
        let mut conn = reactor.connect_stream(listener.local_addr()).await?;
        let server = listener.accept().await?;
        conn.read(&mut [0; 8]).await?;
        drop(server);
        Ok(())
    });
    stuck("a port", async |reactor| {
        reactor.bind(at)?.accept().await.map(drop)
    });
    stuck("a datagram", async |reactor| {
        reactor.bind_datagram(at)?.recv_from(&mut [0; 8]).await?;
        Ok(())
    });
    stuck("a lock", async |_| {
        let lock = DeferredLock::new(());
        let _guard = lock.acquire().await?;
        lock.acquire().await.map(drop)
    });
    stuck("the stop", async |reactor| reactor.stopped().await);
    stuck("the first of two", async |_| {
        let (one, _first) = Deferred::<()>::pair();
        let (other, _second) = Deferred::<()>::pair();
        let either = futures::future::select(one.into_future(), other.into_future());
        either.await.factor_first().0
    });
}

/// The receiver of a channel has a waker; the holder of its sender is not known.
#[test]
fn a_thread_that_has_only_a_waker_is_waited_for() {
    type Wrap = fn(&Reactor, oneshot::Receiver<u32>) -> Deferred<u32>;
    let ways: [(&str, Wrap); 4] = [
        ("main", |_, receiver| {
            Deferred::from_future(receiver_of(receiver))
        }),
        ("a task", |reactor, receiver| {
            let task = reactor.spawn(receiver_of(receiver));
            Deferred::from_future(async { task.await? })
        }),
        ("a scope", |_, receiver| {
            Deferred::from_future(scope(async move |scope| {
                scope.spawn(receiver_of(receiver)).await
            }))
        }),
        ("a part", |_, receiver| {
            let mut parts = FuturesUnordered::new();
            parts.push(receiver_of(receiver));
            Deferred::from_future(async move { parts.next().await.expect("there is one") })
        }),
    ];
    for (name, wrap) in ways {
        testing::run(async |reactor| {
            let (sender, receiver) = oneshot::channel();
            let (go, gone) = mpsc::channel::<()>();
            let other = thread::spawn(move || {
                let _ = gone.recv_timeout(SECOND / 4);
                sender.send(5)
            });
            match name {
                "main" => assert_eq!(receiver.await?, 5),
                _ => assert_eq!(wrap(&reactor, receiver).await?, 5, "{name}"),
            }
            drop(go);
            other.join().expect("it does not panic").expect("we waited");
            Ok(())
        });
    }
    let (text, took) = failing(async |_| {
        let (_sender, receiver) = oneshot::channel::<()>();
        receiver.await?;
        Ok(())
    });
    assert!(text.contains("the test cannot go on"), "{text}");
    assert!(took >= FOR_THREADS, "{took:?}");
}

async fn receiver_of(receiver: oneshot::Receiver<u32>) -> Result<u32, Failure> {
    Ok(receiver.await?)
}

#[test]
fn a_thread_that_wakes_the_test_late_is_waited_for() {
    testing::run(async |reactor| {
        let (sender, receiver) = oneshot::channel();
        let (go, gone) = mpsc::channel::<()>();
        let remote = reactor.remote();
        let other = thread::spawn(move || {
            // Longer than foreign code is waited for.
            let _ = gone.recv_timeout(SECOND * 3);
            drop(remote);
            sender.send(5)
        });
        assert_eq!(receiver.await, Ok(5));
        drop(go);
        other.join().expect("it does not panic").expect("we waited");
        Ok(())
    });
}

/// Runs the child's role; does nothing in the parent.
#[test]
fn role() {
    if std::env::var("TORSADE_ROLE").as_deref() != Ok("stuck") {
        return;
    }
    testing::run(async |_| {
        let (never, _resolver) = Deferred::<()>::pair();
        never.await
    });
}

#[test]
fn a_program_that_cannot_continue_writes_a_dump_to_standard_error() {
    let output = own::command("role")
        .env("TORSADE_ROLE", "stuck")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(concat!("panicked at ", file!())), "{said}");
    assert!(said.contains("the test cannot go on"), "{said}");
    assert!(said.contains("Deferred"), "{said}");
}

#[test]
fn advance_inside_a_turn_says_what_to_do_instead() {
    let reactor = Reactor::in_memory().unwrap();
    let inner = reactor.clone();
    let panic = reactor.run_until(async move {
        let advanced = AssertUnwindSafe(|| inner.advance(MS));
        catch_unwind(advanced).unwrap_err()
    });
    let panic = panic.unwrap();
    let text = panic.downcast_ref::<&str>().unwrap();
    assert!(text.contains("reactor.sleep(..).await"), "{text}");
}
