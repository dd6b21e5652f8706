//! Unused memory is freed: by endless loops, by tasks that give up waiting, after a peak, and where
//! a destructor panics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Wake, Waker};
use std::time::Duration;

use crate::counted::{BYTES, LIVE};
use torsade::locks::{DeferredLock, DeferredQueue, DeferredSemaphore, Event, Watched};
use torsade::task::TaskLocal;
use torsade::{
    Clock, Context, Cooperator, Deferred, Failure, LoopingCall, Protocol, Reactor, Resolver,
    Signal, defer,
};

const ROUNDS: u32 = 100_000;

/// Where a round stores its resolver, for the code that continues it.
type Next = Rc<RefCell<Option<Resolver<()>>>>;

/// Runs one round after the other, each fired from outside.
fn go_round(left: u32, next: Next) -> Deferred<u32> {
    if left == 0 {
        return Deferred::succeed(7);
    }
    let (deferred, resolver) = Deferred::pair();
    *next.borrow_mut() = Some(resolver);
    deferred.add_callback(move |()| go_round(left - 1, next))
}

/// Runs all rounds; returns the peak of live allocations beyond those of the beginning.
fn growth(next: &Next) -> isize {
    let (before, mut most) = (LIVE.get(), 0);
    loop {
        let resolver = next.take();
        let Some(resolver) = resolver else { break };
        resolver.callback(());
        most = most.max(LIVE.get() - before);
    }
    most
}

#[test]
fn a_loop_that_is_held() {
    let next = Next::default();
    let deferred = go_round(ROUNDS, next.clone());
    let seen = Rc::new(Cell::new(0));
    let log = seen.clone();
    let deferred = deferred.map(move |n| log.set(n));
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
    assert_eq!(seen.get(), 7);
    drop(deferred);
}

#[test]
fn a_loop_that_is_not_held() {
    let next = Next::default();
    drop(go_round(ROUNDS, next.clone()));
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
}

#[test]
fn a_loop_inside_another() {
    let next = Next::default();
    let (outer, fire) = Deferred::pair();
    let inner = next.clone();
    let outer = outer
        .add_callback(move |()| go_round(ROUNDS, inner))
        .map(|n| assert_eq!(n, 7));
    fire.callback(());
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
    assert!(outer.is_settled());
}

/// Runs in memory, in a reactor; returns the reports.
fn reports_of(main: impl AsyncFnOnce(&Reactor)) -> Vec<String> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    let reactor = Reactor::builder().in_memory().debug(false).build().unwrap();
    reactor.on_report(move |report| log.borrow_mut().push(report.to_string()));
    reactor.run_until(main(&reactor)).unwrap();
    drop(reactor);
    reports.take()
}

/// Returns how many allocations, and how many bytes, are left over after many repetitions.
fn left_over(count: usize, mut work: impl FnMut()) -> (isize, isize) {
    work();
    let before = (LIVE.get(), BYTES.get());
    (0..count).for_each(|_| work());
    (LIVE.get() - before.0, BYTES.get() - before.1)
}

#[test]
fn a_dropped_listener_leaves_nothing_behind() {
    #[track_caller]
    fn check<T: 'static>(name: &str, listen: impl Fn() -> Deferred<T>) {
        let first = listen();
        let (count, bytes) = left_over(1_000, || drop(listen()));
        assert!(
            count < 10 && bytes < 1_000,
            "{name}: {count}, {bytes} bytes"
        );
        let (count, bytes) = left_over(1_000, || drop(defer::gather([listen(), listen()])));
        assert!(
            count < 10 && bytes < 1_000,
            "gathered, {name}: {count}, {bytes} bytes"
        );
        drop(first);
        // A listener with a callback runs on.
        drop(listen().add_both(|_| ()));
    }
    let reports = reports_of(async |reactor| {
        let event = Event::new();
        check("event", || event.wait());
        let watched = Watched::new(1);
        let watcher = watched.watch();
        check("watched", || watcher.changed());
        let (deferred, _resolver) = Deferred::<u32>::pair();
        let shared = deferred.shared();
        check("shared", || shared.wait());
        let lock = DeferredLock::new(());
        let _guard = lock.try_acquire().unwrap();
        check("lock", || lock.acquire());
        let semaphore = DeferredSemaphore::new(1).unwrap();
        let _permit = semaphore.try_acquire().unwrap();
        check("semaphore", || semaphore.acquire());
        let queue = DeferredQueue::<u32>::new();
        check("queue", || queue.get());
        let cooperator = Cooperator::new(reactor);
        let task = cooperator.cooperate(std::iter::repeat(()));
        check("cooperative task", || task.when_done());
        task.stop().unwrap();
        let port = reactor.listen("127.0.0.1:0", |_| Idle).unwrap();
        let handle = reactor.connect(port.local_addr(), Idle).await.unwrap();
        check("connection", || handle.closed());
        check("signal", || Signal::USR1.wait(reactor));
    });
    assert_eq!(reports, [""; 0]);
}

