//! A budget of bytes for all connections of a reactor together.
//!
//! # Invariants
//!
//! 1. `used` is the sum of the bytes that all counted sources hold
//!    ([`Handler::held`](super::Handler::held)).
//! 2. Without a limit nothing is counted.
//! 3. No connection is ended inside a handle's method: the loop does it, before it waits.

use std::cell::Cell;

use super::{Inner, Reactor, ReactorError};
use crate::failure::Failure;
use crate::index;

/// The number of bytes that all connections of a reactor hold together, and its limit.
#[derive(Default)]
pub(super) struct Budget {
    pub(super) limit: Cell<Option<usize>>,
    used: Cell<usize>,
}

impl Inner {
    /// Returns how many bytes all connections hold together: 0 without a budget, for then they are
    /// not counted.
    pub(super) fn buffered(&self) -> usize {
        self.budget.used.get()
    }

    /// Returns whether the bytes that connections hold are counted.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget.limit.get().is_some()
    }

    /// Records that a connection that held `old` bytes now holds `new` bytes.
    pub(crate) fn recount(&self, old: usize, new: usize) {
        let used = self.budget.used.get() + new;
        self.budget.used.set(used.saturating_sub(old));
    }

    /// Resets the connections that hold the most, until the others are within the budget.
    pub(super) fn keep_within_budget(&self, reactor: &Reactor) {
        let used = self.budget.used.get();
        let Some(limit) = self.budget.limit.get().filter(|limit| used > *limit) else {
            return;
        };
        let mut holders: Vec<_> = self
            .all_handlers()
            .into_iter()
            .map(|(key, source)| (source.held(), key, source))
            .filter(|(held, ..)| *held > 0)
            .collect();
        // The largest first, and of equals the lowest key.
        index::sort(&mut holders, |(held, key, _)| {
            ((!*held as u128) << 64) | *key as u128
        });
        let mut left = used;
        for (held, _, source) in holders {
            if left <= limit {
                break;
            }
            left = left.saturating_sub(held);
            let over = ReactorError::OverBudget { held, used, limit };
            source.break_with(Failure::at(over, source.location()));
        }
        self.attend_all(reactor);
    }
}
