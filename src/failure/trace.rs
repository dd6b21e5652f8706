//! The trace of a failure: the callbacks, Deferreds and tasks it has passed through. Recorded in
//! debug mode only.

use std::fmt;
use std::iter::successors;
use std::mem;
use std::panic::Location;
use std::sync::Arc;

/// One step in the trace of a failure; see [`Failure::trace`](super::Failure::trace).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceFrame {
    /// A callback received the failure and passed it on, or produced it.
    Callback {
        /// The line that added the callback.
        added: &'static Location<'static>,
    },
    /// The failure was the result of a Deferred.
    Deferred {
        /// The line that made the Deferred.
        made: &'static Location<'static>,
        /// The line that fired its resolver; `None` if the Deferred has no resolver or was
        /// cancelled.
        fired: Option<&'static Location<'static>>,
    },
    /// A task awaited the Deferred or task that failed.
    Awaited {
        /// The line of the `await`.
        at: &'static Location<'static>,
        /// The task that awaited; `None` where it is not known.
        by: Option<TaskName>,
    },
    /// The failure was the result of this task.
    Task(TaskName),
}

/// The identity of a task in a trace: where it was spawned, and its name if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// The line that spawned the task.
    pub spawned: &'static Location<'static>,
    /// The name given with [`spawn_named`](crate::task::spawn_named); `None` for a task without
    /// one.
    pub name: Option<Arc<str>>,
}

impl fmt::Display for TraceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Callback { added } => write!(f, "the callback added at {added}"),
            Self::Deferred { made, fired: None } => write!(f, "the Deferred made at {made}"),
            Self::Deferred {
                made,
                fired: Some(fired),
            } => write!(f, "the Deferred made at {made}, fired at {fired}"),
            Self::Awaited { at, by: None } => write!(f, "the await at {at}"),
            Self::Awaited { at, by: Some(task) } => write!(f, "the await at {at}, in {task}"),
            Self::Task(task) => task.fmt(f),
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ")?;
        if let Some(name) = &self.name {
            write!(f, "`{name}` ")?;
        }
        write!(f, "spawned at {}", self.spawned)
    }
}

/// The frames so far: the last one, linked to those before it. Clones share the earlier frames.
#[derive(Clone, Default)]
pub(super) struct Trace(Option<Arc<Step>>);

struct Step {
    frame: TraceFrame,
    before: Trace,
    /// The number of frames up to and including this one.
    count: usize,
}

impl Trace {
    /// Returns whether the frame would be added: the trace is not full, and its last frame differs.
    pub(super) fn has_room_for(&self, frame: &TraceFrame) -> bool {
        // A failure that is passed on without end keeps the beginning of its trace.
        let last = self.0.as_ref();
        last.is_none_or(|last| last.count < MAX_FRAMES && last.frame != *frame)
    }

    pub(super) fn push(&mut self, frame: TraceFrame) {
        let before = mem::take(self);
        let count = before.0.as_ref().map_or(0, |last| last.count) + 1;
        self.0 = Some(Arc::new(Step {
            frame,
            before,
            count,
        }));
    }

    /// Returns the frames, the oldest first.
    pub(super) fn get(&self) -> Vec<TraceFrame> {
        let steps = successors(self.0.as_ref(), |step| step.before.0.as_ref());
        let mut hops: Vec<_> = steps.map(|step| step.frame.clone()).collect();
        hops.reverse();
        hops
    }
}

/// The most frames that a trace keeps.
const MAX_FRAMES: usize = 100;
