//! The state machine of a [`Deferred`](super::Deferred): a source, a queue of steps, one consumer.
//!
//! # The idea
//!
//! A core is made for a *source* (the value that a `Resolver` will provide) and gets *steps* one
//! after another. A step holds its callback and, once the callback has run, the result. The next
//! step takes the result out of the previous step, so passing a result on needs no allocation for
//! the value and none for the step (see `callback_queue`).
//!
//! A Deferred that has fired and has nothing to wait for stores its result itself and needs no
//! core, and neither does a Deferred of a lock or a queue that is only awaited (see `queued`).
//!
//! # Stages
//!
//! ```text
//!            fire                     steps are taken
//! Pending ─────────▶ Fired ◀────────────────────────────▶ Running
//!                     ▲  ▲                                   │ a step returned a Deferred
//!                     │  └────────── Waiting ◀───────────────┘
//!                     │          the other core gave its result
//!                     │
//! Gathering ──────▶ Decided
//!    a member's result was enough, or the last
//! ```
//!
//! | stage | the result is | left by |
//! |---|---|---|
//! | `Pending` | not there | [`Core::fire`] |
//! | `Fired` | with the step that ran last, or in the source | [`advance`], unless paused |
//! | `Running` | being used by a callback, which is on the call stack | that callback's return |
//! | `Waiting` | at another core, whose consumer this one is | that core's [`Core::hand_over`] |
//! | `Passed` | at several other cores, each of which has fired | [`advance`], which continues with those |
//! | `Gathering` | at several other cores, its members; it has no resolver | a member's `hand_over` |
//! | `Decided` | in the source, which is a [`Group`] | [`advance`], which releases the remaining members |
//!
//! A `Pending` core may wait in a wait queue (see `waiter`); the queue may then *offer* the result,
//! and the core fetches it when the consumer asks for it.
//!
//! A core is *settled* when it is `Fired`, not paused, and has no steps left: the consumer may take
//! the result.
//!
//! # Invariants
//!
//! 1. [`advance`] and [`cancel`] are one loop over cores: long chains of steps, long chains of
//!    cores, and groups inside groups use a constant amount of stack.
//! 2. A core that waits refers weakly to the core it waits for, and a group weakly to its members;
//!    those refer strongly to their consumer. So the source keeps alive everything that depends on
//!    it, and there is no reference cycle.
//! 3. A core whose last step returned a Deferred, and whose own consumer is another core or
//!    `Dropped`, is taken out of the chain: a loop written as "a callback that returns the next
//!    round" uses a constant amount of memory.
//! 4. Nothing is borrowed while a callback, a canceller, a waker or a destructor runs, and no panic
//!    unwinds out of them: each of these finds the core in a consistent state.
//! 5. A source fires once; a result that comes after a cancel is dropped silently.
//! 6. No core waits, directly or through others, for itself.
//! 7. When a group is decided, its remaining members get another consumer before anything else
//!    happens; then they are cancelled in order, if the group cancels; then the group's own steps
//!    run. A member that fires meanwhile, and whose step returns another core, stays in the chain
//!    until it was cancelled.
//! 8. While several cores are cancelled, no wait queue grants anything (see `grant_hold`): a
//!    permit that one member gives back must not start the next.

mod grant_hold;
mod group;
mod slot;
mod waiter;
mod work;

use std::cell::Cell;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

pub(crate) use self::grant_hold::GrantHold;
pub(super) use self::group::{Group, Rest};
pub(super) use self::slot::{AnyPlace, Place, Slot, take, went_through_callback};
use self::slot::{Callback, FailedSource, FireResolvers, Source};
use self::waiter::{OfferState, Waiter};
pub(crate) use self::waiter::{WaitSource, WaiterId};
use self::work::LaterStep;
pub(super) use self::work::{abandon_source, advance, cancel, cancel_dropped, end};
use super::DeferredError;
use super::callback_queue::CallbackQueue;
use super::coroutine::{self, Coroutine};
use super::live;
use super::outcome::Outcome;
use super::tracker;
use crate::cells;
use crate::debug::{self, DumpItem};
use crate::failure::{Cancelled, Failure, TraceFrame};
use crate::report::{self, Origin};

