//! Sockets for datagrams, of either driver. Each call is one system call, or its like in memory.
//!
//! What is sent or received is whole: nothing here takes a part of a datagram and keeps quiet about it.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

#[cfg(not(unix))]
use std::net::UdpSocket as Inner;

#[cfg(unix)]
use rustix::net::{RecvFlags, SocketAddrAny, SocketAddrUnix, recvfrom};
#[cfg(unix)]
use socket2::Socket as Inner;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::memory;
use super::socket::NO_SIGNAL;
use super::tcp;
use super::{Driver, Name, Source};
use crate::address::Address;

/// A socket for datagrams. Dropping it closes it.
#[derive(Debug)]
pub(crate) enum Datagrams {
    /// The machine's.
    Machine(Inner),
    /// In memory.
    Memory(memory::Datagrams),
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

/// Something to be known about a socket; yes is one, no is zero, and an interface a number or the bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Broadcast,
    Interface,
    Loopback,
    MulticastTtl,
    Ttl,
}

impl Driver {
    /// A socket bound to `address`; port 0 takes a free one, [`Address::Unnamed`] makes a UNIX socket without a name.
    ///
    /// Sockets that `share` may have the same address.
    pub(crate) fn datagrams(&self, address: &Address, share: bool) -> io::Result<Datagrams> {
        match self {
            Self::Machine(_) => bound(address, share).map(Datagrams::Machine),
            Self::Memory(memory) => memory.datagrams(address, share).map(Datagrams::Memory),
        }
    }
}

impl Datagrams {
    /// Receives one, as much of it as there is room for.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<Arrived> {
        match self {
            Self::Machine(socket) => receive(socket, into),
            Self::Memory(socket) => socket.receive(into),
        }
    }

    /// How large the next one is, where one can be larger than a read buffer.
    pub(crate) fn next_size(&self) -> io::Result<Option<usize>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(socket) => {
                let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
                let (_, size, _) = recvfrom(socket, &mut [0_u8; 1], flags)?;
                Ok(Some(size))
            }
            #[cfg(not(target_os = "linux"))]
            Self::Machine(_) => Ok(None),
            Self::Memory(socket) => Ok(socket.next_size()),
        }
    }

    /// Sends one, whole, to who it is connected to if nobody is named.
    pub(crate) fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<()> {
        match self {
            Self::Machine(socket) => {
                let socket = SockRef::from(socket);
                match to {
                    Some(to) => socket.send_to_with_flags(bytes, &name(to)?, NO_SIGNAL),
                    None => socket.send_with_flags(bytes, NO_SIGNAL),
                }
                .map(drop)
            }
            Self::Memory(socket) => socket.send(bytes, to),
        }
    }

    /// From now on sends to this one, and receives from nobody else.
    pub(crate) fn connect(&self, to: &Address) -> io::Result<()> {
        match self {
            Self::Machine(socket) => SockRef::from(socket).connect(&name(to)?),
            Self::Memory(socket) => socket.connect(to),
        }
    }

    /// What went wrong since this was last asked.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Machine(socket) => SockRef::from(socket).take_error(),
            Self::Memory(socket) => Ok(socket.take_error()),
        }
    }

    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Machine(socket) => Ok(tcp::name(&SockRef::from(socket).local_addr()?)),
            Self::Memory(socket) => Ok(socket.local_addr()),
        }
    }

    /// Changes something.
    pub(crate) fn change(&self, change: Change) -> io::Result<()> {
        match self {
            Self::Machine(socket) => set(&SockRef::from(socket), change),
            Self::Memory(socket) => socket.change(change),
        }
    }

    /// Tells something.
    pub(crate) fn ask(&self, question: Question) -> io::Result<u32> {
        match self {
            Self::Machine(socket) => get(&SockRef::from(socket), question),
            Self::Memory(socket) => Ok(socket.ask(question)),
        }
    }

    /// How much the system may keep for it, in and out.
    pub(crate) fn set_buffers(&self, sizes: [Option<usize>; 2]) -> io::Result<()> {
        let Self::Machine(socket) = self else {
            return Ok(());
        };
        let socket = SockRef::from(socket);
        if let Some(size) = sizes[0] {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(size) = sizes[1] {
            socket.set_send_buffer_size(size)?;
        }
        Ok(())
    }
}

