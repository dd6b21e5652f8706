//! The reaper: waits for children whose reactor has ended before them, so that none is left as a
//! zombie.
//!
//! One thread of the process watches all of them, and ends after the last one. Neither a reactor
//! nor the process waits for the thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::Child;
use super::pipe::{pipe, set_nonblocking};

use crate::sync::ThreadBody;

/// The children that are waited for, and the descriptor that wakes the thread for a new one.
struct Reaper {
    children: Vec<Child>,
    /// `Some` while the thread runs.
    wake_fd: Option<OwnedFd>,
}

impl Child {
    /// Passes the child to the reaper, because its loop is gone.
    pub(crate) fn abandon(self) {
        adopt(self);
    }
}

/// Waits for a child until it ends. Where the system has no thread for that it stays a zombie until
/// a later one is taken in.
fn adopt(child: Child) {
    let mut reaper = ASYLUM.lock().unwrap_or_else(PoisonError::into_inner);
    reaper.children.push(child);
    match &reaper.wake_fd {
        // It does not block: a full pipe has a wake pending already.
        Some(wake_fd) => drop(rustix::io::write(wake_fd, b"!")),
        None => reaper.wake_fd = hire().ok(),
    }
}

/// Starts the thread; returns the descriptor that wakes it.
fn hire() -> io::Result<OwnedFd> {
    let (heard, wake_fd) = pipe()?;
    set_nonblocking(&heard)?;
    set_nonblocking(&wake_fd)?;
    let named = thread::Builder::new().name("torsade-reaper".to_owned());
    named.spawn(Box::new(move || keep(&heard)) as ThreadBody)?;
    Ok(wake_fd)
}

/// Runs the thread: waits for any of the children, then looks at all.
fn keep(heard: &OwnedFd) {
    let mut has_pending = false;
    loop {
        // Received before looking: who comes after this is heard the next time.
        let _ = rustix::io::read(heard, &mut [0; 64]);
        let (watched, gone) = {
            let mut reaper = ASYLUM.lock().unwrap_or_else(PoisonError::into_inner);
            let before = reaper.children.len();
            reaper
                .children
                .retain(|child| matches!(child.try_wait(), Ok(None)));
            let left = reaper.children.len();
            if left == 0 {
                reaper.wake_fd = None;
                return;
            }
            let copies = reaper
                .children
                .iter()
                .map(|child| child.as_fd().try_clone_to_owned());
            (copies.collect::<io::Result<Vec<_>>>(), before - left)
        };
        let (watched, again) = match watched {
            // One has ended, but whoever traces it is to be told first: it would say so again at
            // once.
            Ok(_) if has_pending && gone == 0 => (Vec::new(), Some(SOON)),
            Ok(watched) => (watched, None),
            // Without a copy of each there is nothing to do but to look again later.
            Err(_) => (Vec::new(), Some(LATER)),
        };
        let mut fds = vec![PollFd::new(heard, PollFlags::IN)];
        fds.extend(watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let _ = poll(&mut fds, again.as_ref());
        has_pending = fds.iter().skip(1).any(|fd| !fd.revents().is_empty());
    }
}

/// When one is looked at again that has ended and is not to be had.
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// When they are looked at again for want of descriptors.
const LATER: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

static ASYLUM: Mutex<Reaper> = Mutex::new(Reaper {
    children: Vec::new(),
    wake_fd: None,
});
