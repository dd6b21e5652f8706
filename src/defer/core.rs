//! The state machine under a [`Deferred`](super::Deferred): a source, a queue of steps, one consumer.
//!
//! # The idea
//!
//! A core is made for a *source* (the value a `Resolver` will bring) and is given *steps* one after another. A
//! step holds its callback and, once it has run, the value that came of it, so passing a value on means that
//! the next step takes it out of the step before: no box per value, one allocation per step, none more.
//!
//! # Stages
//!
//! ```text
//!            fire                     a step is taken
//! Pending ─────────▶ Fired ◀────────────────────────────▶ Running
//!                      ▲                                     │ the step returned a Deferred
//!                      └──────────── Waiting ◀───────────────┘
//!                  the other core gave its value
//! ```
//!
//! | stage     | the value is                                             | what moves it on                |
//! |-----------|----------------------------------------------------------|---------------------------------|
//! | `Pending` | not there                                                | [`Core::fire`]                  |
//! | `Fired`   | with the step that ran last, or at the source            | [`advance`], unless paused      |
//! | `Running` | being used by a callback, further down this very stack   | that callback's return          |
//! | `Waiting` | at another core, whose consumer this one is              | that core's [`Core::hand_over`] |
//!
//! A core is *settled* when it is `Fired`, not paused and has no steps left: the consumer may take the value.
//!
//! # Invariants
//!
//! 1. [`advance`] is a loop over cores: neither a long chain of steps nor a long line of cores uses stack.
//! 2. A core that waits holds the other one weakly; the other one holds it strongly, as its consumer. So the
//!    source keeps alive everything that depends on it, and there is no cycle.
//! 3. A core whose last step returned a Deferred, and whose own consumer is another core or nobody, is taken
//!    out of the line: a loop written as "a callback that returns the next round" uses no memory.
//! 4. Nothing is borrowed while a callback, a canceller or a destructor runs: all state is in `Cell`s.
//! 5. A source fires once; what comes after a cancel is dropped without a word.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

use super::coroutine::Coroutine;
use super::outcome::Outcome;
use super::{Abandoned, WaitsForItself};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// One Deferred, without its type. `S` is the type of the source's place while that is known.
pub(super) struct Core<S: ?Sized = dyn Slot> {
    stage: Cell<Stage>,
    /// How many [`Pause`](super::Pause)s are held.
    pauses: Cell<u32>,
    /// How many steps stand in `added` and `queue`.
    steps: Cell<usize>,
    /// Steps that were added, the newest first.
    added: Cell<Option<Box<Node>>>,
    /// Steps to run, the oldest first; all of them are older than those in `added`.
    queue: Cell<Option<Box<Node>>>,
    /// The step that ran last. It holds the value; while there is none, the source does.
    last: Cell<Option<Box<Node>>>,
    consumer: Cell<Consumer>,
    /// Set in stage `Waiting` (invariant 2).
    waits_for: Cell<Option<Weak<Core>>>,
    /// Set only until the source fires.
    canceller: Cell<Option<Canceller>>,
    place: &'static Location<'static>,
    source: S,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Fired,
    Running,
    Waiting,
}

/// Who gets the value in the end.
enum Consumer {
    /// Whoever holds the Deferred, in time.
    Holder,
    /// The same, and a task is waiting.
    Awaiting(Waker),
    /// The step of another core that returned this one.
    Then(Rc<Core>),
    /// Nobody; a failure is reported, but for the `Cancelled` that giving up an await has caused.
    Nobody { gave_up: bool },
}

/// What to do when the source is to be cancelled.
pub(super) enum Canceller {
    Call(Box<dyn FnOnce()>),
    Coroutine(Rc<Coroutine>),
}

/// A place for the result of a step or a source.
pub(super) trait Slot: 'static {
    /// For downcasting to [`Place`].
    fn as_any(&self) -> &dyn Any;
    /// Empties it; gives the failure if there was one, and drops a value.
    fn take_failure(&self) -> Option<Failure>;
    /// Takes over what stands in another place of the same type.
    fn fill_from(&self, other: &dyn Slot);
    fn fill_with_failure(&self, failure: Failure);
}

/// The one kind of [`Slot`].
pub(super) type Place<T> = Cell<Option<Result<T, Failure>>>;

