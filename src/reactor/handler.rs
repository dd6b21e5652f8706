//! The reactor's tables: handlers of I/O sources, and other objects that end with the reactor.
//!
//! The reactor has two tables. The first holds what is registered with the driver, one [`Handler`]
//! for each I/O source, found by the key that an event carries. The second holds what is only
//! [`Tracked`]: results that other threads bring, and tasks and look-ups that must be notified of
//! the reactor's end. Keys of the second table have their highest bit set, so no key names two
//! things.

use std::any::Any;
use std::io;
use std::panic::Location;
use std::rc::Rc;

use super::registration::{Registration, Released};
use super::{Inner, Reactor, ReactorError, State};
use crate::address::Address;
use crate::driver::Event;
use crate::failure::Failure;

/// An object that lasts until the reactor ends, at most. It appears in dumps and in the list of
/// what a program left behind.
///
/// Nothing of the reactor is borrowed while one of these methods runs. None of them may unwind.
pub(crate) trait Tracked {
    /// Ends the object because the reactor ends: it leaves the table and passes `reason` to its
    /// user.
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure);

    /// Refuses further data. The reactor ends, and calls `lose` when it has called this for all.
    fn take_no_more(&self, reason: &Failure) {
        let _ = reason;
    }

    /// Prepares for the end of the reactor, which waits for what is queued by now.
    fn begin_to_drain(self: Rc<Self>, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Returns whether the end of the reactor waits for bytes that the object has to send.
    fn is_draining(&self) -> bool {
        false
    }

    /// Returns whether the end of the reactor waits for it without a limit.
    fn drains_without_limit(&self) -> bool {
        false
    }

    /// Returns the object itself, if other threads send results to it: see [`arrived_at`].
    fn as_any(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        None
    }

    /// Returns the kind of the object, for lists.
    fn kind(&self) -> &'static str;

    /// Returns its state, for a dump.
    fn about(&self) -> String {
        String::new()
    }

    /// Returns where it was made.
    fn location(&self) -> &'static Location<'static>;
}

/// A handler as a tracked object. (The language does this by itself since Rust 1.86.)
pub(crate) trait AsTracked {
    /// Returns the same object.
    fn as_tracked(&self) -> &dyn Tracked;
    /// Returns the same object.
    fn into_tracked(self: Rc<Self>) -> Rc<dyn Tracked>;
}

impl<T: Tracked + 'static> AsTracked for T {
    fn as_tracked(&self) -> &dyn Tracked {
        self
    }

    fn into_tracked(self: Rc<Self>) -> Rc<dyn Tracked> {
        self
    }
}

/// What the reactor calls for one I/O source.
///
/// Nothing of the reactor is borrowed while one of these methods runs. None of them may unwind.
pub(crate) trait Handler: Tracked + AsTracked {
    /// Returns its registration with the loop.
    fn registration(&self) -> &Registration;

    /// Handles an event of the driver.
    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event);

    /// Does what was requested with [`Registration::request_attention`], also by its timer.
    fn attend(self: Rc<Self>, reactor: &Reactor);

    /// Returns the port that counts it, if it is a connection of a port.
    fn counter(&self) -> Option<*const ()> {
        None
    }

    /// Ends it, if it is a connection: after the queued bytes, or at once.
    fn end(&self, at_once: bool) {
        let _ = at_once;
    }

    /// Returns how many bytes it holds that count for the reactor's budget.
    fn held(&self) -> usize {
        0
    }

    /// Ends a connection for this reason, in the loop's turn.
    fn break_with(&self, reason: Failure) {
        drop(reason);
    }

    /// Returns the peer of a connection.
    fn peer(&self) -> Option<Address> {
        None
    }

    /// Returns the local address of a connection, if it has one.
    fn local_addr(&self) -> Option<Address> {
        None
    }

    /// Returns the handle to a descriptor that the program watches, if it is one.
    #[cfg(unix)]
    fn as_watch(self: Rc<Self>) -> Option<super::AnyWatch> {
        None
    }

    /// Returns whether it is a port that has never had a connection.
    fn is_unused_port(&self) -> bool {
        false
    }
}

/// Returns the tracked object with this key, if it still exists, and its reactor, for a call that
/// another thread has sent to the loop.
pub(super) fn arrived_at<S: 'static>(key: usize) -> Option<(Reactor, Rc<S>)> {
    let reactor = Reactor::current()?;
    let found = reactor
        .inner()
        .tracked
        .borrow()
        .get(key & !TRACKED)
        .cloned();
    let dump_item = found?.as_any()?.downcast().ok()?;
    Some((reactor, dump_item))
}

