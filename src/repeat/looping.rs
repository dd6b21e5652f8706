//! [`LoopingCall`]: a function that is called periodically.
//!
//! # The idea
//!
//! A [`LoopingCall`] is at rest. Starting it consumes it and returns the two ends of the loop: a
//! [`Looping`] to stop it with, and a Deferred of its end. A loop that was stopped returns the
//! `LoopingCall` through that Deferred, to be started again. So a loop cannot be started twice, nor
//! stopped before it runs.
//!
//! # States
//!
//! | state | the loop belongs to | left by |
//! |---|---|---|
//! | `Waiting` | its timer | its time: `Calling`; a stop, a cancel, the clock's end: `Over` |
//! | `Calling` | the stack | the return: `Waiting`, `Pending`, or `Over` |
//! | `Pending` | the Deferred that it waits for | that Deferred's result: `Waiting` or `Over` |
//! | `Over` | – | |
//!
//! # Invariants
//!
//! 1. The function is in `f` unless the state is `Calling` or `Over`.
//! 2. A loop that is stopped while the function runs, or while its Deferred is pending, is `Over`
//!    when that has ended.
//! 3. The resolver is used exactly once, as the last thing that happens, with nothing borrowed.
//! 4. The next call is due at the first point of the grid after the end of the call before.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::forget;
use super::interval::divide;
use crate::clock::{Clock, ClockStopped, DelayedCall, Timers};
use crate::defer::{Deferred, IntoOutcome, Outcome, Resolver};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// A function to be called periodically, at the points of a time grid.
///
/// The function is called at `start + k · interval`, however long the calls take: after a call that
/// ends late, the next call is due at the next point of the grid, and the points in between are
/// skipped. The function may return nothing, `Ok`/`Err`, a Deferred or an async block; the next
/// call waits for it. With an interval of zero the function is called once in each turn; on a
/// virtual clock time then stands still until the loop is stopped.
///
/// In `async` code an [`interval`](super::interval) is often simpler.
///
/// # Order
///
/// The function runs in the turns of the reactor's loop, never inside `start`; two calls never
/// overlap.
///
/// # Errors
///
/// An `Err`, a panic, or a failing Deferred ends the loop and drops the function; the loop's
/// Deferred fails with it.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use torsade::{LoopingCall, VirtualClock};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let (clock, ticks) = (VirtualClock::new(), Rc::new(Cell::new(0)));
/// let count = ticks.clone();
/// let call = LoopingCall::new(move || count.set(count.get() + 1));
/// let (ticking, done) = call.start(&clock, SECOND);
/// clock.advance(SECOND * 10);
/// assert_eq!(ticks.get(), 11); // at 0, 1, 2, …, 10
///
/// ticking.stop();
/// let again = clock.clone();
/// done.add_callback(move |call| {
///     call.start_later(&again, SECOND * 5); // the same function, from now on every 5 seconds
/// });
/// clock.advance(SECOND * 10);
/// assert_eq!(ticks.get(), 13);
/// ```
pub struct LoopingCall {
    f: Function,
}

/// The handle to a started [`LoopingCall`], to stop it with.
///
/// The handle can be stored or dropped; dropping it does not stop the loop. A function that stops
/// its own loop gets a handle from [`LoopingCall::with_handle`].
#[derive(Clone)]
pub struct Looping {
    /// Dangles when the loop is over.
    looping: Weak<Loop>,
    interval: Duration,
}

impl LoopingCall {
    /// Makes a looping call of `f`.
    #[must_use = "a looping call does nothing until it is started"]
    #[track_caller]
    pub fn new<V, R: IntoOutcome<V>>(mut f: impl FnMut() -> R + 'static) -> Self {
        let location = Location::caller();
        Self::of(move |_, _| forget(f().into_outcome(location)))
    }

