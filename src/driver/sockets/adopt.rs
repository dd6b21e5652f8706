//! Sockets that other code has made: checks what they are, and takes them over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{Domain, Type};

use super::names;
use crate::address::Address;

/// The reason why a descriptor cannot be adopted.
#[derive(Debug)]
pub(crate) enum NotAdopted {
    /// The descriptor is something else.
    WrongKind(String),
    /// The system refused a call.
    Io(io::Error),
}

impl From<io::Error> for NotAdopted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The kind of descriptor that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Kind {
    /// A stream socket that listens.
    Listener,
    /// A stream socket that is connected.
    Connection,
    /// A datagram socket.
    Datagrams,
}

/// Checks that the descriptor is of the expected kind, and sets it up like our own sockets.
pub(in crate::driver) fn adopted(
    fd: OwnedFd,
    wanted: Kind,
) -> Result<(socket2::Socket, Domain), NotAdopted> {
    let socket = socket2::Socket::from(fd);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()) => {
            return Err(NotAdopted::WrongKind("no socket".into()));
        }
        Err(error) => return Err(error.into()),
    };
    let domain = socket.local_addr()?.domain();
    let family = match domain {
        Domain::IPV4 => "TCP",
        Domain::IPV6 => "TCP",
        Domain::UNIX => "UNIX",
        _ => {
            return Err(NotAdopted::WrongKind(format!(
                "a socket of family {}",
                i32::from(domain)
            )));
        }
    };
    let found = match kind {
        Type::DGRAM => Some(Kind::Datagrams),
        Type::STREAM if listens(&socket)? => Some(Kind::Listener),
        Type::STREAM if socket.peer_addr().is_ok() => Some(Kind::Connection),
        Type::STREAM => None,
        _ => return Err(NotAdopted::WrongKind("a packet socket".into())),
    };
    if found != Some(wanted) {
        return Err(NotAdopted::WrongKind(match found {
            Some(Kind::Datagrams) => "a datagram socket".into(),
            Some(Kind::Listener) => format!("a {family} socket that listens"),
            Some(Kind::Connection) => format!("a {family} socket that is connected"),
            None => format!("a {family} socket that neither listens nor is connected"),
        }));
    }
    socket.set_nonblocking(true)?;
    let flags = fcntl_getfd(socket.as_fd()).map_err(io::Error::from)?;
    fcntl_setfd(socket.as_fd(), flags | FdFlags::CLOEXEC).map_err(io::Error::from)?;
    if domain != Domain::UNIX && kind == Type::STREAM {
        // See `tcp`: an urgent byte outside the stream would stay readable for ever.
        socket.set_out_of_band_inline(true)?;
    }
    Ok((socket, domain))
}

/// Returns whether a stream socket listens. Where the system cannot tell, a bound socket without a
/// peer counts as listening: if it does not listen, accepting fails.
fn listens(socket: &socket2::Socket) -> io::Result<bool> {
    // Apple's systems know the option's name only.
    #[cfg(not(target_vendor = "apple"))]
    match rustix::net::sockopt::socket_acceptconn(socket) {
        Err(Errno::NOPROTOOPT) => {}
        result => return Ok(result?),
    }
    is_bound_alone(socket)
}

/// Returns whether the socket has a local name and no peer.
fn is_bound_alone(socket: &socket2::Socket) -> io::Result<bool> {
    let is_bound = match names::of(&socket.local_addr()?) {
        Address::Ip(addr) => addr.port() != 0,
        Address::Unnamed => false,
        _ => true,
    };
    Ok(is_bound && socket.peer_addr().is_err())
}
