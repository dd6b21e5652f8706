//! [`TaskLocal`]: values that a task passes on to the tasks it spawns.
//!
//! # The idea
//!
//! A request's number, or the user for whom work is done: such a value is set for a piece of work,
//! and is visible to everything that belongs to it, through every call and every task it spawns,
//! and to nothing else. The values that are set form an immutable list that grows at the front, so
//! capturing them costs one pointer.
//!
//! # Invariants
//!
//! 1. A value is unset when its scope is left, by a panic as well.
//! 2. No borrow is held while user code or a user's destructor runs.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::context;
use crate::report;

/// A value that is visible to a piece of work and to the tasks that it spawns.
///
/// A request's number, for instance, or the user for whom work is done: such a value need not be
/// passed as an argument through every function.
///
/// | code | sees the values that are set |
/// |---|---|
/// | the future given to [`scope`](Self::scope) | in that scope, wherever the future is polled |
/// | a task | where it was spawned |
/// | a callback, a timer, a posted closure | where it is *called*; with [`carry`], where it was *made* |
/// | work given to a thread pool | where it was submitted, of [`shared`](Self::shared) task-locals |
/// | other code on another thread | nowhere; with [`Locals::for_threads`], where those were captured, of `shared` task-locals |
///
/// # Examples
///
/// ```
/// use torsade::task::{TaskLocal, spawn};
///
/// static REQUEST: TaskLocal<u32> = TaskLocal::new();
///
/// fn log(what: &str) -> String {
///     match REQUEST.get() {
///         Some(number) => format!("[{number}] {what}"),
///         None => what.to_owned(),
///     }
/// }
///
/// torsade::testing::run(async |_reactor| {
///     let logged = REQUEST.scope(7, async { spawn(async { log("in a task") }).await });
///     assert_eq!(logged.await?, "[7] in a task");
///     assert_eq!(log("outside"), "outside");
///     Ok(())
/// });
/// ```
pub struct TaskLocal<T: 'static> {
    /// A field with a size, so that no two task-locals have the same address, which identifies
    /// them.
    wrap: fn(T) -> Value,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> TaskLocal<T> {
    /// Declares a task-local whose values stay on their thread.
    pub const fn new() -> Self {
        Self {
            wrap: |value| Value::Local(Rc::new(value)),
            value: PhantomData,
        }
    }

    /// Declares a task-local whose values may go to other threads: automatically with work that is
    /// given to a [thread pool](crate::threads), elsewhere with [`Locals::for_threads`].
    pub const fn shared() -> Self
    where
        T: Send + Sync,
    {
        Self {
            wrap: |value| Value::Shared(Arc::new(value)),
            value: PhantomData,
        }
    }

    /// Runs `future` with the value set. The value is visible to what the future calls and to the
    /// tasks it spawns.
    ///
    /// Scopes can be nested; the innermost value is visible.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<F> {
        TaskLocalFuture {
            future: Some(future),
            key: self.key(),
            value: (self.wrap)(value),
            locals: Locals::default(),
        }
    }

    /// Calls `f` with the value set.
    #[doc(alias = "context.call")]
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        let locals = Locals::capture().with(self.key(), (self.wrap)(value));
        let _set = locals.set();
        f()
    }

    /// Returns a clone of the value, if one is set here.
    pub fn get(&'static self) -> Option<T>
    where
        T: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// Calls `f` with the value, or `None` if none is set here.
    pub fn with<R>(&'static self, f: impl FnOnce(Option<&T>) -> R) -> R {
        match Locals::capture().find(self.key()) {
            Some(Value::Local(value)) => f(value.downcast_ref()),
            Some(Value::Shared(value)) => f(value.downcast_ref()),
            None => f(None),
        }
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<T: 'static> Default for TaskLocal<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> fmt::Debug for TaskLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskLocal<{}>", std::any::type_name::<T>())
    }
}

/// The values of all task-locals that are set where [`capture`](Self::capture) is called, to be set
/// again elsewhere; see [`carry`].
#[derive(Clone, Default)]
pub struct Locals(Option<Rc<Node>>);

/// A node of the list of set values: the innermost value first.
struct Node {
    key: usize,
    /// `None` only while it is dropped.
    value: Option<Value>,
    outer: Locals,
}

#[derive(Clone)]
enum Value {
    Local(Rc<dyn Any>),
    Shared(Arc<dyn Any + Send + Sync>),
}

/// Wraps `f` so that it sees the task-locals that are set now, wherever and whenever it is called.
///
/// Use it for timers and posted closures, which otherwise see the values that are set where they
/// are called. A task does not need it: it sees the values that were set where it was spawned. For
/// a callback with an argument, use [`carry_with`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::task::{TaskLocal, carry};
/// use torsade::{Clock, VirtualClock};
///
/// static USER: TaskLocal<&str> = TaskLocal::new();
///
/// let clock = VirtualClock::new();
/// USER.sync_scope("anna", || {
///     clock.call_later(Duration::from_secs(1), carry(|| assert_eq!(USER.get(), Some("anna"))));
///     clock.call_later(Duration::from_secs(1), || assert_eq!(USER.get(), None));
/// });
/// clock.advance(Duration::from_secs(1));
/// ```
pub fn carry<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let locals = Locals::capture();
    move || locals.run(f)
}

