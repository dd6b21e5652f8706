//! Numbered places with a generation, for the keys of a poller.
//!
//! A key names one thing for good: when the thing has left and its place is taken by another, the old key finds
//! nothing. So an event that comes late, for a descriptor that is closed, reaches nobody.

use slab::Slab;

/// A table whose keys are never used twice (until a generation has wrapped round, half a word later).
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slab: Slab<(usize, T)>,
    generation: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            generation: 0,
        }
    }

    /// Puts a thing in; `make` is told its key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(usize) -> T) -> usize {
        self.generation = (self.generation + 1) & (INDEX >> 1);
        if self.slab.len() == self.slab.capacity() {
            // A quarter more, not twice as much: these tables are most of what an idle thing costs.
            self.slab.reserve_exact((self.slab.len() / 4).max(16));
        }
        let entry = self.slab.vacant_entry();
        let key = (self.generation << SHIFT) | (entry.key() & INDEX);
        entry.insert((self.generation, make(key)));
        key
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        match self.slab.get(key & INDEX) {
            Some((generation, thing)) if *generation == key >> SHIFT => Some(thing),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key & INDEX).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slab
            .iter()
            .map(|(index, (generation, thing))| ((generation << SHIFT) | index, thing))
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

const SHIFT: u32 = usize::BITS / 2;
const INDEX: usize = usize::MAX >> SHIFT;

#[cfg(test)]
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
    fn keys_stay_below_those_a_driver_keeps_for_itself() {
        let mut slots = Slots::new();
        slots.generation = INDEX;
        assert!(slots.insert_with(|_| ()) < usize::MAX / 2 + 1);
    }
}
