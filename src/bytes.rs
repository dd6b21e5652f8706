//! Bytes on their way out: a queue of chunks, and a stock of such queues.
//!
//! An idle connection has no queue. One that writes takes a queue out of the stock and gives it back when it is
//! empty, so that in the long run nothing is allocated.
//!
//! # Invariants
//!
//! 1. No chunk is empty but the first when it is the only one, and `start` lies within it.
//! 2. A queue in stock is empty, and keeps at most one chunk's memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    first: Vec<u8>,
    /// How much of the first chunk is gone.
    start: usize,
    /// What does not fit into the first chunk. No chunk in it is empty.
    rest: VecDeque<Vec<u8>>,
    len: usize,
}

impl Outgoing {
    /// How many bytes wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes at the end.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        let room = self.first.capacity() - self.first.len();
        if bytes.len() <= room && self.rest.is_empty() {
            self.first.extend_from_slice(bytes);
        } else {
            self.push_behind(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_behind(&mut self, bytes: &[u8]) {
        if self.rest.is_empty() && fits(&self.first, bytes) {
            return self.first.extend_from_slice(bytes);
        }
        match self.rest.back_mut() {
            Some(last) if fits(last, bytes) => last.extend_from_slice(bytes),
            _ => self.rest.push_back(bytes.to_vec()),
        }
    }

    /// The bytes at the front, as far as they lie in one piece.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        &self.first[self.start..]
    }

    /// Is it one piece, which one system call may take?
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.rest.is_empty() && self.first.len() <= CHUNK
    }

    /// Takes all bytes off one piece.
    #[inline]
    pub(crate) fn empty(&mut self) {
        self.first.clear();
        self.start = 0;
        self.len = 0;
    }

    /// Are there more than [`Outgoing::front`] shows?
    #[inline]
    pub(crate) fn is_split(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Shows the bytes at the front, piece by piece, to one call that writes many.
    pub(crate) fn with_slices<R>(&self, f: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES];
        slices[0] = IoSlice::new(self.front());
        let mut used = 1;
        for (slice, chunk) in slices[1..].iter_mut().zip(&self.rest) {
            *slice = IoSlice::new(chunk);
            used += 1;
        }
        f(&slices[..used])
    }

    /// Takes `count` bytes off the front. They must be there.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        if count == self.len && self.rest.is_empty() {
            self.first.clear();
            self.start = 0;
            self.len = 0;
        } else {
            self.consume_part(count);
        }
    }

    fn consume_part(&mut self, mut count: usize) {
        self.len -= count;
        loop {
            let left = self.first.len() - self.start;
            if count < left {
                self.start += count;
                return;
            }
            count -= left;
            self.start = 0;
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => return self.first.clear(),
            }
        }
    }

    #[inline]
    fn clear(&mut self) {
        self.first.clear();
        if self.first.capacity() > CHUNK {
            self.first = Vec::new();
        }
        self.rest.clear();
        self.start = 0;
        self.len = 0;
    }
}

/// May the bytes be added to this chunk?
#[inline]
fn fits(chunk: &Vec<u8>, bytes: &[u8]) -> bool {
    chunk.len() + bytes.len() <= CHUNK.max(chunk.capacity())
}

/// A stock of empty queues.
///
/// The boxes are what is kept: a connection holds one as a single word.
#[derive(Default)]
#[allow(
    clippy::vec_box,
    reason = "the boxes themselves are handed out and taken back"
)]
pub(crate) struct BufferPool {
    /// The one that was given back last: where protocols write, no more are needed.
    last: Cell<Option<Box<Outgoing>>>,
    others: RefCell<Vec<Box<Outgoing>>>,
}

impl BufferPool {
    /// Takes a queue out, or makes one.
    #[inline]
    pub(crate) fn take(&self) -> Box<Outgoing> {
        match self.last.take() {
            Some(last) => last,
            None => self.others.borrow_mut().pop().unwrap_or_default(),
        }
    }

    /// Takes a queue back, whatever is in it.
    pub(crate) fn give_back(&self, mut queue: Box<Outgoing>) {
        queue.clear();
        self.give_back_empty(queue);
    }

    /// Takes back a queue that is empty.
    #[inline(always)]
    pub(crate) fn give_back_empty(&self, queue: Box<Outgoing>) {
        if queue.first.capacity() > CHUNK {
            return self.give_back(queue);
        }
        if let Some(before) = self.last.replace(Some(queue)) {
            let mut others = self.others.borrow_mut();
            let most = match before.first.capacity() <= SMALL {
                true => MANY_KEPT,
                false => KEPT,
            };
            if others.len() < most {
                others.push(before);
            }
        }
    }
}

/// Small writes are gathered in chunks of this size; a big write is a chunk of its own.
const CHUNK: usize = 64 * 1024;
/// How many chunks one system call is given.
const SLICES: usize = 16;
/// How many queues are kept in stock.
const KEPT: usize = 64;
/// So many are kept of those that have little memory: where async code answers many connections in
/// one turn, each has a queue until the end of that turn.
const MANY_KEPT: usize = 1024;
/// What is little memory.
const SMALL: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_whatever_the_sizes() {
        let mut queue = Outgoing::default();
        let (mut wrote, mut read) = (Vec::new(), Vec::new());
        for size in [1, 0, 70_000, 3, 65_536, 65_537, 10, 200_000, 5] {
            let piece: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            queue.push(&piece);
            wrote.extend(piece);
            let take = queue.with_slices(|slices| {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let take = all.len().min(size / 2 + 7);
                read.extend_from_slice(&all[..take]);
                take
            });
            queue.consume(take);
        }
        while !queue.is_empty() {
            let take = queue.front().len().min(1000);
            read.extend_from_slice(&queue.front()[..take]);
            queue.consume(take);
        }
        assert!(wrote == read);
        assert!(queue.front().is_empty());
    }

    #[test]
    fn small_writes_share_a_chunk() {
        let mut queue = Outgoing::default();
        for _ in 0..1_000_000 {
            queue.push(b"x");
        }
        assert!(queue.rest.len() <= 1_000_000 / CHUNK);
    }

    #[test]
    fn a_queue_in_stock_keeps_little() {
        let buffers = BufferPool::default();
        let mut queue = buffers.take();
        queue.push(&[0; 10 * CHUNK]);
        queue.push(b"more");
        buffers.give_back(queue);
        let queue = buffers.take();
        assert!(queue.is_empty() && queue.first.capacity() <= CHUNK);
    }
}
