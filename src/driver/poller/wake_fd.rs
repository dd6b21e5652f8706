//! A descriptor that ends a wait when a thread, or a signal handler, writes eight bytes to it.
//!
//! The descriptor is a counter (`eventfd`) where available, and a pair of sockets elsewhere. An
//! epoll watches a counter edge-triggered: each write is reported once, and nothing needs to be
//! read back. A poller that watches it in another way [drains](WakeFd::drain) it.

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
        read_end: UnixStream,
        write_end: UnixStream,
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
        let (read_end, write_end) = UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        write_end.set_nonblocking(true)?;
        Ok(Self::Pair {
            read_end,
            write_end,
        })
    }

    /// Makes a descriptor that is registered with `poller` under the key [`WAKE_KEY`].
    pub(super) fn registered_with(poller: &Poller) -> io::Result<Self> {
        let wake_fd = Self::new()?;
        wake_fd.register_with(poller)?;
        Ok(wake_fd)
    }

    /// Registers the descriptor with `poller`.
    pub(super) fn register_with(&self, poller: &Poller) -> io::Result<()> {
        let interest = polling::Event::readable(WAKE_KEY);
        // An epoll forgets a closed wake descriptor by itself; elsewhere the descriptor lives as
        // long as its poller.
        register::add(poller, self.read_end(), interest, self.mode())
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

    /// Returns the descriptor that a signal handler writes eight bytes to.
    pub(in crate::driver) fn raw_fd(&self) -> RawFd {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => counter.as_raw_fd(),
            Self::Pair { write_end, .. } => write_end.as_raw_fd(),
        }
    }

    /// Returns the descriptor that a poller watches.
    pub(super) fn read_end(&self) -> BorrowedFd<'_> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => counter.as_fd(),
            Self::Pair { read_end, .. } => read_end.as_fd(),
        }
    }

    /// Ends the present wait, or the next one.
    pub(super) fn notify(&self) {
        let one = 1_u64.to_ne_bytes();
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => {
                // A full counter accepts no more and reports nothing either: empty it first. An
                // open counter has no other error.
                if rustix::io::write(counter, &one) == Err(Errno::AGAIN) {
                    let _ = rustix::io::read(counter, &mut [0; 8]);
                    let _ = rustix::io::write(counter, &one);
                }
            }
            // A full pair is readable as well.
            Self::Pair { write_end, .. } => drop((&mut &*write_end).write(&one)),
        }
    }

    /// Discards pending wakes.
    pub(super) fn drain(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Counter(counter) => drop(rustix::io::read(counter, &mut [0; 8])),
            Self::Pair { read_end, .. } => {
                while matches!((&mut &*read_end).read(&mut [0; 512]), Ok(1..)) {}
            }
        }
    }

    /// Arms the descriptor again with `poller`; an edge-triggered one needs nothing.
    pub(super) fn disarm(&self, poller: &Poller) -> io::Result<()> {
        if self.mode() == PollMode::Edge {
            return Ok(());
        }
        self.drain();
        poller.modify_with_mode(
            self.read_end(),
            polling::Event::readable(WAKE_KEY),
            self.mode(),
        )
    }
}
