//! Random numbers: [`Random`], and the generator of a reactor.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014). It is good enough to spread retries in time and to try a network; it keeps
//! no secret.

#![cfg_attr(
    not(any(doc, feature = "testing")),
    allow(
        unreachable_pub,
        reason = "`Random` is public with the feature `testing`"
    )
)]

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
#[cfg(any(doc, feature = "testing"))]
use std::ops::RangeInclusive;
#[cfg(any(doc, feature = "testing"))]
use std::time::Duration;

/// A generator of pseudo-random numbers: the same seed gives the same numbers, on every machine.
///
/// The numbers can be predicted: do not use them for secrets.
///
/// # Examples
///
/// ```
/// use torsade::testing::Random;
///
/// let mut one = Random::new(7);
/// let mut other = Random::new(7);
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert!(one.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes a generator from a seed. Neighbouring seeds give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number; all values of `u64` have the same probability.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Returns a number from 0 to `end - 1`, all with the same probability; 0 when `end` is 0.
    #[cfg(any(doc, feature = "testing"))]
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next_u64()) * end as u128;
        (wide >> 64) as usize
    }

    /// Returns `true` with this probability, which is from 0 (never) to 1 (always).
    #[cfg(any(doc, feature = "testing"))]
    pub fn gen_bool(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Returns a number from 0 to 1, excluding 1.
    pub fn fraction(&mut self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        (self.next_u64() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }

    /// Returns one of the elements, all with the same probability.
    ///
    /// # Panics
    ///
    /// Panics when the slice is empty.
    #[cfg(any(doc, feature = "testing"))]
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Returns a duration in this range, both ends included, all with the same probability.
    #[cfg(any(doc, feature = "testing"))]
    pub fn time(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let width = range.end().saturating_sub(*range.start());
        let nanos = usize::try_from(width.as_nanos()).unwrap_or(usize::MAX);
        *range.start() + Duration::from_nanos(self.below(nanos.saturating_add(1)) as u64)
    }
}

/// The generator of a reactor.
#[derive(Debug)]
pub(crate) struct Rng(RefCell<Random>);

impl Rng {
    /// Makes a generator from a random seed.
    pub(super) fn new() -> Self {
        Self::from_seed(RandomState::new().hash_one(0))
    }

    /// Makes the generator of a seed.
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(RefCell::new(Random::new(seed)))
    }

    /// Returns the next number from 0 to 1, excluding 1.
    pub(crate) fn fraction(&self) -> f64 {
        self.0.borrow_mut().fraction()
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_those_of_the_paper_and_fractions_lie_between_0_and_1() {
        let mut random = Random::new(1_234_567);
        // The first three numbers that the reference implementation gives for this seed.
        for number in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ] {
            assert_eq!(random.next_u64(), number);
        }
        let fractions: Vec<f64> = (0..1000).map(|_| random.fraction()).collect();
        assert!(
            fractions
                .iter()
                .all(|fraction| (0.0..1.0).contains(fraction))
        );
        let mean = fractions.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
