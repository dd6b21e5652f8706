//! Several Deferreds at once: [`list`], [`gather`], [`race`], [`first`], and the [`DeferredList`]
//! behind them.
//!
//! # The idea
//!
//! Each of these functions takes *members* and has one outcome. A member that is a Deferred is used
//! as it is: there is no task, reactor or callback between it and the list. Any other future runs
//! as by [`Deferred::from_future`].
//!
//! | function | value | failure | without members |
//! |---|---|---|---|
//! | [`list`] | all results, in the members' order | never | `[]` |
//! | [`gather`] | all values, in the members' order | [`FirstError`], at the first failure | `[]` |
//! | [`race`] | the first value and its index | [`FailureGroup`], when all have failed | [`DeferredError::Empty`] |
//! | [`first`] | the first result and its index | never by a member | [`DeferredError::Empty`] |
//!
//! # Rules
//!
//! 1. **The remaining members are cancelled** when the outcome is decided before all members are
//!    done, in their order and before the outcome's own callbacks run; not with
//!    [`DeferredList::let_rest_run`]. Locks, semaphores and queues grant nothing until all are
//!    cancelled, so a member that waits for another is not started.
//! 2. **Cancelling the outcome** cancels every member that is not done, whatever the other members'
//!    cancellers do. The members' results then decide the outcome as usual; but a failure that is
//!    [`Cancelled`] only for this reason is passed on as it is, not inside another error. (Only
//!    [`list`] returns it as that member's result.) Once the outcome is decided, cancelling does
//!    nothing.
//! 3. **A failure that is part of the outcome**, or came before a race was won, counts as handled
//!    by the outcome. A later failure is reported, with the line where the member was made; only
//!    the [`Cancelled`] of a member that was cancelled by rule 1 is dropped.
//! 4. **Members that are done already** count in their order.
//!
//! # Ownership
//!
//! The members own the list (see `core`): it lives as long as one of them can still have a result.
//! Values that are not part of the outcome are dropped when it is decided.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::ControlFlow;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::vec;

use super::core::{self, AnyPlace, Core, GrantHold, Group, Place, Rest, Slot, take};
use super::make::ensure_at;
use super::{Deferred, DeferredError, State, tracker};
use crate::debug;
use crate::failure::{Cancelled, Causes, Failure};
use crate::report;

/// Waits for every result, and returns them in the members' order. Never fails.
///
/// Cancelling the returned Deferred cancels the members that are not done, and returns the results
/// of all. The rules of [`DeferredList`] hold.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, Failure, defer};
///
/// let members = [Deferred::succeed(1), Deferred::fail(Failure::new("no")), Deferred::succeed(3)];
/// defer::list(members).add_callback(|results| {
///     assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
/// });
/// ```
#[track_caller]
pub fn list<T, F>(members: impl IntoIterator<Item = F>) -> Deferred<Vec<Result<T, Failure>>>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    DeferredList::new(members).all()
}

/// Waits for every value, and returns them in the members' order; fails at the first failure and
/// cancels the remaining members.
///
/// # Errors
///
/// Fails with [`FirstError`], which has the index and the failure of the member; [`Failure::find`]
/// searches the member's failure too. The rules of [`DeferredList`] hold.
///
/// # Examples
///
/// ```
/// use torsade::defer::{self, FirstError};
/// use torsade::{Deferred, Failure};
///
/// let (slow, resolver) = Deferred::pair();
/// defer::gather([Deferred::succeed(1), slow]).add_callback(|sum| assert_eq!(sum, [1, 2]));
/// resolver.callback(2);
///
/// let (slow, resolver) = Deferred::<u32>::pair();
/// defer::gather([slow, Deferred::fail(Failure::new("no"))])
///     .add_errback(|failure| {
///         assert_eq!(failure.trap::<FirstError>()?.index(), 1);
///         Ok(Vec::new())
///     })
///     .add_callback(|values| assert!(values.is_empty()));
/// assert!(resolver.is_cancelled());
/// ```
#[track_caller]
pub fn gather<T, F>(members: impl IntoIterator<Item = F>) -> Deferred<Vec<T>>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    DeferredList::new(members).gather()
}

