//! The machine as a driver: its poller, and the queues in this process that stand beside it.

use std::io;
use std::time::Duration;

#[cfg(test)]
use super::poller::Polling;
use super::poller::{Event, Poller, Selector};
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

    /// The poller in use, for all that does not concern the relays.
    pub(super) fn selector(&self) -> &Selector {
        &self.selector
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

    /// Notifies the poller itself, as nobody but a test does while waiting goes the shorter way;
    /// `false` where there is none.
    pub(super) fn notify(&self) -> bool {
        match &self.selector {
            Selector::System(system) => system.notify(),
            Selector::Poll(_) => return false,
        }
        true
    }
}
