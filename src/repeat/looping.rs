//! A function that is called again and again, on a grid of times.
//!
//! # The idea
//!
//! A [`LoopingCall`] is at rest; starting it consumes it, and what comes back are the two ends of the loop: a
//! [`Looping`] to stop it with, and a Deferred that says how it ended. A loop that was stopped gives the `LoopingCall`
//! back through that Deferred, to be started again. So there is no starting twice and no stopping what never ran.
//!
//! # States
//!
//! | state     | the loop belongs to           | left by                                                        |
//! |-----------|-------------------------------|----------------------------------------------------------------|
//! | `Waiting` | its timer                     | its time: `Calling`; a stop, a cancel, the clock's end: `Over` |
//! | `Calling` | the stack                     | the return: `Waiting`, `Pending`, or `Over`                    |
//! | `Pending` | the Deferred that it waits for | that one's result: `Waiting` or `Over`                        |
//! | `Over`    | nobody                        |                                                                |
//!
//! # Invariants
//!
//! 1. The function is in its place unless the state is `Calling` or `Over`.
//! 2. A loop that is stopped while the function runs, or while its Deferred is pending, is `Over` when that has ended.
//! 3. The resolver is used exactly once, as the last thing that happens, with nothing borrowed.
//! 4. The next call is at the first point of the grid after the moment at which the one before ended.

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

/// A function that will be called again and again, on a grid of times.
///
/// It is called at `start + k · interval`, however long the calls take: one that ends late is followed by the next
/// point of the grid, and the points in between are left out. The function may return nothing, `Ok`/`Err`, a Deferred
/// or an async block; the next call waits for it. With an interval of zero it is called once a turn; on a virtual clock
/// no time passes then, until it is stopped.
///
/// In `async` code an [`interval`](super::interval) is often simpler.
///
/// # Order
///
/// The function runs in the turns of the loop, never inside `start`; two calls never overlap.
///
/// # Errors
///
/// An `Err`, a panic, or a failing Deferred ends the loop, drops the function, and is what the loop's Deferred fails with.
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
/// let (ticking, done) = LoopingCall::new(move || count.set(count.get() + 1)).start(&clock, SECOND);
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
#[doc(alias("PeriodicCallback", "setInterval"))]
pub struct LoopingCall {
    f: Function,
}

/// A looping call that was started: the handle to stop it with.
///
/// It can be kept or dropped; dropping it changes nothing, the loop runs on. A function that is to stop its own loop gets
/// one from [`LoopingCall::with_handle`].
#[derive(Clone)]
pub struct Looping {
    /// Gone when the loop is over.
    looping: Weak<Loop>,
    interval: Duration,
}

impl LoopingCall {
    /// Calls `f`.
    #[must_use = "a looping call does nothing until it is started"]
    #[track_caller]
    pub fn new<V, R: IntoOutcome<V>>(mut f: impl FnMut() -> R + 'static) -> Self {
        let location = Location::caller();
        Self::of(move |_, _| forget(f().into_outcome(location)))
    }

    /// Calls `f` with the number of points of the grid that have come since it was last called, this one included.
    ///
    /// That is one unless calls were left out, and never zero. Of a loop begun with [`start`](LoopingCall::start) the
    /// start is such a point. With an interval of zero it is always one.
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

    /// Calls `f` with the handle of its own loop.
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

    /// Starts it, with the first call now: on the next turn of the loop.
    ///
    /// The Deferred fires with the `LoopingCall` when the loop has been stopped and nothing of it runs any more.
    /// Cancelling it stops the loop, and cancels what a call is waiting for.
    ///
    /// # Errors
    ///
    /// The Deferred fails with what the function does, or with [`ClockStopped`] (of which nobody hears if the Deferred
    /// was dropped without a callback).
    #[track_caller]
    pub fn start(self, clock: &impl Clock, interval: Duration) -> (Looping, Deferred<Self>) {
        // The start is a point of the grid for which no call was made yet.
        self.start_on(clock.timers(), interval, Duration::ZERO, 1)
    }

