//! Tasks: futures that a reactor runs, beside each other, on one thread.
//!
//! # The idea
//!
//! A task is a future that the reactor polls until it is ready. [`spawn`] starts one and returns a
//! [`Task`], the handle with which the result is awaited or the task is cancelled. All tasks of a
//! reactor run on its thread, one at a time: the reactor's *executor* runs the woken tasks and the
//! requested calls in batches, in each turn of the loop. A [`Deferred`](crate::Deferred) runs
//! callbacks without a task; a [`scope`](crate::scope) runs children, which may borrow, inside one
//! task.
//!
//! | to wait for a future | use |
//! |---|---|
//! | in an async function | `.await` |
//! | while other code runs | [`spawn`]; before the reactor runs, [`Reactor::spawn`] |
//! | as a Deferred, to which callbacks can be added | [`Deferred::from_future`] |
//! | on a thread without a reactor | [`block_on`] |
//!
//! [`Reactor::spawn`]: crate::Reactor::spawn
//! [`Deferred::from_future`]: crate::Deferred::from_future
//!
//! # Budgets
//!
//! A task whose operations are always ready would run forever. So each operation of this crate that
//! can be ready (reading, writing, awaiting a [`Deferred`](crate::Deferred), a lock, a queue,
//! another task) takes its cost out of the task's *budget*, and after 128 operations or 256 KiB in
//! a row the next operation is ready only when the loop polls the task again, after the other ready
//! tasks. The budget is full again at each poll. Bytes that are read from a socket count twice;
//! bytes that are written in pieces of 16 KiB or more count one eighth. Before a write of 256 KiB
//! or more the other ready tasks run once: the copy of so many bytes displaces what they use from
//! the processor's caches.
//!
//! Futures of other crates and computations have no cost. In a long loop of these, call
//! [`yield_now`] or [`Pace::step`](crate::repeat::Pace::step).
//!
//! # Invariants
//!
//! 1. Ready work runs first come, first served. What becomes ready during a batch waits for the
//!    next batch.
//! 2. A future is polled and dropped on the loop's thread only, and no panic unwinds out of either.
//! 3. When the reactor has ended, none of its futures is alive, and a future that is spawned later
//!    is dropped at once.
//! 4. No queue or list is borrowed while user code or a user's destructor runs.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [task](crate::guide::glossary#task),
//! [batch](crate::guide::glossary#batch), [budget](crate::guide::glossary#budget),
//! [detach](crate::guide::glossary#detach), [cancel safety](crate::guide::glossary#cancel-safety).

// An executor has a queue of what is ready, an inbox for messages of other threads, and a list of
// the waiting tasks. A task is one allocation, made by `async-task`. Waking a task on the loop's
// own thread while its loop runs appends to a plain queue; any other wake goes through the inbox.
// Nothing here knows of sockets, timers or Deferreds.
//
// Ownership: a ready task belongs to the queue it is in, a waiting task to its wakers and to the
// executor's list. A thread local holds the executor that runs on the thread, for the length of a
// turn. Without `Executor::shut_down` an executor that still has tasks is never freed, because it
// and they own each other.

mod block_on;
pub(crate) mod budget;
mod counted_wakers;
mod current_executor;
mod executor;
mod handle;
mod host;
mod inbox;
mod info;
mod locals;
#[cfg(all(test, torsade_loom))]
mod model;
mod remote_call;
mod root;
mod unhandled;
mod waiting;

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::FusedFuture;

