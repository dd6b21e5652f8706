//! Before a reactor ends: the connections that were told to end may write what they still have.
//!
//! A program that writes its last words and returns expects them to arrive. So, when the triggers *before* the
//! shutdown are done, the loop goes on turning while connections that are ending have something queued, for
//! [`GRACE`] at most.

use std::cell::Cell;
use std::time::Duration;

use super::{Inner, Reactor};
use crate::clock::DelayedCall;
use crate::defer::{Deferred, Resolver};

/// Who waits for the last bytes.
#[derive(Default)]
pub(super) struct Drain(Cell<Option<(Resolver<()>, DelayedCall)>>);

impl Reactor {
    /// Fires when no connection that is ending has anything queued, or the time for that is over.
    pub(super) fn drained(&self) -> Deferred<()> {
        self.inner().attend_all(self);
        if !self.inner().is_draining() {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        let weak = self.downgrade();
        let limit = self.limit(GRACE, move || {
            if let Some(reactor) = weak.upgrade() {
                reactor.inner().drain.finish();
            }
        });
        self.inner().drain.0.set(Some((resolver, limit)));
        deferred
    }
}

impl Inner {
    /// Looks whether the last bytes have left, if somebody waits for that.
    pub(super) fn look_at_drain(&self) {
        let waiting = self.drain.0.take();
        let waits = waiting.is_some();
        self.drain.0.set(waiting);
        if waits && !self.is_draining() {
            self.drain.finish();
        }
    }

    fn is_draining(&self) -> bool {
        self.sources
            .borrow()
            .iter()
            .any(|(_, source)| source.is_draining())
    }
}

impl Drain {
    fn finish(&self) {
        let waiting = self.0.take();
        if let Some((resolver, limit)) = waiting {
            limit.cancel();
            resolver.callback(());
        }
    }
}

/// How long the last bytes may take.
const GRACE: Duration = Duration::from_millis(500);
