//! Follows in debug mode a value that was given to a Deferred, so that a dump can say which task
//! holds a lock.
//!
//! # The idea
//!
//! A value that a Deferred gets is stored in its core. If that core now waits for another one, the
//! callback in between has the value; when the core passes its result to another core, that core
//! has it; when a task takes a result of the same type from the core, the task has it. A value that
//! a callback has stored elsewhere cannot be followed, and is not shown.
//!
//! # Invariants
//!
//! 1. Nothing is recorded outside of debug mode.
//! 2. A tracker is found under the address of its core. It holds that core weakly, so the address
//!    is not reused while the tracker is alive.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::core::Core;
use super::live;
use super::{Deferred, Resolver};
use crate::context;
use crate::debug::DumpItem;
use crate::index::Indexed;
use crate::task::{self, TaskInfo, Wait};

/// Follows one value.
pub(crate) struct ResultTracker {
    given: TypeId,
    at: RefCell<At>,
}

enum At {
    Core(Weak<Core>),
    Task(Rc<TaskInfo>),
    /// The holder is unknown.
    Lost,
}

impl<T: 'static> Resolver<T> {
    /// Follows the value that this resolver's Deferred is about to get.
    #[cold]
    pub(crate) fn tracker(&self) -> Rc<dyn Wait> {
        ResultTracker::at_core(self.core.as_ref(), TypeId::of::<T>())
    }
}

impl<T: 'static> Deferred<T> {
    /// Follows a lock that is held until this Deferred has its result.
    #[cold]
    pub(crate) fn tracker(&self) -> Rc<dyn Wait> {
        // The type differs from that of every result.
        ResultTracker::at_core(self.core(), TypeId::of::<ResultTracker>())
    }
}

impl ResultTracker {
    fn at_core(core: Option<&Rc<Core>>, given: TypeId) -> Rc<dyn Wait> {
        let at = core.map_or(At::Lost, |core| At::Core(Rc::downgrade(core)));
        let tracker = Rc::new(Self {
            given,
            at: RefCell::new(at),
        });
        if let Some(core) = core {
            note(core, vec![Rc::downgrade(&tracker)]);
        }
        tracker
    }
}

impl Wait for ResultTracker {
    fn look(&self) -> Option<DumpItem> {
        match &*self.at.borrow() {
            At::Core(core) => core
                .upgrade()
                .filter(|core| !core.was_taken())
                .map(|core| live::short_dump_item(&core)),
            At::Task(info) => info.look(),
            At::Lost => None,
        }
    }
}

/// Records that a value moved from one core to another.
#[cold]
pub(super) fn moved(from: &Rc<Core>, to: &Rc<Core>) {
    let trails = forget(from);
    for tracker in trails.iter().filter_map(Weak::upgrade) {
        tracker.at.replace(At::Core(Rc::downgrade(to)));
    }
    if !trails.is_empty() {
        note(to, trails);
    }
}

/// Records that a result of this type was taken from a core.
#[cold]
pub(super) fn taken(core: &Core, given: TypeId) {
    for tracker in forget(core).iter().filter_map(Weak::upgrade) {
        let info = task::current_info().filter(|_| tracker.given == given);
        let old = tracker.at.replace(info.map_or(At::Lost, At::Task));
        drop(old);
    }
}

fn note(core: &Rc<Core>, mut trails: Vec<Weak<ResultTracker>>) {
    let traces = context::with(|thread| thread.traces.get_or_make::<Traces>());
    let mut all = traces.by_core.borrow_mut();
    if all.len() >= traces.limit.get().max(FIRST_CLEANING) {
        all.retain(|_, trails| trails.iter().any(|tracker| tracker.strong_count() > 0));
        traces.limit.set(2 * all.len());
    }
    match all.get_mut(address(core)) {
        Some(known) => known.append(&mut trails),
        None => drop(all.insert(address(core), trails)),
    }
}

fn forget(core: &Core) -> Vec<Weak<ResultTracker>> {
    let traces: Option<Rc<Traces>> = context::with(|thread| thread.traces.get());
    let trails = traces.and_then(|traces| traces.by_core.borrow_mut().remove(address(core)));
    trails.unwrap_or_default()
}

fn address(core: &Core) -> u64 {
    std::ptr::from_ref(core).addr() as u64
}

/// The trackers of one thread.
#[derive(Default)]
struct Traces {
    /// By the address of the core that each is at. The entries are weak handles, so no user code
    /// runs under the borrow.
    by_core: RefCell<Indexed<Vec<Weak<ResultTracker>>>>,
    /// At this number the trackers that have ended are removed.
    limit: Cell<usize>,
}

/// Up to this number of trackers nothing is removed.
const FIRST_CLEANING: usize = 64;
