//! The current executor of a thread, and the scheduling of its tasks, with the arguments for what
//! is not checked at each poll.
//!
//! A future and its output need not be `Send`: they stay on the thread of their executor.
//! `async-task` would compare the thread at every poll. The following makes that unnecessary:
//!
//! * A future is polled and dropped only where a [`Runnable`] is run or dropped, and only its own
//!   executor does that, which never leaves its thread. Other threads have only wakers of a task,
//!   which pass the `Runnable` to [`schedule`]; if the loop is gone, the inbox leaks it
//!   (`inbox.rs`, invariant 2).
//! * An output is dropped where the `Runnable` is run, or by the handle, and neither
//!   [`super::Task`] nor the [`async_task::Task`] in it leaves the executor's thread.

#![allow(
    unsafe_code,
    reason = "tasks stay on their executor's thread, which is not checked at each poll"
)]

use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null};
use std::rc::Rc;
use std::task::Waker;

use async_task::{Builder, Runnable};

use super::handle::Handle;
use super::inbox::Shell;
use super::{Caller, Executor};
use crate::context;
use crate::sync::Shared;

/// Makes a task of `executor`, whose future `make` makes.
#[inline]
pub(super) fn make<F>(
    executor: &Executor,
    location: Caller,
    make: impl FnOnce(&'static Shell) -> F,
) -> (Runnable<Shell>, async_task::Task<F::Output, Shell>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let shell = Shell {
        location,
        inbox: executor.home_inbox().reference(),
        handle: Handle::new(),
    };
    let builder = Builder::new().metadata(shell);
    // A function item has no size: a closure with a size would be kept alive by a waker, once for
    // each wake. SAFETY: the future is `'static` but for the shell, which is in the same allocation
    // and outlives it; it and its output stay on this thread (see the module docs). `schedule` may
    // be called from any thread.
    unsafe { builder.spawn_unchecked(make, schedule) }
}

/// Runs a task of `executor`, which knows it meanwhile.
#[inline]
pub(super) fn run(executor: &Executor, task: Runnable<Shell>) {
    let task = task.into_raw();
    executor.running().set(task.as_ptr());
    // SAFETY: it was converted just now, and is converted back once.
    unsafe { Runnable::<Shell>::from_raw(task) }.run();
    executor.running().set(null());
}

/// Returns where a task of this thread was spawned, by the waker with which it was polled.
pub(super) fn location(waker: &Waker) -> Caller {
    let task = NonNull::new(waker.data().cast_mut()).expect("it is the address of the task");
    // SAFETY: an executor polls a task with the waker that its `Runnable` has made, whose data is
    // what `into_raw` returns. The waker keeps the task's memory, and nothing but its metadata is
    // used: it is not run, and not dropped.
    let task = ManuallyDrop::new(unsafe { Runnable::<Shell>::from_raw(task) });
    task.metadata().location
}

/// Makes `executor` this thread's current executor, which queues new tasks, and queues its woken
/// tasks directly. Returns the previous one.
pub(super) fn make_current(executor: Option<Rc<Executor>>) -> Option<Rc<Executor>> {
    let inbox = executor.as_ref();
    let inbox = inbox.map_or(null(), |executor| Shared::as_ptr(executor.inbox()).cast());
    let executor = executor.map_or(null(), Rc::into_raw);
    let before: *const Executor = context::with(|thread| {
        thread.inbox.set(inbox);
        thread.executor.replace(executor.cast()).cast()
    });
    // SAFETY: an earlier call made the pointer of an `Rc`, and it is converted back once.
    (!before.is_null()).then(|| unsafe { Rc::from_raw(before) })
}

/// Returns the executor of the last `make_current`.
#[inline]
pub(super) fn current() -> Option<Rc<Executor>> {
    let current: *const Executor = context::with(|thread| thread.executor.get().cast());
    if current.is_null() {
        return None;
    }
    // SAFETY: the context holds an `Rc` of it.
    unsafe { Rc::increment_strong_count(current) };
    // SAFETY: the count was just incremented for this `Rc`.
    Some(unsafe { Rc::from_raw(current) })
}

/// Schedules a woken task: puts it into its own loop's queue if that loop runs on this thread,
/// otherwise into the inbox.
fn schedule(task: Runnable<Shell>) {
    let inbox = task.metadata().inbox.shared();
    let executor = context::with(|thread| {
        let is_host = thread.inbox.get() == Shared::as_ptr(inbox).cast();
        is_host.then(|| thread.executor.get().cast::<Executor>())
    });
    match executor {
        // SAFETY: the context holds an `Rc` of it, and queuing a task runs no user code that could
        // change that.
        Some(home) => unsafe { &*home }.queue_task(task),
        None => send(task),
    }
}

/// Puts a woken task into its loop's inbox.
#[cold]
#[inline(never)]
fn send(task: Runnable<Shell>) {
    // The loop may run the task, and drop it with its shell, before the push returns.
    let inbox = task.metadata().inbox.shared().clone();
    inbox.push_task(task);
}
