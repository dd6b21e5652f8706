//! The one error type that travels: [`Failure`].
//!
//! # The idea
//!
//! A chain of callbacks, a task and a connection all end in one of two ways, and the second one needs a type
//! that everyone agrees on. A `Failure` holds any error, is one pointer wide, is cheap to clone (several
//! waiters may be told the same reason), and remembers the line where it was made: every `?` that turns an
//! error into a `Failure` records its own place. In debug mode it also remembers the way it has come (`path`).
//!
//! # Who owns what
//!
//! The error is shared and never changes. Nobody can take it out; it is looked at ([`Failure::check`],
//! [`Failure::find`]) or passed on ([`Failure::trap`]).
//!
//! # Invariants
//!
//! 1. A `Failure` can cross threads, whatever it holds.
//! 2. [`Failure::context`] adds a level on top and loses nothing below.
//! 3. A panic's payload is kept until somebody takes it; dropping it never panics.
//! 4. However many failures hold each other, as levels of [`Failure::context`] or as the causes of this crate's
//!    errors, dropping them uses no stack.

mod convert;
mod path;

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

pub use self::convert::FailureError;
use self::path::Path;
pub use self::path::{Hop, TaskName};

/// Why something did not work out: any error, with the place where it was made.
///
/// `Display` shows the error; `{:#}` shows what caused it as well; `Debug` adds the location.
///
/// # Conversions
///
/// `?` and `into()` make a `Failure` of every error, of `&str` and `String`, of `Box<dyn Error + Send + Sync>`, and of
/// the errors of `anyhow` and `eyre`; [`fail!`](crate::fail) makes one of a formatted text. They turn a `Failure` into
/// `Box<dyn Error>` and `Box<dyn Error + Send + Sync>`, and into `anyhow::Error` and `eyre::Report` with the cargo
/// features `anyhow` and `eyre` (without: [`Failure::into_error`]).
///
/// `Failure` is itself not an [`Error`]; it dereferences to the error in it, which [`Failure::error`] returns too. With
/// `thiserror` it can be a `#[from]` or a `#[source]`.
///
/// A `Failure` is not [`Unpin`], and neither is a type that holds one by value, which matters in two places: such an
/// error becomes a `Failure` by `?` when it has the line `impl Unpin for AppError {}` (safe, and right for any type
/// that is not a future that pins its fields), and a hand-written future that holds one needs the same line to use
/// `Pin::get_mut`.
///
/// ```
/// use torsade::{Failure, fail};
///
/// #[derive(Debug, thiserror::Error)]
/// enum AppError {
///     #[error("the network failed")]
///     Network(#[from] Failure),
/// }
/// impl Unpin for AppError {} // it holds a `Failure`
///
/// fn connect() -> Result<(), Failure> {
///     Err("refused")?
/// }
/// fn start() -> Result<(), AppError> {
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
    error: Box<dyn Error + Send + Sync>,
    location: &'static Location<'static>,
    /// Grows in debug mode only.
    path: Path,
}

impl Failure {
    /// The failure that a caught panic becomes: a [`Panicked`] made at `place`.
    pub(crate) fn from_panic(
        payload: Box<dyn Any + Send>,
        place: &'static Location<'static>,
    ) -> Self {
        Self::at(Box::new(Panicked::new(payload)), place)
    }

