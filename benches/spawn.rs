//! Starting tasks, yielding, and waking each other: ours beside tokio's current-thread runtime.
//!
//! Run `cargo bench --bench spawn`. Each workload runs in turn on either runtime, several rounds, and the best round
//! of each counts; what matters is the ratio, for the two share the machine and its moods. Left out: the start and
//! the end of the runtimes.
//!
//! | workload  | what it does                                                     | goal      |
//! |-----------|------------------------------------------------------------------|-----------|
//! | spawn     | spawn a task that is ready, await it, again and again            | ≤ 0.4 ×   |
//! | join 1000 | spawn a thousand, then await them all                            | ≤ 0.4 ×   |
//! | yield     | one task yields again and again                                  | ≤ 0.2 ×   |
//! | ping-pong | two tasks pass a token to and fro through channels of `futures`  | ≤ 0.9 ×   |

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures::SinkExt as _;
use futures::StreamExt as _;
use futures::channel::mpsc;
use torsade::Reactor;

const ROUNDS: usize = 9;
const SPAWNS: usize = 100_000;
const BATCH: usize = 1000;
const BATCHES: usize = 100;
const YIELDS: usize = 500_000;
const PASSES: usize = 100_000;

fn main() {
    println!(
        "{:<10} {:>9} {:>9} {:>7} {:>7}",
        "", "ours ns", "tokio ns", "ratio", "goal"
    );
    compare(
        "spawn",
        0.4,
        SPAWNS,
        || ours(spawn_ours()),
        || tokios(spawn_tokio()),
    );
    compare(
        "join 1000",
        0.4,
        BATCH * BATCHES,
        || ours(join_ours()),
        || tokios(join_tokio()),
    );
    compare(
        "yield",
        0.2,
        YIELDS,
        || ours(yield_ours()),
        || tokios(yield_tokio()),
    );
    compare(
        "ping-pong",
        0.9,
        PASSES,
        || ours(ping_pong_ours()),
        || tokios(ping_pong_tokio()),
    );
}

/// Runs both in turn and prints the best of each, for one operation.
fn compare(
    name: &str,
    goal: f64,
    operations: usize,
    ours: impl Fn() -> Duration,
    theirs: impl Fn() -> Duration,
) {
    let (mut best_ours, mut best_theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_ours = best_ours.min(ours());
        best_theirs = best_theirs.min(theirs());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / operations as f64;
    let (ours, theirs) = (each(best_ours), each(best_theirs));
    println!(
        "{name:<10} {ours:>9.1} {theirs:>9.1} {:>7.2} {goal:>7.2}",
        ours / theirs
    );
}

fn ours(work: impl Future<Output = Duration>) -> Duration {
    let reactor = Reactor::new().expect("a poller");
    reactor.run_until(work).expect("it runs to its end")
}

fn tokios(work: impl Future<Output = Duration> + 'static) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

async fn spawn_ours() -> Duration {
    let start = Instant::now();
    for n in 0..SPAWNS {
        black_box(torsade::spawn(async move { n }).await.expect("no panic"));
    }
    start.elapsed()
}

async fn spawn_tokio() -> Duration {
    let start = Instant::now();
    for n in 0..SPAWNS {
        black_box(tokio::spawn(async move { n }).await.expect("no panic"));
    }
    start.elapsed()
}

async fn join_ours() -> Duration {
    let start = Instant::now();
    for _ in 0..BATCHES {
        let tasks: Vec<_> = (0..BATCH)
            .map(|n| torsade::spawn(async move { n }))
            .collect();
        for task in tasks {
            black_box(task.await.expect("no panic"));
        }
    }
    start.elapsed()
}

async fn join_tokio() -> Duration {
    let start = Instant::now();
    for _ in 0..BATCHES {
        let tasks: Vec<_> = (0..BATCH).map(|n| tokio::spawn(async move { n })).collect();
        for task in tasks {
            black_box(task.await.expect("no panic"));
        }
    }
    start.elapsed()
}

async fn yield_ours() -> Duration {
    let task = torsade::spawn(async {
        let start = Instant::now();
        for _ in 0..YIELDS {
            torsade::yield_now().await;
        }
        start.elapsed()
    });
    task.await.expect("no panic")
}

async fn yield_tokio() -> Duration {
    let task = tokio::spawn(async {
        let start = Instant::now();
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        start.elapsed()
    });
    task.await.expect("no panic")
}

async fn pass(mut out: mpsc::Sender<usize>, mut back: mpsc::Receiver<usize>) -> Duration {
    let start = Instant::now();
    for n in 0..PASSES / 2 {
        out.send(n).await.expect("the other side is there");
        black_box(back.next().await);
    }
    start.elapsed()
}

async fn pass_back(mut input: mpsc::Receiver<usize>, mut out: mpsc::Sender<usize>) {
    while let Some(n) = input.next().await {
        if out.send(n).await.is_err() {
            return;
        }
    }
}

async fn ping_pong_ours() -> Duration {
    let ((there, input), (out, back)) = (mpsc::channel(1), mpsc::channel(1));
    torsade::spawn(pass_back(input, out)).detach();
    torsade::spawn(pass(there, back)).await.expect("no panic")
}

async fn ping_pong_tokio() -> Duration {
    let ((there, input), (out, back)) = (mpsc::channel(1), mpsc::channel(1));
    tokio::spawn(pass_back(input, out));
    tokio::spawn(pass(there, back)).await.expect("no panic")
}
