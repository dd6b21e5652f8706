//! Signals in POSIX' terms: a disposition, and the handler that the kernel calls between any two
//! instructions.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use libc::c_int;

use super::table;
use crate::driver::poller::Waking;
use crate::signal::{Signal, SignalSet};

/// What is done about a signal.
pub(super) struct Disposition(libc::sigaction);

/// What a handler writes to, so that a loop's wait ends.
pub(super) struct Hand(AtomicI32);

impl Disposition {
    /// Our handler. Nothing interrupts it, and calls it does interrupt go on.
    pub(super) fn ours() -> Self {
        let mut action = Self::default().0;
        action.sa_sigaction = address();
        // Threads that others made may have little room on their stacks, and then have another one
        // for this.
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: the set is there to be written to.
        unsafe { libc::sigfillset(&raw mut action.sa_mask) };
        Self(action)
    }

    /// The one that a process begins with.
    pub(super) fn default() -> Self {
        // SAFETY: it is a struct of C's made of integers and a pointer that may be null; all zeros
        // is the default disposition with an empty mask wherever `SIG_DFL` is zero, which is set
        // below besides.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the set is there to be written to.
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

    /// The handler, as C names it.
    pub(super) fn handler(&self) -> libc::sighandler_t {
        self.0.sa_sigaction
    }
}

impl Hand {
    pub(super) const fn nobodys() -> Self {
        Self(AtomicI32::new(NOBODY))
    }

    pub(super) fn is_free(&self) -> bool {
        self.0.load(SeqCst) == NOBODY
    }

    /// From now on it reaches `wake`'s driver, which the caller keeps.
    pub(super) fn take(&self, wake: &Waking) -> io::Result<()> {
        self.0.store(wake.hand()?, SeqCst);
        Ok(())
    }

    pub(super) fn free(&self) {
        self.0.store(NOBODY, SeqCst);
    }

    /// Ends a wait. It may find the descriptor full, and then it has been rung already.
    pub(super) fn notify(&self) {
        let hand = self.0.load(SeqCst);
        if hand == NOBODY {
            return;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`, which is that long; `hand` is open (invariant
        // 3).
        let _ = unsafe { libc::write(hand, one.as_ptr().cast(), one.len()) };
    }
}

/// Before the first place is taken.
pub(super) fn prepare() {}

/// Sends a signal to this thread.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: any number may be given, in a handler as well; one that is no signal is refused.
    let done = unsafe { libc::raise(signal.number()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The time, in milliseconds since some moment. A handler may ask for it.
pub(super) fn milliseconds() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is room for the time, and POSIX lets a handler ask for it.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    if done != 0 {
        return 0;
    }
    // SAFETY: the call succeeded, so it has filled `now`.
    let now = unsafe { now.assume_init() };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Lets these signals come to this thread; gives those that were blocked.
pub(super) fn unblock(signals: SignalSet) -> SignalSet {
    if signals.is_empty() {
        return signals;
    }
    let before = change_mask(libc::SIG_UNBLOCK, &set_of(signals));
    let blocked = signals.iter().filter(|signal| {
        // SAFETY: the set is whole, and a number that is no signal is refused.
        unsafe { libc::sigismember(&raw const before, signal.number()) == 1 }
    });
    blocked.collect()
}

/// Keeps these signals from this thread.
pub(super) fn block(signals: SignalSet) {
    if !signals.is_empty() {
        change_mask(libc::SIG_BLOCK, &set_of(signals));
    }
}

/// Runs `f` while `signal` is kept from this thread. If it was not before, one that came meanwhile
/// comes then.
pub(crate) fn with_blocked<R>(signal: Signal, f: impl FnOnce() -> R) -> R {
    with_set_blocked(&set_of(signal.into()), f)
}

/// Runs `f` while all signals are kept from this thread.
pub(in crate::driver) fn with_all_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = set_of(SignalSet::default());
    // SAFETY: the set is there to be written to.
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
    // SAFETY: the set is there to be written to.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals.iter() {
        // SAFETY: the set was made empty just now, and a number that is no signal is refused.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal.number()) };
    }
    // SAFETY: it was made empty, which makes it whole.
    unsafe { set.assume_init() }
}

/// Changes what is kept from this thread; gives what was before.
fn change_mask(how: c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = set_of(SignalSet::default());
    // SAFETY: both sets are whole. With a `how` that exists the call cannot fail.
    unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    before
}

/// What is done about a signal now.
pub(super) fn disposition(signal: Signal) -> io::Result<Disposition> {
    change(signal, ptr::null())
}

/// Does `wanted` about a signal from now on, and gives what was done before.
pub(super) fn replace(signal: Signal, wanted: &Disposition) -> io::Result<Disposition> {
    change(signal, &wanted.0)
}

fn change(signal: Signal, action: *const libc::sigaction) -> io::Result<Disposition> {
    let mut previous = MaybeUninit::uninit();
    // SAFETY: `action` is null, or whole, as it comes from `replace`, and the handler in it, if it
    // is ours, does only what a handler may (invariant 2); any other was in place before. There is
    // room for the previous one.
    let done = unsafe { libc::sigaction(signal.number(), action, previous.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled `previous`.
    Ok(Disposition(unsafe { previous.assume_init() }))
}

/// What the kernel calls, on any thread, between any two instructions.
extern "C" fn handler(number: c_int) {
    let errno = errno();
    let signal = Signal::given(number);
    if table::tell(signal) {
        // It stays blocked until we return; then it ends the process, unless that is the first one.
        table::end_by(signal);
        if is_first() {
            // SAFETY: leaving at once is allowed in a handler and has no preconditions.
            unsafe { libc::_exit(128 + number) };
        }
    }
    set_errno(errno);
}

/// Are we the first process of a system, or of a container? The kernel then lets no default
/// disposition end us.
fn is_first() -> bool {
    // SAFETY: it has no preconditions and cannot fail.
    unsafe { libc::getpid() == 1 }
}

/// Our handler as C's struct holds it.
fn address() -> libc::sighandler_t {
    handler as *const () as libc::sighandler_t
}

fn errno() -> c_int {
    // SAFETY: the C library gives each thread a place for it that lives as long as the thread.
    unsafe { *errno_place() }
}

fn set_errno(errno: c_int) {
    // SAFETY: as above; it is this thread's alone.
    unsafe { *errno_place() = errno };
}

/// Where the C library keeps this thread's `errno`.
fn errno_place() -> *mut c_int {
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
    // SAFETY: it takes nothing and only returns an address.
    unsafe { place() }
}

/// No descriptor.
const NOBODY: c_int = -1;
