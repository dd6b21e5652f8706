//! The machine as a driver: its poller, and the relays of this process.

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
    /// Makes the driver with this poller, or with the default one.
    pub(super) fn new(poller: Option<Poller>) -> io::Result<Self> {
        Selector::new(poller).map(Self::with)
    }

    fn with(selector: Selector) -> Self {
        Self {
            selector,
            relays: Relays::default(),
        }
    }

    /// Returns the poller in use, for everything except relays.
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
        self.relays.append_ready(events);
        if events.len() > before {
            timeout = Some(Duration::ZERO);
        }
        self.selector.wait(timeout, events)
    }
}

#[cfg(all(test, unix))]
impl Machine {
    /// Makes one as on a platform without a shorter way to wait.
    pub(super) fn portable() -> Self {
        Self::with(Selector::System(Polling::plain().unwrap()))
    }

    /// Makes one as on a platform with one-shot sources.
    pub(super) fn oneshot() -> Self {
        Self::with(Selector::System(Polling::oneshot()))
    }

    /// Makes one as on a kernel that waits in milliseconds.
    #[cfg(target_os = "linux")]
    pub(super) fn coarse() -> Self {
        Self::with(Selector::System(Polling::coarse()))
    }

    /// Returns whether waiting goes the shorter way.
    #[cfg(target_os = "linux")]
    pub(super) fn is_direct(&self) -> bool {
        matches!(&self.selector, Selector::System(system) if system.is_direct())
    }

    /// Notifies the poller itself, as only a test does while waiting goes the shorter way; returns
    /// `false` where there is none.
    pub(super) fn notify(&self) -> bool {
        match &self.selector {
            Selector::System(system) => system.notify(),
            Selector::Poll(_) => return false,
        }
        true
    }
}
