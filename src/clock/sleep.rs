//! [`Sleep`]: waiting for a time in `async` code.
//!
//! A [`Sleep`] knows its deadline from the start and enters the clock's table at its first poll;
//! one that is dropped before that costs nothing. The table stores its waker.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `Idle` | not in the table | the first poll: `Waiting`, or `Over` |
//! | `Waiting` | in the table, or taken out and not polled since | a poll after its time or the stop: `Over` |
//! | `Over` | has returned ready, and does so again when polled | `reset`: `Idle` |
//!
//! # Invariants
//!
//! 1. A sleep is never ready before its deadline, nor in the poll in which it enters the table.
//! 2. Only in `Waiting` it has an entry in the table, and dropping it frees the entry.
//! 3. Until its time in the table has come, the waker that `Waiting` identifies is stored there,
//!    and so is alive.
//! 4. Its time in the table is not after its deadline. It is before it where time passes by itself
//!    and the sleep was delayed: that writes nothing into the table, whose memory is cold, and the
//!    task is woken once for each time so passed, to move the entry. Elsewhere, where the order of
//!    equal deadlines counts, and for limits both are equal.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

use futures::future::FusedFuture;

use super::table::{Action, Key};
use super::timers::Timers;
use crate::debug::DumpItem;
use crate::failure::{Failure, errors};
use crate::task::{self, Wait, own_waker};

/// The output of a sleep.
type Slept = Result<(), ClockStopped>;

/// A future that is ready at its deadline; see [`Clock::sleep`](super::Clock::sleep).
///
/// A sleep is [`Unpin`]: it can be kept in a variable and polled again and again, as in a loop of
/// `select`s. Polled after it was ready, it is ready again.
///
/// # Cancel safety
///
/// Nothing is lost when the sleep is dropped, and nothing is left behind.
///
/// # Errors
///
/// Fails with [`ClockStopped`] if the clock stops before the deadline, or had stopped before the
/// first poll.
///
/// # Examples
///
/// ```
/// # use std::pin::pin;
/// # use std::task::{Context, Waker};
/// # use std::time::Duration;
/// # use torsade::{Clock, VirtualClock};
/// let clock = VirtualClock::new();
/// let again = clock.clone();
/// let mut nap = pin!(async move {
///     again.sleep(Duration::from_secs(1)).await?;
///     again.sleep(Duration::from_secs(2)).await
/// });
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(nap.as_mut().poll(&mut cx).is_pending());
/// clock.advance(Duration::from_secs(1));
/// assert!(nap.as_mut().poll(&mut cx).is_pending());
/// clock.advance(Duration::from_secs(2));
/// assert!(nap.as_mut().poll(&mut cx).is_ready());
/// ```
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    timers: Timers,
    deadline: Instant,
    /// The time in the table, in `Waiting`.
    listed: Instant,
    state: State,
    location: &'static Location<'static>,
    /// Whether it ends as a time limit does, after what came in time.
    is_limit: bool,
}

#[derive(Clone, Copy)]
enum State {
    Idle,
    Waiting(Key, WakerId),
    Over(Slept),
}

/// Identifies the waker in the table: what [`Waker::will_wake`] compares.
#[derive(Clone, Copy)]
struct WakerId {
    data: *const (),
    vtable: &'static RawWakerVTable,
}

impl WakerId {
    #[inline]
    fn of(waker: &Waker) -> Self {
        Self {
            data: waker.data(),
            vtable: waker.vtable(),
        }
    }

    /// Returns whether it identifies `waker`.
    #[inline]
    fn is_of(self, waker: &Waker) -> bool {
        self.data == waker.data() && std::ptr::eq(self.vtable, waker.vtable())
    }
}

impl Timers {
    /// Makes a sleep that was requested at `location`.
    pub(crate) fn sleep_until(
        &self,
        deadline: Instant,
        location: &'static Location<'static>,
    ) -> Sleep {
        Sleep::new(self.clone(), deadline, location)
    }

    /// Makes a sleep that ends in the order of [`limit`](Timers::limit).
    pub(crate) fn limit_sleep(
        &self,
        limit: Duration,
        location: &'static Location<'static>,
    ) -> Sleep {
        Sleep::new(self.clone(), self.after(limit), location).into_limit()
    }
}

