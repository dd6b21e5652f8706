//! Structured concurrency: a scope ends when all work that was started in it has ended.
//!
//! # The idea
//!
//! [`scope`] runs a body and the children that it spawns inside the one future that it returns. So
//! no child outlives the scope, every failure has a receiver, and a child may borrow what outlives
//! the scope. In return the body and all children take turns in one task, and a child cannot be
//! detached.
//!
//! | for | use |
//! |---|---|
//! | children that may borrow, and end with their scope | [`scope`] |
//! | tasks whose number and order of ending are not known; they may be detached | [`JoinSet`] |
//! | a fixed group of results | [`gather`](crate::defer::gather()), [`list`](crate::defer::list()) |
//! | work that must finish whatever happens to the code that requested it | [`shield`] |
//! | work that gets time to clean up when it is cancelled | [`cancel_within`] |
//!
//! # Life of a scope
//!
//! ```text
//!          all are done                     all are done, or the grace is over
//! Open ───────────────────▶ Over ◀──────────────────────────────────────────── Ending
//!   └──────────────────────────────────────────────────────────────────────────▶┘
//!       a child failed, the deadline came, or `cancel` was called
//! ```
//!
//! | state | a child that is spawned | a child that fails | the body and the children |
//! |---|---|---|---|
//! | `Open` | runs | ends the scope with its failure | run |
//! | `Ending` | is dropped at once | is reported, unless it is [`Cancelled`] | are cancelled, then dropped |
//! | `Over` | is dropped at once | – | are gone |
//!
//! With a grace, *cancelled* means: [`Scope::cancelled`] is ready, and the Deferreds that the body
//! and the children await are cancelled, so that they see [`Cancelled`] at their `await` and may
//! clean up; what is left after the grace is dropped. Only Deferreds are cancelled, and only once:
//! a child that awaits a sleep, a task or a connection continues with that, unless it waits for
//! [`Scope::cancelled`] as well. Without a grace the body and the children are dropped at once.
//! Children are cancelled, and dropped, in the order in which they were spawned; the body is
//! cancelled after them, and dropped before them. A *shielded* child is neither cancelled nor
//! dropped: the scope waits for it.
//!
//! # Invariants
//!
//! 1. When the scope's future is done or dropped, its body and all its children are dropped.
//! 2. No child is polled, cancelled or dropped while anything of the scope is borrowed.
//! 3. A panic in a child or in a destructor is handled as a failure; it does not leave the scope
//!    unfinished.
//!
//! The [glossary](crate::guide::glossary) defines the terms: [scope](crate::guide::glossary#scope),
//! [detach](crate::guide::glossary#detach), [cancel safety](crate::guide::glossary#cancel-safety).
//!
//! [`Cancelled`]: crate::Cancelled

mod child;
mod join_set;
mod shield;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream};

use self::child::ChildTask;
pub use self::child::ScopedTask;
#[doc(alias("TaskSet", "TaskGroup", "TaskTracker", "AbortHandle"))]
pub use self::join_set::JoinSet;
#[doc(alias("graceful cancel", "abort"))]
pub use self::shield::cancel_within;
#[doc(alias("asyncio.shield", "delay_cancellation"))]
pub use self::shield::shield;
use crate::clock::{Clock, Sleep, TimedOut};
use crate::defer::{GrantHold, StopHandle};
use crate::failure::{Cancelled, Failure};
use crate::index::{self, Indexed};
use crate::report::{self, Origin};
use crate::task::own_waker;

