//! A descriptor that ends a wait when a thread, or a signal handler, writes eight bytes to it.
//!
//! It is a counter (`eventfd`) where there are such, and a pair of sockets elsewhere. An epoll
//! watches a counter edge-triggered: each write is reported once, and nothing needs to be read
//! back. A poller that watches it in another way [drains](WakeFd::drain) it.

use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use polling::PollMode;
#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::event::WAKE_KEY;
use super::register;
use crate::sync::Poller;

/// A descriptor that wakes a poller. Writing to it does not block.
#[derive(Debug)]
pub(super) enum WakeFd {
    #[cfg(target_os = "linux")]
    Counter(OwnedFd),
    Pair {
        ear: UnixStream,
        hand: UnixStream,
    },
}

impl WakeFd {
    /// A counter, or a pair of sockets where the system has or allows no counters.
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
            counter => return Ok(Self::Counter(counter?)),
        }
        let (ear, hand) = UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        hand.set_nonblocking(true)?;
        Ok(Self::Pair { ear, hand })
    }

    /// Makes a descriptor that is registered with `poller` under the key [`WAKE_KEY`].
    pub(super) fn hung_at(poller: &Poller) -> io::Result<Self> {
        let wake_fd = Self::new()?;
        wake_fd.hang_at(poller)?;
        Ok(wake_fd)
    }

    /// Registers the descriptor with `poller`.
    pub(super) fn hang_at(&self, poller: &Poller) -> io::Result<()> {
        let interest = polling::Event::readable(WAKE_KEY);
        // On epoll a bell that closes is forgotten by itself; elsewhere it lives as long as its
        // poller.
        register::add(poller, self.ear(), interest, self.mode())
    }

    /// Whether each write is reported once, and nothing needs to be read back.
    #[cfg(target_os = "linux")]
    pub(super) fn is_counter(&self) -> bool {
        matches!(self, Self::Counter(_))
    }

    fn mode(&self) -> PollMode {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(_) => PollMode::Edge,
            Self::Pair { .. } => PollMode::Oneshot,
        }
    }

    /// What a signal handler writes eight bytes to.
    pub(in crate::driver) fn hand(&self) -> RawFd {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => counter.as_raw_fd(),
            Self::Pair { hand, .. } => hand.as_raw_fd(),
        }
    }

    /// What a poller watches.
    pub(super) fn ear(&self) -> BorrowedFd<'_> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => counter.as_fd(),
            Self::Pair { ear, .. } => ear.as_fd(),
        }
    }

    /// Ends the wait under way, or the next one.
    pub(super) fn notify(&self) {
        let one = 1_u64.to_ne_bytes();
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => {
                // A full counter takes no more, and tells nothing either: empty it first. No other
                // error can come from a counter that is open.
                if rustix::io::write(counter, &one) == Err(Errno::AGAIN) {
                    let _ = rustix::io::read(counter, &mut [0; 8]);
                    let _ = rustix::io::write(counter, &one);
                }
            }
            // When it is full it is readable as well.
            Self::Pair { hand, .. } => drop((&mut &*hand).write(&one)),
        }
    }

    /// Forgets what was rung.
    pub(super) fn drain(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => drop(rustix::io::read(counter, &mut [0; 8])),
            Self::Pair { ear, .. } => while matches!((&mut &*ear).read(&mut [0; 512]), Ok(1..)) {},
        }
    }

    /// Makes it heard again by `poller`; an edge needs nothing.
    pub(super) fn disarm(&self, poller: &Poller) -> io::Result<()> {
        if self.mode() == PollMode::Edge {
            return Ok(());
        }
        self.drain();
        poller.modify_with_mode(self.ear(), polling::Event::readable(WAKE_KEY), self.mode())
    }
}