impl<T: 'static> Slot for Place<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn take_failure(&self) -> Option<Failure> {
        self.take()?.err()
    }

    fn fill_from(&self, other: &dyn Slot) {
        self.set(take::<T>(other));
    }

    fn fill_with_failure(&self, failure: Failure) {
        self.set(Some(Err(failure)));
    }
}

/// Takes the result out of a place whose type the caller knows.
pub(super) fn take<T: 'static>(slot: &dyn Slot) -> Option<Result<T, Failure>> {
    slot.as_any()
        .downcast_ref::<Place<T>>()
        .expect("the typed ends prove the type")
        .take()
}

/// A step in the line.
pub(super) struct Node<S: ?Sized = dyn Step> {
    next: Option<Box<Node>>,
    step: S,
}

/// Something to do with the result so far.
pub(super) trait Step {
    /// Takes the result out of `input` and does its work. `Some` if what came of it is still to come, from
    /// that core.
    fn run(&mut self, input: &dyn Slot) -> Option<Rc<Core>>;
    /// Where the result is afterwards.
    fn output(&self) -> &dyn Slot;
}

/// The one kind of [`Step`].
struct Callback<T, U: 'static, F> {
    /// Empty once it was called.
    f: Option<F>,
    output: Place<U>,
    place: &'static Location<'static>,
    input: std::marker::PhantomData<fn(T)>,
}

impl<T: 'static, U: 'static, F: FnOnce(Result<T, Failure>) -> Outcome<U>> Step
    for Callback<T, U, F>
{
    fn run(&mut self, input: &dyn Slot) -> Option<Rc<Core>> {
        let f = self.f.take()?;
        let input = take::<T>(input)?;
        match report::catch(self.place, || f(input)) {
            Ok(Outcome::Ready(result)) => self.output.set(Some(result)),
            Err(failure) => self.output.set(Some(Err(failure))),
            Ok(Outcome::Wait(deferred)) => match deferred.into_core() {
                Ok(core) => return Some(core),
                Err(result) => self.output.set(Some(result)),
            },
        }
        None
    }

    fn output(&self) -> &dyn Slot {
        &self.output
    }
}

impl<T: 'static> Core<Place<T>> {
    pub(super) fn new(place: &'static Location<'static>) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Pending),
            pauses: Cell::new(0),
            steps: Cell::new(0),
            added: Cell::new(None),
            queue: Cell::new(None),
            last: Cell::new(None),
            consumer: Cell::new(Consumer::Holder),
            waits_for: Cell::new(None),
            canceller: Cell::new(None),
            place,
            source: Cell::new(None),
        })
    }

    /// Has the source fired, by itself or by a cancel?
    pub(super) fn has_fired(&self) -> bool {
        self.stage.get() != Stage::Pending
    }

    /// Brings the source's result and runs what can run. Does nothing when it was cancelled (invariant 5).
    pub(super) fn fire(self: Rc<Self>, result: Result<T, Failure>) {
        if self.stage.get() != Stage::Pending {
            return drop(result);
        }
        self.source.set(Some(result));
        fired(self);
    }
}

impl Core {
    /// Adds a step at the end of the line, and runs what can run.
    pub(super) fn add<T: 'static, U: 'static>(
        self: &Rc<Self>,
        f: impl FnOnce(Result<T, Failure>) -> Outcome<U> + 'static,
        place: &'static Location<'static>,
    ) {
        let step = Callback {
            f: Some(f),
            output: Cell::new(None),
            place,
            input: std::marker::PhantomData,
        };
        let node = Node {
            next: self.added.take(),
            step,
        };
        self.added.set(Some(Box::new(node)));
        self.steps.set(self.steps.get() + 1);
        if self.stage.get() == Stage::Fired {
            advance(self.clone());
        }
    }

