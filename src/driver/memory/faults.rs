//! What a network in memory does to what is sent: [`NetworkFaults`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::end::CAPACITY;
use crate::driver::rng::Random;

/// The faults of an in-memory network, and their probabilities. One seed decides all of them.
///
/// The same seed, faults and program give the same run exactly: the same bytes in the same pieces
/// at the same virtual times. Probabilities are from 0, never, to 1, always. [`NetworkFaults::new`]
/// has none of the faults; [`NetworkFaults::lossless`] and [`NetworkFaults::hostile`] choose by the
/// seed, so that many seeds try much.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::Reactor;
/// use torsade::testing::NetworkFaults;
///
/// let faults = NetworkFaults::new(7)
///     .delay(Duration::from_millis(1)..=Duration::from_millis(80))
///     .split_reads(3)
///     .reset(0.1);
/// let reactor = Reactor::builder().in_memory_with(faults).build()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NetworkFaults {
    pub(super) seed: u64,
    pub(super) refuse: f64,
    pub(super) delay: RangeInclusive<Duration>,
    pub(super) split: usize,
    pub(super) short: usize,
    pub(super) room: usize,
    pub(super) reset: f64,
    pub(super) cut: f64,
    pub(super) lose: f64,
    pub(super) duplicate: f64,
    pub(super) reorder: f64,
}

impl NetworkFaults {
    /// No faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            refuse: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            split: 0,
            short: 0,
            room: CAPACITY,
            reset: 0.0,
            cut: 0.0,
            lose: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }

    /// Faults by which nothing is lost: delays (in three of four seeds: up to 1 ms, 50 ms or 1 s),
    /// split reads and short writes (in three of four each: of 1, up to 3 or up to 100 bytes),
    /// little room (in half of them: 1 to 4096 bytes).
    pub fn lossless(seed: u64) -> Self {
        // Not the numbers that the network itself will draw.
        let mut random = Random::new(seed ^ SALT);
        let delay = Duration::from_millis(random.pick(&[0, 1, 50, 1000]));
        let pieces = [0, 1, 3, 100];
        let room = match random.gen_bool(0.5) {
            true => 1 + random.below(4096),
            false => CAPACITY,
        };
        Self::new(seed)
            .delay(Duration::ZERO..=delay)
            .split_reads(random.pick(&pieces))
            .short_writes(random.pick(&pieces))
            .room(room)
    }

    /// Makes the faults of [`NetworkFaults::lossless`], and in half of the seeds each of these: up
    /// to 30 of 100 connections refused, up to half of them reset, up to half of them cut; and up
    /// to 30 of 100 datagrams lost, doubled, late.
    pub fn hostile(seed: u64) -> Self {
        let mut random = Random::new(!seed ^ SALT);
        let mut upto = |most: usize| match random.gen_bool(0.5) {
            true => random.below(most + 1) as f64 / 100.0,
            false => 0.0,
        };
        Self::lossless(seed)
            .refuse(upto(30))
            .reset(upto(50))
            .cut(upto(50))
            .lose(upto(30))
            .duplicate(upto(30))
            .reorder(upto(30))
    }

    /// Sets the probability that a connection is refused although there is a listener.
    pub fn refuse(mut self, probability: f64) -> Self {
        self.refuse = probability;
        self
    }

    /// Sets the delay of what is sent, for each piece by itself; the pieces of one connection stay
    /// in order.
    #[doc(alias = "latency")]
    pub fn delay(mut self, range: RangeInclusive<Duration>) -> Self {
        self.delay = range;
        self
    }

    /// Each read of a connection gives from one byte to this many at most, all as likely; 0 for as
    /// many as there are.
    pub fn split_reads(mut self, most: usize) -> Self {
        self.split = most;
        self
    }

    /// Each write to a connection takes from one byte to this many at most, all as likely; 0 for as
    /// many as fit.
    pub fn short_writes(mut self, most: usize) -> Self {
        self.short = most;
        self
    }

    /// How many bytes each direction of a connection holds: 64 KiB unless this is called, 1 at
    /// least.
    pub fn room(mut self, bytes: usize) -> Self {
        self.room = bytes.max(1);
        self
    }

    /// The probability that a connection is reset at both ends once so many bytes have been written
    /// to it: from 0 to 2 to the power of 0 to 16, all powers as likely. What is under way then is
    /// lost.
    pub fn reset(mut self, probability: f64) -> Self {
        self.reset = probability;
        self
    }

    /// The probability that a connection goes dead after so many bytes, chosen as for
    /// [`NetworkFaults::reset`]: nothing arrives any more, and after 30 seconds both ends find that
    /// it has timed out.
    pub fn cut(mut self, probability: f64) -> Self {
        self.cut = probability;
        self
    }

    /// The probability that a datagram is lost. (UNIX sockets lose none.)
    pub fn lose(mut self, probability: f64) -> Self {
        self.lose = probability;
        self
    }

    /// The probability that a datagram that is not lost comes twice.
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// The probability that a datagram is held back for up to 100 ms more, while others overtake
    /// it.
    pub fn reorder(mut self, probability: f64) -> Self {
        self.reorder = probability;
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn delays(&self) -> bool {
        *self.delay.end() > Duration::ZERO
    }
}

const SALT: u64 = 0x7467_6573_6164_6520;
