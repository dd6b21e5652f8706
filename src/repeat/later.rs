//! A call that is made later, and a Deferred of what it comes to.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::{Clock, ClockStopped};
use crate::defer::{Deferred, IntoOutcome, Resolver};
use crate::failure::Failure;

/// Calls `f` once, `delay` from now; the Deferred fires with what `f` returns.
///
/// `f` may return whatever a callback may: nothing, `Ok`/`Err`, a Deferred or an async block. Where nothing is to be
/// called, [`Clock::sleep`] waits; where nobody asks for the result, there is [`Clock::call_later`].
///
/// Cancelling the Deferred calls `f` off, or cancels the Deferred that it returned.
///
/// # Order
///
/// As [`Clock::call_later`]: on a later turn, never inside this function.
///
/// # Errors
///
/// What `f` fails or panics with; [`ClockStopped`] if the clock stops before its time has come.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::{VirtualClock, defer_later};
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let clock = VirtualClock::new();
/// let inner = clock.clone();
/// let answer = defer_later(&clock, SECOND, move || defer_later(&inner, SECOND, || Ok(42)));
/// clock.advance(SECOND);
/// assert!(!answer.is_settled());
/// clock.advance(SECOND);
/// answer.add_callback(|n| assert_eq!(n, 42));
/// ```
#[doc(alias("deferLater", "setTimeout", "delay"))]
#[track_caller]
pub fn defer_later<V, R: IntoOutcome<V>>(
    clock: &impl Clock,
    delay: Duration,
    f: impl FnOnce() -> R + 'static,
) -> Deferred<R::Value> {
    let location = Location::caller();
    let (deferred, resolver) = Deferred::pair();
    let resolver = Rc::new(Cell::new(Some(resolver)));
    let due = Due(resolver.clone(), location);
    let timers = clock.timers();
    let deadline = timers.later(timers.now(), delay);
    let call = timers.call_at(deadline, location, move || due.come());
    deferred
        .on_cancel(move || {
            drop(resolver.take());
            call.cancel();
        })
        .add_callback(move |()| f())
}

/// What the clock has of the call. Unless the call was called off, its resolver is there until the time comes.
struct Due(Rc<Cell<Option<Resolver<()>>>>, &'static Location<'static>);

impl Due {
    fn come(self) {
        if let Some(resolver) = self.0.take() {
            resolver.callback(());
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if let Some(resolver) = self.0.take() {
            resolver.errback(Failure::at(ClockStopped, self.1));
        }
    }
}
