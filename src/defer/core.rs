//! The state machine under a [`Deferred`](super::Deferred): a source, a line of steps, one consumer.
//!
//! # The idea
//!
//! A core is made for a *source* (the value a `Resolver` will bring) and is given *steps* one after another. A
//! step holds its callback and, once it has run, the result that came of it, so passing a result on means that
//! the next step takes it out of the step before: no box for a value, none for a step (see `line`).
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
//! | stage       | the result is                                            | what moves it on                |
//! |-------------|----------------------------------------------------------|---------------------------------|
//! | `Pending`   | not there                                                | [`Core::fire`]                  |
//! | `Fired`     | with the step that ran last, or at the source            | [`advance`], unless paused      |
//! | `Running`   | being used by a callback, further down this very stack   | that callback's return          |
//! | `Waiting`   | at another core, whose consumer this one is              | that core's [`Core::hand_over`] |
//! | `Passed`    | at several other cores, each of which has fired          | [`advance`] goes on with those  |
//! | `Gathering` | at several other cores, its members; it has no resolver  | a member's `hand_over`          |
//! | `Decided`   | at the source, which is a [`Group`]                      | [`advance`] lets the rest go    |
//!
//! A `Pending` core may stand in a line (see `waiter`); it may then be *offered* its result, which is fetched when
//! the consumer asks.
//!
//! A core is *settled* when it is `Fired`, not paused and has no steps left: the consumer may take the result.
//!
//! # Invariants
//!
//! 1. [`advance`] and [`cancel`] are one loop over cores: neither a long chain of steps nor a long line of cores,
//!    nor groups inside groups, use stack.
//! 2. A core that waits holds the other one weakly, a group its members; the others hold it strongly, as their
//!    consumer. So the source keeps alive everything that depends on it, and there is no cycle.
//! 3. A core whose last step returned a Deferred, and whose own consumer is another core or nobody, is taken
//!    out of the line: a loop written as "a callback that returns the next round" uses no memory.
//! 4. Nothing is borrowed while a callback, a canceller, a waker or a destructor runs, and nothing unwinds out
//!    of them: whoever calls into a core finds it whole, and gets back.
//! 5. A source fires once; what comes after a cancel is dropped without a word.
//! 6. No core waits, directly or through others, for itself.
//! 7. When a group is decided, all of its members that are left have another consumer before anything else
//!    happens; then they are cancelled, if they are to be, in order; then its own steps run.

mod group;
mod slot;
mod waiter;
mod work;

use std::cell::Cell;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

pub(super) use self::group::{Group, Rest};
use self::slot::{Callback, Lost, Passing, Source};
pub(super) use self::slot::{Place, Slot, take, trace, went_through_callback};
use self::waiter::{Asking, Waiter};
pub(crate) use self::waiter::{WaitSource, WaiterId};
use self::work::Job;
pub(super) use self::work::{abandon_source, advance, cancel, cancel_dropped, end};
use super::DeferredError;
use super::coroutine::{self, Coroutine};
use super::line::CallbackQueue;
use super::live;
use super::outcome::Outcome;
use super::tracker;
use crate::cells;
use crate::debug::{self, Thing};
use crate::failure::{Cancelled, Failure, TraceFrame};
use crate::report::{self, Origin};

/// One Deferred, without its type.
pub(super) struct Core {
    stage: Cell<Stage>,
    /// Its canceller is running: a resolver that is dropped by it has brought nothing, and is not missed.
    cancelling: Cell<bool>,
    /// Whether whoever has it must ask for the result.
    asking: Cell<Asking>,
    /// How many [`Pause`](super::Pause)s are held.
    pauses: Cell<u32>,
    /// The steps, and from `Fired` on the result.
    line: CallbackQueue,
    consumer: Cell<Consumer>,
    /// Set while the consumer is `Awaiting`.
    waker: Cell<Option<Waker>>,
    /// When it was woken, as a [tick](coroutine::now), while the consumer is `Woken`; which member it is, while that
    /// is `Member`.
    number: Cell<u64>,
    /// Set while the consumer is `Then` or `Member`: the core whose step returned this one, or of the group.
    then: Cell<Option<Rc<Self>>>,
    /// Set in stage `Waiting` (invariant 2).
    waits_for: Cell<Option<Weak<Self>>>,
    /// Set only until the source fires.
    canceller: Cell<Option<Canceller>>,
    /// A callback returned it, in whose Deferred's stead it is: what that one's holder wants to happen comes too late.
    keeps_canceller: Cell<bool>,
    location: &'static Location<'static>,
    /// Where its resolver was used.
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

/// Who gets the result in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consumer {
    /// Whoever holds the Deferred, in time.
    Holder,
    /// The same, and a task is waiting.
    Awaiting,
    /// The same, and the task that was waiting has been woken.
    Woken,
    /// The step of another core that returned this one.
    Then,
    /// The group that is another core's source.
    Member,
    /// The resolvers of other cores, which the last step has used.
    Others,
    /// Nobody; a failure is reported, but for the `Cancelled` of an await that was given up.
    Nobody { gave_up: bool },
}

