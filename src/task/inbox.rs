//! [`Inbox`]: what other threads send to the loop, woken tasks and calls.
//!
//! # The idea
//!
//! One queue to which any thread may push and of which only the loop takes everything at once, and
//! one flag that says that the loop has been notified. Pushing sets the flag; only the push that
//! sets it wakes the loop, so a burst costs one wake. Both change under one lock, which is held for
//! a few instructions: the loop takes a whole burst by exchanging two pointers.
//!
//! # Invariants
//!
//! 1. What was pushed before [`Inbox::close`] is taken or dropped by the loop's thread; what comes
//!    later is returned to the code that pushed it.
//! 2. A task's [`Runnable`] is never dropped off the loop's thread: that would drop its future
//!    there (and `async-task` ends the process for it). When the loop is gone, the future is gone
//!    as well, and the empty shell is leaked.
//! 3. Messages of one thread keep their order.
//! 4. No message is dropped, and the loop is not woken, while the lock is held.
//!
//! # The references of tasks
//!
//! Each task has a reference to the inbox, because a waker may outlive the loop. To count one is a
//! locked instruction, and two of them are a tenth of the time of a short task. So the reference of
//! a task that has ended on the loop's thread is kept, as a number ([`Inbox::spare`]), for the next
//! task, and the count does not change. [`HomeInbox`], which the loop has, gives them all up.

#![allow(
    unsafe_code,
    reason = "references that are counted, and stored as their number"
)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;

use async_task::Runnable;

use super::RemoteCall;
use super::handle::Handle;
use crate::context;
use crate::queue::LocalQueue;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, Shared};

/// The line that spawned a task.
pub(crate) type Caller = &'static Location<'static>;

/// The metadata of a task.
pub(crate) struct Shell {
    pub(super) location: Caller,
    /// The inbox of the loop that the task belongs to.
    pub(super) inbox: InboxRef,
    pub(super) handle: Handle,
}

/// The reference of a task to the inbox of its loop.
pub(super) struct InboxRef(ManuallyDrop<Shared<Inbox>>);

/// The inbox of the loop that has this.
pub(super) struct HomeInbox(Shared<Inbox>);

/// The inbox of one loop, for all threads.
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// Set while the loop knows that there are messages, or is about to check. Written only under
    /// the queue's lock.
    is_notified: AtomicBool,
    /// The number of references that are counted and that no code holds. Only the loop's thread
    /// uses it, so the models do not explore it.
    spare: AtomicUsize,
    /// The loop's thread.
    host_thread: ThreadId,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct Queue {
    messages: LocalQueue<Message>,
    is_closed: bool,
}

/// A message to the loop.
pub(crate) enum Message {
    Task(Runnable<Shell>),
    Call(RemoteCall, Caller),
}

