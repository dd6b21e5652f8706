//! [`GrantHold`]: while several Deferreds are cancelled, wait queues grant nothing.
//!
//! A member of a list that is cancelled may give back a permit, for which the next member waits.
//! That member is about to be cancelled as well, and must not be started.

use std::cell::RefCell;
use std::rc::Rc;

use crate::context;

/// While one exists, wait queues on this thread grant nothing. They are served when the last one is
/// dropped.
pub(crate) struct GrantHold(());

/// The functions that serve the wait queues later.
type ToServe = RefCell<Vec<Box<dyn FnOnce()>>>;

impl GrantHold {
    pub(crate) fn new() -> Self {
        context::with(|thread| thread.grant_holds.set(thread.grant_holds.get() + 1));
        Self(())
    }

    /// Returns whether wait queues must not grant anything now.
    #[inline]
    pub(crate) fn is_active() -> bool {
        context::with(|thread| thread.grant_holds.get() > 0)
    }

    /// Calls `serve`, which serves a wait queue, when the last hold is dropped.
    pub(crate) fn serve_later(serve: impl FnOnce() + 'static) {
        let to_serve = context::with(|thread| thread.to_serve.get::<ToServe>());
        let to_serve = to_serve.unwrap_or_else(|| {
            let made = Rc::<ToServe>::default();
            drop(context::with(|thread| {
                thread.to_serve.replace(Some(made.clone()))
            }));
            made
        });
        to_serve.borrow_mut().push(Box::new(serve));
    }
}

impl Drop for GrantHold {
    fn drop(&mut self) {
        let left = context::with(|thread| thread.grant_holds.get() - 1);
        context::with(|thread| thread.grant_holds.set(left));
        if left > 0 {
            return;
        }
        let to_serve = context::with(|thread| thread.to_serve.replace::<ToServe>(None));
        for serve in to_serve.map(|list| list.take()).unwrap_or_default() {
            serve();
        }
    }
}
