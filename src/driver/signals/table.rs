//! The table of places that a handler reads, and the dispositions that ours replaced.
//!
//! What is done about a signal in the system's own terms is in `system`, one file for each: it
//! calls [`tell`] when a signal came. Nothing here is unsafe, and what [`tell`] uses a handler may
//! use.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::system::{self, Disposition, Hand};
use crate::driver::poller::Waking;
use crate::signal::{Signal, SignalSet};

/// A loop's place among those that are told of signals. Dropping the last one that wants a signal
/// restores what was done about it before.
#[derive(Debug)]
pub(crate) struct Signals {
    place: usize,
    heard: Cell<SignalSet>,
    /// The signals it stops by.
    stops: Cell<SignalSet>,
    /// That it is to stop was told to the loop.
    is_taken: Cell<bool>,
    /// The signals that this thread had blocked, and has not while they are wanted.
    unblocked: Cell<SignalSet>,
    /// Keeps what the hand in the place reaches (invariant 3).
    wake: Waking,
}

/// Where the handler finds one loop.
struct Place {
    /// What to ring; nothing when nobody has the place.
    hand: Hand,
    heard: Words,
    stops: Words,
    /// Told of stop signals even when it hears them.
    is_stopping: AtomicBool,
    /// The stop signal it was told of, or [`QUIET`].
    told: AtomicI32,
    /// When, in milliseconds of the system's clock; zero while it is not known.
    told_at: AtomicU64,
    /// The loop has begun to act on it.
    is_acted_upon: AtomicBool,
    /// What came of that which is heard, and was not looked at.
    came: Words,
    /// Something did.
    any: AtomicBool,
}

/// A set of signals that a handler may read and add to.
struct Words([AtomicU32; 4]);

/// What becomes of a signal at a place.
#[derive(Clone, Copy, Default)]
struct Received {
    /// It was wanted.
    wanted: bool,
    /// The loop is to be rung (invariant 5).
    rings: bool,
    /// It is a stop signal for one that was told of one before.
    again: bool,
}

/// A signal that our handler was set for.
pub(super) struct Taken {
    pub(super) signal: Signal,
    /// How many want it, counting a place that hears it and stops by it twice.
    wanted: usize,
    /// What ours replaced.
    previous: Disposition,
}

impl Signals {
    /// A place that wants nothing yet; signals will end the waits of `wake`'s driver.
    pub(crate) fn new(wake: Waking) -> io::Result<Self> {
        system::prepare();
        let table = lock();
        let free = |place: &Place| place.hand.is_free();
        let place = PLACES.iter().position(free).ok_or_else(|| {
            io::Error::other(format!("{} loops listen for signals already", PLACES.len()))
        })?;
        PLACES[place].hand.take(&wake)?;
        drop(table);
        Ok(Self {
            place,
            heard: Cell::default(),
            stops: Cell::default(),
            is_taken: Cell::default(),
            unblocked: Cell::default(),
            wake,
        })
    }

    /// Wants to hear these from now on, and no others. When that fails all is as it was.
    pub(crate) fn set_heard(&self, heard: SignalSet) -> io::Result<()> {
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
        // Nothing of theirs is on its way after that (invariant 7).
        await_handlers();
        place.came.remove(fewer);
        self.heard.set(heard);
        self.adjust_mask();
        Ok(())
    }

    /// Is it to stop by SIGINT, SIGTERM and SIGBREAK? When that fails all is as it was.
    pub(crate) fn set_stops(&self, stops: bool) -> io::Result<()> {
        if stops != self.stops.get().is_empty() {
            return Ok(());
        }
        let mut table = lock();
        let place = self.place();
        if !stops {
            end(&mut table, self.stops.take());
            place.stops.clear();
            await_handlers();
            place.forget_stop();
            self.is_taken.set(false);
            self.adjust_mask();
            return Ok(());
        }
        let mut by: SignalSet = STOPS.into_iter().collect();
        if was_default(&table, Signal::INT)? {
            by = by.with(Signal::INT);
        }
        place.stops.add(by);
        if let Err(error) = begin(&mut table, by) {
            place.stops.clear();
            await_handlers();
            place.forget_stop();
            return Err(error);
        }
        self.stops.set(by);
        self.adjust_mask();
        // Told already, or just now by a handler that had not seen this place yet.
        await_handlers();
        let told = PLACES.iter().map(|place| place.told.load(SeqCst));
        if let Some(signal) = told.into_iter().find(|told| *told != QUIET) {
            place.tell(signal);
            self.wake.wake();
        }
        Ok(())
    }

    /// Its stop has begun: from now on it is told of stop signals even when it hears them.
    pub(crate) fn set_stopping(&self, stopping: bool) {
        self.place().is_stopping.store(stopping, SeqCst);
    }

    /// What came of that which it hears, since the last time.
    pub(crate) fn take_heard(&self) -> SignalSet {
        let place = self.place();
        match place.any.load(SeqCst) && place.any.swap(false, SeqCst) {
            true => place.came.take(),
            false => SignalSet::default(),
        }
    }

    /// The signal by which it is to stop, once.
    pub(crate) fn take_stop(&self) -> Option<Signal> {
        let told = self.place().told.load(SeqCst);
        if told == QUIET || self.is_taken.replace(true) {
            return None;
        }
        self.place().is_acted_upon.store(true, SeqCst);
        Some(Signal::given(told))
    }

    /// Is there a signal by which it is to stop, that was not taken?
    pub(crate) fn has_stop(&self) -> bool {
        self.place().told.load(SeqCst) != QUIET && !self.is_taken.get()
    }