pub use self::block_on::block_on;
pub(crate) use self::counted_wakers::{
    CountedWakers, own_waker, poll_with_counted_waker, with_own_waker,
};
pub(crate) use self::executor::{Entered, Executor, InTurn, WaitedTask, WorkItem};
use self::handle::Handle;
pub(crate) use self::host::HostNotifier;
use self::inbox::Shell;
pub(crate) use self::inbox::{Caller, Inbox, Message};
#[doc(alias("current_task", "task::id"))]
pub use self::info::current;
pub(crate) use self::info::{TaskInfo, Wait, awaited, current_info, note_wait};
#[doc(alias("copy_context", "contextvars"))]
pub use self::locals::Locals;
#[doc(alias("task_local", "ContextVar", "contextvars", "context.get"))]
pub use self::locals::TaskLocal;
pub use self::locals::{SharedLocals, TaskLocalFuture, carry, carry_with};
pub(crate) use self::remote_call::RemoteCall;
use self::root::Outcome;
/// A wrapper that is [`Send`] whatever it holds, and panics if it is used on another thread than
/// the one that made it: for libraries that ask for `Send` although everything runs on one thread.
///
/// The type is that of the crate `send_wrapper`. A wrapped future is a future:
/// `SendWrapper::new(async { … })` makes a handler of `axum` or a service of `tower` of code that
/// is not `Send`.
///
/// # Panics
///
/// Panics when it is used, polled or dropped on another thread; the value is then leaked, not
/// dropped. (Dropping a value without a destructor never panics.) Do not give such a value to a
/// library that drops futures or services on another thread.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use torsade::task::SendWrapper;
///
/// fn of_a_library<F: Future<Output = u32> + Send>(future: F) -> F {
///     future
/// }
///
/// torsade::testing::run(async |_reactor| {
///     let count = Rc::new(Cell::new(1));
///     let future = async move {
///         torsade::yield_now().await;
///         count.replace(2)
///     };
///     assert_eq!(of_a_library(SendWrapper::new(future)).await, 1);
///
///     let wrapped = SendWrapper::new(Rc::new(1));
///     let elsewhere = std::thread::spawn(move || **wrapped);
///     assert!(elsewhere.join().is_err());
///     Ok(())
/// });
/// ```
#[cfg(feature = "send-wrapper")]
#[cfg_attr(docsrs, doc(cfg(feature = "send-wrapper")))]
pub use send_wrapper::SendWrapper;

pub(crate) use self::waiting::{AwaitedWork, Phase, note_loop};
use crate::debug;
use crate::failure::{Cancelled, Failure, TaskName, TraceFrame};

/// Spawns a future on the reactor that runs on this thread.
///
/// The future is first polled in the reactor's turn, never inside this call.
///
/// An error that is not awaited is reported only if the type of the task's result is one that
/// [`Task`] names, such as `Result<(), Failure>`; an error in any other type is dropped silently.
///
/// # Panics
///
/// Panics when no reactor runs on this thread. [`Reactor::spawn`](crate::Reactor::spawn) works
/// before the reactor runs as well.
///
/// # Examples
///
/// ```
/// # use torsade::Failure;
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |_reactor| {
///     let sum = torsade::spawn(async { 1 + 2 });
///     assert_eq!(sum.await?, 3);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias("ensureDeferred", "LocalSet", "spawn_local"))]
#[track_caller]
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    running().spawn(future, Location::caller())
}

/// Spawns a future as a task with a name, which reports and dumps show, and [`current`] returns.
///
/// # Panics
///
/// Panics as [`spawn`] does.
///
/// # Examples
///
/// ```
/// torsade::testing::run(async |_reactor| {
///     let task = torsade::task::spawn_named("counting", async {
///         torsade::task::current().and_then(|task| task.name)
///     });
///     assert_eq!(task.name(), Some("counting"));
///     assert_eq!(task.await?.as_deref(), Some("counting"));
///     Ok(())
/// });
/// ```
#[doc(alias("task::Builder", "set_name"))]
#[track_caller]
pub fn spawn_named<T: 'static>(
    name: impl Into<Arc<str>>,
    future: impl Future<Output = T> + 'static,
) -> Task<T> {
    running().spawn_named(Some(name.into()), future, Location::caller())
}

#[track_caller]
fn running() -> Rc<Executor> {
    // Not in a closure, which would not know the caller.
    let Some(executor) = Executor::current() else {
        panic!(
            "no reactor runs on this thread: use `Reactor::spawn`, or call from inside `torsade::run`"
        );
    };
    executor
}

