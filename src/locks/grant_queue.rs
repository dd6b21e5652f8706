//! The wait queue of a lock, a semaphore or a queue: which Deferreds wait, which have an offer,
//! which is next.
//!
//! The values that waiters wait for are counted: a lock has one or none, a semaphore its permits, a
//! queue its items. That is the [`Resource`]. The module docs of [`locks`](super) explain why a
//! value is offered to a waiter, and not given.
//!
//! # States of a waiter
//!
//! ```text
//!           there is enough, and a callback wants it
//! Waiting ─────────────────────────────────────────────▶ has it
//!  │ ▲                                                 ▲
//!  │ └────── it asks, and there is not enough ──┐      │ it asks, and there is enough
//!  │ there is enough                            │      │
//!  └──────────▶ Offered ─────────────────────▶ Missed ───┘
//!                   it did not ask in its round
//! ```
//!
//! | state | meaning | of the resource |
//! |---|---|---|
//! | `Waiting` | waits in the queue | none |
//! | `Offered` | has an offer, and its round is not over | reserved for it |
//! | `Missed` | did not take the offer in time, or was never in the queue | whatever is free when it asks |
//!
//! # Rounds
//!
//! A round ends at the end of the loop's next batch, in which the woken task runs. Nothing happens
//! at that moment unless it matters. Code that needs the free amount first takes back what is
//! reserved for waiters whose round is over ([`State::end_rounds`]); and only where others wait
//! behind a reservation, a work item is queued that serves them right after that task.
//!
//! # Two kinds of waiter
//!
//! A waiter that is only polled has no core: the queue stores its waker, and wakes it. Any other
//! waiter has a core, which the queue fires or makes an offer to (see `defer`, `queued` and
//! `waiter` there).
//!
//! # Invariants
//!
//! 1. Nothing is given to a waiter behind one that is `Waiting`; and the first that is `Waiting`
//!    finds too little, except while [`serve`] runs or a [`GrantHold`] exists.
//! 2. The reserved amount is available.
//! 3. A number is never given twice, so the queue is in the order of the numbers, also for a waiter
//!    that comes back.
//! 4. [`serve`] does not run inside itself: however many waiters release in their callbacks, they
//!    run one after the other.
//! 5. Outside of a loop every round ends at once. Whenever something is reserved and a waiter is
//!    `Waiting`, the work item is queued.
//! 6. A waiter without a core that may fetch something keeps the resource alive.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::grants::{Granted, Grants};
use super::numbered::Numbered;
use crate::debug::{DumpItem, Id};
use crate::defer::{
    Deferred, GrantHold, Link, QueuedState, Resolver, WaitQueue, WaitSource, WaiterId,
};
use crate::failure::Failure;
use crate::index;
use crate::report::{self, Origin};
use crate::task::{Executor, WorkItem, own_waker};

/// A countable resource that is granted to a queue of waiters. Its methods run no user code, except
/// the last.
pub(crate) trait Resource: Sized + 'static {
    /// The value that a waiter gets.
    type Given: 'static;

    /// The name of the kind, in a word or two.
    const KIND: &'static str;

    /// Whether values are lent: held by a guard, and given back.
    const IS_LENT: bool = true;

    fn queue(&self) -> &GrantQueue<Self>;

    /// Returns the amount that is left.
    fn left(&self) -> usize;

    /// Takes `count`, which is left.
    fn take(self: &Rc<Self>, count: usize, granted: Granted) -> Self::Given;

    /// Describes the state in words; with `names_holders` the holders are named after that.
    fn about(&self, names_holders: bool) -> String;

    /// Describes in words that `count` is held.
    fn held(count: usize) -> String;

    /// Returns whether nothing can be given back or added any more.
    fn is_over(&self) -> bool {
        false
    }

    /// Records that a value was taken, or that a waiter returned to the queue: there may be space.
    fn taken(self: &Rc<Self>) {}
}

/// The queue of waiters for a resource.
pub(crate) struct GrantQueue<S: Resource> {
    state: RefCell<State<S>>,
    serving: Cell<bool>,
    /// Whether the queue is served when no [`GrantHold`] is left.
    is_held: Cell<bool>,
    grants: Grants,
    made: &'static Location<'static>,
}

