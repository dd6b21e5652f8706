//! Ten callbacks, built and fired: ours beside a vector of boxed closures.
//!
//! Measured is one life of a chain: it is made, ten callbacks are added of which each captures a number, it is
//! fired, and it is dropped. The neighbour is the least that does the same work: a `Vec` of boxed closures over
//! the same `Result`, built and run. It has no panics caught, no failures told, no Deferreds to wait for. Both
//! run in turns, and the best of all rounds counts, so that a busy machine disturbs both alike or neither.
//! Then allocations are counted, and, where Python has Twisted, its Deferred does the same (set `PYTHONPATH` if
//! need be). What is left out: awaiting, which the bench `spawn` is for.
//!
//! A good number, on any machine: 0.8 of the neighbour's time or less, 12 allocations or fewer, 30 times as
//! fast as Twisted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::Instant;

use torsade::{Deferred, Failure};

const CALLBACKS: u64 = 10;
const CHAINS_A_ROUND: u64 = 2_000;
const ROUNDS: usize = 1_000;

/// The workloads by name, each run and each counted.
const WORK: [(&str, Work); 4] = [
    ("ten callbacks", ours),
    ("ten boxed closures", boxed_closures),
    ("ten added to a fired one", ours_fired),
    ("one made, fired and awaited", ours_awaited),
];

/// Takes a number, so that the compiler cannot know the outcome.
type Work = fn(u64);

fn ours(seed: u64) {
    let (mut deferred, resolver) = Deferred::pair();
    for n in 0..CALLBACKS {
        let n = black_box(seed + n);
        deferred = deferred.add_callback(move |sum: u64| Ok(sum + n));
    }
    // It runs on by itself.
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

fn main() {
    // For a profiler: this many lives of the first workload that is named so, and nothing else.
    if let Ok(name) = std::env::var("ONLY") {
        let (_, work) = WORK
            .iter()
            .find(|(known, _)| *known == name)
            .expect("a workload's name");
        let times = std::env::var("TIMES").map_or(1_000, |n| n.parse().expect("a number"));
        return (0..times).for_each(work);
    }
    let mut best = [f64::MAX; WORK.len()];
    for _ in 0..ROUNDS {
        for ((_, work), best) in WORK.iter().zip(&mut best) {
            let start = Instant::now();
            (0..CHAINS_A_ROUND).for_each(work);
            *best = best.min(start.elapsed().as_nanos() as f64 / CHAINS_A_ROUND as f64);
        }
    }
    for ((name, work), best) in WORK.iter().zip(&best) {
        let before = ALLOCATIONS.get();
        work(1);
        let allocations = ALLOCATIONS.get() - before;
        println!("{name:30} {best:8.1} ns {allocations:4} allocations");
    }
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

/// What Twisted takes for the same, in nanoseconds.
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
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: everything is passed on to the system's allocator, which keeps the promises.
#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}
