//! Signals: delivers the signals of this process to the loops that listen for them.
//!
//! Each loop that listens for signals takes a slot with [`SignalSlot`]. It sets which signals it
//! *subscribes* to, and whether SIGINT, SIGTERM or, on Windows, SIGBREAK *stop* it. One handler for
//! the process records each signal in the slots that want it, and ends the waits of their loops.
//! Repeats of a signal before the loop looks are merged into one.
//!
//! The first stop signal is recorded for each loop that it stops; a second one, while one of these
//! loops has not ended, ends the process as if no loop were listening, so that a shutdown that
//! hangs can be cut short. Stop signals within a tenth of a second count as one, and so do those
//! that come before the loop has acted on the first, unless the loop has not done so for three
//! seconds. A loop that subscribes to a stop signal is not stopped by it, until its stop has begun.
//! The first process of a container, which no default disposition ends, exits with 128 plus the
//! signal's number.
//!
//! | event                                  | effect                                                                |
//! |-----------------------------------|----------------------------------------------------------------------------|
//! | the first slot wants a signal          | saves the present disposition, unless it is ours, and installs ours   |
//! | the last slot that wanted it is gone   | restores the saved disposition                                        |
//! | a signal that a slot subscribes to     | recorded there, the loop's wait ends                                  |
//! | a stop signal, the slot has none yet   | recorded there, the loop's wait ends; not while the slot subscribes to the signal and does not stop |
//! | a stop signal, the slot has one        | none, if they came together or the loop had no time to act yet        |
//! | a stop signal, the slot has acted on one | default disposition, raised again: the process ends by the signal   |
//! | a slot begins to stop by signals       | gets a stop signal at once if another slot has one                    |
//!
//! # Invariants
//!
//! 1. To stop a loop, SIGINT is taken only from the default disposition: a program that ignores it
//!    or handles it keeps that. A subscription replaces any disposition.
//! 2. On Unix the handler uses nothing but atomics, `write`, `sigaction`, `raise`, `getpid` and
//!    `_exit`, and leaves `errno` as it was. On Windows the handler does not interrupt a thread,
//!    and takes locks.
//! 3. A slot's descriptor is open while the handler may write to it: dropping a [`SignalSlot`]
//!    frees the slot, then waits for running handlers, and only then drops its [`Waking`].
//! 4. A disposition that other code changed after us is left alone, until a loop begins to want the
//!    signal.
//! 5. Recording a signal in a slot wakes the loop, unless an earlier signal there has not been
//!    looked at: that one has woken the loop.
//! 6. On Unix a thread receives the signals that its slot wants, even if they were blocked; they
//!    are blocked again when the slot no longer wants them.
//! 7. Signals from before a slot wanted them, or from after it ceased to want them, are not
//!    delivered.
//!
//! A process that forks without executing another program shares its parent's slots, and must not
//! use reactors.
//!
//! In memory a wait with a timeout does not block, so there is nothing to end; the signal is
//! recorded all the same.

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
pub(crate) use table::SignalSlot;
#[cfg(unix)]
use unix as system;
#[cfg(unix)]
pub(super) use unix::with_all_blocked;
#[cfg(unix)]
pub(crate) use unix::with_blocked;
#[cfg(windows)]
use windows as system;

/// Returns whether a signal ends the process when it comes.
#[cfg(target_os = "linux")]
pub(super) fn kills(signal: i32) -> bool {
    system::disposition(Signal::given(signal)).is_ok_and(|found| found.is_default())
}
