//! The order in which timers come due: a heap of small items, and a queue beside it.
//!
//! A parent has four children instead of two: half as many levels, and the children of one parent
//! are adjacent, which matters when a million items no longer fit the cache. An item has sixteen
//! bytes and holds only a deadline and a slot; the action is stored in the [table](super::table) of
//! timers, which also knows whether the item is still valid. The heap itself knows nothing of stale
//! items.
//!
//! Many timers are requested in the order in which they come due: all that have the same delay, for
//! instance. An item that comes after the last one of the queue is appended to the queue, and never
//! moves through the levels of the tree. Any other item goes into the tree.
//!
//! # Invariants
//!
//! 1. No item of the tree comes before its parent, and none of the queue before the one in front of
//!    it. So the earliest item is the first of the tree or the first of the queue.
//! 2. Items with equal deadlines come out in the order of their `seq`, also when the numbers wrap
//!    around between them (they must not be more than 2³¹ apart; otherwise only that order is
//!    lost).

use std::collections::VecDeque;

use crate::slots::shrink_queue;

/// A deadline and the slot of its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Nanoseconds since the clock's base.
    pub(super) deadline: u64,
    /// The number of the request that added the item; orders equal deadlines.
    pub(super) seq: u32,
    /// The index in the table of timers.
    pub(super) slot: u32,
}

impl Item {
    /// Returns whether this item comes out before `other`.
    #[inline]
    fn is_before(self, other: Self) -> bool {
        self.deadline < other.deadline
            || (self.deadline == other.deadline && is_older(self.seq, other.seq))
    }
}

/// Gives back the capacity that a list has kept from a peak. Keeps as much again as is in use, so
/// that a list that grows and shrinks does not reallocate each time.
#[inline]
pub(super) fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > 4 * list.len() + MANY {
        list.shrink_to(2 * list.len() + MANY / 2);
    }
}

/// The capacity that is kept in any case.
pub(super) const MANY: usize = 1_000;

/// The items, earliest first.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// The children of `i` are at `4 * i + 1 ..= 4 * i + 4`.
    items: Vec<Item>,
    /// Items that were added in order.
    queue: VecDeque<Item>,
}

impl Heap {
    /// Adds an item.
    #[inline]
    pub(super) fn push(&mut self, item: Item) {
        if self.queue.back().is_none_or(|last| last.is_before(item)) {
            return self.queue.push_back(item);
        }
        self.items.push(item);
        self.rise(self.items.len() - 1);
    }

    /// Takes the earliest item out.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if self.is_queue_first() {
            return self.queue.pop_front();
        }
        let last = self.items.pop()?;
        let Some(&first) = self.items.first() else {
            return Some(last);
        };
        self.items[0] = last;
        self.sink(0);
        Some(first)
    }

    /// Replaces the earliest item by `item`: a pop and a push at the cost of one.
    ///
    /// The heap must not be empty.
    pub(super) fn replace_first(&mut self, item: Item) {
        if self.is_queue_first() {
            self.queue.pop_front();
            return self.push(item);
        }
        self.items[0] = item;
        self.sink(0);
    }

    /// Drops all items except those for which `keep` returns `true`.
    pub(super) fn retain(&mut self, keep: impl Fn(Item) -> bool) {
        self.queue.retain(|item| keep(*item));
        // Without a branch, which could not be predicted: half of them are dropped.
        let mut kept = 0;
        for at in 0..self.items.len() {
            let item = self.items[at];
            self.items[kept] = item;
            kept += usize::from(keep(item));
        }
        self.items.truncate(kept);
        if self.items.len() > 1 {
            for at in (0..=(self.items.len() - 2) / CHILDREN).rev() {
                self.sink(at);
            }
        }
    }

    /// Gives memory back if most of it is unused.
    pub(super) fn shrink(&mut self) {
        shrink(&mut self.items);
        shrink_queue(&mut self.queue);
    }

    /// Returns the earliest item.
    #[inline]
    pub(super) fn first(&self) -> Option<Item> {
        match self.is_queue_first() {
            true => self.queue.front().copied(),
            false => self.items.first().copied(),
        }
    }

    /// Returns whether the earliest item is in the queue.
    #[inline]
    fn is_queue_first(&self) -> bool {
        match (self.queue.front(), self.items.first()) {
            (Some(queued), Some(first)) => queued.is_before(*first),
            (queued, _) => queued.is_some(),
        }
    }

    /// Returns the number of items.
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.queue.len()
    }

    /// Moves the item at `at` up to its position.
    fn rise(&mut self, mut at: usize) {
        let item = self.items[at];
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if !item.is_before(self.items[parent]) {
                break;
            }
            self.items[at] = self.items[parent];
            at = parent;
        }
        self.items[at] = item;
    }

    /// Moves the item at `at` down to its position.
    fn sink(&mut self, mut at: usize) {
        let items = &mut *self.items;
        let item = items[at];
        loop {
            let from = CHILDREN * at + 1;
            let Some((&head, rest)) = items.get(from..).and_then(|rest| rest.split_first()) else {
                break;
            };
            let (mut least, mut place) = (head, from);
            for (i, &child) in rest.iter().take(CHILDREN - 1).enumerate() {
                if child.is_before(least) {
                    (least, place) = (child, from + 1 + i);
                }
            }
            if !least.is_before(item) {
                break;
            }
            items[at] = least;
            at = place;
        }
        items[at] = item;
    }
}

