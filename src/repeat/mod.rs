//! Doing things again, later, and a little at a time.
//!
//! # The idea
//!
//! Everything here is made of the timers of a [`Clock`](crate::Clock), so it runs under a virtual one as well:
//!
//! * [`defer_later`] calls a function once and gives a Deferred of what it comes to;
//! * [`LoopingCall`] calls a function on a grid of times, and waits for what it returns;
//! * [`interval`] is such a grid for `async` code, which asks for each tick itself;
//! * [`Cooperator`] does long work in small steps, and [`Pace`] breaks up a long loop in `async` code.
//!
//! A grid has an origin and a period. Its points are `origin + k · period`, reckoned anew each time, so that lateness
//! never adds up.
//!
//! # Who owns what
//!
//! What waits for a time belongs to its timer, what waits for a Deferred belongs to that Deferred. The handles
//! ([`Looping`], [`CooperativeTask`]) only reach it: dropping them changes nothing. When its clock stops, all of it ends
//! with [`ClockStopped`](crate::clock::ClockStopped).
//!
//! # Invariants
//!
//! 1. Nothing asked for here runs inside the asking: the first call, step or tick comes with a turn of the loop.
//! 2. Nothing here, also without a period or delay, keeps I/O or other timers from their turn.
//! 3. What belongs to the user is called and dropped while nothing is borrowed, and never unwinds into the loop.

mod cooperate;
mod cooperative;
mod errors;
mod interval;
mod later;
mod looping;
mod pace;
#[cfg(test)]
mod tests;
mod work;

pub use self::cooperate::Cooperator;
pub use self::cooperative::{CooperativeTask, TaskPause};
pub use self::errors::CooperateError;
pub use self::interval::{Interval, MissedTicks, interval};
pub use self::later::defer_later;
pub use self::looping::{Looping, LoopingCall};
pub use self::pace::{Pace, Slice};
use crate::defer::Outcome;

/// What a call came to, without its value.
fn forget<T: 'static>(outcome: Outcome<T>) -> Outcome<()> {
    match outcome {
        Outcome::Ready(result) => Outcome::Ready(result.map(drop)),
        Outcome::Wait(deferred) => Outcome::Wait(deferred.map(drop)),
    }
}
