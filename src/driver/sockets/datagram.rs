//! Datagram sockets of the machine: made, configured, and queried.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

#[cfg(not(unix))]
pub(in crate::driver) use std::net::UdpSocket as Inner;

#[cfg(unix)]
use rustix::net::{RecvFlags, SocketAddrAny, SocketAddrUnix, recvfrom};
#[cfg(unix)]
pub(in crate::driver) use socket2::Socket as Inner;
use socket2::{Domain, Protocol, Socket, Type};

use super::names;
use crate::address::Address;
use crate::driver::options::{Arrived, Change, Interface, OptionName, wrong_interface};

/// Makes a socket of the machine, configured and bound.
pub(in crate::driver) fn bound(address: &Address, share: bool) -> io::Result<Inner> {
    let (domain, protocol) = match address {
        Address::Ip(address) => (Domain::for_address(*address), Some(Protocol::UDP)),
        _ => (Domain::UNIX, None),
    };
    let socket = Socket::new(domain, Type::DGRAM, protocol)?;
    socket.set_nonblocking(true)?;
    if let Address::Ip(address) = address {
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Otherwise the socket would receive from groups that other sockets of this host have
        // joined. Old kernels lack the option.
        #[cfg(target_os = "linux")]
        let _ = match address.is_ipv4() {
            true => socket.set_multicast_all_v4(false),
            false => socket.set_multicast_all_v6(false),
        };
        if share {
            socket.set_reuse_address(true)?;
            #[cfg(all(unix, not(any(target_os = "illumos", target_os = "solaris"))))]
            socket.set_reuse_port(true)?;
        }
    }
    if *address != Address::Unnamed {
        socket.bind(&names::any(address)?)?;
    }
    #[cfg(not(unix))]
    let socket = socket.into();
    Ok(socket)
}

#[cfg(unix)]
pub(in crate::driver) fn receive(socket: &Inner, into: &mut [u8]) -> io::Result<Arrived> {
    // Where the flag is supported, the real size is returned even if the buffer is smaller.
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::TRUNC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let (count, size, from) = recvfrom(socket, &mut *into, flags)?;
    Ok(Arrived {
        count,
        size,
        from: from.map_or(Address::Unnamed, sender),
    })
}

#[cfg(not(unix))]
pub(in crate::driver) fn receive(socket: &Inner, into: &mut [u8]) -> io::Result<Arrived> {
    // For a datagram that does not fit, the system returns neither the size nor the sender, so the
    // buffer fits every datagram.
    let mut room = match into.len() < LARGEST {
        true => vec![0; LARGEST],
        false => Vec::new(),
    };
    let has_room = room.is_empty();
    let (size, from) = socket.recv_from(if has_room { &mut *into } else { &mut room })?;
    let count = size.min(into.len());
    if !has_room {
        into[..count].copy_from_slice(&room[..count]);
    }
    Ok(Arrived {
        count,
        size,
        from: from.into(),
    })
}

/// Returns the size of the next datagram, where the system can tell.
#[cfg(target_os = "linux")]
pub(in crate::driver) fn next_size(socket: &Inner) -> io::Result<Option<usize>> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, size, _) = recvfrom(socket, &mut [0_u8; 1], flags)?;
    Ok(Some(size))
}

#[cfg(not(target_os = "linux"))]
pub(in crate::driver) fn next_size(_socket: &Inner) -> io::Result<Option<usize>> {
    Ok(None)
}

/// The largest size of a datagram, in bytes.
#[cfg(not(unix))]
const LARGEST: usize = 65_535;

#[cfg(unix)]
fn sender(from: SocketAddrAny) -> Address {
    match std::net::SocketAddr::try_from(from.clone()) {
        Ok(address) => Address::Ip(address),
        Err(_) => {
            SocketAddrUnix::try_from(from).map_or(Address::Unnamed, |from| names::of_unix(&from))
        }
    }
}

