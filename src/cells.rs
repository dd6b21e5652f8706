//! Looks at what a [`Cell`] holds, and leaves it there; and wakes whoever has left a waker in one.

use std::cell::Cell;
use std::task::Waker;

/// Calls `f` with what is in the cell, and puts it back; meanwhile there is a default in it. For
/// looks that run nobody's code: what is put into the cell meanwhile is lost, and so is everything
/// when `f` panics.
#[inline]
pub(crate) fn with<T: Default, R>(cell: &Cell<T>, f: impl FnOnce(&mut T) -> R) -> R {
    let mut value = cell.take();
    let result = f(&mut value);
    cell.set(value);
    result
}

/// Is there something in the cell?
#[inline]
pub(crate) fn is_some<T>(cell: &Cell<Option<T>>) -> bool {
    with(cell, |value| value.is_some())
}

/// Takes the waker out of the cell, if there is one, and wakes.
#[inline]
pub(crate) fn wake(cell: &Cell<Option<Waker>>) {
    if let Some(waker) = cell.take() {
        waker.wake();
    }
}
