//! A grid of times for `async` code.
//!
//! An [`Interval`] is a sleep that is set to the next point of its grid whenever it ends.
//!
//! # Invariants
//!
//! 1. A tick is never ready before its time, nor in the poll that begins to wait for it: a loop of ticks, however late
//!    or dense they are, gets one a turn.
//! 2. It moves on to the next tick in the very poll that gives one: a tick is given or it is still to come.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::stream::{FusedStream, Stream};

use crate::clock::{Clock, Sleep, Timers};
use crate::failure::Failure;

/// Ticks at once, and then once every `period`.
///
/// For a first tick at another time there is [`Interval::starting_at`], for what happens to ticks that come too late
/// [`Interval::missed_ticks`]. To have a function called, rather than to wait in `async` code, use
/// [`LoopingCall`](super::LoopingCall).
///
/// With a period of zero it ticks once a turn.
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
#[doc(alias("setInterval", "ticker", "tokio::time::interval", "interval_at"))]
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

/// Ticks once every period, for who asks; see [`interval`].
///
/// It is a `Stream` as well, of what [`tick`](Interval::tick) gives; an error is the last thing in it.
#[derive(Debug)]
#[must_use = "an interval does nothing unless it is asked for its ticks"]
pub struct Interval {
    sleep: Sleep,
    timers: Timers,
    period: Duration,
    missed: MissedTicks,
    /// The stream has given its error.
    over: bool,
}

/// What an [`Interval`] does when ticks have come and nobody took them.
///
/// For a period of 1 s, of which the tick at 1 s is taken at 3.5 s because somebody was busy:
///
/// | | the ticks that follow, asked for at once |
/// |---|---|
/// | `Burst` | those of 2 s and 3 s at 3.5 s, 4 s, 5 s |
/// | `Delay` | 4.5 s, 5.5 s |
/// | `Skip` | 4 s, 5 s |
#[doc(alias = "MissedTickBehavior")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTicks {
    /// They are made up for, one a turn, until the interval is on time again. None is lost.
    #[default]
    Burst,
    /// The grid begins anew at the tick that came late, so that the next one is a whole period away.
    ///
    /// A tick counts as late when it is more than 5 ms late, or a whole period: less is what timers are late by.
    Delay,
    /// They are left out; the next tick is the next point of the same grid.
    Skip,
}

impl Interval {
    /// The same, with the first tick at `start`: `interval(&clock, p).starting_at(clock.now() + p)` waits a period
    /// first.
    ///
    /// A start that has passed is due at once, and the ticks since then count as missed.
    pub fn starting_at(mut self, start: Instant) -> Self {
        self.reset_at(start);
        self
    }

    /// The same, with something else than [`MissedTicks::Burst`] done about ticks that were missed.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick; gives the time it was due at, which is not later than now.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped: the tick is still to come.
    ///
    /// # Errors
    ///
    /// [`ClockStopped`](crate::clock::ClockStopped), from then on each time.
    pub async fn tick(&mut self) -> Result<Instant, Failure> {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`tick`](Interval::tick), for futures written by hand.
    ///
    /// # Errors
    ///
    /// As [`tick`](Interval::tick).
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Result<Instant, Failure>> {
        ready!(Pin::new(&mut self.sleep).poll(cx))?;
        let due = self.sleep.deadline();
        self.sleep.reset(self.after(due));
        Poll::Ready(Ok(due))
    }

    /// Makes the next tick come a period from now, and the others on a grid with that.
    pub fn reset(&mut self) {
        self.reset_at(self.timers.later(self.timers.now(), self.period));
    }

    /// Makes the next tick come at `instant`, and the others on a grid with that.
    pub fn reset_at(&mut self, instant: Instant) {
        self.sleep.reset(instant);
    }

    /// The time from tick to tick.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// When the next one is due after that of `due`, which is taken now.
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

/// It is terminated when it has given its error.
impl FusedStream for Interval {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

/// How many whole periods there are in `elapsed`, and what is left over. A period is not zero.
pub(super) fn divide(elapsed: Duration, period: Duration) -> (u64, Duration) {
    let (elapsed, period) = (elapsed.as_nanos(), period.as_nanos());
    let whole = u64::try_from(elapsed / period).unwrap_or(u64::MAX);
    // What is left of a time that a clock can show is as short as that.
    let left = u64::try_from(elapsed % period).unwrap_or(u64::MAX);
    (whole, Duration::from_nanos(left))
}

/// What does not count as late.
const TOLERANCE: Duration = Duration::from_millis(5);
