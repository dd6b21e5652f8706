//! A limit to how long a future may take: [`Clock::within`](super::Clock::within).

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::{Sleep, TimedOut};
use crate::defer::Deferred;
use crate::failure::Failure;

pin_project! {
    /// The future of [`Clock::within`](super::Clock::within): another future, with a time limit.
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Within<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
        limit: Duration,
        location: &'static Location<'static>,
    }
}

impl<F> Within<F> {
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

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // First, so that what came in time wins.
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        this.sleep.poll(cx).map(|slept| match slept {
            Ok(()) => Err(Failure::at(Box::new(TimedOut(*this.limit)), this.location)),
            Err(stopped) => Err(stopped),
        })
    }
}

impl<F> fmt::Debug for Within<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What [`Clock::timeout`](super::Clock::timeout) can limit: a [`Deferred`].
#[diagnostic::on_unimplemented(
    message = "`timeout` limits a `Deferred`, and this is `{Self}`",
    label = "not a `Deferred`",
    note = "for any other future, one that borrows too, there is `clock.within(limit, future)`",
    note = "`Deferred::from_future(future)` makes a Deferred of a future that owns all it uses"
)]
pub trait ToLimit: sealed::Sealed {
    /// The type of the Deferred's value.
    type Value: 'static;

    #[doc(hidden)]
    fn to_limit(self) -> Deferred<Self::Value>;
}

impl<T: 'static> ToLimit for Deferred<T> {
    type Value = T;

    fn to_limit(self) -> Self {
        self
    }
}

impl<T: 'static> sealed::Sealed for Deferred<T> {}

mod sealed {
    #[allow(unnameable_types, reason = "so that nobody else implements `ToLimit`")]
    pub trait Sealed {}
}
