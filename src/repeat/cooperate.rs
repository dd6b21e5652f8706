//! [`Cooperator`]: long work in small steps, several tasks in turn.
//!
//! # The idea
//!
//! Work is an iterator, and each `next` is a step. A [`Cooperator`] has a queue of tasks that can
//! continue; in a *slice* it takes the first task, runs one step of it, and puts it back at the
//! end, until the slice is over. Then the loop turns, and the next slice continues where this one
//! stopped.
//!
//! # Ownership
//!
//! The timer of the next slice owns the cooperator, the queue owns the tasks that can continue, and
//! every task owns its cooperator. A task that cannot continue belongs to what it waits for: a
//! pause, or a Deferred. The cooperator refers to it weakly.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::cooperative::CooperativeTask;
use super::pace::Slice;
use super::work::{End, Shared, State, Steps};
use crate::clock::{Clock, Timers};
use crate::defer::{Deferred, IntoOutcome};
use crate::failure::{Cancelled, Failure};

/// Runs long work in small steps, so that I/O, timers and other work get their turns in between.
///
/// Work is an iterator, and each `next` is a step. The yielded value decides how it continues:
/// after `()` or `Ok` the task goes to the end of the queue; a Deferred or an async block is waited
/// for first; an `Err` ends the task. Several tasks take turns, one step each, in *slices* of 10 ms
/// or 1,000 steps by default ([`Slice`]).
///
/// Clones are handles to the same cooperator. Dropping the handles changes nothing: the work
/// continues. Use [`Pace`](super::Pace) for a long loop in `async` code, and a thread for work that
/// cannot be divided into steps.
///
/// # Order
///
/// First come, first served; a task that waited returns to the end of the queue.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use torsade::{Cooperator, testing};
///
/// testing::run(async |reactor| {
///     let cooperator = Cooperator::new(&reactor);
///     let sum = Rc::new(Cell::new(0_u64));
///     let adding = sum.clone();
///     let task = cooperator.cooperate((0..100_000).map(move |n| adding.set(adding.get() + n)));
///     task.when_done().await?; // a hundred turns of the loop
///     assert_eq!(sum.get(), 4_999_950_000);
///     Ok(())
/// });
/// ```
#[derive(Clone)]
pub struct Cooperator(Rc<Handle>);

impl Cooperator {
    /// Makes a cooperator that runs, with the default [`Slice`].
    #[track_caller]
    pub fn new(clock: &impl Clock) -> Self {
        Self::with_slice(clock, Slice::default())
    }

    /// Makes a cooperator that runs in slices of this size.
    #[doc(alias("terminationPredicateFactory", "scheduler"))]
    #[track_caller]
    pub fn with_slice(clock: &impl Clock, slice: Slice) -> Self {
        Self::make(clock.timers(), slice, State::Running)
    }

    /// Makes a cooperator that takes work, but runs no step before [`start`](Cooperator::start).
    ///
    /// When the last handle is dropped before that, the work ends as if the cooperator were
    /// stopped.
    #[doc(alias = "started=False")]
    #[track_caller]
    pub fn unstarted(clock: &impl Clock, slice: Slice) -> Self {
        Self::make(clock.timers(), slice, State::Unstarted)
    }

    /// Runs the steps of `work`, and returns a handle to pause and stop it, and to wait for its
    /// end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{Cooperator, Deferred, Failure, VirtualClock};
    /// let clock = VirtualClock::new();
    /// let cooperator = Cooperator::new(&clock);
    /// let parse = |word: &str| Ok::<_, Failure>(word.parse::<u32>()?);
    /// let task = cooperator.cooperate(["1", "2", "three", "4"].into_iter().map(parse));
    /// clock.advance(Duration::ZERO);
    /// task.when_done()
    ///     .add_errback(|failure| assert!(failure.to_string().contains("invalid digit")));
    /// ```
    #[track_caller]
    pub fn cooperate<V: 'static, I>(&self, work: I) -> CooperativeTask
    where
        I: Iterator + 'static,
        I::Item: IntoOutcome<V>,
    {
        let location = Location::caller();
        let steps = Steps::new(work, None, location);
        CooperativeTask::of(self.shared().add(Box::new(steps), false, location))
    }

    /// Runs the steps of `work`, and returns the iterator with a Deferred when it is exhausted.
    ///
    /// Cancelling the Deferred stops the work. [`cooperate`](Cooperator::cooperate) returns a
    /// handle that can also pause it.
    ///
    /// # Errors
    ///
    /// The Deferred fails with the first `Err` that is yielded, with a panic of the iterator, with
    /// [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped), and with
    /// [`ClockStopped`](crate::clock::ClockStopped).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{Cooperator, VirtualClock, defer_later};
    /// # const SECOND: Duration = Duration::from_secs(1);
    /// let clock = VirtualClock::new();
    /// let slow = clock.clone();
    /// // Each step is waited for.
    /// let steps = (0..3).map(move |_| defer_later(&slow, SECOND, || ()));
    /// let all = Cooperator::new(&clock).coiterate(steps);
    /// clock.advance(SECOND * 3);
    /// assert!(all.is_settled());
    /// ```
    #[track_caller]
    pub fn coiterate<V: 'static, I>(&self, work: I) -> Deferred<I>
    where
        I: Iterator + 'static,
        I::Item: IntoOutcome<V>,
    {
        let location = Location::caller();
        let (deferred, resolver) = Deferred::pair();
        let steps = Steps::new(work, Some(resolver), location);
        let task = Rc::downgrade(&self.shared().add(Box::new(steps), true, location));
        deferred.on_cancel(move || {
            if let Some(task) = task.upgrade() {
                task.end(End::Ended(Failure::at(Cancelled, location)));
            }
        })
    }

    /// Starts the cooperator, or restarts it after [`stop`](Cooperator::stop). Does nothing while
    /// it runs.
    pub fn start(&self) {
        self.shared().state.set(State::Running);
        self.shared().schedule();
    }

    /// Ends all tasks, also those that are paused, with
    /// [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped), until
    /// [`start`](Cooperator::start) is called. A task that is added meanwhile ends at once with the
    /// same error.
    ///
    /// # Order
    ///
    /// Tasks end in the order in which they were added, before this method returns; a task that is
    /// running a step ends when that step has returned.
    #[track_caller]
    pub fn stop(&self) {
        self.shared().stop(Location::caller());
    }

    /// Returns whether the cooperator takes work and runs it.
    #[doc(alias = "running")]
    pub fn is_running(&self) -> bool {
        self.shared().state.get() == State::Running
    }

    #[track_caller]
    fn make(timers: &Timers, slice: Slice, state: State) -> Self {
        let location = Location::caller();
        Self(Rc::new(Handle(Shared::new(timers, slice, state, location))))
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.0.0
    }
}

impl fmt::Debug for Cooperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        f.debug_struct("Cooperator")
            .field("state", &shared.state.get())
            .field("tasks", &shared.tasks.borrow().len())
            .field("queued", &shared.queue.borrow().len())
            .finish_non_exhaustive()
    }
}

/// The state that all handles of a cooperator share.
struct Handle(Rc<Shared>);

impl Drop for Handle {
    /// Ends the work of a cooperator that no handle can start any more.
    fn drop(&mut self) {
        if self.0.state.get() == State::Unstarted {
            self.0.stop(self.0.location);
        }
    }
}