/// Runs `body` and the children that it spawns, until all of them are done.
///
/// The children take turns with the body, in the task that awaits the scope, and may borrow what
/// outlives the scope. The first failure, of the body or of a child, ends the body and the other
/// children, and is the failure of the scope. [`ScopeBuilder`] adds a deadline, or a grace in which
/// the body and the children may clean up.
///
/// # Cancel safety
///
/// Dropping the future drops the body and all children, shielded ones too.
///
/// # Errors
///
/// Fails with the first failure, and with [`Cancelled`] after [`Scope::cancel`] if the body had not
/// returned a value.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::time::Duration;
/// use torsade::{Clock, scope::scope};
///
/// torsade::testing::run(async |reactor| {
///     let sum = Cell::new(0); // borrowed by all of them
///     scope(async |s| {
///         for n in 1..=3 {
///             let (sum, reactor) = (&sum, &reactor);
///             s.spawn(async move {
///                 reactor.sleep(Duration::from_secs(n)).await?;
///                 sum.set(sum.get() + n);
///                 Ok(())
///             });
///         }
///         Ok(())
///     })
///     .await?;
///     assert_eq!(sum.get(), 6);
///     Ok(())
/// });
/// ```
///
/// What does not outlive the scope cannot be borrowed:
///
/// ```compile_fail,E0597
/// # use torsade::scope::scope;
/// # torsade::testing::run(async |_| {
/// scope(async |s| {
///     let local = String::from("gone before the children are");
///     s.spawn(async { Ok(local.len()) });
///     Ok(())
/// })
/// .await
/// # });
/// ```
#[doc(alias(
    "nursery",
    "TaskGroup",
    "thread::scope",
    "structured concurrency",
    "moro"
))]
#[track_caller]
pub fn scope<'env, T>(
    body: impl AsyncFnOnce(Scope<'env>) -> Result<T, Failure>,
) -> impl Future<Output = Result<T, Failure>> {
    ScopeBuilder::new().run(body)
}

/// A builder for a scope with a deadline, or with a grace for the tasks that it ends;
/// [`run`](ScopeBuilder::run) runs the scope.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::clock::TimedOut;
/// use torsade::scope::ScopeBuilder;
/// use torsade::{Clock, Deferred};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// torsade::testing::run(async |reactor| {
///     let start = reactor.now();
///     let (never, _resolver) = Deferred::<()>::pair();
///     let outcome = ScopeBuilder::new()
///         .deadline(&reactor, SECOND)
///         .grace(&reactor, SECOND * 2)
///         .run(async |s| {
///             s.spawn(never); // is cancelled after a second, and goes
///             s.spawn(std::future::pending::<Result<(), _>>()); // is dropped two seconds later
///             Ok(())
///         })
///         .await;
///     assert!(outcome.unwrap_err().is::<TimedOut>());
///     assert_eq!(reactor.now() - start, SECOND * 3);
///     Ok(())
/// });
/// ```
#[must_use = "a scope builder runs nothing until `run` is called"]
pub struct ScopeBuilder {
    deadline: Option<(Duration, Sleep)>,
    grace: Option<Box<dyn FnOnce() -> Sleep>>,
}

impl ScopeBuilder {
    /// Makes a builder without deadline and grace, as [`scope`] uses.
    pub fn new() -> Self {
        Self {
            deadline: None,
            grace: None,
        }
    }

    /// Ends the scope with [`TimedOut`] if it takes longer than `limit`, counted from now, and with
    /// [`ClockStopped`](crate::clock::ClockStopped) when the clock stops before that.
    #[doc(alias("move_on_after", "fail_after"))]
    #[track_caller]
    pub fn deadline(mut self, clock: &impl Clock, limit: Duration) -> Self {
        let sleep = clock.timers().limit_sleep(limit, Location::caller());
        self.deadline = Some((limit, sleep));
        self
    }

