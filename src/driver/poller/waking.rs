//! Wakes: ending a wait from another thread, or from a signal handler.
//!
//! | how | where | what is called |
//! |---|---|---|
//! | the [`WakeFd`] is written | epoll | one system call, and nothing to clear |
//! | the [`WakeFd`] is written, and drained by the wait | poll(2), and in memory | the same, when the flag is set |
//! | the poller is notified | elsewhere | the poller's own, when the flag is set |
//!
//! The flag is set while a wake is pending; the wait clears it before it returns. A wake that comes
//! while the flag is set needs no call of its own: the wait that will clear it has not returned yet
//! (invariant 4 of `driver`).

use std::io;
#[cfg(unix)]
use std::os::fd::RawFd;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::OnceLock;

#[cfg(unix)]
use super::wake_fd::WakeFd;
use crate::sync::{AtomicBool, Ordering, Poller};

/// A handle that wakes one driver. Cheap to clone, and without effect when the driver is gone.
#[derive(Clone, Debug)]
pub(crate) struct Waking(Arc<WakeMethod>);

#[derive(Debug)]
enum WakeMethod {
    /// The descriptor is written.
    #[cfg(target_os = "linux")]
    WakeFd(WakeFd),
    /// The descriptor is written, and the wait drains it.
    #[cfg(unix)]
    Drained {
        /// Set from a wake until a wait has seen it.
        notified: AtomicBool,
        wake_fd: WakeFd,
    },
    /// The poller is notified.
    Poller {
        /// Set from a wake until a wait has seen it.
        notified: AtomicBool,
        poller: Arc<Poller>,
        /// Made when the first signal handler needs it. Declared after `poller`, so that it closes
        /// later.
        #[cfg(unix)]
        wake_fd: OnceLock<WakeFd>,
    },
}

impl Waking {
    /// Makes a handle that writes to `wake_fd`.
    #[cfg(target_os = "linux")]
    pub(super) fn pending_wake(wake_fd: WakeFd) -> Self {
        Self(Arc::new(WakeMethod::WakeFd(wake_fd)))
    }

    /// Makes a handle that notifies `poller`.
    pub(super) fn notifying(poller: Arc<Poller>) -> Self {
        Self(Arc::new(WakeMethod::Poller {
            notified: AtomicBool::new(false),
            poller,
            #[cfg(unix)]
            wake_fd: OnceLock::new(),
        }))
    }

    /// Makes a handle that writes to `wake_fd`, which the wait drains.
    #[cfg(unix)]
    pub(super) fn drained(wake_fd: WakeFd) -> Self {
        Self(Arc::new(WakeMethod::Drained {
            notified: AtomicBool::new(false),
            wake_fd,
        }))
    }

    /// Returns the descriptor that the wait drains, if there is one.
    #[cfg(unix)]
    pub(super) fn wake_fd(&self) -> Option<&WakeFd> {
        match &*self.0 {
            WakeMethod::Drained { wake_fd, .. } => Some(wake_fd),
            _ => None,
        }
    }

    /// Registers the descriptor with another poller, if there is one.
    #[cfg(target_os = "linux")]
    pub(super) fn register_with(&self, poller: &Poller) -> io::Result<()> {
        match &*self.0 {
            WakeMethod::WakeFd(wake_fd) => wake_fd.register_with(poller),
            WakeMethod::Drained { .. } | WakeMethod::Poller { .. } => Ok(()),
        }
    }

    /// Ends the present wait, or else the next one.
    pub(crate) fn wake(&self) {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            WakeMethod::WakeFd(wake_fd) => wake_fd.notify(),
            #[cfg(unix)]
            WakeMethod::Drained { notified, wake_fd } => {
                if !notified.swap(true, Ordering::SeqCst) {
                    wake_fd.notify();
                }
            }
            WakeMethod::Poller {
                notified, poller, ..
            } => {
                if !notified.swap(true, Ordering::SeqCst) {
                    // Fails only when the poller itself is broken; the wait would report that.
                    let _ = poller.notify();
                }
            }
        }
    }

    /// Returns whether the driver was woken since the last call. A wake descriptor reports its
    /// wakes itself, by its key.
    pub(super) fn take(&self) -> bool {
        // A load first: every wait calls this, and mostly there was no wake.
        let take = |notified: &AtomicBool| {
            notified.load(Ordering::SeqCst) && notified.swap(false, Ordering::SeqCst)
        };
        match &*self.0 {
            #[cfg(target_os = "linux")]
            WakeMethod::WakeFd(_) => false,
            #[cfg(unix)]
            WakeMethod::Drained { notified, wake_fd } => {
                // Drained first: a wake between the two finds the flag set, and writes nothing.
                wake_fd.drain();
                take(notified)
            }
            WakeMethod::Poller { notified, .. } => take(notified),
        }
    }

    /// Returns whether the driver was woken and no wait has seen it.
    #[cfg(any(doc, feature = "testing"))]
    pub(in crate::driver) fn is_notified(&self) -> bool {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            WakeMethod::WakeFd(_) => false,
            #[cfg(unix)]
            WakeMethod::Drained { notified, .. } => notified.load(Ordering::SeqCst),
            WakeMethod::Poller { notified, .. } => notified.load(Ordering::SeqCst),
        }
    }

    /// Rearms the descriptor after a wake.
    pub(super) fn disarm(&self) -> io::Result<()> {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            WakeMethod::WakeFd(_) => {}
            #[cfg(unix)]
            WakeMethod::Drained { wake_fd, .. } => wake_fd.drain(),
            #[cfg(unix)]
            WakeMethod::Poller {
                poller, wake_fd, ..
            } => {
                if let Some(wake_fd) = wake_fd.get() {
                    wake_fd.disarm(poller)?;
                }
            }
            #[cfg(not(unix))]
            WakeMethod::Poller { .. } => {}
        }
        Ok(())
    }

    /// Returns the descriptor that a signal handler writes eight bytes to, so that a wait ends. It
    /// is open as long as `self` lives.
    #[cfg(unix)]
    pub(in crate::driver) fn raw_fd(&self) -> io::Result<RawFd> {
        match &*self.0 {
            #[cfg(target_os = "linux")]
            WakeMethod::WakeFd(wake_fd) => Ok(wake_fd.raw_fd()),
            WakeMethod::Drained { wake_fd, .. } => Ok(wake_fd.raw_fd()),
            WakeMethod::Poller {
                poller, wake_fd, ..
            } => {
                if let Some(wake_fd) = wake_fd.get() {
                    return Ok(wake_fd.raw_fd());
                }
                let new = WakeFd::registered_with(poller)?;
                Ok(wake_fd.get_or_init(|| new).raw_fd())
            }
        }
    }
}
