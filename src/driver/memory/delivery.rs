//! How what is sent in a network in memory gets to where it goes, or does not.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::id::{Fault, SocketId};
use super::injector::{Arrival, InFlight, Kind};
use super::net::Net;
use crate::address::Address;

/// The items whose delivery the fault injector delays.
impl Net {
    /// When the next thing arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.injector.as_ref()?.flights.front()?;
        Some(*at)
    }

    /// Lets arrive what is due.
    pub(super) fn let_arrive(&mut self) {
        let now = self.now.get();
        while let Some(flight) = self.take_due(now) {
            match flight {
                InFlight::ToEnd(end, id, arrival) => {
                    if self.is_end(end, id) {
                        self.arrive(end, arrival);
                    }
                }
                InFlight::ToPost(udp, id, from, bytes) => self.datagram_comes(udp, id, from, bytes),
            }
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<InFlight> {
        let injector = self.injector.as_mut()?;
        let (at, _) = injector.flights.front()?;
        if *at > now {
            return None;
        }
        injector.flights.pop_front().map(|(_, flight)| flight)
    }

    /// Sends something to an end: it arrives at once, later, or never.
    pub(super) fn reach(&mut self, end: usize, arrival: Arrival) {
        let now = self.now.get();
        let (id, connection, last) = self.flight_to(end);
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
        self.note_flight(end, at);
    }

    /// Both ends of a connection are gone, or know that it is over.
    pub(super) fn forget(&mut self, connection: u64) {
        if let Some(injector) = &mut self.injector {
            injector.fates.remove(connection);
        }
    }

    /// As many of `count` bytes as may be written before a connection meets its fate; it does so
    /// with the last of them.
    pub(super) fn spend(&mut self, end: usize, count: usize) -> usize {
        let (_, connection, _) = self.flight_to(end);
        let Some(fate) = self
            .injector
            .as_mut()
            .and_then(|injector| injector.fates.get_mut(connection))
        else {
            return count;
        };
        if fate.struck {
            return count;
        }
        let spent = count.min(fate.left);
        fate.left -= spent;
        if spent == count {
            return count;
        }
        fate.struck = true;
        let kind = fate.kind;
        self.inject(end, kind);
        spent
    }

    /// The connection of `end` goes bad.
    fn inject(&mut self, end: usize, kind: Kind) {
        let ends: Vec<usize> = std::iter::once(end).chain(self.peer_of(end)).collect();
        let at = self.now.get() + SILENCE;
        for end in ends {
            match kind {
                Kind::Reset => self.arrive(end, Arrival::Fault(Fault::Reset)),
                Kind::Cut => {
                    let (id, ..) = self.flight_to(end);
                    let over = InFlight::ToEnd(end, id, Arrival::Fault(Fault::TimedOut));
                    if let Some(injector) = self.injector.as_mut() {
                        // What was under way is lost.
                        injector
                            .flights
                            .retain(|(_, flight)| !flight.is_to(end, id));
                        injector.launch(at, over);
                    }
                }
            }
        }
    }

    /// Sends a datagram to a socket: it comes at once, later, twice, or never.
    pub(super) fn carry(&mut self, udp: usize, from: &Address, bytes: Rc<[u8]>) {
        let now = self.now.get();
        let id = self.posts[udp].id;
        let Some(injector) = self.injector.as_mut().filter(|_| from.inet().is_some()) else {
            return self.datagram_comes(udp, id, from.clone(), bytes);
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
                self.datagram_comes(udp, id, from.clone(), bytes.clone());
            } else {
                let flight = InFlight::ToPost(udp, id, from.clone(), bytes.clone());
                injector.launch(now + delay, flight);
            }
        }
    }

    fn datagram_comes(&mut self, udp: usize, id: u64, from: Address, bytes: Rc<[u8]>) {
        let Some(this) = self.posts.get_mut(udp).filter(|udp| udp.id == id) else {
            return;
        };
        // UDP drops what nobody has room for; on UNIX sockets the sender has waited.
        if !this.is_full() && this.takes_from(&from) {
            this.put(from, bytes);
            self.touch(SocketId::MemoryUdpSocket(udp));
        }
    }
}

/// How long it takes until a dead connection is found out.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a datagram is held back at most.
const HELD_BACK: Duration = Duration::from_millis(100);
