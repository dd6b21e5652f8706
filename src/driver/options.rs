//! The options of a socket of either driver: how it is bound, and the options of datagram sockets.

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
    /// The number of connections that may wait to be accepted.
    pub(crate) backlog: i32,
    /// Whether, on Unix, a port may be bound whose last connections are in `TIME_WAIT`.
    pub(crate) reuse_address: bool,
    /// Whether other sockets may listen at the same address, and share the connections.
    pub(crate) reuse_port: bool,
    /// Whether an IPv6 address accepts IPv4 connections as well.
    pub(crate) dual_stack: bool,
    /// Whether peers send first: TCP on Linux then gives a connection to `accept` when its first
    /// bytes have arrived, or after a second without any.
    pub(crate) peers_send_first: bool,
    pub(crate) buffers: Buffers,
    /// The mode of a UNIX socket's file, which decides who may connect.
    pub(crate) mode: u32,
    /// Whether a lock beside a UNIX socket's file names its owner.
    pub(crate) lock_file: bool,
    pub(crate) hook: Option<SocketHook>,
}

/// A function that is called with each socket before it is bound, connected or listens. It is never
/// called in memory.
///
/// The function is user code, called while nothing is borrowed. It must not unwind.
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

/// The sizes of the system's buffers of a connection, where they were set.
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
            peers_send_first: false,
            buffers: Buffers::default(),
            mode: 0o666,
            lock_file: false,
            hook: None,
        }
    }
}

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// The number of bytes in the buffer.
    pub(crate) count: usize,
    /// The size of the datagram, as far as the platform reports it.
    pub(crate) size: usize,
    pub(crate) from: Address,
}

/// A network interface, for multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interface {
    /// The interface that the system chooses.
    #[default]
    Any,
    /// The interface with this IPv4 address.
    Address(Ipv4Addr),
    /// The interface with this index.
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

/// A change of a socket's options.
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

/// An option of a socket that can be read. Of its values 1 is yes, 0 is no, and an interface is its
/// index or the bits of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionName {
    Broadcast,
    Interface,
    Loopback,
    MulticastTtl,
    Ttl,
}

/// Returns the error for a wrong kind of interface: IPv4 identifies the interface to send from by
/// its address, IPv6 by its index.
pub(super) fn wrong_interface() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the interface must be given by its address for IPv4, by its index for IPv6",
    )
}
