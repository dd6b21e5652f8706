//! The work that waits: a queue whose work may be called off, and the desks of those who take it.
//!
//! Nothing can be taken out of the middle of a [`ConcurrentQueue`], so what stands in line is not
//! the work but a slot that holds it. Who gave the work has the slot as well, as a [`Ticket`], and
//! may empty it at any time. An empty slot is passed over when its turn comes; where nobody comes
//! by, because all threads are busy, empty slots are swept out as soon as they are the most. So
//! calling off costs the same wherever the work stands, and what is called off leaves nothing that
//! grows.
//!
//! # Invariants
//!
//! 1. Who empties a slot owns its work; that happens once.
//! 2. A slot leaves the line by being taken or swept out. The gate is shared by those who put in
//!    and take, and is closed while empty slots are swept out: nobody sees the line while some of
//!    it is in the sweeper's hands.
//! 3. What is taken is on its taker's desk before the gate is left: who finds the gate free finds
//!    all work that has not ended either in line or on a desk.
//! 4. No work runs, and none is dropped, while anything here is locked.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::PoisonError;

use crate::report;
use crate::sync::{
    AtomicBool, AtomicUsize, ConcurrentQueue, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard,
    Shared,
};

/// Where work was given.
pub(crate) type Caller = &'static Location<'static>;

/// What is to be done; whether that ended without a panic.
pub(crate) type Work = Box<dyn FnOnce() -> bool + Send>;

pub(super) struct Queue {
    line: ConcurrentQueue<Shared<Slot>>,
    /// How many slots in line are empty, or are being emptied.
    empty: AtomicUsize,
    gate: RwLock<()>,
}

struct Slot {
    location: Caller,
    work: Mutex<Option<Work>>,
    /// Whoever waits for it has been told that it will not be done.
    is_answered: AtomicBool,
}

/// What is known of work by those who gave it.
pub(crate) struct Ticket(Shared<Slot>);

/// Work that nobody else has any more.
pub(crate) struct Job {
    location: Caller,
    work: Work,
    is_answered: bool,
}

/// Where a thread has what it does, for others to see.
#[derive(Default)]
pub(super) struct Worker(Mutex<WorkerStats>);

#[derive(Clone, Copy, Default)]
pub(super) struct WorkerStats {
    /// Where the work was given that is being done.
    pub(super) running: Option<Caller>,
    /// How much was done.
    pub(super) finished: u64,
    /// How much of that panicked.
    pub(super) panicked: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            line: ConcurrentQueue::unbounded(),
            empty: AtomicUsize::new(0),
            gate: RwLock::new(()),
        }
    }

    /// Puts work at the end of the line. A closed queue gives it back.
    pub(super) fn push(&self, location: Caller, work: Work) -> Result<Ticket, Work> {
        let slot = Shared::new(Slot {
            location,
            work: Mutex::new(Some(work)),
            is_answered: AtomicBool::new(false),
        });
        let _open = self.enter();
        match self.line.push(slot.clone()) {
            Ok(()) => Ok(Ticket(slot)),
            Err(_) => Err(slot.take().expect("nobody else knows of it")),
        }
    }

    /// Takes the work whose turn it is, to be done at this desk.
    pub(super) fn take(&self, worker: &Worker) -> Option<Job> {
        let _open = self.enter();
        while let Ok(slot) = self.line.pop() {
            worker.stats().running = Some(slot.location);
            if let Some(job) = slot.take_job() {
                return Some(job);
            }
            worker.stats().running = None;
            self.empty.fetch_sub(1, Ordering::Relaxed);
        }
        None
    }

    /// Takes work out of the line, wherever it stands.
    pub(super) fn call_off(&self, ticket: &Ticket) -> Option<Job> {
        // Counted first: whoever comes by the empty slot takes it off the count.
        let empty = self.empty.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(job) = ticket.0.take_job() else {
            self.empty.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        if empty >= MANY && empty > self.line.len() / 2 {
            self.sweep();
        }
        Some(job)
    }

    /// Takes the empty slots out of the line; the others keep their order (invariant 2).
    fn sweep(&self) {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if self.line.is_closed() {
            // Nothing can be put back, and nothing more comes.
            return;
        }
        for _ in 0..self.line.len() {
            let Ok(slot) = self.line.pop() else { break };
            if slot.holds_work() {
                // It is open, and has no limit.
                let _ = self.line.push(slot);
            } else {
                self.empty.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes all that is in line. Afterwards all work that has not ended is on a desk (invariant
    /// 3).
    pub(super) fn drain(&self) -> Vec<Job> {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = Vec::new();
        while let Ok(slot) = self.line.pop() {
            match slot.take_job() {
                Some(job) => jobs.push(job),
                None => drop(self.empty.fetch_sub(1, Ordering::Relaxed)),
            }
        }
        jobs
    }

    /// Is nobody in line? Empty slots count as well: who takes passes over them.
    pub(super) fn is_empty(&self) -> bool {
        let _open = self.enter();
        self.line.is_empty()
    }

    /// Takes no more work.
    pub(super) fn close(&self) {
        let _open = self.enter();
        self.line.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line.is_closed()
    }

    /// The gate, shared.
    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Takes the work, if nobody has (invariant 1).
    fn take(&self) -> Option<Work> {
        self.lock().take()
    }

    fn take_job(&self) -> Option<Job> {
        let work = self.take()?;
        Some(Job {
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
    /// Has nobody begun the work, or called it off?
    pub(crate) fn is_queued(&self) -> bool {
        self.0.holds_work()
    }

    /// Notes that whoever waits has been told that the work will not be done. Called by the thread
    /// that stops the pool.
    pub(crate) fn note_answered(&self) {
        self.0.is_answered.store(true, Ordering::Relaxed);
    }
}

impl Job {
    /// Does the work; nothing unwinds out of it. Did it end without a panic?
    pub(super) fn run(self) -> bool {
        catch_unwind(AssertUnwindSafe(self.work)).unwrap_or(false)
    }

    /// The work, not done.
    pub(super) fn into_work(self) -> Work {
        self.work
    }

    /// Does anybody still have to be told that it will not be done?
    pub(crate) fn is_unanswered(&self) -> bool {
        !self.is_answered
    }

    /// Drops the work, and says where it was given.
    pub(crate) fn call_off(self) -> Caller {
        report::discard(self.work, self.location);
        self.location
    }
}

impl Worker {
    /// What lies there.
    pub(super) fn look(&self) -> WorkerStats {
        *self.stats()
    }

    /// What was taken is done.
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
    fn what_is_called_off_leaves_the_line_and_the_rest_keeps_its_order() {
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
            assert!(queue.call_off(ticket).is_some(), "{n}");
            assert!(!ticket.is_queued());
            assert!(queue.call_off(ticket).is_none(), "{n}");
        }
        assert!(queue.line.len() < 2 * 1_000 + MANY, "{}", queue.line.len());
        while let Some(job) = queue.take(&worker) {
            assert!(job.run());
        }
        assert!(done.try_iter().eq((0..1_000).map(|n| n * 10 + 7)));
        assert_eq!((queue.line.len(), queue.empty.into_inner()), (0, 0));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_gives_what_it_has() {
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
            drop(queue.call_off(ticket));
        }
        assert_eq!(Arc::strong_count(&held), 51);
        assert!(queue.take(&worker).is_some_and(Job::run));
        assert!(worker.look().running.is_some());
        worker.finish(true);
        assert_eq!(queue.drain().len(), 49);
        assert!(queue.take(&worker).is_none() && queue.is_empty());
        assert_eq!((worker.look().running, worker.look().finished), (None, 1));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
