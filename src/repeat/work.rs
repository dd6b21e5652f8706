//! The queue of a cooperator, and its tasks.
//!
//! # States of a task
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | queued | in the cooperator's queue | its turn: stepping; a pause: held; a stop: over |
//! | stepping | taken out, its `next` on the stack | the return: queued, held, or over |
//! | held | paused, or waiting for a Deferred | no hold left: queued; a failure, a stop: over |
//! | over | exhausted, failed, or stopped | |
//!
//! # Invariants of a cooperator
//!
//! 1. A timer exists exactly while the cooperator runs, the queue is not empty, and no slice is
//!    running.
//! 2. A task in the queue is neither over, nor held, nor being stepped.
//! 3. Each slice runs at least one step, and puts a task that continues at the end of the queue.
//! 4. A task that is over has left the queue before its waiters are notified.
//!
//! # Invariants of a task
//!
//! 5. The iterator is in `work` unless it is being stepped or the task is over, so it never steps
//!    inside its own step.
//! 6. The iterator is dropped, or returned, exactly once: when the task is over, and not before its
//!    step has returned.
//! 7. How the task ended is set before its waiters are notified, and never changes.
//! 8. The iterator's failure is reported when no handle is left, if no Deferred of its end was ever
//!    requested.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::errors::CooperateError;
use super::forget;
use super::pace::{Slice, SliceMeter};
use crate::clock::{ClockStopped, DelayedCall, Timers};
use crate::defer::{Deferred, IntoOutcome, Listeners, Outcome, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::index::Indexed;
use crate::report::{self, Origin};

/// The state of a cooperator, as seen by its tasks.
pub(super) struct Shared {
    timers: Timers,
    slice: Slice,
    pub(super) state: Cell<State>,
    /// The queue by order of arrival (invariant 2).
    pub(super) queue: RefCell<Indexed<Rc<CoopTask>>>,
    /// The number of arrivals in the queue so far.
    tickets: Cell<u64>,
    /// The tasks that are not over, in the order in which they were added.
    pub(super) tasks: RefCell<Indexed<Weak<CoopTask>>>,
    /// The number of tasks so far.
    numbers: Cell<u64>,
    /// `Some` while `is_scheduled`, and a little longer.
    timer: Cell<Option<DelayedCall>>,
    /// Set by invariant 1.
    is_scheduled: Cell<bool>,
    in_slice: Cell<bool>,
    pub(super) location: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unstarted,
    Running,
    Stopped,
}

impl Shared {
    pub(super) fn new(
        timers: &Timers,
        slice: Slice,
        state: State,
        location: &'static Location<'static>,
    ) -> Rc<Self> {
        Rc::new(Self {
            timers: timers.clone(),
            slice,
            state: Cell::new(state),
            queue: RefCell::default(),
            tickets: Cell::new(0),
            tasks: RefCell::default(),
            numbers: Cell::new(0),
            timer: Cell::new(None),
            is_scheduled: Cell::new(false),
            in_slice: Cell::new(false),
            location,
        })
    }

    pub(super) fn add(
        self: &Rc<Self>,
        work: Box<dyn Work>,
        has_waiter: bool,
        location: &'static Location<'static>,
    ) -> Rc<CoopTask> {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let task = CoopTask::new(self.clone(), number, work, has_waiter, location);
        if self.state.get() == State::Stopped {
            task.end(End::Ended(Failure::at(
                CooperateError::SchedulerStopped,
                location,
            )));
        } else {
            let known = Rc::downgrade(&task);
            self.tasks.borrow_mut().insert(number, known);
            task.requeue();
        }
        task
    }

    /// Puts a task that can continue at the end of the queue.
    pub(super) fn push(self: &Rc<Self>, task: Rc<CoopTask>) {
        let ticket = self.tickets.replace(self.tickets.get() + 1);
        task.ticket.set(Some(ticket));
        self.queue.borrow_mut().insert(ticket, task);
        self.schedule();
    }

    /// Takes the task out of the queue, if it is there.
    pub(super) fn remove(&self, task: &Rc<CoopTask>) {
        let Some(ticket) = task.ticket.take() else {
            return;
        };
        let mut queue = self.queue.borrow_mut();
        let removed = queue.remove(ticket);
        let is_empty = queue.is_empty();
        drop(queue);
        drop(removed);
        if is_empty {
            self.unschedule();
        }
    }

    /// Removes the task with this number.
    pub(super) fn forget(&self, number: u64) {
        self.tasks.borrow_mut().remove(number);
    }

    pub(super) fn schedule(self: &Rc<Self>) {
        let is_idle = self.queue.borrow().is_empty() || self.in_slice.get();
        if is_idle || self.is_scheduled.get() || self.state.get() != State::Running {
            return;
        }
        self.is_scheduled.set(true);
        let deadline = self.timers.later(self.timers.now(), self.slice.rest);
        let turn = Turn(Some(self.clone()));
        let call = self
            .timers
            .call_at(deadline, self.location, move || turn.come());
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
        let mut spell = SliceMeter::begin(&self.timers);
        // A stop empties the queue.
        loop {
            let first = self.queue.borrow_mut().pop_first();
            let Some(task) = first else { break };
            task.ticket.set(None);
            task.step();
            drop(task);
            if spell.is_over_after_step(&self.timers, self.slice) {
                break;
            }
        }
        self.in_slice.set(false);
        self.schedule();
    }

    pub(super) fn stop(self: &Rc<Self>, location: &'static Location<'static>) {
        if self.state.replace(State::Stopped) != State::Stopped {
            self.end_all(|| Failure::at(CooperateError::SchedulerStopped, location));
        }
    }

    fn end_all(&self, why: impl Fn() -> Failure) {
        let tasks: Vec<_> = self.tasks.borrow().values().cloned().collect();
        self.unschedule();
        for task in tasks.iter().filter_map(Weak::upgrade) {
            task.end(End::Ended(why()));
        }
    }
}

/// The next slice of the cooperator, owned by the clock.
struct Turn(Option<Rc<Shared>>);

impl Turn {
    fn come(mut self) {
        if let Some(shared) = self.0.take() {
            shared.run_slice();
        }
    }
}

impl Drop for Turn {
    /// If the cooperator has not cancelled the slice, the clock has stopped.
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        if shared.is_scheduled.get() {
            shared.end_all(|| Failure::at(ClockStopped, shared.location));
        }
    }
}

