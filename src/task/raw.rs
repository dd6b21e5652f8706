//! A task in memory: its header, its future and its output in one allocation.
//!
//! # The idea
//!
//! A task lives on its *home thread*. There it is spawned, polled and dropped, there its handle is,
//! and there everything but its wakers happens, so all that needs no lock. A waker may be anywhere;
//! it touches the [`State`], the inbox and the vtable of the task, and nothing else.
//!
//! ```text
//!   Task<T> ──▶ ┌────────────────────────────────────────────────┐
//!   Waker   ──▶ │ Header: state, vtable, inbox, flags, awaiter, … │
//!   Runnable ─▶ ├────────────────────────────────────────────────┤
//!   TaskList ─▶ │ Stage: the future, then the output, then nothing │
//!               └────────────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//!
//! 1. The memory lives while there is a reference: of the list (until the task is done), of the
//!    handle, and of each waker. A [`Runnable`] has none: it exists only while the task is not done.
//! 2. There is at most one `Runnable` of a task, and none while the task is running. Whoever gets
//!    `true` from [`State::wake`] or [`State::pause`] makes it.
//! 3. The stage is the future until `ENDED` is set, the output while `HAS_OUTPUT` is set, and
//!    otherwise nothing.
//! 4. Nothing unwinds out of [`Runnable::run`], whatever the future, its output or a waker does.
//! 5. What belongs to the home thread (future, output, card) is gone when the handle and the list
//!    have given their references back. So the last waker may be dropped anywhere.

#![allow(
    unsafe_code,
    reason = "a task and its wakers share one allocation, of which each has a part"
)]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::inbox::{Inbox, Place};
use super::state::State;
use super::unseen::drop_unseen;
use super::{Card, Executor};
use crate::context;
use crate::failure::Failure;
use crate::report::{self, Origin};
use crate::sync::Shared;

/// What all tasks have in common.
struct Header {
    state: State,
    /// What the home thread notes; see the constants.
    flags: Cell<u8>,
    vtable: &'static VTable,
    /// The way to the loop that the task belongs to.
    inbox: Shared<Inbox>,
    location: Place,
    /// Whom the end of the task wakes.
    awaiter: Cell<Option<Waker>>,
    /// The neighbours in the list of all tasks.
    previous: Cell<Option<NonNull<Self>>>,
    next: Cell<Option<NonNull<Self>>>,
    /// What more is known of the task, if it has a name, locals, or is debugged.
    card: UnsafeCell<Option<Rc<Card>>>,
}

/// There is a handle.
const HAS_HANDLE: u8 = 1;
/// The handle was polled.
const POLLED: u8 = 2;
/// The future is to be dropped instead of polled.
const CANCELLED: u8 = 4;
/// The future has been dropped.
const ENDED: u8 = 8;
/// The output is there.
const HAS_OUTPUT: u8 = 16;
/// The handle has given its result.
const TAKEN: u8 = 32;

/// What depends on the type of the future.
struct VTable {
    run: unsafe fn(NonNull<Header>, &Executor),
    free: unsafe fn(NonNull<Header>),
    /// Where the stage begins, in bytes from the header.
    stage: usize,
}

#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<Output<F::Output>>,
}

/// What a task came to: `Err` holds its panic.
type Output<T> = Result<T, Failure>;

impl Header {
    fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    fn set(&self, flag: u8) {
        self.flags.set(self.flags.get() | flag);
    }

    fn unset(&self, flag: u8) {
        self.flags.set(self.flags.get() & !flag);
    }

    fn card(&self) -> Option<&Rc<Card>> {
        // SAFETY: it is written when the task is made, and then by `drop_card`, on this thread,
        // when nobody is left who could ask.
        unsafe { &*self.card.get() }.as_ref()
    }

    /// Called when the task is done and its handle is gone.
    fn drop_card(&self) {
        // SAFETY: as in `card`. Nothing of a card that is closed is anybody's code.
        let card = unsafe { &mut *self.card.get() }.take();
        drop(card);
    }
}

/// Makes a task, and lists it with its executor.
pub(super) fn allocate<F>(
    executor: &Executor,
    future: F,
    card: Option<Rc<Card>>,
    location: Place,
) -> (Runnable, Handle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let mut cell = Box::<TaskCell<F>>::new_uninit();
    cell.write(TaskCell {
        header: Header {
            state: State::new(),
            flags: Cell::new(HAS_HANDLE),
            vtable: const {
                &VTable {
                    run: run::<F>,
                    free: free::<F>,
                    stage: offset_of!(TaskCell<F>, stage),
                }
            },
            inbox: executor.inbox().clone(),
            location,
            awaiter: Cell::new(None),
            previous: Cell::new(None),
            next: Cell::new(None),
            card: UnsafeCell::new(card),
        },
        stage: UnsafeCell::new(Stage {
            future: ManuallyDrop::new(future),
        }),
    });
    let header = NonNull::from(Box::leak(cell)).cast();
    // SAFETY: the cell was written just now, and is in no list.
    unsafe { executor.list().push(header) };
    let handle = Handle {
        header,
        output: PhantomData,
    };
    (Runnable(header), handle)
}

