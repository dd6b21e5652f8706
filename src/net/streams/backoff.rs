//! The delays between retries: the policy, [`Backoff`], and the count of those made under it,
//! [`Retry`].

use std::cell::Cell;
use std::time::Duration;

use crate::reactor::Reactor;
use crate::settings::settings;

settings! {
/// A policy of growing delays between retries. A random part (jitter) is added to each delay, so
/// that the clients of a server do not all reconnect at the same moment.
///
/// The n-th consecutive delay is `initial * factor^(n - 1)`, at most `max_delay`, plus a random
/// part of `jitter`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::Backoff;
///
/// let policy = Backoff::new().initial(Duration::from_secs(1)).factor(2.0).jitter(Duration::ZERO);
/// let waits: Vec<u64> = (1..=8).map(|n| policy.delay_with(n, 0.5).as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Backoff of Backoff, |backoff| backoff;

    /// Sets the first delay. Default: 1.5 seconds.
    #[doc(alias = "initialDelay")]
    initial: Duration = Duration::from_millis(1500), Duration => initial;

    /// Sets the factor from one delay to the next. A factor less than 1, or NaN, counts as 1.
    /// Default: 1.5.
    factor: f64 = 1.5, f64 => if factor >= 1.0 { factor } else { 1.0 };

    /// Sets the longest delay, not counting the jitter. Default: 60 seconds.
    #[doc(alias = "maxDelay")]
    max_delay: Duration = Duration::from_secs(60), Duration => max_delay;

    /// Sets the largest random part of a delay. Default: 1 second.
    jitter: Duration = Duration::from_secs(1), Duration => jitter;
}

impl Backoff {
    /// Creates Twisted's policy: 1.5 seconds at first, a factor of 1.5, at most a minute, and up to
    /// a second of jitter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the delay after `failures` consecutive failures, with a jitter from the reactor's
    /// random numbers. Those of an in-memory reactor come from its seed.
    ///
    /// # Examples
    ///
    /// A period that varies by a quarter, so that many programs do not act at the same time:
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::Reactor;
    /// use torsade::net::Backoff;
    ///
    /// let reactor = Reactor::in_memory()?;
    /// let period = Duration::from_secs(30);
    /// let backoff = Backoff::new().initial(period * 3 / 4).jitter(period / 4);
    /// let delay = backoff.delay(1, &reactor);
    /// assert!(delay >= period * 3 / 4 && delay <= period);
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    pub fn delay(&self, failures: u32, reactor: &Reactor) -> Duration {
        self.delay_with(failures, reactor.inner().rng().fraction())
    }

    /// Returns the delay after `failures` consecutive failures, with this `fraction` of the
    /// largest jitter: 0 adds none, 1 all of it. [`delay`](Self::delay) takes a random fraction.
    pub fn delay_with(&self, failures: u32, fraction: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // Written so that an infinite value or NaN takes the longest delay.
        let wait = if seconds < self.max_delay.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max_delay
        };
        // A fraction of the longest possible duration may be rounded up past it.
        let jitter = self.jitter.as_secs_f64() * fraction.clamp(0.0, 1.0);
        let jitter = Duration::try_from_secs_f64(jitter).unwrap_or(self.jitter);
        wait.saturating_add(jitter)
    }
}

/// The consecutive retries under a policy.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    pub(crate) policy: Cell<Backoff>,
    /// The largest `count`.
    pub(crate) most: Cell<Option<u32>>,
    /// The number of retries since the last success.
    pub(crate) count: Cell<u32>,
}

impl Retry {
    /// Counts a retry and returns the delay before it; `None` if there were as many as there may
    /// be.
    pub(crate) fn next(&self, reactor: &Reactor) -> Option<Duration> {
        let count = self.count.get();
        if self.most.get().is_some_and(|most| count >= most) {
            return None;
        }
        let count = count.saturating_add(1);
        self.count.set(count);
        Some(self.policy.get().delay(count, reactor))
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_twisteds() {
        let waits: Vec<u128> = [1, 2, 3, 9, 10, 11, 1000]
            .into_iter()
            .map(|failures| Backoff::new().delay_with(failures, 0.0).as_millis())
            .collect();
        assert_eq!(waits, [1500, 2250, 3375, 38_443, 57_665, 60_000, 60_000]);
        let most = Backoff::new().delay_with(1, 1.0);
        assert_eq!(most, Duration::from_millis(2500));
    }

    #[test]
    fn no_policy_and_no_number_of_failures_brings_a_wait_out_of_its_bounds() {
        let max_delay = Duration::from_secs(60);
        for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 1.5, 1e300] {
            for failures in [0, 1, 2, 100, u32::MAX] {
                let most = Backoff::new().factor(factor).jitter(Duration::MAX);
                assert_eq!(most.delay_with(failures, 1.0), Duration::MAX);
                for initial in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                    let policy = Backoff::new().initial(initial).factor(factor);
                    let (least, most) = (
                        policy.delay_with(failures, 0.0),
                        policy.delay_with(failures, 1.0),
                    );
                    assert!(least <= max_delay, "{policy:?} {failures} {least:?}");
                    assert_eq!(most - least, Duration::from_secs(1));
                }
            }
        }
    }
}
