//! Big writes, which go straight to the socket when nothing is queued: copying them into the queue
//! costs as much as a system call.

use std::io::{self, IoSlice};

use super::config::BIG;
use super::flags::Flag;
use super::link::ConnCore;
use crate::driver::{Socket, is_for_later};
use crate::task::budget;

impl ConnCore {
    /// Writes bytes, and queues what the socket does not take. (Bytes that make the connection full
    /// are all queued, so that the handler learns when it is ready again.)
    #[inline(never)]
    pub(super) fn write_big(&self, bytes: &[u8]) {
        // A handler that writes until the connection is full must come to an end, however fast its
        // peer reads: with its budget it has had its share of the turn. Outside a turn, all but the
        // first write is queued.
        let is_next = !self.flags.has(Flag::DIRECT) || budget::is_limited_and_left();
        if !is_next || self.flags.has(Flag::QUEUES) {
            return self.write_checked(bytes);
        }
        // An error comes again when the queue is flushed, and is handled there.
        let sent = self
            .write_past_queue(&[IoSlice::new(bytes)])
            .and_then(Result::ok);
        let rest = &bytes[sent.unwrap_or(0)..];
        if let Some(count) = sent {
            budget::spend(Self::cost_of_writing(count));
            self.flags.set(Flag::DIRECT, true);
            self.flags.set(Flag::FULL, !budget::is_left());
            self.ask_for_attention();
        }
        if rest.len() > self.limits().low {
            // Where the socket does not take it, what the handler writes next would only be copied.
            self.flags.set(Flag::FULL, true);
        }
        self.write_checked(rest);
    }

    /// Returns what a write costs that was accepted. A byte of a big one is cheap: mostly the
    /// system copies it, and its buffer bounds how many it takes.
    pub(crate) fn cost_of_writing(written: usize) -> usize {
        match written >= BIG {
            true => written / 8,
            false => written,
        }
    }

    /// Returns whether what is written is encrypted.
    pub(crate) fn is_in_tls(&self) -> bool {
        self.with_socket(Socket::may_owe).unwrap_or(false)
    }

    /// Writes past the queue, when there is none. `None` when nothing could be written.
    pub(crate) fn write_through(&self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        // What the socket owes is queued.
        let owes = self.is_in_tls();
        let first = pieces.iter().find(|piece| !piece.is_empty())?;
        let first = &first[..first.len().min(self.limits().high.max(1))];
        let written = match owes {
            true => self.write_past_queue(&[IoSlice::new(first)])?,
            false => self.write_past_queue(pieces)?,
        };
        match written {
            Ok(count) if owes => {
                let owed = self.with_socket(Socket::owed).unwrap_or(0);
                self.write_checked(&first[count..count + owed]);
                Some(count + owed)
            }
            Ok(count) => Some(count),
            Err(error) => {
                self.writing_failed(error, false);
                None
            }
        }
    }

    fn write_past_queue(&self, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let is_held = self.flags.has(Flag::BLOCKED) || self.flags.has(Flag::POLICED);
        if self.queued() > 0 || is_held || !self.life().takes_writes() {
            return None;
        }
        let write = |socket: &Socket| match pieces {
            _ if !socket.takes_at_once() => None,
            [piece] => Some(socket.write(piece)),
            pieces => Some(socket.write_vectored(pieces)),
        };
        match self.with_socket(write)?? {
            Ok(count) => {
                self.note_sent(count);
                Some(Ok(count))
            }
            Err(error) if is_for_later(&error) || error.kind() == io::ErrorKind::Interrupted => {
                let owed = self.with_socket(Socket::owed)?;
                (owed > 0).then_some(Ok(0))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