    /// Makes a looping call of `f`, which gets the number of points of the grid that have passed
    /// since its last call, this one included.
    ///
    /// The number is 1 unless points were skipped, and never 0. In a loop begun with
    /// [`start`](LoopingCall::start), the start is such a point. With an interval of zero the
    /// number is always 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{cell::RefCell, rc::Rc, time::Duration};
    /// # use torsade::{Clock, LoopingCall, VirtualClock};
    /// # const SECOND: Duration = Duration::from_secs(1);
    /// let (clock, counts) = (VirtualClock::new(), Rc::new(RefCell::new(Vec::new())));
    /// let (slow, log) = (clock.clone(), counts.clone());
    /// LoopingCall::with_count(move |n| {
    ///     log.borrow_mut().push(n);
    ///     torsade::defer_later(&slow, SECOND * 5 / 2, || ()) // each takes 2.5 s
    /// })
    /// .start(&clock, SECOND);
    /// clock.advance(SECOND * 6);
    /// assert_eq!(*counts.borrow(), [1, 3, 3]); // at 0, 3 and 6
    /// ```
    #[doc(alias = "withCount")]
    #[must_use = "a looping call does nothing until it is started"]
    #[track_caller]
    pub fn with_count<V, R: IntoOutcome<V>>(mut f: impl FnMut(u64) -> R + 'static) -> Self {
        let location = Location::caller();
        Self::of(move |count, _| forget(f(count).into_outcome(location)))
    }

    /// Makes a looping call of `f`, which gets the handle of its own loop.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{LoopingCall, VirtualClock};
    /// let clock = VirtualClock::new();
    /// let mut left = 3;
    /// let (_, done) = LoopingCall::with_handle(move |looping| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         looping.stop();
    ///     }
    /// })
    /// .start(&clock, Duration::from_secs(1));
    /// clock.advance(Duration::from_secs(2));
    /// assert!(done.is_settled());
    /// ```
    #[must_use = "a looping call does nothing until it is started"]
    #[track_caller]
    pub fn with_handle<V, R: IntoOutcome<V>>(mut f: impl FnMut(&Looping) -> R + 'static) -> Self {
        let location = Location::caller();
        Self::of(move |_, looping| forget(f(looping).into_outcome(location)))
    }

    /// Starts the loop, with the first call in the next turn of the reactor.
    ///
    /// The Deferred fires with the `LoopingCall` when the loop was stopped and no call runs any
    /// more. Cancelling it stops the loop, and cancels what a call is waiting for.
    ///
    /// # Errors
    ///
    /// The Deferred fails with the failure of the function, or with [`ClockStopped`] (which is
    /// dropped silently if the Deferred was dropped without a callback).
    #[track_caller]
    pub fn start(self, clock: &impl Clock, interval: Duration) -> (Looping, Deferred<Self>) {
        // The start is a point of the grid for which no call was made yet.
        self.start_on(clock.timers(), interval, Duration::ZERO, 1)
    }

    /// Starts the loop, with the first call one interval from now.
    ///
    /// Does otherwise as [`start`](LoopingCall::start).
    ///
    /// # Errors
    ///
    /// Fails as [`start`](LoopingCall::start) does.
    #[doc(alias = "now=False")]
    #[track_caller]
    pub fn start_later(self, clock: &impl Clock, interval: Duration) -> (Looping, Deferred<Self>) {
        self.start_on(clock.timers(), interval, interval, 0)
    }

    #[track_caller]
    fn start_on(
        self,
        timers: &Timers,
        interval: Duration,
        delay: Duration,
        carried: u64,
    ) -> (Looping, Deferred<Self>) {
        let (deferred, resolver) = Deferred::pair();
        let start = timers.now();
        let looping = Rc::new(Loop {
            timers: timers.clone(),
            interval,
            state: Cell::new(State::Waiting),
            ending: Cell::new(Ending::No),
            origin: Cell::new(start),
            counted: Cell::new(0),
            carried: Cell::new(carried),
            f: Cell::new(Some(self.f)),
            resolver: Cell::new(Some(resolver)),
            timer: Cell::new(None),
            cancel: Cell::new(None),
            location: Location::caller(),
        });
        let handle = looping.handle();
        let cancelled = handle.clone();
        let deferred = deferred.on_cancel(move || {
            if let Some(looping) = cancelled.looping.upgrade() {
                looping.cancel();
            }
        });
        looping.wait_until(timers.later(start, delay));
        (handle, deferred)
    }

