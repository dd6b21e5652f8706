//! Registration: the only file that passes descriptors to the poller.
//!
//! `polling` requires that a descriptor stay open while it is registered. On epoll and kqueue the
//! kernel forgets a closed descriptor by itself; the poll and port backends keep its number. The
//! promise of [`add`]'s caller covers both; [`Rearm`] and [`Registered`] rely on it.

use std::cell::RefCell;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsRawFd, RawFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket, RawSocket};

use polling::PollMode;

use super::event::{Borrowed, Interest};
use crate::sync::Poller;

/// Makes `poller` watch `source`.
///
/// The caller removes the source before its descriptor closes, or never lends the descriptor out.
pub(super) fn add(
    poller: &Poller,
    source: Borrowed<'_>,
    interest: polling::Event,
    mode: PollMode,
) -> io::Result<()> {
    // SAFETY: the descriptor is open now: `source` borrows it. That it stays open until it is
    // removed, or that the kernel alone forgets it when the last copy closes, is this function's
    // contract, which `Driver::add` passes on to the owner of the source.
    unsafe { poller.add_with_mode(&source, interest, mode) }
}

/// Returns a descriptor for a table of poll(2), valid from its registration to its removal.
///
/// The caller removes the descriptor before it closes. A descriptor that closes all the same causes
/// no memory error: it is reported as invalid, or as the file that has its number by then.
#[cfg(unix)]
pub(super) fn registered(source: Borrowed<'_>) -> Borrowed<'static> {
    // SAFETY: the descriptor is open now: `source` borrows it. That it stays open until it is
    // removed is this function's contract, which `Driver::add` passes on to the owner of the
    // source.
    unsafe { Borrowed::borrow_raw(source.as_raw_fd()) }
}

/// Converts an interest for the poller.
pub(super) fn event(key: usize, interest: Interest) -> polling::Event {
    polling::Event::new(key, interest.reads(), interest.writes())
}

/// Makes one-shot sources level-triggered, where the platform has only one-shot ones.
///
/// Sources that a wait reported are armed again when the next wait begins: by then the caller has
/// handled them, and if they are still ready, the platform reports them again.
#[derive(Debug, Default)]
pub(super) struct Rearm {
    /// In the order of their keys.
    armed: RefCell<Vec<(usize, Raw, Interest)>>,
    reported: RefCell<Vec<usize>>,
}

impl Rearm {
    /// Records a registered source and its interest.
    pub(super) fn note(&self, source: Borrowed<'_>, key: usize, interest: Interest) {
        let raw = raw(source);
        let mut armed = self.armed.borrow_mut();
        armed.retain(|(_, other, _)| *other != raw);
        if interest != Interest::None {
            let at = armed.partition_point(|(other, ..)| *other <= key);
            armed.insert(at, (key, raw, interest));
        }
    }

    /// Forgets a source that is about to be removed.
    pub(super) fn forget(&self, source: Borrowed<'_>) {
        let raw = raw(source);
        self.armed
            .borrow_mut()
            .retain(|(_, other, _)| *other != raw);
    }

    /// Records that the source of `key` was reported and is disarmed now.
    pub(super) fn note_reported(&self, key: usize) {
        self.reported.borrow_mut().push(key);
    }

    /// Arms the reported sources that are still wanted.
    pub(super) fn all(&self, poller: &Poller) -> io::Result<()> {
        let armed = self.armed.borrow();
        for key in self.reported.borrow_mut().drain(..) {
            let first = armed.partition_point(|(other, ..)| *other < key);
            let same = armed[first..]
                .iter()
                .take_while(|(other, ..)| *other == key);
            for &(_, raw, interest) in same {
                // SAFETY: the number is in `armed` only from `note` until `forget`, that is while
                // the source is registered, and `add`'s caller keeps the descriptor open for that
                // long.
                let source = unsafe { Borrowed::borrow_raw(raw) };
                poller.modify_with_mode(source, event(key, interest), PollMode::Oneshot)?;
            }
        }
        Ok(())
    }
}

/// The sources that a poller watches, so that another poller can watch them instead.
///
/// Indexed by descriptor number, of which the system hands out the lowest that is free. An entry is
/// one number, because each idle connection pays for it.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(super) struct Registered(RefCell<Vec<Entry>>);

/// A key and an interest, or [`Entry::NONE`].
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry(u64);

#[cfg(target_os = "linux")]
impl Entry {
    const NONE: Self = Self(u64::MAX);

    fn new(key: usize, interest: Interest) -> Self {
        let flags = u64::from(interest.reads()) | u64::from(interest.writes()) << 1;
        let key = key as u64;
        debug_assert!(key >> 62 == 0, "a key leaves two bits clear");
        Self(key << 2 | flags)
    }

    fn get(self) -> Option<(usize, Interest)> {
        let interest = Interest::of(self.0 & 1 != 0, self.0 & 2 != 0);
        (self != Self::NONE).then_some(((self.0 >> 2) as usize, interest))
    }
}

#[cfg(target_os = "linux")]
impl Registered {
    /// Records a watched source and its interest.
    pub(super) fn note(&self, source: Borrowed<'_>, key: usize, interest: Interest) {
        let at = raw(source) as usize;
        let mut entries = self.0.borrow_mut();
        if entries.len() <= at {
            entries.resize(at + 1, Entry::NONE);
        }
        entries[at] = Entry::new(key, interest);
    }

    /// Forgets a source that is no longer watched, or closes now.
    pub(super) fn forget(&self, source: Borrowed<'_>) {
        if let Some(entry) = self.0.borrow_mut().get_mut(raw(source) as usize) {
            *entry = Entry::NONE;
        }
    }

    /// Makes `poller` watch everything whose key `is_live`.
    pub(super) fn add_all(
        &self,
        poller: &Poller,
        is_live: impl Fn(usize) -> bool,
        mode: impl Fn(Interest) -> PollMode,
    ) -> io::Result<()> {
        for (at, entry) in self.0.borrow().iter().enumerate() {
            let Some((key, interest)) = entry.get().filter(|(key, _)| is_live(*key)) else {
                continue;
            };
            // SAFETY: the number is recorded only while the source is registered, and `add`'s
            // caller keeps the descriptor open for that long.
            let source = unsafe { Borrowed::borrow_raw(at as Raw) };
            add(poller, source, event(key, interest), mode(interest))?;
        }
        Ok(())
    }
}

/// A descriptor's number.
#[cfg(unix)]
type Raw = RawFd;
#[cfg(windows)]
type Raw = RawSocket;

fn raw(source: Borrowed<'_>) -> Raw {
    #[cfg(unix)]
    return source.as_raw_fd();
    #[cfg(windows)]
    return source.as_raw_socket();
}