/// A task that was taken out of a queue, or is to be put into one.
///
/// Dropping it frees nothing: the task then never runs again.
#[must_use = "the task runs only if this does"]
pub(crate) struct Runnable(NonNull<Header>);

// SAFETY: on other threads it is moved only. `run` and `abandon` ask for the task's own executor,
// which never leaves the home thread.
unsafe impl Send for Runnable {}

impl Runnable {
    /// Polls the task, or drops its future if that is asked for.
    #[inline]
    pub(super) fn run(self, executor: &Executor) {
        // SAFETY: a task that is not done is alive (invariant 1).
        let header = unsafe { self.0.as_ref() };
        assert!(Shared::ptr_eq(&header.inbox, executor.inbox()));
        let run = header.vtable.run;
        // SAFETY: the vtable is that of the task's own type, which is not running (invariant 2),
        // and the executor is its own, so this is its home thread.
        unsafe { run(self.0, executor) }
    }

    /// Drops the task's future instead of polling it.
    pub(super) fn abandon(self, executor: &Executor) {
        // SAFETY: as in `run`.
        unsafe { self.0.as_ref() }.set(CANCELLED);
        self.run(executor);
    }
}

/// Polls a task once.
///
/// # Safety
///
/// The task is an `F`, its only `Runnable` was given up for this, and `executor` is its own.
unsafe fn run<F>(task: NonNull<Header>, executor: &Executor)
where
    F: Future + 'static,
    F::Output: 'static,
{
    // SAFETY: the list has a reference, which `end` gives back after the last use.
    let cell = unsafe { task.cast::<TaskCell<F>>().as_ref() };
    let (header, stage) = (&cell.header, cell.stage.get());
    header.state.begin();
    let mut result = None;
    if !header.has(CANCELLED) {
        // SAFETY: the waker is not dropped, and so has no reference of its own.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task.as_ptr().cast())) });
        let entered = header.card().map(Card::enter);
        let polled = report::catch(header.location, || {
            // SAFETY: the future is there until `ENDED` is set (invariant 3), and it is used here
            // only, for the task is running.
            let future = unsafe { &mut *stage.cast::<F>() };
            // SAFETY: it stays where it is until it is dropped.
            let future = unsafe { Pin::new_unchecked(future) };
            let mut cx = Context::from_waker(&waker);
            executor.others().poll(&mut cx, |cx| future.poll(cx))
        });
        if let Some(entered) = entered {
            entered.leave();
        }
        match polled {
            Ok(Poll::Ready(value)) => result = Some(Ok(value)),
            Err(failure) => result = Some(Err(failure)),
            Ok(Poll::Pending) if header.has(CANCELLED) || executor.is_closed() => {}
            Ok(Poll::Pending) => {
                if header.state.pause() {
                    executor.queue_task(Runnable(task));
                }
                return;
            }
        }
    }
    let entered = header.card().map(Card::enter);
    if std::mem::needs_drop::<F>() {
        report::contain(Origin::Destructor, header.location, || {
            // SAFETY: as above, and it is not touched again, whether or not this unwinds.
            unsafe { stage.cast::<F>().drop_in_place() }
        });
    }
    if let Some(entered) = entered {
        entered.leave();
    }
    if let Some(card) = header.card() {
        card.close();
    }
    // SAFETY: it is in the list until here.
    unsafe { executor.list().remove(task) };
    // `ENDED` comes last: what runs until then finds a task that goes on.
    match result {
        Some(output) if header.flags.get() & (HAS_HANDLE | CANCELLED) == HAS_HANDLE => {
            // SAFETY: the stage is empty, and nobody else looks at it.
            unsafe { stage.cast::<Output<F::Output>>().write(output) };
            header.set(ENDED | HAS_OUTPUT);
        }
        Some(output) => {
            drop_unseen(output, header.location);
            header.set(ENDED);
        }
        None => header.set(ENDED),
    }
    // SAFETY: the list's reference is given back there; it was the last use of `cell`.
    unsafe { finish(task) };
}