    /// The result, if it is settled. Afterwards the core is of no use.
    pub(super) fn take_settled<T: 'static>(&self) -> Option<Result<T, Failure>> {
        if self.is_settled() {
            self.take_value()
        } else {
            None
        }
    }

    /// Is the value there for the consumer?
    pub(super) fn is_settled(&self) -> bool {
        self.stage.get() == Stage::Fired && self.pauses.get() == 0 && !self.has_steps()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pauses.get() > 0
    }

    pub(super) fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// Sets the task to wake when it is settled; `true` if no task was waiting before.
    pub(super) fn await_by(&self, waker: &Waker) -> bool {
        match self.consumer.replace(Consumer::Holder) {
            Consumer::Awaiting(old) if old.will_wake(waker) => {
                self.consumer.set(Consumer::Awaiting(old));
                false
            }
            old => {
                let first = !matches!(old, Consumer::Awaiting(_));
                self.consumer.set(Consumer::Awaiting(waker.clone()));
                drop(old);
                first
            }
        }
    }

    /// Is a task waiting for it that has not been given it?
    pub(super) fn is_awaited(&self) -> bool {
        let consumer = self.consumer.replace(Consumer::Holder);
        let awaited = matches!(consumer, Consumer::Awaiting(_));
        self.consumer.set(consumer);
        awaited
    }

    /// What happens when the source is cancelled. Dropped at once when the source has fired.
    pub(super) fn set_canceller(&self, canceller: Canceller) {
        let old = match self.stage.get() {
            Stage::Pending => self.canceller.replace(Some(canceller)),
            _ => Some(canceller),
        };
        discard_canceller(old, self.place);
    }

    pub(super) fn pause(&self) {
        self.pauses.set(self.pauses.get() + 1);
    }

    pub(super) fn unpause(self: &Rc<Self>) {
        self.pauses.set(self.pauses.get() - 1);
        advance(self.clone());
    }

    /// The Deferred was dropped: nobody will ask for the value.
    pub(super) fn abandon(self: Rc<Self>, gave_up: bool) {
        let old = self.consumer.replace(Consumer::Nobody { gave_up });
        drop(old);
        advance(self);
    }

    /// Fires the source with a failure, as a cancel or the loss of its resolver does.
    pub(super) fn fail_source(self: Rc<Self>, failure: Failure) {
        if self.stage.get() == Stage::Pending {
            self.source.fill_with_failure(failure);
            fired(self);
        }
    }

    fn has_steps(&self) -> bool {
        self.steps.get() > 0
    }

    fn next_step(&self) -> Option<Box<Node>> {
        let mut first = self.queue.take();
        if first.is_none() {
            let mut added = self.added.take();
            while let Some(mut node) = added {
                added = node.next.take();
                node.next = first;
                first = Some(node);
            }
        }
        let mut first = first?;
        self.queue.set(first.next.take());
        self.steps.set(self.steps.get() - 1);
        Some(first)
    }

    fn take_value<T: 'static>(&self) -> Option<Result<T, Failure>> {
        match self.last.take() {
            Some(node) => take(node.step.output()),
            None => take(&self.source),
        }
    }

    /// Does one thing: a step, or the end of the line. Gives the core to go on with.
    fn step(self: Rc<Self>) -> Option<Rc<Self>> {
        if self.stage.get() != Stage::Fired || self.pauses.get() > 0 {
            return None;
        }
        let Some(mut node) = self.next_step() else {
            return self.hand_over();
        };
        self.stage.set(Stage::Running);
        let before = self.last.take();
        let waits_for = match &before {
            Some(before) => node.step.run(before.step.output()),
            None => node.step.run(&self.source),
        };
        // Its callback and its value are used up: this runs no user code.
        drop(before);
        match waits_for {
            None => {
                self.last.set(Some(node));
                self.stage.set(Stage::Fired);
                Some(self)
            }
            Some(inner) if Rc::ptr_eq(&inner, &self) => {
                node.step.output().fill_with_failure(WaitsForItself.into());
                self.last.set(Some(node));
                self.stage.set(Stage::Fired);
                Some(self)
            }
            Some(inner) => {
                self.last.set(Some(node));
                Some(self.wait_for(inner))
            }
        }
    }

    /// The last step gave another core: goes on with that one.
    fn wait_for(self: Rc<Self>, inner: Rc<Self>) -> Rc<Self> {
        let consumer = self.consumer.replace(Consumer::Holder);
        let old = match consumer {
            // Invariant 3.
            Consumer::Then(outer) if !self.has_steps() && self.pauses.get() == 0 => {
                outer.waits_for.set(Some(Rc::downgrade(&inner)));
                inner.consumer.replace(Consumer::Then(outer))
            }
            Consumer::Nobody { .. } if !self.has_steps() && self.pauses.get() == 0 => {
                inner.consumer.replace(consumer)
            }
            _ => {
                self.consumer.set(consumer);
                self.stage.set(Stage::Waiting);
                self.waits_for.set(Some(Rc::downgrade(&inner)));
                inner.consumer.replace(Consumer::Then(self))
            }
        };
        drop(old);
        inner
    }

    /// The line is at its end: gives the value to the consumer.
    fn hand_over(self: Rc<Self>) -> Option<Rc<Self>> {
        match self.consumer.replace(Consumer::Holder) {
            Consumer::Holder => None,
            Consumer::Awaiting(waker) => {
                waker.wake();
                None
            }
            Consumer::Then(outer) => {
                let target = outer.last.take();
                let last = self.last.take();
                if let Some(target) = &target {
                    let value = last
                        .as_ref()
                        .map_or(&self.source as &dyn Slot, |node| node.step.output());
                    target.step.output().fill_from(value);
                }
                outer.last.set(target);
                outer.waits_for.set(None);
                outer.stage.set(Stage::Fired);
                Some(outer)
            }
            Consumer::Nobody { gave_up } => {
                let last = self.last.take();
                let mut failure = None;
                report::contain(Origin::Destructor, self.place, || {
                    failure = match &last {
                        Some(node) => node.step.output().take_failure(),
                        None => self.source.take_failure(),
                    };
                });
                // Whoever comes by later (an unpause, say) finds nobody and nothing.
                self.consumer.set(Consumer::Nobody { gave_up });
                if let Some(failure) = failure {
                    if !(gave_up && failure.is::<Cancelled>()) {
                        report::deliver(Origin::Deferred, failure, self.place);
                    }
                }
                None
            }
        }
    }
}

