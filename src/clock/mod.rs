//! Time: delayed calls, sleeps, time limits, and a virtual clock for tests.
//!
//! A [`Clock`] makes timers. The reactor is a clock with the machine's monotonic time; a
//! [`VirtualClock`] is a clock whose time moves on request only. Code that takes `&impl Clock` runs
//! on both.
//!
//! | to | use |
//! |---|---|
//! | call a function later | [`Clock::call_later`], which returns a [`DelayedCall`]; for a result [`defer_later`](crate::defer_later) |
//! | wait in async code | [`Clock::sleep`] |
//! | limit the time of a future | [`Clock::timeout`] |
//! | limit the time of a Deferred | [`Deferred::timeout`](crate::Deferred::timeout) |
//! | do something periodically | [`repeat`](crate::repeat) |
//!
//! The reactor runs the timers that are due once in each turn, and [`VirtualClock::advance`] runs
//! those of a virtual clock. The handles only record requests.
//!
//! A delay counts from the call that requests it: the machine's clock is read for each timer that
//! is made or reset, and by [`Clock::now`]. So nothing fires early, however long the loop has been
//! busy. Virtual time, and the time of a reactor [with manual
//! time](crate::reactor::ReactorBuilder::manual_time), stands still until it is moved. No
//! duration or instant is out of range: a time that has passed is due in the next turn, and a time
//! more than some five hundred years away never comes.
//!
//! # Invariants
//!
//! 1. No timer runs inside the call that requests it, whatever its deadline.
//! 2. Timers run by deadline; equal deadlines in the order in which they were requested. A timer
//!    that is moved to another deadline counts as a new request.
//! 3. A call is no longer pending when it begins to run: inside it, all methods of its own handle
//!    return `false`.
//! 4. What a closure owns is dropped when the call is cancelled, not when it would have been due.
//! 5. Dropping a [`DelayedCall`] changes nothing; dropping a [`Sleep`] ends it.
//! 6. When the clock stops (at the end of its reactor, or with the last handle of a
//!    [`VirtualClock`]), pending closures are dropped without running, sleeping tasks get
//!    [`ClockStopped`], and a closure of a later request is dropped at once.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [clock](crate::guide::glossary#clock),
//! [delayed call](crate::guide::glossary#delayed-call), [turn](crate::guide::glossary#turn),
//! [virtual time](crate::guide::glossary#virtual-time).

// Both kinds of timer are stored in the clock's table (`table`): a `DelayedCall` owns a closure; a
// `Sleep` is a future whose waker is stored in the table, so that sleeping allocates nothing.

mod heap;
mod limit_timer;
#[cfg(test)]
mod limits;
mod manual;
// Under its cfg, loom replaces thread locals, and this is no model of threads.
#[cfg(all(test, not(torsade_loom)))]
mod model;
mod sleep;
mod table;
mod timeout;
mod timers;

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

#[cfg(feature = "http")]
pub(crate) use self::limit_timer::Limit;
pub(crate) use self::limit_timer::LimitTimer;
pub use self::manual::VirtualClock;
pub use self::sleep::{ClockStopped, Sleep};
pub(crate) use self::table::Due;
use self::table::{Action, Key};
#[doc(alias = "TimeoutError")]
pub use self::timeout::TimedOut;
pub use self::timeout::Timeout;
pub(crate) use self::timers::Timers;
use crate::report::{self, Origin};
use crate::spans;

/// A source of time and timers: the reactor, or a [`VirtualClock`].
///
/// # Examples
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use torsade::{Clock, VirtualClock};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// /// Works with any clock.
/// fn remind(clock: &(impl Clock + Clone + 'static), log: &Rc<RefCell<Vec<u32>>>, n: u32) {
///     let (again, log) = (clock.clone(), log.clone());
///     clock.call_later(SECOND, move || {
///         log.borrow_mut().push(n);
///         remind(&again, &log, n + 1);
///     });
/// }
///
/// let clock = VirtualClock::new();
/// let log = Rc::default();
/// remind(&clock, &log, 1);
/// clock.advance(SECOND * 3);
/// assert_eq!(*log.borrow(), [1, 2, 3]);
/// ```
pub trait Clock: sealed::HasTimers {
    /// Returns the present time.
    ///
    /// A reactor on the machine's clock reads that clock at each call. Virtual and manual time
    /// moves on request only; that of an in-memory reactor also moves when the loop waits. The time
    /// never goes back.
    #[doc(alias = "seconds")]
    fn now(&self) -> Instant {
        self.timers().now()
    }

