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
//!
//! # Invariants
//!
//! 1. There is a timer exactly while it runs, something is in the queue, and no slice is going on.
//! 2. What is in the queue is neither over, nor held, nor being stepped.
//! 3. Each slice makes at least one step, and stands at the end of the queue what goes on.
//! 4. What is over has left the queue before anybody is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::cooperative::{CooperativeTask, End, Job, Steps, Work};
use super::pace::{Slice, Spell};
use crate::clock::{Clock, ClockStopped, DelayedCall, Timers};
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
        let place = Location::caller();
        let steps = Steps::new(work, None, place);
        CooperativeTask::of(self.shared().add(Box::new(steps), false, place))
    }

    /// Does the steps of `work`; the Deferred gives it back when it is exhausted.
    ///
    /// Cancelling the Deferred ends the work.
    ///
    /// # Errors
    ///
    /// The Deferred fails with the first `Err` that is yielded, a panic of the iterator, or [`SchedulerStopped`].
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
        let place = Location::caller();
        let (deferred, resolver) = Deferred::pair();
        let steps = Steps::new(work, Some(resolver), place);
        let job = Rc::downgrade(&self.shared().add(Box::new(steps), true, place));
        deferred.on_cancel(move || {
            if let Some(job) = job.upgrade() {
                job.end(End::Ended(Failure::at(Cancelled, place)));
            }
        })
    }

    /// Begins, or goes on after [`stop`](Cooperator::stop). Does nothing when it runs.
    pub fn start(&self) {
        self.shared().state.set(State::Running);
        self.shared().schedule();
    }

    /// Ends all tasks, also those that are paused, with [`SchedulerStopped`], and refuses new ones.
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
        Self(Rc::new(Handle(Rc::new(Shared {
            timers: timers.clone(),
            slice,
            state: Cell::new(state),
            queue: RefCell::default(),
            tickets: Cell::new(0),
            jobs: RefCell::default(),
            numbers: Cell::new(0),
            timer: Cell::new(None),
            is_scheduled: Cell::new(false),
            in_slice: Cell::new(false),
            place: Location::caller(),
        }))))
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.0.0
    }
}

/// The cooperator was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStopped;

impl fmt::Display for SchedulerStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cooperator was stopped")
    }
}

impl Error for SchedulerStopped {}

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
            self.0.stop(self.0.place);
        }
    }
}

/// A cooperator, as its work sees it.
pub(super) struct Shared {
    timers: Timers,
    slice: Slice,
    state: Cell<State>,
    /// Invariant 2. By the order of coming.
    queue: RefCell<BTreeMap<u64, Rc<Job>>>,
    /// How often something has come into the queue.
    tickets: Cell<u64>,
    /// All that is not over, by the order of adding.
    jobs: RefCell<BTreeMap<u64, Weak<Job>>>,
    /// How many jobs there have been.
    numbers: Cell<u64>,
    /// Set while `is_scheduled`, and a little longer than that.
    timer: Cell<Option<DelayedCall>>,
    /// Invariant 1.
    is_scheduled: Cell<bool>,
    in_slice: Cell<bool>,
    place: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unstarted,
    Running,
    Stopped,
}

impl Shared {
    fn add(
        self: &Rc<Self>,
        work: Box<dyn Work>,
        asked: bool,
        place: &'static Location<'static>,
    ) -> Rc<Job> {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let job = Job::new(self.clone(), number, work, asked, place);
        if self.state.get() == State::Stopped {
            job.end(End::Ended(Failure::at(SchedulerStopped, place)));
        } else {
            let known = Rc::downgrade(&job);
            self.jobs.borrow_mut().insert(number, known);
            job.go_on();
        }
        job
    }

    /// Puts work that can go on at the end of the queue.
    pub(super) fn push(self: &Rc<Self>, job: Rc<Job>) {
        let ticket = self.tickets.replace(self.tickets.get() + 1);
        job.ticket.set(Some(ticket));
        self.queue.borrow_mut().insert(ticket, job);
        self.schedule();
    }

    /// Takes it out of the queue, if it is there.
    pub(super) fn remove(&self, job: &Rc<Job>) {
        let Some(ticket) = job.ticket.take() else {
            return;
        };
        let mut queue = self.queue.borrow_mut();
        let removed = queue.remove(&ticket);
        let is_empty = queue.is_empty();
        drop(queue);
        drop(removed);
        if is_empty {
            self.unschedule();
        }
    }

    /// Knows nothing more of the work with this number.
    pub(super) fn forget(&self, number: u64) {
        self.jobs.borrow_mut().remove(&number);
    }

    fn schedule(self: &Rc<Self>) {
        let is_idle = self.queue.borrow().is_empty() || self.in_slice.get();
        if is_idle || self.is_scheduled.get() || self.state.get() != State::Running {
            return;
        }
        self.is_scheduled.set(true);
        let deadline = self.timers.later(self.timers.now(), self.slice.rest);
        let turn = Turn(Some(self.clone()));
        let call = self
            .timers
            .call_at(deadline, self.place, move || turn.come());
        // A clock that has stopped has dropped the turn, and so ended everything.
        if self.is_scheduled.get() {
            self.timer.set(Some(call));
        }
    }

    fn unschedule(&self) {
        self.is_scheduled.set(false);
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }

    fn run_slice(self: &Rc<Self>) {
        self.is_scheduled.set(false);
        self.timer.take();
        self.in_slice.set(true);
        let mut spell = Spell::begin(&self.timers);
        // A stop empties the queue.
        loop {
            let first = self.queue.borrow_mut().pop_first();
            let Some((_, job)) = first else { break };
            job.ticket.set(None);
            job.step();
            drop(job);
            if spell.is_over_after_step(&self.timers, self.slice) {
                break;
            }
        }
        self.in_slice.set(false);
        self.schedule();
    }

    fn stop(self: &Rc<Self>, place: &'static Location<'static>) {
        if self.state.replace(State::Stopped) != State::Stopped {
            self.end_all(|| Failure::at(SchedulerStopped, place));
        }
    }

    fn end_all(&self, why: impl Fn() -> Failure) {
        let jobs: Vec<_> = self.jobs.borrow().values().cloned().collect();
        self.unschedule();
        for job in jobs.iter().filter_map(Weak::upgrade) {
            job.end(End::Ended(why()));
        }
    }
}

/// What the clock has of the cooperator: its next slice.
struct Turn(Option<Rc<Shared>>);

impl Turn {
    fn come(mut self) {
        if let Some(shared) = self.0.take() {
            shared.run_slice();
        }
    }
}

impl Drop for Turn {
    /// Unless the cooperator has called it off, the clock has stopped.
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        if shared.is_scheduled.get() {
            shared.end_all(|| Failure::at(ClockStopped, shared.place));
        }
    }
}
