//! One piece of work of a [`Cooperator`](super::Cooperator), and the handle to it.
//!
//! # States
//!
//! | state   | is                                     | left by                                                |
//! |---------|----------------------------------------|--------------------------------------------------------|
//! | queued  | in the cooperator's queue              | its turn: stepping; a pause: held; a stop: over        |
//! | stepping | taken out, its `next` on the stack    | the return: queued, held, or over                      |
//! | held    | paused, or waiting for a Deferred      | the last of these gone: queued; a failure, a stop: over |
//! | over    | exhausted, failed, or ended by others  |                                                        |
//!
//! # Invariants
//!
//! 1. The iterator is in its place unless it is being stepped or it is over, so it never steps inside its own step.
//! 2. It is dropped, or given back, exactly once: when the work is over, and not before its step has returned.
//! 3. How it ended is set before anybody is told, and never changes.
//! 4. A failure of the iterator's own that nobody has asked for is reported when nobody can ask for it any more.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

use super::cooperate::Shared;
use super::forget;
use crate::clock::ClockStopped;
use crate::defer::{Deferred, IntoOutcome, Listeners, Outcome, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// Work that a [`Cooperator`](super::Cooperator) does: the handle to pause it, stop it, and ask for its end.
///
/// It can be kept, cloned or dropped; dropping it changes nothing, the work goes on. A failure of work for whose end
/// nobody has asked is reported when the last handle goes.
///
/// # Examples
///
/// ```
/// # use std::{cell::Cell, rc::Rc, time::Duration};
/// # use torsade::repeat::{Slice, TaskStopped};
/// # use torsade::{Cooperator, VirtualClock};
/// # fn main() -> Result<(), torsade::Failure> {
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let (clock, count) = (VirtualClock::new(), Rc::new(Cell::new(0)));
/// let slice = Slice { steps: 1, rest: SECOND, ..Slice::default() };
/// let cooperator = Cooperator::with_slice(&clock, slice);
/// let counting = count.clone();
/// let task = cooperator.cooperate((1..).map(move |n| counting.set(n)));
/// clock.advance(SECOND * 5);
///
/// let pause = task.pause()?;
/// clock.advance(SECOND * 5);
/// assert_eq!(count.get(), 5);
/// pause.resume();
/// clock.advance(SECOND);
/// assert_eq!(count.get(), 6);
///
/// task.stop()?;
/// task.when_done().add_errback(|failure| assert!(failure.is::<TaskStopped>()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CooperativeTask(Rc<Job>);

/// Keeps work from going on until it is dropped; see [`CooperativeTask::pause`].
#[doc(alias = "NotPaused")]
#[must_use = "dropping it lets the work go on"]
pub struct TaskPause(Rc<Job>);

impl CooperativeTask {
    /// Keeps the work from its next step until the [`TaskPause`] is dropped. Pauses add up.
    ///
    /// # Errors
    ///
    /// When it is over, how: [`TaskDone`], [`TaskFailed`], [`TaskStopped`], or
    /// [`SchedulerStopped`](super::SchedulerStopped).
    #[track_caller]
    pub fn pause(&self) -> Result<TaskPause, Failure> {
        self.0.check(Location::caller())?;
        self.0.hold();
        Ok(TaskPause(self.0.clone()))
    }

    /// Ends it, with [`TaskStopped`]; the iterator is dropped, and a Deferred it waits for is cancelled.
    ///
    /// Inside the iterator's own `next` this is allowed as well; the iterator is then dropped when that has returned.
    ///
    /// # Errors
    ///
    /// As [`pause`](CooperativeTask::pause): it was over before.
    #[track_caller]
    pub fn stop(&self) -> Result<(), Failure> {
        let place = Location::caller();
        self.0.check(place)?;
        self.0.end(End::Ended(Failure::at(TaskStopped, place)));
        Ok(())
    }

    /// A Deferred that fires when it is over; a fresh one each time.
    ///
    /// Cancelling it does nothing to the work.
    ///
    /// # Errors
    ///
    /// It fails with what the iterator yielded or panicked with, with [`TaskStopped`], or with
    /// [`SchedulerStopped`](super::SchedulerStopped).
    #[doc(alias = "whenDone")]
    #[track_caller]
    pub fn when_done(&self) -> Deferred<()> {
        self.0.when_done()
    }

    /// Is it over, in whatever way?
    pub fn is_over(&self) -> bool {
        self.0.end.borrow().is_some()
    }

    /// Where the work was given to the cooperator.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.place
    }

    pub(super) fn of(job: Rc<Job>) -> Self {
        Self(job)
    }
}

