//! Sockets and listeners of either driver. Each call is one system call, or its like in memory.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
#[cfg(windows)]
use std::os::windows::io::AsSocket;
use std::time::Duration;

#[cfg(unix)]
use rustix::net::{RecvFlags, recv, send};

#[cfg(unix)]
use super::children::Pty;
#[cfg(unix)]
use super::descriptors::pair;
use super::memory;
use super::relay::Relay;
#[cfg(unix)]
use super::sockets::QUIETLY;
#[cfg(target_os = "linux")]
use super::sockets::ancillary;
use super::sockets::{NO_SIGNAL, names, tcp};
#[cfg(unix)]
use super::sockets::{passing::Passing, unix};
use super::source::{Name, Source};
use crate::address::Address;

/// One end of a connection, or of one that is being made. Dropping it closes it.
#[derive(Debug)]
pub(crate) enum Socket {
    /// The machine's, of TCP.
    Machine(socket2::Socket),
    /// The machine's, of the UNIX kind. Boxed, as it has its descriptors with it.
    #[cfg(unix)]
    Unix(Box<unix::Stream>),
    /// Two of the machine's descriptors, of any kind.
    #[cfg(unix)]
    Pair(Box<pair::Pair>),
    /// In memory.
    /// Boxed: that makes a connection on the machine a word smaller.
    Memory(memory::Owned),
    /// Two queues in this process.
    Relay(Box<Relay>),
}