    fn of(f: impl FnMut(u64, &Looping) -> Outcome<()> + 'static) -> Self {
        Self { f: Box::new(f) }
    }
}

impl Looping {
    /// Stops the loop. Returns `false` if the loop has ended or is being stopped already.
    ///
    /// The loop's Deferred fires before this method returns; if a call is running or waits for its
    /// Deferred, the loop's Deferred fires when that call has ended.
    pub fn stop(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.stop())
    }

    /// Skips the next call and begins a new grid: the next call is due one interval from now.
    ///
    /// Returns `false` and changes nothing while a call is running or waits for its Deferred, and
    /// when the loop has ended.
    pub fn reset(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.reset())
    }

    /// Returns whether there will be another call.
    #[doc(alias = "running")]
    pub fn is_running(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.is_running())
    }

    /// Returns when the next call is due; `None` while a call is running or waits for its Deferred.
    pub fn deadline(&self) -> Option<Instant> {
        let looping = self.looping.upgrade()?;
        looping.with_timer(DelayedCall::deadline)?
    }

    /// Returns the time between two points of the grid.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl fmt::Debug for LoopingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoopingCall")
    }
}

impl fmt::Debug for Looping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looping")
            .field("interval", &self.interval)
            .field("is_running", &self.is_running())
            .finish()
    }
}

/// The user's function, called with the count and the loop's handle.
type Function = Box<dyn FnMut(u64, &Looping) -> Outcome<()>>;

/// A started loop.
struct Loop {
    timers: Timers,
    interval: Duration,
    state: Cell<State>,
    ending: Cell<Ending>,
    /// The first point of the grid.
    origin: Cell<Instant>,
    /// The last point of the grid that a call has counted.
    counted: Cell<u64>,
    /// Points of an earlier grid that no call has counted.
    carried: Cell<u64>,
    /// Set by invariant 1.
    f: Cell<Option<Function>>,
    /// `None` once the loop is over.
    resolver: Cell<Option<Resolver<LoopingCall>>>,
    /// `Some` while the loop waits.
    timer: Cell<Option<DelayedCall>>,
    /// `Some` while the loop is pending: cancels what it waits for.
    cancel: Cell<Option<Box<dyn FnOnce()>>>,
    location: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Calling,
    Pending,
    Over,
}

/// Whether the loop ends when the present call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    Stopped,
    /// The Deferred was cancelled: no result is needed.
    Cancelled,
}

impl Loop {
    fn handle(self: &Rc<Self>) -> Looping {
        Looping {
            looping: Rc::downgrade(self),
            interval: self.interval,
        }
    }

    fn is_running(&self) -> bool {
        self.state.get() != State::Over && self.ending.get() == Ending::No
    }

    fn wait_until(self: Rc<Self>, deadline: Instant) {
        self.state.set(State::Waiting);
        let turn = Turn(Some(self.clone()));
        let call = self
            .timers
            .call_at(deadline, self.location, move || turn.run_due());
        // A clock that has stopped has dropped the turn, and so ended the loop.
        if self.state.get() == State::Waiting {
            self.timer.set(Some(call));
        }
    }

    fn wait_for_next(self: Rc<Self>) {
        let now = self.timers.now();
        let deadline = if self.interval.is_zero() {
            now
        } else {
            let (_, into) = divide(self.elapsed(now), self.interval);
            self.timers.later(now, self.interval - into)
        };
        self.wait_until(deadline);
    }

    /// Handles a point of the grid.
    fn call(self: Rc<Self>) {
        self.timer.take();
        self.state.set(State::Calling);
        let Some(mut f) = self.f.take() else { return };
        let (count, handle) = (self.count(), self.handle());
        let called = report::catch(self.location, || f(count, &handle));
        self.f.set(Some(f));
        match called {
            Ok(Outcome::Ready(result)) => self.called(result),
            Ok(Outcome::Wait(deferred)) => self.wait_for(deferred),
            Err(failure) => self.called(Err(failure)),
        }
    }

