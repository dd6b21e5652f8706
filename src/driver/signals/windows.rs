//! Signals in the terms of Windows: the C runtime's `signal`, and the console's events.
//!
//! The C runtime keeps a disposition for each signal, as POSIX has it, and there all four that can
//! be listened to are taken and restored. It is also what `raise` looks at, and nothing but `raise`
//! makes a SIGTERM or a SIGABRT. A process has as many C runtimes as it has libraries that brought
//! one of their own; this is the one that Rust is linked with.
//!
//! The console's events come on a thread of their own, to a stack of handlers, the last that was
//! added first. The C runtime's lies there once SIGINT or SIGBREAK was taken, and makes a signal of
//! each: SIGINT of Ctrl-C, SIGBREAK of all others. On top of it lies ours, which does the same with
//! two differences.
//!
//! * The runtime sets the default before it calls a handler, so that another Ctrl-C at that moment
//!   ends the process. Ours sets nothing.
//! * A process is ended as soon as the handlers of an event that *closes* (the console's window,
//!   the session, the system; a container that is to stop) have returned. Ours does not return
//!   then, so that there is a stop in good order for as long as the system waits: some seconds.
//!
//! Ours lies there for good, and hands on every event whose signal's disposition is not ours; so
//! what counts is the disposition alone, and the rules about it are the same as elsewhere. Who
//! takes another console (`AllocConsole`, `AttachConsole`) empties the stack, and does so before
//! anybody listens.
//!
//! What is ignored by the process' own attribute (a program that begins a process group ignores
//! Ctrl-C, and so do those it starts) never gets to any handler, and nobody is told of it:
//! Ctrl-Break is.
//!
//! No handler here comes between two instructions of a thread: they run on the console's, or are
//! called by `raise`. So they may take the table's lock, and do, so that what is done about a
//! signal does not change meanwhile.

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

/// What is done about a signal.
pub(super) struct Disposition(libc::sighandler_t);

/// What ends a loop's wait.
pub(super) struct Hand(Mutex<Option<Waking>>);

impl Disposition {
    /// Our handler.
    pub(super) fn ours() -> Self {
        Self(handler as *const () as libc::sighandler_t)
    }

    /// The one that a process begins with.
    pub(super) fn default() -> Self {
        Self(libc::SIG_DFL)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.0 == Self::ours().0
    }

    pub(super) fn is_default(&self) -> bool {
        self.0 == libc::SIG_DFL
    }

    /// The handler, as C names it.
    #[cfg(test)]
    pub(super) fn handler(&self) -> libc::sighandler_t {
        self.0
    }
}

impl Hand {
    pub(super) const fn nobodys() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn is_free(&self) -> bool {
        self.lock().is_none()
    }

    /// From now on it reaches `wake`'s driver.
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

/// Before the first place is taken: lays our handler on top of the C runtime's.
///
/// Whoever adds one waits for those that are under way, and those may wait for the table: so it is
/// not held.
pub(super) fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let table = table::lock();
        // The runtime adds its own when the first signal of the console's is set. Where that is
        // refused there is none.
        let _ = disposition(Signal::BREAK);
        drop(table);
        // SAFETY: the handler lives as long as the program, and may run on any thread. Where it is
        // refused the runtime's does what it can.
        let _ = unsafe { SetConsoleCtrlHandler(Some(console), TRUE) };
    });
}

/// Sends a signal to this thread. One of the console's, when the default is done about it, ends the
/// process as it would have from the console, so that who waits for the process sees the same.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    check(signal)?;
    if signal == Signal::INT || signal == Signal::BREAK {
        let table = table::lock();
        let found = disposition(signal)?;
        drop(table);
        if found.is_default() {
            // SAFETY: it only ends the process.
            unsafe { libc::_exit(STATUS_CONTROL_C_EXIT) };
        }
    }
    // SAFETY: the runtime knows the signal.
    match unsafe { libc::raise(signal.number()) } {
        0 => Ok(()),
        _ => Err(unknown()),
    }
}

/// The time, in milliseconds since some moment.
pub(super) fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Nothing is blocked here.
pub(super) fn unblock(_signals: SignalSet) -> SignalSet {
    SignalSet::default()
}

pub(super) fn block(_signals: SignalSet) {}

/// What is done about a signal now. Not every C runtime tells without a change, so ours is set
/// meanwhile; who has the table keeps it from telling anybody.
pub(super) fn disposition(signal: Signal) -> io::Result<Disposition> {
    let found = replace(signal, &Disposition::ours())?;
    if !found.is_ours() {
        replace(signal, &found)?;
    }
    Ok(found)
}

/// Does `wanted` about a signal from now on, and gives what was done before.
pub(super) fn replace(signal: Signal, wanted: &Disposition) -> io::Result<Disposition> {
    check(signal)?;
    // SAFETY: the runtime knows the signal, and what is set is the default, ours, or what was there
    // before.
    let previous = unsafe { libc::signal(signal.number(), wanted.0) };
    if previous == libc::SIG_ERR as libc::sighandler_t {
        return Err(unknown());
    }
    Ok(Disposition(previous))
}

/// What the C runtime calls. It has set the default before.
extern "C" fn handler(number: c_int) {
    let signal = Signal::given(number);
    let table = table::lock();
    if table.iter().any(|taken| taken.signal == signal) {
        // It was set before, so it can be again.
        let _ = replace(signal, &Disposition::ours());
    }
    let again = table::tell(signal);
    drop(table);
    if again {
        table::end_by(signal);
    }
}

/// What the system calls, on a thread of the event's own.
pub(super) extern "system" fn console(event: u32) -> BOOL {
    let signal = match event {
        CTRL_C_EVENT => Signal::INT,
        _ => Signal::BREAK,
    };
    let table = table::lock();
    if !disposition(signal).is_ok_and(|found| found.is_ours()) {
        return FALSE;
    }
    let again = table::tell(signal);
    drop(table);
    if again {
        table::end_by(signal);
    }
    while event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT {
        thread::park();
    }
    TRUE
}

/// The runtime ends a process that gives it a number it does not know.
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
