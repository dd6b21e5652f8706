//! The bytes that a protocol has not used yet: [`Input`].
//!
//! # The idea
//!
//! The connection, not its protocol, keeps the bytes that were read and not used. The loop passes
//! them to the protocol ([`Protocol::input_received`](super::Protocol::input_received)), which
//! takes all of them or frame by frame; the remaining bytes are passed again, with those that have
//! arrived meanwhile. So every protocol that receives frames stops at a pause, continues where it
//! stopped, and leaves the rest to its successor, whatever the format of its frames.
//!
//! # Invariants
//!
//! 1. Nothing is delivered while the connection is paused, full, handed over, or asked to close.
//! 2. Bytes that could be delivered and were not are *held*: the loop passes them again, without
//!    new bytes, as soon as invariant 1 allows. Until then the connection is not read, so neither
//!    new bytes nor the end of file overtake them.
//! 3. After a fixed number of frames the loop handles the other connections first.
//! 4. When the connection is handed over, the successor gets the remaining bytes, before all that
//!    arrive later.

use crate::framing::{Decoder, Found, SKIPS, first_frame};
use crate::transport::ConnCore;

/// The bytes that have arrived and that the protocol has not taken; see
/// [`Protocol::input_received`](super::Protocol::input_received).
///
/// # Examples
///
/// A header in lines, then bytes as they come:
///
/// ```
/// use torsade::protocol::Input;
/// use torsade::protocols::LineCodec;
/// use torsade::testing::Wire;
/// use torsade::{Context, Protocol};
///
/// struct Upload {
///     lines: LineCodec,
///     is_body: bool,
///     bytes: usize,
/// }
///
/// impl Protocol for Upload {
///     fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
///         while !self.is_body {
///             match input.next_frame(&mut self.lines) {
///                 Some(Ok(line)) => self.is_body = line.is_empty(),
///                 Some(Err(_too_long)) => return cx.abort_connection(),
///                 None => return,
///             }
///         }
///         self.bytes += input.take().len();
///     }
/// }
///
/// let lines = LineCodec::new().limit(80);
/// let mut wire = Wire::new(Upload { lines, is_body: false, bytes: 0 });
/// wire.send("Name: x\r\n\r\n\0\n\0");
/// wire.send("more");
/// assert_eq!(wire.with_protocol(|upload, _cx| upload.bytes), 7);
/// ```
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    used: usize,
    /// The number of further frames that may be taken before other connections have their turn
    /// (invariant 3).
    frames_left: usize,
    /// Whether there may be bytes to pass again (invariant 2).
    is_held: bool,
    gate: Gate<'a>,
}

/// The state of the connection, which decides whether bytes may be taken.
pub(super) struct Gate<'a>(pub(super) &'a ConnCore);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8], link: &'a ConnCore) -> Self {
        Self {
            bytes,
            used: 0,
            frames_left: FRAMES_IN_A_ROW,
            is_held: false,
            gate: Gate(link),
        }
    }

    /// Takes all bytes. Returns an empty slice while the connection is paused, full or ending; the
    /// bytes are passed again when the protocol may take them.
    #[inline]
    pub fn take(&mut self) -> &'a [u8] {
        if !self.gate.0.may_deliver() {
            self.is_held = true;
            return &[];
        }
        let bytes = &self.bytes[self.used..];
        self.used = self.bytes.len();
        bytes
    }

    /// Takes the next frame.
    ///
    /// Returns `None` when no frame is complete; also when the connection is paused,
    /// [full](crate::Transport::is_full) or ending, after
    /// [`Context::become_protocol`](super::Context::become_protocol), and after 64 frames in a row,
    /// so that other connections have their turn. The remaining bytes are passed again when more
    /// arrive, or when the protocol may take them.
    ///
    /// # Errors
    ///
    /// Fails with the decoder's error, in a [`Rejected`](crate::protocols::Rejected). The rejected
    /// bytes are taken; the next call continues after them. When the error [is
    /// fatal](crate::protocols::Rejected::is_fatal), all bytes are taken.
    ///
    /// # Panics
    ///
    /// Panics when the decoder returns a frame of no bytes, or of more bytes than there are.
    #[inline(always)]
    pub fn next_frame<D: Decoder>(&mut self, decoder: &mut D) -> Option<Found<'a, D>> {
        if self.used == self.bytes.len() {
            self.is_held = false;
            return None;
        }
        if !self.is_open() {
            return None;
        }
        let (frame, length, skips) = first_frame(decoder, &self.bytes[self.used..]);
        self.used += length;
        // After `SKIPS` skips there may be another frame.
        self.is_held = frame.is_some() || (skips == SKIPS && self.used < self.bytes.len());
        let count = skips + usize::from(frame.is_some());
        self.frames_left = self.frames_left.saturating_sub(count);
        frame
    }

    /// Takes at most `limit` bytes. Returns an empty slice when there are none, and whenever
    /// [`next_frame`](Self::next_frame) returns `None` although a frame is complete.
    ///
    /// # Examples
    ///
    /// See [`FrameProtocol`](crate::protocols::FrameProtocol).
    pub fn take_up_to(&mut self, limit: usize) -> &'a [u8] {
        let bytes = self.peek();
        if bytes.is_empty() || limit == 0 || !self.is_open() {
            return &[];
        }
        let bytes = &bytes[..limit.min(bytes.len())];
        self.used += bytes.len();
        self.frames_left -= 1;
        bytes
    }

    /// Returns all bytes without taking them.
    pub fn peek(&self) -> &'a [u8] {
        &self.bytes[self.used..]
    }

    /// Returns whether bytes may be taken now; if not, the rest is held.
    pub(crate) fn is_open(&mut self) -> bool {
        self.is_held = self.frames_left == 0 || !self.gate.0.may_deliver();
        !self.is_held
    }

    /// Records that bytes could not be delivered.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Returns how many bytes were used, and whether the rest is held.
    pub(super) fn outcome(self) -> (usize, bool) {
        (self.used, self.is_held)
    }
}

impl std::fmt::Debug for Gate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "open: {}", self.0.may_deliver())
    }
}

/// The largest number of frames that a connection gets before the others have their turn.
const FRAMES_IN_A_ROW: usize = 64;
