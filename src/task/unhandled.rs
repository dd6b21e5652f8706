//! Failures in the results of tasks: reported when the result is not taken.
//!
//! A task may end in any type, and stable Rust cannot ask whether a `T` is a `Result<_, _>` with an
//! error in it: that takes specialization, and `Any` compares whole types only. So the types are
//! listed here and in the docs of [`Task`](super::Task). A result of any other type is dropped
//! silently.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::{fmt, io};

use super::Caller;
use crate::failure::{Failure, FailureError};
use crate::report;

type BoxError = Box<dyn Error + Send + Sync>;

/// Takes the failure out of a task's result, if the result's type is one of those listed here.
pub(super) fn failure_in<T: 'static>(value: &mut Option<T>, location: Caller) -> Option<Failure> {
    let value: &mut dyn Any = value;
    if let Some(failure) = error_in::<Failure>(value) {
        return Some(failure);
    }
    if let Some(error) = error_in::<io::Error>(value) {
        return Some(from_error(error.into(), location));
    }
    if let Some(error) = error_in::<fmt::Error>(value) {
        return Some(from_error(error.into(), location));
    }
    if let Some(error) = error_in::<FailureError>(value) {
        return Some(error.into_failure());
    }
    if let Some(error) = error_in::<BoxError>(value) {
        return Some(from_error(error, location));
    }
    if let Some(error) = error_in::<Box<dyn Error>>(value) {
        return Some(from_local_error(error, location));
    }
    #[cfg(feature = "anyhow")]
    if let Some(error) = error_in::<anyhow::Error>(value) {
        // A downcast would look below what `context` has added, which must be kept.
        if !(*error).is::<FailureError>() {
            return Some(from_error(error.into(), location));
        }
        return Some(match error.downcast::<FailureError>() {
            Ok(error) => error.into_failure(),
            Err(error) => from_error(error.into(), location),
        });
    }
    #[cfg(feature = "eyre")]
    if let Some(error) = error_in::<eyre::Report>(value) {
        if !(*error).is::<FailureError>() {
            return Some(from_error(error.into(), location));
        }
        return Some(match error.downcast::<FailureError>() {
            Ok(error) => error.into_failure(),
            Err(error) => from_error(error.into(), location),
        });
    }
    None
}

/// Takes the error out, if the value is a result without a value whose error is an `E`.
fn error_in<E: 'static>(value: &mut dyn Any) -> Option<E> {
    if let Some(result) = value.downcast_mut::<Option<Result<(), E>>>() {
        return result.take()?.err();
    }
    if let Some(result) = value.downcast_mut::<Option<Result<Infallible, E>>>() {
        return result.take()?.err();
    }
    None
}

fn from_error(error: BoxError, location: Caller) -> Failure {
    match error.downcast::<FailureError>() {
        Ok(error) => error.into_failure(),
        Err(error) => Failure::at(error, location),
    }
}

/// Makes a failure of an error that is not `Send`: of its text, and the texts of its causes.
fn from_local_error(error: Box<dyn Error>, location: Caller) -> Failure {
    let error = match error.downcast::<FailureError>() {
        Ok(error) => return error.into_failure(),
        Err(error) => error,
    };
    let read = report::catch_rarely(location, || {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    });
    report::discard(error, location);
    match read {
        Ok(text) => Failure::at(text, location),
        Err(panic) => panic,
    }
}
