//! A limit to how long a Deferred may take.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::Clock;
use super::timers::Timers;
use crate::defer::Deferred;
use crate::failure::{Cancelled, Failure};

impl<T: 'static> Deferred<T> {
    /// Cancels what is still to come after `limit`, and makes that [`TimedOut`].
    ///
    /// As [`Clock::timeout`], to be written at the end of a chain.
    #[doc(alias = "addTimeout")]
    #[track_caller]
    pub fn timeout(self, limit: Duration, clock: &impl Clock) -> Self {
        clock.timeout(limit, self)
    }
}

/// It took longer than this.
#[doc(alias = "TimeoutError")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.0)
    }
}

impl Error for TimedOut {}

/// Cancels `deferred` after `limit`; if that happened, `translate` is given what came of it.
#[track_caller]
pub(super) fn limited<T: 'static>(
    timers: &Timers,
    limit: Duration,
    deferred: Deferred<T>,
    translate: impl FnOnce(Result<T, Failure>) -> Result<T, Failure> + 'static,
) -> Deferred<T> {
    if deferred.is_settled() {
        return deferred;
    }
    let expired = Rc::new(Cell::new(false));
    let (note, cancel) = (expired.clone(), deferred.remote_cancel());
    let expire = move || {
        note.set(true);
        cancel();
    };
    let call = timers.limit(limit, Location::caller(), expire);
    deferred.add_both(move |result| {
        call.cancel();
        if expired.get() {
            translate(result)
        } else {
            result
        }
    })
}

/// What a timeout makes of a result: its own error of a cancel, nothing of anything else.
#[track_caller]
pub(super) fn timed_out<T>(
    limit: Duration,
) -> impl FnOnce(Result<T, Failure>) -> Result<T, Failure> {
    let location = Location::caller();
    move |result| match result {
        Err(failure) if failure.is::<Cancelled>() => {
            Err(Failure::at(Box::new(TimedOut(limit)), location))
        }
        other => other,
    }
}
