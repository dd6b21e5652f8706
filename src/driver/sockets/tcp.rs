//! TCP sockets of the machine: creation and configuration.
//!
//! All are non-blocking, close-on-exec, without Nagle's algorithm, and take urgent data inline: an
//! urgent byte outside the stream would stay readable for ever, with no read to take it. Accepted
//! sockets inherit the options of the listener.

use std::io;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};

use super::names;
use crate::address::Address;
use crate::driver::options::{Bind, Buffers, SocketHook};

/// Makes a listener at `addr`.
pub(in crate::driver) fn listen(addr: SocketAddr, bind: &Bind) -> io::Result<Socket> {
    let socket = stream(addr)?;
    #[cfg(target_os = "linux")]
    if bind.peers_send_first {
        // Without it, all connections are accepted at once.
        let _ = super::sockopt::set_defer_accept(&socket, 1);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bind.peers_send_first;
    SocketHook::call(bind.hook.as_ref(), &socket)?;
    // On Windows the option means to share a port with any other socket.
    if cfg!(unix) && bind.reuse_address {
        socket.set_reuse_address(true)?;
    }
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    if bind.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(!bind.dual_stack)?;
    }
    set_buffers(&socket, bind.buffers)?;
    socket.bind(&addr.into())?;
    socket.listen(bind.backlog)?;
    Ok(socket)
}

/// Begins a connection to `addr`.
pub(in crate::driver) fn connect(
    addr: SocketAddr,
    bind: Option<SocketAddr>,
    buffers: Buffers,
    hook: Option<&SocketHook>,
) -> io::Result<Socket> {
    let socket = client(addr, bind, buffers, hook)?;
    match socket.connect(&addr.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        _ => Ok(socket),
    }
}

/// Makes a socket that can connect to `addr`.
fn client(
    addr: SocketAddr,
    bind: Option<SocketAddr>,
    buffers: Buffers,
    hook: Option<&SocketHook>,
) -> io::Result<Socket> {
    let socket = stream(addr)?;
    SocketHook::call(hook, &socket)?;
    set_buffers(&socket, buffers)?;
    if let Some(bind) = bind {
        #[cfg(target_os = "linux")]
        if bind.port() == 0 {
            // Where the kernel does not know the option, the port is reserved for all peers, as
            // always.
            let _ = super::sockopt::set_bind_address_no_port(&socket);
        }
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}

/// Sets the buffer sizes before a socket connects or listens, so that TCP negotiates its windows
/// for them.
fn set_buffers(socket: &Socket, buffers: Buffers) -> io::Result<()> {
    if let Some(bytes) = buffers.send {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = buffers.receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// Accepts the next connection of `listener`; returns the peer's address.
#[cfg(target_os = "linux")]
pub(in crate::driver) fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (fd, from) = acceptfrom_with(listener, flags)?;
    let socket = Socket::from(fd);
    let from = match from.map(SocketAddr::try_from) {
        Some(Ok(from)) => Address::Ip(from),
        _ => names::of(&socket.peer_addr()?),
    };
    Ok((socket, from))
}

/// Accepts the next connection of `listener`; returns the peer's address.
#[cfg(not(target_os = "linux"))]
pub(in crate::driver) fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let (socket, from) = listener.accept()?;
    socket.set_nonblocking(true)?;
    // Not every platform lets accepted sockets inherit these. A failure is no reason to lose the
    // connection.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_out_of_band_inline(true);
    Ok((socket, names::of(&from)))
}

/// Returns whether a connect that has begun is done; returns an error once.
pub(in crate::driver) fn connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether the end of file has arrived, behind bytes that were not read.
#[cfg(target_os = "linux")]
pub(in crate::driver) fn has_been_shut(socket: &Socket) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// Returns whether the end of file has arrived, with no unread bytes before it. This system tells
/// no more.
#[cfg(not(target_os = "linux"))]
pub(in crate::driver) fn has_been_shut(socket: &Socket) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    matches!(socket.peek(&mut byte), Ok(0))
}

/// Makes a socket of the address family of `addr`.
fn stream(addr: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM;
    #[cfg(target_os = "linux")]
    let kind = kind.nonblocking();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    #[cfg(not(target_os = "linux"))]
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    Ok(socket)
}

/// Returns whether a connect has begun rather than failed.
fn is_under_way(error: &io::Error) -> bool {
    // On Unix a call that would block has not begun: no free port is left.
    #[cfg(unix)]
    return error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    return error.kind() == io::ErrorKind::WouldBlock;
}

#[cfg(all(test, target_os = "linux", not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_bound_without_a_port_gets_one_when_it_connects() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let here: SocketAddr = here.parse().unwrap();
            let listener = listen(here, &Bind::default()).unwrap();
            let to = listener.local_addr().unwrap().as_socket().unwrap();
            let socket = client(to, Some(here), Buffers::default(), None).unwrap();
            let bound = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(bound(&socket), here);
            let _ = socket.connect(&to.into());
            assert_ne!(bound(&socket).port(), 0);
        }
    }
}
