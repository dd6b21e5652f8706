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

/// The name of a source: a descriptor, or a socket of the in-memory network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name<'a> {
    /// Something the machine's poller can watch.
    Machine(Borrowed<'a>),
    /// An end of a connection or a listener of a [`super::memory::Memory`].
    Memory(SocketId),
    /// Queues in this process.
    Relay(&'a Relay),
    /// Two descriptors, which know best how they are watched.
    #[cfg(unix)]
    Pair(&'a Pair),
}

/// A descriptor of the machine's that is neither a socket of a stream nor a listener: a pipe, a
/// datagram socket.
///
/// In memory it is [`io::ErrorKind::Unsupported`].
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

/// The machine was given something of memory's, or the other way round.
pub(super) fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the source is of another kind than the driver",
    )
}
