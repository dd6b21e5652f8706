//! Slots in the order of their numbers, optimised for one slot or none.
//!
//! # Invariants
//!
//! 1. `first` has a lower number than all of `rest`, and is empty only when `rest` is.

use crate::index::Index;

/// A list of slots with a number each. A single slot is stored inline, without an allocation.
#[derive(Default)]
pub(super) struct Numbered {
    first: Option<(u64, usize)>,
    rest: Index,
}

impl Numbered {
    /// Inserts a slot; its number is unique.
    pub(super) fn insert(&mut self, number: u64, slot: usize) {
        match &mut self.first {
            None => self.first = Some((number, slot)),
            Some(first) if number < first.0 => {
                let (later, other) = std::mem::replace(first, (number, slot));
                self.rest.insert(later.into(), other);
            }
            Some(_) => {
                self.rest.insert(number.into(), slot);
            }
        }
    }

    /// Returns the slot with the lowest number.
    pub(super) fn first(&self) -> Option<(u64, usize)> {
        self.first
    }

    /// Removes the slot with the lowest number, and returns it.
    pub(super) fn pop_first(&mut self) -> Option<(u64, usize)> {
        let first = self.first.take();
        if !self.rest.is_empty() {
            let next = self.rest.pop_first();
            self.first = next.map(|(number, slot)| (number as u64, slot));
        }
        first
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<usize> {
        match &self.first {
            Some((first, _)) if *first == number => self.pop_first().map(|(_, slot)| slot),
            _ if self.rest.is_empty() => None,
            _ => self.rest.remove(number.into()),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// Removes the slots in the order of their numbers.
impl Iterator for Numbered {
    type Item = (u64, usize);

    fn next(&mut self) -> Option<(u64, usize)> {
        self.pop_first()
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_order_is_that_of_the_numbers_however_they_come_and_leave() {
        let mut model = BTreeMap::new();
        let mut numbered = Numbered::default();
        let mut rng = 7_u64;
        for _ in 0..10_000 {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = rng >> 60;
            match (rng >> 40) % 4 {
                0 => assert_eq!(numbered.remove(number), model.remove(&number)),
                1 => assert_eq!(numbered.pop_first(), model.pop_first()),
                _ if model.insert(number, rng as usize).is_none() => {
                    numbered.insert(number, rng as usize)
                }
                _ => {
                    assert!(numbered.remove(number).is_some());
                    numbered.insert(number, rng as usize);
                }
            }
            assert_eq!(numbered.len(), model.len());
            assert_eq!(numbered.is_empty(), model.is_empty());
            assert_eq!(
                numbered.first().map(|(number, _)| number),
                model.keys().next().copied()
            );
        }
        assert!(numbered.eq(model));
    }
}
