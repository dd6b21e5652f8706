//! [`DeferredSemaphore`]: a limit on how many run at a time.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::errors::LockError;
use super::grant_queue::{self, GrantQueue, Resource};
use super::grants::{Granted, Held};
use super::run::{hold, run};
use crate::defer::{Deferred, IntoOutcome};

/// A number of permits, acquired first come, first served.
///
/// Clones are handles to the same semaphore. The [module docs](super) say how a waiter gets its
/// permit.
///
/// # Examples
///
/// ```
/// use torsade::locks::DeferredSemaphore;
/// use torsade::{Failure, testing};
///
/// testing::run(async |reactor| {
///     let semaphore = DeferredSemaphore::new(2)?;
///     let mut tasks = Vec::new();
///     for _ in 0..5 {
///         let semaphore = semaphore.clone();
///         tasks.push(reactor.spawn(async move {
///             let _permit = semaphore.acquire().await?;
///             torsade::yield_now().await; // never more than two are here
///             Ok::<_, Failure>(())
///         }));
///     }
///     for task in tasks {
///         task.await??;
///     }
///     assert_eq!(semaphore.available(), 2);
///     Ok(())
/// });
/// ```
#[derive(Clone)]
pub struct DeferredSemaphore {
    inner: Rc<Inner>,
}

/// Holds one or several permits of a [`DeferredSemaphore`] until it is dropped.
#[must_use = "a permit is given back when it is dropped"]
pub struct SemaphorePermit {
    inner: Rc<Inner>,
    granted: Granted,
    count: usize,
}

struct Inner {
    queue: GrantQueue<Self>,
    available: Cell<usize>,
    /// The number of permits, including those that are held.
    total: Cell<usize>,
    is_closed: Cell<bool>,
}

impl DeferredSemaphore {
    /// Makes a semaphore with `count` permits.
    ///
    /// # Errors
    ///
    /// [`LockError::NoPermits`] when `count` is 0.
    #[track_caller]
    pub fn new(count: usize) -> Result<Self, LockError> {
        if count == 0 {
            return Err(LockError::NoPermits);
        }
        Ok(Self {
            inner: Rc::new(Inner {
                queue: GrantQueue::new(),
                available: Cell::new(count),
                total: Cell::new(count),
                is_closed: Cell::new(false),
            }),
        })
    }

    /// Waits for a permit.
    ///
    /// # Order
    ///
    /// As [`DeferredLock::acquire`](super::DeferredLock::acquire).
    ///
    /// # Cancel safety
    ///
    /// Cancelling or dropping a waiting Deferred removes it from the queue, and does not affect
    /// other waiters.
    ///
    /// # Errors
    ///
    /// [`LockError::SemaphoreClosed`] when the semaphore is closed, before or while the Deferred
    /// waits.
    #[track_caller]
    pub fn acquire(&self) -> Deferred<SemaphorePermit> {
        self.acquire_many(1)
    }

    /// Waits for several permits at once.
    ///
    /// # Order
    ///
    /// First come, first served, even if those behind ask for fewer permits, so a big request is
    /// not starved. A request for more permits than exist waits until
    /// [`add_permits`](DeferredSemaphore::add_permits) adds some.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](DeferredSemaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredSemaphore;
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let semaphore = DeferredSemaphore::new(3)?;
    /// let permit = semaphore.try_acquire();
    /// semaphore.acquire_many(3).add_callback(|all| assert_eq!(all.count(), 3));
    /// assert!(semaphore.try_acquire().is_none()); // two are left, and a Deferred waits for them
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn acquire_many(&self, count: usize) -> Deferred<SemaphorePermit> {
        if self.is_closed() {
            return Deferred::fail(LockError::SemaphoreClosed);
        }
        grant_queue::join(&self.inner, count, Location::caller())
    }

