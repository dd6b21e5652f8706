//! Ten callbacks, built and fired: torsade's beside a vector of boxed closures. A thousand
//! Deferreds at once: `gather` beside `join_all`.
//!
//! One life of a chain is measured: it is made, ten callbacks are added of which each captures a
//! number, it is fired, and it is dropped. The reference is the least that does the same work: a
//! `Vec` of boxed closures over the same `Result`, built and run. It catches no panics, reports no
//! failures and waits for no Deferreds. Both run in turns, and the best of all rounds counts, so
//! that a busy machine disturbs both alike or neither. Then allocations are counted, and, where
//! Python has Twisted, its Deferred does the same (set `PYTHONPATH` if necessary). Awaiting is left
//! out: the bench `spawn` measures that.
//!
//! Then a thousand Deferreds are made, gathered, fired one after the other and taken; the reference
//! is `join_all` of the crate `futures` over the same Deferreds, polled by one task before and
//! after the firing. The same is done with a thousand futures that yield once, on torsade's
//! reactor, where `gather` makes tasks of them and `join_all` does not.
//!
//! Good numbers, on any machine: 0.8 of the reference's time or less, 12 allocations or fewer, 30
//! times as fast as Twisted; `gather` of Deferreds no slower than `join_all`, and with no more
//! allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::future::join_all;
use torsade::{Deferred, Failure, Resolver, defer, yield_now};

const CALLBACKS: u64 = 10;
const CHAINS_A_ROUND: u64 = 2_000;
const ROUNDS: usize = 1_000;
const MEMBERS: u64 = 1_000;
const ROUNDS_OF_MEMBERS: usize = 500;

/// The workloads by name, each run and each counted.
const WORK: [(&str, Work); 4] = [
    ("ten callbacks", ours),
    ("ten boxed closures", boxed_closures),
    ("ten added to a fired one", ours_fired),
    ("one made, fired and awaited", ours_awaited),
];

/// The same for many Deferreds at once.
const MANY: [(&str, Work); 2] = [
    ("gather of 1,000 Deferreds", gathered),
    ("join_all of 1,000 Deferreds", joined),
];

/// Takes a number, so that the compiler cannot know the outcome.
type Work = fn(u64);

fn ours(seed: u64) {
    let (mut deferred, resolver) = Deferred::pair();
    for n in 0..CALLBACKS {
        let n = black_box(seed + n);
        deferred = deferred.add_callback(move |sum: u64| Ok(sum + n));
    }
    // The chain runs on by itself.
    drop(deferred);
    resolver.callback(1);
}

fn boxed_closures(seed: u64) {
    type Closure = Box<dyn FnOnce(Result<u64, Failure>) -> Result<u64, Failure>>;
    let mut closures: Vec<Closure> = Vec::new();
    for n in 0..CALLBACKS {
        let n = black_box(seed + n);
        closures.push(Box::new(move |sum| Ok(sum? + n)));
    }
    let mut sum = Ok(1);
    for closure in closures {
        sum = closure(sum);
    }
    drop(sum);
}

fn ours_fired(seed: u64) {
    let mut deferred = Deferred::succeed(1);
    for n in 0..CALLBACKS {
        let n = black_box(seed + n);
        deferred = deferred.add_callback(move |sum: u64| Ok(sum + n));
    }
    drop(deferred);
}

fn ours_awaited(seed: u64) {
    let (mut deferred, resolver) = Deferred::pair();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Future::poll(std::pin::Pin::new(&mut deferred), &mut cx).is_pending());
    resolver.callback(seed);
    assert!(Future::poll(std::pin::Pin::new(&mut deferred), &mut cx).is_ready());
}

/// Returns a thousand Deferreds that have not fired.
fn pairs() -> (Vec<Deferred<u64>>, Vec<Resolver<u64>>) {
    (0..MEMBERS).map(|_| Deferred::pair()).unzip()
}

fn gathered(seed: u64) {
    let (members, resolvers) = pairs();
    let mut all = pin!(defer::gather(members));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(all.as_mut().poll(&mut cx).is_pending());
    for resolver in resolvers {
        resolver.callback(seed);
    }
    assert!(black_box(all.poll(&mut cx)).is_ready());
}

