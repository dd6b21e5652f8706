//! How long to wait before trying again.

use std::time::Duration;

/// A policy for retries: each wait is longer than the one before by a factor, up to a longest, and has something of chance
/// added, so that many clients of one server do not all come back in the same moment.
///
/// The n-th wait in a row takes `initial * factor^(n - 1)`, at most `longest`, and then up to `jitter` more.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::net::Backoff;
///
/// let policy = Backoff::new().initial(Duration::from_secs(1)).factor(2.0).jitter(Duration::ZERO);
/// let waits: Vec<u64> = (1..=8).map(|n| policy.wait(n, 0.5).as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
/// ```
#[doc(alias("backoffPolicy", "retryPolicy"))]
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Backoff {
    initial: Duration,
    factor: f64,
    max_delay: Duration,
    jitter: Duration,
}

impl Backoff {
    /// Twisted's: 1.5 seconds, half as much again each time, a minute at most, and up to a second more.
    pub fn new() -> Self {
        Self {
            initial: Duration::from_millis(1500),
            factor: 1.5,
            max_delay: Duration::from_secs(60),
            jitter: Duration::from_secs(1),
        }
    }

    /// The first wait.
    #[doc(alias = "initialDelay")]
    pub fn initial(mut self, wait: Duration) -> Self {
        self.initial = wait;
        self
    }

    /// How much longer each wait is than the one before. What is less than 1, or no number, counts as 1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = if factor >= 1.0 { factor } else { 1.0 };
        self
    }

    /// No wait is longer, but for the jitter.
    #[doc(alias = "maxDelay")]
    pub fn max_delay(mut self, wait: Duration) -> Self {
        self.max_delay = wait;
        self
    }

    /// How much chance adds at most.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The wait after `failures` in a row; `chance` lies between 0 and 1.
    pub fn wait(&self, failures: u32, rng: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // Written so that what is infinite or no number at all takes the longest.
        let wait = if seconds < self.max_delay.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max_delay
        };
        // A part of the longest duration there is may round up to more than that.
        let jitter = self.jitter.as_secs_f64() * rng.clamp(0.0, 1.0);
        let jitter = Duration::try_from_secs_f64(jitter).unwrap_or(self.jitter);
        wait.saturating_add(jitter)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_twisteds() {
        let waits: Vec<u128> = [1, 2, 3, 9, 10, 11, 1000]
            .into_iter()
            .map(|failures| Backoff::new().wait(failures, 0.0).as_millis())
            .collect();
        assert_eq!(waits, [1500, 2250, 3375, 38_443, 57_665, 60_000, 60_000]);
        let most = Backoff::new().wait(1, 1.0);
        assert_eq!(most, Duration::from_millis(2500));
    }

    #[test]
    fn no_policy_and_no_number_of_failures_brings_a_wait_out_of_its_bounds() {
        let max_delay = Duration::from_secs(60);
        for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 1.5, 1e300] {
            for failures in [0, 1, 2, 100, u32::MAX] {
                let most = Backoff::new().factor(factor).jitter(Duration::MAX);
                assert_eq!(most.wait(failures, 1.0), Duration::MAX);
                for initial in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                    let policy = Backoff::new().initial(initial).factor(factor);
                    let (least, most) = (policy.wait(failures, 0.0), policy.wait(failures, 1.0));
                    assert!(least <= max_delay, "{policy:?} {failures} {least:?}");
                    assert_eq!(most - least, Duration::from_secs(1));
                }
            }
        }
    }
}
