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
    pub(crate) fn insert_extension<T: Any>(&self, thing: Rc<T>) -> Option<Rc<dyn Any>> {
        let mut things = self.extensions.0.borrow_mut();
        let (id, thing) = (TypeId::of::<T>(), thing as Rc<dyn Any>);
        match things.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, thing)),
            None => {
                things.push((id, thing));
                None
            }
        }
    }

    /// What is kept of this type.
    pub(crate) fn extension<T: Any>(&self) -> Option<Rc<T>> {
        let things = self.extensions.0.borrow();
        let (_, thing) = things.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        thing.clone().downcast().ok()
    }

    /// Drops all values.
    pub(super) fn clear_extensions(&self) {
        let things = self.extensions.0.take();
        for (_, thing) in things {
            report::discard(thing, Location::caller());
        }
    }
}
