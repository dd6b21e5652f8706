//! Values that the modules above store with a reactor: one of each type, until the reactor ends.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use super::Inner;
use crate::report;

/// The things, by their types.
#[derive(Default)]
pub(super) struct Extensions(RefCell<Vec<(TypeId, Rc<dyn Any>)>>);

impl Inner {
    /// Keeps it; gives what was kept before, which may be a user's and is the caller's to drop.
    pub(crate) fn insert_extension<T: Any>(&self, dump_item: Rc<T>) -> Option<Rc<dyn Any>> {
        let mut dump_items = self.extensions.0.borrow_mut();
        let (id, dump_item) = (TypeId::of::<T>(), dump_item as Rc<dyn Any>);
        match dump_items.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, dump_item)),
            None => {
                dump_items.push((id, dump_item));
                None
            }
        }
    }

    /// What is kept of this type.
    pub(crate) fn extension<T: Any>(&self) -> Option<Rc<T>> {
        let dump_items = self.extensions.0.borrow();
        let (_, dump_item) = dump_items.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        dump_item.clone().downcast().ok()
    }

    /// Drops all values.
    pub(super) fn clear_extensions(&self) {
        let dump_items = self.extensions.0.take();
        for (_, dump_item) in dump_items {
            report::discard(dump_item, Location::caller());
        }
    }
}
