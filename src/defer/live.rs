//! The Deferreds that are alive, and what each waits for: kept in debug mode, shown by `Debug` and by dumps.

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};

use super::core::{Awaited, Core};
use crate::debug::{Id, Thing};
use crate::task::Wait;

/// Lists a new core of this thread.
#[cold]
pub(super) fn list(core: &Rc<Core>) {
    let core = Rc::downgrade(core);
    let _ = LIVE.try_with(|live| {
        let mut live = live.borrow_mut();
        if live.len() == live.capacity() {
            // Weak handles are nobody's code: nothing runs under the borrow.
            live.retain(|core| core.strong_count() > 0);
            let more = live.len().max(16);
            live.reserve(more);
        }
        live.push(core);
    });
}

/// All Deferreds of this thread that were made in debug mode and whose result has not been taken.
pub(crate) fn things() -> Vec<Thing> {
    let live: Vec<Rc<Core>> =
        LIVE.with(|live| live.borrow().iter().filter_map(Weak::upgrade).collect());
    live.iter()
        .filter(|core| !core.is_of_no_use())
        .map(thing)
        .collect()
}

/// What a task notes that awaits this core.
#[cold]
pub(super) fn awaits(core: &Rc<Core>) -> Rc<dyn Wait> {
    Rc::new(Awaits(Rc::downgrade(core)))
}

struct Awaits(Weak<Core>);

impl Wait for Awaits {
    fn look(&self) -> Option<Thing> {
        let core = self.0.upgrade()?;
        (core.awaited() == Awaited::Yes).then(|| thing(&core))
    }
}

fn thing(core: &Rc<Core>) -> Thing {
    let waits = match core.awaited_core() {
        Some(inner) => vec![thing_in_short(&inner)],
        None if core.is_gathering() => core.members().iter().map(thing_in_short).collect(),
        None => core.driven_by().into_iter().collect(),
    };
    Thing {
        waits,
        ..thing_in_short(core)
    }
}

/// The core without what it waits for. That is listed as well, by itself: the line may be long.
fn thing_in_short(core: &Rc<Core>) -> Thing {
    Thing {
        id: Id::At(Rc::as_ptr(core).addr()),
        kind: "Deferred",
        name: None,
        place: core.place(),
        about: core.about().to_owned(),
        waits: Vec::new(),
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred({}, made at {}", self.about(), self.place())?;
        if let Some(fired) = self.fired_at() {
            write!(f, ", fired at {fired}")?;
        }
        if let Some(other) = self.awaited_core() {
            write!(f, ", waits for the one made at {}", other.place())?;
        }
        if self.is_gathering() {
            write!(f, ", waits for {} others", self.members().len())?;
        }
        if let Some(task) = self.driven_by() {
            write!(f, ", waits for the task spawned at {}", task.place)?;
        }
        f.write_str(")")
    }
}

thread_local! {
    /// What was listed, less what was found to be gone.
    static LIVE: RefCell<Vec<Weak<Core>>> = const { RefCell::new(Vec::new()) };
}
