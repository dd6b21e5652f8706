//! The system's own poller: a `polling::Poller`, and on Linux a shorter way to wait on it.
//!
//! Registrations always go through the poller. [`Interest::None`] is a one-shot registration
//! without readiness: a level-triggered one would report a hang-up for ever, as the kernel cannot
//! be asked not to (invariant 3 of `driver`). Where there is no level-triggered mode, all sources
//! are one-shot and are armed again when the next wait begins.
//!
//! A closing socket is not removed from an epoll first, because the kernel does that by itself,
//! unless another process has the socket as well (one that was forked and executed no other
//! program): then epoll reports the socket for ever under its old key. The loop notices that and
//! has the poller [rebuilt](Polling::rebuild). A poller whose descriptor was lent out must not be
//! replaced: it is rebuilt before it is lent for the first time, if a socket was closed that way,
//! and from then on each socket is removed before it closes.

#[cfg(target_os = "linux")]
use std::cell::Cell;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::PollMode;

#[cfg(target_os = "linux")]
use super::epoll::Epoll;
use super::event::{Borrowed, Event, Interest, LONGEST, WAKE_KEY};
#[cfg(target_os = "linux")]
use super::register::Registered;
use super::register::{self, Rearm};
#[cfg(target_os = "linux")]
use super::wake_fd::WakeFd;
use super::waking::Waking;
use crate::sync::Poller;

/// The poller, waited on in the best way that works here.
pub(in crate::driver) struct Polling {
    poller: RefCell<Arc<Poller>>,
    /// The poller again, once its descriptor was lent out: it is not replaced after that.
    lent: OnceCell<Arc<Poller>>,
    /// Whether a socket was closed that was not removed from the poller first.
    #[cfg(target_os = "linux")]
    may_have_strays: Cell<bool>,
    waking: Waking,
    /// `None` where the poller did not return our keys in the trial, or was not tried.
    #[cfg(target_os = "linux")]
    epoll: Option<Epoll>,
    /// The poller's event list; empty while waiting goes the shorter way.
    reported: RefCell<Option<polling::Events>>,
    /// The sources that a new poller would have to watch, while waiting goes the shorter way.
    #[cfg(target_os = "linux")]
    registered: Registered,
    /// `Some` where sources are one-shot.
    rearm: Option<Rearm>,
}

