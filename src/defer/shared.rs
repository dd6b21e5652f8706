//! [`Shared`]: one result for many consumers.
//!
//! # The idea
//!
//! A Deferred has one consumer. [`Deferred::shared`] makes a handle of it that can be cloned, and
//! that gives each consumer another Deferred, a *waiter*, to which the consumer adds callbacks.
//!
//! # Rules
//!
//! 1. **Waiters fire in the order in which they were made**, inside the firing of the source. A
//!    waiter made later is settled at once.
//! 2. **Cancelling a waiter** concerns that waiter only. The source is cancelled when nothing can
//!    want the result any more: all handles are dropped, and every waiter was cancelled or gave up.
//!    Dropping a waiter gives it up, unless it has callbacks and was never polled: then it runs on,
//!    and still wants the result.
//! 3. **A failure** goes to each waiter, and each handles it for itself. If no waiter ever gets it,
//!    it is reported once, with the line where the source was made; a
//!    [`Cancelled`](crate::Cancelled) that is due to rule 2 is not. It is reported once at most,
//!    however many waiters do not handle it.
//!
//! # Ownership
//!
//! The source's last step owns the shared state, and so do the handles; the state owns the
//! resolvers of the waiters, and refers weakly to the source. The waiters' cancellers refer weakly
//! to the state, so there is no cycle.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::core::{self, Core};
use super::{Deferred, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::slots::Ordered;

/// A handle to a result for any number of consumers; see [`Deferred::shared`].
///
/// Awaiting the handle returns a clone of the value, as awaiting [`Shared::wait`] does.
///
/// # Cancel safety
///
/// Dropping an await of the handle cancels this one consumer: see [`Deferred::shared`].
pub struct Shared<T: Clone + 'static> {
    sharing: Rc<Sharing<T>>,
}

impl<T: Clone + 'static> Deferred<T> {
    /// Converts the Deferred into a handle from which any number of consumers can get the result.
    ///
    /// Cancelling the Deferred of one consumer does not affect the others. The Deferred itself is
    /// cancelled when all handles are dropped and every consumer's Deferred was cancelled. Each
    /// consumer gets a clone of the value or of the failure. A failure that no consumer handles is
    /// reported once.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Deferred;
    ///
    /// let (page, resolver) = Deferred::pair();
    /// let page = page.shared();
    /// page.wait().add_callback(|text: String| assert_eq!(text.len(), 5));
    /// page.wait().add_callback(|text| assert!(text.starts_with("h")));
    /// resolver.callback("hello".to_owned());
    /// page.wait().add_callback(|text| assert_eq!(text, "hello"));
    /// ```
    #[track_caller]
    pub fn shared(self) -> Shared<T> {
        let here = Location::caller();
        let location = self.location().unwrap_or(here);
        let (source, settled) = match self.into_core() {
            Ok(core) => (Some(core), None),
            Err(result) => (None, Some(result)),
        };
        let state = match settled {
            Some(result) => State::Here(Rc::new(result)),
            None => State::Awaited(Ordered::default()),
        };
        let sharing = Rc::new(Sharing {
            state: RefCell::new(state),
            source: source.as_ref().map_or_else(Weak::new, Rc::downgrade),
            handles: Cell::new(1),
            was_taken: Cell::new(false),
            gave_up: Cell::new(false),
            location,
        });
        if let Some(source) = source {
            let sharing = sharing.clone();
            let arrive = move |result| {
                let fired = sharing.arrive(result);
                report::discard(sharing, here);
                fired
            };
            source.pass_on(arrive, here);
        }
        Shared { sharing }
    }
}

impl<T: Clone + 'static> Shared<T> {
    /// Returns a Deferred of the result for one consumer.
    ///
    /// If cloning the value panics, the panic is this consumer's failure. Dropping the Deferred
    /// cancels it, unless it has callbacks and was never polled.
    #[track_caller]
    pub fn wait(&self) -> Deferred<T> {
        let location = Location::caller();
        let sharing = &self.sharing;
        let here = sharing.result();
        if let Some(result) = here {
            sharing.was_taken.set(true);
            let copy = copy(&result, location);
            report::discard(result, location);
            return Deferred::settled(copy, location);
        }
        let (deferred, resolver) = Deferred::pair_at(location);
        let number = match &mut *sharing.state.borrow_mut() {
            State::Awaited(waiters) => waiters.push(resolver),
            State::Here(_) => unreachable!("it was looked for just now"),
        };
        let known = Rc::downgrade(sharing);
        deferred.listens_to(move || known.upgrade()?.give_up(number))
    }

    /// Returns whether the result is there.
    pub fn is_settled(&self) -> bool {
        matches!(*self.sharing.state.borrow(), State::Here(_))
    }
}