struct State<S: Resource> {
    /// The waiters, in slots that do not change.
    waiters: Slab<Waiter<S>>,
    /// The slots of the waiters that are `Waiting`, in the order of their numbers.
    waiting_slots: Numbered,
    /// The waiters without a core that have failed and were not polled since.
    failed: Vec<(WaiterId, Failure, Rc<S>)>,
    reserved: usize,
    /// The number of the next waiter.
    next: u64,
    /// The waiters that were `Offered`, in that order, with the end of their rounds; `None` outside
    /// of a loop. Some may have asked since.
    rounds: VecDeque<(Option<u64>, WaiterId)>,
    /// Whether a work item is queued, and how many rounds, from the front, it ends.
    has_round_end: bool,
    covered: usize,
}

struct Waiter<S: Resource> {
    number: u64,
    count: usize,
    state: WaiterState,
    consumer: Consumer<S::Given>,
    location: &'static Location<'static>,
    /// Set by invariant 6.
    hold: Option<Rc<S>>,
}

/// The states of the module's docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaiterState {
    Waiting,
    Offered,
    Missed,
}

/// The consumer of a waiter.
enum Consumer<T: 'static> {
    /// The task that polls it, if one does.
    Task(Option<Waker>),
    /// A core.
    Core(Resolver<T>),
}

/// Joins the queue.
pub(super) fn join<S: Resource>(
    resource: &Rc<S>,
    count: usize,
    location: &'static Location<'static>,
) -> Deferred<S::Given> {
    let mut state = resource.queue().state.borrow_mut();
    let is_free = state.has_free(count, resource.left());
    let number = state.next;
    state.next += 1;
    let slot = state.waiters.insert(Waiter {
        number,
        count,
        state: match is_free {
            true => WaiterState::Missed,
            false => WaiterState::Waiting,
        },
        consumer: Consumer::Task(None),
        location,
        hold: is_free.then(|| resource.clone()),
    });
    if !is_free {
        state.waiting_slots.insert(number, slot);
    }
    let waits_for_round = !is_free && state.reserved > 0;
    drop(state);
    if waits_for_round {
        ensure_round_end(resource);
    }
    let weak: Weak<S> = Rc::downgrade(resource);
    Deferred::queued(weak, WaiterId { number, slot }, location)
}

/// Returns whether a newcomer could have `count` at once.
pub(super) fn is_free<S: Resource>(resource: &Rc<S>, count: usize) -> bool {
    let mut state = resource.queue().state.borrow_mut();
    state.has_free(count, resource.left())
}

/// Takes `count` for a newcomer, if that is possible.
#[track_caller]
pub(super) fn try_take<S: Resource>(resource: &Rc<S>, count: usize) -> Option<S::Given> {
    if !is_free(resource, count) {
        return None;
    }
    let granted = match S::IS_LENT {
        true => resource.queue().grants.to_caller(count, Location::caller()),
        false => None,
    };
    Some(resource.take(count, granted))
}

/// Returns the number of waiters in the queue, including those that missed their offer.
pub(super) fn waiting<S: Resource>(resource: &S) -> usize {
    resource.queue().state.borrow().waiters.len()
}

/// Returns how much the waiters have not taken yet: what they wait for, and what is reserved.
pub(super) fn expected<S: Resource>(resource: &S) -> usize {
    let mut state = resource.queue().state.borrow_mut();
    state.end_rounds();
    state.waiting_slots.len() + state.reserved
}

/// Grants what is free: fires the waiters that consume it at once, and makes offers to the others.
pub(super) fn serve<S: Resource>(resource: &Rc<S>) {
    let queue = resource.queue();
    if queue.serving.get() || queue.state.borrow().waiting_slots.is_empty() {
        return;
    }
    if GrantHold::is_active() {
        if !queue.is_held.replace(true) {
            let resource = resource.clone();
            GrantHold::serve_later(move || {
                resource.queue().is_held.set(false);
                serve(&resource);
            });
        }
        return;
    }
    queue.serving.set(true);
    let end = Executor::end_of_round();
    let none_waits = || queue.state.borrow().waiting_slots.is_empty();
    while serve_one(resource, end) || is_free_again(resource, end) {
        if end.is_some() && none_waits() {
            break;
        }
    }
    queue.serving.set(false);
}