/// Waits for the first value, returns it with the index of its member, and cancels the remaining
/// members.
///
/// Failures before the first value are dropped without a report, and are returned only if all
/// members fail. The rules of [`DeferredList`] hold.
///
/// # Errors
///
/// Fails with [`FailureGroup`] when all members have failed, and with [`DeferredError::Empty`] when
/// there are no members.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, Failure, defer};
///
/// let (slow, resolver) = Deferred::pair();
/// let winner = defer::race([slow, Deferred::fail(Failure::new("no")), Deferred::succeed("me")]);
/// winner.add_callback(|winner| assert_eq!(winner, (2, "me")));
/// assert!(resolver.is_cancelled());
/// ```
#[track_caller]
pub fn race<T, F>(members: impl IntoIterator<Item = F>) -> Deferred<(usize, T)>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    DeferredList::new(members).race()
}

/// Waits for the first result, value or failure, returns it with the index of its member, and
/// cancels the remaining members. The rules of [`DeferredList`] hold.
///
/// # Errors
///
/// Fails with [`DeferredError::Empty`] when there are no members.
///
/// # Examples
///
/// ```
/// use torsade::{Deferred, Failure, defer};
///
/// let (slow, _resolver) = Deferred::<u32>::pair();
/// defer::first([slow, Deferred::fail(Failure::new("no"))]).add_callback(|(index, result)| {
///     assert_eq!(index, 1);
///     assert!(result.is_err());
/// });
/// ```
#[track_caller]
pub fn first<T, F>(members: impl IntoIterator<Item = F>) -> Deferred<(usize, Result<T, Failure>)>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    DeferredList::new(members).first()
}

/// A set of Deferreds, its *members*, to be waited for together: what is behind [`list`],
/// [`gather`], [`race`] and [`first`], with the choice of what happens to members whose results are
/// not needed.
///
/// # Rules
///
/// 1. When the outcome is decided before all members are done, the remaining members are cancelled,
///    in their order, before the callbacks of the outcome run. Locks, semaphores and queues grant
///    nothing until all are cancelled, so a member that waits for another is not started. After
///    [`let_rest_run`](Self::let_rest_run) they continue instead.
/// 2. Cancelling the returned Deferred cancels every member that is not done. The results of the
///    members then decide the outcome as usual; but a [`Cancelled`] that a member has only for this
///    reason is returned as it is, not inside a [`FirstError`] or [`FailureGroup`].
/// 3. A failure that is part of the outcome, or that came before a race was won, counts as handled.
///    A later failure is [reported](crate::report), except the [`Cancelled`] of rule 1.
/// 4. Members that are done already count in their order.
///
/// Twisted's `DeferredList` is `all()`; with `fireOnOneCallback` it is `let_rest_run().race()`, and
/// with `fireOnOneErrback` it is `let_rest_run().gather()`.
///
/// # Examples
///
/// ```
/// use torsade::Deferred;
/// use torsade::defer::DeferredList;
///
/// let (slow, resolver) = Deferred::pair();
/// let slow = slow.add_callback(|n| {
///     println!("was not cancelled"); // is printed
///     Ok(n)
/// });
/// DeferredList::new([slow, Deferred::succeed(2)])
///     .let_rest_run()
///     .race()
///     .add_callback(|winner| assert_eq!(winner, (1, 2)));
/// resolver.callback(1);
/// ```
#[must_use = "a list does nothing until one of its methods is called"]
pub struct DeferredList<T: 'static> {
    members: Vec<Deferred<T>>,
    /// Whether the remaining members are cancelled when the outcome is decided.
    cancels: bool,
    location: &'static Location<'static>,
}

