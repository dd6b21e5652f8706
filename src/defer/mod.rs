//! Results that come later: [`Deferred`] and its other end, the [`Resolver`].
//!
//! # The idea
//!
//! A `Deferred<T>` is a `Result<T, Failure>` that will be there later, and a future of that result.
//! It has one consumer, which adds callbacks or awaits the Deferred. Callbacks run when the result
//! comes, in the order in which they were added; each gets the result of the one before. The
//! *source* of the Deferred (a [`Resolver`], a future, a lock, other Deferreds) sets the result,
//! once.
//!
//! Callbacks and `await` can be mixed: a callback may return an async block, and a future becomes a
//! Deferred with [`Deferred::from_future`].
//!
//! | to make a Deferred of | use |
//! |---|---|
//! | a result that other code will set | [`Deferred::pair`] |
//! | a value, a failure | [`Deferred::succeed`], [`Deferred::fail`] |
//! | several Deferreds or other futures | [`list`], [`gather`], [`race`], [`first`], [`DeferredList`] |
//! | the result of a function | [`execute`], [`maybe_deferred`] |
//! | a future | [`Deferred::from_future`]; [`ensure`] if it may be a Deferred |
//! | a channel, a stream | [`Deferred::from_oneshot`], [`Deferred::from_stream`] |
//!
//! In the other direction, [`Deferred::shared`] gives one result to many consumers,
//! [`Deferred::chain_deferred`] fires another Deferred, and [`Deferred::into_oneshot`] sends the
//! result to a channel.
//!
//! # Rules
//!
//! 1. **Firing is a call.** When [`Resolver::callback`] returns, all callbacks that could run have
//!    run. A task that awaits is only woken; it runs in its turn.
//! 2. **A callback returns** nothing, `Ok`/`Err`, a Deferred or an async block; the next callback
//!    waits for that.
//! 3. **One consumer.** Adding a callback consumes the Deferred and returns it with its new type.
//! 4. **Firing consumes the resolver**, so firing twice does not compile; a resolver that is
//!    dropped fires [`DeferredError::Abandoned`].
//! 5. **Dropping** a Deferred that was never polled lets it continue: its callbacks run when the
//!    result comes. Dropping one that was polled (an `await` that was given up) cancels it. A
//!    Deferred without callbacks that only waits (for a lock, an item of a queue, an event, the end
//!    of a connection or service) is cancelled when it is dropped, polled or not: no code is left
//!    to run.
//! 6. **A failure at the end** of a dropped chain is reported at that moment, with the line where
//!    the Deferred was made.
//! 7. **Cancelling** asks the source to stop: the canceller runs, and the chain gets [`Cancelled`]
//!    unless the canceller provided another result. A Deferred whose callback has returned another
//!    Deferred passes the request on to that Deferred. A result that the source sets after a cancel
//!    is dropped, and not reported.
//! 8. **A panic** in a callback becomes its result, a failure that holds a [`Panicked`]. At the end
//!    of a dropped chain the panic is reported like any other failure. If no reactor runs on the
//!    thread, as in a plain test, the panic continues out of the call that fired, cancelled or
//!    dropped the Deferred, after everything else has run: a failed assertion fails the test.
//!
//! [`Cancelled`]: crate::Cancelled
//! [`Panicked`]: crate::failure::Panicked
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [Deferred](crate::guide::glossary#deferred), [resolver](crate::guide::glossary#resolver),
//! [firing](crate::guide::glossary#firing), [callback and
//! errback](crate::guide::glossary#callback), [canceller](crate::guide::glossary#canceller).

mod callback_queue;
mod convert;
mod core;
mod coroutine;
mod errors;
mod list;
mod listeners;
mod live;
mod make;
mod outcome;
mod poll;
mod queued;
mod shared;
mod tracker;

use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};