/// Ends a resource to which nothing will be added any more: the waiters are abandoned.
pub(super) fn end<S: Resource>(resource: &Rc<S>) {
    let mut state = resource.queue().state.borrow_mut();
    let waiting_slots = mem::take(&mut state.waiting_slots);
    let waiters: Vec<_> = waiting_slots
        .map(|(_, slot)| state.take_out(slot))
        .collect();
    drop(state);
    waiters.into_iter().for_each(Waiter::abandon);
}

/// Ends all waiting: each waiter gets a failure.
pub(super) fn fail_all<S: Resource>(resource: &Rc<S>, why: impl Fn() -> Failure) {
    let mut state = resource.queue().state.borrow_mut();
    state.reserved = 0;
    state.clear_rounds();
    state.waiting_slots = Numbered::default();
    let mut waiters: Vec<_> = mem::take(&mut state.waiters).into_iter().collect();
    drop(state);
    index::sort(&mut waiters, |(_, waiter)| waiter.number.into());
    for (slot, waiter) in waiters {
        let Waiter { number, .. } = waiter;
        match waiter.consumer {
            Consumer::Core(resolver) => resolver.errback(why()),
            Consumer::Task(waker) => {
                let failed = (WaiterId { number, slot }, why(), resource.clone());
                resource.queue().state.borrow_mut().failed.push(failed);
                wake(waker, waiter.location);
            }
        }
    }
}

/// Serves the first waiter: gives it what it waits for, or offers it until this end of a round.
/// Returns whether there was one that could have it.
#[inline]
fn serve_one<S: Resource>(resource: &Rc<S>, end: Option<u64>) -> bool {
    let mut guard = resource.queue().state.borrow_mut();
    let state = &mut *guard;
    let Some((_, slot)) = state.waiting_slots.first() else {
        return false;
    };
    let waiter = &mut state.waiters[slot];
    if waiter.count > resource.left() - state.reserved {
        return false;
    }
    state.waiting_slots.pop_first();
    match &mut waiter.consumer {
        Consumer::Task(waker) => {
            let (waker, location) = (waker.take(), waiter.location);
            waiter.hold = Some(resource.clone());
            state.reserve(slot, end);
            drop(guard);
            wake(waker, location);
        }
        Consumer::Core(resolver) if resolver.is_wanted() => {
            let waiter = state.take_out(slot);
            drop(guard);
            let given = take_for(resource, &waiter);
            if let Consumer::Core(resolver) = waiter.consumer {
                resolver.callback(given);
            }
            resource.taken();
        }
        Consumer::Core(resolver) => {
            let wake = resolver.offer(resource.clone());
            state.reserve(slot, end);
            drop(guard);
            wake();
        }
    }
    true
}

/// Takes what this waiter waits for.
#[inline(always)]
fn take_for<S: Resource>(resource: &Rc<S>, waiter: &Waiter<S>) -> S::Given {
    let granted = match (&waiter.consumer, S::IS_LENT) {
        (_, false) => None,
        (Consumer::Core(resolver), true) => {
            resource.queue().grants.to_waiter(waiter.count, resolver)
        }
        (Consumer::Task(_), true) => resource
            .queue()
            .grants
            .to_caller(waiter.count, waiter.location),
    };
    resource.take(waiter.count, granted)
}

/// Returns whether something is free again for `Waiting` waiters because rounds have ended: those
/// that are over, and outside of a loop all, which end at once there.
#[cold]
fn is_free_again<S: Resource>(resource: &Rc<S>, end: Option<u64>) -> bool {
    match end {
        Some(_) => is_round_over(resource),
        None => resource.queue().state.borrow_mut().end_all_rounds(),
    }
}

/// Returns whether something is free again for `Waiting` waiters because a round has ended. If a
/// round has not, makes sure that they are served at its end (invariant 5).
fn is_round_over<S: Resource>(resource: &Rc<S>) -> bool {
    let mut state = resource.queue().state.borrow_mut();
    if state.waiting_slots.is_empty() || state.reserved == 0 {
        return false;
    }
    if state.end_rounds() {
        return true;
    }
    if mem::replace(&mut state.has_round_end, true) {
        return false;
    }
    state.covered = state.rounds.len();
    drop(state);
    if let Some(executor) = Executor::current() {
        executor.push(Rc::new(Round(Rc::downgrade(resource))));
    }
    // An executor that is shut down drops the work item.
    !resource.queue().state.borrow().has_round_end
}

