//! The faults of an in-memory network: [`NetworkFaults`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::end::CAPACITY;
use crate::driver::rng::Random;

/// The faults of an in-memory network, and their probabilities. The seed decides when they happen.
///
/// The same seed, faults and program give the same run exactly: the same bytes in the same pieces
/// at the same virtual times. Probabilities are from 0 (never) to 1 (always).
/// [`NetworkFaults::new`] has no faults, and the methods add some; [`NetworkFaults::lossless`] and
/// [`NetworkFaults::hostile`] choose faults by the seed, so that many seeds try many combinations.
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
    pub(super) buffer_size: usize,
    pub(super) reset: f64,
    pub(super) cut: f64,
    pub(super) lose: f64,
    pub(super) duplicate: f64,
    pub(super) reorder: f64,
}

impl NetworkFaults {
    /// Makes a network without faults, to which the other methods add some.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            refuse: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            split: 0,
            short: 0,
            buffer_size: CAPACITY,
            reset: 0.0,
            cut: 0.0,
            lose: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }

    /// Makes faults by which nothing is lost, chosen by the seed: for three seeds of four, a delay
    /// of at most 1 ms, 50 ms or 1 s; likewise for three of four, reads that return at most 1, 3 or
    /// 100 bytes, and writes that accept at most as many; for half of the seeds, buffers of 1 to
    /// 4096 bytes.
    pub fn lossless(seed: u64) -> Self {
        // A stream of numbers other than the network's.
        let mut random = Random::new(seed ^ SALT);
        let delay = Duration::from_millis(random.pick(&[0, 1, 50, 1000]));
        let pieces = [0, 1, 3, 100];
        let buffer_size = match random.gen_bool(0.5) {
            true => 1 + random.below(4096),
            false => CAPACITY,
        };
        Self::new(seed)
            .delay(Duration::ZERO..=delay)
            .split_reads(random.pick(&pieces))
            .short_writes(random.pick(&pieces))
            .buffer_size(buffer_size)
    }

    /// Makes the faults of [`NetworkFaults::lossless`], and, each for half of the seeds: at most 30
    /// % of the connections refused, at most half of them reset, at most half of them cut; at most
    /// 30 % of the datagrams lost, duplicated, or delivered late.
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

    /// Sets the range of delays. Each write is delayed separately; the bytes of one connection stay
    /// in order. Default: no delay.
    #[doc(alias = "latency")]
    pub fn delay(mut self, range: RangeInclusive<Duration>) -> Self {
        self.delay = range;
        self
    }

    /// Sets the largest number of bytes of a read: each read of a connection returns from 1 to
    /// `most` bytes, all numbers with the same probability. Default: 0, with which a read returns
    /// all bytes that have arrived.
    pub fn split_reads(mut self, most: usize) -> Self {
        self.split = most;
        self
    }

    /// Sets the largest number of bytes of a write: each write to a connection accepts from 1 to
    /// `most` bytes, all numbers with the same probability. Default: 0, with which a write accepts
    /// all bytes that fit.
    pub fn short_writes(mut self, most: usize) -> Self {
        self.short = most;
        self
    }

    /// Sets the number of bytes that each direction of a connection buffers, at least 1. Default:
    /// 64 KiB.
    pub fn buffer_size(mut self, bytes: usize) -> Self {
        self.buffer_size = bytes.max(1);
        self
    }

    /// Sets the probability that a connection is reset at both ends after a random number of bytes
    /// was written to it: from 0 to a power of two, which is chosen from 1 to 65,536, so that small
    /// numbers are frequent. Bytes that are then on their way are lost.
    pub fn reset(mut self, probability: f64) -> Self {
        self.reset = probability;
        self
    }

    /// Sets the probability that a connection is cut after a random number of bytes, chosen as for
    /// [`NetworkFaults::reset`]: nothing arrives any more, and after 30 seconds both ends fail with
    /// [`io::ErrorKind::TimedOut`](std::io::ErrorKind::TimedOut).
    pub fn cut(mut self, probability: f64) -> Self {
        self.cut = probability;
        self
    }

    /// Sets the probability that a datagram is lost. (UNIX sockets lose no datagrams.)
    pub fn lose(mut self, probability: f64) -> Self {
        self.lose = probability;
        self
    }

    /// Sets the probability that a datagram that is not lost arrives twice.
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Sets the probability that a datagram is delayed by up to 100 ms more than the others, which
    /// overtake it.
    pub fn reorder(mut self, probability: f64) -> Self {
        self.reorder = probability;
        self
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn delays(&self) -> bool {
        *self.delay.end() > Duration::ZERO
    }
}

const SALT: u64 = 0x7467_6573_6164_6520;