struct Idle;

impl Protocol for Idle {
    fn data_received(&mut self, _: &mut Context<'_, Self>, _: &[u8]) {}
}

#[test]
fn after_a_peak_memory_is_given_back() {
    const MANY: usize = 100_000;
    thread_local! {
        static RAN: Cell<usize> = const { Cell::new(0) };
    }
    async fn all_ran() {
        while RAN.get() < MANY {
            torsade::yield_now().await;
        }
        RAN.set(0);
    }
    let reports = reports_of(async |reactor| {
        async fn check(name: &str, peak: impl AsyncFn()) {
            let before = BYTES.get();
            peak().await;
            torsade::yield_now().await;
            torsade::yield_now().await;
            let left = BYTES.get() - before;
            assert!(left < 150_000, "{name}: {left} bytes are kept");
        }
        check("timers that are called off", async || {
            let far = Duration::from_secs(1_000);
            let calls: Vec<_> = (0..MANY).map(|_| reactor.call_later(far, || ())).collect();
            torsade::yield_now().await;
            for call in calls {
                assert!(call.cancel());
            }
            torsade::yield_now().await;
        })
        .await;
        check("timers that fire", async || {
            for _ in 0..MANY {
                reactor.call_later(Duration::from_millis(1), || RAN.set(RAN.get() + 1));
            }
            reactor.sleep(Duration::from_millis(2)).await.unwrap();
            all_ran().await;
        })
        .await;
        check("calls", async || {
            for _ in 0..MANY {
                reactor.call_soon(|| RAN.set(RAN.get() + 1));
            }
            all_ran().await;
        })
        .await;
        check("tasks", async || {
            let tasks: Vec<_> = (0..MANY)
                .map(|_| reactor.spawn(reactor.sleep(Duration::from_millis(1))))
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        })
        .await;
        let event = Event::new();
        check("listeners", async || {
            let all: Vec<_> = (0..MANY).map(|_| event.wait()).collect();
            event.set();
            event.clear();
            drop(all);
        })
        .await;
        let port = reactor.listen("127.0.0.1:0", |_| Idle).unwrap();
        let handle = reactor.connect(port.local_addr(), Idle).await.unwrap();
        check("what is posted to a protocol", async || {
            for _ in 0..MANY {
                handle.post(|_, _| RAN.set(RAN.get() + 1));
            }
            all_ran().await;
        })
        .await;
        let queue = DeferredQueue::new();
        check("a queue", async || {
            for n in 0..MANY {
                queue.put(n).unwrap();
            }
            while queue.try_get().is_some() {}
        })
        .await;
    });
    assert_eq!(reports, [""; 0]);
}

/// Panics when it is dropped, and owns memory.
struct Bomb(#[allow(dead_code, reason = "it is there to be freed")] Box<[u8; 64]>);

impl Bomb {
    fn new() -> Self {
        Self(Box::new([0; 64]))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        std::panic::resume_unwind(Box::new("boom"));
    }
}

thread_local! {
    static DROPPED: Cell<u32> = const { Cell::new(0) };
}

/// A description of what drops a value, and a function that does.
type Dropping = (&'static str, fn(&Reactor));

/// Where a user's value is dropped without having been used, each time the last reference to it.
const DROPS: [Dropping; 20] = [
    ("a call that is called off", |reactor| {
        let bomb = Bomb::new();
        let call = reactor.call_later(Duration::from_secs(1), move || drop(bomb));
        assert!(call.cancel());
    }),
    ("a Deferred that has fired", |_| {
        drop(Deferred::succeed(Bomb::new()))
    }),
    ("a Deferred whose result is there", |_| {
        let (deferred, resolver) = Deferred::pair();
        resolver.callback(Bomb::new());
        drop(deferred);
    }),
    ("a Deferred that was dropped before it fired", |_| {
        let (deferred, resolver) = Deferred::pair();
        drop(deferred);
        resolver.callback(Bomb::new());
    }),
    ("a result that comes after a cancel", |_| {
        let (deferred, resolver) = Deferred::pair();
        deferred.cancel();
        resolver.callback(Bomb::new());
        drop(deferred.add_both(|_| ()));
    }),
    ("a callback that a failure passes by", |_| {
        let (deferred, resolver) = Deferred::pair();
        let bomb = Bomb::new();
        let deferred = deferred.map(move |()| drop(bomb));
        resolver.errback(Failure::new("no"));
        drop(deferred.add_both(|_| ()));
    }),
    ("an errback that a value passes by", |_| {
        let (deferred, resolver) = Deferred::pair();
        let bomb = Bomb::new();
        let deferred = deferred.add_errback(move |_| drop(bomb));
        resolver.callback(());
        drop(deferred.add_both(|_| ()));
    }),
    ("an errback of one that has its value", |_| {
        let bomb = Bomb::new();
        let deferred = Deferred::succeed(()).add_errback(move |_| drop(bomb));
        drop(deferred.add_both(|_| ()));
    }),
    ("the other one of a pair of callbacks", |_| {
        let bomb = Bomb::new();
        let deferred = Deferred::succeed(()).add_callbacks(|()| (), move |_| drop(bomb));
        drop(deferred.add_both(|_| ()));
    }),
    ("a canceller that is not called", |_| {
        let (deferred, resolver) = Deferred::pair();
        let bomb = Bomb::new();
        let deferred = deferred.on_cancel(move || drop(bomb));
        resolver.callback(());
        drop(deferred);
    }),
    ("a canceller that is replaced", |_| {
        let (deferred, resolver) = Deferred::pair();
        let bomb = Bomb::new();
        let deferred = deferred.on_cancel(move || drop(bomb)).on_cancel(|| ());
        resolver.callback(());
        drop(deferred);
    }),
    ("a member of a list that has lost", |_| {
        let (slow, resolver) = Deferred::pair();
        let lost = defer::gather([Deferred::succeed(Bomb::new()), slow]);
        resolver.errback(Failure::new("no"));
        drop(lost.add_errback(|_| Ok(Vec::new())).map(|_| ()));
    }),
    ("what is shared", |_| {
        let (deferred, resolver) = Deferred::pair();
        let shared = deferred.shared();
        resolver.callback(Rc::new(Bomb::new()));
        drop(shared);
    }),
    ("a value that is watched no longer", |_| {
        let watched = Watched::new(Some(Bomb::new()));
        watched.set(None);
    }),
    ("an item of a queue", |_| {
        let queue = DeferredQueue::new();
        assert!(queue.put(Bomb::new()).is_ok());
        drop(queue);
    }),
    ("an item that waits for room", |_| {
        let queue = DeferredQueue::with_limits(0, None);
        drop(queue.put_when_room(Bomb::new()).add_both(|_| ()));
        drop(queue);
    }),
    ("a future that is cancelled before its first poll", |_| {
        let bomb = Bomb::new();
        let deferred = Deferred::from_future(async move {
            drop(bomb);
            Ok(())
        });
        deferred.cancel();
        drop(deferred.add_errback(|_| ()));
    }),
    ("a task-local", |_| {
        static HELD: TaskLocal<Rc<Bomb>> = TaskLocal::new();
        HELD.sync_scope(Rc::new(Bomb::new()), || ());
    }),
    ("the failure's error", |_| {
        drop(Deferred::<()>::fail(Explosive(Bomb::new())));
    }),
    ("a service's closure", |reactor| {
        let bomb = Bomb::new();
        let loops = LoopingCall::new(move || {
            let _ = &bomb;
        });
        let (looping, done) = loops.start_later(reactor, Duration::from_secs(1));
        looping.stop();
        drop(done);
    }),
];

#[derive(Debug)]
struct Explosive(#[allow(dead_code, reason = "it is there to be dropped")] Bomb);

impl std::fmt::Debug for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bomb")
    }
}

impl std::fmt::Display for Explosive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("explosive")
    }
}

