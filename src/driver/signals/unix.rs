//! The handler, and the table it reads. What is in C's terms is here, and so is all of its `unsafe`.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use libc::c_int;

use super::Waking;
use crate::signal::{Signal, SignalSet};

/// A place in the table, held while this lives.
#[derive(Debug)]
pub(super) struct Inner {
    place: usize,
    heard: Cell<SignalSet>,
    /// The signals it stops by.
    stops: Cell<SignalSet>,
    /// That it is to stop was told to the loop.
    is_taken: Cell<bool>,
    /// Keeps the descriptor in the place open (invariant 3).
    wake: Waking,
}

/// Where the handler finds one loop.
struct Place {
    /// What to write to, or [`NOBODY`].
    hand: AtomicI32,
    heard: Words,
    stops: Words,
    /// Told of stop signals even when it hears them.
    is_stopping: AtomicBool,
    /// The stop signal it was told of, or [`QUIET`].
    told: AtomicI32,
    /// What came of that which is heard, and was not looked at.
    came: Words,
    /// Something did.
    any: AtomicBool,
}

/// A set of signals that a handler may read and add to.
struct Words([AtomicU32; 4]);

/// What becomes of a signal at a place.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// It was wanted.
    wanted: bool,
    /// The loop is to be rung (invariant 5).
    rings: bool,
    /// It is a stop signal for one that was told of one before.
    again: bool,
}

/// A signal that our handler was set for.
struct Taken {
    signal: Signal,
    /// How many want it, counting a place that hears it and stops by it twice.
    wanted: usize,
    /// What ours replaced.
    previous: libc::sigaction,
}

impl Inner {
    pub(super) fn new(wake: Waking) -> io::Result<Self> {
        let hand = wake.hand()?;
        let table = lock();
        let free = |place: &Place| place.hand.load(SeqCst) == NOBODY;
        let place = PLACES.iter().position(free).ok_or_else(|| {
            io::Error::other(format!("{} loops listen for signals already", PLACES.len()))
        })?;
        PLACES[place].hand.store(hand, SeqCst);
        drop(table);
        Ok(Self {
            place,
            heard: Cell::default(),
            stops: Cell::default(),
            is_taken: Cell::default(),
            wake,
        })
    }

    pub(super) fn set_heard(&self, heard: SignalSet) -> io::Result<()> {
        let before = self.heard.get();
        if before == heard {
            return Ok(());
        }
        let mut table = lock();
        let (more, fewer) = (heard.without(before), before.without(heard));
        let place = self.place();
        // First this, for a signal that finds our handler must find who wants it.
        place.heard.add(more);
        if let Err(error) = begin(&mut table, more) {
            place.heard.remove(more);
            await_handlers();
            place.came.remove(more);
            return Err(error);
        }
        end(&mut table, fewer);
        place.heard.remove(fewer);
        // Nothing of theirs is on its way after that (invariant 6).
        await_handlers();
        place.came.remove(fewer);
        self.heard.set(heard);
        Ok(())
    }

    pub(super) fn set_stops(&self, stops: bool) -> io::Result<()> {
        if stops != self.stops.get().is_empty() {
            return Ok(());
        }
        let mut table = lock();
        let place = self.place();
        if !stops {
            end(&mut table, self.stops.take());
            place.stops.clear();
            await_handlers();
            place.told.store(QUIET, SeqCst);
            self.is_taken.set(false);
            return Ok(());
        }
        let mut by = SignalSet::from(Signal::TERM);
        if was_default(&table, Signal::INT)? {
            by = by.with(Signal::INT);
        }
        place.stops.add(by);
        if let Err(error) = begin(&mut table, by) {
            place.stops.clear();
            await_handlers();
            place.told.store(QUIET, SeqCst);
            return Err(error);
        }
        self.stops.set(by);
        // Told already, or just now by a handler that had not seen this place yet.
        await_handlers();
        let told = PLACES.iter().map(|place| place.told.load(SeqCst));
        if let Some(signal) = told.into_iter().find(|told| *told != QUIET) {
            place.tell(signal);
            self.wake.wake();
        }
        Ok(())
    }

    pub(super) fn set_stopping(&self, stopping: bool) {
        self.place().is_stopping.store(stopping, SeqCst);
    }

    pub(super) fn take_heard(&self) -> SignalSet {
        let place = self.place();
        match place.any.load(SeqCst) && place.any.swap(false, SeqCst) {
            true => place.came.take(),
            false => SignalSet::default(),
        }
    }

