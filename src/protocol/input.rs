//! What a protocol has not used yet of what came: [`Input`].
//!
//! # The idea
//!
//! The connection, not its protocol, keeps the bytes that were read and not used. The loop lends
//! them to the protocol ([`Protocol::input_received`](super::Protocol::input_received)), which
//! takes all of them or frame by frame; what it leaves is lent again, with what came meanwhile. So
//! every protocol that receives frames stops at a pause, goes on where it stopped, and leaves the
//! rest to its successor, whatever its frames are.
//!
//! # Invariants
//!
//! 1. Nothing is given while the connection is paused, full, handed on, or told to end.
//! 2. What could be given and was not is *held*: the loop lends it again, without new bytes, as
//!    soon as invariant 1 allows. Until then the connection is not read, so neither new bytes nor
//!    the end of file overtake it.
//! 3. After so many frames the loop looks at the others first.
//! 4. When the connection is handed on, the successor gets what is left, before all that is still
//!    to come.

use crate::framing::{Decoded, Decoder};
use crate::transport::ConnCore;

/// The bytes that came and were not used yet; see
/// [`Protocol::input_received`](super::Protocol::input_received).
///
/// # Examples
///
/// A header in lines, then bytes as they come:
///
/// ```
/// use torsade::protocol::Input;
/// use torsade::protocols::LineDecoder;
/// use torsade::testing::Wire;
/// use torsade::{Context, Protocol};
///
/// struct Upload {
///     lines: LineDecoder,
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
/// let lines = LineDecoder::new(80);
/// let mut wire = Wire::new(Upload { lines, is_body: false, bytes: 0 });
/// wire.send("Name: x\r\n\r\n\0\n\0");
/// wire.send("more");
/// assert_eq!(wire.with_protocol(|upload, _cx| upload.bytes), 7);
/// ```
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    used: usize,
    /// How many more frames may be given before others have their turn (invariant 3).
    frames_left: usize,
    /// There may be something to give (invariant 2).
    is_held: bool,
    gate: Gate<'a>,
}

/// Whether the connection takes more.
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

    /// Takes out all bytes. There are none when the connection was paused meanwhile; they come when
    /// it is resumed.
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

    /// Takes out the next frame.
    ///
    /// `None` when no frame is complete; also when the connection was paused, is full or
    /// ends, when another protocol was named for it
    /// ([`Context::become_protocol`](super::Context::become_protocol)), and when this connection
    /// has had its share of the loop's turn. What is left is given when there is more, or when it
    /// may go on.
    ///
    /// # Errors
    ///
    /// What the decoder calls bad, and the bytes that it shows for it. They are taken out; the next
    /// call goes on behind them.
    ///
    /// # Panics
    ///
    /// When the decoder says that a frame has no byte, or more than there are.
    #[allow(
        clippy::type_complexity,
        reason = "a name for it would have to be looked up"
    )]
    pub fn next_frame<D: Decoder>(
        &mut self,
        decoder: &mut D,
    ) -> Option<Result<&'a [u8], (D::Error, &'a [u8])>> {
        while self.used < self.bytes.len() {
            self.is_held = true;
            if self.frames_left == 0 || !self.gate.0.may_deliver() {
                return None;
            }
            let bytes = &self.bytes[self.used..];
            let (frame, length) = match decoder.decode(bytes) {
                Decoded::More => {
                    self.is_held = false;
                    return None;
                }
                Decoded::Skip(length) => (None, length),
                Decoded::Frame { payload, length } => (Some(Ok(&bytes[payload])), length),
                Decoded::Bad {
                    error,
                    payload,
                    length,
                } => (Some(Err((error, &bytes[payload]))), length),
            };
            assert!(
                (1..=bytes.len()).contains(&length),
                "a decoder said that {length} of {} bytes are a frame",
                bytes.len()
            );
            self.used += length;
            if frame.is_some() {
                self.frames_left -= 1;
                return frame;
            }
        }
        self.is_held = false;
        None
    }

    /// Nothing could be given.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// How many bytes were used; and whether what is left is held.
    pub(super) fn outcome(self) -> (usize, bool) {
        (self.used, self.is_held)
    }
}

impl std::fmt::Debug for Gate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "open: {}", self.0.may_deliver())
    }
}

/// How many frames a connection is given before the others have their turn.
const FRAMES_IN_A_ROW: usize = 64;
