//! What a reactor hears of signals: what it is told to stop by, to dump by, and who listens
//! besides.
//!
//! A reactor has a place at the driver's table of signals while anything here wants one, and gives
//! it back when nothing does. What came is looked at as the first thing in a turn, and told in the
//! order in which they began to listen; who listens is [called](ListensToSignals), and finds in its
//! [`Received`] what came.
//!
//! # Invariants
//!
//! 1. Its place at the driver's table wants exactly what the run under way and those who listen
//!    want.
//! 2. Nothing is borrowed while somebody is told.
//! 3. What came is noted for those who listen by then: before anybody joins them, and before they
//!    are told. Who leaves is not to be told any more: there is news only while there is somebody
//!    to tell.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use super::{Inner, Reactor};
use crate::debug;
use crate::driver::{Driver, Signals};
use crate::signal::{Signal, SignalSet};

/// Everybody in a reactor who listens to signals.
#[derive(Default)]
pub(super) struct SignalState {
    location: RefCell<Option<Rc<Signals>>>,
    listeners: RefCell<Vec<Listener>>,
    /// Those who are to be told.
    due: RefCell<Vec<usize>>,
    /// A dump is to be made.
    dump_is_due: Cell<bool>,
    wants: Cell<Wants>,
    /// The signal that stopped the reactor.
    stopped_by: Cell<Option<Signal>>,
}

/// What a run wants to be told of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    /// SIGINT, SIGTERM, and on Windows SIGBREAK.
    pub(super) stops: bool,
    /// SIGUSR1.
    pub(super) dumps: bool,
}

/// What came and was not looked at, for one that listens.
pub(crate) type Received = Rc<Cell<SignalSet>>;

/// What is called when a signal came that it listens to.
pub(crate) trait ListensToSignals {
    /// A signal came. Called in a turn, with nothing borrowed.
    fn signal_came(self: Rc<Self>);
}

/// One that listens.
struct Listener {
    key: usize,
    callee: Weak<dyn ListensToSignals>,
    hears: SignalSet,
    heard: Received,
}

/// A run that may be told to stop.
pub(super) struct Listening<'a>(&'a Inner);

impl SignalState {
    /// Does anybody listen?
    pub(super) fn has_listeners(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }

    /// Has a signal come that stops the reactor, unless it is stopping already?
    pub(super) fn take_stop(&self, is_stopping: bool) -> bool {
        let location = self.location.borrow();
        let came = location.as_ref().and_then(|location| location.take_stop());
        if came.is_some() && !is_stopping {
            self.stopped_by.set(came);
        }
        came.is_some()
    }

    /// Is there something to tell? A wait may have ended by it, and nothing ends the next one then.
    pub(super) fn has_pending(&self) -> bool {
        self.note();
        let location = self.location.borrow();
        let has_stop = location
            .as_ref()
            .is_some_and(|location| location.has_stop());
        has_stop || self.dump_is_due.get() || !self.due.borrow().is_empty()
    }

    /// The reactor is stopping: a second signal ends the process, whoever listens to it.
    pub(super) fn set_stopping(&self) {
        if let Some(location) = &*self.location.borrow() {
            location.set_stopping(true);
        }
    }

    /// Notes what came for those who listen now (invariant 3).
    fn note(&self) {
        let location = self.location.borrow();
        let came = location.as_ref().map(|location| location.take_heard());
        drop(location);
        let came = came.unwrap_or_default();
        if came.is_empty() {
            return;
        }
        if self.wants.get().dumps && !came.and(dump_signal()).is_empty() {
            self.dump_is_due.set(true);
        }
        let mut due = self.due.borrow_mut();
        for listener in &*self.listeners.borrow() {
            let hears = came.and(listener.hears);
            if !hears.is_empty() {
                listener.heard.set(listener.heard.get().with(hears));
                due.push(listener.key);
            }
        }
    }

