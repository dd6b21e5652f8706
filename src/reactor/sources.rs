//! What the loop watches: anything with a key.

use std::panic::Location;
use std::rc::Rc;

use super::Reactor;
use crate::driver::Event;
use crate::failure::Failure;

/// Something that has its place in the reactor's table and is told when the driver has news of it.
///
/// Nothing is borrowed while one of these methods runs. None of them may unwind.
pub(crate) trait Source {
    /// The driver has news.
    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event);

    /// It had asked for attention with [`Reactor::attend`].
    fn attend(self: Rc<Self>, reactor: &Reactor);

    /// The reactor ends: it must leave, and tell its user why.
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure);

    /// Has it been told to end, and still has something to write?
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

    /// What it is, for the list of what was left behind.
    fn kind(&self) -> &'static str;

    /// How it stands, for a dump.
    fn about(&self) -> String {
        String::new()
    }

    /// Where it was made.
    fn place(&self) -> &'static Location<'static>;
}
