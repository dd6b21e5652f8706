//! Sockets and listeners of either driver. Each call is one system call, or its equivalent in
//! memory.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
#[cfg(windows)]
use std::os::windows::io::AsSocket;
use std::time::Duration;

#[cfg(all(target_os = "linux", feature = "tls"))]
use rustix::net::SendFlags;
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
#[cfg(feature = "tls")]
use super::tls_socket::{SharedScratch, TlsSocket};
use crate::address::Address;
#[cfg(feature = "tls")]
use crate::tls::Session;

/// One end of a connection that is established or being established. Dropping it closes it.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A TCP socket of the machine.
    Machine(socket2::Socket),
    /// A UNIX socket of the machine. Boxed, because it holds the descriptors to pass.
    #[cfg(unix)]
    Unix(Box<unix::Stream>),
    /// Two descriptors of the machine, of any kind.
    #[cfg(unix)]
    Pair(Box<pair::Pair>),
    /// A socket in memory. Boxed, which makes a connection on the machine a word smaller.
    Memory(memory::Owned),
    /// Two queues in this process.
    Relay(Box<Relay>),
    /// Another socket, in TLS.
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Reads available bytes; 0 is the end of the peer's stream.
    #[inline(always)]
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => {
                let received = recv(socket, into, RecvFlags::empty()).map_err(io_error)?;
                Ok(received.0)
            }
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
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(into),
        }
    }

    /// Writes as many bytes as fit. A peer that is gone is an error, not a signal.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => send(socket, bytes, QUIETLY).map_err(io_error),
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
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Writes like [`Socket::write`]. The end of the stream follows at once: the system may send it
    /// in the same packet.
    #[cfg(feature = "tls")]
    pub(super) fn write_before_end(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let Self::Machine(socket) = self {
            return send(socket, bytes, QUIETLY | SendFlags::MORE).map_err(io_error);
        }
        self.write(bytes)
    }

    /// Writes from the first of `pieces`, as many bytes as fit.
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
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write_vectored(pieces),
        }
    }

    /// Sends from a file, from its current offset, as many bytes as fit. Fails with
    /// [`io::ErrorKind::Unsupported`] where the system does not support that, or where it could
    /// kill this process.
    pub(crate) fn send_file(&self, file: &File, most: usize) -> io::Result<usize> {
        // The call has no flag that suppresses the signal for a peer that is gone.
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

    /// Returns the socket below all TLS.
    pub(super) fn base(&self) -> &Self {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().base(),
            _ => self,
        }
    }

    /// Returns the machine's own socket, if there is one.
    fn on_machine(&self) -> Option<&socket2::Socket> {
        match self {
            Self::Machine(socket) => Some(socket),
            #[cfg(unix)]
            Self::Unix(stream) => Some(&stream.socket),
            #[cfg(unix)]
            Self::Pair(_) => None,
            Self::Memory(_) | Self::Relay(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().on_machine(),
        }
    }

    /// Shuts down one direction or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => socket.shutdown(how),
            (_, Self::Memory(socket)) => socket.shutdown(how),
            (_, Self::Relay(relay)) => {
                relay.shutdown(how);
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => socket.take_error(),
            #[cfg(unix)]
            (_, Self::Pair(pair)) => Ok(pair.take_error()),
            (_, Self::Memory(socket)) => Ok(socket.take_error()),
            _ => Ok(None),
        }
    }

    /// Returns whether a connect that has begun is done. A failure is returned once, as an error.
    pub(crate) fn connected(&self) -> io::Result<bool> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => tcp::connected(socket),
            (_, Self::Memory(socket)) => socket.connected(),
            _ => Ok(true),
        }
    }

    /// Returns the address of this end.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => Ok(names::of(&socket.local_addr()?)),
            (_, Self::Memory(socket)) => Ok(socket.local_addr()),
            _ => Ok(Address::Unnamed),
        }
    }

    /// Returns the address of the other end.
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => Ok(names::of(&socket.peer_addr()?)),
            (_, Self::Memory(socket)) => socket.peer_addr(),
            _ => Ok(Address::Unnamed),
        }
    }

    /// Sets whether small writes are sent at once; they are by default.
    pub(crate) fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self.base() {
            Self::Machine(socket) => return socket.set_tcp_nodelay(on),
            Self::Memory(socket) => socket.set_nodelay(on),
            // Writes are never delayed there.
            _ => {}
        }
        Ok(())
    }

    /// Returns what [`Socket::set_nodelay`] set.
    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        match self.base() {
            Self::Machine(socket) => socket.tcp_nodelay(),
            Self::Memory(socket) => Ok(socket.nodelay()),
            _ => Ok(true),
        }
    }

    /// Sets whether the system probes a silent peer.
    pub(crate) fn set_keepalive(&self, on: bool) -> io::Result<()> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => socket.set_keepalive(on),
            (_, Self::Memory(socket)) => {
                socket.set_keepalive(on);
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns what [`Socket::set_keepalive`] set.
    pub(crate) fn keepalive(&self) -> io::Result<bool> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => socket.keepalive(),
            (_, Self::Memory(socket)) => Ok(socket.keepalive()),
            _ => Ok(false),
        }
    }

    /// Sets the probes of a silent peer: after `idle`, then every `interval`, `count` times. TCP
    /// only.
    pub(crate) fn set_keepalive_times(
        &self,
        idle: Duration,
        interval: Duration,
        count: u32,
    ) -> io::Result<()> {
        match self.base() {
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

    /// Returns what [`Socket::set_keepalive_times`] set, or the system's default.
    pub(crate) fn keepalive_times(&self) -> io::Result<(Duration, Duration, u32)> {
        match self.base() {
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

    /// Duplicates the descriptor of a socket of the machine.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        let socket = self.on_machine().ok_or(io::ErrorKind::Unsupported)?;
        socket.as_fd().try_clone_to_owned()
    }

    /// Sets how long sent bytes may stay unacknowledged; `None` is the system's default. Only TCP,
    /// and only on Linux.
    pub(crate) fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Self::Machine(socket) = self.base() {
            return socket.set_tcp_user_timeout(limit);
        }
        let _ = limit;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns what [`Socket::set_user_timeout`] set.
    pub(crate) fn user_timeout(&self) -> io::Result<Option<Duration>> {
        #[cfg(target_os = "linux")]
        if let Self::Machine(socket) = self.base() {
            return socket.tcp_user_timeout();
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the passed descriptors; `None` where none can be passed.
    #[cfg(unix)]
    pub(crate) fn passing(&self) -> Option<&Passing> {
        match self {
            Self::Machine(_) | Self::Pair(_) | Self::Relay(_) => None,
            // A descriptor belongs to a byte that the peer gets, and it gets records.
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
            Self::Unix(stream) => Some(&stream.passing),
            Self::Memory(socket) => socket.passing(),
        }
    }

    /// Returns whether this is a plain TCP socket, which never receives descriptors.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Machine(_))
    }

    /// Returns whether there are received descriptors.
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

    /// Wraps the socket in TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn in_tls(self, session: Session, scratch: SharedScratch) -> Self {
        Self::Tls(Box::new(TlsSocket::new(self, session, scratch)))
    }

    /// Returns the TLS of the socket, if it is in any.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&TlsSocket> {
        match self {
            Self::Tls(tls) => Some(tls),
            _ => None,
        }
    }

    /// Returns whether its peer is told the end of the stream, and may answer with its own.
    pub(crate) fn says_its_end(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls().is_some_and(TlsSocket::is_established);
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Tells the peer the end of the stream, where that is done, and as far as the socket accepts
    /// it now.
    pub(crate) fn say_end(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls() {
            let _ = tls.close();
        }
    }

    /// Returns the socket without TLS, to be closed.
    pub(crate) fn into_base(self) -> Self {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.into_below().into_base(),
            socket => socket,
        }
    }

    /// Returns whether there are bytes to read that no event reports.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        match self {
            Self::Machine(_) | Self::Memory(_) | Self::Relay(_) => false,
            #[cfg(unix)]
            Self::Unix(_) | Self::Pair(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.has_unread(),
        }
    }

    /// Returns whether written bytes are with the peer already, so that closing discards none.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Machine(_) => false,
            #[cfg(unix)]
            Self::Unix(_) | Self::Pair(_) => true,
            Self::Memory(socket) => socket.is_local(),
            Self::Relay(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().is_local(),
        }
    }

    /// Returns whether the socket consists of two descriptors, whose events share one key.
    pub(crate) fn is_pair(&self) -> bool {
        #[cfg(unix)]
        return matches!(self.base(), Self::Pair(_));
        #[cfg(not(unix))]
        return false;
    }

    /// Returns whether the peer's end of file has arrived, read or not.
    pub(crate) fn peer_has_shut(&self) -> bool {
        match self {
            Self::Machine(socket) => tcp::has_been_shut(socket),
            #[cfg(unix)]
            Self::Unix(stream) => tcp::has_been_shut(&stream.socket),
            // Only a read tells.
            #[cfg(unix)]
            Self::Pair(_) => false,
            Self::Memory(socket) => socket.peer_has_shut(),
            Self::Relay(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().peer_has_shut(),
        }
    }

    /// Returns whether this is the process's own standard input and output.
    pub(crate) fn is_standard(&self) -> bool {
        match self.base() {
            #[cfg(unix)]
            Self::Pair(pair) => pair.is_standard(),
            _ => false,
        }
    }

    /// For two descriptors: returns whether the input was read to its end.
    pub(crate) fn is_at_end(&self) -> bool {
        match self.base() {
            #[cfg(unix)]
            Self::Pair(pair) => pair.is_at_end(),
            _ => false,
        }
    }

    /// Returns whether a write is complete when the call returns. If not, the same bytes must be
    /// passed again.
    pub(crate) fn takes_at_once(&self) -> bool {
        match self {
            Self::Machine(_) | Self::Memory(_) | Self::Relay(_) => true,
            #[cfg(unix)]
            Self::Unix(_) => true,
            #[cfg(unix)]
            Self::Pair(pair) => pair.takes_at_once(),
            // It passes the same records again to what is below.
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
        }
    }

    /// Returns whether the socket may owe bytes: see [`Socket::owed`].
    pub(crate) fn may_owe(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls().is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Returns how many bytes the socket has in part accepted and not counted: they have to be
    /// passed again, before all others.
    pub(crate) fn owed(&self) -> usize {
        #[cfg(feature = "tls")]
        return self.tls().map_or(0, TlsSocket::owed);
        #[cfg(not(feature = "tls"))]
        return 0;
    }

    /// Closes a socket in good order that has been removed from the poller and needs an explicit
    /// close.
    pub(crate) fn end(&self) {
        #[cfg(unix)]
        if let Self::Pair(pair) = self.base() {
            pair.end();
        }
    }

    /// Sets the window size of a terminal. In memory there is none.
    #[cfg(unix)]
    pub(crate) fn set_window_size(&self, size: Pty) -> io::Result<()> {
        match self.base() {
            Self::Pair(pair) => pair.set_window_size(size),
            Self::Memory(_) => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the process, user and group of the peer.
    #[cfg(unix)]
    pub(crate) fn peer_credentials(&self) -> io::Result<(i32, u32, u32)> {
        match self.base() {
            #[cfg(target_os = "linux")]
            Self::Unix(stream) => ancillary::peer_credentials(stream.socket.as_fd()),
            Self::Memory(socket) if socket.is_local() => Ok(unix::own_credentials()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes closing abort the connection: the peer gets a reset, unsent bytes are discarded.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        match (self.on_machine(), self.base()) {
            (Some(socket), _) => return socket.set_linger(Some(Duration::ZERO)),
            (_, Self::Memory(socket)) => socket.reset_on_close(),
            (_, Self::Relay(relay)) => relay.reset_on_close(),
            _ => {}
        }
        Ok(())
    }
}

/// Returns whether a write may succeed later: the socket is full, or the system is short of buffers
/// for the moment.
pub(crate) fn is_for_later(error: &io::Error) -> bool {
    #[cfg(unix)]
    const ENOBUFS: i32 = libc::ENOBUFS;
    #[cfg(not(unix))]
    const ENOBUFS: i32 = 10055;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS)
}

/// A listening socket. Dropping it closes it, and resets connections that were not accepted.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A TCP socket of the machine.
    Machine(socket2::Socket),
    /// A UNIX socket of the machine.
    #[cfg(unix)]
    Unix(unix::Listener),
    /// In memory.
    Memory(memory::Listener),
}

impl Listener {
    /// Accepts the next connection; returns the peer's address.
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

    /// Duplicates the descriptor of a socket of the machine.
    #[cfg(unix)]
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Machine(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(listener) => listener.socket.as_fd().try_clone_to_owned(),
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the bound address, with its actual port.
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
            Self::Memory(socket) => Name::Memory(socket.socket_id()),
            Self::Relay(relay) => Name::Relay(relay),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.below().name(),
        }
    }
}

impl Source for Listener {
    fn name(&self) -> Name<'_> {
        match self {
            Self::Machine(socket) => machine(socket),
            #[cfg(unix)]
            Self::Unix(listener) => machine(&listener.socket),
            Self::Memory(listener) => Name::Memory(listener.socket_id()),
        }
    }
}

fn machine(socket: &socket2::Socket) -> Name<'_> {
    #[cfg(unix)]
    return Name::Machine(socket.as_fd());
    #[cfg(windows)]
    return Name::Machine(socket.as_socket());
}

/// The most slices that every platform accepts in one call.
const PIECES: usize = 1024;

/// Converts the error of a call, apart from the calls that succeed.
#[cfg(unix)]
#[cold]
#[inline(never)]
fn io_error(error: rustix::io::Errno) -> io::Error {
    error.into()
}
