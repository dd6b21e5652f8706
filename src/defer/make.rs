//! Functions that make Deferreds of functions and futures: [`execute`], [`maybe_deferred`],
//! [`ensure`].

use std::any::Any;
use std::panic::Location;

use super::Deferred;
use super::coroutine::Coroutine;
use super::outcome::{IntoOutcome, Outcome};
use crate::failure::Failure;
use crate::report;

/// Calls `f` at once and returns its result as a Deferred. A panic becomes a failure.
///
/// `f` must return a `Result`. [`maybe_deferred`] also takes a function that returns a Deferred or
/// an async block, and waits for its result.
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use torsade::{Failure, defer};
///
/// let parsed = defer::execute(|| Ok("seven".parse::<u32>()?));
/// parsed
///     .add_errback(|failure| failure.trap::<ParseIntError>().map(|_| 7))
///     .add_callback(|n| assert_eq!(n, 7));
/// ```
#[track_caller]
pub fn execute<T: 'static>(f: impl FnOnce() -> Result<T, Failure>) -> Deferred<T> {
    let location = Location::caller();
    let result = report::catch(location, f).and_then(|result| result);
    Deferred::settled(result, location)
}

/// Calls `f` at once and returns its result as a Deferred, also if that result is still to come. A
/// panic becomes a failure.
///
/// `f` may return what a callback may return: nothing, `Ok`/`Err`, a Deferred (which is returned
/// unchanged) or an async block (which is run as by [`Deferred::from_future`]).
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, defer};
///
/// let (deferred, resolver) = Deferred::pair();
/// defer::maybe_deferred(|| deferred).add_callback(|n| assert_eq!(n, 1));
/// resolver.callback(1);
/// defer::maybe_deferred(|| Ok(2)).add_callback(|n| assert_eq!(n, 2));
/// ```
#[track_caller]
pub fn maybe_deferred<V, R: IntoOutcome<V>>(f: impl FnOnce() -> R) -> Deferred<R::Value> {
    maybe_deferred_at(Location::caller(), f)
}

/// Calls `f` like [`maybe_deferred`], for a function that the user passed at `location`.
pub(crate) fn maybe_deferred_at<V, R: IntoOutcome<V>>(
    location: &'static Location<'static>,
    f: impl FnOnce() -> R,
) -> Deferred<R::Value> {
    match report::catch(location, || f().into_outcome(location)) {
        Ok(Outcome::Ready(result)) => Deferred::settled(result, location),
        Ok(Outcome::Wait(deferred)) => deferred,
        Err(failure) => Deferred::settled(Err(failure), location),
    }
}

/// Returns a Deferred as it is, and runs any other future as [`Deferred::from_future`] does.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, defer};
///
/// let ready = defer::ensure(Deferred::succeed(1)); // no reactor, no task
/// assert!(ready.is_settled());
/// ```
#[track_caller]
pub fn ensure<T, F>(future: F) -> Deferred<T>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    ensure_at(future, Location::caller())
}

/// Returns a Deferred like [`ensure`], for the caller at `location`.
#[inline]
pub(super) fn ensure_at<T, F>(future: F, location: &'static Location<'static>) -> Deferred<T>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    let mut future = Some(future);
    let any: &mut dyn Any = &mut future;
    if let Some(deferred) = any.downcast_mut::<Option<Deferred<T>>>() {
        return deferred.take().expect("it was put there just now");
    }
    let future = future.expect("it was not a Deferred, so it was not taken");
    Coroutine::start(future, location)
}
