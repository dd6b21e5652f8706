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
//!                      ▲                                     │ a step returned a Deferred
//!                      └──────────── Waiting ◀───────────────┘
//!                  the other core gave its result
//! ```
//!
//! | stage     | the result is                                            | what moves it on                |
//! |-----------|----------------------------------------------------------|---------------------------------|
//! | `Pending` | not there                                                | [`Core::fire`]                  |
//! | `Fired`   | with the step that ran last, or at the source            | [`advance`], unless paused      |
//! | `Running` | being used by a callback, further down this very stack   | that callback's return          |
//! | `Waiting` | at another core, whose consumer this one is              | that core's [`Core::hand_over`] |
//!
//! A `Pending` core may stand in a line (see `waiter`); it may then be *offered* its result, which is fetched when
//! the consumer asks.
//!
//! A core is *settled* when it is `Fired`, not paused and has no steps left: the consumer may take the result.
//!
//! # Invariants
//!
//! 1. [`advance`] is a loop over cores: neither a long chain of steps nor a long line of cores uses stack.
//! 2. A core that waits holds the other one weakly; the other one holds it strongly, as its consumer. So the
//!    source keeps alive everything that depends on it, and there is no cycle.
//! 3. A core whose last step returned a Deferred, and whose own consumer is another core or nobody, is taken
//!    out of the line: a loop written as "a callback that returns the next round" uses no memory.
//! 4. Nothing is borrowed while a callback, a canceller, a waker or a destructor runs, and nothing unwinds out
//!    of them: whoever calls into a core finds it whole, and gets back.
//! 5. A source fires once; what comes after a cancel is dropped without a word.
//! 6. No core waits, directly or through others, for itself.

mod waiter;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

pub(crate) use self::waiter::Giver;
use self::waiter::{Asking, Waiter};
use super::coroutine::{self, Coroutine, Verdict};
use super::line::Line;
use super::outcome::Outcome;
use super::{Abandoned, WaitsForItself};
use crate::failure::{Cancelled, Failure};
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
    line: Line,
    consumer: Cell<Consumer>,
    /// Set while the consumer is `Awaiting`.
    waker: Cell<Option<Waker>>,
    /// When it was woken, as a [tick](coroutine::now). Of use while the consumer is `Woken`.
    woken_at: Cell<u64>,
    /// Set while the consumer is `Then`: the core whose step returned this one.
    then: Cell<Option<Rc<Self>>>,
    /// Set in stage `Waiting` (invariant 2).
    waits_for: Cell<Option<Weak<Self>>>,
    /// Set only until the source fires.
    canceller: Cell<Option<Canceller>>,
    place: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Fired,
    Running,
    Waiting,
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
    /// Nobody; a failure is reported, but for the `Cancelled` of an await that was given up.
    Nobody { gave_up: bool },
}

/// What to do when the source is to be cancelled.
pub(super) enum Canceller {
    Call(Box<dyn FnOnce()>),
    Coroutine(Rc<Coroutine>),
    /// It stands in a line.
    Waiter(Box<Waiter>),
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

/// A place for a result, and what is to be done to fill it.
pub(super) trait Slot: 'static {
    /// Takes the result out of `before` and does the work with it. `Some` if the result is still to come,
    /// from that core.
    ///
    /// A source has nothing to do.
    fn run(&self, _before: &dyn Slot) -> Option<Rc<Core>> {
        None
    }

    /// The [`Place`] of the result. One that will never have a value need not have one.
    fn result(&self) -> &dyn Any;

    /// Takes over what stands in another place of the same type.
    fn fill_from(&self, other: &dyn Slot);

    /// Takes a failure as the result.
    fn fail(&self, failure: Failure);

    /// Empties it; gives the failure if there was one, and drops a value.
    fn take_failure(&self) -> Option<Failure>;

    /// Where it was made.
    fn location(&self) -> &'static Location<'static>;
}

/// Where a result is kept until it is taken.
type Place<T> = Cell<Option<Result<T, Failure>>>;

/// The value that a resolver brings.
struct Source<T> {
    result: Place<T>,
    location: &'static Location<'static>,
}