/// Handles a waiter that is `Waiting` now, perhaps behind a reservation (invariant 5).
fn ensure_round_end<S: Resource>(resource: &Rc<S>) {
    if is_round_over(resource) {
        serve(resource);
    }
}

/// Wakes a task.
#[inline]
fn wake(waker: Option<Waker>, location: &'static Location<'static>) {
    if let Some(waker) = waker {
        report::contain(Origin::Deferred, location, || waker.wake());
    }
}

/// Stores the waker of the task that polls this waiter.
fn watch<S: Resource>(resource: &Rc<S>, id: WaiterId, cx: &Context<'_>) {
    let new = own_waker(cx).clone();
    let mut state = resource.queue().state.borrow_mut();
    let (old, is_here) = match state.find(id) {
        Some(waiter) => match &mut waiter.consumer {
            Consumer::Task(waker) => (waker.replace(new), waiter.state == WaiterState::Waiting),
            Consumer::Core(_) => (Some(new), false),
        },
        None => (Some(new), false),
    };
    drop(state);
    if !is_here {
        // The waker's clone, or the resource, has made something available while no waker was
        // stored.
        cx.waker().wake_by_ref();
    }
    if old.is_some() {
        report::discard(old, resource.queue().made);
    }
}

impl<S: Resource> GrantQueue<S> {
    /// Makes the queue of a resource that the caller makes.
    #[track_caller]
    pub(super) fn new() -> Self {
        Self {
            state: RefCell::new(State {
                waiters: Slab::new(),
                waiting_slots: Numbered::default(),
                failed: Vec::new(),
                reserved: 0,
                next: 0,
                rounds: VecDeque::new(),
                has_round_end: false,
                covered: 0,
            }),
            serving: Cell::new(false),
            is_held: Cell::new(false),
            grants: Grants::default(),
            made: Location::caller(),
        }
    }

    /// Returns the line where the resource was made.
    pub(super) fn made(&self) -> &'static Location<'static> {
        self.made
    }
}

impl<S: Resource> State<S> {
    /// Returns whether a newcomer could have `count` of what is left.
    #[inline]
    fn has_free(&mut self, count: usize, left: usize) -> bool {
        self.end_rounds();
        self.waiting_slots.is_empty() && count <= left - self.reserved
    }

    /// Makes this waiter `Offered`, until this end of its round.
    #[inline]
    fn reserve(&mut self, slot: usize, end: Option<u64>) {
        let waiter = &mut self.waiters[slot];
        waiter.state = WaiterState::Offered;
        self.reserved += waiter.count;
        let number = waiter.number;
        self.rounds.push_back((end, WaiterId { number, slot }));
    }

    /// Takes the waiter out of this slot, which is not `Waiting`, with what is reserved for it.
    #[inline(always)]
    fn take_out(&mut self, slot: usize) -> Waiter<S> {
        let waiter = self.waiters.remove(slot);
        if waiter.state == WaiterState::Offered {
            self.reserved -= waiter.count;
            if self.reserved == 0 {
                self.clear_rounds();
            }
        }
        if self.waiters.capacity() > MAX_KEPT && self.waiters.is_empty() {
            self.waiters = Slab::new();
        }
        waiter
    }

    /// Ends all reservations.
    #[inline]
    fn clear_rounds(&mut self) {
        self.rounds.clear();
        self.covered = 0;
        if self.rounds.capacity() > MAX_KEPT {
            self.rounds = VecDeque::new();
        }
    }

    /// Takes back what is reserved for waiters whose round is over. Returns whether that is
    /// anything.
    #[inline]
    fn end_rounds(&mut self) -> bool {
        self.reserved > 0 && self.end_some_rounds()
    }

    /// Takes back all reservations. Returns whether there were any.
    fn end_all_rounds(&mut self) -> bool {
        let before = self.reserved;
        self.end_rounds_if(|_, _| true);
        self.reserved < before
    }

    #[cold]
    fn end_some_rounds(&mut self) -> bool {
        let before = self.reserved;
        self.end_rounds_if(|_, end| end.is_some_and(Executor::is_round_over));
        self.reserved < before
    }

