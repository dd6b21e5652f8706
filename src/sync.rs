//! The synchronization primitives of the crate, in one place, so that a model checker can replace
//! them.
//!
//! # The idea
//!
//! Threads share state in few places: the inbox of a loop, the wakers of its tasks and of the
//! future it runs, the wake channel, the watchdog, and the queue of a thread pool. All of these
//! take their atomics, locks and queues from this module. In a normal build these are re-exports of
//! the ordinary ones. Under `--cfg torsade_loom` they are those of [`loom`](https://docs.rs/loom),
//! which runs a *model*, a test with a few threads, once for each interleaving of their steps, and
//! finds every interleaving that panics, leaks, or deadlocks:
//!
//! ```text
//! cargo test --manifest-path tests/loom/Cargo.toml --target-dir target/loom model::
//! ```
//!
//! The package in `tests/loom` is this crate with that cfg, and depends on loom. The cfg has an
//! unusual name, because several dependencies react to the usual one. Only the models, which are in
//! the files `model.rs`, run under it.
//!
//! # What is real in a model
//!
//! Real are `Inbox`, `Executor`, `Remote`, the reactor's turn and the waker of the future it runs,
//! `Waking`, the waits of both drivers (the machine's through its poller), `block_on`, the
//! watchdog's thread, and a pool with its threads. Stand-ins (see `stand_in`) are the queue, a lock
//! around a list with the same results; the poller's notification, step by step as in `polling`,
//! with a condition variable where the kernel waits; and the parker of `block_on` and of idle
//! threads, whose timeout is over at once or never. The state of a task, which belongs to
//! `async-task`, changes in one step, because its atomics are not loom's; what lies between such
//! steps, as from a wake to the push that it causes, is explored. The kernel's counter behind a
//! `WakeFd` has no steps that could interleave.
//!
//! Loom treats `SeqCst` as acquire and release, and the queue's lock orders more than the real
//! queue does: the models do not show which orderings suffice there. The larger models bound how
//! often a thread is interrupted, and say so; `LOOM_MAX_PREEMPTIONS` changes the bound for all.

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

/// The body of a thread of the crate. One type for all, so that starting a thread is compiled once.
pub(crate) type ThreadBody = Box<dyn FnOnce() + Send>;

#[cfg(not(torsade_loom))]
pub(crate) use ordinary::*;
#[cfg(torsade_loom)]
pub(crate) use stand_in::*;
