//! Rate limits: a token bucket for each direction.
//!
//! A bucket fills at its rate up to an eighth of a second's worth, and each byte takes a token out
//! (J. Turner, "New directions in communications", IEEE Communications Magazine 24, 1986). Over any
//! time `t` no more than `rate * (t + 1/8 s)` bytes pass.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Limits of the number of bytes that a connection, or all connections of a port together, receive
/// and send. After a pause, at most an eighth of a second's bytes may pass at once.
///
/// # Examples
///
/// ```
/// use torsade::net::ListenOptions;
/// use torsade::transport::RateLimits;
///
/// let each = RateLimits { read: Some(64 * 1024), write: None };
/// let total = RateLimits { read: Some(1 << 20), write: Some(10 << 20) };
/// let options = ListenOptions::new().rate_limits(each).total_rate_limits(total);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// The largest number of bytes that are received each second; `None` means no limit, the
    /// default.
    #[doc(alias = "readLimit")]
    pub read: Option<u32>,
    /// The largest number of bytes that are sent each second; `None` means no limit, the default.
    #[doc(alias = "writeLimit")]
    pub write: Option<u32>,
}

impl RateLimits {
    pub(in crate::transport) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Direction {
    Read = 0,
    Write = 1,
}

/// The buckets of both directions; `None` where there is no limit.
#[derive(Debug)]
pub(in crate::transport) struct Buckets {
    read: Option<Bucket>,
    write: Option<Bucket>,
}

/// A bucket of tokens, each of which is one byte.
#[derive(Debug)]
struct Bucket {
    /// Tokens a second.
    rate: u64,
    /// Below zero where more was spent than there was.
    tokens: Cell<i64>,
    /// The time up to which the tokens were added.
    filled: Cell<Instant>,
}

impl Buckets {
    pub(in crate::transport) fn new(limits: RateLimits, now: Instant) -> Self {
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(rate, now));
        Self {
            read: bucket(limits.read),
            write: bucket(limits.write),
        }
    }

    fn of(&self, direction: Direction) -> Option<&Bucket> {
        match direction {
            Direction::Read => self.read.as_ref(),
            Direction::Write => self.write.as_ref(),
        }
    }

    /// Returns how many bytes may pass now; none while less than half of the bucket has been filled
    /// since it was empty, so that a slow connection does not move byte by byte.
    pub(in crate::transport) fn allowance(&self, direction: Direction, now: Instant) -> usize {
        self.of(direction)
            .map_or(usize::MAX, |bucket| bucket.allowance(now))
    }

    pub(in crate::transport) fn spend(&self, direction: Direction, count: usize) {
        if let Some(bucket) = self.of(direction) {
            bucket.tokens.set(bucket.tokens.get() - count as i64);
        }
    }

    /// Returns how long it takes until bytes may pass.
    pub(in crate::transport) fn wait(&self, direction: Direction, now: Instant) -> Duration {
        self.of(direction)
            .map_or(Duration::ZERO, |bucket| bucket.wait(now))
    }
}

/// The limits for several connections together. Those that have to wait get their shares in the
/// order in which they began to wait.
#[derive(Debug)]
pub(in crate::transport) struct Total {
    buckets: Buckets,
    /// The keys of the connections that wait, for each direction.
    waiting: [RefCell<VecDeque<usize>>; 2],
}

impl Total {
    pub(in crate::transport) fn new(limits: RateLimits, now: Instant) -> Self {
        Self {
            buckets: Buckets::new(limits, now),
            waiting: Default::default(),
        }
    }

    /// Takes a share out of the bucket for a connection, and returns how many bytes it is. Returns
    /// none if the connection has to wait, which it does from now on.
    pub(in crate::transport) fn grant(
        &self,
        direction: Direction,
        key: usize,
        now: Instant,
    ) -> usize {
        let Some(bucket) = self.buckets.of(direction) else {
            return usize::MAX;
        };
        let mut waiting = self.waiting[direction as usize].borrow_mut();
        let position = waiting.iter().position(|other| *other == key);
        if position != Some(0) && !waiting.is_empty() || bucket.allowance(now) == 0 {
            if position.is_none() {
                waiting.push_back(key);
            }
            return 0;
        }
        if position.is_some() {
            waiting.pop_front();
        }
        let share = bucket.allowance(now).min(bucket.share());
        bucket.tokens.set(bucket.tokens.get() - share as i64);
        share
    }

