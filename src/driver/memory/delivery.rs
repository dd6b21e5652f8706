//! Delivery in the in-memory network: sent items arrive, are delayed, or are lost.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::id::{Fault, SocketId};
use super::injector::{Arrival, InFlight, Kind};
use super::net::Net;
use crate::address::Address;

/// The items whose delivery the fault injector delays.
impl Net {
    /// Returns when the next item arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.injector.as_ref()?.in_flight.front()?;
        Some(*at)
    }

    /// Delivers the items that are due.
    pub(super) fn deliver_due(&mut self) {
        let now = self.now.get();
        while let Some(flight) = self.take_due(now) {
            match flight {
                InFlight::ToEnd(end, id, arrival) => {
                    if self.is_end(end, id) {
                        self.arrive(end, arrival);
                    }
                }
                InFlight::ToUdp(udp, id, from, bytes) => {
                    self.deliver_datagram(udp, id, from, bytes)
                }
            }
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<InFlight> {
        let injector = self.injector.as_mut()?;
        let (at, _) = injector.in_flight.front()?;
        if *at > now {
            return None;
        }
        injector.in_flight.pop_front().map(|(_, flight)| flight)
    }

    /// Sends an item to an end: it arrives immediately, later, or never.
    pub(super) fn transmit(&mut self, end: usize, arrival: Arrival) {
        let now = self.now.get();
        let (id, connection, last) = self.flight_info(end);
        let is_unix = self.end(end).is_unix;
        let Some(injector) = self.injector.as_mut().filter(|_| !is_unix) else {
            return self.arrive(end, arrival);
        };
        if injector.is_injected(connection) {
            return;
        }
        if !injector.faults.delays() {
            return self.arrive(end, arrival);
        }
        let at = now + injector.random.time(&injector.faults.delay);
        let at = last.map_or(at, |last| last.max(at));
        injector.launch(at, InFlight::ToEnd(end, id, arrival));
        self.set_last_arrival(end, at);
    }

    /// Drops the planned fault of a connection of which both ends are gone or broken.
    pub(super) fn forget(&mut self, connection: u64) {
        if let Some(injector) = &mut self.injector {
            injector.planned.remove(connection);
        }
    }

    /// Returns how many of `count` bytes can be written before the connection's planned fault;
    /// injects the fault with the last of them.
    pub(super) fn spend(&mut self, end: usize, count: usize) -> usize {
        let (_, connection, _) = self.flight_info(end);
        let Some(planned) = self
            .injector
            .as_mut()
            .and_then(|injector| injector.planned.get_mut(connection))
        else {
            return count;
        };
        if planned.is_injected {
            return count;
        }
        let spent = count.min(planned.left);
        planned.left -= spent;
        if spent == count {
            return count;
        }
        planned.is_injected = true;
        let kind = planned.kind;
        self.inject(end, kind);
        spent
    }

    /// Breaks the connection of `end`.
    fn inject(&mut self, end: usize, kind: Kind) {
        let ends: Vec<usize> = std::iter::once(end).chain(self.peer_of(end)).collect();
        let at = self.now.get() + SILENCE;
        for end in ends {
            match kind {
                Kind::Reset => self.arrive(end, Arrival::Fault(Fault::Reset)),
                Kind::Cut => {
                    let (id, ..) = self.flight_info(end);
                    let over = InFlight::ToEnd(end, id, Arrival::Fault(Fault::TimedOut));
                    if let Some(injector) = self.injector.as_mut() {
                        // Items in flight are lost.
                        injector
                            .in_flight
                            .retain(|(_, flight)| !flight.is_to(end, id));
                        injector.launch(at, over);
                    }
                }
            }
        }
    }

    /// Sends a datagram to a socket: it arrives immediately, later, twice, or never.
    pub(super) fn carry(&mut self, udp: usize, from: &Address, bytes: Rc<[u8]>) {
        let now = self.now.get();
        let id = self.udp_sockets[udp].id;
        let Some(injector) = self.injector.as_mut().filter(|_| from.inet().is_some()) else {
            return self.deliver_datagram(udp, id, from.clone(), bytes);
        };
        let faults = injector.faults.clone();
        let random = &mut injector.random;
        if faults.lose > 0.0 && random.gen_bool(faults.lose) {
            return;
        }
        let twice = faults.duplicate > 0.0 && random.gen_bool(faults.duplicate);
        for _ in 0..1 + usize::from(twice) {
            let injector = self.injector.as_mut().expect("it was there above");
            let mut delay = injector.random.time(&faults.delay);
            if faults.reorder > 0.0 && injector.random.gen_bool(faults.reorder) {
                delay += injector.random.time(&(Duration::ZERO..=HELD_BACK));
            }
            if delay == Duration::ZERO {
                self.deliver_datagram(udp, id, from.clone(), bytes.clone());
            } else {
                let flight = InFlight::ToUdp(udp, id, from.clone(), bytes.clone());
                injector.launch(now + delay, flight);
            }
        }
    }

    fn deliver_datagram(&mut self, udp: usize, id: u64, from: Address, bytes: Rc<[u8]>) {
        let Some(this) = self.udp_sockets.get_mut(udp).filter(|udp| udp.id == id) else {
            return;
        };
        // UDP drops a datagram that finds the buffer full; on UNIX sockets the sender has waited.
        if !this.is_full() && this.takes_from(&from) {
            this.put(from, bytes);
            self.touch(SocketId::MemoryUdpSocket(udp));
        }
    }
}

/// The time until a dead connection is detected.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest extra delay of a datagram.
const HELD_BACK: Duration = Duration::from_millis(100);
