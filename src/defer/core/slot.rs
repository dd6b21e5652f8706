//! Slots for results: the entries of a callback queue, and the sources before it.
//!
//! # Ownership
//!
//! A slot owns its result until the next slot, or the consumer, takes it. A queue, or the stack of
//! the code that fires, owns the slot.

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::rc::Rc;

use super::super::outcome::Outcome;
use super::Core;
use super::group::Group;
use crate::cells;
use crate::debug;
use crate::failure::{Failure, TraceFrame};
use crate::report;

/// A slot for a result, and the work that fills it.
pub(in crate::defer) trait Slot: 'static {
    /// Takes the result out of `before` and runs the step on it. Returns the core that will have
    /// the result, if it is not here yet.
    ///
    /// A source has no work.
    fn run(&self, _before: &dyn Slot) -> Option<Rc<Core>> {
        None
    }

    /// Returns the [`Place`] of the result. A slot that never has a value need not have one.
    fn result(&self) -> &dyn Any;

    /// Returns the same place, for what does not depend on the slot's own type.
    fn place(&self) -> &dyn AnyPlace;

    /// Returns the group that this slot is, if it is one.
    fn group(&self) -> Option<&(dyn Group + 'static)> {
        None
    }

    /// Returns the cores that this slot fired when it ran and that have not run their steps.
    fn fired(&self) -> Vec<Rc<Core>> {
        Vec::new()
    }

    /// Returns the line where the slot's Deferred was made.
    fn location(&self) -> &'static Location<'static>;
}

/// The storage of a result, compiled once for each type of result: there are far more types of
/// callbacks.
pub(in crate::defer) trait AnyPlace {
    /// Takes over the content of another slot of the same type.
    fn fill_from(&self, other: &dyn Slot);

    /// Stores a failure as the result.
    fn fail(&self, failure: Failure);

    /// Empties the place; returns the failure if there was one, and drops a value.
    fn take_failure(&self) -> Option<Failure>;

    /// Adds a frame to the trace of the failure in the place, if there is one.
    fn trace(&self, frame: &dyn Fn() -> TraceFrame);
}

/// The storage of a result until it is taken.
pub(in crate::defer) type Place<T> = Cell<Option<Result<T, Failure>>>;

/// The source that a resolver fills.
pub(super) struct Source<T> {
    result: Place<T>,
    location: &'static Location<'static>,
}

impl<T> Source<T> {
    #[inline]
    pub(super) fn new(result: Result<T, Failure>, location: &'static Location<'static>) -> Self {
        let result = Cell::new(Some(result));
        Self { result, location }
    }
}