/// The end of a task.
#[derive(Clone)]
pub(super) enum End {
    Done,
    /// The iterator failed.
    Failed(Failure),
    /// The task was stopped.
    Ended(Failure),
}

impl End {
    fn result(&self) -> Result<(), Failure> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(failure) | Self::Ended(failure) => Err(failure.clone()),
        }
    }
}

/// An iterator, without its type.
pub(super) trait Work {
    /// Runs one step; `None` when the iterator is exhausted.
    fn step(&mut self) -> Option<Outcome<()>>;

    /// Drops the iterator, or returns it to its owner, when the task is over.
    fn end(self: Box<Self>, result: Result<(), Failure>);
}

/// An iterator that yields what a callback may return.
pub(super) struct Steps<I: 'static, V> {
    iter: I,
    /// The resolver that gets the iterator at its end.
    owner: Option<Resolver<I>>,
    location: &'static Location<'static>,
    via: PhantomData<fn(V)>,
}

impl<I, V> Steps<I, V> {
    pub(super) fn new(
        iter: I,
        owner: Option<Resolver<I>>,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            iter,
            owner,
            location,
            via: PhantomData,
        }
    }
}

impl<V, I> Work for Steps<I, V>
where
    I: Iterator + 'static,
    I::Item: IntoOutcome<V>,
{
    fn step(&mut self) -> Option<Outcome<()>> {
        let yielded = self.iter.next()?;
        Some(forget(yielded.into_outcome(self.location)))
    }

    fn end(self: Box<Self>, result: Result<(), Failure>) {
        let Self {
            iter,
            owner,
            location,
            ..
        } = *self;
        match (owner, result) {
            (Some(owner), Ok(())) => owner.callback(iter),
            // The end of the program is not reported to a Deferred that was dropped.
            (Some(owner), Err(failure))
                if failure.is::<ClockStopped>() && owner.has_no_consumer() =>
            {
                owner.callback(iter);
            }
            (owner, result) => {
                report::discard(iter, location);
                if let (Some(owner), Err(failure)) = (owner, result) {
                    owner.errback(failure);
                }
            }
        }
    }
}

/// One task.
pub(super) struct CoopTask {
    cooperator: Rc<Shared>,
    number: u64,
    /// Set by invariant 5.
    work: Cell<Option<Box<dyn Work>>>,
    is_stepping: Cell<bool>,
    /// `Some` while the task is in the queue.
    pub(super) ticket: Cell<Option<u64>>,
    /// The number of holds: pauses, and the Deferred that the task waits for.
    pub(super) holds: Cell<u32>,
    /// Cancels the Deferred that the task waits for.
    cancel: Cell<Option<Box<dyn FnOnce()>>>,
    pub(super) end: RefCell<Option<End>>,
    pub(super) waiters: Listeners<()>,
    /// Whether a Deferred of the end was requested.
    has_waiter: Cell<bool>,
    pub(super) location: &'static Location<'static>,
}

impl CoopTask {
    pub(super) fn new(
        cooperator: Rc<Shared>,
        number: u64,
        work: Box<dyn Work>,
        has_waiter: bool,
        location: &'static Location<'static>,
    ) -> Rc<Self> {
        Rc::new(Self {
            cooperator,
            number,
            work: Cell::new(Some(work)),
            is_stepping: Cell::new(false),
            ticket: Cell::new(None),
            holds: Cell::new(0),
            cancel: Cell::new(None),
            end: RefCell::default(),
            waiters: Listeners::default(),
            has_waiter: Cell::new(has_waiter),
            location,
        })
    }

