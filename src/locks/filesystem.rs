//! [`DeferredFilesystemLock`]: a lock between processes, for Deferreds.
//!
//! `lock_file` is the lock itself; this file holds the handles, the guards and the waiting. Timers
//! exist only while a Deferred waits.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::LockError;
use super::lock_file::{self, Locked, holder, is_this, lock_at, unlock};
use crate::clock::{Clock, DelayedCall, TimedOut, Timers};
use crate::debug::{DumpItem, Id};
use crate::defer::{self, Deferred, Resolver};
use crate::failure::Failure;
use crate::report::{self, Origin};
use crate::task::Wait;

/// A lock between processes, which they share by the path of its lock file.
///
/// The lock file is a symbolic link whose target is the process id of the holder. Twisted's
/// `DeferredFilesystemLock` and `FilesystemLock` use the same lock file. A lock whose holder has
/// died is *stale*, and can be taken; but while another process has the same process id, as in a
/// container that is started again, a stale lock looks held.
///
/// Clones are handles to the same lock. The lock excludes other processes; within a process, code
/// that holds no lock may release it by [`unlock`](Self::unlock), so use a
/// [`DeferredLock`](super::DeferredLock) there.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::VirtualClock;
/// use torsade::locks::DeferredFilesystemLock;
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("torsade-doc-{}.lock", std::process::id()));
/// let clock = VirtualClock::new();
/// let lock = DeferredFilesystemLock::new(&path, &clock);
/// let other = DeferredFilesystemLock::new(&path, &clock);
///
/// assert!(lock.lock()?);
/// let waiting = other.defer_until_locked(None).map(|guard| guard.release());
/// lock.unlock()?;
/// clock.advance(Duration::from_secs(1)); // it tries again each second
/// assert!(waiting.is_settled());
/// assert!(!DeferredFilesystemLock::is_locked(&path)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeferredFilesystemLock {
    inner: Rc<Inner>,
}

/// Holds a [`DeferredFilesystemLock`] until it is dropped.
///
/// If releasing the lock fails during the drop, the error is reported;
/// [`release`](FilesystemLockGuard::release) returns it instead.
#[must_use = "the lock is released when its guard is dropped"]
pub struct FilesystemLockGuard {
    path: PathBuf,
    location: &'static Location<'static>,
    is_released: bool,
}

struct Inner {
    path: PathBuf,
    made: &'static Location<'static>,
    timers: Timers,
    was_clean: Cell<bool>,
    /// `Some` while a Deferred waits.
    attempt: RefCell<Option<Attempt>>,
}

/// The description of a free lock, for dumps: a Deferred that waits for the lock waits for this.
struct FreeLock(Weak<Inner>);

/// A Deferred that waits, and its timers.
struct Attempt {
    resolver: Resolver<FilesystemLockGuard>,
    location: &'static Location<'static>,
    retry: Option<DelayedCall>,
    expiry: Option<DelayedCall>,
}

impl DeferredFilesystemLock {
    /// Makes a handle to the lock at this path. Does not touch the path.
    #[track_caller]
    pub fn new(path: impl Into<PathBuf>, clock: &impl Clock) -> Self {
        Self {
            inner: Rc::new(Inner {
                path: path.into(),
                made: Location::caller(),
                timers: clock.timers().clone(),
                was_clean: Cell::new(true),
                attempt: RefCell::new(None),
            }),
        }
    }

    /// Tries to take the lock, and returns whether it did: `false` if another process, or this one,
    /// holds it.
    ///
    /// A stale lock is replaced.
    ///
    /// # Errors
    ///
    /// Fails with an error whose inner error is [`LockError::NotALock`] when something other than a
    /// lock file is at the path, and with the errors of the file system.
    pub fn lock(&self) -> io::Result<bool> {
        self.inner.lock()
    }

    /// Returns whether the previous holder released the lock; `false` if this handle replaced the
    /// stale lock of a dead process.
    #[doc(alias = "clean")]
    pub fn was_clean(&self) -> bool {
        self.inner.was_clean.get()
    }

    /// Releases the lock.
    ///
    /// # Errors
    ///
    /// Fails with an error whose inner error is [`LockError::NotHeld`] when another process holds
    /// the lock, and with an error of the kind `NotFound` when no process does.
    pub fn unlock(&self) -> io::Result<()> {
        unlock(&self.inner.path)
    }

    /// Returns whether a process that is alive holds the lock at this path. Changes nothing.
    ///
    /// # Errors
    ///
    /// Fails as [`lock`](DeferredFilesystemLock::lock) does.
    #[doc(alias = "isLocked")]
    pub fn is_locked(path: impl AsRef<Path>) -> io::Result<bool> {
        lock_file::is_locked(path.as_ref())
    }

