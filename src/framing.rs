//! Frames: where a message in a stream of bytes ends and the next one begins.
//!
//! A [`Decoder`] is a value without I/O: it looks at the bytes that have not been used yet and says
//! where the first frame is. Everything else (keeping what is incomplete, stopping when the
//! connection is paused, handing the rest to another protocol) is done once, by whoever asks it: a
//! connection's [`Input`](crate::protocol::Input), a stream's reader, or a [`LineBuffer`].

use crate::failure::errors;

use std::ops::Range;

/// Finds the frames in a stream of bytes: lines, netstrings, messages with their length in front.
///
/// A protocol that receives frames asks for them with
/// [`Input::next_frame`](crate::protocol::Input::next_frame).
///
/// # Examples
///
/// Messages of at most 255 bytes, each after one byte with its length:
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
    /// Why bytes are not a frame.
    type Error;

    /// Looks for the first frame of `input`, which begins where the last frame ended.
    ///
    /// After [`Decoded::More`] it is called again with the same bytes and some more behind them, so
    /// it may remember how far it has looked. A decoder that never calls a frame too long lets its
    /// peer fill the memory.
    fn decode(&mut self, input: &[u8]) -> Decoded<Self::Error>;
}

/// What a [`Decoder`] found at the beginning of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<E> {
    /// No frame is complete yet.
    More,
    /// The first bytes, this many and at least one, belong to no frame.
    Skip(usize),
    /// A frame.
    Frame {
        /// Where in the input its contents are.
        payload: Range<usize>,
        /// How many bytes of the input it takes up, at least one.
        length: usize,
    },
    /// What begins here is not a valid frame.
    Bad {
        /// Why.
        error: E,
        /// Where in the input the bytes are that are to be shown for it.
        payload: Range<usize>,
        /// How many bytes of the input are used up with it, at least one.
        length: usize,
    },
}

/// Finds lines, which end with `\n` or `\r\n`.
///
/// Of a line that is longer than the limit the decoder shows, once, what there is, as
/// [`Decoded::Bad`]; it skips the rest up to the line's end.
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
    /// Up to here there is no end of a line.
    searched: usize,
    /// The beginning of the present line was too long.
    is_skipping: bool,
}

impl LineDecoder {
    /// Makes one for lines of at most `limit` bytes, their ends not counted.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            searched: 0,
            is_skipping: false,
        }
    }

    /// Sets how many bytes a line may have.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Bytes were taken out that the decoder had looked at already.
    pub(crate) fn restart(&mut self) {
        self.searched = 0;
    }

    /// Returns how many bytes a line may have.
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
        // Where there is no end yet the last byte may be the first half of it.
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

/// A line was longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// How many bytes it may have.
    pub limit: usize,
}

errors! {
    LineTooLong { limit }: "a line is longer than {limit} bytes";
}

/// Bytes that have not been used yet, of which the first ones are taken out.
///
/// Each byte is moved at most twice, however many are added and taken at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unused {
    bytes: Vec<u8>,
    /// Where they begin.
    start: usize,
}

impl Unused {
    /// Adds bytes at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the first `count` bytes out. With the last one the memory goes.
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

/// Takes lines out of bytes that come in whatever pieces.
///
/// A line ends with `\n`, or with `\r\n`; it is given without its end. A line may be as long as the
/// limit; what is longer is an error as soon as that is known, so no more than the limit and one
/// piece is ever kept.
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
    /// The longest line by default, as in Twisted.
    pub const MAX_LENGTH: usize = 16_384;

    /// Makes an empty one for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            unused: Unused::default(),
            decoder: LineDecoder::new(limit),
        }
    }

    /// Adds bytes at the end.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.unused.push(bytes);
    }

    /// Takes the next line out, when it is complete.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] when the line is longer than the limit, complete or not; given once. The
    /// line is dropped, up to its end when that comes, and the next call goes on behind it.
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

    /// Takes out everything that is left, complete or not.
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
