//! [`Watched`]: a value whose changes can be waited for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::errors::LockError;
use crate::defer::{Deferred, Listeners};
use crate::report;

/// A value that can be watched; watchers see the newest value, not each one.
///
/// Clones are handles to the same value. When the last handle is dropped, the Deferreds of
/// [`Watcher::changed`] fail with [`LockError::WatchEnded`].
///
/// # Examples
///
/// ```
/// use torsade::locks::Watched;
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let speed = Watched::new(0);
///     let mut watcher = speed.watch();
///     let seen = reactor.spawn(async move {
///         let mut seen = Vec::new();
///         while watcher.changed().await.is_ok() {
///             seen.push(*watcher.get());
///         }
///         seen
///     });
///     torsade::yield_now().await;
///     speed.set(1);
///     speed.set(2); // comes before the watcher has looked
///     torsade::yield_now().await;
///     speed.update(|old| old + 1);
///     drop(speed);
///     assert_eq!(seen.await?, [2, 3]);
///     Ok(())
/// });
/// ```
pub struct Watched<T: 'static> {
    owner: Rc<Owner<T>>,
}

/// A watcher of a [`Watched`] value, which remembers the last value it has seen.
///
/// A clone begins with the same value seen.
pub struct Watcher<T: 'static> {
    inner: Rc<Inner<T>>,
    seen: u64,
}

/// The state that all handles of a value own together.
struct Owner<T: 'static>(Rc<Inner<T>>);

struct Inner<T: 'static> {
    value: RefCell<Rc<T>>,
    /// The number of times it was set.
    version: Cell<u64>,
    waiters: Listeners<()>,
    is_over: Cell<bool>,
}

impl<T: 'static> Watched<T> {
    /// Makes a value to be watched.
    pub fn new(value: T) -> Self {
        Self {
            owner: Rc::new(Owner(Rc::new(Inner {
                value: RefCell::new(Rc::new(value)),
                version: Cell::new(0),
                waiters: Listeners::default(),
                is_over: Cell::new(false),
            }))),
        }
    }

    /// Sets the value and notifies the watchers, also if it is equal to the old value.
    ///
    /// # Order
    ///
    /// Callbacks of watchers run inside this call, in the order in which they began to wait.
    #[doc(alias("send", "send_replace"))]
    #[track_caller]
    pub fn set(&self, value: T) {
        let inner = &self.owner.0;
        let old = inner.value.replace(Rc::new(value));
        inner.version.set(inner.version.get() + 1);
        report::discard(old, Location::caller());
        for waiter in inner.waiters.resolvers() {
            waiter.callback(());
        }
    }

    /// Calls `f` with the present value, sets the value that it returns, and notifies the watchers.
    #[doc(alias = "send_modify")]
    #[track_caller]
    pub fn update(&self, f: impl FnOnce(&T) -> T) {
        self.set(f(&self.get()));
    }

    /// Returns the present value. The returned `Rc` keeps this value when another one is set.
    #[doc(alias = "borrow")]
    pub fn get(&self) -> Rc<T> {
        self.owner.0.value.borrow().clone()
    }

    /// Returns a watcher that counts the present value as seen.
    #[doc(alias = "subscribe")]
    pub fn watch(&self) -> Watcher<T> {
        let inner = self.owner.0.clone();
        let seen = inner.version.get();
        Watcher { inner, seen }
    }
}

impl<T: 'static> Watcher<T> {
    /// Waits for a value that this watcher has not seen.
    ///
    /// Only [`get`](Watcher::get) marks a value as seen. While there is a value that was not seen,
    /// the returned Deferred is settled at once.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost. A Deferred dropped without callbacks stops waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::WatchEnded`] when the last value was seen and the [`Watched`] was dropped.
    #[track_caller]
    pub fn changed(&self) -> Deferred<()> {
        if self.has_changed() {
            Deferred::succeed(())
        } else if self.inner.is_over.get() {
            Deferred::fail(LockError::WatchEnded)
        } else {
            self.inner.waiters.join()
        }
    }

    /// Returns the present value, and marks it as seen.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::locks::Watched;
    /// let value = Watched::new('a');
    /// let mut watcher = value.watch();
    /// assert!(!watcher.has_changed());
    /// value.set('b');
    /// assert!(watcher.has_changed());
    /// assert_eq!(*watcher.get(), 'b');
    /// assert!(!watcher.has_changed());
    /// ```
    #[doc(alias = "borrow_and_update")]
    pub fn get(&mut self) -> Rc<T> {
        self.seen = self.inner.version.get();
        self.inner.value.borrow().clone()
    }

    /// Returns whether there is a value that this watcher has not seen.
    pub fn has_changed(&self) -> bool {
        self.seen != self.inner.version.get()
    }
}

impl<T: 'static> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self {
            owner: self.owner.clone(),
        }
    }
}

impl<T: 'static> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            seen: self.seen,
        }
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.get()).finish()
    }
}

impl<T: 'static> fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("has_changed", &self.has_changed())
            .finish()
    }
}

impl<T: 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        for waiter in self.0.waiters.resolvers() {
            waiter.errback(LockError::WatchEnded);
        }
    }
}