    fn wait_for(self: Rc<Self>, deferred: Deferred<()>) {
        self.state.set(State::Pending);
        if self.ending.get() == Ending::Cancelled {
            deferred.cancel();
        }
        self.cancel.set(Some(Box::new(deferred.remote_cancel())));
        drop(deferred.add_both(move |result| self.called(result)));
    }

    /// Handles the end of a call and of what it waited for.
    fn called(self: Rc<Self>, result: Result<(), Failure>) {
        self.cancel.take();
        match result {
            Ok(()) if self.ending.get() == Ending::No => self.wait_for_next(),
            result => self.finish(result),
        }
    }

    fn stop(&self) -> bool {
        if !self.is_running() {
            return false;
        }
        self.ending.set(Ending::Stopped);
        if self.state.get() == State::Waiting {
            self.finish(Ok(()));
        }
        true
    }

    /// Handles a cancel of the loop's Deferred.
    fn cancel(&self) {
        self.ending.set(Ending::Cancelled);
        match self.state.get() {
            State::Waiting => {
                self.close();
                report::discard(self.f.take(), self.location);
                // The cancel itself settles the Deferred.
                drop(self.resolver.take());
            }
            State::Pending => {
                if let Some(cancel) = self.cancel.take() {
                    cancel();
                }
            }
            State::Calling | State::Over => {}
        }
    }

    fn finish(&self, result: Result<(), Failure>) {
        self.close();
        let (Some(f), Some(resolver)) = (self.f.take(), self.resolver.take()) else {
            return;
        };
        match result {
            Ok(()) => resolver.callback(LoopingCall { f }),
            // The end of the program is not reported to a Deferred that was dropped.
            Err(failure) if failure.is::<ClockStopped>() && resolver.has_no_consumer() => {
                resolver.callback(LoopingCall { f });
            }
            Err(failure) => {
                report::discard(f, self.location);
                if !resolver.is_cancelled() {
                    resolver.errback(failure);
                } else if failure.find::<Cancelled>().is_none() {
                    report::deliver(Origin::Call, failure, self.location);
                }
            }
        }
    }

    fn close(&self) {
        self.state.set(State::Over);
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }

    fn reset(&self) -> bool {
        if self.state.get() != State::Waiting {
            return false;
        }
        let now = self.timers.now();
        let missed = self.point(now).saturating_sub(self.counted.replace(0));
        self.carried.set(self.carried.get().saturating_add(missed));
        self.origin.set(now);
        let next = self.timers.later(now, self.interval);
        self.with_timer(|timer| timer.reset_at(next));
        true
    }

    /// Returns the number of points that have passed and were not counted. A timer is never early,
    /// so it is at least 1.
    fn count(&self) -> u64 {
        if self.interval.is_zero() {
            return 1;
        }
        let point = self.point(self.timers.now());
        let fresh = point.saturating_sub(self.counted.replace(point));
        self.carried.take().saturating_add(fresh)
    }

    /// Returns the number of the last point that is not after `now`; 0 without a grid.
    fn point(&self, now: Instant) -> u64 {
        if self.interval.is_zero() {
            return 0;
        }
        divide(self.elapsed(now), self.interval).0
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin.get())
    }

    fn with_timer<R>(&self, f: impl FnOnce(&DelayedCall) -> R) -> Option<R> {
        let timer = self.timer.take()?;
        let given = f(&timer);
        self.timer.set(Some(timer));
        Some(given)
    }
}

/// The next call of the loop, owned by the clock.
struct Turn(Option<Rc<Loop>>);

impl Turn {
    fn run_due(mut self) {
        if let Some(looping) = self.0.take() {
            looping.call();
        }
    }
}

impl Drop for Turn {
    /// If the loop has not cancelled the call, the clock has stopped.
    fn drop(&mut self) {
        let Some(looping) = self.0.take() else { return };
        if looping.state.get() == State::Waiting {
            looping.finish(Err(Failure::at(ClockStopped, looping.location)));
        }
    }
}
