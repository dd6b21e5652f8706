//! What a [`Failure`] is made from, and what it turns into.
//!
//! # From everything, and still no circle
//!
//! `?` needs one `impl From<E> for Failure` for every error, string and box there is: everything
//! that converts into `Box<dyn Error + Send + Sync>`. A `Failure` converts into such a box too, so
//! that impl would overlap with `impl From<T> for T`, unless something tells a `Failure` from all
//! others. [`Unpin`] does: a `Failure` is not `Unpin` (no other reason: nothing in it is ever
//! pinned), errors, strings and boxes are. The price is paid by a type that holds a `Failure` by
//! value: it says `impl Unpin for ThatType {}` before `?` turns it into a `Failure`.
//!
//! # Invariants
//!
//! 1. A `Failure` that nobody shares becomes the very error in it; a shared one becomes a
//!    [`FailureError`], whose source is that error.
//! 2. A [`FailureError`] becomes the `Failure` it holds: location, trace and identity are kept.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;

use super::Failure;

/// A [`Failure`] as an [`Error`]: for `anyhow`, `eyre` and whatever else takes errors only.
///
/// [`Failure::into_error`] makes one, and so does the conversion of a shared `Failure` into a box. Its `Display` names
/// the line where the failure was made, its source is the error in the failure, so nothing is said
/// twice. Turning it into a `Failure` again (`?`, [`Failure::new`]) gives the same one.
///
/// # Examples
///
/// ```
/// use std::error::Error;
/// use torsade::{Failure, fail};
///
/// let error = fail!("no such user").into_error();
/// assert!(error.to_string().starts_with("failed at "));
/// assert_eq!(error.source().unwrap().to_string(), "no such user");
/// assert_eq!(Failure::from(error).to_string(), "no such user");
/// ```
pub struct FailureError(Failure);

impl FailureError {
    /// Returns the failure.
    pub fn failure(&self) -> &Failure {
        &self.0
    }

    /// Returns the failure, by value.
    pub fn into_failure(self) -> Failure {
        self.0
    }
}

impl Failure {
    /// Wraps an error, a string, or a box of an error.
    ///
    /// `?` and `into()` do the same. A [`FailureError`], boxed or not, becomes the failure it
    /// holds.
    #[track_caller]
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match error.into().downcast::<FailureError>() {
            Ok(error) => error.0,
            Err(error) => Self::at(error, Location::caller()),
        }
    }

    /// Turns the failure into a value that implements [`Error`], and keeps all it knows.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// fn all(steps: Vec<Result<(), Failure>>) -> anyhow::Result<()> {
    ///     for step in steps {
    ///         step.map_err(Failure::into_error)?;
    ///     }
    ///     Ok(())
    /// }
    /// let error = all(vec![Err(Failure::new("no route"))]).unwrap_err();
    /// assert_eq!(error.root_cause().to_string(), "no route");
    /// ```
    pub fn into_error(self) -> FailureError {
        FailureError(self)
    }
}

impl<E> From<E> for Failure
where
    E: Into<Box<dyn Error + Send + Sync>> + Unpin,
{
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl From<Failure> for Box<dyn Error + Send + Sync> {
    /// Gives the error in the failure itself, if nobody shares the failure: it can be downcast. The
    /// location is lost then, which [`Failure::into_error`] keeps. A shared failure becomes a
    /// [`FailureError`].
    fn from(failure: Failure) -> Self {
        match failure.into_own_error() {
            Ok(error) => error,
            Err(shared) => Box::new(FailureError(shared)),
        }
    }
}

impl From<Failure> for Box<dyn Error> {
    /// Does what the conversion into `Box<dyn Error + Send + Sync>` does.
    fn from(failure: Failure) -> Self {
        Box::<dyn Error + Send + Sync>::from(failure)
    }
}

#[cfg(feature = "anyhow")]
impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.into_error())
    }
}

#[cfg(feature = "eyre")]
impl From<Failure> for eyre::Report {
    #[track_caller]
    fn from(failure: Failure) -> Self {
        Self::new(failure.into_error())
    }
}

/// The error in the failure; with this, a field of type `Failure` can be a `#[source]` or a
/// `#[from]` of `thiserror`.
impl Deref for Failure {
    type Target = dyn Error + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        self.error()
    }
}

impl AsRef<dyn Error + Send + Sync + 'static> for Failure {
    fn as_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.error()
    }
}

impl AsRef<dyn Error + 'static> for Failure {
    fn as_ref(&self) -> &(dyn Error + 'static) {
        self.error()
    }
}

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed at {}", self.0.location())
    }
}

impl fmt::Debug for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for FailureError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let error: &(dyn Error + 'static) = self.0.error();
        Some(error)
    }
}

// It holds a failure, and `?` turns it into one.
impl Unpin for FailureError {}

// Never applies: this makes `Failure` the one error that is not `Unpin`.
impl<'a> Unpin for Failure where Unpinned<'a>: NotForFailures {}

/// A type for a condition that does not hold; the lifetime keeps the compiler from checking it too
/// soon.
#[allow(unnameable_types, reason = "stands in the bounds of a public impl")]
#[derive(Debug)]
pub struct Unpinned<'a>(PhantomData<&'a ()>);

/// Implemented by nothing.
#[allow(unnameable_types, reason = "stands in the bounds of a public impl")]
#[diagnostic::on_unimplemented(
    message = "`Failure` is not `Unpin`, and neither is a type that holds one by value",
    label = "holds a `Failure`: write `impl Unpin for ThatType {{}}`",
    note = "`impl Unpin` goes to the type that holds the `Failure`: `impl Unpin for ThatType {{}}`",
    note = "`?` and `into()` make a `Failure` only of types that are `Unpin`: see the docs of `Failure`"
)]
pub trait NotForFailures {}

/// Makes a [`Failure`] of a text, formatted as by [`format!`].
///
/// The failure's location is the line of the macro. To wrap an error there is [`Failure::new`], and
/// to say more about a failure [`Failure::context`].
///
/// # Examples
///
/// ```
/// use torsade::{Failure, fail};
///
/// fn port(text: &str) -> Result<u16, Failure> {
///     let (_, port) = text.rsplit_once(':').ok_or_else(|| fail!("no port in {text:?}"))?;
///     Ok(port.parse()?)
/// }
/// assert_eq!(port("localhost").unwrap_err().to_string(), "no port in \"localhost\"");
/// assert_eq!(port("localhost:80").unwrap(), 80);
/// ```
#[macro_export]
macro_rules! fail {
    ($($message:tt)+) => {
        $crate::Failure::__message(::std::format!($($message)+))
    };
}
