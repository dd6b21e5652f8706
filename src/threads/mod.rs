//! Work on other threads: a [`ThreadPool`] runs it, and a [`CancelToken`] says that its result is
//! no longer needed.
//!
//! # The idea
//!
//! Code that blocks (it reads a file, queries a database, computes for long) would stop the loop,
//! so it runs on another thread. A pool has no thread until there is work, starts one for each
//! piece of work that finds no idle thread, up to its maximum, and lets a thread end that was idle
//! for ten seconds ([`ThreadPoolBuilder::idle_after`]). Work that finds all threads busy waits in a
//! queue, first come, first served.
//!
//! Most programs need only [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking), which uses
//! the reactor's pool and returns a Deferred of the result. A second pool ([`ThreadPool::new`])
//! keeps one kind of work from delaying another; its [`spawn_blocking`](ThreadPool::spawn_blocking)
//! returns results to a reactor as well. A pool needs no reactor for
//! [`call_in_thread`](ThreadPool::call_in_thread).
//!
//! Work sees the [task-locals](crate::task::TaskLocal) that were set where it was submitted, if
//! they were declared with [`TaskLocal::shared`](crate::task::TaskLocal::shared).
//!
//! # States of a thread
//!
//! | state   | transitions                                                                      |
//! |---------|----------------------------------------------------------------------------------|
//! | looking | takes work (running); finds none (idle); finds more than `max` threads, or a closed pool without work (over) |
//! | running | the work has returned, or has panicked (looking)                                 |
//! | idle    | is woken for new work (looking); has waited as long as `idle_after`, and more than `min` threads stay (over) |
//!
//! # Invariants
//!
//! 1. Submitted work is run once, cancelled once, or dropped once by [`ThreadPool::stop`].
//! 2. While work waits, either the maximum number of threads is busy, or a thread was woken or
//!    started for it.
//! 3. A thread that was woken looks into the queue before it ends, even if its idle time is over;
//!    or it is surplus, and then the other threads look, none of which is idle.
//! 4. The work's own panic does not end its thread. No lock is held while work runs or is dropped.
//! 5. When the pool is closed and its queue is empty, all its threads end.
//! 6. When the system starts no thread, the submitted work is refused, unless another thread of the
//!    pool has taken it.

// Ownership: queued work belongs to the queue; the thread that takes it out, to run it or to cancel
// it, owns it, so it runs at most once. A busy thread takes work from the queue without the pool's
// lock. The lock guards the list of idle threads, and the number and limits of threads: it is held
// to submit work, while a thread is started for it, and by a thread that finds no work.

mod pool;
mod queue;
mod settings;
mod token;

#[cfg(all(test, torsade_loom))]
mod model;

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use self::pool::Pool;
pub use self::pool::{PoolError, PoolStatistics};
pub(crate) use self::queue::{Caller, Ticket};
use self::queue::{TakenWork, Work};
pub use self::settings::ThreadPoolBuilder;
#[doc(alias = "threading.Event")]
pub use self::token::CancelToken;
use crate::report::{self, Origin};
use crate::spans;
use crate::sync::Shared;
use crate::task::Locals;

/// A pool of threads for blocking calls.
///
/// Clones are handles to the same pool. When the last handle is dropped the pool closes: queued
/// calls still run, then the threads end.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use torsade::threads::ThreadPool;
///
/// let pool = ThreadPool::new(0, 2);
/// let (sender, sums) = mpsc::channel();
/// for n in 1..=3 {
///     let sender = sender.clone();
///     pool.call_in_thread(move || sender.send((1..=n).sum::<u32>()).unwrap())?;
/// }
/// let mut sums: Vec<u32> = sums.iter().take(3).collect();
/// sums.sort();
/// assert_eq!(sums, [1, 3, 6]);
///
/// assert!(pool.stop(Duration::from_secs(1)).is_clean());
/// assert!(pool.call_in_thread(|| {}).is_err());
/// # Ok::<(), torsade::Failure>(())
/// ```
#[doc(alias("twisted.python.threadpool", "Team", "ThreadPoolExecutor"))]
#[derive(Clone)]
pub struct ThreadPool {
    pool: Shared<Pool>,
    /// Closes the pool when the last handle is dropped.
    _handle: std::sync::Arc<Handle>,
}

/// The work that a stopped pool had not finished in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedWork {
    /// The lines that submitted the work that is still running. Each thread ends with the work that
    /// it runs.
    pub running: Vec<&'static Location<'static>>,
    /// The lines that submitted the work that never began, and was dropped.
    pub dropped: Vec<&'static Location<'static>>,
}

impl ThreadPool {
    /// Makes a pool of at most `max` threads, of which `min` stay once they have been started, even
    /// if they are idle.
    ///
    /// # Panics
    ///
    /// Panics when `max` is zero or less than `min`.
    #[track_caller]
    pub fn new(min: usize, max: usize) -> Self {
        Self::builder().min(min).max(max).build()
    }