impl TaskPause {
    /// Lets the work go on, as dropping does.
    pub fn resume(self) {}
}

/// The work is over: everything was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskDone;

/// The work is over: it failed with this.
#[derive(Clone, Debug)]
pub struct TaskFailed(pub Failure);

/// The work was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskStopped;

impl fmt::Display for TaskDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work is done")
    }
}

impl Error for TaskDone {}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work has failed")
    }
}

impl Error for TaskFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.error())
    }
}

// It holds a failure, and `?` turns it into one.
impl Unpin for TaskFailed {}

impl fmt::Display for TaskStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the work was stopped")
    }
}

impl Error for TaskStopped {}

impl Drop for TaskPause {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for CooperativeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.0.end.borrow() {
            Some(End::Done) => "done",
            Some(End::Failed(_)) => "failed",
            Some(End::Ended(_)) => "stopped",
            None if self.0.holds.get() > 0 => "held",
            None => "running",
        };
        write!(f, "CooperativeTask({state}, given at {})", self.0.place)
    }
}

impl fmt::Debug for TaskPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskPause")
    }
}

/// How work ended.
#[derive(Clone)]
pub(super) enum End {
    Done,
    /// By what the iterator itself came to.
    Failed(Failure),
    /// By others.
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
    /// One step; nothing when it is exhausted.
    fn step(&mut self) -> Option<Outcome<()>>;

    /// It is over: lets go of the iterator, or gives it back.
    fn end(self: Box<Self>, result: Result<(), Failure>);
}

/// An iterator that yields what a callback may return.
pub(super) struct Steps<I: 'static, V> {
    iter: I,
    /// Who gets the iterator at its end.
    owner: Option<Resolver<I>>,
    place: &'static Location<'static>,
    via: PhantomData<fn(V)>,
}

impl<I, V> Steps<I, V> {
    pub(super) fn new(
        iter: I,
        owner: Option<Resolver<I>>,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            iter,
            owner,
            place,
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
        Some(forget(yielded.into_outcome(self.place)))
    }

    fn end(self: Box<Self>, result: Result<(), Failure>) {
        let Self {
            iter, owner, place, ..
        } = *self;
        match (owner, result) {
            (Some(owner), Ok(())) => owner.callback(iter),
            // That the program ends is no news to a Deferred that was dropped long ago.
            (Some(owner), Err(failure)) if failure.is::<ClockStopped>() && owner.is_unheard() => {
                owner.callback(iter);
            }
            (owner, result) => {
                report::discard(iter, place);
                if let (Some(owner), Err(failure)) = (owner, result) {
                    owner.errback(failure);
                }
            }
        }
    }
}

/// One piece of work.
pub(super) struct Job {
    cooperator: Rc<Shared>,
    number: u64,
    /// Invariant 1.
    work: Cell<Option<Box<dyn Work>>>,
    is_stepping: Cell<bool>,
    /// Set while it stands in the queue.
    pub(super) ticket: Cell<Option<u64>>,
    /// What keeps it from going on: pauses, and the Deferred that it waits for.
    holds: Cell<u32>,
    /// Cancels the Deferred that it waits for.
    cancel: Cell<Option<Box<dyn FnOnce()>>>,
    end: RefCell<Option<End>>,
    waiters: Listeners<()>,
    /// Somebody was told of its failure, or will be.
    asked: Cell<bool>,
    place: &'static Location<'static>,
}

