//! What waits to be sent: in one line, and beside it in a line for each destination that takes no more.
//!
//! A UNIX socket has room for few datagrams, and the system says of each destination by itself that it is full. One that
//! never reads is to hold up nobody else, so what is for it is *held*.
//!
//! # Invariants
//!
//! 1. To one destination all leaves in the order in which it came: what is for one for which something is held, is held.
//! 2. All that waits is counted, wherever it waits.
//! 3. Nobody's code runs in here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::address::Address;
use crate::index::SortedVec;

/// A datagram that could not be sent at once.
pub(super) struct Waiting {
    pub(super) bytes: Box<[u8]>,
    pub(super) to: Option<Address>,
}

/// What waits.
#[derive(Default)]
pub(super) struct Queue {
    line: RefCell<VecDeque<Waiting>>,
    /// None of them is empty.
    held: RefCell<SortedVec<Address, VecDeque<Waiting>>>,
    size: Cell<usize>,
}

impl Waiting {
    pub(super) fn new(bytes: &[u8], to: Option<&Address>) -> Self {
        Self {
            bytes: bytes.into(),
            to: to.cloned(),
        }
    }

    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

impl Queue {
    /// Puts one at the end.
    pub(super) fn push(&self, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        self.line.borrow_mut().push_back(waiting);
    }

    /// Takes the first one out of the line.
    pub(super) fn next(&self) -> Option<Waiting> {
        let next = self.line.borrow_mut().pop_front();
        self.taken(next)
    }

    /// Puts the first one back.
    pub(super) fn put_back(&self, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        self.line.borrow_mut().push_front(waiting);
    }

    /// Holds one for its destination, behind those that are held for it already.
    pub(super) fn hold(&self, to: Address, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        let mut held = self.held.borrow_mut();
        held.get_or_default(to).push_back(waiting);
    }

    /// Puts the first one back that was held.
    pub(super) fn hold_back(&self, to: Address, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        let mut held = self.held.borrow_mut();
        held.get_or_default(to).push_front(waiting);
    }

    /// Takes out the first one that is held for this destination.
    pub(super) fn next_held(&self, to: &Address) -> Option<Waiting> {
        let mut held = self.held.borrow_mut();
        let line = held.get_mut(to)?;
        let next = line.pop_front();
        if line.is_empty() {
            held.remove(to);
        }
        drop(held);
        self.taken(next)
    }

    /// For whom something is held.
    pub(super) fn destinations(&self) -> Vec<Address> {
        self.held
            .borrow()
            .iter()
            .map(|(to, _)| to.clone())
            .collect()
    }

    /// Is something held?
    pub(super) fn holds_any(&self) -> bool {
        !self.held.borrow().is_empty()
    }

    /// Is something held for this one?
    pub(super) fn holds(&self, to: &Address) -> bool {
        self.held.borrow().get(to).is_some()
    }

    /// Does anything wait that is not held?
    pub(super) fn has_line(&self) -> bool {
        !self.line.borrow().is_empty()
    }

    /// How many bytes wait, with what each datagram counts for besides.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    /// How many datagrams wait, and how many bytes they have.
    pub(super) fn unsent(&self) -> (usize, usize) {
        let held = self.held.borrow();
        let held: usize = held.iter().map(|(_, line)| line.len()).sum();
        let datagrams = self.line.borrow().len() + held;
        (datagrams, self.size() - datagrams * OVERHEAD)
    }

    /// Throws all away.
    pub(super) fn clear(&self) {
        self.line.take();
        self.held.take();
        self.size.set(0);
    }

    fn taken(&self, waiting: Option<Waiting>) -> Option<Waiting> {
        if let Some(waiting) = &waiting {
            self.size.set(self.size.get() - waiting.size());
        }
        waiting
    }
}

/// What a datagram counts for besides its bytes.
const OVERHEAD: usize = 64;