impl<T: 'static> DeferredList<T> {
    /// Makes a set of these members. A future that is not a Deferred is started now, as by
    /// [`Deferred::from_future`].
    ///
    /// # Panics
    ///
    /// Panics when the iterator panics; the members it has returned by then are cancelled.
    #[track_caller]
    pub fn new<F>(members: impl IntoIterator<Item = F>) -> Self
    where
        F: Future<Output = Result<T, Failure>> + 'static,
    {
        let location = Location::caller();
        let inputs = members.into_iter();
        let mut taken = Taken(Vec::with_capacity(inputs.size_hint().0));
        for input in inputs {
            taken.0.push(ensure_at(input, location).unpolled());
        }
        Self {
            members: mem::take(&mut taken.0),
            cancels: true,
            location,
        }
    }

    /// Lets the remaining members run when the outcome is decided, instead of cancelling them.
    #[doc(alias("fireOnOneCallback", "fireOnOneErrback"))]
    pub fn let_rest_run(mut self) -> Self {
        self.cancels = false;
        self
    }

    /// Waits for every result, as [`list`] does.
    pub fn all(self) -> Deferred<Vec<Result<T, Failure>>> {
        self.start::<All>()
    }

    /// Waits for every value, as [`gather`] does.
    pub fn gather(self) -> Deferred<Vec<T>> {
        self.start::<Gather>()
    }

    /// Waits for the first value, as [`race`] does.
    pub fn race(self) -> Deferred<(usize, T)> {
        self.start::<Race>()
    }

    /// Waits for the first result, as [`first`] does.
    pub fn first(self) -> Deferred<(usize, Result<T, Failure>)> {
        self.start::<First>()
    }

    fn start<R: Rule<T>>(self) -> Deferred<R::Outcome> {
        let Self {
            members,
            cancels,
            location,
        } = self;
        let mut slots = Vec::with_capacity(members.len());
        let mut members = members.into_iter();
        // The members that are not done. Code that runs while another member is polled may fire
        // them.
        let mut waiting = Vec::with_capacity(members.len());
        // The members whose result was available already, in debug mode.
        let mut had = Vec::new();
        while let Some(member) = members.next() {
            let index = slots.len();
            let result = match member.into_core() {
                Err(result) => result,
                Ok(core) => match core.notify_and_take() {
                    Some(result) => {
                        had.extend(debug::is_on().then_some(core));
                        result
                    }
                    None => {
                        slots.push(Member::Waits(Rc::downgrade(&core)));
                        waiting.push((index, core));
                        continue;
                    }
                },
            };
            match R::take(index, result, false) {
                ControlFlow::Continue(result) => slots.push(Member::Has(result)),
                ControlFlow::Break(outcome) => {
                    let outcome = Deferred::settled(outcome, location);
                    drop_others(slots, members, cancels, location);
                    return outcome;
                }
            }
        }
        if waiting.is_empty() {
            let outcome = R::sum_up(&mut slots, false, location);
            return Deferred::settled(outcome, location);
        }
        let group = Core::new(location);
        for core in &had {
            tracker::moved(core, &group);
        }
        group.gather(Gathering::<T, R> {
            outcome: Cell::new(None),
            slots: RefCell::new(slots),
            missing: Cell::new(waiting.len()),
            was_cancelled: Cell::new(false),
            cancels,
            location,
            rule: PhantomData,
        });
        for (index, core) in &waiting {
            core.join(&group, *index);
        }
        for (_, core) in waiting {
            core.give_present_result();
        }
        Deferred {
            state: State::Linked(group),
            polled: false,
        }
    }
}

/// The error of [`gather`]: the index and the failure of the first member that failed.
///
/// Its source is the member's own error, so [`Failure::find`] and [`Failure::chain`] reach that
/// error.
#[derive(Debug)]
pub struct FirstError {
    index: usize,
    failure: Failure,
}

impl FirstError {
    /// Returns the index of the member, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the member's failure.
    #[doc(alias = "subFailure")]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

/// The error of [`race`]: all members failed.
#[derive(Debug)]
pub struct FailureGroup {
    failures: Vec<Failure>,
}

impl FailureGroup {
    /// Returns the members' failures, in the members' order.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl<T: 'static> fmt::Debug for DeferredList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

/// Two are equal if they hold the same failure of the same member.
impl PartialEq for FirstError {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.failure().ptr_eq(other.failure())
    }
}

impl fmt::Display for FirstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} failed", self.index)
    }
}

impl Error for FirstError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause: &(dyn Error + 'static) = self.failure().error();
        Some(cause)
    }
}

impl fmt::Display for FailureGroup {
    /// Writes all failures in one line, since an error has one source at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Groups inside groups are written without recursion: they may be nested deeply.
        let mut open = vec![(self, 0)];
        let mut shown = 0;
        write!(f, "all {} failed", self.failures.len())?;
        while let Some((group, next)) = open.last_mut() {
            let (at, count) = (*next, group.failures.len());
            *next += 1;
            let is_shown = at < MAX_FAILURES && shown < MAX_FAILURES_IN_ALL;
            let Some(failure) = group.failures.get(at).filter(|_| is_shown) else {
                if at < count && at > 0 {
                    write!(f, "; and {} more", count - at)?;
                }
                open.pop();
                continue;
            };
            shown += 1;
            for (level, error) in failure.chain().enumerate() {
                f.write_str(match level {
                    0 if at > 0 => "; ",
                    _ => ": ",
                })?;
                match error.downcast_ref::<Self>() {
                    Some(inner) => {
                        write!(f, "all {} failed", inner.failures.len())?;
                        open.push((inner, 0));
                        break;
                    }
                    None => write!(f, "{error}")?,
                }
            }
        }
        Ok(())
    }
}

impl Error for FailureGroup {}

