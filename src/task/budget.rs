//! The budget of a task: limits what a task does in a row, so that a task whose operations are
//! always ready does not run forever.
//!
//! A task that awaits something ready continues at once, so a loop around such an operation would
//! never give way. Each operation of this crate that can be ready therefore takes its cost out of a
//! budget, and when the budget is used up, the next operation is not ready: it wakes its task at
//! once and lets other tasks run. The budget belongs to the task, not to the connection or queue;
//! it is full again when the loop polls the task the next time.
//!
//! Outside a reactor's turn there is no loop to give way to, and no limit.
//!
//! # Invariants
//!
//! 1. An operation that would have to wait costs nothing.
//! 2. A task whose operation is refused has been woken.
//! 3. A poller that never gives way to the loop, and so polls again and again, is let through after
//!    [`MAX_REFUSALS`]: it cannot hang.

use std::task::{Context, Poll};

use crate::context::{self, UNLIMITED};

/// Returns whether the task has used up its budget; it is then woken, to be polled again after the
/// others.
#[inline]
pub(crate) fn is_spent(cx: &Context<'_>) -> bool {
    match context::with(|thread| thread.budget.get()) {
        0 => refuse(cx),
        _ => false,
    }
}

/// Returns whether the budget is not used up.
#[inline]
pub(crate) fn is_left() -> bool {
    context::with(|thread| thread.budget.get()) > 0
}

/// Returns whether there is a limit, and the budget is not used up.
pub(crate) fn is_limited_and_left() -> bool {
    let left = context::with(|thread| thread.budget.get());
    (1..=IN_A_ROW).contains(&left)
}

/// Ends what the task may do in this poll, and wakes it: the loop polls it again after the others
/// that are ready. It has not used up its budget.
#[cold]
pub(crate) fn give_way(cx: &Context<'_>) {
    context::with(|thread| {
        thread.budget.set(0);
        thread.gave_way.set(true);
    });
    cx.waker().wake_by_ref();
}

/// Returns whether the task has used up its budget.
#[inline]
pub(crate) fn is_used_up() -> bool {
    context::with(|thread| thread.budget.get() == 0 && !thread.gave_way.get())
}

/// Takes the cost of an operation that moved this many bytes, or none.
#[inline]
pub(crate) fn spend(bytes: usize) {
    context::with(|thread| {
        let left = thread.budget.get();
        thread.budget.set(left.saturating_sub(bytes.max(MIN_COST)));
    });
}

/// Takes the cost of a number of operations that moved few bytes.
#[inline]
pub(crate) fn spend_on(operations: usize) {
    if operations > 0 {
        spend(operations * MIN_COST);
    }
}

/// Polls an operation that moves no bytes: it is not ready when the budget is used up, and costs
/// the minimum when it is.
#[inline]
pub(crate) fn metered<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    if is_spent(cx) {
        return Poll::Pending;
    }
    let polled = poll(cx);
    if polled.is_ready() {
        spend(0);
    }
    polled
}

/// Fills the budget: the loop polls the next task, or calls user code. Does nothing outside a turn.
#[inline]
pub(crate) fn renew() {
    context::with(|thread| {
        // Subtracting from "no limit" leaves more than any limit.
        if thread.budget.get() <= IN_A_ROW {
            thread.budget.set(IN_A_ROW);
            thread.gave_way.set(false);
        }
    });
}

/// Begins or ends a turn.
pub(super) fn set_limited(limited: bool) {
    let budget = if limited { IN_A_ROW } else { UNLIMITED };
    context::with(|thread| thread.budget.set(budget));
}

#[cold]
fn refuse(cx: &Context<'_>) -> bool {
    let refusals = context::with(|thread| {
        thread.refusals.set(thread.refusals.get() + 1);
        thread.refusals.get()
    });
    cx.waker().wake_by_ref();
    if refusals >= MAX_REFUSALS {
        context::with(|thread| thread.refusals.set(0));
        renew();
    }
    true
}

/// The bytes moved in a row.
const IN_A_ROW: usize = 256 * 1024;

/// The minimum cost of an operation in bytes: at most 128 operations in a row.
const MIN_COST: usize = 2 * 1024;

/// After this number of refusals, a poller polls in a circle instead of giving way to the loop.
const MAX_REFUSALS: u32 = 100_000;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::task::Waker;

    fn ops_in_a_row() -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        (0..1_000)
            .take_while(|_| metered(&mut cx, |_| Poll::Ready(())).is_ready())
            .count()
    }

    #[test]
    fn in_a_turn_each_operation_costs_something_and_a_refusal_is_not_the_end() {
        set_limited(true);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(ops_in_a_row(), 128);
        assert!(is_spent(&cx));
        renew();
        spend(IN_A_ROW - MIN_COST);
        assert!(metered(&mut cx, |_| Poll::<()>::Pending).is_pending());
        assert!(!is_spent(&cx), "waiting costs nothing");
        assert_eq!(ops_in_a_row(), 1);
        let refused = (0..).take_while(|_| is_spent(&cx)).count();
        assert!(refused <= MAX_REFUSALS as usize);
        set_limited(false);
        assert_eq!(ops_in_a_row(), 1_000);
    }
}