    /// Gives the body and children that are cancelled the time `grace` to end, before they are
    /// dropped.
    #[doc(alias = "graceful shutdown")]
    #[track_caller]
    pub fn grace(mut self, clock: &(impl Clock + Clone + 'static), grace: Duration) -> Self {
        let (clock, location) = (clock.clone(), Location::caller());
        self.grace = Some(Box::new(move || {
            clock.timers().limit_sleep(grace, location)
        }));
        self
    }

    /// Runs the scope; see [`scope`].
    ///
    /// # Errors
    ///
    /// Fails as [`scope`] does, and with [`TimedOut`].
    #[track_caller]
    pub fn run<'env, T>(
        self,
        body: impl AsyncFnOnce(Scope<'env>) -> Result<T, Failure>,
    ) -> impl Future<Output = Result<T, Failure>> {
        let location = Location::caller();
        run(self, body, location)
    }
}

impl Default for ScopeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScopeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeBuilder")
            .field("deadline", &self.deadline.as_ref().map(|(limit, _)| limit))
            .field("has_grace", &self.grace.is_some())
            .finish()
    }
}

/// The handle to a running scope; see [`scope`]. Clones are handles to the same scope: a child that
/// spawns other children owns one.
pub struct Scope<'env>(Rc<Inner<'env>>);

struct Inner<'env> {
    /// The children that the scope's future has not taken over yet.
    fresh: RefCell<Vec<ChildTask<'env>>>,
    next_child: Cell<u64>,
    stage: Cell<Stage>,
    /// Wakes the scope's future.
    waker: RefCell<Option<Waker>>,
    /// Wake the futures that wait for the end, in the order in which they began to wait.
    watchers: RefCell<Indexed<Waker>>,
    next_watcher: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The scope becomes `Ending` when its future is polled.
    Cancelled,
    Ending,
    Over,
}

impl<'env> Scope<'env> {
    /// Spawns a child. The child is first polled when the future of the scope is, never inside this
    /// call.
    ///
    /// The child's failure ends the scope. The returned handle awaits the child's result; dropping
    /// the handle changes nothing. If the scope is ending already, the child is dropped at once.
    #[doc(alias("start_soon", "create_task"))]
    #[track_caller]
    pub fn spawn<T: 'env>(
        &self,
        future: impl Future<Output = Result<T, Failure>> + 'env,
    ) -> ScopedTask<'env, T> {
        self.add(future, false)
    }

    /// Spawns a child that must finish: when the scope ends, the child is neither cancelled nor
    /// dropped, and the scope waits for it.
    #[doc(alias = "shield")]
    #[track_caller]
    pub fn spawn_shielded<T: 'env>(
        &self,
        future: impl Future<Output = Result<T, Failure>> + 'env,
    ) -> ScopedTask<'env, T> {
        self.add(future, true)
    }

    /// Ends the scope: the body, if it is not done, and all children are cancelled, as the [module
    /// docs](crate::scope) say.
    pub fn cancel(&self) {
        if self.0.stage.get() == Stage::Open {
            self.0.stage.set(Stage::Cancelled);
            self.0.wake();
        }
    }

    /// Returns whether the scope is ending or has ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.stage.get() != Stage::Open
    }

    /// Waits until the scope is ending. A child that awaits this beside its work, in a `select`,
    /// can end in good order.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn cancelled(&self) {
        let inner = &*self.0;
        let number = inner.next_watcher.replace(inner.next_watcher.get() + 1);
        let watcher = Watcher { inner, number };
        poll_fn(|cx| match self.is_cancelled() {
            true => Poll::Ready(()),
            false => {
                watcher.watch(&own_waker(cx));
                // A waker is user code.
                match self.is_cancelled() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }
        })
        .await;
    }

    #[track_caller]
    fn add<T: 'env>(
        &self,
        future: impl Future<Output = Result<T, Failure>> + 'env,
        is_shielded: bool,
    ) -> ScopedTask<'env, T> {
        let location = Location::caller();
        let number = self.0.next_child.replace(self.0.next_child.get() + 1);
        let (task, child) = ChildTask::new(number, future, is_shielded, location);
        if self.is_cancelled() {
            drop(task);
        } else {
            self.0.fresh.borrow_mut().push(task);
            self.0.wake();
        }
        child
    }
}

impl Clone for Scope<'_> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", self.0.stage.get())
    }
}

