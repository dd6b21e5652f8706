//! Calls that follow a span of `tracing`.

use std::panic::Location;

use super::{Origin, contain_rarely};
use crate::spans;

/// Makes a call that runs in the span in which it was made. A panic in it is reported there.
pub(crate) fn follow(
    origin: Origin,
    location: &'static Location<'static>,
    call: Box<dyn FnOnce()>,
) -> Box<dyn FnOnce()> {
    match spans::current() {
        Some(span) => Box::new(move || {
            span.in_scope(|| contain_rarely(origin, location, call));
        }),
        None => call,
    }
}
