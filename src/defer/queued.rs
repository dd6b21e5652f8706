//! [`Queued`]: a Deferred that waits in a queue and has no core.
//!
//! # The idea
//!
//! Most Deferreds of a lock or a queue are awaited at once, or dropped. Such a Deferred has no
//! steps and its consumer is its holder, so it is only an ID in the [`WaitQueue`], which stores the
//! waker beside the ID. Polling and dropping it are calls of the queue. Everything else needs a
//! core: the core is then made, takes over the position in the queue, and the Deferred continues
//! like any other.
//!
//! # Ownership
//!
//! The Deferred refers weakly to the queue. The queue keeps itself alive for a waiter that was
//! offered something, or that has failed, until the Deferred fetches that or is dropped.
//!
//! # Invariants
//!
//! 1. While there is no core, the queue knows the id, or will never give it anything.
//! 2. There is a core where a coroutine must find what it awaits, and where debug mode records it.

use std::cell::OnceCell;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::core::{Core, WaitSource, WaiterId};
use super::{Deferred, DeferredError, Resolver, State};
use crate::debug;
use crate::failure::Failure;

/// A queue in which Deferreds without a core wait.
pub(crate) trait WaitQueue: WaitSource {
    type Given: 'static;

    /// Returns the value that the waiter waits for, or stores the waker of `cx`. Returns `None` if
    /// no value will come.
    fn poll(
        self: Rc<Self>,
        id: WaiterId,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Self::Given, Failure>>>;

    /// Returns the state of a waiter.
    fn queued_state(&self, id: WaiterId) -> QueuedState;

    /// Gives the waiter a core, which the resolver fires; at once if the waiter has failed. Runs no
    /// user code.
    fn link(self: Rc<Self>, id: WaiterId, resolver: Resolver<Self::Given>) -> Link;

    /// Removes the waiter. Returns `false` without removing it if other waiters depend on it or a
    /// failure must be reported.
    fn leave_unnoticed(&self, id: WaiterId) -> bool;

    /// Returns the same queue without its type.
    fn as_source(self: Rc<Self>) -> Rc<dyn WaitSource>;
}

/// The state of a waiter without a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuedState {
    Waits,
    /// The waiter was offered its value, or could have it.
    Offered,
    /// The waiter has failed, or is unknown.
    Failed,
}

/// The state that a core takes over from a waiter without core.
pub(crate) struct Link {
    pub(crate) is_offered: bool,
    /// The waker of the task that awaits.
    pub(crate) waker: Option<Waker>,
}

/// A waiter of a queue.
pub(super) struct Queued<T: 'static> {
    queue: Weak<dyn WaitQueue<Given = T>>,
    id: WaiterId,
    location: &'static Location<'static>,
    /// Set by the first operation that needs a core.
    core: OnceCell<Rc<Core>>,
}

impl<T: 'static> Deferred<T> {
    /// Makes a Deferred that waits in `queue` under this id.
    pub(crate) fn queued(
        queue: Weak<dyn WaitQueue<Given = T>>,
        id: WaiterId,
        location: &'static Location<'static>,
    ) -> Self {
        let queued = Queued {
            queue,
            id,
            location,
            core: OnceCell::new(),
        };
        if debug::is_on() {
            queued.core();
        }
        Self {
            state: State::Queued(queued),
            polled: false,
        }
    }
}

impl<T: 'static> Queued<T> {
    /// Returns the core, which is made if there is none.
    pub(super) fn core(&self) -> &Rc<Core> {
        self.core.get_or_init(|| self.link())
    }

    /// Returns the core, if there is one.
    #[inline]
    pub(super) fn linked(&self) -> Option<&Rc<Core>> {
        self.core.get()
    }

    pub(super) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    #[cold]
    fn link(&self) -> Rc<Core> {
        let (core, resolver) = Resolver::new(self.location);
        // Without a queue the resolver is dropped, and the core is abandoned.
        if let Some(queue) = self.queue.upgrade() {
            let link = queue.clone().link(self.id, resolver);
            core.take_over(queue.as_source(), self.id, link);
        }
        core
    }

    /// Polls a waiter without a core.
    #[inline]
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<T, Failure>> {
        let polled = match self.queue.upgrade() {
            Some(queue) => queue.poll(self.id, cx),
            None => Poll::Ready(None),
        };
        polled.map(|result| {
            result.unwrap_or_else(|| Err(Failure::at(DeferredError::Abandoned, self.location)))
        })
    }

    /// Returns the state if there is no core.
    pub(super) fn queued_state(&self) -> QueuedState {
        let queue = self.queue.upgrade();
        queue.map_or(QueuedState::Failed, |queue| queue.queued_state(self.id))
    }

    /// Leaves the queue as a dropped Deferred does. Returns `false` if that needs a core.
    pub(super) fn leave(&self) -> bool {
        let is_unlinked = self.core.get().is_none();
        let queue = self.queue.upgrade().filter(|_| is_unlinked);
        queue.is_some_and(|queue| queue.leave_unnoticed(self.id))
    }
}
