//! Futures that run by themselves on one thread: [`spawn`], [`Task`], [`yield_now`].
//!
//! # The idea
//!
//! Each reactor owns one *executor*: a queue of what is ready (tasks that were woken, and calls), an *inbox* for
//! what other threads send, and a list of the tasks that wait. A task is one allocation made by `async-task`.
//! Waking a task on the loop's own thread while its loop runs appends to a plain queue; any other wake goes
//! through the inbox. Nothing here knows of sockets, timers or Deferreds.
//!
//! # Who owns what
//!
//! A ready task belongs to the queue it stands in, a waiting one to its wakers and to the executor's list. The
//! executor running on a thread is found through a thread local, for the length of a turn.
//!
//! # Invariants
//!
//! 1. Everything ready runs first come, first served. What becomes ready during a batch waits for the next.
//! 2. A future is polled and dropped on the loop's thread only, and nothing unwinds out of either.
//! 3. After `Executor::shut_down` no future of the executor is alive, and none can come to life: what is
//!    spawned later is dropped at once. Without it an executor that still has tasks is never freed, for it and
//!    they own each other.
//! 4. No queue or list is borrowed while a user's code or destructor runs.

mod block_on;
mod card;
mod inbox;
mod locals;
mod root;

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_task::{Builder, FallibleTask, Runnable};
use slab::Slab;

pub use self::block_on::block_on;
pub use self::card::current;
pub(crate) use self::card::{Card, Wait, awaited, current_card, note_wait};
pub(crate) use self::inbox::{Inbox, Message, Place};
pub use self::locals::{Locals, Scoped, SharedLocals, TaskLocal, carry, carry_with};
use self::root::{Outcome, Root};
use crate::debug;
use crate::failure::{Cancelled, Failure, Hop, TaskName};
use crate::report::{self, Origin};
use crate::sync::Arc;

/// Starts a future on the reactor that is running on this thread.
///
/// The future is first polled by the reactor's turn, never inside this call.
///
/// # Panics
///
/// When no reactor runs on this thread. `Reactor::spawn` works before the run as well.
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
#[doc(alias = "ensureDeferred")]
#[track_caller]
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    running().spawn(future, Location::caller())
}

/// As [`spawn`], with a name: reports and dumps show it, and [`current`] gives it.
///
/// # Panics
///
/// As [`spawn`].
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
    Executor::current().unwrap_or_else(|| {
        panic!(
            "no reactor runs on this thread: use `Reactor::spawn`, or call from inside `torsade::run`"
        )
    })
}

/// Lets everything else that is ready run first. It costs no system call.
///
/// # Cancel safety
///
/// Nothing is lost when it is dropped.
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

/// A future that has been started, and the right to its result.
///
/// Await it to have the result: `Err` holds the task's panic, or [`Cancelled`].
///
/// The handle follows the rule of every result to come in this crate: **dropped before it was ever polled, it
/// lets the task run on** by itself, as [`Task::detach`] does in so many words; **dropped after it was polled**
/// (an `await` that was given up) **it cancels the task**.
///
/// A panic, or an `Err` in a task's `Result<(), Failure>` or `Result<(), io::Error>`, that no handle takes is
/// reported.
///
/// # Cancel safety
///
/// Awaiting `&mut task` loses nothing when the await is dropped.
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
#[must_use = "a task runs by itself, but its result is lost; say `detach` when that is meant"]
pub struct Task<T: 'static> {
    /// Empty only after it was detached, cancelled or dropped.
    inner: Option<FallibleTask<Outcome<T>, Place>>,
    polled: bool,
    place: Place,
    card: Option<Rc<Card>>,
    /// Its result may only be dropped on the loop's thread.
    local: PhantomData<Rc<()>>,
}

