//! [`TaskInfo`]: what is stored for a task beyond its future: its name, its locals, and in debug
//! mode what it waits for.
//!
//! # The idea
//!
//! Most tasks need none of this and have no info. A task gets one when it has a name, when it was
//! spawned in a span of `tracing` or where [locals](super::Locals) are set, or in debug mode. While
//! the task is polled its info is this thread's current one, so that everything that waits can
//! record itself there ([`note_wait`]).
//!
//! # Invariants
//!
//! 1. An info is listed with its executor from the spawn until the future is dropped.
//! 2. The records of waits are evaluated when a dump asks, and those that are over are removed; an
//!    info that fills up is cleaned, so that a task that awaits a million things one after another
//!    keeps a handful of records.
//! 3. Locals and the span are dropped with the future, not with the info.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use tracing::Span;
use tracing::span::EnteredSpan;

use super::locals::{Locals, Set};
use crate::context;
use crate::debug::{self, DumpItem, Id};
use crate::failure::{TaskName, TraceFrame};
use crate::index::Index;
use crate::spans;

/// The position of a task in a list of its executor, counted from one.
pub(super) type Number = NonZeroU32;

/// The info of one task. Its alignment leaves the lowest bits of its address to the handle's flags.
#[repr(align(8))]
pub(crate) struct TaskInfo {
    kind: &'static str,
    title: TaskName,
    /// The position in its executor's list.
    listed: Cell<Option<Number>>,
    locals: RefCell<Locals>,
    waits: RefCell<Vec<Rc<dyn Wait>>>,
    /// The number of records at which they are cleaned.
    clean_at: Cell<usize>,
    state: Cell<State>,
    /// The span in which the task was spawned.
    span: RefCell<Option<Span>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The task has not been polled yet.
    New,
    Running,
    Waiting,
    Over,
}

/// Something that a task can wait for.
pub(crate) trait Wait: 'static {
    /// Returns its description, if the task still waits for it.
    fn look(&self) -> Option<DumpItem>;
}

impl TaskInfo {
    pub(crate) fn new(
        spawned: &'static Location<'static>,
        name: Option<Arc<str>>,
        locals: Locals,
    ) -> Rc<Self> {
        Self::of("task", spawned, name, locals)
    }

    /// Makes the info of a child of a scope, which is polled inside a task.
    pub(crate) fn of_a_child(spawned: &'static Location<'static>, locals: Locals) -> Rc<Self> {
        Self::of("child", spawned, None, locals)
    }

    fn of(
        kind: &'static str,
        spawned: &'static Location<'static>,
        name: Option<Arc<str>>,
        locals: Locals,
    ) -> Rc<Self> {
        Rc::new(Self {
            kind,
            title: TaskName { spawned, name },
            listed: Cell::new(None),
            locals: RefCell::new(locals),
            waits: RefCell::default(),
            clean_at: Cell::new(FIRST_CLEANING),
            state: Cell::new(State::New),
            span: RefCell::new(spans::current()),
        })
    }

    /// Makes the info and its locals this thread's current ones, while its future is polled.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        self.state.set(State::Running);
        let locals = self.locals.borrow().clone();
        Entered {
            before: context::with(|thread| thread.task.replace(Some(self.clone()))),
            _set: locals.set(),
            info: self.clone(),
            _span: self.span().map(Span::entered),
        }
    }

    /// Returns the span in which the task was spawned, if there was one.
    pub(super) fn span(&self) -> Option<Span> {
        self.span.borrow().clone()
    }

    pub(crate) fn title(&self) -> &TaskName {
        &self.title
    }

    pub(super) fn listed(&self) -> &Cell<Option<Number>> {
        &self.listed
    }

    /// Records that the future was dropped.
    pub(crate) fn close(&self) {
        self.state.set(State::Over);
        let held = (self.locals.take(), self.span.take());
        drop(held);
        let waits = self.waits.take();
        drop(waits);
    }

    /// Returns the description of the task, with what it waits for.
    pub(crate) fn dump_item(&self) -> DumpItem {
        let waits: Vec<DumpItem> = self.waiting_for();
        let about = match self.state.get() {
            State::New => "has not begun",
            State::Running => "is running",
            State::Waiting if waits.is_empty() => {
                "waits for nothing that is recorded here, or is about to run"
            }
            State::Waiting => "waits",
            State::Over => "has ended",
        };
        DumpItem {
            id: self.id(),
            kind: self.kind,
            name: self.title.name.clone(),
            location: self.title.spawned,
            about: about.to_owned(),
            waits,
        }
    }

    pub(crate) fn id(&self) -> Id {
        Id::At(std::ptr::from_ref(self).addr())
    }

    /// Returns what the task waits for, each once. Removes records that are over or duplicate.
    fn waiting_for(&self) -> Vec<DumpItem> {
        let noted = self.waits.borrow().clone();
        let looked: Vec<_> = noted.iter().map(|wait| wait.look()).collect();
        let mut seen = Index::default();
        // Of several records of one thing, the last is the current one.
        let is_last = |dump_item: &Option<DumpItem>| {
            dump_item
                .as_ref()
                .is_some_and(|it| seen.add(it.id.number()))
        };
        let mut last: Vec<_> = looked.iter().rev().map(is_last).collect();
        let mut over = Vec::new();
        self.waits.borrow_mut().retain(|wait| {
            // Records added since stay.
            let stays = last.pop().unwrap_or(true);
            if !stays {
                over.push(wait.clone());
            }
            stays
        });
        drop((noted, over));
        let mut seen = Index::default();
        let dump_items = looked.into_iter().flatten();
        dump_items
            .filter(|dump_item| seen.add(dump_item.id.number()))
            .collect()
    }
}

