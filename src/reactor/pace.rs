//! What the loop remembers from one turn to the next: [`Pace`].

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use super::main_waker::MainWaker;
use crate::driver::Event;
use crate::sync::{Ordering, Shared};
use crate::task::Inbox;

/// When the loop must next poll the driver, although there is enough to do.
pub(super) struct Pace {
    /// The tasks and calls from other threads that ran since the driver was last polled.
    pub(super) ran: Cell<usize>,
    /// When that was, if the time was read since.
    pub(super) polled_at: Cell<Option<Instant>>,
    /// Whether a task has used up its budget since then.
    pub(super) has_spent: Cell<bool>,
    /// Wakes the main future.
    pub(super) waker: Arc<MainWaker>,
    /// Whether the main future waits to be woken.
    pub(super) main_waits: Cell<bool>,
    /// Whether `stop` was called and the shutdown event has not been fired.
    pub(super) stop_requested: Cell<bool>,
    /// Whether the startup event of this run is over.
    pub(super) started: Cell<bool>,
    /// The number of runs that have begun.
    pub(super) starts: Cell<u64>,
    /// When the last run began.
    pub(super) began_at: Cell<Option<Instant>>,
    /// Whether a signal requested the stop before the run has started.
    pub(super) signalled: Cell<bool>,
    /// Whether the run was begun with [`Reactor::start`].
    pub(super) hosted: Cell<bool>,
    /// Whether the last poll of the driver found events: there may be more.
    pub(super) found_events: Cell<bool>,
    /// The events of the last wait, and how many of them have been handled.
    pub(super) events: Cell<Vec<Event>>,
    pub(super) handled: Cell<usize>,
    /// Whether some of them have not been handled.
    pub(super) has_events: Cell<bool>,
    /// The progress towards the time limits that are due and held.
    pub(super) limits: Cell<Limits>,
}

/// The progress towards due time limits, which take effect after everything that arrived before
/// them; see [`Timers`](crate::clock::Timers).
#[derive(Clone, Copy, Debug)]
pub(super) enum Limits {
    /// The loop has polled the driver this many times, and found events each time.
    Polling(u32),
    /// There are no more events; the woken tasks have to run, for this many more batches.
    RunningTasks(u32),
    /// The tasks have run: the limits take effect.
    Released,
}

impl Pace {
    pub(super) fn new(inbox: Shared<Inbox>) -> Self {
        Self {
            waker: MainWaker::new(inbox),
            main_waits: Cell::new(false),
            ran: Cell::new(0),
            polled_at: Cell::new(None),
            has_spent: Cell::new(false),
            stop_requested: Cell::new(false),
            started: Cell::new(false),
            starts: Cell::new(0),
            began_at: Cell::new(None),
            signalled: Cell::new(false),
            hosted: Cell::new(false),
            found_events: Cell::new(false),
            events: Cell::default(),
            handled: Cell::new(0),
            has_events: Cell::new(false),
            limits: Cell::new(Limits::Polling(0)),
        }
    }

    /// Returns whether events of the last wait have not been handled.
    pub(super) fn has_events(&self) -> bool {
        self.has_events.get()
    }

    /// Takes the events out, with the number of handled ones; [`Pace::put_events`] must follow.
    pub(super) fn lend_events(&self) -> (Vec<Event>, usize) {
        (self.events.take(), self.handled.get())
    }

    /// Returns an empty list for a new wait: all events of the last one have been handled.
    pub(super) fn take_events(&self) -> Vec<Event> {
        let mut events = self.events.take();
        events.clear();
        events
    }

    /// Puts back the events of the last wait, of which this many have been handled.
    pub(super) fn put_events(&self, events: Vec<Event>, handled: usize) {
        self.has_events.set(handled < events.len());
        self.handled.set(handled);
        self.events.set(events);
    }

    pub(super) fn note_run(&self, count: usize) {
        self.ran.set(self.ran.get() + count);
    }

    pub(super) fn request_stop(&self) {
        self.stop_requested.set(true);
    }

    /// Stops the run as soon as its startup event is over.
    pub(super) fn stop_once_started(&self) {
        self.signalled.set(true);
    }

    pub(super) fn is_stop_requested(&self) -> bool {
        self.stop_requested.get()
    }

    /// Returns whether there is a main future that is not done.
    pub(super) fn main_waits(&self) -> bool {
        self.main_waits.get()
    }

    pub(super) fn began_at(&self) -> Option<Instant> {
        self.began_at.get()
    }

    pub(super) fn is_hosted(&self) -> bool {
        self.hosted.get()
    }

    pub(super) fn set_hosted(&self, hosted: bool) {
        self.hosted.set(hosted);
    }

    /// Cancels the requested shutdown event.
    pub(super) fn cancel_stop(&self) {
        self.stop_requested.set(false);
    }

    /// Returns whether the main future was woken and has not been polled since.
    pub(super) fn main_is_woken(&self) -> bool {
        self.main_waits.get() && self.waker.is_woken().load(Ordering::SeqCst)
    }
}
