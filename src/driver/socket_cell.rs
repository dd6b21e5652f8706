//! A cell for a connection's socket until it is closed: [`SocketCell`].
//!
//! # Invariants
//!
//! 1. No reference to the socket exists while code runs that could reach the cell: a plain socket
//!    is borrowed for one system call, and any other socket is out of the cell while it is used.
//! 2. Code that reaches the cell while the socket is out finds it empty, as after the close.
//! 3. Only [`SocketCell::with`] puts a socket back, the one that it has taken out, and
//!    `SocketCell::replace_with` one that is made of it.

#![allow(
    unsafe_code,
    reason = "each message passes here twice, and what a `RefCell` notes costs as much memory as the socket"
)]

use std::cell::UnsafeCell;
use std::io;

use super::Socket;

/// A cell for a socket, behind a shared reference.
pub(crate) struct SocketCell(UnsafeCell<Option<Socket>>);

impl SocketCell {
    pub(crate) fn new(socket: Socket) -> Self {
        Self(UnsafeCell::new(Some(socket)))
    }

    /// Takes the socket out.
    pub(crate) fn take(&self) -> Option<Socket> {
        // SAFETY: the cell is not `Sync`, so only this thread uses it, and no other reference to
        // its content exists (invariant 1): each lasts for one system call, which runs no code that
        // could call this.
        unsafe { &mut *self.0.get() }.take()
    }

    /// Calls `f` with the socket, which is out of the cell meanwhile. Returns `None` when it has
    /// been taken out. When `f` panics, the socket is closed.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Socket) -> R) -> Option<R> {
        let (mut f, mut result) = (Some(f), None);
        self.with_dyn(&mut |socket| result = f.take().map(|f| f(socket)));
        result
    }

    /// Does the work of [`SocketCell::with`]. It is not generic, so that it is compiled once.
    fn with_dyn(&self, f: &mut dyn FnMut(&Socket)) {
        let Some(socket) = self.take() else { return };
        f(&socket);
        // SAFETY: as in `take`.
        *unsafe { &mut *self.0.get() } = Some(socket);
    }

    /// Replaces the socket with one that `f` makes of it; returns whether there was one. When `f`
    /// panics, the socket is closed.
    #[cfg(feature = "tls")]
    pub(crate) fn replace_with(&self, f: impl FnOnce(Socket) -> Socket) -> bool {
        let Some(socket) = self.take() else {
            return false;
        };
        let socket = f(socket);
        // SAFETY: as in `take`.
        *unsafe { &mut *self.0.get() } = Some(socket);
        true
    }

    /// Reads like [`Socket::read`]; returns `None` when there is no socket.
    #[inline(always)]
    pub(crate) fn read(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        // SAFETY: nothing changes the content while this reference exists, which is for one system
        // call (invariant 1).
        match unsafe { &*self.0.get() } {
            Some(socket) if socket.is_plain() => Some(socket.read(into)),
            _ => self.with(|socket| socket.read(into)),
        }
    }

    /// Writes like [`Socket::write`]; returns `None` when there is no socket.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        // SAFETY: as in `read`.
        match unsafe { &*self.0.get() } {
            Some(socket) if socket.is_plain() => Some(socket.write(bytes)),
            _ => self.with(|socket| socket.write(bytes)),
        }
    }

    /// Returns whether the socket is a plain TCP socket.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.ask(Socket::is_plain)
    }

    /// Returns whether there are bytes to read that no event reports.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        self.ask(Socket::has_unread)
    }

    /// Returns whether there are received descriptors.
    #[inline]
    pub(crate) fn has_descriptors(&self) -> bool {
        self.ask(Socket::has_descriptors)
    }

    /// Asks the socket; without one, the answer is no. (A function, not a closure: the questions
    /// are those above, which run no code that could reach the cell.)
    #[inline(always)]
    fn ask(&self, question: fn(&Socket) -> bool) -> bool {
        // SAFETY: as in `read`.
        unsafe { &*self.0.get() }.as_ref().is_some_and(question)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    fn pair() -> (SocketCell, socket2::Socket) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (SocketCell::new(Socket::Machine(near.into())), far.into())
    }

    #[test]
    fn code_that_runs_while_the_socket_is_lent_finds_the_cell_empty() {
        let (cell, far) = pair();
        let lent = cell.with(|socket| {
            assert!(cell.with(|_| ()).is_none() && cell.take().is_none());
            assert!(cell.read(&mut [0]).is_none() && cell.write(b"x").is_none());
            assert!(!cell.is_plain());
            socket.write(b"once").unwrap()
        });
        assert_eq!(lent, Some(4));
        assert!(cell.is_plain());
        assert_eq!(cell.write(b"more").unwrap().unwrap(), 4);
        let mut all = [0; 8];
        io::Read::read_exact(&mut &far, &mut all).unwrap();
        assert_eq!(&all, b"oncemore");
    }

    #[test]
    fn a_panic_while_the_socket_is_lent_closes_it() {
        let (cell, far) = pair();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            cell.with(|_| std::panic::resume_unwind(Box::new("oh")))
        }));
        assert!(panic.is_err());
        assert!(cell.take().is_none());
        assert_eq!(io::Read::read(&mut &far, &mut [0]).unwrap(), 0);
    }
}
