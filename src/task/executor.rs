//! Runs the tasks and calls of one reactor, in batches: [`Executor`].
//!
//! The invariants are the room's; this file keeps 1, 3 and 4.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::ptr::null;
use std::rc::Rc;
use std::sync::Arc;

use super::raw::{self, Runnable, TaskList};
use super::{Card, HostNotifier, Inbox, Locals, Message, OthersWakers, Place, Task, budget};
use crate::context;
use crate::debug;
use crate::report::{self, Origin};
use crate::slots::shrink_queue;
use crate::sync::{Shared, thread};

/// Runs tasks and calls, in batches, for one reactor.
pub(crate) struct Executor {
    ready: RefCell<VecDeque<Job>>,
    /// How many of those, from the front, are left of a batch that was broken off.
    left: Cell<usize>,
    inbox: Shared<Inbox>,
    /// The last look into the inbox was broken off.
    has_mail_left: Cell<bool>,
    /// Tells a host loop of work that was added outside a turn.
    host: Rc<HostNotifier>,
    /// The tasks that are not done.
    tasks: TaskList,
    closed: Cell<bool>,
    others: OthersWakers,
}

/// Something that is ready to run.
enum Job {
    Task(Runnable),
    Work(Rc<dyn WorkItem>),
}

/// Work that can be queued, again and again, without an allocation.
pub(crate) trait WorkItem {
    /// Does the work. Must not unwind.
    fn run(self: Rc<Self>);
}

/// A call; a panic in it is reported.
struct Call<F>(Cell<Option<F>>, Place);

impl<F: FnOnce()> WorkItem for Call<F> {
    fn run(self: Rc<Self>) {
        if let Some(f) = self.0.take() {
            report::contain(Origin::Call, self.1, f);
        }
    }
}

