//! Protocols that receive frames: [`FrameProtocol`].

#[cfg(unix)]
use std::os::fd::OwnedFd;

use crate::failure::Failure;
use crate::framing::{Decoder, Encoder, Rejected};
use crate::protocol::{Context, Input, Protocol};

/// A protocol that receives whole frames: lines, netstrings, messages.
///
/// Every `FrameProtocol` is a [`Protocol`]. A `FrameProtocol` owns its codec, so that all its
/// methods can send frames or switch to raw data.
///
/// # Order
///
/// The hooks are called in the order of those of [`Protocol`]. After
/// [`pause_producing`](crate::Transport::pause_producing) no frame is delivered, and after
/// [`resume_producing`](crate::Transport::resume_producing) the next one is, whether more bytes
/// arrive or not. After [`become_protocol`](Context::become_protocol) the next protocol receives
/// the bytes after this frame. A peer that sends many small frames at once does not delay other
/// connections: after 64 frames they have their turn.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::Context;
/// use torsade::protocols::{FrameProtocol, LineCodec};
/// use torsade::testing::Wire;
///
/// #[derive(Default)]
/// struct Shout {
///     lines: LineCodec,
/// }
///
/// impl FrameProtocol for Shout {
///     type Codec = LineCodec;
///
///     fn codec(&mut self) -> &mut LineCodec {
///         &mut self.lines
///     }
///
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         cx.call_later(Duration::from_secs(5), |me, cx| {
///             me.send(cx, "time is over");
///             cx.lose_connection();
///         });
///     }
///
///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
///         self.send(cx, line.to_ascii_uppercase());
///     }
/// }
///
/// let mut wire = Wire::new(Shout::default());
/// wire.send("hello\r\nwor");
/// assert_eq!(wire.take_received(), b"HELLO\r\n");
/// wire.advance(Duration::from_secs(5));
/// assert_eq!(wire.take_received(), b"time is over\r\n");
/// ```
///
/// A header in lines, then a body of known length as raw data, then lines again:
///
/// ```
/// use torsade::Context;
/// use torsade::protocol::Input;
/// use torsade::protocols::{FrameProtocol, LineCodec};
/// use torsade::testing::Wire;
///
/// #[derive(Default)]
/// struct Upload {
///     lines: LineCodec,
///     left: usize,
/// }
///
/// impl FrameProtocol for Upload {
///     type Codec = LineCodec;
///
///     fn codec(&mut self) -> &mut LineCodec {
///         &mut self.lines
///     }
///
///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
///         match std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()) {
///             Some(length) => {
///                 self.left = length;
///                 self.lines.set_raw_mode();
///             }
///             None => cx.lose_connection(),
///         }
///     }
///
///     fn raw_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
///         let body = input.take_up_to(self.left);
///         self.left -= body.len();
///         if self.left == 0 {
///             self.lines.set_line_mode();
///             cx.send_line("stored");
///         }
///     }
/// }
///
/// let mut wire = Wire::new(Upload::default());
/// wire.send("3\r\n\r\n!2\r\n??");
/// assert_eq!(wire.take_received(), b"stored\r\nstored\r\n");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a protocol: it does not implement `Protocol`",
    label = "not a `Protocol`",
    note = "for an async function or closure there is `serve(address, handler)` in place of `listen`",
    note = "`connect` takes the protocol itself, not a closure that makes it",
    note = "a `LineProtocol` is wrapped: `Lines::new(protocol)`"
)]
pub trait FrameProtocol: Sized + 'static {
    /// The codec of the frames.
    type Codec: Decoder;

    /// Returns the codec.
    fn codec(&mut self) -> &mut Self::Codec;

    /// Called when the connection is established. See [`Protocol::connection_made`].
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called for each frame.
    #[doc(alias("lineReceived", "stringReceived"))]
    fn frame_received(
        &mut self,
        cx: &mut Context<'_, Self>,
        frame: <Self::Codec as Decoder>::Frame<'_>,
    );

    /// Called for bytes that are not a valid frame. Of a frame that is too long, `rejected` has the
    /// beginning that has arrived. The default closes the connection.
    ///
    /// When the connection stays open, the next frame is delivered. After an error that
    /// [is fatal](Rejected::is_fatal) the connection is closed in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Context;
    /// use torsade::protocols::{FrameError, FrameProtocol, LineCodec, Rejected};
    /// use torsade::testing::Wire;
    ///
    /// struct Patient(LineCodec);
    ///
    /// impl FrameProtocol for Patient {
    ///     type Codec = LineCodec;
    ///
    ///     fn codec(&mut self) -> &mut LineCodec {
    ///         &mut self.0
    ///     }
    ///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         cx.send_line(line);
    ///     }
    ///     fn frame_rejected(
    ///         &mut self,
    ///         cx: &mut Context<'_, Self>,
    ///         rejected: Rejected<'_, FrameError>,
    ///     ) {
    ///         let start = rejected.bytes[..3].escape_ascii();
    ///         cx.send_line(format!("{start}...: {}", rejected.error));
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Patient(LineCodec::new().limit(5)));
    /// wire.send("abcdefgh\nfine\n");
    /// assert_eq!(wire.take_received(), b"abc...: a line is longer than 5 bytes\r\nfine\r\n");
    /// ```
    #[doc(alias("lineLengthExceeded", "lengthLimitExceeded"))]
    fn frame_rejected(
        &mut self,
        cx: &mut Context<'_, Self>,
        rejected: Rejected<'_, <Self::Codec as Decoder>::Error>,
    ) {
        let _ = rejected;
        cx.lose_connection();
    }

    /// Called while the codec [is in raw mode](Decoder::is_raw) and there are bytes. The default
    /// drops them.
    ///
    /// Bytes that the hook does not take remain: when the codec has left its raw mode, they are
    /// decoded as frames, otherwise they are passed again with those that arrive next.
    #[doc(alias = "rawDataReceived")]
    fn raw_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        let _ = (cx, input.take());
    }

    /// Called for a descriptor that was received over a UNIX socket. The default closes the
    /// descriptor. See [`Protocol::descriptor_received`].
    #[cfg(unix)]
    #[doc(alias = "fileDescriptorReceived")]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        cx.refuse_descriptor(descriptor);
    }

    /// Called when the peer has closed its side and all complete frames were delivered. The default
    /// closes the connection once its queued bytes are sent. An incomplete last frame is not
    /// delivered.
    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        cx.lose_connection();
    }

    /// Called when the connection's send queue, which was full, has drained to the low-water mark.
    /// See [`Protocol::write_ready`].
    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the writing side is closed and all bytes were sent. See
    /// [`Protocol::write_closed`].
    #[doc(alias = "writeConnectionLost")]
    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the connection is lost. See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }

    /// Queues a frame for sending.
    ///
    /// # Errors
    ///
    /// Fails with the codec's error when `item` cannot be sent as a frame; nothing is sent then.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Context;
    /// use torsade::protocols::{FrameProtocol, NetstringCodec};
    /// use torsade::testing::Wire;
    ///
    /// struct Echo(NetstringCodec);
    ///
    /// impl FrameProtocol for Echo {
    ///     type Codec = NetstringCodec;
    ///
    ///     fn codec(&mut self) -> &mut NetstringCodec {
    ///         &mut self.0
    ///     }
    ///     fn frame_received(&mut self, cx: &mut Context<'_, Self>, string: &[u8]) {
    ///         if self.send(cx, string).is_err() {
    ///             cx.lose_connection();
    ///         }
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Echo(NetstringCodec::new()));
    /// wire.send("5:hello,");
    /// assert_eq!(wire.take_received(), b"5:hello,");
    /// ```
    #[doc(alias("sendLine", "sendString"))]
    fn send<T>(
        &mut self,
        cx: &Context<'_, Self>,
        item: T,
    ) -> Result<(), <Self::Codec as Encoder<T>>::Error>
    where
        Self::Codec: Encoder<T>,
    {
        let reactor = cx.reactor().inner();
        let mut out = reactor.take_frame_buffer();
        let encoded = self.codec().encode(item, &mut out);
        if encoded.is_ok() {
            cx.write(&out);
        }
        reactor.give_back_frame_buffer(out);
        encoded
    }
}

impl<P: FrameProtocol> Protocol for P {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        FrameProtocol::connection_made(self, cx);
    }

    /// Delivers `data` as if it had arrived after all other bytes.
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.feed(data);
    }

    fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        loop {
            if self.codec().is_raw() {
                let before = input.peek().len();
                if before == 0 || !input.is_open() {
                    return;
                }
                self.raw_received(cx, input);
                if self.codec().is_raw() && input.peek().len() == before {
                    return;
                }
                continue;
            }
            match input.next_frame(self.codec()) {
                Some(Ok(frame)) => self.frame_received(cx, frame),
                Some(Err(rejected)) => {
                    let is_fatal = rejected.is_fatal;
                    self.frame_rejected(cx, rejected);
                    if is_fatal {
                        cx.lose_connection();
                    }
                }
                None => return,
            }
        }
    }

    #[cfg(unix)]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        FrameProtocol::descriptor_received(self, cx, descriptor);
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        FrameProtocol::eof_received(self, cx);
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        FrameProtocol::write_ready(self, cx);
    }

    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        FrameProtocol::write_closed(self, cx);
    }

    fn connection_lost(&mut self, reason: Failure) {
        FrameProtocol::connection_lost(self, reason);
    }
}