impl Polling {
    /// Makes a poller that is waited on in the best way that works here.
    pub(super) fn new() -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        #[cfg(target_os = "linux")]
        if let Some(direct) = Self::direct(&poller, Epoll::new())? {
            return Ok(direct);
        }
        let level = poller.supports_level();
        Ok(Self::through(poller, level))
    }

    /// Makes one that waits through the poller.
    #[cfg(any(test, not(unix), torsade_loom))]
    pub(in crate::driver) fn plain() -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let level = poller.supports_level();
        Ok(Self::through(poller, level))
    }

    /// Makes one that waits through the poller, with one-shot sources unless `level`.
    fn through(poller: Arc<Poller>, level: bool) -> Self {
        Self {
            waking: Waking::notifying(poller.clone()),
            poller: RefCell::new(poller),
            lent: OnceCell::new(),
            #[cfg(target_os = "linux")]
            may_have_strays: Cell::new(false),
            #[cfg(target_os = "linux")]
            epoll: None,
            reported: RefCell::new(None),
            #[cfg(target_os = "linux")]
            registered: Registered::default(),
            rearm: (!level).then(Rearm::default),
        }
    }

    /// Makes one that waits on the poller's descriptor, if a wake descriptor that is written now is
    /// reported there under its own key.
    #[cfg(target_os = "linux")]
    fn direct(poller: &Arc<Poller>, epoll: Epoll) -> io::Result<Option<Self>> {
        if !poller.supports_level() || !poller.supports_edge() {
            return Ok(None);
        }
        let Some(wake_fd) = WakeFd::registered_with(poller)
            .ok()
            .filter(WakeFd::is_counter)
        else {
            return Ok(None);
        };
        wake_fd.notify();
        let mut events = Vec::new();
        let met = epoll.wait(poller.as_fd(), Some(Duration::ZERO), &mut events)?;
        if !met.wake_fd || met.notified || !events.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            poller: RefCell::new(poller.clone()),
            lent: OnceCell::new(),
            may_have_strays: Cell::new(false),
            waking: Waking::pending_wake(wake_fd),
            epoll: Some(epoll),
            reported: RefCell::new(None),
            registered: Registered::default(),
            rearm: None,
        }))
    }

    /// Returns a handle that wakes the poller.
    pub(super) fn waker(&self) -> Waking {
        self.waking.clone()
    }

    /// See [`Driver::wait`](super::super::Driver::wait).
    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(epoll) = &self.epoll {
            let before = events.len();
            let met = epoll.wait(self.poller.borrow().as_fd(), timeout, events)?;
            if met.notified {
                // Nothing here notifies the poller. If other code does, only the poller's own wait
                // clears that, and may find events, mostly the same ones again.
                let mut more = Vec::new();
                self.wait_through(Some(Duration::ZERO), &mut more)?;
                let found = &events[before..];
                more.retain(|event| found.iter().all(|other| other.key != event.key));
                events.append(&mut more);
            }
            return Ok(());
        }
        self.wait_through(timeout, events).map(drop)
    }

    /// See [`Driver::add`](super::super::Driver::add).
    pub(super) fn add(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let event = register::event(key, interest);
        register::add(&self.poller.borrow(), source, event, self.mode(interest))?;
        self.note(source, key, interest);
        Ok(())
    }

    /// See [`Driver::set_interest`](super::super::Driver::set_interest).
    pub(super) fn set_interest(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let event = register::event(key, interest);
        self.poller
            .borrow()
            .modify_with_mode(source, event, self.mode(interest))?;
        self.note(source, key, interest);
        Ok(())
    }

    /// See [`Driver::remove`](super::super::Driver::remove).
    pub(super) fn remove(&self, source: Borrowed<'_>) -> io::Result<()> {
        self.forget(source);
        match self.poller.borrow().delete(source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Removes a source that closes right after, and that no other process shares as far as we
    /// know.
    pub(super) fn remove_closing(&self, source: Borrowed<'_>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.epoll.is_some() && self.lent.get().is_none() {
            self.forget(source);
            self.may_have_strays.set(true);
            return Ok(());
        }
        self.remove(source)
    }

    /// See [`Driver::rebuild`](super::super::Driver::rebuild).
    pub(super) fn rebuild(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.epoll.is_some() && self.lent.get().is_none() {
            let poller = Poller::new()?;
            self.waking.register_with(&poller)?;
            self.registered
                .add_all(&poller, is_live, |interest| self.mode(interest))?;
            self.poller.replace(Arc::new(poller));
            self.may_have_strays.set(false);
        }
        let _ = is_live;
        Ok(())
    }

    /// See [`Driver::prepare_to_lend`](super::super::Driver::prepare_to_lend).
    #[cfg(unix)]
    pub(super) fn prepare_to_lend(&self, is_live: impl Fn(usize) -> bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.may_have_strays.get() {
            return self.rebuild(is_live);
        }
        let _ = is_live;
        Ok(())
    }

    fn note(&self, source: Borrowed<'_>, key: usize, interest: Interest) {
        #[cfg(target_os = "linux")]
        if self.epoll.is_some() {
            self.registered.note(source, key, interest);
        }
        if let Some(rearm) = &self.rearm {
            rearm.note(source, key, interest);
        }
    }

    fn forget(&self, source: Borrowed<'_>) {
        #[cfg(target_os = "linux")]
        if self.epoll.is_some() {
            self.registered.forget(source);
        }
        if let Some(rearm) = &self.rearm {
            rearm.forget(source);
        }
    }

    fn mode(&self, interest: Interest) -> PollMode {
        if interest == Interest::None || self.rearm.is_some() {
            PollMode::Oneshot
        } else {
            PollMode::Level
        }
    }

    /// Waits through the poller; returns whether the poller was woken.
    pub(super) fn wait_through(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        if let Some(rearm) = &self.rearm {
            rearm.all(&self.poller.borrow())?;
        }
        let mut reported = self.reported.borrow_mut();
        let reported = reported.get_or_insert_default();
        // A list that is still full makes the wait fail.
        reported.clear();
        self.poller
            .borrow()
            .wait(reported, timeout.map(|timeout| timeout.min(LONGEST)))?;
        let is_woken = self.waking.take();
        for event in reported.iter() {
            if event.key == WAKE_KEY {
                self.waking.disarm()?;
                continue;
            }
            if let Some(rearm) = &self.rearm {
                rearm.note_reported(event.key);
            }
            let hangup = event.is_interrupt() || event.is_err() == Some(true);
            let (readable, writable) = (event.readable, event.writable);
            events.push(Event::new(event.key, readable, writable, hangup));
        }
        Ok(is_woken)
    }
}

#[cfg(all(test, unix))]
impl Polling {
    /// Makes one as on a platform with one-shot sources.
    pub(in crate::driver) fn oneshot() -> Self {
        Self::through(Arc::new(Poller::new().unwrap()), false)
    }

    /// Makes one as on a kernel that waits in milliseconds.
    #[cfg(target_os = "linux")]
    pub(in crate::driver) fn coarse() -> Self {
        let poller = Arc::new(Poller::new().unwrap());
        Self::direct(&poller, Epoll::coarse()).unwrap().unwrap()
    }

    /// Returns whether waiting goes the shorter way.
    #[cfg(target_os = "linux")]
    pub(in crate::driver) fn is_direct(&self) -> bool {
        self.epoll.is_some()
    }

    /// Notifies the poller itself, as only a test does while waiting goes the shorter way.
    pub(in crate::driver) fn notify(&self) {
        self.poller.borrow().notify().unwrap();
    }
}

impl fmt::Debug for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling")
            .field("poller", &self.poller)
            .field("waking", &self.waking)
            .finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl Polling {
    /// Returns the poller's descriptor; the poller is not replaced from now on.
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        let poller = self.lent.get_or_init(|| self.poller.borrow().clone());
        (**poller).as_fd()
    }
}
