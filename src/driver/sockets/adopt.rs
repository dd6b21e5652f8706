//! Sockets that somebody else has made: what they are, and taking them over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{Domain, Type};

use super::names;
use crate::address::Address;

/// Why a descriptor cannot be adopted.
#[derive(Debug)]
pub(crate) enum NotAdopted {
    /// It is something else.
    Is(String),
    /// The system would not.
    Io(io::Error),
}

impl From<io::Error> for NotAdopted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a descriptor is wanted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Kind {
    /// A stream socket that listens.
    Listener,
    /// A stream socket that is connected.
    Connection,
    /// A datagram socket.
    Datagrams,
}

/// Sees that it is what is wanted, and sets it up as our own sockets are.
pub(in crate::driver) fn adopted(
    fd: OwnedFd,
    wanted: Kind,
) -> Result<(socket2::Socket, Domain), NotAdopted> {
    let socket = socket2::Socket::from(fd);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()) => {
            return Err(NotAdopted::Is("no socket".into()));
        }
        Err(error) => return Err(error.into()),
    };
    let domain = socket.local_addr()?.domain();
    let family = match domain {
        Domain::IPV4 => "TCP",
        Domain::IPV6 => "TCP",
        Domain::UNIX => "UNIX",
        _ => {
            return Err(NotAdopted::Is(format!(
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
        _ => return Err(NotAdopted::Is("a packet socket".into())),
    };
    if found != Some(wanted) {
        return Err(NotAdopted::Is(match found {
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
        // See `tcp`: an urgent byte beside the stream would stay readable for ever.
        socket.set_out_of_band_inline(true)?;
    }
    Ok((socket, domain))
}

/// Does a stream socket listen? Where the system does not tell, one that is bound and has no peer
/// is taken at its word: if it does not, accepting fails.
fn listens(socket: &socket2::Socket) -> io::Result<bool> {
    // Apple's systems know the option's name only.
    #[cfg(not(target_vendor = "apple"))]
    match rustix::net::sockopt::socket_acceptconn(socket) {
        Err(Errno::NOPROTOOPT) => {}
        told => return Ok(told?),
    }
    is_bound_alone(socket)
}

/// Has it a name of its own, and no peer?
fn is_bound_alone(socket: &socket2::Socket) -> io::Result<bool> {
    let is_bound = match names::of(&socket.local_addr()?) {
        Address::Ip(addr) => addr.port() != 0,
        Address::Unnamed => false,
        _ => true,
    };
    Ok(is_bound && socket.peer_addr().is_err())
}
