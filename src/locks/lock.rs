//! [`DeferredLock`]: a lock, and the value it guards.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::rc::Rc;

use super::grant_queue::{self, GrantQueue, Resource};
use super::grants::{Granted, Held};
use super::run::{hold, run};
use crate::defer::{Deferred, IntoOutcome};
use crate::failure::Failure;

/// A lock that is held over several turns of the loop; first come, first served.
///
/// Clones are handles to the same lock. The lock may guard a value, which the [`LockGuard`] then
/// holds; what a lock without a value guards is up to its users. The [module docs](super) say how a
/// waiter gets the lock.
///
/// There is no poisoning: when the holder panics, the value goes back in its present state to the
/// next waiter.
///
/// # Examples
///
/// ```
/// use torsade::locks::DeferredLock;
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let lock = DeferredLock::new(Vec::new());
///     let (first, second) = (lock.clone(), lock.clone());
///     let writer = reactor.spawn(async move {
///         let mut words = first.acquire().await?;
///         words.push("one");
///         torsade::yield_now().await; // no other task comes between
///         words.push("two");
///         Ok(())
///     });
///     torsade::yield_now().await;
///     let words = second.acquire().await?;
///     assert_eq!(*words, ["one", "two"]);
///     writer.await?
/// });
/// ```
pub struct DeferredLock<T: 'static = ()> {
    inner: Rc<Inner<T>>,
}

/// Holds a [`DeferredLock`] and the guarded value until it is dropped.
///
/// A guard owns the value, so it can be stored anywhere. Dropping it releases the lock: the value
/// goes back, and the next waiter gets it before the drop returns, if that waiter has a callback.
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard<T: 'static = ()> {
    inner: Rc<Inner<T>>,
    granted: Granted,
    /// `None` only while it is dropped.
    value: Option<T>,
}

struct Inner<T: 'static> {
    queue: GrantQueue<Self>,
    /// `None` while the lock is held.
    value: Cell<Option<T>>,
    is_held: Cell<bool>,
}

