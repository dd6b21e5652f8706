//! The reaper: waits for children whose reactor has ended before them, so that none is left as a
//! zombie.
//!
//! One thread of the process watches all such children, and ends after the last one. Neither a
//! reactor nor the process waits for the thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::Child;
use super::pipe::{pipe, set_nonblocking};

use crate::sync::ThreadBody;

/// The children that the thread waits for, and the descriptor that wakes the thread for a new
/// child.
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

/// Has the thread wait for a child until the child ends. Where no thread can be started, the child
/// stays a zombie until the reaper adopts a later child.
fn adopt(child: Child) {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    reaper.children.push(child);
    match &reaper.wake_fd {
        // The write does not block: a full pipe has a wake pending already.
        Some(wake_fd) => drop(rustix::io::write(wake_fd, b"!")),
        None => reaper.wake_fd = start_thread().ok(),
    }
}

/// Starts the thread; returns the descriptor that wakes it.
fn start_thread() -> io::Result<OwnedFd> {
    let (wake_pipe, wake_fd) = pipe()?;
    set_nonblocking(&wake_pipe)?;
    set_nonblocking(&wake_fd)?;
    let named = thread::Builder::new().name("torsade-reaper".to_owned());
    named.spawn(Box::new(move || run(&wake_pipe)) as ThreadBody)?;
    Ok(wake_fd)
}

/// Runs the thread: waits for any of the children, then looks at all.
fn run(wake_pipe: &OwnedFd) {
    let mut has_pending = false;
    loop {
        // The pipe is read before the list: a child that is added later wakes the thread again.
        let _ = rustix::io::read(wake_pipe, &mut [0; 64]);
        let (watched, gone) = {
            let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
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
            // A child has ended, but its tracer has to be notified first: its descriptor would
            // report the end again at once.
            Ok(_) if has_pending && gone == 0 => (Vec::new(), Some(SOON)),
            Ok(watched) => (watched, None),
            // Without a copy of each descriptor, the thread can only look again later.
            Err(_) => (Vec::new(), Some(LATER)),
        };
        let mut fds = vec![PollFd::new(wake_pipe, PollFlags::IN)];
        fds.extend(watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let _ = poll(&mut fds, again.as_ref());
        has_pending = fds.iter().skip(1).any(|fd| !fd.revents().is_empty());
    }
}

/// The delay before another look at a child that has ended and cannot be reaped yet.
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The delay before another look when descriptors have run out.
const LATER: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

static REAPER: Mutex<Reaper> = Mutex::new(Reaper {
    children: Vec::new(),
    wake_fd: None,
});
