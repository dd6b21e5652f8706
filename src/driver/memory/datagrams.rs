//! Datagram sockets in memory, which behave like UDP and UNIX sockets on Linux.
//!
//! A datagram arrives immediately or not at all: it is lost when no socket has the address, when
//! the receiver is connected to another peer, or when the receiver's buffer is full. A connected
//! sender gets an error in the first case, with its next call; on UNIX sockets the last case makes
//! the sender block instead.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::id::{Fault, Ready, SocketId, covers, next_port, resolve_unspecified};
use super::net::Net;
use super::udp::{CAPACITY, MemoryUdpSocket, OVERHEAD};
use crate::address::Address;
use crate::driver::options::{Arrived, Change, Interface as I, OptionName, wrong_interface};

/// Operations of datagram sockets.
impl Net {
    /// Binds a socket.
    pub(super) fn udp(&mut self, address: &Address, share: bool) -> Result<usize, Fault> {
        let local = match address {
            Address::Ip(address) if address.port() == 0 => self.free_port(*address)?,
            address if self.is_udp_address_taken(address, share) => {
                debug_assert_ne!(*address, Address::Unnamed);
                return Err(Fault::InUse);
            }
            address => address.clone(),
        };
        let id = self.number();
        Ok(self
            .udp_sockets
            .insert(MemoryUdpSocket::new(id, local, share)))
    }

    fn free_port(&mut self, address: SocketAddr) -> Result<Address, Fault> {
        let at = |port| Address::Ip(SocketAddr::new(address.ip(), port));
        let next = next_port(self.udp_ports_handed_out, |port| {
            !self.is_udp_address_taken(&at(port), false)
        });
        let (port, udp_ports_handed_out) = next.ok_or(Fault::NoAddress)?;
        self.udp_ports_handed_out = udp_ports_handed_out;
        Ok(at(port))
    }

    fn is_udp_address_taken(&self, address: &Address, share: bool) -> bool {
        self.udp_sockets.iter().any(|(_, udp)| {
            (covers(&udp.local, address) || covers(address, &udp.local)) && !(share && udp.shares)
        })
    }

    pub(super) fn close_udp(&mut self, udp: usize) {
        self.ignore(SocketId::MemoryUdpSocket(udp));
        let gone = self.udp_sockets.remove(udp);
        // Senders that waited for space here find that the socket is gone.
        self.touch_connected_senders(&gone.local);
    }

    pub(super) fn udp_local_addr(&self, udp: usize) -> Address {
        self.udp_sockets[udp].local.clone()
    }

    pub(super) fn connect_udp(&mut self, udp: usize, to: &Address) -> Result<(), Fault> {
        let to = normalize(to);
        let this = &self.udp_sockets[udp];
        if this.local.inet().map(|a| a.is_ipv4()) != to.inet().map(|a| a.is_ipv4()) {
            return Err(Fault::WrongFamily);
        }
        if this.is_unix() && self.receiver(&to, &this.local).is_none() {
            return Err(Fault::Refused);
        }
        let local = source_address(&this.local, &to);
        let this = &mut self.udp_sockets[udp];
        this.local = local;
        this.peer = Some(to);
        // Datagrams that others sent before are discarded.
        let peer = this.peer.clone();
        this.inbox.retain(|(from, _)| Some(from) == peer.as_ref());
        this.size = this.inbox.iter().map(|(_, b)| b.len() + OVERHEAD).sum();
        Ok(())
    }

    pub(super) fn receive(&mut self, udp: usize, into: &mut [u8]) -> Result<Arrived, Fault> {
        let this = &mut self.udp_sockets[udp];
        if std::mem::take(&mut this.refused) {
            return Err(Fault::Refused);
        }
        let Some((from, bytes)) = this.inbox.pop_front() else {
            return Err(Fault::WouldBlock);
        };
        this.size -= bytes.len() + OVERHEAD;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        let local = this.local.clone();
        self.touch_connected_senders(&local);
        Ok(Arrived {
            count,
            size: bytes.len(),
            from,
        })
    }

    pub(super) fn next_size(&self, udp: usize) -> Option<usize> {
        let (_, bytes) = self.udp_sockets[udp].inbox.front()?;
        Some(bytes.len())
    }

