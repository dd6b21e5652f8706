//! One end of a connection in memory, as TCP on Linux shows it.
//!
//! An end is *live* until it is reset, refused, or writes to a peer that is gone; then it is *dead*
//! for good.
//!
//! | what happened              | read                    | write                     | told as                 |
//! |----------------------------|-------------------------|---------------------------|-------------------------|
//! | nothing                    | would block             | goes to the peer          | writable                |
//! | bytes came                 | them                    | goes to the peer          | readable, writable      |
//! | the peer shut or closed    | bytes left, then 0      | shut: goes to the peer; closed: vanishes, and the end dies | readable, writable |
//! | we shut                    | as before               | broken pipe               | writable                |
//! | both shut                  | bytes left, then 0      | broken pipe               | all, with a hang-up     |
//! | it died                    | bytes left, the error once, then 0 | the error once, then broken pipe | all, with a hang-up |
//!
//! An end that calls an address which never answers has nothing to tell.
//!
//! An end that dies after the peer had shut reads 0, not the error: the stream was complete.
//!
//! An end of the UNIX kind differs as it does on Linux: where the peer closed, writing is a broken
//! pipe at once and a hang-up is told; a reset comes of closing only when bytes were left unread,
//! and is then told to whoever reads, also when the peer had shut before; and descriptors come with
//! their bytes.

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
    /// It never names another one.
    pub(super) id: u64,
    /// The number of the client's end.
    pub(super) connection: u64,
    /// It is not connected yet; never, if nobody answers.
    pub(super) connecting: bool,
    /// When the last thing arrives that is under way to it.
    pub(super) last: Option<Instant>,
    /// How many bytes are under way to it.
    pub(super) in_air: usize,
    /// How many it holds, with those that are under way.
    pub(super) capacity: usize,
    /// It is the client's, whose address is its own; a server's end has its listener's.
    pub(super) called: bool,
    /// It is no TCP: see the header.
    pub(super) is_unix: bool,
    /// How many bytes were read.
    #[cfg(unix)]
    taken: u64,
    /// Descriptors, each with the place in the stream of the byte it came on.
    #[cfg(unix)]
    descriptors: VecDeque<(u64, OwnedFd)>,
    /// The other end, until one of the two is closed or dead.
    pub(super) peer: Option<usize>,
    /// What came and was not read.
    pub(super) inbox: VecDeque<u8>,
    /// The peer sends no more, by shutting or by closing.
    pub(super) ended: bool,
    /// We read no more, by shutting.
    pub(super) deaf: bool,
    /// We send no more, by shutting.
    pub(super) shut: bool,
    pub(super) dead: bool,
    /// What killed it, until that was told.
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
            in_air: 0,
            capacity,
            called: true,
            #[cfg(unix)]
            taken: 0,
            #[cfg(unix)]
            descriptors: VecDeque::new(),
            peer: None,
            inbox: VecDeque::new(),
            ended: false,
            deaf: false,
            shut: false,
            dead: false,
            fault: None,
            reset_on_close: false,
            nodelay: true,
            keepalive: false,
            keepalive_times: None,
            watch: None,
        }
    }

    /// Takes what came into `into`.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        if !self.inbox.is_empty() {
            return Ok(self.take(into));
        }
        // Of TCP the stream was complete; a UNIX socket tells its error all the same.
        if self.ended && !(self.is_unix && self.fault.is_some()) {
            return Ok(0);
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.dead || self.deaf {
            return Ok(0);
        }
        Err(Fault::WouldBlock)
    }

    /// Bytes come, the last of them with a descriptor.
    #[cfg(unix)]
    pub(super) fn come_with(&mut self, byte: u8, descriptor: OwnedFd) {
        let place = self.taken + self.inbox.len() as u64;
        self.inbox.push_back(byte);
        self.descriptors.push_back((place, descriptor));
    }

    /// Those whose bytes were read.
    #[cfg(unix)]
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        let count = self
            .descriptors
            .partition_point(|(place, _)| *place < self.taken);
        self.descriptors.drain(..count).map(|(_, fd)| fd).collect()
    }

    /// Whether a write may go to the peer.
    pub(super) fn may_write(&mut self) -> Result<(), Fault> {
        // A UNIX socket keeps the error for whoever reads.
        if self.is_unix && (self.dead || self.shut) {
            return Err(Fault::BrokenPipe);
        }
        if self.dead || self.shut {
            return Err(self.fault.take().unwrap_or(Fault::BrokenPipe));
        }
        Ok(())
    }

    /// The connection is over by force.
    pub(super) fn die(&mut self, fault: Fault) {
        if self.dead {
            return;
        }
        self.dead = true;
        self.connecting = false;
        self.peer = None;
        // To one who has seen the end already, a reset says no more than that nobody listens.
        self.fault = Some(match fault {
            Fault::Reset if self.ended && !self.is_unix => Fault::BrokenPipe,
            fault => fault,
        });
    }

    /// How many more bytes it takes.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.inbox.len() + self.in_air)
    }

    /// What is ready; `room` is the peer's, if there is one.
    pub(super) fn ready(&self, room: Option<usize>) -> Ready {
        let over = self.ended || self.deaf;
        let left = self.is_unix && self.ended && self.peer.is_none();
        let hangup = self.dead || self.fault.is_some() || (over && self.shut) || left;
        Ready {
            readable: hangup || over || !self.inbox.is_empty(),
            // As in a kernel, not for a few bytes.
            writable: hangup
                || self.shut
                || (!self.connecting && room.is_none_or(|room| room >= (self.capacity / 3).max(1))),
            hangup,
        }
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.inbox.len());
        // As in a kernel, a read ends with the byte that brings a descriptor.
        #[cfg(unix)]
        let count = match self.descriptors.front() {
            Some((place, _)) => count.min((place + 1 - self.taken) as usize),
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

/// What one direction of a connection holds.
pub(super) const CAPACITY: usize = 64 * 1024;

/// An empty queue larger than this is given back.
const KEPT: usize = 4 * 1024;
