//! Buffers of received bytes: [`FrameBuffer`] finds frames in them.

use super::{Decoded, Decoder, Rejected};

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

/// A buffer that splits bytes, which arrive in pieces of any size, into frames: for code that has
/// no connection, and for tests.
///
/// The buffer decodes all bytes: it does not observe [raw mode](Decoder::is_raw).
///
/// # Examples
///
/// ```
/// use torsade::protocols::{FrameBuffer, LineCodec};
///
/// let mut lines = FrameBuffer::new(LineCodec::new());
/// lines.feed(b"one\r\ntw");
/// assert_eq!(lines.next_frame(), Some(Ok(b"one".to_vec())));
/// assert_eq!(lines.next_frame(), None);
/// lines.feed(b"o\n");
/// assert_eq!(lines.next_frame(), Some(Ok(b"two".to_vec())));
/// ```
#[derive(Clone, Debug)]
pub struct FrameBuffer<D> {
    unused: Unused,
    decoder: D,
    is_broken: bool,
}

impl<D: Decoder> FrameBuffer<D> {
    /// Creates an empty buffer.
    pub fn new(decoder: D) -> Self {
        Self {
            unused: Unused::default(),
            decoder,
            is_broken: false,
        }
    }

    /// Appends bytes. After a fatal error ([`Decoded::Broken`]) they are dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.unused.push(bytes);
        }
    }

    /// Takes out the next frame, or returns `None` when none is complete.
    ///
    /// # Errors
    ///
    /// Fails with the decoder's error. The next call continues after the bytes that were rejected;
    /// after a fatal error ([`Decoded::Broken`]) [`is_broken`](Self::is_broken) returns `true`, and
    /// all further calls return `None`.
    pub fn next_frame(&mut self) -> Option<Result<D::Owned, D::Error>> {
        let bytes = self.unused.as_slice();
        let (mut frame, mut used, mut skips) = first_frame(&mut self.decoder, bytes);
        while frame.is_none() && skips == SKIPS {
            let more;
            (frame, more, skips) = first_frame(&mut self.decoder, &bytes[used..]);
            used += more;
        }
        let frame = frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.into()),
            Err(rejected) => {
                self.is_broken |= rejected.is_fatal;
                Err(rejected.error)
            }
        });
        self.unused.consume(used);
        frame
    }

    /// Returns whether [`next_frame`](Self::next_frame) has failed with a fatal error
    /// ([`Decoded::Broken`]): no frame can follow.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns the decoder.
    pub fn decoder_mut(&mut self) -> &mut D {
        &mut self.decoder
    }

    /// Takes out all bytes that are left.
    #[doc(alias = "clearLineBuffer")]
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unused).into_vec()
    }
}

/// A frame, or the bytes that are none.
pub(crate) type Found<'a, D> =
    Result<<D as Decoder>::Frame<'a>, Rejected<'a, <D as Decoder>::Error>>;

/// Returns the first frame of `input`, if it is complete, the number of bytes that are used up with
/// it, and how often bytes were skipped before it. After [`SKIPS`] of them there is no frame, and
/// the caller continues with the rest.
///
/// # Panics
///
/// Panics when the decoder returns a frame of no bytes, or of more bytes than there are.
#[inline(always)]
pub(crate) fn first_frame<'a, D: Decoder>(
    decoder: &mut D,
    input: &'a [u8],
) -> (Option<Found<'a, D>>, usize, usize) {
    if input.is_empty() {
        return (None, 0, 0);
    }
    match decoder.decode(input) {
        Decoded::Frame { frame, length } if (1..=input.len()).contains(&length) => {
            (Some(Ok(frame)), length, 0)
        }
        decoded => first_frame_from(decoder, input, decoded),
    }
}

/// Goes on like [`first_frame`] after what was decoded first.
#[inline(never)]
fn first_frame_from<'a, D: Decoder>(
    decoder: &mut D,
    input: &'a [u8],
    mut decoded: Decoded<'a, D::Frame<'a>, D::Error>,
) -> (Option<Found<'a, D>>, usize, usize) {
    let (mut used, mut skips) = (0, 0);
    loop {
        let bytes = &input[used..];
        let (frame, length) = match decoded {
            Decoded::More => return (None, used, skips),
            Decoded::Skip(length) => {
                skips += 1;
                (None, length)
            }
            Decoded::Frame { frame, length } => (Some(Ok(frame)), length),
            Decoded::Bad {
                error,
                bytes,
                length,
            } => (Some(Err(Rejected::new(error, bytes, false))), length),
            Decoded::Broken { error, bytes } => {
                let rejected = Rejected::new(error, bytes, true);
                return (Some(Err(rejected)), input.len(), skips);
            }
        };
        assert!(
            (1..=bytes.len()).contains(&length),
            "a decoder returned a frame of {length} bytes for an input of {} bytes",
            bytes.len()
        );
        used += length;
        if frame.is_some() || used == input.len() || skips == SKIPS {
            return (frame, used, skips);
        }
        decoded = decoder.decode(&input[used..]);
    }
}

/// The most times that bytes are skipped in a row, as with empty lines: each costs as much as a
/// frame.
pub(crate) const SKIPS: usize = 64;

impl<'a, E> Rejected<'a, E> {
    pub(crate) fn new(error: E, bytes: &'a [u8], is_fatal: bool) -> Self {
        Self {
            error,
            bytes,
            is_fatal,
        }
    }
}