    pub(super) fn send(
        &mut self,
        udp: usize,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<(), Fault> {
        let this = &mut self.udp_sockets[udp];
        if std::mem::take(&mut this.refused) {
            return Err(Fault::Refused);
        }
        let to = match (to, &this.peer) {
            (Some(to), _) => normalize(to),
            (None, Some(peer)) => peer.clone(),
            (None, None) => return Err(Fault::NoDestination),
        };
        if bytes.len() > largest(&to) {
            return Err(Fault::TooLong);
        }
        if this.local.inet().map(|a| a.is_ipv4()) != to.inet().map(|a| a.is_ipv4()) {
            return Err(Fault::WrongFamily);
        }
        let from = source_address(&this.local, &to);
        match to.inet() {
            Some(group) if is_for_many(group.ip()) => {
                if !group.ip().is_multicast() && !this.broadcasts {
                    return Err(Fault::NotAllowed);
                }
                self.send_to_many(udp, &from, group, bytes);
                Ok(())
            }
            _ => self.send_to_one(udp, &from, &to, bytes),
        }
    }

    fn send_to_one(
        &mut self,
        udp: usize,
        from: &Address,
        to: &Address,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let is_unix = self.udp_sockets[udp].is_unix();
        match self.receiver(to, from) {
            None if is_unix => Err(match self.udp_sockets[udp].peer {
                Some(_) => Fault::Refused,
                None => Fault::NotFound,
            }),
            None => {
                let this = &mut self.udp_sockets[udp];
                this.refused = this.peer.is_some();
                self.touch(SocketId::MemoryUdpSocket(udp));
                Ok(())
            }
            Some(id) if self.udp_sockets[id].is_full() => match is_unix {
                true => Err(Fault::WouldBlock),
                false => Ok(()),
            },
            Some(id) => {
                self.carry(id, from, bytes.into());
                Ok(())
            }
        }
    }

    fn send_to_many(&mut self, udp: usize, from: &Address, to: SocketAddr, bytes: &[u8]) {
        let bytes: Rc<[u8]> = bytes.into();
        let loops = self.udp_sockets[udp].loops;
        let wanted: Vec<usize> = self
            .udp_sockets
            .iter()
            .filter(|(_, other)| {
                let Some(local) = other.local.inet() else {
                    return false;
                };
                let is_member = match to.ip().is_multicast() {
                    true => loops && other.groups.contains(&to.ip()),
                    false => local.is_ipv4(),
                };
                let is_there = local.ip().is_unspecified() || local.ip() == to.ip();
                is_member && is_there && local.port() == to.port() && other.takes_from(from)
            })
            .map(|(id, _)| id)
            .collect();
        for id in wanted {
            self.carry(id, from, bytes.clone());
        }
    }

    /// Returns the socket that receives what is sent to an address: of several, one that is bound
    /// to exactly that address.
    fn receiver(&self, to: &Address, from: &Address) -> Option<usize> {
        let mut fits = self
            .udp_sockets
            .iter()
            .filter(|(_, udp)| covers(&udp.local, to) && udp.takes_from(from));
        let first = fits.next()?;
        if first.1.local == *to {
            return Some(first.0);
        }
        let exact = fits.find(|(_, udp)| udp.local == *to);
        Some(exact.unwrap_or(first).0)
    }

    fn touch_connected_senders(&mut self, address: &Address) {
        if address.inet().is_some() {
            return;
        }
        let waiting: Vec<usize> = self
            .udp_sockets
            .iter()
            .filter(|(_, udp)| udp.peer.as_ref() == Some(address))
            .map(|(id, _)| id)
            .collect();
        for id in waiting {
            self.touch(SocketId::MemoryUdpSocket(id));
        }
    }

    pub(super) fn udp_ready(&self, udp: usize) -> Ready {
        let this = &self.udp_sockets[udp];
        let full = match &this.peer {
            Some(peer) if this.is_unix() => self
                .receiver(peer, &this.local)
                .is_some_and(|id| self.udp_sockets[id].is_full()),
            _ => false,
        };
        Ready {
            readable: this.refused || !this.inbox.is_empty(),
            writable: this.refused || !full,
            hangup: this.refused,
        }
    }

    pub(super) fn take_refusal(&mut self, udp: usize) -> Option<Fault> {
        std::mem::take(&mut self.udp_sockets[udp].refused).then_some(Fault::Refused)
    }

    pub(super) fn change_udp(&mut self, udp: usize, change: Change) -> io::Result<()> {
        let this = &mut self.udp_sockets[udp];
        let is_v4 = this.local.inet().is_some_and(|address| address.is_ipv4());
        match change {
            Change::Broadcast(on) => this.broadcasts = on,
            Change::Loopback(on) => this.loops = on,
            Change::MulticastTtl(ttl) => this.multicast_ttl = ttl,
            Change::Ttl(ttl) => this.ttl = ttl,
            Change::Interface(interface) => {
                this.interface = match (is_v4, interface) {
                    (_, I::Any) => 0,
                    (true, I::Address(address)) => address.into(),
                    (false, I::Index(index)) => index,
                    _ => return Err(wrong_interface()),
                };
            }
            Change::Join(group, _) => {
                if !group.is_multicast() || group.is_ipv4() != is_v4 {
                    return Err(Fault::Invalid.into());
                }
                if this.groups.contains(&group) {
                    return Err(Fault::InUse.into());
                }
                this.groups.push(group);
            }
            Change::Leave(group, _) => {
                let Some(at) = this.groups.iter().position(|other| *other == group) else {
                    return Err(Fault::NoAddress.into());
                };
                this.groups.swap_remove(at);
            }
        }
        Ok(())
    }

    pub(super) fn udp_option(&self, udp: usize, name: OptionName) -> u32 {
        let this = &self.udp_sockets[udp];
        match name {
            OptionName::Broadcast => this.broadcasts.into(),
            OptionName::Interface => this.interface,
            OptionName::Loopback => this.loops.into(),
            OptionName::MulticastTtl => this.multicast_ttl,
            OptionName::Ttl => this.ttl,
        }
    }
}

/// Returns the address that a receiver sees.
fn source_address(local: &Address, to: &Address) -> Address {
    match (local, to) {
        (Address::Ip(local), Address::Ip(to)) if local.ip().is_unspecified() => {
            let ip = match is_for_many(to.ip()) {
                true => resolve_unspecified(local.ip()),
                false => to.ip(),
            };
            Address::Ip(SocketAddr::new(ip, local.port()))
        }
        _ => local.clone(),
    }
}

/// Maps an unspecified address to this host.
fn normalize(to: &Address) -> Address {
    match to {
        Address::Ip(to) => Address::Ip(SocketAddr::new(resolve_unspecified(to.ip()), to.port())),
        to => to.clone(),
    }
}

fn is_for_many(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == Ipv4Addr::BROADCAST
}

/// Returns the size of the largest datagram that can be sent, in bytes.
fn largest(to: &Address) -> usize {
    match to {
        Address::Ip(SocketAddr::V4(_)) => 65_507,
        Address::Ip(SocketAddr::V6(_)) => 65_527,
        _ => CAPACITY,
    }
}
