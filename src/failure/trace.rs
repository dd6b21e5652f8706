//! The way a failure has come, from callback to callback and from Deferred to task: what debug mode remembers.

use std::fmt;
use std::iter::successors;
use std::mem;
use std::panic::Location;
use std::sync::Arc;

/// One step of the way a failure has come; see [`Failure::trace`](super::Failure::trace).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceFrame {
    /// It went through a callback, or came out of it.
    Callback {
        /// Where the callback was added.
        added: &'static Location<'static>,
    },
    /// It was the result of a Deferred.
    Deferred {
        /// Where the Deferred was made.
        made: &'static Location<'static>,
        /// Where its resolver was used, if it has had one and was not cancelled.
        fired: Option<&'static Location<'static>>,
    },
    /// A task awaited what failed.
    Awaited {
        /// Where the `await` stands.
        at: &'static Location<'static>,
        /// The task, where that is known.
        by: Option<TaskName>,
    },
    /// It was the end of a task.
    Task(TaskName),
}

/// What a task is called: where it was spawned, and its name if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    /// Where it was spawned.
    pub spawned: &'static Location<'static>,
    /// The name it was given.
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

/// The steps so far: the last one, and those before it, which clones share.
#[derive(Clone, Default)]
pub(super) struct Trace(Option<Arc<Step>>);

struct Step {
    frame: TraceFrame,
    before: Trace,
    /// How many steps there are up to here.
    count: usize,
}

impl Trace {
    /// Would this step be added?
    pub(super) fn has_room_for(&self, frame: &TraceFrame) -> bool {
        // A failure that is handed on for ever keeps how it began.
        let last = self.0.as_ref();
        last.is_none_or(|last| last.count < MOST && last.frame != *frame)
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

    /// All of them, the first first.
    pub(super) fn get(&self) -> Vec<TraceFrame> {
        let steps = successors(self.0.as_ref(), |step| step.before.0.as_ref());
        let mut hops: Vec<_> = steps.map(|step| step.frame.clone()).collect();
        hops.reverse();
        hops
    }
}

/// So many steps are kept.
const MOST: usize = 100;
