//! A socket for datagrams in memory: what it is bound and set to, and what came and was not read.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use super::id::Watch;
use crate::address::Address;

/// A socket for datagrams.
#[derive(Debug)]
pub(super) struct MemoryUdpSocket {
    /// It never names another one.
    pub(super) id: u64,
    pub(super) local: Address,
    pub(super) peer: Option<Address>,
    pub(super) inbox: VecDeque<(Address, Rc<[u8]>)>,
    /// What the inbox counts for.
    pub(super) held: usize,
    /// Nobody was there, and the next call says so.
    pub(super) refused: bool,
    pub(super) shares: bool,
    pub(super) groups: Vec<IpAddr>,
    pub(super) broadcasts: bool,
    pub(super) loops: bool,
    pub(super) ttl: u32,
    pub(super) multicast_ttl: u32,
    /// The bits of an IPv4 address, or a number for IPv6.
    pub(super) interface: u32,
    pub(super) watch: Option<Watch>,
}

impl MemoryUdpSocket {
    pub(super) fn new(id: u64, local: Address, shares: bool) -> Self {
        Self {
            id,
            local,
            peer: None,
            inbox: VecDeque::new(),
            held: 0,
            refused: false,
            shares,
            groups: Vec::new(),
            broadcasts: false,
            loops: true,
            ttl: 64,
            multicast_ttl: 1,
            interface: 0,
            watch: None,
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        self.local.inet().is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        match self.is_unix() {
            true => self.inbox.len() > UNIX_QUEUE,
            false => self.held > CAPACITY,
        }
    }

    /// Does it take what `from` sends?
    pub(super) fn takes_from(&self, from: &Address) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer == from)
    }

    pub(super) fn put(&mut self, from: Address, bytes: Rc<[u8]>) {
        self.held += bytes.len() + OVERHEAD;
        self.inbox.push_back((from, bytes));
    }
}

/// What a socket keeps that nobody reads, as on Linux.
pub(super) const CAPACITY: usize = 212_992;
/// What a datagram counts for besides its bytes.
pub(super) const OVERHEAD: usize = 512;
/// How many a UNIX socket keeps.
pub(super) const UNIX_QUEUE: usize = 10;
