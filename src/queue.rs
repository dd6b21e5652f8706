//! [`LocalQueue`]: a queue that is used through shared references on one thread.

#![allow(
    unsafe_code,
    reason = "the loop's queues are used many times a microsecond, and a `RefCell` around a \
              `VecDeque` costs as much as the rest of a task's way through them"
)]

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

/// A first-in, first-out queue behind a shared reference.
///
/// A ring whose capacity is a power of two. It runs no code of its items: it moves them in and out,
/// and drops them only when it is dropped itself.
pub(crate) struct LocalQueue<T> {
    ring: UnsafeCell<Box<[MaybeUninit<T>]>>,
    head: Cell<usize>,
    len: Cell<usize>,
}

impl<T> LocalQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            ring: UnsafeCell::default(),
            head: Cell::new(0),
            len: Cell::new(0),
        }
    }

    /// Adds an item at the back.
    #[inline]
    pub(crate) fn push(&self, item: T) {
        if self.len.get() == self.ring().len() {
            return self.grow_and_push(item);
        }
        self.put(item);
    }

    /// Takes the item at the front.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        let left = self.len.get().checked_sub(1)?;
        let ring = self.ring();
        let head = self.head.get();
        // SAFETY: `head` is below the capacity, which is not 0, because `len` was not.
        let slot = unsafe { ring.get_unchecked(head) };
        // SAFETY: it was put there and not taken since, and is taken once: `head` moves on.
        let item = unsafe { slot.assume_init_read() };
        self.head.set((head + 1) & (ring.len() - 1));
        self.len.set(left);
        Some(item)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all items, in a queue of their own.
    pub(crate) fn take(&self) -> Self {
        let taken = Self::new();
        self.swap(&taken);
        taken
    }

    /// Puts items in front of the present ones.
    pub(crate) fn put_back(&self, items: Self) {
        while let Some(item) = self.pop() {
            items.push(item);
        }
        self.swap(&items);
    }

    /// Returns the items, from the front.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &T> {
        let (head, len) = (self.head.get(), self.len.get());
        let ring = self.ring();
        // SAFETY: `len` items from `head` on are there, and stay while the queue is borrowed.
        (0..len).map(move |n| unsafe { ring[(head + n) & (ring.len() - 1)].assume_init_ref() })
    }

    /// Gives back memory that is unused since a peak.
    #[inline]
    pub(crate) fn shrink(&self) {
        if self.ring().len() > 4 * self.len() + SOME {
            self.resize(2 * self.len() + SOME / 2);
        }
    }

    /// Puts an item behind the last one, where there is room.
    #[inline]
    fn put(&self, item: T) {
        // SAFETY: nothing else refers to the ring during this line, and `write` runs no code.
        let ring = unsafe { &mut *self.ring.get() };
        let at = (self.head.get() + self.len.get()) & (ring.len() - 1);
        // SAFETY: the capacity is a power of two, and not 0, because there is room: `at` is below.
        unsafe { ring.get_unchecked_mut(at) }.write(item);
        self.len.set(self.len.get() + 1);
    }

    #[cold]
    #[inline(never)]
    fn grow_and_push(&self, item: T) {
        self.resize(2 * self.len() + FEW);
        self.put(item);
    }

    /// Moves the items into a ring with room for at least so many.
    #[cold]
    #[inline(never)]
    fn resize(&self, capacity: usize) {
        let larger = Self {
            ring: UnsafeCell::new(Box::new_uninit_slice(capacity.next_power_of_two())),
            head: Cell::new(0),
            len: Cell::new(0),
        };
        while let Some(item) = self.pop() {
            larger.put(item);
        }
        self.swap(&larger);
    }

    /// Exchanges all items.
    pub(crate) fn swap(&self, other: &Self) {
        self.head.swap(&other.head);
        self.len.swap(&other.len);
        // SAFETY: no other reference to either ring is alive, and no code of an item runs.
        unsafe { std::ptr::swap(self.ring.get(), other.ring.get()) };
    }

    /// The ring. No reference outlives a call from outside of this file, except that of
    /// [`LocalQueue::iter`], which borrows the queue.
    #[inline]
    fn ring(&self) -> &[MaybeUninit<T>] {
        // SAFETY: the queue is not `Sync`, every access is in this file, and none that changes the
        // ring runs inside another, because no code of an item runs.
        unsafe { &*self.ring.get() }
    }
}

impl<T> Drop for LocalQueue<T> {
    fn drop(&mut self) {
        while let Some(item) = self.pop() {
            drop(item);
        }
    }
}

impl<T> Default for LocalQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The capacity that a queue keeps in any case.
const SOME: usize = 1_000;

/// The room that a queue begins with.
const FEW: usize = 4;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_the_order_in_which_they_went_in() {
        let queue = LocalQueue::new();
        (1..=4).for_each(|n| queue.push(n));
        assert_eq!((queue.pop(), queue.len()), (Some(1), 3));
        let mut rest = queue.take();
        assert_eq!(rest.iter().copied().collect::<Vec<i32>>(), [2, 3, 4]);
        assert!(queue.is_empty());
        queue.push(5);
        queue.put_back(rest);
        let left: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(left, [2, 3, 4, 5]);
    }

    #[test]
    fn a_ring_that_goes_round_and_grows_and_shrinks_keeps_every_item() {
        let queue = LocalQueue::new();
        let (mut next, mut expected) = (0, 0);
        for round in 0..3_000 {
            for _ in 0..=round % 7 {
                queue.push(Box::new(next));
                next += 1;
            }
            for _ in 0..round % 6 {
                if let Some(item) = queue.pop() {
                    assert_eq!(*item, expected);
                    expected += 1;
                }
            }
        }
        let peak = queue.ring().len();
        while queue.len() > 10 {
            assert_eq!(queue.pop().as_deref(), Some(&expected));
            expected += 1;
        }
        queue.shrink();
        assert!(queue.ring().len() < peak);
        assert_eq!((queue.len(), queue.pop().as_deref()), (10, Some(&expected)));
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
