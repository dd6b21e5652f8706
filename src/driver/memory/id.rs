//! Sockets of an in-memory network: their IDs, their readiness, their watches, and their errors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Address;
use crate::driver::poller::Interest;

/// The ID of a socket that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SocketId {
    /// A listener.
    MemoryListener(usize),
    /// An end of a connection.
    End(usize),
    /// A datagram socket.
    MemoryUdpSocket(usize),
}

/// The errors of an in-memory socket, named as `io::ErrorKind` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    AlreadyExists,
    BrokenPipe,
    InUse,
    Invalid,
    NoAddress,
    NoDestination,
    NotAllowed,
    NotConnected,
    NotFound,
    Refused,
    Reset,
    TimedOut,
    TooLong,
    WouldBlock,
    WrongFamily,
}

/// The readiness of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hangup: bool,
}

/// The key and the interest with which a socket is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) key: usize,
    pub(super) interest: Interest,
    /// Whether a hang-up was reported for an empty interest: no more events follow.
    pub(super) is_reported: bool,
}

impl Watch {
    pub(super) fn new(key: usize, interest: Interest) -> Self {
        Self {
            key,
            interest,
            is_reported: false,
        }
    }
}

impl From<Fault> for io::Error {
    /// Returns the error that the system would give, its number included.
    #[cfg(unix)]
    fn from(fault: Fault) -> Self {
        Self::from_raw_os_error(match fault {
            Fault::AlreadyExists => libc::EEXIST,
            Fault::BrokenPipe => libc::EPIPE,
            Fault::InUse => libc::EADDRINUSE,
            Fault::Invalid => libc::EINVAL,
            Fault::NoAddress => libc::EADDRNOTAVAIL,
            Fault::NoDestination => libc::EDESTADDRREQ,
            Fault::NotAllowed => libc::EACCES,
            Fault::NotConnected => libc::ENOTCONN,
            Fault::NotFound => libc::ENOENT,
            Fault::Refused => libc::ECONNREFUSED,
            Fault::Reset => libc::ECONNRESET,
            Fault::TimedOut => libc::ETIMEDOUT,
            Fault::TooLong => libc::EMSGSIZE,
            Fault::WouldBlock => libc::EAGAIN,
            Fault::WrongFamily => libc::EAFNOSUPPORT,
        })
    }

    /// Returns the error that the system would give.
    #[cfg(windows)]
    fn from(fault: Fault) -> Self {
        use windows_sys::Win32::{Foundation as system, Networking::WinSock as sockets};
        Self::from_raw_os_error(match fault {
            Fault::AlreadyExists => system::ERROR_ALREADY_EXISTS as i32,
            Fault::BrokenPipe => system::ERROR_BROKEN_PIPE as i32,
            Fault::InUse => sockets::WSAEADDRINUSE,
            Fault::Invalid => sockets::WSAEINVAL,
            Fault::NoAddress => sockets::WSAEADDRNOTAVAIL,
            Fault::NoDestination => sockets::WSAEDESTADDRREQ,
            Fault::NotAllowed => sockets::WSAEACCES,
            Fault::NotConnected => sockets::WSAENOTCONN,
            Fault::NotFound => system::ERROR_FILE_NOT_FOUND as i32,
            Fault::Refused => sockets::WSAECONNREFUSED,
            Fault::Reset => sockets::WSAECONNRESET,
            Fault::TimedOut => sockets::WSAETIMEDOUT,
            Fault::TooLong => sockets::WSAEMSGSIZE,
            Fault::WouldBlock => sockets::WSAEWOULDBLOCK,
            Fault::WrongFamily => sockets::WSAEAFNOSUPPORT,
        })
    }
}

/// Returns the address that connecting to `ip` leads to: an unspecified address means this host.
pub(super) fn resolve_unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Returns whether a socket at `local` receives connections or datagrams sent to `to`.
pub(super) fn covers(local: &Address, to: &Address) -> bool {
    match (local, to) {
        (Address::Ip(local), Address::Ip(to)) => {
            local.port() == to.port()
                && local.is_ipv4() == to.is_ipv4()
                && (local.ip() == to.ip() || local.ip().is_unspecified())
        }
        (Address::Unnamed, _) => false,
        (local, to) => local == to,
    }
}

/// Returns the next free port, and how many ports have been handed out then.
pub(super) fn next_port(
    ports_handed_out: usize,
    is_free: impl Fn(u16) -> bool,
) -> Option<(u16, usize)> {
    let mut ports = (ports_handed_out..ports_handed_out + PORTS)
        .map(|count| (FIRST_PORT + (count % PORTS) as u16, count + 1));
    ports.find(|(port, _)| is_free(*port))
}

/// The ports that are handed out in turn to sockets that do not choose one.
const FIRST_PORT: u16 = 32_768;
const PORTS: usize = 32_768;

const _: () = assert!(FIRST_PORT as usize + PORTS == 1 << 16);
