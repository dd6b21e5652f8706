//! The types that a callback may return.

use std::panic::Location;

use super::Deferred;
use super::make::ensure_at;
use crate::failure::Failure;

/// A type that a callback may return: `()`, `Result<T, Failure>`, [`Deferred`], or another future
/// of such a result, as an async block is.
///
/// For a plain value use [`Deferred::map`], or return `Ok(value)`. The parameter `Via` only guides
/// type inference.
///
/// # Examples
///
/// A plain value is refused, and the compiler says what to write instead:
///
/// ```compile_fail,E0277
/// # use torsade::Deferred;
/// let _ = Deferred::succeed(1_u32).add_callback(|n| n + 1);
/// ```
///
/// A result with another error type is refused too, until `?` has converted the error into a
/// `Failure`:
///
/// ```compile_fail,E0277
/// # use torsade::Deferred;
/// let _ = Deferred::succeed("7").add_callback(|text| text.parse::<u32>());
/// ```
///
/// ```
/// # use torsade::Deferred;
/// let number = Deferred::succeed("7").add_callback(|text| Ok(text.parse::<u32>()?));
/// drop(number.add_callback(|n| assert_eq!(n, 7)));
/// ```
#[diagnostic::on_unimplemented(
    message = "a callback cannot return `{Self}`",
    label = "returns `{Self}`",
    note = "return nothing, `Ok(value)`, `Err(failure)`, a `Deferred` or an async block",
    note = "for a plain value use `.map(...)`, or wrap it: `Ok(value)`",
    note = "an error of another type becomes a `Failure` by `?`, or by `.map_err(Failure::from)`"
)]
pub trait IntoOutcome<Via> {
    /// The type of the value that the next callback gets.
    type Value: 'static;

    #[doc(hidden)]
    fn into_outcome(self, location: &'static Location<'static>) -> Outcome<Self::Value>;
}

/// The outcome of a callback.
#[doc(hidden)]
#[derive(Debug)]
pub enum Outcome<T: 'static> {
    /// The result is here.
    Ready(Result<T, Failure>),
    /// The result is still to come.
    Wait(Deferred<T>),
}

/// Marks a callback that returns `()`.
#[doc(hidden)]
#[derive(Debug)]
pub struct ViaUnit;

/// Marks a callback that returns a `Result`.
#[doc(hidden)]
#[derive(Debug)]
pub struct ViaResult;

/// Marks a callback that returns a Deferred or another future of a result.
#[doc(hidden)]
#[derive(Debug)]
pub struct ViaFuture;

/// Marks a callback that never returns.
#[doc(hidden)]
#[derive(Debug)]
pub struct ViaNever;

impl IntoOutcome<ViaUnit> for () {
    type Value = ();

    #[inline]
    fn into_outcome(self, _: &'static Location<'static>) -> Outcome<()> {
        Outcome::Ready(Ok(()))
    }
}

impl<T: 'static> IntoOutcome<ViaResult> for Result<T, Failure> {
    type Value = T;

    #[inline]
    fn into_outcome(self, _: &'static Location<'static>) -> Outcome<T> {
        Outcome::Ready(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: 'static, F: Future<Output = Result<T, Failure>> + 'static> IntoOutcome<ViaFuture> for F {
    type Value = T;

    #[inline]
    fn into_outcome(self, location: &'static Location<'static>) -> Outcome<T> {
        Outcome::Wait(ensure_at(self, location))
    }
}

/// The type of `panic!()`, by the only name that stable Rust has for it.
#[doc(hidden)]
pub type Never = <fn() -> ! as Returns>::Output;

#[doc(hidden)]
pub trait Returns {
    /// The type that the function returns.
    type Output;
}

impl<R> Returns for fn() -> R {
    type Output = R;
}

impl IntoOutcome<ViaNever> for Never {
    type Value = ();

    fn into_outcome(self, _: &'static Location<'static>) -> Outcome<()> {
        self
    }
}
