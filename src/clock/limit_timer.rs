//! A timer for limits of time that often begin anew: [`LimitTimer`].

use std::cell::Cell;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::timers::Timers;
use super::{Clock, DelayedCall};

/// The beginning of a time, and its limit.
#[cfg(feature = "http")]
pub(crate) type Limit = Option<(Instant, Duration)>;

/// A timer for limits of time that often begin anew. It is not moved when they do, but fires too
/// early then, and its owner looks at the limits again; so what they begin with costs no timer.
#[derive(Default)]
pub(crate) struct LimitTimer(Cell<Option<DelayedCall>>);

impl LimitTimer {
    /// Returns a limit that had passed when the time was last read. If there is none, `look` is
    /// called when the first one may have passed, or earlier.
    #[cfg(feature = "http")]
    pub(crate) fn passed(
        &self,
        limits: &[Limit],
        clock: &impl Clock,
        look: impl FnOnce() + 'static,
    ) -> Limit {
        let timers = clock.timers();
        let limits = limits.iter().copied().flatten();
        let all = limits.map(|(since, limit)| (timers.later(since, limit), (since, limit)));
        let (at, first) = all.min_by_key(|(at, _)| *at)?;
        if timers.has_come(at) {
            return Some(first);
        }
        self.by(at, timers, look);
        None
    }

    /// Has `look` called after this time, unless the timer is set to an earlier one. Runs no user
    /// code.
    #[track_caller]
    pub(crate) fn within(&self, time: Duration, clock: &impl Clock, look: impl FnOnce() + 'static) {
        let timers = clock.timers();
        self.by(timers.later(clock.now(), time), timers, look);
    }

    /// Has `look` called at this time, unless the timer is set to an earlier one.
    #[track_caller]
    fn by(&self, at: Instant, timers: &Timers, look: impl FnOnce() + 'static) {
        let location = Location::caller();
        let timer = self.0.take();
        let is_set = timer.as_ref().is_some_and(|timer| {
            let is_early = |set: Instant| set <= at;
            timer.deadline().is_some_and(is_early) || timer.reset_at(at)
        });
        let limit = || DelayedCall::request_limit(timers, at, Box::new(look), location);
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