    /// Ends rounds, the oldest first, as long as `is_over` returns `true` for their index in the
    /// list and their end.
    fn end_rounds_if(&mut self, is_over: impl Fn(usize, Option<u64>) -> bool) {
        let mut ended = 0;
        while let Some(&(end, id)) = self.rounds.front() {
            if !is_over(ended, end) {
                break;
            }
            ended += 1;
            self.rounds.pop_front();
            self.covered = self.covered.saturating_sub(1);
            if let Some(waiter) = self.find(id) {
                if waiter.state == WaiterState::Offered {
                    waiter.state = WaiterState::Missed;
                    self.reserved -= waiter.count;
                }
            }
        }
    }

    /// Takes the failure of a waiter without a core.
    fn take_failure(&mut self, id: WaiterId) -> Option<Failure> {
        let at = self.failed.iter().position(|failed| failed.0 == id)?;
        Some(self.failed.swap_remove(at).1)
    }

    #[inline]
    fn find(&mut self, id: WaiterId) -> Option<&mut Waiter<S>> {
        let waiter = self.waiters.get_mut(id.slot);
        waiter.filter(|waiter| waiter.number == id.number)
    }

    /// Takes out a waiter that leaves.
    fn remove(&mut self, id: WaiterId) -> Option<Waiter<S>> {
        if self.find(id)?.state == WaiterState::Waiting {
            self.waiting_slots.remove(id.number);
        }
        Some(self.take_out(id.slot))
    }
}

impl<S: Resource> Waiter<S> {
    /// Returns whether this is the waker of the task that polls the waiter.
    #[inline]
    fn wakes(&self, waker: &Waker) -> bool {
        match &self.consumer {
            Consumer::Task(Some(known)) => known.will_wake(waker),
            _ => false,
        }
    }

    /// Drops a waiter for which nothing is left to do.
    #[inline(always)]
    fn discard(self) {
        if !matches!(self.consumer, Consumer::Task(None)) {
            report::discard(self.consumer, self.location);
        }
    }

    /// Drops a waiter that nothing can serve any more.
    fn abandon(self) {
        match self.consumer {
            Consumer::Task(waker) => wake(waker, self.location),
            Consumer::Core(resolver) => drop(resolver),
        }
    }
}

/// The answer to a waiter that asks.
enum Answer {
    /// The waiter takes what is free, and leaves the queue.
    Takes,
    /// Nothing will become free any more.
    Over,
    Waits,
}

/// Answers a waiter that asks, and that is `Offered` or `Missed`.
#[inline]
fn answer<S: Resource>(resource: &Rc<S>, state: &mut State<S>, slot: usize) -> Answer {
    let waiter = &state.waiters[slot];
    let (number, count) = (waiter.number, waiter.count);
    if waiter.state == WaiterState::Offered {
        return Answer::Takes;
    }
    state.end_rounds();
    let is_first = state
        .waiting_slots
        .first()
        .is_none_or(|(first, _)| number < first);
    if is_first && count <= resource.left() - state.reserved {
        Answer::Takes
    } else if resource.is_over() {
        Answer::Over
    } else {
        Answer::Waits
    }
}

/// Makes a waiter that missed its offer `Waiting` again, in its old position.
#[cold]
fn requeue<S: Resource>(resource: &Rc<S>, mut state: RefMut<'_, State<S>>, slot: usize) {
    let waiter = &mut state.waiters[slot];
    waiter.state = WaiterState::Waiting;
    let (number, hold) = (waiter.number, waiter.hold.take());
    state.waiting_slots.insert(number, slot);
    drop((state, hold));
    resource.taken();
    ensure_round_end(resource);
}

impl<S: Resource> WaitSource for S {
    fn ask(self: Rc<Self>, id: WaiterId) {
        let mut state = self.queue().state.borrow_mut();
        if state
            .find(id)
            .is_none_or(|waiter| waiter.state == WaiterState::Waiting)
        {
            return;
        }
        let answer = answer(&self, &mut state, id.slot);
        if matches!(answer, Answer::Waits) {
            return requeue(&self, state, id.slot);
        }
        let waiter = state.take_out(id.slot);
        drop(state);
        if matches!(answer, Answer::Takes) {
            let given = take_for(&self, &waiter);
            if let Consumer::Core(resolver) = waiter.consumer {
                resolver.give(given);
            }
            self.taken();
        }
    }

    fn leave(&self, id: WaiterId) {
        let waiter = self.queue().state.borrow_mut().remove(id);
        drop(waiter);
    }

