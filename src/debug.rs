//! Debug mode: is it on, and who blocks the loop?
//!
//! # The idea
//!
//! Remembering who made, fired and awaited what costs time and memory, so it is done only where a reactor in debug
//! mode lives: [`is_on`] says so for this thread, and is one load where no such reactor lives anywhere. The
//! *watchdog* measures each piece of user code on its way through the fence that every one of them passes
//! (`report::catch`), and names the one that kept the loop from everything else for longer than a limit. A thread
//! of its own looks whether one of them has not come back at all.
//!
//! # Invariants
//!
//! 1. With no reactor in debug mode nothing is remembered, measured or allocated.
//! 2. The one that is named is the innermost: what an inner one is blamed for, its caller is not.
//! 3. Only here, above the driver, is the machine's time read: what the watchdog says never changes what runs.

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

/// Something that blocked the loop: see [`ReactorBuilder::watchdog`](crate::reactor::ReactorBuilder::watchdog).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Where the callback was added, or the task spawned, or the hook registered.
    pub location: &'static Location<'static>,
    /// How long it kept the loop, without what others it called are blamed for.
    pub took: Duration,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loop was blocked for {:?} by what was made at {}",
            self.took, self.location
        )
    }
}

/// Something that is alive, as the tree of everything that is shows it.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) id: Id,
    pub(crate) kind: &'static str,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) location: Caller,
    /// What is to be said of it; nothing if that is said elsewhere.
    pub(crate) about: String,
    /// What it waits for, which may be told elsewhere as well.
    pub(crate) waits: Vec<Self>,
}

/// Tells one living thing from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Id {
    /// By its address.
    At(usize),
    /// By its place in a clock's table.
    Timer(usize, u64),
    /// By its key in a reactor's table.
    Source(usize),
    /// By nothing: each is another one.
    Nameless(usize),
}

impl Id {
    /// Returns a number that only this one has.
    pub(crate) fn number(self) -> u128 {
        // Of an address no bit is set that would meet the kind's.
        let (kind, high, low) = match self {
            Self::At(address) => (0, 0, address as u64),
            Self::Timer(clock, key) => (1, clock as u128, key),
            Self::Source(key) => (2, 0, key as u64),
            Self::Nameless(number) => (3, 0, number as u64),
        };
        kind << 126 | high << 64 | u128::from(low)
    }
}

/// Is a reactor in debug mode alive on this thread?
#[inline]
pub(crate) fn is_on() -> bool {
    IS_BUILT && EVERYWHERE.load(Ordering::Relaxed) != 0 && is_on_here()
}

/// Whether this build has debug mode: the compiler removes what asks for it where it has not.
pub(crate) const IS_BUILT: bool = cfg!(feature = "debug");

#[cold]
#[inline(never)]
fn is_on_here() -> bool {
    context::with(|thread| thread.debugged.get()) != 0
}

/// Is debug mode wanted where nobody has said anything? What `TORSADE_DEBUG` says, else in debug builds.
pub(crate) fn is_default() -> bool {
    static DEFAULT: OnceLock<bool> = OnceLock::new();
    *DEFAULT.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) => !(value.is_empty() || value == "0"),
        None => cfg!(debug_assertions),
    })
}

/// Debug mode is on for this thread while one of these is alive.
pub(crate) struct Debugging(PhantomData<Rc<()>>);

impl Debugging {
    pub(crate) fn begin() -> Self {
        EVERYWHERE.fetch_add(1, Ordering::Relaxed);
        context::with(|thread| thread.debugged.set(thread.debugged.get() + 1));
        Self(PhantomData)
    }
}

impl Drop for Debugging {
    fn drop(&mut self) {
        EVERYWHERE.fetch_sub(1, Ordering::Relaxed);
        context::with(|thread| thread.debugged.set(thread.debugged.get() - 1));
    }
}

/// Who is told of what blocked the loop.
pub(crate) type Told = Rc<dyn Fn(Blocked)>;

/// Watches one reactor's turns.
pub(crate) struct Watchdog {
    limit: Duration,
    tell: Told,
    beat: Shared<Beat>,
}

/// What the watching thread looks at.
#[derive(Default)]
struct Beat {
    now: Mutex<Now>,
    over: Condvar,
}

#[derive(Default)]
struct Now {
    /// What runs, and since when.
    running: Option<(Caller, Instant)>,
    /// It has been named.
    is_named: bool,
    is_over: bool,
}

impl Watchdog {
    /// One that names what takes longer than `limit` to `tell`.
    pub(crate) fn new(limit: Duration, tell: Told) -> Rc<Self> {
        Rc::new(Self {
            limit,
            tell,
            beat: Shared::default(),
        })
    }

    /// Watches this thread until the guard is dropped.
    pub(crate) fn watch(self: &Rc<Self>) -> Watching {
        WATCHED.fetch_add(1, Ordering::Relaxed);
        let before = context::with(|thread| thread.watchdog.replace(Some(self.clone())));
        Watching { before }
    }

