//! Frames: the messages in a stream of bytes, and the codecs that find and write them.
//!
//! # The idea
//!
//! A codec is a value that does no I/O and has no clock. As a [`Decoder`] it looks at the unused
//! bytes and returns the first frame; as an [`Encoder`] it appends a frame to a buffer. All the
//! rest is written once for all codecs: a connection's [`Input`](crate::protocol::Input) and
//! [`FrameProtocol`](crate::protocols::FrameProtocol) for protocols,
//! [`Framed`](crate::protocols::Framed) for async code, and [`FrameBuffer`] for bytes that come
//! from elsewhere. They store incomplete frames, stop while the connection is paused, and pass the
//! remaining bytes to another protocol.
//!
//! # Invariants
//!
//! 1. A decoder sees the bytes of the stream in order, without gaps. Bytes of an incomplete frame
//!    are shown again, with those that have arrived meanwhile.
//! 2. A decoder returns the same frames however the stream is cut into pieces.
//! 3. A decoder needs memory in proportion to its limit, and time in proportion to the input.

mod buffer;
mod length;
mod lines;
mod netstring;
#[cfg(all(test, not(torsade_loom)))]
mod tests;

use crate::failure::errors;

pub use self::buffer::FrameBuffer;
pub(crate) use self::buffer::{Found, SKIPS, Unused, first_frame};
pub use self::length::LengthCodec;
pub use self::lines::LineCodec;
pub use self::netstring::NetstringCodec;

/// A parser that finds the frames in a stream of bytes: lines, netstrings, messages with a length
/// prefix.
///
/// A [`FrameProtocol`](crate::protocols::FrameProtocol) receives the frames of its decoder, one
/// call each; a protocol that does more with its input asks for them with
/// [`Input::next_frame`](crate::protocol::Input::next_frame). Async code uses
/// [`Connection::framed`](crate::Connection::framed).
///
/// # Examples
///
/// Messages of at most 255 bytes, each with a length prefix of one byte:
///
/// ```
/// use std::convert::Infallible;
/// use torsade::protocols::{Decoded, Decoder, FrameProtocol};
/// use torsade::testing::Wire;
/// use torsade::Context;
///
/// struct Int8;
///
/// impl Decoder for Int8 {
///     type Frame<'a> = &'a [u8];
///     type Owned = Vec<u8>;
///     type Error = Infallible;
///
///     fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], Infallible> {
///         match input.first().map(|first| usize::from(*first) + 1) {
///             Some(length) if input.len() >= length => {
///                 Decoded::Frame { frame: &input[1..length], length }
///             }
///             _ => Decoded::More,
///         }
///     }
/// }
///
/// /// Answers each message with the same in capitals.
/// struct Shout(Int8);
///
/// impl FrameProtocol for Shout {
///     type Codec = Int8;
///
///     fn codec(&mut self) -> &mut Int8 {
///         &mut self.0
///     }
///
///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, message: &[u8]) {
///         cx.write(message.to_ascii_uppercase());
///     }
/// }
///
/// let mut wire = Wire::new(Shout(Int8));
/// wire.send(b"\x02hi\x05the");
/// assert_eq!(wire.take_received(), b"HI");
/// wire.send(b"re");
/// assert_eq!(wire.take_received(), b"THERE");
/// ```
pub trait Decoder {
    /// A frame. It may borrow from the bytes that were received.
    type Frame<'a>;
    /// A frame that borrows nothing; for async code, which keeps frames.
    type Owned: for<'a> From<Self::Frame<'a>>;
    /// The error of bytes that are not a valid frame.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;

    /// Finds the first frame of `input`, which begins where the last frame ended.
    ///
    /// After [`Decoded::More`] the method is called again with the same bytes and more after them,
    /// so a decoder may remember how far it has searched. A decoder that never rejects a frame as
    /// too long allows its peer to fill the memory.
    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Self::Frame<'a>, Self::Error>;

    /// Finds the first frame of `input`, the last bytes before the end of file, for which
    /// [`decode`](Self::decode) has returned [`Decoded::More`]. Called for async code only; a
    /// [`FrameProtocol`](crate::protocols::FrameProtocol) does not get an incomplete frame.
    ///
    /// The default returns `More`, so the stream ends with [`FrameError::Incomplete`].
    fn decode_end<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Self::Frame<'a>, Self::Error> {
        let _ = input;
        Decoded::More
    }

    /// Forgets how far the input was searched. Called when other code has taken bytes that the
    /// decoder has seen, so that the next input begins elsewhere. The default does nothing.
    fn restart(&mut self) {}

    /// Returns whether the bytes that follow are raw data, which
    /// [`FrameProtocol::raw_received`](crate::protocols::FrameProtocol::raw_received) gets. The
    /// default is `false`.
    fn is_raw(&self) -> bool {
        false
    }
}