impl Sleep {
    /// Moves the deadline, sooner or later than before, also of a sleep that has ended.
    ///
    /// If the sleep was polled and had not ended, its task is woken at the new deadline. A sleep
    /// that had ended must be polled again.
    ///
    /// # Order
    ///
    /// Counts as a new request among sleeps with equal deadlines.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        let State::Waiting(key, _) = self.state else {
            self.state = State::Idle;
            return;
        };
        let is_later = deadline >= self.listed && self.timers.is_to_come(self.listed);
        if !is_later || self.is_limit || !self.timers.passes() {
            self.move_entry(key);
        }
    }

    /// Moves the entry in the table to the deadline.
    fn move_entry(&mut self, key: Key) {
        self.listed = self.deadline;
        if !self.timers.reset(key, |_| self.deadline) {
            self.state = State::Idle;
        }
    }

    /// Returns the deadline.
    ///
    /// For a deadline too far in the future ever to come, returns an instant centuries away.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn new(
        timers: Timers,
        deadline: Instant,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            timers,
            deadline,
            listed: deadline,
            state: State::Idle,
            location,
            is_limit: false,
        }
    }

    pub(super) fn into_limit(mut self) -> Self {
        self.is_limit = true;
        self
    }

    fn over(&mut self, slept: Slept) -> Poll<Slept> {
        self.state = State::Over(slept);
        Poll::Ready(slept)
    }
}

/// The error of a wait whose clock stopped before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStopped;

errors! {
    ClockStopped: "the clock has stopped";
}

impl Future for Sleep {
    type Output = Result<(), Failure>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let location = self.location;
        self.poll_slept(cx)
            .map_err(|stopped| Failure::at(stopped, location))
    }
}

/// A sleep is terminated when it has ended, until it is [`reset`](Sleep::reset).
impl FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Over(_))
    }
}

impl Sleep {
    #[inline]
    fn poll_slept(&mut self, cx: &mut Context<'_>) -> Poll<Slept> {
        match self.state {
            // Invariant 3.
            State::Waiting(_, waker)
                if self.timers.is_to_come(self.listed) && waker.is_of(cx.waker()) =>
            {
                Poll::Pending
            }
            _ => self.look(cx),
        }
    }

    /// Polls with a look at the table.
    #[inline(never)]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Slept> {
        let this = self;
        if let State::Waiting(key, _) = this.state {
            if this.listed < this.deadline && !this.timers.has_come(this.deadline) {
                this.move_entry(key);
            }
        }
        match this.state {
            State::Idle => {
                this.listed = this.deadline;
                let waker = own_waker(cx).clone();
                let id = WakerId::of(&waker);
                let waker = match this.is_limit {
                    true => Action::WakeLimit(waker),
                    false => Action::Wake(waker),
                };
                let asked = this.timers.request(this.deadline, waker, this.location);
                match asked {
                    Ok(key) => {
                        this.state = State::Waiting(key, id);
                        task::note_wait(|| Rc::new(Asleep(this.timers.clone(), key)));
                        Poll::Pending
                    }
                    Err(_) => this.over(Err(ClockStopped)),
                }
            }
            State::Waiting(key, _) if this.timers.watch(key, &own_waker(cx)) => {
                this.state = State::Waiting(key, WakerId::of(&own_waker(cx)));
                Poll::Pending
            }
            // Taken out of the table: it has fired, or the clock has stopped.
            State::Waiting(..) if this.timers.has_come(this.deadline) => this.over(Ok(())),
            State::Waiting(..) => this.over(Err(ClockStopped)),
            State::Over(slept) => Poll::Ready(slept),
        }
    }
}

/// The record of a task that sleeps.
struct Asleep(Timers, Key);

impl Wait for Asleep {
    fn look(&self) -> Option<DumpItem> {
        self.0.dump_item(self.1)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let State::Waiting(key, _) = self.state {
            self.timers.cancel(key);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Sleep");
        match self.state {
            State::Over(slept) => out.field("over", &slept),
            _ => out.field("due_in", &self.timers.until(self.deadline)),
        };
        out.field("location", &format_args!("{}", self.location))
            .finish()
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use crate::clock::Due;
    use crate::clock::sealed::HasTimers;
    use crate::clock::{Clock, VirtualClock};

    const SECOND: Duration = Duration::from_secs(1);

    /// A waker that counts its wakes.
    #[derive(Default)]
    struct CountingWaker(AtomicU32);

    impl CountingWaker {
        fn wakes(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(sleep: &mut Sleep, waker: &Arc<CountingWaker>) -> Poll<Slept> {
        let waker = Waker::from(waker.clone());
        sleep.poll_slept(&mut Context::from_waker(&waker))
    }

    #[test]
    fn where_time_passes_a_delayed_sleep_ends_at_its_last_deadline_and_moves_at_its_first() {
        thread_local! {
            static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
        }
        let (start, waker) = (Instant::now(), Arc::default());
        TIME.set(Some(start));
        let timers = Timers::passing(start, || TIME.get().expect("it was set"));
        let pass_to = |seconds: u32| {
            TIME.set(Some(start + SECOND * seconds));
            timers.absorb();
            timers.fire_due(|due| match due {
                Due::Wake(waker) => waker.wake(),
                Due::Call(..) => unreachable!("there are no calls"),
            })
        };
        let mut sleep = timers.sleep_until(start + SECOND, Location::caller());
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        sleep.reset(start + SECOND * 10);
        sleep.reset(start + SECOND * 5);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        assert_eq!(timers.next_deadline(), Some(start + SECOND));
        // It is moved when it is polled, also by a task that was not woken for it.
        assert_eq!((pass_to(2), waker.wakes()), (1, 1));
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        assert_eq!((pass_to(4), waker.wakes()), (0, 1));
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        assert_eq!((pass_to(5), waker.wakes()), (1, 2));
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
        // Sooner than in the table, it is moved at once; a sleep that was not polled in time ends.
        sleep.reset(start + SECOND * 20);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        sleep.reset(start + SECOND * 6);
        assert_eq!((pass_to(6), waker.wakes()), (1, 3));
        sleep.reset(start + SECOND * 8);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        sleep.reset(start + SECOND * 9);
        assert_eq!((pass_to(30), waker.wakes()), (1, 4));
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
        sleep.reset(start + SECOND * 40);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        timers.clear();
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Err(ClockStopped)));
    }

    #[test]
    fn it_is_woken_when_it_is_due_and_stays_ready() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let mut sleep = clock.sleep(SECOND);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        clock.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(
            (waker.wakes(), poll(&mut sleep, &waker)),
            (0, Poll::Pending)
        );
        clock.advance(Duration::from_nanos(1));
        assert_eq!(waker.wakes(), 1);
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
    }

    #[test]
    fn its_time_counts_from_the_request() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let mut sleep = clock.sleep(SECOND * 3);
        assert!(clock.timers().pending().is_empty());
        clock.advance(SECOND * 2);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        clock.advance(SECOND);
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
    }