impl<T: 'static> Task<T> {
    /// Lets the task run on by itself. Its failures are reported from now on.
    pub fn detach(mut self) {
        if let Some(inner) = self.inner.take() {
            inner.detach();
        }
    }

    /// Ends the task: its future is dropped in the loop's next batch and never polled again.
    ///
    /// What comes back can be awaited until that has happened, and gives the result if the task had finished
    /// before; ignoring it changes nothing.
    #[doc(alias = "abort")]
    pub fn cancel(mut self) -> Cancelling<T> {
        let inner = self
            .inner
            .take()
            .map(|inner| Box::pin(inner.cancel()) as Pin<Box<dyn Future<Output = _>>>);
        let mut cancelling = Cancelling { inner };
        // The first poll is what closes the task.
        if let Poll::Ready(done) = cancelling.poll_inner(&mut Context::from_waker(Waker::noop())) {
            let done: Pin<Box<dyn Future<Output = _>>> = Box::pin(std::future::ready(done));
            cancelling.inner = Some(done);
        }
        cancelling
    }

    /// Has the task ended, in whatever way?
    pub fn is_finished(&self) -> bool {
        self.inner.as_ref().is_none_or(FallibleTask::is_finished)
    }

    /// Where it was spawned.
    pub fn location(&self) -> &'static Location<'static> {
        self.place
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.card.as_ref()?.title().name.as_deref()
    }

    /// The task as a dump shows it, without what it waits for; nothing if it has ended or has no card.
    pub(crate) fn thing(&self) -> Option<debug::Thing> {
        self.card.as_ref().and_then(|card| card.look())
    }

    fn title(&self) -> TaskName {
        match &self.card {
            Some(card) => card.title().clone(),
            None => TaskName {
                spawned: self.place,
                name: None,
            },
        }
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, Failure>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled = true;
        let inner = self
            .inner
            .as_mut()
            .expect("a task is not polled after it gave its result");
        let Poll::Ready(outcome) = Pin::new(inner).poll(cx) else {
            if let Some(card) = &self.card {
                note_wait(|| card.clone());
            }
            return Poll::Pending;
        };
        self.inner = None;
        let result = match outcome {
            Some(outcome) => outcome.take(),
            None => Err(Failure::at(Box::new(Cancelled), self.place)),
        };
        if let (Err(failure), true) = (&result, debug::is_on()) {
            failure.went_through(Hop::Task(self.title()));
            failure.went_through(awaited(Location::caller()));
        }
        Poll::Ready(result)
    }
}

impl<T: 'static> Drop for Task<T> {
    fn drop(&mut self) {
        match self.inner.take() {
            Some(inner) if self.polled => drop(inner),
            Some(inner) => inner.detach(),
            None => {}
        }
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
        write!(f, "{state}, spawned at {})", self.place)
    }
}

/// A task that is being ended; see [`Task::cancel`].
pub struct Cancelling<T: 'static> {
    /// Empty once it has given its result.
    inner: Option<Ending<T>>,
}

type Ending<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>>>>;

impl<T: 'static> Cancelling<T> {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome<T>>> {
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll(cx),
            None => Poll::Ready(None),
        }
    }
}

impl<T: 'static> Future for Cancelling<T> {
    /// The result of a task that had finished already and did not panic.
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

/// Runs tasks and calls, in batches, for one reactor.
pub(crate) struct Executor {
    ready: RefCell<VecDeque<Job>>,
    inbox: Arc<Inbox>,
    /// The tasks that wait, each with the waker that brings it back.
    waiting: RefCell<Slab<(Waker, Place)>>,
    /// The cards of the tasks that have one.
    cards: RefCell<Slab<Rc<Card>>>,
    /// How many tasks are being polled, one inside the other: seldom more than one.
    depth: Cell<usize>,
    closed: Cell<bool>,
}

/// Where a task stands in the list of those that wait, counted from one.
type Number = NonZeroU32;

/// Something that is ready to run.
pub(crate) enum Job {
    Task(Runnable<Place>),
    /// Fenced by whoever made it.
    Call(Box<dyn FnOnce()>),
    /// Fenced as well: something that has collected work and now does it.
    Errand(Rc<dyn Errand>),
}

/// A thing that can be queued again and again without an allocation.
pub(crate) trait Errand {
    /// Does the work. Must not unwind.
    fn run(self: Rc<Self>);
}

