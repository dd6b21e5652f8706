//! Structure: work that has an end, and is gone after it.
//!
//! # The idea
//!
//! [`scope`] runs a body and the children that it spawns, all inside the one future that it gives. So no child outlives
//! the scope, every failure has somebody to go to, and a child may borrow what outlives the scope: that is sound without
//! any unsafe code, for the scope's future *owns* its children, and whoever forgets that future forgets them with it.
//! The price is that all of them take turns in one task, and that a child cannot be detached. For tasks of their own
//! there is [`JoinSet`], and for what must finish whatever becomes of whoever asked for it, [`shield`].
//!
//! # Life of a scope
//!
//! ```text
//!          all are done                     all are done, or the grace is over
//! Open ───────────────────▶ Over ◀──────────────────────────────────────────── Ending
//!   └──────────────────────────────────────────────────────────────────────────▶┘
//!       something failed, the deadline came, or somebody called `cancel`
//! ```
//!
//! | in       | a child that is spawned | a child that fails                       | the body and the children        |
//! |----------|-------------------------|------------------------------------------|----------------------------------|
//! | `Open`   | runs                    | its failure is the scope's               | run                              |
//! | `Ending` | is dropped at once      | is reported, unless it is [`Cancelled`]  | are asked to end, then dropped   |
//! | `Over`   | is dropped at once      | –                                        | are gone                         |
//!
//! *Asked to end*, with a grace: [`Scope::cancelled`] is ready, and the Deferreds that they await are cancelled, so that
//! they see [`Cancelled`] where they wait and may clean up; what is left after the grace is dropped. That is done once, and to
//! Deferreds: a child that awaits a sleep, a task or a connection goes on with that, unless it waits for
//! [`Scope::cancelled`] beside it. Without a grace they are dropped at once. Both happens in the order of spawning. A *shielded* child is neither asked nor dropped: the scope waits for it.
//!
//! # Invariants
//!
//! 1. When the scope's future is done or dropped, its body and all its children are gone.
//! 2. No child is polled, asked or dropped while anything of the scope is borrowed.
//! 3. A panic in a child or in a destructor is a failure like any other; it does not leave the scope unfinished.
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

pub use self::child::Child;
use self::child::ChildTask;
pub use self::join_set::JoinSet;
pub use self::shield::{cancel_within, shield};
use crate::clock::{Clock, Sleep, TimedOut};
use crate::defer::Asking;
use crate::failure::{Cancelled, Failure};
use crate::index::Indexed;
use crate::report::{self, Origin};
use crate::task::own_waker;

/// Runs `body` and the children that it spawns, and is done when all of them are.
///
/// The children take turns with the body and may borrow what outlives the scope. The first failure, of the body or of a
/// child, ends the rest and is the scope's. For a deadline, or a grace for those that are ended, see [`ScopeBuilder`].
///
/// # Cancel safety
///
/// Dropping it drops the body and all children, shielded ones too.
///
/// # Errors
///
/// The first failure; [`Cancelled`] after [`Scope::cancel`], if the body had not returned a value.
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

/// A scope with wishes: a deadline, and a grace for those that are ended; then [`run`](ScopeBuilder::run) it.
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
#[must_use = "it runs nothing until `run` is called"]
pub struct ScopeBuilder {
    deadline: Option<(Duration, Sleep)>,
    grace: Option<Box<dyn FnOnce() -> Sleep>>,
}

impl ScopeBuilder {
    /// A scope without wishes, as [`scope`] makes it.
    pub fn new() -> Self {
        Self {
            deadline: None,
            grace: None,
        }
    }

    /// Ends the scope with [`TimedOut`] if it takes longer than `limit`, counted from now.
    #[doc(alias("move_on_after", "fail_after"))]
    #[track_caller]
    pub fn deadline(mut self, clock: &impl Clock, limit: Duration) -> Self {
        let sleep = clock.timers().limit_sleep(limit, Location::caller());
        self.deadline = Some((limit, sleep));
        self
    }

    /// Gives those that are ended so long to end by themselves, before they are dropped.
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
    /// As [`scope`], and [`TimedOut`].
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

/// The handle to a scope that runs; see [`scope`]. Clones are the same one, for children that spawn as well.
pub struct Scope<'env>(Rc<Inner<'env>>);

