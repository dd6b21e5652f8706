//! Panics that no reactor contains: they unwind to the call that led to them.
//!
//! A callback's panic becomes the failure of its Deferred. When that failure is not handled and no
//! reactor is there to report it, as in a plain test, the panic is resumed: out of the call that
//! fired, cancelled, paused or dropped the Deferred, or out of `VirtualClock::advance`. It is kept
//! here until the outermost such call has finished its work: a panic inside a callback of another
//! Deferred does not break that Deferred's chain.
//!
//! Each of these calls begins with [`enter`] and ends with [`leave`], and nothing unwinds in
//! between.

use std::panic::resume_unwind;
use std::thread;

use crate::context;
use crate::failure::{Failure, Panicked};

/// Begins a call that may run callbacks.
#[inline]
pub(crate) fn enter() {
    context::with(|thread| thread.unwinding.set(thread.unwinding.get() + LEVEL));
}

/// Ends a call that may have run callbacks. The outermost one resumes a panic that was kept.
#[inline]
pub(crate) fn leave() {
    context::with(|thread| thread.unwinding.set(thread.unwinding.get() - LEVEL));
    rethrow();
}

/// Resumes a panic that was kept, unless this is inside a call that will.
#[inline]
pub(crate) fn rethrow() {
    if state() == KEPT {
        rethrow_kept();
    }
}

/// Keeps a panic. Returns `false` if the failure is no panic, or if one is kept already.
pub(super) fn keep(failure: &Failure) -> bool {
    let Some(panicked) = failure.downcast_ref::<Panicked>() else {
        return false;
    };
    if thread::panicking() || state() & KEPT != 0 {
        return false;
    }
    let payload = panicked
        .take_payload()
        .unwrap_or_else(|| Box::new(panicked.message().to_owned()));
    context::with(|thread| {
        thread.unwinding.set(thread.unwinding.get() | KEPT);
        drop(thread.payload.replace(Some(payload)));
    });
    true
}

#[cold]
fn rethrow_kept() {
    if thread::panicking() {
        return;
    }
    let payload = context::with(|thread| {
        thread.unwinding.set(thread.unwinding.get() & !KEPT);
        thread.payload.replace(None)
    });
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}

#[inline]
fn state() -> usize {
    context::with(|thread| thread.unwinding.get())
}

/// The bits of the state: whether a panic is kept, and a level for each call in progress.
const KEPT: usize = 1;
const LEVEL: usize = 2;