/// What to do when the source is to be cancelled.
pub(super) enum Canceller {
    Call(Box<dyn FnOnce()>),
    /// The source must know, whatever the user wants to happen as well.
    Source(Box<Sourced>),
    Coroutine(Rc<Coroutine>),
    /// It stands in a line.
    Waiter(Box<Waiter>),
}

/// What a source does when it is cancelled, and the user.
pub(super) struct Sourced {
    /// The library's, which does not panic. What it gives is cancelled next.
    own: Box<dyn FnOnce() -> Option<Rc<Core>>>,
    also: Option<Box<dyn FnOnce()>>,
}

/// How a core stands to the task that awaits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    No,
    /// The task is waiting.
    Yes,
    /// The task was woken at that [tick](coroutine::now), and has not fetched the result.
    Woken(u64),
}

impl Core {
    pub(super) fn new(location: &'static Location<'static>) -> Rc<Self> {
        let core = Rc::new(Self {
            stage: Cell::new(Stage::Pending),
            cancelling: Cell::new(false),
            asking: Cell::new(Asking::No),
            pauses: Cell::new(0),
            line: CallbackQueue::default(),
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

    /// Has the source fired, by itself or by a cancel?
    pub(super) fn has_fired(&self) -> bool {
        self.stage.get() != Stage::Pending
    }

    /// Brings the source's result and runs what can run. Does nothing when it was cancelled (invariant 5). `at` is
    /// where somebody brought it.
    ///
    /// The first step takes the result from this call's stack. A result that nobody waits for, or
    /// that a task awaits, is stored, and nothing else is done but to wake that task.
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
            self.line.put_source(source);
            None
        } else if self.has_steps() {
            self.stage.set(Stage::Running);
            let inner = self.line.run(Some(&source), || self.pauses.get() == 0);
            self.stage.set(Stage::Fired);
            self.go_on(inner)
        } else if self.is_member() {
            self.give_to_group(&source)
        } else {
            self.line.put_source(source);
            self.hand_over()
        };
        if let Some(next) = next {
            advance(next);
        }
        report::leave();
    }

    /// Brings the source's result, and leaves it to the caller to [`advance`] the core. `false` when it was cancelled.
    pub(super) fn put<T: 'static>(&self, result: Result<T, Failure>) -> bool {
        self.drop_canceller();
        let location = self.location;
        if self.has_fired() {
            report::discard(result, location);
            return false;
        }
        self.stage.set(Stage::Fired);
        self.asking.set(Asking::No);
        self.line.put_source(Source::new(result, location));
        true
    }

    /// Fires the source with a failure, as a cancel or the loss of its resolver does. Gives the core to go on with.
    #[must_use]
    fn fail_source(self: Rc<Self>, failure: Failure) -> Option<Rc<Self>> {
        self.drop_canceller();
        if self.has_fired() {
            return None;
        }
        self.stage.set(Stage::Fired);
        self.line.put_source(Lost::new(failure, self.location));
        Some(self)
    }