impl Inner<'_> {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wake_watchers(&self) {
        let watchers = self.watchers.take();
        watchers.for_each(Waker::wake);
    }

    /// Drops the children that the scope's future has not taken over.
    fn drop_fresh(&self) {
        loop {
            let fresh = self.fresh.take();
            if fresh.is_empty() {
                return;
            }
            drop(fresh);
        }
    }
}

/// A future that waits for the end of a scope.
struct Watcher<'a, 'env> {
    inner: &'a Inner<'env>,
    number: u64,
}

impl Watcher<'_, '_> {
    fn watch(&self, waker: &Waker) {
        let old = self.inner.watchers.borrow_mut().remove(self.number);
        let new = match old {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        let old = self.inner.watchers.borrow_mut().insert(self.number, new);
        drop(old);
    }
}

impl Drop for Watcher<'_, '_> {
    fn drop(&mut self) {
        let waker = self.inner.watchers.borrow_mut().remove(self.number);
        drop(waker);
    }
}

async fn run<'env, T>(
    scoping: ScopeBuilder,
    body: impl AsyncFnOnce(Scope<'env>) -> Result<T, Failure>,
    location: &'static Location<'static>,
) -> Result<T, Failure> {
    let scope = Scope(Rc::new(Inner {
        fresh: RefCell::default(),
        next_child: Cell::new(0),
        stage: Cell::new(Stage::Open),
        waker: RefCell::default(),
        watchers: RefCell::default(),
        next_watcher: Cell::new(0),
    }));
    let mut body = pin!(Some(body(scope.clone())));
    let mut running = Running {
        scope,
        location,
        stopper: StopHandle::default(),
        children: FuturesUnordered::new(),
        failure: None,
        deadline: scoping.deadline,
        grace: scoping.grace,
        grace_left: None,
    };
    let mut value = None;
    poll_fn(|cx| running.poll(cx, body.as_mut(), &mut value)).await;
    match (running.failure.take(), value) {
        (Some(failure), _) => Err(failure),
        (None, Some(value)) => Ok(value),
        (None, None) => Err(Failure::at(Cancelled, location)),
    }
}

/// The future of a scope, without the body.
struct Running<'env> {
    scope: Scope<'env>,
    location: &'static Location<'static>,
    /// Cancels what the body awaits.
    stopper: StopHandle,
    children: FuturesUnordered<ChildTask<'env>>,
    /// The first failure.
    failure: Option<Failure>,
    deadline: Option<(Duration, Sleep)>,
    grace: Option<Box<dyn FnOnce() -> Sleep>>,
    /// The rest of the grace.
    grace_left: Option<Sleep>,
}

