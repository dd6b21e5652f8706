//! The network in memory: its listeners, its connections, and who watches them.
//!
//! Everything is in one table and is named by a [`SocketId`]; sockets and listeners only hold the
//! name. Each change of a place's state notes it in `changed`; telling looks at those only, and
//! keeps the ones that are still ready, which is what makes it level-triggered.
//!
//! # Invariants
//!
//! 1. A watched place that has something to tell is in `changed`, under the key it is watched with.
//! 2. `peer` goes both ways: if A's peer is B then B's peer is A.
//! 3. An address in `taken` belongs to a listener or to the end of a client that is open.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::mem;
use std::net::{IpAddr, Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;

use super::end::{CAPACITY, End};
use super::faults::NetworkFaults;
use super::id::{Fault, Ready, SocketId, Watch, covers, here, next_port};
use super::injector::{Arrival, FaultInjector};
use super::udp::MemoryUdpSocket;
use crate::address::Address;
use crate::driver::poller::{Event, Interest};
use crate::index::Indexed;

/// A network.
#[derive(Debug)]
pub(super) struct Net {
    ends: Slab<End>,
    doors: Slab<MemoryListener>,
    pub(super) posts: Slab<MemoryUdpSocket>,
    /// What may have something to tell, in the order it is told.
    changed: Indexed<SocketId>,
    /// Only asked whether something is in it: its order tells nothing.
    taken: HashSet<Address>,
    /// How many ports were handed out.
    handed_out: usize,
    /// How many ports for datagrams were.
    pub(super) posted: usize,
    /// How many numbers for ends and sockets were.
    numbers: u64,
    /// The driver's time.
    pub(super) now: Rc<Cell<Instant>>,
    pub(super) injector: Option<Box<FaultInjector>>,
}

/// A listener.
#[derive(Debug)]
struct MemoryListener {
    addr: Address,
    backlog: usize,
    /// Ends whose connection is made and was not accepted.
    queue: VecDeque<usize>,
    watch: Option<Watch>,
}

/// Who is listening and connecting.
impl Net {
    /// A network, and what goes wrong in it, if anything.
    pub(super) fn new(now: Rc<Cell<Instant>>, faults: Option<NetworkFaults>) -> Self {
        Self {
            ends: Slab::new(),
            doors: Slab::new(),
            posts: Slab::new(),
            changed: Indexed::default(),
            taken: HashSet::new(),
            handed_out: 0,
            posted: 0,
            numbers: 0,
            now,
            injector: faults.map(|faults| Box::new(FaultInjector::new(faults))),
        }
    }

    /// A number for an end or a socket.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Listens, and says at which address.
    pub(super) fn listen(
        &mut self,
        addr: Address,
        backlog: i32,
    ) -> Result<(usize, Address), Fault> {
        let addr = self.bind(addr)?;
        let listener = self.doors.insert(MemoryListener {
            addr: addr.clone(),
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            queue: VecDeque::new(),
            watch: None,
        });
        Ok((listener, addr))
    }

    /// Makes a connection, or an end that was refused or is never answered.
    pub(super) fn connect(
        &mut self,
        addr: &Address,
        bind: Option<&Address>,
    ) -> Result<usize, Fault> {
        let Address::Ip(addr) = addr else {
            return self.connect_unix(addr, bind);
        };
        let remote = SocketAddr::new(here(addr.ip()), addr.port());
        let from = match bind {
            Some(bind) => bind.inet().ok_or(Fault::WrongFamily)?,
            None => SocketAddr::new(remote.ip(), 0),
        };
        if from.is_ipv4() != remote.is_ipv4() {
            return Err(Fault::WrongFamily);
        }
        let from = if from.ip().is_unspecified() {
            SocketAddr::new(remote.ip(), from.port())
        } else {
            from
        };
        let local = self.bind(from.into())?;
        let id = self.number();
        let capacity = match &self.injector {
            Some(injector) => injector.faults.room,
            None => CAPACITY,
        };
        let mut end = End::new(local, Address::Ip(remote), id, capacity);
        end.connecting = true;
        let client = self.ends.insert(end);
        self.reach(client, Arrival::Knock);
        Ok(client)
    }

    /// A client comes to where it wants to connect to: it is let in, or refused, or nobody answers.
    fn syn(&mut self, client: usize) {
        let remote = self.ends[client].remote.clone();
        let refused = self
            .injector
            .as_mut()
            .is_some_and(|injector| injector.refuses());
        let listener = self
            .door_to(&remote)
            .filter(|listener| self.has_room(*listener));
        match listener {
            Some(listener) if !refused => {
                self.join(client, listener);
                let connection = self.ends[client].connection;
                if let Some(injector) = &mut self.injector {
                    injector.plan(connection);
                }
                self.reach(client, Arrival::Made);
            }
            None if !refused && remote.ip().is_some_and(is_silent) => {}
            _ => self.reach(client, Arrival::Fault(Fault::Refused)),
        }
    }

    /// The same by a name of the UNIX kind, where everything is known at once.
    fn connect_unix(&mut self, addr: &Address, bind: Option<&Address>) -> Result<usize, Fault> {
        let listener = self.door_to(addr).ok_or(match addr {
            Address::Path(_) => Fault::NotFound,
            _ => Fault::Refused,
        })?;
        if !self.has_room(listener) {
            return Err(Fault::WouldBlock);
        }
        let local = match bind {
            Some(Address::Ip(_)) => return Err(Fault::WrongFamily),
            Some(bind) => self.bind(bind.clone())?,
            None => Address::Unnamed,
        };
        let id = self.number();
        let end = End::new(local, addr.clone(), id, CAPACITY);
        let client = self.ends.insert(end);
        self.join(client, listener);
        Ok(client)
    }

    /// Who listens there.
    fn door_to(&self, addr: &Address) -> Option<usize> {
        let mut doors = self.doors.iter();
        doors.find_map(|(id, listener)| covers(&listener.addr, addr).then_some(id))
    }

    fn has_room(&self, listener: usize) -> bool {
        self.doors[listener].queue.len() < self.doors[listener].backlog
    }

    /// Makes a client's connection with a listener.
    fn join(&mut self, client: usize, listener: usize) {
        let number = self.number();
        let called = &self.ends[client];
        let (local, remote) = (called.remote.clone(), called.local.clone());
        let mut end = End::new(local, remote, number, called.capacity);
        end.called = false;
        end.connection = called.id;
        end.peer = Some(client);
        let server = self.ends.insert(end);
        self.ends[client].peer = Some(server);
        self.doors[listener].queue.push_back(server);
        self.touch(SocketId::MemoryListener(listener));
    }

    /// The next connection of a listener.
    pub(super) fn accept(&mut self, listener: usize) -> Result<(usize, Address), Fault> {
        let end = self.doors[listener].queue.pop_front();
        let end = end.ok_or(Fault::WouldBlock)?;
        Ok((end, self.ends[end].remote.clone()))
    }

    /// Stops listening. Who was not accepted is reset.
    pub(super) fn close_listener(&mut self, listener: usize) {
        self.ignore(SocketId::MemoryListener(listener));
        let listener = self.doors.remove(listener);
        self.taken.remove(&listener.addr);
        for end in listener.queue {
            if let Some(peer) = self.ends[end].peer {
                self.kill(peer, Fault::Reset);
            }
            self.close(end);
        }
    }

    /// Takes `addr`, or a free port of it.
    fn bind(&mut self, addr: Address) -> Result<Address, Fault> {
        let free = |net: &Self, addr: &Address| {
            let listening = |(_, listener): (_, &MemoryListener)| overlap(&listener.addr, addr);
            !net.taken.contains(addr) && !net.doors.iter().any(listening)
        };
        let addr = match addr {
            Address::Ip(wanted) if wanted.port() == 0 => {
                let at = |port| SocketAddr::new(wanted.ip(), port).into();
                let next = next_port(self.handed_out, |port| free(self, &at(port)));
                let (port, handed_out) = next.ok_or(Fault::NoAddress)?;
                self.handed_out = handed_out;
                at(port)
            }
            addr => Some(addr)
                .filter(|addr| free(self, addr))
                .ok_or(Fault::InUse)?,
        };
        self.taken.insert(addr.clone());
        Ok(addr)
    }
}

/// What sockets do.
impl Net {
    /// One end.
    pub(super) fn end(&mut self, end: usize) -> &mut End {
        &mut self.ends[end]
    }

    pub(super) fn read(&mut self, end: usize, into: &mut [u8]) -> Result<usize, Fault> {
        let most = match &mut self.injector {
            Some(injector) => injector.piece(into.len(), injector.faults.split),
            None => into.len(),
        };
        let count = self.ends[end].read(&mut into[..most])?;
        // There is room now: the peer may be writable.
        if let Some(peer) = self.ends[end].peer {
            self.touch(SocketId::End(peer));
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) -> Result<usize, Fault> {
        self.ends[end].may_write()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let Some(peer) = self.ends[end].peer else {
            if self.ends[end].is_unix {
                return Err(Fault::BrokenPipe);
            }
            // It closed: what comes is answered by a reset, and the write itself has gone well, as
            // far as there is room.
            self.reach(end, Arrival::Fault(Fault::Reset));
            return Ok(bytes.len().min(self.ends[end].capacity));
        };
        let most = match &mut self.injector {
            Some(injector) => injector.piece(bytes.len(), injector.faults.short),
            None => bytes.len(),
        };
        let count = self.ends[peer].room().min(most);
        if count == 0 {
            return Err(Fault::WouldBlock);
        }
        let arriving = self.spend(end, count);
        // It may be that neither is there for the other any more.
        if arriving > 0 && self.ends[end].peer.is_some() {
            self.ends[peer].in_air += count;
            self.reach(peer, Arrival::Bytes(bytes[..arriving].into()));
        }
        Ok(count)
    }

    /// Writes one byte and a descriptor with it.
    #[cfg(unix)]
    pub(super) fn write_with(
        &mut self,
        end: usize,
        byte: &[u8],
        descriptor: OwnedFd,
    ) -> Result<usize, Fault> {
        self.ends[end].may_write()?;
        let (Some(peer), Some(byte)) = (self.ends[end].peer, byte.first()) else {
            return Err(Fault::BrokenPipe);
        };
        if self.ends[peer].room() == 0 {
            return Err(Fault::WouldBlock);
        }
        self.ends[peer].come_with(*byte, descriptor);
        self.touch(SocketId::End(peer));
        Ok(1)
    }

    pub(super) fn shutdown(&mut self, end: usize, how: Shutdown) -> Result<(), Fault> {
        let this = &mut self.ends[end];
        if this.dead {
            return Err(Fault::NotConnected);
        }
        this.deaf |= how != Shutdown::Write;
        this.shut |= how != Shutdown::Read;
        let (shut, peer) = (this.shut, this.peer);
        self.touch(SocketId::End(end));
        if let Some(peer) = peer.filter(|_| shut) {
            self.reach(peer, Arrival::End);
        }
        Ok(())
    }

    /// Breaks one end off.
    fn kill(&mut self, end: usize, fault: Fault) {
        self.arrive(end, Arrival::Fault(fault));
    }

    /// Closes one end; the other finds the end of the stream, or a reset if bytes were left unread.
    pub(super) fn close(&mut self, end: usize) {
        self.ignore(SocketId::End(end));
        let this = self.ends.remove(end);
        if this.called {
            self.taken.remove(&this.local);
        }
        let Some(peer) = this.peer else {
            self.forget(this.connection);
            return;
        };
        self.ends[peer].peer = None;
        self.touch(SocketId::End(peer));
        let is_reset = (this.reset_on_close && !this.is_unix) || !this.inbox.is_empty();
        self.reach(
            peer,
            match is_reset {
                true => Arrival::Fault(Fault::Reset),
                false => Arrival::End,
            },
        );
    }

    /// Something has come to an end.
    pub(super) fn arrive(&mut self, end: usize, arrival: Arrival) {
        let this = &mut self.ends[end];
        match arrival {
            Arrival::Bytes(bytes) => {
                this.in_air = this.in_air.saturating_sub(bytes.len());
                if !this.dead {
                    this.inbox.extend(&bytes);
                }
            }
            // One that is dead has something else to say.
            Arrival::End => this.ended |= !this.dead,
            Arrival::Fault(fault) => {
                let peer = this.peer;
                this.die(fault);
                if let Some(peer) = peer {
                    self.ends[peer].peer = None;
                    self.touch(SocketId::End(peer));
                }
            }
            Arrival::Knock => return self.syn(end),
            Arrival::Made => this.connecting = false,
        }
        self.touch(SocketId::End(end));
    }

    /// Is this still the end with that number?
    pub(super) fn is_end(&self, end: usize, id: u64) -> bool {
        self.ends.get(end).is_some_and(|end| end.id == id)
    }

    /// The number of an end, that of its connection, and when the last thing comes that is under
    /// way to it.
    pub(super) fn flight_to(&self, end: usize) -> (u64, u64, Option<Instant>) {
        let end = &self.ends[end];
        (end.id, end.connection, end.last)
    }

    pub(super) fn note_flight(&mut self, end: usize, at: Instant) {
        self.ends[end].last = Some(at);
    }

    pub(super) fn peer_of(&self, end: usize) -> Option<usize> {
        self.ends[end].peer
    }
}

/// Who watches.
impl Net {
    pub(super) fn watch(
        &mut self,
        place: SocketId,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        let watch = self.watch_of(place);
        if watch.is_some() {
            return Err(Fault::AlreadyExists);
        }
        *watch = Some(Watch::new(key, interest));
        self.touch(place);
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        place: SocketId,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        if self.watch_of(place).is_none() {
            return Err(Fault::NotFound);
        }
        self.ignore(place);
        self.watch(place, key, interest)
    }

    pub(super) fn ignore(&mut self, place: SocketId) {
        if let Some(watch) = self.watch_of(place).take() {
            self.changed.remove(watch.key as u64);
        }
    }

    /// Appends what is ready and asked for, in the order of the keys.
    pub(super) fn tell(&mut self, events: &mut Vec<Event>) {
        let mut changed = mem::take(&mut self.changed);
        changed.retain(|key, &mut place| {
            let ready = self.ready(place);
            let Some(watch) = self.watch_of(place) else {
                return false;
            };
            let readable = ready.readable && watch.interest.reads();
            let writable = ready.writable && watch.interest.writes();
            let event = Event::new(key as usize, readable, writable, ready.hangup);
            if watch.spent || !(event.readable() || event.writable()) {
                return false;
            }
            watch.spent = watch.interest == Interest::Nothing;
            events.push(event);
            !watch.spent
        });
        self.changed = changed;
    }

    fn ready(&self, place: SocketId) -> Ready {
        match place {
            SocketId::MemoryListener(listener) => Ready {
                readable: !self.doors[listener].queue.is_empty(),
                writable: false,
                hangup: false,
            },
            SocketId::End(end) => {
                let end = &self.ends[end];
                end.ready(end.peer.map(|peer| self.ends[peer].room()))
            }
            SocketId::MemoryUdpSocket(udp) => self.udp_ready(udp),
        }
    }

    /// The state of `place` changed.
    pub(super) fn touch(&mut self, place: SocketId) {
        if let Some(watch) = *self.watch_of(place) {
            self.changed.insert(watch.key as u64, place);
        }
    }

    fn watch_of(&mut self, place: SocketId) -> &mut Option<Watch> {
        match place {
            SocketId::MemoryListener(listener) => &mut self.doors[listener].watch,
            SocketId::End(end) => &mut self.ends[end].watch,
            SocketId::MemoryUdpSocket(udp) => &mut self.posts[udp].watch,
        }
    }
}

/// Whether nobody answers there, not even by refusing: what is set aside for documentation (RFC
/// 5737, RFC 3849).
fn is_silent(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xdb8],
    }
}

/// Whether two addresses cannot both be listened at.
fn overlap(one: &Address, other: &Address) -> bool {
    covers(one, other) || covers(other, one)
}
