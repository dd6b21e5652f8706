//! The errors of locks, semaphores, queues, watched values and lock files.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::failure::errors;

/// An error of a semaphore, a queue, a watched value or a lock file.
///
/// Where a method of a lock file returns an [`io::Error`], this is its inner error
/// ([`get_ref`](io::Error::get_ref)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockError {
    /// [`DeferredSemaphore::close`](super::DeferredSemaphore::close) was called: no permit is
    /// granted any more.
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
    /// A Deferred of the same handle, or of a clone of it, waits for the lock file already.
    AlreadyWaiting,
    /// Something other than a lock file is at the path.
    NotALock {
        /// The path of the lock file.
        path: PathBuf,
        /// The first 60 characters of the symbolic link's target; `None` if no link is there.
        target: Option<String>,
    },
    /// The lock file to be released is held by another process.
    NotHeld {
        /// The process id of the holder.
        holder: i32,
    },
}

/// The error of [`DeferredQueue::put`](super::DeferredQueue::put) on a full queue. The field is the
/// item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueOverflow<T>(pub T);

errors! {
    enum LockError {
        SemaphoreClosed: "cannot acquire a permit: the semaphore is closed";
        NoPermits: "cannot make a semaphore with 0 permits";
        WatchEnded: "the watched value was dropped, and its last value was seen";
        QueueUnderflow { waiting }:
            "cannot wait for an item: {waiting} Deferreds wait for the queue already";
        AlreadyWaiting: "cannot wait for the lock: a Deferred of this handle waits already";
        NotALock { path, target }: "{path:?} is not a lock: {}", with mismatch(target.as_deref());
        NotHeld { holder }: "cannot release the lock: process {holder} holds it";
    }
}

/// Says why what is at the path is not a lock.
fn mismatch(target: Option<&str>) -> String {
    match target {
        Some(target) => format!("the link points to {target:?}, not to a process id"),
        None => "it is not a symbolic link".to_owned(),
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

impl From<LockError> for io::Error {
    fn from(error: LockError) -> Self {
        let kind = match error {
            LockError::NotALock { .. } => ErrorKind::InvalidData,
            LockError::AlreadyWaiting | LockError::NotHeld { .. } => ErrorKind::ResourceBusy,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
