//! The queue of a pool, from which queued work may be cancelled, and the published state of each
//! thread.
//!
//! An element cannot be removed from the middle of a [`ConcurrentQueue`], so the queue holds slots,
//! which hold the work. The code that submitted the work has the slot as well, as a [`Ticket`], and
//! may empty it at any time. A thread skips an empty slot; while all threads are busy, empty slots
//! are swept out as soon as they are the majority. So cancelling costs the same wherever the work
//! is, and cancelled work leaves nothing behind that grows.
//!
//! # Invariants
//!
//! 1. The thread that empties a slot owns its work; that happens once.
//! 2. A slot leaves the queue by being taken or swept out. The gate is locked shared to push and to
//!    take, and exclusively to sweep: no other thread sees the queue while the sweep has a part of
//!    it.
//! 3. Taken work is recorded as running before the gate is unlocked: a thread that locks the gate
//!    exclusively finds all work that has not ended either queued or running.
//! 4. No work runs, and none is dropped, while a lock of this file is held.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::PoisonError;

use crate::report;
use crate::sync::{
    AtomicBool, AtomicUsize, ConcurrentQueue, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard,
    Shared,
};

/// The location that submitted the work.
pub(crate) type Caller = &'static Location<'static>;

/// A piece of work; returns whether it ended without a panic.
pub(crate) type Work = Box<dyn FnOnce() -> bool + Send>;

pub(super) struct Queue {
    slots: ConcurrentQueue<Shared<Slot>>,
    /// The number of queued slots that are empty, or are being emptied.
    empty: AtomicUsize,
    gate: RwLock<()>,
}

struct Slot {
    location: Caller,
    work: Mutex<Option<Work>>,
    /// Whether the code that waits for the work was notified that it will not be done.
    is_answered: AtomicBool,
}

/// A handle to submitted work.
pub(crate) struct Ticket(Shared<Slot>);

/// Work that was taken out of the queue.
pub(crate) struct TakenWork {
    location: Caller,
    work: Work,
    is_answered: bool,
}

/// The published state of a thread: what it runs.
#[derive(Default)]
pub(super) struct Worker(Mutex<WorkerStats>);

