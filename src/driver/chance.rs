//! Numbers of chance, for what must differ from process to process (or, in memory, must not).
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). It is good
//! enough to spread retries in time; it keeps no secret.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// A generator.
#[derive(Debug)]
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    /// One that is like no other.
    pub(super) fn new() -> Self {
        Self::from_seed(RandomState::new().hash_one(0))
    }

    /// The one that belongs to a seed.
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number between 0 and 1, which it never is.
    pub(crate) fn part(&self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        (self.next() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_numbers_of_the_paper_and_parts_lie_between_0_and_1() {
        let chance = Chance::from_seed(1_234_567);
        // The first three that the reference implementation gives for this seed.
        for number in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ] {
            assert_eq!(chance.next(), number);
        }
        let parts: Vec<f64> = (0..1000).map(|_| chance.part()).collect();
        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        let mean = parts.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
