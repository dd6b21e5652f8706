//! Polling by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use torsade::{Deferred, Failure};

/// Counts how often it was woken.
#[derive(Default)]
pub struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls with a waker that does nothing.
pub fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, Failure>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

/// The value that is there.
#[track_caller]
pub fn now<T>(mut deferred: Deferred<T>) -> T {
    match poll(&mut deferred) {
        Poll::Ready(result) => result.unwrap(),
        Poll::Pending => panic!("it still waits: {deferred:?}"),
    }
}

/// Returns the result of a poll.
pub trait ReadyAnd<T> {
    fn comes_ready_and(self, f: impl FnOnce(T) -> bool) -> bool;
}

impl<T> ReadyAnd<T> for Poll<T> {
    fn comes_ready_and(self, f: impl FnOnce(T) -> bool) -> bool {
        match self {
            Self::Ready(value) => f(value),
            Self::Pending => false,
        }
    }
}
