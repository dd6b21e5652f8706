//! [`LocalQueue`]: a queue that is used through shared references on one thread.

#![allow(
    unsafe_code,
    reason = "the loop's queues are used many times a microsecond, and a `RefCell` costs as much as they do"
)]

use std::cell::UnsafeCell;
use std::collections::VecDeque;

use crate::slots::shrink_queue;

/// A first-in, first-out queue behind a shared reference.
///
/// It runs no code of its items: it moves them in and out, and drops none.
pub(crate) struct LocalQueue<T>(UnsafeCell<VecDeque<T>>);

impl<T> LocalQueue<T> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(VecDeque::new()))
    }

    /// Adds an item at the back.
    #[inline]
    pub(crate) fn push(&self, item: T) {
        self.with(|queue| queue.push_back(item));
    }

    /// Takes the item at the front.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        self.with(VecDeque::pop_front)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.with(|queue| queue.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all items.
    pub(crate) fn take(&self) -> VecDeque<T> {
        self.with(std::mem::take)
    }

    /// Puts items in front of the present ones.
    pub(crate) fn put_back(&self, mut items: VecDeque<T>) {
        self.with(|queue| {
            items.append(queue);
            std::mem::swap(queue, &mut items);
        });
    }

    /// Gives back memory that is unused since a peak.
    #[inline]
    pub(crate) fn shrink(&self) {
        self.with(shrink_queue);
    }

    /// Calls `f`, which must run no code from outside of this file.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        // SAFETY: the queue is not `Sync`, every access is here, and no access runs inside another:
        // none of the closures above runs code of an item. The reference ends with the call.
        f(unsafe { &mut *self.0.get() })
    }
}

impl<T> Default for LocalQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_the_order_in_which_they_went_in() {
        let queue = LocalQueue::new();
        (1..=4).for_each(|n| queue.push(n));
        assert_eq!((queue.pop(), queue.len()), (Some(1), 3));
        let rest = queue.take();
        assert!(queue.is_empty());
        queue.push(5);
        queue.put_back(rest);
        let left: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(left, [2, 3, 4, 5]);
    }

    #[test]
    fn an_item_whose_destructor_uses_the_queue_is_dropped_outside_of_it() {
        use std::rc::Rc;

        struct Pushes(Rc<LocalQueue<Option<Self>>>);

        impl Drop for Pushes {
            fn drop(&mut self) {
                self.0.push(None);
            }
        }

        let queue = Rc::new(LocalQueue::new());
        queue.push(Some(Pushes(queue.clone())));
        drop(queue.pop());
        assert_eq!(queue.len(), 1);
    }
}
