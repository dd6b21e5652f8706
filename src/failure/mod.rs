//! [`Failure`], the error type of callbacks, tasks and connections.
//!
//! # The idea
//!
//! A chain of callbacks, a task and a connection end either with a value or with an error, and the
//! error needs one type. A `Failure` holds any error, is one pointer wide, is cheap to clone
//! (several waiters can receive the same one), and stores the line where it was made: each `?` that
//! converts an error into a `Failure` records its own line. In debug mode it also records a trace
//! ([`Failure::trace`]).
//!
//! The error is shared by all clones and never changes. It can be inspected
//! ([`Failure::downcast_ref`], [`Failure::find`]) or passed on ([`Failure::trap`]), but only the
//! conversion of a failure without clones into a `Box<dyn Error>` moves it out.
//!
//! # Invariants
//!
//! 1. A `Failure` is `Send` and `Sync`, whatever it holds.
//! 2. [`Failure::context`] adds a level on top and loses nothing below.
//! 3. A panic's payload is kept until it is taken; dropping it never panics.
//! 4. Dropping failures that hold each other, as levels of [`Failure::context`] or in any errors,
//!    uses a constant amount of stack.
//! 5. Each clone of a failure has a separate trace: it shares the error, and the frames that were
//!    recorded before it was cloned.
//! 6. A failure that is never handled is reported once, however many clones of it, or errors made
//!    from it, exist.

mod convert;
mod levels;
mod sentence;
mod trace;

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Span;

pub use self::convert::FailureError;
pub(crate) use self::sentence::{AsSource, errors};
use self::trace::Trace;
pub use self::trace::{TaskName, TraceFrame};
use crate::context;
use crate::index::Index;
use crate::spans;

/// Any error, with the line where the failure was made.
///
/// `Display` shows the error; `{:#}` shows its causes as well. `Debug` shows both and the location;
/// then, for each cause that stores where it was made, a line "made at ...": a failure below a
/// [`context`](Failure::context), the text of a [`fail!`](crate::fail), a [`FailureError`].
///
/// # Conversions
///
/// `?` and `into()` convert into a `Failure` every error, `&str`, `String`,
/// `Box<dyn Error + Send + Sync>`, and the errors of `anyhow` and `eyre`; [`fail!`](crate::fail)
/// makes a failure of a formatted text. `?` and `into()` also convert a `Failure` into
/// `Box<dyn Error>` and `Box<dyn Error + Send + Sync>`, and with the cargo features `anyhow` and
/// `eyre` into `anyhow::Error` and `eyre::Report` (without these features:
/// [`Failure::into_error`]).
///
/// `Failure` is not an [`Error`] itself; it dereferences to the error in it, which
/// [`Failure::error`] returns too. With `thiserror` it can be a `#[from]` or a `#[source]`.
///
/// A `Failure` is not [`Unpin`], and neither is a type that holds one by value. This matters in two
/// cases. `?` converts an error that holds a `Failure` into a `Failure` only if its type declares
/// `impl Unpin for NetworkFailed {}` (safe, and correct for every type that is not a future that
/// pins its fields). And a hand-written future that holds a `Failure` needs the same line to use
/// `Pin::get_mut`.
///
/// ```
/// use torsade::{Failure, fail};
///
/// #[derive(Debug)]
/// struct NetworkFailed(Failure);
/// impl Unpin for NetworkFailed {} // it holds a `Failure`
///
/// // `thiserror` writes these: `#[error("the network failed")]` and `#[from]`.
/// impl std::fmt::Display for NetworkFailed {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("the network failed")
///     }
/// }
/// impl std::error::Error for NetworkFailed {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         Some(self.0.error())
///     }
/// }
/// impl From<Failure> for NetworkFailed {
///     fn from(failure: Failure) -> Self {
///         Self(failure)
///     }
/// }
///
/// fn connect() -> Result<(), Failure> {
///     Err("refused")?
/// }
/// fn start() -> Result<(), NetworkFailed> {
///     Ok(connect()?)
/// }
/// fn main_program() -> Result<(), Failure> {
///     Ok(start()?)
/// }
/// let failure = main_program().unwrap_err();
/// assert_eq!(format!("{failure:#}"), "the network failed: refused");
/// ```
///
/// # Examples
///
/// ```
/// use std::num::ParseIntError;
/// use torsade::Failure;
///
/// fn parse(word: &str) -> Result<u32, Failure> {
///     Ok(word.parse::<u32>()?)
/// }
///
/// let failure = parse("seven").unwrap_err();
/// assert!(failure.is::<ParseIntError>());
/// assert!(failure.location().file().ends_with(".rs"));
/// ```
#[doc(alias("cleanFailure", "Exception", "anyhow"))]
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

