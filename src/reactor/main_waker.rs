//! The waker of the future that a reactor is run for.

use std::sync::Arc;
use std::task::Wake;

use crate::sync::{AtomicBool, Ordering, Shared};
use crate::task::{Executor, Inbox};

/// The waker of the main future.
#[derive(Debug)]
pub(super) struct MainWaker {
    woken: AtomicBool,
    inbox: Shared<Inbox>,
}

impl MainWaker {
    pub(super) fn new(inbox: Shared<Inbox>) -> Arc<Self> {
        let woken = AtomicBool::new(false);
        Arc::new(Self { woken, inbox })
    }

    /// Returns the flag that the future was woken and has not been polled since.
    pub(super) fn is_woken(&self) -> &AtomicBool {
        &self.woken
    }
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        match Executor::current_of(&self.inbox) {
            Some(executor) => executor.host().request_added(),
            None => self.inbox.wake(),
        }
    }
}
