//! Delayed, periodic and cooperative work.
//!
//! # The idea
//!
//! Everything here is built on the timers of a [`Clock`](crate::Clock), so it runs on a virtual
//! clock as well:
//!
//! * [`defer_later`] calls a function once and returns its result as a Deferred;
//! * [`LoopingCall`] calls a function periodically, and waits for what it returns;
//! * [`interval`] makes periodic ticks for `async` code to await;
//! * [`Cooperator`] runs long work in small steps, and [`Pace`] breaks up a long loop in `async`
//!   code.
//!
//! Periodic work has a *grid* of times with an origin and a period. Its points are
//! `origin + k · period`, computed anew each time, so that delays do not add up.
//!
//! Dropping a handle ([`Looping`], [`CooperativeTask`]) does not end the work. When the clock
//! stops, all work on it ends with [`ClockStopped`](crate::clock::ClockStopped).
//!
//! # Invariants
//!
//! 1. No function here runs the work inside the call that requests it: the first call, step or tick
//!    comes in a turn of the loop.
//! 2. Nothing here, even without a period or delay, keeps I/O or other timers from their turn.
//! 3. User code is called and dropped while nothing is borrowed, and its panics never unwind into
//!    the loop.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [clock](crate::guide::glossary#clock),
//! [slice](crate::guide::glossary#slice).

// Ownership: what waits for a time belongs to its timer; what waits for a Deferred belongs to that
// Deferred. The handles only refer to it.

mod cooperate;
mod cooperative;
mod errors;
mod interval;
mod later;
mod looping;
mod pace;
#[cfg(all(test, not(torsade_loom)))]
mod tests;
mod work;

#[doc(alias = "CooperatorService")]
pub use self::cooperate::Cooperator;
pub use self::cooperative::CooperativeTask;
#[doc(alias = "NotPaused")]
pub use self::cooperative::TaskPause;
#[doc(alias("TaskFinished"))]
pub use self::errors::CooperateError;
pub use self::interval::Interval;
#[doc(alias = "MissedTickBehavior")]
pub use self::interval::MissedTicks;
#[doc(alias("setInterval", "ticker", "tokio::time::interval", "interval_at"))]
pub use self::interval::interval;
#[doc(alias("deferLater", "setTimeout", "delay"))]
pub use self::later::defer_later;
pub use self::looping::Looping;
#[doc(alias("PeriodicCallback", "setInterval"))]
pub use self::looping::LoopingCall;
#[doc(alias("coiterate", "consume_budget", "unconstrained"))]
pub use self::pace::Pace;
pub use self::pace::Slice;
use crate::defer::Outcome;

/// Returns the outcome of a call without its value.
fn forget<T: 'static>(outcome: Outcome<T>) -> Outcome<()> {
    match outcome {
        Outcome::Ready(result) => Outcome::Ready(result.map(drop)),
        Outcome::Wait(deferred) => Outcome::Wait(deferred.map(drop)),
    }
}