impl<T: 'static> Slot for Source<T> {
    fn result(&self) -> &dyn Any {
        &self.result
    }

    fn place(&self) -> &dyn AnyPlace {
        &self.result
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// The failure of a source that brings no value, whatever its type.
pub(super) struct FailedSource {
    failure: Cell<Option<Failure>>,
    location: &'static Location<'static>,
}

impl FailedSource {
    pub(super) fn new(failure: Failure, location: &'static Location<'static>) -> Self {
        let failure = Cell::new(Some(failure));
        Self { failure, location }
    }
}

impl Slot for FailedSource {
    fn result(&self) -> &dyn Any {
        &self.failure
    }

    fn place(&self) -> &dyn AnyPlace {
        &self.failure
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// A callback, and the storage of what it returned.
pub(super) struct Callback<T, U, F> {
    result: Place<U>,
    /// `None` once it was called.
    f: Cell<Option<F>>,
    location: &'static Location<'static>,
    input: PhantomData<fn(T)>,
}

impl<T, U, F> Callback<T, U, F> {
    #[inline]
    pub(super) fn new(f: F, location: &'static Location<'static>) -> Self {
        Self {
            result: Cell::new(None),
            f: Cell::new(Some(f)),
            location,
            input: PhantomData,
        }
    }
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
        let outcome = report::catch(self.location, || f(input, self.location));
        store(&self.result, outcome, self.location)
    }

    fn result(&self) -> &dyn Any {
        &self.result
    }

    fn place(&self) -> &dyn AnyPlace {
        &self.result
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// Stores the result of a callback in `place`, which is empty. If the result is still to come,
/// returns the core that will have it.
fn store<U: 'static>(
    place: &Place<U>,
    outcome: Result<Outcome<U>, Failure>,
    location: &'static Location<'static>,
) -> Option<Rc<Core>> {
    let mut result = match outcome {
        Ok(Outcome::Ready(result)) => result,
        Ok(Outcome::Wait(deferred)) => match deferred.into_core() {
            Ok(core) => return Some(core),
            Err(result) => result,
        },
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        went_through_callback(&mut result, location);
    }
    // The place was empty: nothing has to be dropped.
    mem::forget(place.replace(Some(result)));
    None
}

/// A callback that uses the resolvers of other cores.
pub(super) struct FireResolvers<T, F> {
    /// `None` once it was called.
    f: Cell<Option<F>>,
    fired: Cell<Vec<Rc<Core>>>,
    location: &'static Location<'static>,
    input: PhantomData<fn(T)>,
}

impl<T, F> FireResolvers<T, F> {
    pub(super) fn new(f: F, location: &'static Location<'static>) -> Self {
        Self {
            f: Cell::new(Some(f)),
            fired: Cell::default(),
            location,
            input: PhantomData,
        }
    }
}

impl<T, F> Slot for FireResolvers<T, F>
where
    T: 'static,
    F: FnOnce(Result<T, Failure>) -> Vec<Rc<Core>> + 'static,
{
    fn run(&self, before: &dyn Slot) -> Option<Rc<Core>> {
        let f = self.f.take()?;
        let input = take(before)?;
        self.fired.set(f(input));
        None
    }

    fn result(&self) -> &dyn Any {
        &self.fired
    }

    fn place(&self) -> &dyn AnyPlace {
        &NoPlace
    }

    fn fired(&self) -> Vec<Rc<Core>> {
        self.fired.take()
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl<T: 'static> AnyPlace for Place<T> {
    fn fill_from(&self, other: &dyn Slot) {
        self.set(take(other));
    }

    fn fail(&self, failure: Failure) {
        self.set(Some(Err(failure)));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.take()?.err()
    }

    fn trace(&self, frame: &dyn Fn() -> TraceFrame) {
        cells::with(self, |result| {
            if let (Some(Err(failure)), true) = (result, debug::IS_BUILT) {
                failure.went_through(frame());
            }
        });
    }
}

impl AnyPlace for Cell<Option<Failure>> {
    fn fill_from(&self, other: &dyn Slot) {
        self.set(other.place().take_failure());
    }

    fn fail(&self, failure: Failure) {
        self.set(Some(failure));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.take()
    }

    fn trace(&self, frame: &dyn Fn() -> TraceFrame) {
        cells::with(self, |failure| {
            if let (Some(failure), true) = (failure, debug::IS_BUILT) {
                failure.went_through(frame());
            }
        });
    }
}

/// The place of a slot that has no result.
struct NoPlace;

impl AnyPlace for NoPlace {
    fn fill_from(&self, _: &dyn Slot) {}

    fn fail(&self, _: Failure) {}

    fn take_failure(&self) -> Option<Failure> {
        None
    }

    fn trace(&self, _: &dyn Fn() -> TraceFrame) {}
}

/// Adds a callback to the trace of a failure that skipped it, or that it returned.
#[cold]
#[inline(never)]
pub(in crate::defer) fn went_through_callback<T>(
    result: &mut Result<T, Failure>,
    added: &'static Location<'static>,
) {
    if let (Err(failure), true) = (result, debug::is_on()) {
        failure.went_through(TraceFrame::Callback { added });
    }
}

/// Takes the result out of a slot whose type the caller knows: the typed ends of a Deferred agree
/// on it.
#[inline]
pub(in crate::defer) fn take<T: 'static>(slot: &dyn Slot) -> Option<Result<T, Failure>> {
    match slot.result().downcast_ref::<Place<T>>() {
        Some(place) => place.take(),
        None => slot.place().take_failure().map(Err),
    }
}
