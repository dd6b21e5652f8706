//! Signals in Windows terms: the C runtime's `signal`, and the console's events.
//!
//! The C runtime keeps a disposition for each signal, as POSIX does; all four signals that can be
//! listened to are taken and restored there. `raise` uses it too, and nothing but `raise` makes a
//! SIGTERM or a SIGABRT. A process has as many C runtimes as it has libraries that bring one of
//! their own; this is the one that Rust is linked with.
//!
//! The console's events run handlers on a thread of their own: a stack of handlers, the last added
//! first. The C runtime's handler is on that stack once SIGINT or SIGBREAK was taken, and turns
//! each event into a signal: Ctrl-C into SIGINT, all others into SIGBREAK. Above it is our handler,
//! which does the same with two differences.
//!
//! * The runtime sets the default before it calls a handler, so that another Ctrl-C at that moment
//!   ends the process. Our handler does not.
//! * A process is ended as soon as the handlers of an event that *closes* have returned (the
//!   console's window, the session or the system closes, or a container stops). Our handler does
//!   not return then, so that a graceful stop is possible for as long as the system waits: some
//!   seconds.
//!
//! Our handler stays on the stack for good, and passes on every event whose signal's disposition is
//! not ours; so the disposition alone decides, and its rules are the same as elsewhere. A program
//! that switches to another console (`AllocConsole`, `AttachConsole`) empties the stack, and must
//! do so before it listens for signals.
//!
//! Events that are ignored by the process's own attribute (a program that begins a process group
//! ignores Ctrl-C, and so do its children) reach no handler. Ctrl-Break does.
//!
//! No handler here runs between two instructions of a thread: handlers run on the console's thread,
//! or are called by `raise`. So they may take the table's lock, and do, so that the disposition of
//! a signal does not change meanwhile.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use libc::c_int;
use windows_sys::Win32::Foundation::{FALSE, STATUS_CONTROL_C_EXIT, TRUE};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

use super::table;
use crate::driver::poller::Waking;
use crate::signal::{Signal, SignalSet};

/// The disposition of a signal.
pub(super) struct Disposition(libc::sighandler_t);

/// The handle that ends a loop's wait.
pub(super) struct WakeTarget(Mutex<Option<Waking>>);

impl Disposition {
    /// Returns the disposition with our handler.
    pub(super) fn ours() -> Self {
        Self(handler as *const () as libc::sighandler_t)
    }

    /// Returns the default disposition.
    pub(super) fn default() -> Self {
        Self(libc::SIG_DFL)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.0 == Self::ours().0
    }

    pub(super) fn is_default(&self) -> bool {
        self.0 == libc::SIG_DFL
    }

    /// Returns the handler as C represents it.
    #[cfg(test)]
    pub(super) fn handler(&self) -> libc::sighandler_t {
        self.0
    }
}

impl WakeTarget {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn is_free(&self) -> bool {
        self.lock().is_none()
    }

    /// Points the handle at `wake`'s driver.
    pub(super) fn take(&self, wake: &Waking) -> io::Result<()> {
        *self.lock() = Some(wake.clone());
        Ok(())
    }

    pub(super) fn free(&self) {
        let wake = self.lock().take();
        drop(wake);
    }

    /// Ends a wait.
    pub(super) fn notify(&self) {
        let wake = self.lock().clone();
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waking>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares the system before the first slot is taken: puts our handler above the C runtime's.
///
/// The call waits for running handlers, and those may wait for the table, so the table is not
/// locked.
pub(super) fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let table = table::lock();
        // The runtime adds its handler when the disposition of the first console signal is set.
        // Where that is refused there is none.
        let _ = disposition(Signal::BREAK);
        drop(table);
        // SAFETY: the handler lives as long as the program, and may run on any thread. Where the
        // call is refused, the runtime's handler does what it can.
        let _ = unsafe { SetConsoleCtrlHandler(Some(console), TRUE) };
    });
}

/// Sends a signal to this thread. A console signal with the default disposition ends the process as
/// it would have from the console, so that the parent sees the same status.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    check(signal)?;
    if signal == Signal::INT || signal == Signal::BREAK {
        let table = table::lock();
        let found = disposition(signal)?;
        drop(table);
        if found.is_default() {
            // SAFETY: the call only ends the process.
            unsafe { libc::_exit(STATUS_CONTROL_C_EXIT) };
        }
    }
    // SAFETY: the runtime knows the signal.
    match unsafe { libc::raise(signal.number()) } {
        0 => Ok(()),
        _ => Err(unknown()),
    }
}

/// Returns a monotonic time in milliseconds.
pub(super) fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Does nothing: signals are not blocked on Windows.
pub(super) fn unblock(_signals: SignalSet) -> SignalSet {
    SignalSet::default()
}

pub(super) fn block(_signals: SignalSet) {}

/// Returns the present disposition of a signal. Not every C runtime returns it without a change, so
/// ours is set meanwhile; the caller holds the table's lock, so no signal is delivered.
pub(super) fn disposition(signal: Signal) -> io::Result<Disposition> {
    let found = replace(signal, &Disposition::ours())?;
    if !found.is_ours() {
        replace(signal, &found)?;
    }
    Ok(found)
}

/// Sets the disposition of a signal; returns the earlier one.
pub(super) fn replace(signal: Signal, wanted: &Disposition) -> io::Result<Disposition> {
    check(signal)?;
    // SAFETY: the runtime knows the signal, and the disposition is the default, ours, or one that
    // was there before.
    let previous = unsafe { libc::signal(signal.number(), wanted.0) };
    if previous == libc::SIG_ERR as libc::sighandler_t {
        return Err(unknown());
    }
    Ok(Disposition(previous))
}

/// The handler that the C runtime calls. The runtime has set the default before.
extern "C" fn handler(number: c_int) {
    let signal = Signal::given(number);
    let table = table::lock();
    if table.iter().any(|taken| taken.signal == signal) {
        // The disposition was set before, so it can be set again.
        let _ = replace(signal, &Disposition::ours());
    }
    let again = table::dispatch(signal);
    drop(table);
    if again {
        table::end_by(signal);
    }
}

/// The handler that the system calls, on a thread of the event's own.
pub(super) extern "system" fn console(event: u32) -> BOOL {
    let signal = match event {
        CTRL_C_EVENT => Signal::INT,
        _ => Signal::BREAK,
    };
    let table = table::lock();
    if !disposition(signal).is_ok_and(|found| found.is_ours()) {
        return FALSE;
    }
    let again = table::dispatch(signal);
    drop(table);
    if again {
        table::end_by(signal);
    }
    while event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT {
        thread::park();
    }
    TRUE
}

/// Refuses unknown signals: the runtime ends a process that passes a number it does not know.
fn check(signal: Signal) -> io::Result<()> {
    match signal.is_reserved() || signal == Signal::KILL {
        true => Err(unknown()),
        false => Ok(()),
    }
}

fn unknown() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the C runtime has no such signal",
    )
}
