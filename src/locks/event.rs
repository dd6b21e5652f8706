//! [`Event`]: a flag that Deferreds wait for.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::defer::{Deferred, Listeners};

/// A flag that any number of Deferreds can wait for.
///
/// Clones are handles to the same event. An event stays set until [`clear`](Event::clear), and all
/// its waiters fire at once.
///
/// tokio's `Notify` does not stay set. Its `notify_waiters` is a [`set`](Event::set) followed by a
/// `clear`; for `notify_one`, which wakes one waiter or the next one, use a
/// [`DeferredQueue<()>`](super::DeferredQueue), or [`Watched`](super::Watched) for a value that
/// changes.
///
/// # Examples
///
/// ```
/// use torsade::locks::Event;
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let ready = Event::new();
///     let waits = ready.wait();
///     let setter = ready.clone();
///     reactor.call_soon(move || setter.set());
///     waits.await?;
///     ready.wait().await // it is set: at once
/// });
/// ```
#[derive(Clone, Default)]
pub struct Event {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    is_set: Cell<bool>,
    waiters: Listeners<()>,
}

impl Event {
    /// Makes an event that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the event and fires all waiters.
    ///
    /// # Order
    ///
    /// Waiters fire in the order in which they began to wait; callbacks run inside this call. All
    /// Deferreds that waited when the event was set are fired, even if a callback clears the event.
    #[doc(alias("notify_waiters", "notify_all"))]
    pub fn set(&self) {
        self.inner.is_set.set(true);
        for waiter in self.inner.waiters.resolvers() {
            waiter.callback(());
        }
    }

    /// Clears the event: later waiters wait for the next [`set`](Event::set).
    pub fn clear(&self) {
        self.inner.is_set.set(false);
    }

    /// Returns whether the event is set.
    pub fn is_set(&self) -> bool {
        self.inner.is_set.get()
    }

    /// Waits until the event is set. The Deferred is settled at once if the event is set already.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: an event stays set. A Deferred dropped without callbacks stops waiting.
    ///
    /// # Errors
    ///
    /// [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned) when the last handle is
    /// dropped and the event was not set.
    #[doc(alias = "notified")]
    #[track_caller]
    pub fn wait(&self) -> Deferred<()> {
        match self.is_set() {
            true => Deferred::succeed(()),
            false => self.inner.waiters.join(),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_waiter_leaves_the_event_whatever_canceller_the_user_has_set() {
        let event = Event::new();
        let count = Rc::new(Cell::new(0));
        for n in 1..=3 {
            let called = count.clone();
            let waits = event.wait().on_cancel(|| ());
            let waits = waits.on_cancel(move || called.set(called.get() + 1));
            assert!(!event.inner.waiters.is_empty());
            waits.cancel();
            waits.add_errback(|_| ());
            assert!(event.inner.waiters.is_empty());
            assert_eq!(count.get(), n);
        }
    }
}
