//! Limits of time that begin anew with each step of a connection: [`LimitTimer`].

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::clock::{Clock, DelayedCall};
use crate::reactor::Reactor;

/// The beginning of a time, and its limit.
pub(super) type Limit = Option<(Instant, Duration)>;

/// A timer for limits of time. It is not moved when they are, but looks at them again when it has
/// fired; so a step costs no timer.
#[derive(Default)]
pub(super) struct LimitTimer(Cell<Option<DelayedCall>>);

impl LimitTimer {
    /// Returns a limit that has passed. If there is none, `look` is called when the first one may
    /// have, or earlier.
    pub(super) fn passed(
        &self,
        limits: &[Limit],
        reactor: &Reactor,
        look: impl FnOnce() + 'static,
    ) -> Limit {
        let now = reactor.now();
        let left = |(since, limit): (_, Duration)| {
            limit.saturating_sub(now.saturating_duration_since(since))
        };
        let first = *limits.iter().flatten().min_by_key(|limit| left(**limit))?;
        let left = left(first);
        if left.is_zero() {
            return Some(first);
        }
        let timer = self.0.take();
        let is_set = timer.as_ref().is_some_and(|timer| {
            let is_early = |at: Instant| at.saturating_duration_since(now) <= left;
            timer.deadline().is_some_and(is_early) || timer.reset(left)
        });
        let set = || Some(reactor.limit(left, look));
        self.0.set(timer.filter(|_| is_set).or_else(set));
        None
    }

    pub(super) fn stop(&self) {
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
