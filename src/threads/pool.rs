//! The pool: its threads, and the queue from which they take work.
//!
//! The invariants are those of the module [`threads`](super).

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::queue::{Caller, Queue, TakenWork, Ticket, Work, Worker};
use super::settings::ThreadPoolBuilder;
use crate::failure::errors;
use crate::report::WarnOnce;
use crate::sync::{
    self, AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, Shared, ThreadBody,
    Unparker, thread,
};

/// The numbers of threads and calls of a pool; see
/// [`ThreadPool::statistics`](super::ThreadPool::statistics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Number of threads.
    pub threads: usize,
    /// Number of threads that wait for work.
    #[doc(alias = "idleWorkerCount")]
    pub idle: usize,
    /// Number of calls that are running.
    #[doc(alias = "busyWorkerCount")]
    pub running: usize,
    /// Number of calls that are queued.
    #[doc(alias = "backloggedWorkCount")]
    pub queued: usize,
    /// Number of calls that have finished.
    pub finished: u64,
    /// Number of finished calls that panicked.
    pub panicked: u64,
    /// Maximum number of threads.
    pub max: usize,
}

/// The reason why a thread pool did not run work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// The pool has been stopped.
    #[doc(alias = "AlreadyQuit")]
    Closed,
    /// As many calls are queued as
    /// [`ThreadPoolBuilder::queue_limit`](super::ThreadPoolBuilder::queue_limit) allows.
    Full {
        /// The limit: the maximum number of queued calls.
        limit: usize,
    },
    /// The system refused to start a thread, and the pool has no other thread.
    NoThread,
    /// The pool was stopped before the work began.
    NotStarted,
}

errors! {
    enum PoolError {
        Closed: "the thread pool has been stopped";
        Full { limit }: "the thread pool's queue is full: {limit} calls are queued";
        NoThread: "the system cannot create a thread for the thread pool";
        NotStarted: "the thread pool was stopped before the work began";
    }
}

/// The state that handles and threads share.
pub(crate) struct Pool {
    name: String,
    queue_limit: Option<usize>,
    idle_after: Duration,
    queue: Queue,
    /// The number of submitted pieces of work that have not ended, queued or running.
    unfinished: AtomicUsize,
    /// Whether there may be more threads than allowed: a thread between two pieces of work checks
    /// whether it is surplus.
    may_have_surplus: AtomicBool,
    state: Mutex<State>,
    warned: WarnOnce,
    /// Notified when a thread of a closed pool has ended.
    ended: Condvar,
}

struct State {
    min: usize,
    max: usize,
    /// The published state of each thread.
    workers: Vec<Shared<Worker>>,
    /// The threads that wait for work. The last one has waited for the shortest time and is woken
    /// first.
    idle: Vec<(u64, Unparker)>,
    /// The number of calls that ended threads have finished.
    finished: u64,
    panicked: u64,
    /// The number of threads that were ever started.
    started: u64,
}

impl Pool {
    pub(super) fn new(settings: ThreadPoolBuilder) -> Self {
        Self {
            name: settings.name,
            queue_limit: settings.queue_limit,
            idle_after: settings.idle_after,
            queue: Queue::new(),
            unfinished: AtomicUsize::new(0),
            may_have_surplus: AtomicBool::new(false),
            state: Mutex::new(State {
                min: settings.min,
                max: settings.max,
                workers: Vec::new(),
                idle: Vec::new(),
                finished: 0,
                panicked: 0,
                started: 0,
            }),
            warned: WarnOnce::new(),
            ended: Condvar::new(),
        }
    }

    /// Queues work, and wakes or starts a thread for it. Returns the work when it is refused.
    pub(super) fn submit(
        this: &Shared<Self>,
        location: Caller,
        work: Work,
    ) -> Result<Ticket, (PoolError, Work)> {
        let mut state = this.lock();
        if let Some(limit) = this.queue_limit {
            // Work for which there may be a thread does not count as waiting, although it may be
            // queued for a moment.
            let room = limit.saturating_add(state.max.max(state.workers.len()));
            if this.unfinished.load(Ordering::SeqCst) >= room {
                let why = match this.queue.is_closed() {
                    true => PoolError::Closed,
                    false => PoolError::Full { limit },
                };
                return Err((why, work));
            }
        }
        this.unfinished.fetch_add(1, Ordering::SeqCst);
        let ticket = match this.queue.push(location, work) {
            Ok(ticket) => ticket,
            Err(work) => {
                this.unfinished.fetch_sub(1, Ordering::SeqCst);
                return Err((PoolError::Closed, work));
            }
        };
        // An idle thread is woken, or a thread is started; otherwise the maximum number of threads
        // is busy (invariant 2).
        let idle = state.idle.pop();
        let started = match idle.is_none() && state.workers.len() < state.max {
            true => Self::start(this, &mut state),
            false => Ok(()),
        };
        let is_done = !state.workers.is_empty();
        drop(state);
        if let Some((_, unparker)) = idle {
            unparker.unpark();
        }
        this.warn(started);
        if !is_done {
            if let Some(job) = this.take_back(&ticket) {
                return Err((PoolError::NoThread, job.into_work()));
            }
        }
        Ok(ticket)
    }

    /// Takes work out of the queue, if it has not begun.
    pub(super) fn take_back(&self, ticket: &Ticket) -> Option<TakenWork> {
        let job = self.queue.cancel(ticket)?;
        self.unfinished.fetch_sub(1, Ordering::SeqCst);
        Some(job)
    }

