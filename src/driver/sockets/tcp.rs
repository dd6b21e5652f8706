//! TCP sockets of the machine, made and set up.
//!
//! All are non-blocking, closed on exec, without Nagle's delay, and take urgent data in line: an
//! urgent byte left beside the stream would stay readable for ever without a read to take it. What
//! is set on a listener its accepted sockets inherit.

use std::io;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};

use super::names;
use crate::address::Address;
use crate::driver::options::{Bind, Buffers, SocketHook};

/// A listener at `addr`.
pub(in crate::driver) fn listen(addr: SocketAddr, bind: &Bind) -> io::Result<Socket> {
    let socket = stream(addr)?;
    SocketHook::call(bind.hook.as_ref(), &socket)?;
    // On Windows the option means to share a port with whoever has it.
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

/// A connection to `addr`, begun.
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

/// A socket that can connect to `addr`.
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
            // Where the kernel does not know the option, the port is taken for all peers, as ever.
            let _ = super::sockopt::set_bind_address_no_port(&socket);
        }
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}

/// Before a socket connects or listens, so that TCP agrees on its windows with that in mind.
fn set_buffers(socket: &Socket, buffers: Buffers) -> io::Result<()> {
    if let Some(bytes) = buffers.send {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = buffers.receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// The next connection of `listener`, and who it is from.
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

/// The next connection of `listener`, and who it is from.
#[cfg(not(target_os = "linux"))]
pub(in crate::driver) fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let (socket, from) = listener.accept()?;
    socket.set_nonblocking(true)?;
    // Not every platform hands these down. That one fails is no reason to lose a connection.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_out_of_band_inline(true);
    Ok((socket, names::of(&from)))
}

/// Whether a connect under way is done; an error is told once.
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

/// Has the end of file come, behind whatever has not been read?
#[cfg(target_os = "linux")]
pub(in crate::driver) fn has_been_shut(socket: &Socket) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// Has the end of file come, with nothing before it that has not been read? More is not known here.
#[cfg(not(target_os = "linux"))]
pub(in crate::driver) fn has_been_shut(socket: &Socket) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    matches!(socket.peek(&mut byte), Ok(0))
}

/// A socket of the kind that `addr` needs.
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

/// Whether a connect has begun rather than failed.
fn is_under_way(error: &io::Error) -> bool {
    // On Unix a call that would block has not begun: there is no port left to connect from.
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
