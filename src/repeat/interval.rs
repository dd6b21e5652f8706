//! [`Interval`]: periodic ticks for `async` code.
//!
//! An [`Interval`] is a sleep that is set to the next point of its grid whenever it ends.
//!
//! # Invariants
//!
//! 1. A tick is never ready before its time, nor in the poll that begins to wait for it: a loop of
//!    ticks, however late or dense they are, gets one in each turn.
//! 2. The poll that returns a tick also moves to the next one: a tick is returned or still to come.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::stream::{FusedStream, Stream};

use crate::clock::{Clock, Sleep, Timers};
use crate::failure::Failure;

/// Makes an [`Interval`] that ticks at once, and then once every `period`.
///
/// [`Interval::starting_at`] sets another time for the first tick, and [`Interval::missed_ticks`]
/// sets what happens after missed ticks. To call a function periodically instead of waiting in
/// `async` code, use [`LoopingCall`](super::LoopingCall).
///
/// An interval with a period of zero ticks once in each turn.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::{Clock, interval, testing};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// testing::run(async |reactor| {
///     let start = reactor.now();
///     let mut ticks = interval(&reactor, SECOND);
///     assert_eq!(ticks.tick().await?, start);
///     reactor.sleep(SECOND / 2).await?; // some work
///     assert_eq!(ticks.tick().await?, start + SECOND);
///     assert_eq!(ticks.tick().await?, start + SECOND * 2);
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn interval(clock: &impl Clock, period: Duration) -> Interval {
    let timers = clock.timers().clone();
    Interval {
        sleep: timers.sleep_until(timers.now(), Location::caller()),
        timers,
        period,
        missed: MissedTicks::Burst,
        over: false,
    }
}

/// Periodic ticks to wait for; see [`interval`].
///
/// An interval is also a `Stream` of what [`tick`](Interval::tick) returns; an error is its last
/// item.
#[derive(Debug)]
#[must_use = "an interval does nothing unless its ticks are awaited"]
pub struct Interval {
    sleep: Sleep,
    timers: Timers,
    period: Duration,
    missed: MissedTicks,
    /// Whether the stream has returned its error.
    over: bool,
}

/// What an [`Interval`] does after ticks were missed because the code was busy.
///
/// For a period of 1 s, when the tick of 1 s is taken at 3.5 s:
///
/// | | the following ticks, if each is awaited at once |
/// |---|---|
/// | `Burst` | those of 2 s and 3 s at 3.5 s, then 4 s, 5 s |
/// | `Delay` | 4.5 s, 5.5 s |
/// | `Skip` | 4 s, 5 s |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTicks {
    /// Returns the missed ticks, one in each turn, until the interval is on time again. No tick is
    /// lost.
    #[default]
    Burst,
    /// Begins a new grid at the late tick, so that the next tick is a whole period away.
    ///
    /// A tick that is taken at most 5 ms late, and less than a period late, counts as on time: it
    /// does not begin a new grid.
    Delay,
    /// Skips the missed ticks; the next tick is the next point of the same grid.
    Skip,
}

impl Interval {
    /// Sets the time of the first tick: `interval(&clock, p).starting_at(clock.now() + p)` waits
    /// one period first.
    ///
    /// A start in the past is due at once, and the ticks since then count as missed.
    pub fn starting_at(mut self, start: Instant) -> Self {
        self.reset_at(start);
        self
    }

    /// Sets what happens after missed ticks; [`MissedTicks::Burst`] by default.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick, and returns the time at which it was due, which is not later than
    /// now.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: the tick is still to come.
    ///
    /// # Errors
    ///
    /// Fails with [`ClockStopped`](crate::clock::ClockStopped) when the clock has stopped, and at
    /// every later call.
    pub async fn tick(&mut self) -> Result<Instant, Failure> {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick as [`tick`](Interval::tick) does, for hand-written futures.
    ///
    /// # Errors
    ///
    /// Fails as [`tick`](Interval::tick) does.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Result<Instant, Failure>> {
        ready!(Pin::new(&mut self.sleep).poll(cx))?;
        let due = self.sleep.deadline();
        self.sleep.reset(self.after(due));
        Poll::Ready(Ok(due))
    }

    /// Sets the next tick to one period from now, and begins a new grid there.
    pub fn reset(&mut self) {
        self.reset_at(self.timers.later(self.timers.now(), self.period));
    }

    /// Sets the next tick to `instant`, and begins a new grid there.
    pub fn reset_at(&mut self, instant: Instant) {
        self.sleep.reset(instant);
    }

    /// Returns the time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns the time of the next tick.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// Returns the time of the tick after `due`, which is taken now.
    fn after(&self, due: Instant) -> Instant {
        let now = self.timers.now();
        if self.period.is_zero() {
            return now;
        }
        let late = now.saturating_duration_since(due);
        match self.missed {
            MissedTicks::Delay if late > TOLERANCE || late >= self.period => {
                self.timers.later(now, self.period)
            }
            MissedTicks::Skip => {
                let (_, into) = divide(late, self.period);
                self.timers.later(now, self.period - into)
            }
            MissedTicks::Burst | MissedTicks::Delay => self.timers.later(due, self.period),
        }
    }
}

impl Stream for Interval {
    type Item = Result<Instant, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let tick = ready!(self.poll_tick(cx));
        self.over = tick.is_err();
        Poll::Ready(Some(tick))
    }
}

/// The stream is terminated when it has returned its error.
impl FusedStream for Interval {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

/// Returns the number of whole periods in `elapsed`, and the rest. The period must not be zero.
pub(super) fn divide(elapsed: Duration, period: Duration) -> (u64, Duration) {
    let (elapsed, period) = (elapsed.as_nanos(), period.as_nanos());
    let whole = u64::try_from(elapsed / period).unwrap_or(u64::MAX);
    // The rest of a duration that a clock can represent fits.
    let left = u64::try_from(elapsed % period).unwrap_or(u64::MAX);
    (whole, Duration::from_nanos(left))
}

/// The lateness of a tick that still counts as on time.
const TOLERANCE: Duration = Duration::from_millis(5);
