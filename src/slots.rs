//! Tables with generations, for the keys of a poller, and ordered tables.
//!
//! A key identifies one entry for good: when the entry has been removed and its slot is reused, the
//! old key finds nothing. So a late event for a descriptor that is closed reaches no handler.

use std::collections::VecDeque;

use slab::Slab;

/// A table whose keys are never reused (until a generation has wrapped around, which has almost
/// half the bits of a word).
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slab: Slab<(usize, T)>,
    generation: usize,
    shrink_policy: ShrinkPolicy,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            generation: 0,
            shrink_policy: ShrinkPolicy::default(),
        }
    }

    /// Adds an entry; `make` gets its key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(usize) -> T) -> usize {
        self.insert_giving(|key| (make(key), key))
    }

    /// Adds an entry; returns what `make` returns besides the entry.
    pub(crate) fn insert_giving<R>(&mut self, make: impl FnOnce(usize) -> (T, R)) -> R {
        self.generation = (self.generation + 1) & GENERATION;
        if self.slab.len() == self.slab.capacity() {
            // Grows by an eighth, not by doubling: these tables are most of the memory of an idle
            // entry.
            self.slab.reserve_exact((self.slab.len() / 8).max(16));
            self.shrink_policy = ShrinkPolicy::default();
        }
        let entry = self.slab.vacant_entry();
        let key = (self.generation << SHIFT) | (entry.key() & INDEX);
        let (value, given) = make(key);
        entry.insert((self.generation, value));
        given
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        match self.slab.get_mut(key & INDEX) {
            Some((generation, value)) if *generation == key >> SHIFT => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        match self.slab.get(key & INDEX) {
            Some((generation, value)) if *generation == key >> SHIFT => Some(value),
            _ => None,
        }
    }

    /// Replaces an entry; returns the one that was there.
    ///
    /// # Panics
    ///
    /// Panics when there is none.
    pub(crate) fn replace(&mut self, key: usize, value: T) -> T {
        let entry = self
            .get_mut(key)
            .expect("the entry is replaced before it is removed");
        std::mem::replace(entry, value)
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        self.get(key)?;
        let value = self.slab.remove(key & INDEX).1;
        self.shrink_policy.give_back(&mut self.slab, key & INDEX);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slab
            .iter()
            .map(|(index, (generation, value))| ((generation << SHIFT) | index, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

/// Decides when a table gives memory back.
#[derive(Debug)]
pub(crate) struct ShrinkPolicy {
    /// It shrinks at or below this number of entries.
    shrink_at: usize,
    /// The index of the last entry when memory was last given back.
    last: usize,
}

impl ShrinkPolicy {
    /// Gives memory back after the entry at `index` was removed.
    #[inline]
    pub(crate) fn give_back<T>(&mut self, slab: &mut Slab<T>, index: usize) {
        let len = slab.len();
        // Shrinking walks through the whole table: it is tried whenever half of what was left has
        // been removed and, of the last few, when the entry at the end has been removed.
        let is_time = len <= self.shrink_at || (len <= MAX_FREE && index == self.last);
        if is_time && slab.capacity() > 4 * len + MAX_FREE {
            self.shrink(slab);
        }
    }

    /// Removes the free slots behind the last entry.
    #[cold]
    fn shrink<T>(&mut self, slab: &mut Slab<T>) {
        if slab.is_empty() {
            *slab = Slab::new();
        } else {
            slab.shrink_to_fit();
        }
        self.shrink_at = slab.len() / 2;
        self.last = slab.iter().next_back().map_or(0, |(index, _)| index);
    }
}

/// Returns the policy of a table that has just grown.
impl Default for ShrinkPolicy {
    fn default() -> Self {
        Self {
            shrink_at: usize::MAX,
            last: 0,
        }
    }
}

/// Gives back the capacity that a queue has kept from a peak.
#[inline]
pub(crate) fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 4 * queue.len() + MIN_KEPT {
        queue.shrink_to(2 * queue.len() + MIN_KEPT / 2);
    }
}

/// The capacity that a queue keeps in any case.
const MIN_KEPT: usize = 1_000;

/// A list in the order of insertion, with a key for each entry; insertion and removal take constant
/// time.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    slots: Slots<Link<T>>,
    first: usize,
    last: usize,
}

#[derive(Debug)]
struct Link<T> {
    value: T,
    before: usize,
    after: usize,
}

impl<T> Ordered<T> {
    /// Adds an entry at the end; returns its key.
    pub(crate) fn push(&mut self, value: T) -> usize {
        let before = self.last;
        let key = self.slots.insert_with(|_| Link {
            value,
            before,
            after: NONE,
        });
        match self.slots.get_mut(before) {
            Some(before) => before.after = key,
            None => self.first = key,
        }
        self.last = key;
        key
    }

    /// Returns an entry, if it is there.
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.slots.get_mut(key).map(|link| &mut link.value)
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        let Link {
            value,
            before,
            after,
        } = self.slots.remove(key)?;
        match self.slots.get_mut(before) {
            Some(before) => before.after = after,
            None => self.first = after,
        }
        match self.slots.get_mut(after) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
        Some(value)
    }

    /// Removes all entries, in their order.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.take_if(|_| true)
    }

    /// Removes the entries for which `which` returns `true`, in their order.
    pub(crate) fn take_if(&mut self, mut which: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let mut key = self.first;
        while let Some(link) = self.slots.get_mut(key) {
            let (own, is_one) = (key, which(&mut link.value));
            key = link.after;
            if is_one {
                taken.extend(self.remove(own));
            }
        }
        taken
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            slots: Slots::new(),
            first: NONE,
            last: NONE,
        }
    }
}

