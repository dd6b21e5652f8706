//! A datagram socket in memory: its addresses, its options, and its unread datagrams.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use super::id::Watch;
use crate::address::Address;

/// A datagram socket.
#[derive(Debug)]
pub(super) struct MemoryUdpSocket {
    /// Unique: never used again for another socket.
    pub(super) id: u64,
    pub(super) local: Address,
    pub(super) peer: Option<Address>,
    pub(super) inbox: VecDeque<(Address, Rc<[u8]>)>,
    /// The size of the inbox, overhead included, in bytes.
    pub(super) size: usize,
    /// Whether a datagram was refused, which the next call reports.
    pub(super) refused: bool,
    pub(super) shares: bool,
    pub(super) groups: Vec<IpAddr>,
    pub(super) broadcasts: bool,
    pub(super) loops: bool,
    pub(super) ttl: u32,
    pub(super) multicast_ttl: u32,
    /// The bits of an IPv4 address, or an index for IPv6.
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
            size: 0,
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
            false => self.size > CAPACITY,
        }
    }

    /// Returns whether the socket accepts datagrams from `from`.
    pub(super) fn takes_from(&self, from: &Address) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer == from)
    }

    pub(super) fn put(&mut self, from: Address, bytes: Rc<[u8]>) {
        self.size += bytes.len() + OVERHEAD;
        self.inbox.push_back((from, bytes));
    }
}

/// The bytes of unread datagrams that a socket keeps, as on Linux.
pub(super) const CAPACITY: usize = 212_992;
/// The bytes that a datagram counts for besides its data.
pub(super) const OVERHEAD: usize = 512;
/// The number of datagrams that a UNIX socket keeps.
pub(super) const UNIX_QUEUE: usize = 10;
