//! Ending a wait from elsewhere: another thread, or a signal handler.
//!
//! | how | where | what is called |
//! |---|---|---|
//! | the [`Bell`] is rung | epoll | one system call, and nothing to clear |
//! | the bell is rung, and drained by the wait | poll(2), and in memory | the same, when the flag goes up |
//! | the poller is notified | elsewhere | the poller's own, when the flag goes up |
//!
//! The flag says that a wake is under way; the wait takes it down before it returns. A wake that comes while
//! the flag is set needs no call of its own: the wait that will take it down has not returned yet
//! (invariant 4 of `driver`).

use std::io;
#[cfg(unix)]
use std::os::fd::RawFd;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::OnceLock;

#[cfg(unix)]
use super::bell::Bell;
use crate::sync::{AtomicBool, Ordering, Poller};

/// Wakes one driver. Cheap to clone, and harmless when the driver is gone.
#[derive(Clone, Debug)]
pub(crate) struct Waking(Arc<Way>);

#[derive(Debug)]
enum Way {
    /// The bell is what is rung.
    #[cfg(target_os = "linux")]
    Bell(Bell),
    /// A bell that the wait drains.
    #[cfg(unix)]
    Drained {
        /// Up from a wake until a wait has seen it.
        rung: AtomicBool,
        bell: Bell,
    },
    /// The poller is notified.
    Poller {
        /// Up from a wake until a wait has seen it.
        rung: AtomicBool,
        poller: Arc<Poller>,
        /// Made when the first signal handler needs it. After `poller`, so that it closes later.
        #[cfg(unix)]
        bell: OnceLock<Bell>,
    },
}

impl Waking {
    /// Wakes by ringing `bell`.
    #[cfg(target_os = "linux")]
    pub(super) fn ringing(bell: Bell) -> Self {
        Self(Arc::new(Way::Bell(bell)))
    }

    /// Wakes by notifying `poller`.
    pub(super) fn notifying(poller: Arc<Poller>) -> Self {
        Self(Arc::new(Way::Poller {
            rung: AtomicBool::new(false),
            poller,
            #[cfg(unix)]
            bell: OnceLock::new(),
        }))
    }

    /// Wakes by ringing `bell`, which the wait drains.
    #[cfg(unix)]
    pub(super) fn drained(bell: Bell) -> Self {
        Self(Arc::new(Way::Drained {
            rung: AtomicBool::new(false),
            bell,
        }))
    }

    /// The bell that the wait drains, if that is what is rung.
    #[cfg(unix)]
    pub(super) fn bell(&self) -> Option<&Bell> {
        match &*self.0 {
            Way::Drained { bell, .. } => Some(bell),
            _ => None,
        }
    }

    /// Has another poller hear the bell, if that is what is rung.
    #[cfg(target_os = "linux")]
    pub(super) fn hang_at(&self, poller: &Poller) -> io::Result<()> {
        match &*self.0 {
            Way::Bell(bell) => bell.hang_at(poller),
            Way::Drained { .. } | Way::Poller { .. } => Ok(()),
        }
    }

    /// Ends the wait under way, or else the next one.
    pub(crate) fn wake(&self) {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            Way::Bell(bell) => bell.ring(),
            #[cfg(unix)]
            Way::Drained { rung, bell } => {
                if !rung.swap(true, Ordering::SeqCst) {
                    bell.ring();
                }
            }
            Way::Poller { rung, poller, .. } => {
                if !rung.swap(true, Ordering::SeqCst) {
                    // Fails only when the poller itself is broken; the wait would say so.
                    let _ = poller.notify();
                }
            }
        }
    }

    /// Whether somebody woke the driver since this was last asked. A bell tells of itself, by its key.
    pub(super) fn take(&self) -> bool {
        // A look first: it is asked in every wait, and mostly nobody rang.
        let take =
            |rung: &AtomicBool| rung.load(Ordering::SeqCst) && rung.swap(false, Ordering::SeqCst);
        match &*self.0 {
            #[cfg(target_os = "linux")]
            Way::Bell(_) => false,
            #[cfg(unix)]
            Way::Drained { rung, bell } => {
                // Drained first: a ring between the two is one that finds the flag up, and needs no bell.
                bell.drain();
                take(rung)
            }
            Way::Poller { rung, .. } => take(rung),
        }
    }

    /// Whether somebody woke the driver and no wait has seen it.
    #[cfg(feature = "testing")]
    pub(in crate::driver) fn is_rung(&self) -> bool {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            Way::Bell(_) => false,
            #[cfg(unix)]
            Way::Drained { rung, .. } => rung.load(Ordering::SeqCst),
            Way::Poller { rung, .. } => rung.load(Ordering::SeqCst),
        }
    }

    /// The bell was heard: makes it heard the next time.
    pub(super) fn hush(&self) -> io::Result<()> {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            Way::Bell(_) => {}
            #[cfg(unix)]
            Way::Drained { bell, .. } => bell.drain(),
            #[cfg(unix)]
            Way::Poller { poller, bell, .. } => {
                if let Some(bell) = bell.get() {
                    bell.hush(poller)?;
                }
            }
            #[cfg(not(unix))]
            Way::Poller { .. } => {}
        }
        Ok(())
    }

    /// What a signal handler writes eight bytes to, so that a wait ends. Open as long as this lives.
    #[cfg(unix)]
    pub(in crate::driver) fn hand(&self) -> io::Result<RawFd> {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            Way::Bell(bell) => Ok(bell.hand()),
            Way::Drained { bell, .. } => Ok(bell.hand()),
            Way::Poller { poller, bell, .. } => {
                if let Some(bell) = bell.get() {
                    return Ok(bell.hand());
                }
                let new = Bell::hung_at(poller)?;
                Ok(bell.get_or_init(|| new).hand())
            }
        }
    }
}
