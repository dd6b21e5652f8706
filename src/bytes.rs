//! The send queue of a connection, and a pool of such queues.
//!
//! An idle connection has no queue. A connection that writes takes a queue from the pool and gives
//! it back once the queue is empty, so that in the long run no memory is allocated.
//!
//! # Invariants
//!
//! 1. No chunk is empty except the first when it is the only one, and `start` lies within it.
//! 2. A queue in the pool is empty, and keeps the memory of at most one chunk.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A queue of bytes to send.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    first: Vec<u8>,
    /// The number of bytes of the first chunk that were taken.
    start: usize,
    /// The chunks after the first. None of them is empty.
    rest: VecDeque<Vec<u8>>,
    len: usize,
}

impl Outgoing {
    /// Returns the number of bytes in the queue.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
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

    /// Appends bytes, and a few others behind them.
    #[inline]
    pub(crate) fn push_both(&mut self, bytes: &[u8], end: &[u8]) {
        let count = bytes.len() + end.len();
        if count <= self.first.capacity() - self.first.len() && self.rest.is_empty() {
            self.len += count;
            self.first.extend_from_slice(bytes);
            self.first.extend_from_slice(end);
        } else {
            self.push(bytes);
            if !end.is_empty() {
                self.push(end);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn push_behind(&mut self, bytes: &[u8]) {
        if self.rest.is_empty() && fits(&self.first, bytes) {
            return self.first.extend_from_slice(bytes);
        }
        if self.len == bytes.len() {
            // The queue was empty.
            self.first = bytes.to_vec();
            self.start = 0;
            return;
        }
        match self.rest.back_mut() {
            Some(last) if fits(last, bytes) => last.extend_from_slice(bytes),
            _ => self.rest.push_back(bytes.to_vec()),
        }
    }

    /// Returns the first chunk's bytes.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        &self.first[self.start..]
    }

    /// Returns whether the queue is one short chunk, which one system call is likely to write.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.rest.is_empty() && self.first.len() <= CHUNK
    }

    /// Empties a queue of one chunk.
    #[inline]
    pub(crate) fn empty(&mut self) {
        self.first.clear();
        self.start = 0;
        self.len = 0;
    }

    /// Returns whether there are chunks after [`Outgoing::front`].
    #[inline]
    pub(crate) fn is_split(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Calls `f` with the first chunks, for a vectored write.
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

    /// Returns all bytes of the queue.
    #[cfg(feature = "tls")]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut all = self.front().to_vec();
        self.rest
            .iter()
            .for_each(|chunk| all.extend_from_slice(chunk));
        all
    }

    /// Takes `count` bytes off the front. The queue must have as many.
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

/// Returns whether the bytes may be appended to this chunk.
#[inline]
fn fits(chunk: &Vec<u8>, bytes: &[u8]) -> bool {
    chunk.len() + bytes.len() <= CHUNK.max(chunk.capacity())
}

/// A pool of empty queues.
///
/// The boxes themselves are kept: a connection holds a queue as a single word.
#[derive(Default)]
#[allow(
    clippy::vec_box,
    reason = "the boxes themselves are handed out and taken back"
)]
pub(crate) struct BufferPool {
    /// The queue that was given back last: enough where protocols write.
    last: Cell<Option<Box<Outgoing>>>,
    others: RefCell<Vec<Box<Outgoing>>>,
}

impl BufferPool {
    /// Takes a queue out of the pool, or creates one.
    #[inline]
    pub(crate) fn take(&self) -> Box<Outgoing> {
        match self.last.take() {
            Some(last) => last,
            None => self.others.borrow_mut().pop().unwrap_or_default(),
        }
    }

    /// Puts a queue back, dropping its contents.
    pub(crate) fn give_back(&self, mut queue: Box<Outgoing>) {
        queue.clear();
        self.give_back_empty(queue);
    }

    /// Puts an empty queue back.
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

/// The size of a chunk that gathers small writes; a large write is a chunk of its own.
const CHUNK: usize = 64 * 1024;
/// The number of chunks for one system call.
const SLICES: usize = 16;
/// The number of queues that the pool keeps.
const KEPT: usize = 64;
/// The number of queues with little memory that the pool keeps: where async code answers many
/// connections in one turn, each has a queue until the end of the turn.
const MANY_KEPT: usize = 1024;
/// The size of a queue with little memory.
const SMALL: usize = 4 * 1024;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_sizes() {
        let mut queue = Outgoing::default();
        let (mut wrote, mut read) = (Vec::new(), Vec::new());
        for size in [1, 0, 70_000, 3, 65_536, 65_537, 10, 200_000, 5] {
            let piece: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            queue.push(&piece);
            wrote.extend(piece);
            assert!(!queue.front().is_empty() || queue.is_empty());
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
    fn a_pooled_queue_keeps_little_memory() {
        let buffers = BufferPool::default();
        let mut queue = buffers.take();
        queue.push(&[0; 10 * CHUNK]);
        queue.push(b"more");
        buffers.give_back(queue);
        let queue = buffers.take();
        assert!(queue.is_empty() && queue.first.capacity() <= CHUNK);
    }
}