    /// Calls `f` once, when at least `delay` has passed since this call.
    ///
    /// Dropping the returned handle changes nothing; [`DelayedCall::cancel`] cancels the call.
    ///
    /// # Order
    ///
    /// Calls run on the loop's thread, in the order of their deadlines (the time of this call plus
    /// `delay`); calls with equal deadlines run in the order in which they were requested. A call
    /// with a delay of zero runs in the next turn, never inside this function.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{Clock, VirtualClock};
    /// let clock = VirtualClock::new();
    /// let call = clock.call_later(Duration::from_secs(1), || unreachable!());
    /// assert!(call.cancel());
    /// clock.advance(Duration::from_secs(2));
    /// ```
    #[doc(alias = "callLater")]
    #[track_caller]
    fn call_later(&self, delay: Duration, f: impl FnOnce() + 'static) -> DelayedCall {
        let timers = self.timers();
        DelayedCall::request(timers, timers.after(delay), Box::new(f), Location::caller())
    }

    /// Calls `f` once, at `deadline`.
    ///
    /// Otherwise like [`call_later`](Clock::call_later); a deadline that has passed is due in the
    /// next turn.
    #[track_caller]
    fn call_at(&self, deadline: Instant, f: impl FnOnce() + 'static) -> DelayedCall {
        let timers = self.timers();
        DelayedCall::request(timers, deadline, Box::new(f), Location::caller())
    }

    /// Waits for `delay`, counted from this call and not from the first poll.
    ///
    /// A sleep with a delay of zero ends in the next turn, so a loop of such sleeps does not keep
    /// other code from running.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the sleep is dropped, and nothing is left behind.
    #[doc(alias = "deferLater")]
    #[track_caller]
    fn sleep(&self, delay: Duration) -> Sleep {
        let timers = self.timers();
        Sleep::new(timers.clone(), timers.after(delay), Location::caller())
    }

    /// Waits until `deadline`.
    ///
    /// Waits otherwise like [`sleep`](Clock::sleep).
    #[track_caller]
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let timers = self.timers();
        Sleep::new(timers.clone(), deadline, Location::caller())
    }

    /// Runs a future, and drops it if it takes longer than `limit` from now.
    ///
    /// The future may borrow, and may have any output: an output `Result<T, E>` is returned as
    /// `Result<Result<T, E>, Failure>`. The returned future must be awaited.
    /// [`Deferred::timeout`](crate::Deferred::timeout) limits a Deferred without an await, and
    /// returns a Deferred.
    ///
    /// # Order
    ///
    /// On a reactor a result that came in time wins, also when the loop was busy or the process was
    /// suspended meanwhile: before a limit takes effect, the reactor polls I/O and runs the tasks
    /// that this wakes. The same holds for every time limit of this crate.
    ///
    /// # Errors
    ///
    /// Fails with [`TimedOut`] when the limit is over, with the caller's line as location, and with
    /// [`ClockStopped`] when the clock stops before that.
    ///
    /// # Cancel safety
    ///
    /// That of `future`, which is dropped with the returned future.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::clock::TimedOut;
    /// use torsade::{Clock, testing};
    ///
    /// testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         conn.write_all(b"hi").await?;
    ///         conn.read(&mut [0]).await?; // until the client closes
    ///         Ok(())
    ///     })?;
    ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
    ///     let (mut buf, limit) = ([0; 8], Duration::from_secs(1));
    ///     // It borrows `conn` and `buf`.
    ///     let count = reactor.timeout(limit, conn.read(&mut buf)).await??;
    ///     assert_eq!(&buf[..count], b"hi");
    ///     let count = match reactor.timeout(limit, conn.read(&mut buf)).await {
    ///         Err(late) if late.is::<TimedOut>() => 0, // silent for a second
    ///         read => read??,                          // the clock's failure, then that of `read`
    ///     };
    ///     assert_eq!(count, 0);
    ///     drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[doc(alias("wait_for", "tokio::time::timeout"))]
    #[track_caller]
    fn timeout<F: IntoFuture>(&self, limit: Duration, future: F) -> Timeout<F::IntoFuture> {
        let location = Location::caller();
        let sleep = self.timers().limit_sleep(limit, location);
        Timeout::new(future.into_future(), sleep, limit, location)
    }

    /// Returns the pending calls, those of time limits included, in the order in which they will
    /// run. Sleeps are not among them.
    #[doc(alias = "getDelayedCalls")]
    fn delayed_calls(&self) -> Vec<DelayedCall> {
        self.timers().list()
    }
}

/// The handle to a requested call, to cancel or reset it.
///
/// The handle can be stored or dropped; dropping it changes nothing. Its methods run no user code
/// except the destructor of a cancelled closure. It stays on its thread.
///
/// ```compile_fail,E0277
/// # use std::time::Duration;
/// # use torsade::{Clock, VirtualClock};
/// let call = VirtualClock::new().call_later(Duration::ZERO, || {});
/// std::thread::spawn(move || call.cancel());
/// ```
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::{Clock, VirtualClock};
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// let call = clock.call_later(SECOND, || println!("late"));
/// call.reset(SECOND * 3);
/// call.delay(SECOND);
/// assert_eq!(call.deadline(), Some(start + SECOND * 4));
/// clock.advance(SECOND * 4); // prints `late`
/// assert!(!call.is_pending());
/// ```
#[derive(Clone)]
pub struct DelayedCall {
    timers: Timers,
    /// Valid until the call runs or is cancelled, through every reset.
    key: Key,
    location: &'static Location<'static>,
}

