//! [`VirtualClock`]: a clock for tests, whose time moves on request only.
//!
//! [`VirtualClock::advance`] goes from deadline to deadline: at each, it sets the time and makes a
//! pass over the due timers, as a turn of the reactor would, up to the end of the step. So every
//! call sees the time of its own deadline, and what it requests runs too if its deadline is within
//! the step.
//!
//! # Invariants
//!
//! 1. Only `advance` runs anything, and never inside itself.
//! 2. After `advance` the time is exactly the step later. If a call panics, or a callback of a
//!    Deferred that it fires, the panic goes on to the caller, and the time is that of the call.
//! 3. A chain of calls without delay gets a pass each. It is ended by a panic after [`MAX_PASSES`].

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::sealed::HasTimers;
use super::{Clock, Due, Timers};
use crate::report;

/// A clock for tests, whose time moves only by [`advance`](VirtualClock::advance).
///
/// Clones are handles to the same clock. When the last handle is dropped the clock stops: pending
/// closures are dropped, and sleeps fail with [`ClockStopped`](super::ClockStopped). A pending
/// closure that owns a handle keeps its clock alive.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::{Clock, VirtualClock};
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// clock.call_later(Duration::from_secs(3600), || println!("an hour later"));
/// clock.advance(Duration::from_secs(86_400)); // prints it, at once
/// assert_eq!(clock.now() - start, Duration::from_secs(86_400));
/// ```
#[derive(Clone)]
pub struct VirtualClock(Rc<Shared>);

struct Shared {
    timers: Timers,
    /// Whether `advance` is running.
    moving: Cell<bool>,
}

impl VirtualClock {
    /// Makes a clock without timers.
    ///
    /// Its time begins at some instant; only differences between its instants are meaningful.
    pub fn new() -> Self {
        Self::with_timers(Timers::new(Instant::now()))
    }

    /// Moves the time by `step`, and runs the calls that come due on the way.
    ///
    /// Each call sees its own deadline as the present time. Calls that it requests run too, if they
    /// are due within the step. Sleeping tasks are woken when they are due, and polled later, by
    /// the code that runs them.
    ///
    /// # Order
    ///
    /// Calls run in the order of their deadlines; calls with equal deadlines run in the order in
    /// which they were requested.
    ///
    /// # Panics
    ///
    /// Panics if it is called from one of the calls it runs; and if calls keep requesting calls
    /// with a delay of zero (100,000 times at one instant), with a message that names the line of
    /// the last request. Passes on a panic of a call, and the panic of a Deferred's callback that
    /// no errback handles: the time is then that of the call, and the later calls remain for the
    /// next `advance`.
    #[track_caller]
    pub fn advance(&self, step: Duration) {
        let moving = Moving::begin(&self.0.moving);
        let unwinding = report::unwind_to_caller();
        let timers = &self.0.timers;
        let start = timers.now();
        let end = timers.after(step);
        let mut passes = 0;
        loop {
            timers.absorb();
            let Some(next) = timers.next_deadline() else {
                break;
            };
            if next > end {
                break;
            }
            if next > timers.now() {
                timers.set_now(next);
                passes = 0;
            }
            let mut last = None;
            timers.fire_due(|due| match due {
                Due::Call(f, location) => {
                    last = Some(location);
                    f();
                    report::rethrow();
                }
                Due::Wake(waker) => waker.wake(),
            });
            passes += 1;
            if passes > MAX_PASSES {
                give_up(timers.now() - start, last);
            }
        }
        timers.set_now(end);
        drop((unwinding, moving));
    }

    /// Moves the time by each of `steps`, one after the other.
    ///
    /// # Panics
    ///
    /// Panics as [`advance`](VirtualClock::advance) does.
    #[track_caller]
    pub fn pump(&self, steps: impl IntoIterator<Item = Duration>) {
        for step in steps {
            self.advance(step);
        }
    }

    pub(super) fn with_timers(timers: Timers) -> Self {
        let moving = Cell::new(false);
        Self(Rc::new(Shared { timers, moving }))
    }
}

impl Clock for VirtualClock {}

impl HasTimers for VirtualClock {
    fn timers(&self) -> &Timers {
        &self.0.timers
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualClock").field(&self.0.timers).finish()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.timers.clear();
    }
}

/// Marks the clock as moving while it exists; also a panic ends that.
struct Moving<'a>(&'a Cell<bool>);

