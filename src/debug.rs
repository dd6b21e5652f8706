//! Debug mode, and the watchdog that reports calls which block the loop.
//!
//! # The idea
//!
//! Recording the lines that make, fire and await Deferreds costs time and memory, so it is done
//! only where a reactor in debug mode exists: [`is_on`] says so for this thread, and is one load if
//! there is no such reactor on any thread. The *watchdog* measures every call of user code (in
//! `report::catch`), and reports a call that blocked the loop for longer than a limit. A separate
//! thread detects a call that has not returned at all.
//!
//! # Invariants
//!
//! 1. Without a reactor in debug mode nothing is recorded, measured or allocated.
//! 2. The innermost call is reported: the time of an inner call that is reported does not count for
//!    its caller.
//! 3. Of the modules above the driver, only this one reads the machine's time. The watchdog's
//!    measurements never change the order in which code runs.

#![cfg_attr(
    not(any(doc, feature = "debug")),
    allow(
        unreachable_pub,
        reason = "`Blocked` is public with the feature `debug`"
    )
)]

use std::fmt;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::context;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex, MutexGuard, Shared, ThreadBody};

/// A call of user code that blocked the loop for longer than
/// [`ReactorBuilder::watchdog`](crate::reactor::ReactorBuilder::watchdog) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The line that added the callback, spawned the task, or registered the hook.
    pub location: &'static Location<'static>,
    /// How long the call ran, without the calls inside of it that were reported separately.
    pub took: Duration,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loop was blocked for {:?} by code from {}",
            self.took, self.location
        )
    }
}

/// An item of a dump: something that is alive.
#[derive(Clone, Debug)]
pub(crate) struct DumpItem {
    pub(crate) id: Id,
    pub(crate) kind: &'static str,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) location: Caller,
    /// Its description; empty if it is shown elsewhere.
    pub(crate) about: String,
    /// What it waits for, which may be shown elsewhere as well.
    pub(crate) waits: Vec<Self>,
}

/// The identity of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Id {
    /// By its address.
    At(usize),
    /// By its slot in a clock's table.
    Timer(usize, u64),
    /// By its key in a reactor's table.
    Source(usize),
    /// None: each item is distinct.
    Nameless(usize),
}

impl Id {
    /// Returns a number that identifies it.
    pub(crate) fn number(self) -> u128 {
        // An address has no bit set that overlaps with the kind.
        let (kind, high, low) = match self {
            Self::At(address) => (0, 0, address as u64),
            Self::Timer(clock, key) => (1, clock as u128, key),
            Self::Source(key) => (2, 0, key as u64),
            Self::Nameless(number) => (3, 0, number as u64),
        };
        kind << 126 | high << 64 | u128::from(low)
    }
}

/// Returns whether a reactor in debug mode is alive on this thread.
#[inline]
pub(crate) fn is_on() -> bool {
    IS_BUILT && DEBUG_REACTORS.load(Ordering::Relaxed) != 0 && is_on_here()
}

/// Whether this build has debug mode; if not, the compiler removes the code that asks for it.
pub(crate) const IS_BUILT: bool = cfg!(feature = "debug");

#[cold]
#[inline(never)]
fn is_on_here() -> bool {
    context::with(|thread| thread.debugged.get()) != 0
}

/// Returns whether debug mode is on by default: as `TORSADE_DEBUG` says, otherwise in debug builds.
pub(crate) fn is_default() -> bool {
    static DEFAULT: OnceLock<bool> = OnceLock::new();
    *DEFAULT.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) => !(value.is_empty() || value == "0"),
        None => cfg!(debug_assertions),
    })
}

/// Switches debug mode on for this thread while it is alive.
pub(crate) struct Debugging(PhantomData<Rc<()>>);

impl Debugging {
    pub(crate) fn begin() -> Self {
        DEBUG_REACTORS.fetch_add(1, Ordering::Relaxed);
        context::with(|thread| thread.debugged.set(thread.debugged.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for Debugging {
    fn drop(&mut self) {
        DEBUG_REACTORS.fetch_sub(1, Ordering::Relaxed);
        context::with(|thread| thread.debugged.set(thread.debugged.get() - 1));
    }
}

/// The function that gets the calls that blocked the loop.
pub(crate) type BlockedHook = Rc<dyn Fn(Blocked)>;

/// Watches the turns of one reactor.
pub(crate) struct Watchdog {
    limit: Duration,
    hook: BlockedHook,
    monitor: Shared<Monitor>,
}

/// The state that the watchdog's thread reads.
#[derive(Default)]
struct Monitor {
    now: Mutex<Now>,
    over: Condvar,
}

#[derive(Default)]
struct Now {
    /// The call that runs, and since when.
    running: Option<(Caller, Instant)>,
    /// Whether it has been reported.
    is_reported: bool,
    is_over: bool,
}

impl Watchdog {
    /// Makes a watchdog that reports calls longer than `limit` to `hook`.
    pub(crate) fn new(limit: Duration, hook: BlockedHook) -> Rc<Self> {
        Rc::new(Self {
            limit,
            hook,
            monitor: Shared::default(),
        })
    }

    /// Watches this thread until the guard is dropped.
    pub(crate) fn watch(self: &Rc<Self>) -> Watching {
        WATCHED_THREADS.fetch_add(1, Ordering::Relaxed);
        let before = context::with(|thread| thread.watchdog.replace(Some(self.clone())));
        Watching { before }
    }

    /// Starts the thread that detects calls that never return. The thread ends when the guard is
    /// dropped.
    pub(crate) fn start_thread(&self) -> Guard<'_> {
        let (monitor, limit) = (self.monitor.clone(), self.limit);
        monitor.lock().is_over = false;
        let thread = thread::Builder::new().name("torsade-watchdog".to_owned());
        let body: ThreadBody = Box::new(move || monitor.look(limit));
        // Without the thread calls are still measured.
        Guard {
            monitor: &self.monitor,
            thread: thread.spawn(body).ok(),
        }
    }
}

/// The guard of [`Watchdog::start_thread`].
#[must_use]
pub(crate) struct Guard<'a> {
    monitor: &'a Monitor,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.monitor.lock().is_over = true;
            self.monitor.over.notify_all();
            let _ = thread.join();
        }
    }
}

