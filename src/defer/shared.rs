//! One result for many: [`Shared`].
//!
//! # The idea
//!
//! A Deferred has one consumer. [`Deferred::shared`] makes a handle of it that can be cloned, and from which each who
//! wants the result gets a Deferred of their own, a *waiter*; each has its own callbacks and changes nothing for the
//! others.
//!
//! # Rules
//!
//! 1. **Waiters fire in the order in which they were made**, inside the firing of the source. One made later is
//!    settled at once.
//! 2. **Cancelling a waiter** concerns that one only. When nobody is left who could want the result, neither a handle
//!    nor a waiter that was not cancelled, the source is cancelled. (A waiter that is dropped unpolled runs on, and so
//!    still wants it.)
//! 3. **A failure** goes to each waiter, and each answers for its own. If no waiter ever gets it, it is reported once,
//!    with the place where the source was made; a [`Cancelled`](crate::Cancelled) that is due to rule 2 is not.
//!
//! # Who owns what
//!
//! The source's last step owns what is shared, and so do the handles; that owns the resolvers of the waiters, and
//! knows the source weakly. The waiters' cancellers know it weakly as well: there is no cycle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::core::{self, Canceller, Core};
use super::{Deferred, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// A result to come for any number of consumers; see [`Deferred::shared`].
///
/// Awaiting it gives the value's clone, as awaiting [`Shared::wait`] does.
///
/// # Cancel safety
///
/// Giving up an await is cancelling that waiter: see [`Deferred::shared`].
pub struct Shared<T: Clone + 'static> {
    sharing: Rc<Sharing<T>>,
}

impl<T: Clone + 'static> Deferred<T> {
    /// A handle from which any number of consumers can have the result.
    ///
    /// Cancelling one of them concerns nobody else. When the last handle is gone and the last of them has given up, the
    /// Deferred itself is cancelled. Its failure goes to each of them; if there is none, it is reported once.
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
        let place = self.location().unwrap_or(here);
        let (source, settled) = match self.into_core() {
            Ok(core) => (Some(core), None),
            Err(result) => (None, Some(result)),
        };
        let state = match settled {
            Some(result) => State::Here(Rc::new(result)),
            None => State::Awaited(BTreeMap::new()),
        };
        let sharing = Rc::new(Sharing {
            state: RefCell::new(state),
            source: source.as_ref().map_or_else(Weak::new, Rc::downgrade),
            handles: Cell::new(1),
            made: Cell::new(0),
            was_taken: Cell::new(false),
            gave_up: Cell::new(false),
            place,
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
    /// A Deferred of its own for one consumer.
    ///
    /// Should cloning the value panic, that is this one's failure. A canceller of its own
    /// ([`Deferred::on_cancel`]) takes the place of the one that says that it has given up.
    #[track_caller]
    pub fn wait(&self) -> Deferred<T> {
        let place = Location::caller();
        let sharing = &self.sharing;
        let here = sharing.result();
        if let Some(result) = here {
            sharing.was_taken.set(true);
            let copy = copy(&result, place);
            report::discard(result, place);
            return Deferred::settled(copy, place);
        }
        let (deferred, resolver) = Deferred::pair_at(place);
        let number = sharing.made.get();
        sharing.made.set(number + 1);
        let known = Rc::downgrade(sharing);
        deferred.set_canceller(Canceller::Call(Box::new(move || {
            if let Some(sharing) = known.upgrade() {
                sharing.give_up(number);
            }
        })));
        if let State::Awaited(waiters) = &mut *sharing.state.borrow_mut() {
            waiters.insert(number, resolver);
        }
        deferred
    }

    /// Is the result there?
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
        self.sharing.look_for_interest();
    }
}

impl<T: Clone + 'static> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.sharing.state.borrow() {
            State::Here(_) => "has its result".to_owned(),
            State::Awaited(waiters) => format!("{} wait", waiters.len()),
        };
        write!(f, "Shared({state}, made at {})", self.sharing.place)
    }
}

/// What the handles, the waiters and the source share.
struct Sharing<T: 'static> {
    state: RefCell<State<T>>,
    source: Weak<Core>,
    handles: Cell<usize>,
    /// How many waiters have been made.
    made: Cell<u64>,
    /// Has a waiter had the result?
    was_taken: Cell<bool>,
    /// The source was cancelled because nobody was left.
    gave_up: Cell<bool>,
    place: &'static Location<'static>,
}

enum State<T: 'static> {
    /// The waiters, by the order in which they were made.
    Awaited(BTreeMap<u64, Resolver<T>>),
    Here(Rc<Result<T, Failure>>),
}

impl<T: 'static> Sharing<T> {
    /// The result, if it is here.
    fn result(&self) -> Option<Rc<Result<T, Failure>>> {
        match &*self.state.borrow() {
            State::Here(result) => Some(result.clone()),
            State::Awaited(_) => None,
        }
    }

    /// A waiter was cancelled.
    fn give_up(&self, number: u64) {
        let resolver = match &mut *self.state.borrow_mut() {
            State::Awaited(waiters) => waiters.remove(&number),
            State::Here(_) => None,
        };
        drop(resolver);
        self.look_for_interest();
    }

    /// Cancels the source if nobody is left who could want the result.
    fn look_for_interest(&self) {
        let is_wanted = match &*self.state.borrow() {
            State::Awaited(waiters) => self.handles.get() > 0 || !waiters.is_empty(),
            State::Here(_) => true,
        };
        if is_wanted || self.gave_up.replace(true) {
            return;
        }
        if let Some(source) = self.source.upgrade() {
            core::cancel(&source, self.place);
        }
    }
}

impl<T: Clone + 'static> Sharing<T> {
    /// The source's result is here: brings it to the waiters, and gives those that were not cancelled.
    fn arrive(&self, result: Result<T, Failure>) -> Vec<Rc<Core>> {
        let result = Rc::new(result);
        let state = State::Here(result.clone());
        let waiters = match mem::replace(&mut *self.state.borrow_mut(), state) {
            State::Awaited(waiters) => waiters,
            State::Here(_) => BTreeMap::new(),
        };
        let copies = waiters.into_values().filter_map(|resolver| {
            let copy = copy(&result, self.place);
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
        let State::Here(result) = self.state.get_mut() else {
            return;
        };
        if let Err(failure) = &**result {
            let is_ours = self.gave_up.get() && failure.is::<Cancelled>();
            if !self.was_taken.get() && !is_ours {
                report::deliver(Origin::Deferred, failure.clone(), self.place);
            }
        }
    }
}

/// A waiter's own copy of the result.
fn copy<T: Clone>(
    result: &Result<T, Failure>,
    place: &'static Location<'static>,
) -> Result<T, Failure> {
    report::catch(place, || result.clone()).and_then(|result| result)
}
