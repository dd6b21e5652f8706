//! Datagrams in memory, as UDP and UNIX sockets on Linux show them.
//!
//! A datagram arrives at once, or not at all: when nobody is there, when the receiver is connected
//! to somebody else, or when it has too much unread. Of these the sender learns the first, if it is
//! connected (the error comes with its next call), and on UNIX sockets the last: there it would
//! block.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::id::{Fault, Ready, SocketId, covers, here, next_port};
use super::net::Net;
use super::udp::{CAPACITY, MemoryUdpSocket, OVERHEAD};
use crate::address::Address;
use crate::driver::options::{Arrived, Change, Interface as I, Question, wrong_interface};

/// What sockets for datagrams do.
impl Net {
    /// Binds one.
    pub(super) fn udp(&mut self, address: &Address, share: bool) -> Result<usize, Fault> {
        let local = match address {
            Address::Ip(address) if address.port() == 0 => self.free_port(*address)?,
            address if self.is_posted(address, share) => {
                debug_assert_ne!(*address, Address::Unnamed);
                return Err(Fault::InUse);
            }
            address => address.clone(),
        };
        let id = self.number();
        Ok(self.posts.insert(MemoryUdpSocket::new(id, local, share)))
    }

    fn free_port(&mut self, address: SocketAddr) -> Result<Address, Fault> {
        let at = |port| Address::Ip(SocketAddr::new(address.ip(), port));
        let next = next_port(self.posted, |port| !self.is_posted(&at(port), false));
        let (port, posted) = next.ok_or(Fault::NoAddress)?;
        self.posted = posted;
        Ok(at(port))
    }

    fn is_posted(&self, address: &Address, share: bool) -> bool {
        self.posts.iter().any(|(_, udp)| {
            (covers(&udp.local, address) || covers(address, &udp.local)) && !(share && udp.shares)
        })
    }

    pub(super) fn close_udp(&mut self, udp: usize) {
        self.ignore(SocketId::MemoryUdpSocket(udp));
        let gone = self.posts.remove(udp);
        // Who waited for room here finds that nobody is there.
        self.touch_those_connected_to(&gone.local);
    }

    pub(super) fn udp_local_addr(&self, udp: usize) -> Address {
        self.posts[udp].local.clone()
    }

    pub(super) fn connect_udp(&mut self, udp: usize, to: &Address) -> Result<(), Fault> {
        let to = whom(to);
        let this = &self.posts[udp];
        if this.local.inet().map(|a| a.is_ipv4()) != to.inet().map(|a| a.is_ipv4()) {
            return Err(Fault::WrongFamily);
        }
        if this.is_unix() && self.receiver(&to, &this.local).is_none() {
            return Err(Fault::Refused);
        }
        let local = seen_as(&this.local, &to);
        let this = &mut self.posts[udp];
        this.local = local;
        this.peer = Some(to);
        // What came from others before is not wanted any more.
        let peer = this.peer.clone();
        this.inbox.retain(|(from, _)| Some(from) == peer.as_ref());
        this.held = this.inbox.iter().map(|(_, b)| b.len() + OVERHEAD).sum();
        Ok(())
    }

    pub(super) fn receive(&mut self, udp: usize, into: &mut [u8]) -> Result<Arrived, Fault> {
        let this = &mut self.posts[udp];
        if std::mem::take(&mut this.refused) {
            return Err(Fault::Refused);
        }
        let Some((from, bytes)) = this.inbox.pop_front() else {
            return Err(Fault::WouldBlock);
        };
        this.held -= bytes.len() + OVERHEAD;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        let local = this.local.clone();
        self.touch_those_connected_to(&local);
        Ok(Arrived {
            count,
            size: bytes.len(),
            from,
        })
    }

    pub(super) fn next_size(&self, udp: usize) -> Option<usize> {
        let (_, bytes) = self.posts[udp].inbox.front()?;
        Some(bytes.len())
    }

