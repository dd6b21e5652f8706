//! The errors of locks, semaphores, queues and watched values.

use std::error::Error;
use std::fmt;

use crate::failure::errors;

/// An error of a semaphore, a queue or a watched value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockError {
    /// [`DeferredSemaphore::close`](super::DeferredSemaphore::close) was called: no permit is given
    /// out any more.
    SemaphoreClosed,
    /// [`DeferredSemaphore::new`](super::DeferredSemaphore::new) was called with 0 permits.
    NoPermits,
    /// The [`Watched`](super::Watched) was dropped, and the watcher has seen its last value.
    WatchEnded,
    /// Too many Deferreds wait for an item of a [`DeferredQueue`](super::DeferredQueue) already.
    QueueUnderflow {
        /// The number of Deferreds that wait, which is the queue's limit.
        waiting: usize,
    },
}

/// The error of [`DeferredQueue::put`](super::DeferredQueue::put) on a full queue. It gives the
/// item back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueOverflow<T>(pub T);

errors! {
    enum LockError {
        SemaphoreClosed: "cannot acquire a permit: the semaphore is closed";
        NoPermits: "cannot make a semaphore with 0 permits";
        WatchEnded: "the watched value was dropped, and its last value was seen";
        QueueUnderflow { waiting }:
            "cannot wait for an item: {waiting} Deferreds wait for the queue already";
    }
}

impl<T> fmt::Debug for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueOverflow")
    }
}

impl<T> fmt::Display for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot put the item: the queue is full")
    }
}

impl<T> Error for QueueOverflow<T> {}