impl Executor {
    /// A new one; `wake` must end the loop's present or next wait, from any thread.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Rc<Self> {
        Rc::new(Self {
            ready: RefCell::default(),
            inbox: Inbox::new(wake),
            waiting: RefCell::default(),
            cards: RefCell::default(),
            depth: Cell::new(0),
            closed: Cell::new(false),
        })
    }

    /// The one that is running on this thread.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Does the loop with this inbox run on this thread?
    pub(crate) fn is_current(inbox: &Arc<Inbox>) -> bool {
        let current = Self::current();
        current.is_some_and(|executor| Arc::ptr_eq(&executor.inbox, inbox))
    }

    /// Makes it this thread's current one until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        Entered { before }
    }

    /// Starts a future.
    pub(crate) fn spawn<T: 'static>(
        self: &Rc<Self>,
        future: impl Future<Output = T> + 'static,
        place: Place,
    ) -> Task<T> {
        self.spawn_named(None, future, place)
    }

    /// The same, with a name.
    pub(crate) fn spawn_named<T: 'static>(
        self: &Rc<Self>,
        name: Option<Arc<str>>,
        future: impl Future<Output = T> + 'static,
        place: Place,
    ) -> Task<T> {
        let card = self.make_card(name, place);
        let root = Root::new(future, self.clone(), card.clone(), place);
        let inbox = self.inbox.clone();
        let schedule = move |runnable| schedule(&inbox, runnable);
        let (runnable, task) = Builder::new()
            .metadata(place)
            .spawn_local(move |_| root, schedule);
        if self.closed.get() {
            drop(runnable);
        } else {
            self.ready.borrow_mut().push_back(Job::Task(runnable));
        }
        Task {
            inner: Some(task.fallible()),
            polled: false,
            place,
            card,
            local: PhantomData,
        }
    }

    /// A card for a new task, if it needs one.
    fn make_card(&self, name: Option<Arc<str>>, place: Place) -> Option<Rc<Card>> {
        let locals = Locals::capture();
        if name.is_none() && locals.is_empty() && !debug::is_on() {
            return None;
        }
        let card = Card::new(place, name, locals);
        let number = self.cards.borrow_mut().insert(card.clone());
        card.listed().set(Some(number));
        Some(card)
    }

    /// A task has ended.
    fn take_back(&self, card: &Card) {
        if let Some(number) = card.listed().take() {
            let listed = self.cards.borrow_mut().try_remove(number);
            drop(listed);
        }
        card.close();
    }

    /// The tasks that are alive and have cards.
    pub(crate) fn cards(&self) -> Vec<Rc<Card>> {
        let cards = self.cards.borrow();
        cards.iter().map(|(_, card)| card.clone()).collect()
    }

    /// Queues a call; a panic in it is reported.
    pub(crate) fn call(&self, place: Place, f: impl FnOnce() + 'static) {
        let fenced = move || {
            report::contain(Origin::Call, place, f);
        };
        self.push(Job::Call(Box::new(fenced)));
    }

    /// Queues a job.
    pub(crate) fn push(&self, job: Job) {
        if !self.closed.get() {
            self.ready.borrow_mut().push_back(job);
        }
    }

    /// Step 1 of a turn: takes in what other threads had sent when it began.
    pub(crate) fn collect(&self) {
        for _ in 0..self.inbox.begin() {
            match self.inbox.pop() {
                Some(Message::Task(runnable)) => self.push(Job::Task(runnable)),
                Some(Message::Call(call, place)) => {
                    report::contain(Origin::Call, place, call);
                }
                None => break,
            }
        }
    }

    /// Step 4 of a turn: runs what is ready now, and nothing that becomes ready meanwhile.
    pub(crate) fn run_batch(&self) -> usize {
        let batch = self.ready.borrow().len();
        let mut done = 0;
        while done < batch {
            let job = self.ready.borrow_mut().pop_front();
            match job {
                Some(Job::Task(runnable)) => {
                    self.depth.set(self.depth.get() + 1);
                    runnable.run();
                    self.depth.set(self.depth.get() - 1);
                }
                Some(Job::Call(call)) => call(),
                Some(Job::Errand(errand)) => errand.run(),
                None => break,
            }
            done += 1;
        }
        if self.is_closed() && self.depth.get() == 0 {
            // Something in this batch shut it down: what was left to its own poll is an empty shell now.
            while self.drop_ready() > 0 {}
        }
        done
    }

    /// Is anything ready here? (What other threads sent does not count.)
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// The way in for other threads.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// The places of all tasks that are alive, but for one that runs just now and has never waited.
    pub(crate) fn tasks(&self) -> Vec<Place> {
        let waiting = self.waiting.borrow();
        let mut places: Vec<Place> = waiting.iter().map(|(_, (_, place))| *place).collect();
        let listed: HashSet<_> = waiting.iter().map(|(_, (waker, _))| waker.data()).collect();
        drop(waiting);
        let ready = self.ready.borrow();
        let queued = ready.iter().filter_map(|job| match job {
            Job::Task(runnable) => Some(runnable),
            _ => None,
        });
        // A listed task may also stand in the queue: it is counted where it is listed.
        let unlisted = queued.filter(|runnable| !listed.contains(&runnable.waker().data()));
        places.extend(unlisted.map(|runnable| *runnable.metadata()));
        places
    }

    /// Ends everything: drops all futures and calls, on this thread, and refuses new ones.
    ///
    /// A task that another thread has woken but not handed over yet is waited for; the wait is as short as that
    /// thread's step from the one to the other. Called from inside a task, it leaves that task to its own poll,
    /// which drops the future at its end.
    pub(crate) fn shut_down(self: &Rc<Self>) {
        let _entered = self.enter();
        self.closed.set(true);
        loop {
            let found = self.drop_ready();
            let waiting = self.waiting.borrow();
            let wakers: Vec<Waker> = waiting
                .iter()
                .map(|(_, (waker, _))| waker.clone())
                .collect();
            drop(waiting);
            if wakers.is_empty() || (found == 0 && self.depth.get() > 0) {
                break;
            }
            // A woken task comes back into the queue, and is dropped in the next round.
            wakers.into_iter().for_each(Waker::wake);
            if found == 0 && !self.is_ready() {
                std::thread::yield_now();
            }
        }
        // No future is left that a late wake could bring.
        self.inbox.close();
        while self.drop_ready() > 0 {}
    }

    /// Drops everything that is ready or was sent; how much it was.
    fn drop_ready(&self) -> usize {
        let mut found = 0;
        while let Some(message) = self.inbox.pop() {
            found += 1;
            match message {
                Message::Task(runnable) => drop(runnable),
                Message::Call(call, place) => report::discard(call, place),
            }
        }
        let ready = self.ready.take();
        found += ready.len();
        for job in ready {
            match job {
                // Dropping the runnable drops the future, behind its fence.
                Job::Task(runnable) => drop(runnable),
                Job::Call(call) => report::discard(call, Location::caller()),
                Job::Errand(errand) => report::discard(errand, Location::caller()),
            }
        }
        found
    }

    /// Has it been shut down?
    fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Lists a task that waits.
    fn list(&self, waker: Waker, place: Place) -> Number {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == waiting.capacity() {
            // A quarter more, not twice as much: this list is a good part of what an idle task costs.
            let more = (waiting.len() / 4).max(16);
            waiting.reserve_exact(more);
        }
        let number = u32::try_from(waiting.insert((waker, place)) + 1).ok();
        number
            .and_then(Number::new)
            .expect("memory ends before there are four billion tasks")
    }

    /// Takes a task off the list. After a shutdown has emptied the list there may be nothing to take.
    fn unlist(&self, number: Number) {
        let entry = self
            .waiting
            .borrow_mut()
            .try_remove(number.get() as usize - 1);
        drop(entry);
    }
}

/// The guard of [`Executor::enter`].
#[must_use]
pub(crate) struct Entered {
    before: Option<Rc<Executor>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let left = CURRENT.try_with(|current| current.replace(before));
        drop(left);
    }
}

/// What a waker does: back into its own loop's queue if that loop is running right here, else into the inbox.
fn schedule(inbox: &Arc<Inbox>, runnable: Runnable<Place>) {
    let mut runnable = Some(runnable);
    let _ = CURRENT.try_with(|current| {
        let Ok(current) = current.try_borrow() else {
            return;
        };
        match &*current {
            Some(executor) if Arc::ptr_eq(&executor.inbox, inbox) => {
                if let Some(runnable) = runnable.take() {
                    executor.ready.borrow_mut().push_back(Job::Task(runnable));
                }
            }
            _ => {}
        }
    });
    if let Some(runnable) = runnable {
        inbox.push_task(runnable);
    }
}

thread_local! {
    /// The executor whose turn this thread is in.
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests;