impl Inbox {
    /// Makes an empty inbox; `wake` must end the loop's present or next wait.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Shared<Self> {
        Shared::new(Self {
            queue: Mutex::new(Queue {
                messages: LocalQueue::new(),
                is_closed: false,
            }),
            is_notified: AtomicBool::new(false),
            spare: AtomicUsize::new(0),
            host_thread: thread::current().id(),
            wake: Box::new(wake),
        })
    }

    /// Adds a woken task. If the loop is gone its shell is leaked (invariant 2).
    pub(crate) fn push_task(&self, runnable: Runnable<Shell>) {
        if let Err(Message::Task(shell)) = self.push(Message::Task(runnable)) {
            std::mem::forget(shell);
        }
    }

    /// Adds a call, or returns it if the loop is gone.
    pub(crate) fn push_call(&self, call: RemoteCall, location: Caller) -> Result<(), RemoteCall> {
        match self.push(Message::Call(call, location)) {
            Err(Message::Call(call, _)) => Err(call),
            _ => Ok(()),
        }
    }

    /// Moves all messages behind those that were taken before, after recording that later ones
    /// must wake the loop again.
    pub(crate) fn take_all(&self, taken: &LocalQueue<Message>) {
        if !self.has_messages() {
            return;
        }
        let queue = self.queue();
        self.is_notified.store(false, Ordering::Relaxed);
        if !taken.is_empty() {
            queue.messages.put_back(taken.take());
        }
        queue.messages.swap(taken);
    }

    /// Records that the loop has left messages that it took. The loop knows that, so later pushes
    /// need not wake it.
    pub(crate) fn leave_rest(&self) {
        let _queue = self.queue();
        self.is_notified.store(true, Ordering::Relaxed);
    }

    /// Returns whether there are messages.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        self.is_notified.load(Ordering::Acquire)
    }

    /// Returns whether this is the loop's thread.
    pub(crate) fn is_host(&self) -> bool {
        thread::current().id() == self.host_thread
    }

    /// Ends the loop's wait without a message.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
    }

    /// Returns whether the loop is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    fn push(&self, message: Message) -> Result<(), Message> {
        let queue = self.queue();
        if queue.is_closed {
            return Err(message);
        }
        queue.messages.push(message);
        let was_notified = self.is_notified.load(Ordering::Relaxed);
        if !was_notified {
            self.is_notified.store(true, Ordering::Release);
        }
        drop(queue);
        if !was_notified {
            (self.wake)();
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HomeInbox {
    pub(super) fn new(inbox: Shared<Inbox>) -> Self {
        Self(inbox)
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared<Inbox> {
        &self.0
    }

    /// Returns a reference for a new task.
    #[inline]
    pub(super) fn reference(&self) -> InboxRef {
        let inbox = self.take_spare().unwrap_or_else(|| self.0.clone());
        InboxRef(ManuallyDrop::new(inbox))
    }

    #[inline]
    fn take_spare(&self) -> Option<Shared<Inbox>> {
        let left = self.0.spare.load(Ordering::Relaxed).checked_sub(1)?;
        self.0.spare.store(left, Ordering::Relaxed);
        // SAFETY: a reference that is still counted was forgotten when the number was increased.
        Some(unsafe { Shared::from_raw(Shared::as_ptr(&self.0)) })
    }
}

impl Drop for HomeInbox {
    fn drop(&mut self) {
        // No more are kept: this thread's context has no longer the loop.
        while let Some(spare) = self.take_spare() {
            drop(spare);
        }
    }
}

impl InboxRef {
    #[inline]
    pub(super) fn shared(&self) -> &Shared<Inbox> {
        &self.0
    }
}

impl Drop for InboxRef {
    #[inline]
    fn drop(&mut self) {
        let is_home = context::with(|thread| thread.inbox.get() == Shared::as_ptr(&self.0).cast());
        if is_home {
            let count = self.0.spare.load(Ordering::Relaxed);
            if count < MOST_SPARE {
                self.0.spare.store(count + 1, Ordering::Relaxed);
                return;
            }
        }
        // SAFETY: it is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

/// The most references that are kept.
const MOST_SPARE: usize = 4_096;

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("waiting", &self.queue().messages.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn references_of_ended_tasks_are_kept_for_new_ones_until_the_loop_ends() {
        let inbox = Inbox::new(|| {});
        let home = HomeInbox::new(inbox.clone());
        let present = Shared::as_ptr(&inbox).cast();
        let before = context::with(|thread| thread.inbox.replace(present));
        let references: Vec<_> = (0..10).map(|_| home.reference()).collect();
        assert_eq!(Shared::strong_count(&inbox), 12);
        drop(references);
        let (one, other) = (home.reference(), home.reference());
        assert_eq!(Shared::strong_count(&inbox), 12, "eight are kept");
        thread::spawn(move || drop(other)).join().unwrap();
        assert_eq!(Shared::strong_count(&inbox), 11);
        context::with(|thread| thread.inbox.set(before));
        drop(one);
        assert_eq!(Shared::strong_count(&inbox), 10);
        drop(home);
        assert_eq!(Shared::strong_count(&inbox), 1);
    }
}
