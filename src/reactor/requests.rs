//! What handlers have asked the loop for: [`Requests`].
//!
//! Every registration has a share in the one value of its reactor, so that a request costs no
//! upgrade of a weak handle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::WeakReactor;
use crate::queue::LocalQueue;
use crate::task::HostNotifier;

/// The keys of the handlers that the loop is to attend to.
pub(super) struct Requests {
    pub(super) reactor: WeakReactor,
    /// Those that have something to do before the loop waits.
    pub(super) listed: LocalQueue<usize>,
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
            backlog: LocalQueue::new(),
            has_grown: Cell::new(false),
            starved: RefCell::default(),
            host,
        })
    }

    /// Has the handler attended to before the loop waits.
    #[inline]
    pub(super) fn attend(&self, key: usize) {
        self.listed.push(key);
        self.host.work_added();
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
    pub(super) fn are_there(&self) -> bool {
        !self.listed.is_empty() || !self.backlog.is_empty()
    }
}
