//! The errors of cooperative tasks.

use crate::failure::{Failure, errors};

/// The error of a [`CooperativeTask`](super::CooperativeTask) that has ended: how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CooperateError {
    /// The [`Cooperator`](super::Cooperator) was stopped before the task was done.
    SchedulerStopped,
    /// The task is done: its iterator has ended.
    TaskDone,
    /// The task failed: its iterator yielded this failure, or panicked.
    TaskFailed(Failure),
    /// [`CooperativeTask::stop`](super::CooperativeTask::stop) ended the task.
    TaskStopped,
}

errors! {
    enum CooperateError {
        SchedulerStopped: "the cooperator was stopped";
        TaskDone: "the cooperative task is done";
        TaskFailed: "the cooperative task failed", source 0;
        TaskStopped: "the cooperative task was stopped";
    }
}

// The type holds a failure, and `?` converts it into one.
impl Unpin for CooperateError {}
