//! Conversions into and out of a [`Failure`].
//!
//! # Why `Failure` is not `Unpin`
//!
//! `?` needs an `impl From<E> for Failure` for every error, string and box: for every type that
//! converts into `Box<dyn Error + Send + Sync>`. A `Failure` converts into such a box too, so that
//! impl would overlap with `impl From<T> for T` unless a bound excludes `Failure` itself. [`Unpin`]
//! is that bound: `Failure` is not `Unpin` (for this reason alone; nothing in it is ever pinned),
//! while errors, strings and boxes are. The cost: a type that holds a `Failure` by value must
//! declare `impl Unpin for ThatType {}` before `?` converts it into a `Failure`.
//!
//! # Invariants
//!
//! 1. A `Failure` with a single owner becomes the error in it; a shared one becomes a
//!    [`FailureError`], whose source is that error.
//! 2. A [`FailureError`] becomes the `Failure` it holds: location, trace and identity are kept.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;

use super::Failure;

/// A [`Failure`] as an [`Error`], for `anyhow`, `eyre` and other code that takes errors only.
///
/// [`Failure::into_error`] makes one, and so does the conversion of a `Failure` into a box while it
/// has clones. `Display` names the line where the failure was made and not the error, which
/// [`source`](Error::source) returns. Converting it into a `Failure` again (`?`, [`Failure::new`])
/// returns the original failure.
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

    /// Returns the failure by value.
    pub fn into_failure(self) -> Failure {
        self.0
    }
}

impl Failure {
    /// Makes a failure of an error, a string, or a boxed error. Its location is the caller's line.
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

    /// Converts the failure into a value that implements [`Error`], keeping location and trace.
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
    /// Returns the error in the failure, which can be downcast, if the failure has a single owner;
    /// a shared failure becomes a [`FailureError`]. The location is lost in the first case;
    /// [`Failure::into_error`] keeps it.
    fn from(failure: Failure) -> Self {
        match failure.into_own_error() {
            Ok(error) => error,
            Err(shared) => Box::new(FailureError(shared)),
        }
    }
}

impl From<Failure> for Box<dyn Error> {
    /// Converts as into `Box<dyn Error + Send + Sync>`.
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

/// Dereferences to the error in the failure, so that a field of type `Failure` can be a `#[source]`
/// or a `#[from]` of `thiserror`.
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

// The type holds a failure, and `?` converts it into one.
impl Unpin for FailureError {}

// This impl never applies; it makes `Failure` the one error type that is not `Unpin`.
impl<'a> Unpin for Failure where Unpinned<'a>: NotForFailures {}

/// A type for a bound that does not hold; the lifetime keeps the compiler from checking the bound
/// too early.
#[allow(unnameable_types, reason = "stands in the bounds of a public impl")]
#[derive(Debug)]
pub struct Unpinned<'a>(PhantomData<&'a ()>);

/// A trait that no type implements.
#[allow(unnameable_types, reason = "stands in the bounds of a public impl")]
#[diagnostic::on_unimplemented(
    message = "`Failure` is not `Unpin`, and neither is a type that holds one by value",
    label = "holds a `Failure`: write `impl Unpin for ThatType {{}}`",
    note = "`impl Unpin` goes to the type that holds the `Failure`: `impl Unpin for ThatType {{}}`",
    note = "`?` and `into()` make a `Failure` only of types that are `Unpin`: see the docs of `Failure`"
)]
pub trait NotForFailures {}

/// Makes a [`Failure`] whose error is a text, formatted as by [`format!`].
///
/// The failure's location is the line of the macro. [`Failure::new`] wraps another error, and
/// [`Failure::context`] adds a level to a failure.
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
