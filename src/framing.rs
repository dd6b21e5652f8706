//! Frames: the messages in a stream of bytes.
//!
//! A [`Decoder`] does no I/O: it looks at the unused bytes and returns the position of the first
//! frame. The rest (storing incomplete frames, stopping while the connection is paused, passing the
//! remaining bytes to another protocol) is done by its callers: a connection's
//! [`Input`](crate::protocol::Input), a stream's reader, or a [`LineBuffer`].

use crate::failure::errors;

use std::ops::Range;

/// A parser that finds the frames in a stream of bytes: lines, netstrings, messages with a length
/// prefix.
///
/// A protocol that receives frames asks for them with
/// [`Input::next_frame`](crate::protocol::Input::next_frame).
///
/// # Examples
///
/// Messages of at most 255 bytes, each with a length prefix of one byte:
///
/// ```
/// use std::convert::Infallible;
/// use torsade::protocol::Input;
/// use torsade::protocols::{Decoded, Decoder};
/// use torsade::testing::Wire;
/// use torsade::{Context, Protocol};
///
/// struct Int8;
///
/// impl Decoder for Int8 {
///     type Error = Infallible;
///
///     fn decode(&mut self, input: &[u8]) -> Decoded<Infallible> {
///         match input.first().map(|first| usize::from(*first) + 1) {
///             Some(length) if input.len() >= length => {
///                 Decoded::Frame { payload: 1..length, length }
///             }
///             _ => Decoded::More,
///         }
///     }
/// }
///
/// /// Answers each message with the same in capitals.
/// struct Shout(Int8);
///
/// impl Protocol for Shout {
///     fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
///         while let Some(Ok(message)) = input.next_frame(&mut self.0) {
///             cx.write(message.to_ascii_uppercase());
///         }
///     }
/// }
///
/// let mut wire = Wire::new(Shout(Int8));
/// wire.send(b"\x02hi\x05the");
/// assert_eq!(wire.take_received(), b"HI");
/// wire.send(b"re");
/// assert_eq!(wire.take_received(), b"THERE");
/// ```
#[doc(alias("codec", "framing"))]
pub trait Decoder {
    /// The error of bytes that are not a valid frame.
    type Error;

    /// Finds the first frame of `input`, which begins where the last frame ended.
    ///
    /// After [`Decoded::More`] the method is called again with the same bytes and more after them,
    /// so a decoder may remember how far it has searched. A decoder that never reports a frame as
    /// too long allows its peer to fill the memory.
    fn decode(&mut self, input: &[u8]) -> Decoded<Self::Error>;
}

/// The result of [`Decoder::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<E> {
    /// No frame is complete yet.
    More,
    /// The first bytes, this many and at least one, belong to no frame.
    Skip(usize),
    /// A frame.
    Frame {
        /// The position of the frame's contents in the input.
        payload: Range<usize>,
        /// The number of bytes of the input that the frame takes up, at least one.
        length: usize,
    },
    /// The input does not begin with a valid frame.
    Bad {
        /// The error.
        error: E,
        /// The position in the input of the bytes to show with the error.
        payload: Range<usize>,
        /// The number of bytes of the input to drop, at least one.
        length: usize,
    },
}

/// A decoder of lines, which end with `\n` or `\r\n`.
///
/// For a line that is longer than the limit, the decoder returns [`Decoded::Bad`] once, with the
/// bytes that have arrived, and skips the rest of the line.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{Decoded, Decoder, LineDecoder};
///
/// let mut lines = LineDecoder::new(80);
/// assert_eq!(lines.decode(b"on"), Decoded::More);
/// let found = lines.decode(b"one\r\ntwo");
/// assert_eq!(found, Decoded::Frame { payload: 0..3, length: 5 });
/// ```
#[derive(Clone, Debug)]
pub struct LineDecoder {
    limit: usize,
    /// The number of bytes that contain no end of a line.
    searched: usize,
    /// Whether the rest of a line that is too long is being skipped.
    is_skipping: bool,
}

impl LineDecoder {
    /// Creates a decoder for lines of at most `limit` bytes, not counting their ends.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            searched: 0,
            is_skipping: false,
        }
    }

    /// Sets the length limit of a line, in bytes.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Searches again from the start, because bytes were taken out that the decoder had searched.
    pub(crate) fn restart(&mut self) {
        self.searched = 0;
    }

    /// Returns the length limit of a line, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Decoder for LineDecoder {
    type Error = LineTooLong;

    fn decode(&mut self, input: &[u8]) -> Decoded<LineTooLong> {
        let from = std::mem::take(&mut self.searched).min(input.len());
        let end = memchr::memchr(b'\n', &input[from..]).map(|at| from + at);
        if self.is_skipping {
            self.is_skipping = end.is_none();
            return match end.map_or(input.len(), |end| end + 1) {
                0 => Decoded::More,
                length => Decoded::Skip(length),
            };
        }
        let error = LineTooLong { limit: self.limit };
        let line = &input[..end.unwrap_or(input.len())];
        // Without the end of the line, the last byte may be the first half of it.
        let text = line.strip_suffix(b"\r").unwrap_or(line).len();
        match end {
            Some(end) if text <= self.limit => Decoded::Frame {
                payload: 0..text,
                length: end + 1,
            },
            Some(end) => Decoded::Bad {
                error,
                payload: 0..text,
                length: end + 1,
            },
            None if text <= self.limit => {
                self.searched = input.len();
                Decoded::More
            }
            None => {
                self.is_skipping = true;
                Decoded::Bad {
                    error,
                    payload: 0..input.len(),
                    length: input.len(),
                }
            }
        }
    }
}