/// Tells of the end of a task, and gives the list's reference back.
///
/// # Safety
///
/// The task is running, has ended and is in no list.
unsafe fn finish(task: NonNull<Header>) {
    // SAFETY: the reference is given back below.
    let header = unsafe { task.as_ref() };
    if let Some(awaiter) = header.awaiter.take() {
        report::contain(Origin::Task, header.location, || awaiter.wake());
    }
    if !header.has(HAS_HANDLE) {
        header.drop_card();
    }
    if header.state.finish() {
        // SAFETY: that was the last reference.
        unsafe { free_task(task) };
    }
}

/// Frees a task's memory, on any thread.
///
/// # Safety
///
/// Nobody has a reference.
unsafe fn free_task(task: NonNull<Header>) {
    // SAFETY: the memory is there until it is freed.
    let free = unsafe { task.as_ref() }.vtable.free;
    // SAFETY: the vtable is that of the task's type.
    unsafe { free(task) }
}

/// # Safety
///
/// As [`free_task`], and the task is an `F`.
unsafe fn free<F: Future>(task: NonNull<Header>) {
    // SAFETY: `allocate` made it as such a box, and this is the last use. The stage has nothing
    // that needs a drop; of the header the inbox is left, which may be dropped on any thread.
    drop(unsafe { Box::from_raw(task.cast::<TaskCell<F>>().as_ptr()) });
}

/// The right to a task's output, on its home thread.
pub(super) struct Handle<T: 'static> {
    header: NonNull<Header>,
    output: PhantomData<(Rc<()>, T)>,
}

// The output stays in the task's memory.
impl<T: 'static> Unpin for Handle<T> {}

impl<T: 'static> Handle<T> {
    fn header(&self) -> &Header {
        // SAFETY: the handle has a reference.
        unsafe { self.header.as_ref() }
    }

    pub(super) fn location(&self) -> Place {
        self.header().location
    }

    pub(super) fn card(&self) -> Option<&Rc<Card>> {
        self.header().card()
    }

    /// Has the task ended, or will it at once?
    pub(super) fn is_finished(&self) -> bool {
        self.header().has(ENDED)
    }

    /// Has the result been taken?
    pub(super) fn is_taken(&self) -> bool {
        self.header().has(TAKEN)
    }

    /// Notes that somebody has begun to wait for the task.
    #[inline]
    pub(super) fn note_polled(&self) {
        self.header().set(POLLED);
    }

    /// Returns the output once the task has ended, `None` if it ended without one; until then has
    /// `waker` woken at the end.
    #[inline]
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Option<Output<T>>> {
        let header = self.header();
        if !header.has(ENDED) {
            register(&header.awaiter, waker);
            // A waker is somebody's code.
            if !header.has(ENDED) {
                return Poll::Pending;
            }
        }
        header.set(TAKEN);
        Poll::Ready(self.take())
    }

    /// Lets the task run on, although somebody may have waited for it.
    pub(super) fn detached(self) -> Self {
        self.header().unset(POLLED);
        self
    }

    /// Has the future dropped when the loop comes to it.
    pub(super) fn cancel(&mut self) {
        let header = self.header();
        if !header.has(ENDED) {
            header.set(CANCELLED);
            if header.state.wake() {
                schedule(Runnable(self.header));
            }
        }
    }

    #[inline]
    fn take(&mut self) -> Option<Output<T>> {
        let header = self.header();
        if !header.has(HAS_OUTPUT) {
            return None;
        }
        header.unset(HAS_OUTPUT);
        // SAFETY: the stage is where the vtable says, in the same allocation.
        let stage = unsafe { self.header.byte_add(header.vtable.stage) };
        // SAFETY: it is the output (invariant 3), whose type is that of the handle, and it is not
        // read again.
        Some(unsafe { stage.cast::<Output<T>>().read() })
    }
}

impl<T: 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        let polled_only = HAS_HANDLE | POLLED;
        if self.header().flags.get() & (polled_only | ENDED) == polled_only {
            self.cancel();
        }
        let header = self.header();
        header.unset(HAS_HANDLE);
        // Nobody waits any more.
        drop(header.awaiter.take());
        let location = header.location;
        if let Some(output) = self.take() {
            drop_unseen(output, location);
        }
        let header = self.header();
        if header.has(ENDED) {
            header.drop_card();
        }
        if header.state.release() {
            // SAFETY: that was the last reference.
            unsafe { free_task(self.header) };
        }
    }
}

/// Has `waker` in its place; a clone only if it is another one.
fn register(place: &Cell<Option<Waker>>, waker: &Waker) {
    let old = place.take();
    match old {
        Some(old) if old.will_wake(waker) => place.set(Some(old)),
        old => {
            place.set(Some(waker.clone()));
            drop(old);
        }
    }
}

