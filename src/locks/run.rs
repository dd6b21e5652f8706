//! Runs a function while a guard is held.

use std::panic::Location;

use super::grants::Held;
use crate::defer::{Deferred, IntoOutcome, Outcome};
use crate::report;

/// Calls `f` with a guard that is available now.
#[track_caller]
pub(super) fn run<G: 'static, U: 'static>(
    guard: G,
    location: &'static Location<'static>,
    f: impl FnOnce(G) -> Deferred<U>,
) -> Deferred<U> {
    match report::catch(location, || f(guard)) {
        Ok(deferred) => deferred,
        Err(failure) => Deferred::fail(failure),
    }
}

/// Calls `f`, and drops the guard when the result of `f` has ended.
pub(super) fn hold<G: Held + 'static, V, R: IntoOutcome<V>>(
    mut guard: G,
    location: &'static Location<'static>,
    f: impl FnOnce(&mut G) -> R,
) -> Deferred<R::Value> {
    let outcome = report::catch(location, || f(&mut guard).into_outcome(location));
    match outcome {
        Ok(Outcome::Wait(deferred)) => {
            guard.is_held_by(&deferred);
            deferred.add_both(move |result| {
                drop(guard);
                result
            })
        }
        Ok(Outcome::Ready(result)) => {
            drop(guard);
            match result {
                Ok(value) => Deferred::succeed(value),
                Err(failure) => Deferred::fail(failure),
            }
        }
        Err(failure) => {
            drop(guard);
            Deferred::fail(failure)
        }
    }
}