/// The result of [`Decoder::decode`].
///
/// The caller of `decode` panics when a number of bytes is zero, or larger than the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a, F, E> {
    /// No frame is complete yet.
    More,
    /// This many bytes at the beginning of the input, at least one, belong to no frame; they are
    /// dropped.
    Skip(usize),
    /// A frame.
    Frame {
        /// The frame.
        frame: F,
        /// The number of bytes of the input that the frame takes up, at least one.
        length: usize,
    },
    /// The input does not begin with a valid frame, but the position where the next one begins is
    /// known.
    Bad {
        /// The error.
        error: E,
        /// The bytes to pass on with the error, as [`Rejected::bytes`].
        bytes: &'a [u8],
        /// The number of bytes of the input to drop, at least one.
        length: usize,
    },
    /// The input does not begin with a valid frame, and no frame can be found after it: the error
    /// [is fatal](Rejected::is_fatal).
    Broken {
        /// The error.
        error: E,
        /// The bytes to pass on with the error, as [`Rejected::bytes`].
        bytes: &'a [u8],
    },
}

/// Bytes that are not a valid frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected<'a, E> {
    /// The error.
    pub error: E,
    /// The bytes that the decoder passes on with the error: of a frame that is too long, the
    /// beginning that has arrived.
    pub bytes: &'a [u8],
    /// Whether no frame can be found after these bytes, so that the connection has to end.
    pub is_fatal: bool,
}

/// A writer of frames: the other direction of a [`Decoder`].
///
/// # Examples
///
/// ```
/// use torsade::protocols::{Encoder, NetstringCodec};
///
/// let mut out = Vec::new();
/// NetstringCodec::new().encode("hello", &mut out)?;
/// assert_eq!(out, b"5:hello,");
/// # Ok::<(), torsade::protocols::FrameError>(())
/// ```
pub trait Encoder<T> {
    /// The error of a value that cannot be sent as a frame.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;

    /// Appends `item` to `out` as a frame.
    ///
    /// # Errors
    ///
    /// Fails when a frame cannot carry the value; `out` is unchanged then.
    fn encode(&mut self, item: T, out: &mut Vec<u8>) -> Result<(), Self::Error>;
}

/// The error of a frame that cannot be received or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A line is longer than the limit.
    #[doc(alias = "lineLengthExceeded")]
    LineTooLong {
        /// The length limit of a line, in bytes.
        limit: usize,
    },
    /// A frame is longer than the limit, or than its length field can express.
    #[doc(alias("lengthLimitExceeded", "StringTooLongError", "NetstringParseError"))]
    FrameTooLong {
        /// The length of the frame, in bytes, as far as it is known.
        length: u64,
        /// The length limit of a frame, in bytes.
        limit: usize,
    },
    /// The value of a length field gives a negative length.
    NegativeLength {
        /// The value of the field.
        value: u64,
    },
    /// A netstring does not have the form `LENGTH:BYTES,`.
    #[doc(alias = "NetstringParseError")]
    BadNetstring {
        /// The byte that was found.
        found: u8,
        /// A description of the bytes that are valid at this position.
        expected: &'static str,
    },
    /// A line to be sent contains its own delimiter.
    ContainsDelimiter {
        /// The position of the delimiter in the line.
        position: usize,
    },
    /// The end of file came within a frame; or a frame to be sent is shorter than the header that
    /// it must contain ([`LengthCodec::keep_header`]).
    Incomplete {
        /// The number of bytes of the frame that were received, or that the frame to be sent has.
        received: usize,
    },
}

errors! {
    enum FrameError {
        LineTooLong { limit }: "a line is longer than {limit} bytes";
        FrameTooLong { length, limit }: "a frame of {length} bytes is longer than {limit} bytes";
        NegativeLength { value }: "a length field has the value {value}, which gives a negative length";
        BadNetstring { found, expected }: "a netstring has the byte {found:#04x} in place of {expected}";
        ContainsDelimiter { position }: "a line contains its delimiter at byte {position}";
        Incomplete { received }: "the end of file came after {received} bytes of a frame";
    }
}
