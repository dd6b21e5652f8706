//! Panics that no reactor contains: they unwind to the call that led to them.
//!
//! A callback's panic becomes the failure of its Deferred. When nobody handles that failure and no
//! reactor is there to report it, as in a plain test, the panic goes on: out of the call that
//! fired, cancelled, paused or dropped the Deferred, or out of `VirtualClock::advance`. It is kept
//! here until that call has left everything whole, and the call ends with [`rethrow`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::thread;

use crate::failure::{Failure, Panicked};

/// Keeps a panic for [`rethrow`]. `false` if it is none, or if one is under way already.
pub(super) fn keep(failure: &Failure) -> bool {
    let Some(panicked) = failure.check::<Panicked>() else {
        return false;
    };
    if thread::panicking() || IS_KEPT.get() {
        return false;
    }
    let payload = panicked
        .take_payload()
        .unwrap_or_else(|| Box::new(panicked.message().to_owned()));
    IS_KEPT.set(KEPT.try_with(|kept| kept.replace(Some(payload))).is_ok());
    IS_KEPT.get()
}

/// Goes on with a panic that was kept. Called where nothing is borrowed and everything is whole.
#[inline]
pub(crate) fn rethrow() {
    if IS_KEPT.get() {
        rethrow_kept();
    }
}

#[cold]
fn rethrow_kept() {
    if thread::panicking() {
        return;
    }
    IS_KEPT.set(false);
    let payload = KEPT.try_with(RefCell::take).ok().flatten();
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}

thread_local! {
    static IS_KEPT: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}
