//! A child of a scope: its future, and the handle to its result.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::debug::{self, DumpItem};
use crate::defer::StopHandle;
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};
use crate::spans;
use crate::task::{self, Locals, TaskInfo, Wait, own_waker};

/// The handle to a child of a scope; see [`Scope::spawn`](super::Scope::spawn).
///
/// A child that is not awaited runs all the same, and its failure ends the scope. Awaiting the
/// handle returns the value, a clone of the failure, or [`Cancelled`] when the child was dropped
/// before it was done.
///
/// # Cancel safety
///
/// Nothing is lost when an await of `&mut child` is dropped. Dropping the handle changes nothing.
///
/// # Examples
///
/// ```
/// use torsade::scope::scope;
///
/// torsade::testing::run(async |_reactor| {
///     let sum = scope(async |s| {
///         let (one, two) = (s.spawn(async { Ok(1) }), s.spawn(async { Ok(2) }));
///         Ok(one.await? + two.await?)
///     });
///     assert_eq!(sum.await?, 3);
///     Ok(())
/// });
/// ```
pub struct ScopedTask<'env, T>(Rc<ChildSlot<T>>, std::marker::PhantomData<&'env ()>);

/// The slot for the result of a child.
struct ChildSlot<T> {
    result: Cell<Option<Result<T, Failure>>>,
    waker: Cell<Option<Waker>>,
    location: &'static Location<'static>,
    is_done: Cell<bool>,
}

impl<T> ScopedTask<'_, T> {
    /// Returns whether the child has ended: is ready, has panicked, or was dropped.
    pub fn is_finished(&self) -> bool {
        self.0.is_done.get()
    }
}

impl<T> Future for ScopedTask<'_, T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = &*self.0;
        if !slot.is_done.get() {
            drop(slot.waker.replace(Some(own_waker(cx).clone())));
            return Poll::Pending;
        }
        let cancelled = || Err(Failure::at(Cancelled, slot.location));
        Poll::Ready(slot.result.take().unwrap_or_else(cancelled))
    }
}

impl<T> fmt::Debug for ScopedTask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_finished() {
            "finished"
        } else {
            "running"
        };
        write!(f, "ScopedTask({state}, spawned at {})", self.0.location)
    }
}

impl<T> ChildSlot<T> {
    fn put(&self, result: Option<Result<T, Failure>>) {
        if self.is_done.replace(true) {
            return;
        }
        self.result.set(result);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Marks the slot as empty for good, if the child is dropped without a result.
struct EmptyOnDrop<T>(Rc<ChildSlot<T>>);

impl<T> Drop for EmptyOnDrop<T> {
    fn drop(&mut self) {
        self.0.put(None);
    }
}

/// The future of a child.
type Running<'env> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'env>>;

/// A child as stored by its scope.
pub(super) struct ChildTask<'env> {
    /// `None` once it is done.
    future: Option<Running<'env>>,
    /// The number of the child, in the order of spawning.
    number: u64,
    stopper: StopHandle,
    is_shielded: bool,
    info: Option<Rc<TaskInfo>>,
    location: &'static Location<'static>,
}

/// Returns the result of `future`; a panic in it, or in its destructor, becomes a failure.
async fn contained<T>(
    future: impl Future<Output = Result<T, Failure>>,
    location: &'static Location<'static>,
) -> Result<T, Failure> {
    let mut future = pin!(Some(future));
    let result = poll_fn(|cx| match future.as_mut().as_pin_mut() {
        None => Poll::Pending,
        Some(future) => match report::catch(location, || {
            task::poll_with_counted_waker(cx, |cx| future.poll(cx))
        }) {
            Ok(polled) => polled,
            Err(failure) => Poll::Ready(Err(failure)),
        },
    })
    .await;
    match (report::catch_rarely(location, || future.set(None)), result) {
        (Ok(()), result) => result,
        (Err(panic), Ok(value)) => {
            report::discard(value, location);
            Err(panic)
        }
        (Err(panic), Err(failure)) => {
            report::deliver(Origin::Destructor, panic, location);
            Err(failure)
        }
    }
}

impl<'env> ChildTask<'env> {
    pub(super) fn new<T: 'env>(
        number: u64,
        future: impl Future<Output = Result<T, Failure>> + 'env,
        is_shielded: bool,
        location: &'static Location<'static>,
    ) -> (Self, ScopedTask<'env, T>) {
        let slot = Rc::new(ChildSlot {
            result: Cell::new(None),
            waker: Cell::new(None),
            location,
            is_done: Cell::new(false),
        });
        let leaves = EmptyOnDrop(slot.clone());
        let future = Box::pin(async move {
            let result = contained(future, location).await;
            let failed = result.as_ref().err().cloned();
            leaves.0.put(Some(result));
            failed.map_or(Ok(()), Err)
        });
        let locals = Locals::capture();
        let has_info = !locals.is_empty() || debug::is_on() || spans::current().is_some();
        let task = Self {
            future: Some(future),
            number,
            stopper: StopHandle::default(),
            is_shielded,
            info: has_info.then(|| TaskInfo::of_a_child(location, locals)),
            location,
        };
        (task, ScopedTask(slot, std::marker::PhantomData))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_shielded(&self) -> bool {
        self.is_shielded
    }

    /// Cancels what the child awaits.
    pub(super) fn ask(&self) {
        if !self.is_shielded {
            self.stopper.ask(self.location);
        }
    }

    /// Records that the task in which the scope runs waits for this child.
    pub(super) fn note(&self) {
        if let Some(info) = &self.info {
            task::note_wait(|| Rc::new(ChildRecord(info.clone())));
        }
    }
}

impl Future for ChildTask<'_> {
    type Output = (Result<(), Failure>, &'static Location<'static>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (stopper, location) = (self.stopper.clone(), self.location);
        let info = self.info.clone();
        let Some(future) = &mut self.future else {
            return Poll::Ready((Ok(()), location));
        };
        let entered = info.as_ref().map(TaskInfo::enter);
        let polled = report::catch(location, || {
            stopper.poll(location, || future.as_mut().poll(cx))
        });
        drop(entered);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready((done, location)),
            Err(failure) => Poll::Ready((Err(failure), location)),
        }
    }
}

impl Drop for ChildTask<'_> {
    fn drop(&mut self) {
        let future = self.future.take();
        let entered = self.info.as_ref().map(TaskInfo::enter);
        report::contain_rarely(Origin::Destructor, self.location, || drop(future));
        drop(entered);
        if let Some(info) = &self.info {
            info.close();
        }
    }
}

/// The record of a child in the task of its scope.
struct ChildRecord(Rc<TaskInfo>);

impl Wait for ChildRecord {
    fn look(&self) -> Option<DumpItem> {
        self.0.look()?;
        Some(self.0.dump_item())
    }
}