    /// Returns a permit, if one is free for which no Deferred waits.
    #[track_caller]
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        self.try_acquire_many(1)
    }

    /// Returns several permits, if they are free and no Deferred waits for them.
    #[track_caller]
    pub fn try_acquire_many(&self, count: usize) -> Option<SemaphorePermit> {
        if self.is_closed() {
            return None;
        }
        grant_queue::try_take(&self.inner, count)
    }

    /// Waits for a permit, calls `f`, and gives the permit back when the result of `f` is there.
    ///
    /// Order and cancel safety are those of [`DeferredLock::run`](super::DeferredLock::run).
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredSemaphore;
    /// # torsade::testing::run(async |_reactor| {
    /// let semaphore = DeferredSemaphore::new(1)?;
    /// let length = semaphore.run(async || {
    ///     torsade::yield_now().await;
    ///     Ok("page".len())
    /// });
    /// assert_eq!(length.await?, 4);
    /// # Ok(())
    /// # });
    /// ```
    #[track_caller]
    pub fn run<V, R: IntoOutcome<V>>(&self, f: impl FnOnce() -> R + 'static) -> Deferred<R::Value> {
        let here = Location::caller();
        let held = move |permit| hold(permit, here, |_| f());
        match self.try_acquire() {
            Some(permit) => run(permit, here, held),
            None => self.acquire().add_callback(held),
        }
    }

    /// Adds permits to the semaphore, beyond those it was made with, and serves waiters with them.
    ///
    /// # Panics
    ///
    /// Panics when the number of permits exceeds `usize::MAX`.
    #[track_caller]
    pub fn add_permits(&self, count: usize) {
        let total = self.inner.total.get().checked_add(count);
        let total = total.expect("a semaphore cannot count that many permits");
        self.inner.total.set(total);
        self.inner.give_back(count);
    }

    /// Closes the semaphore: the Deferreds that wait fail with [`LockError::SemaphoreClosed`], and
    /// so do later requests. Permits that are held stay valid.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::{DeferredSemaphore, LockError};
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let semaphore = DeferredSemaphore::new(1)?;
    /// let held = semaphore.try_acquire();
    /// semaphore.acquire().map(drop).add_errback(|failure| {
    ///     assert!(matches!(failure.downcast_ref(), Some(LockError::SemaphoreClosed)));
    /// });
    /// semaphore.close();
    /// # drop(held);
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.inner.is_closed.set(true);
        grant_queue::fail_all(&self.inner, || LockError::SemaphoreClosed.into());
    }

    /// Returns whether the semaphore is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed.get()
    }

    /// Returns the number of permits that are not held; some of them may be offered to waiters.
    #[doc(alias("tokens", "available_permits"))]
    pub fn available(&self) -> usize {
        self.inner.available.get()
    }

    /// Returns the number of Deferreds that wait for permits.
    pub fn waiting(&self) -> usize {
        grant_queue::waiting(&*self.inner)
    }
}

impl SemaphorePermit {
    /// Returns the number of permits held by this value.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives the permits back, as dropping does.
    pub fn release(self) {}

    /// Removes the permits from the semaphore for good, instead of giving them back.
    pub fn forget(mut self) {
        let total = &self.inner.total;
        total.set(total.get() - self.count);
        self.count = 0;
    }
}

impl fmt::Debug for DeferredSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredSemaphore")
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        self.granted = None;
        if self.count > 0 {
            self.inner.give_back(self.count);
        }
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SemaphorePermit").field(&self.count).finish()
    }
}

impl Inner {
    fn give_back(self: &Rc<Self>, count: usize) {
        self.available.set(self.available.get() + count);
        grant_queue::serve(self);
    }
}

impl Held for SemaphorePermit {
    fn granted(&self) -> &Granted {
        &self.granted
    }
}

impl Resource for Inner {
    type Given = SemaphorePermit;

    const KIND: &'static str = "semaphore";

    fn queue(&self) -> &GrantQueue<Self> {
        &self.queue
    }

    fn left(&self) -> usize {
        self.available.get()
    }

    fn take(self: &Rc<Self>, count: usize, granted: Granted) -> SemaphorePermit {
        self.available.set(self.available.get() - count);
        SemaphorePermit {
            inner: self.clone(),
            granted,
            count,
        }
    }

    fn about(&self, _: bool) -> String {
        format!("{} of {} left", self.available.get(), self.total.get())
    }

    fn held(count: usize) -> String {
        format!("{count} held")
    }
}