struct Inner {
    error: Held,
    location: &'static Location<'static>,
    /// Grows in debug mode only, and only while this `Inner` has one owner (invariant 5).
    trace: Trace,
    /// The failures from which this one was made, and which are reported in its place; empty if it
    /// was made from none.
    origins: Vec<Arc<Self>>,
    is_reported: AtomicBool,
    /// The span of `tracing` in which it was made; `None` in one that has an owner.
    span: Option<Box<Span>>,
}

/// The error, or the owner of the error.
enum Held {
    Own(Box<dyn Error + Send + Sync>),
    /// The error belongs to the failure that this one was cloned from, which itself holds it as
    /// `Own`.
    By(Arc<Inner>),
    /// Left behind while the owner is dropped.
    Gone,
}

impl Failure {
    /// Makes the failure of a caught panic: a [`Panicked`] made at `location`.
    pub(crate) fn from_panic(
        payload: Box<dyn Any + Send>,
        location: &'static Location<'static>,
    ) -> Self {
        Self::at(Panicked::new(payload), location)
    }

    /// Returns the same error as made at another location: the line in which the user asked for
    /// what failed.
    pub(crate) fn moved(self, location: &'static Location<'static>) -> Self {
        let mut this = self;
        if let Some(inner) = Arc::get_mut(&mut this.0) {
            inner.location = location;
        }
        this
    }

    /// Wraps an error as made at `location`. A box must be a box of `dyn Error`: a `Box<E>` is an
    /// error itself, and would be boxed again.
    pub(crate) fn at(
        error: impl Into<Box<dyn Error + Send + Sync>>,
        location: &'static Location<'static>,
    ) -> Self {
        Self::from_parts(error.into(), location, Trace::default(), Vec::new())
    }

    /// Makes a failure from other failures. It is reported unless all of those were, and marks them
    /// as reported.
    pub(crate) fn made_from(
        causes: Causes,
        error: Box<dyn Error + Send + Sync>,
        location: &'static Location<'static>,
    ) -> Self {
        Self::from_parts(error, location, Trace::default(), causes.0)
    }

    fn from_parts(
        error: Box<dyn Error + Send + Sync>,
        location: &'static Location<'static>,
        trace: Trace,
        origins: Vec<Arc<Inner>>,
    ) -> Self {
        Self(Arc::new(Inner {
            error: Held::Own(error),
            location,
            trace,
            origins,
            is_reported: AtomicBool::new(false),
            span: spans::current().map(Box::new),
        }))
    }

    /// Returns the `Inner` that holds the error.
    fn owner(&self) -> &Arc<Inner> {
        match &self.0.error {
            Held::By(owner) => owner,
            Held::Own(_) | Held::Gone => &self.0,
        }
    }

    /// Returns the error if the failure has a single owner.
    fn into_own_error(mut self) -> Result<Box<dyn Error + Send + Sync>, Self> {
        let Some(inner) = Arc::get_mut(&mut self.0) else {
            return Err(self);
        };
        let held = match &mut inner.error {
            Held::By(owner) => Arc::get_mut(owner).map(|owner| &mut owner.error),
            own => Some(own),
        };
        match held.map(|held| mem::replace(held, Held::Gone)) {
            Some(Held::Own(error)) => Ok(error),
            _ => Err(self),
        }
    }

