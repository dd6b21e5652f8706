//! What the system tells this process out of turn: signals.
//!
//! Each loop that wants to hear of any takes a place with [`Signals`]. It says which ones it wants
//! to *hear*, and whether it is to *stop* when it is asked to by SIGINT, SIGTERM or, on Windows,
//! SIGBREAK. A handler of our own, one for the process, notes what came at each place that wants
//! it, and ends that loop's wait. What came several times before the loop looked has come once.
//!
//! The first stop signal is noted for each loop that stops by it; a second, while one of them has
//! not come to its end, ends the process as if nobody had been listening, so that a shutdown that
//! hangs can be cut short. Stop signals that come within a tenth of a second are one, and so are
//! those that come before the loop has acted on the first, unless it has not done so for three
//! seconds. A loop that wants to hear a stop signal itself is not stopped by it, until its stop has
//! begun. The first process of a container, which no default disposition ends, exits with 128 and
//! the signal's number.
//!
//! | event                             | does                                                                       |
//! |-----------------------------------|----------------------------------------------------------------------------|
//! | a place begins to want a signal   | notes the disposition it finds, unless it is ours, and sets ours            |
//! | the last that wants it leaves     | restores the disposition that was noted                                    |
//! | a signal that a place hears       | noted there, its wait is ended                                             |
//! | a stop signal, place not yet told | told, its wait is ended; not so while it hears the signal and does not stop |
//! | a stop signal, a place was told   | nothing, if they came together or the loop had no time to act yet          |
//! | a stop signal, a place has acted  | default disposition, raised again: the process ends by it                  |
//! | a place that stops begins         | is told at once if another one was told                                    |
//!
//! # Invariants
//!
//! 1. To stop, SIGINT is taken only from the default disposition: who ignores it, or has a handler,
//!    keeps that. To be heard, a signal is taken from whatever was there.
//! 2. On Unix the handler uses nothing but atomics, `write`, `sigaction`, `raise`, `getpid` and
//!    `_exit`, and leaves `errno` as it was. On Windows it interrupts nobody, and takes locks.
//! 3. A place's descriptor is open while the handler may write to it: a drop clears the place, then
//!    waits for handlers that are under way, and only then lets its [`Waking`] go.
//! 4. A disposition that somebody changed after us is left to them, until somebody here begins to
//!    want the signal.
//! 5. Whoever notes something at a place rings, unless what was noted before has not been looked
//!    at: then that one rings.
//! 6. On Unix a thread takes the signals that its place wants, even if they were blocked; they are
//!    blocked again when they are wanted no longer.
//! 7. What came before a place wanted a signal is not told to it, nor what came after it has ceased
//!    to.
//!
//! A process that forks without running another program has the places of its parent, and is not to
//! use reactors.
//!
//! In memory a wait with a timeout does not block and so has nothing to be ended; the signal is
//! noted all the same.

#[cfg(target_os = "linux")]
use crate::signal::Signal;

mod table;
#[cfg(test)]
#[allow(unsafe_code, reason = "signals are sent, and dispositions are set")]
mod tests;
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "a signal's disposition is set, and a handler runs, in C's terms"
)]
mod unix;
#[cfg(windows)]
#[allow(
    unsafe_code,
    reason = "a signal's disposition is set, and a handler runs, in C's terms"
)]
mod windows;

pub(crate) use system::raise;
pub(crate) use table::Signals;
#[cfg(unix)]
use unix as system;
#[cfg(unix)]
pub(super) use unix::with_all_blocked;
#[cfg(unix)]
pub(crate) use unix::with_blocked;
#[cfg(windows)]
use windows as system;

/// Does this signal, when it comes, end the process?
#[cfg(target_os = "linux")]
pub(super) fn kills(signal: i32) -> bool {
    system::disposition(Signal::given(signal)).is_ok_and(|found| found.is_default())
}
