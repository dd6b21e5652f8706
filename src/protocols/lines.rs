//! Lines: [`LineBuffer`] takes them out of a stream, [`Lines`] makes a protocol of that.

use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
#[cfg(unix)]
use std::os::fd::OwnedFd;

use crate::failure::Failure;
use crate::protocol::{Context, Protocol};

/// Takes lines out of bytes that come in whatever pieces.
///
/// A line ends with `\n`, or with `\r\n`; it is given without its end. A line may be as long as the limit; what is
/// longer is an error as soon as that is known, so no more than the limit and one piece is ever kept.
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
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to here there is no end of a line.
    searched: usize,
    limit: usize,
}

impl LineBuffer {
    /// The longest line by default, as in Twisted.
    pub const MAX_LENGTH: usize = 16_384;

    /// An empty one.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            searched: 0,
            limit,
        }
    }

    /// Adds bytes at the end.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            // What is left over is less than a line, so each byte is moved once or so.
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next line out, when it is complete.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] when the line is longer than the limit, complete or not. It stays where it is.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let found =
            memchr::memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at);
        let Some(end) = found else {
            self.searched = self.bytes.len();
            // The last byte may be the first half of the line's end.
            let unfinished = &self.bytes[self.start..];
            let length = unfinished.strip_suffix(b"\r").unwrap_or(unfinished).len();
            return if length > self.limit {
                Err(LineTooLong { limit: self.limit })
            } else {
                Ok(None)
            };
        };
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        let line = line.to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Ok(Some(line))
    }

    /// Takes out everything that is left, complete or not.
    #[doc(alias = "clearLineBuffer")]
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start);
        *self = Self::new(self.limit);
        rest
    }
}

/// A protocol that is given whole lines; see [`Lines`].
#[doc(alias("LineReceiver", "LineOnlyReceiver"))]
pub trait LineProtocol: Sized + 'static {
    /// The connection is there.
    fn connection_made(&mut self, cx: &mut Context<'_, Lines<Self>>) {
        let _ = cx;
    }

    /// A line came; it has no end of line.
    #[doc(alias = "lineReceived")]
    fn line_received(&mut self, cx: &mut Context<'_, Lines<Self>>, line: &[u8]);

    /// A line was longer than the limit. Unless it is overridden, the connection ends; if it goes on, nothing is
    /// delivered any more.
    #[doc(alias = "lineLengthExceeded")]
    fn line_too_long(&mut self, cx: &mut Context<'_, Lines<Self>>, error: LineTooLong) {
        let _ = error;
        cx.lose_connection();
    }

    /// A descriptor came over a UNIX socket. Unless it is overridden, it is closed. See
    /// [`Protocol::descriptor_received`].
    #[cfg(unix)]
    #[doc(alias = "fileDescriptorReceived")]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Lines<Self>>, descriptor: OwnedFd) {
        cx.refuse_descriptor(descriptor);
    }

    /// The peer has nothing more to say. Unless it is overridden, the connection ends when what is queued has been
    /// written. An unfinished last line is not delivered.
    fn eof_received(&mut self, cx: &mut Context<'_, Lines<Self>>) {
        cx.lose_connection();
    }

    /// The connection was full, and is not any more: go on writing.
    fn write_ready(&mut self, cx: &mut Context<'_, Lines<Self>>) {
        let _ = cx;
    }

    /// The connection is over.
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// Makes a [`Protocol`] of a [`LineProtocol`]. It derefs to it.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{LineProtocol, Lines};
/// use torsade::testing::Wire;
/// use torsade::Context;
///
/// struct Shout;
///
/// impl LineProtocol for Shout {
///     fn line_received(&mut self, cx: &mut Context<'_, Lines<Self>>, line: &[u8]) {
///         cx.write(line.to_ascii_uppercase());
///         cx.write("\r\n");
///     }
/// }
///
/// let mut wire = Wire::new(Lines::new(Shout));
/// wire.send("hello\r\nwor");
/// assert_eq!(wire.take_received(), b"HELLO\r\n");
/// ```
#[derive(Debug)]
pub struct Lines<P> {
    protocol: P,
    buffer: LineBuffer,
    /// A line was too long: nothing is delivered any more.
    broken: bool,
    /// The peer is done, and the protocol is told when it has been given all lines.
    ended: bool,
}

impl<P: LineProtocol> Lines<P> {
    /// With lines of at most [`LineBuffer::MAX_LENGTH`] bytes.
    pub fn new(protocol: P) -> Self {
        Self::with_limit(protocol, LineBuffer::MAX_LENGTH)
    }

    /// With lines of at most `limit` bytes.
    pub fn with_limit(protocol: P, limit: usize) -> Self {
        Self {
            protocol,
            buffer: LineBuffer::new(limit),
            broken: false,
            ended: false,
        }
    }
}

impl<P: LineProtocol> Lines<P> {
    /// Gives the protocol its lines, as long as there is room for the answers; `write_ready` goes on.
    fn deliver(&mut self, cx: &mut Context<'_, Self>) {
        while cx.is_connected() && !cx.is_full() {
            match self.buffer.next_line() {
                Ok(Some(line)) => self.protocol.line_received(cx, &line),
                Ok(None) => {
                    if std::mem::take(&mut self.ended) {
                        self.protocol.eof_received(cx);
                    }
                    return;
                }
                Err(error) => {
                    self.broken = true;
                    self.buffer.take_rest();
                    return self.protocol.line_too_long(cx, error);
                }
            }
        }
    }
}

impl<P: LineProtocol> Protocol for Lines<P> {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.protocol.connection_made(cx);
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        if !self.broken {
            self.buffer.feed(data);
            self.deliver(cx);
        }
    }

    #[cfg(unix)]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        self.protocol.descriptor_received(cx, descriptor);
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.ended = true;
        self.deliver(cx);
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        self.protocol.write_ready(cx);
        self.deliver(cx);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.protocol.connection_lost(reason);
    }
}

impl<P> Deref for Lines<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.protocol
    }
}

impl<P> DerefMut for Lines<P> {
    fn deref_mut(&mut self) -> &mut P {
        &mut self.protocol
    }
}

/// A line was longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong {
    /// How long it may be.
    pub limit: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line is longer than {} bytes", self.limit)
    }
}

impl Error for LineTooLong {}

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
        buffer.feed(b"\n");
        assert_eq!(buffer.next_line(), Err(LineTooLong { limit: 3 }));
    }

    #[test]
    fn an_endless_line_is_searched_once() {
        let mut buffer = LineBuffer::new(1 << 20);
        for _ in 0..100_000 {
            buffer.feed(b"no end ");
            assert_eq!(buffer.next_line(), Ok(None));
        }
        assert_eq!(buffer.searched, buffer.bytes.len());
    }
}