/// Wraps a callback with an argument as [`carry`] does.
///
/// # Examples
///
/// ```
/// use torsade::Deferred;
/// use torsade::task::{TaskLocal, carry_with};
///
/// static USER: TaskLocal<&str> = TaskLocal::new();
///
/// let (deferred, resolver) = Deferred::<u32>::pair();
/// USER.sync_scope("anna", || {
///     deferred.add_callback(carry_with(|n: u32| {
///         assert_eq!((USER.get(), n), (Some("anna"), 1));
///     }));
/// });
/// resolver.callback(1);
/// ```
pub fn carry_with<A, R>(f: impl FnOnce(A) -> R) -> impl FnOnce(A) -> R {
    let locals = Locals::capture();
    move |given| locals.run(|| f(given))
}

impl Locals {
    /// Captures the task-locals that are set here.
    pub fn capture() -> Self {
        Self(context::with(|thread| thread.locals.get()))
    }

    /// Returns whether any is set here.
    #[inline]
    pub(super) fn are_set() -> bool {
        context::with(|thread| thread.locals.is_set())
    }

    /// Calls `f` with these values set, and those of no other task-local.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let _set = self.clone().set();
        f()
    }

    /// Returns the values of the task-locals that were declared with [`TaskLocal::shared`], to be
    /// sent to another thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::task::{Locals, TaskLocal};
    ///
    /// static TRACE: TaskLocal<u64> = TaskLocal::shared();
    ///
    /// TRACE.sync_scope(42, || {
    ///     let locals = Locals::capture().for_threads();
    ///     let there = std::thread::spawn(move || locals.run(|| TRACE.get()));
    ///     assert_eq!(there.join().unwrap(), Some(42));
    /// });
    /// ```
    pub fn for_threads(&self) -> SharedLocals {
        let mut values: Vec<(usize, Arc<dyn Any + Send + Sync>)> = Vec::new();
        let mut next = self;
        while let Some(node) = &next.0 {
            let is_new = values.iter().all(|(key, _)| *key != node.key);
            if let (Some(Value::Shared(value)), true) = (&node.value, is_new) {
                values.push((node.key, value.clone()));
            }
            next = &node.outer;
        }
        SharedLocals(values)
    }

    /// Returns whether no task-local was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns these with one more in front.
    fn with(self, key: usize, value: Value) -> Self {
        Self(Some(Rc::new(Node {
            key,
            value: Some(value),
            outer: self,
        })))
    }

    /// Makes these the current ones until the guard is dropped.
    pub(super) fn set(self) -> Set {
        Set {
            before: Self(context::with(|thread| thread.locals.replace(self.0))),
        }
    }

    fn find(&self, key: usize) -> Option<Value> {
        let mut next = self;
        while let Some(node) = &next.0 {
            if node.key == key {
                return node.value.clone();
            }
            next = &node.outer;
        }
        None
    }

    fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = std::iter::successors(self.0.as_ref(), |node| node.outer.0.as_ref()).count();
        write!(f, "Locals({count})")
    }
}

impl Drop for Node {
    /// Nodes are dropped one after the other, because the list may be long. A value is user code.
    fn drop(&mut self) {
        report::discard(self.value.take(), Location::caller());
        let mut next = self.outer.0.take();
        while let Some(node) = next {
            next = Rc::into_inner(node).and_then(|mut node| node.outer.0.take());
        }
    }
}

/// Values of task-locals that can be sent to another thread; see [`Locals::for_threads`].
#[derive(Clone)]
pub struct SharedLocals(Vec<(usize, Arc<dyn Any + Send + Sync>)>);

impl SharedLocals {
    /// Returns whether no task-local was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `f` with these values set, and those of no other task-local.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut locals = Locals::default();
        for (key, value) in self.0.iter().rev() {
            locals = locals.with(*key, Value::Shared(value.clone()));
        }
        locals.run(f)
    }
}

impl fmt::Debug for SharedLocals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedLocals({})", self.0.len())
    }
}

pin_project! {
    /// The future of [`TaskLocal::scope`]: the value is set while it is polled and while it is
    /// dropped.
    #[must_use = "futures do nothing unless awaited"]
    pub struct TaskLocalFuture<F> {
        // `None` once it was dropped, with the value still set.
        #[pin]
        future: Option<F>,
        key: usize,
        value: Value,
        // What was set at the last poll: the surrounding values, and this one.
        locals: Locals,
    }

    impl<F> PinnedDrop for TaskLocalFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _set = set_around(this.locals, *this.key, this.value);
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for TaskLocalFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _set = set_around(this.locals, *this.key, this.value);
        let future = this.future.as_pin_mut();
        future.expect("only dropping empties it").poll(cx)
    }
}

/// Sets `value` in front of what is set here. `locals` caches the list of the last time.
fn set_around(locals: &mut Locals, key: usize, value: &Value) -> Set {
    let outer = Locals::capture();
    let is_the_same = locals
        .0
        .as_ref()
        .is_some_and(|node| node.outer.ptr_eq(&outer));
    if !is_the_same {
        *locals = outer.with(key, value.clone());
    }
    locals.clone().set()
}

impl<F> fmt::Debug for TaskLocalFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskLocalFuture")
    }
}

/// Restores on drop what was set before.
#[must_use]
pub(super) struct Set {
    before: Locals,
}

impl Drop for Set {
    fn drop(&mut self) {
        let before = self.before.0.take();
        let left = context::with(|thread| thread.locals.replace(before));
        drop(left);
    }
}
