//! Access to the value of a [`Cell`] in place, and to a waker in one.

use std::cell::Cell;
use std::task::Waker;

/// Calls `f` with the value of the cell, in which a default stands meanwhile. `f` must run no user
/// code: a value that is stored in the cell meanwhile is lost, and so is the cell's value if `f`
/// panics.
#[inline]
pub(crate) fn with<T: Default, R>(cell: &Cell<T>, f: impl FnOnce(&mut T) -> R) -> R {
    let mut value = cell.take();
    let result = f(&mut value);
    cell.set(value);
    result
}

/// Returns whether the cell holds `Some`.
#[inline]
pub(crate) fn is_some<T>(cell: &Cell<Option<T>>) -> bool {
    with(cell, |value| value.is_some())
}

/// Takes the waker out of the cell, if there is one, and wakes it.
#[inline]
pub(crate) fn wake(cell: &Cell<Option<Waker>>) {
    if let Some(waker) = cell.take() {
        waker.wake();
    }
}
