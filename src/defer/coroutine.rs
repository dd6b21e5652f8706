//! A future that became a Deferred: how it runs, and how a cancel reaches the place where it waits.
//!
//! # The idea
//!
//! Cancelling such a Deferred must not simply drop the future: the Deferred that the future awaits is cancelled
//! instead, the future sees the outcome at its `await`, and may clean up, go on, even succeed. So a coroutine
//! notes which Deferreds it is waiting for. A Deferred that is polled finds the coroutine it is polled in
//! through a thread local.
//!
//! # Invariants
//!
//! 1. What is noted is held weakly, and looked through when there is much of it: a coroutine that awaits a
//!    million Deferreds one after another remembers a handful.
//! 2. A coroutine that waits for no Deferred is dropped when it is cancelled.
//! 3. The future's panic becomes the Deferred's failure.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::{Canceller, Core};
use super::{Deferred, Resolver};
use crate::failure::Failure;
use crate::report;
use crate::task::{Executor, Task};

/// What is known of a future that runs as a Deferred.
#[derive(Default)]
pub(super) struct Coroutine {
    /// What it waits for, and some of what it has waited for (invariant 1).
    noted: RefCell<Vec<Weak<Core>>>,
    task: Cell<Option<Task<()>>>,
}

impl Coroutine {
    /// Runs `future` on this thread's reactor.
    pub(super) fn start<T: 'static>(
        future: impl Future<Output = Result<T, Failure>> + 'static,
        place: &'static Location<'static>,
    ) -> Deferred<T> {
        let Some(executor) = Executor::current() else {
            return Deferred::settled(Err(super::NoReactor.into()), place);
        };
        let (deferred, resolver) = Deferred::pair_at(place);
        let coroutine = Rc::new(Self::default());
        deferred.set_canceller(Canceller::Coroutine(coroutine.clone()));
        let driven = Driven {
            future,
            coroutine: coroutine.clone(),
            resolver: Some(resolver),
            place,
        };
        coroutine.task.set(Some(executor.spawn(driven, place)));
        deferred
    }

    /// The Deferreds it is waiting for now.
    pub(super) fn awaited(&self) -> Vec<Rc<Core>> {
        let noted = self.noted.borrow();
        noted
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|core| core.is_awaited())
            .collect()
    }

    /// Drops the future.
    pub(super) fn stop(&self) {
        if let Some(task) = self.task.take() {
            drop(task.cancel());
        }
    }

    /// Notes that the coroutine being polled, if one is, waits for `core`.
    pub(super) fn note(core: &Rc<Core>) {
        let current = CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten();
        let Some(coroutine) = current else { return };
        let mut noted = coroutine.noted.borrow_mut();
        if noted.len() == noted.capacity() {
            noted.retain(|core| core.upgrade().is_some_and(|core| core.is_awaited()));
        }
        noted.push(Rc::downgrade(core));
    }
}

pin_project! {
    /// The future, and the end of the Deferred that it will resolve.
    struct Driven<T: 'static, F> {
        #[pin]
        future: F,
        coroutine: Rc<Coroutine>,
        // Empty once it was used.
        resolver: Option<Resolver<T>>,
        place: &'static Location<'static>,
    }
}

impl<T: 'static, F: Future<Output = Result<T, Failure>>> Future for Driven<T, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let future = this.future;
        let outer = CURRENT.with(|current| current.replace(Some(this.coroutine.clone())));
        let polled = report::catch(this.place, || future.poll(cx));
        let left = CURRENT.with(|current| current.replace(outer));
        drop(left);
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(failure) => Err(failure),
        };
        if let Some(resolver) = this.resolver.take() {
            resolver.resolve(result);
        }
        Poll::Ready(())
    }
}

thread_local! {
    /// The coroutine that is being polled.
    static CURRENT: RefCell<Option<Rc<Coroutine>>> = const { RefCell::new(None) };
}
