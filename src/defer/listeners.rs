//! [`Listeners`]: a set of waiters for one event, each with a Deferred.
//!
//! # The idea
//!
//! A Deferred that only listens causes nothing: when it is dropped and no callback would see its
//! result, there is nothing left to run, and it leaves the set at once, polled or not (see
//! `core::waiter`).
//!
//! # Invariants
//!
//! 1. Joining and leaving take constant time, and memory follows the number of listeners.
//! 2. Nothing is borrowed while a resolver is used or dropped.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::{Deferred, Resolver};
use crate::slots::Ordered;

/// The listeners in the order in which they joined, each with a value.
pub(crate) struct Listeners<T: 'static, X: 'static = ()> {
    members: Rc<RefCell<Entries<T, X>>>,
}

type Entries<T, X> = Ordered<(Resolver<T>, X)>;

impl<T: 'static, X: 'static> Listeners<T, X> {
    /// Returns the Deferred of a new listener, stored with `known`.
    #[track_caller]
    pub(crate) fn join_with(&self, value: X) -> Deferred<T> {
        let (deferred, resolver) = Deferred::pair_at(Location::caller());
        let number = self.members.borrow_mut().push((resolver, value));
        let members = Rc::downgrade(&self.members);
        deferred.listens(move || {
            if let Some(members) = members.upgrade() {
                let left = members.borrow_mut().remove(number);
                drop(left);
            }
        })
    }

    /// Takes all listeners, in the order in which they joined.
    pub(crate) fn take(&self) -> Vec<(Resolver<T>, X)> {
        self.members.borrow_mut().take_all()
    }

    /// Takes the listeners for which `which` returns `true`.
    pub(crate) fn take_if(&self, which: impl FnMut(&mut X) -> bool) -> Vec<(Resolver<T>, X)> {
        let mut which = which;
        self.members.borrow_mut().take_if(|(_, value)| which(value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.borrow().len() == 0
    }
}

impl<T: 'static> Listeners<T> {
    /// Returns the Deferred of a new listener.
    #[track_caller]
    pub(crate) fn join(&self) -> Deferred<T> {
        self.join_with(())
    }

    /// Takes the resolvers of all listeners, in the order in which they joined.
    pub(crate) fn resolvers(&self) -> impl Iterator<Item = Resolver<T>> + use<T> {
        self.take().into_iter().map(|(resolver, ())| resolver)
    }
}

impl<T: 'static, X: 'static> Default for Listeners<T, X> {
    fn default() -> Self {
        Self {
            members: Rc::default(),
        }
    }
}

impl<T: 'static, X: 'static> Clone for Listeners<T, X> {
    fn clone(&self) -> Self {
        Self {
            members: self.members.clone(),
        }
    }
}

impl<T: 'static, X: 'static> fmt::Debug for Listeners<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listeners({})", self.members.borrow().len())
    }
}
