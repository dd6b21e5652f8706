//! Frames with a length field: [`LengthCodec`].

use super::{Decoded, Decoder, Encoder, FrameError};

/// A codec of frames that begin with a header, which contains their length.
///
/// By default the header is the length field alone, in network byte order; its value is the number
/// of bytes that follow it. [`offset`](Self::offset),
/// [`length_adjustment`](Self::length_adjustment), [`little_endian`](Self::little_endian) and
/// [`keep_header`](Self::keep_header) describe other headers.
///
/// A frame that is longer than the limit is rejected once, as soon as its header has arrived, with
/// the bytes that have arrived; the rest of it is skipped. A length that becomes negative by
/// [`length_adjustment`](Self::length_adjustment) is a fatal error.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{FrameBuffer, LengthCodec};
///
/// let mut strings = FrameBuffer::new(LengthCodec::u16());
/// strings.feed(b"\x00\x05hello\x00");
/// assert_eq!(strings.next_frame(), Some(Ok(b"hello".to_vec())));
/// assert_eq!(strings.next_frame(), None);
/// ```
///
/// The messages of BGP begin with a marker of sixteen bytes and two bytes with the length of the
/// whole message. Here each frame contains the whole message:
///
/// ```
/// use torsade::protocols::{FrameBuffer, LengthCodec};
///
/// let codec = LengthCodec::u16().offset(16).length_adjustment(-18).keep_header().limit(4096);
/// let mut messages = FrameBuffer::new(codec);
/// let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
/// messages.feed(&keepalive);
/// assert_eq!(messages.next_frame(), Some(Ok(keepalive)));
/// ```
#[derive(Clone, Debug)]
pub struct LengthCodec {
    /// The number of bytes of the length field.
    width: usize,
    offset: usize,
    length_adjustment: i64,
    is_little_endian: bool,
    keeps_header: bool,
    limit: usize,
    /// The number of bytes of a rejected frame that are still to be skipped.
    skip: u64,
}

impl LengthCodec {
    /// The default length limit of a frame, in bytes, as in Twisted.
    pub const MAX_LENGTH: usize = 99_999;

    /// Creates a codec with a length field of one byte.
    #[doc(alias = "Int8StringReceiver")]
    pub fn u8() -> Self {
        Self::of_width(1)
    }

    /// Creates a codec with a length field of two bytes.
    #[doc(alias = "Int16StringReceiver")]
    pub fn u16() -> Self {
        Self::of_width(2)
    }

    /// Creates a codec with a length field of four bytes.
    #[doc(alias = "Int32StringReceiver")]
    pub fn u32() -> Self {
        Self::of_width(4)
    }

    fn of_width(width: usize) -> Self {
        Self {
            width,
            offset: 0,
            length_adjustment: 0,
            is_little_endian: false,
            keeps_header: false,
            limit: Self::MAX_LENGTH,
            skip: 0,
        }
    }

    /// Sets the number of bytes of the header before the length field. Default: 0. These bytes are
    /// sent as zeros, unless the frame contains its header.
    #[must_use]
    #[doc(alias = "length_field_offset")]
    pub fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// Sets the number to add to the value of the length field: the sum is the number of bytes that
    /// follow the field. Default: 0.
    #[must_use]
    pub fn length_adjustment(mut self, bytes: i64) -> Self {
        self.length_adjustment = bytes;
        self
    }

    /// Sets little-endian byte order for the length field.
    #[must_use]
    pub fn little_endian(mut self) -> Self {
        self.is_little_endian = true;
        self
    }

    /// Keeps the header in the frames: received frames contain it, and so must frames to be sent,
    /// in which the codec sets the length field.
    #[must_use]
    pub fn keep_header(mut self) -> Self {
        self.keeps_header = true;
        self
    }

    /// Sets the length limit of a frame, in bytes. Default: [`MAX_LENGTH`](Self::MAX_LENGTH). The
    /// header counts only with [`keep_header`](Self::keep_header).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the number of bytes up to the end of the length field.
    fn header(&self) -> usize {
        self.offset + self.width
    }

    /// Returns the value of a length field.
    fn value(&self, field: &[u8]) -> u64 {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        match self.is_little_endian {
            true => field.iter().rev().fold(0, join),
            false => field.iter().fold(0, join),
        }
    }
}

impl Decoder for LengthCodec {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], FrameError> {
        if self.skip > 0 {
            let count = input
                .len()
                .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= count as u64;
            return match count {
                0 => Decoded::More,
                count => Decoded::Skip(count),
            };
        }
        let header = self.header();
        let Some(field) = input.get(self.offset..header) else {
            return Decoded::More;
        };
        let value = self.value(field);
        let Some(body) = value.checked_add_signed(self.length_adjustment) else {
            return Decoded::Broken {
                error: FrameError::NegativeLength { value },
                bytes: input,
            };
        };
        let all = body.saturating_add(header as u64);
        let kept = if self.keeps_header { all } else { body };
        if kept > self.limit as u64 {
            let here = input.len().min(usize::try_from(all).unwrap_or(usize::MAX));
            self.skip = all - here as u64;
            let (length, limit) = (kept, self.limit);
            return Decoded::Bad {
                error: FrameError::FrameTooLong { length, limit },
                bytes: &input[if self.keeps_header { 0 } else { header }..here],
                length: here,
            };
        }
        let all = all as usize;
        match input.get(if self.keeps_header { 0 } else { header }..all) {
            Some(frame) => Decoded::Frame { frame, length: all },
            None => Decoded::More,
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LengthCodec {
    type Error = FrameError;

    /// Appends the frame with its header. Bytes of the header before the length field are zero;
    /// with [`keep_header`](LengthCodec::keep_header) the frame begins with its header, in which
    /// only the length field is set.
    ///
    /// # Errors
    ///
    /// [`FrameError::FrameTooLong`] when the frame is longer than the limit, or than the length
    /// field can express; [`FrameError::Incomplete`] when it is to contain its header and is
    /// shorter.
    fn encode(&mut self, frame: T, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let (frame, header) = (frame.as_ref(), self.header());
        check(frame.len(), self.limit)?;
        let body = match self.keeps_header {
            true => frame.len().checked_sub(header),
            false => Some(frame.len()),
        };
        let received = frame.len();
        let body = body.ok_or(FrameError::Incomplete { received })?;
        let most = (1_u64 << (8 * self.width)) - 1;
        let value = (body as u64).checked_add_signed(self.length_adjustment.saturating_neg());
        let value = value.filter(|value| *value <= most);
        let value = value.ok_or_else(|| FrameError::FrameTooLong {
            length: frame.len() as u64,
            limit: usize::try_from(most).unwrap_or(usize::MAX),
        })?;
        let start = out.len();
        if !self.keeps_header {
            out.resize(start + header, 0);
        }
        out.extend_from_slice(frame);
        let field = &mut out[start + self.offset..start + header];
        match self.is_little_endian {
            true => field.copy_from_slice(&value.to_le_bytes()[..self.width]),
            false => field.copy_from_slice(&value.to_be_bytes()[8 - self.width..]),
        }
        Ok(())
    }
}

/// Fails when a frame is longer than the limit.
pub(super) fn check(length: usize, limit: usize) -> Result<(), FrameError> {
    match length > limit {
        true => Err(FrameError::FrameTooLong {
            length: length as u64,
            limit,
        }),
        false => Ok(()),
    }
}
