//! Things in the order of their numbers, made for the case that there is one or none.
//!
//! # Invariants
//!
//! 1. `first` has a lower number than all of `rest`, and is empty only when `rest` is.

use std::collections::BTreeMap;

/// Things with a number each. A single one is stored inline, without an allocation.
pub(super) struct Numbered<T> {
    first: Option<(u64, T)>,
    rest: BTreeMap<u64, T>,
}

impl<T> Numbered<T> {
    /// Puts a thing in. No other has its number.
    pub(super) fn insert(&mut self, number: u64, thing: T) {
        match &mut self.first {
            None => self.first = Some((number, thing)),
            Some(first) if number < first.0 => {
                let (later, other) = std::mem::replace(first, (number, thing));
                self.rest.insert(later, other);
            }
            Some(_) => {
                self.rest.insert(number, thing);
            }
        }
    }

    /// The one with the lowest number.
    pub(super) fn first(&self) -> Option<(u64, &T)> {
        self.first.as_ref().map(|(number, thing)| (*number, thing))
    }

    /// Takes out the one with the lowest number.
    pub(super) fn pop_first(&mut self) -> Option<(u64, T)> {
        let first = self.first.take();
        if !self.rest.is_empty() {
            self.first = self.rest.pop_first();
        }
        first
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        match &self.first {
            Some((first, _)) if *first == number => self.pop_first().map(|(_, thing)| thing),
            _ if self.rest.is_empty() => None,
            _ => self.rest.remove(&number),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: BTreeMap::new(),
        }
    }
}

impl<T> IntoIterator for Numbered<T> {
    type Item = (u64, T);
    type IntoIter = std::iter::Chain<
        std::option::IntoIter<(u64, T)>,
        std::collections::btree_map::IntoIter<u64, T>,
    >;

    /// In the order of their numbers.
    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_numbers_however_they_come_and_leave() {
        let mut model = BTreeMap::new();
        let mut numbered = Numbered::default();
        let mut chance = 7_u64;
        for _ in 0..10_000 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let number = chance >> 60;
            match (chance >> 40) % 4 {
                0 => assert_eq!(numbered.remove(number), model.remove(&number)),
                1 => assert_eq!(numbered.pop_first(), model.pop_first()),
                _ if model.insert(number, chance).is_none() => numbered.insert(number, chance),
                _ => {
                    assert!(numbered.remove(number).is_some());
                    numbered.insert(number, chance);
                }
            }
            assert_eq!(numbered.len(), model.len());
            assert_eq!(numbered.is_empty(), model.is_empty());
            assert_eq!(
                numbered.first().map(|(number, _)| number),
                model.keys().next().copied()
            );
        }
        assert!(numbered.into_iter().eq(model));
    }
}