impl<T: 'static> Slot for Source<T> {
    fn result(&self) -> &dyn Any {
        &self.result
    }

    fn fill_from(&self, other: &dyn Slot) {
        self.result.set(take(other));
    }

    fn fail(&self, failure: Failure) {
        self.result.set(Some(Err(failure)));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.result.take()?.err()
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// The failure of a source that brings no value, whatever its type.
struct Lost {
    failure: Cell<Option<Failure>>,
    location: &'static Location<'static>,
}

impl Slot for Lost {
    fn result(&self) -> &dyn Any {
        &self.failure
    }

    fn fill_from(&self, other: &dyn Slot) {
        self.failure.set(other.take_failure());
    }

    fn fail(&self, failure: Failure) {
        self.failure.set(Some(failure));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.failure.take()
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// A callback, and the place of what it returned.
struct Callback<T, U, F> {
    result: Place<U>,
    /// Empty once it was called.
    f: Cell<Option<F>>,
    location: &'static Location<'static>,
    input: PhantomData<fn(T)>,
}

impl<T, U, F> Slot for Callback<T, U, F>
where
    T: 'static,
    U: 'static,
    F: FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> + 'static,
{
    fn run(&self, before: &dyn Slot) -> Option<Rc<Core>> {
        let f = self.f.take()?;
        let input = take(before)?;
        let result = match report::catch(self.location, || f(input, self.location)) {
            Ok(Outcome::Ready(result)) => result,
            Ok(Outcome::Wait(deferred)) => match deferred.into_core() {
                Ok(core) => return Some(core),
                Err(result) => result,
            },
            Err(failure) => Err(failure),
        };
        // There was none: nothing to drop.
        mem::forget(self.result.replace(Some(result)));
        None
    }

    fn result(&self) -> &dyn Any {
        &self.result
    }

    fn fill_from(&self, other: &dyn Slot) {
        self.result.set(take(other));
    }

    fn fail(&self, failure: Failure) {
        self.result.set(Some(Err(failure)));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.result.take()?.err()
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// Takes the result out of a place whose type the caller knows: the typed ends of a Deferred agree about it.
#[inline]
fn take<T: 'static>(slot: &dyn Slot) -> Option<Result<T, Failure>> {
    match slot.result().downcast_ref::<Place<T>>() {
        Some(place) => place.take(),
        None => slot.take_failure().map(Err),
    }
}

impl Core {
    pub(super) fn new(place: &'static Location<'static>) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Pending),
            cancelling: Cell::new(false),
            asking: Cell::new(Asking::No),
            pauses: Cell::new(0),
            line: Line::default(),
            consumer: Cell::new(Consumer::Holder),
            waker: Cell::new(None),
            woken_at: Cell::new(0),
            then: Cell::new(None),
            waits_for: Cell::new(None),
            canceller: Cell::new(None),
            place,
        })
    }

    /// Has the source fired, by itself or by a cancel?
    pub(super) fn has_fired(&self) -> bool {
        self.stage.get() != Stage::Pending
    }

    /// Brings the source's result and runs what can run. Does nothing when it was cancelled (invariant 5).
    pub(super) fn fire<T: 'static>(self: Rc<Self>, result: Result<T, Failure>) {
        self.drop_canceller();
        let place = self.place;
        if self.has_fired() {
            return report::discard(result, place);
        }
        let result = Cell::new(Some(result));
        self.fire_source(Source {
            result,
            location: place,
        });
    }

    /// Fires the source with a failure, as a cancel or the loss of its resolver does.
    pub(super) fn fail_source(self: Rc<Self>, failure: Failure) {
        self.drop_canceller();
        if !self.has_fired() {
            let (failure, location) = (Cell::new(Some(failure)), self.place);
            self.fire_source(Lost { failure, location });
        }
    }

    fn fire_source(self: Rc<Self>, source: impl Slot) {
        self.stage.set(Stage::Fired);
        if self.is_held_back() {
            self.line.put_source(source);
            advance(self);
        } else {
            let inner = self.run_steps(Some(&source));
            if let Some(next) = self.go_on(inner) {
                advance(next);
            }
        }
    }

    /// Adds a step at the end of the line.
    #[inline]
    pub(super) fn add<T: 'static, U: 'static>(
        &self,
        f: impl FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> + 'static,
        place: &'static Location<'static>,
    ) {
        self.line.push(|| Callback {
            result: Cell::new(None),
            f: Cell::new(Some(f)),
            location: place,
            input: PhantomData,
        });
    }

    /// The result, if it is settled. Afterwards the core is of no use.
    #[inline]
    pub(super) fn take_settled<T: 'static>(&self) -> Option<Result<T, Failure>> {
        if self.is_settled() {
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

    /// Can no step run when the source fires?
    fn is_held_back(&self) -> bool {
        self.pauses.get() > 0 || !self.has_steps()
    }

    /// Is there nobody to get the result, and nothing to be done with it?
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.consumer.get(), Consumer::Nobody { .. }) && !self.has_steps()
    }

    pub(super) fn place(&self) -> &'static Location<'static> {
        self.place
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

    /// How it stands to the task that awaits it.
    pub(super) fn awaited(&self) -> Awaited {
        match self.consumer.get() {
            Consumer::Awaiting => Awaited::Yes,
            Consumer::Woken => Awaited::Woken(self.woken_at.get()),
            _ => Awaited::No,
        }
    }

    /// What happens when the source is cancelled. Dropped at once when the source has fired.
    pub(super) fn set_canceller(&self, canceller: Canceller) {
        let canceller = match canceller {
            Canceller::Call(f) if self.asking.get() != Asking::No => match self.add_to_waiter(f) {
                Some(f) => Canceller::Call(f),
                None => return,
            },
            canceller => canceller,
        };
        let old = match self.stage.get() {
            Stage::Pending => self.canceller.replace(Some(canceller)),
            _ => Some(canceller),
        };
        discard_canceller(old, self.place);
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
        advance(self);
    }

    /// There is no more use for it. Its destructor, like everybody, finds the core whole.
    #[inline]
    fn drop_canceller(&self) {
        let canceller = self.canceller.take();
        if canceller.is_some() {
            discard_canceller(canceller, self.place);
        }
    }

    #[inline]
    fn has_steps(&self) -> bool {
        self.line.has_steps()
    }

    /// Runs all steps that can run, or comes to the end of the line. Gives the core to go on with.
    fn step(self: Rc<Self>) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Fired || self.pauses.get() > 0 {
            return None;
        }
        let inner = self.run_steps(None);
        self.go_on(inner)
    }

    /// What comes after [`Core::run_steps`].
    fn go_on(self: Rc<Self>, inner: Option<Rc<Self>>) -> Option<Rc<Self>> {
        match inner {
            Some(inner) => Some(self.wait_for(inner)),
            None if self.pauses.get() > 0 => None,
            None => self.hand_over(),
        }
    }

    /// Runs steps until there are none, one pauses the Deferred, or one has to wait; for what, is returned. The
    /// first gets what `source` has, unless one has run before.
    fn run_steps(&self, source: Option<&dyn Slot>) -> Option<Rc<Self>> {
        if !self.has_steps() {
            return None;
        }
        self.stage.set(Stage::Running);
        let inner = self.line.run(source, || self.pauses.get() == 0);
        self.stage.set(Stage::Fired);
        inner
    }

    /// The last step gave another core: goes on with that one.
    fn wait_for(self: Rc<Self>, inner: Rc<Self>) -> Rc<Self> {
        if self.is_awaited_by(&inner) {
            // Its Deferred was given to the callback that returned it.
            inner.set_consumer(Consumer::Nobody { gave_up: false }, inner.waker.take());
            self.line.with_last(|step| {
                step.fail(Failure::at(Box::new(WaitsForItself), step.location()));
            });
            return self;
        }
        let waker = inner.waker.take();
        let is_done = self.pauses.get() == 0 && !self.has_steps();
        let consumer = match self.consumer.get() {
            // Invariant 3.
            Consumer::Then if is_done => {
                let outer = self.then.take();
                if let Some(outer) = &outer {
                    outer.waits_for.set(Some(Rc::downgrade(&inner)));
                }
                inner.then.set(outer);
                Consumer::Then
            }
            nobody @ Consumer::Nobody { .. } if is_done => nobody,
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
            report::discard(old, self.place);
        }
    }

    /// Does `other` wait for this one, directly or through others, or are they the same (invariant 6)?
    ///
    /// Looks from both ends at once, so it takes as long as the shorter of the two lines: a line of a million
    /// can be built from either end.
    fn is_awaited_by(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        let (mut down, mut up) = (other.clone(), self.clone());
        while !Rc::ptr_eq(&down, self) && !Rc::ptr_eq(&up, other) {
            let (Some(lower), Some(upper)) = (down.awaited_core(), up.consuming_core()) else {
                return false;
            };
            (down, up) = (lower, upper);
        }
        true
    }

    /// The core it waits for.
    fn awaited_core(&self) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Waiting {
            return None;
        }
        let inner = self.waits_for.take();
        let core = inner.as_ref().and_then(Weak::upgrade);
        self.waits_for.set(inner);
        core
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
        self.woken_at.set(coroutine::now());
        self.consumer.set(Consumer::Woken);
        if let Some(waker) = self.waker.take() {
            report::contain(Origin::Deferred, self.place, || waker.wake());
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
                self.line
                    .take_last(|last| outer.line.with_last(|step| step.fill_from(last)));
                outer.waits_for.set(None);
                outer.stage.set(Stage::Fired);
                Some(outer)
            }
            Consumer::Nobody { gave_up } => {
                let place = self.place;
                let take = |last: &dyn Slot| {
                    report::contain(Origin::Destructor, place, || last.take_failure())
                };
                if let Some(failure) = self.line.take_last(take).flatten().flatten() {
                    if !(gave_up && failure.is::<Cancelled>()) {
                        report::deliver(Origin::Deferred, failure, self.place);
                    }
                }
                None
            }
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.stage.get() {
            _ if self.pauses.get() > 0 => "paused",
            Stage::Pending => "pending",
            Stage::Running => "running",
            Stage::Fired => "fired",
            Stage::Waiting => "waiting",
        };
        write!(f, "Deferred({state}, made at {}", self.place)?;
        if let Some(other) = self.awaited_core() {
            write!(f, ", waits for the one made at {}", other.place)?;
        }
        f.write_str(")")
    }
}

