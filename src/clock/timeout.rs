//! Time limits for a future, and for a Deferred.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::timers::Timers;
use super::{Clock, Sleep};
use crate::defer::Deferred;
use crate::failure::{Cancelled, Failure};

impl<T: 'static> Deferred<T> {
    /// Cancels the Deferred if it takes longer than `limit` from now; it then fails with
    /// [`TimedOut`].
    ///
    /// The limit covers the callbacks that were added before, including the Deferreds that they
    /// return, and not the callbacks that are added later. If the cancelled Deferred has another
    /// result than [`Cancelled`], that result is passed on unchanged.
    ///
    /// [`Clock::timeout`] limits a future that is awaited; this method does not require an await.
    /// If the clock stops before the limit is over, the Deferred is not cancelled.
    ///
    /// # Order
    ///
    /// As for [`Clock::timeout`]: on a reactor a result that came in time wins.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::clock::TimedOut;
    /// # use torsade::{Deferred, VirtualClock};
    /// const SECOND: Duration = Duration::from_secs(1);
    ///
    /// let clock = VirtualClock::new();
    /// let (answer, resolver) = Deferred::<u32>::pair();
    /// answer
    ///     .timeout(SECOND, &clock)
    ///     .add_errback(|failure| {
    ///         assert_eq!(failure.trap::<TimedOut>()?.0, SECOND);
    ///         Ok(0)
    ///     })
    ///     .add_callback(|n| assert_eq!(n, 0));
    /// clock.advance(SECOND);
    /// # drop(resolver);
    /// ```
    #[doc(alias = "addTimeout")]
    #[track_caller]
    pub fn timeout(self, limit: Duration, clock: &impl Clock) -> Self {
        limited(clock.timers(), limit, self, timed_out(limit))
    }

    /// Sets a time limit as [`timeout`](Self::timeout) does, and lets `translate` decide the
    /// result: when the limit is over, `translate` gets the result of the cancelled Deferred, even
    /// if that is a value, and `limit`. It is not called for a result that comes in time.
    #[doc(alias = "onTimeoutCancel")]
    #[track_caller]
    pub fn timeout_with(
        self,
        limit: Duration,
        clock: &impl Clock,
        translate: impl FnOnce(Result<T, Failure>, Duration) -> Result<T, Failure> + 'static,
    ) -> Self {
        limited(clock.timers(), limit, self, move |result| {
            translate(result, limit)
        })
    }
}

pin_project! {
    /// The future of [`Clock::timeout`](super::Clock::timeout): another future with a time limit.
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
        limit: Duration,
        location: &'static Location<'static>,
    }
}

impl<F> Timeout<F> {
    pub(super) fn new(
        future: F,
        sleep: Sleep,
        limit: Duration,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            future,
            sleep,
            limit,
            location,
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Polled first, so that a result that came in time wins.
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        this.sleep.poll(cx).map(|slept| match slept {
            Ok(()) => Err(Failure::at(TimedOut(*this.limit), this.location)),
            Err(stopped) => Err(stopped),
        })
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The error of work that took longer than its time limit. The field is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(pub Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.0)
    }
}

impl Error for TimedOut {}

/// Cancels `deferred` after `limit`; if that happened, `translate` gets its result.
#[track_caller]
fn limited<T: 'static>(
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

/// Returns the translation of a timeout: a cancel becomes `TimedOut`, any other result stays.
#[track_caller]
fn timed_out<T>(limit: Duration) -> impl FnOnce(Result<T, Failure>) -> Result<T, Failure> {
    let location = Location::caller();
    move |result| match result {
        Err(failure) if failure.is::<Cancelled>() => Err(Failure::at(TimedOut(limit), location)),
        other => other,
    }
}