impl Monitor {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the call that has been running for longer than `limit`, once.
    fn look(&self, limit: Duration) {
        let mut now = self.lock();
        while !now.is_over {
            if let (Some((location, since)), false) = (now.running, now.is_reported) {
                if since.elapsed() > limit {
                    now.is_reported = true;
                    drop(now);
                    print(&format_args!(
                        "code from {location} still blocks the loop, after {limit:?}"
                    ));
                    now = self.lock();
                    continue;
                }
            }
            let waited = self.over.wait_timeout(now, (limit / 4).max(MIN_INTERVAL));
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Records what runs from now on; returns what ran before.
    fn note(&self, running: Option<(Caller, Instant)>) -> Option<(Caller, Instant)> {
        let mut now = self.lock();
        now.is_reported = false;
        std::mem::replace(&mut now.running, running)
    }
}

/// The guard of [`Watchdog::watch`].
#[must_use]
pub(crate) struct Watching {
    before: Option<Rc<Watchdog>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHED_THREADS.fetch_sub(1, Ordering::Relaxed);
        let before = self.before.take();
        let left = context::with(|thread| thread.watchdog.replace(before));
        drop(left);
    }
}

/// Returns whether a thread is being watched, perhaps this one.
#[inline]
pub(crate) fn is_watching() -> bool {
    IS_BUILT && WATCHED_THREADS.load(Ordering::Relaxed) != 0
}

/// Measures user code that was registered at `location`, until the returned guard is dropped.
/// Returns `None` if no watchdog watches.
#[inline]
pub(crate) fn measure(location: Caller) -> Option<Box<Measured>> {
    if is_watching() {
        Measured::begin(location)
    } else {
        None
    }
}

/// The guard of [`measure`].
pub(crate) struct Measured {
    watchdog: Rc<Watchdog>,
    location: Caller,
    since: Instant,
    /// The call around it.
    outer: Option<(Caller, Instant)>,
    /// The time for which calls inside of it were reported.
    blamed: Duration,
}

impl Measured {
    #[cold]
    #[inline(never)]
    fn begin(location: Caller) -> Option<Box<Self>> {
        let watchdog: Rc<Watchdog> = context::with(|thread| thread.watchdog.get())?;
        if context::with(|thread| thread.reporting.get()) {
            return None;
        }
        let since = Instant::now();
        Some(Box::new(Self {
            location,
            since,
            outer: watchdog.monitor.note(Some((location, since))),
            blamed: context::with(|thread| thread.blamed.replace(Duration::ZERO)),
            watchdog,
        }))
    }
}

impl Measured {
    /// Ends the measurement. Explicit, because without a watchdog nothing is left to do.
    #[cold]
    #[inline(never)]
    #[allow(clippy::boxed_local, reason = "it is handed over as it is kept")]
    pub(crate) fn end(self: Box<Self>) {}
}

impl Drop for Measured {
    fn drop(&mut self) {
        let elapsed = self.since.elapsed();
        // The measurement of the outer call begins anew, because that call was not blocking
        // meanwhile.
        let outer = self.outer.map(|(location, _)| (location, Instant::now()));
        self.watchdog.monitor.note(outer);
        let inside = context::with(|thread| thread.blamed.get());
        let took = elapsed.saturating_sub(inside);
        let is_slow = took > self.watchdog.limit;
        let blamed = if is_slow { elapsed } else { inside };
        context::with(|thread| thread.blamed.set(self.blamed + blamed));
        if is_slow {
            let location = self.location;
            context::with(|thread| thread.reporting.set(true));
            (self.watchdog.hook)(Blocked { location, took });
            context::with(|thread| thread.reporting.set(false));
        }
    }
}

/// Writes a report for which no hook is set.
pub(crate) fn print(what: &dyn fmt::Display) {
    if tracing::enabled!(target: "torsade::watchdog", tracing::Level::WARN) {
        tracing::warn!(target: "torsade::watchdog", "{what}");
    } else {
        let _ = writeln!(std::io::stderr(), "torsade: {what}");
    }
}

pub(crate) type Caller = &'static Location<'static>;

/// The number of reactors in debug mode on all threads.
static DEBUG_REACTORS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that are being watched.
static WATCHED_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Switches debug mode on (`1`) or off (`0`) for all reactors that do not set it.
const VARIABLE: &str = "TORSADE_DEBUG";

/// The shortest interval at which the watchdog's thread checks.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(all(test, torsade_loom))]
mod model;