// The types hold failures, and `?` converts them into a `Failure`.
impl Unpin for FirstError {}
impl Unpin for FailureGroup {}

/// The members that an iterator has returned so far. Dropped, it cancels them.
struct Taken<T: 'static>(Vec<Deferred<T>>);

impl<T: 'static> Drop for Taken<T> {
    fn drop(&mut self) {
        let _hold = GrantHold::new();
        for member in self.0.drain(..) {
            drop_member(member, true);
        }
    }
}

/// The rule that decides the outcome of a list.
trait Rule<T>: 'static {
    type Outcome: 'static;

    /// Decides the outcome from a member's result, or returns the result to be stored.
    fn take(
        index: usize,
        result: Result<T, Failure>,
        was_cancelled: bool,
    ) -> ControlFlow<Result<Self::Outcome, Failure>, Result<T, Failure>>;

    /// Makes the outcome of all stored results. It takes what it needs out of `slots`.
    fn sum_up(
        slots: &mut Vec<Member<T>>,
        was_cancelled: bool,
        location: &'static Location<'static>,
    ) -> Result<Self::Outcome, Failure>;
}

struct All;
struct Gather;
struct Race;
struct First;

impl<T: 'static> Rule<T> for All {
    type Outcome = Vec<Result<T, Failure>>;

    fn take(
        _: usize,
        result: Result<T, Failure>,
        _: bool,
    ) -> ControlFlow<Result<Self::Outcome, Failure>, Result<T, Failure>> {
        ControlFlow::Continue(result)
    }

    fn sum_up(
        slots: &mut Vec<Member<T>>,
        _: bool,
        _: &'static Location<'static>,
    ) -> Result<Self::Outcome, Failure> {
        let slots = mem::take(slots).into_iter();
        Ok(slots.filter_map(Member::into_result).collect())
    }
}

impl<T: 'static> Rule<T> for Gather {
    type Outcome = Vec<T>;

    #[inline]
    fn take(
        index: usize,
        result: Result<T, Failure>,
        was_cancelled: bool,
    ) -> ControlFlow<Result<Self::Outcome, Failure>, Result<T, Failure>> {
        match result {
            Ok(_) => ControlFlow::Continue(result),
            Err(failure) if was_cancelled && failure.find::<Cancelled>().is_some() => {
                ControlFlow::Break(Err(failure))
            }
            Err(failure) => {
                let (location, causes) = (failure.location(), Causes::from_iter([&failure]));
                let error = Box::new(FirstError { index, failure });
                ControlFlow::Break(Err(Failure::made_from(causes, error, location)))
            }
        }
    }

    fn sum_up(
        slots: &mut Vec<Member<T>>,
        _: bool,
        _: &'static Location<'static>,
    ) -> Result<Self::Outcome, Failure> {
        let results = mem::take(slots).into_iter().filter_map(Member::into_result);
        results.collect()
    }
}

impl<T: 'static> Rule<T> for Race {
    type Outcome = (usize, T);

    fn take(
        index: usize,
        result: Result<T, Failure>,
        _: bool,
    ) -> ControlFlow<Result<Self::Outcome, Failure>, Result<T, Failure>> {
        match result {
            Ok(value) => ControlFlow::Break(Ok((index, value))),
            Err(_) => ControlFlow::Continue(result),
        }
    }

    fn sum_up(
        slots: &mut Vec<Member<T>>,
        was_cancelled: bool,
        location: &'static Location<'static>,
    ) -> Result<Self::Outcome, Failure> {
        if slots.is_empty() {
            return Err(Failure::at(DeferredError::Empty, location));
        }
        let cancelled = slots.iter().position(Member::is_cancelled);
        if let Some(at) = cancelled.filter(|_| was_cancelled) {
            let slot = mem::replace(&mut slots[at], Member::Empty);
            return match slot.into_result() {
                Some(Err(failure)) => Err(failure),
                _ => Err(Failure::at(Cancelled, location)),
            };
        }
        let results = mem::take(slots).into_iter().filter_map(Member::into_result);
        let failures: Vec<_> = results.filter_map(Result::err).collect();
        let causes = failures.iter().collect();
        Err(Failure::made_from(
            causes,
            Box::new(FailureGroup { failures }),
            location,
        ))
    }
}

