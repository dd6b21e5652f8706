//! How many lines may be sent: [`Pace`].

use std::time::{Duration, Instant};

/// A limit: so many at once, then one in each period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    period: Duration,
    burst: u32,
    /// When all of the burst is allowed again.
    full_at: Option<Instant>,
}

impl Pace {
    /// Allows `burst` at once, at least one, and then one in each period.
    pub(super) fn new(burst: u32, period: Duration) -> Self {
        Self {
            period,
            burst: burst.max(1),
            full_at: None,
        }
    }

    /// Returns when the next one is allowed; `None` at once.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let ahead = self.period.saturating_mul(self.burst - 1);
        self.full_at.and_then(|full_at| full_at.checked_sub(ahead))
    }

    /// Counts one, if it is allowed now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_allowed = self.next_at().is_none_or(|next_at| next_at <= now);
        if is_allowed {
            let base = self.full_at.map_or(now, |full_at| full_at.max(now));
            self.full_at = base.checked_add(self.period);
        }
        is_allowed
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_at_once_and_then_one_in_each_period() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut pace = Pace::new(3, SECOND * 2);
        assert_eq!(
            [(); 4].map(|()| pace.take(start)),
            [true, true, true, false]
        );
        assert_eq!(pace.next_at(), Some(start + SECOND * 2));
        assert!(!pace.take(start + SECOND));
        assert!(pace.take(start + SECOND * 2) && !pace.take(start + SECOND * 3));
        let later = start + SECOND * 100;
        assert_eq!(
            [(); 4].map(|()| pace.take(later)),
            [true, true, true, false]
        );
    }
}