impl Executor {
    /// A new one; `wake` must end the loop's present or next wait, from any thread.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Rc<Self> {
        let inbox = Inbox::new(wake);
        Rc::new(Self {
            ready: RefCell::default(),
            left: Cell::new(0),
            host: HostNotifier::new(inbox.clone()),
            inbox,
            has_mail_left: Cell::new(false),
            tasks: TaskList::default(),
            closed: Cell::new(false),
            others: OthersWakers::default(),
        })
    }

    /// The one that this thread has entered.
    pub(crate) fn current() -> Option<Rc<Self>> {
        context::with(|thread| thread.executor.get())
    }

    /// Does the loop with this inbox run on this thread?
    pub(crate) fn is_current(inbox: &Shared<Inbox>) -> bool {
        let current = Self::current();
        current.is_some_and(|executor| Shared::ptr_eq(&executor.inbox, inbox))
    }

    /// Is a reactor in a turn on this thread?
    pub(crate) fn is_in_turn() -> bool {
        context::with(|thread| thread.in_turn.get())
    }

    /// As [`Executor::enter`], for the length of a turn: what is added meanwhile is looked at before the turn ends.
    pub(crate) fn begin_turn(self: &Rc<Self>) -> InTurn {
        context::with(|thread| thread.in_turn.set(true));
        budget::set_limited(true);
        self.host.set_in_turn(true);
        InTurn {
            executor: self.clone(),
            _entered: self.enter(),
        }
    }

    /// Makes it this thread's current one until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered {
            before: make_current(Some(self.clone())),
        }
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
        let (runnable, handle) = raw::allocate(self, future, card, place);
        if self.closed.get() {
            runnable.abandon(self);
        } else {
            self.queue_task(runnable);
        }
        Task::new(handle)
    }

    /// A card for a new task, if it needs one.
    fn make_card(&self, name: Option<Arc<str>>, place: Place) -> Option<Rc<Card>> {
        let locals = Locals::capture();
        if name.is_none() && locals.is_empty() && !debug::is_on() {
            return None;
        }
        Some(Card::new(place, name, locals))
    }

    /// What is known of the tasks that are alive, as far as more is known.
    pub(crate) fn cards(&self) -> Vec<Rc<Card>> {
        self.tasks.cards()
    }

    /// Queues a call; a panic in it is reported.
    pub(crate) fn call(&self, place: Place, f: impl FnOnce() + 'static) {
        self.push(Rc::new(Call(Cell::new(Some(f)), place)));
    }

    /// Queues work.
    pub(crate) fn push(&self, work: Rc<dyn WorkItem>) {
        if self.closed.get() {
            return Job::Work(work).discard(self);
        }
        self.ready.borrow_mut().push_back(Job::Work(work));
        self.host.work_added();
    }

    /// Queues a task of this executor. It runs nobody's code.
    #[inline]
    pub(super) fn queue_task(&self, task: Runnable) {
        self.ready.borrow_mut().push_back(Job::Task(task));
        self.host.work_added();
    }

    /// Step 1 of a turn: takes in what other threads had sent when it began. What is left when
    /// `is_enough` says so after a message stays in the inbox for the next call. Returns how many
    /// were taken in.
    pub(crate) fn collect(&self, mut is_enough: impl FnMut() -> bool) -> usize {
        let count = self.inbox.begin();
        let mut done = 0;
        self.has_mail_left.set(false);
        while done < count {
            match self.inbox.pop() {
                Some(Message::Task(task)) => self.queue_task(task),
                Some(Message::Call(call, place)) => {
                    report::contain(Origin::Call, place, call);
                }
                None => break,
            }
            done += 1;
            if done < count && is_enough() {
                self.inbox.leave_rest();
                self.has_mail_left.set(true);
                break;
            }
        }
        done
    }

    /// Has the last [`Executor::collect`] left something in the inbox?
    pub(crate) fn has_mail_left(&self) -> bool {
        self.has_mail_left.get()
    }

    /// Step 4 of a turn: runs what is ready now, and nothing that becomes ready meanwhile. What is
    /// left when `is_enough` says so after a job is run by the next call, before anything else.
    pub(crate) fn run_batch(&self, mut is_enough: impl FnMut() -> bool) -> usize {
        let batch = match self.left.take() {
            0 => self.ready.borrow().len(),
            left => left,
        };
        let mut done = 0;
        while done < batch {
            let job = self.ready.borrow_mut().pop_front();
            budget::renew();
            match job {
                Some(Job::Task(task)) => task.run(self),
                Some(Job::Work(work)) => work.run(),
                None => break,
            }
            done += 1;
            if is_enough() {
                self.left.set(batch - done);
                break;
            }
        }
        shrink_queue(&mut self.ready.borrow_mut());
        if self.is_closed() {
            // Something in this batch shut it down: what was left to its own poll is an empty shell now.
            while self.drop_ready() > 0 {}
        }
        done
    }

    /// Is something left of a batch that was broken off?
    pub(crate) fn is_in_batch(&self) -> bool {
        self.left.get() > 0
    }

    /// Is anything ready here? (What other threads sent does not count.)
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// The way in for other threads.
    pub(crate) fn inbox(&self) -> &Shared<Inbox> {
        &self.inbox
    }

    /// What tells a host loop of work that was added outside a turn.
    pub(crate) fn host(&self) -> &Rc<HostNotifier> {
        &self.host
    }

    /// Where all tasks that are alive were spawned.
    pub(crate) fn tasks(&self) -> Vec<Place> {
        self.tasks.locations()
    }

    /// Ends everything: drops all futures and calls, on this thread, and refuses new ones.
    ///
    /// A task that another thread has woken but not handed over yet is waited for; the wait is as short as that
    /// thread's step from the one to the other. Called from inside a task, it leaves that task to its own poll,
    /// which drops the future at its end, and ends all others.
    pub(crate) fn shut_down(self: &Rc<Self>) {
        let _entered = self.enter();
        self.closed.set(true);
        loop {
            let found = self.drop_ready();
            // Those that are running end when their polls return.
            let (claimed, are_left) = self.tasks.claim();
            if claimed.is_empty() && !are_left {
                break;
            }
            if found == 0 && claimed.is_empty() {
                thread::yield_now();
            }
            let claimed = claimed.into_iter().map(Job::Task);
            self.ready.borrow_mut().extend(claimed);
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
                Message::Task(task) => task.abandon(self),
                Message::Call(call, place) => report::discard(call, place),
            }
        }
        let ready = self.ready.take();
        self.left.set(0);
        found += ready.len();
        ready.into_iter().for_each(|job| job.discard(self));
        found
    }

    /// The wakers that code of others has.
    pub(crate) fn others(&self) -> &OthersWakers {
        &self.others
    }

    /// Has it been shut down?
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn list(&self) -> &TaskList {
        &self.tasks
    }
}

impl Job {
    /// Drops it unrun.
    fn discard(self, executor: &Executor) {
        match self {
            Self::Task(task) => task.abandon(executor),
            Self::Work(work) => report::discard(work, Location::caller()),
        }
    }
}

/// The guard of [`Executor::enter`].
#[must_use]
pub(crate) struct Entered {
    before: Option<Rc<Executor>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = make_current(self.before.take());
        drop(left);
    }
}

/// The guard of [`Executor::begin_turn`].
#[must_use]
pub(crate) struct InTurn {
    executor: Rc<Executor>,
    _entered: Entered,
}

impl Drop for InTurn {
    fn drop(&mut self) {
        self.executor.host.set_in_turn(false);
        budget::set_limited(false);
        context::with(|thread| thread.in_turn.set(false));
    }
}

/// Has new tasks on this thread go to `executor`. Returns where they went before.
fn make_current(executor: Option<Rc<Executor>>) -> Option<Rc<Executor>> {
    let inbox = executor
        .as_ref()
        .map_or(null(), |executor| Shared::as_ptr(&executor.inbox).cast());
    let home = executor
        .as_ref()
        .map_or(null(), |executor| Rc::as_ptr(executor).cast());
    context::with(|thread| {
        thread.home.set(home);
        thread.inbox.set(inbox);
        thread.executor.replace(executor)
    })
}