pub(in crate::driver) fn set(socket: &Socket, change: Change) -> io::Result<()> {
    match change {
        Change::Broadcast(on) => socket.set_broadcast(on),
        Change::Interface(interface) => match (is_v6(socket), interface) {
            (false, Interface::Any) => socket.set_multicast_if_v4(&Ipv4Addr::UNSPECIFIED),
            (false, Interface::Address(address)) => socket.set_multicast_if_v4(&address),
            (true, Interface::Any) => socket.set_multicast_if_v6(0),
            (true, Interface::Index(index)) => socket.set_multicast_if_v6(index),
            _ => Err(wrong_interface()),
        },
        Change::Join(IpAddr::V4(group), interface) => v4::join(socket, group, interface),
        Change::Leave(IpAddr::V4(group), interface) => v4::leave(socket, group, interface),
        Change::Join(IpAddr::V6(group), interface) => {
            socket.join_multicast_v6(&group, v6(interface)?)
        }
        Change::Leave(IpAddr::V6(group), interface) => {
            socket.leave_multicast_v6(&group, v6(interface)?)
        }
        Change::Loopback(on) => match is_v6(socket) {
            false => socket.set_multicast_loop_v4(on),
            true => socket.set_multicast_loop_v6(on),
        },
        Change::MulticastTtl(ttl) => match is_v6(socket) {
            false => socket.set_multicast_ttl_v4(ttl),
            true => socket.set_multicast_hops_v6(ttl),
        },
        Change::Ttl(ttl) => match is_v6(socket) {
            false => socket.set_ttl_v4(ttl),
            true => socket.set_unicast_hops_v6(ttl),
        },
    }
}

pub(in crate::driver) fn get(socket: &Socket, name: OptionName) -> io::Result<u32> {
    let v6 = is_v6(socket);
    match name {
        OptionName::Broadcast => socket.broadcast().map(u32::from),
        OptionName::Interface if v6 => socket.multicast_if_v6(),
        OptionName::Interface => socket.multicast_if_v4().map(u32::from),
        OptionName::Loopback if v6 => socket.multicast_loop_v6().map(u32::from),
        OptionName::Loopback => socket.multicast_loop_v4().map(u32::from),
        OptionName::MulticastTtl if v6 => socket.multicast_hops_v6(),
        OptionName::MulticastTtl => socket.multicast_ttl_v4(),
        OptionName::Ttl if v6 => socket.unicast_hops_v6(),
        OptionName::Ttl => socket.ttl_v4(),
    }
}

fn is_v6(socket: &Socket) -> bool {
    socket.local_addr().is_ok_and(|address| address.is_ipv6())
}

/// IPv4 groups, where the system accepts the index of an interface.
#[cfg(not(any(
    target_os = "illumos",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "solaris"
)))]
mod v4 {
    use std::io;
    use std::net::Ipv4Addr;

    use socket2::{InterfaceIndexOrAddress, Socket};

    use crate::driver::options::Interface;

    pub(in crate::driver) fn join(
        socket: &Socket,
        group: Ipv4Addr,
        at: Interface,
    ) -> io::Result<()> {
        socket.join_multicast_v4_n(&group, &named(at))
    }

    pub(in crate::driver) fn leave(
        socket: &Socket,
        group: Ipv4Addr,
        at: Interface,
    ) -> io::Result<()> {
        socket.leave_multicast_v4_n(&group, &named(at))
    }

    fn named(interface: Interface) -> InterfaceIndexOrAddress {
        match interface {
            Interface::Any => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
            Interface::Address(address) => InterfaceIndexOrAddress::Address(address),
            Interface::Index(index) => InterfaceIndexOrAddress::Index(index),
        }
    }
}

/// IPv4 groups, where the system accepts only the address of an interface.
#[cfg(any(
    target_os = "illumos",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "solaris"
))]
mod v4 {
    use std::io;
    use std::net::Ipv4Addr;

    use socket2::Socket;

    use crate::driver::options::{Interface, wrong_interface};

    pub(in crate::driver) fn join(
        socket: &Socket,
        group: Ipv4Addr,
        at: Interface,
    ) -> io::Result<()> {
        socket.join_multicast_v4(&group, &named(at)?)
    }

    pub(in crate::driver) fn leave(
        socket: &Socket,
        group: Ipv4Addr,
        at: Interface,
    ) -> io::Result<()> {
        socket.leave_multicast_v4(&group, &named(at)?)
    }

    fn named(interface: Interface) -> io::Result<Ipv4Addr> {
        match interface {
            Interface::Any => Ok(Ipv4Addr::UNSPECIFIED),
            Interface::Address(address) => Ok(address),
            Interface::Index(_) => Err(wrong_interface()),
        }
    }
}

fn v6(interface: Interface) -> io::Result<u32> {
    match interface {
        Interface::Any => Ok(0),
        Interface::Index(index) => Ok(index),
        Interface::Address(_) => Err(wrong_interface()),
    }
}
