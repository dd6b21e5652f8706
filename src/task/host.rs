//! [`HostNotifier`]: notifies a host loop that a sleeping reactor got work.
//!
//! A reactor that runs its own loop checks its queues before it waits. A reactor in guest mode
//! sleeps in another loop, which waits for the reactor's descriptor. Work that the host's code adds
//! between two turns (a task, a timer, a write) makes that descriptor readable, once until the
//! reactor has seen it.

use std::cell::Cell;
use std::rc::Rc;

use super::Inbox;
use crate::sync::Shared;

/// Makes a reactor's descriptor readable when work is added outside a turn.
pub(crate) struct HostNotifier {
    inbox: Shared<Inbox>,
    /// Whether the reactor is in a turn, and checks its queues before it waits.
    in_turn: Cell<bool>,
    /// Whether the descriptor was requested.
    has_host: Cell<bool>,
    /// Whether something was added that the loop does not find in the queue of tasks.
    has_requests: Cell<bool>,
    /// Whether the descriptor was made readable, and no wait has consumed that.
    is_notified: Cell<bool>,
}

impl HostNotifier {
    pub(super) fn new(inbox: Shared<Inbox>) -> Rc<Self> {
        Rc::new(Self {
            inbox,
            in_turn: Cell::new(false),
            has_host: Cell::new(false),
            has_requests: Cell::new(false),
            is_notified: Cell::new(false),
        })
    }

    /// Records that work was added. In a turn this only reads a flag.
    #[inline]
    pub(crate) fn work_added(&self) {
        if !self.in_turn.get() {
            self.notify();
        }
    }

    /// Records that work other than a task was added.
    #[inline]
    pub(crate) fn request_added(&self) {
        self.has_requests.set(true);
        self.work_added();
    }

    /// Returns whether requests were added since the last call.
    #[inline]
    pub(crate) fn takes_requests(&self) -> bool {
        self.has_requests.get() && self.has_requests.replace(false)
    }

    /// Records that a host has the descriptor from now on.
    pub(crate) fn set_has_host(&self) {
        self.has_host.set(true);
    }

    /// Records that a wait has consumed the notification.
    pub(crate) fn clear(&self) {
        self.is_notified.set(false);
    }

    pub(super) fn set_in_turn(&self, in_turn: bool) {
        self.in_turn.set(in_turn);
    }

    #[cold]
    fn notify(&self) {
        if self.has_host.get() && !self.is_notified.replace(true) {
            self.inbox.wake();
        }
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::task::Executor;

    #[test]
    fn many_requests_outside_a_turn_notify_once_and_those_inside_never() {
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, location) = (count.clone(), Location::caller());
        let executor = Executor::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let ask = || executor.call(location, || ());
        let notified = || count.load(Ordering::Relaxed);
        ask();
        assert_eq!(notified(), 0, "there is no host");
        executor.host().set_has_host();
        for _ in 0..3 {
            ask();
        }
        assert_eq!(notified(), 1);
        let turn = executor.begin_turn();
        executor.host().clear();
        ask();
        drop(turn);
        assert_eq!(notified(), 1);
        ask();
        ask();
        assert_eq!(notified(), 2);
        executor.shut_down();
    }
}