    /// Takes the lock as soon as possible: tries at once, and then every second, for at most
    /// `limit`; `None` is no limit.
    ///
    /// # Order
    ///
    /// There is no queue: of several processes, any may be the next. When the limit is over, the
    /// lock is tried one last time.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred ends the attempts at once (Twisted tries once more); so does
    /// dropping it, if it has no callbacks. If the Deferred is dropped when it has the lock, the
    /// lock is released.
    ///
    /// # Errors
    ///
    /// Fails with [`LockError::AlreadyWaiting`] while another Deferred of this handle or its clones
    /// waits, [`TimedOut`](crate::clock::TimedOut) when the limit is over,
    /// [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned) when the clock stops,
    /// and with the errors of [`lock`](DeferredFilesystemLock::lock).
    #[doc(alias = "deferUntilLocked")]
    #[track_caller]
    pub fn defer_until_locked(
        &self,
        limit: impl Into<Option<Duration>>,
    ) -> Deferred<FilesystemLockGuard> {
        let (inner, location) = (&self.inner, Location::caller());
        if inner.attempt.borrow().is_some() {
            return Deferred::fail(LockError::AlreadyWaiting);
        }
        match inner.lock() {
            Ok(true) => return Deferred::succeed(inner.guard(location)),
            Ok(false) => {}
            Err(error) => return Deferred::fail(error),
        }
        let (deferred, resolver) = Deferred::pair();
        let attempt = Attempt {
            resolver,
            location,
            retry: None,
            expiry: None,
        };
        drop(inner.attempt.replace(Some(attempt)));
        if let Some(limit) = limit.into() {
            let call = inner.set_timer(
                move |inner| inner.expire(limit),
                |timers, f| timers.limit(limit, location, f),
            );
            inner.change(|attempt| attempt.expiry = Some(call));
        }
        inner.set_retry(location);
        let weak = Rc::downgrade(inner);
        defer::note_waits_for(&deferred, || Rc::new(FreeLock(weak.clone())));
        deferred.listens(move || {
            if let Some(inner) = weak.upgrade() {
                let attempt = inner.end();
                drop(attempt);
            }
        })
    }
}

impl FilesystemLockGuard {
    /// Releases the lock, as dropping does.
    ///
    /// # Errors
    ///
    /// Fails as [`DeferredFilesystemLock::unlock`] does.
    pub fn release(mut self) -> io::Result<()> {
        self.is_released = true;
        unlock(&self.path)
    }
}

impl Drop for FilesystemLockGuard {
    fn drop(&mut self) {
        if !self.is_released {
            if let Err(error) = unlock(&self.path) {
                report::deliver(Origin::Destructor, error.into(), self.location);
            }
        }
    }
}

impl fmt::Debug for DeferredFilesystemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredFilesystemLock")
            .field("path", &self.inner.path)
            .finish()
    }
}

impl fmt::Debug for FilesystemLockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FilesystemLockGuard")
            .field(&self.path)
            .finish()
    }
}

impl Wait for FreeLock {
    fn look(&self) -> Option<DumpItem> {
        let inner = self.0.upgrade()?;
        let about = match holder(&inner.path) {
            Ok(Some(pid)) if is_this(pid) => "held by this process".to_owned(),
            Ok(Some(pid)) => format!("held by process {pid}"),
            Ok(None) => "free".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(DumpItem {
            id: Id::At(Rc::as_ptr(&inner).addr()),
            kind: "filesystem lock",
            name: Some(inner.path.to_string_lossy().into()),
            location: inner.made,
            about,
            waits: Vec::new(),
        })
    }
}

impl Inner {
    fn lock(&self) -> io::Result<bool> {
        match lock_at(&self.path)? {
            Locked::Ours { was_clean } => {
                self.was_clean.set(was_clean);
                Ok(true)
            }
            Locked::Theirs(_) => Ok(false),
        }
    }

    fn guard(&self, location: &'static Location<'static>) -> FilesystemLockGuard {
        FilesystemLockGuard {
            path: self.path.clone(),
            location,
            is_released: false,
        }
    }

    fn set_retry(self: &Rc<Self>, location: &'static Location<'static>) {
        let retry = |inner: &Rc<Self>| inner.retry();
        let call = self.set_timer(retry, |timers, f| {
            timers.call_at(timers.later(timers.now(), INTERVAL), location, f)
        });
        self.change(|attempt| attempt.retry = Some(call));
    }

    fn retry(self: &Rc<Self>) {
        let location = self.change(|attempt| attempt.location);
        let Some(location) = location else { return };
        match self.lock() {
            Ok(false) => self.set_retry(location),
            Ok(true) => self.finish(Ok(())),
            Err(error) => self.finish(Err(error.into())),
        }
    }

    fn expire(&self, limit: Duration) {
        match self.lock() {
            Ok(false) => self.finish(Err(TimedOut(limit).into())),
            Ok(true) => self.finish(Ok(())),
            Err(error) => self.finish(Err(error.into())),
        }
    }

    fn finish(&self, result: Result<(), Failure>) {
        if let Some(attempt) = self.end() {
            let location = attempt.location;
            let result = result.map_err(|failure| failure.moved(location));
            attempt
                .resolver
                .resolve(result.map(|()| self.guard(location)));
        }
    }

    /// Ends the waiting: removes the timers.
    fn end(&self) -> Option<Attempt> {
        let attempt = self.attempt.take()?;
        for call in [&attempt.retry, &attempt.expiry].into_iter().flatten() {
            call.cancel();
        }
        Some(attempt)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Attempt) -> R) -> Option<R> {
        self.attempt.borrow_mut().as_mut().map(change)
    }

    /// Calls `f` when the timer that `ask` sets is due. If the clock drops the timer uncalled,
    /// because it has stopped, the waiting ends.
    fn set_timer(
        self: &Rc<Self>,
        f: impl FnOnce(&Rc<Self>) + 'static,
        ask: impl FnOnce(&Timers, Box<dyn FnOnce()>) -> DelayedCall,
    ) -> DelayedCall {
        struct Timer(Option<Rc<Inner>>);
        impl Drop for Timer {
            fn drop(&mut self) {
                let attempt = self.0.take().and_then(|inner| inner.end());
                drop(attempt);
            }
        }
        let mut planned = Timer(Some(self.clone()));
        let call = move || {
            if let Some(inner) = planned.0.take() {
                f(&inner);
            }
        };
        ask(&self.timers, Box::new(call))
    }
}

const INTERVAL: Duration = Duration::from_secs(1);
