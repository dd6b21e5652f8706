//! The table of slots that the handler reads, and the dispositions that ours replaced.
//!
//! Dispositions are handled in the system's own terms in `system`, one file for each system, which
//! calls [`dispatch`] when a signal comes. Nothing in this file is unsafe, and all that
//! [`dispatch`] uses is safe in a handler.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::system::{self, Disposition, WakeTarget};
use crate::driver::poller::Waking;
use crate::signal::{Signal, SignalSet};

/// A loop's slot in the table of signal receivers. Dropping the last one that wants a signal
/// restores the earlier disposition.
#[derive(Debug)]
pub(crate) struct SignalSlot {
    slot: usize,
    subscribed: Cell<SignalSet>,
    /// The signals that stop the loop.
    stops: Cell<SignalSet>,
    /// Whether the loop has taken its stop signal.
    is_taken: Cell<bool>,
    /// The signals that were blocked in this thread and are unblocked while wanted.
    unblocked: Cell<SignalSet>,
    /// Keeps the target of the slot's wake handle alive (invariant 3).
    wake: Waking,
}

/// One loop's entry in the table.
struct Slot {
    /// Wakes the loop; empty while the slot is free.
    target: WakeTarget,
    subscribed: AtomicSignalSet,
    stops: AtomicSignalSet,
    /// Whether stop signals stop the loop even when it subscribes to them.
    is_stopping: AtomicBool,
    /// The stop signal of the loop, or [`NO_SIGNAL`].
    stop_signal: AtomicI32,
    /// When that came, in milliseconds of the system's clock; zero while not known.
    stop_time: AtomicU64,
    /// Whether the loop has begun to act on it.
    is_stop_taken: AtomicBool,
    /// The subscribed signals that came and were not taken.
    pending: AtomicSignalSet,
    /// Whether `pending` may hold a signal.
    has_pending: AtomicBool,
}

/// A set of signals that a handler may read and add to.
struct AtomicSignalSet([AtomicU32; 4]);

/// The effect of a signal on a slot.
#[derive(Clone, Copy, Default)]
struct Delivery {
    /// Whether the slot wants the signal.
    wanted: bool,
    /// Whether the loop has to be woken (invariant 5).
    wakes: bool,
    /// Whether this is a further stop signal for a loop that has one.
    again: bool,
}

/// A signal for which our handler was installed.
pub(super) struct Installed {
    pub(super) signal: Signal,
    /// How many users want it; a slot that both subscribes to it and stops by it counts twice.
    wanted: usize,
    /// The disposition that ours replaced.
    previous: Disposition,
}

impl SignalSlot {
    /// Takes a slot that wants no signals yet; signals will end the waits of `wake`'s driver.
    pub(crate) fn new(wake: Waking) -> io::Result<Self> {
        system::prepare();
        let table = lock();
        let free = |slot: &Slot| slot.target.is_free();
        let slot = SLOTS.iter().position(free).ok_or_else(|| {
            io::Error::other(format!(
                "{} reactors listen for signals already",
                SLOTS.len()
            ))
        })?;
        SLOTS[slot].target.take(&wake)?;
        drop(table);
        Ok(Self {
            slot,
            subscribed: Cell::default(),
            stops: Cell::default(),
            is_taken: Cell::default(),
            unblocked: Cell::default(),
            wake,
        })
    }

    /// Subscribes to exactly these signals from now on. On failure nothing changes.
    pub(crate) fn set_subscribed(&self, subscribed: SignalSet) -> io::Result<()> {
        let before = self.subscribed.get();
        if before == subscribed {
            return Ok(());
        }
        let mut table = lock();
        let (more, fewer) = (subscribed.without(before), before.without(subscribed));
        let slot = self.slot();
        // First, because a signal that finds our handler must find the subscription.
        slot.subscribed.add(more);
        if let Err(error) = begin(&mut table, more) {
            slot.subscribed.remove(more);
            await_handlers();
            slot.pending.remove(more);
            return Err(error);
        }
        end(&mut table, fewer);
        slot.subscribed.remove(fewer);
        // No handler is delivering these signals any more (invariant 7).
        await_handlers();
        slot.pending.remove(fewer);
        self.subscribed.set(subscribed);
        self.adjust_mask();
        Ok(())
    }

