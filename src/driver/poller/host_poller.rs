//! One descriptor for a whole table of poll(2): a thread waits with a copy of the table.
//!
//! A host loop waits for one descriptor, and poll(2) has none. So once the descriptor is requested,
//! a thread polls the descriptors of the table. When one is ready, it makes the host's descriptor
//! readable, and waits until it must poll again: after each wait of the loop, and whenever the
//! table changes. A source that is about to close is removed from the table first, so that the
//! thread no longer uses it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::table::{Table, lock};
use super::wake_fd::WakeFd;

use crate::sync::ThreadBody;

/// The loop's end of the thread. Dropping it ends the thread, and waits for that.
#[derive(Debug)]
pub(super) struct HostPoller {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    table: Arc<Mutex<Table>>,
    /// Written by the thread: a descriptor is ready.
    ready: WakeFd,
    /// Written by the loop: the thread must poll again, or end.
    again: WakeFd,
    is_asked: AtomicBool,
    is_over: AtomicBool,
}

impl HostPoller {
    pub(super) fn new(table: Arc<Mutex<Table>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            table,
            ready: WakeFd::new()?,
            again: WakeFd::new()?,
            is_asked: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let builder = thread::Builder::new().name("torsade-lookout".to_owned());
        let thread = builder.spawn(Box::new(move || theirs.run()) as ThreadBody)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has the thread poll the present table.
    pub(super) fn look_again(&self) {
        if !self.shared.is_asked.swap(true, Ordering::SeqCst) {
            self.shared.again.notify();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            let fds = lock(&self.table).fds.clone();
            if self.wait(fds) {
                self.ready.notify();
                self.wait(Vec::new());
            }
            // Drained first: a caller that comes between the two has changed the table before.
            self.again.drain();
            self.is_asked.store(false, Ordering::SeqCst);
            // Descriptors that are still ready are found again.
            self.ready.drain();
        }
    }

    /// Waits for any of these descriptors, or for the request to poll again; returns whether only
    /// one of the former was ready.
    fn wait<'a>(&'a self, mut fds: Vec<PollFd<'a>>) -> bool {
        fds.push(PollFd::from_borrowed_fd(
            self.again.read_end(),
            PollFlags::IN,
        ));
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
        polled.is_err() || fds.last().is_some_and(|again| again.revents().is_empty())
    }
}

impl AsFd for HostPoller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ready.read_end()
    }
}

impl Drop for HostPoller {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.again.notify();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