/// The state of one Deferred, without the type of its result.
pub(super) struct Core {
    stage: Cell<Stage>,
    /// Set while the canceller runs: a resolver that the canceller drops provides no result, and
    /// does not count as abandoned.
    cancelling: Cell<bool>,
    /// Whether the consumer must ask a wait queue for the result.
    offer_state: Cell<OfferState>,
    /// The number of [`Pause`](super::Pause)s that are held.
    pauses: Cell<u32>,
    /// The steps and, from `Fired` on, the result.
    callbacks: CallbackQueue,
    consumer: Cell<Consumer>,
    /// `Some` while the consumer is `Awaiting`.
    waker: Cell<Option<Waker>>,
    /// The [tick](coroutine::now) of the wake while the consumer is `Woken`; the index of the
    /// member while it is `Member`.
    number: Cell<u64>,
    /// `Some` while the consumer is `Then` or `Member`: the core whose step returned this one, or
    /// the core of the group.
    then: Cell<Option<Rc<Self>>>,
    /// `Some` in stage `Waiting` (invariant 2).
    waits_for: Cell<Option<Weak<Self>>>,
    /// `Some` only until the source fires.
    canceller: Cell<Option<Canceller>>,
    /// Set when a callback returned this core's Deferred and this core replaced the one of that
    /// callback: a canceller that the holder of the replaced one sets is dropped.
    keeps_canceller: Cell<bool>,
    location: &'static Location<'static>,
    /// The line that used the resolver.
    fired_at: Cell<Option<&'static Location<'static>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Fired,
    Running,
    Waiting,
    Passed,
    Gathering,
    Decided,
}

/// The receiver of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    /// The holder of the Deferred, which has not asked yet.
    Holder,
    /// A task that waits.
    Awaiting,
    /// A task that waited and has been woken.
    Woken,
    /// The step of another core that returned this core's Deferred.
    Then,
    /// The group that is another core's source.
    Member,
    /// The resolvers of other cores, which the last step has used.
    Resolvers,
    /// None, but the core is a member of a list and will be cancelled next.
    Released,
    /// The Deferred was dropped; a failure is reported, except the `Cancelled` of an await that was
    /// given up.
    Dropped { gave_up: bool },
}

/// What is called when the source is cancelled.
pub(super) enum Canceller {
    Call(Box<dyn FnOnce()>),
    /// The source is notified, in addition to the user's canceller.
    Source(Box<SourceCanceller>),
    Coroutine(Rc<Coroutine>),
    /// The core leaves a wait queue.
    Waiter(Box<Waiter>),
}

/// The cancellers of a source and of the user.
pub(super) struct SourceCanceller {
    /// The library's own canceller, which does not panic. The core it returns is cancelled next.
    by_source: Box<dyn FnOnce() -> Option<Rc<Core>>>,
    by_user: Option<Box<dyn FnOnce()>>,
}

/// The state of a core as seen by the task that awaits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    No,
    /// The task waits.
    Yes,
    /// The task was woken at this [tick](coroutine::now), and has not fetched the result.
    Woken(u64),
}

impl Core {
    pub(super) fn new(location: &'static Location<'static>) -> Rc<Self> {
        let core = Rc::new(Self {
            stage: Cell::new(Stage::Pending),
            cancelling: Cell::new(false),
            offer_state: Cell::new(OfferState::No),
            pauses: Cell::new(0),
            callbacks: CallbackQueue::default(),
            consumer: Cell::new(Consumer::Holder),
            waker: Cell::new(None),
            number: Cell::new(0),
            then: Cell::new(None),
            waits_for: Cell::new(None),
            canceller: Cell::new(None),
            keeps_canceller: Cell::new(false),
            location,
            fired_at: Cell::new(None),
        });
        if debug::is_on() {
            live::list(&core);
        }
        core
    }

    /// Returns whether the source has fired, by its resolver or by a cancel.
    pub(super) fn has_fired(&self) -> bool {
        self.stage.get() != Stage::Pending
    }

