//! [`CooperativeTask`]: the handle to one task of a [`Cooperator`](super::Cooperator).

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::errors::CooperateError;
use super::work::{CoopTask, End};
use crate::defer::Deferred;
use crate::failure::Failure;

/// The handle to a task of a [`Cooperator`](super::Cooperator), to pause it, stop it, and wait for
/// its end.
///
/// The handle can be stored, cloned or dropped; dropping it does not end the task. A failure of a
/// task is reported when the last handle is dropped and no
/// [`when_done`](CooperativeTask::when_done) was called.
///
/// # Examples
///
/// ```
/// # use std::{cell::Cell, rc::Rc, time::Duration};
/// # use torsade::repeat::{Slice, CooperateError};
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
/// task.when_done().add_errback(|failure| {
///     assert!(matches!(failure.downcast_ref(), Some(CooperateError::TaskStopped)));
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CooperativeTask(Rc<CoopTask>);

/// A guard that holds back a task until the guard is dropped; see [`CooperativeTask::pause`].
#[must_use = "dropping a pause lets the task continue"]
pub struct TaskPause(Rc<CoopTask>);

impl CooperativeTask {
    /// Pauses the task before its next step, until the [`TaskPause`] is dropped. Several pauses add
    /// up.
    ///
    /// # Errors
    ///
    /// Fails when the task has ended: with
    /// [`CooperateError::TaskDone`](super::CooperateError::TaskDone),
    /// [`CooperateError::TaskFailed`](super::CooperateError::TaskFailed),
    /// [`CooperateError::TaskStopped`],
    /// [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped) or
    /// [`ClockStopped`](crate::clock::ClockStopped).
    #[track_caller]
    pub fn pause(&self) -> Result<TaskPause, Failure> {
        self.0.check(Location::caller())?;
        self.0.hold();
        Ok(TaskPause(self.0.clone()))
    }

    /// Ends the task: drops the iterator, and cancels a Deferred that the task waits for.
    /// [`when_done`](CooperativeTask::when_done) then fails with [`CooperateError::TaskStopped`].
    ///
    /// If the iterator's `next` calls this method, the iterator is dropped when `next` has
    /// returned.
    ///
    /// # Errors
    ///
    /// Fails as [`pause`](CooperativeTask::pause) does if the task has ended.
    #[track_caller]
    pub fn stop(&self) -> Result<(), Failure> {
        let location = Location::caller();
        self.0.check(location)?;
        self.0.end(End::Ended(Failure::at(
            CooperateError::TaskStopped,
            location,
        )));
        Ok(())
    }

    /// Returns a new Deferred that fires when the task has ended.
    ///
    /// Cancelling the Deferred does not stop the task.
    ///
    /// # Errors
    ///
    /// The Deferred fails with the failure that the iterator yielded, or with its panic; with
    /// [`CooperateError::TaskStopped`]; with
    /// [`CooperateError::SchedulerStopped`](super::CooperateError::SchedulerStopped); and with
    /// [`ClockStopped`](crate::clock::ClockStopped).
    #[doc(alias = "whenDone")]
    #[track_caller]
    pub fn when_done(&self) -> Deferred<()> {
        self.0.when_done()
    }

    /// Returns whether the task has ended: is done, has failed, or was stopped.
    pub fn is_finished(&self) -> bool {
        self.0.end.borrow().is_some()
    }

    /// Returns the line that gave the work to the cooperator.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    pub(super) fn of(task: Rc<CoopTask>) -> Self {
        Self(task)
    }
}

impl TaskPause {
    /// Lets the task continue, as dropping does.
    pub fn resume(self) {}
}

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
        write!(f, "CooperativeTask({state}, added at {})", self.0.location)
    }
}

impl fmt::Debug for TaskPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskPause")
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use crate::clock::VirtualClock;
    use crate::repeat::Cooperator;

    #[test]
    fn waiters_that_are_dropped_again_and_again_leave_nothing_behind() {
        let clock = VirtualClock::new();
        let task = Cooperator::new(&clock).cooperate(std::iter::repeat(()));
        let kept = task.when_done();
        for _ in 0..10_000 {
            let has_waiter = task.when_done();
            has_waiter.cancel();
            drop(has_waiter.add_errback(|_| ()));
        }
        assert!(!kept.is_settled());
        drop(kept);
        assert!(task.0.waiters.is_empty());
    }
}
