//! Values that the modules above store with a reactor: one of each type, until the reactor ends.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use super::Inner;
use crate::report;

/// The values, by their types.
#[derive(Default)]
pub(super) struct Extensions(RefCell<Vec<(TypeId, Rc<dyn Any>)>>);

impl Inner {
    /// Stores a value; returns the earlier one of this type, which may be a user's and is the
    /// caller's to drop.
    pub(crate) fn insert_extension<T: Any>(&self, value: Rc<T>) -> Option<Rc<dyn Any>> {
        let mut dump_items = self.extensions.0.borrow_mut();
        let (id, value) = (TypeId::of::<T>(), value as Rc<dyn Any>);
        match dump_items.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                dump_items.push((id, value));
                None
            }
        }
    }

    /// Returns the value of this type.
    pub(crate) fn extension<T: Any>(&self) -> Option<Rc<T>> {
        let dump_items = self.extensions.0.borrow();
        let (_, value) = dump_items.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        value.clone().downcast().ok()
    }

    /// Returns the value of this type, which `make` makes if there is none.
    pub(crate) fn extension_or<T: Any>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        self.extension().unwrap_or_else(|| {
            let value = Rc::new(make());
            drop(self.insert_extension(value.clone()));
            value
        })
    }

    /// Drops all values.
    pub(super) fn clear_extensions(&self) {
        let dump_items = self.extensions.0.take();
        for (_, value) in dump_items {
            report::discard(value, Location::caller());
        }
    }
}
