//! The requests for attention that handlers make of the loop: [`Requests`].
//!
//! All registrations of a reactor share its one value, so that a request needs no upgrade of a weak
//! handle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{NO_CONNECTION, WeakReactor};
use crate::queue::LocalQueue;
use crate::task::HostNotifier;

/// The keys of the handlers to which the loop has to attend.
pub(super) struct Requests {
    pub(super) reactor: WeakReactor,
    /// The handlers that have work to do before the loop waits, except the last of them.
    listed: LocalQueue<usize>,
    /// The last such handler, or [`NO_CONNECTION`]. Most handlers do the work themselves, and
    /// withdraw the request, before the next request comes.
    last: Cell<usize>,
    /// The handlers that have used their share of a turn and have more to do.
    pub(super) backlog: LocalQueue<usize>,
    /// Whether the backlog has got a new entry.
    pub(super) has_grown: Cell<bool>,
    /// The handlers to attend to when a descriptor has become free.
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

    /// Requests attention before the loop waits.
    #[inline]
    pub(super) fn attend(&self, key: usize) {
        let before = self.last.replace(key);
        if before != NO_CONNECTION {
            self.listed.push(before);
        }
        self.host.request_added();
    }

    /// Withdraws the last request, if this handler made it; returns whether it did.
    #[inline]
    pub(super) fn take_back(&self, key: usize) -> bool {
        let is_last = self.last.get() == key;
        if is_last {
            self.last.set(NO_CONNECTION);
        }
        is_last
    }

    /// Returns the number of requests outside the backlog.
    pub(super) fn len(&self) -> usize {
        self.listed.len() + usize::from(self.last.get() != NO_CONNECTION)
    }

    /// Takes the oldest request outside the backlog.
    pub(super) fn pop(&self) -> Option<usize> {
        let first = self.listed.pop();
        first.or_else(|| Some(self.last.replace(NO_CONNECTION)).filter(|key| *key != NO_CONNECTION))
    }

    /// Frees memory that was needed for many requests.
    pub(super) fn shrink(&self) {
        self.listed.shrink();
        self.backlog.shrink();
    }

    /// Requests attention before the loop waits, but after all handlers that have not had their
    /// share of this turn.
    pub(super) fn attend_later(&self, key: usize) {
        self.backlog.push(key);
        self.has_grown.set(true);
        self.host.request_added();
    }

    /// Requests attention when another handler has left the table.
    pub(super) fn attend_after_leave(&self, key: usize) {
        let mut starved = self.starved.borrow_mut();
        if !starved.contains(&key) {
            starved.push(key);
        }
    }

    /// Records that a handler has left the table, and has freed a descriptor.
    pub(super) fn handler_left(&self) {
        for key in self.starved.take() {
            self.attend(key);
        }
    }

    /// Returns whether there are requests.
    pub(super) fn has_any(&self) -> bool {
        self.last.get() != NO_CONNECTION || !self.listed.is_empty() || !self.backlog.is_empty()
    }
}