    /// Adds the last step: it uses resolvers with [`Core::put`] and gives the cores that it fired so.
    pub(super) fn pass_on<T: 'static>(
        self: Rc<Self>,
        f: impl FnOnce(Result<T, Failure>) -> Vec<Rc<Self>> + 'static,
        location: &'static Location<'static>,
    ) {
        self.line.push(|| Passing::new(f, location));
        self.set_consumer(Consumer::Others, self.waker.take());
        advance(self);
    }

    /// Adds a step at the end of the line.
    #[inline]
    pub(super) fn add<T: 'static, U: 'static>(
        &self,
        f: impl FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> + 'static,
        location: &'static Location<'static>,
    ) {
        self.line.push(|| Callback::new(f, location));
    }

    /// The result, if it is settled. Afterwards the core is of no use.
    #[inline]
    pub(super) fn take_settled<T: 'static>(&self) -> Option<Result<T, Failure>> {
        if self.is_settled() {
            if debug::is_on() {
                self.trace();
            }
            self.line.take_last(take)?
        } else {
            None
        }
    }

    /// Is the result there for the consumer?
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.stage.get() == Stage::Fired && self.pauses.get() == 0 && !self.has_steps()
    }

    /// Is there nobody to get the result, and nothing to be done with it?
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.consumer.get(), Consumer::Nobody { .. }) && !self.has_steps()
    }

    pub(super) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Sets the task to wake when it is settled; `true` if another one, or none, was set before.
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

    /// Nobody awaits it any more.
    pub(super) fn forget_waiter(&self) {
        self.set_consumer(Consumer::Holder, self.waker.take());
    }

    /// A failure that is its result has come this way.
    #[cold]
    #[inline(never)]
    fn trace(&self) {
        self.line.with_last(|last| last.trace(&|| self.frame()));
    }

    /// The step on the way of a failure that it is.
    fn frame(&self) -> TraceFrame {
        TraceFrame::Deferred {
            made: self.location,
            fired: self.fired_at.get(),
        }
    }

    /// How it stands to the task that awaits it.
    pub(super) fn awaited(&self) -> Awaited {
        match self.consumer.get() {
            Consumer::Awaiting => Awaited::Yes,
            Consumer::Woken => Awaited::Woken(self.number.get()),
            _ => Awaited::No,
        }
    }

    /// What happens when the source is cancelled. Dropped at once when the source has fired.
    pub(super) fn set_canceller(&self, canceller: Canceller) {
        if self.keeps_canceller.get() {
            return discard_canceller(Some(canceller), self.location);
        }
        let canceller = match canceller {
            Canceller::Call(f) => match self.add_beside(f) {
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

    /// Keeps what the user wants to happen beside what the source does, which must not be lost. Gives it back if the
    /// source does nothing.
    fn add_beside(&self, f: Box<dyn FnOnce()>) -> Option<Box<dyn FnOnce()>> {
        let mut new = Some(f);
        let old = cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Waiter(waiter)) => mem::replace(&mut waiter.also, new.take()),
            Some(Canceller::Source(sourced)) => mem::replace(&mut sourced.also, new.take()),
            _ => None,
        });
        report::discard(old, self.location);
        new
    }

    /// From now on the canceller stays the one that it is.
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

    /// The Deferred was dropped: nobody will ask for the result.
    pub(super) fn abandon(self: Rc<Self>, gave_up: bool) {
        self.set_consumer(Consumer::Nobody { gave_up }, self.waker.take());
        if self.has_fired() {
            advance(self);
        }
    }

    /// There is no more use for it. Its destructor, like everybody, finds the core whole.
    #[inline]
    fn drop_canceller(&self) {
        let canceller = self.canceller.take();
        if canceller.is_some() {
            discard_canceller(canceller, self.location);
        }
    }

    #[inline]
    fn has_steps(&self) -> bool {
        self.line.has_steps()
    }

    /// Runs all steps that can run, or comes to the end of the line. Gives the core to go on with.
    #[inline]
    fn step(self: Rc<Self>) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Fired || self.pauses.get() > 0 {
            return None;
        }
        if !self.has_steps() {
            return self.hand_over();
        }
        self.stage.set(Stage::Running);
        let inner = self.line.run(None, || self.pauses.get() == 0);
        self.stage.set(Stage::Fired);
        self.go_on(inner)
    }

    /// Has something come to its end here that others are to be told of?
    #[inline]
    fn concerns_others(&self) -> bool {
        matches!(self.stage.get(), Stage::Passed | Stage::Decided)
    }

    /// Its last step has fired others: they are next.
    fn tell_others(&self, later: &mut Vec<Job>) -> Option<Rc<Self>> {
        let fired = self.line.take_last(Slot::fired).unwrap_or_default();
        later.extend(fired.into_iter().rev().map(Job::Advance));
        None
    }

    /// What comes after steps were run: the core to go on with.
    fn go_on(self: Rc<Self>, inner: Option<Rc<Self>>) -> Option<Rc<Self>> {
        match inner {
            Some(inner) => Some(self.wait_for(inner)),
            None if self.pauses.get() > 0 => None,
            None => self.hand_over(),
        }
    }

    /// The last step gave another core: goes on with that one.
    fn wait_for(self: Rc<Self>, inner: Rc<Self>) -> Rc<Self> {
        if self.is_awaited_by(&inner) {
            // Its Deferred was given to the callback that returned it.
            inner.set_consumer(Consumer::Nobody { gave_up: false }, inner.waker.take());
            self.line.with_last(|step| {
                step.fail(Failure::at(DeferredError::WaitsForItself, step.location()));
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
            nobody @ Consumer::Nobody { .. } if is_done => {
                if debug::is_on() {
                    tracker::moved(&self, &inner);
                }
                nobody
            }
            _ => {
                self.stage.set(Stage::Waiting);
                self.waits_for.set(Some(Rc::downgrade(&inner)));
                inner.then.set(Some(self));
                Consumer::Then
            }
        };
        inner.set_consumer(consumer, waker);
        match inner.asking.get() {
            Asking::No => inner,
            _ => inner.consumed(),
        }
    }

    /// Sets the consumer. A waker that is of no use any more is somebody's code: it is dropped last.
    fn set_consumer(&self, consumer: Consumer, old: Option<Waker>) {
        self.consumer.set(consumer);
        if let Some(old) = old {
            report::discard(old, self.location);
        }
    }

    /// Does `other` wait for this one, directly or through others, or are they the same (invariant 6)?
    ///
    /// Looks from both ends at once, so it takes as long as the shorter of the two lines: a line of a million
    /// can be built from either end.
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

    /// What is to be said of it.
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

    /// Does it wait for the members of a group?
    pub(super) fn is_gathering(&self) -> bool {
        self.stage.get() == Stage::Gathering
    }

    /// Was its result taken?
    pub(super) fn is_of_no_use(&self) -> bool {
        self.is_settled() && self.line.with_last(|_| ()).is_none()
    }

    /// What will bring its result, if that is known: a coroutine's task, or what it stands in line for.
    pub(super) fn brought_by(&self) -> Option<Thing> {
        cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Coroutine(coroutine)) => coroutine.thing(),
            Some(Canceller::Waiter(waiter)) => waiter.thing(),
            Some(Canceller::Call(_) | Canceller::Source(_)) | None => None,
        })
    }

    /// The core it waits for.
    pub(super) fn awaited_core(&self) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Waiting {
            return None;
        }
        cells::with(&self.waits_for, |inner| {
            inner.as_ref().and_then(Weak::upgrade)
        })
    }

    /// The core that waits for it.
    fn consuming_core(&self) -> Option<Rc<Self>> {
        let outer = self.then.take();
        self.then.set(outer.clone());
        outer
    }

    /// Wakes the task that awaits it.
    #[inline]
    fn wake(&self) {
        self.number.set(coroutine::now());
        self.consumer.set(Consumer::Woken);
        if let Some(waker) = self.waker.take() {
            report::contain(Origin::Deferred, self.location, || waker.wake());
        }
    }

    /// The line is at its end: gives the result to the consumer.
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
                self.line
                    .take_last(|last| outer.line.with_last(|step| step.fill_from(last)));
                if debug::is_on() {
                    outer.line.with_last(|step| {
                        let added = step.location();
                        step.trace(&|| TraceFrame::Callback { added });
                    });
                }
                outer.waits_for.set(None);
                outer.stage.set(Stage::Fired);
                Some(outer)
            }
            Consumer::Member => self
                .line
                .take_last(|last| self.give_to_group(last))
                .flatten(),
            Consumer::Others => {
                self.stage.set(Stage::Passed);
                Some(self)
            }
            Consumer::Nobody { gave_up } => {
                let location = self.location;
                let take = |last: &dyn Slot| {
                    report::contain_rarely(Origin::Destructor, location, || last.take_failure())
                };
                if debug::is_on() {
                    self.trace();
                }
                if let Some(failure) = self.line.take_last(take).flatten().flatten() {
                    if !(gave_up && failure.find::<Cancelled>().is_some()) {
                        report::deliver(Origin::Deferred, failure, self.location);
                    }
                }
                None
            }
        }
    }
}

