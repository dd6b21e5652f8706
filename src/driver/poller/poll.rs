//! poll(2): for a Unix, or a sandbox, without a better call.
//!
//! The system gets only the sources with an interest; a source with [`Interest::None`] stays in
//! the table until it has reported a hang-up, which poll(2) reports unasked. A source is removed
//! from the table before it closes, so the system never polls another file under its number.
//!
//! The cost of a wait grows with the table. A host loop gets the descriptor of a [`HostPoller`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::event::{Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::event::{Borrowed, Event, Interest, LONGEST};
use super::host_poller::HostPoller;
use super::table::{Table, lock};
use super::wake_fd::WakeFd;
use super::waking::Waking;

/// A poller that uses poll(2).
#[derive(Debug)]
pub(in crate::driver) struct Poll {
    table: Arc<Mutex<Table>>,
    waking: Waking,
    /// Set once the descriptor was requested.
    host_poller: OnceLock<HostPoller>,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let waking = Waking::drained(WakeFd::new()?);
        let table = Table::new(waking.wake_fd());
        Ok(Self {
            table: Arc::new(Mutex::new(table)),
            waking,
            host_poller: OnceLock::new(),
        })
    }

    pub(super) fn waker(&self) -> Waking {
        self.waking.clone()
    }

    /// Waits, and appends the events of ready sources; returns whether the poller was woken.
    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let mut table = lock(&self.table);
        let count = match poll(&mut table.fds, timeout.as_ref()) {
            Err(Errno::INTR) => 0,
            count => count?,
        };
        let is_notified = count > 0 && !table.fds[0].revents().is_empty();
        table.report(count - usize::from(is_notified), events);
        drop(table);
        let is_woken = is_notified && self.waking.take();
        self.changed();
        Ok(is_woken)
    }

    pub(super) fn add(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        // As the other pollers do: poll(2) would always report such a file as ready.
        let kind = FileType::from_raw_mode(fstat(source)?.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::PERM.into());
        }
        let mut table = lock(&self.table);
        if table.entry(source).is_some() {
            return Err(Errno::EXIST.into());
        }
        table.set(source, key, interest);
        drop(table);
        self.changed();
        Ok(())
    }

    pub(super) fn set_interest(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let mut table = lock(&self.table);
        if table.entry(source).is_none() {
            return Err(Errno::NOENT.into());
        }
        table.set(source, key, interest);
        drop(table);
        self.changed();
        Ok(())
    }

    pub(super) fn remove(&self, source: Borrowed<'_>) {
        lock(&self.table).remove(source.as_raw_fd());
        self.changed();
    }

    /// Starts the thread behind the descriptor that is lent.
    pub(super) fn prepare_to_lend(&self) -> io::Result<()> {
        if self.host_poller.get().is_none() {
            let host_poller = HostPoller::new(self.table.clone())?;
            let _ = self.host_poller.set(host_poller);
        }
        Ok(())
    }

    /// Returns the host poller's descriptor, or the wake descriptor where there is no thread, as
    /// only wakes are reported then.
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        match (self.host_poller.get(), self.waking.wake_fd()) {
            (Some(host_poller), _) => host_poller.as_fd(),
            (None, Some(wake_fd)) => wake_fd.read_end(),
            (None, None) => unreachable!("it has no descriptor to wake it"),
        }
    }

    fn changed(&self) {
        if let Some(host_poller) = self.host_poller.get() {
            host_poller.look_again();
        }
    }
}
