//! Sources of events, as a driver sees them: descriptors, sockets of the in-memory network, and
//! combinations of these.

use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;

#[cfg(unix)]
use super::descriptors::pair::Pair;
use super::memory::SocketId;
use super::poller::{Borrowed, WAKE_KEY};
use super::relay::Relay;

/// A type whose values a driver can watch. Only this module implements it.
pub(crate) trait Source {
    /// Returns the name of the source.
    fn name(&self) -> Name<'_>;
}

/// The form in which a driver identifies a source.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    /// A descriptor that the machine's poller can watch.
    Machine(Borrowed<'a>),
    /// A connection's end, a listener or a datagram socket of a [`super::memory::Memory`].
    Memory(SocketId),
    /// A relay in this process.
    Relay(&'a Relay),
    /// Two descriptors, which register themselves.
    #[cfg(unix)]
    Pair(&'a Pair),
}

/// A descriptor of the machine that is neither a stream socket nor a listener: a pipe, a datagram
/// socket.
///
/// The in-memory driver refuses it with [`io::ErrorKind::Unsupported`].
#[cfg(unix)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor<'a>(pub(crate) BorrowedFd<'a>);

#[cfg(unix)]
impl Source for Descriptor<'_> {
    fn name(&self) -> Name<'_> {
        Name::Machine(self.0)
    }
}

/// Refuses the two keys that the driver reserves (invariant 1).
pub(super) fn check_key(key: usize) -> io::Result<()> {
    if key >= WAKE_KEY {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the two highest keys are reserved",
        ));
    }
    Ok(())
}

/// Returns the error for a source of the other driver.
pub(super) fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the source is of another kind than the driver",
    )
}
