//! The errors a failure makes itself, and the lines in which the levels of a failure were made.
//!
//! `Error::source` gives errors, and an error does not know which failure holds it. So those that
//! this crate makes ([`Context`], [`Message`]) carry their line themselves, and a [`Context`] and a
//! [`FailureError`] know the line of the failure below.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::{Failure, FailureError};

/// A level put on top by [`Failure::context`].
#[derive(Debug)]
pub(super) struct Context {
    pub(super) what: String,
    pub(super) cause: Failure,
    pub(super) location: &'static Location<'static>,
}

/// The text of [`fail!`](crate::fail).
struct Message {
    text: String,
    location: &'static Location<'static>,
}

impl Failure {
    /// What [`fail!`](crate::fail) calls.
    #[doc(hidden)]
    #[track_caller]
    pub fn __message(text: String) -> Self {
        let location = Location::caller();
        Self::at(Box::new(Message { text, location }), location)
    }

    /// Writes a line for each place, other than the failure's own, in which a level of it was made.
    pub(super) fn write_levels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = vec![self.location()];
        // Of the failure whose error comes next the line is known, as whoever holds it knows it.
        let mut is_known = true;
        for error in self.chain() {
            let made = made(error).filter(|_| !is_known);
            let below = below(error);
            is_known = below.is_some();
            let below = below.map(|failure| (failure.location(), failure.error() as &dyn Error));
            for (location, error) in made
                .map(|location| (location, error))
                .into_iter()
                .chain(below)
            {
                if written.contains(&location) {
                    continue;
                }
                if written.len() > MOST {
                    return f.write_str("\n    and in other places");
                }
                written.push(location);
                write!(f, "\n    made at {location}: {error}")?;
            }
        }
        Ok(())
    }
}

/// Where the error was made, if it knows.
fn made(error: &(dyn Error + 'static)) -> Option<&'static Location<'static>> {
    if let Some(context) = error.downcast_ref::<Context>() {
        return Some(context.location);
    }
    error
        .downcast_ref::<Message>()
        .map(|message| message.location)
}

/// The failure whose error is the source of this one.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Failure> {
    if let Some(context) = error.downcast_ref::<Context>() {
        return Some(&context.cause);
    }
    error.downcast_ref().map(FailureError::failure)
}

/// So many places are written.
const MOST: usize = 32;

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Context {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.error())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Error for Message {}
