//! Ordered maps and sets that are compiled once.
//!
//! The standard library's B-tree is compiled anew for each type of key and value, and is a hundred
//! times the size of what is needed here. So there is one for all: [`Index`], from a number to a
//! number. An [`Indexed`] map stores its values beside such an index; a [`SortedVec`] is for the
//! few maps with other keys and few entries.
//!
//! All of them iterate in the order of the keys. [`sort`] sorts other lists by such an
//! index.

use std::collections::BTreeMap;

use slab::Slab;

use crate::slots::ShrinkPolicy;

/// Sorts by numbers, which differ from each other.
pub(crate) fn sort<T>(list: &mut Vec<T>, number: impl Fn(&T) -> u128) {
    let mut order = Index::default();
    for (at, entry) in list.iter().enumerate() {
        order.insert(number(entry), at);
    }
    let mut unsorted: Vec<Option<T>> = list.drain(..).map(Some).collect();
    let order = order.entries().into_iter().map(|(_, at)| at);
    list.extend(order.filter_map(|at| unsorted[at].take()));
    // Entries of one number: none is lost.
    list.extend(unsorted.into_iter().flatten());
}

/// A map from a number to a number; a set of numbers, if the values are ignored.
#[derive(Debug, Default)]
pub(crate) struct Index(BTreeMap<u128, usize>);

impl Index {
    pub(crate) fn insert(&mut self, key: u128, value: usize) -> Option<usize> {
        self.0.insert(key, value)
    }

    /// Adds a member to a set. Returns `false` if it is there already.
    pub(crate) fn add(&mut self, key: u128) -> bool {
        self.insert(key, 0).is_none()
    }

    pub(crate) fn get(&self, key: u128) -> Option<usize> {
        self.0.get(&key).copied()
    }

    pub(crate) fn contains(&self, key: u128) -> bool {
        self.0.contains_key(&key)
    }

    pub(crate) fn remove(&mut self, key: u128) -> Option<usize> {
        self.0.remove(&key)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u128, usize)> {
        self.0.pop_first()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all entries.
    pub(crate) fn entries(&self) -> Vec<(u128, usize)> {
        self.0.iter().map(|(key, value)| (*key, *value)).collect()
    }
}

/// A map from a number to a value.
#[derive(Debug)]
pub(crate) struct Indexed<V> {
    /// The index of each key's value in `values`.
    index: Index,
    values: Slab<V>,
    shrink_policy: ShrinkPolicy,
}

impl<V> Indexed<V> {
    /// Inserts a value; returns the earlier one.
    pub(crate) fn insert(&mut self, key: u64, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(key) {
            return Some(std::mem::replace(old, value));
        }
        self.index.insert(key.into(), self.values.insert(value));
        None
    }

    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        self.values.get(self.index.get(key.into())?)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.values.get_mut(self.index.get(key.into())?)
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<V> {
        let at = self.index.remove(key.into())?;
        Some(self.take(at))
    }

    /// Removes and returns the value with the lowest key.
    pub(crate) fn pop_first(&mut self) -> Option<V> {
        let (_, at) = self.index.pop_first()?;
        Some(self.take(at))
    }

    fn take(&mut self, at: usize) -> V {
        let value = self.values.remove(at);
        self.shrink_policy.give_back(&mut self.values, at);
        value
    }

    /// Iterates over the values, in the order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        let entries = self.index.entries().into_iter();
        entries.map(|(_, at)| &self.values[at])
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Removes all for which `keep` returns `false`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u64, &mut V) -> bool) {
        for (key, at) in self.index.entries() {
            if !keep(key as u64, &mut self.values[at]) {
                self.index.remove(key);
                drop(self.take(at));
            }
        }
    }
}

impl<V> Default for Indexed<V> {
    fn default() -> Self {
        Self {
            index: Index::default(),
            values: Slab::new(),
            shrink_policy: ShrinkPolicy::default(),
        }
    }
}

/// Takes the values out, in the order of their keys.
impl<V> Iterator for Indexed<V> {
    type Item = V;

    fn next(&mut self) -> Option<V> {
        self.pop_first()
    }
}

/// A map of few entries, by keys of any kind.
#[derive(Debug)]
pub(crate) struct SortedVec<K, V>(Vec<(K, V)>);

impl<K: Ord, V> SortedVec<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0
            .binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// Inserts a value; returns the earlier one.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Returns the value of `key`, which is a new one if there was none.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = self.find(&key).unwrap_or_else(|at| {
            self.0.insert(at, (key, V::default()));
            at
        });
        &mut self.0[at].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Default for SortedVec<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_indexed_map_does_what_a_b_tree_does() {
        let (mut model, mut map) = (BTreeMap::new(), Indexed::default());
        let mut rng = 7_u64;
        for _ in 0..10_000 {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = rng >> 58;
            match (rng >> 40) % 8 {
                0 | 1 => assert_eq!(map.remove(key), model.remove(&key)),
                2 => assert_eq!(map.pop_first(), model.pop_first().map(|(_, value)| value)),
                3 if key == 0 => {
                    map.retain(|key, value| (key ^ *value) & 1 == 0);
                    model.retain(|key, value| (key ^ *value) & 1 == 0);
                }
                _ => assert_eq!(map.insert(key, rng), model.insert(key, rng)),
            }
            assert_eq!(map.len(), model.len());
            assert_eq!(map.get(key), model.get(&key));
        }
        assert!(map.eq(model.into_values()));
    }

    #[test]
    fn a_sorted_vec_has_its_keys_in_order() {
        let mut map = SortedVec::default();
        for key in [3, 1, 2, 1] {
            map.insert(key.to_string(), key);
        }
        *map.get_or_default("0".to_owned()) += 7;
        assert_eq!(map.remove(&"2".to_owned()), Some(2));
        let all: Vec<_> = map.iter().map(|(key, value)| (&**key, *value)).collect();
        assert_eq!(all, [("0", 7), ("1", 1), ("3", 3)]);
        assert_eq!((map.get("3"), map.get("2")), (Some(&3), None));
    }
}
