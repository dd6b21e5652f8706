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

use super::inbox::{Caller, Shell};
use super::info::Number;
use super::unhandled::failure_in;
use super::{Executor, TaskInfo};
use crate::debug;
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::spans;

pin_project! {
    /// A user's future, with its panics caught.
    #[project = Projection]
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
        shell: &'static Shell,
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
                let shell = this.shell;
                this.end();
                shell.handle.future_dropped();
            }
        }
    }
}

impl<F: Future<Output: 'static> + 'static> Root<F> {
    pub(super) fn new(
        future: F,
        executor: Rc<Executor>,
        shell: &'static Shell,
        info: Option<Number>,
    ) -> Self {
        Self {
            future: Some(future),
            executor,
            listed: None,
            info,
            shell,
        }
    }

    /// Drops the user's future, catching a panic, and leaves the executor's list.
    #[inline]
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        if (std::mem::needs_drop::<F>() && this.future.is_some()) || this.info.is_some() {
            return Self::end_with_care(this);
        }
        this.future.set(None);
        if let Some(number) = this.listed.take() {
            this.executor.unlist(number);
        }
    }

    #[inline(never)]
    fn end_with_care(mut this: Projection<'_, F>) {
        let info = this.info.take();
        let info = info.and_then(|number| this.executor.info(number));
        let entered = info.as_ref().map(TaskInfo::enter);
        if this.future.is_some() {
            let location = this.shell.location;
            report::contain(Origin::Destructor, location, || this.future.set(None));
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
    /// Polls the future of a task that has an info, is measured, or whose wakers are counted.
    #[inline(never)]
    fn poll_with_info(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<F::Output>> {
        let this = self.as_mut().project();
        let executor = &**this.executor;
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(Outcome::ended(this.shell.location));
        };
        let info = this.info.and_then(|number| executor.info(number));
        let entered = info.as_ref().map(TaskInfo::enter);
        let polled = report::catch(this.shell.location, || {
            executor.counted_wakers().poll(cx, |cx| future.poll(cx))
        });
        drop(entered);
        if !matches!(polled, Ok(Poll::Pending)) {
            let span = info.as_ref().and_then(|info| info.span());
            executor.note_ended(cx.waker(), span);
        }
        self.end_poll(cx, polled)
    }

    /// Handles the end of a poll, except that of a task without an info that ends as most do.
    #[inline(never)]
    fn end_poll(
        mut self: Pin<&mut Self>,
        cx: &Context<'_>,
        polled: Result<Poll<F::Output>, Failure>,
    ) -> Poll<Outcome<F::Output>> {
        let this = self.as_mut().project();
        let location = this.shell.location;
        let result = match polled {
            Ok(Poll::Pending) => {
                if this.executor.is_closed() {
                    // The executor was shut down meanwhile, from inside: no other code can reach
                    // this future.
                    self.end();
                    return Poll::Ready(Outcome::ended(location));
                }
                if this.listed.is_none() {
                    *this.listed = Some(this.executor.list(cx.waker().clone()));
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
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let is_plain = this.info.is_none() && this.executor.counted_wakers().is_off();
        if !is_plain || debug::is_watching() {
            return self.poll_with_info(cx);
        }
        let (shell, executor) = (*this.shell, &**this.executor);
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Outcome::ended(shell.location));
        };
        let polled = report::catch_unmeasured(|| shell.location, || future.poll(cx));
        let is_listed = this.listed.is_some();
        match polled {
            Ok(Poll::Pending) if is_listed && !executor.is_closed() => Poll::Pending,
            Ok(Poll::Ready(value)) if !is_listed => {
                if let Err(panic) =
                    report::catch_unmeasured(|| shell.location, || this.future.set(None))
                {
                    report::deliver(Origin::Destructor, panic, shell.location);
                }
                Poll::Ready(Outcome {
                    result: Some(Ok(value)),
                    location: shell.location,
                })
            }
            polled => self.end_poll(cx, polled),
        }
    }
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
            Some(Err(failure)) => report_in_span(failure, self.location),
            Some(Ok(value)) => {
                let mut value = Some(value);
                if let Some(failure) = failure_in(&mut value, self.location) {
                    report_in_span(failure, self.location);
                }
                report::discard(value, self.location);
            }
        }
    }
}

/// Reports a failure in the span of the task that has just ended with it, if it had one.
#[cold]
#[inline(never)]
fn report_in_span(failure: Failure, location: Caller) {
    let executor = Executor::current().filter(|_| spans::are_on());
    let span = executor.and_then(|executor| executor.ended_in());
    spans::within(span, || report::deliver(Origin::Task, failure, location));
}