use self::core::{Canceller, Core, SourceCanceller};
pub(crate) use self::core::{GrantHold, WaitSource, WaiterId};
use self::coroutine::Coroutine;
pub(crate) use self::coroutine::StopHandle;
pub use self::errors::DeferredError;
#[doc(alias("select", "select_all", "FIRST_COMPLETED", "Promise.race"))]
pub use self::list::first;
#[doc(alias(
    "gatherResults",
    "fireOnOneErrback",
    "consumeErrors",
    "try_join_all",
    "Promise.all"
))]
pub use self::list::gather;
#[doc(alias("DeferredList", "join_all", "allSettled"))]
pub use self::list::list;
#[doc(alias("fireOnOneCallback", "select_ok", "Promise.any"))]
pub use self::list::race;
pub use self::list::{DeferredList, FailureGroup, FirstError};
pub(crate) use self::listeners::Listeners;
pub(crate) use self::live::{dump_items, note_waits_for};
#[doc(alias("ensureDeferred", "ensure_future"))]
pub use self::make::ensure;
pub use self::make::execute;
#[doc(alias = "maybeDeferred")]
pub use self::make::maybe_deferred;
pub(crate) use self::make::maybe_deferred_at;
pub use self::outcome::{
    IntoOutcome, Never, Outcome, Returns, ViaFuture, ViaNever, ViaResult, ViaUnit,
};
use self::queued::Queued;
pub(crate) use self::queued::{Link, QueuedState, WaitQueue};
pub use self::shared::Shared;
use crate::failure::Failure;
use crate::report;
use crate::spans;

/// A result that will be there later: a future with callbacks.
///
/// The rules are in the [module docs](crate::defer).
///
/// # Cancel safety
///
/// Dropping an await of `&mut deferred` loses nothing: the Deferred can be awaited again. Dropping
/// a Deferred that has been polled cancels it.
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use torsade::Deferred;
///
/// let (deferred, resolver) = Deferred::pair();
/// deferred
///     .add_callback(|word: &str| Ok(word.parse::<u32>()?))
///     .add_errback(|failure| {
///         failure.trap::<ParseIntError>()?; // passes on any other failure
///         Ok(0)
///     })
///     .map(|n| n + 1)
///     .add_callback(|n| assert_eq!(n, 42));
/// resolver.callback("41");
/// ```
///
/// A Deferred stays on its thread:
///
/// ```compile_fail,E0277
/// # use torsade::Deferred;
/// let deferred = Deferred::succeed(1);
/// std::thread::spawn(move || drop(deferred));
/// ```
pub struct Deferred<T: 'static> {
    state: State<T>,
    /// Whether it has been polled, so that dropping it cancels it (rule 5).
    polled: bool,
}

enum State<T: 'static> {
    /// The result is here, and nothing is left to do.
    Settled(Result<T, Failure>, &'static Location<'static>),
    Linked(Rc<Core>),
    /// The Deferred waits in a queue, and may have a core.
    Queued(Queued<T>),
    /// The result, or the core, was given away.
    Gone,
}

/// The end of a [`Deferred`] that provides the result.
///
/// [`callback`](Self::callback), [`errback`](Self::errback) and [`resolve`](Self::resolve) fire the
/// Deferred and consume the resolver. Dropping the resolver fires [`DeferredError::Abandoned`]. A
/// result for a cancelled Deferred is dropped.
///
/// # Order
///
/// Firing runs every callback that can run before it returns, and so does dropping. The exception
/// is a resolver that is dropped inside another resolver's drop (by a callback or a destructor that
/// runs there): the callbacks of its Deferred run after the code that dropped it, and before the
/// outermost drop returns.
///
/// # Threads
///
/// A resolver stays on its thread, like the Deferred.
/// [`RemoteResolver`](crate::reactor::RemoteResolver) makes a resolver that can be sent to
/// another thread:
///
/// ```compile_fail,E0277
/// let (deferred, resolver) = torsade::Deferred::pair();
/// std::thread::spawn(move || resolver.callback(1));
/// # drop(deferred);
/// ```
///
/// # Examples
///
/// A resolver fires once:
///
/// ```compile_fail,E0382
/// let (deferred, resolver) = torsade::Deferred::pair();
/// resolver.callback(1);
/// resolver.callback(2);
/// # drop(deferred);
/// ```
#[doc(alias("AlreadyCalledError", "Promise.withResolvers", "oneshot"))]
#[must_use = "dropping a resolver makes its Deferred fail with `Abandoned`"]
pub struct Resolver<T: 'static> {
    /// `None` once it has fired.
    core: Option<Rc<Core>>,
    result: PhantomData<fn(T)>,
}