    /// Starts it, with the first call when the interval has gone by.
    ///
    /// As [`start`](LoopingCall::start) otherwise.
    ///
    /// # Errors
    ///
    /// As [`start`](LoopingCall::start).
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
        owed: u64,
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
            owed: Cell::new(owed),
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
    /// Stops the loop. `false` if it was over or being stopped already.
    ///
    /// The loop's Deferred fires before this returns; if a call is running or waits for its Deferred, it fires when that
    /// call has ended.
    pub fn stop(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.stop())
    }

    /// Leaves out the call that is next, and begins a new grid now: the next call comes when an interval has gone by.
    ///
    /// `false`, and nothing changes, while a call is running or waits for its Deferred, and when the loop is over.
    pub fn reset(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.reset())
    }

    /// Will there be another call?
    #[doc(alias = "running")]
    pub fn is_running(&self) -> bool {
        let looping = self.looping.upgrade();
        looping.is_some_and(|looping| looping.is_running())
    }

    /// When the next call is due, unless one is running or waits for its Deferred.
    pub fn deadline(&self) -> Option<Instant> {
        let looping = self.looping.upgrade()?;
        looping.with_timer(DelayedCall::deadline)?
    }

    /// The time from point to point of its grid.
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

/// The user's function, given the count and the loop's handle.
type Function = Box<dyn FnMut(u64, &Looping) -> Outcome<()>>;

/// A loop that has been started.
struct Loop {
    timers: Timers,
    interval: Duration,
    state: Cell<State>,
    ending: Cell<Ending>,
    /// The grid's point zero.
    origin: Cell<Instant>,
    /// The last point of the grid that was counted in a call.
    counted: Cell<u64>,
    /// Points that were not, of a grid before the present one.
    owed: Cell<u64>,
    /// Invariant 1.
    f: Cell<Option<Function>>,
    /// Empty once it is over.
    resolver: Cell<Option<Resolver<LoopingCall>>>,
    /// Set while it is waiting.
    timer: Cell<Option<DelayedCall>>,
    /// Set while it is pending: cancels what it waits for.
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

/// Is it to end when the present call has ended?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    Stopped,
    /// Nobody wants to know how.
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
            .call_at(deadline, self.location, move || turn.come());
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

    /// A point of the grid has come.
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

    /// The call, and what it waited for, have ended.
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

    /// The loop's Deferred is being cancelled.
    fn cancel(&self) {
        self.ending.set(Ending::Cancelled);
        match self.state.get() {
            State::Waiting => {
                self.close();
                report::discard(self.f.take(), self.location);
                // Whoever cancels says so to the Deferred.
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
            // That the program ends is no news to a Deferred that was dropped long ago.
            Err(failure) if failure.is::<ClockStopped>() && resolver.is_unheard() => {
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
        self.owed.set(self.owed.get().saturating_add(missed));
        self.origin.set(now);
        let next = self.timers.later(now, self.interval);
        self.with_timer(|timer| timer.reset_at(next));
        true
    }

    /// How many points have come that no call has counted. The timer is never early, so there is at least one.
    fn count(&self) -> u64 {
        if self.interval.is_zero() {
            return 1;
        }
        let point = self.point(self.timers.now());
        let fresh = point.saturating_sub(self.counted.replace(point));
        self.owed.take().saturating_add(fresh)
    }

    /// The number of the last point that is not after `now`; zero without a grid.
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

/// What the clock has of the loop: its next call.
struct Turn(Option<Rc<Loop>>);

impl Turn {
    fn come(mut self) {
        if let Some(looping) = self.0.take() {
            looping.call();
        }
    }
}

impl Drop for Turn {
    /// Unless the loop has called it off, the clock has stopped.
    fn drop(&mut self) {
        let Some(looping) = self.0.take() else { return };
        if looping.state.get() == State::Waiting {
            looping.finish(Err(Failure::at(ClockStopped, looping.location)));
        }
    }
}