    /// Returns the failures that count as reported when this one is reported.
    fn origins(&self) -> &[Arc<Inner>] {
        let owner = self.owner();
        match owner.origins.is_empty() {
            true => slice::from_ref(owner),
            false => &owner.origins,
        }
    }

    /// Returns the span of `tracing` in which the failure was made.
    pub(crate) fn span(&self) -> Option<&Span> {
        self.owner().span.as_deref()
    }

    /// Marks the failure as reported. Returns `false` if it was marked before.
    pub(crate) fn note_reported(&self) -> bool {
        let mut is_news = false;
        for origin in self.origins() {
            is_news |= !origin.is_reported.swap(true, Ordering::Relaxed);
        }
        is_news
    }

    /// Returns whether the error is an `E`. Its causes are not searched.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// Returns the error if it is an `E`. Its causes are not searched: see [`Failure::find`].
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error().downcast_ref()
    }

    /// Returns the error if it is an `E`, and otherwise a clone of the failure, for `?` to pass on.
    ///
    /// # Errors
    ///
    /// Fails with a clone of the failure when its error is not an `E`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::num::ParseIntError;
    /// # use torsade::Failure;
    /// fn forgive(failure: Failure) -> Result<u32, Failure> {
    ///     failure.trap::<ParseIntError>()?; // returns any other failure
    ///     Ok(0)
    /// }
    /// assert!(forgive(Failure::new("x".parse::<u32>().unwrap_err())).is_ok());
    /// assert!(forgive(Failure::new("something else")).is_err());
    /// ```
    pub fn trap<E: Error + 'static>(&self) -> Result<&E, Self> {
        self.downcast_ref().ok_or_else(|| self.clone())
    }

    /// Returns the index, counted from 0, of the first type in the tuple `Set` that is the type of
    /// the error.
    ///
    /// # Errors
    ///
    /// Fails with a clone of the failure when its error has none of the types.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{fmt, num::{ParseFloatError, ParseIntError}};
    /// # use torsade::Failure;
    /// let failure = Failure::new("x".parse::<u32>().unwrap_err());
    /// assert_eq!(failure.trap_any::<(ParseFloatError, ParseIntError)>().unwrap(), 1);
    /// assert!(failure.trap_any::<(ParseFloatError, fmt::Error)>().is_err());
    /// ```
    pub fn trap_any<Set: ErrorSet>(&self) -> Result<usize, Self> {
        Set::position(self).ok_or_else(|| self.clone())
    }

    /// Returns the first `E` among the error and its causes.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.chain().find_map(|error| error.downcast_ref())
    }

    /// Returns an iterator over the error, its cause, the cause of that, and so on.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = self.error();
        std::iter::successors(Some(first), |error: &&(dyn Error + 'static)| {
            (*error).source()
        })
    }

    /// Returns the error in the failure, to which a `Failure` also dereferences.
    #[doc(alias("value", "getErrorMessage", "raiseException"))]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        match &self.owner().error {
            Held::Own(error) => &**error,
            // The owner holds its error until it is dropped; then no failure refers to it.
            Held::By(_) | Held::Gone => &Unknown,
        }
    }

    /// Returns the line where the failure was made: the `?`, the call of [`Failure::new`], or the
    /// line that added the callback that panicked. (Twisted has a traceback instead.)
    #[doc(alias("getTraceback", "printTraceback"))]
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Returns the trace, the oldest frame first: the callbacks that the failure passed through,
    /// the Deferreds whose result it was with the lines that fired them, and the tasks that awaited
    /// those.
    ///
    /// Traces are recorded in debug mode only (see
    /// [`ReactorBuilder::debug`](crate::reactor::ReactorBuilder::debug)); a trace keeps its first
    /// 100 frames. A clone has a separate trace from the moment it is made. `Debug` shows the
    /// trace.
    #[doc(alias("traceback", "stack"))]
    pub fn trace(&self) -> Vec<TraceFrame> {
        self.0.trace.get()
    }

    /// Adds a frame to the trace of this failure, and of none of its clones.
    pub(crate) fn went_through(&mut self, frame: TraceFrame) {
        if !self.0.trace.has_room_for(&frame) {
            return;
        }
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(Inner {
                error: Held::By(self.owner().clone()),
                location: self.0.location,
                trace: self.0.trace.clone(),
                origins: Vec::new(),
                is_reported: AtomicBool::new(false),
                span: None,
            });
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.trace.push(frame);
        }
    }

    /// Returns whether the failure is a caught panic: a [`Panicked`].
    pub fn is_panic(&self) -> bool {
        self.is::<Panicked>()
    }

    /// Returns whether one failure was cloned from the other, so that both share one error.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.owner(), other.owner())
    }
}