impl Reactor {
    /// Adds a handler to the table; `make` gets its registration.
    ///
    /// # Errors
    ///
    /// Fails when the reactor has ended.
    pub(crate) fn register<H: Handler + 'static>(
        &self,
        make: impl FnOnce(Registration) -> H,
    ) -> io::Result<Rc<H>> {
        let inner = self.inner();
        inner.check_has_not_ended()?;
        Ok(inner.handlers.borrow_mut().insert_giving(|key| {
            let handler = Rc::new(make(Registration::new(self, key)));
            (handler.clone() as Rc<dyn Handler>, handler)
        }))
    }
}

impl Reactor {
    /// Replaces the handler that has released the registration, which `make` gets.
    ///
    /// # Errors
    ///
    /// Fails when the reactor has ended.
    pub(crate) fn register_released<H: Handler + 'static>(
        &self,
        released: Released,
        make: impl FnOnce(Registration) -> H,
    ) -> io::Result<Rc<H>> {
        let (inner, key) = (self.inner(), released.key);
        inner.check_has_not_ended()?;
        let handler = Rc::new(make(released.renewed()));
        let before = inner.handlers.borrow_mut().replace(key, handler.clone());
        drop(before);
        Ok(handler)
    }
}

impl Inner {
    /// Adds an object to the table of those that are only tracked; returns its key.
    ///
    /// # Errors
    ///
    /// Fails when the reactor has ended.
    pub(crate) fn track(&self, dump_item: Rc<dyn Tracked>) -> io::Result<usize> {
        self.check_has_not_ended()?;
        let key = self.tracked.borrow_mut().insert_with(|_| dump_item);
        Ok(key | TRACKED)
    }

    fn check_has_not_ended(&self) -> io::Result<()> {
        match self.state.get() {
            State::Ended => Err(io::Error::other(ReactorError::NotRestartable)),
            _ => Ok(()),
        }
    }

    /// Removes a tracked object from its table.
    pub(crate) fn untrack(&self, key: usize) {
        let dump_item = self.tracked.borrow_mut().remove(key & !TRACKED);
        drop(dump_item);
    }

    /// Returns the object with this key, of either table.
    pub(super) fn find(&self, key: usize) -> Option<Rc<dyn Tracked>> {
        match key & TRACKED {
            0 => Some(self.handler(key)?.into_tracked()),
            _ => self.tracked.borrow().get(key & !TRACKED).cloned(),
        }
    }

    /// Removes the object with this key from its table.
    pub(super) fn remove_any(&self, key: usize) {
        match key & TRACKED {
            0 => self.remove(key),
            _ => self.untrack(key),
        }
    }

    /// Removes a handler from its table.
    pub(super) fn remove(&self, key: usize) {
        let handler = self.handlers.borrow_mut().remove(key);
        drop(handler);
        self.requests.handler_left();
    }

    /// Returns the handler with this key.
    #[inline]
    pub(super) fn handler(&self, key: usize) -> Option<Rc<dyn Handler>> {
        self.handlers.borrow().get(key).cloned()
    }

    /// Returns all handlers, with their keys.
    pub(super) fn all_handlers(&self) -> Vec<(usize, Rc<dyn Handler>)> {
        let handlers = self.handlers.borrow();
        let all = handlers.iter();
        all.map(|(key, handler)| (key, handler.clone())).collect()
    }

    /// Returns everything in both tables, with the keys.
    pub(super) fn all_tracked(&self) -> Vec<(usize, Rc<dyn Tracked>)> {
        let handlers = self.all_handlers().into_iter();
        let mut all: Vec<_> = handlers
            .map(|(key, handler)| (key, handler.into_tracked()))
            .collect();
        let tracked = self.tracked.borrow();
        let tracked = tracked.iter();
        all.extend(tracked.map(|(key, dump_item)| (key | TRACKED, dump_item.clone())));
        all
    }

    /// Returns the keys of the connections of one port, in order.
    pub(crate) fn counted_by(&self, counter: *const ()) -> Vec<usize> {
        let handlers = self.handlers.borrow();
        let counted = |handler: &Rc<dyn Handler>| handler.counter() == Some(counter);
        let keys = handlers.iter().filter(|(_, handler)| counted(handler));
        let mut keys: Vec<usize> = keys.map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }

    /// Ends a connection, after the queued bytes or at once.
    pub(crate) fn end_counted(&self, key: usize, at_once: bool) {
        if let Some(handler) = self.handler(key) {
            handler.end(at_once);
        }
    }
}

/// The bit that is set in the keys of tracked objects, and clear in those of handlers.
pub(super) const TRACKED: usize = 1 << (usize::BITS - 1);