impl Wait for TaskInfo {
    fn look(&self) -> Option<DumpItem> {
        let is_over = self.state.get() == State::Over;
        // Without its own waits: the dump lists it separately, with them.
        (!is_over).then(|| DumpItem {
            id: self.id(),
            kind: self.kind,
            name: self.title.name.clone(),
            location: self.title.spawned,
            about: String::new(),
            waits: Vec::new(),
        })
    }
}

/// The guard of [`TaskInfo::enter`].
#[must_use]
pub(crate) struct Entered {
    info: Rc<TaskInfo>,
    before: Option<Rc<TaskInfo>>,
    _set: Set,
    _span: Option<EnteredSpan>,
}

impl Entered {
    /// Restores what was current before. A method, because most tasks have no info and nothing to
    /// restore here.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave(self) {}
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.info.state.get() == State::Running {
            self.info.state.set(State::Waiting);
        }
        let before = self.before.take();
        let left = context::with(|thread| thread.task.replace(before));
        drop(left);
    }
}

/// Returns the name and the location of the task that is being polled.
///
/// Returns `None` outside of a task, and in a task that has no name, unless it was spawned in debug
/// mode, in a span of `tracing`, or where task-locals were set. A child of a
/// [`scope`](crate::scope) that was spawned under one of these three conditions counts as a task.
pub fn current() -> Option<TaskName> {
    current_info().map(|info| info.title.clone())
}

/// Records that the task being polled waits for something, if debug mode is on.
#[inline]
pub(crate) fn note_wait(make: impl FnOnce() -> Rc<dyn Wait>) {
    if debug::is_on() {
        note(make());
    }
}

#[cold]
fn note(wait: Rc<dyn Wait>) {
    let Some(info) = current_info() else { return };
    let count = info.waits.borrow().len();
    if count >= info.clean_at.get() {
        let left = info.waiting_for().len();
        info.clean_at.set(FIRST_CLEANING.max(left * 2));
    }
    info.waits.borrow_mut().push(wait);
}

/// Returns the trace frame of an `await` at `at`.
pub(crate) fn awaited(at: &'static Location<'static>) -> TraceFrame {
    TraceFrame::Awaited { at, by: current() }
}

/// Returns the info of the task being polled, if it has one.
pub(crate) fn current_info() -> Option<Rc<TaskInfo>> {
    context::with(|thread| thread.task.get())
}

/// The number of records from which on an info is cleaned now and then.
const FIRST_CLEANING: usize = 16;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use crate::debug::Debugging;

    struct Long(usize);

    impl Wait for Long {
        fn look(&self) -> Option<DumpItem> {
            Some(DumpItem {
                id: Id::At(self.0),
                kind: "long wait",
                name: None,
                location: Location::caller(),
                about: String::new(),
                waits: Vec::new(),
            })
        }
    }

    #[test]
    fn a_long_wait_is_kept_once_however_often_it_is_noted() {
        let _on = Debugging::begin();
        let info = TaskInfo::new(Location::caller(), None, Locals::default());
        let _entered = info.enter();
        for _ in 0..100_000 {
            note_wait(|| Rc::new(Long(1)));
        }
        assert!(info.waits.borrow().len() <= FIRST_CLEANING);
        assert_eq!(info.waiting_for().len(), 1);
        for n in 0..1000 {
            note_wait(|| Rc::new(Long(n)));
        }
        assert_eq!(info.waiting_for().len(), 1000);
    }
}