    pub(super) fn take_stop(&self) -> Option<Signal> {
        let told = self.place().told.load(SeqCst);
        let is_news = told != QUIET && !self.is_taken.replace(true);
        is_news.then_some(Signal::given(told))
    }

    pub(super) fn has_stop(&self) -> bool {
        self.place().told.load(SeqCst) != QUIET && !self.is_taken.get()
    }

    pub(super) fn deliver(&self, signal: Signal) -> bool {
        let heard = self.place().hear(signal);
        if heard.rings {
            self.wake.wake();
        }
        heard.wanted
    }

    fn place(&self) -> &'static Place {
        &PLACES[self.place]
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Neither wants anything new, and that alone can fail.
        let _ = self.set_heard(SignalSet::default());
        let _ = self.set_stops(false);
        let place = self.place();
        let table = lock();
        place.hand.store(NOBODY, SeqCst);
        await_handlers();
        place.any.store(false, SeqCst);
        place.is_stopping.store(false, SeqCst);
        drop(table);
    }
}

impl Place {
    /// One that nobody has.
    const fn free() -> Self {
        Self {
            hand: AtomicI32::new(NOBODY),
            heard: Words::none(),
            stops: Words::none(),
            is_stopping: AtomicBool::new(false),
            told: AtomicI32::new(QUIET),
            came: Words::none(),
            any: AtomicBool::new(false),
        }
    }

    /// Notes that `signal` came.
    fn hear(&self, signal: Signal) -> Heard {
        let mut heard = Heard::default();
        let hears = self.heard.has(signal);
        if hears {
            self.came.add(signal.into());
            heard.wanted = true;
            heard.rings = !self.any.swap(true, SeqCst);
        }
        let was_told = self.told.load(SeqCst) != QUIET;
        let keeps = hears && !was_told && !self.is_stopping.load(SeqCst);
        if self.stops.has(signal) && !keeps {
            heard.wanted = true;
            heard.again = !self.tell(signal.number());
            heard.rings |= !heard.again;
        }
        heard
    }

    /// Tells it to stop, unless it was told before.
    fn tell(&self, signal: c_int) -> bool {
        let told = &self.told;
        told.compare_exchange(QUIET, signal, SeqCst, SeqCst).is_ok()
    }
}

impl Words {
    const fn none() -> Self {
        Self([const { AtomicU32::new(0) }; 4])
    }

    fn has(&self, signal: Signal) -> bool {
        let wanted = SignalSet::from(signal).words();
        let pairs = self.0.iter().zip(wanted);
        pairs
            .into_iter()
            .any(|(word, wanted)| word.load(SeqCst) & wanted != 0)
    }

    fn add(&self, signals: SignalSet) {
        for (word, more) in self.0.iter().zip(signals.words()) {
            word.fetch_or(more, SeqCst);
        }
    }

    fn remove(&self, signals: SignalSet) {
        for (word, fewer) in self.0.iter().zip(signals.words()) {
            word.fetch_and(!fewer, SeqCst);
        }
    }

    fn take(&self) -> SignalSet {
        let taken = self.0.each_ref().map(|word| word.swap(0, SeqCst));
        SignalSet::from_words(taken)
    }

    fn clear(&self) {
        self.take();
    }
}

