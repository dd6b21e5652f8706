//! [`defer_later`]: one delayed call, with its result as a Deferred.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::{Clock, ClockStopped};
use crate::defer::{Deferred, IntoOutcome, Resolver};
use crate::failure::Failure;

/// Calls `f` once, `delay` from now, and returns its result as a Deferred.
///
/// `f` may return what a callback may: nothing, `Ok`/`Err`, a Deferred or an async block.
/// [`Clock::sleep`] only waits; [`Clock::call_later`] calls a function without a result.
///
/// Cancelling the Deferred cancels the call, or the Deferred that `f` has returned.
///
/// # Order
///
/// As [`Clock::call_later`]: `f` is called in a later turn, never inside this function.
///
/// # Errors
///
/// The Deferred fails with the failure or panic of `f`, and with [`ClockStopped`] if the clock
/// stops before the call is due.
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
    let call = timers.call_at(deadline, location, move || due.deliver());
    deferred
        .on_cancel(move || {
            drop(resolver.take());
            call.cancel();
        })
        .add_callback(move |()| f())
}

/// The call, owned by the clock. Unless the call was cancelled, its resolver is there until the
/// call is due.
struct Due(Rc<Cell<Option<Resolver<()>>>>, &'static Location<'static>);

impl Due {
    fn deliver(self) {
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
