//! Locks, semaphores, queues, events and watched values for one thread, and locks between
//! processes.
//!
//! # The idea
//!
//! Code on one thread needs no lock for what happens between two awaits. It needs a lock to exclude
//! other code over several turns of the loop: two tasks that write to one connection, a cache that
//! is filled once, at most ten requests at a time. All types here return Deferreds, so callbacks
//! and tasks wait in one queue, first come, first served.
//!
//! | to | use |
//! |---|---|
//! | let one task or callback at a time use a value | [`DeferredLock`] |
//! | limit the number of tasks that do something at a time | [`DeferredSemaphore`] |
//! | pass items from producers to readers | [`DeferredQueue`] |
//! | wait until something has happened | [`Event`] |
//! | follow the newest state of a value | [`Watched`] |
//! | exclude other processes | `DeferredFilesystemLock` (cargo feature `fs-lock`) |
//!
//! # A waiter that is not polled blocks no other
//!
//! A task may stop polling a future and keep it: an arm of a `select` that another arm has won, a
//! stream of futures with a busy consumer, a variable. If a lock were given to such a future, no
//! code would hold it and none would release it, and the task that stopped polling might wait for
//! the same lock again. So a lock, a permit or an item **is never stored in a Deferred from which
//! it has not been taken**:
//!
//! - A Deferred with a callback gets the lock, permit or item at once, inside the call that
//!   releases it. So does a Deferred that was returned from a callback, if another callback
//!   follows.
//! - Any other waiter is only *offered* what it waits for. The awaiting task is woken, and takes
//!   the offer when it polls; a callback takes it when it is added. Until then the lock is not
//!   held, and the item is in its queue.
//! - A waiter has until the end of the loop's next batch to take an offer; a woken task has been
//!   polled by then. After that the next waiter gets the offer, and when every waiter has had one,
//!   the first that asks gets the lock, permit or item. Outside of a turn, as in a test without a
//!   reactor, all waiters get the offer at once.
//! - A waiter that is polled only after its offer has ended gets what is free by then. If that is
//!   too little, it waits again, in its old position in the queue.
//!
//! The same holds for an `acquire` that finds the lock free, and a `get` that finds an item: their
//! Deferreds take it when they are awaited or get a callback. Dropping them before that loses
//! nothing.
//!
//! There are three exceptions. A callback that returns a guard leaves the guard in its Deferred
//! until the result is taken or the Deferred is dropped. A paused Deferred with callbacks holds
//! what it was given until the pause ends. And a waiter that asked for several permits blocks those
//! behind it until there are enough; it is passed over only if it has missed its offer.
//!
//! # Rules
//!
//! 1. **The position in the queue** is that of the call (`acquire`, `get`), not of the first poll.
//! 2. **Leaving** the queue, by a cancel or by dropping the Deferred, loses no lock, permit or
//!    item. A Deferred that has callbacks stays in the queue when it is dropped, as every Deferred
//!    with callbacks runs on.
//! 3. **Releasing is a call**: the next waiter's callback runs inside it. A release inside such a
//!    callback serves the next waiter after that callback has returned, so a queue of any length
//!    uses a constant amount of stack.
//! 4. **Guards borrow nothing**, so they can be stored anywhere. Dropping one releases, also during
//!    a panic.
//! 5. Waiters that nothing can serve any more, because all handles and guards are dropped, fail
//!    with [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned).
//!
//! # Finding the holder
//!
//! In [debug mode](crate::reactor::ReactorBuilder::debug) the holders are recorded. The
//! [dump](crate::Reactor::dump) and the `Debug` of a waiting Deferred then name the line where the
//! lock or semaphore was made, its holder, and the line that acquired it. The holder is the task
//! that awaited the guard, or the chain whose callback got it; for a guard that a callback has
//! stored elsewhere, only the line is shown. The dump lists holders below the tasks that wait for
//! them, so two tasks that wait for each other are shown as a cycle.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [lock
//! guard](crate::guide::glossary#lock-guard), [offer](crate::guide::glossary#offer),
//! [batch](crate::guide::glossary#batch), [event](crate::guide::glossary#event), [cancel
//! safety](crate::guide::glossary#cancel-safety).

// Ownership: `grant_queue` is the queue of waiters, common to everything that is granted to one
// waiter after the other; `defer` describes how a Deferred waits in it. `grants` records the
// holders; a guard owns its entry there. `event` fires all waiters at once, and needs none of this.

mod errors;
mod event;
#[cfg(all(unix, any(doc, feature = "fs-lock")))]
mod filesystem;
mod grant_queue;
mod grants;
mod lock;
#[cfg(unix)]
mod lock_file;
mod numbered;
mod queue;
mod run;
mod semaphore;
mod watched;

pub use self::errors::{LockError, QueueOverflow};
#[doc(alias("Condvar", "Condition", "CancellationToken"))]
pub use self::event::Event;
#[cfg(all(unix, any(doc, feature = "fs-lock")))]
#[cfg_attr(docsrs, doc(cfg(feature = "fs-lock")))]
#[doc(alias("FilesystemLock", "lockfile"))]
pub use self::filesystem::DeferredFilesystemLock;
#[cfg(all(unix, any(doc, feature = "fs-lock")))]
#[cfg_attr(docsrs, doc(cfg(feature = "fs-lock")))]
pub use self::filesystem::FilesystemLockGuard;
#[doc(alias("Mutex", "Lock", "RwLock"))]
pub use self::lock::DeferredLock;
#[doc(alias = "MutexGuard")]
pub use self::lock::LockGuard;
#[cfg(unix)]
pub(crate) use self::lock_file::{Locked, is_locked, lock_at, unlock};
#[doc(alias("mpsc", "channel", "Queue", "Notify", "notify_one"))]
pub use self::queue::DeferredQueue;
pub use self::queue::Items;
#[doc(alias("Semaphore", "BoundedSemaphore"))]
pub use self::semaphore::DeferredSemaphore;
pub use self::semaphore::SemaphorePermit;
#[doc(alias = "watch")]
pub use self::watched::Watched;
pub use self::watched::Watcher;