    /// Returns a builder for a pool with other settings: a name, a limit of the queue, how long
    /// idle threads stay.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    /// Runs `f` on one of the threads. A panic of `f` is [reported](crate::report).
    ///
    /// # Order
    ///
    /// Calls begin in the order in which they were submitted; with several threads they may end in
    /// any order.
    ///
    /// # Errors
    ///
    /// Fails with [`PoolError`] when the pool is closed, its queue is full, or the system refuses a
    /// thread; `f` is then dropped by this call.
    #[doc(alias("callInThread", "callInThreadWithCallback", "callMultipleInThread"))]
    #[track_caller]
    pub fn call_in_thread(&self, f: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
        let location = Location::caller();
        self.give(location, Box::new(move || run_reported(location, f)))
    }

    /// Changes the maximum number of threads, and the number of threads that stay though they are
    /// idle. Surplus threads end after the call that they run.
    ///
    /// # Panics
    ///
    /// Panics when `max` is zero or less than `min`.
    #[doc(alias = "adjustPoolsize")]
    #[track_caller]
    pub fn adjust(&self, min: usize, max: usize) {
        settings::check(min, max);
        Pool::adjust(&self.pool, min, max);
    }

    /// Returns the numbers of threads and calls of the pool.
    pub fn statistics(&self) -> PoolStatistics {
        self.pool.statistics()
    }

    /// Closes the pool, and blocks this thread until all submitted calls have finished, for at most
    /// `patience`. Calls that are still queued after that are dropped by this call.
    ///
    /// If a call that runs in the pool calls this method, it waits for itself until `patience` has
    /// passed.
    #[must_use = "only the returned value reports unfinished work"]
    pub fn stop(&self, patience: Duration) -> UnfinishedWork {
        let (dropped, running) = self.pool.stop(patience);
        UnfinishedWork {
            running,
            dropped: dropped.into_iter().map(TakenWork::cancel).collect(),
        }
    }

    /// Stops the pool like [`stop`](ThreadPool::stop), but does not report work whose callers have
    /// been answered already.
    pub(crate) fn stop_unanswered(&self, patience: Duration) -> UnfinishedWork {
        let (dropped, running) = self.pool.stop(patience);
        let run_reported = |job: TakenWork| job.is_unanswered().then_some(job.cancel());
        UnfinishedWork {
            running,
            dropped: dropped.into_iter().filter_map(run_reported).collect(),
        }
    }

    /// Queues work that reports its own failures; `work` returns whether it ended without a panic.
    pub(crate) fn submit(&self, location: Caller, work: Work) -> Result<Ticket, (PoolError, Work)> {
        let work = spans::follow_there(work);
        let locals = Locals::capture().for_threads();
        let work = match locals.is_empty() {
            true => work,
            false => Box::new(move || locals.run(work)),
        };
        Pool::submit(&self.pool, location, work)
    }

    /// Returns a view of the pool that does not keep it open.
    pub(crate) fn observe(&self) -> ObservedPool {
        ObservedPool(self.pool.clone())
    }

    /// Takes queued work back, if it has not begun.
    pub(crate) fn take_back(&self, ticket: &Ticket) -> Option<TakenWork> {
        self.pool.take_back(ticket)
    }

    fn give(&self, location: Caller, work: Work) -> Result<(), PoolError> {
        match self.submit(location, work) {
            Ok(_) => Ok(()),
            Err((refused, work)) => {
                report::discard(work, location);
                Err(refused)
            }
        }
    }
}

impl ThreadPoolBuilder {
    /// Makes the pool. It starts no thread.
    ///
    /// # Panics
    ///
    /// Panics when `max` is zero or less than `min`, or when the name contains a NUL.
    #[track_caller]
    pub fn build(self) -> ThreadPool {
        settings::check(self.min, self.max);
        assert!(
            !self.name.contains('\0'),
            "{:?} cannot be the name of a thread",
            self.name
        );
        let pool = Shared::new(Pool::new(self));
        ThreadPool {
            _handle: std::sync::Arc::new(Handle(pool.clone())),
            pool,
        }
    }
}

impl UnfinishedWork {
    /// Returns whether everything was finished in time.
    pub fn is_clean(&self) -> bool {
        self.running.is_empty() && self.dropped.is_empty()
    }
}

/// A view of a pool that does not keep it open.
pub(crate) struct ObservedPool(Shared<Pool>);

impl ObservedPool {
    /// Returns the number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.0.statistics().threads
    }

    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        Shared::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadPool")
            .field(&self.statistics())
            .finish()
    }
}

/// The handle that all clones of a pool share.
struct Handle(Shared<Pool>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs user code and reports a panic in it. Returns whether it ended without one.
fn run_reported(location: Caller, f: impl FnOnce()) -> bool {
    report::contain_rarely(Origin::Thread, location, f).is_some()
}