/// The error of work that was cancelled before it was done.
#[doc(alias("CancelledError", "ConnectingCancelledError"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancelled;

/// A panic in user code that the reactor caught.
pub struct Panicked {
    message: String,
    /// `None` once it was taken.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Panicked {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "a value that is not text".to_owned(),
        };
        Self {
            message,
            payload: Mutex::new(Some(payload)),
        }
    }

    /// Returns the text of the panic, or "a value that is not text".
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Takes the panic's payload, for instance to pass it to [`std::panic::resume_unwind`]. Returns
    /// `None` if it was taken before.
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.payload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A tuple of one to six error types, for [`Failure::trap_any`].
pub trait ErrorSet {
    #[doc(hidden)]
    fn position(failure: &Failure) -> Option<usize>;
}

/// The failures that a failure is made from, each once, as far as reports are concerned.
pub(crate) struct Causes(Vec<Arc<Inner>>);

impl<'a> FromIterator<&'a Failure> for Causes {
    fn from_iter<I: IntoIterator<Item = &'a Failure>>(failures: I) -> Self {
        let (mut causes, mut known) = (Vec::new(), Index::default());
        for origin in failures.into_iter().flat_map(Failure::origins) {
            if known.add(Arc::as_ptr(origin).addr() as u128) {
                causes.push(origin.clone());
            }
        }
        Self(causes)
    }
}

/// Replaces an error that was dropped.
#[derive(Debug)]
struct Unknown;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error())?;
        if f.alternate() {
            for cause in self.chain().skip(1) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#} (at {})", self.0.location)?;
        self.write_levels(f)?;
        for frame in self.trace() {
            write!(f, "\n    by way of {frame}")?;
        }
        Ok(())
    }
}

