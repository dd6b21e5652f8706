//! [`Executor`]: runs the tasks and calls of one reactor, in batches.
//!
//! The invariants are those of the [module](super); this file keeps 1, 3 and 4.

use std::cell::{Cell, RefCell};
use std::panic::Location;
#[cfg(debug_assertions)]
use std::pin::Pin;
use std::ptr::null;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_task::Runnable;
use slab::Slab;
use tracing::Span;

use super::inbox::{HomeInbox, Shell};
use super::info::Number;
use super::root::Root;
use super::{
    Caller, CountedWakers, HostNotifier, Inbox, Locals, Message, Task, TaskInfo, budget,
    current_executor,
};
use crate::context;
use crate::debug;
use crate::index::Index;
use crate::queue::LocalQueue;
use crate::report::{self, Origin};
use crate::slots::ShrinkPolicy;
use crate::spans;
use crate::sync::{Shared, thread};

/// Runs the tasks and calls of one reactor, in batches.
pub(crate) struct Executor {
    ready: LocalQueue<ReadyItem>,
    /// The number of entries, from the front, that are left of an interrupted batch.
    left: Cell<usize>,
    inbox: HomeInbox,
    /// The messages that were taken out of the inbox.
    messages: LocalQueue<Message>,
    /// Whether the last collection of messages was interrupted.
    has_messages_left: Cell<bool>,
    /// Notifies a host loop of work that was added outside a turn.
    host: Rc<HostNotifier>,
    /// The waiting tasks, each by the waker that queues it again, which no other code has made.
    waiting: RefCell<Slab<Waker>>,
    waiting_shrinks: RefCell<ShrinkPolicy>,
    /// The infos of the tasks that have one.
    infos: RefCell<Slab<Rc<TaskInfo>>>,
    infos_shrinks: RefCell<ShrinkPolicy>,
    /// The task that is being run, by the address that its wakers have; null if none is.
    running: Cell<*const ()>,
    /// The last task of this batch that has ended in a span, by a waker that keeps its memory, and
    /// that span: its result may still be reported.
    ended: RefCell<Option<(Waker, Span)>>,
    closed: Cell<bool>,
    counted_wakers: CountedWakers,
}

/// Something that is ready to run.
enum ReadyItem {
    Task(Runnable<Shell>),
    Work(Rc<dyn WorkItem>),
}

/// Work that can be queued again and again without an allocation.
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

/// A task that has waited: its place in the list, and its waker, which no other task has.
pub(crate) struct WaitedTask(usize, Waker);