    /// Sets whether SIGINT, SIGTERM and SIGBREAK stop the loop. On failure nothing changes.
    pub(crate) fn set_stops(&self, stops: bool) -> io::Result<()> {
        if stops != self.stops.get().is_empty() {
            return Ok(());
        }
        let mut table = lock();
        let slot = self.slot();
        if !stops {
            end(&mut table, self.stops.take());
            slot.stops.clear();
            await_handlers();
            slot.clear_stop();
            self.is_taken.set(false);
            self.adjust_mask();
            return Ok(());
        }
        let mut by: SignalSet = STOPS.into_iter().collect();
        if was_default(&table, Signal::INT)? {
            by = by.with(Signal::INT);
        }
        slot.stops.add(by);
        if let Err(error) = begin(&mut table, by) {
            slot.stops.clear();
            await_handlers();
            slot.clear_stop();
            return Err(error);
        }
        self.stops.set(by);
        self.adjust_mask();
        // Another slot has a stop signal already, or got one just now from a handler that did not
        // see this slot yet.
        await_handlers();
        let stop_signals = SLOTS.iter().map(|slot| slot.stop_signal.load(SeqCst));
        if let Some(signal) = stop_signals.into_iter().find(|signal| *signal != NO_SIGNAL) {
            slot.request_stop(signal);
            self.wake.wake();
        }
        Ok(())
    }

    /// Sets whether the loop is stopping: then stop signals stop it even when it subscribes to
    /// them.
    pub(crate) fn set_stopping(&self, stopping: bool) {
        self.slot().is_stopping.store(stopping, SeqCst);
    }

    /// Takes the subscribed signals that came since the last call.
    pub(crate) fn take_pending(&self) -> SignalSet {
        let slot = self.slot();
        match slot.has_pending.load(SeqCst) && slot.has_pending.swap(false, SeqCst) {
            true => slot.pending.take(),
            false => SignalSet::default(),
        }
    }

    /// Takes the signal that stops the loop; returns it once.
    pub(crate) fn take_stop(&self) -> Option<Signal> {
        let stop_signal = self.slot().stop_signal.load(SeqCst);
        if stop_signal == NO_SIGNAL || self.is_taken.replace(true) {
            return None;
        }
        self.slot().is_stop_taken.store(true, SeqCst);
        Some(Signal::given(stop_signal))
    }

    /// Returns whether there may be a signal that has arrived and was not taken.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        self.slot().has_pending.load(SeqCst) || self.has_stop()
    }

    /// Returns whether there is a stop signal that was not taken.
    #[inline]
    pub(crate) fn has_stop(&self) -> bool {
        self.slot().stop_signal.load(SeqCst) != NO_SIGNAL && !self.is_taken.get()
    }

    /// Delivers `signal` to this slot alone, without ending the process. Returns whether the slot
    /// wanted the signal.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn deliver(&self, signal: Signal) -> bool {
        let delivery = self.slot().record(signal);
        if delivery.wakes {
            self.wake.wake();
        }
        delivery.wanted
    }

    /// Unblocks the wanted signals in this thread; blocks those again that are no longer wanted.
    fn adjust_mask(&self) {
        let wanted = self.subscribed.get().with(self.stops.get());
        let before = self.unblocked.get();
        let done = before.without(wanted);
        system::block(done);
        let more = system::unblock(wanted.without(before));
        self.unblocked.set(before.without(done).with(more));
    }

    fn slot(&self) -> &'static Slot {
        &SLOTS[self.slot]
    }
}

impl Drop for SignalSlot {
    fn drop(&mut self) {
        // Neither call adds a signal, and only adding can fail.
        let _ = self.set_subscribed(SignalSet::default());
        let _ = self.set_stops(false);
        let slot = self.slot();
        let table = lock();
        slot.target.free();
        await_handlers();
        slot.has_pending.store(false, SeqCst);
        slot.is_stopping.store(false, SeqCst);
        drop(table);
    }
}

impl Slot {
    /// A slot that is free.
    const fn free() -> Self {
        Self {
            target: WakeTarget::none(),
            subscribed: AtomicSignalSet::none(),
            stops: AtomicSignalSet::none(),
            is_stopping: AtomicBool::new(false),
            stop_signal: AtomicI32::new(NO_SIGNAL),
            stop_time: AtomicU64::new(0),
            is_stop_taken: AtomicBool::new(false),
            pending: AtomicSignalSet::none(),
            has_pending: AtomicBool::new(false),
        }
    }

    /// Records that `signal` came.
    fn record(&self, signal: Signal) -> Delivery {
        let mut delivery = Delivery::default();
        let is_subscribed = self.subscribed.has(signal);
        if is_subscribed {
            self.pending.add(signal.into());
            delivery.wanted = true;
            delivery.wakes = !self.has_pending.swap(true, SeqCst);
        }
        let has_stop_signal = self.stop_signal.load(SeqCst) != NO_SIGNAL;
        let keeps = is_subscribed && !has_stop_signal && !self.is_stopping.load(SeqCst);
        if self.stops.has(signal) && !keeps {
            delivery.wanted = true;
            let is_first = self.request_stop(signal.number());
            delivery.again = !is_first && self.is_second_stop();
            delivery.wakes |= is_first;
        }
        delivery
    }

    /// Returns whether a further stop signal counts. One that comes together with the first does
    /// not (several may be sent to a whole process group), nor one that the loop has had no time to
    /// obey, unless the loop seems to hang.
    fn is_second_stop(&self) -> bool {
        let stop_time = self.stop_time.load(SeqCst);
        let passed = system::milliseconds().saturating_sub(stop_time);
        let enough = match self.is_stop_taken.load(SeqCst) {
            true => MERGE_MS,
            false => HANG_MS,
        };
        stop_time != 0 && passed >= enough
    }

