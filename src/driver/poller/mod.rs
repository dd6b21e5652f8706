//! Readiness: which of the system's pollers is waited on, and how a wait is ended from elsewhere.
//!
//! A [`Selector`] is the poller in use. It is an enum, so that the loop's hot path has one
//! predictable branch and no virtual call.
//!
//! # Files
//!
//! `event`: keys, interests and events · `choice`: the public names · `polling`: the `polling`
//! crate's poller, with `epoll`, a shorter way to wait on it on Linux · `poll`: poll(2), with
//! `table`, its descriptors, and `host_poller`, a thread for host loops that need one descriptor ·
//! `register`: the only file that passes descriptors to the poller · `waking` and `wake_fd`: wakes.

mod choice;
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "epoll_pwait2 has no safe wrapper in the features in use"
)]
mod epoll;
mod event;
#[cfg(unix)]
mod host_poller;
#[cfg(unix)]
mod poll;
mod polling;
#[allow(
    unsafe_code,
    reason = "a poller asks that descriptors outlive their registration"
)]
mod register;
#[cfg(unix)]
mod table;
#[cfg(unix)]
mod wake_fd;
mod waking;

use std::io;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use choice::Poller;
pub(crate) use event::Event;
pub use event::Interest;
pub(super) use event::{Borrowed, WAKE_KEY};
#[cfg(unix)]
use poll::Poll;
pub(super) use polling::Polling;
pub(crate) use waking::Waking;

/// The poller in use.
#[derive(Debug)]
pub(super) enum Selector {
    /// The system's own, through the `polling` crate.
    System(Polling),
    /// poll(2).
    #[cfg(unix)]
    Poll(Poll),
}

impl Selector {
    /// Makes the requested poller, or the system's default; poll(2) where the system refuses the
    /// default.
    pub(super) fn new(asked: Option<Poller>) -> io::Result<Self> {
        match asked {
            None => Self::default_one(),
            #[cfg(unix)]
            Some(Poller::Poll) => Poll::new().map(Self::Poll),
            Some(poller) if Some(poller) == Poller::SYSTEM => Polling::new().map(Self::System),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn default_one() -> io::Result<Self> {
        #[cfg(unix)]
        match Polling::new() {
            // A sandbox, or a kernel without this call.
            Err(error) if choice::is_refusal(&error) => {
                tracing::debug!(target: "torsade::reactor", %error, "using poll(2)");
                Poll::new().map(Self::Poll)
            }
            made => made.map(Self::System),
        }
        #[cfg(not(unix))]
        Polling::new().map(Self::System)
    }

    /// Makes a selector that only waits for wakes, on any system.
    #[cfg(any(doc, feature = "testing"))]
    pub(super) fn for_wakes() -> io::Result<Self> {
        #[cfg(all(unix, not(torsade_loom)))]
        return Poll::new().map(Self::Poll);
        #[cfg(any(not(unix), torsade_loom))]
        Polling::plain().map(Self::System)
    }

    pub(super) fn poller(&self) -> Poller {
        match self {
            Self::System(_) => Poller::SYSTEM.unwrap_or(Poller::Poll),
            #[cfg(unix)]
            Self::Poll(_) => Poller::Poll,
        }
    }

    /// Returns a handle that wakes the selector.
    pub(super) fn waker(&self) -> Waking {
        match self {
            Self::System(system) => system.waker(),
            #[cfg(unix)]
            Self::Poll(poll) => poll.waker(),
        }
    }

    /// Waits, and appends the events of ready sources.
    #[inline]
    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        match self {
            Self::System(system) => system.wait(timeout, events),
            #[cfg(unix)]
            Self::Poll(poll) => poll.wait(timeout, events).map(drop),
        }
    }

    /// Waits for a wake where nothing is registered; returns whether one came.
    #[cfg(any(doc, feature = "testing"))]
    pub(super) fn wait_for_wake(&self, timeout: Option<Duration>) -> io::Result<bool> {
        match self {
            Self::System(system) => system.wait_through(timeout, &mut Vec::new()),
            #[cfg(unix)]
            Self::Poll(poll) => poll.wait(timeout, &mut Vec::new()),
        }
    }

    /// See [`Driver::add`](super::Driver::add).
    pub(super) fn add(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::System(system) => system.add(source, key, interest),
            #[cfg(unix)]
            Self::Poll(poll) => poll.add(source, key, interest),
        }
    }

    /// See [`Driver::set_interest`](super::Driver::set_interest).
    pub(super) fn set_interest(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Self::System(system) => system.set_interest(source, key, interest),
            #[cfg(unix)]
            Self::Poll(poll) => poll.set_interest(source, key, interest),
        }
    }

    /// See [`Driver::remove`](super::Driver::remove).
    pub(super) fn remove(&self, source: Borrowed<'_>) -> io::Result<()> {
        match self {
            Self::System(system) => system.remove(source),
            #[cfg(unix)]
            Self::Poll(poll) => {
                poll.remove(source);
                Ok(())
            }
        }
    }

    /// See [`Driver::remove_closing`](super::Driver::remove_closing).
    pub(super) fn remove_closing(&self, source: Borrowed<'_>) -> io::Result<()> {
        match self {
            Self::System(system) => system.remove_closing(source),
            #[cfg(unix)]
            Self::Poll(_) => self.remove(source),
        }
    }

    /// See [`Driver::rebuild`](super::Driver::rebuild).
    pub(super) fn rebuild(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::System(system) => system.rebuild(is_live),
            #[cfg(unix)]
            Self::Poll(_) => Ok(()),
        }
    }

    /// See [`Driver::prepare_to_lend`](super::Driver::prepare_to_lend).
    #[cfg(unix)]
    pub(super) fn prepare_to_lend(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        match self {
            Self::System(system) => system.prepare_to_lend(is_live),
            Self::Poll(poll) => poll.prepare_to_lend(),
        }
    }

    /// Returns a descriptor that is readable when a wait would find something.
    #[cfg(unix)]
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        match self {
            Self::System(system) => system.lend(),
            Self::Poll(poll) => poll.lend(),
        }
    }
}