/// Lets the other tasks and calls that are ready run first. Makes no system call.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
#[doc(alias = "coiterate")]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// A future that is ready the second time it is polled; see [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The handle to a spawned future, and to its result.
///
/// Awaiting it returns `Ok` with the output of the future, or `Err` with the task's panic
/// ([`Panicked`](crate::failure::Panicked)), or with [`Cancelled`] if the reactor ended before the
/// task did.
///
/// The handle follows the rule of every result in this crate: **dropped before it was ever polled,
/// it lets the task run on**, as [`Task::detach`] does explicitly; **dropped after it was polled**
/// (an `await` that was given up), **it cancels the task**.
///
/// # Results that are not taken
///
/// A panic is always reported if no handle takes it. An `Err` is reported when the task ends in
/// `Result<(), E>` (or `Result<Infallible, E>`), where `E` is [`Failure`],
/// [`FailureError`](crate::failure::FailureError), [`std::io::Error`], [`std::fmt::Error`],
/// `Box<dyn Error>`, `Box<dyn Error + Send + Sync>`, or, with the cargo feature of that name,
/// `anyhow::Error` or `eyre::Report`.
///
/// **A result of any other type is dropped silently**, even if it holds an error: `Result<u32,
/// Failure>` and `Result<(), AppError>` are such types. For a task that is to be detached, use `?`
/// on what may fail and end it with `Ok::<(), Failure>(())`; or run it as a
/// [`Deferred::from_future`](crate::Deferred::from_future), whose failure is always reported.
///
/// ```
/// use torsade::{Failure, fail, spawn, testing};
///
/// async fn count() -> Result<u32, Failure> {
///     Err(fail!("nothing to count"))
/// }
///
/// testing::run(async |reactor| {
///     let work = async {
///         count().await?;
///         Ok::<(), Failure>(())
///     };
///     spawn(work).detach();
///     torsade::yield_now().await;
///     torsade::yield_now().await;
///     let reports = testing::take_reports(&reactor);
///     assert_eq!(reports[0].failure().to_string(), "nothing to count");
///     Ok(())
/// });
/// ```
///
/// # Cancel safety
///
/// Dropping an await of `&mut task` loses nothing: the task can be awaited again.
///
/// # Panics
///
/// Panics when it is polled after it has returned its result.
///
/// # Examples
///
/// ```
/// # use torsade::{Cancelled, Failure};
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     let answer = reactor.spawn(async { 42 });
///     assert_eq!(answer.await?, 42);
///
///     let endless = reactor.spawn(std::future::pending::<()>());
///     assert_eq!(endless.cancel().await, None);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias("JoinHandle", "asyncio.Task"))]
#[must_use = "a task runs by itself, but its result is lost, and an error is reported only in a \
              `Result<(), Failure>` or the like (see `Task`); say `detach` when that is meant"]
pub struct Task<T: 'static> {
    /// `None` only after it was detached, cancelled or dropped. The rest of the handle's state is
    /// in the task's [`Shell`].
    inner: Option<Inner<T>>,
    /// The result may only be dropped on the loop's thread.
    local: PhantomData<Rc<()>>,
}

type Inner<T> = async_task::Task<Outcome<T>, Shell>;

