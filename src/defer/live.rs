//! The Deferreds that are alive, and what each waits for: recorded in debug mode, shown by `Debug`
//! and by dumps.

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};

use super::core::{Awaited, Core};
use super::{Deferred, Pause, Resolver, State};
use crate::context;
use crate::debug::{self, DumpItem, Id};
use crate::task::Wait;

/// Adds a new core to the list of this thread.
#[cold]
pub(super) fn list(core: &Rc<Core>) {
    let core = Rc::downgrade(core);
    with_live(|live| {
        if live.len() == live.capacity() {
            // The entries are weak handles and objects that hold only such, so no user code runs
            // under the borrow.
            live.retain(|listed| listed.core.strong_count() > 0);
            let more = live.len().max(16);
            live.reserve(more);
        }
        live.push(Listed { core, on: None });
    });
}

/// Records in debug mode what a Deferred waits for, where the Deferred itself cannot tell.
#[inline]
pub(crate) fn note_waits_for<T>(deferred: &Deferred<T>, make: impl FnOnce() -> Rc<dyn Wait>) {
    if debug::is_on() {
        if let Some(core) = deferred.core() {
            note(core, make());
        }
    }
}

#[cold]
fn note(core: &Rc<Core>, on: Rc<dyn Wait>) {
    with_live(|live| {
        // The core was just made, so its entry is at the end.
        let listed = live.iter_mut().rev();
        let mut listed = listed.filter(|listed| is(listed, core));
        if let Some(listed) = listed.next() {
            listed.on = Some(on);
        }
    });
}

/// Returns what was recorded for a core that is still waiting.
fn noted(core: &Core) -> Option<DumpItem> {
    if core.has_fired() {
        return None;
    }
    let on = with_live(|live| {
        let listed = live.iter().find(|listed| is(listed, core))?;
        listed.on.clone()
    });
    on?.look()
}

fn is(listed: &Listed, core: &Core) -> bool {
    std::ptr::eq(listed.core.as_ptr(), core)
}

/// Returns all Deferreds of this thread that were made in debug mode and whose result was not
/// taken.
pub(crate) fn dump_items() -> Vec<DumpItem> {
    let live: Vec<_> = with_live(|live| {
        let alive = |listed: &Listed| Some((listed.core.upgrade()?, listed.on.clone()));
        live.iter().filter_map(alive).collect()
    });
    live.iter()
        .filter(|(core, _)| !core.was_taken())
        .map(|(core, on)| {
            let mut dump_item = dump_item(core);
            if !core.has_fired() {
                dump_item.waits.extend(on.as_ref().and_then(|on| on.look()));
            }
            dump_item
        })
        .collect()
}

/// Returns the record for a task that awaits this core.
#[cold]
pub(super) fn awaits(core: &Rc<Core>) -> Rc<dyn Wait> {
    Rc::new(Awaits(Rc::downgrade(core)))
}

struct Listed {
    core: Weak<Core>,
    /// What it waits for, if that was recorded.
    on: Option<Rc<dyn Wait>>,
}

struct Awaits(Weak<Core>);

impl Wait for Awaits {
    fn look(&self) -> Option<DumpItem> {
        let core = self.0.upgrade()?;
        (core.awaited() == Awaited::Yes).then(|| dump_item(&core))
    }
}

fn dump_item(core: &Rc<Core>) -> DumpItem {
    let waits = match core.awaited_core() {
        Some(inner) => vec![short_dump_item(&inner)],
        None if core.is_gathering() => core.members().iter().map(short_dump_item).collect(),
        None => core.source_item().into_iter().collect(),
    };
    DumpItem {
        waits,
        ..short_dump_item(core)
    }
}

/// Returns the core without what it waits for, which is listed separately: the chain may be long.
pub(super) fn short_dump_item(core: &Rc<Core>) -> DumpItem {
    DumpItem {
        id: Id::At(Rc::as_ptr(core).addr()),
        kind: "Deferred",
        name: None,
        location: core.location(),
        about: core.about().to_owned(),
        waits: Vec::new(),
    }
}

/// Returns the last core in a chain of cores that wait for each other.
fn last_in_chain(mut core: Option<Rc<Core>>) -> Option<Rc<Core>> {
    while let Some(inner) = core.as_ref().and_then(|core| core.awaited_core()) {
        core = Some(inner);
    }
    core
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred({}, made at {}", self.about(), self.location())?;
        if let Some(fired) = self.fired_at() {
            write!(f, ", fired at {fired}")?;
        }
        if let Some(other) = self.awaited_core() {
            write!(f, ", waits for the Deferred made at {}", other.location())?;
        }
        if self.is_gathering() {
            write!(f, ", waits for {} Deferreds", self.members().len())?;
        }
        let end = last_in_chain(self.awaited_core());
        let end = end.as_deref().unwrap_or(self);
        if let Some(dump_item) = end.source_item().or_else(|| noted(end)) {
            let DumpItem {
                kind,
                location,
                about,
                ..
            } = dump_item;
            match kind {
                "task" => write!(f, ", waits for the task spawned at {location}")?,
                _ => write!(f, ", waits for the {kind} made at {location}, {about}")?,
            }
        }
        f.write_str(")")
    }
}

/// Calls `f`, which must run no user code, with the list, after removing entries that are gone.
fn with_live<R>(f: impl FnOnce(&mut Vec<Listed>) -> R) -> R {
    let live = context::with(|thread| thread.live.get_or_make::<RefCell<Vec<Listed>>>());
    let mut live = live.borrow_mut();
    f(&mut live)
}

impl<T: 'static> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Settled(Ok(_), location) => {
                write!(f, "Deferred(has its value, made at {location})")
            }
            State::Settled(Err(failure), location) => {
                write!(f, "Deferred(failed: {failure}, made at {location})")
            }
            State::Linked(core) => core.fmt(f),
            State::Queued(queued) => queued.core().fmt(f),
            State::Gone => f.write_str("Deferred(its result was taken)"),
        }
    }
}

impl<T: 'static> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}
