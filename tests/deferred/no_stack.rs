//! Tens of thousands of everything, on a thread with a stack of 512 KiB, which is a few bytes for
//! each: built, fired, cancelled, dropped and shown. `TORSADE_DEEP` sets another number, for a
//! longer run.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use torsade::defer::{self, DeferredError};
use torsade::locks::DeferredSemaphore;
use torsade::scope::{scope, shield};
use torsade::services::{MultiService, Service};
use torsade::{Cancelled, Deferred, Failure, Reactor, Resolver, testing};

/// The number of cheap things.
fn many() -> u32 {
    number().unwrap_or(30_000)
}

/// The depth to which everything is nested that can be: as many stack frames would be too many as
/// well.
fn deep() -> usize {
    number().map_or(3_000, |depth| depth as usize)
}

fn number() -> Option<u32> {
    let text = std::env::var("TORSADE_DEEP").ok()?;
    Some(text.parse().unwrap())
}

const STACK: usize = 512 * 1024;

/// Runs `test` on the small stack.
fn on_small_stack(test: fn()) {
    on_stack(STACK, test);
}

fn on_stack(size: usize, test: fn()) {
    let thread = thread::Builder::new().stack_size(size);
    thread.spawn(test).unwrap().join().unwrap();
}

/// Returns a Deferred with very many callbacks, which count.
fn long_chain() -> (Deferred<u32>, Resolver<u32>) {
    let (mut deferred, resolver) = Deferred::pair();
    for _ in 0..many() {
        deferred = deferred.map(|n| n + 1);
    }
    (deferred, resolver)
}

/// Where the last of a chain stores its result.
type End = Rc<RefCell<Option<Result<u32, Failure>>>>;

/// Makes very many Deferreds, each with a callback that returns the one before; the first has
/// nothing to wait for. Their resolvers are in the same order.
fn long_line() -> (Deferred<u32>, Vec<Resolver<u32>>) {
    let (mut deferred, resolver) = Deferred::pair();
    let mut resolvers = vec![resolver];
    for _ in 1..many() {
        let inner = deferred;
        let (outer, resolver) = Deferred::pair();
        deferred = outer.add_callback(move |_: u32| inner).map(|n| n + 1);
        resolvers.push(resolver);
    }
    (deferred, resolvers)
}

fn note(deferred: Deferred<u32>) -> (Deferred<()>, End) {
    let end = End::default();
    let location = end.clone();
    let deferred = deferred.add_both(move |result| {
        *location.borrow_mut() = Some(result);
    });
    (deferred, end)
}

#[track_caller]
fn value(end: &End) -> u32 {
    end.take().expect("it has come to its end").unwrap()
}

#[test]
fn callbacks_fired() {
    on_small_stack(|| {
        let (deferred, resolver) = long_chain();
        let (deferred, end) = note(deferred);
        resolver.callback(0);
        assert_eq!(value(&end), many());
        drop(deferred);
    });
}

#[test]
fn callbacks_dropped_unfired() {
    on_small_stack(|| {
        let (deferred, resolver) = long_chain();
        drop(note(deferred).0);
        drop(resolver);
        let (deferred, resolver) = long_chain();
        let (deferred, end) = note(deferred);
        drop(resolver);
        drop(deferred);
        assert!(is_error!(
            end.take().unwrap().unwrap_err(),
            DeferredError::Abandoned
        ));
    });
}

