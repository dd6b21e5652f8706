//! The levels of a failure, and the lines in which they were made.
//!
//! [`Error::source`] returns errors, and an error does not know which failure holds it. So the
//! errors made here ([`Context`], [`Message`]) store their own line, and a [`Context`] and a
//! [`FailureError`] give the line of the failure below them.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use super::Failure;
use super::convert::FailureError;

/// The level that [`Failure::context`] adds.
#[derive(Debug)]
struct Context {
    what: String,
    cause: Failure,
    location: &'static Location<'static>,
}

/// The error that [`fail!`](crate::fail) makes.
struct Message {
    text: String,
    location: &'static Location<'static>,
}

impl Failure {
    /// Makes a failure that says `what` was attempted, with this failure as its cause.
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

    /// Makes the same failure, made at `location`.
    pub(crate) fn context_at(
        self,
        what: impl fmt::Display,
        location: &'static Location<'static>,
    ) -> Self {
        let (trace, origins) = (self.0.trace.clone(), self.origins().to_vec());
        let error = Box::new(Context {
            what: what.to_string(),
            cause: self,
            location,
        });
        Self::from_parts(error, location, trace, origins)
    }

    /// Makes the failure of [`fail!`](crate::fail).
    #[doc(hidden)]
    #[track_caller]
    pub fn __message(text: String) -> Self {
        let location = Location::caller();
        Self::at(Message { text, location }, location)
    }

    /// Writes a line for each location, other than the failure's own, at which a level was made.
    pub(super) fn write_levels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = vec![self.location()];
        // The location of the failure that holds the next error has been written by its holder.
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
                if written.len() > MAX_LOCATIONS {
                    return f.write_str("\n    and in other places");
                }
                written.push(location);
                write!(f, "\n    made at {location}: {error}")?;
            }
        }
        Ok(())
    }
}

/// Returns the line where the error was made, if the error stores it.
fn made(error: &(dyn Error + 'static)) -> Option<&'static Location<'static>> {
    if let Some(context) = error.downcast_ref::<Context>() {
        return Some(context.location);
    }
    error
        .downcast_ref::<Message>()
        .map(|message| message.location)
}

/// Returns the failure whose error is the source of this error.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Failure> {
    if let Some(context) = error.downcast_ref::<Context>() {
        return Some(&context.cause);
    }
    error.downcast_ref().map(FailureError::failure)
}

/// The most locations that `Debug` writes.
const MAX_LOCATIONS: usize = 32;

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

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::slice;

    use super::*;

    #[derive(Debug)]
    struct AppError(Failure);

    impl fmt::Display for AppError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the network failed")
        }
    }

    impl Error for AppError {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.0.error())
        }
    }

    impl Unpin for AppError {}

    #[test]
    fn debug_shows_once_where_each_level_was_made() {
        let (deep, below) = (Failure::__message("deep".into()), line!());
        let (mid, above) = (deep.context("mid"), line!());
        let mid_line = format!("    made at {}:{above}: mid", file!());
        let deep_line = format!("    made at {}:{below}: deep", file!());
        let below = shown(&mid, "mid: deep", above);
        assert_eq!(below, slice::from_ref(&deep_line));
        assert_eq!(format!("{mid:#}"), "mid: deep");

        let (outer, line) = (Failure::new(AppError(mid.clone())), line!());
        let below = shown(&outer, "the network failed: mid: deep", line);
        assert_eq!(below, [mid_line.clone(), deep_line.clone()]);

        let error = anyhow::Error::new(mid.into_error()).context("top");
        let (outer, line) = (Failure::new(error), line!());
        let below = shown(&outer, "top: failed: mid: deep", line);
        assert_eq!(below, [mid_line, deep_line]);
    }

    /// Returns the lines of `Debug` after the first, which is checked; columns are left out.
    fn shown(failure: &Failure, first: &str, line: u32) -> Vec<String> {
        let text = format!("{failure:?}");
        let mut rest = String::new();
        for (index, part) in text.split(file!()).enumerate() {
            match (
                index,
                part.split_once(':')
                    .and_then(|(_, part)| part.split_once(':')),
            ) {
                (0, _) | (_, None) => rest.push_str(part),
                (_, Some((line, after))) => {
                    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
                    rest.push_str(&format!("{}:{line}{after}", file!()));
                }
            }
        }
        let mut lines = rest.lines().map(str::to_owned);
        let begin = lines.next().unwrap();
        let (text, at) = begin.rsplit_once(" (at ").unwrap();
        assert_eq!(at, format!("{}:{line})", file!()));
        let text = match text.split_once("failed at ") {
            Some((before, after)) => {
                format!("{before}failed: {}", after.split_once(": ").unwrap().1)
            }
            None => text.to_owned(),
        };
        assert_eq!(text, first);
        lines.collect()
    }

    #[test]
    fn debug_of_a_million_levels_names_a_place_once() {
        let mut failure = Failure::__message("deep".into());
        for _ in 0..1_000_000 {
            failure = failure.context("");
        }
        assert_eq!(format!("{failure:?}").lines().count(), 2);
    }
}
