//! How much a task may move in a row.

use std::cell::Cell;
use std::task::Context;

/// What was moved for a task since it last had to wait, or was made to: a peer that never stops is not to keep the loop
/// from the others.
#[derive(Debug, Default)]
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    /// Is it used up? Then the task is woken again, after the others.
    #[inline]
    pub(crate) fn is_spent(&self, cx: &Context<'_>) -> bool {
        if self.0.get() < IN_A_ROW {
            return false;
        }
        self.renew();
        cx.waker().wake_by_ref();
        true
    }

    #[inline]
    pub(crate) fn spend(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }

    /// The task has to wait.
    #[inline]
    pub(crate) fn renew(&self) {
        self.0.set(0);
    }
}

/// How many bytes.
const IN_A_ROW: usize = 256 * 1024;
