//! What handlers have asked the loop for: [`Requests`].
//!
//! Every registration has a share in the one value of its reactor, so that a request costs no
//! upgrade of a weak handle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{NO_CONNECTION, WeakReactor};
use crate::queue::LocalQueue;
use crate::task::HostNotifier;

/// The keys of the handlers that the loop is to attend to.
pub(super) struct Requests {
    pub(super) reactor: WeakReactor,
    /// Those that have something to do before the loop waits, but for the last of them.
    listed: LocalQueue<usize>,
    /// That last one, or [`NO_CONNECTION`]. Most have done by themselves what they asked for before
    /// the next one asks.
    last: Cell<usize>,
    /// Those that have used their share of a turn and have more to do.
    pub(super) backlog: LocalQueue<usize>,
    /// Something was added to the backlog.
    pub(super) has_grown: Cell<bool>,
    /// Those to attend to when a descriptor has come back.
    starved: RefCell<Vec<usize>>,
    host: Rc<HostNotifier>,
}

impl Requests {
    pub(super) fn new(reactor: WeakReactor, host: Rc<HostNotifier>) -> Rc<Self> {
        Rc::new(Self {
            reactor,
            listed: LocalQueue::new(),
            last: Cell::new(NO_CONNECTION),
            backlog: LocalQueue::new(),
            has_grown: Cell::new(false),
            starved: RefCell::default(),
            host,
        })
    }

    /// Has the handler attended to before the loop waits.
    #[inline]
    pub(super) fn attend(&self, key: usize) {
        let before = self.last.replace(key);
        if before != NO_CONNECTION {
            self.listed.push(before);
        }
        self.host.work_added();
    }

    /// Takes the last request back, if this handler has made it.
    #[inline]
    pub(super) fn take_back(&self, key: usize) -> bool {
        let is_last = self.last.get() == key;
        if is_last {
            self.last.set(NO_CONNECTION);
        }
        is_last
    }

    /// How many are to be attended to, without the backlog?
    pub(super) fn len(&self) -> usize {
        self.listed.len() + usize::from(self.last.get() != NO_CONNECTION)
    }

    /// Takes out the one that has waited longest, of those that are not in the backlog.
    pub(super) fn pop(&self) -> Option<usize> {
        let first = self.listed.pop();
        first.or_else(|| Some(self.last.replace(NO_CONNECTION)).filter(|key| *key != NO_CONNECTION))
    }

    /// Gives back memory that was needed for many requests.
    pub(super) fn shrink(&self) {
        self.listed.shrink();
        self.backlog.shrink();
    }

    /// Has the handler attended to before the loop waits, but after those that have not had their
    /// share of this turn.
    pub(super) fn attend_later(&self, key: usize) {
        self.backlog.push(key);
        self.has_grown.set(true);
        self.host.work_added();
    }

    /// Has the handler attended to when another one has left the table.
    pub(super) fn attend_when_one_leaves(&self, key: usize) {
        let mut starved = self.starved.borrow_mut();
        if !starved.contains(&key) {
            starved.push(key);
        }
    }

    /// One has left the table, and with it a descriptor.
    pub(super) fn one_has_left(&self) {
        for key in self.starved.take() {
            self.attend(key);
        }
    }

    /// Is somebody to be attended to?
    pub(super) fn has_any(&self) -> bool {
        self.len() > 0 || !self.backlog.is_empty()
    }
}
