//! A timer for limits of time that often begin anew: [`LimitTimer`].

use std::cell::Cell;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::{Clock, DelayedCall};

/// The beginning of a time, and its limit.
#[cfg(feature = "http")]
pub(crate) type Limit = Option<(Instant, Duration)>;

/// A timer for limits of time that often begin anew. It is not moved when they do, but fires too
/// early then, and its owner looks at the limits again; so what they begin with costs no timer.
#[derive(Default)]
pub(crate) struct LimitTimer(Cell<Option<DelayedCall>>);

impl LimitTimer {
    /// Returns a limit that has passed. If there is none, `look` is called when the first one may
    /// have, or earlier.
    #[cfg(feature = "http")]
    pub(crate) fn passed(
        &self,
        limits: &[Limit],
        clock: &impl Clock,
        look: impl FnOnce() + 'static,
    ) -> Limit {
        let now = clock.now();
        let left = |(since, limit): (_, Duration)| {
            limit.saturating_sub(now.saturating_duration_since(since))
        };
        let first = *limits.iter().flatten().min_by_key(|limit| left(**limit))?;
        if left(first).is_zero() {
            return Some(first);
        }
        self.within(left(first), clock, look);
        None
    }

    /// Has `look` called after this time, unless the timer is set to an earlier one. Runs no user
    /// code.
    #[track_caller]
    pub(crate) fn within(&self, time: Duration, clock: &impl Clock, look: impl FnOnce() + 'static) {
        let (now, location) = (clock.now(), Location::caller());
        let timer = self.0.take();
        let is_set = timer.as_ref().is_some_and(|timer| {
            let is_early = |at: Instant| at.saturating_duration_since(now) <= time;
            timer.deadline().is_some_and(is_early) || timer.reset(time)
        });
        let limit = || clock.timers().limit(time, location, look);
        let timer = timer.filter(|_| is_set).unwrap_or_else(limit);
        self.0.set(Some(timer));
    }

    pub(crate) fn stop(&self) {
        if let Some(timer) = self.0.take() {
            timer.cancel();
        }
    }
}

impl Drop for LimitTimer {
    fn drop(&mut self) {
        self.stop();
    }
}
