//! Listening to signals: [`Signal::wait`] for the next one, [`Signals`] for all that come.
//!
//! # The idea
//!
//! A signal may come between any two instructions, on any thread, and hardly anything may be done about it there. So all
//! that is done there is to note it and to wake the loop, and what is to be done about it is done in a turn, like about
//! anything else. Any number of listeners, in any number of reactors and on any threads, may listen to the same signal:
//! all are told.
//!
//! What a signal did before (ended the process, was ignored as `nohup` has it, had a handler) it does no more while
//! somebody listens, and does again when the last listener is gone. What somebody else sets after that is left alone.
//!
//! # What is not promised
//!
//! How often. A signal that comes again before the loop has looked at it has come once; the system does the same with
//! those that wait. What a program must know exactly it cannot be told by signals.
//!
//! # In memory
//!
//! Signals are the process', so a reactor in memory hears the same ones; its time does not wait for them. A test has one
//! come to a single reactor, and nothing happen to the process, with
//! [`testing::deliver_signal`](crate::testing::deliver_signal).
//!
//! # Stopping
//!
//! [`run`](crate::run()) stops its reactor by SIGINT and SIGTERM, and on Windows by SIGBREAK
//! ([`ReactorBuilder::stops_on_signals`](crate::ReactorBuilder::stops_on_signals)). Who listens takes over: a stop signal that is listened to does not stop *that*
//! reactor by itself. So a program may end its own way,
//!
//! - with a Deferred, once: after that the next one stops the reactor, and the one after ends the process;
//! - with a stream, every time, until it is dropped or the reactor is [stopped](Reactor::stop).
//!
//! | a stop signal comes                            | listeners | the reactor      | the process         |
//! |------------------------------------------------|-----------|------------------|---------------------|
//! | nobody listens                                 | –         | stops            | goes on             |
//! | somebody listens                               | are told  | goes on          | goes on             |
//! | the reactor is stopping, its first since then  | are told  | goes on stopping | goes on             |
//! | it was told to stop by a signal before         | –         | –                | ends by the signal  |
//!
//! The kernel ends the first process of a container by no signal that is left at its default. There the second stop signal
//! makes it exit with 128 and the signal's number.
//!
//! # Which signals
//!
//! All but those that cannot wait for a loop: see [`SignalError`]. To listen to SIGCHLD takes no child away from anybody.
//! A signal that stops the process (SIGTSTP) does not while it is listened to.
//!
//! # On Windows
//!
//! Ctrl-C is SIGINT there, Ctrl-Break SIGBREAK. SIGBREAK is also what comes when the console is closed, the user logs off, or
//! the system or its container shuts down; then the system grants some seconds for what is to be done before the end,
//! whatever is stopped or not. SIGTERM and SIGABRT are nobody's to send but the process' own ([`Signal::raise`],
//! C's `raise`). Other signals there are none.
//!
//! A process that ends by SIGINT or SIGBREAK exits with `STATUS_CONTROL_C_EXIT` (`0xC000013A`), by another signal with 3.
//! One that was started with a process group of its own is not told of Ctrl-C, only of Ctrl-Break.
//!
//! # Invariants
//!
//! 1. A listener is told in a turn, never inside the handler, and after those who began to listen before it.
//! 2. Listening begins when the call returns: what comes from then on is told, what came before is not.
//! 3. Each way of letting go (a Deferred that has fired, was cancelled or dropped; a stream that was dropped; the reactor's
//!    end) ends listening on the spot.

mod listener;
mod stream;

use std::io;
use std::panic::Location;

use self::listener::Listener;
pub use self::stream::Signals;
use crate::defer::Deferred;
use crate::driver;
use crate::failure::Failure;
use crate::reactor::Reactor;
pub use crate::signal::SignalError;
use crate::signal::{Signal, SignalSet};

impl Reactor {
    /// All of these signals that come from now on, until the stream is dropped or the reactor ends. With none to listen to
    /// it waits for that end.
    ///
    /// # Errors
    ///
    /// [`SignalError`] when one of them is of that kind; the system's errors; when the reactor has ended. Then none is
    /// listened to.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Signal;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let mut signals = reactor.signals([Signal::INT, Signal::TERM])?;
    ///     Signal::TERM.raise()?;
    ///     assert_eq!(signals.next().await, Some(Signal::TERM));
    ///     Signal::INT.raise()?;
    ///     Signal::INT.raise()?;
    ///     assert_eq!(signals.next().await, Some(Signal::INT)); // twice before anybody looked is once
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("add_signal_handler", "signal.signal", "signal_hook", "SignalKind"))]
    #[track_caller]
    pub fn signals(&self, signals: impl IntoIterator<Item = Signal>) -> Result<Signals, Failure> {
        let location = Location::caller();
        let hears = signals.into_iter().collect();
        check(hears, location)?;
        Listener::always(self, hears, location).map(Signals::new)
    }
}

impl Signal {
    /// Returns a Deferred that fires when the process receives the signal next.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred, or dropping it without callbacks, ends the listening and restores what the signal did
    /// before.
    ///
    /// # Errors
    ///
    /// [`SignalError`]; [`Stopped`](crate::reactor::Stopped) when the reactor ends first; the system's errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Signal;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let told = Signal::TERM.wait(&reactor);
    ///     Signal::TERM.raise()?; // somebody else would say `kill`
    ///     assert_eq!(told.await?, Signal::TERM);
    ///
    ///     let failure = Signal::SEGV.wait(&reactor).await.unwrap_err();
    ///     failure.trap::<torsade::signals::SignalError>()?;
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("ctrl_c", "signal.signal", "installSignalHandlers"))]
    #[track_caller]
    pub fn wait(self, reactor: &Reactor) -> Deferred<Self> {
        let location = Location::caller();
        let hears = self.into();
        check(hears, location)
            .and_then(|()| Listener::once(reactor, hears, location))
            .unwrap_or_else(Deferred::fail)
    }

    /// Sends it to this process, on this thread: what is done about it has been done, or been noted, when this returns.
    ///
    /// # Errors
    ///
    /// The system's; on Windows, when it is SIGKILL or has no name.
    #[doc(alias("raise_signal", "os.kill"))]
    pub fn raise(self) -> io::Result<()> {
        driver::raise(self)
    }
}

/// Can all of these be listened to?
fn check(signals: SignalSet, location: &'static Location<'static>) -> Result<(), Failure> {
    let problem = signals.iter().find_map(|signal| {
        if UNSTOPPABLE.contains(&signal) {
            Some(SignalError::Unstoppable { signal })
        } else if FAULTS.contains(&signal) {
            Some(SignalError::Fault { signal })
        } else if signal.is_reserved() {
            Some(SignalError::Reserved { signal })
        } else {
            None
        }
    });
    problem.map_or(Ok(()), |problem| Err(Failure::at(problem, location)))
}

#[cfg(unix)]
const UNSTOPPABLE: [Signal; 2] = [Signal::KILL, Signal::STOP];
#[cfg(not(unix))]
const UNSTOPPABLE: [Signal; 1] = [Signal::KILL];

#[cfg(unix)]
const FAULTS: [Signal; 4] = [Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL];
#[cfg(not(unix))]
const FAULTS: [Signal; 3] = [Signal::SEGV, Signal::FPE, Signal::ILL];