impl DelayedCall {
    /// Cancels the call. Returns `false` if the call has run, is running, or was cancelled before.
    ///
    /// The closure is dropped at once, with what it owns.
    pub fn cancel(&self) -> bool {
        self.timers.cancel(self.key)
    }

    /// Moves the call's deadline to `from_now` after the present time, sooner or later than before.
    /// Returns `false` if the call is not pending.
    pub fn reset(&self, from_now: Duration) -> bool {
        let deadline = self.timers.after(from_now);
        self.timers.reset(self.key, |_| deadline)
    }

    /// Moves the call's deadline to `deadline`, sooner or later than before. Returns `false` if the
    /// call is not pending.
    pub fn reset_at(&self, deadline: Instant) -> bool {
        self.timers.reset(self.key, |_| deadline)
    }

    /// Adds `extra` to the call's deadline. Returns `false` if the call is not pending.
    pub fn delay(&self, extra: Duration) -> bool {
        let later = |old| self.timers.later(old, extra);
        self.timers.reset(self.key, later)
    }

    /// Returns whether the call is still to run.
    #[doc(alias = "active")]
    pub fn is_pending(&self) -> bool {
        self.timers.deadline(self.key).is_some()
    }

    /// Returns the time at which the call is due, if it is pending.
    ///
    /// For a call too far in the future ever to run, returns an instant centuries away.
    #[doc(alias = "getTime")]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.deadline(self.key)
    }

    /// Returns the line that requested the call.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    fn request(
        timers: &Timers,
        deadline: Instant,
        f: Box<dyn FnOnce()>,
        location: &'static Location<'static>,
    ) -> Self {
        Self::request_action(timers, deadline, Action::Call(f), location)
    }

    fn request_limit(
        timers: &Timers,
        deadline: Instant,
        f: Box<dyn FnOnce()>,
        location: &'static Location<'static>,
    ) -> Self {
        Self::request_action(timers, deadline, Action::Limit(f), location)
    }

    fn request_action(
        timers: &Timers,
        deadline: Instant,
        action: Action,
        location: &'static Location<'static>,
    ) -> Self {
        let action = match action {
            Action::Call(call) if spans::are_on() => {
                Action::Call(report::follow(Origin::DelayedCall, location, call))
            }
            action => action,
        };
        let requested = timers.request(deadline, action, location);
        // A stopped clock returns the closure, which is dropped here.
        let key = requested.unwrap_or_else(|action| {
            report::discard(action, location);
            Key::NONE
        });
        Self::new(timers.clone(), key, location)
    }

    fn new(timers: Timers, key: Key, location: &'static Location<'static>) -> Self {
        Self {
            timers,
            key,
            location,
        }
    }
}

impl fmt::Debug for DelayedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DelayedCall");
        match self.timers.left(self.key) {
            Some(left) => out.field("due_in", &left),
            None => out.field("pending", &false),
        };
        out.field("location", &format_args!("{}", self.location))
            .finish()
    }
}

impl<C: Clock + ?Sized> Clock for &C {}

/// Seals [`Clock`]: only this crate implements it.
pub(crate) mod sealed {
    use super::Timers;

    /// A type that has timers.
    #[allow(unnameable_types, reason = "that is what keeps `Clock` sealed")]
    pub trait HasTimers {
        #[doc(hidden)]
        fn timers(&self) -> &Timers;
    }

    impl<T: HasTimers + ?Sized> HasTimers for &T {
        fn timers(&self) -> &Timers {
            (**self).timers()
        }
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a clock, and a log of the calls.
    fn begin() -> (VirtualClock, Rc<RefCell<Vec<u32>>>) {
        (VirtualClock::new(), Rc::default())
    }

    fn note(log: &Rc<RefCell<Vec<u32>>>, n: u32) -> impl FnOnce() + use<> {
        let log = log.clone();
        move || log.borrow_mut().push(n)
    }

    #[test]
    fn equal_deadlines_keep_the_order_of_the_requests() {
        let (clock, log) = begin();
        let calls: Vec<_> = (0..10)
            .map(|n| clock.call_later(SECOND, note(&log, n)))
            .collect();
        // Requested again: after the others, in this order.
        calls[7].reset(SECOND);
        calls[2].delay(Duration::ZERO);
        let at = clock.now() + SECOND;
        clock.call_at(at, note(&log, 10));
        calls[4].reset(SECOND * 3);
        calls[4].reset_at(at);
        clock.advance(SECOND);
        assert_eq!(*log.borrow(), [0, 1, 3, 5, 6, 8, 9, 7, 2, 10, 4]);
    }