impl<T: Clone + 'static> Clone for Shared<T> {
    fn clone(&self) -> Self {
        let sharing = self.sharing.clone();
        sharing.handles.set(sharing.handles.get() + 1);
        Self { sharing }
    }
}

impl<T: Clone + 'static> IntoFuture for Shared<T> {
    type Output = Result<T, Failure>;
    type IntoFuture = Deferred<T>;

    #[track_caller]
    fn into_future(self) -> Deferred<T> {
        self.wait()
    }
}

impl<T: Clone + 'static> IntoFuture for &Shared<T> {
    type Output = Result<T, Failure>;
    type IntoFuture = Deferred<T>;

    #[track_caller]
    fn into_future(self) -> Deferred<T> {
        self.wait()
    }
}

impl<T: Clone + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        self.sharing.handles.set(self.sharing.handles.get() - 1);
        if let Some(source) = self.sharing.unwanted() {
            core::cancel_dropped(&source, self.sharing.location);
        }
    }
}

impl<T: Clone + 'static> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.sharing.state.borrow() {
            State::Here(_) => "has its result".to_owned(),
            State::Awaited(waiters) => format!("{} wait", waiters.len()),
        };
        write!(f, "Shared({state}, made at {})", self.sharing.location)
    }
}

/// The state shared by handles, waiters and source.
struct Sharing<T: 'static> {
    state: RefCell<State<T>>,
    source: Weak<Core>,
    handles: Cell<usize>,
    /// Whether a waiter has received the result.
    was_taken: Cell<bool>,
    /// Whether the source was cancelled because nothing wants the result.
    gave_up: Cell<bool>,
    location: &'static Location<'static>,
}

enum State<T: 'static> {
    /// The waiters, in the order in which they were made.
    Awaited(Ordered<Resolver<T>>),
    Here(Rc<Result<T, Failure>>),
}

impl<T: 'static> Sharing<T> {
    /// Returns the result, if it is there.
    fn result(&self) -> Option<Rc<Result<T, Failure>>> {
        match &*self.state.borrow() {
            State::Here(result) => Some(result.clone()),
            State::Awaited(_) => None,
        }
    }

    /// Handles a cancelled waiter. Returns the source if it must be cancelled as well.
    fn give_up(&self, number: usize) -> Option<Rc<Core>> {
        let resolver = match &mut *self.state.borrow_mut() {
            State::Awaited(waiters) => waiters.remove(number),
            State::Here(_) => None,
        };
        drop(resolver);
        self.unwanted()
    }

    /// Returns the source, once, when nothing wants the result any more.
    fn unwanted(&self) -> Option<Rc<Core>> {
        let is_wanted = match &*self.state.borrow() {
            State::Awaited(waiters) => self.handles.get() > 0 || waiters.len() > 0,
            State::Here(_) => true,
        };
        if is_wanted || self.gave_up.replace(true) {
            return None;
        }
        self.source.upgrade()
    }
}

impl<T: Clone + 'static> Sharing<T> {
    /// Brings the source's result to the waiters, and returns the cores of those that were not
    /// cancelled.
    fn arrive(&self, result: Result<T, Failure>) -> Vec<Rc<Core>> {
        let result = Rc::new(result);
        let state = State::Here(result.clone());
        let waiters = match mem::replace(&mut *self.state.borrow_mut(), state) {
            State::Awaited(mut waiters) => waiters.take_all(),
            State::Here(_) => Vec::new(),
        };
        let copies = waiters.into_iter().filter_map(|resolver| {
            let copy = copy(&result, self.location);
            resolver.put(copy)
        });
        let fired: Vec<_> = copies.collect();
        if !fired.is_empty() {
            self.was_taken.set(true);
        }
        fired
    }
}

impl<T: 'static> Drop for Sharing<T> {
    fn drop(&mut self) {
        let state = mem::replace(self.state.get_mut(), State::Awaited(Ordered::default()));
        let State::Here(result) = state else {
            return report::discard(state, self.location);
        };
        if let Err(failure) = &*result {
            let is_ours = self.gave_up.get() && failure.find::<Cancelled>().is_some();
            if !self.was_taken.get() && !is_ours {
                report::deliver(Origin::Deferred, failure.clone(), self.location);
            }
        }
        report::discard(result, self.location);
    }
}

/// Returns a waiter's own copy of the result.
fn copy<T: Clone>(
    result: &Result<T, Failure>,
    location: &'static Location<'static>,
) -> Result<T, Failure> {
    report::catch(location, || result.clone()).and_then(|result| result)
}
