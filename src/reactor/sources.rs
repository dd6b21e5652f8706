//! What the loop watches: anything with a key.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::Location;
use std::rc::Rc;

use super::{Inner, Reactor};
use crate::address::Address;
use crate::driver::Event;
use crate::failure::Failure;

/// Something that has its place in the reactor's table and is told when the driver has news of it.
///
/// Nothing is borrowed while one of these methods runs. None of them may unwind.
pub(crate) trait Source {
    /// The driver has news of what was added under its key.
    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event) {
        let _ = (reactor, event);
    }

    /// It had asked for attention with [`Inner::attend`].
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        let _ = reactor;
    }

    /// The reactor ends, and `lose` follows when all sources have been told: what the user writes from now on is not
    /// accepted.
    fn take_no_more(&self, reason: &Failure) {
        let _ = reason;
    }

    /// The reactor ends: it must leave, and tell its user why.
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure);

    /// The reactor is about to end: what it has to send by now is waited for.
    fn begin_to_drain(self: Rc<Self>, reactor: &Reactor) {
        let _ = reactor;
    }

    /// Has it still something to send that the end of the reactor waits for?
    fn is_draining(&self) -> bool {
        false
    }

    /// Which port counts it, if it is a port's connection.
    fn counter(&self) -> Option<*const ()> {
        None
    }

    /// Ends it, if it is a connection: in good order, or at once.
    fn end(&self, at_once: bool) {
        let _ = at_once;
    }

    /// Is it waited for without limit?
    fn is_patient(&self) -> bool {
        false
    }

    /// How many bytes it holds that count for the budget of the reactor.
    fn held(&self) -> usize {
        0
    }

    /// It is to end, for a reason of somebody else's. Inert.
    fn break_with(&self, reason: Failure) {
        drop(reason);
    }

    /// Itself, if results are brought to it by other threads: see [`arrived_at`].
    fn as_any(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        None
    }

    /// The handle to a descriptor that a program watches, if it is one.
    #[cfg(unix)]
    fn as_watch(self: Rc<Self>) -> Option<super::AnyWatch> {
        None
    }

    /// Is it a port that waits for connections, and has never had one?
    fn is_unused_port(&self) -> bool {
        false
    }

    /// What it is, for the list of what was left behind.
    fn kind(&self) -> &'static str;

    /// How it stands, for a dump.
    fn about(&self) -> String {
        String::new()
    }

    /// Who is at the other end of a connection.
    fn peer(&self) -> Option<Address> {
        None
    }

    /// Where it was made.
    fn place(&self) -> &'static Location<'static>;
}

/// For a call that another thread has sent to the loop: the source with this key, if it is there still, and its reactor.
pub(super) fn arrived_at<S: 'static>(key: usize) -> Option<(Reactor, Rc<S>)> {
    let reactor = Reactor::current()?;
    let source = reactor.inner().source(key)?.as_any()?;
    Some((reactor, source.downcast().ok()?))
}

impl Inner {
    /// The keys of the connections of one port.
    pub(crate) fn counted_by(&self, counter: *const ()) -> BTreeSet<usize> {
        let sources = self.sources.borrow();
        let counted = |source: &Rc<dyn Source>| source.counter() == Some(counter);
        let keys = sources.iter().filter(|(_, source)| counted(source));
        keys.map(|(key, _)| key).collect()
    }

    /// Ends a connection, in good order or at once.
    pub(crate) fn end_counted(&self, key: usize, at_once: bool) {
        if let Some(source) = self.source(key) {
            source.end(at_once);
        }
    }
}
