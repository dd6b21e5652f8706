//! The spans of `tracing` follow what is made inside them.
//!
//! # The idea
//!
//! A task keeps the span it was spawned in, a callback, a timer and work for a thread the span they
//! were made in, and each connection, datagram port and process has a span of its own in which its
//! hooks run. All of it is kept only while a subscriber may be interested, in a closure around the
//! user's, in a task's info, in a table beside the connections or in a box of the port or process;
//! otherwise it costs a load and a comparison where something is made, and no memory.
//!
//! # Invariants
//!
//! 1. Nothing is borrowed while a span is entered, left, made or dropped: each calls the
//!    subscriber.

use std::cell::Cell;

use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing::span::EnteredSpan;

/// Returns whether a subscriber may be interested in spans.
#[inline(always)]
pub(crate) fn are_on() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// Returns the span that the calling code is in.
#[inline(always)]
pub(crate) fn current() -> Option<Span> {
    if are_on() { look() } else { None }
}

#[cold]
#[inline(never)]
fn look() -> Option<Span> {
    let span = Span::current();
    (!span.is_none()).then_some(span)
}

/// Makes work for another thread that is done in the span in which it was made.
pub(crate) fn follow_there<R: 'static>(
    work: Box<dyn FnOnce() -> R + Send>,
) -> Box<dyn FnOnce() -> R + Send> {
    match current() {
        Some(span) => Box::new(move || span.in_scope(work)),
        None => work,
    }
}

/// The span of a thing that calls user code, made when it is first asked for.
#[derive(Default)]
pub(crate) struct OwnSpan(Cell<Option<Box<Span>>>);

impl OwnSpan {
    /// Returns the span; `make` makes it, where a subscriber is interested.
    #[cold]
    pub(crate) fn get_or(&self, make: impl FnOnce() -> Option<Span>) -> Option<Span> {
        let span = match self.0.take() {
            Some(span) => span,
            None => Box::new(make()?),
        };
        let result = Some((*span).clone());
        drop(self.0.replace(Some(span)));
        result
    }

    /// Takes the span out, for the last code that runs in it.
    pub(crate) fn take(&self) -> Option<Span> {
        self.0.take().map(|span| *span)
    }
}

/// Calls `f` in a span, if there is one and it is not the current one already.
#[inline]
pub(crate) fn within<R>(span: Option<Span>, f: impl FnOnce() -> R) -> R {
    let _entered = enter(span);
    f()
}

/// Enters a span, if there is one and it is not the current one already.
#[inline(never)]
fn enter(span: Option<Span>) -> Option<EnteredSpan> {
    span.filter(|span| Span::current().id() != span.id())
        .map(Span::entered)
}