fn joined(seed: u64) {
    let (members, resolvers) = pairs();
    let mut all = pin!(join_all(members));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(all.as_mut().poll(&mut cx).is_pending());
    for resolver in resolvers {
        resolver.callback(seed);
    }
    assert!(black_box(all.poll(&mut cx)).is_ready());
}

/// Returns a thousand futures that yield once.
fn yielding() -> impl Iterator<Item = impl Future<Output = Result<u64, Failure>>> {
    (0..MEMBERS).map(|n| async move {
        yield_now().await;
        Ok(n)
    })
}

/// Measures `gather` and `join_all` of those futures, in nanoseconds.
async fn yielded() -> Result<[f64; 2], Failure> {
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS_OF_MEMBERS {
        let start = Instant::now();
        black_box(defer::gather(yielding()).await?);
        best[0] = best[0].min(start.elapsed());
        let start = Instant::now();
        black_box(join_all(yielding()).await);
        best[1] = best[1].min(start.elapsed());
    }
    Ok(best.map(|time| time.as_nanos() as f64))
}

fn main() {
    // For a profiler: runs this many lives of the first workload of this name, and nothing else.
    if let Ok(name) = std::env::var("ONLY") {
        let (_, work) = WORK
            .iter()
            .chain(&MANY)
            .find(|(known, _)| *known == name)
            .expect("a workload's name");
        let times = std::env::var("TIMES").map_or(1_000, |n| n.parse().expect("a number"));
        return (0..times).for_each(work);
    }
    let best = measure(&WORK, ROUNDS, CHAINS_A_ROUND);
    let of_many = measure(&MANY, ROUNDS_OF_MEMBERS, 1);
    println!(
        "gather / join_all {:.2} (goal: 1.00 or less)",
        of_many[0] / of_many[1]
    );
    torsade::run(async |_| {
        let [gather, join] = yielded().await?;
        println!(
            "gather / join_all of 1,000 futures that yield once {:.2} ({gather:.0} and {join:.0} ns)",
            gather / join
        );
        Ok(())
    })
    .expect("nothing can fail in there");
    println!(
        "ours / boxed closures {:.2} (goal: 0.80 or less)",
        best[0] / best[1]
    );
    match twisted() {
        Some(ns) => println!(
            "twisted {ns:.0} ns; it takes {:.0} times as long (goal: 30 or more)",
            ns / best[0]
        ),
        None => println!("twisted is not installed"),
    }
}

/// Runs workloads in turns, with this many lives in each round; prints and returns the time of one
/// life in each one's best round, in nanoseconds.
fn measure<const N: usize>(work: &[(&str, Work); N], rounds: usize, lives: u64) -> [f64; N] {
    let mut best = [f64::MAX; N];
    for _ in 0..rounds {
        for ((_, work), best) in work.iter().zip(&mut best) {
            let start = Instant::now();
            (0..lives).for_each(work);
            *best = best.min(start.elapsed().as_nanos() as f64 / lives as f64);
        }
    }
    for ((name, work), best) in work.iter().zip(&best) {
        let before = ALLOCATIONS.get();
        work(1);
        let allocations = ALLOCATIONS.get() - before;
        println!("{name:30} {best:8.1} ns {allocations:4} allocations");
    }
    best
}

/// Returns Twisted's time for the same, in nanoseconds.
fn twisted() -> Option<f64> {
    let script = "
from time import perf_counter_ns as now
from twisted.internet.defer import Deferred
def chain():
    d = Deferred()
    for n in range(10):
        d.addCallback(lambda total, n=n: total + n)
    d.callback(1)
def round():
    start = now()
    for _ in range(1000):
        chain()
    return (now() - start) / 1000
print(min(round() for _ in range(50)))
";
    // The Python that the tests install, or else the machine's.
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("twisted-venv/bin/python");
    let time = |python: &Path| {
        let output = Command::new(python).args(["-c", script]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    time(&venv).or_else(|| time(Path::new("python3")))
}

/// The system's allocator, with a counter.
struct Counting;

// SAFETY: every call is passed on to the system's allocator, which keeps the contract.
#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, location: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(location, layout) }
    }

    unsafe fn realloc(&self, location: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.realloc(location, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}
