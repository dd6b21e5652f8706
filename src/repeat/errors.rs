//! How cooperative work ends.

use std::error::Error;
use std::fmt;

use crate::failure::{Failure, errors};

/// The cooperator was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStopped;

errors! {
    SchedulerStopped: "the cooperator was stopped";
    TaskDone: "the work is done";
    TaskStopped: "the work was stopped";
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