impl Socket {
    /// Reads what is there; nothing read is the end of what the peer sends.
    #[inline(always)]
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => Ok(recv(socket, into, RecvFlags::empty())?.0),
            #[cfg(not(unix))]
            Self::Machine(socket) => (&*socket).read(into),
            _ => self.read_other(into),
        }
    }

    #[inline(never)]
    fn read_other(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Machine(socket) => (&*socket).read(into),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(into),
            #[cfg(unix)]
            Self::Pair(pair) => pair.read(into),
            Self::Memory(socket) => socket.read(into),
            Self::Relay(relay) => relay.read(into),
        }
    }

    /// Writes as much as there is room for. A peer that went away is an error, not a signal.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => Ok(send(socket, bytes, QUIETLY)?),
            #[cfg(not(unix))]
            Self::Machine(socket) => socket.send_with_flags(bytes, NO_SIGNAL),
            _ => self.write_other(bytes),
        }
    }

    #[inline(never)]
    fn write_other(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Machine(socket) => socket.send_with_flags(bytes, NO_SIGNAL),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Pair(pair) => pair.write(bytes),
            Self::Memory(socket) => socket.write(bytes),
            Self::Relay(relay) => relay.write(bytes),
        }
    }

    /// Writes the first of `pieces`, as much as there is room for.
    #[inline]
    pub(crate) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Machine(socket) => {
                let pieces = &pieces[..pieces.len().min(PIECES)];
                socket.send_vectored_with_flags(pieces, NO_SIGNAL)
            }
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(&pieces[..pieces.len().min(PIECES)]),
            #[cfg(unix)]
            Self::Pair(pair) => pair.write_vectored(pieces),
            Self::Memory(socket) => socket.write_vectored(pieces),
            Self::Relay(relay) => pieces
                .iter()
                .find(|piece| !piece.is_empty())
                .map_or(Ok(0), |piece| relay.write(piece)),
        }
    }

    /// Sends of a file, from where it stands, as much as there is room for.
    /// [`io::ErrorKind::Unsupported`] where the system does not do that, or where that could kill
    /// this process.
    pub(crate) fn send_file(&self, file: &File, most: usize) -> io::Result<usize> {
        // The call takes no flag that keeps a peer which went away from being a signal.
        #[cfg(target_os = "linux")]
        match self {
            _ if super::signals::kills(libc::SIGPIPE) => {}
            Self::Machine(socket) => return Ok(rustix::fs::sendfile(socket, file, None, most)?),
            Self::Unix(stream) if stream.passing.waiting() == 0 => {
                return Ok(rustix::fs::sendfile(&stream.socket, file, None, most)?);
            }
            _ => {}
        }
        let _ = (file, most);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The machine's own socket, where there is one.
    fn on_machine(&self) -> Option<&socket2::Socket> {
        match self {
            Self::Machine(socket) => Some(socket),
            #[cfg(unix)]
            Self::Unix(stream) => Some(&stream.socket),
            _ => None,
        }
    }

    /// Ends one direction or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match (self.on_machine(), self) {
            (Some(socket), _) => socket.shutdown(how),
            (_, Self::Memory(socket)) => socket.shutdown(how),
            (_, Self::Relay(relay)) => {
                relay.shutdown(how);
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What went wrong since this was last asked.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match (self.on_machine(), self) {
            (Some(socket), _) => socket.take_error(),
            #[cfg(unix)]
            (_, Self::Pair(pair)) => Ok(pair.take_error()),
            (_, Self::Memory(socket)) => Ok(socket.take_error()),
            _ => Ok(None),
        }
    }

    /// Whether a connect under way is done. That it failed is told once, as an error.
    pub(crate) fn connected(&self) -> io::Result<bool> {
        match (self.on_machine(), self) {
            (Some(socket), _) => tcp::connected(socket),
            (_, Self::Memory(socket)) => socket.connected(),
            _ => Ok(true),
        }
    }

    /// The address of this end.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match (self.on_machine(), self) {
            (Some(socket), _) => Ok(names::of(&socket.local_addr()?)),
            (_, Self::Memory(socket)) => Ok(socket.local_addr()),
            _ => Ok(Address::Unnamed),
        }
    }

    /// The address of the other end.
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match (self.on_machine(), self) {
            (Some(socket), _) => Ok(names::of(&socket.peer_addr()?)),
            (_, Self::Memory(socket)) => socket.peer_addr(),
            _ => Ok(Address::Unnamed),
        }
    }

    /// Whether small writes go out at once; they do unless this is turned off.
    pub(crate) fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Machine(socket) => return socket.set_tcp_nodelay(on),
            Self::Memory(socket) => socket.set_nodelay(on),
            // Nothing is ever gathered there.
            _ => {}
        }
        Ok(())
    }

    /// What [`Socket::set_nodelay`] set.
    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        match self {
            Self::Machine(socket) => socket.tcp_nodelay(),
            Self::Memory(socket) => Ok(socket.nodelay()),
            _ => Ok(true),
        }
    }

    /// Whether a silent peer is asked now and then if it still is there.
    pub(crate) fn set_keepalive(&self, on: bool) -> io::Result<()> {
        match (self.on_machine(), self) {
            (Some(socket), _) => socket.set_keepalive(on),
            (_, Self::Memory(socket)) => {
                socket.set_keepalive(on);
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What [`Socket::set_keepalive`] set.
    pub(crate) fn keepalive(&self) -> io::Result<bool> {
        match (self.on_machine(), self) {
            (Some(socket), _) => socket.keepalive(),
            (_, Self::Memory(socket)) => Ok(socket.keepalive()),
            _ => Ok(false),
        }
    }

    /// Has a silent peer asked after `idle`, then every `interval`, `count` times. Only TCP knows
    /// this.
    pub(crate) fn set_keepalive_times(
        &self,
        idle: Duration,
        interval: Duration,
        count: u32,
    ) -> io::Result<()> {
        match self {
            Self::Machine(socket) => {
                let times = socket2::TcpKeepalive::new()
                    .with_time(idle)
                    .with_interval(interval)
                    .with_retries(count);
                socket.set_tcp_keepalive(&times)
            }
            Self::Memory(socket) if !socket.is_local() => {
                socket.set_keepalive(true);
                socket.set_keepalive_times((idle, interval, count));
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What [`Socket::set_keepalive_times`] set, or the system's.
    pub(crate) fn keepalive_times(&self) -> io::Result<(Duration, Duration, u32)> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => Ok((
                socket.tcp_keepalive_time()?,
                socket.tcp_keepalive_interval()?,
                socket.tcp_keepalive_retries()?,
            )),
            Self::Memory(socket) if !socket.is_local() => Ok(socket.keepalive_times()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Another descriptor for the socket of the machine.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        let socket = self.on_machine().ok_or(io::ErrorKind::Unsupported)?;
        socket.as_fd().try_clone_to_owned()
    }

    /// How long what was sent may go unacknowledged; none for as long as the system thinks right.
    /// Only TCP, and only on Linux, knows this.
    pub(crate) fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Self::Machine(socket) = self {
            return socket.set_tcp_user_timeout(limit);
        }
        let _ = limit;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What [`Socket::set_user_timeout`] set.
    pub(crate) fn user_timeout(&self) -> io::Result<Option<Duration>> {
        #[cfg(target_os = "linux")]
        if let Self::Machine(socket) = self {
            return socket.tcp_user_timeout();
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What it has of descriptors; none where none can be passed.
    #[cfg(unix)]
    pub(crate) fn passing(&self) -> Option<&Passing> {
        match self {
            Self::Machine(_) | Self::Pair(_) | Self::Relay(_) => None,
            Self::Unix(stream) => Some(&stream.passing),
            Self::Memory(socket) => socket.passing(),
        }
    }

    /// Returns whether it is a plain socket of TCP: no descriptors can come with what is read.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Machine(_))
    }

    /// Did descriptors come with what was read?
    #[inline]
    pub(crate) fn has_descriptors(&self) -> bool {
        #[cfg(unix)]
        return match self {
            Self::Machine(_) => false,
            _ => self.passing().is_some_and(Passing::has_come),
        };
        #[cfg(not(unix))]
        return false;
    }

    /// Is what was written with the peer already, so that closing takes nothing back?
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Machine(_) => false,
            Self::Memory(socket) => socket.is_local(),
            _ => true,
        }
    }

    /// Is it made of two descriptors? Then news of one may look like news of the other.
    pub(crate) fn is_pair(&self) -> bool {
        #[cfg(unix)]
        return matches!(self, Self::Pair(_));
        #[cfg(not(unix))]
        return false;
    }

    /// Has the peer said the end of file, whether or not that has been read?
    pub(crate) fn peer_has_shut(&self) -> bool {
        match (self.on_machine(), self) {
            (Some(socket), _) => tcp::has_been_shut(socket),
            (_, Self::Memory(socket)) => socket.peer_has_shut(),
            _ => false,
        }
    }

    /// Is it the process's own standard input and output?
    pub(crate) fn is_standard(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Pair(pair) => pair.is_standard(),
            _ => false,
        }
    }

    /// Of two descriptors: was all read that there will be?
    pub(crate) fn is_at_end(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Pair(pair) => pair.is_at_end(),
            _ => false,
        }
    }

    /// Is what is written gone when the call returns? If not, the same bytes must be given again.
    pub(crate) fn takes_at_once(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Pair(pair) => pair.takes_at_once(),
            _ => true,
        }
    }

    /// Closes in good order what is off the poller, and must be told so.
    pub(crate) fn end(&self) {
        #[cfg(unix)]
        if let Self::Pair(pair) = self {
            pair.end();
        }
    }

    /// Tells a terminal how large it is. In memory it has no size of its own.
    #[cfg(unix)]
    pub(crate) fn set_window_size(&self, size: Pty) -> io::Result<()> {
        match self {
            Self::Pair(pair) => pair.set_window_size(size),
            Self::Memory(_) => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The process, user and group at the other end.
    #[cfg(unix)]
    pub(crate) fn peer_credentials(&self) -> io::Result<(i32, u32, u32)> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unix(stream) => ancillary::peer_credentials(stream.socket.as_fd()),
            Self::Memory(socket) if socket.is_local() => Ok(unix::own_credentials()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes closing break the connection off: the peer gets a reset, what was not sent is thrown
    /// away.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        match (self.on_machine(), self) {
            (Some(socket), _) => return socket.set_linger(Some(Duration::ZERO)),
            (_, Self::Memory(socket)) => socket.reset_on_close(),
            (_, Self::Relay(relay)) => relay.reset_on_close(),
            _ => {}
        }
        Ok(())
    }
}

/// Where connections come in. Dropping it closes it, and resets those that were not accepted.
#[derive(Debug)]
pub(crate) enum Listener {
    /// The machine's, of TCP.
    Machine(socket2::Socket),
    /// The machine's, of the UNIX kind.
    #[cfg(unix)]
    Unix(unix::Listener),
    /// In memory.
    Memory(memory::Listener),
}

impl Listener {
    /// The next connection, and who it is from.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Address)> {
        match self {
            Self::Machine(socket) => {
                let (socket, from) = tcp::accept(socket)?;
                Ok((Socket::Machine(socket), from))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, from) = listener.accept()?;
                Ok((Socket::Unix(Box::new(stream)), from))
            }
            Self::Memory(listener) => {
                let (socket, from) = listener.accept()?;
                Ok((Socket::Memory(socket), from))
            }
        }
    }

    /// Another descriptor for the socket of the machine.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Machine(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(listener) => listener.socket.as_fd().try_clone_to_owned(),
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The address it listens at, with the port it got.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Machine(socket) => Ok(names::of(&socket.local_addr()?)),
            #[cfg(unix)]
            Self::Unix(listener) => Ok(names::of(&listener.socket.local_addr()?)),
            Self::Memory(listener) => Ok(listener.local_addr()),
        }
    }
}

impl Source for Socket {
    fn name(&self) -> Name<'_> {
        match self {
            Self::Machine(socket) => machine(socket),
            #[cfg(unix)]
            Self::Unix(stream) => machine(&stream.socket),
            #[cfg(unix)]
            Self::Pair(pair) => Name::Pair(pair),
            Self::Memory(socket) => Name::Memory(socket.place()),
            Self::Relay(relay) => Name::Relay(relay),
        }
    }
}

impl Source for Listener {
    fn name(&self) -> Name<'_> {
        match self {
            Self::Machine(socket) => machine(socket),
            #[cfg(unix)]
            Self::Unix(listener) => machine(&listener.socket),
            Self::Memory(listener) => Name::Memory(listener.place()),
        }
    }
}

fn machine(socket: &socket2::Socket) -> Name<'_> {
    #[cfg(unix)]
    return Name::Machine(socket.as_fd());
    #[cfg(windows)]
    return Name::Machine(socket.as_socket());
}

/// The most pieces that every platform takes in one call.
const PIECES: usize = 1024;
