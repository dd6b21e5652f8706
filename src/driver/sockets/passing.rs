//! Descriptors that are passed from one process to another over a UNIX connection.
//!
//! # Invariants
//!
//! 1. A descriptor is sent with a byte, each with one of its own, so that a receiver that takes one
//!    at a time gets them all. Descriptors that wait for a byte are in `out`.
//! 2. Received descriptors stay here until they are taken: at most [`KEPT`], or all of one message;
//!    and only [`FEW`] while the program has not asked for any. More are closed: a peer cannot use
//!    up the descriptors of this process.
//! 3. No user code runs in here: at most a descriptor is closed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::report::{self, WarnOnce};

/// The descriptors of one connection.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    /// The descriptors to send.
    out: RefCell<VecDeque<OwnedFd>>,
    /// The descriptors that were received and not taken.
    received: RefCell<VecDeque<OwnedFd>>,
    /// Whether the program has not asked for descriptors, and perhaps never will.
    is_unasked: Cell<bool>,
    /// Whether the warning about closed descriptors was logged: once is enough.
    warned: Cell<bool>,
}

impl Passing {
    /// Queues a descriptor for the next byte that has none.
    pub(crate) fn send(&self, descriptor: OwnedFd) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        if out.len() >= QUEUED {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "the queue is full: {QUEUED} descriptors wait for the bytes that carry them"
                ),
            ));
        }
        out.push_back(descriptor);
        Ok(())
    }

    /// Returns how many descriptors wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.out.borrow().len()
    }

    /// Takes the next received descriptor.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.received.borrow_mut().pop_front()
    }

    /// Returns whether there are received descriptors.
    pub(crate) fn has_come(&self) -> bool {
        !self.received.borrow().is_empty()
    }

    /// Logs, the first time, that a descriptor was closed.
    pub(crate) fn warn(&self, why: &str) {
        if !self.warned.replace(true) {
            tracing::warn!(target: "torsade::net", "descriptors of a peer's are closed: {why}");
            if !report::is_logged() {
                static WARNED: WarnOnce = WarnOnce::new();
                WARNED.write(format_args!(
                    "descriptors that a peer has sent are closed: {why} (reported once)"
                ));
            }
        }
    }

    /// Sends the queued descriptors with `bytes`, one with each; returns how many bytes were sent.
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

    /// Sets whether the program takes received descriptors.
    pub(crate) fn set_asked(&self, asked: bool) {
        self.is_unasked.set(!asked);
    }

    /// Returns how many descriptors may be kept after the next message. None is taken while it is
    /// read.
    pub(in crate::driver) fn room(&self) -> usize {
        let received = self.received.borrow().len();
        match self.is_unasked.get() {
            true => FEW,
            false if received == 0 => WHOLE,
            false => KEPT,
        }
    }

    /// Keeps a received descriptor, unless `room` are kept already (invariant 2).
    pub(in crate::driver) fn keep_received(&self, descriptor: OwnedFd, room: usize) {
        let mut received = self.received.borrow_mut();
        if received.len() < room {
            received.push_back(descriptor);
        } else {
            self.warn("earlier ones have not been taken");
        }
    }
}

/// The most descriptors that wait to be sent.
const QUEUED: usize = 1024;
/// The number of untaken descriptors from which on new ones are closed.
const KEPT: usize = 64;
/// The most descriptors of one message.
const WHOLE: usize = 253;
/// The most descriptors that are kept for a program that may still ask for them.
const FEW: usize = 4;