    /// Clears the stop signal.
    fn clear_stop(&self) {
        self.stop_signal.store(NO_SIGNAL, SeqCst);
        self.stop_time.store(0, SeqCst);
        self.is_stop_taken.store(false, SeqCst);
    }

    /// Records a stop signal, unless there is one.
    fn request_stop(&self, signal: i32) -> bool {
        let stop_signal = &self.stop_signal;
        let is_first = stop_signal
            .compare_exchange(NO_SIGNAL, signal, SeqCst, SeqCst)
            .is_ok();
        if is_first {
            self.stop_time.store(system::milliseconds().max(1), SeqCst);
        }
        is_first
    }
}

impl AtomicSignalSet {
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

/// Records a signal in each slot that wants it, and wakes their loops. Returns whether the process
/// has to end by the signal.
pub(super) fn dispatch(signal: Signal) -> bool {
    RUNNING_HANDLERS.fetch_add(1, SeqCst);
    let mut again = false;
    for slot in SLOTS.iter().filter(|slot| !slot.target.is_free()) {
        let delivery = slot.record(signal);
        again |= delivery.again;
        if delivery.wakes {
            slot.target.notify();
        }
    }
    RUNNING_HANDLERS.fetch_sub(1, SeqCst);
    again
}

/// Ends the process by a signal, as if no loop were listening.
pub(super) fn end_by(signal: Signal) {
    let _ = system::replace(signal, &Disposition::default());
    let _ = system::raise(signal);
}

/// Installs our handler for one more user of these signals: for all of them, or for none.
fn begin(table: &mut Vec<Installed>, signals: SignalSet) -> io::Result<()> {
    let mut begun = SignalSet::default();
    for signal in signals.iter() {
        match system::replace(signal, &Disposition::ours()) {
            Ok(previous) => record_previous(table, signal, previous),
            Err(error) => {
                end(table, begun);
                return Err(error);
            }
        }
        begun = begun.with(signal);
    }
    Ok(())
}

/// Records that our handler has replaced `previous`.
fn record_previous(table: &mut Vec<Installed>, signal: Signal, previous: Disposition) {
    let is_ours = previous.is_ours();
    match table
        .iter_mut()
        .find(|installed| installed.signal == signal)
    {
        Some(installed) => {
            installed.wanted += 1;
            if !is_ours {
                installed.previous = previous;
            }
        }
        None => table.push(Installed {
            signal,
            wanted: 1,
            // Other code put ours back when it was ours no more.
            previous: match is_ours {
                true => Disposition::default(),
                false => previous,
            },
        }),
    }
}

/// Removes one user of these signals: after the last, restores the earlier disposition.
fn end(table: &mut Vec<Installed>, signals: SignalSet) {
    for signal in signals.iter() {
        let Some(at) = table
            .iter()
            .position(|installed| installed.signal == signal)
        else {
            continue;
        };
        table[at].wanted -= 1;
        if table[at].wanted > 0 {
            continue;
        }
        let installed = table.swap_remove(at);
        if system::disposition(signal).is_ok_and(|current| current.is_ours()) {
            // The disposition was in place before, so it can be set again.
            let _ = system::replace(signal, &installed.previous);
        }
    }
}

/// Returns whether the disposition is the default, or was before ours replaced it.
fn was_default(table: &[Installed], signal: Signal) -> io::Result<bool> {
    let current = system::disposition(signal)?;
    let installed = table.iter().find(|installed| installed.signal == signal);
    Ok(match installed {
        Some(installed) if current.is_ours() => installed.previous.is_default(),
        _ => current.is_default(),
    })
}

/// Waits until no handler runs. Handlers that begin meanwhile see what was changed before.
fn await_handlers() {
    while RUNNING_HANDLERS.load(SeqCst) != 0 {
        thread::yield_now();
    }
}

pub(super) fn lock() -> MutexGuard<'static, Vec<Installed>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals that stop a loop, besides SIGINT (invariant 1).
#[cfg(unix)]
const STOPS: [Signal; 1] = [Signal::TERM];
#[cfg(windows)]
const STOPS: [Signal; 2] = [Signal::TERM, Signal::BREAK];

/// The installed signals, in the order of installation.
static TABLE: Mutex<Vec<Installed>> = Mutex::new(Vec::new());

static SLOTS: [Slot; 64] = [const { Slot::free() }; 64];

/// The number of running handlers.
static RUNNING_HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// Stop signals within this many milliseconds count as one.
const MERGE_MS: u64 = 100;

/// A loop that has not acted on a stop signal for this many milliseconds seems to hang.
const HANG_MS: u64 = 3_000;

/// The value for no signal.
const NO_SIGNAL: i32 = 0;