impl std::error::Error for Explosive {}

#[test]
fn a_destructor_that_panics_does_no_harm_and_everything_is_freed() {
    let reactor = Reactor::builder().in_memory().debug(false).build().unwrap();
    reactor.on_report(|_| ());
    let done = reactor.run_until(async {
        for (name, drop_it) in DROPS {
            let once = || {
                let before = DROPPED.get();
                let done = catch_unwind(AssertUnwindSafe(|| drop_it(&reactor)));
                assert!(done.is_ok(), "{name}: the panic came out");
                drop(done);
                DROPPED.get() - before
            };
            once();
            torsade::yield_now().await;
            torsade::yield_now().await;
            let before = LIVE.get();
            for _ in 0..10 {
                once();
                torsade::yield_now().await;
            }
            torsade::yield_now().await;
            let left = LIVE.get() - before;
            assert!(left < 10, "{name}: {left} allocations are left over");
        }
    });
    done.unwrap();
}

/// Values that are dropped because the reactor has ended, or was dropped.
#[test]
fn at_the_end_of_a_reactor_a_panicking_destructor_does_not_stop_the_others() {
    let before = DROPPED.get();
    let reports = reports_of(async |reactor| {
        let bombs: Vec<_> = (0..6).map(|_| Bomb::new()).collect();
        let mut bombs = bombs.into_iter();
        let mut bomb = || bombs.next().unwrap();
        let held = bomb();
        reactor.call_later(Duration::from_secs(1), move || drop(held));
        let held = bomb();
        drop(reactor.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        }));
        let held = bomb();
        reactor.call_soon(move || drop(held));
        let held = bomb();
        assert!(reactor.remote().call(move || drop(held)).is_ok());
        let held = bomb();
        let port = reactor.listen("127.0.0.1:0", |_| Idle).unwrap();
        let handle = reactor.connect(port.local_addr(), Idle).await.unwrap();
        handle.post(move |_, _| drop(held));
        let held = bomb();
        reactor
            .connect(port.local_addr(), Loaded(held))
            .await
            .unwrap();
        reactor.crash();
    });
    assert_eq!(DROPPED.get() - before, 6, "{reports:?}");
}

