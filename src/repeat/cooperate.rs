//! Long work in small steps, several at once.
//!
//! # The idea
//!
//! Work is an iterator, and a step of it one `next`. A [`Cooperator`] has a queue of what can go on; in a *slice* it takes
//! the first, lets it do a step, and puts it back at the end, until the slice is over. Then the loop turns, and the next
//! slice goes on where this one stopped.
//!
//! # Who owns what
//!
//! The timer of the next slice owns the cooperator, the queue owns the work that can go on, and all work owns its
//! cooperator. Work that cannot go on belongs to what it waits for: a pause, or a Deferred. The cooperator knows that
//! work weakly.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::cooperative::CooperativeTask;
use super::pace::Slice;
use super::work::{End, Shared, State, Steps};
use crate::clock::{Clock, Timers};
use crate::defer::{Deferred, IntoOutcome};
use crate::failure::{Cancelled, Failure};

/// Does long work in small steps, so that I/O, timers and other work get their turn in between; a cheap handle.
///
/// Work is an iterator, and each `next` of it a step. What it yields says how to go on: with nothing (`()`) or `Ok`, the
/// task goes on with its next turn; a Deferred or an async block is waited for first; an `Err` ends the task. Several
/// tasks take turns, a step each, in *slices* of 10 ms or 1,000 steps, unless told otherwise ([`Slice`]).
///
/// Dropping the handles changes nothing: the work goes on. For a long loop in `async` code there is
/// [`Pace`](super::Pace), for what cannot be cut into steps a thread.
///
/// # Order
///
/// First come, first served; a task that waited comes back at the end of the queue.
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
#[doc(alias = "CooperatorService")]
#[derive(Clone)]
pub struct Cooperator(Rc<Handle>);

impl Cooperator {
    /// One that runs.
    #[track_caller]
    pub fn new(clock: &impl Clock) -> Self {
        Self::with_slice(clock, Slice::default())
    }

    /// One that runs, in slices of one's own choice.
    #[doc(alias("terminationPredicateFactory", "scheduler"))]
    #[track_caller]
    pub fn with_slice(clock: &impl Clock, slice: Slice) -> Self {
        Self::make(clock.timers(), slice, State::Running)
    }

    /// One that takes work and does nothing about it before [`start`](Cooperator::start).
    ///
    /// When the last handle is dropped before that, the work ends as if it were stopped.
    #[doc(alias = "started=False")]
    #[track_caller]
    pub fn unstarted(clock: &impl Clock, slice: Slice) -> Self {
        Self::make(clock.timers(), slice, State::Unstarted)
    }

    /// Does the steps of `work`; gives a handle to pause and stop it, and to ask for its end.
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

    /// Does the steps of `work`; the Deferred gives it back when it is exhausted.
    ///
    /// Cancelling the Deferred ends the work.
    ///
    /// # Errors
    ///
    /// The Deferred fails with the first `Err` that is yielded, a panic of the iterator, or [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped).
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
        let job = Rc::downgrade(&self.shared().add(Box::new(steps), true, location));
        deferred.on_cancel(move || {
            if let Some(job) = job.upgrade() {
                job.end(End::Ended(Failure::at(Cancelled, location)));
            }
        })
    }

    /// Begins, or goes on after [`stop`](Cooperator::stop). Does nothing when it runs.
    pub fn start(&self) {
        self.shared().state.set(State::Running);
        self.shared().schedule();
    }

    /// Ends all tasks, also those that are paused, with [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped), and refuses new ones.
    ///
    /// # Order
    ///
    /// In the order in which they were added, and before this returns; a task that does a step just now ends when
    /// that has returned.
    #[track_caller]
    pub fn stop(&self) {
        self.shared().stop(Location::caller());
    }

    /// Does it take work and do it?
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
            .field("tasks", &shared.jobs.borrow().len())
            .field("queued", &shared.queue.borrow().len())
            .finish_non_exhaustive()
    }
}

/// What all handles of a cooperator share.
struct Handle(Rc<Shared>);

impl Drop for Handle {
    /// What nobody can start any more would wait for ever.
    fn drop(&mut self) {
        if self.0.state.get() == State::Unstarted {
            self.0.stop(self.0.location);
        }
    }
}