impl Job {
    pub(super) fn new(
        cooperator: Rc<Shared>,
        number: u64,
        work: Box<dyn Work>,
        asked: bool,
        place: &'static Location<'static>,
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
            asked: Cell::new(asked),
            place,
        })
    }

    /// Into the queue, if nothing speaks against it.
    pub(super) fn go_on(self: &Rc<Self>) {
        if self.holds.get() == 0 && !self.is_stepping.get() && !self.is_over() {
            self.cooperator.push(self.clone());
        }
    }

    /// Does one step. It has just left the queue.
    pub(super) fn step(self: &Rc<Self>) {
        let Some(mut work) = self.work.take() else {
            return;
        };
        self.is_stepping.set(true);
        let stepped = report::catch(self.place, || work.step());
        self.is_stepping.set(false);
        let end = self.end.borrow().clone();
        if let Some(end) = end {
            // It was ended inside its own step.
            self.let_go(work, &end);
            return self.drop_outcome(stepped);
        }
        self.work.set(Some(work));
        match stepped {
            Ok(Some(Outcome::Ready(Ok(())))) => self.go_on(),
            Ok(Some(Outcome::Ready(Err(failure)))) | Err(failure) => {
                self.end(End::Failed(failure));
            }
            Ok(Some(Outcome::Wait(deferred))) => self.wait_for(deferred),
            Ok(None) => self.end(End::Done),
        }
    }

    /// Ends it, unless it is over.
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
        let work = self.work.take();
        if let Some(work) = work {
            self.let_go(work, &end);
        }
        for waiter in self.waiters.resolvers() {
            if !waiter.is_cancelled() {
                self.asked.set(true);
            }
            waiter.resolve(end.result());
        }
    }

    fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// An error if it is over.
    fn check(&self, place: &'static Location<'static>) -> Result<(), Failure> {
        match &*self.end.borrow() {
            None => Ok(()),
            Some(End::Done) => Err(Failure::at(TaskDone, place)),
            Some(End::Failed(failure)) => Err(Failure::at(TaskFailed(failure.clone()), place)),
            Some(End::Ended(failure)) => Err(failure.clone()),
        }
    }

    fn hold(self: &Rc<Self>) {
        self.holds.set(self.holds.get() + 1);
        self.cooperator.remove(self);
    }

    fn release(self: &Rc<Self>) {
        self.holds.set(self.holds.get() - 1);
        self.go_on();
    }

    fn wait_for(self: &Rc<Self>, deferred: Deferred<()>) {
        self.holds.set(self.holds.get() + 1);
        self.cancel.set(Some(Box::new(deferred.remote_cancel())));
        let job = self.clone();
        drop(deferred.add_both(move |result| job.came(result)));
    }

    /// What it waited for has come. What comes after its end is passed on, to be reported.
    fn came(self: &Rc<Self>, result: Result<(), Failure>) -> Result<(), Failure> {
        self.cancel.take();
        match result {
            Err(failure) if !self.is_over() => self.end(End::Failed(failure)),
            Err(failure) if failure.find::<Cancelled>().is_none() => return Err(failure),
            Ok(()) if !self.is_over() => self.release(),
            Ok(()) | Err(_) => {}
        }
        Ok(())
    }

    fn let_go(&self, work: Box<dyn Work>, end: &End) {
        report::contain(Origin::Destructor, self.place, || work.end(end.result()));
    }

    /// Its step has ended the work, and so nobody wants what the step came to.
    fn drop_outcome(self: &Rc<Self>, stepped: Result<Option<Outcome<()>>, Failure>) {
        match stepped {
            Ok(Some(Outcome::Wait(deferred))) => {
                deferred.cancel();
                let job = self.clone();
                drop(deferred.add_both(move |result| job.came(result)));
            }
            Ok(Some(Outcome::Ready(Err(failure)))) | Err(failure) => {
                report::deliver(Origin::Task, failure, self.place);
            }
            Ok(_) => {}
        }
    }

    #[track_caller]
    fn when_done(&self) -> Deferred<()> {
        let end = self.end.borrow().clone();
        match end {
            Some(End::Done) => Deferred::succeed(()),
            Some(End::Failed(failure) | End::Ended(failure)) => {
                self.asked.set(true);
                Deferred::fail(failure)
            }
            None => self.waiters.join(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cooperator.forget(self.number);
        let work = self.work.take();
        report::discard(work, self.place);
        let unasked = match self.end.take() {
            Some(End::Failed(failure)) if !self.asked.get() => failure,
            _ => return,
        };
        report::deliver(Origin::Task, unasked, self.place);
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::VirtualClock;
    use crate::repeat::Cooperator;

    #[test]
    fn whoever_asks_again_and_again_and_gives_up_leaves_nothing_behind() {
        let clock = VirtualClock::new();
        let task = Cooperator::new(&clock).cooperate(std::iter::repeat(()));
        let kept = task.when_done();
        for _ in 0..10_000 {
            let asked = task.when_done();
            asked.cancel();
            drop(asked.add_errback(|_| ()));
        }
        assert!(!kept.is_settled());
        drop(kept);
        assert!(task.0.waiters.is_empty());
    }
}
