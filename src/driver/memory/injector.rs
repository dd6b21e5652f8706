//! What is under way in a network in memory, and what happens to it.
//!
//! # Invariants
//!
//! 1. What comes to one end comes in the order it was sent. Datagrams do not care.
//! 2. What comes for something that is gone vanishes, even where its place has been taken by
//!    another.
//! 3. Rng is asked only where a fault may happen, so that one that cannot changes nothing about the
//!    others.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::faults::NetworkFaults;
use super::id::Fault;
use crate::address::Address;
use crate::driver::rng::Random;
use crate::index::Indexed;

/// The faults of a network, and all that is under way in it.
#[derive(Debug)]
pub(super) struct FaultInjector {
    pub(super) faults: NetworkFaults,
    pub(super) random: Random,
    /// In the order in which they arrive; of those that arrive together, in which they were sent.
    pub(super) flights: VecDeque<(Instant, InFlight)>,
    /// What connections are fated to; by the number of their client's end.
    pub(super) fates: Indexed<Fate>,
}

/// Something under way.
#[derive(Debug)]
pub(super) enum InFlight {
    /// To an end, by its place and number.
    ToEnd(usize, u64, Arrival),
    /// A datagram, to a socket by its place and number.
    ToPost(usize, u64, Address, Rc<[u8]>),
}

/// What can come to an end.
#[derive(Debug)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    /// The peer sends no more.
    End,
    /// The connection is over.
    Fault(Fault),
    /// A connection that this end wants comes to where it leads.
    Knock,
    /// It is made.
    Made,
}

/// When and how a connection ends before its time.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) kind: Kind,
    /// So many bytes may still be written.
    pub(super) left: usize,
    pub(super) struck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reset,
    Cut,
}

impl FaultInjector {
    pub(super) fn new(faults: NetworkFaults) -> Self {
        Self {
            random: Random::new(faults.seed),
            faults,
            flights: VecDeque::new(),
            fates: Indexed::default(),
        }
    }

    /// What a connection is fated to.
    pub(super) fn plan(&mut self, connection: u64) {
        let kind = if self.faults.reset > 0.0 && self.random.gen_bool(self.faults.reset) {
            Kind::Reset
        } else if self.faults.cut > 0.0 && self.random.gen_bool(self.faults.cut) {
            Kind::Cut
        } else {
            return;
        };
        let power = self.random.below(17);
        let left = self.random.below((1 << power) + 1);
        let fate = Fate {
            kind,
            left,
            struck: false,
        };
        self.fates.insert(connection, fate);
    }

    pub(super) fn is_injected(&self, connection: u64) -> bool {
        self.fates.get(connection).is_some_and(|fate| fate.struck)
    }

    pub(super) fn refuses(&mut self) -> bool {
        self.faults.refuse > 0.0 && self.random.gen_bool(self.faults.refuse)
    }

    /// How much of `length` bytes is taken in one go of at most `most`.
    pub(super) fn piece(&mut self, length: usize, most: usize) -> usize {
        match length.min(most) {
            _ if most == 0 => length,
            0 | 1 => length.min(1),
            most => 1 + self.random.below(most),
        }
    }

    pub(super) fn launch(&mut self, at: Instant, flight: InFlight) {
        let place = self.flights.partition_point(|(other, _)| *other <= at);
        self.flights.insert(place, (at, flight));
    }
}

impl InFlight {
    pub(super) fn is_to(&self, end: usize, id: u64) -> bool {
        matches!(self, Self::ToEnd(to, number, _) if (*to, *number) == (end, id))
    }
}
