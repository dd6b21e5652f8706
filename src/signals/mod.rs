//! Signals of the operating system: [`Signal::wait`] for the next one, [`Signals`] for all that
//! arrive.
//!
//! # The idea
//!
//! A signal may arrive between any two instructions, on any thread, and a signal handler may call
//! very few functions. The handler of this crate therefore only records the signal and wakes the
//! loop, and listeners run in a turn, like all other code. Any number of listeners, in any number
//! of reactors and on any threads, may listen to the same signal: all of them get it. A *listener*
//! is a waiting Deferred of [`Signal::wait`], or a [`Signals`] stream.
//!
//! The earlier action of a signal (ending the process, being ignored as with `nohup`, a handler) is
//! replaced while there are listeners, and restored when the last one is gone. If other code sets
//! an action while there are listeners, that action stays.
//!
//! As with pending POSIX signals, repeats that arrive before the loop runs are merged into one.
//!
//! # In memory
//!
//! Signals belong to the process, so an in-memory reactor gets them as well; its virtual time moves
//! on while it waits for one. [`testing::deliver_signal`](crate::testing::deliver_signal) delivers
//! a signal to a single reactor, without an effect on the process.
//!
//! # Stopping
//!
//! [`run`](crate::run()) stops its reactor upon SIGINT and SIGTERM, and on Windows upon SIGBREAK
//! ([`ReactorBuilder::stops_on_signals`](crate::ReactorBuilder::stops_on_signals)). A stop signal
//! that a reactor's listener gets does not stop *that* reactor. So a program that listens decides
//! what a stop signal does:
//!
//! - A Deferred ([`Signal::wait`]) gets one signal. After that the next stop signal stops the
//!   reactor, and the one after that ends the process.
//! - A stream ([`Reactor::signals`]) gets each signal, until the stream is dropped or the reactor
//!   is [stopped](Reactor::stop).
//!
//! | a stop signal arrives while                    | listeners | the reactor         | the process         |
//! |------------------------------------------------|-----------|---------------------|---------------------|
//! | there is no listener                           | –         | stops               | continues           |
//! | there are listeners                            | get it    | continues           | continues           |
//! | the reactor is stopping, and none came before  | get it    | continues to stop   | continues           |
//! | the reactor is stopping because of a signal    | –         | –                   | ends by the signal  |
//!
//! A signal with its default action does not end the first process of a container (process id 1).
//! There the second stop signal makes the process exit with 128 plus the signal's number.
//!
//! # Which signals
//!
//! A program can listen to all signals except those that [`SignalError`] names. Listening to
//! SIGCHLD reaps no child process of other code. A signal that suspends the process (SIGTSTP) does
//! not suspend it while there is a listener.
//!
//! # On Windows
//!
//! Ctrl-C is SIGINT, and Ctrl-Break is SIGBREAK. SIGBREAK also arrives when the console is closed,
//! the user logs off, or the system or its container shuts down; the system then ends the process
//! after some seconds, whether it has stopped or not. Only the process itself can send SIGTERM and
//! SIGABRT ([`Signal::raise`], C's `raise`). Windows has no other signals.
//!
//! A process that ends by SIGINT or SIGBREAK exits with `STATUS_CONTROL_C_EXIT` (`0xC000013A`), by
//! another signal with 3. A process that was started in a new process group gets no Ctrl-C, only
//! Ctrl-Break.
//!
//! # Invariants
//!
//! 1. A listener is called in a turn, never inside the handler, and after the listeners that began
//!    before it.
//! 2. Listening begins when `wait` or `signals` returns: signals that arrive from then on are
//!    delivered, earlier ones are not.
//! 3. Each way of ending (a Deferred that has fired, was cancelled or dropped; a stream that was
//!    dropped; the reactor's end) ends the listening at once.

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

/// # Signals
impl Reactor {
    /// Returns a stream of these signals, as they arrive from now on, until the stream is dropped
    /// or the reactor ends. A stream of no signals waits for the end of the reactor.
    ///
    /// # Errors
    ///
    /// Fails with [`SignalError`] when a signal cannot be listened to, with the system's errors,
    /// and when the reactor has ended. Then none of the signals is listened to.
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
    ///     // Two signals that arrive before the loop runs are merged.
    ///     assert_eq!(signals.next().await, Some(Signal::INT));
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("add_signal_handler", "signal.signal", "signal_hook", "SignalKind"))]
    #[track_caller]
    pub fn signals(&self, signals: impl IntoIterator<Item = Signal>) -> Result<Signals, Failure> {
        let location = Location::caller();
        let signals = signals.into_iter().collect();
        check(signals, location)?;
        Listener::for_stream(self, signals, location).map(Signals::new)
    }
}

impl Signal {
    /// Returns a Deferred that fires when the process next receives the signal.
    ///
    /// While the Deferred waits, the signal's earlier action is replaced: SIGTERM, for example,
    /// neither ends the process nor stops this reactor. [`Reactor::signals`] receives every
    /// signal, not only the next.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred, or dropping it without callbacks, stops listening and restores the
    /// earlier action, unless others still listen to the signal.
    ///
    /// # Errors
    ///
    /// Fails with [`SignalError`] when no program can listen to the signal (SIGKILL, SIGSEGV), with
    /// [`Stopped`](crate::reactor::Stopped) when the reactor ends first, and with the system's
    /// errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Signal;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let received = Signal::TERM.wait(&reactor);
    ///     Signal::TERM.raise()?; // or another process, with `kill`
    ///     assert_eq!(received.await?, Signal::TERM);
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
        let signals = self.into();
        check(signals, location)
            .and_then(|()| Listener::for_deferred(reactor, signals, location))
            .unwrap_or_else(Deferred::fail)
    }

    /// Sends the signal to the calling thread of this process, as C's `raise` does.
    ///
    /// When this method returns, the signal's action has been taken or, while a reactor listens to
    /// the signal, has been recorded for its next turn.
    ///
    /// # Errors
    ///
    /// Fails with the system's errors; on Windows also for SIGKILL and for a signal without a name.
    #[doc(alias("raise_signal", "os.kill"))]
    pub fn raise(self) -> io::Result<()> {
        driver::raise(self)
    }
}

/// Fails when one of these signals cannot be listened to.
fn check(signals: SignalSet, location: &'static Location<'static>) -> Result<(), Failure> {
    let problem = signals.iter().find_map(|signal| {
        if UNSTOPPABLE.contains(&signal) {
            Some(SignalError::NotCatchable { signal })
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
