//! Messages in a stream of bytes: [`IrcCodec`].

use std::borrow::{Borrow, Cow};

use super::{IrcError, Message};
use crate::framing::{Decoded, Decoder, Encoder, LineCodec};

/// A codec of IRC messages: lines that end with `\n` or `\r\n`. Empty lines are skipped, and other
/// carriage returns are removed.
///
/// A line that is not a message, or too long, is rejected; decoding continues with the next line.
///
/// # Limits
///
/// A message to be sent may have 512 bytes with its end, and 8191 bytes of tags before that. A
/// received line may have the sum of both with or without tags, because some servers send longer
/// messages.
///
/// # Examples
///
/// ```
/// use torsade::protocols::FrameBuffer;
/// use torsade::protocols::irc::{IrcCodec, Message};
///
/// let mut messages = FrameBuffer::new(IrcCodec::new());
/// messages.feed(b"PING :abc\r\n:prefix-only\r\nPONG x\n");
/// assert_eq!(messages.next_frame(), Some(Ok(Message::new("PING", ["abc"]))));
/// assert!(messages.next_frame().unwrap().is_err());
/// assert_eq!(messages.next_frame(), Some(Ok(Message::new("PONG", ["x"]))));
/// ```
#[derive(Clone, Debug)]
pub struct IrcCodec {
    lines: LineCodec,
}

impl IrcCodec {
    /// The length limit of a message without its tags, in bytes, with its end.
    pub const MAX_LENGTH: usize = 512;
    /// The length limit of the tags, in bytes, with the `@` before them and the space after them.
    pub const MAX_TAGS: usize = 8191;
    const LIMIT: usize = Self::MAX_LENGTH - 2 + Self::MAX_TAGS;

    /// Creates a codec.
    pub fn new() -> Self {
        Self {
            lines: LineCodec::new().limit(Self::LIMIT),
        }
    }
}

impl Default for IrcCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for IrcCodec {
    type Frame<'a> = Message;
    type Owned = Message;
    type Error = IrcError;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Message, IrcError> {
        match self.lines.decode(input) {
            Decoded::More => Decoded::More,
            Decoded::Skip(length) => Decoded::Skip(length),
            Decoded::Frame { frame, length } if frame.iter().all(|byte| b" \r".contains(byte)) => {
                Decoded::Skip(length)
            }
            Decoded::Frame {
                frame: bytes,
                length,
            } => match Message::parse(&without_returns(bytes)) {
                Ok(frame) => Decoded::Frame { frame, length },
                Err(error) => Decoded::Bad {
                    error,
                    bytes,
                    length,
                },
            },
            Decoded::Bad { bytes, length, .. } => Decoded::Bad {
                error: too_long(Self::LIMIT),
                bytes,
                length,
            },
            Decoded::Broken { bytes, .. } => Decoded::Broken {
                error: too_long(Self::LIMIT),
                bytes,
            },
        }
    }

    fn restart(&mut self) {
        Decoder::restart(&mut self.lines);
    }
}

impl<M: Borrow<Message>> Encoder<M> for IrcCodec {
    type Error = IrcError;

    /// Appends the message as one line.
    ///
    /// # Errors
    ///
    /// [`IrcError::ForbiddenByte`] when the message contains the end of a line or a zero,
    /// [`IrcError::BadParam`], [`IrcError::BadCommand`], and [`IrcError::LineTooLong`].
    fn encode(&mut self, message: M, out: &mut Vec<u8>) -> Result<(), IrcError> {
        let start = out.len();
        let written = message.borrow().write(out).and_then(|tags| {
            if tags > Self::MAX_TAGS {
                return Err(too_long(Self::MAX_TAGS));
            }
            match out.len() - start - tags + 2 > Self::MAX_LENGTH {
                true => Err(too_long(Self::MAX_LENGTH)),
                false => Ok(()),
            }
        });
        match written {
            Ok(()) => out.extend_from_slice(b"\r\n"),
            Err(_) => out.truncate(start),
        }
        written
    }
}

/// Returns the line without carriage returns, which some servers send more of than they should.
fn without_returns(line: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'\r', line) {
        None => Cow::Borrowed(line),
        Some(_) => line.iter().copied().filter(|byte| *byte != b'\r').collect(),
    }
}

fn too_long(limit: usize) -> IrcError {
    IrcError::LineTooLong { limit }
}
