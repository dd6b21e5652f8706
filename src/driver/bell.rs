//! A descriptor that ends a wait when somebody, even a signal handler, writes eight bytes to it.
//!
//! On Linux it is a counter that the poller watches edge-triggered: each write is told once, nothing needs to
//! be read back. Elsewhere it is a pair of sockets; who is told of it calls [`Bell::hush`] and arms it again.

use std::io;
#[cfg(not(target_os = "linux"))]
use std::io::Read;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
#[cfg(not(target_os = "linux"))]
use std::os::unix::net::UnixStream;

use polling::PollMode;
#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::{BELL, register};
use crate::sync::Poller;

/// Something to ring. It does not block, and it stays open as long as it lives.
#[derive(Debug)]
pub(super) struct Bell {
    #[cfg(target_os = "linux")]
    counter: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    ear: UnixStream,
    #[cfg(not(target_os = "linux"))]
    hand: UnixStream,
}

impl Bell {
    /// A bell that `poller` hears under the key [`BELL`].
    pub(super) fn hung_at(poller: &Poller) -> io::Result<Self> {
        let bell = Self::new()?;
        bell.hang_at(poller)?;
        Ok(bell)
    }

    /// Has `poller` hear it.
    pub(super) fn hang_at(&self, poller: &Poller) -> io::Result<()> {
        let interest = polling::Event::readable(BELL);
        // On epoll a bell that closes is forgotten by itself; elsewhere it lives as long as its poller.
        register::add(poller, self.ear(), interest, Self::MODE)
    }

    /// What a signal handler writes eight bytes to.
    pub(super) fn hand(&self) -> RawFd {
        #[cfg(target_os = "linux")]
        return self.counter.as_raw_fd();
        #[cfg(not(target_os = "linux"))]
        return self.hand.as_raw_fd();
    }

    /// What the poller watches.
    fn ear(&self) -> BorrowedFd<'_> {
        #[cfg(target_os = "linux")]
        return self.counter.as_fd();
        #[cfg(not(target_os = "linux"))]
        return self.ear.as_fd();
    }
}

#[cfg(target_os = "linux")]
impl Bell {
    const MODE: PollMode = PollMode::Edge;

    fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { counter })
    }

    /// Ends the wait under way, or the next one.
    pub(super) fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // A full counter takes no more, and tells nothing either: empty it first. No other error can come
        // from a counter that is open.
        if rustix::io::write(&self.counter, &one) == Err(Errno::AGAIN) {
            let _ = rustix::io::read(&self.counter, &mut [0; 8]);
            let _ = rustix::io::write(&self.counter, &one);
        }
    }

    /// Makes it heard again: an edge needs nothing.
    pub(super) fn hush(&self, _poller: &Poller) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Bell {
    const MODE: PollMode = PollMode::Oneshot;

    fn new() -> io::Result<Self> {
        let (ear, hand) = UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        hand.set_nonblocking(true)?;
        Ok(Self { ear, hand })
    }

    /// Forgets what was rung and makes it heard again.
    pub(super) fn hush(&self, poller: &Poller) -> io::Result<()> {
        while matches!((&self.ear).read(&mut [0; 512]), Ok(1..)) {}
        poller.modify_with_mode(&self.ear, polling::Event::readable(BELL), Self::MODE)
    }
}
