//! Runs the tasks and calls of one reactor, in batches: [`Executor`].
//!
//! The invariants are the room's; this file keeps 1, 3 and 4.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_task::Runnable;
use slab::Slab;

use super::inbox::Shell;
use super::info::Number;
use super::root::Root;
use super::{
    Caller, HostNotifier, Inbox, Locals, Message, OthersWakers, Task, TaskInfo, budget, home,
};
use crate::context;
use crate::debug;
use crate::queue::LocalQueue;
use crate::report::{self, Origin};
use crate::slots::ShrinkPolicy;
use crate::sync::{Shared, thread};

/// Runs tasks and calls, in batches, for one reactor.
pub(crate) struct Executor {
    ready: LocalQueue<Job>,
    /// How many of those, from the front, are left of a batch that was broken off.
    left: Cell<usize>,
    inbox: Shared<Inbox>,
    /// The last look into the inbox was broken off.
    has_mail_left: Cell<bool>,
    /// Tells a host loop of work that was added outside a turn.
    host: Rc<HostNotifier>,
    /// The tasks that wait, each with the waker that brings it back.
    waiting: RefCell<Slab<(Waker, Caller)>>,
    waiting_shrinks: RefCell<ShrinkPolicy>,
    /// The cards of the tasks that have one.
    infos: RefCell<Slab<Rc<TaskInfo>>>,
    cards_shrinks: RefCell<ShrinkPolicy>,
    /// How many of the listed tasks are being polled, one inside the other: seldom more than one.
    busy: Cell<usize>,
    closed: Cell<bool>,
    others: OthersWakers,
}

/// Something that is ready to run.
enum Job {
    Task(Runnable<Shell>),
    Work(Rc<dyn WorkItem>),
}

/// Work that can be queued, again and again, without an allocation.
pub(crate) trait WorkItem {
    /// Does the work. Must not unwind.
    fn run(self: Rc<Self>);
}