/// Sends a signal to this thread.
pub(crate) fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: any number may be given; one that is no signal is refused.
    let done = unsafe { libc::raise(signal.number()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets our handler for one more that wants these: for all of them, or none.
fn begin(table: &mut Vec<Taken>, signals: SignalSet) -> io::Result<()> {
    let mut begun = SignalSet::default();
    for signal in signals.iter() {
        match replace(signal.number(), &ours()) {
            Ok(previous) => note(table, signal, previous),
            Err(error) => {
                end(table, begun);
                return Err(error);
            }
        }
        begun = begun.with(signal);
    }
    Ok(())
}

/// Ours has replaced `previous`.
fn note(table: &mut Vec<Taken>, signal: Signal, previous: libc::sigaction) {
    let is_ours = previous.sa_sigaction == address();
    match table.iter_mut().find(|taken| taken.signal == signal) {
        Some(taken) => {
            taken.wanted += 1;
            if !is_ours {
                taken.previous = previous;
            }
        }
        None => table.push(Taken {
            signal,
            wanted: 1,
            // Somebody put ours back when it was ours no more.
            previous: if is_ours { default() } else { previous },
        }),
    }
}

/// One fewer wants these: the last one puts back what was there.
fn end(table: &mut Vec<Taken>, signals: SignalSet) {
    for signal in signals.iter() {
        let Some(at) = table.iter().position(|taken| taken.signal == signal) else {
            continue;
        };
        table[at].wanted -= 1;
        if table[at].wanted > 0 {
            continue;
        }
        let taken = table.swap_remove(at);
        let current = disposition(signal.number()).map(|current| current.sa_sigaction);
        if current.is_ok_and(|current| current == address()) {
            // It was in place before, so it can be again.
            let _ = replace(signal.number(), &taken.previous);
        }
    }
}

/// Is the default done about it, or was before we came?
fn was_default(table: &[Taken], signal: Signal) -> io::Result<bool> {
    let current = disposition(signal.number())?.sa_sigaction;
    let taken = table.iter().find(|taken| taken.signal == signal);
    Ok(match taken {
        Some(taken) if current == address() => taken.previous.sa_sigaction == libc::SIG_DFL,
        _ => current == libc::SIG_DFL,
    })
}

/// Waits until no handler is under way. Those that begin meanwhile find what was changed before.
fn await_handlers() {
    while BUSY.load(SeqCst) != 0 {
        thread::yield_now();
    }
}

fn lock() -> MutexGuard<'static, Vec<Taken>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel calls, on any thread, between any two instructions.
extern "C" fn handler(number: c_int) {
    let errno = errno();
    BUSY.fetch_add(1, SeqCst);
    let mut again = false;
    for place in &PLACES {
        let hand = place.hand.load(SeqCst);
        if hand != NOBODY {
            let heard = place.hear(Signal::given(number));
            again |= heard.again;
            if heard.rings {
                ring(hand);
            }
        }
    }
    if again {
        // It stays blocked until we return; then it ends the process.
        let _ = replace(number, &default());
        // SAFETY: raising a signal is allowed in a handler and has no preconditions.
        unsafe { libc::raise(number) };
        if is_first() {
            // SAFETY: leaving at once is allowed in a handler and has no preconditions.
            unsafe { libc::_exit(128 + number) };
        }
    }
    BUSY.fetch_sub(1, SeqCst);
    set_errno(errno);
}

/// Are we the first process of a system, or of a container? The kernel then lets no default disposition end us.
fn is_first() -> bool {
    // SAFETY: it has no preconditions and cannot fail.
    unsafe { libc::getpid() == 1 }
}

/// Ends a wait. It may find the descriptor full, and then it has been rung already.
fn ring(hand: c_int) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes are read from `one`, which is that long; `hand` is open (invariant 3).
    let _ = unsafe { libc::write(hand, one.as_ptr().cast(), one.len()) };
}

/// What is done about a signal now.
pub(super) fn disposition(signal: c_int) -> io::Result<libc::sigaction> {
    change(signal, ptr::null())
}

/// Does `action` about a signal from now on, and gives what was done before.
fn replace(signal: c_int, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    change(signal, action)
}

fn change(signal: c_int, action: *const libc::sigaction) -> io::Result<libc::sigaction> {
    let mut previous = MaybeUninit::uninit();
    // SAFETY: `action` is null, or whole, as it comes from `replace`, and the handler in it, if it is ours, does only
    // what a handler may (invariant 2); any other was in place before. There is room for the previous one.
    let done = unsafe { libc::sigaction(signal, action, previous.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled `previous`.
    Ok(unsafe { previous.assume_init() })
}

/// Our handler. Nothing interrupts it, and calls it does interrupt go on.
fn ours() -> libc::sigaction {
    let mut action = default();
    action.sa_sigaction = address();
    // Threads that others made may have little room on their stacks, and then have another one for this.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the set is there to be written to.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

/// The default disposition.
fn default() -> libc::sigaction {
    // SAFETY: it is a struct of C's made of integers and a pointer that may be null; all zeros is the
    // default disposition with an empty mask wherever `SIG_DFL` is zero, which is set below besides.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the set is there to be written to.
    unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    action.sa_sigaction = libc::SIG_DFL;
    action
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

/// What was taken, in the order in which it was.
static TABLE: Mutex<Vec<Taken>> = Mutex::new(Vec::new());

static PLACES: [Place; 64] = [const { Place::free() }; 64];

/// How many handlers are under way.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// No descriptor.
const NOBODY: c_int = -1;

/// No signal came.
const QUIET: c_int = 0;
