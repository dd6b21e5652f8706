//! [`shield`], for work that must finish, and [`cancel_within`], for work that must end soon.

use std::panic::Location;
use std::time::Duration;

use crate::clock::Clock;
use crate::defer::Deferred;
use crate::failure::Failure;

/// Runs `future` so that code that waits for its result cannot cancel it.
///
/// The future runs as a task. Cancelling or dropping the returned Deferred fails that Deferred with
/// [`Cancelled`](crate::Cancelled) at once; the future continues. Its value is then dropped, and
/// its failure is [reported](crate::report).
///
/// # Errors
///
/// Fails with the failure of `future`, with [`Cancelled`](crate::Cancelled) after a cancel, and
/// with [`DeferredError::NoReactor`](crate::defer::DeferredError::NoReactor) when no reactor runs
/// on this thread.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use torsade::scope::shield;
/// use torsade::{Cancelled, Clock};
///
/// torsade::testing::run(async |reactor| {
///     let (saved, clock) = (Rc::new(Cell::new(false)), reactor.clone());
///     let done = saved.clone();
///     let saving = shield(async move {
///         clock.sleep(Duration::from_secs(1)).await?;
///         done.set(true);
///         Ok(())
///     });
///     saving.cancel();
///     assert!(saving.await.unwrap_err().is::<Cancelled>());
///     reactor.sleep(Duration::from_secs(2)).await?;
///     assert!(saved.get());
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn shield<T: 'static>(
    future: impl Future<Output = Result<T, Failure>> + 'static,
) -> Deferred<T> {
    let (shielded, resolver) = Deferred::pair();
    Deferred::succeed(())
        .add_callback(move |()| future)
        .chain_shielded(resolver);
    shielded
}

/// Cancels a Deferred, gives it the time `grace` to end, and then drops what it waits for.
///
/// A Deferred made of a future is cancelled by cancelling what that future awaits; after the grace
/// the future is dropped. What it returns within the grace, even a value, is the result of the
/// returned Deferred; after the grace the result is [`Cancelled`](crate::Cancelled).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::scope::cancel_within;
/// use torsade::{Clock, Deferred};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// torsade::testing::run(async |reactor| {
///     let (never, _resolver) = Deferred::<()>::pair();
///     let clock = reactor.clone();
///     let work = Deferred::from_future(async move {
///         if never.await.is_err() {
///             clock.sleep(SECOND).await?; // was asked to stop: cleans up
///         }
///         Ok("cleaned up")
///     });
///     torsade::yield_now().await;
///     assert_eq!(cancel_within(work, SECOND * 2, &reactor).await?, "cleaned up");
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn cancel_within<T: 'static>(
    deferred: Deferred<T>,
    grace: Duration,
    clock: &impl Clock,
) -> Deferred<T> {
    deferred.cancel();
    if deferred.is_settled() {
        return deferred;
    }
    let end = deferred.remote_end();
    let call = clock.timers().limit(grace, Location::caller(), end);
    deferred.add_both(move |result| {
        call.cancel();
        result
    })
}
