//! [`Slice`] and [`Pace`]: limits on how long work runs before the loop turns.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Timers};
use crate::task::yield_now;

/// A limit on how long work runs before it lets the loop turn: a time, and a number of steps.
///
/// A slice ends when either is used up, and has at least one step. The time is measured on clocks
/// whose time passes by itself; on a virtual clock only the steps count, so that a slice always
/// does the same. On a virtual clock, endless work needs a `rest`, or time never moves, because
/// something is always ready.
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
    /// The maximum time; 10 ms by default.
    pub time: Duration,
    /// The maximum number of steps; 1,000 by default.
    pub steps: u32,
    /// The time to wait until the next slice; zero by default, which is the next turn.
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

/// Interrupts a long loop in `async` code, so that other work gets its turn.
///
/// A pace lets other code run whenever a [`Slice`] is over, and costs next to nothing otherwise.
/// [`yield_now`] lets other code run at every call.
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
pub struct Pace {
    timers: Timers,
    slice: Slice,
    spell: SliceMeter,
    location: &'static Location<'static>,
}

impl Pace {
    /// Makes a pace with the default [`Slice`].
    #[track_caller]
    pub fn new(clock: &impl Clock) -> Self {
        Self::with_slice(clock, Slice::default())
    }

    /// Makes a pace with this slice.
    #[track_caller]
    pub fn with_slice(clock: &impl Clock, slice: Slice) -> Self {
        let timers = clock.timers().clone();
        Self {
            spell: SliceMeter::begin(&timers),
            timers,
            slice,
            location: Location::caller(),
        }
    }

    /// Counts a step. If the slice is over, lets other code run, and waits for the slice's
    /// [`rest`](Slice::rest).
    ///
    /// On a clock that has stopped, lets other code run without a rest.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
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
        self.spell = SliceMeter::begin(&self.timers);
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
pub(super) struct SliceMeter {
    begun: Instant,
    steps: u32,
}

impl SliceMeter {
    pub(super) fn begin(timers: &Timers) -> Self {
        Self {
            begun: timers.now(),
            steps: 0,
        }
    }

    /// Counts a step, and returns whether the slice is over.
    pub(super) fn is_over_after_step(&mut self, timers: &Timers, slice: Slice) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.steps >= slice.steps || timers.now().duration_since(self.begun) >= slice.time
    }
}
