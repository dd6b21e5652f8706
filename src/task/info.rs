//! What is known of a task beyond its future: its name, the locals it was given, and in debug mode what it waits for.
//!
//! # The idea
//!
//! Most tasks need none of this and have no card. A task gets one when it has a name, when it was spawned where
//! [locals](super::Locals) are set, or in debug mode. While the task is polled its card is this thread's current one, so
//! that whatever has to wait can note itself there ([`note_wait`]).
//!
//! # Invariants
//!
//! 1. A card is listed with its executor from the spawning until the future is gone.
//! 2. What is noted is looked at when somebody asks, and what is over by then is forgotten; a card that fills up is
//!    looked through, so that a task that awaits a million things one after another remembers a handful.
//! 3. Locals are let go with the future, not with the card.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::locals::{Locals, Set};
use crate::context;
use crate::debug::{self, Id, Thing};
use crate::failure::{TaskName, TraceFrame};
use crate::index::Index;

/// Where a task stands in a list of its executor, counted from one.
pub(super) type Number = NonZeroU32;

/// What is known of one task.
pub(crate) struct TaskInfo {
    kind: &'static str,
    title: TaskName,
    /// Where it stands in its executor's list.
    listed: Cell<Option<Number>>,
    locals: RefCell<Locals>,
    waits: RefCell<Vec<Rc<dyn Wait>>>,
    /// So many waits are looked through.
    many: Cell<usize>,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has not been polled yet.
    New,
    Running,
    Waiting,
    Over,
}

/// Something that a task can wait for.
pub(crate) trait Wait: 'static {
    /// What it is, if the task still waits for it.
    fn look(&self) -> Option<Thing>;
}

impl TaskInfo {
    pub(crate) fn new(
        spawned: &'static Location<'static>,
        name: Option<Arc<str>>,
        locals: Locals,
    ) -> Rc<Self> {
        Self::of("task", spawned, name, locals)
    }

    /// Of something that takes turns inside a task.
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
            many: Cell::new(SOME),
            state: Cell::new(State::New),
        })
    }

    /// Makes it this thread's current one, and its locals the current ones, while its future is polled.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        self.state.set(State::Running);
        let locals = self.locals.borrow().clone();
        Entered {
            before: context::with(|thread| thread.task.replace(Some(self.clone()))),
            _set: locals.set(),
            info: self.clone(),
        }
    }

    pub(crate) fn title(&self) -> &TaskName {
        &self.title
    }

    pub(super) fn listed(&self) -> &Cell<Option<Number>> {
        &self.listed
    }

    /// The future is gone.
    pub(crate) fn close(&self) {
        self.state.set(State::Over);
        let locals = self.locals.take();
        drop(locals);
        let waits = self.waits.take();
        drop(waits);
    }

    /// The task, and what it waits for.
    pub(crate) fn thing(&self) -> Thing {
        let waits: Vec<Thing> = self.waiting_for();
        let about = match self.state.get() {
            State::New => "has not begun",
            State::Running => "is running",
            State::Waiting if waits.is_empty() => {
                "waits for nothing that is known here, or is about to run"
            }
            State::Waiting => "waits",
            State::Over => "has ended",
        };
        Thing {
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

    /// What it waits for, each once. Forgets what is over, and what was noted again.
    fn waiting_for(&self) -> Vec<Thing> {
        let noted = self.waits.borrow().clone();
        let looked: Vec<_> = noted.iter().map(|wait| wait.look()).collect();
        let mut seen = Index::default();
        // The last note of a thing is the one that goes for now.
        let is_last =
            |thing: &Option<Thing>| thing.as_ref().is_some_and(|it| seen.add(it.id.number()));
        let mut last: Vec<_> = looked.iter().rev().map(is_last).collect();
        let mut over = Vec::new();
        self.waits.borrow_mut().retain(|wait| {
            // What was noted since stays.
            let stays = last.pop().unwrap_or(true);
            if !stays {
                over.push(wait.clone());
            }
            stays
        });
        drop((noted, over));
        let mut seen = Index::default();
        let things = looked.into_iter().flatten();
        things.filter(|thing| seen.add(thing.id.number())).collect()
    }
}

impl Wait for TaskInfo {
    fn look(&self) -> Option<Thing> {
        let is_over = self.state.get() == State::Over;
        // Not its own waits: it is listed by itself, with them.
        (!is_over).then(|| Thing {
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
}

impl Entered {
    /// What was before is again. Said in so many words, for most tasks have no card, and nothing to be done here.
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

/// The task that is being polled, by name and place; `None` outside, and for a task that has no name where neither
/// debug mode is on nor locals are set.
#[doc(alias("current_task", "task::id"))]
pub fn current() -> Option<TaskName> {
    current_info().map(|info| info.title.clone())
}

/// Notes that the task that is being polled waits for something, if debug mode is on.
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
    if count >= info.many.get() {
        let left = info.waiting_for().len();
        info.many.set(SOME.max(left * 2));
    }
    info.waits.borrow_mut().push(wait);
}

/// The step on the way of a failure that an await at `at` is.
pub(crate) fn awaited(at: &'static Location<'static>) -> TraceFrame {
    TraceFrame::Awaited { at, by: current() }
}

/// The card of the task that is being polled, if it has one.
pub(crate) fn current_info() -> Option<Rc<TaskInfo>> {
    context::with(|thread| thread.task.get())
}

/// From so many on, a card is looked through now and then.
const SOME: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::Debugging;

    struct Long(usize);

    impl Wait for Long {
        fn look(&self) -> Option<Thing> {
            Some(Thing {
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
        assert!(info.waits.borrow().len() <= SOME);
        assert_eq!(info.waiting_for().len(), 1);
        for n in 0..1000 {
            note_wait(|| Rc::new(Long(n)));
        }
        assert_eq!(info.waiting_for().len(), 1000);
    }
}
