//! The future of a task: the user's future, with its panics caught.
//!
//! `async-task` ends the process when a future's destructor panics, and loses the payload of a
//! detached task that panics. So neither ever sees a panic: [`Root`] catches panics in polls and
//! drops, and makes them the task's result or a report. `async-task` also forgets to drop a future
//! that waits when no waker of it is left; the list (invariant 2) has one.
//!
//! # Invariants
//!
//! 1. Nothing unwinds out of [`Root`] or [`Outcome`], neither in use nor when dropped.
//! 2. A task that waits is listed with its executor, so that the executor can end it; a task that
//!    is ready is in a queue instead, and one that never waits is never listed.
//! 3. A result that is not taken is reported if it is a failure, as far as `unhandled` can tell.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::inbox::Caller;
use super::info::Number;
use super::unhandled::failure_in;
use super::{Executor, TaskInfo};
use crate::debug;
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

pin_project! {
    /// A user's future, with its panics caught.
    pub(super) struct Root<F>
    where
        F: Future,
        F: 'static,
        F::Output: 'static,
    {
        #[pin]
        future: Option<F>,
        executor: Rc<Executor>,
        // The number under which the executor lists the task, once it has had to wait.
        listed: Option<Number>,
        // The number of the task's info, if it has a name, locals, or is debugged.
        info: Option<Number>,
        location: Caller,
    }

    impl<F> PinnedDrop for Root<F>
    where
        F: Future,
        F: 'static,
        F::Output: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            // Most have ended when they are dropped.
            if this.future.is_some() {
                this.end();
            }
        }
    }
}

impl<F: Future<Output: 'static> + 'static> Root<F> {
    pub(super) fn new(
        future: F,
        executor: Rc<Executor>,
        info: Option<Number>,
        location: Caller,
    ) -> Self {
        Self {
            future: Some(future),
            executor,
            listed: None,
            info,
            location,
        }
    }

    /// Drops the user's future, catching a panic, and leaves the executor's list.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        let info = this.info.take();
        let info = info.and_then(|number| this.executor.info(number));
        let entered = info.as_ref().map(TaskInfo::enter);
        if std::mem::needs_drop::<F>() {
            if this.future.is_some() {
                report::contain(Origin::Destructor, this.location, || this.future.set(None));
            }
        } else {
            this.future.set(None);
        }
        if let Some(entered) = entered {
            entered.leave();
        }
        if let Some(info) = info {
            this.executor.take_back(&info);
        }
        if let Some(number) = this.listed.take() {
            this.executor.unlist(number);
        }
    }
}

impl<F: Future<Output: 'static> + 'static> Root<F> {
    /// Handles the end of a poll, except that of a listed task that continues to wait.
    #[inline(never)]
    fn end_poll(
        mut self: Pin<&mut Self>,
        cx: &Context<'_>,
        polled: Result<Poll<F::Output>, Failure>,
    ) -> Poll<Outcome<F::Output>> {
        let this = self.as_mut().project();
        let location = *this.location;
        let result = match polled {
            Ok(Poll::Pending) => {
                if this.executor.is_closed() {
                    // The executor was shut down meanwhile, from inside: no other code can reach
                    // this future.
                    self.end();
                    return Poll::Ready(Outcome::ended(location));
                }
                if this.listed.is_none() {
                    *this.listed = Some(this.executor.list(cx.waker().clone(), location));
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(failure) => Err(failure),
        };
        self.end();
        Poll::Ready(Outcome {
            result: Some(result),
            location,
        })
    }
}

impl<F: Future<Output: 'static> + 'static> Future for Root<F> {
    type Output = Outcome<F::Output>;

    // Each type has one caller.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let (location, executor) = (*this.location, &**this.executor);
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(Outcome::ended(location));
        };
        let busy = executor.busy();
        let listed = usize::from(this.listed.is_some());
        busy.set(busy.get() + listed);
        let is_plain = this.info.is_none() && executor.counted_wakers().is_off();
        let polled = match is_plain && !debug::is_watching() {
            true => report::catch_unmeasured(location, || future.poll(cx)),
            false => poll_with_info(executor, *this.info, location, future, cx),
        };
        busy.set(busy.get() - listed);
        if matches!(polled, Ok(Poll::Pending)) && listed == 1 && !executor.is_closed() {
            return Poll::Pending;
        }
        self.end_poll(cx, polled)
    }
}

/// Polls the future of a task that has an info, is measured, or whose wakers are counted.
#[inline(never)]
fn poll_with_info<F: Future>(
    executor: &Executor,
    info: Option<Number>,
    location: Caller,
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Result<Poll<F::Output>, Failure> {
    let info = info.and_then(|number| executor.info(number));
    let entered = info.as_ref().map(TaskInfo::enter);
    let polled = report::catch(location, || {
        executor.counted_wakers().poll(cx, |cx| future.poll(cx))
    });
    drop(entered);
    polled
}

/// The result of a task, on its way to the handle.
pub(super) struct Outcome<T: 'static> {
    /// `None` once taken, and from the start if the task was cancelled before it had one.
    result: Option<Result<T, Failure>>,
    location: Caller,
}

impl<T: 'static> Outcome<T> {
    fn ended(location: Caller) -> Self {
        Self {
            result: None,
            location,
        }
    }

    pub(super) fn take(mut self) -> Result<T, Failure> {
        let cancelled = || Err(Failure::at(Cancelled, self.location));
        self.result.take().unwrap_or_else(cancelled)
    }

    /// Returns the value; a failure is reported, like that of a task that is not awaited.
    pub(super) fn into_value(mut self) -> Option<T> {
        match self.result.take()? {
            Ok(value) => Some(value),
            failed => {
                self.result = Some(failed);
                None
            }
        }
    }
}

impl<T: 'static> Drop for Outcome<T> {
    fn drop(&mut self) {
        match self.result.take() {
            None => {}
            Some(Err(failure)) => report::deliver(Origin::Task, failure, self.location),
            Some(Ok(value)) => {
                let mut value = Some(value);
                if let Some(failure) = failure_in(&mut value, self.location) {
                    report::deliver(Origin::Task, failure, self.location);
                }
                report::discard(value, self.location);
            }
        }
    }
}