/// Runs everything that can run from here on (invariant 1).
pub(super) fn advance(core: Rc<Core>) {
    let mut next = Some(core);
    while let Some(core) = next {
        next = core.step();
    }
}

/// Cancels whatever `core` is waiting for at the end of the line. `place` is where somebody asked for it.
pub(super) fn cancel(core: &Rc<Core>, place: &'static Location<'static>) {
    let mut todo = vec![core.clone()];
    while let Some(mut core) = todo.pop() {
        while let Some(inner) = core.awaited_core() {
            core = inner;
        }
        if core.stage.get() != Stage::Pending {
            continue;
        }
        match core.canceller.take() {
            None => {}
            Some(Canceller::Call(f)) => {
                core.cancelling.set(true);
                let called = report::catch(core.place, f);
                core.cancelling.set(false);
                if let Err(failure) = called {
                    if core.stage.get() == Stage::Pending {
                        core.fail_source(failure);
                    } else {
                        report::deliver(Origin::Canceller, failure, core.place);
                    }
                    continue;
                }
            }
            Some(Canceller::Waiter(waiter)) => {
                waiter.give_up(core, place);
                continue;
            }
            Some(Canceller::Coroutine(coroutine)) => match coroutine.ask_to_stop() {
                Verdict::Stopped => {}
                Verdict::Decides(awaited) => {
                    // The coroutine is told where it waits, decides, and may be asked again.
                    core.canceller.set(Some(Canceller::Coroutine(coroutine)));
                    todo.extend(awaited);
                    continue;
                }
            },
        }
        core.fail_source(Failure::at(Box::new(Cancelled), place));
    }
}

