//! The word of a task that all threads share: [`State`].
//!
//! A task is polled and ended on its home thread, the one its loop runs on. Other threads have
//! nothing but wakers, and these use this word alone: it says whether a wake must queue the task,
//! and counts who still needs the task's memory.
//!
//! ```text
//!              wake              begin             finish
//!   (idle) ───────────▶ SCHEDULED ─────▶ RUNNING ───────────▶ DONE
//!      ▲                    ▲               │
//!      └────── pause ───────┴───────────────┘
//!         not woken meanwhile / woken meanwhile: queued by `pause`'s caller
//! ```
//!
//! # Invariants
//!
//! 1. A task that is `SCHEDULED` and neither `RUNNING` nor `DONE` is in one queue, once, or on its
//!    way there in the hands of whoever woke it. No other task is in a queue.
//! 2. Only the home thread sets `RUNNING` and `DONE`.
//! 3. Whatever a thread did before it woke the task is seen by the next poll: both are
//!    read-modify-writes of this word, which release and acquire.

use crate::sync::{AtomicU32, Ordering};

/// The state and the reference count of a task.
pub(super) struct State(AtomicU32);

impl State {
    /// Returns the state of a new task: scheduled, with a reference for the list of all tasks and
    /// one for the handle.
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(SCHEDULED + 2 * REFERENCE))
    }

    /// Notes a wake. Returns whether the caller must queue the task.
    #[inline]
    pub(super) fn wake(&self) -> bool {
        // A read-modify-write even if nothing changes: invariant 3.
        let before = self.0.fetch_or(SCHEDULED, Ordering::AcqRel);
        before & (SCHEDULED | RUNNING | DONE) == 0
    }

    /// Begins a poll of a task that was taken out of a queue.
    #[inline]
    pub(super) fn begin(&self) {
        let before = self.0.fetch_sub(SCHEDULED - RUNNING, Ordering::AcqRel);
        debug_assert_eq!(before & (SCHEDULED | RUNNING | DONE), SCHEDULED);
    }

    /// Ends a poll after which the task waits. Returns whether it was woken meanwhile, so that the
    /// caller must queue it.
    #[inline]
    pub(super) fn pause(&self) -> bool {
        self.0.fetch_sub(RUNNING, Ordering::AcqRel) & SCHEDULED != 0
    }

    /// Ends the last poll, and gives the list's reference back. Returns whether it was the last.
    #[inline]
    pub(super) fn finish(&self) -> bool {
        let before = self
            .0
            .fetch_sub(REFERENCE + RUNNING - DONE, Ordering::AcqRel);
        before & REFERENCES == REFERENCE
    }

    /// Is the task being polled or ended, further up on this stack?
    pub(super) fn is_running(&self) -> bool {
        self.0.load(Ordering::Relaxed) & RUNNING != 0
    }

    /// Takes a reference.
    #[inline]
    pub(super) fn acquire(&self) {
        let before = self.0.fetch_add(REFERENCE, Ordering::Relaxed);
        if before > u32::MAX / 2 {
            // So many clones were leaked that the count would start anew.
            std::process::abort();
        }
    }

    /// Gives a reference back. Returns whether it was the last: the caller frees the task.
    #[inline]
    pub(super) fn release(&self) -> bool {
        // Whoever has the only reference is alone, for a reference is made from another one.
        self.0.load(Ordering::Acquire) & REFERENCES == REFERENCE
            || self.0.fetch_sub(REFERENCE, Ordering::AcqRel) & REFERENCES == REFERENCE
    }
}

const RUNNING: u32 = 1;
const SCHEDULED: u32 = 2;
const DONE: u32 = 4;
const REFERENCE: u32 = 8;
const REFERENCES: u32 = !(REFERENCE - 1);