    pub(super) fn send(
        &mut self,
        udp: usize,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<(), Fault> {
        let this = &mut self.posts[udp];
        if std::mem::take(&mut this.refused) {
            return Err(Fault::Refused);
        }
        let to = match (to, &this.peer) {
            (Some(to), _) => whom(to),
            (None, Some(peer)) => peer.clone(),
            (None, None) => return Err(Fault::NoDestination),
        };
        if bytes.len() > largest(&to) {
            return Err(Fault::TooLong);
        }
        if this.local.inet().map(|a| a.is_ipv4()) != to.inet().map(|a| a.is_ipv4()) {
            return Err(Fault::WrongFamily);
        }
        let from = seen_as(&this.local, &to);
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
        let is_unix = self.posts[udp].is_unix();
        match self.receiver(to, from) {
            None if is_unix => Err(match self.posts[udp].peer {
                Some(_) => Fault::Refused,
                None => Fault::NotFound,
            }),
            None => {
                let this = &mut self.posts[udp];
                this.refused = this.peer.is_some();
                self.touch(SocketId::MemoryUdpSocket(udp));
                Ok(())
            }
            Some(id) if self.posts[id].is_full() => match is_unix {
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
        let loops = self.posts[udp].loops;
        let wanted: Vec<usize> = self
            .posts
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

    /// Who gets what is sent to one address: of several, one that is bound to just that.
    fn receiver(&self, to: &Address, from: &Address) -> Option<usize> {
        let mut fits = self
            .posts
            .iter()
            .filter(|(_, udp)| covers(&udp.local, to) && udp.takes_from(from));
        let first = fits.next()?;
        if first.1.local == *to {
            return Some(first.0);
        }
        let exact = fits.find(|(_, udp)| udp.local == *to);
        Some(exact.unwrap_or(first).0)
    }

    fn touch_those_connected_to(&mut self, address: &Address) {
        if address.inet().is_some() {
            return;
        }
        let waiting: Vec<usize> = self
            .posts
            .iter()
            .filter(|(_, udp)| udp.peer.as_ref() == Some(address))
            .map(|(id, _)| id)
            .collect();
        for id in waiting {
            self.touch(SocketId::MemoryUdpSocket(id));
        }
    }

    pub(super) fn udp_ready(&self, udp: usize) -> Ready {
        let this = &self.posts[udp];
        let full = match &this.peer {
            Some(peer) if this.is_unix() => self
                .receiver(peer, &this.local)
                .is_some_and(|id| self.posts[id].is_full()),
            _ => false,
        };
        Ready {
            readable: this.refused || !this.inbox.is_empty(),
            writable: this.refused || !full,
            hangup: this.refused,
        }
    }

    pub(super) fn take_refusal(&mut self, udp: usize) -> Option<Fault> {
        std::mem::take(&mut self.posts[udp].refused).then_some(Fault::Refused)
    }

    pub(super) fn change_udp(&mut self, udp: usize, change: Change) -> io::Result<()> {
        let this = &mut self.posts[udp];
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

    pub(super) fn ask_udp(&self, udp: usize, question: Question) -> u32 {
        let this = &self.posts[udp];
        match question {
            Question::Broadcast => this.broadcasts.into(),
            Question::Interface => this.interface,
            Question::Loopback => this.loops.into(),
            Question::MulticastTtl => this.multicast_ttl,
            Question::Ttl => this.ttl,
        }
    }
}

/// The address that a receiver sees.
fn seen_as(local: &Address, to: &Address) -> Address {
    match (local, to) {
        (Address::Ip(local), Address::Ip(to)) if local.ip().is_unspecified() => {
            let ip = match is_for_many(to.ip()) {
                true => here(local.ip()),
                false => to.ip(),
            };
            Address::Ip(SocketAddr::new(ip, local.port()))
        }
        _ => local.clone(),
    }
}

/// Any address means this host.
fn whom(to: &Address) -> Address {
    match to {
        Address::Ip(to) => Address::Ip(SocketAddr::new(here(to.ip()), to.port())),
        to => to.clone(),
    }
}

fn is_for_many(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == Ipv4Addr::BROADCAST
}

/// The largest datagram that can be sent.
fn largest(to: &Address) -> usize {
    match to {
        Address::Ip(SocketAddr::V4(_)) => 65_507,
        Address::Ip(SocketAddr::V6(_)) => 65_527,
        _ => CAPACITY,
    }
}