impl Running<'_> {
    /// Polls the body and the children; ready when all of them have ended.
    fn poll<T, B: Future<Output = Result<T, Failure>>>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut Option<B>>,
        value: &mut Option<T>,
    ) -> Poll<()> {
        let inner = self.scope.0.clone();
        loop {
            drop(inner.waker.replace(Some(own_waker(cx).clone())));
            if inner.stage.get() == Stage::Cancelled {
                self.end(body.as_mut());
            }
            if let Some(future) = body.as_mut().as_pin_mut() {
                let (stopper, location) = (self.stopper.clone(), self.location);
                let polled = report::catch(location, || stopper.poll(location, || future.poll(cx)));
                let done = match polled {
                    Ok(Poll::Pending) => None,
                    Ok(Poll::Ready(done)) => Some(done),
                    Err(failure) => Some(Err(failure)),
                };
                if let Some(done) = done {
                    self.drop_body(body.as_mut());
                    match done {
                        Ok(done) => *value = Some(done),
                        Err(failure) => self.fail(failure, self.location),
                    }
                }
            }
            self.adopt();
            while let Poll::Ready(Some((done, location))) =
                Pin::new(&mut self.children).poll_next(&mut Context::from_waker(&own_waker(cx)))
            {
                if let Err(failure) = done {
                    self.fail(failure, location);
                }
            }
            let has_fresh = !inner.fresh.borrow().is_empty();
            if body.is_none() && self.children.is_empty() && !has_fresh {
                inner.stage.set(Stage::Over);
                inner.wake_watchers();
                return Poll::Ready(());
            }
            if has_fresh || inner.stage.get() == Stage::Cancelled {
                continue;
            }
            // What has ended by now has ended in time.
            self.check_deadline(cx);
            let dropped = self.check_grace(cx, body.as_mut());
            if !dropped && inner.stage.get() != Stage::Cancelled {
                return Poll::Pending;
            }
        }
    }

    /// Takes over the new children.
    fn adopt(&mut self) {
        let fresh = self.scope.0.fresh.take();
        for task in fresh {
            task.note();
            self.children.push(task);
        }
    }

    fn check_deadline(&mut self, cx: &mut Context<'_>) {
        if let Some((limit, sleep)) = &mut self.deadline {
            let limit = *limit;
            if self.scope.is_cancelled() {
                self.deadline = None;
            } else if let Poll::Ready(slept) = Pin::new(sleep).poll(cx) {
                self.deadline = None;
                let timed_out = || Failure::at(TimedOut(limit), self.location);
                let failure = slept.err().unwrap_or_else(timed_out);
                self.fail(failure, self.location);
            }
        }
    }

    /// Returns `true` when the grace is over and the rest was dropped.
    fn check_grace<B>(&mut self, cx: &mut Context<'_>, body: Pin<&mut Option<B>>) -> bool {
        let Some(grace_left) = &mut self.grace_left else {
            return false;
        };
        let is_over = Pin::new(grace_left).poll(cx).is_ready();
        if is_over {
            self.grace_left = None;
            self.drop_all(body);
        }
        is_over
    }

    /// Handles a failure of the scope, its body or a child.
    fn fail(&mut self, failure: Failure, location: &'static Location<'static>) {
        if self.failure.is_none() && self.scope.0.stage.get() == Stage::Open {
            self.failure = Some(failure);
            self.scope.0.stage.set(Stage::Cancelled);
        } else if failure.find::<Cancelled>().is_none() {
            report::deliver(Origin::Task, failure, location);
        }
    }

    /// Cancels all, or drops them.
    fn end<B>(&mut self, body: Pin<&mut Option<B>>) {
        // From now on no child is added.
        self.scope.0.stage.set(Stage::Ending);
        self.adopt();
        self.scope.0.wake_watchers();
        let _hold = GrantHold::new();
        match self.grace.take() {
            None => self.drop_all(body),
            Some(grace) => {
                self.grace_left = Some(grace());
                let mut children: Vec<_> = self.children.iter().collect();
                index::sort(&mut children, |task| task.number().into());
                for task in children {
                    task.ask();
                }
                self.stopper.ask(self.location);
            }
        }
    }

    /// Drops the body and all children except the shielded ones.
    fn drop_all<B>(&mut self, body: Pin<&mut Option<B>>) {
        let _hold = GrantHold::new();
        self.drop_body(body);
        let children = std::mem::take(&mut self.children);
        let mut children: Vec<_> = children.into_iter().collect();
        index::sort(&mut children, |task| task.number().into());
        let (kept, dropped): (Vec<_>, Vec<_>) =
            children.into_iter().partition(ChildTask::is_shielded);
        drop(dropped);
        self.children.extend(kept);
    }

    fn drop_body<B>(&self, mut body: Pin<&mut Option<B>>) {
        if body.is_some() {
            report::contain_rarely(Origin::Destructor, self.location, || body.set(None));
        }
    }
}

impl Drop for Running<'_> {
    /// Ends the scope, which is done or was dropped.
    fn drop(&mut self) {
        let _hold = GrantHold::new();
        self.scope.0.stage.set(Stage::Over);
        self.scope.0.wake_watchers();
        self.scope.0.drop_fresh();
        drop(std::mem::take(&mut self.children));
    }
}