impl<'a> Moving<'a> {
    #[track_caller]
    fn begin(moving: &'a Cell<bool>) -> Self {
        let was_moving = moving.replace(true);
        assert!(!was_moving, "`advance` was called from a call that it runs");
        Self(moving)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[cold]
#[track_caller]
fn give_up(at: Duration, last: Option<&Location<'_>>) -> ! {
    match last {
        Some(location) => panic!(
            "`advance` cannot move the time past {at:?} of this step: the call made at {location} repeats itself without delay"
        ),
        None => {
            panic!(
                "`advance` cannot move the time past {at:?} of this step: a task sleeps again and again without delay"
            )
        }
    }
}

/// The number of passes at one instant that counts as endless.
const MAX_PASSES: u32 = 100_000;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const SECOND: Duration = Duration::from_secs(1);

    /// Logs names with the time since it was made.
    #[derive(Clone)]
    struct Log {
        clock: VirtualClock,
        start: Instant,
        entries: Rc<RefCell<Vec<(&'static str, u64)>>>,
    }

    impl Log {
        fn new(clock: &VirtualClock) -> Self {
            let (clock, start) = (clock.clone(), clock.now());
            let entries = Rc::default();
            Self {
                clock,
                start,
                entries,
            }
        }

        fn log(&self, name: &'static str) {
            let seconds = (self.clock.now() - self.start).as_secs();
            self.entries.borrow_mut().push((name, seconds));
        }

        #[track_caller]
        fn check(&self, wanted: &[(&str, u64)]) {
            assert_eq!(*self.entries.borrow(), wanted);
        }
    }

    /// Returns the text of a panic.
    fn panic_text(f: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
        }
    }

    #[test]
    fn each_call_sees_its_own_deadline() {
        let clock = VirtualClock::new();
        let log = Log::new(&clock);
        for (name, delay) in [("c", 3), ("a", 1), ("b", 2), ("after", 9)] {
            let log = log.clone();
            clock.call_later(SECOND * delay, move || log.log(name));
        }
        clock.advance(SECOND * 5);
        log.log("end");
        log.check(&[("a", 1), ("b", 2), ("c", 3), ("end", 5)]);
    }

    #[test]
    fn a_call_requested_during_an_advance_runs_if_it_is_due_within_it() {
        let clock = VirtualClock::new();
        let log = Log::new(&clock);
        let inner = log.clone();
        clock.call_later(SECOND, move || {
            for (name, delay) in [("too late", 5), ("in time", 4), ("at once", 0)] {
                let log = inner.clone();
                inner
                    .clock
                    .call_later(SECOND * delay, move || log.log(name));
            }
        });
        clock.advance(SECOND * 5);
        log.check(&[("at once", 1), ("in time", 5)]);
    }

    #[test]
    fn a_delayed_call_runs_at_its_new_time() {
        let clock = VirtualClock::new();
        let log = Log::new(&clock);
        let inner = log.clone();
        let call = clock.call_later(SECOND, move || inner.log("late"));
        assert!(call.delay(SECOND));
        clock.advance(SECOND);
        assert!(call.reset(SECOND * 3));
        clock.pump([SECOND, SECOND * 5]);
        log.check(&[("late", 4)]);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_other_calls_stay() {
        let clock = VirtualClock::new();
        let log = Log::new(&clock);
        clock.call_later(SECOND, || panic!("ouch"));
        for delay in [1, 2] {
            let log = log.clone();
            clock.call_later(SECOND * delay, move || log.log("later"));
        }
        assert_eq!(panic_text(|| clock.advance(SECOND * 5)), "ouch");
        log.log("caught");
        clock.advance(SECOND * 4);
        log.log("end");
        log.check(&[("caught", 1), ("later", 1), ("later", 2), ("end", 5)]);
    }

    #[test]
    fn advancing_inside_a_call_panics() {
        let clock = VirtualClock::new();
        let again = clock.clone();
        clock.call_later(SECOND, move || again.advance(SECOND));
        let text = panic_text(|| clock.advance(SECOND));
        assert!(text.contains("`advance` was called from a call"), "{text}");
        clock.advance(SECOND);
    }

    #[test]
    fn endless_calls_without_delay_are_detected() {
        fn again(clock: &VirtualClock, line: &Rc<Cell<u32>>) {
            let (next, its_line) = (clock.clone(), line.clone());
            line.set(line!() + 1);
            clock.call_later(Duration::ZERO, move || again(&next, &its_line));
        }
        let (clock, line) = (VirtualClock::new(), Rc::default());
        again(&clock, &line);
        let text = panic_text(|| clock.advance(SECOND));
        let location = format!("{}:{}", file!(), line.get());
        assert!(
            text.contains(&location),
            "{text:?} does not name {location}"
        );
    }

    #[test]
    fn any_step_is_accepted() {
        let clock = VirtualClock::new();
        clock.call_later(Duration::MAX, || unreachable!());
        clock.pump([Duration::ZERO, Duration::MAX, Duration::MAX, SECOND]);
        assert_eq!(clock.delayed_calls().len(), 1);
    }

    #[test]
    fn dropping_the_last_handle_drops_what_was_pending() {
        let clock = VirtualClock::new();
        let owned = Rc::new(());
        let hold = owned.clone();
        let call = clock.call_later(SECOND, move || drop(hold));
        drop(clock);
        assert_eq!(Rc::strong_count(&owned), 1);
        assert!(!call.is_pending());
        assert!(!call.cancel());
    }
}
