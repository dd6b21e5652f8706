//! A Deferred that waits in a queue and has no core: [`Queued`].
//!
//! # The idea
//!
//! Most Deferreds of a lock or a queue are awaited at once, or dropped. Such a Deferred has no steps
//! and its consumer is its holder, so it is no more than an id in the [`WaitQueue`], which stores
//! the waker beside the id. Polling and dropping it are calls of the queue. Anything else that
//! is asked of it needs a core: that is made then, takes over the place in the queue, and the
//! Deferred goes on as any other.
//!
//! # Who owns what
//!
//! The Deferred knows the queue weakly. The queue keeps itself alive for a waiter that was offered
//! something, or that has failed, until the Deferred fetches that or is dropped.
//!
//! # Invariants
//!
//! 1. While there is no core, the queue knows its id, or will never give it anything.
//! 2. Where a coroutine must find what it awaits, or debug mode notes it, there is a core.

use std::cell::OnceCell;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::core::{Core, WaitSource, WaiterId};
use super::{Deferred, DeferredError, Resolver, State};
use crate::debug;
use crate::failure::Failure;

/// Where Deferreds wait that have no core.
pub(crate) trait WaitQueue: WaitSource {
    type Given: 'static;

    /// Gives the waiter what there is for it, or stores the waker of `cx`. `None` if there will be
    /// nothing.
    fn poll(
        self: Rc<Self>,
        id: WaiterId,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Self::Given, Failure>>>;

    /// How the waiter stands.
    fn standing(&self, id: WaiterId) -> Standing;

    /// From now on the waiter has a core, which this resolver fires; at once if the waiter has
    /// failed. Runs no user code.
    fn link(self: Rc<Self>, id: WaiterId, resolver: Resolver<Self::Given>) -> Link;

    /// Takes the waiter out, unless others are concerned by that or there is a failure to report:
    /// then it returns `false`.
    fn leave_unnoticed(&self, id: WaiterId) -> bool;

    /// The same queue, without its type.
    fn as_source(self: Rc<Self>) -> Rc<dyn WaitSource>;
}

/// How a waiter without a core stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Waits,
    /// It was offered what it waits for, or could have it.
    Offered,
    /// It has failed, or is unknown.
    Failed,
}

/// What a core takes over from a waiter that had none.
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
    /// Set once something is asked that needs one.
    core: OnceCell<Rc<Core>>,
}

impl<T: 'static> Deferred<T> {
    /// One that waits in `queue` under this id.
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
    /// Its core, which is made if there is none.
    pub(super) fn core(&self) -> &Rc<Core> {
        self.core.get_or_init(|| self.link())
    }

    /// Its core, if there is one.
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

    /// Polls one that has no core.
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

    /// How it stands if it has no core.
    pub(super) fn standing(&self) -> Standing {
        let queue = self.queue.upgrade();
        queue.map_or(Standing::Failed, |queue| queue.standing(self.id))
    }

    /// Leaves the queue, as one that is dropped does. `false` if that takes a core.
    pub(super) fn leave(&self) -> bool {
        let is_unlinked = self.core.get().is_none();
        let queue = self.queue.upgrade().filter(|_| is_unlinked);
        queue.is_some_and(|queue| queue.leave_unnoticed(self.id))
    }
}