    /// Starts the thread that looks whether something never comes back. It ends when the guard is dropped.
    pub(crate) fn stand_guard(&self) -> Guard<'_> {
        let (beat, limit) = (self.beat.clone(), self.limit);
        beat.lock().is_over = false;
        let thread = thread::Builder::new().name("torsade-watchdog".to_owned());
        let body: ThreadBody = Box::new(move || beat.look(limit));
        // Without the thread there is still the measuring.
        Guard {
            beat: &self.beat,
            thread: thread.spawn(body).ok(),
        }
    }
}

/// The guard of [`Watchdog::stand_guard`].
#[must_use]
pub(crate) struct Guard<'a> {
    beat: &'a Beat,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.beat.lock().is_over = true;
            self.beat.over.notify_all();
            let _ = thread.join();
        }
    }
}

impl Beat {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names what has been running for longer than `limit`, once.
    fn look(&self, limit: Duration) {
        let mut now = self.lock();
        while !now.is_over {
            if let (Some((location, since)), false) = (now.running, now.is_named) {
                if since.elapsed() > limit {
                    now.is_named = true;
                    drop(now);
                    bark(&format_args!(
                        "what was made at {location} still blocks the loop, after {limit:?}"
                    ));
                    now = self.lock();
                    continue;
                }
            }
            let waited = self.over.wait_timeout(now, (limit / 4).max(SOON));
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes what runs from now on; gives what ran before.
    fn note(&self, running: Option<(Caller, Instant)>) -> Option<(Caller, Instant)> {
        let mut now = self.lock();
        now.is_named = false;
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
        WATCHED.fetch_sub(1, Ordering::Relaxed);
        let before = self.before.take();
        let left = context::with(|thread| thread.watchdog.replace(before));
        drop(left);
    }
}

/// Is a thread being watched, perhaps this one?
#[inline]
pub(crate) fn is_watching() -> bool {
    WATCHED.load(Ordering::Relaxed) != 0
}

/// Measures the user's code that was made at `place`, until what this gives is dropped. Nothing where nobody watches.
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
    /// What ran around it.
    outer: Option<(Caller, Instant)>,
    /// What others inside of that were blamed for.
    blamed: Duration,
}

impl Measured {
    #[cold]
    #[inline(never)]
    fn begin(location: Caller) -> Option<Box<Self>> {
        let watchdog: Rc<Watchdog> = context::with(|thread| thread.watchdog.get())?;
        if context::with(|thread| thread.barking.get()) {
            return None;
        }
        let since = Instant::now();
        Some(Box::new(Self {
            location,
            since,
            outer: watchdog.beat.note(Some((location, since))),
            blamed: context::with(|thread| thread.blamed.replace(Duration::ZERO)),
            watchdog,
        }))
    }
}

impl Measured {
    /// The code has returned. Said in so many words, for where nobody watches nothing is left to be done.
    #[cold]
    #[inline(never)]
    #[allow(clippy::boxed_local, reason = "it is handed over as it is kept")]
    pub(crate) fn end(self: Box<Self>) {}
}

impl Drop for Measured {
    fn drop(&mut self) {
        let elapsed = self.since.elapsed();
        // What is around it begins anew: it was not blocking meanwhile.
        let outer = self.outer.map(|(location, _)| (location, Instant::now()));
        self.watchdog.beat.note(outer);
        let inside = context::with(|thread| thread.blamed.get());
        let took = elapsed.saturating_sub(inside);
        let is_slow = took > self.watchdog.limit;
        let blamed = if is_slow { elapsed } else { inside };
        context::with(|thread| thread.blamed.set(self.blamed + blamed));
        if is_slow {
            let location = self.location;
            context::with(|thread| thread.barking.set(true));
            (self.watchdog.tell)(Blocked { location, took });
            context::with(|thread| thread.barking.set(false));
        }
    }
}

/// Tells of it where nobody asked to be told.
pub(crate) fn bark(what: &dyn fmt::Display) {
    if tracing::enabled!(target: "torsade::watchdog", tracing::Level::WARN) {
        tracing::warn!(target: "torsade::watchdog", "{what}");
    } else {
        let _ = writeln!(std::io::stderr(), "torsade: {what}");
    }
}

pub(crate) type Caller = &'static Location<'static>;

/// How many reactors in debug mode live on all threads.
static EVERYWHERE: AtomicUsize = AtomicUsize::new(0);

/// How many threads are being watched.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// Switches debug mode on (`1`) or off (`0`) for all reactors that were not told.
const VARIABLE: &str = "TORSADE_DEBUG";

/// The watching thread does not look more often.
const SOON: Duration = Duration::from_millis(1);

#[cfg(all(test, torsade_loom))]
mod model;
