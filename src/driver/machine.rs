//! The machine as a driver: its poller, and the queues in this process that stand beside it.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[cfg(test)]
use super::poller::Polling;
use super::poller::{Borrowed, Event, Interest, Poller, Selector, Waking};
use super::relay::Relays;

/// The machine as a driver.
#[derive(Debug)]
pub(crate) struct Machine {
    selector: Selector,
    relays: Relays,
}

impl Machine {
    /// Waits with `poller`, or else with the default one.
    pub(super) fn new(poller: Option<Poller>) -> io::Result<Self> {
        Selector::new(poller).map(Self::with)
    }

    fn with(selector: Selector) -> Self {
        Self {
            selector,
            relays: Relays::default(),
        }
    }

    pub(super) fn poller(&self) -> Poller {
        self.selector.poller()
    }

    /// Returns what wakes it.
    pub(super) fn waker(&self) -> Waking {
        self.selector.waker()
    }

    pub(super) fn relays(&self) -> &Relays {
        &self.relays
    }

    /// See [`Driver::wait`](super::Driver::wait).
    pub(super) fn wait(
        &self,
        mut timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let before = events.len();
        self.relays.tell(events);
        if events.len() > before {
            timeout = Some(Duration::ZERO);
        }
        self.selector.wait(timeout, events)
    }

    /// See [`Driver::add`](super::Driver::add).
    pub(super) fn add(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.selector.add(source, key, interest)
    }

    /// See [`Driver::set_interest`](super::Driver::set_interest).
    pub(super) fn set_interest(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.selector.set_interest(source, key, interest)
    }

    /// See [`Driver::remove`](super::Driver::remove).
    pub(super) fn remove(&self, source: Borrowed<'_>) -> io::Result<()> {
        self.selector.remove(source)
    }

    /// See [`Driver::remove_closing`](super::Driver::remove_closing).
    pub(super) fn remove_closing(&self, source: Borrowed<'_>) -> io::Result<()> {
        self.selector.remove_closing(source)
    }

    /// See [`Driver::rebuild`](super::Driver::rebuild).
    pub(super) fn rebuild(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        self.selector.rebuild(is_live)
    }

    /// See [`Driver::prepare_to_lend`](super::Driver::prepare_to_lend).
    #[cfg(unix)]
    pub(super) fn prepare_to_lend(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        self.selector.prepare_to_lend(is_live)
    }
}

#[cfg(all(test, unix))]
impl Machine {
    /// As on a platform without a shorter way to wait.
    pub(super) fn portable() -> Self {
        Self::with(Selector::System(Polling::plain().unwrap()))
    }

    /// As on a platform where sources are one-shot.
    pub(super) fn oneshot() -> Self {
        Self::with(Selector::System(Polling::oneshot()))
    }

    /// As on a kernel that waits in milliseconds.
    #[cfg(target_os = "linux")]
    pub(super) fn coarse() -> Self {
        Self::with(Selector::System(Polling::coarse()))
    }

    /// Whether the shorter way to wait is taken.
    #[cfg(target_os = "linux")]
    pub(super) fn is_direct(&self) -> bool {
        matches!(&self.selector, Selector::System(system) if system.is_direct())
    }

    /// Notifies the poller itself, as nobody but a test does while waiting goes the shorter way; `false` where there is none.
    pub(super) fn notify(&self) -> bool {
        match &self.selector {
            Selector::System(system) => system.notify(),
            Selector::Poll(_) => return false,
        }
        true
    }
}

#[cfg(unix)]
impl AsFd for Machine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.lend()
    }
}