#[test]
fn callbacks_cancelled_and_paused() {
    on_small_stack(|| {
        let (mut deferred, resolver) = long_chain();
        let pause = deferred.pause();
        resolver.callback(0);
        let (deferred, end) = note(deferred);
        pause.unpause();
        assert_eq!(value(&end), many());
        drop(deferred);
        let (deferred, _resolver) = long_chain();
        deferred.cancel();
        let (_deferred, end) = note(deferred);
        assert!(end.take().unwrap().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn callbacks_leaked() {
    on_small_stack(|| {
        // A Deferred that is never fired is never dropped, and does no harm.
        let (deferred, resolver) = long_chain();
        std::mem::forget(resolver);
        drop(deferred);
        let (deferred, resolver) = long_chain();
        std::mem::forget((deferred, resolver));
    });
}

#[test]
fn a_line_fired_from_the_innermost() {
    on_small_stack(|| {
        let (deferred, resolvers) = long_line();
        let (deferred, end) = note(deferred);
        for resolver in resolvers {
            resolver.callback(0);
        }
        assert_eq!(value(&end), many() - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_fired_from_the_outermost() {
    on_small_stack(|| {
        let (deferred, resolvers) = long_line();
        let (deferred, end) = note(deferred);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        assert_eq!(value(&end), many() - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_fired_from_the_middle() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let outer = resolvers.split_off(resolvers.len() / 2);
        for resolver in outer.into_iter().chain(resolvers) {
            resolver.callback(0);
        }
        assert_eq!(value(&end), many() - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_cancelled() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        assert!(!innermost.is_cancelled());
        deferred.cancel();
        assert!(innermost.is_cancelled());
        assert!(end.take().unwrap().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_line_dropped_deferred_first() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        drop(deferred);
        drop(innermost);
        assert!(is_error!(
            end.take().unwrap().unwrap_err(),
            DeferredError::Abandoned
        ));
    });
}

#[test]
fn a_line_dropped_resolver_first() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        drop(innermost);
        let (deferred, end) = note(deferred);
        drop(deferred);
        assert!(is_error!(
            end.take().unwrap().unwrap_err(),
            DeferredError::Abandoned
        ));
    });
}

#[test]
fn a_line_dropped_unfired() {
    on_small_stack(|| {
        let reports = Rc::new(Cell::new(0));
        let count = reports.clone();
        let reactor = Reactor::in_memory().unwrap();
        reactor.on_report(move |_| count.set(count.get() + 1));
        let done = reactor.run_until(async {
            // Each owns the one before in a callback that never runs.
            for deferred_first in [false, true] {
                let (deferred, resolvers) = long_line();
                let (deferred, end) = note(deferred.add_errback(|_| Ok(0)));
                if deferred_first {
                    drop(deferred);
                    drop(resolvers);
                } else {
                    drop(resolvers.into_iter().rev().collect::<Vec<_>>());
                    drop(deferred);
                }
                assert_eq!(value(&end), 0);
            }
        });
        done.unwrap();
        // All but the outermost were abandoned without a consumer. Where the resolvers of the outer
        // ones are dropped first, the innermost Deferred was dropped before its resolver.
        assert_eq!(reports.get(), 2 * (many() - 1) - 1);
    });
}

#[test]
fn resolvers_abandoned_inside_each_other() {
    on_small_stack(|| {
        let last = Rc::new(Cell::new(0));
        let log = last.clone();
        let (deferred, mut resolver) = Deferred::<()>::pair();
        drop(deferred.add_both(move |result| {
            assert!(is_error!(result.unwrap_err(), DeferredError::Abandoned));
            log.set(many());
        }));
        for _ in 1..many() {
            let next = resolver;
            let (deferred, own) = Deferred::<()>::pair();
            drop(deferred.add_both(move |_| drop(next)));
            resolver = own;
        }
        drop(resolver);
        assert_eq!(last.get(), many());
    });
}

#[test]
fn callbacks_each_added_by_the_previous_one() {
    fn add(slot: Rc<RefCell<Option<Deferred<u32>>>>) {
        let deferred = slot.take().unwrap();
        let own = slot.clone();
        *slot.borrow_mut() = Some(deferred.map(move |n| {
            if n + 1 < many() {
                add(own);
            }
            n + 1
        }));
    }
    on_small_stack(|| {
        let (deferred, resolver) = Deferred::pair();
        let slot = Rc::new(RefCell::new(Some(deferred)));
        add(slot.clone());
        resolver.callback(0);
        let (_deferred, end) = note(slot.take().unwrap());
        assert_eq!(value(&end), many());
    });
}

/// An error of a program, which holds the failure that caused it.
#[derive(Debug)]
struct Wrapped(Failure);

impl Unpin for Wrapped {}

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.error())
    }
}

#[test]
fn errors_that_hold_failures() {
    on_small_stack(|| {
        let mut failure = Failure::new("at the bottom");
        for _ in 0..many() {
            failure = Failure::new(Wrapped(failure));
        }
        assert_eq!(failure.chain().count(), many() as usize + 1);
        drop(failure);
    });
}

/// Counts its starts and stops.
struct Part(Rc<Cell<[u32; 2]>>);

impl Service for Part {
    fn start(&self) -> Result<(), Failure> {
        let [started, stopped] = self.0.get();
        self.0.set([started + 1, stopped]);
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        let [started, stopped] = self.0.get();
        self.0.set([started, stopped + 1]);
        Deferred::succeed(())
    }

    fn is_running(&self) -> bool {
        let [started, stopped] = self.0.get();
        started > stopped
    }
}

#[test]
fn services_made_of_services() {
    on_small_stack(|| {
        let counts = Rc::new(Cell::new([0, 0]));
        let mut all = MultiService::new();
        all.add(Part(counts.clone())).unwrap();
        for _ in 0..many() {
            let outer = MultiService::new();
            outer.add(Rc::new(all)).unwrap();
            all = outer;
        }
        all.start().unwrap();
        assert_eq!(counts.get(), [1, 0]);
        testing::success_of(all.stop());
        assert_eq!(counts.get(), [1, 1]);
        assert!(!all.is_running());

        all.start().unwrap();
        drop(all);
        assert_eq!(Rc::strong_count(&counts), 1);
    });
}

#[test]
fn a_service_deep_inside_that_cannot_start() {
    struct Broken;

    impl Service for Broken {
        fn start(&self) -> Result<(), Failure> {
            Err(Failure::new("no"))
        }

        fn stop(&self) -> Deferred<()> {
            unreachable!("it never ran")
        }

        fn is_running(&self) -> bool {
            false
        }
    }

    on_small_stack(|| {
        let counts = Rc::new(Cell::new([0, 0]));
        let mut all = MultiService::new();
        all.add(Broken).unwrap();
        for _ in 0..many() {
            let outer = MultiService::new();
            outer.add(Part(counts.clone())).unwrap();
            outer.add(all).unwrap();
            all = outer;
        }
        assert_eq!(all.start().unwrap_err().to_string(), "no");
        assert_eq!(counts.get(), [many(), many()]);
        assert!(!all.is_running());
    });
}

/// Puts a Deferred into another one.
type Wrap = fn(Deferred<u32>, &Reactor) -> Deferred<u32>;

/// Everything that can be nested, and whether a cancel passes through it.
const NESTINGS: [(&str, bool, Wrap); 15] = [
    ("returned by a callback", true, |inner, _| {
        let (outer, resolver) = Deferred::pair();
        let outer = outer.add_callback(move |()| inner);
        resolver.callback(());
        outer
    }),
    ("shared", true, |inner, _| inner.shared().wait()),
    ("shared, and kept by a callback", true, |inner, _| {
        let shared = inner.shared();
        shared.wait().add_both(move |result| {
            drop(shared);
            result
        })
    }),
    ("chained", false, |inner, _| {
        let (outer, resolver) = Deferred::pair();
        inner.chain_deferred(resolver);
        outer
    }),
    ("gathered", true, |inner, _| {
        defer::gather([inner]).map(|all| all[0])
    }),
    ("listed", true, |inner, _| {
        defer::list([inner]).add_callback(|all| all.into_iter().next().unwrap())
    }),
    ("raced", true, |inner, _| {
        defer::race([inner]).map(|(_, value)| value)
    }),
    ("the first", true, |inner, _| {
        defer::first([inner]).add_callback(|(_, result)| result)
    }),
    ("gathered by one that is gathered", true, |inner, _| {
        defer::gather([defer::gather([inner])]).map(|all| all[0][0])
    }),
    ("with context", true, |inner, _| {
        inner.add_errback(|failure| Err(failure.context("deeper")))
    }),
    ("with a time limit", true, |inner, reactor| {
        inner.timeout(Duration::from_secs(1), &reactor)
    }),
    ("shielded", false, |inner, _| shield(inner)),
    ("run with a permit", true, |inner, _| {
        DeferredSemaphore::new(1).unwrap().run(move || inner)
    }),
    ("awaited by a coroutine", true, |inner, _| {
        Deferred::from_future(async {
            let value = inner.await?;
            Ok(value)
        })
    }),
    ("awaited by a child of a scope", true, |inner, _| {
        Deferred::from_future(scope(async |s| s.spawn(inner).await))
    }),
];

/// The operations on them.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Fire,
    Fail,
    Cancel,
    CancelAfter(usize),
    DropUnpolled,
    DropPolled,
    LoseResolver,
    Show,
}

use Operation::{Cancel, CancelAfter, DropPolled, DropUnpolled, Fail, Fire, LoseResolver, Show};

async fn do_it(
    operation: Operation,
    mut outer: Deferred<u32>,
    innermost: Resolver<u32>,
    passes_cancel: bool,
    reactor: &Reactor,
) {
    match operation {
        Fire => {
            innermost.callback(1);
            assert_eq!(outer.await.unwrap(), 1);
        }
        Fail => {
            innermost.errback(Failure::new("at the bottom"));
            let failure = outer.await.unwrap_err();
            assert!(Length::of(&failure) > 0);
        }
        Cancel => {
            all_have_begun().await;
            outer.cancel();
            let failure = outer.await.unwrap_err();
            assert!(failure.find::<Cancelled>().is_some(), "{failure:#}");
        }
        CancelAfter(turns) => {
            for _ in 0..turns {
                torsade::yield_now().await;
            }
            outer.cancel();
            assert!(outer.await.is_err());
            if !innermost.is_cancelled() {
                innermost.callback(1);
            }
        }
        DropUnpolled => {
            all_have_begun().await;
            drop(outer.map(|n| n + 1));
            assert!(!innermost.is_cancelled());
            innermost.callback(1);
        }
        DropPolled => {
            assert!(poll_once(&mut outer).await);
            all_have_begun().await;
            drop(outer);
            while passes_cancel && !innermost.is_cancelled() {
                torsade::yield_now().await;
            }
        }
        LoseResolver => {
            drop(innermost);
            let failure = outer.await.unwrap_err();
            assert!(Length::of(&failure) > 0);
        }
        Show => {
            assert!(format!("{outer:?}").starts_with("Deferred("));
            assert!(!reactor.dump().to_string().is_empty());
            innermost.callback(1);
            drop(outer);
        }
    }
}

/// Gives all coroutines their first poll, which takes more than one turn.
async fn all_have_begun() {
    for _ in 0..deep().div_ceil(30) {
        torsade::yield_now().await;
    }
}

/// Returns whether the result is still to come.
async fn poll_once(deferred: &mut Deferred<u32>) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *deferred).poll(cx).is_pending())).await
}