    #[test]
    fn a_deadline_that_has_passed_is_due_at_once_but_not_inside_the_request() {
        let (clock, log) = begin();
        let start = clock.now();
        clock.advance(SECOND);
        clock.call_later(Duration::ZERO, note(&log, 2));
        clock.call_at(start, note(&log, 1));
        assert!(log.borrow().is_empty());
        clock.advance(Duration::ZERO);
        assert_eq!(*log.borrow(), [1, 2]);
    }

    #[test]
    fn cancelling_drops_what_the_closure_owns() {
        let clock = VirtualClock::new();
        let owned = Rc::new(());
        for absorbed in [false, true] {
            let hold = owned.clone();
            let call = clock.call_later(SECOND, move || drop(hold));
            if absorbed {
                clock.advance(Duration::ZERO);
            }
            assert!(call.is_pending());
            assert!(call.cancel());
            assert_eq!(Rc::strong_count(&owned), 1);
            assert!(!call.is_pending() && !call.cancel());
            assert!(!call.reset(SECOND) && !call.reset_at(clock.now()) && !call.delay(SECOND));
            assert_eq!(call.deadline(), None);
        }
    }

    #[test]
    fn a_destructor_may_request_and_cancel_calls() {
        struct ReentrantDrop(VirtualClock, DelayedCall, Rc<RefCell<Vec<u32>>>);
        impl Drop for ReentrantDrop {
            fn drop(&mut self) {
                assert!(self.1.cancel());
                self.0.call_later(SECOND, note(&self.2, 1));
            }
        }
        let (clock, log) = begin();
        let sibling = clock.call_later(SECOND, || unreachable!());
        let meddler = ReentrantDrop(clock.clone(), sibling, log.clone());
        let call = clock.call_later(SECOND, move || drop(meddler));
        assert!(call.cancel());
        clock.advance(SECOND);
        assert_eq!(*log.borrow(), [1]);
    }

    #[test]
    fn dropping_the_handle_changes_nothing() {
        let (clock, log) = begin();
        drop(clock.call_later(SECOND, note(&log, 1)));
        clock.advance(SECOND);
        assert_eq!(*log.borrow(), [1]);
    }

    #[test]
    fn the_pending_calls_are_listed_as_they_will_run() {
        let (clock, log) = begin();
        let start = clock.now();
        for delay in [3, 1, 2] {
            clock.call_later(SECOND * delay, note(&log, delay));
        }
        clock.call_later(SECOND * 9, || unreachable!()).cancel();
        let calls = clock.delayed_calls();
        let deadlines: Vec<_> = calls.iter().filter_map(DelayedCall::deadline).collect();
        assert_eq!(deadlines, [1, 2, 3].map(|n| start + SECOND * n));
        assert!(calls[0].cancel());
        clock.advance(SECOND * 3);
        assert_eq!(*log.borrow(), [2, 3]);
        assert!(clock.delayed_calls().is_empty());
    }

    #[test]
    fn a_call_has_and_shows_its_location() {
        let clock = VirtualClock::new();
        let (call, line) = (clock.call_later(SECOND * 2, || ()), line!());
        clock.advance(SECOND);
        assert_eq!(
            (call.location().file(), call.location().line()),
            (file!(), line)
        );
        let shown = format!("{call:?}");
        assert!(
            shown.contains("due_in: 1s") && shown.contains(file!()),
            "{shown}"
        );
        call.cancel();
        assert!(format!("{call:?}").contains("pending: false"));
        let at = clock.call_at(clock.now(), || ()).location().line();
        assert_eq!(at, line!() - 1);
        let listed = clock.delayed_calls();
        assert_eq!(listed[0].location().line(), at);
    }

    #[test]
    fn a_stopped_clock_drops_requested_calls() {
        let clock = VirtualClock::new();
        let owned = Rc::new(());
        let hold = owned.clone();
        sealed::HasTimers::timers(&clock).clear();
        let call = clock.call_later(SECOND, move || drop(hold));
        assert_eq!(Rc::strong_count(&owned), 1);
        assert!(!call.is_pending() && !call.reset(SECOND));
        clock.advance(SECOND);
    }

    #[test]
    fn a_reference_to_a_clock_is_a_clock() {
        fn request(clock: impl Clock) -> DelayedCall {
            clock.call_later(SECOND, || ())
        }
        let clock = VirtualClock::new();
        let borrowed = &clock;
        assert!(request(borrowed).is_pending());
        assert!(borrowed.call_later(SECOND, || ()).is_pending());
    }
}
