//! The signals of a reactor: those that stop it, the one that makes it dump, and those of its
//! listeners.
//!
//! A reactor has an entry in the driver's table of signals while a run or a listener needs one. The
//! signals that have arrived are dispatched first in a turn, to the listeners in the order in which
//! they began to listen; a listener is [called](ListensToSignals), and finds the signals in its
//! [`PendingSignals`].
//!
//! # Invariants
//!
//! 1. The entry in the driver's table asks for exactly the signals that the present run and the
//!    listeners need.
//! 2. Nothing is borrowed while a listener is called.
//! 3. Signals that have arrived are recorded for the listeners of that moment: before another one
//!    is added, and before they are called. A listener that is removed is not called any more, so
//!    signals are pending only while there is a listener for them.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use super::{Inner, Reactor};
use crate::debug;
use crate::driver::{Driver, SignalSlot};
use crate::signal::{Signal, SignalSet};

/// The listeners of a reactor, and the signals that are pending for them.
#[derive(Default)]
pub(super) struct SignalState {
    slot: RefCell<Option<Rc<SignalSlot>>>,
    listeners: RefCell<Vec<Listener>>,
    /// The keys of the listeners to be called.
    due: RefCell<Vec<usize>>,
    /// Whether a dump is to be made.
    dump_is_due: Cell<bool>,
    wants: Cell<Wants>,
    /// The signal that stopped the reactor.
    stopped_by: Cell<Option<Signal>>,
}

/// The signals that a run handles.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    /// SIGINT, SIGTERM, and on Windows SIGBREAK.
    pub(super) stops: bool,
    /// SIGUSR1.
    pub(super) dumps: bool,
}

/// The signals that have arrived for a listener and were not taken.
pub(crate) type PendingSignals = Rc<Cell<SignalSet>>;

/// A listener that is called when one of its signals has arrived.
pub(crate) trait ListensToSignals {
    /// Called in a turn, with nothing borrowed, when a signal has arrived.
    fn signal_arrived(self: Rc<Self>);
}

/// A listener.
struct Listener {
    key: usize,
    target: Weak<dyn ListensToSignals>,
    signals: SignalSet,
    pending: PendingSignals,
}

/// The signals of a run, until this is dropped.
pub(super) struct Listening<'a>(&'a Inner);

impl SignalState {
    /// Returns whether there are listeners.
    pub(super) fn has_listeners(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }

    /// Takes a stop signal, if one has arrived; records it unless the reactor is stopping already.
    pub(super) fn take_stop(&self, is_stopping: bool) -> bool {
        let slot = self.slot.borrow();
        let arrived = slot.as_ref().and_then(|slot| slot.take_stop());
        if arrived.is_some() && !is_stopping {
            self.stopped_by.set(arrived);
        }
        arrived.is_some()
    }

    /// Returns whether signals are pending. They may have ended a wait, and do not end the next
    /// one.
    pub(super) fn has_pending(&self) -> bool {
        let slot = self.slot.borrow();
        if !slot.as_ref().is_some_and(|slot| slot.has_any()) {
            return self.dump_is_due.get() || !self.due.borrow().is_empty();
        }
        let has_stop = slot.as_ref().is_some_and(|slot| slot.has_stop());
        drop(slot);
        self.collect_signals();
        has_stop || self.dump_is_due.get() || !self.due.borrow().is_empty()
    }

    /// Records that the reactor is stopping: a second signal then ends the process, in spite of
    /// listeners.
    pub(super) fn set_stopping(&self) {
        if let Some(slot) = &*self.slot.borrow() {
            slot.set_stopping(true);
        }
    }

    /// Records the signals that have arrived for the present listeners (invariant 3).
    fn collect_signals(&self) {
        let slot = self.slot.borrow();
        let arrived = slot.as_ref().map(|slot| slot.take_pending());
        drop(slot);
        let arrived = arrived.unwrap_or_default();
        if arrived.is_empty() {
            return;
        }
        if self.wants.get().dumps && !arrived.and(dump_signal()).is_empty() {
            self.dump_is_due.set(true);
        }
        let mut due = self.due.borrow_mut();
        for listener in &*self.listeners.borrow() {
            let signals = arrived.and(listener.signals);
            if !signals.is_empty() {
                listener.pending.set(listener.pending.get().with(signals));
                due.push(listener.key);
            }
        }
    }

    /// Adjusts the entry to the signals that are needed (invariant 1). When that fails, the entry
    /// is unchanged.
    fn adjust(&self, driver: &Driver) -> io::Result<()> {
        let wants = self.wants.get();
        let mut signals = match wants.dumps {
            true => dump_signal(),
            false => SignalSet::default(),
        };
        for listener in &*self.listeners.borrow() {
            signals = signals.with(listener.signals);
        }
        let slot = self.slot.borrow().clone();
        if signals.is_empty() && !wants.stops {
            self.slot.replace(None);
            return Ok(());
        }
        let slot = match slot {
            Some(slot) => slot,
            None => Rc::new(SignalSlot::new(driver.waker())?),
        };
        slot.set_stops(wants.stops)?;
        slot.set_subscribed(signals)?;
        self.slot.replace(Some(slot));
        Ok(())
    }
}