/// Has a task that was woken run: puts it into its loop's queue if that loop runs right here, else
/// into the inbox. The caller has a reference.
fn schedule(task: Runnable) {
    // SAFETY: the caller has a reference.
    let inbox = unsafe { &task.0.as_ref().inbox };
    let home = context::with(|thread| {
        let is_home = thread.inbox.get() == Shared::as_ptr(inbox).cast();
        is_home.then(|| thread.home.get().cast::<Executor>())
    });
    match home {
        // SAFETY: while this thread has entered an executor its context says where that is, and
        // keeps it alive (`Executor::enter`). Queuing a task runs nobody's code.
        Some(home) => unsafe { &*home }.queue_task(task),
        None => inbox.push_task(task),
    }
}

fn raw_waker(task: *const ()) -> RawWaker {
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);
    RawWaker::new(task, &VTABLE)
}

/// # Safety
///
/// `task` is the data of a waker of this file.
unsafe fn header<'a>(task: *const ()) -> &'a Header {
    // SAFETY: a waker has a reference, or is that of a poll, which ends before the task does.
    unsafe { &*task.cast::<Header>() }
}

/// Not of a `&Header`, for that gives no access to what is behind the header.
fn runnable(task: *const ()) -> Runnable {
    let header = NonNull::new(task.cast_mut().cast());
    Runnable(header.expect("the data of a waker"))
}

unsafe fn clone(task: *const ()) -> RawWaker {
    // SAFETY: it is a waker's.
    unsafe { header(task) }.state.acquire();
    raw_waker(task)
}

unsafe fn wake(task: *const ()) {
    // SAFETY: it is a waker's.
    unsafe { wake_by_ref(task) };
    // SAFETY: it is gone with this call.
    unsafe { drop_waker(task) };
}

unsafe fn wake_by_ref(task: *const ()) {
    // SAFETY: it is a waker's.
    let header = unsafe { header(task) };
    if header.state.wake() {
        schedule(runnable(task));
    }
}

unsafe fn drop_waker(task: *const ()) {
    // SAFETY: it is a waker's.
    let header = unsafe { header(task) };
    if header.state.release() {
        // SAFETY: that was the last reference.
        unsafe { free_task(runnable(task).0) };
    }
}

/// All tasks of an executor that are not done, the oldest first.
#[derive(Default)]
pub(super) struct TaskList {
    first: Cell<Option<NonNull<Header>>>,
    last: Cell<Option<NonNull<Header>>>,
}

impl TaskList {
    /// # Safety
    ///
    /// The task is in no list, and has a reference that is given back only after `remove`.
    unsafe fn push(&self, task: NonNull<Header>) {
        let last = self.last.replace(Some(task));
        // SAFETY: the caller says so.
        unsafe { task.as_ref() }.previous.set(last);
        match last {
            // SAFETY: what is in the list is alive.
            Some(last) => unsafe { last.as_ref() }.next.set(Some(task)),
            None => self.first.set(Some(task)),
        }
    }

    /// # Safety
    ///
    /// The task is in this list.
    unsafe fn remove(&self, task: NonNull<Header>) {
        // SAFETY: what is in the list is alive.
        let header = unsafe { task.as_ref() };
        let (previous, next) = (header.previous.take(), header.next.take());
        match previous {
            // SAFETY: so is its neighbour.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.first.set(next),
        }
        match next {
            // SAFETY: and the other one.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.last.set(previous),
        }
    }

    /// All of them. No task is made or ended while the caller goes through them.
    fn iter(&self) -> impl Iterator<Item = &Header> {
        // SAFETY: what is in the list is alive.
        let look = |task: NonNull<Header>| unsafe { &*task.as_ptr() };
        let first = self.first.get().map(look);
        std::iter::successors(first, move |header| header.next.get().map(look))
    }

    /// Where they were spawned.
    pub(super) fn locations(&self) -> Vec<Place> {
        self.iter().map(|header| header.location).collect()
    }

    /// What is known of those of which more is known.
    pub(super) fn cards(&self) -> Vec<Rc<Card>> {
        let cards = self.iter().filter_map(Header::card);
        cards.cloned().collect()
    }

    /// Takes all that wait, as if they had been woken. Returns whether others are left that are
    /// not running: they are in a queue, or on their way there from another thread.
    pub(super) fn claim(&self) -> (Vec<Runnable>, bool) {
        let (mut claimed, mut are_left) = (Vec::new(), false);
        let mut next = self.first.get();
        while let Some(task) = next {
            // SAFETY: what is in the list is alive.
            let header = unsafe { task.as_ref() };
            if header.state.wake() {
                claimed.push(Runnable(task));
            } else if !header.state.is_running() {
                are_left = true;
            }
            next = header.next.get();
        }
        (claimed, are_left)
    }
}
