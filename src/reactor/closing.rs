//! Closes everything a reactor has, when its run or the reactor itself ends.
//!
//! # Invariants
//!
//! 1. Every source refuses further data before the first one leaves. So what the last hooks of one
//!    connection write to another (a chat that announces a departure) is never accepted, and is not
//!    reported as a loss.
//! 2. After [`Inner::shut_down`] nothing of the reactor is alive, and nothing new is accepted.

use std::panic::Location;

use super::{Inner, Reactor, State, Stopped};
use crate::failure::Failure;
use crate::report;

impl Inner {
    /// Ends every source with [`Stopped`] as the reason. Returns whether there was one.
    ///
    /// Hooks that run meanwhile may add sources; those are not ended.
    pub(super) fn close_all(&self, reactor: Option<&Reactor>) -> bool {
        let all = self.all_tracked();
        let any = !all.is_empty();
        let reason = |location| Failure::at(Stopped, location);
        for (_, source) in &all {
            source.take_no_more(&reason(source.location()));
        }
        for (key, source) in all {
            let reason = reason(source.location());
            source.lose(reactor, &reason);
            self.remove_any(key);
        }
        any
    }

    /// Ends the reactor for good, and drops everything it holds.
    pub(super) fn shut_down(&self, reactor: Option<&Reactor>) {
        // No new source is accepted any more, so this loop terminates.
        self.state.set(State::Ended);
        // What is dropped may need it.
        #[cfg(feature = "tokio-rt")]
        let entered = self.turn_context.enter();
        while self.close_all(reactor) {}
        self.executor.shut_down();
        self.timers.clear();
        self.triggers.clear();
        #[cfg(feature = "tokio-rt")]
        drop(entered);
        #[cfg(feature = "tokio-rt")]
        self.turn_context.clear();
        self.clear_extensions();
        if reactor.is_some() {
            self.stop_threads();
        }
        let hooks = self.hooks.take();
        for hook in hooks {
            report::discard(hook, Location::caller());
        }
    }
}
