//! The items in flight in an in-memory network, and the faults that happen to them.
//!
//! # Invariants
//!
//! 1. Items arrive at one end in the order in which they were sent. Datagrams may overtake each
//!    other.
//! 2. Items for a socket that is gone vanish, even when another socket has taken its slot.
//! 3. A random number is drawn only where a fault is possible, so a fault with probability zero
//!    does not change the others.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::faults::NetworkFaults;
use super::id::Fault;
use crate::address::Address;
use crate::driver::rng::Random;
use crate::index::Indexed;

/// The faults of a network, and all items in flight in it.
#[derive(Debug)]
pub(super) struct FaultInjector {
    pub(super) faults: NetworkFaults,
    pub(super) random: Random,
    /// In order of arrival; items that arrive together, in the order in which they were sent.
    pub(super) in_flight: VecDeque<(Instant, InFlight)>,
    /// The planned faults of connections, by the `id` of the client's end.
    pub(super) planned: Indexed<PlannedFault>,
}

/// An item in flight.
#[derive(Debug)]
pub(super) enum InFlight {
    /// To an end, by its slot and `id`.
    ToEnd(usize, u64, Arrival),
    /// A datagram, to a socket by its slot and `id`.
    ToUdp(usize, u64, Address, Rc<[u8]>),
}

/// An item that arrives at an end.
#[derive(Debug)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    /// The peer sends no more.
    End,
    /// The connection is broken.
    Fault(Fault),
    /// The request to connect (SYN) arrives where it leads.
    Syn,
    /// The connection is established.
    Connected,
}

/// A planned fault: when and how a connection breaks.
#[derive(Debug)]
pub(super) struct PlannedFault {
    pub(super) kind: Kind,
    /// The number of bytes that can still be written before it.
    pub(super) left: usize,
    pub(super) is_injected: bool,
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
            in_flight: VecDeque::new(),
            planned: Indexed::default(),
        }
    }

    /// Decides whether and how a connection will break.
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
        let planned = PlannedFault {
            kind,
            left,
            is_injected: false,
        };
        self.planned.insert(connection, planned);
    }

    pub(super) fn is_injected(&self, connection: u64) -> bool {
        self.planned
            .get(connection)
            .is_some_and(|planned| planned.is_injected)
    }

    pub(super) fn refuses(&mut self) -> bool {
        self.faults.refuse > 0.0 && self.random.gen_bool(self.faults.refuse)
    }

    /// Returns how much of `length` bytes one call takes, at most `most`.
    pub(super) fn piece(&mut self, length: usize, most: usize) -> usize {
        match length.min(most) {
            _ if most == 0 => length,
            0 | 1 => length.min(1),
            most => 1 + self.random.below(most),
        }
    }

    pub(super) fn launch(&mut self, at: Instant, flight: InFlight) {
        let index = self.in_flight.partition_point(|(other, _)| *other <= at);
        self.in_flight.insert(index, (at, flight));
    }
}

impl InFlight {
    pub(super) fn is_to(&self, end: usize, id: u64) -> bool {
        matches!(self, Self::ToEnd(to, number, _) if (*to, *number) == (end, id))
    }
}
