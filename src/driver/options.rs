//! What is said of a socket of either driver: how it is bound, and the options of one for
//! datagrams.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
#[cfg(unix)]
use std::os::fd::AsFd;
use std::rc::Rc;

use super::poller::Borrowed;
use crate::address::Address;

/// How a listener is bound.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    /// How many connections wait to be accepted.
    pub(crate) backlog: i32,
    /// Whether, on Unix, a port may be taken whose last connections are still fading away.
    pub(crate) reuse_address: bool,
    /// Whether others may listen at the same address, and share what comes.
    pub(crate) reuse_port: bool,
    /// Whether an IPv6 address takes IPv4 connections as well.
    pub(crate) dual_stack: bool,
    pub(crate) buffers: Buffers,
    /// Who may connect: the mode of a UNIX socket's file.
    pub(crate) mode: u32,
    /// Whether a lock beside a UNIX socket's file says whose it is.
    pub(crate) lock_file: bool,
    pub(crate) hook: Option<SocketHook>,
}

/// Is given each socket before it is bound, connected or listened with. In memory it is never
/// called.
///
/// It is a user's code, and called with nothing borrowed. It must not unwind.
#[derive(Clone)]
pub(crate) struct SocketHook(pub(crate) Rc<SocketCall>);

type SocketCall = dyn Fn(Borrowed<'_>) -> io::Result<()>;

impl SocketHook {
    /// Calls the hook, if there is one.
    pub(super) fn call(hook: Option<&Self>, socket: &socket2::Socket) -> io::Result<()> {
        #[cfg(unix)]
        let socket = socket.as_fd();
        #[cfg(windows)]
        let socket = std::os::windows::io::AsSocket::as_socket(socket);
        hook.map_or(Ok(()), |hook| (hook.0)(socket))
    }
}

impl fmt::Debug for SocketHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketHook")
    }
}

/// How many bytes the system holds of a connection, where that was said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) send: Option<usize>,
    pub(crate) receive: Option<usize>,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            dual_stack: false,
            buffers: Buffers::default(),
            mode: 0o666,
            lock_file: false,
            hook: None,
        }
    }
}

/// A datagram that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// How many bytes were put into the buffer.
    pub(crate) count: usize,
    /// How many it had, as far as the platform says.
    pub(crate) size: usize,
    pub(crate) from: Address,
}

/// Which network interface is meant, for multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interface {
    /// The one that the system would take.
    #[default]
    Any,
    /// The one with this address (IPv4).
    Address(Ipv4Addr),
    /// The one with this number.
    Index(u32),
}

impl From<Ipv4Addr> for Interface {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

impl From<u32> for Interface {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

/// Something to be changed about a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Broadcast(bool),
    Interface(Interface),
    Join(IpAddr, Interface),
    Leave(IpAddr, Interface),
    Loopback(bool),
    MulticastTtl(u32),
    Ttl(u32),
}

/// Something to be known about a socket; yes is one, no is zero, and an interface a number or the
/// bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Broadcast,
    Interface,
    Loopback,
    MulticastTtl,
    Ttl,
}

/// IPv4 names the interface to send by its address, IPv6 by its number.
pub(super) fn wrong_interface() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the interface is named as the other version of IP does it",
    )
}