/// A guard that holds back the callbacks of a [`Deferred`] until the guard is dropped; see
/// [`Deferred::pause`].
#[must_use = "dropping a pause lets the Deferred continue"]
pub struct Pause {
    core: Option<Rc<Core>>,
}

impl<T: 'static> Deferred<T> {
    /// Returns a Deferred and the [`Resolver`] that will fire it.
    #[track_caller]
    pub fn pair() -> (Self, Resolver<T>) {
        Self::pair_at(Location::caller())
    }

    /// Returns a Deferred that has its value already. Does not allocate.
    #[track_caller]
    pub fn succeed(value: T) -> Self {
        Self::settled(Ok(value), Location::caller())
    }

    /// Returns a Deferred that has failed already. Allocates nothing but the failure.
    #[track_caller]
    pub fn fail(failure: impl Into<Failure>) -> Self {
        Self::settled(Err(failure.into()), Location::caller())
    }

    /// Runs a future on this thread's reactor and returns its result as a Deferred.
    ///
    /// Cancelling the Deferred cancels the Deferred that the future awaits; the future sees the
    /// outcome (usually [`Cancelled`](crate::Cancelled)) at its `await`, and may clean up,
    /// continue, or succeed. A future that awaits no Deferred (but a task or a sleep, for instance)
    /// is dropped.
    ///
    /// # Order
    ///
    /// The future is first polled in the reactor's turn, never inside this call.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DeferredError::NoReactor`] when no reactor runs on this thread.
    #[doc(alias(
        "fromCoroutine",
        "ensureDeferred",
        "inlineCallbacks",
        "returnValue",
        "waitForDeferred"
    ))]
    #[track_caller]
    pub fn from_future(future: impl Future<Output = Result<T, Failure>> + 'static) -> Self {
        Coroutine::start(future, Location::caller())
    }

    /// Adds a callback for the value; a failure skips it.
    ///
    /// `f` may return nothing, `Ok`/`Err`, a Deferred or an async block. On a Deferred that has its
    /// result already, `f` is called before this method returns.
    #[doc(alias = "addCallback")]
    #[track_caller]
    pub fn add_callback<V, R: IntoOutcome<V>>(
        self,
        f: impl FnOnce(T) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.then(move |result, location| match result {
            Ok(value) => f(value).into_outcome(location),
            Err(failure) => {
                report::discard(f, location);
                Outcome::Ready(Err(failure))
            }
        })
    }

    /// Adds a callback for the failure; a value skips it. The result of `f`, whose value must be a
    /// `T` like the value that skips it, replaces the failure.
    #[doc(alias = "addErrback")]
    #[track_caller]
    pub fn add_errback<V, R: IntoOutcome<V, Value = T>>(
        self,
        f: impl FnOnce(Failure) -> R + 'static,
    ) -> Self {
        self.then(move |result, location| match result {
            Ok(value) => {
                report::discard(f, location);
                Outcome::Ready(Ok(value))
            }
            Err(failure) => f(failure).into_outcome(location),
        })
    }

    /// Adds a callback for the result, value or failure.
    #[doc(alias = "addBoth")]
    #[track_caller]
    pub fn add_both<V, R: IntoOutcome<V>>(
        self,
        f: impl FnOnce(Result<T, Failure>) -> R + 'static,
    ) -> Deferred<R::Value> {
        self.then(move |result, location| f(result).into_outcome(location))
    }

    /// Adds two callbacks: `ok` for the value, `err` for the failure. `err` is not called for a
    /// failure of `ok`.
    #[doc(alias = "addCallbacks")]
    #[track_caller]
    pub fn add_callbacks<V, R, W, S>(
        self,
        ok: impl FnOnce(T) -> R + 'static,
        err: impl FnOnce(Failure) -> S + 'static,
    ) -> Deferred<R::Value>
    where
        R: IntoOutcome<V>,
        S: IntoOutcome<W, Value = R::Value>,
    {
        self.then(move |result, location| match result {
            Ok(value) => {
                report::discard(err, location);
                ok(value).into_outcome(location)
            }
            Err(failure) => {
                report::discard(ok, location);
                err(failure).into_outcome(location)
            }
        })
    }

    /// Adds a callback that converts the value with a function that cannot fail.
    #[track_caller]
    pub fn map<U: 'static>(self, f: impl FnOnce(T) -> U + 'static) -> Deferred<U> {
        self.then(move |result, location| match result {
            Ok(value) => Outcome::Ready(Ok(f(value))),
            Err(failure) => {
                report::discard(f, location);
                Outcome::Ready(Err(failure))
            }
        })
    }

    /// Sets the canceller: the function that is called when the Deferred is cancelled before its
    /// [source](crate::defer) has set the result.
    ///
    /// `f` is called at most once, and may fire the resolver with any result. If it does not, or
    /// drops the resolver, the chain gets [`Cancelled`](crate::Cancelled). If `f` panics, the chain
    /// gets that panic as its failure.
    ///
    /// Replaces any earlier canceller, including the one that `from_future` installs: a cancel then
    /// does not stop the future. A cancelled Deferred of [`locks`](crate::locks) leaves the wait
    /// queue whatever `f` does.
    ///
    /// `f` is dropped at once, and not called, if the source has set the result already, and if the
    /// Deferred waits for others, to which a cancel is passed on: for one that a callback has
    /// returned, or for a group as that of [`gather`].
    #[doc(alias = "canceller")]
    pub fn on_cancel(self, f: impl FnOnce() + 'static) -> Self {
        if let Some(core) = self.core() {
            core.set_canceller(Canceller::Call(Box::new(f)));
        }
        self
    }

    /// Sets the source's own canceller, which [`on_cancel`](Deferred::on_cancel) does not replace;
    /// the user's canceller is called before it.
    pub(crate) fn on_cancel_itself(self, own: impl FnOnce() + 'static) -> Self {
        if let Some(core) = self.core() {
            core.set_canceller(Canceller::Source(SourceCanceller::new(own)));
        }
        self
    }

    /// Sets the canceller of a Deferred that only listens: when it is dropped and no callback would
    /// see its result, `leave` is called at once, polled or not.
    pub(crate) fn listens(self, leave: impl FnOnce() + 'static) -> Self {
        self.listens_to(move || {
            leave();
            None
        })
    }

    /// Sets the same; `leave` returns a core that is not needed any more, which is cancelled next.
    fn listens_to(self, leave: impl FnOnce() -> Option<Rc<Core>> + 'static) -> Self {
        if let Some(core) = self.core() {
            core.set_canceller(Canceller::Source(SourceCanceller::with_next(leave)));
            core.listens();
        }
        self
    }

    /// Asks the source to stop (rule 7 of the [module](crate::defer)). Does nothing once the result
    /// is there.
    ///
    /// A cancel is a request: a canceller may provide a value instead, and a future that was given
    /// to [`from_future`](Self::from_future) may continue.
    #[track_caller]
    pub fn cancel(&self) {
        if let Some(core) = self.core() {
            report::enter();
            core::cancel(core, Location::caller());
            report::leave();
        }
    }

    /// Holds back every callback, and every task that awaits, until the [`Pause`] is dropped.
    /// Several pauses add up.
    ///
    /// A callback that is added when the result is there already runs at once; if it returns a
    /// Deferred, `add_callback` returns that same Deferred. A pause of the returned Deferred
    /// therefore also holds back the callbacks that were added to it before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{cell::Cell, rc::Rc};
    /// # use torsade::Deferred;
    /// let seen = Rc::new(Cell::new(0));
    /// let (mut deferred, resolver) = Deferred::pair();
    /// let pause = deferred.pause();
    /// let log = seen.clone();
    /// let deferred = deferred.add_callback(move |n| log.set(n));
    /// resolver.callback(1);
    /// assert_eq!(seen.get(), 0);
    /// pause.unpause();
    /// assert_eq!(seen.get(), 1);
    /// ```
    #[doc(alias = "unpause")]
    pub fn pause(&mut self) -> Pause {
        if let State::Settled(_, location) = &self.state {
            let location = *location;
            if let State::Settled(result, _) = mem::replace(&mut self.state, State::Gone) {
                let core = Core::new(location);
                core.clone().fire(result, location);
                self.state = State::Linked(core);
            }
        }
        let core = self.core().cloned();
        if let Some(core) = &core {
            core.pause();
        }
        Pause { core }
    }

    /// Takes the result if it is there or is offered; the Deferred is then like one that was
    /// awaited.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn take_now(&mut self) -> Option<Result<T, Failure>> {
        if let Some(core) = self.core() {
            let result = core.notify_and_take()?;
            self.state = State::Gone;
            return Some(result);
        }
        match mem::replace(&mut self.state, State::Gone) {
            State::Settled(result, _) => Some(result),
            _ => Some(Err(DeferredError::ResultTaken.into())),
        }
    }

    /// Returns whether a result can be taken without waiting.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn has_result(&self) -> bool {
        match &self.state {
            State::Linked(core) => core.is_settled() || core.is_offered(),
            State::Queued(queued) => match queued.linked() {
                Some(core) => core.is_settled() || core.is_offered(),
                None => queued.queued_state() != QueuedState::Waits,
            },
            State::Settled(..) | State::Gone => true,
        }
    }

    /// Returns whether the result is there and can be taken: no callback is left to run, no
    /// [`Pause`] holds it back, and it was not taken before.
    #[doc(alias = "called")]
    pub fn is_settled(&self) -> bool {
        match &self.state {
            State::Settled(..) => true,
            State::Linked(core) => core.is_settled(),
            State::Queued(queued) => match queued.linked() {
                Some(core) => core.is_settled(),
                None => queued.queued_state() == QueuedState::Failed,
            },
            State::Gone => false,
        }
    }

    /// Returns the line where the Deferred was made, or `None` once its result was taken.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        match &self.state {
            State::Settled(_, location) => Some(location),
            State::Linked(core) => Some(core.location()),
            State::Queued(queued) => Some(queued.location()),
            State::Gone => None,
        }
    }

    /// Returns a function that cancels the Deferred without keeping it alive.
    ///
    /// The function works as long as the Deferred exists or one of its callbacks has not run. A
    /// Deferred that a callback returned may have left the chain before that (invariant 3 of
    /// `core`).
    pub(crate) fn remote_cancel(&self) -> impl FnOnce() + 'static + use<T> {
        let core = self.core().map(Rc::downgrade);
        move || {
            if let Some(core) = core.as_ref().and_then(Weak::upgrade) {
                core::cancel(&core, core.location());
            }
        }
    }

    /// Returns a function like [`remote_cancel`](Deferred::remote_cancel) that ends what the
    /// Deferred waits for, without a request to stop.
    #[track_caller]
    pub(crate) fn remote_end(&self) -> impl FnOnce() + 'static + use<T> {
        let location = Location::caller();
        let core = self.core().map(Rc::downgrade);
        move || {
            if let Some(core) = core.as_ref().and_then(Weak::upgrade) {
                core::end(&core, location);
            }
        }
    }

    /// Makes a pair like [`Deferred::pair`], made at `location`.
    pub(crate) fn pair_at(location: &'static Location<'static>) -> (Self, Resolver<T>) {
        let (core, resolver) = Resolver::new(location);
        let deferred = Self {
            state: State::Linked(core),
            polled: false,
        };
        (deferred, resolver)
    }

    /// Returns the core, if the Deferred has or needs one.
    #[inline]
    fn core(&self) -> Option<&Rc<Core>> {
        match &self.state {
            State::Linked(core) => Some(core),
            State::Queued(queued) => Some(queued.core()),
            State::Settled(..) | State::Gone => None,
        }
    }

    fn settled(result: Result<T, Failure>, location: &'static Location<'static>) -> Self {
        Self {
            state: State::Settled(result, location),
            polled: false,
        }
    }

    fn set_canceller(&self, canceller: Canceller) {
        if let Some(core) = self.core() {
            core.set_canceller(canceller);
        }
    }

    /// Takes the core, or the result when there is no core.
    fn into_core(mut self) -> Result<Rc<Core>, Result<T, Failure>> {
        match mem::replace(&mut self.state, State::Gone) {
            State::Settled(result, _) => Err(result),
            State::Linked(core) => Ok(core),
            State::Queued(queued) => Ok(queued.core().clone()),
            State::Gone => Err(Err(DeferredError::ResultTaken.into())),
        }
    }

    /// Returns the same Deferred as if it had never been polled.
    fn unpolled(mut self) -> Self {
        if mem::take(&mut self.polled) {
            if let Some(core) = self.core() {
                core.forget_waiter();
            }
        }
        self
    }

    /// Returns the same Deferred, after a callback added at `here` has returned it as its last
    /// work.
    fn returned(self, here: &'static Location<'static>) -> Self {
        match &self.state {
            State::Linked(core) => core.keep_canceller(),
            State::Queued(queued) => queued.core().keep_canceller(),
            State::Gone => {
                let failure = Failure::at(DeferredError::ResultTaken, here);
                return Self::settled(Err(failure), here);
            }
            State::Settled(..) => {}
        }
        self.unpolled()
    }

    /// Takes the state out.
    #[inline]
    fn into_state(mut self) -> State<T> {
        let state = mem::replace(&mut self.state, State::Gone);
        // Nothing is left to drop.
        mem::forget(self);
        match state {
            State::Queued(queued) => State::Linked(queued.core().clone()),
            state => state,
        }
    }

    /// Adds a callback. All other methods that add one end here.
    #[inline]
    #[track_caller]
    fn then<U: 'static>(
        self,
        f: impl FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> + 'static,
    ) -> Deferred<U> {
        let here = Location::caller();
        let (result, location) = match self.for_callback(here) {
            Ok(settled) => settled,
            Err(core) => {
                match spans::current() {
                    Some(span) => core.add(in_span(span, Box::new(f)), here),
                    None => core.add(f, here),
                }
                if core.is_offered() {
                    core.ask();
                }
                return Deferred::linked(core);
            }
        };
        report::enter();
        let outcome = report::catch(here, || f(result, here));
        let deferred = Deferred::after_callback(outcome, here, location);
        report::leave();
        deferred
    }

    /// Takes the result for a callback and returns it with the line where the Deferred was made, or
    /// returns the core to which the callback must be added.
    fn for_callback(
        self,
        here: &'static Location<'static>,
    ) -> Result<(Result<T, Failure>, &'static Location<'static>), Rc<Core>> {
        let this = if self.polled { self.unpolled() } else { self };
        match this.into_state() {
            State::Linked(core) if !core.is_settled() => Err(core),
            State::Linked(core) => Ok(match core.take_settled() {
                Some(result) => (result, core.location()),
                None => (Err(Failure::at(DeferredError::ResultTaken, here)), here),
            }),
            State::Settled(result, location) => Ok((result, location)),
            State::Queued(_) | State::Gone => {
                Ok((Err(Failure::at(DeferredError::ResultTaken, here)), here))
            }
        }
    }

    /// Makes a Deferred at `location`, after a callback added at `here`.
    fn after_callback(
        outcome: Result<Outcome<T>, Failure>,
        here: &'static Location<'static>,
        location: &'static Location<'static>,
    ) -> Self {
        let mut result = match outcome {
            Ok(Outcome::Wait(deferred)) => return deferred.returned(here),
            Ok(Outcome::Ready(result)) => result,
            Err(failure) => Err(failure),
        };
        if result.is_err() {
            core::went_through_callback(&mut result, here);
        }
        Self::settled(result, location)
    }

    fn linked(core: Rc<Core>) -> Self {
        Self {
            state: State::Linked(core),
            polled: false,
        }
    }
}

