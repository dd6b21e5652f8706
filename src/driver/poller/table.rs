//! The table of descriptors for poll(2).

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags};

use super::event::{Borrowed, Event, Interest};
use super::register;
use super::wake_fd::WakeFd;

/// The registered sources.
#[derive(Debug)]
pub(super) struct Table {
    /// The descriptors that the system polls; the first is the wake descriptor.
    pub(super) fds: Vec<PollFd<'static>>,
    /// Indexed by descriptor number, of which the system hands out the lowest that is free.
    entries: Vec<Option<Entry>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key: usize,
    interest: Interest,
    /// The index in `fds`; `None` when the interest is empty and the hang-up was reported.
    at: Option<usize>,
}

impl Table {
    pub(super) fn new(wake_fd: Option<&WakeFd>) -> Self {
        let fds = wake_fd.map(|wake_fd| {
            PollFd::from_borrowed_fd(register::registered(wake_fd.read_end()), PollFlags::IN)
        });
        Self {
            fds: Vec::from_iter(fds),
            entries: Vec::new(),
        }
    }

    pub(super) fn entry(&self, source: Borrowed<'_>) -> Option<Entry> {
        let number = source.as_raw_fd() as usize;
        self.entries.get(number).copied().flatten()
    }

    pub(super) fn set(&mut self, source: Borrowed<'_>, key: usize, interest: Interest) {
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

    pub(super) fn remove(&mut self, number: RawFd) {
        self.disarm(number);
        if let Some(entry) = self.entries.get_mut(number as usize) {
            *entry = None;
        }
    }

    /// Removes a source from `fds`.
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

    /// Appends up to `left` events.
    pub(super) fn report(&mut self, mut left: usize, events: &mut Vec<Event>) {
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
            if entry.interest == Interest::None || flags.contains(PollFlags::NVAL) {
                quiet.push((number, flags));
            }
            if !flags.contains(PollFlags::NVAL) {
                events.push(Event::with_flags(entry.key, flags.bits() as u32));
            }
        }
        for (number, flags) in quiet {
            match flags.contains(PollFlags::NVAL) {
                // Other code has closed the descriptor; other pollers forget it then.
                true => self.remove(number),
                false => self.disarm(number),
            }
        }
    }
}

pub(super) fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
