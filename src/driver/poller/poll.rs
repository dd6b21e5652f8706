//! poll(2): for a Unix, or a sandbox, that has nothing better.
//!
//! The table that the system is given has only what is asked for; a source with [`Interest::Nothing`] stays in it until it
//! has reported a hang-up, since poll(2) reports these unasked. A source is off the table before it closes, so the system
//! is never asked for the number of another one.
//!
//! A wait costs in proportion to the table. What a foreign loop is lent is the descriptor of a [`Lookout`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::bell::Bell;
use super::event::{Borrowed, Event, Interest, LONGEST};
use super::lookout::Lookout;
use super::register;
use super::waking::Waking;

/// A table for poll(2).
#[derive(Debug)]
pub(in crate::driver) struct Poll {
    table: Arc<Mutex<Table>>,
    waking: Waking,
    /// Once the descriptor was asked for.
    lookout: OnceLock<Lookout>,
}

/// What is registered.
#[derive(Debug)]
pub(super) struct Table {
    /// What the system is given; the first is the bell.
    fds: Vec<PollFd<'static>>,
    /// By the numbers of the descriptors, of which the system gives the lowest that is free.
    entries: Vec<Option<Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: usize,
    interest: Interest,
    /// Where it is in the list; none when its hang-up was reported and nothing is asked for.
    at: Option<usize>,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let waking = Waking::drained(Bell::new()?);
        let table = Table {
            fds: Vec::from_iter(waking.bell().map(|bell| {
                PollFd::from_borrowed_fd(register::registered(bell.ear()), PollFlags::IN)
            })),
            entries: Vec::new(),
        };
        Ok(Self {
            table: Arc::new(Mutex::new(table)),
            waking,
            lookout: OnceLock::new(),
        })
    }

    pub(super) fn waker(&self) -> Waking {
        self.waking.clone()
    }

    /// Waits, and appends what is ready; whether somebody woke it.
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
        let is_rung = count > 0 && !table.fds[0].revents().is_empty();
        table.report(count - usize::from(is_rung), events);
        drop(table);
        let is_woken = is_rung && self.waking.take();
        self.changed();
        Ok(is_woken)
    }

    pub(super) fn add(
        &self,
        source: Borrowed<'_>,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        // As the other pollers do: poll(2) would report such a file as ready for ever.
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
        if self.lookout.get().is_none() {
            let lookout = Lookout::new(self.table.clone())?;
            let _ = self.lookout.set(lookout);
        }
        Ok(())
    }

    /// Returns the lookout's descriptor; the bell's where there is none, as nothing but wakes is reported then.
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        match (self.lookout.get(), self.waking.bell()) {
            (Some(lookout), _) => lookout.as_fd(),
            (None, Some(bell)) => bell.ear(),
            (None, None) => unreachable!("it is woken by a bell"),
        }
    }

    fn changed(&self) {
        if let Some(lookout) = self.lookout.get() {
            lookout.look_again();
        }
    }
}

impl Table {
    /// Returns a copy of what the system is given.
    pub(super) fn fds(&self) -> Vec<PollFd<'static>> {
        self.fds.clone()
    }

    fn entry(&self, source: Borrowed<'_>) -> Option<Entry> {
        let number = source.as_raw_fd() as usize;
        self.entries.get(number).copied().flatten()
    }

    fn set(&mut self, source: Borrowed<'_>, key: usize, interest: Interest) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN | PollFlags::PRI, interest.reads());
        flags.set(PollFlags::OUT, interest.writes());
        let fd = PollFd::from_borrowed_fd(register::registered(source), flags);
        let at = match self.entry(source).and_then(|entry| entry.at) {
            Some(at) => {
                self.fds[at] = fd;
                at
            }
            None => {
                self.fds.push(fd);
                self.fds.len() - 1
            }
        };
        let number = source.as_raw_fd() as usize;
        if self.entries.len() <= number {
            self.entries.resize(number + 1, None);
        }
        let at = Some(at);
        self.entries[number] = Some(Entry { key, interest, at });
    }

    fn remove(&mut self, number: RawFd) {
        self.disarm(number);
        if let Some(entry) = self.entries.get_mut(number as usize) {
            *entry = None;
        }
    }

    /// Takes it out of what the system is given.
    fn disarm(&mut self, number: RawFd) {
        let entry = self.entries.get_mut(number as usize);
        let Some(at) = entry.and_then(|entry| entry.as_mut()?.at.take()) else {
            return;
        };
        self.fds.swap_remove(at);
        if let Some(moved) = self.fds.get(at) {
            let moved = moved.as_fd().as_raw_fd() as usize;
            if let Some(Some(entry)) = self.entries.get_mut(moved) {
                entry.at = Some(at);
            }
        }
    }

    /// Appends as many events as there are.
    fn report(&mut self, mut left: usize, events: &mut Vec<Event>) {
        events.reserve(left);
        let mut quiet = Vec::new();
        for fd in &self.fds[1..] {
            if left == 0 {
                break;
            }
            let flags = fd.revents();
            if flags.is_empty() {
                continue;
            }
            left -= 1;
            let number = fd.as_fd().as_raw_fd();
            let Some(Some(entry)) = self.entries.get(number as usize) else {
                continue;
            };
            if entry.interest == Interest::Nothing || flags.contains(PollFlags::NVAL) {
                quiet.push((number, flags));
            }
            if !flags.contains(PollFlags::NVAL) {
                events.push(Event {
                    key: entry.key,
                    readable: flags.intersects(READABLE),
                    writable: flags.intersects(WRITABLE),
                    hangup: flags.intersects(HANGUP),
                });
            }
        }
        for (number, flags) in quiet {
            match flags.contains(PollFlags::NVAL) {
                // It was closed by somebody else; other pollers forget it then.
                true => self.remove(number),
                false => self.disarm(number),
            }
        }
    }
}

pub(super) fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hang-up or an error makes either direction ready: what is tried next says what it is.
const HANGUP: PollFlags = PollFlags::HUP.union(PollFlags::ERR);
const READABLE: PollFlags = PollFlags::IN.union(PollFlags::PRI).union(HANGUP);
const WRITABLE: PollFlags = PollFlags::OUT.union(HANGUP);