#[derive(Clone, Copy, Default)]
pub(super) struct WorkerStats {
    /// Where the running work was submitted.
    pub(super) running: Option<Caller>,
    /// The number of finished calls.
    pub(super) finished: u64,
    /// The number of finished calls that panicked.
    pub(super) panicked: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            slots: ConcurrentQueue::unbounded(),
            empty: AtomicUsize::new(0),
            gate: RwLock::new(()),
        }
    }

    /// Appends work to the queue. A closed queue returns it.
    pub(super) fn push(&self, location: Caller, work: Work) -> Result<Ticket, Work> {
        let slot = Shared::new(Slot {
            location,
            work: Mutex::new(Some(work)),
            is_answered: AtomicBool::new(false),
        });
        let _open = self.enter();
        match self.slots.push(slot.clone()) {
            Ok(()) => Ok(Ticket(slot)),
            Err(_) => Err(slot.take().expect("the new slot holds its work")),
        }
    }

    /// Takes the next work from the queue, and records it as running on this thread.
    pub(super) fn take(&self, worker: &Worker) -> Option<TakenWork> {
        let _open = self.enter();
        while let Ok(slot) = self.slots.pop() {
            worker.stats().running = Some(slot.location);
            if let Some(job) = slot.take_job() {
                return Some(job);
            }
            worker.stats().running = None;
            self.empty.fetch_sub(1, Ordering::Relaxed);
        }
        None
    }

    /// Cancels work, wherever it is in the queue; returns it.
    pub(super) fn cancel(&self, ticket: &Ticket) -> Option<TakenWork> {
        // Counted first: a thread that finds the empty slot decrements the count.
        let empty = self.empty.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(job) = ticket.0.take_job() else {
            self.empty.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        if empty >= MANY && empty > self.slots.len() / 2 {
            self.sweep();
        }
        Some(job)
    }

    /// Removes the empty slots from the queue; the others keep their order (invariant 2).
    fn sweep(&self) {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if self.slots.is_closed() {
            // Nothing can be put back, and nothing more comes.
            return;
        }
        for _ in 0..self.slots.len() {
            let Ok(slot) = self.slots.pop() else { break };
            if slot.holds_work() {
                // The queue is open, and has no limit.
                let _ = self.slots.push(slot);
            } else {
                self.empty.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes all queued work. Afterwards all work that has not ended is running (invariant 3).
    pub(super) fn drain(&self) -> Vec<TakenWork> {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = Vec::new();
        while let Ok(slot) = self.slots.pop() {
            match slot.take_job() {
                Some(job) => jobs.push(job),
                None => drop(self.empty.fetch_sub(1, Ordering::Relaxed)),
            }
        }
        jobs
    }

    /// Returns whether the queue is empty. Empty slots count as work: a taker skips them.
    pub(super) fn is_empty(&self) -> bool {
        let _open = self.enter();
        self.slots.is_empty()
    }

    /// Accepts no more work.
    pub(super) fn close(&self) {
        let _open = self.enter();
        self.slots.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.slots.is_closed()
    }

    /// Locks the gate shared.
    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Takes the work, if it is still there (invariant 1).
    fn take(&self) -> Option<Work> {
        self.lock().take()
    }

    fn take_job(&self) -> Option<TakenWork> {
        let work = self.take()?;
        Some(TakenWork {
            location: self.location,
            work,
            is_answered: self.is_answered.load(Ordering::Relaxed),
        })
    }

    fn holds_work(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Returns whether the work has neither begun nor been cancelled.
    pub(crate) fn is_queued(&self) -> bool {
        self.0.holds_work()
    }

    /// Records that the waiting code was notified that the work will not be done. Called by the
    /// thread that stops the pool.
    pub(crate) fn set_answered(&self) {
        self.0.is_answered.store(true, Ordering::Relaxed);
    }
}

impl TakenWork {
    /// Runs the work; does not unwind. Returns whether it ended without a panic.
    pub(super) fn run(self) -> bool {
        catch_unwind(AssertUnwindSafe(self.work)).unwrap_or(false)
    }

    /// Returns the work without running it.
    pub(super) fn into_work(self) -> Work {
        self.work
    }

    /// Returns whether the waiting code has not yet been notified that the work will not be done.
    pub(crate) fn is_unanswered(&self) -> bool {
        !self.is_answered
    }

    /// Drops the work; returns where it was submitted.
    pub(crate) fn cancel(self) -> Caller {
        report::discard(self.work, self.location);
        self.location
    }
}

impl Worker {
    /// Returns a copy of the state.
    pub(super) fn snapshot(&self) -> WorkerStats {
        *self.stats()
    }

    /// Records that the running work has ended.
    pub(super) fn finish(&self, ended_well: bool) {
        let mut stats = self.stats();
        stats.running = None;
        stats.finished += 1;
        stats.panicked += u64::from(!ended_well);
    }

    fn stats(&self) -> MutexGuard<'_, WorkerStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fewer empty slots are not worth a sweep.
#[cfg(not(torsade_loom))]
const MANY: usize = 64;
#[cfg(torsade_loom)]
const MANY: usize = 1;

#[cfg(test)]
#[cfg(not(torsade_loom))]
mod tests {
    use std::panic::Location;
    use std::sync::{Arc, mpsc};

    use super::*;

    fn push(queue: &Queue, work: impl FnOnce() -> bool + Send + 'static) -> Ticket {
        queue
            .push(Location::caller(), Box::new(work))
            .ok()
            .expect("open")
    }

    #[test]
    fn cancelled_work_leaves_the_queue_and_the_rest_keeps_its_order() {
        let (queue, worker) = (Queue::new(), Worker::default());
        let (sender, done) = mpsc::channel();
        let tickets: Vec<_> = (0..10_000)
            .map(|n| {
                let sender = sender.clone();
                push(&queue, move || sender.send(n).is_ok())
            })
            .collect();
        for (n, ticket) in tickets.iter().enumerate().filter(|(n, _)| n % 10 != 7) {
            assert!(ticket.is_queued());
            assert!(queue.cancel(ticket).is_some(), "{n}");
            assert!(!ticket.is_queued());
            assert!(queue.cancel(ticket).is_none(), "{n}");
        }
        assert!(
            queue.slots.len() < 2 * 1_000 + MANY,
            "{}",
            queue.slots.len()
        );
        while let Some(job) = queue.take(&worker) {
            assert!(job.run());
        }
        assert!(done.try_iter().eq((0..1_000).map(|n| n * 10 + 7)));
        assert_eq!((queue.slots.len(), queue.empty.into_inner()), (0, 0));
    }

    #[test]
    fn a_closed_queue_accepts_no_work_and_still_returns_queued_work() {
        let (queue, worker) = (Queue::new(), Worker::default());
        let held = Arc::new(());
        let tickets: Vec<_> = (0..200)
            .map(|_| {
                let held = held.clone();
                push(&queue, move || Arc::strong_count(&held) > 0)
            })
            .collect();
        queue.close();
        let late = queue.push(Location::caller(), Box::new(|| true));
        assert!(late.is_err_and(|work| work()));
        for ticket in &tickets[..150] {
            drop(queue.cancel(ticket));
        }
        assert_eq!(Arc::strong_count(&held), 51);
        assert!(queue.take(&worker).is_some_and(TakenWork::run));
        assert!(worker.snapshot().running.is_some());
        worker.finish(true);
        assert_eq!(queue.drain().len(), 49);
        assert!(queue.take(&worker).is_none() && queue.is_empty());
        assert_eq!(
            (worker.snapshot().running, worker.snapshot().finished),
            (None, 1)
        );
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
