//! A stream of signals: [`Signals`].

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::stream::{FusedStream, Stream};

use super::listener::Listener;
use crate::signal::Signal;
use crate::task::budget;

/// A stream of signals; see [`Reactor::signals`](crate::Reactor::signals).
///
/// `Signals` is also a `Stream`, which ends with the reactor. Dropping it ends the listening.
///
/// # Order
///
/// Of the signals that have arrived and were not returned yet, the one with the smallest number is
/// returned first, and each only once.
#[must_use = "it listens only as long as it is there"]
pub struct Signals {
    listener: Rc<Listener>,
    is_over: bool,
}

impl Signals {
    pub(super) fn new(listener: Rc<Listener>) -> Self {
        Self {
            listener,
            is_over: false,
        }
    }

    /// Waits for the next signal. Returns `None` when the reactor has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    #[doc(alias = "recv")]
    pub async fn next(&mut self) -> Option<Signal> {
        poll_fn(|cx| self.poll_signal(cx)).await
    }

    fn poll_signal(&mut self, cx: &Context<'_>) -> Poll<Option<Signal>> {
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        let polled = self.listener.poll(cx);
        if polled.is_ready() {
            budget::spend(0);
        }
        self.is_over = polled == Poll::Ready(None);
        polled
    }
}

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        self.poll_signal(cx)
    }
}

impl FusedStream for Signals {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listener.end();
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signals")
            .field(&self.listener.signals())
            .finish()
    }
}
