//! The send queue of a datagram port: a main queue, and a queue of *held* datagrams for each
//! destination that is full.
//!
//! A UNIX socket buffers few datagrams, and the system reports each full destination separately. A
//! peer that never reads must delay no other destination, so datagrams to it are held apart.
//!
//! # Invariants
//!
//! 1. All datagrams to one destination are sent in order: while one is held, later ones to the same
//!    destination are held, too.
//! 2. Every waiting datagram is counted, in whichever queue it waits.
//! 3. No user code runs in this module.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::address::Address;
use crate::index::SortedVec;

/// A datagram that could not be sent at once.
pub(super) struct Waiting {
    pub(super) bytes: Box<[u8]>,
    pub(super) to: Option<Address>,
}

/// The waiting datagrams.
#[derive(Default)]
pub(super) struct Queue {
    main: RefCell<VecDeque<Waiting>>,
    /// The held datagrams by destination; no queue is empty.
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
    /// Appends a datagram to the main queue.
    pub(super) fn push(&self, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        self.main.borrow_mut().push_back(waiting);
    }

    /// Takes the first datagram out of the main queue.
    pub(super) fn next(&self) -> Option<Waiting> {
        let next = self.main.borrow_mut().pop_front();
        self.taken(next)
    }

    /// Puts a datagram back at the front of the main queue.
    pub(super) fn put_back(&self, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        self.main.borrow_mut().push_front(waiting);
    }

    /// Holds a datagram for its destination, behind those that are held already.
    pub(super) fn hold(&self, to: Address, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        let mut held = self.held.borrow_mut();
        held.get_or_default(to).push_back(waiting);
    }

    /// Puts a held datagram back at the front of its destination's queue.
    pub(super) fn hold_back(&self, to: Address, waiting: Waiting) {
        self.size.set(self.size.get() + waiting.size());
        let mut held = self.held.borrow_mut();
        held.get_or_default(to).push_front(waiting);
    }

    /// Takes out the first held datagram of a destination.
    pub(super) fn next_held(&self, to: &Address) -> Option<Waiting> {
        let mut held = self.held.borrow_mut();
        let main = held.get_mut(to)?;
        let next = main.pop_front();
        if main.is_empty() {
            held.remove(to);
        }
        drop(held);
        self.taken(next)
    }

    /// Returns the destinations that have held datagrams.
    pub(super) fn destinations(&self) -> Vec<Address> {
        self.held
            .borrow()
            .iter()
            .map(|(to, _)| to.clone())
            .collect()
    }

    /// Returns whether any datagram is held.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.borrow().is_empty()
    }

    /// Returns whether a datagram to this destination is held.
    pub(super) fn holds(&self, to: &Address) -> bool {
        self.held.borrow().get(to).is_some()
    }

    /// Returns whether a datagram waits in the main queue.
    pub(super) fn has_main(&self) -> bool {
        !self.main.borrow().is_empty()
    }

    /// Returns the number of waiting bytes, including [`OVERHEAD`] for each datagram.
    pub(super) fn size(&self) -> usize {
        self.size.get()
    }

    /// Returns the number of waiting datagrams and the sum of their sizes.
    pub(super) fn unsent(&self) -> (usize, usize) {
        let held = self.held.borrow();
        let held: usize = held.iter().map(|(_, main)| main.len()).sum();
        let datagrams = self.main.borrow().len() + held;
        (datagrams, self.size() - datagrams * OVERHEAD)
    }

    /// Drops all waiting datagrams.
    pub(super) fn clear(&self) {
        self.main.take();
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

/// The number of bytes that a datagram counts in addition to its length.
const OVERHEAD: usize = 64;