impl<T: 'static> DeferredLock<T> {
    /// Makes a lock that guards `value`. `DeferredLock::default()` makes one without a value.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self {
            inner: Rc::new(Inner {
                queue: GrantQueue::new(),
                value: Cell::new(Some(value)),
                is_held: Cell::new(false),
            }),
        }
    }

    /// Waits for the lock, and returns its guard.
    ///
    /// # Order
    ///
    /// First come, first served, counted from this call. The next waiter's callback runs inside the
    /// drop of the guard; if that drop happens inside another waiter's callback, the next waiter's
    /// callback runs after that callback. A waiting task is woken, and takes the guard when it is
    /// polled.
    ///
    /// # Cancel safety
    ///
    /// Cancelling or dropping a waiting Deferred removes it from the queue, and does not affect
    /// other waiters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredLock;
    /// let lock = DeferredLock::new(1);
    /// let held = lock.try_acquire();
    /// lock.acquire().add_callback(|mut n| *n += 1);
    /// assert_eq!(held.as_deref(), Some(&1));
    /// drop(held); // the callback runs
    /// assert_eq!(lock.try_acquire().as_deref(), Some(&2));
    /// ```
    #[doc(alias("lock", "aenter"))]
    #[track_caller]
    pub fn acquire(&self) -> Deferred<LockGuard<T>> {
        grant_queue::join(&self.inner, 1, Location::caller())
    }

    /// Returns the guard if the lock is free and is not offered to a waiter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredLock;
    /// let lock = DeferredLock::new('a');
    /// let guard = lock.try_acquire().unwrap();
    /// assert_eq!(*guard, 'a');
    /// assert!(lock.try_acquire().is_none());
    /// ```
    #[doc(alias = "try_lock")]
    #[track_caller]
    pub fn try_acquire(&self) -> Option<LockGuard<T>> {
        grant_queue::try_take(&self.inner, 1)
    }

    /// Acquires the lock, calls `f` with the value, and releases the lock when the result of `f` is
    /// there.
    ///
    /// `f` may return what a callback may; the lock is held until a returned Deferred or async
    /// block is done. The returned Deferred has the result, or the panic, of `f`. A Deferred or
    /// async block cannot borrow the value: [`run_async`](DeferredLock::run_async) is for async
    /// code that uses it.
    ///
    /// # Order
    ///
    /// The lock is released before the result is passed on.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred while it waits for the lock removes it from the queue, and `f` is
    /// never called. Cancelling it later cancels what `f` returned; the lock is released when that
    /// is done.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Deferred;
    /// # use torsade::locks::DeferredLock;
    /// let lock = DeferredLock::new(0);
    /// let (work, done) = Deferred::pair();
    /// let result = lock.run(|n| {
    ///     *n += 1;
    ///     work
    /// });
    /// assert!(lock.is_locked());
    /// done.callback("done");
    /// assert!(!lock.is_locked());
    /// result.add_callback(|word| assert_eq!(word, "done"));
    /// ```
    #[track_caller]
    pub fn run<V, R: IntoOutcome<V>>(
        &self,
        f: impl FnOnce(&mut T) -> R + 'static,
    ) -> Deferred<R::Value> {
        let here = Location::caller();
        let held = move |guard: LockGuard<T>| hold(guard, here, |guard| f(guard));
        match self.try_acquire() {
            Some(guard) => run(guard, here, held),
            None => self.acquire().add_callback(held),
        }
    }

    /// Acquires the lock, runs an async closure that may use the value until it ends, and releases
    /// the lock; otherwise like [`run`](DeferredLock::run).
    ///
    /// # Errors
    ///
    /// [`DeferredError::NoReactor`](crate::defer::DeferredError::NoReactor) when no reactor runs on
    /// this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::DeferredLock;
    /// # torsade::testing::run(async |_reactor| {
    /// let lock = DeferredLock::new(1);
    /// let doubled = lock.run_async(async |n: &mut u32| {
    ///     torsade::yield_now().await;
    ///     *n *= 2;
    ///     Ok(*n)
    /// });
    /// assert_eq!(doubled.await?, 2);
    /// # Ok(())
    /// # });
    /// ```
    #[track_caller]
    pub fn run_async<U: 'static>(
        &self,
        f: impl AsyncFnOnce(&mut T) -> Result<U, Failure> + 'static,
    ) -> Deferred<U> {
        let waiting = self.acquire();
        Deferred::from_future(async move {
            let mut guard = waiting.await?;
            f(&mut guard).await
        })
    }

    /// Returns whether the lock is held, or is offered to a waiter.
    ///
    /// A free lock stays free until the Deferred of an [`acquire`](DeferredLock::acquire) is
    /// awaited or gets a callback.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        !grant_queue::is_free(&self.inner, 1)
    }

    /// Returns the number of Deferreds that wait for the lock.
    pub fn waiting(&self) -> usize {
        grant_queue::waiting(&*self.inner)
    }
}

impl<T: 'static> LockGuard<T> {
    /// Releases the lock, as dropping does.
    pub fn release(self) {}
}

impl<T: 'static> Clone for DeferredLock<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<T: Default + 'static> Default for DeferredLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: 'static> fmt::Debug for DeferredLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredLock")
            .field("is_locked", &self.is_locked())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl<T: 'static> Deref for LockGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
            .as_ref()
            .expect("a guard has its value until it is dropped")
    }
}

impl<T: 'static> DerefMut for LockGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
            .as_mut()
            .expect("a guard has its value until it is dropped")
    }
}

impl<T: 'static> Drop for LockGuard<T> {
    fn drop(&mut self) {
        self.granted = None;
        self.inner.value.set(self.value.take());
        self.inner.is_held.set(false);
        grant_queue::serve(&self.inner);
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for LockGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&**self).finish()
    }
}

impl<T: 'static> Held for LockGuard<T> {
    fn granted(&self) -> &Granted {
        &self.granted
    }
}

impl<T: 'static> Resource for Inner<T> {
    type Given = LockGuard<T>;

    const KIND: &'static str = "lock";

    fn queue(&self) -> &GrantQueue<Self> {
        &self.queue
    }

    fn left(&self) -> usize {
        usize::from(!self.is_held.get())
    }

    fn take(self: &Rc<Self>, _: usize, granted: Granted) -> LockGuard<T> {
        self.is_held.set(true);
        LockGuard {
            inner: self.clone(),
            granted,
            value: self.value.take(),
        }
    }

    fn about(&self, names_holders: bool) -> String {
        let about = match (self.is_held.get(), names_holders) {
            (true, true) => "",
            (true, false) => "held",
            (false, _) => "free",
        };
        about.to_owned()
    }

    fn held(_: usize) -> String {
        "held".to_owned()
    }
}