/// Counts the length of a text.
struct Length(usize);

impl Length {
    fn of(failure: &Failure) -> usize {
        let mut length = Self(0);
        fmt::write(
            &mut length,
            format_args!("{failure} {failure:#} {failure:?}"),
        )
        .unwrap();
        length.0
    }
}

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[test]
fn nested_structures_use_a_constant_amount_of_stack() {
    on_stack(STACK / 2, || {
        for (name, passes_cancel, wrap) in NESTINGS {
            for operation in [
                Fire,
                Fail,
                Cancel,
                DropUnpolled,
                DropPolled,
                LoseResolver,
                Show,
            ] {
                let reports = play(vec![wrap; deep()], operation, passes_cancel);
                if deep() >= 100_000 {
                    println!("{name}, {operation:?}: done");
                }
                // Where the cancel of a Deferred does not reach the source, the source is abandoned
                // at the end.
                let is_expected = reports.is_empty() || !passes_cancel;
                assert!(is_expected, "{name}, {operation:?}: {reports:?}");
            }
        }
    });
}

#[test]
fn whatever_mixture_is_cancelled_nothing_is_reported_when_its_end_is_handled() {
    let mut rng = 1_u64;
    let mut next = |below: usize| {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (rng >> 33) as usize % below
    };
    for _ in 0..2_000 {
        let mut names = Vec::new();
        let mut ways = Vec::new();
        for _ in 0..8 + next(8) {
            let (name, _, wrap) = NESTINGS[next(NESTINGS.len())];
            names.push(name);
            ways.push(wrap);
        }
        let turns = next(3);
        let reports = play(ways, CancelAfter(turns), false);
        assert_eq!(reports, [""; 0], "{names:?}, cancelled after {turns} turns");
    }
}

/// Nests them in these ways, and runs the operation. Returns what was reported.
fn play(
    ways: impl IntoIterator<Item = Wrap>,
    operation: Operation,
    passes_cancel: bool,
) -> Vec<String> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    let is_debug = matches!(operation, Show);
    let reactor = Reactor::builder()
        .in_memory()
        .debug(is_debug)
        .build()
        .unwrap();
    reactor.on_report(move |report| log.borrow_mut().push(report.to_string()));
    let done = reactor.run_until(async {
        let (mut deferred, resolver) = Deferred::pair();
        for wrap in ways {
            deferred = wrap(deferred, &reactor);
        }
        do_it(operation, deferred, resolver, passes_cancel, &reactor).await;
    });
    done.unwrap();
    drop(reactor);
    reports.take()
}
