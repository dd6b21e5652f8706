//! The one door to what threads share, so that a model checker can stand behind it.
//!
//! # The idea
//!
//! Threads meet in few places: a loop's inbox, the wakers of its tasks and of what it is run for, what ends its wait,
//! what its watchdog looks at, and the queue of a pool of threads. All of these take their atomics, locks and queues from
//! here. In a normal build these are the ordinary ones, by another name and nothing more. Under `--cfg torsade_loom` they
//! are those of [`loom`](https://docs.rs/loom), which runs a *model*, a test with a few threads, once for each way in
//! which their steps can mix, and finds each one that panics, leaks, or stands still for ever:
//!
//! ```text
//! RUSTFLAGS="--cfg torsade_loom" cargo test --release --lib --target-dir target/loom model::
//! ```
//!
//! The cfg is our own, because several of our dependencies act on the usual one. Only the models (`model.rs` in their
//! rooms) run under it.
//!
//! # What is real in a model
//!
//! `Inbox`, `Executor`, `Remote`, the reactor's turn and the waker of what it is run for, `Waking`, both drivers' waits
//! (the machine's through its poller), `block_on`, the watchdog's thread, a pool with its threads. Stand-ins are, see
//! `stand_in`: the queue, a lock around a list with the same answers; the poller's notification, step by step as
//! `polling` does it, with a condition variable where the kernel waits; the parker of `block_on` and of idle threads,
//! whose time is over at once or never. A task's own state, `async-task`'s, changes in one step, since its atomics are
//! not loom's: what lies between such steps, as from a wake to the push that it brings, is explored. The kernel's
//! counter that a `WakeFd` rings has no steps that could mix.
//!
//! Loom takes `SeqCst` for acquire and release, and the queue's lock orders more than the real queue does: which orderings
//! suffice for these is not shown. The larger models bound how often a thread is interrupted, and say so;
//! `LOOM_MAX_PREEMPTIONS` changes it for all.

#[cfg(torsade_loom)]
mod stand_in;

#[cfg(not(torsade_loom))]
mod ordinary {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(crate) use std::sync::{
        Arc as Shared, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    };
    pub(crate) use std::{thread, thread_local};

    pub(crate) use concurrent_queue::ConcurrentQueue;
    pub(crate) use parking::{Unparker, pair};
    pub(crate) use polling::Poller;
}

/// What a thread of the crate runs. It is of one type for all of them, so that starting one is compiled once.
pub(crate) type ThreadBody = Box<dyn FnOnce() + Send>;

#[cfg(not(torsade_loom))]
pub(crate) use ordinary::*;
#[cfg(torsade_loom)]
pub(crate) use stand_in::*;