impl Source for Datagrams {
    fn name(&self) -> Name<'_> {
        match self {
            #[cfg(unix)]
            Self::Machine(socket) => Name::Machine(std::os::fd::AsFd::as_fd(socket)),
            #[cfg(windows)]
            Self::Machine(socket) => {
                Name::Machine(std::os::windows::io::AsSocket::as_socket(socket))
            }
            Self::Memory(socket) => Name::Memory(socket.place()),
        }
    }
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

/// A socket of the machine's, made and set up.
fn bound(address: &Address, share: bool) -> io::Result<Inner> {
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
        // Otherwise it would hear the groups that other sockets of this host have joined. Old kernels cannot help it.
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
        socket.bind(&name(address)?)?;
    }
    #[cfg(not(unix))]
    let socket = socket.into();
    Ok(socket)
}

/// An address as the machine takes it.
fn name(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Ip(address) => Ok((*address).into()),
        Address::Path(path) => SockAddr::unix(path),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Address::Abstract(name) => {
            use std::os::unix::ffi::OsStringExt;
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            SockAddr::unix(std::ffi::OsString::from_vec(bytes))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} is no address to send to"),
        )),
    }
}

#[cfg(unix)]
fn receive(socket: &Inner, into: &mut [u8]) -> io::Result<Arrived> {
    // Where the flag is understood the size is told even if there is less room.
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
fn receive(socket: &Inner, into: &mut [u8]) -> io::Result<Arrived> {
    // Of what does not fit the system tells neither the size nor the sender, so all gets room.
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

/// No datagram has more bytes.
#[cfg(not(unix))]
const LARGEST: usize = 65_535;

#[cfg(unix)]
fn sender(from: SocketAddrAny) -> Address {
    use std::os::unix::ffi::OsStrExt;
    if let Ok(address) = std::net::SocketAddr::try_from(from.clone()) {
        return Address::Ip(address);
    }
    let Ok(address) = SocketAddrUnix::try_from(from) else {
        return Address::Unnamed;
    };
    #[cfg(target_os = "linux")]
    if let Some(name) = address.abstract_name() {
        return Address::Abstract(name.to_owned());
    }
    match address.path_bytes() {
        Some(path) => {
            // The kernel may count the byte that ends it.
            let path = path.strip_suffix(b"\0").unwrap_or(path);
            Address::from_path(std::ffi::OsStr::from_bytes(path))
        }
        None => Address::Unnamed,
    }
}

fn set(socket: &Socket, change: Change) -> io::Result<()> {
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

fn get(socket: &Socket, question: Question) -> io::Result<u32> {
    let v6 = is_v6(socket);
    match question {
        Question::Broadcast => socket.broadcast().map(u32::from),
        Question::Interface if v6 => socket.multicast_if_v6(),
        Question::Interface => socket.multicast_if_v4().map(u32::from),
        Question::Loopback if v6 => socket.multicast_loop_v6().map(u32::from),
        Question::Loopback => socket.multicast_loop_v4().map(u32::from),
        Question::MulticastTtl if v6 => socket.multicast_hops_v6(),
        Question::MulticastTtl => socket.multicast_ttl_v4(),
        Question::Ttl if v6 => socket.unicast_hops_v6(),
        Question::Ttl => socket.ttl_v4(),
    }
}

fn is_v6(socket: &Socket) -> bool {
    socket.local_addr().is_ok_and(|address| address.is_ipv6())
}

/// Groups of IPv4, where the system knows an interface by its number too.
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

    use super::Interface;

    pub(super) fn join(socket: &Socket, group: Ipv4Addr, at: Interface) -> io::Result<()> {
        socket.join_multicast_v4_n(&group, &named(at))
    }

    pub(super) fn leave(socket: &Socket, group: Ipv4Addr, at: Interface) -> io::Result<()> {
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

/// Groups of IPv4, where the system knows an interface by its address only.
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

    use super::{Interface, wrong_interface};

    pub(super) fn join(socket: &Socket, group: Ipv4Addr, at: Interface) -> io::Result<()> {
        socket.join_multicast_v4(&group, &named(at)?)
    }

    pub(super) fn leave(socket: &Socket, group: Ipv4Addr, at: Interface) -> io::Result<()> {
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

/// IPv4 names the interface to send by its address, IPv6 by its number.
pub(super) fn wrong_interface() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the interface is named as the other version of IP does it",
    )
}
