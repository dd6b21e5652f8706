//! Requests of other threads that return a result: [`Remote::spawn`], [`Remote::blocking_call`].
//!
//! # Invariants
//!
//! 1. Every request is answered: with the result, or with the reason why there is none. The end of
//!    the reactor is an answer.
//! 2. No loop waits for a loop: the call fails before anything is sent when it comes from a thread
//!    in a turn, or from the loop's own thread.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use super::{Reactor, ReactorError, Remote, Stopped, Tracked};
use crate::defer::{Deferred, IntoOutcome, Outcome};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::spans;
use crate::task::{self, Caller, Executor, RemoteCall};

impl Remote {
    /// Calls `make` on the reactor's thread and starts the future that `make` returns as a task.
    /// The future need not be `Send`.
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::Ended`] when the reactor has ended; `make` is then dropped on
    /// this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::thread;
    ///
    /// torsade::run(async |reactor| {
    ///     let remote = reactor.remote();
    ///     let answer = reactor.spawn_blocking(move || {
    ///         let task = remote.spawn(|| async {
    ///             let here = Rc::new(42); // never leaves the loop's thread
    ///             *here
    ///         })?;
    ///         task.join()
    ///     });
    ///     assert_eq!(answer.await?, 42);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    #[doc(alias("spawn_from_thread", "run_coroutine_threadsafe"))]
    #[track_caller]
    pub fn spawn<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<RemoteTask<T>, ReactorError> {
        let location = Location::caller();
        let (sender, receiver) = oneshot::channel();
        let (cancel, cancelled) = oneshot::channel();
        let span = spans::current();
        let start = move || {
            let Some(executor) = Executor::current() else {
                return;
            };
            spans::within(span, || {
                let task = executor.spawn(run(make, sender, cancelled, location), location);
                task.detach();
            });
        };
        let sent = self.inbox.push_call(RemoteCall::new(start), location);
        match sent {
            Ok(()) => Ok(RemoteTask {
                receiver,
                cancel: Some(cancel),
                remote: self.clone(),
            }),
            Err(start) => {
                report::discard(start, location);
                Err(ReactorError::Ended)
            }
        }
    }

    /// Calls `f` on the reactor's thread, and blocks this thread until there is a result.
    ///
    /// `f` may return nothing, `Ok`/`Err`, or a Deferred or an async block, for whose result the
    /// call waits. A panic in `f` becomes a failure. When the reactor is not running yet, this call
    /// waits until it runs.
    ///
    /// # Errors
    ///
    /// Fails with the failure of `f`; with [`ReactorError::Ended`] when the reactor has ended, or
    /// ends before it calls `f`; with [`Stopped`] when it ends while a Deferred or async block
    /// waits; and with [`ReactorError::WouldDeadlock`] on the reactor's own thread, and on any
    /// thread that is in a turn of a reactor.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::reactor::ReactorError;
    /// use torsade::{Clock, Reactor};
    ///
    /// torsade::run(async |reactor| {
    ///     let remote = reactor.remote();
    ///     let called = reactor.spawn_blocking(move || {
    ///         remote.blocking_call(async || {
    ///             let reactor = Reactor::current().expect("this is its thread");
    ///             reactor.sleep(Duration::from_millis(1)).await?;
    ///             Ok("slept")
    ///         })
    ///     });
    ///     assert_eq!(called.await?, "slept");
    ///
    ///     let failure = reactor.remote().blocking_call(|| Ok(1)).unwrap_err();
    ///     assert!(matches!(failure.downcast_ref(), Some(ReactorError::WouldDeadlock)));
    ///     Ok(())
    /// })?;
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    #[doc(alias("blockingCallFromThread", "block_on"))]
    #[track_caller]
    pub fn blocking_call<V, R>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R::Value, Failure>
    where
        R: IntoOutcome<V>,
        R::Value: Send,
    {
        let location = Location::caller();
        self.may_wait()?;
        let (sender, mut answer) = oneshot::channel();
        let call = move || {
            let outcome = report::catch_rarely(location, move || f().into_outcome(location));
            match outcome {
                Ok(Outcome::Ready(result)) => drop(sender.send(result)),
                Ok(Outcome::Wait(deferred)) => PendingCall::wait(deferred, sender, location),
                Err(panic) => drop(sender.send(Err(panic))),
            }
        };
        if let Err(call) = self.inbox.push_call(RemoteCall::new(call), location) {
            report::discard(call, location);
            return Err(Failure::at(ReactorError::Ended, location));
        }
        let answer = task::block_on(poll_fn(|cx| {
            let answer = Pin::new(&mut answer).poll(cx);
            if answer.is_pending() {
                task::note_loop(&self.inbox);
            }
            answer
        }));
        answer.unwrap_or_else(|_| Err(Failure::at(ReactorError::Ended, location)))
    }

    /// Returns whether the calling thread is the reactor's.
    #[doc(alias = "isInIOThread")]
    pub fn is_on_reactor_thread(&self) -> bool {
        self.inbox.is_host()
    }

    fn may_wait(&self) -> Result<(), ReactorError> {
        match self.is_on_reactor_thread() || Executor::is_in_turn() {
            true => Err(ReactorError::WouldDeadlock),
            false => Ok(()),
        }
    }
}

/// A task that another thread has started; see [`Remote::spawn`].
///
/// Awaiting the `RemoteTask`, on any thread, returns the result; [`RemoteTask::join`] blocks a
/// thread that runs no reactor. Dropping the `RemoteTask` detaches the task, which continues (a
/// polled [`Task`](crate::Task) would be cancelled).
#[must_use = "a task runs by itself, but its result is lost"]
pub struct RemoteTask<T> {
    receiver: oneshot::Receiver<Result<T, Failure>>,
    /// `None` once the task was cancelled.
    cancel: Option<oneshot::Sender<()>>,
    remote: Remote,
}

impl<T: Send + 'static> RemoteTask<T> {
    /// Cancels the task unless it has finished: the reactor's thread drops its future, and the
    /// result is [`Cancelled`].
    #[doc(alias = "abort")]
    pub fn cancel(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            let _ = cancel.send(());
        }
    }

    /// Blocks this thread until there is a result.
    ///
    /// # Errors
    ///
    /// Fails with the task's panic; with [`Cancelled`] after [`cancel`](Self::cancel); with
    /// [`ReactorError::Ended`] when the reactor ended first; and with
    /// [`ReactorError::WouldDeadlock`] as [`Remote::blocking_call`] does.
    #[track_caller]
    pub fn join(self) -> Result<T, Failure> {
        self.remote.may_wait()?;
        let location = Location::caller();
        let has_ended =
            |failure: &Failure| matches!(failure.downcast_ref(), Some(ReactorError::Ended));
        task::block_on(self).map_err(|failure| match has_ended(&failure) {
            true => failure.moved(location),
            false => failure,
        })
    }
}

impl<T> Future for RemoteTask<T> {
    type Output = Result<T, Failure>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(answer) = Pin::new(&mut self.receiver).poll(cx) else {
            task::note_loop(&self.remote.inbox);
            return Poll::Pending;
        };
        Poll::Ready(match answer {
            Ok(result) => result,
            Err(_) => Err(ReactorError::Ended.into()),
        })
    }
}

impl<T> fmt::Debug for RemoteTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTask")
            .field("is_cancelled", &self.cancel.is_none())
            .finish_non_exhaustive()
    }
}

/// Runs the future that `make` returns, and sends its result.
async fn run<T, F: Future<Output = T>>(
    make: impl FnOnce() -> F,
    sender: oneshot::Sender<Result<T, Failure>>,
    cancelled: oneshot::Receiver<()>,
    location: Caller,
) {
    let result = match report::catch_rarely(location, make) {
        Ok(future) => {
            let mut future = pin!(future);
            let mut cancelled = Some(cancelled);
            poll_fn(|cx| {
                match cancelled.as_mut().map(|request| Pin::new(request).poll(cx)) {
                    Some(Poll::Ready(Ok(()))) => {
                        return Poll::Ready(Err(Failure::at(Cancelled, location)));
                    }
                    // The handle is gone, so no cancel can come.
                    Some(Poll::Ready(Err(_))) => cancelled = None,
                    Some(Poll::Pending) | None => {}
                }
                match report::catch(location, || future.as_mut().poll(cx)) {
                    Ok(poll) => poll.map(Ok),
                    Err(panic) => Poll::Ready(Err(panic)),
                }
            })
            .await
        }
        Err(panic) => Err(panic),
    };
    // A panic that the other thread cannot receive is reported here.
    if let Err(Err(failure)) = sender.send(result) {
        if failure.is_panic() {
            report::deliver(Origin::Task, failure, location);
        }
    }
}

/// A call from another thread that has no answer yet.
struct PendingCall<T> {
    /// `None` once answered.
    sender: Cell<Option<oneshot::Sender<Result<T, Failure>>>>,
    location: Caller,
}

impl<T: 'static> PendingCall<T> {
    /// Answers when the Deferred fires or the reactor ends.
    fn wait(deferred: Deferred<T>, sender: oneshot::Sender<Result<T, Failure>>, location: Caller) {
        let Some(reactor) = Reactor::current() else {
            return;
        };
        let asked = Rc::new(Self {
            sender: Cell::new(Some(sender)),
            location,
        });
        let source = asked.clone();
        // When the reactor has ended the sender is dropped, which is an answer as well.
        let Ok(key) = reactor.inner().track(source) else {
            return;
        };
        let weak = reactor.downgrade();
        drop(deferred.add_both(move |result| {
            if let Some(reactor) = weak.upgrade() {
                reactor.inner().untrack(key);
            }
            asked.answer(result);
        }));
    }

    fn answer(&self, result: Result<T, Failure>) {
        let sender = self.sender.take();
        if let Some(sender) = sender {
            let _ = sender.send(result);
        }
    }
}

impl<T: 'static> Tracked for PendingCall<T> {
    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, _reason: &Failure) {
        self.answer(Err(Failure::at(Stopped, self.location)));
    }

    fn kind(&self) -> &'static str {
        "call from a thread"
    }

    fn location(&self) -> Caller {
        self.location
    }
}
