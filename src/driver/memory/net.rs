//! The in-memory network: its listeners, its connections, and the watches on them.
//!
//! Everything is in one table, indexed by [`SocketId`]; sockets and listeners only hold their ID.
//! Each change of a socket's state adds its ID to `changed`; [`Net::append_ready`] looks only at
//! those, and keeps the ones that are still ready, which makes readiness level-triggered.
//!
//! # Invariants
//!
//! 1. A watched socket that is ready is in `changed`, under the key with which it is watched.
//! 2. `peer` goes both ways: if A's peer is B then B's peer is A.
//! 3. An address in `taken` belongs to a listener or to the open end of a client.

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
use super::id::{Fault, Ready, SocketId, Watch, covers, next_port, resolve_unspecified};
use super::injector::{Arrival, FaultInjector};
use super::udp::MemoryUdpSocket;
use crate::address::Address;
use crate::driver::poller::{Event, Interest};
use crate::index::Indexed;

/// An in-memory network.
#[derive(Debug)]
pub(super) struct Net {
    ends: Slab<End>,
    listeners: Slab<MemoryListener>,
    pub(super) udp_sockets: Slab<MemoryUdpSocket>,
    /// The sockets that may be ready, in the order in which they are reported.
    changed: Indexed<SocketId>,
    /// Only tested for membership: its order has no effect.
    taken: HashSet<Address>,
    /// The number of ports that were handed out.
    ports_handed_out: usize,
    /// The number of datagram ports that were handed out.
    pub(super) udp_ports_handed_out: usize,
    /// The number of IDs that were handed out.
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
    /// Ends whose connection is established and not accepted yet.
    queue: VecDeque<usize>,
    watch: Option<Watch>,
}

/// Listening and connecting.
impl Net {
    /// Makes a network, with the faults to inject, if any.
    pub(super) fn new(now: Rc<Cell<Instant>>, faults: Option<NetworkFaults>) -> Self {
        Self {
            ends: Slab::new(),
            listeners: Slab::new(),
            udp_sockets: Slab::new(),
            changed: Indexed::default(),
            taken: HashSet::new(),
            ports_handed_out: 0,
            udp_ports_handed_out: 0,
            numbers: 0,
            now,
            injector: faults.map(|faults| Box::new(FaultInjector::new(faults))),
        }
    }

    /// Returns a unique number for an end or a socket.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Listens; returns the bound address.
    pub(super) fn listen(
        &mut self,
        addr: Address,
        backlog: i32,
    ) -> Result<(usize, Address), Fault> {
        let addr = self.bind(addr)?;
        let listener = self.listeners.insert(MemoryListener {
            addr: addr.clone(),
            backlog: usize::try_from(backlog).unwrap_or(0).max(1),
            queue: VecDeque::new(),
            watch: None,
        });
        Ok((listener, addr))
    }