/// The key of no entry: its index is out of range.
const NONE: usize = INDEX;

/// The number of free slots that are kept.
const MAX_FREE: usize = 64;

const SHIFT: u32 = usize::BITS / 2;
const INDEX: usize = usize::MAX >> SHIFT;
/// Generations leave the highest bits of a key clear: the highest one, and of a long key one more,
/// for code that packs something beside it.
const GENERATION: usize = INDEX >> if usize::BITS > 32 { 2 } else { 1 };

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_place_used_again() {
        let mut slots = Slots::new();
        let old = slots.insert_with(|_| "old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert_with(|_| "new");
        assert_eq!(old & INDEX, new & INDEX);
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"new"));
    }

    #[test]
    fn after_a_peak_the_memory_is_given_back() {
        let mut slots = Slots::new();
        let keys: Vec<_> = (0..100_000).map(|n| slots.insert_with(|_| n)).collect();
        for key in &keys[10..] {
            slots.remove(*key);
        }
        assert!(slots.slab.capacity() < 1_000);
        for key in &keys[..10] {
            assert!(slots.remove(*key).is_some());
        }
        assert!(slots.slab.capacity() <= MAX_FREE);
        assert_eq!(slots.len(), 0);
        let key = slots.insert_with(|_| 0);
        assert!(!keys.contains(&key), "a key is not used twice");
    }

    #[test]
    fn the_order_holds_whoever_leaves() {
        let mut ordered = Ordered::default();
        let keys: Vec<_> = (0..10).map(|n| ordered.push(n)).collect();
        for n in [0, 9, 4, 5, 1] {
            assert_eq!(ordered.remove(keys[n]), Some(n));
            assert_eq!(ordered.remove(keys[n]), None);
        }
        ordered.push(10);
        assert_eq!(ordered.take_if(|n| *n % 2 == 1), [3, 7]);
        assert_eq!(ordered.len(), 4);
        assert_eq!(ordered.take_all(), [2, 6, 8, 10]);
        assert_eq!(ordered.len(), 0);
        let new = ordered.push(11);
        assert!(!keys.contains(&new));
        assert_eq!(ordered.take_all(), [11]);
    }

    #[test]
    fn keys_stay_below_those_a_driver_keeps_for_itself() {
        let mut slots = Slots::new();
        slots.generation = INDEX;
        assert!(slots.insert_with(|_| ()) < usize::MAX / 2 + 1);
    }
}
