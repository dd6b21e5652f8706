//! One end of a connection in memory, which behaves like TCP on Linux.
//!
//! An end is *live* until it is reset, refused, or writes to a peer that is gone; from then on it
//! is *dead*.
//!
//! | event                      | read                    | write                     | readiness               |
//! |----------------------------|-------------------------|---------------------------|-------------------------|
//! | none                       | would block             | goes to the peer          | writable                |
//! | bytes arrived              | those bytes             | goes to the peer          | readable, writable      |
//! | the peer shut down or closed | bytes left, then 0    | shut down: goes to the peer; closed: discarded, and the end dies | readable, writable |
//! | this end shut down         | as before               | broken pipe               | writable                |
//! | both shut down             | bytes left, then 0      | broken pipe               | all, with a hang-up     |
//! | this end died              | bytes left, the error once, then 0 | the error once, then broken pipe | all, with a hang-up |
//!
//! An end that connects to an address which never answers is never ready.
//!
//! An end that dies after the peer's shutdown reads 0, not the error: the stream was complete.
//!
//! An end of the UNIX kind differs as it does on Linux: after the peer has closed, a write fails
//! with a broken pipe at once and the readiness includes a hang-up; closing resets the peer only
//! when bytes were left unread, and a read then returns the reset also when the peer had shut down
//! before; and descriptors arrive with their bytes.

use std::collections::VecDeque;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::id::{Fault, Ready, Watch};
use crate::address::Address;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) local: Address,
    pub(super) remote: Address,
    /// Unique: never used again for another end.
    pub(super) id: u64,
    /// The `id` of the client's end.
    pub(super) connection: u64,
    /// Whether the connection is not established yet; it never is if the address does not answer.
    pub(super) connecting: bool,
    /// When the last item in flight to this end arrives.
    pub(super) last: Option<Instant>,
    /// The number of bytes in flight to this end.
    pub(super) bytes_in_flight: usize,
    /// The number of bytes that this end buffers, those in flight included.
    pub(super) capacity: usize,
    /// Whether this is the client's end, which owns its address; a server's end shares its
    /// listener's.
    pub(super) is_client: bool,
    /// Whether this is a UNIX socket: see the header.
    pub(super) is_unix: bool,
    /// The number of bytes that were read.
    #[cfg(unix)]
    taken: u64,
    /// Descriptors, each with the offset in the stream of the byte that carried it.
    #[cfg(unix)]
    descriptors: VecDeque<(u64, OwnedFd)>,
    /// The other end, until either end is closed or dead.
    pub(super) peer: Option<usize>,
    /// Bytes that arrived and were not read.
    pub(super) inbox: VecDeque<u8>,
    /// Whether the peer sends no more, because it has shut down or closed.
    pub(super) peer_ended: bool,
    /// Whether this end has shut down reading.
    pub(super) read_shut: bool,
    /// Whether this end has shut down writing.
    pub(super) write_shut: bool,
    pub(super) dead: bool,
    /// The error that killed this end, until a call has returned it.
    pub(super) fault: Option<Fault>,
    pub(super) reset_on_close: bool,
    pub(super) nodelay: bool,
    pub(super) keepalive: bool,
    pub(super) keepalive_times: Option<(Duration, Duration, u32)>,
    pub(super) watch: Option<Watch>,
}

impl End {
    pub(super) fn new(local: Address, remote: Address, id: u64, capacity: usize) -> Self {
        Self {
            is_unix: remote.inet().is_none() || local.inet().is_none(),
            local,
            remote,
            id,
            connection: id,
            connecting: false,
            last: None,
            bytes_in_flight: 0,
            capacity,
            is_client: true,
            #[cfg(unix)]
            taken: 0,
            #[cfg(unix)]
            descriptors: VecDeque::new(),
            peer: None,
            inbox: VecDeque::new(),
            peer_ended: false,
            read_shut: false,
            write_shut: false,
            dead: false,
            fault: None,
            reset_on_close: false,
            nodelay: true,
            keepalive: false,
            keepalive_times: None,
            watch: None,
        }
    }

    /// Reads received bytes into `into`.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        if !self.inbox.is_empty() {
            return Ok(self.take(into));
        }
        // A TCP stream was complete; a UNIX socket returns its error all the same.
        if self.peer_ended && !(self.is_unix && self.fault.is_some()) {
            return Ok(0);
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.dead || self.read_shut {
            return Ok(0);
        }
        Err(Fault::WouldBlock)
    }

    /// Appends a byte that carries a descriptor.
    #[cfg(unix)]
    pub(super) fn push_with_descriptor(&mut self, byte: u8, descriptor: OwnedFd) {
        let offset = self.taken + self.inbox.len() as u64;
        self.inbox.push_back(byte);
        self.descriptors.push_back((offset, descriptor));
    }

    /// Takes the descriptors whose bytes were read.
    #[cfg(unix)]
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        let count = self
            .descriptors
            .partition_point(|(offset, _)| *offset < self.taken);
        self.descriptors.drain(..count).map(|(_, fd)| fd).collect()
    }

    /// Checks that a write may go to the peer.
    pub(super) fn may_write(&mut self) -> Result<(), Fault> {
        // A UNIX socket keeps the error for the reader.
        if self.is_unix && (self.dead || self.write_shut) {
            return Err(Fault::BrokenPipe);
        }
        if self.dead || self.write_shut {
            return Err(self.fault.take().unwrap_or(Fault::BrokenPipe));
        }
        Ok(())
    }

    /// Kills this end with an error.
    pub(super) fn fail(&mut self, fault: Fault) {
        if self.dead {
            return;
        }
        self.dead = true;
        self.connecting = false;
        self.peer = None;
        // To an end that has read the end of the stream already, a reset only means that the peer
        // no longer reads.
        self.fault = Some(match fault {
            Fault::Reset if self.peer_ended && !self.is_unix => Fault::BrokenPipe,
            fault => fault,
        });
    }

    /// Returns how many more bytes fit.
    pub(super) fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.inbox.len() + self.bytes_in_flight)
    }

    /// Returns the readiness; `room` is the peer's free space, if there is a peer.
    pub(super) fn ready(&self, room: Option<usize>) -> Ready {
        let over = self.peer_ended || self.read_shut;
        let left = self.is_unix && self.peer_ended && self.peer.is_none();
        let hangup = self.dead || self.fault.is_some() || (over && self.write_shut) || left;
        Ready {
            readable: hangup || over || !self.inbox.is_empty(),
            // Like a kernel, not for a few bytes.
            writable: hangup
                || self.write_shut
                || (!self.connecting && room.is_none_or(|room| room >= (self.capacity / 3).max(1))),
            hangup,
        }
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.inbox.len());
        // Like in a kernel, a read ends with the byte that carries a descriptor.
        #[cfg(unix)]
        let count = match self.descriptors.front() {
            Some((offset, _)) => count.min((offset + 1 - self.taken) as usize),
            None => count,
        };
        let (front, back) = self.inbox.as_slices();
        let first = count.min(front.len());
        into[..first].copy_from_slice(&front[..first]);
        into[first..count].copy_from_slice(&back[..count - first]);
        self.inbox.drain(..count);
        #[cfg(unix)]
        {
            self.taken += count as u64;
        }
        if self.inbox.is_empty() && self.inbox.capacity() > KEPT {
            self.inbox = VecDeque::new();
        }
        count
    }
}

/// The default capacity of one direction of a connection, in bytes.
pub(super) const CAPACITY: usize = 64 * 1024;

/// The capacity above which an empty queue is freed, in bytes.
const KEPT: usize = 4 * 1024;