impl Executor {
    /// Makes an executor; `wake` must end the loop's present or next wait, from any thread.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Rc<Self> {
        let inbox = Inbox::new(wake);
        Rc::new(Self {
            ready: LocalQueue::new(),
            left: Cell::new(0),
            host: HostNotifier::new(inbox.clone()),
            inbox: HomeInbox::new(inbox),
            messages: LocalQueue::new(),
            has_messages_left: Cell::new(false),
            waiting: RefCell::default(),
            waiting_shrinks: RefCell::default(),
            infos: RefCell::default(),
            infos_shrinks: RefCell::default(),
            running: Cell::new(null()),
            ended: RefCell::default(),
            closed: Cell::new(false),
            counted_wakers: CountedWakers::default(),
        })
    }

    /// Returns the executor that this thread has entered.
    pub(crate) fn current() -> Option<Rc<Self>> {
        current_executor::current()
    }

    /// Returns the number of the batch at whose end all work that this thread's executor has now
    /// will have run. Batches are counted for each thread. `None` without an executor that accepts
    /// work.
    #[inline]
    pub(crate) fn end_of_round() -> Option<u64> {
        context::with(|thread| {
            let batches = thread.batches.get();
            let end = batches + 2 + batches % 2;
            thread.accepts_work.get().then_some(end)
        })
    }

    /// Returns whether that batch has ended; always without an executor that accepts work.
    #[inline]
    pub(crate) fn is_round_over(end: u64) -> bool {
        context::with(|thread| thread.batches.get() >= end || !thread.accepts_work.get())
    }

    /// Returns the executor with this inbox, if its loop runs on this thread.
    pub(crate) fn current_of(inbox: &Shared<Inbox>) -> Option<Rc<Self>> {
        let current = Self::current();
        current.filter(|executor| Shared::ptr_eq(executor.inbox(), inbox))
    }

    /// Returns whether a reactor is in a turn on this thread.
    pub(crate) fn is_in_turn() -> bool {
        context::with(|thread| thread.in_turn.get())
    }

    /// Enters the executor, as [`Executor::enter`] does, for the length of a turn: work that is
    /// added meanwhile is seen before the turn ends.
    pub(crate) fn begin_turn(self: &Rc<Self>) -> InTurn {
        context::with(|thread| thread.in_turn.set(true));
        budget::set_limited(true);
        self.host.set_in_turn(true);
        InTurn {
            executor: self.clone(),
            _entered: self.enter(),
        }
    }

    /// Makes the executor this thread's current one until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered {
            before: make_current(Some(self.clone())),
        }
    }

    /// Spawns a future.
    pub(crate) fn spawn<T: 'static>(
        self: &Rc<Self>,
        future: impl Future<Output = T> + 'static,
        location: Caller,
    ) -> Task<T> {
        self.spawn_named(None, future, location)
    }

    /// Spawns a future with a name.
    pub(crate) fn spawn_named<T: 'static>(
        self: &Rc<Self>,
        name: Option<Arc<str>>,
        future: impl Future<Output = T> + 'static,
        location: Caller,
    ) -> Task<T> {
        // A debug build compiles a task once for each type of result, and not for each future.
        #[cfg(debug_assertions)]
        let future: Pin<Box<dyn Future<Output = T>>> = Box::pin(future);
        self.spawn_named_here(name, future, location)
    }

    #[inline(always)]
    fn spawn_named_here<F>(
        self: &Rc<Self>,
        name: Option<Arc<str>>,
        future: F,
        location: Caller,
    ) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        let info = self.make_info(name, location);
        let listed = info.as_ref().and_then(|info| info.listed().get());
        let (runnable, task) = current_executor::make(self, location, |shell| {
            Root::new(future, self.clone(), shell, listed)
        });
        if let Some(info) = info {
            task.metadata().handle.set_info(info);
        }
        if self.closed.get() {
            drop(runnable);
        } else {
            self.queue_task(runnable);
        }
        Task::new(task)
    }

    /// Makes and lists the info of a new task, if the task needs one.
    #[inline]
    fn make_info(&self, name: Option<Arc<str>>, location: Caller) -> Option<Rc<TaskInfo>> {
        let is_plain = name.is_none() && !Locals::are_set() && !debug::is_on();
        if is_plain && !spans::are_on() {
            return None;
        }
        self.make_needed_info(name, location)
    }

    #[cold]
    #[inline(never)]
    fn make_needed_info(&self, name: Option<Arc<str>>, location: Caller) -> Option<Rc<TaskInfo>> {
        let is_plain = name.is_none() && !Locals::are_set() && !debug::is_on();
        let needs_one = !is_plain || spans::current().is_some();
        needs_one.then(|| self.list_info(TaskInfo::new(location, name, Locals::capture())))
    }

    fn list_info(&self, info: Rc<TaskInfo>) -> Rc<TaskInfo> {
        let mut infos = self.infos.borrow_mut();
        if infos.len() == infos.capacity() {
            self.infos_shrinks.replace(ShrinkPolicy::default());
        }
        let number = number_of(infos.insert(info.clone()));
        drop(infos);
        info.listed().set(Some(number));
        info
    }

    /// Returns the info of this number, until its task has ended.
    pub(super) fn info(&self, number: Number) -> Option<Rc<TaskInfo>> {
        self.infos.borrow().get(index_of(number)).cloned()
    }

    /// Removes the info of a task that has ended.
    pub(super) fn take_back(&self, info: &TaskInfo) {
        if let Some(number) = info.listed().take() {
            let index = index_of(number);
            let mut infos = self.infos.borrow_mut();
            let listed = infos.try_remove(index);
            self.infos_shrinks.borrow_mut().give_back(&mut infos, index);
            drop(infos);
            drop(listed);
        }
        info.close();
    }

    /// Returns the infos of the tasks that are alive and have one.
    pub(crate) fn infos(&self) -> Vec<Rc<TaskInfo>> {
        let infos = self.infos.borrow();
        infos.iter().map(|(_, info)| info.clone()).collect()
    }

    /// Queues a call; a panic in it is reported.
    pub(crate) fn call(&self, location: Caller, f: impl FnOnce() + 'static) {
        if spans::are_on() {
            let call = report::follow(Origin::Call, location, Box::new(f));
            return self.push(Rc::new(Call(Cell::new(Some(call)), location)));
        }
        self.push(Rc::new(Call(Cell::new(Some(f)), location)));
    }

    /// Queues a work item.
    pub(crate) fn push(&self, work: Rc<dyn WorkItem>) {
        if self.closed.get() {
            return ReadyItem::Work(work).discard();
        }
        self.ready.push(ReadyItem::Work(work));
        self.host.work_added();
    }

    /// Queues a task of this executor. Runs no user code.
    #[inline]
    pub(super) fn queue_task(&self, task: Runnable<Shell>) {
        self.ready.push(ReadyItem::Task(task));
        self.host.work_added();
    }

    /// Step 1 of a turn: takes in the messages that other threads had sent when it began. When
    /// `is_enough` returns `true` after a message, the rest stays in the inbox for the next call.
    /// Returns the number of messages taken in.
    #[inline]
    pub(crate) fn collect(&self, is_enough: impl FnMut() -> bool) -> usize {
        match self.inbox().has_messages() || self.has_messages_left.get() {
            true => self.collect_messages(is_enough),
            false => 0,
        }
    }

    #[inline(never)]
    fn collect_messages(&self, mut is_enough: impl FnMut() -> bool) -> usize {
        self.inbox().take_all(&self.messages);
        let (count, mut done) = (self.messages.len(), 0);
        self.has_messages_left.set(false);
        while done < count {
            match self.messages.pop() {
                Some(Message::Task(task)) => self.queue_task(task),
                Some(Message::Call(call, location)) => {
                    report::contain(Origin::Call, location, || call.call());
                }
                None => break,
            }
            done += 1;
            if done < count && is_enough() {
                self.inbox().leave_rest();
                self.has_messages_left.set(true);
                break;
            }
        }
        self.messages.shrink();
        done
    }

    /// Returns whether the last [`Executor::collect`] left messages in the inbox.
    pub(crate) fn has_messages_left(&self) -> bool {
        self.has_messages_left.get()
    }

    /// Runs one batch; see [`Executor::run_batches`].
    #[cfg(test)]
    pub(crate) fn run_batch(&self, mut is_enough: impl FnMut() -> bool) -> usize {
        self.run_batches(1, |_| is_enough(), |_| false)
    }

    /// Step 4 of a turn: runs the present batch, which is everything that is ready now and
    /// nothing that becomes ready meanwhile; then the next batch, and so on, as long as
    /// `goes_on` returns `true` between two batches. Both `goes_on` and `is_enough` get the
    /// number of items run, where one that has used up its budget counts for [`SPENT`];
    /// `is_enough` is called after every `every` items: when it returns `true`, the next call
    /// runs the rest of the batch first.
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
            let Some(item) = self.ready.pop() else {
                // The executor was shut down meanwhile.
                left = 0;
                break;
            };
            budget::renew();
            match item {
                ReadyItem::Task(task) => current_executor::run(self, task),
                ReadyItem::Work(work) => work.run(),
            }
            done += match budget::is_used_up() {
                true => SPENT,
                false => 1,
            };
            left -= 1;
            if done >= look_at {
                look_at = done + every;
                if is_enough(done) {
                    break;
                }
            }
            if left == 0 {
                if !goes_on(done) {
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
        if spans::are_on() {
            let ended = self.ended.take();
            drop(ended);
        }
        self.ready.shrink();
        if self.is_closed() {
            // An item of this batch has shut the executor down: the tasks left in the queue are
            // empty shells now.
            while self.drop_ready() > 0 {}
        }
        done
    }

    /// Returns the number of items of the next batch, or of those that are left of an interrupted
    /// batch.
    pub(crate) fn batch_len(&self) -> usize {
        match self.left.get() {
            0 => self.ready.len(),
            left => left,
        }
    }

    /// Returns whether an interrupted batch has work left.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.left.get() > 0
    }

    /// Returns whether a task or call of this thread's executor is ready.
    pub(crate) fn others_are_ready() -> bool {
        Self::current().is_some_and(|executor| executor.is_ready())
    }

    /// Returns whether anything is ready here. (Messages of other threads do not count.)
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the inbox for other threads.
    #[inline]
    pub(crate) fn inbox(&self) -> &Shared<Inbox> {
        self.inbox.shared()
    }

    /// Returns the inbox as this loop has it.
    #[inline]
    pub(super) fn home_inbox(&self) -> &HomeInbox {
        &self.inbox
    }

    /// Returns the notifier of a host loop.
    pub(crate) fn host(&self) -> &Rc<HostNotifier> {
        &self.host
    }

    /// Returns the locations of all tasks that are alive, except one that runs now and has never
    /// waited.
    pub(crate) fn tasks(&self) -> Vec<Caller> {
        let waiting = self.waiting.borrow();
        let wakers = waiting.iter().map(|(_, waker)| waker);
        let mut places: Vec<Caller> = wakers.clone().map(current_executor::location).collect();
        let listed = addresses(&wakers.collect::<Vec<_>>());
        drop(waiting);
        let mut ready = self.ready.take();
        let queued = ready.iter().filter_map(|item| match item {
            ReadyItem::Task(runnable) => Some(runnable),
            _ => None,
        });
        // A listed task may also be in the queue: it is counted where it is listed.
        let unlisted = queued.filter(|runnable| !listed.contains(address(&runnable.waker())));
        places.extend(unlisted.map(|runnable| runnable.metadata().location));
        self.ready.put_back(ready);
        places
    }

    /// Returns those waiting tasks that one of the wakers belongs to.
    pub(crate) fn tasks_of(&self, wakers: &[Waker]) -> Vec<WaitedTask> {
        let wakers = addresses(&wakers.iter().collect::<Vec<_>>());
        let waiting = self.waiting.borrow();
        let tasks = waiting
            .iter()
            .filter(|(_, waker)| wakers.contains(address(waker)));
        tasks
            .map(|(index, waker)| WaitedTask(index, waker.clone()))
            .collect()
    }

    /// Returns where the task was spawned, until it has ended.
    pub(crate) fn alive(&self, WaitedTask(index, waker): &WaitedTask) -> Option<Caller> {
        let waiting = self.waiting.borrow();
        let listed = waiting.get(*index)?;
        (listed.will_wake(waker)).then(|| current_executor::location(listed))
    }

    /// Ends everything: drops all futures and calls, on this thread, and refuses new ones.
    ///
    /// A task that another thread has woken but not handed over yet is waited for; the wait is as
    /// short as that thread's step between the two. Called from inside a task, it leaves that task
    /// to its own poll, which drops the future at its end, and ends all others.
    pub(crate) fn shut_down(self: &Rc<Self>) {
        self.closed.set(true);
        let _entered = self.enter();
        loop {
            let found = self.drop_ready();
            let waiting = self.waiting.borrow();
            // The task that is being run stays listed until its poll returns.
            let wakers = waiting.iter().map(|(_, waker)| waker);
            let others = wakers.filter(|waker| waker.data() != self.running.get());
            let wakers: Vec<Waker> = others.cloned().collect();
            drop(waiting);
            if wakers.is_empty() {
                break;
            }
            // A woken task returns to the queue, and is dropped in the next round.
            wakers.into_iter().for_each(Waker::wake);
            if found == 0 && !self.is_ready() {
                thread::yield_now();
            }
        }
        // No future is left that a late wake could concern.
        self.inbox().close();
        while self.drop_ready() > 0 {}
    }

    /// Drops everything that is ready or was sent; returns how much that was.
    fn drop_ready(&self) -> usize {
        let mut found = 0;
        self.inbox().take_all(&self.messages);
        while let Some(message) = self.messages.pop() {
            found += 1;
            match message {
                Message::Task(runnable) => drop(runnable),
                Message::Call(call, location) => report::discard(call, location),
            }
        }
        let ready = self.ready.take();
        self.left.set(0);
        found += ready.len();
        while let Some(item) = ready.pop() {
            item.discard();
        }
        found
    }

    /// Records that the task that is being run has ended, in a span if there is one.
    pub(super) fn note_ended(&self, waker: &Waker, span: Option<Span>) {
        if let Some(span) = span {
            let before = self.ended.replace(Some((waker.clone(), span)));
            drop(before);
        }
    }

    /// Returns the span in which the task that is being run has ended.
    pub(super) fn ended_in(&self) -> Option<Span> {
        let ended = self.ended.borrow();
        let (_, span) = ended
            .as_ref()
            .filter(|(waker, _)| waker.data() == self.running.get())?;
        Some(span.clone())
    }

    /// Returns the counter of wakers that foreign code keeps.
    pub(crate) fn counted_wakers(&self) -> &CountedWakers {
        &self.counted_wakers
    }

    /// Returns whether the executor was shut down.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Where the task that is being run is stored.
    #[inline]
    pub(super) fn running(&self) -> &Cell<*const ()> {
        &self.running
    }

    /// Lists a task that waits, by the waker that its `Runnable` has made.
    pub(super) fn list(&self, waker: Waker) -> Number {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == waiting.capacity() {
            // Grows by an eighth, not by doubling: this list is a good part of the memory of an
            // idle task.
            let more = (waiting.len() / 8).max(16);
            waiting.reserve_exact(more);
            self.waiting_shrinks.replace(ShrinkPolicy::default());
        }
        number_of(waiting.insert(waker))
    }

    /// Takes a task off the list. After a shutdown the list may be empty already.
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