/// A call; a panic in it is reported.
struct Call<F>(Cell<Option<F>>, Caller);

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
            ready: LocalQueue::new(),
            left: Cell::new(0),
            host: HostNotifier::new(inbox.clone()),
            inbox,
            has_mail_left: Cell::new(false),
            waiting: RefCell::default(),
            waiting_shrinks: RefCell::default(),
            infos: RefCell::default(),
            cards_shrinks: RefCell::default(),
            busy: Cell::new(0),
            closed: Cell::new(false),
            others: OthersWakers::default(),
        })
    }

    /// The one that this thread has entered.
    pub(crate) fn current() -> Option<Rc<Self>> {
        home::current()
    }

    /// When all jobs that this thread's executor has now will have run: at the end of a
    /// batch, which is counted for each thread. `None` without an executor that takes jobs.
    #[inline]
    pub(crate) fn end_of_round() -> Option<u64> {
        context::with(|thread| {
            let batches = thread.batches.get();
            let end = batches + 2 + batches % 2;
            thread.takes_jobs.get().then_some(end)
        })
    }

    /// Has that batch ended? Without an executor that takes jobs there is none to wait for.
    #[inline]
    pub(crate) fn is_round_over(end: u64) -> bool {
        context::with(|thread| thread.batches.get() >= end || !thread.takes_jobs.get())
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
        location: Caller,
    ) -> Task<T> {
        self.spawn_named(None, future, location)
    }

    /// The same, with a name.
    pub(crate) fn spawn_named<T: 'static>(
        self: &Rc<Self>,
        name: Option<Arc<str>>,
        future: impl Future<Output = T> + 'static,
        location: Caller,
    ) -> Task<T> {
        let info = self.make_card(name, location);
        let listed = info.as_ref().and_then(|info| info.listed().get());
        let root = Root::new(future, self.clone(), listed, location);
        let (runnable, task) = home::make(self, location, root);
        if self.closed.get() {
            drop(runnable);
        } else {
            self.queue_task(runnable);
        }
        Task::new(task.fallible(), location, info)
    }

    /// Makes and lists a card for a new task, if it needs one.
    #[inline]
    fn make_card(&self, name: Option<Arc<str>>, location: Caller) -> Option<Rc<TaskInfo>> {
        let needs_one = name.is_some() || Locals::are_set() || debug::is_on();
        needs_one.then(|| self.list_card(TaskInfo::new(location, name, Locals::capture())))
    }

    fn list_card(&self, info: Rc<TaskInfo>) -> Rc<TaskInfo> {
        let mut infos = self.infos.borrow_mut();
        if infos.len() == infos.capacity() {
            self.cards_shrinks.replace(ShrinkPolicy::default());
        }
        let number = number_of(infos.insert(info.clone()));
        drop(infos);
        info.listed().set(Some(number));
        info
    }

    /// The card with this number, while its task has not ended.
    pub(super) fn info(&self, number: Number) -> Option<Rc<TaskInfo>> {
        self.infos.borrow().get(index_of(number)).cloned()
    }

    /// A task has ended.
    pub(super) fn take_back(&self, info: &TaskInfo) {
        if let Some(number) = info.listed().take() {
            let index = index_of(number);
            let mut infos = self.infos.borrow_mut();
            let listed = infos.try_remove(index);
            self.cards_shrinks.borrow_mut().give_back(&mut infos, index);
            drop(infos);
            drop(listed);
        }
        info.close();
    }

    /// The tasks that are alive and have cards.
    pub(crate) fn infos(&self) -> Vec<Rc<TaskInfo>> {
        let infos = self.infos.borrow();
        infos.iter().map(|(_, info)| info.clone()).collect()
    }

    /// Queues a call; a panic in it is reported.
    pub(crate) fn call(&self, location: Caller, f: impl FnOnce() + 'static) {
        self.push(Rc::new(Call(Cell::new(Some(f)), location)));
    }

    /// Queues work.
    pub(crate) fn push(&self, work: Rc<dyn WorkItem>) {
        if self.closed.get() {
            return Job::Work(work).discard();
        }
        self.ready.push(Job::Work(work));
        self.host.work_added();
    }

    /// Queues a task of this executor. It runs nobody's code.
    #[inline]
    pub(super) fn queue_task(&self, task: Runnable<Shell>) {
        self.ready.push(Job::Task(task));
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
                Some(Message::Call(call, location)) => {
                    report::contain(Origin::Call, location, call);
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

    /// Runs one batch; see [`Executor::run_batches`].
    #[cfg(test)]
    pub(crate) fn run_batch(&self, mut is_enough: impl FnMut() -> bool) -> usize {
        self.run_batches(1, |_| is_enough(), |_| false)
    }

    /// Step 4 of a turn: runs what is ready now, and nothing that becomes ready meanwhile; then
    /// that, and so on, as long as `goes_on` says so between two batches. It is told how many jobs
    /// have been run, as `is_enough` is, which is asked after `every` jobs: what is left of a batch
    /// when it says so is run by the next call, before anything else.
    pub(crate) fn run_batches(
        &self,
        every: usize,
        mut is_enough: impl FnMut(usize) -> bool,
        mut goes_on: impl FnMut(usize) -> bool,
    ) -> usize {
        let mut left = match self.left.take() {
            0 => {
                begin_batch();
                self.ready.len()
            }
            left => left,
        };
        let (mut done, mut look_at) = (0, every);
        while left > 0 {
            let Some(job) = self.ready.pop() else {
                left = 0;
                break;
            };
            budget::renew();
            match job {
                Job::Task(task) => {
                    task.run();
                }
                Job::Work(work) => work.run(),
            }
            done += 1;
            left -= 1;
            let mut is_over = false;
            if done >= look_at {
                look_at = done + every;
                is_over = is_enough(done);
            }
            if is_over || left == 0 {
                if is_over || !goes_on(done) {
                    break;
                }
                begin_batch();
                left = self.ready.len();
            }
        }
        if left == 0 {
            context::with(|thread| thread.batches.set(thread.batches.get() + 1));
        }
        self.left.set(left);
        self.ready.shrink();
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
        !self.ready.is_empty()
    }

    /// The way in for other threads.
    pub(crate) fn inbox(&self) -> &Shared<Inbox> {
        &self.inbox
    }

    /// What tells a host loop of work that was added outside a turn.
    pub(crate) fn host(&self) -> &Rc<HostNotifier> {
        &self.host
    }

    /// The places of all tasks that are alive, but for one that runs just now and has never waited.
    pub(crate) fn tasks(&self) -> Vec<Caller> {
        let waiting = self.waiting.borrow();
        let mut places: Vec<Caller> = waiting.iter().map(|(_, (_, location))| *location).collect();
        let listed: HashSet<_> = waiting.iter().map(|(_, (waker, _))| waker.data()).collect();
        drop(waiting);
        let ready = self.ready.take();
        let queued = ready.iter().filter_map(|job| match job {
            Job::Task(runnable) => Some(runnable),
            _ => None,
        });
        // A listed task may also stand in the queue: it is counted where it is listed.
        let unlisted = queued.filter(|runnable| !listed.contains(&runnable.waker().data()));
        places.extend(unlisted.map(|runnable| runnable.metadata().location));
        self.ready.put_back(ready);
        places
    }

    /// Ends everything: drops all futures and calls, on this thread, and refuses new ones.
    ///
    /// A task that another thread has woken but not handed over yet is waited for; the wait is as short as that
    /// thread's step from the one to the other. Called from inside a task, it leaves that task to its own poll,
    /// which drops the future at its end, and ends all others.
    pub(crate) fn shut_down(self: &Rc<Self>) {
        self.closed.set(true);
        let _entered = self.enter();
        loop {
            let found = self.drop_ready();
            let waiting = self.waiting.borrow();
            let wakers: Vec<Waker> = waiting
                .iter()
                .map(|(_, (waker, _))| waker.clone())
                .collect();
            drop(waiting);
            // Those that are being polled stay listed until their polls return.
            if wakers.len() <= self.busy.get() {
                break;
            }
            // A woken task comes back into the queue, and is dropped in the next round.
            wakers.into_iter().for_each(Waker::wake);
            if found == 0 && !self.is_ready() {
                thread::yield_now();
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
                Message::Call(call, location) => report::discard(call, location),
            }
        }
        let ready = self.ready.take();
        self.left.set(0);
        found += ready.len();
        ready.into_iter().for_each(Job::discard);
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

    /// How many of the listed tasks are being polled.
    pub(super) fn busy(&self) -> &Cell<usize> {
        &self.busy
    }

    /// Lists a task that waits.
    pub(super) fn list(&self, waker: Waker, location: Caller) -> Number {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == waiting.capacity() {
            // An eighth more, not twice as much: this list is a good part of what an idle task costs.
            let more = (waiting.len() / 8).max(16);
            waiting.reserve_exact(more);
            self.waiting_shrinks.replace(ShrinkPolicy::default());
        }
        number_of(waiting.insert((waker, location)))
    }

    /// Takes a task off the list. After a shutdown has emptied the list there may be nothing to take.
    pub(super) fn unlist(&self, number: Number) {
        let index = index_of(number);
        let mut waiting = self.waiting.borrow_mut();
        let entry = waiting.try_remove(index);
        self.waiting_shrinks
            .borrow_mut()
            .give_back(&mut waiting, index);
        drop(waiting);
        drop(entry);
    }
}

/// The number of what stands at this index of a list.
fn number_of(index: usize) -> Number {
    let number = u32::try_from(index + 1).ok();
    number
        .and_then(Number::new)
        .expect("memory ends before there are four billion tasks")
}

fn index_of(number: Number) -> usize {
    number.get() as usize - 1
}

/// Has new tasks on this thread go to `executor`. Returns where they went before.
fn make_current(executor: Option<Rc<Executor>>) -> Option<Rc<Executor>> {
    let takes_jobs = executor
        .as_ref()
        .is_some_and(|executor| !executor.closed.get());
    context::with(|thread| thread.takes_jobs.set(takes_jobs));
    home::make_current(executor)
}

/// Counts that a batch begins, and that the one before has ended.
#[inline]
fn begin_batch() {
    context::with(|thread| thread.batches.set((thread.batches.get() + 1) | 1));
}

impl Job {
    /// Drops it unrun.
    fn discard(self) {
        match self {
            // Dropping the runnable drops the future, behind its fence.
            Self::Task(task) => drop(task),
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
