//! How what is sent in a network in memory gets to where it goes, or does not.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::net::Net;
use super::place::{Fault, Place};
use super::weather::{Arrival, Flight, Kind};
use crate::address::Address;

/// What moves with the weather.
impl Net {
    /// When the next thing arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.weather.as_ref()?.flights.front()?;
        Some(*at)
    }

    /// Lets arrive what is due.
    pub(super) fn let_arrive(&mut self) {
        let now = self.now.get();
        while let Some(flight) = self.take_due(now) {
            match flight {
                Flight::ToEnd(end, id, arrival) => {
                    if self.is_end(end, id) {
                        self.arrive(end, arrival);
                    }
                }
                Flight::ToPost(post, id, from, bytes) => self.datagram_comes(post, id, from, bytes),
            }
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<Flight> {
        let weather = self.weather.as_mut()?;
        let (at, _) = weather.flights.front()?;
        if *at > now {
            return None;
        }
        weather.flights.pop_front().map(|(_, flight)| flight)
    }

    /// Sends something to an end: it arrives at once, later, or never.
    pub(super) fn reach(&mut self, end: usize, arrival: Arrival) {
        let now = self.now.get();
        let (id, connection, last) = self.flight_to(end);
        let is_unix = self.end(end).is_unix;
        let Some(weather) = self.weather.as_mut().filter(|_| !is_unix) else {
            return self.arrive(end, arrival);
        };
        if weather.is_struck(connection) {
            return;
        }
        if !weather.faults.delays() {
            return self.arrive(end, arrival);
        }
        let at = now + weather.random.time(&weather.faults.delay);
        let at = last.map_or(at, |last| last.max(at));
        weather.launch(at, Flight::ToEnd(end, id, arrival));
        self.note_flight(end, at);
    }

    /// Both ends of a connection are gone, or know that it is over.
    pub(super) fn forget(&mut self, connection: u64) {
        if let Some(weather) = &mut self.weather {
            weather.fates.remove(connection);
        }
    }

    /// As many of `count` bytes as may be written before a connection meets its fate; it does so
    /// with the last of them.
    pub(super) fn spend(&mut self, end: usize, count: usize) -> usize {
        let (_, connection, _) = self.flight_to(end);
        let Some(fate) = self
            .weather
            .as_mut()
            .and_then(|weather| weather.fates.get_mut(connection))
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
        self.strike(end, kind);
        spent
    }

    /// The connection of `end` goes bad.
    fn strike(&mut self, end: usize, kind: Kind) {
        let ends: Vec<usize> = std::iter::once(end).chain(self.peer_of(end)).collect();
        let at = self.now.get() + SILENCE;
        for end in ends {
            match kind {
                Kind::Reset => self.arrive(end, Arrival::Fault(Fault::Reset)),
                Kind::Cut => {
                    let (id, ..) = self.flight_to(end);
                    let over = Flight::ToEnd(end, id, Arrival::Fault(Fault::TimedOut));
                    if let Some(weather) = self.weather.as_mut() {
                        // What was under way is lost.
                        weather.flights.retain(|(_, flight)| !flight.is_to(end, id));
                        weather.launch(at, over);
                    }
                }
            }
        }
    }

    /// Sends a datagram to a socket: it comes at once, later, twice, or never.
    pub(super) fn carry(&mut self, post: usize, from: &Address, bytes: Rc<[u8]>) {
        let now = self.now.get();
        let id = self.posts[post].id;
        let Some(weather) = self.weather.as_mut().filter(|_| from.inet().is_some()) else {
            return self.datagram_comes(post, id, from.clone(), bytes);
        };
        let faults = weather.faults.clone();
        let random = &mut weather.random;
        if faults.lose > 0.0 && random.happens(faults.lose) {
            return;
        }
        let twice = faults.duplicate > 0.0 && random.happens(faults.duplicate);
        for _ in 0..1 + usize::from(twice) {
            let weather = self.weather.as_mut().expect("it was there above");
            let mut delay = weather.random.time(&faults.delay);
            if faults.reorder > 0.0 && weather.random.happens(faults.reorder) {
                delay += weather.random.time(&(Duration::ZERO..=HELD_BACK));
            }
            if delay == Duration::ZERO {
                self.datagram_comes(post, id, from.clone(), bytes.clone());
            } else {
                let flight = Flight::ToPost(post, id, from.clone(), bytes.clone());
                weather.launch(now + delay, flight);
            }
        }
    }

    fn datagram_comes(&mut self, post: usize, id: u64, from: Address, bytes: Rc<[u8]>) {
        let Some(this) = self.posts.get_mut(post).filter(|post| post.id == id) else {
            return;
        };
        // UDP drops what nobody has room for; on UNIX sockets the sender has waited.
        if !this.is_full() && this.takes_from(&from) {
            this.put(from, bytes);
            self.touch(Place::Post(post));
        }
    }
}

/// How long it takes until a dead connection is found out.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a datagram is held back at most.
const HELD_BACK: Duration = Duration::from_millis(100);
