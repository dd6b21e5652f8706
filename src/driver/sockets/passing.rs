//! Descriptors on their way from one process to another, beside the bytes of a UNIX connection.
//!
//! # Invariants
//!
//! 1. A descriptor rides on a byte, each on one of its own, so that whoever has room for one gets
//!    them all. Those that wait for a byte wait here.
//! 2. What came lies here until somebody takes it: [`KEPT`] at most, or all of one message; and
//!    only [`FEW`] where nobody has asked for any. More are closed: a peer cannot use up the
//!    descriptors of this process.
//! 3. Nobody's code runs in here: a descriptor is closed, and that is all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::report::{self, WarnOnce};

/// The descriptors of one connection.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    /// To be sent.
    out: RefCell<VecDeque<OwnedFd>>,
    /// Came, and was not taken.
    came: RefCell<VecDeque<OwnedFd>>,
    /// Nobody has asked for what comes, and perhaps nobody ever will.
    is_unasked: Cell<bool>,
    /// It was said that some were closed: once is enough.
    warned: Cell<bool>,
}

impl Passing {
    /// Has a descriptor sent with the next byte that has none.
    pub(crate) fn send(&self, descriptor: OwnedFd) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        if out.len() >= QUEUED {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{QUEUED} descriptors wait for bytes to ride on, and that is the most"),
            ));
        }
        out.push_back(descriptor);
        Ok(())
    }

    /// How many wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.out.borrow().len()
    }

    /// The next of those that came.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.came.borrow_mut().pop_front()
    }

    /// Did any come that nobody has taken?
    pub(crate) fn has_come(&self) -> bool {
        !self.came.borrow().is_empty()
    }

    /// Says, the first time, that one was closed.
    pub(crate) fn warn(&self, why: &str) {
        if !self.warned.replace(true) {
            tracing::warn!(target: "torsade::net", "descriptors of a peer's are closed: {why}");
            if !report::is_logged() {
                static SAID: WarnOnce = WarnOnce::new();
                SAID.write(format_args!(
                    "descriptors that a peer has sent are closed: {why} (said once)"
                ));
            }
        }
    }

    /// Sends those that wait on `bytes`, one on each; how many bytes went with them.
    pub(in crate::driver) fn carry(
        &self,
        bytes: &[u8],
        mut send: impl FnMut(&[u8], BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut gone = 0;
        let mut out = self.out.borrow_mut();
        while gone < bytes.len() {
            let Some(descriptor) = out.front() else { break };
            match send(&bytes[gone..=gone], descriptor.as_fd()) {
                Ok(0) => break,
                Ok(count) => gone += count,
                Err(_) if gone > 0 => break,
                Err(error) => return Err(error),
            }
            out.pop_front();
        }
        Ok(gone)
    }

    /// Notes whether somebody takes what comes.
    pub(crate) fn set_asked(&self, asked: bool) {
        self.is_unasked.set(!asked);
    }

    /// How many may lie here when the next message has come. Nobody takes any while it is read.
    pub(in crate::driver) fn room(&self) -> usize {
        let came = self.came.borrow().len();
        match self.is_unasked.get() {
            true => FEW,
            false if came == 0 => WHOLE,
            false => KEPT,
        }
    }

    /// Keeps one that came, if there is room (invariant 2).
    pub(in crate::driver) fn come(&self, descriptor: OwnedFd, room: usize) {
        let mut came = self.came.borrow_mut();
        if came.len() < room {
            came.push_back(descriptor);
        } else {
            self.warn("nobody takes those that came before");
        }
    }
}

/// The most that wait to be sent.
const QUEUED: usize = 1024;
/// When so many came and were not taken, the next ones are closed.
const KEPT: usize = 64;
/// As many as one message can bring.
const WHOLE: usize = 253;
/// As many are kept for somebody who may still ask for them.
const FEW: usize = 4;
