//! [`JoinSet`]: many tasks, joined in the order in which they end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{FusedStream, FuturesUnordered, Stream, StreamExt};

use crate::failure::Failure;
use crate::index;
use crate::task::{Task, budget, own_waker, spawn, spawn_named};

/// A set of tasks, which are joined in the order in which they end. Dropping the set cancels them.
///
/// The tasks run on this thread's reactor. The children of a [`scope`](super::scope()) may borrow,
/// which tasks may not.
///
/// The set has no ids or abort handles for single tasks. Where a program must know or cancel a
/// certain task, spawn a future of `futures::future::abortable`, and return the id with the result:
/// the second example.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::Clock;
/// use torsade::scope::JoinSet;
///
/// torsade::testing::run(async |reactor| {
///     let mut set = JoinSet::new();
///     for n in [3, 1, 2] {
///         let clock = reactor.clone();
///         set.spawn(async move {
///             clock.sleep(Duration::from_secs(n)).await.map(|()| n)
///         });
///     }
///     let mut order = Vec::new();
///     while let Some(done) = set.join_next().await {
///         order.push(done??);
///     }
///     assert_eq!(order, [1, 2, 3]);
///     Ok(())
/// });
/// ```
///
/// ```
/// use std::collections::HashMap;
/// use std::time::Duration;
/// use futures::future::abortable;
/// use torsade::Clock;
/// use torsade::scope::JoinSet;
///
/// torsade::testing::run(async |reactor| {
///     let mut set = JoinSet::new();
///     let mut handles = HashMap::new();
///     for id in [1, 2] {
///         let (work, handle) = abortable(reactor.sleep(Duration::from_secs(id)));
///         handles.insert(id, handle);
///         set.spawn(async move { (id, work.await) });
///     }
///     handles[&1].abort();
///     let mut order = Vec::new();
///     while let Some(done) = set.join_next().await {
///         let (id, result) = done?;
///         order.push((id, result.is_ok()));
///     }
///     assert_eq!(order, [(1, false), (2, true)]);
///     Ok(())
/// });
/// ```
#[must_use = "dropping a join set cancels its tasks"]
pub struct JoinSet<T: 'static> {
    tasks: FuturesUnordered<Member<T>>,
    /// The number of tasks so far.
    count: u64,
}

impl<T: 'static> JoinSet<T> {
    /// Makes an empty set.
    pub fn new() -> Self {
        Self {
            tasks: FuturesUnordered::new(),
            count: 0,
        }
    }

    /// Spawns a task.
    ///
    /// # Panics
    ///
    /// Panics when no reactor runs on this thread.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) {
        self.push(spawn(future));
    }

    /// Spawns a task with a name.
    ///
    /// # Panics
    ///
    /// Panics as [`spawn`](JoinSet::spawn) does.
    #[track_caller]
    pub fn spawn_named(
        &mut self,
        name: impl Into<Arc<str>>,
        future: impl Future<Output = T> + 'static,
    ) {
        self.push(spawn_named(name, future));
    }

    /// Adds a task that was spawned before.
    pub fn push(&mut self, task: Task<T>) {
        let number = self.count;
        self.count += 1;
        self.tasks.push(Member { number, task });
    }

    /// Waits for the next task that is done, and returns its result; `None` when the set is empty.
    /// `Err` holds the task's panic.
    ///
    /// For an empty set the future is ready at once. In the `select!` of `futures`, which has no
    /// patterns, such a branch would win for ever: guard it by
    /// `if set.is_empty() { Fuse::terminated() } else { set.join_next().fuse() }`, or `select` the
    /// set itself by `set.select_next_some()`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    #[doc(alias("as_completed", "wait"))]
    pub async fn join_next(&mut self) -> Option<Result<T, Failure>> {
        self.next().await
    }

    /// Waits for all tasks, and returns their results in the order in which they were done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the results it has, and cancels the remaining tasks.
    pub async fn join_all(mut self) -> Vec<Result<T, Failure>> {
        let mut results = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            results.push(result);
        }
        results
    }

    /// Cancels all tasks: their futures are dropped in the loop's next batch, in the order in which
    /// the tasks were added. The set is empty then.
    #[doc(alias = "abort_all")]
    pub fn cancel_all(&mut self) {
        for task in self.in_order() {
            drop(task.cancel());
        }
    }

    /// Cancels all tasks in the order in which they were added, and waits until their futures are
    /// dropped. The results of tasks that were done are dropped.
    pub async fn shutdown(mut self) {
        let ending: Vec<_> = self.in_order().map(Task::cancel).collect();
        for task in ending {
            drop(task.await);
        }
    }

    /// Detaches all tasks, which run on; see [`Task::detach`]. The set is empty then.
    pub fn detach_all(&mut self) {
        for task in self.in_order() {
            task.detach();
        }
    }

    /// Returns the number of tasks in the set, including those that have ended and were not joined
    /// yet.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Takes all tasks, in the order in which they were added.
    fn in_order(&mut self) -> impl Iterator<Item = Task<T>> + use<T> {
        let mut members: Vec<_> = std::mem::take(&mut self.tasks).into_iter().collect();
        index::sort(&mut members, |member| member.number.into());
        members.into_iter().map(|member| member.task)
    }
}

impl<T: 'static> Stream for JoinSet<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.tasks).poll_next(&mut Context::from_waker(&own_waker(cx)));
        match next {
            // An empty set is ready at once: the cost lets the loop turn.
            Poll::Ready(None) => budget::metered(cx, |_| Poll::Ready(None)),
            next => next,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T: 'static> FusedStream for JoinSet<T> {
    /// A task may be added to a set that was empty.
    fn is_terminated(&self) -> bool {
        self.is_empty()
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T: 'static> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("tasks", &self.len())
            .finish()
    }
}

/// A task, and its number in the order in which tasks were added.
struct Member<T: 'static> {
    number: u64,
    task: Task<T>,
}

impl<T: 'static> Future for Member<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx)
    }
}
