//! How long one may go on before the others get their turn.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Timers};
use crate::task::yield_now;

/// How long something may go on before it lets the loop turn: a time, and a number of steps.
///
/// A slice is over when either is used up, and has at least one step. The time is measured where the clock's time
/// passes by itself; on a virtual clock only the steps count, so that what is done in a slice is always the same.
/// There, too, work without end needs a rest, or time will never move: something is always ready.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::repeat::Slice;
/// let modest = Slice { steps: 10, rest: Duration::from_millis(50), ..Slice::default() };
/// assert_eq!(modest.time, Duration::from_millis(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The most time; 10 ms unless told otherwise.
    pub time: Duration,
    /// The most steps; 1,000 unless told otherwise.
    pub steps: u32,
    /// How long to wait until the next slice; zero unless told otherwise: until the next turn.
    pub rest: Duration,
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(10),
            steps: 1_000,
            rest: Duration::ZERO,
        }
    }
}

/// Keeps a long loop in `async` code from holding up everybody else.
///
/// It lets the loop turn whenever a [`Slice`] is over, and costs next to nothing otherwise. To
/// give way every time there is [`yield_now`].
///
/// # Examples
///
/// ```
/// # use std::{cell::Cell, rc::Rc};
/// use torsade::repeat::Pace;
/// # use torsade::testing;
///
/// testing::run(async |reactor| {
/// #   let seen = Rc::new(Cell::new(0));
/// #   let note = seen.clone();
///     let sum = reactor.spawn({
///         let mut pace = Pace::new(&reactor);
///         async move {
///             let mut sum = 0;
///             for n in 0..10_000 {
///                 sum += n;
/// #               note.set(n);
///                 pace.step().await;
///             }
///             sum
///         }
///     });
/// #   torsade::yield_now().await;
/// #   assert_eq!(seen.get(), 999);
///     assert_eq!(sum.await?, 49_995_000); // and others had ten turns meanwhile
///     Ok(())
/// });
/// ```
#[doc(alias("coiterate", "consume_budget", "unconstrained"))]
pub struct Pace {
    timers: Timers,
    slice: Slice,
    spell: Spell,
    location: &'static Location<'static>,
}

impl Pace {
    /// One that keeps to the usual [`Slice`].
    #[track_caller]
    pub fn new(clock: &impl Clock) -> Self {
        Self::with_slice(clock, Slice::default())
    }

    /// One that keeps to this slice.
    #[track_caller]
    pub fn with_slice(clock: &impl Clock, slice: Slice) -> Self {
        let timers = clock.timers().clone();
        Self {
            spell: Spell::begin(&timers),
            timers,
            slice,
            location: Location::caller(),
        }
    }

    /// A step was done: if the slice is over, others come first.
    ///
    /// On a clock that has stopped there is no rest, only a turn of the loop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn step(&mut self) {
        if !self.spell.is_over_after_step(&self.timers, self.slice) {
            return;
        }
        if self.slice.rest.is_zero() {
            yield_now().await;
        } else {
            let rested = self.timers.later(self.timers.now(), self.slice.rest);
            let rest = self.timers.sleep_until(rested, self.location).await;
            if rest.is_err() {
                yield_now().await;
            }
        }
        self.spell = Spell::begin(&self.timers);
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("slice", &self.slice)
            .field("steps", &self.spell.steps)
            .finish_non_exhaustive()
    }
}

/// A slice that has begun.
pub(super) struct Spell {
    begun: Instant,
    steps: u32,
}

impl Spell {
    pub(super) fn begin(timers: &Timers) -> Self {
        Self {
            begun: timers.now(),
            steps: 0,
        }
    }

    /// Counts a step; is the slice over now?
    pub(super) fn is_over_after_step(&mut self, timers: &Timers, slice: Slice) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.steps >= slice.steps || timers.now().duration_since(self.begun) >= slice.time
    }
}
