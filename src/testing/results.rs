//! The state of Deferreds in tests: [`success_of`], [`failure_of`], [`pending`], and waiting for a
//! condition.

use std::borrow::BorrowMut;
use std::panic::Location;
use std::time::Duration;

use crate::clock::{Clock, TimedOut};
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::task::yield_now;

/// Returns the value of a Deferred that has succeeded, and panics otherwise.
///
/// `deferred` is the Deferred itself or a `&mut` of it. The function runs no turn of the loop: call
/// [`settle`](super::settle) or `await` something before, if the result needs one.
///
/// # Panics
///
/// Panics, at the caller's line, when the Deferred is pending, when it failed, and when its result
/// was taken before.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, testing};
///
/// let (mut number, resolver) = Deferred::pair();
/// testing::pending(&number);
/// resolver.callback(41);
/// assert_eq!(testing::success_of(&mut number), 41);
///
/// let next = Deferred::succeed(41).map(|n| n + 1);
/// assert_eq!(testing::success_of(next), 42);
/// ```
#[track_caller]
pub fn success_of<T: 'static>(mut deferred: impl BorrowMut<Deferred<T>>) -> T {
    let deferred = deferred.borrow_mut();
    let location = deferred.location();
    match deferred.take_now() {
        Some(Ok(value)) => value,
        Some(Err(failure)) => panic!("a value was expected, and there was a failure: {failure:?}"),
        None => panic!("a value was expected, and {}", still_pending(location)),
    }
}

/// Returns the failure of a Deferred that has failed, and panics otherwise. The failure counts as
/// handled.
///
/// # Panics
///
/// Panics, at the caller's line, when the Deferred is pending, when it succeeded, and when its
/// result was taken before.
///
/// # Examples
///
/// ```
/// use torsade::{Cancelled, Deferred, testing};
///
/// let (mut never, _resolver) = Deferred::<u32>::pair();
/// never.cancel();
/// assert!(testing::failure_of(&mut never).is::<Cancelled>());
/// ```
///
/// ```should_panic
/// # use torsade::{Deferred, testing};
/// testing::failure_of(Deferred::succeed(1)); // it did not fail
/// ```
#[track_caller]
pub fn failure_of<T: 'static>(mut deferred: impl BorrowMut<Deferred<T>>) -> Failure {
    let deferred = deferred.borrow_mut();
    let location = deferred.location();
    match deferred.take_now() {
        Some(Err(failure)) => failure,
        Some(Ok(_)) => panic!("a failure was expected, and there was a value"),
        None => panic!("a failure was expected, and {}", still_pending(location)),
    }
}

/// Asserts that a Deferred has no result yet.
///
/// # Panics
///
/// Panics, at the caller's line, when the Deferred has a result, or its result was taken before.
///
/// # Examples
///
/// ```should_panic
/// # use torsade::{Deferred, testing};
/// testing::pending(&Deferred::succeed(1)); // it is there
/// ```
#[track_caller]
pub fn pending<T: 'static>(deferred: &Deferred<T>) {
    let location = deferred.location();
    let made = location.map_or_else(String::new, |location| format!(" made at {location}"));
    assert!(
        !deferred.has_result(),
        "the Deferred{made} was expected to be pending, and has its result"
    );
}

fn still_pending(location: Option<&Location<'_>>) -> String {
    match location {
        Some(location) => format!("the Deferred made at {location} is still pending"),
        None => "the Deferred is still pending".into(),
    }
}

/// Waits until `cond` returns `true`, for at most `limit` of the reactor's time.
///
/// In memory, time advances only when nothing else is left to do, and then to the next timer or the
/// next arrival of bytes; `cond` is called in each turn. On the machine driver, `cond` is called
/// every millisecond.
///
/// # Errors
///
/// Fails with [`TimedOut`], made at the caller's line, when `limit` has passed.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use torsade::{Clock, testing};
///
/// testing::run(async |reactor| {
///     let start = reactor.now();
///     let done = Rc::new(Cell::new(false));
///     let note = done.clone();
///     reactor.call_later(Duration::from_secs(3), move || note.set(true));
///     testing::wait_until(&reactor, Duration::from_secs(10), || done.get()).await?;
///     assert_eq!(reactor.now() - start, Duration::from_secs(3));
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn wait_until(
    reactor: &Reactor,
    limit: Duration,
    mut cond: impl FnMut() -> bool,
) -> impl Future<Output = Result<(), Failure>> {
    let (reactor, location) = (reactor.clone(), Location::caller());
    async move {
        let inner = reactor.inner();
        let is_virtual = inner.driver().is_virtual();
        let end = reactor.now().checked_add(limit);
        let mut idle = 0;
        loop {
            if cond() {
                return Ok(());
            }
            let now = reactor.now();
            if end.is_some_and(|end| end <= now) && (!is_virtual || idle >= TURNS) {
                return Err(Failure::at(TimedOut(limit), location));
            }
            if is_virtual && idle < TURNS {
                idle = if inner.has_work() { 0 } else { idle + 1 };
                yield_now().await;
                continue;
            }
            idle = 0;
            let next = match is_virtual {
                true => inner.next_time().into_iter().chain(end).min(),
                false => now.checked_add(POLL_INTERVAL).into_iter().chain(end).min(),
            };
            match next {
                Some(next) => reactor.sleep(next.saturating_duration_since(now)).await?,
                None => yield_now().await,
            }
        }
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// The number of turns in which the loop does everything that needs no time.
const TURNS: usize = 200;