    /// Puts the task into the queue, unless it is held, stepping or over.
    pub(super) fn requeue(self: &Rc<Self>) {
        if self.holds.get() == 0 && !self.is_stepping.get() && !self.is_over() {
            self.cooperator.push(self.clone());
        }
    }

    /// Runs one step of a task that has just left the queue.
    pub(super) fn step(self: &Rc<Self>) {
        let Some(mut work) = self.work.take() else {
            return;
        };
        self.is_stepping.set(true);
        let stepped = report::catch(self.location, || work.step());
        self.is_stepping.set(false);
        let end = self.end.borrow().clone();
        if let Some(end) = end {
            // The task was ended inside its own step.
            self.end_work(work, &end);
            return self.drop_outcome(stepped);
        }
        self.work.set(Some(work));
        match stepped {
            Ok(Some(Outcome::Ready(Ok(())))) => self.requeue(),
            Ok(Some(Outcome::Ready(Err(failure)))) | Err(failure) => {
                self.end(End::Failed(failure));
            }
            Ok(Some(Outcome::Wait(deferred))) => self.wait_for(deferred),
            Ok(None) => self.end(End::Done),
        }
    }

    /// Ends the task, unless it is over.
    pub(super) fn end(self: &Rc<Self>, end: End) {
        if self.is_over() {
            return;
        }
        *self.end.borrow_mut() = Some(end.clone());
        self.cooperator.forget(self.number);
        self.cooperator.remove(self);
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
        if let Some(work) = self.work.take() {
            self.end_work(work, &end);
        }
        for waiter in self.waiters.resolvers() {
            if !waiter.is_cancelled() {
                self.has_waiter.set(true);
            }
            waiter.resolve(end.result());
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Fails if the task is over.
    pub(super) fn check(&self, location: &'static Location<'static>) -> Result<(), Failure> {
        match &*self.end.borrow() {
            None => Ok(()),
            Some(End::Done) => Err(Failure::at(CooperateError::TaskDone, location)),
            Some(End::Failed(failure)) => Err(Failure::at(
                CooperateError::TaskFailed(failure.clone()),
                location,
            )),
            Some(End::Ended(failure)) => Err(failure.clone()),
        }
    }

    pub(super) fn hold(self: &Rc<Self>) {
        self.holds.set(self.holds.get() + 1);
        self.cooperator.remove(self);
    }

    pub(super) fn release(self: &Rc<Self>) {
        self.holds.set(self.holds.get() - 1);
        self.requeue();
    }

    fn wait_for(self: &Rc<Self>, deferred: Deferred<()>) {
        self.holds.set(self.holds.get() + 1);
        self.cancel.set(Some(Box::new(deferred.remote_cancel())));
        let task = self.clone();
        drop(deferred.add_both(move |result| task.deferred_done(result)));
    }

    /// Handles the result of the Deferred that the task waited for. A result that comes after the
    /// end is passed on, to be reported.
    fn deferred_done(self: &Rc<Self>, result: Result<(), Failure>) -> Result<(), Failure> {
        self.cancel.take();
        match result {
            Err(failure) if !self.is_over() => self.end(End::Failed(failure)),
            Err(failure) if failure.find::<Cancelled>().is_none() => return Err(failure),
            Ok(()) if !self.is_over() => self.release(),
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    fn end_work(&self, work: Box<dyn Work>, end: &End) {
        report::contain_rarely(Origin::Destructor, self.location, || work.end(end.result()));
    }

    /// Drops the result of a step that has ended its own task.
    fn drop_outcome(self: &Rc<Self>, stepped: Result<Option<Outcome<()>>, Failure>) {
        match stepped {
            Ok(Some(Outcome::Wait(deferred))) => {
                deferred.cancel();
                let task = self.clone();
                drop(deferred.add_both(move |result| task.deferred_done(result)));
            }
            Ok(Some(Outcome::Ready(Err(failure)))) | Err(failure) => {
                report::deliver(Origin::Task, failure, self.location);
            }
            Ok(_) => {}
        }
    }

    #[track_caller]
    pub(super) fn when_done(&self) -> Deferred<()> {
        let end = self.end.borrow().clone();
        match end {
            Some(End::Done) => Deferred::succeed(()),
            Some(End::Failed(failure) | End::Ended(failure)) => {
                self.has_waiter.set(true);
                Deferred::fail(failure)
            }
            None => self.waiters.join(),
        }
    }
}

impl Drop for CoopTask {
    fn drop(&mut self) {
        self.cooperator.forget(self.number);
        let work = self.work.take();
        report::discard(work, self.location);
        let unasked = match self.end.take() {
            Some(End::Failed(failure)) if !self.has_waiter.get() => failure,
            _ => return,
        };
        report::deliver(Origin::Task, unasked, self.location);
    }
}