    /// The same error, as made elsewhere: where the user asked for what failed.
    pub(crate) fn moved(self, location: &'static Location<'static>) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { location, ..inner })),
            Err(shared) => Self(shared),
        }
    }

    /// Wraps an error as made at `location`.
    pub(crate) fn at(
        error: Box<dyn Error + Send + Sync>,
        location: &'static Location<'static>,
    ) -> Self {
        Self(Arc::new(Inner {
            error,
            location,
            path: Path::default(),
        }))
    }

    /// Is the error an `E`?
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.check::<E>().is_some()
    }

    /// The error, if it is an `E`. What it was caused by is not looked at: see [`Failure::find`].
    pub fn check<E: Error + 'static>(&self) -> Option<&E> {
        self.error().downcast_ref()
    }

    /// The error if it is an `E`, otherwise the failure itself, for `?` to pass on.
    ///
    /// # Errors
    ///
    /// The failure, when it holds anything but an `E`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::num::ParseIntError;
    /// # use torsade::Failure;
    /// fn forgive(failure: Failure) -> Result<u32, Failure> {
    ///     failure.trap::<ParseIntError>()?; // anything else goes on up
    ///     Ok(0)
    /// }
    /// assert!(forgive(Failure::new("x".parse::<u32>().unwrap_err())).is_ok());
    /// assert!(forgive(Failure::new("something else")).is_err());
    /// ```
    pub fn trap<E: Error + 'static>(&self) -> Result<&E, Self> {
        self.check().ok_or_else(|| self.clone())
    }

    /// Which of the errors named by a tuple of types it is, otherwise the failure itself.
    ///
    /// # Errors
    ///
    /// The failure, when it holds none of them.
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

    /// The first `E` among the error and what caused it.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.chain().find_map(|error| error.downcast_ref())
    }

    /// The error, what caused it, what caused that, and so on.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = &*self.0.error;
        std::iter::successors(Some(first), |error: &&(dyn Error + 'static)| {
            (*error).source()
        })
    }

    /// A new failure that says `what` was being tried, with this one as its cause.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// let failure = Failure::new("refused").context("calling the mail host");
    /// assert_eq!(format!("{failure}"), "calling the mail host");
    /// assert_eq!(format!("{failure:#}"), "calling the mail host: refused");
    /// ```
    #[must_use]
    #[track_caller]
    pub fn context(self, what: impl fmt::Display) -> Self {
        self.context_at(what, Location::caller())
    }

    /// The same, as made at `location`.
    pub(crate) fn context_at(
        self,
        what: impl fmt::Display,
        location: &'static Location<'static>,
    ) -> Self {
        let path = self.path();
        let error = Box::new(Context {
            what: what.to_string(),
            cause: Some(self),
        });
        Self(Arc::new(Inner {
            error,
            location,
            path: path.into(),
        }))
    }

    /// The error inside.
    #[doc(alias("value", "getErrorMessage", "raiseException"))]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.error
    }

    /// Where the failure was made (Twisted has a traceback here): the `?`, the call of [`Failure::new`], or the callback that panicked.
    #[doc(alias("getTraceback", "printTraceback"))]
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// The way it has come, the first step first: the callbacks it went through, the Deferreds it was the result of and
    /// who fired them, and the tasks that awaited those.
    ///
    /// Only debug mode remembers it (see [`ReactorBuilder::debug`](crate::reactor::ReactorBuilder::debug)), and of a way
    /// without end no more than how it began. What shares a failure shares its way. `Debug` shows it.
    #[doc(alias("traceback", "stack"))]
    pub fn path(&self) -> Vec<Hop> {
        self.0.path.get()
    }

    /// Adds a step to its way.
    pub(crate) fn went_through(&self, hop: Hop) {
        self.0.path.push(hop);
    }

    /// Is it a panic that was caught?
    pub fn is_panic(&self) -> bool {
        self.is::<Panicked>()
    }

    /// Do both hold the very same error (one was cloned from the other)?
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Somebody asked for the work to stop before it was done.
#[doc(alias("CancelledError", "ConnectingCancelledError"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancelled;

/// A panic in user code, caught at the edge of the runtime.
pub struct Panicked {
    message: String,
    /// Empty once somebody took it.
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

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Takes the panic's payload, to look into it or to hand it to [`std::panic::resume_unwind`]. The first
    /// caller gets it.
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.payload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A set of error types: a tuple of one to six of them, for [`Failure::trap_any`].
pub trait ErrorSet {
    #[doc(hidden)]
    fn position(failure: &Failure) -> Option<usize>;
}

/// A level put on top by [`Failure::context`].
#[derive(Debug)]
struct Context {
    what: String,
    /// Empty only while it is being dropped.
    cause: Option<Failure>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.error)?;
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
        for hop in self.path() {
            write!(f, "\n    by way of {hop}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl Error for Cancelled {}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl Error for Panicked {}

impl Drop for Panicked {
    fn drop(&mut self) {
        if let Some(payload) = self.take_payload() {
            drop_quietly(payload);
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Context {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause: &(dyn Error + 'static) = &*self.cause.as_ref()?.0.error;
        Some(cause)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        drop_held(self.cause.take());
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

/// Drops failures that an error held. They may be the last to hold others: those are dropped after them, not inside
/// (invariant 4).
pub(crate) fn drop_held(failures: impl IntoIterator<Item = Failure>) {
    /// Ends the outermost call, even one that unwinds.
    struct Outermost;
    impl Drop for Outermost {
        fn drop(&mut self) {
            let left = HELD.try_with(|held| held.borrow_mut().take());
            drop(left);
        }
    }

    let is_outermost = HELD.try_with(|held| {
        let mut held = held.borrow_mut();
        let is_outermost = held.is_none();
        held.get_or_insert_default().extend(failures);
        is_outermost
    });
    if is_outermost != Ok(true) {
        return;
    }
    let _outermost = Outermost;
    loop {
        let next = HELD.try_with(|held| held.borrow_mut().as_mut().and_then(Vec::pop));
        let Ok(Some(failure)) = next else { return };
        drop(failure);
    }
}

/// Drops a panic's payload. Should its destructor panic as well, the second payload is let go for good.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

thread_local! {
    /// What is waiting to be dropped, while something is being dropped.
    static HELD: RefCell<Option<Vec<Failure>>> = const { RefCell::new(None) };
}

#[cfg(test)]
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
        assert!(failure.trap::<io::Error>().unwrap_err().same(&failure));
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
        assert!(Failure::new(boxed).same(&failure));
    }

    #[test]
    fn a_panics_payload_is_kept_until_taken() {
        let payload = catch_unwind(|| panic::panic_any(7_u8)).unwrap_err();
        let failure = Failure::from_panic(payload, Location::caller());
        let panicked = failure.check::<Panicked>().unwrap();
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
                panic::resume_unwind(Box::new("boom"));
            }
        }
        drop(Failure::from_panic(Box::new(Bomb), Location::caller()));
    }
}
