//! Taking turns: locks, semaphores, queues, events, watched values, and locks between processes.
//!
//! # The idea
//!
//! One thread needs no lock for what happens between two awaits. It needs one when nobody else may come between over
//! several turns of the loop: two tasks that write to one connection, a cache that is filled once, no more than ten
//! requests at a time. All of these give Deferreds, so callbacks and tasks wait in one line, first come, first served.
//!
//! # Nobody waits for one who does not look
//!
//! A task may stop polling a future and keep it: an arm of a `select` that lost its turn, a stream of futures whose
//! consumer is busy, a variable. If a lock gave itself to such a future, nobody would hold it and nobody would release
//! it; worst of all when the very task that stopped polling waits for the lock a second time. So what is given out here
//! **never lies in a Deferred that nobody has taken it from**:
//!
//! - A waiter with a callback gets its own at once, inside the release. So does one that was returned from a callback,
//!   if another callback comes after that.
//! - Any other is only *offered* what it waits for. The task that awaits it is woken, and takes it when it polls; a
//!   callback takes it when it is added. Until then it is still where it was: a lock is not held, an item is in
//!   its queue.
//! - Who was offered something has one batch of the loop to take it; a task that was woken has been polled by then. After
//!   that the next one is offered it, and when all have been asked, anybody may have it. Outside of a loop nobody is
//!   given time: all are asked at once.
//! - Who comes late finds what is there by then. If it is too little, he is in line again, in his old place.
//!
//! The same holds for an `acquire` that finds the lock free, and a `get` that finds an item: they take it when they are
//! awaited or get a callback. Dropping them before loses nothing.
//!
//! The limit: what a callback was given is its own. A callback that returns a guard leaves it in its Deferred, for as
//! long as that lies there; the same goes for one that is paused. And who has asked for several permits keeps those
//! behind him waiting until there are enough; he is passed over only if he is not there by then.
//!
//! # Rules
//!
//! 1. **In line** counts the call (`acquire`, `get`), not the first poll.
//! 2. **Leaving** the line, by cancel or by dropping the Deferred, takes nothing along. A Deferred that has callbacks
//!    stays in line when it is dropped, as every Deferred does.
//! 3. **Releasing is a call**: the callback of the next one runs inside it. A release inside such a callback hands over
//!    when that callback has returned, so a line of any length uses no stack.
//! 4. **Guards own.** They can be kept anywhere; dropping one releases, also in a panic.
//! 5. Those who wait for what nobody can bring any more, because all handles and guards are gone, are
//!    [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned).
//!
//! # Who holds it?
//!
//! Where [debug mode](crate::reactor::ReactorBuilder::debug) is on, it is remembered who was given what. The [tree](crate::Reactor::dump)
//! and the `Debug` of a Deferred that waits then say where the lock or semaphore was made, who holds it, and since which
//! line. A guard is its task's, or that of the chain whose callback got it, for as long as that can be followed: of one that
//! a callback has put away, only the line is known. In the tree those who hold stand below those who wait for them, so
//! two who wait for each other are a circle, and called one.
//!
//! # Who owns what
//!
//! `line` is the line itself, common to all that hands things out one by one; how a Deferred stands in it is written
//! in `defer`. `grants` remembers who holds what; a guard owns its entry there. `event` has what is told to all at once, and needs none of this.

mod errors;
mod event;
#[cfg(all(unix, any(doc, feature = "fs-lock")))]
mod filesystem;
mod grants;
mod line;
mod lock;
#[cfg(unix)]
mod lock_file;
mod numbered;
mod queue;
mod run;
mod semaphore;
mod watched;

pub use self::errors::{LockError, QueueOverflow};
pub use self::event::Event;
#[cfg(all(unix, any(doc, feature = "fs-lock")))]
#[cfg_attr(docsrs, doc(cfg(feature = "fs-lock")))]
pub use self::filesystem::{DeferredFilesystemLock, FilesystemLockGuard};
pub use self::lock::{DeferredLock, LockGuard};
#[cfg(unix)]
pub use self::lock_file::FilesystemLockError;
#[cfg(unix)]
pub(crate) use self::lock_file::{Locked, is_locked, lock_at, unlock};
pub use self::queue::{DeferredQueue, Items};
pub use self::semaphore::{DeferredSemaphore, SemaphorePermit};
pub use self::watched::{Watched, Watcher};