/// Returns the number of the entry at this index of a list.
fn number_of(index: usize) -> Number {
    let number = u32::try_from(index + 1).ok();
    number
        .and_then(Number::new)
        .expect("there are fewer than four billion tasks")
}

/// Returns the address of the task that a waker of this executor belongs to.
fn address(waker: &Waker) -> u128 {
    waker.data().addr() as u128
}

fn addresses(wakers: &[&Waker]) -> Index {
    let mut all = Index::default();
    for waker in wakers {
        all.add(address(waker));
    }
    all
}

fn index_of(number: Number) -> usize {
    number.get() as usize - 1
}

/// Makes `executor` the one for new tasks on this thread. Returns the previous one.
fn make_current(executor: Option<Rc<Executor>>) -> Option<Rc<Executor>> {
    let accepts_work = executor
        .as_ref()
        .is_some_and(|executor| !executor.closed.get());
    context::with(|thread| thread.accepts_work.set(accepts_work));
    current_executor::make_current(executor)
}

/// Counts that a batch begins, and that the one before has ended.
#[inline]
fn begin_batch() {
    context::with(|thread| thread.batches.set((thread.batches.get() + 1) | 1));
}

impl ReadyItem {
    /// Drops the item without running it.
    fn discard(self) {
        match self {
            // Dropping the runnable drops the future, which catches panics.
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

/// For how many items a task counts that has used up its budget, so that the driver is soon polled
/// after it.
const SPENT: usize = 16;