    /// As if `signal` had come, but for this place alone, and without an end to the process. Did it
    /// want the signal?
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn deliver(&self, signal: Signal) -> bool {
        let heard = self.place().hear(signal);
        if heard.rings {
            self.wake.wake();
        }
        heard.wanted
    }

    /// Has this thread take the signals that are wanted, also those that it was started with
    /// blocked; what is wanted no longer is blocked again.
    fn adjust_mask(&self) {
        let wanted = self.heard.get().with(self.stops.get());
        let before = self.unblocked.get();
        let done = before.without(wanted);
        system::block(done);
        let more = system::unblock(wanted.without(before));
        self.unblocked.set(before.without(done).with(more));
    }

    fn place(&self) -> &'static Place {
        &PLACES[self.place]
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Neither wants anything new, and that alone can fail.
        let _ = self.set_heard(SignalSet::default());
        let _ = self.set_stops(false);
        let place = self.place();
        let table = lock();
        place.hand.free();
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
            hand: Hand::nobodys(),
            heard: Words::none(),
            stops: Words::none(),
            is_stopping: AtomicBool::new(false),
            told: AtomicI32::new(QUIET),
            told_at: AtomicU64::new(0),
            is_acted_upon: AtomicBool::new(false),
            came: Words::none(),
            any: AtomicBool::new(false),
        }
    }

    /// Notes that `signal` came.
    fn hear(&self, signal: Signal) -> Received {
        let mut heard = Received::default();
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
            let is_first = self.tell(signal.number());
            heard.again = !is_first && self.has_had_time();
            heard.rings |= is_first;
        }
        heard
    }

    /// Is a further stop signal meant as one? One that comes together with the first is not
    /// (several may be sent by those who end a whole group of processes), nor one that the loop has
    /// not been able to obey, unless it seems to hang.
    fn has_had_time(&self) -> bool {
        let told_at = self.told_at.load(SeqCst);
        let passed = system::milliseconds().saturating_sub(told_at);
        let enough = match self.is_acted_upon.load(SeqCst) {
            true => TOGETHER,
            false => HANGS,
        };
        told_at != 0 && passed >= enough
    }

    /// Nobody is to stop any more.
    fn forget_stop(&self) {
        self.told.store(QUIET, SeqCst);
        self.told_at.store(0, SeqCst);
        self.is_acted_upon.store(false, SeqCst);
    }

    /// Tells it to stop, unless it was told before.
    fn tell(&self, signal: i32) -> bool {
        let told = &self.told;
        let is_first = told.compare_exchange(QUIET, signal, SeqCst, SeqCst).is_ok();
        if is_first {
            self.told_at.store(system::milliseconds().max(1), SeqCst);
        }
        is_first
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

/// A signal came: notes it at each place that wants it, and rings there. Is the process to end by
/// it?
pub(super) fn tell(signal: Signal) -> bool {
    BUSY.fetch_add(1, SeqCst);
    let mut again = false;
    for place in PLACES.iter().filter(|place| !place.hand.is_free()) {
        let heard = place.hear(signal);
        again |= heard.again;
        if heard.rings {
            place.hand.notify();
        }
    }
    BUSY.fetch_sub(1, SeqCst);
    again
}

/// Ends the process by a signal, as if nobody had been listening.
pub(super) fn end_by(signal: Signal) {
    let _ = system::replace(signal, &Disposition::default());
    let _ = system::raise(signal);
}

/// Sets our handler for one more that wants these: for all of them, or none.
fn begin(table: &mut Vec<Taken>, signals: SignalSet) -> io::Result<()> {
    let mut begun = SignalSet::default();
    for signal in signals.iter() {
        match system::replace(signal, &Disposition::ours()) {
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
fn note(table: &mut Vec<Taken>, signal: Signal, previous: Disposition) {
    let is_ours = previous.is_ours();
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
            previous: match is_ours {
                true => Disposition::default(),
                false => previous,
            },
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
        if system::disposition(signal).is_ok_and(|current| current.is_ours()) {
            // It was in place before, so it can be again.
            let _ = system::replace(signal, &taken.previous);
        }
    }
}

/// Is the default done about it, or was before we came?
fn was_default(table: &[Taken], signal: Signal) -> io::Result<bool> {
    let current = system::disposition(signal)?;
    let taken = table.iter().find(|taken| taken.signal == signal);
    Ok(match taken {
        Some(taken) if current.is_ours() => taken.previous.is_default(),
        _ => current.is_default(),
    })
}

/// Waits until no handler is under way. Those that begin meanwhile find what was changed before.
fn await_handlers() {
    while BUSY.load(SeqCst) != 0 {
        thread::yield_now();
    }
}

pub(super) fn lock() -> MutexGuard<'static, Vec<Taken>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By what a loop stops, besides SIGINT (invariant 1).
#[cfg(unix)]
const STOPS: [Signal; 1] = [Signal::TERM];
#[cfg(windows)]
const STOPS: [Signal; 2] = [Signal::TERM, Signal::BREAK];

/// What was taken, in the order in which it was.
static TABLE: Mutex<Vec<Taken>> = Mutex::new(Vec::new());

static PLACES: [Place; 64] = [const { Place::free() }; 64];

/// How many handlers are under way.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Stop signals that come within so many milliseconds count as one.
const TOGETHER: u64 = 100;

/// A loop that has not acted on a stop signal for so many milliseconds seems to hang.
const HANGS: u64 = 3_000;

/// No signal came.
const QUIET: i32 = 0;
