//! Datagram sockets of either driver. Each call is one system call, or its equivalent in memory.
//!
//! Datagrams are sent and received whole: no call silently takes a part of one.

use std::io;

use socket2::SockRef;

use super::memory;
use super::options::{Arrived, Change, OptionName};
use super::sockets::{NO_SIGNAL, datagram, names};
use super::source::{Name, Source};
use crate::address::Address;

/// A datagram socket. Dropping it closes it.
#[derive(Debug)]
pub(crate) enum Datagrams {
    /// A socket of the machine.
    Machine(datagram::Inner),
    /// In memory.
    Memory(memory::Datagrams),
}

impl Datagrams {
    /// Receives a datagram, as much of it as fits.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<Arrived> {
        match self {
            Self::Machine(socket) => datagram::receive(socket, into),
            Self::Memory(socket) => socket.receive(into),
        }
    }

    /// Returns the size of the next datagram, where one can be larger than a read buffer.
    pub(crate) fn next_size(&self) -> io::Result<Option<usize>> {
        match self {
            Self::Machine(socket) => datagram::next_size(socket),
            Self::Memory(socket) => Ok(socket.next_size()),
        }
    }

    /// Sends a datagram, whole; to the connected peer if there is no address.
    pub(crate) fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<()> {
        match self {
            Self::Machine(socket) => {
                let socket = SockRef::from(socket);
                match to {
                    Some(to) => socket.send_to_with_flags(bytes, &names::any(to)?, NO_SIGNAL),
                    None => socket.send_with_flags(bytes, NO_SIGNAL),
                }
                .map(drop)
            }
            Self::Memory(socket) => socket.send(bytes, to),
        }
    }

    /// Connects to an address: from now on sends there, and receives only from there.
    pub(crate) fn connect(&self, to: &Address) -> io::Result<()> {
        match self {
            Self::Machine(socket) => SockRef::from(socket).connect(&names::any(to)?),
            Self::Memory(socket) => socket.connect(to),
        }
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Machine(socket) => SockRef::from(socket).take_error(),
            Self::Memory(socket) => Ok(socket.take_error()),
        }
    }

    /// Returns the bound address.
    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Machine(socket) => Ok(names::of(&SockRef::from(socket).local_addr()?)),
            Self::Memory(socket) => Ok(socket.local_addr()),
        }
    }

    /// Changes an option.
    pub(crate) fn change(&self, change: Change) -> io::Result<()> {
        match self {
            Self::Machine(socket) => datagram::set(&SockRef::from(socket), change),
            Self::Memory(socket) => socket.change(change),
        }
    }

    /// Returns an option.
    pub(crate) fn option(&self, name: OptionName) -> io::Result<u32> {
        match self {
            Self::Machine(socket) => datagram::get(&SockRef::from(socket), name),
            Self::Memory(socket) => Ok(socket.option(name)),
        }
    }

    /// Sets the sizes of the system's buffers, receive and send, in bytes.
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
            Self::Memory(socket) => Name::Memory(socket.socket_id()),
        }
    }
}
