//! What the current thread is doing: [`Context`], the one value that the crate keeps for each thread.
//!
//! A turn of a reactor, a poll of a task and a call of a callback note here what runs inside of them,
//! and put back what was there before when they end. Every field has a constant initial value and
//! none has a destructor, so an access is a load or a store at a fixed offset.
//!
//! This module is below all that run user code, so it cannot name their types. A [`Slot`] holds an
//! `Rc` of such a type, and the module that owns the type reads it back by that type.

use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::null;
use std::rc::Rc;

use crate::sync::thread_local;

/// What one thread is doing.
pub(crate) struct Context {
    /// The executor that new tasks are given to.
    pub(crate) executor: Slot,
    /// The address of that executor: its tasks may go into its queue directly.
    pub(crate) home: Cell<*const ()>,
    /// Is a reactor in a turn on this thread?
    pub(crate) in_turn: Cell<bool>,
    /// What is left of the running task's budget, in bytes; see [`crate::task`].
    pub(crate) budget: Cell<usize>,
    /// How often a task was refused since the last time that was too often.
    pub(crate) refusals: Cell<u32>,
    /// What is known of the task that is being polled.
    pub(crate) task: Slot,
    /// The task-locals that are set.
    pub(crate) locals: Slot,
    /// The counted waker that the present poll was given.
    pub(crate) lent: Slot,
    /// The data of that waker; null when none is counted.
    pub(crate) lent_data: Cell<*const ()>,
    /// The work for a loop that this thread does.
    pub(crate) work: Slot,
    /// The address of the loop that the future which was just polled waits for; 0 for none.
    pub(crate) awaited_loop: Cell<usize>,
}

/// Outside a turn the budget has no limit.
pub(crate) const UNLIMITED: usize = usize::MAX;

thread_local! {
    static CONTEXT: Context = const {
        Context {
            executor: Slot::new(),
            home: Cell::new(null()),
            in_turn: Cell::new(false),
            budget: Cell::new(UNLIMITED),
            refusals: Cell::new(0),
            task: Slot::new(),
            locals: Slot::new(),
            lent: Slot::new(),
            lent_data: Cell::new(null()),
            work: Slot::new(),
            awaited_loop: Cell::new(0),
        }
    };
}

/// Calls `f` with the current thread's context.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> R {
    CONTEXT.with(f)
}

/// Room for an `Rc` of a type that a higher module defines.
///
/// Whoever puts a value in takes it out again: what is left at the thread's end is leaked.
pub(crate) struct Slot(Cell<ManuallyDrop<Option<Rc<dyn Any>>>>);

impl Slot {
    const fn new() -> Self {
        Self(Cell::new(ManuallyDrop::new(None)))
    }

    /// Returns the value if it is a `T`.
    #[inline]
    pub(crate) fn get<T: Any>(&self) -> Option<Rc<T>> {
        let value = self.0.replace(ManuallyDrop::new(None));
        let copy = (*value).clone();
        self.0.set(value);
        copy?.downcast().ok()
    }

    /// Puts `value` in. Returns what was there before.
    #[inline]
    pub(crate) fn replace<T: Any>(&self, value: Option<Rc<T>>) -> Option<Rc<T>> {
        let value = value.map(|value| -> Rc<dyn Any> { value });
        let before = ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(value)));
        before.and_then(|before| before.downcast().ok())
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_gives_what_was_put_in_and_only_by_its_type() {
        let slot = Slot::new();
        assert_eq!(slot.replace(Some(Rc::new(1_u32))), None);
        assert_eq!(slot.get(), Some(Rc::new(1_u32)));
        assert_eq!(slot.get::<i32>(), None);
        let value = Rc::new(2_u32);
        let before = slot.replace(Some(value.clone()));
        assert_eq!(before, Some(Rc::new(1)));
        assert_eq!(slot.replace::<u32>(None), Some(value.clone()));
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn a_thread_needs_no_destructor_for_its_context() {
        assert!(!std::mem::needs_drop::<Context>());
    }
}