errors! {
    Cancelled: "cancelled";
    Panicked { message }: "panicked: {message}";
    Unknown: "an error that was dropped";
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl Drop for Panicked {
    fn drop(&mut self) {
        if let Some(payload) = self.take_payload() {
            drop_quietly(payload);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Held::Own(error) = mem::replace(&mut self.error, Held::Gone) {
            drop_in_turn(error);
        }
    }
}

macro_rules! error_sets {
    ($($set:ident)+; $($index:expr),+) => {
        impl<$($set: Error + 'static),+> ErrorSet for ($($set,)+) {
            fn position(failure: &Failure) -> Option<usize> {
                $(if failure.is::<$set>() {
                    return Some($index);
                })+
                None
            }
        }
    };
}

error_sets!(A; 0);
error_sets!(A B; 0, 1);
error_sets!(A B C; 0, 1, 2);
error_sets!(A B C D; 0, 1, 2, 3);
error_sets!(A B C D E; 0, 1, 2, 3, 4);
error_sets!(A B C D E F; 0, 1, 2, 3, 4, 5);

/// Drops an error. It may hold the last handle of further failures: their errors are dropped after
/// it, not inside its destructor (invariant 4), and all of them, even if some destructors panic.
fn drop_in_turn(error: Box<dyn Error + Send + Sync>) {
    let mut first = Some(error);
    let is_nested = context::with(|thread| {
        thread.errors.with(|errors| match errors {
            Some(errors) => {
                errors.extend(first.take());
                true
            }
            none => {
                *none = Some(Vec::new());
                false
            }
        })
    });
    if is_nested {
        return;
    }
    let mut panic = None;
    let mut next = first;
    while let Some(error) = next {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(error))) {
            match panic {
                None => panic = Some(payload),
                Some(_) => drop_quietly(payload),
            }
        }
        next = context::with(|thread| thread.errors.with(|errors| errors.as_mut()?.pop()));
    }
    // The memory of a long queue is not kept.
    drop(context::with(|thread| thread.errors.replace(None)));
    if let Some(payload) = panic {
        match std::thread::panicking() {
            true => drop_quietly(payload),
            false => resume_unwind(payload),
        }
    }
}

/// Drops a panic's payload. If its destructor panics as well, the second payload is leaked.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::{io, num::ParseIntError, panic};

    const BAD_NUMBER: u32 = line!() + 3;

    fn bad_number() -> Result<u32, Failure> {
        Ok("x".parse::<u32>()?)
    }

    #[test]
    fn it_can_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Failure>();
    }

    #[test]
    fn a_question_mark_records_its_own_line() {
        let failure = bad_number().unwrap_err();
        assert_eq!(failure.location().file(), file!());
        assert_eq!(failure.location().line(), BAD_NUMBER);
    }

    #[test]
    fn trap_passes_on_what_it_does_not_know() {
        let failure = bad_number().unwrap_err();
        assert!(failure.trap::<ParseIntError>().is_ok());
        assert!(failure.trap::<io::Error>().unwrap_err().ptr_eq(&failure));
    }

    #[test]
    fn context_loses_nothing_below() {
        let failure = bad_number()
            .unwrap_err()
            .context("reading the page")
            .context("serving");
        assert_eq!(failure.to_string(), "serving");
        assert_eq!(
            format!("{failure:#}"),
            "serving: reading the page: invalid digit found in string"
        );
        assert!(!failure.is::<ParseIntError>());
        assert!(failure.find::<ParseIntError>().is_some());
        assert_eq!(failure.chain().count(), 3);
    }

    #[test]
    fn a_million_levels_of_context_are_dropped_without_using_stack() {
        let mut failure = Failure::new("at the bottom");
        for _ in 0..1_000_000 {
            failure = failure.context("again");
        }
        assert_eq!(failure.chain().count(), 1_000_001);
    }

    #[test]
    fn boxed_and_unboxed_a_shared_one_is_the_same_failure() {
        let failure = bad_number().unwrap_err();
        let boxed: Box<dyn Error + Send + Sync> = failure.clone().into();
        assert!(boxed.source().unwrap().is::<ParseIntError>());
        assert!(Failure::new(boxed).ptr_eq(&failure));
    }

    #[test]
    fn a_panics_payload_is_kept_until_taken() {
        let payload = catch_unwind(|| panic::panic_any(7_u8)).unwrap_err();
        let failure = Failure::from_panic(payload, Location::caller());
        let panicked = failure.downcast_ref::<Panicked>().unwrap();
        assert_eq!(
            *panicked.take_payload().unwrap().downcast::<u8>().unwrap(),
            7
        );
        assert!(panicked.take_payload().is_none());
    }

    #[test]
    fn a_payload_whose_destructor_panics_does_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                resume_unwind(Box::new("boom"));
            }
        }
        drop(Failure::from_panic(Box::new(Bomb), Location::caller()));
    }
}