    /// Stores the source's result and runs the steps that can run. Does nothing after a cancel
    /// (invariant 5). `at` is the line that fired the source.
    ///
    /// The first step takes the result from this call's stack. A result without a consumer, or
    /// awaited by a task, is stored, and the task is woken.
    pub(super) fn fire<T: 'static>(
        self: Rc<Self>,
        result: Result<T, Failure>,
        at: &'static Location<'static>,
    ) {
        report::enter();
        self.drop_canceller();
        let location = self.location;
        if self.has_fired() {
            report::discard(result, location);
            return report::leave();
        }
        self.fired_at.set(Some(at));
        self.stage.set(Stage::Fired);
        let source = Source::new(result, location);
        let next = if self.pauses.get() > 0 {
            self.callbacks.put_source(source);
            None
        } else if self.has_steps() {
            self.stage.set(Stage::Running);
            let inner = self.callbacks.run(Some(&source), &self.pauses);
            self.stage.set(Stage::Fired);
            self.continue_after(inner)
        } else if self.is_member() {
            self.give_to_group(&source)
        } else {
            self.callbacks.put_source(source);
            self.hand_over()
        };
        if let Some(next) = next {
            advance(next);
        }
        report::leave();
    }

    /// Stores the source's result and leaves it to the caller to [`advance`] the core. Returns
    /// `false` after a cancel.
    pub(super) fn put<T: 'static>(&self, result: Result<T, Failure>) -> bool {
        self.drop_canceller();
        let location = self.location;
        if self.has_fired() {
            report::discard(result, location);
            return false;
        }
        self.stage.set(Stage::Fired);
        self.offer_state.set(OfferState::No);
        self.callbacks.put_source(Source::new(result, location));
        true
    }

    /// Fires the source with a failure, as a cancel or the drop of its resolver does. Returns the
    /// core to continue with.
    #[must_use]
    fn fail_source(self: Rc<Self>, failure: Failure) -> Option<Rc<Self>> {
        self.drop_canceller();
        if self.has_fired() {
            return None;
        }
        self.stage.set(Stage::Fired);
        self.callbacks
            .put_source(FailedSource::new(failure, self.location));
        Some(self)
    }

    /// Adds the last step, which uses resolvers with [`Core::put`] and returns the cores that it
    /// fired.
    pub(super) fn pass_on<T: 'static>(
        self: Rc<Self>,
        f: impl FnOnce(Result<T, Failure>) -> Vec<Rc<Self>> + 'static,
        location: &'static Location<'static>,
    ) {
        self.callbacks.push(|| FireResolvers::new(f, location));
        self.set_consumer(Consumer::Resolvers, self.waker.take());
        advance(self);
    }

    /// Adds a step at the end of the queue.
    #[inline]
    pub(super) fn add<T: 'static, U: 'static>(
        &self,
        f: impl FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> + 'static,
        location: &'static Location<'static>,
    ) {
        self.callbacks.push(|| Callback::new(f, location));
    }

    /// Takes the result if the core is settled. The core is unusable afterwards.
    #[inline]
    pub(super) fn take_settled<T: 'static>(&self) -> Option<Result<T, Failure>> {
        if self.is_settled() {
            if debug::is_on() {
                self.trace();
            }
            self.callbacks.take_last(take)?
        } else {
            None
        }
    }

    /// Returns whether the result is ready for the consumer.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.stage.get() == Stage::Fired && self.pauses.get() == 0 && !self.has_steps()
    }

    /// Returns whether no code will see the result: neither a step, here or in the cores that wait
    /// for this one, nor a holder.
    pub(super) fn has_no_consumer(self: &Rc<Self>) -> bool {
        let mut next = Some(self.clone());
        while let Some(core) = next.filter(|core| !core.has_steps()) {
            next = match core.consumer.get() {
                Consumer::Released | Consumer::Dropped { .. } => return true,
                Consumer::Then => core.consuming_core(),
                _ => None,
            };
        }
        false
    }

    pub(super) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Sets the task to wake when the core is settled. Returns `true` if no task, or another task,
    /// was set before.
    pub(super) fn await_by(&self, waker: &Waker) -> bool {
        let old = self.waker.take();
        if old.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker.set(old);
            return false;
        }
        self.set_consumer(Consumer::Holder, old);
        self.waker.set(Some(waker.clone()));
        self.consumer.set(Consumer::Awaiting);
        true
    }

    /// Forgets the task that awaits the core.
    pub(super) fn forget_waiter(&self) {
        self.set_consumer(Consumer::Holder, self.waker.take());
    }

    /// Adds this core to the trace of the failure that is its result.
    #[cold]
    #[inline(never)]
    fn trace(&self) {
        self.callbacks
            .with_last(|last| last.place().trace(&|| self.frame()));
    }

    /// Returns the trace frame of this core.
    fn frame(&self) -> TraceFrame {
        TraceFrame::Deferred {
            made: self.location,
            fired: self.fired_at.get(),
        }
    }

    /// Returns the state as seen by the task that awaits the core.
    pub(super) fn awaited(&self) -> Awaited {
        match self.consumer.get() {
            Consumer::Awaiting => Awaited::Yes,
            Consumer::Woken => Awaited::Woken(self.number.get()),
            _ => Awaited::No,
        }
    }

    /// Sets what is called when the source is cancelled. Dropped at once when the source has fired.
    pub(super) fn set_canceller(&self, canceller: Canceller) {
        if self.keeps_canceller.get() {
            return discard_canceller(Some(canceller), self.location);
        }
        let canceller = match canceller {
            Canceller::Call(f) => match self.add_user_canceller(f) {
                Some(f) => Canceller::Call(f),
                None => return,
            },
            canceller => canceller,
        };
        let old = match self.stage.get() {
            Stage::Pending => self.canceller.replace(Some(canceller)),
            _ => Some(canceller),
        };
        discard_canceller(old, self.location);
    }

    /// Stores the user's canceller in addition to the source's own, which must be kept. Returns it
    /// if the source has none.
    fn add_user_canceller(&self, f: Box<dyn FnOnce()>) -> Option<Box<dyn FnOnce()>> {
        let mut new = Some(f);
        let old = cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Waiter(waiter)) => mem::replace(&mut waiter.by_user, new.take()),
            Some(Canceller::Source(source_canceller)) => {
                mem::replace(&mut source_canceller.by_user, new.take())
            }
            _ => None,
        });
        report::discard(old, self.location);
        new
    }

    /// Refuses every later canceller.
    pub(super) fn keep_canceller(&self) {
        self.keeps_canceller.set(true);
    }

    pub(super) fn pause(&self) {
        self.pauses.set(self.pauses.get() + 1);
    }

    pub(super) fn unpause(self: Rc<Self>) {
        self.pauses.set(self.pauses.get() - 1);
        advance(self);
    }

    /// Handles the drop of the Deferred: the result has no consumer from now on.
    pub(super) fn abandon(self: Rc<Self>, gave_up: bool) {
        self.set_consumer(Consumer::Dropped { gave_up }, self.waker.take());
        if self.has_fired() {
            advance(self);
        }
    }

    /// Drops the canceller, whose destructor finds the core in a consistent state.
    #[inline]
    fn drop_canceller(&self) {
        let canceller = self.canceller.take();
        if canceller.is_some() {
            discard_canceller(canceller, self.location);
        }
    }

    #[inline]
    fn has_steps(&self) -> bool {
        self.callbacks.has_steps()
    }

    /// Runs all steps that can run, or handles the end of the queue. Returns the core to continue
    /// with.
    #[inline]
    fn step(self: Rc<Self>) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Fired || self.pauses.get() > 0 {
            return None;
        }
        if !self.has_steps() {
            return self.hand_over();
        }
        self.stage.set(Stage::Running);
        let inner = self.callbacks.run(None, &self.pauses);
        self.stage.set(Stage::Fired);
        self.continue_after(inner)
    }

    /// Returns whether other cores must continue when this one has ended.
    #[inline]
    fn has_dependents(&self) -> bool {
        matches!(self.stage.get(), Stage::Passed | Stage::Decided)
    }

    /// Continues with the cores that the last step has fired.
    fn advance_fired(&self, later: &mut Vec<LaterStep>) -> Option<Rc<Self>> {
        let fired = self.callbacks.take_last(Slot::fired).unwrap_or_default();
        later.extend(fired.into_iter().rev().map(LaterStep::Advance));
        None
    }

    /// Continues after steps were run. Returns the core to continue with.
    fn continue_after(self: Rc<Self>, inner: Option<Rc<Self>>) -> Option<Rc<Self>> {
        match inner {
            Some(inner) => Some(self.wait_for(inner)),
            None if self.pauses.get() > 0 => None,
            None => self.hand_over(),
        }
    }

    /// Handles a last step that returned another core, and continues with that core.
    fn wait_for(self: Rc<Self>, inner: Rc<Self>) -> Rc<Self> {
        if self.is_awaited_by(&inner) {
            // The Deferred of that core was given to the callback that returned it.
            inner.set_consumer(Consumer::Dropped { gave_up: false }, inner.waker.take());
            self.callbacks.with_last(|step| {
                step.place()
                    .fail(Failure::at(DeferredError::WaitsForItself, step.location()));
            });
            return self;
        }
        let waker = inner.waker.take();
        let is_done = self.pauses.get() == 0 && !self.has_steps();
        let consumer = match self.consumer.get() {
            // Invariant 3.
            Consumer::Then if is_done => {
                if debug::is_on() {
                    tracker::moved(&self, &inner);
                }
                let outer = self.then.take();
                if let Some(outer) = &outer {
                    outer.waits_for.set(Some(Rc::downgrade(&inner)));
                }
                inner.then.set(outer);
                Consumer::Then
            }
            dropped @ Consumer::Dropped { .. } if is_done => {
                if debug::is_on() {
                    tracker::moved(&self, &inner);
                }
                dropped
            }
            _ => {
                self.stage.set(Stage::Waiting);
                self.waits_for.set(Some(Rc::downgrade(&inner)));
                inner.then.set(Some(self));
                Consumer::Then
            }
        };
        inner.set_consumer(consumer, waker);
        match inner.offer_state.get() {
            OfferState::No => inner,
            _ => inner.consumed(),
        }
    }

    /// Sets the consumer. A replaced waker is user code, so it is dropped last.
    fn set_consumer(&self, consumer: Consumer, old: Option<Waker>) {
        self.consumer.set(consumer);
        if let Some(old) = old {
            report::discard(old, self.location);
        }
    }

    /// Returns whether `other` waits for this core, directly or through others, or is this core
    /// (invariant 6).
    ///
    /// Searches from both ends at once and takes as long as the shorter of the two chains: a chain
    /// of a million cores can be built from either end.
    fn is_awaited_by(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        let (mut down, mut up) = (other.clone(), self.clone());
        while !Rc::ptr_eq(&down, self) && !Rc::ptr_eq(&up, other) {
            if down.stage.get() == Stage::Gathering {
                return self.is_member_below(down, up, other);
            }
            let (Some(lower), Some(upper)) = (down.awaited_core(), up.consuming_core()) else {
                return false;
            };
            (down, up) = (lower, upper);
        }
        true
    }

    /// Returns the description of the state for debugging.
    pub(super) fn about(&self) -> &'static str {
        match self.stage.get() {
            _ if self.pauses.get() > 0 => "paused",
            Stage::Pending => "pending",
            Stage::Running => "running",
            Stage::Fired | Stage::Passed => "fired",
            Stage::Waiting | Stage::Gathering | Stage::Decided => "waiting",
        }
    }

    pub(super) fn fired_at(&self) -> Option<&'static Location<'static>> {
        self.fired_at.get()
    }

    /// Returns whether the core waits for the members of a group.
    pub(super) fn is_gathering(&self) -> bool {
        self.stage.get() == Stage::Gathering
    }

    /// Returns whether the result was taken.
    pub(super) fn was_taken(&self) -> bool {
        self.is_settled() && self.callbacks.with_last(|_| ()).is_none()
    }

    /// Returns the source of the result, if it is known: the task of a coroutine, or the wait
    /// queue's owner.
    pub(super) fn source_item(&self) -> Option<DumpItem> {
        cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Coroutine(coroutine)) => coroutine.dump_item(),
            Some(Canceller::Waiter(waiter)) => waiter.dump_item(),
            Some(Canceller::Call(_) | Canceller::Source(_)) | None => None,
        })
    }

    /// Returns the core that this one waits for.
    pub(super) fn awaited_core(&self) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Waiting {
            return None;
        }
        cells::with(&self.waits_for, |inner| {
            inner.as_ref().and_then(Weak::upgrade)
        })
    }

    /// Returns the core that waits for this one.
    fn consuming_core(&self) -> Option<Rc<Self>> {
        let outer = self.then.take();
        self.then.set(outer.clone());
        outer
    }

    /// Wakes the task that awaits the core.
    #[inline]
    fn wake(&self) {
        self.number.set(coroutine::now());
        self.consumer.set(Consumer::Woken);
        if let Some(waker) = self.waker.take() {
            report::contain(Origin::Deferred, self.location, || waker.wake());
        }
    }

    /// Gives the result to the consumer at the end of the queue.
    fn hand_over(self: Rc<Self>) -> Option<Rc<Self>> {
        match self.consumer.get() {
            Consumer::Holder | Consumer::Woken => None,
            Consumer::Awaiting => {
                self.wake();
                None
            }
            Consumer::Then => {
                self.consumer.set(Consumer::Holder);
                let outer = self.then.take()?;
                if debug::is_on() {
                    self.trace();
                    tracker::moved(&self, &outer);
                }
                self.callbacks.take_last(|last| {
                    outer
                        .callbacks
                        .with_last(|step| step.place().fill_from(last))
                });
                if debug::is_on() {
                    outer.callbacks.with_last(|step| {
                        let added = step.location();
                        step.place().trace(&|| TraceFrame::Callback { added });
                    });
                }
                outer.waits_for.set(None);
                outer.stage.set(Stage::Fired);
                Some(outer)
            }
            Consumer::Member => self
                .callbacks
                .take_last(|last| self.give_to_group(last))
                .flatten(),
            Consumer::Resolvers => {
                self.stage.set(Stage::Passed);
                Some(self)
            }
            consumer @ (Consumer::Released | Consumer::Dropped { .. }) => {
                let gave_up = consumer != (Consumer::Dropped { gave_up: false });
                let location = self.location;
                let take = |last: &dyn Slot| {
                    report::contain_rarely(Origin::Destructor, location, || {
                        last.place().take_failure()
                    })
                };
                if debug::is_on() {
                    self.trace();
                }
                if let Some(failure) = self.callbacks.take_last(take).flatten().flatten() {
                    if !(gave_up && failure.find::<Cancelled>().is_some()) {
                        report::deliver(Origin::Deferred, failure, self.location);
                    }
                }
                None
            }
        }
    }
}