    /// Returns how long it takes until it is a connection's turn.
    pub(in crate::transport) fn wait(
        &self,
        direction: Direction,
        key: usize,
        now: Instant,
    ) -> Duration {
        let Some(bucket) = self.buckets.of(direction) else {
            return Duration::ZERO;
        };
        let waiting = self.waiting[direction as usize].borrow();
        match waiting.iter().position(|other| *other == key) {
            Some(position) => {
                let before = position.saturating_mul(bucket.share());
                bucket.wait(now) + bucket.time_of(before as u64)
            }
            None => Duration::ZERO,
        }
    }

    /// Removes a connection that waits no longer.
    pub(in crate::transport) fn forget(&self, key: usize) {
        for waiting in &self.waiting {
            waiting.borrow_mut().retain(|other| *other != key);
        }
    }
}

impl Bucket {
    fn new(rate: u32, now: Instant) -> Self {
        let rate = u64::from(rate.max(1));
        let bucket = Self {
            rate,
            tokens: Cell::new(0),
            filled: Cell::new(now),
        };
        bucket.tokens.set(bucket.capacity());
        bucket
    }

    /// Returns the number of tokens of a full bucket.
    fn capacity(&self) -> i64 {
        (self.rate / 8).max(1) as i64
    }

    /// Returns the largest number of bytes that one of several connections gets at once.
    fn share(&self) -> usize {
        (self.capacity() / 4).max(1) as usize
    }

    /// Returns the least number of tokens with which bytes pass.
    fn least(&self) -> i64 {
        (self.capacity() / 2).clamp(1, 16 * 1024)
    }

    fn fill(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled.get());
        let added = elapsed.as_nanos().saturating_mul(self.rate.into()) / NANOS;
        let added = added.min(1 << 40) as u64;
        if added > 0 {
            let tokens = self.tokens.get().saturating_add(added as i64);
            self.tokens.set(tokens.min(self.capacity()));
            // The rest of the time counts for the next token.
            self.filled.set(match tokens < self.capacity() {
                true => self.filled.get() + self.time_of(added),
                false => now,
            });
        }
    }

    /// Returns how long it takes to add so many tokens, rounded down.
    fn time_of(&self, tokens: u64) -> Duration {
        Duration::from_nanos((u128::from(tokens) * NANOS / u128::from(self.rate)) as u64)
    }

    fn allowance(&self, now: Instant) -> usize {
        self.fill(now);
        match self.tokens.get() {
            tokens if tokens >= self.least() => tokens as usize,
            _ => 0,
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        self.fill(now);
        let missing = self.least() - self.tokens.get();
        match u64::try_from(missing) {
            Ok(missing @ 1..) => {
                let ready = self.filled.get() + self.time_of(missing) + Duration::from_nanos(1);
                ready.saturating_duration_since(now)
            }
            _ => Duration::ZERO,
        }
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_passes_than_the_rate_and_one_bucket() {
        let start = Instant::now();
        for rate in [1, 7, 100, 4_000, 1_000_000, u32::MAX] {
            let limits = RateLimits {
                read: Some(rate),
                write: None,
            };
            let buckets = Buckets::new(limits, start);
            let (mut now, mut passed) = (start, 0_u128);
            for _ in 0..1_000 {
                let count = buckets.allowance(Direction::Read, now);
                buckets.spend(Direction::Read, count);
                passed += count as u128;
                let wait = buckets.wait(Direction::Read, now);
                assert!(count == 0 || wait > Duration::ZERO, "rate {rate}");
                now += wait;
                assert!(buckets.allowance(Direction::Read, now) > 0, "rate {rate}");
            }
            let most = (now - start).as_nanos() * u128::from(rate) / NANOS;
            let burst = u128::from((rate / 8).max(1));
            assert!(passed <= most + burst + 1, "rate {rate}: {passed}");
            assert!(
                passed + 2 * burst + 2 >= most,
                "rate {rate}: {passed} of {most}"
            );
            assert_eq!(buckets.allowance(Direction::Write, now), usize::MAX);
        }
    }
}
