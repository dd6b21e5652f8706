//! Timers while a million others are alive: asking and calling off, and putting off. Beside each, tokio.
//!
//! Run `cargo bench --bench timers`.
//!
//! **Measured**: nanoseconds for each operation, the best of [`ROUNDS`] rounds in which the two take turns.
//!
//! * *insert+cancel*: a new timer is called off before anything else happens, as when an answer comes at once.
//! * *insert, turn, cancel*: [`BATCH`] timers are asked for, a turn goes by, and they are called off: each has
//!   been in the heap (in the wheel, at tokio).
//! * *reset*: one of the million is put off: what an idle timeout does with each message. Once each in the order in
//!   which they were made, which shows the work, and once at random, which shows the memory.
//!
//! Ours are measured as `call_later` with a boxed closure and as `sleep` in a pinned box; tokio's are `sleep`s in
//! pinned boxes, polled once. tokio's driver has parked once before, so that it need not be woken for each timer.
//!
//! **Left out**: firing, and the loop around it: the clock is a `VirtualClock`, so reading the machine's clock is
//! no part of ours. tokio reads it in each `sleep`, some 20 ns; the reactor does so once a turn.
//!
//! **Good**: the ratios in the column `goal` or less, on any machine. What is chosen at random costs two accesses to
//! memory that no cache has (the handle, then the entry), some 50 ns where this was tried (two virtual processors of
//! an EPYC); below that nobody comes. A million of ours fill 76 MB, the closure's box and the handle not counted.

use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use torsade::{Clock, DelayedCall, VirtualClock};

/// Timers that are there all the while.
const LIVE: usize = 1_000_000;
/// Operations in a round.
const OPERATIONS: usize = 1_000_000;
/// Operations between two turns, where there are turns.
const BATCH: usize = 1_000;
/// Rounds, of which the best counts.
const ROUNDS: u32 = 7;
/// No deadline is nearer than this,
const NEAREST: Duration = Duration::from_secs(600);
/// nor farther than this and the nearest.
const SPREAD: Duration = Duration::from_secs(3600);

const GOAL_INSERT: f64 = 0.45;
const GOAL_RESET: f64 = 0.3;

type Boxed<S> = Pin<Box<S>>;

fn main() {
    let delays = delays();
    let chosen = chosen();
    let clock = VirtualClock::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be had");
    let _guard = runtime.enter();

    let calls: Vec<DelayedCall> = delays.iter().map(|d| call(&clock, *d)).collect();
    let mut theirs: Vec<Boxed<tokio::time::Sleep>> =
        delays.iter().map(|d| their_sleep(*d)).collect();
    clock.advance(Duration::ZERO);
    runtime.block_on(tokio::time::sleep(Duration::from_millis(1)));

    let mut rows = Rows::default();
    for round in 0..ROUNDS {
        let inserts = || delays.iter().take(OPERATIONS);

        rows.note("insert+cancel: call_later", GOAL_INSERT, Side::Ours, || {
            for delay in inserts() {
                black_box(call(&clock, *delay)).cancel();
            }
        });
        rows.note("insert+cancel: sleep", GOAL_INSERT, Side::Ours, || {
            for delay in inserts() {
                drop(black_box(our_sleep(&clock, *delay)));
            }
        });
        rows.note("insert+cancel", GOAL_INSERT, Side::Theirs, || {
            for delay in inserts() {
                drop(black_box(their_sleep(*delay)));
            }
        });

        rows.note(
            "insert, turn, cancel: call_later",
            GOAL_INSERT,
            Side::Ours,
            || {
                let mut batch = Vec::with_capacity(BATCH);
                for some in delays.chunks(BATCH).take(OPERATIONS / BATCH) {
                    batch.extend(some.iter().map(|d| call(&clock, *d)));
                    clock.advance(Duration::ZERO);
                    batch.drain(..).for_each(|call| _ = call.cancel());
                }
            },
        );
        rows.note(
            "insert, turn, cancel: sleep",
            GOAL_INSERT,
            Side::Ours,
            || {
                let mut batch = Vec::with_capacity(BATCH);
                for some in delays.chunks(BATCH).take(OPERATIONS / BATCH) {
                    batch.extend(some.iter().map(|d| our_sleep(&clock, *d)));
                    clock.advance(Duration::ZERO);
                    batch.clear();
                }
            },
        );
        rows.note("insert, turn, cancel", GOAL_INSERT, Side::Theirs, || {
            let mut batch = Vec::with_capacity(BATCH);
            for some in delays.chunks(BATCH).take(OPERATIONS / BATCH) {
                batch.extend(some.iter().map(|d| their_sleep(*d)));
                runtime.block_on(tokio::task::yield_now());
                batch.clear();
            }
        });

        // Each round later than the one before.
        let later = NEAREST + SPREAD * 2 * (round + 1);
        rows.note(
            "reset, at random: call_later",
            GOAL_RESET,
            Side::Ours,
            || {
                for (&i, delay) in chosen.iter().zip(inserts()) {
                    calls[i].reset(later + *delay);
                }
            },
        );
        rows.note(
            "reset, in order: call_later",
            GOAL_RESET,
            Side::Ours,
            || {
                for (call, delay) in calls.iter().zip(inserts()) {
                    call.reset(later + SPREAD / 2 + *delay);
                }
            },
        );
        let start = tokio::time::Instant::now();
        rows.note("reset, at random", GOAL_RESET, Side::Theirs, || {
            for (&i, delay) in chosen.iter().zip(inserts()) {
                theirs[i].as_mut().reset(start + later + *delay);
            }
        });
        rows.note("reset, in order", GOAL_RESET, Side::Theirs, || {
            for (sleep, delay) in theirs.iter_mut().zip(inserts()) {
                sleep.as_mut().reset(start + later + SPREAD / 2 + *delay);
            }
        });
    }
    rows.print();
}