impl Sourced {
    pub(super) fn new(own: impl FnOnce() + 'static) -> Box<Self> {
        Self::leading_on(move || {
            own();
            None
        })
    }

    /// As `new`; what `own` gives is cancelled next, before the source is.
    pub(super) fn leading_on(own: impl FnOnce() -> Option<Rc<Core>> + 'static) -> Box<Self> {
        Box::new(Self {
            own: Box::new(own),
            also: None,
        })
    }

    /// Calls both, the user's first.
    fn call(self, location: &'static Location<'static>) -> (Result<(), Failure>, Option<Rc<Core>>) {
        let called = self
            .also
            .map_or(Ok(()), |f| report::catch_rarely(location, f));
        match report::catch_rarely(location, self.own) {
            Ok(next) => (called, next),
            Err(failure) => (called.and(Err(failure)), None),
        }
    }

    /// Calls only the source's.
    fn call_own(self, location: &'static Location<'static>) -> Option<Rc<Core>> {
        let next = report::contain_rarely(Origin::Canceller, location, self.own);
        report::discard(self.also, location);
        next.flatten()
    }

    fn discard(self, location: &'static Location<'static>) {
        report::discard(self.own, location);
        report::discard(self.also, location);
    }
}

fn discard_canceller(canceller: Option<Canceller>, location: &'static Location<'static>) {
    match canceller {
        Some(Canceller::Call(f)) => report::discard(f, location),
        Some(Canceller::Source(sourced)) => sourced.discard(location),
        Some(Canceller::Coroutine(coroutine)) => drop(coroutine),
        Some(Canceller::Waiter(waiter)) => report::discard(waiter, location),
        None => {}
    }
}