impl Inner {
    /// Adds a listener: `target` is called when one of these signals has arrived, and
    /// `PendingSignals` then holds them. [`Inner::stop_listening`] removes the listener by its key.
    ///
    /// # Errors
    ///
    /// Fails with the system's errors.
    pub(crate) fn listen_to(
        &self,
        key: usize,
        target: Weak<dyn ListensToSignals>,
        signals: SignalSet,
    ) -> io::Result<PendingSignals> {
        self.signals.collect_signals();
        let pending = PendingSignals::default();
        self.signals.listeners.borrow_mut().push(Listener {
            key,
            target,
            signals,
            pending: pending.clone(),
        });
        if let Err(error) = self.signals.adjust(&self.driver) {
            self.stop_listening(key);
            return Err(error);
        }
        Ok(pending)
    }

    /// Removes a listener.
    pub(crate) fn stop_listening(&self, key: usize) {
        let mut listeners = self.signals.listeners.borrow_mut();
        listeners.retain(|listener| listener.key != key);
        drop(listeners);
        self.signals.due.borrow_mut().retain(|due| *due != key);
        // Removing signals does not fail.
        let _ = self.signals.adjust(&self.driver);
    }

    /// Delivers a signal to this reactor alone. Returns whether the run or a listener handles it.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn deliver(&self, signal: Signal) -> bool {
        let slot = self.signals.slot.borrow().clone();
        slot.is_some_and(|slot| slot.deliver(signal))
    }

    /// Begins to handle the signals of a run, until the guard is dropped.
    pub(super) fn listen_for_run(&self, wants: Wants) -> io::Result<Listening<'_>> {
        let listening = Listening(self);
        self.begin_listening(wants)?;
        Ok(listening)
    }

    /// Does the same without a guard: [`Inner::end_listening`] must follow, also when this fails.
    pub(super) fn begin_listening(&self, wants: Wants) -> io::Result<()> {
        self.signals.wants.set(wants);
        self.signals.stopped_by.set(None);
        self.signals.adjust(&self.driver)
    }

    /// Ends the handling of a run's signals.
    pub(super) fn end_listening(&self) {
        let signals = &self.signals;
        signals.wants.take();
        signals.dump_is_due.set(false);
        // Removing signals does not fail.
        let _ = signals.adjust(&self.driver);
        if let Some(slot) = &*signals.slot.borrow() {
            slot.set_stopping(false);
        }
    }
}

impl Reactor {
    /// Returns the signal that stopped the reactor, or `None` when no signal did.
    ///
    /// A signal that arrives while the reactor is stopping does not count. See
    /// [`ReactorBuilder::stops_on_signals`](super::ReactorBuilder::stops_on_signals).
    ///
    /// By convention a program that a signal has stopped ends by that signal, so that its parent
    /// sees the reason. [`ReactorBuilder::ends_by_signal`](super::ReactorBuilder::ends_by_signal)
    /// does that; the example shows it by hand. The kernel does not end the first process of a
    /// container by such a signal, so that process exits with 128 plus the signal's number, as
    /// shells do.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = torsade::Reactor::builder().stops_on_signals(true).build()?;
    /// reactor.run()?;
    /// if let Some(signal) = reactor.stopped_by() {
    ///     signal.raise()?; // the earlier action is restored: this ends the process
    ///     std::process::exit(128 + signal.number()); // in the first process of a container
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("_exitSignal", "exit_signal"))]
    pub fn stopped_by(&self) -> Option<Signal> {
        self.inner().signals.stopped_by.get()
    }

    /// Calls the listeners of the signals that have arrived (invariant 2).
    pub(super) fn dispatch_signals(&self) {
        let signals = &self.inner().signals;
        if !signals.has_pending() {
            return;
        }
        signals.collect_signals();
        if cfg!(feature = "debug") && signals.dump_is_due.take() {
            debug::print(&format_args!("everything that is alive:\n{}", self.tree()));
        }
        for key in signals.due.take() {
            let target = {
                let listeners = signals.listeners.borrow();
                let found = listeners.iter().find(|listener| listener.key == key);
                found.and_then(|listener| listener.target.upgrade())
            };
            if let Some(target) = target {
                target.signal_arrived();
            }
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.end_listening();
    }
}

/// Returns the signal that makes the reactor dump.
fn dump_signal() -> SignalSet {
    #[cfg(unix)]
    return Signal::USR1.into();
    #[cfg(not(unix))]
    return SignalSet::default();
}