struct Loaded(#[allow(dead_code, reason = "it is there to be dropped")] Bomb);

impl Protocol for Loaded {
    fn data_received(&mut self, _: &mut Context<'_, Self>, _: &[u8]) {}
}

#[test]
fn a_call_to_a_reactor_that_has_ended_is_dropped_and_its_destructors_panic_contained() {
    let reactor = Reactor::in_memory().unwrap();
    reactor.run_until(async {}).unwrap();
    let before = DROPPED.get();
    let bomb = Bomb::new();
    reactor.call_soon(move || drop(bomb));
    assert_eq!(DROPPED.get(), before + 1);
}

#[test]
fn a_waker_whose_destructor_panics_does_no_harm_when_a_sleep_replaces_it() {
    struct Wakes;
    impl Drop for Wakes {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
            std::panic::resume_unwind(Box::new("boom"));
        }
    }
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            unreachable!("its sleep does not end");
        }
    }
    let reactor = Reactor::in_memory().unwrap();
    let before = DROPPED.get();
    let mut sleep = pin!(reactor.sleep(Duration::from_secs(1)));
    let first = Waker::from(Arc::new(Wakes));
    assert!(
        sleep
            .as_mut()
            .poll(&mut task::Context::from_waker(&first))
            .is_pending()
    );
    // The sleep has the last reference from here on.
    drop(first);
    assert_eq!(DROPPED.get(), before);
    let second = Waker::noop();
    assert!(
        sleep
            .as_mut()
            .poll(&mut task::Context::from_waker(second))
            .is_pending()
    );
    assert_eq!(DROPPED.get(), before + 1);
}
