//! Signals in POSIX terms: dispositions, and the handler that the kernel calls between any two
//! instructions.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::c_int;

use super::table;
use crate::driver::poller::Waking;
use crate::signal::{Signal, SignalSet};

/// The disposition of a signal.
pub(super) struct Disposition(libc::sigaction);

/// The descriptor that a handler writes to, so that a loop's wait ends.
pub(super) struct WakeTarget(AtomicI32);

impl Disposition {
    /// Returns the disposition with our handler: nothing interrupts it, and the calls that it
    /// interrupts are restarted.
    pub(super) fn ours() -> Self {
        let mut action = Self::default().0;
        action.sa_sigaction = address();
        // Threads of other code may have a small stack and an alternate one for handlers.
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: the call writes to the set, which is valid.
        unsafe { libc::sigfillset(&raw mut action.sa_mask) };
        Self(action)
    }

    /// Returns the default disposition.
    pub(super) fn default() -> Self {
        // SAFETY: the struct consists of integers and a pointer that may be null; all zeros is the
        // default disposition with an empty mask wherever `SIG_DFL` is zero, and `SIG_DFL` is also
        // set below.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the call writes to the set, which is valid.
        unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
        action.sa_sigaction = libc::SIG_DFL;
        Self(action)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.handler() == address()
    }

    pub(super) fn is_default(&self) -> bool {
        self.handler() == libc::SIG_DFL
    }

    /// Returns the handler as C represents it.
    pub(super) fn handler(&self) -> libc::sighandler_t {
        self.0.sa_sigaction
    }
}

impl WakeTarget {
    pub(super) const fn none() -> Self {
        Self(AtomicI32::new(NO_FD))
    }

    pub(super) fn is_free(&self) -> bool {
        self.0.load(SeqCst) == NO_FD
    }

    /// Points the handle at `wake`'s driver, which the caller keeps alive.
    pub(super) fn take(&self, wake: &Waking) -> io::Result<()> {
        self.0.store(wake.raw_fd()?, SeqCst);
        Ok(())
    }

    pub(super) fn free(&self) {
        self.0.store(NO_FD, SeqCst);
    }

    /// Ends a wait. A full descriptor has a wake pending already.
    pub(super) fn notify(&self) {
        let fd = self.0.load(SeqCst);
        if fd == NO_FD {
            return;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`, which has that length; the descriptor is open
        // (invariant 3).
        let _ = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }
}

/// Prepares the system before the first slot is taken.
pub(super) fn prepare() {}

/// Sends a signal to this thread.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: any number may be given, also in a handler; the call refuses a number that is no
    // signal.
    let done = unsafe { libc::raise(signal.number()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Returns the monotonic time in milliseconds. A handler may call it.
pub(super) fn milliseconds() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is space for the time, and POSIX allows the call in a handler.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    if done != 0 {
        return 0;
    }
    // SAFETY: the call succeeded, so it has filled `now`.
    let now = unsafe { now.assume_init() };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Unblocks these signals in this thread; returns those that were blocked.
pub(super) fn unblock(signals: SignalSet) -> SignalSet {
    if signals.is_empty() {
        return signals;
    }
    let before = change_mask(libc::SIG_UNBLOCK, &set_of(signals));
    let blocked = signals.iter().filter(|signal| {
        // SAFETY: the set is initialised, and the call refuses a number that is no signal.
        unsafe { libc::sigismember(&raw const before, signal.number()) == 1 }
    });
    blocked.collect()
}

/// Blocks these signals in this thread.
pub(super) fn block(signals: SignalSet) {
    if !signals.is_empty() {
        change_mask(libc::SIG_BLOCK, &set_of(signals));
    }
}

/// Runs `f` with `signal` blocked in this thread. If it was not blocked before, a signal that came
/// meanwhile is delivered then.
pub(crate) fn with_blocked<R>(signal: Signal, f: impl FnOnce() -> R) -> R {
    with_set_blocked(&set_of(signal.into()), f)
}

/// Runs `f` with all signals blocked in this thread.
pub(in crate::driver) fn with_all_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = set_of(SignalSet::default());
    // SAFETY: the call writes to the set, which is valid.
    unsafe { libc::sigfillset(&raw mut all) };
    with_set_blocked(&all, f)
}

fn with_set_blocked<R>(set: &libc::sigset_t, f: impl FnOnce() -> R) -> R {
    let before = change_mask(libc::SIG_BLOCK, set);
    let result = f();
    change_mask(libc::SIG_SETMASK, &before);
    result
}

fn set_of(signals: SignalSet) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call writes to the set, which is valid.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals.iter() {
        // SAFETY: the set has just been made empty, and the call refuses a number that is no
        // signal.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal.number()) };
    }
    // SAFETY: the set was made empty, which initialises it.
    unsafe { set.assume_init() }
}

/// Changes the signal mask of this thread; returns the earlier one.
fn change_mask(how: c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = set_of(SignalSet::default());
    // SAFETY: both sets are initialised. With a valid `how` the call cannot fail.
    unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    before
}

/// Returns the present disposition of a signal.
pub(super) fn disposition(signal: Signal) -> io::Result<Disposition> {
    change(signal, ptr::null())
}

/// Sets the disposition of a signal; returns the earlier one.
pub(super) fn replace(signal: Signal, wanted: &Disposition) -> io::Result<Disposition> {
    change(signal, &wanted.0)
}

fn change(signal: Signal, action: *const libc::sigaction) -> io::Result<Disposition> {
    let mut previous = MaybeUninit::uninit();
    // SAFETY: `action` is null, or initialised by `replace`; the handler in it, if it is ours, does
    // only what a handler may (invariant 2), and any other was in place before. There is space for
    // the previous one.
    let done = unsafe { libc::sigaction(signal.number(), action, previous.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled `previous`.
    Ok(Disposition(unsafe { previous.assume_init() }))
}

/// The handler that the kernel calls, on any thread, between any two instructions.
extern "C" fn handler(number: c_int) {
    let errno = errno();
    let signal = Signal::given(number);
    if table::dispatch(signal) {
        // The signal stays blocked until the handler returns; then it ends the process, unless that
        // is the first process.
        table::end_by(signal);
        if is_first() {
            // SAFETY: `_exit` is allowed in a handler and has no preconditions.
            unsafe { libc::_exit(128 + number) };
        }
    }
    set_errno(errno);
}

/// Returns whether this is the first process of a system or of a container, which no default
/// disposition ends.
fn is_first() -> bool {
    // SAFETY: the call has no preconditions and cannot fail.
    unsafe { libc::getpid() == 1 }
}

/// Returns our handler as C's struct holds it.
fn address() -> libc::sighandler_t {
    handler as *const () as libc::sighandler_t
}

fn errno() -> c_int {
    // SAFETY: the C library has one `errno` for each thread, which lives as long as the thread.
    unsafe { *errno_location() }
}

fn set_errno(errno: c_int) {
    // SAFETY: as above; the location belongs to this thread alone.
    unsafe { *errno_location() = errno };
}

/// Returns the address of this thread's `errno`.
fn errno_location() -> *mut c_int {
    #[cfg(any(target_os = "illumos", target_os = "solaris"))]
    use libc::___errno as place;
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    use libc::__errno as place;
    #[cfg(not(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "android",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "illumos",
        target_os = "solaris"
    )))]
    use libc::__errno_location as place;
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    use libc::__error as place;
    // SAFETY: the call takes nothing and only returns an address.
    unsafe { place() }
}

/// The value for no descriptor.
const NO_FD: c_int = -1;