struct Inner<'env> {
    /// Children that the scope's future has not taken over yet.
    fresh: RefCell<Vec<ChildTask<'env>>>,
    next_kid: Cell<u64>,
    stage: Cell<Stage>,
    /// Wakes the scope's future.
    waker: RefCell<Option<Waker>>,
    /// Wakes those that wait for the end, by the order in which they began to.
    watchers: RefCell<Indexed<Waker>>,
    next_watcher: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// To become `Ending` when the scope's future is polled.
    Cancelled,
    Ending,
    Over,
}

impl<'env> Scope<'env> {
    /// Starts a child. It is first polled when the scope is, never inside this call.
    ///
    /// Its failure ends the scope. What it gives can be awaited with the handle; dropping the handle changes nothing.
    /// When the scope is ending, the child is dropped at once.
    #[doc(alias("start_soon", "create_task"))]
    #[track_caller]
    pub fn spawn<T: 'env>(
        &self,
        future: impl Future<Output = Result<T, Failure>> + 'env,
    ) -> Child<'env, T> {
        self.add(future, false)
    }

    /// As [`spawn`](Scope::spawn), for what must finish: it is neither asked nor dropped when the scope ends, but waited
    /// for.
    #[doc(alias = "shield")]
    #[track_caller]
    pub fn spawn_shielded<T: 'env>(
        &self,
        future: impl Future<Output = Result<T, Failure>> + 'env,
    ) -> Child<'env, T> {
        self.add(future, true)
    }

    /// Ends the scope: the body, if it is not done, and all children.
    pub fn cancel(&self) {
        if self.0.stage.get() == Stage::Open {
            self.0.stage.set(Stage::Cancelled);
            self.0.wake();
        }
    }

    /// Is it ending, or over?
    pub fn is_cancelled(&self) -> bool {
        self.0.stage.get() != Stage::Open
    }

    /// Waits until the scope is ending: for children that want to notice while they do something else.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn cancelled(&self) {
        let inner = &*self.0;
        let number = inner.next_watcher.replace(inner.next_watcher.get() + 1);
        let watcher = Watcher { inner, number };
        poll_fn(|cx| match self.is_cancelled() {
            true => Poll::Ready(()),
            false => {
                watcher.watch(&own_waker(cx));
                // A waker is somebody's code.
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
    ) -> Child<'env, T> {
        let location = Location::caller();
        let number = self.0.next_kid.replace(self.0.next_kid.get() + 1);
        let (kid, child) = ChildTask::new(number, future, is_shielded, location);
        if self.is_cancelled() {
            drop(kid);
        } else {
            self.0.fresh.borrow_mut().push(kid);
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

    fn tell_watchers(&self) {
        let watchers = self.watchers.take();
        watchers.for_each(Waker::wake);
    }

    /// Lets go of the children that nobody has taken over.
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

/// One that waits for the end.
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
        next_kid: Cell::new(0),
        stage: Cell::new(Stage::Open),
        waker: RefCell::default(),
        watchers: RefCell::default(),
        next_watcher: Cell::new(0),
    }));
    let mut body = pin!(Some(body(scope.clone())));
    let mut running = Running {
        scope,
        location,
        asking: Asking::default(),
        kids: FuturesUnordered::new(),
        failure: None,
        deadline: scoping.deadline,
        grace: scoping.grace,
        patience: None,
    };
    let mut value = None;
    poll_fn(|cx| running.poll(cx, body.as_mut(), &mut value)).await;
    match (running.failure.take(), value) {
        (Some(failure), _) => Err(failure),
        (None, Some(value)) => Ok(value),
        (None, None) => Err(Failure::at(Cancelled, location)),
    }
}

/// A scope's own future, but for the body.
struct Running<'env> {
    scope: Scope<'env>,
    location: &'static Location<'static>,
    /// How the body is asked to end.
    asking: Asking,
    kids: FuturesUnordered<ChildTask<'env>>,
    /// The first.
    failure: Option<Failure>,
    deadline: Option<(Duration, Sleep)>,
    grace: Option<Box<dyn FnOnce() -> Sleep>>,
    /// How long those that were asked to end may still take.
    patience: Option<Sleep>,
}