    pub(super) fn adjust(this: &Shared<Self>, min: usize, max: usize) {
        let mut state = this.lock();
        let keeps_fewer = min < state.min;
        (state.min, state.max) = (min, max);
        let has_surplus = state.workers.len() > max;
        if has_surplus {
            this.may_have_surplus.store(true, Ordering::SeqCst);
        }
        // The threads check again: surplus ones end, and those no longer kept wait with a limit.
        let idle = match has_surplus || keeps_fewer {
            true => std::mem::take(&mut state.idle),
            false => Vec::new(),
        };
        let waits = this.statistics_in(&state).queued;
        let more = waits.min(max - max.min(state.workers.len()));
        let started = (0..more).try_for_each(|_| Self::start(this, &mut state));
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
        this.warn(started);
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        self.statistics_in(&self.lock())
    }

    fn statistics_in(&self, state: &State) -> PoolStatistics {
        let mut all = PoolStatistics {
            threads: state.workers.len(),
            idle: state.idle.len(),
            running: 0,
            queued: 0,
            finished: state.finished,
            panicked: state.panicked,
            max: state.max,
        };
        for worker in &state.workers {
            let stats = worker.snapshot();
            all.running += usize::from(stats.running.is_some());
            all.finished += stats.finished;
            all.panicked += stats.panicked;
        }
        let unfinished = self.unfinished.load(Ordering::SeqCst);
        all.queued = unfinished.saturating_sub(all.running);
        all
    }

    /// Accepts no more work. The threads end when the queue is empty.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.queue.close();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for (_, unparker) in idle {
            unparker.unpark();
        }
    }

    /// Closes the pool and waits for its threads. Returns the work that never began, and the
    /// locations of the work that still runs.
    pub(super) fn stop(&self, patience: Duration) -> (Vec<TakenWork>, Vec<Caller>) {
        self.close();
        let start = Instant::now();
        let mut state = self.lock();
        while !state.workers.is_empty() {
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                break;
            };
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let dropped = self.queue.drain();
        self.unfinished.fetch_sub(dropped.len(), Ordering::SeqCst);
        let running = state
            .workers
            .iter()
            .filter_map(|worker| worker.snapshot().running);
        (dropped, running.collect())
    }

    /// Starts a thread. The lock is held, so a later submission knows whether there is a thread.
    fn start(this: &Shared<Self>, state: &mut State) -> io::Result<()> {
        let (id, worker) = (state.started, Shared::new(Worker::default()));
        let (pool, theirs) = (this.clone(), worker.clone());
        let thread = thread::Builder::new().name(format!("{}-{}", this.name, id + 1));
        thread.spawn(Box::new(move || pool.work(id, &theirs)) as ThreadBody)?;
        state.started += 1;
        state.workers.push(worker);
        Ok(())
    }

    /// Logs that no thread could be started.
    fn warn(&self, started: io::Result<()>) {
        if let Err(error) = started {
            if tracing::enabled!(target: "torsade::threads", tracing::Level::WARN) {
                tracing::warn!(target: "torsade::threads", %error, pool = self.name, "no thread");
            } else {
                let name = &self.name;
                self.warned.write(format_args!(
                    "the thread pool {name} cannot start a thread, so work waits: {error} (reported once)"
                ));
            }
        }
    }

    /// Runs a thread of the pool.
    fn work(&self, id: u64, worker: &Shared<Worker>) {
        let (parker, unparker) = sync::pair();
        loop {
            if self.may_have_surplus.load(Ordering::SeqCst) {
                let mut state = self.lock();
                if state.workers.len() > state.max {
                    // The surplus thread leaves the work to the others, of which there are enough.
                    return self.end_thread(&mut state, worker);
                }
                self.may_have_surplus.store(false, Ordering::SeqCst);
            }
            if let Some(job) = self.queue.take(worker) {
                let ended_well = job.run();
                self.unfinished.fetch_sub(1, Ordering::SeqCst);
                worker.finish(ended_well);
                continue;
            }
            let mut state = self.lock();
            // Work is queued under this lock: either it is seen here, or the submission finds this
            // thread idle.
            if !self.queue.is_empty() || state.workers.len() > state.max {
                continue;
            }
            if self.queue.is_closed() {
                return self.end_thread(&mut state, worker);
            }
            state.idle.push((id, unparker.clone()));
            // As many as the pool keeps wait without a limit.
            let is_limited = state.workers.len() > state.min;
            drop(state);
            let was_woken = match is_limited {
                true => parker.park_timeout(self.idle_after),
                false => {
                    parker.park();
                    true
                }
            };
            let mut state = self.lock();
            let location = state.idle.iter().position(|(other, _)| *other == id);
            // A thread that is no longer in the list was woken, and looks into the queue (invariant
            // 3).
            let Some(location) = location else { continue };
            state.idle.remove(location);
            if !was_woken && state.workers.len() > state.min && self.queue.is_empty() {
                return self.end_thread(&mut state, worker);
            }
        }
    }

    /// Removes a thread that ends.
    fn end_thread(&self, state: &mut State, worker: &Shared<Worker>) {
        state.workers.retain(|other| !Shared::ptr_eq(other, worker));
        let stats = worker.snapshot();
        state.finished += stats.finished;
        state.panicked += stats.panicked;
        if self.queue.is_closed() {
            self.ended.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