fn call(clock: &VirtualClock, delay: Duration) -> DelayedCall {
    let kept = delay.subsec_nanos();
    clock.call_later(delay, move || _ = black_box(kept))
}

fn our_sleep(clock: &VirtualClock, delay: Duration) -> Boxed<torsade::clock::Sleep> {
    polled(Box::pin(clock.sleep(delay)))
}

fn their_sleep(delay: Duration) -> Boxed<tokio::time::Sleep> {
    polled(Box::pin(tokio::time::sleep(delay)))
}

fn polled<F: Future>(mut future: Boxed<F>) -> Boxed<F> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    future
}

/// When the timers are due: spread evenly, in no order.
fn delays() -> Vec<Duration> {
    let mut random = random(1);
    let spread = SPREAD.as_nanos() as u64;
    (0..LIVE.max(OPERATIONS))
        .map(|_| NEAREST + Duration::from_nanos(random() % spread))
        .collect()
}

/// Which ones to put off.
fn chosen() -> Vec<usize> {
    let mut random = random(2);
    (0..OPERATIONS)
        .map(|_| (random() % LIVE as u64) as usize)
        .collect()
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Ours,
    Theirs,
}

/// The best time of each row, in the order in which they first came.
#[derive(Default)]
struct Rows(Vec<Row>);

struct Row {
    name: &'static str,
    goal: f64,
    side: Side,
    nanos: f64,
}

impl Rows {
    fn note(&mut self, name: &'static str, goal: f64, side: Side, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        let nanos = start.elapsed().as_nanos() as f64 / OPERATIONS as f64;
        match self.0.iter_mut().find(|row| row.name == name) {
            Some(row) => row.nanos = row.nanos.min(nanos),
            None => self.0.push(Row {
                name,
                goal,
                side,
                nanos,
            }),
        }
    }

    /// Each of ours beside the one of theirs whose name it begins with.
    fn print(&self) {
        println!(
            "{:<34} {:>7} {:>7} {:>6} {:>6}",
            "at 1,000,000 live", "ours", "tokio", "ratio", "goal"
        );
        for ours in self.0.iter().filter(|row| row.side == Side::Ours) {
            let work = ours.name.split(": ").next();
            let theirs = self
                .0
                .iter()
                .find(|row| row.side == Side::Theirs && Some(row.name) == work);
            let theirs = theirs.expect("each of ours has a neighbour").nanos;
            let ratio = ours.nanos / theirs;
            println!(
                "{:<34} {:>4.0} ns {:>4.0} ns {ratio:>6.2} {:>6.2}",
                ours.name, ours.nanos, theirs, ours.goal
            );
        }
    }
}
