//! A socket that a connection has until it is closed: [`SocketCell`].

#![allow(
    unsafe_code,
    reason = "each message passes here twice, and what a `RefCell` notes costs as much memory as the socket"
)]

use std::cell::UnsafeCell;
use std::io;

use super::Socket;

/// Room for a socket, behind a shared reference.
pub(crate) struct SocketCell(UnsafeCell<Option<Socket>>);

impl SocketCell {
    pub(crate) fn new(socket: Socket) -> Self {
        Self(UnsafeCell::new(Some(socket)))
    }

    /// Takes the socket out.
    pub(crate) fn take(&self) -> Option<Socket> {
        // SAFETY: the cell is not `Sync`. Other references to what is in it last for one system
        // call each, which runs nobody's code that could call this.
        unsafe { &mut *self.0.get() }.take()
    }

    /// Calls `f` with the socket, which is not there meanwhile. `None` when it has been taken out.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Socket) -> R) -> Option<R> {
        let socket = self.take()?;
        let result = f(&socket);
        // SAFETY: as in `take`.
        *unsafe { &mut *self.0.get() } = Some(socket);
        Some(result)
    }

    /// As [`Socket::read`]. `None` when there is no socket.
    #[inline(always)]
    pub(crate) fn read(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        // SAFETY: nothing changes what is in the cell while this is looked at: that lasts for one
        // system call.
        match unsafe { &*self.0.get() } {
            Some(socket) if socket.is_plain() => Some(socket.read(into)),
            _ => self.with(|socket| socket.read(into)),
        }
    }

    /// As [`Socket::write`]. `None` when there is no socket.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        // SAFETY: as in `read`.
        match unsafe { &*self.0.get() } {
            Some(socket) if socket.is_plain() => Some(socket.write(bytes)),
            _ => self.with(|socket| socket.write(bytes)),
        }
    }

    /// Returns whether it is a plain socket of TCP.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: as in `read`; no call at all is made.
        unsafe { &*self.0.get() }
            .as_ref()
            .is_some_and(Socket::is_plain)
    }
}