impl SourceCanceller {
    pub(super) fn new(by_source: impl FnOnce() + 'static) -> Box<Self> {
        Self::with_next(move || {
            by_source();
            None
        })
    }

    /// Makes a canceller like `new`; the core that `by_source` returns is cancelled next, before
    /// the source.
    pub(super) fn with_next(by_source: impl FnOnce() -> Option<Rc<Core>> + 'static) -> Box<Self> {
        Box::new(Self {
            by_source: Box::new(by_source),
            by_user: None,
        })
    }

    /// Calls both cancellers, the user's first.
    fn call(self, location: &'static Location<'static>) -> (Result<(), Failure>, Option<Rc<Core>>) {
        let called = self
            .by_user
            .map_or(Ok(()), |f| report::catch_rarely(location, f));
        match report::catch_rarely(location, self.by_source) {
            Ok(next) => (called, next),
            Err(failure) => (called.and(Err(failure)), None),
        }
    }

    /// Calls only the source's canceller.
    fn call_own(self, location: &'static Location<'static>) -> Option<Rc<Core>> {
        let next = report::contain_rarely(Origin::Canceller, location, self.by_source);
        report::discard(self.by_user, location);
        next.flatten()
    }

    fn discard(self, location: &'static Location<'static>) {
        report::discard(self.by_source, location);
        report::discard(self.by_user, location);
    }
}

fn discard_canceller(canceller: Option<Canceller>, location: &'static Location<'static>) {
    match canceller {
        Some(Canceller::Call(f)) => report::discard(f, location),
        Some(Canceller::Source(source_canceller)) => source_canceller.discard(location),
        Some(Canceller::Coroutine(coroutine)) => drop(coroutine),
        Some(Canceller::Waiter(waiter)) => report::discard(waiter, location),
        None => {}
    }
}