    /// Brings the place in line with what is wanted (invariant 1). When that fails the place is as
    /// it was.
    fn adjust(&self, driver: &Driver) -> io::Result<()> {
        let wants = self.wants.get();
        let mut hears = match wants.dumps {
            true => dump_signal(),
            false => SignalSet::default(),
        };
        for listener in &*self.listeners.borrow() {
            hears = hears.with(listener.hears);
        }
        let location = self.location.borrow().clone();
        if hears.is_empty() && !wants.stops {
            self.location.replace(None);
            return Ok(());
        }
        let location = match location {
            Some(location) => location,
            None => Rc::new(Signals::new(driver.waker())?),
        };
        location.set_stops(wants.stops)?;
        location.set_heard(hears)?;
        self.location.replace(Some(location));
        Ok(())
    }
}

impl Inner {
    /// Has `callee` called when one of these came; `Received` then says which. The key is good for
    /// [`Inner::listen_no_more`].
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn listen_to(
        &self,
        key: usize,
        callee: Weak<dyn ListensToSignals>,
        hears: SignalSet,
    ) -> io::Result<Received> {
        self.signals.note();
        let heard = Received::default();
        self.signals.listeners.borrow_mut().push(Listener {
            key,
            callee,
            hears,
            heard: heard.clone(),
        });
        if let Err(error) = self.signals.adjust(&self.driver) {
            self.listen_no_more(key);
            return Err(error);
        }
        Ok(heard)
    }

    /// It is not to be told any more.
    pub(crate) fn listen_no_more(&self, key: usize) {
        let mut listeners = self.signals.listeners.borrow_mut();
        listeners.retain(|listener| listener.key != key);
        drop(listeners);
        self.signals.due.borrow_mut().retain(|due| *due != key);
        // To want less does not fail.
        let _ = self.signals.adjust(&self.driver);
    }

    /// As if a signal had come, for this reactor alone. Did anybody want it?
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn deliver(&self, signal: Signal) -> bool {
        let location = self.signals.location.borrow().clone();
        location.is_some_and(|location| location.deliver(signal))
    }

    /// A run begins, and wants these; until the guard is dropped.
    pub(super) fn listen_for_run(&self, wants: Wants) -> io::Result<Listening<'_>> {
        let listening = Listening(self);
        self.begin_listening(wants)?;
        Ok(listening)
    }

    /// The same without a guard: [`Inner::end_listening`] has to follow, also when this fails.
    pub(super) fn begin_listening(&self, wants: Wants) -> io::Result<()> {
        self.signals.wants.set(wants);
        self.signals.stopped_by.set(None);
        self.signals.adjust(&self.driver)
    }

    /// The run is over.
    pub(super) fn end_listening(&self) {
        let signals = &self.signals;
        signals.wants.take();
        signals.dump_is_due.set(false);
        // To want less does not fail.
        let _ = signals.adjust(&self.driver);
        if let Some(location) = &*signals.location.borrow() {
            location.set_stopping(false);
        }
    }
}

impl Reactor {
    /// Returns the signal that stopped the reactor, or `None` when no signal did.
    ///
    /// A signal that arrived when the reactor was stopping already has not stopped it. See
    /// [`ReactorBuilder::stops_on_signals`](super::ReactorBuilder::stops_on_signals).
    ///
    /// A program that was ended by a signal shows that to its parent by ending by the same signal.
    /// The first process of a container cannot: the kernel ends it by no signal that it does not
    /// handle itself. It exits with 128 plus the signal's number, as shells do.
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
        if signals.location.borrow().is_none() {
            return;
        }
        signals.note();
        if signals.dump_is_due.take() {
            debug::print(&format_args!("everything that is alive:\n{}", self.tree()));
        }
        for key in signals.due.take() {
            let callee = {
                let listeners = signals.listeners.borrow();
                let found = listeners.iter().find(|listener| listener.key == key);
                found.and_then(|listener| listener.callee.upgrade())
            };
            if let Some(callee) = callee {
                callee.signal_came();
            }
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.end_listening();
    }
}

/// What has the reactor dump.
fn dump_signal() -> SignalSet {
    #[cfg(unix)]
    return Signal::USR1.into();
    #[cfg(not(unix))]
    return SignalSet::default();
}