/// Returns whether `a` was requested before `b`. Numbers wrap around.
#[inline]
fn is_older(a: u32, b: u32) -> bool {
    // The distance from `b` to `a` is more than half of the circle when `a` is before `b`.
    a.wrapping_sub(b) > u32::MAX / 2
}

/// The number of children of a parent.
const CHILDREN: usize = 4;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn item(deadline: u64, seq: u32) -> Item {
        Item {
            deadline,
            seq,
            slot: 0,
        }
    }

    fn drain(heap: &mut Heap) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| heap.pop())
            .map(|item| (item.deadline, item.seq))
            .collect()
    }

    /// Returns numbers without a pattern, the same each time.
    fn scrambled(n: u32) -> impl Iterator<Item = u32> {
        (1..=n).map(|i| i.wrapping_mul(2_654_435_761) >> 7)
    }

    #[test]
    fn items_come_out_by_deadline_and_then_by_number() {
        for n in [0, 1, 2, 3, 4, 5, 6, 20, 21, 22, 1_000] {
            let mut heap = Heap::default();
            let mut wanted = Vec::new();
            for (seq, x) in (0..).zip(scrambled(n)) {
                let deadline = u64::from(x % 37);
                heap.push(item(deadline, seq));
                wanted.push((deadline, seq));
            }
            wanted.sort_unstable();
            assert_eq!(
                heap.first().map(|i| (i.deadline, i.seq)),
                wanted.first().copied()
            );
            assert_eq!(drain(&mut heap), wanted);
        }
    }

    #[test]
    fn equal_deadlines_keep_their_order_across_the_end_of_the_numbers() {
        let mut heap = Heap::default();
        let numbers: Vec<u32> = (0..100).map(|i| (u32::MAX - 50).wrapping_add(i)).collect();
        for &seq in numbers.iter().rev() {
            heap.push(item(7, seq));
        }
        let out: Vec<u32> = drain(&mut heap).into_iter().map(|(_, seq)| seq).collect();
        assert_eq!(out, numbers);
    }

    #[test]
    fn replacing_the_first_is_a_pop_and_a_push() {
        let (mut one, mut two) = (Heap::default(), Heap::default());
        for (seq, x) in (0..).zip(scrambled(300)) {
            one.push(item(u64::from(x % 50), seq));
            two.push(item(u64::from(x % 50), seq));
        }
        for (seq, x) in (1_000..).zip(scrambled(100)) {
            let new = item(u64::from(x % 90), seq);
            one.replace_first(new);
            two.pop();
            two.push(new);
        }
        assert_eq!(drain(&mut one), drain(&mut two));
    }

    #[test]
    fn what_is_retained_is_in_order() {
        for n in [0, 1, 2, 9, 10, 11, 500] {
            let mut heap = Heap::default();
            let mut wanted = Vec::new();
            for (seq, x) in (0..).zip(scrambled(n)) {
                let deadline = u64::from(x % 50);
                heap.push(item(deadline, seq));
                if seq % 3 == 0 {
                    wanted.push((deadline, seq));
                }
            }
            heap.retain(|item| item.seq % 3 == 0);
            wanted.sort_unstable();
            assert_eq!(heap.len(), wanted.len());
            assert_eq!(drain(&mut heap), wanted);
        }
    }

    #[test]
    fn items_that_come_in_order_stay_out_of_the_tree_and_others_come_out_between_them() {
        let mut heap = Heap::default();
        for n in 0..100 {
            heap.push(item(10 * n, n as u32));
        }
        assert_eq!((heap.items.len(), heap.len()), (0, 100));
        for n in (0..50).rev() {
            heap.push(item(20 * n + 5, 100 + n as u32));
        }
        assert_eq!((heap.items.len(), heap.len()), (50, 150));
        let deadlines: Vec<u64> = drain(&mut heap).iter().map(|(at, _)| *at).collect();
        assert!(deadlines.is_sorted());
        assert_eq!((deadlines.len(), heap.len()), (150, 0));
    }

    #[test]
    fn an_item_is_sixteen_bytes() {
        assert_eq!(size_of::<Item>(), 16);
    }
}
