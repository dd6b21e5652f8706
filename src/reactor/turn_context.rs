//! What another runtime keeps in a thread local, set while user code of a reactor runs:
//! [`TurnContext`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{Inner, Reactor};

/// A context that is entered when a reactor's turn begins, and left when it ends.
pub(crate) trait TurnContext {
    /// Enters or leaves the context: in turn, the first call enters it.
    fn toggle(&self);
}

/// The context of a reactor, if it has one.
#[derive(Default)]
pub(super) struct TurnContextSlot {
    context: RefCell<Option<Rc<dyn TurnContext>>>,
    /// The number of guards.
    depth: Cell<usize>,
}

/// The guard of [`TurnContextSlot::enter`].
pub(super) struct TurnContextGuard(Rc<TurnContextSlot>);

impl TurnContextSlot {
    /// Enters the context, if there is one or as soon as there is one, until the guard is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> TurnContextGuard {
        self.depth.set(self.depth.get() + 1);
        if self.depth.get() == 1 {
            self.toggle();
        }
        TurnContextGuard(self.clone())
    }

    /// Leaves and drops the context.
    pub(super) fn clear(&self) {
        if self.depth.get() > 0 {
            self.toggle();
        }
        let context = self.context.take();
        drop(context);
    }

    fn toggle(&self) {
        let context = self.context.borrow().clone();
        if let Some(context) = context {
            context.toggle();
        }
    }
}

impl Drop for TurnContextGuard {
    fn drop(&mut self) {
        let slot = &self.0;
        slot.depth.set(slot.depth.get() - 1);
        if slot.depth.get() == 0 {
            slot.toggle();
        }
    }
}

impl Reactor {
    /// Gives the reactor a context, which is entered at once if the reactor is in a turn. A reactor
    /// has one at most, and keeps it until it ends.
    pub(crate) fn set_turn_context(&self, context: Rc<dyn TurnContext>) {
        let slot = &self.inner().turn_context;
        slot.clear();
        *slot.context.borrow_mut() = Some(context);
        if slot.depth.get() > 0 {
            slot.toggle();
        }
    }
}

impl Inner {
    /// Returns whether the reactor has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.get() == super::State::Ended
    }
}