    #[test]
    fn without_delay_a_sleep_waits_for_a_turn() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let mut sleep = clock.sleep(Duration::ZERO);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        clock.advance(Duration::ZERO);
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
    }

    #[test]
    fn only_the_last_waker_is_woken() {
        let clock = VirtualClock::new();
        let (first, second) = (Arc::default(), Arc::default());
        let mut sleep = clock.sleep(SECOND);
        assert_eq!(poll(&mut sleep, &first), Poll::Pending);
        assert_eq!(poll(&mut sleep, &second), Poll::Pending);
        assert_eq!(Arc::strong_count(&first), 1);
        clock.advance(SECOND);
        assert_eq!((first.wakes(), second.wakes()), (0, 1));
    }

    #[test]
    fn dropping_a_sleep_frees_its_entry() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let mut sleep = clock.sleep(SECOND);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        let pending = clock.timers().pending();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].0, "sleep");
        assert_eq!(pending[0].2.file(), file!());
        assert!(clock.delayed_calls().is_empty());
        drop(sleep);
        assert!(clock.timers().pending().is_empty());
        assert_eq!(Arc::strong_count(&waker), 1);
        clock.advance(SECOND);
        assert_eq!(waker.wakes(), 0);
    }

    #[test]
    fn it_can_be_reset_before_during_and_after() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let start = clock.now();
        let mut sleep = clock.sleep(SECOND);
        sleep.reset(start + SECOND * 2);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        sleep.reset(start + SECOND * 5);
        sleep.reset(start + SECOND * 4);
        assert_eq!(sleep.deadline(), start + SECOND * 4);
        clock.advance(SECOND * 3);
        assert_eq!(
            (waker.wakes(), poll(&mut sleep, &waker)),
            (0, Poll::Pending)
        );
        clock.advance(SECOND);
        // It has fired, but was not polled since.
        sleep.reset(start + SECOND * 6);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        clock.advance(SECOND * 2);
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
        sleep.reset(start + SECOND * 7);
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        clock.advance(SECOND);
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(Ok(())));
    }

    #[test]
    fn when_the_clock_stops_the_sleep_is_woken_and_fails() {
        let (clock, waker) = (VirtualClock::new(), Arc::default());
        let (mut fired, mut waiting, mut idle) = (
            clock.sleep(SECOND),
            clock.sleep(SECOND * 2),
            clock.sleep(SECOND),
        );
        assert_eq!(poll(&mut fired, &waker), Poll::Pending);
        clock.advance(SECOND);
        assert_eq!(poll(&mut waiting, &waker), Poll::Pending);
        assert_eq!(waker.wakes(), 1);
        drop(clock);
        assert_eq!(waker.wakes(), 2);
        assert_eq!(poll(&mut fired, &waker), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut waiting, &waker), Poll::Ready(Err(ClockStopped)));
        assert_eq!(poll(&mut idle, &waker), Poll::Ready(Err(ClockStopped)));
        waiting.reset(waiting.deadline());
        assert_eq!(poll(&mut waiting, &waker), Poll::Ready(Err(ClockStopped)));
        assert_eq!(ClockStopped.to_string(), "the clock has stopped");
    }

    #[test]
    fn it_can_be_moved_after_it_was_polled() {
        fn is_unpin<T: Unpin>(_: &T) {}
        is_unpin(&VirtualClock::new().sleep(SECOND));
    }
}