    /// Makes a connection, or an end that is refused or never answered.
    pub(super) fn connect(
        &mut self,
        addr: &Address,
        bind: Option<&Address>,
    ) -> Result<usize, Fault> {
        let Address::Ip(addr) = addr else {
            return self.connect_unix(addr, bind);
        };
        let remote = SocketAddr::new(resolve_unspecified(addr.ip()), addr.port());
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
            Some(injector) => injector.faults.buffer_size,
            None => CAPACITY,
        };
        let mut end = End::new(local, Address::Ip(remote), id, capacity);
        end.connecting = true;
        let client = self.ends.insert(end);
        self.transmit(client, Arrival::Syn);
        Ok(client)
    }

    /// Handles a client's request to connect: it is accepted or refused, or gets no answer.
    fn syn(&mut self, client: usize) {
        let remote = self.ends[client].remote.clone();
        let refused = self
            .injector
            .as_mut()
            .is_some_and(|injector| injector.refuses());
        let listener = self
            .listener_at(&remote)
            .filter(|listener| self.has_room(*listener));
        match listener {
            Some(listener) if !refused => {
                self.join(client, listener);
                let connection = self.ends[client].connection;
                if let Some(injector) = &mut self.injector {
                    injector.plan(connection);
                }
                self.transmit(client, Arrival::Connected);
            }
            None if !refused && remote.ip().is_some_and(is_silent) => {}
            _ => self.transmit(client, Arrival::Fault(Fault::Refused)),
        }
    }

    /// Connects to a UNIX address, where the result is known at once.
    fn connect_unix(&mut self, addr: &Address, bind: Option<&Address>) -> Result<usize, Fault> {
        let listener = self.listener_at(addr).ok_or(match addr {
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

    /// Returns the listener of an address.
    fn listener_at(&self, addr: &Address) -> Option<usize> {
        let mut listeners = self.listeners.iter();
        listeners.find_map(|(id, listener)| covers(&listener.addr, addr).then_some(id))
    }

    fn has_room(&self, listener: usize) -> bool {
        self.listeners[listener].queue.len() < self.listeners[listener].backlog
    }

    /// Establishes a client's connection with a listener.
    fn join(&mut self, client: usize, listener: usize) {
        let number = self.number();
        let client_end = &self.ends[client];
        let (local, remote) = (client_end.remote.clone(), client_end.local.clone());
        let mut end = End::new(local, remote, number, client_end.capacity);
        end.is_client = false;
        end.connection = client_end.id;
        end.peer = Some(client);
        let server = self.ends.insert(end);
        self.ends[client].peer = Some(server);
        self.listeners[listener].queue.push_back(server);
        self.touch(SocketId::MemoryListener(listener));
    }

    /// Returns the next connection of a listener.
    pub(super) fn accept(&mut self, listener: usize) -> Result<(usize, Address), Fault> {
        let end = self.listeners[listener].queue.pop_front();
        let end = end.ok_or(Fault::WouldBlock)?;
        Ok((end, self.ends[end].remote.clone()))
    }

    /// Stops listening. Resets connections that were not accepted.
    pub(super) fn close_listener(&mut self, listener: usize) {
        self.ignore(SocketId::MemoryListener(listener));
        let listener = self.listeners.remove(listener);
        self.taken.remove(&listener.addr);
        for end in listener.queue {
            if let Some(peer) = self.ends[end].peer {
                self.kill(peer, Fault::Reset);
            }
            self.close(end);
        }
    }

    /// Binds `addr`, with a free port if it has none.
    fn bind(&mut self, addr: Address) -> Result<Address, Fault> {
        let free = |net: &Self, addr: &Address| {
            let listening = |(_, listener): (_, &MemoryListener)| overlap(&listener.addr, addr);
            !net.taken.contains(addr) && !net.listeners.iter().any(listening)
        };
        let addr = match addr {
            Address::Ip(wanted) if wanted.port() == 0 => {
                let at = |port| SocketAddr::new(wanted.ip(), port).into();
                let next = next_port(self.ports_handed_out, |port| free(self, &at(port)));
                let (port, ports_handed_out) = next.ok_or(Fault::NoAddress)?;
                self.ports_handed_out = ports_handed_out;
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

/// Reading and writing.
impl Net {
    /// Returns an end.
    pub(super) fn end(&mut self, end: usize) -> &mut End {
        &mut self.ends[end]
    }

    pub(super) fn read(&mut self, end: usize, into: &mut [u8]) -> Result<usize, Fault> {
        let most = match &mut self.injector {
            Some(injector) => injector.piece(into.len(), injector.faults.split),
            None => into.len(),
        };
        let count = self.ends[end].read(&mut into[..most])?;
        // There is space now: the peer may be writable.
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
            // The peer has closed: it answers the bytes with a reset; the write itself succeeds, as
            // far as there is space.
            self.transmit(end, Arrival::Fault(Fault::Reset));
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
        // The ends may no longer be connected.
        if arriving > 0 && self.ends[end].peer.is_some() {
            self.ends[peer].bytes_in_flight += count;
            self.transmit(peer, Arrival::Bytes(bytes[..arriving].into()));
        }
        Ok(count)
    }

    /// Writes one byte that carries a descriptor.
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
        self.ends[peer].push_with_descriptor(*byte, descriptor);
        self.touch(SocketId::End(peer));
        Ok(1)
    }

    pub(super) fn shutdown(&mut self, end: usize, how: Shutdown) -> Result<(), Fault> {
        let this = &mut self.ends[end];
        if this.dead {
            return Err(Fault::NotConnected);
        }
        this.read_shut |= how != Shutdown::Write;
        this.write_shut |= how != Shutdown::Read;
        let (write_shut, peer) = (this.write_shut, this.peer);
        self.touch(SocketId::End(end));
        if let Some(peer) = peer.filter(|_| write_shut) {
            self.transmit(peer, Arrival::End);
        }
        Ok(())
    }

    /// Breaks the connection at one end.
    fn kill(&mut self, end: usize, fault: Fault) {
        self.arrive(end, Arrival::Fault(fault));
    }

    /// Closes one end; the other finds the end of the stream, or a reset if bytes were left unread.
    pub(super) fn close(&mut self, end: usize) {
        self.ignore(SocketId::End(end));
        let this = self.ends.remove(end);
        if this.is_client {
            self.taken.remove(&this.local);
        }
        let Some(peer) = this.peer else {
            self.forget(this.connection);
            return;
        };
        self.ends[peer].peer = None;
        self.touch(SocketId::End(peer));
        let is_reset = (this.reset_on_close && !this.is_unix) || !this.inbox.is_empty();
        self.transmit(
            peer,
            match is_reset {
                true => Arrival::Fault(Fault::Reset),
                false => Arrival::End,
            },
        );
    }

    /// Handles an item that arrives at an end.
    pub(super) fn arrive(&mut self, end: usize, arrival: Arrival) {
        let this = &mut self.ends[end];
        match arrival {
            Arrival::Bytes(bytes) => {
                this.bytes_in_flight = this.bytes_in_flight.saturating_sub(bytes.len());
                if !this.dead {
                    this.inbox.extend(&bytes);
                }
            }
            // A dead end has its error instead.
            Arrival::End => this.peer_ended |= !this.dead,
            Arrival::Fault(fault) => {
                let peer = this.peer;
                this.fail(fault);
                if let Some(peer) = peer {
                    self.ends[peer].peer = None;
                    self.touch(SocketId::End(peer));
                }
            }
            Arrival::Syn => return self.syn(end),
            Arrival::Connected => this.connecting = false,
        }
        self.touch(SocketId::End(end));
    }

    /// Returns whether this is still the end with that `id`.
    pub(super) fn is_end(&self, end: usize, id: u64) -> bool {
        self.ends.get(end).is_some_and(|end| end.id == id)
    }

    /// Returns the `id` of an end, the `id` of its connection, and when the last item in flight to
    /// it arrives.
    pub(super) fn flight_info(&self, end: usize) -> (u64, u64, Option<Instant>) {
        let end = &self.ends[end];
        (end.id, end.connection, end.last)
    }

    pub(super) fn set_last_arrival(&mut self, end: usize, at: Instant) {
        self.ends[end].last = Some(at);
    }

    pub(super) fn peer_of(&self, end: usize) -> Option<usize> {
        self.ends[end].peer
    }
}

/// Watches.
impl Net {
    pub(super) fn watch(
        &mut self,
        socket_id: SocketId,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        let watch = self.watch_of(socket_id);
        if watch.is_some() {
            return Err(Fault::AlreadyExists);
        }
        *watch = Some(Watch::new(key, interest));
        self.touch(socket_id);
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        socket_id: SocketId,
        key: usize,
        interest: Interest,
    ) -> Result<(), Fault> {
        if self.watch_of(socket_id).is_none() {
            return Err(Fault::NotFound);
        }
        self.ignore(socket_id);
        self.watch(socket_id, key, interest)
    }

    pub(super) fn ignore(&mut self, socket_id: SocketId) {
        if let Some(watch) = self.watch_of(socket_id).take() {
            self.changed.remove(watch.key as u64);
        }
    }

    /// Appends the readiness events that are asked for, in the order of the keys.
    pub(super) fn append_ready(&mut self, events: &mut Vec<Event>) {
        let mut changed = mem::take(&mut self.changed);
        changed.retain(|key, &mut socket_id| {
            let ready = self.ready(socket_id);
            let Some(watch) = self.watch_of(socket_id) else {
                return false;
            };
            let readable = ready.readable && watch.interest.reads();
            let writable = ready.writable && watch.interest.writes();
            let event = Event::new(key as usize, readable, writable, ready.hangup);
            if watch.is_reported || !(event.readable() || event.writable()) {
                return false;
            }
            watch.is_reported = watch.interest == Interest::None;
            events.push(event);
            !watch.is_reported
        });
        self.changed = changed;
    }

    fn ready(&self, socket_id: SocketId) -> Ready {
        match socket_id {
            SocketId::MemoryListener(listener) => Ready {
                readable: !self.listeners[listener].queue.is_empty(),
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

    /// Records that the state of a socket has changed.
    pub(super) fn touch(&mut self, socket_id: SocketId) {
        if let Some(watch) = *self.watch_of(socket_id) {
            self.changed.insert(watch.key as u64, socket_id);
        }
    }

    fn watch_of(&mut self, socket_id: SocketId) -> &mut Option<Watch> {
        match socket_id {
            SocketId::MemoryListener(listener) => &mut self.listeners[listener].watch,
            SocketId::End(end) => &mut self.ends[end].watch,
            SocketId::MemoryUdpSocket(udp) => &mut self.udp_sockets[udp].watch,
        }
    }
}

/// Returns whether an address never answers, not even by refusing: addresses reserved for
/// documentation (RFC 5737, RFC 3849).
fn is_silent(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0xdb8],
    }
}

/// Returns whether two addresses cannot both be bound.
fn overlap(one: &Address, other: &Address) -> bool {
    covers(one, other) || covers(other, one)
}