impl<T: 'static> Resolver<T> {
    /// Makes a core and its Deferred.
    fn new(location: &'static Location<'static>) -> (Rc<Core>, Self) {
        let core = Core::new(location);
        let resolver = Self {
            core: Some(core.clone()),
            result: PhantomData,
        };
        (core, resolver)
    }

    /// Fires the Deferred with a value: runs its callbacks, or wakes the task that awaits it.
    #[track_caller]
    pub fn callback(mut self, value: T) {
        if let Some(core) = self.core.take() {
            core.fire(Ok(value), Location::caller());
        }
    }

    /// Fires the Deferred with a failure: runs its callbacks, or wakes the task that awaits it.
    #[track_caller]
    pub fn errback(self, failure: impl Into<Failure>) {
        self.resolve_at(Err(failure.into()), Location::caller());
    }

    /// Fires the Deferred with a result, a value or a failure.
    #[track_caller]
    pub fn resolve(self, result: Result<T, Failure>) {
        self.resolve_at(result, Location::caller());
    }

    /// Fires the Deferred like [`resolve`](Self::resolve), from the line `at`.
    pub(crate) fn resolve_at(mut self, result: Result<T, Failure>, at: &'static Location<'static>) {
        if let Some(core) = self.core.take() {
            core.fire(result, at);
        }
    }

    /// Stores the result, and leaves it to the caller to run what can run. Returns `None` if the
    /// Deferred was cancelled before.
    fn put(mut self, result: Result<T, Failure>) -> Option<Rc<Core>> {
        let core = self.core.take()?;
        core.put(result).then_some(core)
    }

    /// Returns whether the Deferred was cancelled, so that a result would be dropped.
    pub fn is_cancelled(&self) -> bool {
        self.core.as_ref().is_none_or(|core| core.has_fired())
    }

    /// Returns whether the Deferred was dropped and no callback will see the result.
    pub(crate) fn has_no_consumer(&self) -> bool {
        self.core.as_ref().is_none_or(|core| core.has_no_consumer())
    }

    /// Drops the resolver of a Deferred without consumer, without a failure that would be reported.
    pub(crate) fn drop_silently(mut self) {
        drop(self.core.take());
    }

    /// Cancels the Deferred from this end. If it was cancelled before, what it waits for since is
    /// left alone.
    fn cancel(&self) {
        if let Some(core) = self.core.as_ref().filter(|core| !core.has_fired()) {
            core::cancel(core, core.location());
        }
    }
}

impl Pause {
    /// Lets the Deferred continue, as dropping does.
    pub fn unpause(self) {}
}

impl<T: 'static> Unpin for Deferred<T> {}

impl<T: 'static> Drop for Resolver<T> {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            report::enter();
            core::abandon_source(core);
            report::leave();
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            report::enter();
            core.unpause();
            report::leave();
        }
    }
}

/// Makes a callback that runs in the span in which it was added.
fn in_span<T: 'static, U: 'static>(
    span: tracing::Span,
    f: Box<Callback<T, U>>,
) -> impl FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U> {
    move |result, location| span.in_scope(|| f(result, location))
}

type Callback<T, U> = dyn FnOnce(Result<T, Failure>, &'static Location<'static>) -> Outcome<U>;

#[cfg(all(test, not(torsade_loom)))]
mod tests;
