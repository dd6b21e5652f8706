//! Awaiting and dropping a Deferred.

use std::any::TypeId;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::core::{self, Core};
use super::coroutine::Coroutine;
use super::queued::{Queued, QueuedState};
use super::{Deferred, DeferredError, State, live, tracker};
use crate::debug;
use crate::failure::Failure;
use crate::report::{self, Origin};
use crate::task::{self, budget, with_own_waker};

impl<T: 'static> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let at = Location::caller();
        if let State::Queued(queued) = &self.state {
            let needs_core = debug::is_on() || Coroutine::is_polled_here();
            if queued.linked().is_none() && !needs_core {
                if !budget::is_left() && is_refused(queued, cx) {
                    self.polled = true;
                    return Poll::Pending;
                }
                let polled = queued.poll(cx);
                return self.was_polled(polled, at);
            }
            if queued.linked().is_none() {
                // The coroutine must record it, even if the waker is the same.
                queued.core().forget_waiter();
            }
        }
        self.poll_settled_or_linked(cx, at)
    }
}

impl<T: 'static> Deferred<T> {
    /// Polls a Deferred that has a core or a result.
    #[inline(never)]
    fn poll_settled_or_linked(
        &mut self,
        cx: &Context<'_>,
        at: &'static Location<'static>,
    ) -> Poll<Result<T, Failure>> {
        if let Some(core) = self.core() {
            if core.is_offered() {
                if budget::is_spent(cx) {
                    self.polled = true;
                    return Poll::Pending;
                }
                core.ask();
            }
            if core.is_settled() && budget::is_spent(cx) {
                return Poll::Pending;
            }
            match core.take_settled() {
                Some(mut result) => {
                    budget::spend(0);
                    if debug::is_on() {
                        tracker::taken(core, TypeId::of::<T>());
                    }
                    self.state = State::Gone;
                    note_awaited(&mut result, at);
                    return Poll::Ready(result);
                }
                None => {
                    if with_own_waker(cx, |waker| core.await_by(waker)) {
                        Coroutine::note(core);
                        if core.is_offered() || core.is_settled() {
                            // The waker's clone or destructor has fired the source while no waker
                            // was stored.
                            cx.waker().wake_by_ref();
                        }
                    }
                    task::note_wait(|| live::awaits(core));
                    self.polled = true;
                    return Poll::Pending;
                }
            }
        }
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        budget::spend(0);
        match mem::replace(&mut self.state, State::Gone) {
            State::Settled(mut result, _) => {
                note_awaited(&mut result, at);
                Poll::Ready(result)
            }
            _ => Poll::Ready(Err(DeferredError::ResultTaken.into())),
        }
    }

    /// Handles the result of a poll of a Deferred without a core.
    #[inline]
    fn was_polled(
        &mut self,
        polled: Poll<Result<T, Failure>>,
        at: &'static Location<'static>,
    ) -> Poll<Result<T, Failure>> {
        self.polled = true;
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(mut result) => {
                budget::spend(0);
                // It has no core: this drops no more than its place in the queue.
                if let State::Queued(queued) = mem::replace(&mut self.state, State::Gone) {
                    drop(queued);
                }
                note_awaited(&mut result, at);
                Poll::Ready(result)
            }
        }
    }

    /// Gives up the core.
    fn drop_core(&self, core: Rc<Core>) {
        report::enter();
        if self.polled || core.only_waits() {
            core.clone().abandon(true);
            core::cancel_dropped(&core, core.location());
        } else {
            core.abandon(false);
        }
        report::leave();
    }
}

/// Returns whether a Deferred without a core is refused its result because the budget is used up.
///
/// The result stays where it is until it may be taken, because the Deferred may be dropped before.
#[cold]
#[inline(never)]
fn is_refused<T>(queued: &Queued<T>, cx: &Context<'_>) -> bool {
    queued.queued_state() != QueuedState::Waits && budget::is_spent(cx)
}

/// Adds the `await` at `at` to the trace of a failure.
#[inline]
fn note_awaited<T>(result: &mut Result<T, Failure>, at: &'static Location<'static>) {
    if let Err(failure) = result {
        note_failed(failure, at);
    }
}

#[cold]
#[inline(never)]
fn note_failed(failure: &mut Failure, at: &'static Location<'static>) {
    if debug::is_on() {
        failure.went_through(task::awaited(at));
    }
}

impl<T: 'static> Drop for Deferred<T> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.state, State::Gone) {
            self.give_up();
        }
    }
}

impl<T: 'static> Deferred<T> {
    /// Gives up what has not been taken.
    #[inline(never)]
    fn give_up(&mut self) {
        match mem::replace(&mut self.state, State::Gone) {
            State::Settled(Err(failure), location) => {
                report::deliver(Origin::Deferred, failure, location);
                report::rethrow();
            }
            State::Linked(core) => self.drop_core(core),
            State::Queued(queued) => {
                if !queued.leave() {
                    self.drop_core(queued.core().clone());
                }
            }
            State::Settled(Ok(value), location) => report::discard(value, location),
            State::Gone => {}
        }
    }
}