fn discard_canceller(canceller: Option<Canceller>, place: &'static Location<'static>) {
    match canceller {
        Some(Canceller::Call(f)) => report::discard(f, place),
        Some(Canceller::Coroutine(coroutine)) => drop(coroutine),
        Some(Canceller::Waiter(waiter)) => report::discard(waiter, place),
        None => {}
    }
}

/// A resolver was dropped. Its steps may drop the next resolver, and so on for ever: one after another, not one
/// inside the other.
pub(super) fn abandon_source(core: Rc<Core>) {
    if core.cancelling.get() {
        return;
    }
    let nested = ABANDONED.try_with(|line| match &mut *line.borrow_mut() {
        Some(line) => {
            line.push_back(core.clone());
            true
        }
        none => {
            *none = Some(VecDeque::new());
            false
        }
    });
    if nested == Ok(true) {
        return;
    }
    let mut next = Some(core);
    while let Some(core) = next {
        let place = core.place;
        core.fail_source(Failure::at(Box::new(Abandoned), place));
        next = ABANDONED
            .try_with(|line| {
                let mut line = line.borrow_mut();
                let next = line.as_mut().and_then(VecDeque::pop_front);
                if next.is_none() {
                    *line = None;
                }
                next
            })
            .ok()
            .flatten();
    }
}

thread_local! {
    /// What is waiting to be abandoned, while something is being abandoned.
    static ABANDONED: RefCell<Option<VecDeque<Rc<Core>>>> = const { RefCell::new(None) };
}