impl<T: 'static> Task<T> {
    /// Lets the task run on without its handle; its output is dropped.
    ///
    /// A panic is reported, and so is an error in `Result<(), Failure>` and the other types that
    /// [`Task`] lists. Errors in results of other types are dropped silently: end the future with
    /// `Ok::<(), Failure>(())`, or use [`Deferred::from_future`](crate::Deferred::from_future),
    /// whose failure is always reported.
    pub fn detach(mut self) {
        if let Some((inner, info)) = self.take() {
            inner.detach();
            drop(info);
        }
    }

    /// Cancels the task: its future is dropped in the loop's next batch and never polled again.
    ///
    /// The returned future is ready when that has happened. Its output is `Some` with the output of
    /// a task that had finished before, and `None` otherwise; the panic of such a task is reported.
    /// The returned future need not be awaited.
    #[doc(alias("abort", "abort_handle"))]
    pub fn cancel(mut self) -> Cancelling<T> {
        let inner = self.take().map(|(inner, info)| {
            drop(info);
            Box::pin(inner.cancel()) as Pin<Box<dyn Future<Output = _>>>
        });
        let mut cancelling = Cancelling { inner };
        // The first poll closes the task.
        if let Poll::Ready(done) = cancelling.poll_inner(&mut Context::from_waker(Waker::noop())) {
            let done: Pin<Box<dyn Future<Output = _>>> = Box::pin(std::future::ready(done));
            cancelling.inner = Some(done);
        }
        cancelling
    }

    /// Returns whether the task has ended: is ready, has panicked, or was dropped.
    pub fn is_finished(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(async_task::Task::is_finished)
    }

    /// Returns the line that spawned the task.
    pub fn location(&self) -> &'static Location<'static> {
        self.shell().location
    }

    /// Returns the name given with [`spawn_named`].
    pub fn name(&self) -> Option<&str> {
        self.handle().info()?.title().name.as_deref()
    }

    /// Returns the description of the task without what it waits for; `None` if it has ended or has
    /// no info.
    pub(crate) fn dump_item(&self) -> Option<debug::DumpItem> {
        self.handle().info().and_then(Wait::look)
    }

    #[inline]
    fn new(inner: Inner<T>) -> Self {
        Self {
            inner: Some(inner),
            local: PhantomData,
        }
    }

    #[inline]
    fn shell(&self) -> &Shell {
        let inner = self.inner.as_ref();
        inner.expect("what consumes a task ends it").metadata()
    }

    #[inline]
    fn handle(&self) -> &Handle {
        &self.shell().handle
    }

    /// Takes out what the handle owns.
    #[inline]
    fn take(&mut self) -> Option<(Inner<T>, Option<Rc<TaskInfo>>)> {
        let inner = self.inner.take()?;
        let info = inner.metadata().handle.take_info();
        Some((inner, info))
    }

    fn title(&self) -> TaskName {
        let shell = self.shell();
        match shell.handle.info() {
            Some(info) => info.title().clone(),
            None => TaskName {
                spawned: shell.location,
                name: None,
            },
        }
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, Failure>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_dropped = self.handle().begin_poll();
        let inner = self.inner.as_mut();
        let inner = inner.expect("what consumes a task ends it");
        let polled = budget::metered(cx, |cx| match is_dropped {
            true => Poll::Ready(None),
            false => Pin::new(inner)
                .poll(&mut Context::from_waker(&own_waker(cx)))
                .map(Some),
        });
        let Poll::Ready(outcome) = polled else {
            if let Some(info) = self.handle().shared_info() {
                note_wait(|| info);
            }
            return Poll::Pending;
        };
        self.handle().end_poll();
        let mut result = match outcome {
            Some(outcome) => outcome.take(),
            None => Err(Failure::at(Cancelled, self.location())),
        };
        if let (Err(failure), true) = (&mut result, debug::is_on()) {
            failure.went_through(TraceFrame::Task(self.title()));
            failure.went_through(awaited(Location::caller()));
        }
        Poll::Ready(result)
    }
}

/// A task is terminated when its result has been taken.
impl<T: 'static> FusedFuture for Task<T> {
    fn is_terminated(&self) -> bool {
        self.handle().is_taken()
    }
}

impl<T: 'static> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        let Some((inner, info)) = self.take() else {
            return;
        };
        match inner.metadata().handle.is_awaited() {
            true => drop(inner),
            false => inner.detach(),
        }
        drop(info);
    }
}

impl<T: 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_finished() {
            "finished"
        } else {
            "running"
        };
        f.write_str("Task(")?;
        if let Some(name) = self.name() {
            write!(f, "`{name}`, ")?;
        }
        write!(f, "{state}, spawned at {})", self.location())
    }
}

/// The future of [`Task::cancel`]: waits until the cancelled task was dropped.
pub struct Cancelling<T: 'static> {
    /// `None` once it has returned its result.
    inner: Option<Ending<T>>,
}

type Ending<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>>>>;

impl<T: 'static> Cancelling<T> {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        match &mut self.inner {
            Some(inner) => inner
                .as_mut()
                .poll(&mut Context::from_waker(&own_waker(cx))),
            None => Poll::Ready(None),
        }
    }
}

impl<T: 'static> Future for Cancelling<T> {
    /// The output of a task that had finished before it was cancelled and did not panic.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Poll::Ready(outcome) = self.poll_inner(cx) else {
            return Poll::Pending;
        };
        self.inner = None;
        Poll::Ready(outcome.and_then(Outcome::into_value))
    }
}

impl<T: 'static> fmt::Debug for Cancelling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancelling")
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests;