/// The error of a line that is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// The length limit of a line, in bytes.
    pub limit: usize,
}

errors! {
    LineTooLong { limit }: "a line is longer than {limit} bytes";
}

/// A buffer of unused bytes, which are taken out from the front.
///
/// Each byte is moved at most twice, however the bytes are added and taken out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unused {
    bytes: Vec<u8>,
    /// The position of the first unused byte.
    start: usize,
}

impl Unused {
    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes out the first `count` bytes. An empty buffer has no memory.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }
}

/// A buffer that splits bytes, which arrive in pieces of any size, into lines.
///
/// A line ends with `\n` or `\r\n` and is returned without its end. A line that is longer than the
/// limit is an error as soon as that is known, so the buffer holds at most the limit and one piece.
///
/// # Examples
///
/// ```
/// use torsade::protocols::LineBuffer;
///
/// let mut lines = LineBuffer::new(80);
/// lines.feed(b"one\r\ntw");
/// assert_eq!(lines.next_line()?, Some(b"one".to_vec()));
/// assert_eq!(lines.next_line()?, None);
/// lines.feed(b"o\n");
/// assert_eq!(lines.next_line()?, Some(b"two".to_vec()));
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct LineBuffer {
    unused: Unused,
    decoder: LineDecoder,
}

impl LineBuffer {
    /// The default length limit of a line, in bytes, as in Twisted.
    pub const MAX_LENGTH: usize = 16_384;

    /// Creates an empty buffer for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            unused: Unused::default(),
            decoder: LineDecoder::new(limit),
        }
    }

    /// Appends bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.unused.push(bytes);
    }

    /// Takes out the next line, if it is complete.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], once, when the line is longer than the limit, complete or not. The line is
    /// dropped up to its end, and the next call continues after it.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        loop {
            let bytes = self.unused.as_slice();
            let (result, length) = match self.decoder.decode(bytes) {
                Decoded::More => return Ok(None),
                Decoded::Skip(length) => (None, length),
                Decoded::Frame { payload, length } => {
                    (Some(Ok(Some(bytes[payload].to_vec()))), length)
                }
                Decoded::Bad { error, length, .. } => (Some(Err(error)), length),
            };
            self.unused.consume(length);
            if let Some(result) = result {
                return result;
            }
        }
    }

    /// Takes out all bytes that are left.
    #[doc(alias = "clearLineBuffer")]
    pub fn take_rest(&mut self) -> Vec<u8> {
        let limit = self.decoder.limit;
        std::mem::replace(self, Self::new(limit)).unused.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_lines_come_out_however_the_bytes_are_cut() {
        let text = b"one\r\n\r\ntwo\nth\rree\r\nfour";
        for size in 1..=text.len() {
            let (mut buffer, mut lines) = (LineBuffer::new(6), Vec::new());
            for piece in text.chunks(size) {
                buffer.feed(piece);
                while let Some(line) = buffer.next_line().unwrap() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, [&b"one"[..], b"", b"two", b"th\rree"]);
            assert_eq!(buffer.take_rest(), b"four");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let mut buffer = LineBuffer::new(3);
        buffer.feed(b"abc\r");
        assert_eq!(buffer.next_line(), Ok(None));
        buffer.feed(b"\nabcd");
        assert_eq!(buffer.next_line(), Ok(Some(b"abc".to_vec())));
        assert_eq!(buffer.next_line(), Err(LineTooLong { limit: 3 }));
    }

    #[test]
    fn of_a_line_too_long_the_rest_is_skipped_however_the_bytes_are_cut() {
        let text = b"abcdefg\r\nfine\r\nabcdefg\nok\n";
        for size in 1..=text.len() {
            let (mut buffer, mut lines) = (LineBuffer::new(4), Vec::new());
            for piece in text.chunks(size) {
                buffer.feed(piece);
                loop {
                    match buffer.next_line() {
                        Ok(Some(line)) => lines.push(line),
                        Ok(None) => break,
                        Err(error) => lines.push(error.to_string().into_bytes()),
                    }
                }
            }
            let error = &b"a line is longer than 4 bytes"[..];
            assert_eq!(lines, [error, b"fine", error, b"ok"]);
            assert_eq!(buffer.take_rest(), b"");
        }
    }

    #[test]
    fn an_endless_line_is_searched_once() {
        let mut buffer = LineBuffer::new(1 << 20);
        for _ in 0..100_000 {
            buffer.feed(b"no end ");
            assert_eq!(buffer.next_line(), Ok(None));
        }
        assert_eq!(buffer.decoder.searched, buffer.unused.as_slice().len());
    }

    #[test]
    fn what_is_taken_a_byte_at_a_time_is_not_moved_each_time() {
        let mut unused = Unused::default();
        unused.push(&[7; 100_000]);
        let memory = unused.as_slice().as_ptr();
        for taken in 1..40_000 {
            unused.consume(1);
            unused.push(b"");
            assert_eq!(unused.as_slice().as_ptr() as usize, memory as usize + taken);
        }
        unused.consume(60_000);
        unused.push(b"more");
        assert_eq!(unused.as_slice(), [&[7; 1][..], b"more"].concat());
    }
}