impl Running<'_> {
    /// Goes on with all of them; ready when they are gone.
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
                let (asking, location) = (self.asking.clone(), self.location);
                let polled = report::catch(location, || asking.poll(location, || future.poll(cx)));
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
                Pin::new(&mut self.kids).poll_next(&mut Context::from_waker(&own_waker(cx)))
            {
                if let Err(failure) = done {
                    self.fail(failure, location);
                }
            }
            let has_fresh = !inner.fresh.borrow().is_empty();
            if body.is_none() && self.kids.is_empty() && !has_fresh {
                inner.stage.set(Stage::Over);
                inner.tell_watchers();
                return Poll::Ready(());
            }
            if has_fresh || inner.stage.get() == Stage::Cancelled {
                continue;
            }
            // Whoever has come to an end by now has done so in time.
            self.look_at_deadline(cx);
            let dropped = self.look_at_patience(cx, body.as_mut());
            if !dropped && inner.stage.get() != Stage::Cancelled {
                return Poll::Pending;
            }
        }
    }

    /// Takes over the children that are fresh.
    fn adopt(&mut self) {
        let fresh = self.scope.0.fresh.take();
        for kid in fresh {
            kid.note();
            self.kids.push(kid);
        }
    }

    fn look_at_deadline(&mut self, cx: &mut Context<'_>) {
        if let Some((limit, sleep)) = &mut self.deadline {
            let limit = *limit;
            if self.scope.is_cancelled() {
                self.deadline = None;
            } else if Pin::new(sleep).poll(cx).is_ready() {
                self.deadline = None;
                self.fail(Failure::at(TimedOut(limit), self.location), self.location);
            }
        }
    }

    /// `true` when the grace is over and those that were left are dropped.
    fn look_at_patience<B>(&mut self, cx: &mut Context<'_>, body: Pin<&mut Option<B>>) -> bool {
        let Some(patience) = &mut self.patience else {
            return false;
        };
        let is_over = Pin::new(patience).poll(cx).is_ready();
        if is_over {
            self.patience = None;
            self.drop_all(body);
        }
        is_over
    }

    /// The scope, its body or a child has failed.
    fn fail(&mut self, failure: Failure, location: &'static Location<'static>) {
        if self.failure.is_none() && self.scope.0.stage.get() == Stage::Open {
            self.failure = Some(failure);
            self.scope.0.stage.set(Stage::Cancelled);
        } else if failure.find::<Cancelled>().is_none() {
            report::deliver(Origin::Task, failure, location);
        }
    }

    /// Asks all to end, or drops them.
    fn end<B>(&mut self, body: Pin<&mut Option<B>>) {
        // From now on there are no others.
        self.scope.0.stage.set(Stage::Ending);
        self.adopt();
        self.scope.0.tell_watchers();
        match self.grace.take() {
            None => self.drop_all(body),
            Some(grace) => {
                self.patience = Some(grace());
                let mut kids: Vec<_> = self.kids.iter().collect();
                kids.sort_by_key(|kid| kid.number());
                for kid in kids {
                    kid.ask();
                }
                self.asking.ask(self.location);
            }
        }
    }

    /// Drops the body and all children but the shielded ones.
    fn drop_all<B>(&mut self, body: Pin<&mut Option<B>>) {
        self.drop_body(body);
        let kids = std::mem::take(&mut self.kids);
        let mut kids: Vec<_> = kids.into_iter().collect();
        kids.sort_by_key(ChildTask::number);
        let (kept, dropped): (Vec<_>, Vec<_>) = kids.into_iter().partition(ChildTask::is_shielded);
        drop(dropped);
        self.kids.extend(kept);
    }

    fn drop_body<B>(&self, mut body: Pin<&mut Option<B>>) {
        if body.is_some() {
            report::contain_rarely(Origin::Destructor, self.location, || body.set(None));
        }
    }
}

impl Drop for Running<'_> {
    /// Done, or given up.
    fn drop(&mut self) {
        self.scope.0.stage.set(Stage::Over);
        self.scope.0.tell_watchers();
        self.scope.0.drop_fresh();
    }
}
