//! Sockets and listeners in memory: IDs in a network, closed when dropped.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use super::id::{Fault, SocketId};
use super::net::Net;
use crate::address::Address;
use crate::driver::options::{Arrived, Change, OptionName};
#[cfg(unix)]
use crate::driver::sockets::passing::Passing;

/// One end of a connection in memory.
pub(crate) struct Socket {
    net: Rc<RefCell<Net>>,
    end: usize,
    /// Whether both ends are on the same machine: the socket behaves as a UNIX socket.
    local: bool,
    #[cfg(unix)]
    passing: Passing,
}

impl Socket {
    pub(super) fn new(net: Rc<RefCell<Net>>, end: usize) -> Self {
        let local = net.borrow_mut().end(end).is_unix;
        Self {
            net,
            end,
            local,
            #[cfg(unix)]
            passing: Passing::default(),
        }
    }

    pub(crate) fn socket_id(&self) -> SocketId {
        SocketId::End(self.end)
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.net.borrow_mut().read(self.end, into)?;
        #[cfg(unix)]
        if self.local {
            let received = self.net.borrow_mut().end(self.end).take_descriptors();
            let room = self.passing.room();
            for descriptor in received {
                self.passing.keep_received(descriptor, room);
            }
        }
        Ok(count)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(unix)]
        if self.passing.waiting() > 0 {
            let carried = self.passing.carry(bytes, |byte, descriptor| {
                let copy = descriptor.try_clone_to_owned()?;
                Ok(self.net.borrow_mut().write_with(self.end, byte, copy)?)
            })?;
            // What does not fit is written the next time, and so is the byte that carries a
            // descriptor.
            if self.passing.waiting() > 0 {
                return Ok(carried);
            }
            return match self.net.borrow_mut().write(self.end, &bytes[carried..]) {
                Ok(count) => Ok(carried + count),
                Err(_) if carried > 0 => Ok(carried),
                Err(fault) => Err(fault.into()),
            };
        }
        Ok(self.net.borrow_mut().write(self.end, bytes)?)
    }

    #[cfg(unix)]
    pub(crate) fn passing(&self) -> Option<&Passing> {
        self.local.then_some(&self.passing)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    pub(crate) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for piece in pieces {
            match self.write(piece) {
                Ok(count) => {
                    written += count;
                    // The rest of this piece comes before the next piece.
                    if count < piece.len() {
                        break;
                    }
                }
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(written)
    }

    pub(crate) fn peer_has_shut(&self) -> bool {
        self.net.borrow_mut().end(self.end).peer_ended
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Ok(self.net.borrow_mut().shutdown(self.end, how)?)
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let fault = self.net.borrow_mut().end(self.end).fault.take();
        fault.map(io::Error::from)
    }

    pub(crate) fn connected(&self) -> io::Result<bool> {
        match self.take_error() {
            Some(error) => Err(error),
            None => {
                let mut net = self.net.borrow_mut();
                let end = net.end(self.end);
                Ok(!end.dead && !end.connecting)
            }
        }
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.net.borrow_mut().end(self.end).local.clone()
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        let mut net = self.net.borrow_mut();
        let end = net.end(self.end);
        if end.dead {
            return Err(Fault::NotConnected.into());
        }
        Ok(end.remote.clone())
    }

    pub(crate) fn set_nodelay(&self, on: bool) {
        self.net.borrow_mut().end(self.end).nodelay = on;
    }

    pub(crate) fn nodelay(&self) -> bool {
        self.local || self.net.borrow_mut().end(self.end).nodelay
    }

    pub(crate) fn set_keepalive(&self, on: bool) {
        self.net.borrow_mut().end(self.end).keepalive = on;
    }

    pub(crate) fn set_keepalive_times(&self, times: (Duration, Duration, u32)) {
        self.net.borrow_mut().end(self.end).keepalive_times = Some(times);
    }

    /// Returns the times that were set, or the defaults of Linux.
    pub(crate) fn keepalive_times(&self) -> (Duration, Duration, u32) {
        let times = self.net.borrow_mut().end(self.end).keepalive_times;
        times.unwrap_or((Duration::from_secs(7200), Duration::from_secs(75), 9))
    }

    pub(crate) fn keepalive(&self) -> bool {
        self.net.borrow_mut().end(self.end).keepalive
    }

    pub(crate) fn reset_on_close(&self) {
        self.net.borrow_mut().end(self.end).reset_on_close = true;
    }
}

/// A listener in memory.
pub(crate) struct Listener {
    net: Rc<RefCell<Net>>,
    listener: usize,
    addr: Address,
}

impl Listener {
    pub(super) fn new(net: Rc<RefCell<Net>>, listener: usize, addr: Address) -> Self {
        Self {
            net,
            listener,
            addr,
        }
    }

    pub(crate) fn socket_id(&self) -> SocketId {
        SocketId::MemoryListener(self.listener)
    }

    pub(crate) fn accept(&self) -> io::Result<(Box<Socket>, Address)> {
        let (end, from) = self.net.borrow_mut().accept(self.listener)?;
        Ok((Box::new(Socket::new(self.net.clone(), end)), from))
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.addr.clone()
    }
}

/// A datagram socket in memory.
pub(crate) struct Datagrams {
    net: Rc<RefCell<Net>>,
    udp: usize,
}

impl Datagrams {
    pub(super) fn new(net: Rc<RefCell<Net>>, udp: usize) -> Self {
        Self { net, udp }
    }

    pub(crate) fn socket_id(&self) -> SocketId {
        SocketId::MemoryUdpSocket(self.udp)
    }

    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<Arrived> {
        Ok(self.net.borrow_mut().receive(self.udp, into)?)
    }

    pub(crate) fn next_size(&self) -> Option<usize> {
        self.net.borrow().next_size(self.udp)
    }

    pub(crate) fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<()> {
        Ok(self.net.borrow_mut().send(self.udp, bytes, to)?)
    }

    pub(crate) fn connect(&self, to: &Address) -> io::Result<()> {
        Ok(self.net.borrow_mut().connect_udp(self.udp, to)?)
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let fault = self.net.borrow_mut().take_refusal(self.udp);
        fault.map(io::Error::from)
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.net.borrow().udp_local_addr(self.udp)
    }

    pub(crate) fn change(&self, change: Change) -> io::Result<()> {
        self.net.borrow_mut().change_udp(self.udp, change)
    }

    pub(crate) fn option(&self, name: OptionName) -> u32 {
        self.net.borrow().udp_option(self.udp, name)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.net.borrow_mut().close(self.end);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.net.borrow_mut().close_listener(self.listener);
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.net.borrow_mut().close_udp(self.udp);
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Datagrams").field(&self.udp).finish()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.end).finish()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.addr).finish()
    }
}