impl<S: ?Sized> Drop for Core<S> {
    /// Only a core whose resolver was leaked still has steps; they leave one by one, not one inside the other.
    fn drop(&mut self) {
        for list in [self.queue.take(), self.added.take()] {
            let mut list = list;
            while let Some(mut node) = list {
                list = node.next.take();
                report::discard(node, self.place);
            }
        }
    }
}

/// Runs everything that can run from here on (invariant 1).
pub(super) fn advance(core: Rc<Core>) {
    let mut next = Some(core);
    while let Some(core) = next {
        next = core.step();
    }
}

/// Cancels whatever `core` is waiting for at the end of the line.
pub(super) fn cancel(core: &Rc<Core>) {
    let mut todo = vec![core.clone()];
    while let Some(mut core) = todo.pop() {
        while core.stage.get() == Stage::Waiting {
            let inner = core.waits_for.take();
            let other = inner.as_ref().and_then(Weak::upgrade);
            core.waits_for.set(inner);
            let Some(other) = other else { break };
            core = other;
        }
        if core.stage.get() != Stage::Pending {
            continue;
        }
        match core.canceller.take() {
            None => {}
            Some(Canceller::Call(f)) => {
                if let Err(failure) = report::catch(core.place, f) {
                    core.fail_source(failure);
                    continue;
                }
            }
            Some(Canceller::Coroutine(coroutine)) => {
                let awaited = coroutine.awaited();
                if !awaited.is_empty() {
                    // The coroutine is told where it waits, decides, and may be asked again.
                    core.canceller.set(Some(Canceller::Coroutine(coroutine)));
                    todo.extend(awaited);
                    continue;
                }
                coroutine.stop();
            }
        }
        if core.stage.get() == Stage::Pending {
            core.fail_source(Failure::at(Box::new(Cancelled), Location::caller()));
        }
    }
}

/// The source has its result: lets go of the canceller, then runs what can run.
fn fired(core: Rc<Core>) {
    core.stage.set(Stage::Fired);
    discard_canceller(core.canceller.take(), core.place);
    advance(core);
}

fn discard_canceller(canceller: Option<Canceller>, place: &'static Location<'static>) {
    match canceller {
        Some(Canceller::Call(f)) => report::discard(f, place),
        Some(Canceller::Coroutine(coroutine)) => drop(coroutine),
        None => {}
    }
}

/// A resolver was dropped. Its steps may drop the next resolver, and so on for ever: one after another, not one
/// inside the other.
pub(super) fn abandon_source(core: Rc<Core>) {
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
        core.fail_source(Failure::at(Box::new(Abandoned), Location::caller()));
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

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.stage.get() {
            _ if self.is_paused() => "paused",
            Stage::Pending => "pending",
            Stage::Running => "running",
            Stage::Fired => "fired",
            Stage::Waiting => "waiting",
        };
        write!(f, "Deferred({state}, made at {}", self.place)?;
        let inner = self.waits_for.take();
        let other = inner.as_ref().and_then(Weak::upgrade);
        self.waits_for.set(inner);
        if let Some(other) = other {
            write!(f, ", waits for the one made at {}", other.place)?;
        }
        f.write_str(")")
    }
}