    fn dump_item(self: Rc<Self>) -> DumpItem {
        let queue = self.queue();
        let (mut texts, waits) = queue.grants.describe(Self::held);
        texts.insert(0, self.about(!texts.is_empty()));
        texts.retain(|text| !text.is_empty());
        DumpItem {
            id: Id::At(Rc::as_ptr(&self).addr()),
            kind: Self::KIND,
            name: None,
            location: queue.made,
            about: texts.join(", "),
            waits,
        }
    }

    fn serve(self: Rc<Self>) {
        serve(&self);
    }
}

impl<S: Resource> WaitQueue for S {
    type Given = S::Given;

    fn poll(
        self: Rc<Self>,
        id: WaiterId,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<<Self as WaitQueue>::Given, Failure>>> {
        let mut state = self.queue().state.borrow_mut();
        match state.find(id) {
            Some(waiter) if waiter.state == WaiterState::Waiting => {
                if waiter.wakes(&own_waker(cx)) {
                    return Poll::Pending;
                }
                drop(state);
            }
            Some(_) => {
                let answer = answer(&self, &mut state, id.slot);
                if !matches!(answer, Answer::Waits) {
                    let waiter = state.take_out(id.slot);
                    drop(state);
                    let given = match answer {
                        Answer::Takes => Some(Ok(take_for(&self, &waiter))),
                        _ => None,
                    };
                    if given.is_some() {
                        self.taken();
                    }
                    waiter.discard();
                    return Poll::Ready(given);
                }
                requeue(&self, state, id.slot);
            }
            None => return Poll::Ready(state.take_failure(id).map(Err)),
        }
        watch(&self, id, cx);
        Poll::Pending
    }

    fn queued_state(&self, id: WaiterId) -> QueuedState {
        match self.queue().state.borrow_mut().find(id) {
            Some(waiter) if waiter.state == WaiterState::Waiting => QueuedState::Waits,
            Some(_) => QueuedState::Offered,
            None => QueuedState::Failed,
        }
    }

    fn link(self: Rc<Self>, id: WaiterId, resolver: Resolver<<Self as WaitQueue>::Given>) -> Link {
        let mut state = self.queue().state.borrow_mut();
        let mut link = Link {
            is_offered: false,
            waker: None,
        };
        if let Some(waiter) = state.find(id) {
            link.is_offered = waiter.state != WaiterState::Waiting;
            let hold = waiter.hold.take();
            let consumer = mem::replace(&mut waiter.consumer, Consumer::Core(resolver));
            drop((state, hold));
            if let Consumer::Task(waker) = consumer {
                link.waker = waker;
            }
        } else if let Some(failure) = state.take_failure(id) {
            drop(state);
            resolver.errback(failure);
        }
        link
    }

    fn leave_unnoticed(&self, id: WaiterId) -> bool {
        let mut state = self.queue().state.borrow_mut();
        let Some(waiter) = state.find(id) else {
            return false;
        };
        let is_here = waiter.state == WaiterState::Waiting;
        if state.waiting_slots.len() > usize::from(is_here) {
            return false;
        }
        let waiter = state.remove(id);
        drop(state);
        if let Some(waiter) = waiter {
            waiter.discard();
        }
        true
    }

    fn as_source(self: Rc<Self>) -> Rc<dyn WaitSource> {
        self
    }
}
/// The work item that ends a round, when it runs or is dropped.
struct Round<S: Resource>(Weak<S>);

impl<S: Resource> WorkItem for Round<S> {
    fn run(self: Rc<Self>) {}
}

impl<S: Resource> Drop for Round<S> {
    fn drop(&mut self) {
        if let Some(resource) = self.0.upgrade() {
            let mut state = resource.queue().state.borrow_mut();
            state.has_round_end = false;
            let covered = mem::take(&mut state.covered);
            state.end_rounds_if(|location, _| location < covered);
            drop(state);
            serve(&resource);
        }
    }
}

impl<S: Resource> Drop for GrantQueue<S> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let mut waiters: Vec<_> = mem::take(&mut state.waiters).into_iter().collect();
        index::sort(&mut waiters, |(_, waiter)| waiter.number.into());
        for (_, waiter) in waiters {
            waiter.abandon();
        }
    }
}

/// A list with a larger capacity is not kept for the next round.
const MAX_KEPT: usize = 64;
