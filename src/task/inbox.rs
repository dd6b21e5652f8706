//! [`Inbox`]: what other threads send to the loop, woken tasks and calls.
//!
//! # The idea
//!
//! One queue to which any thread may push and from which only the loop pops, and one flag that says
//! that the loop has been notified. Pushing sets the flag; only the push that sets it wakes the
//! loop, so a burst costs one wake. The loop clears the flag *before* it pops, so a push that comes
//! too late to be popped sets it again.
//!
//! # Invariants
//!
//! 1. What was pushed before [`Inbox::close`] is popped or dropped by the loop's thread; what comes
//!    later is returned to the code that pushed it.
//! 2. A task's [`Runnable`] is never dropped off the loop's thread: that would drop its future
//!    there (and `async-task` ends the process for it). When the loop is gone, the future is gone
//!    as well, and the empty shell is leaked.
//! 3. Messages of one thread keep their order.

use std::fmt;
use std::panic::Location;

use async_task::Runnable;

use super::handle::Handle;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, ConcurrentQueue, Ordering, Shared};

/// The line that spawned a task.
pub(crate) type Caller = &'static Location<'static>;

/// The metadata of a task.
pub(crate) struct Shell {
    pub(super) location: Caller,
    /// The inbox of the loop that the task belongs to.
    pub(super) inbox: Shared<Inbox>,
    pub(super) handle: Handle,
}

/// The inbox of one loop, for all threads.
pub(crate) struct Inbox {
    queue: ConcurrentQueue<Message>,
    /// Set while the loop knows that there are messages, or is about to check.
    is_notified: AtomicBool,
    /// The loop's thread.
    host_thread: ThreadId,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A message to the loop.
pub(crate) enum Message {
    Task(Runnable<Shell>),
    Call(Box<dyn FnOnce() + Send>, Caller),
}

impl Inbox {
    /// Makes an empty inbox; `wake` must end the loop's present or next wait.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Shared<Self> {
        Shared::new(Self {
            queue: ConcurrentQueue::unbounded(),
            is_notified: AtomicBool::new(false),
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
    pub(crate) fn push_call(
        &self,
        call: Box<dyn FnOnce() + Send>,
        location: Caller,
    ) -> Result<(), Box<dyn FnOnce() + Send>> {
        match self.push(Message::Call(call, location)) {
            Err(Message::Call(call, _)) => Err(call),
            _ => Ok(()),
        }
    }

    /// Returns how many messages to take now, after recording that later ones must wake the loop
    /// again.
    pub(crate) fn begin(&self) -> usize {
        if self.queue.is_empty() && !self.is_notified.load(Ordering::Acquire) {
            return 0;
        }
        // A swap, because it acquires what was pushed by threads that found the flag set and woke
        // nothing.
        self.is_notified.swap(false, Ordering::SeqCst);
        self.queue.len()
    }

    /// Records that the loop has left messages in the inbox. The loop knows that, so later pushes
    /// need not wake it.
    pub(crate) fn leave_rest(&self) {
        // A swap, because a store would hide from `begin` a push that has just set the flag.
        self.is_notified.swap(true, Ordering::SeqCst);
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop().ok()
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
        self.queue.close();
    }

    /// Returns whether the loop is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn push(&self, message: Message) -> Result<(), Message> {
        self.queue
            .push(message)
            .map_err(concurrent_queue::PushError::into_inner)?;
        if !self.is_notified.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
        Ok(())
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}