impl<T: 'static> Rule<T> for First {
    type Outcome = (usize, Result<T, Failure>);

    fn take(
        index: usize,
        result: Result<T, Failure>,
        was_cancelled: bool,
    ) -> ControlFlow<Result<Self::Outcome, Failure>, Result<T, Failure>> {
        match result {
            Err(failure) if was_cancelled && failure.find::<Cancelled>().is_some() => {
                ControlFlow::Break(Err(failure))
            }
            result => ControlFlow::Break(Ok((index, result))),
        }
    }

    fn sum_up(
        _: &mut Vec<Member<T>>,
        _: bool,
        location: &'static Location<'static>,
    ) -> Result<Self::Outcome, Failure> {
        Err(Failure::at(DeferredError::Empty, location))
    }
}

/// The state of a member's result.
enum Member<T> {
    Waits(Weak<Core>),
    Has(Result<T, Failure>),
    Empty,
}

impl<T> Member<T> {
    fn into_result(self) -> Option<Result<T, Failure>> {
        match self {
            Self::Has(result) => Some(result),
            Self::Waits(_) | Self::Empty => None,
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Has(Err(failure)) if failure.find::<Cancelled>().is_some())
    }

    fn member(&self) -> Option<Rc<Core>> {
        match self {
            Self::Waits(core) => core.upgrade(),
            Self::Has(_) | Self::Empty => None,
        }
    }
}

/// The source of an outcome that is not decided.
struct Gathering<T: 'static, R: Rule<T>> {
    outcome: Place<R::Outcome>,
    slots: RefCell<Vec<Member<T>>>,
    /// The number of members that are not done.
    missing: Cell<usize>,
    was_cancelled: Cell<bool>,
    cancels: bool,
    location: &'static Location<'static>,
    rule: PhantomData<R>,
}

impl<T: 'static, R: Rule<T>> Group for Gathering<T, R> {
    fn accept(&self, index: usize, last: &dyn Slot) -> bool {
        let result = take(last).unwrap_or_else(|| Err(DeferredError::ResultTaken.into()));
        let mut slots = self.slots.borrow_mut();
        let (slot, outcome) = match R::take(index, result, self.was_cancelled.get()) {
            ControlFlow::Continue(result) => (Member::Has(result), None),
            ControlFlow::Break(outcome) => (Member::Empty, Some(outcome)),
        };
        slots[index] = slot;
        self.missing.set(self.missing.get() - 1);
        let outcome = match outcome {
            None if self.missing.get() > 0 => return false,
            None => R::sum_up(&mut slots, self.was_cancelled.get(), self.location),
            Some(outcome) => outcome,
        };
        self.outcome.set(Some(outcome));
        true
    }

    fn request_stop(&self) -> Vec<Rc<Core>> {
        self.was_cancelled.set(true);
        self.members()
    }

    fn members(&self) -> Vec<Rc<Core>> {
        self.slots
            .borrow()
            .iter()
            .filter_map(Member::member)
            .collect()
    }

    fn rest(&self) -> Rest {
        let members = match self.missing.get() {
            0 => Vec::new(),
            _ => self.members(),
        };
        let slots = self.slots.take();
        Rest {
            members,
            // A cancelled list cancels all of its members.
            cancels: self.cancels || self.was_cancelled.get(),
            results: if slots.is_empty() {
                Box::new(())
            } else {
                Box::new(slots)
            },
        }
    }
}

impl<T: 'static, R: Rule<T>> Slot for Gathering<T, R> {
    fn result(&self) -> &dyn Any {
        &self.outcome
    }

    fn place(&self) -> &dyn AnyPlace {
        &self.outcome
    }

    fn group(&self) -> Option<&(dyn Group + 'static)> {
        Some(self)
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// Drops the other members when a member that was done already has decided the outcome.
fn drop_others<T: 'static>(
    slots: Vec<Member<T>>,
    members: vec::IntoIter<Deferred<T>>,
    cancels: bool,
    location: &'static Location<'static>,
) {
    let _hold = cancels.then(GrantHold::new);
    let before: Vec<_> = slots.iter().filter_map(Member::member).collect();
    for member in before {
        member.clone().abandon(cancels);
        if cancels {
            core::cancel(&member, location);
        }
    }
    report::discard(slots, location);
    for member in members {
        drop_member(member, cancels);
    }
}

/// Drops a member: cancels it, or lets it run.
fn drop_member<T: 'static>(mut member: Deferred<T>, cancels: bool) {
    if let Some(location) = member.location() {
        member.polled = cancels;
        report::discard(member, location);
    }
}

/// The number of failures of a group that `Display` writes.
const MAX_FAILURES: usize = 5;

/// The number of failures that `Display` writes of a group and the groups inside it.
const MAX_FAILURES_IN_ALL: usize = 100;
