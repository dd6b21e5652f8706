//! The shortest way to receive lines: [`Lines`] turns a [`LineProtocol`] into a protocol.

#[cfg(unix)]
use std::os::fd::OwnedFd;

use super::FrameProtocol;
use super::wrapper::forward_hooks;
use crate::failure::Failure;
use crate::framing::{FrameError, LineCodec, Rejected};
use crate::protocol::{Context, Nested};
use crate::transport::Transport;

/// A protocol that receives whole lines; [`Lines::new`] makes a [`Protocol`](crate::Protocol) of
/// it. A protocol that also receives raw data, or lines with another delimiter, is a
/// [`FrameProtocol`] with a [`LineCodec`].
///
/// The hooks get a [`Context`] of the `LineProtocol` itself, so a delayed call gets the
/// `LineProtocol`, not the [`Lines`]:
///
/// ```
/// use std::time::Duration;
/// use torsade::Context;
/// use torsade::protocols::{LineProtocol, Lines};
/// use torsade::testing::Wire;
///
/// struct Impatient;
///
/// impl Impatient {
///     fn give_up(&mut self, cx: &mut Context<'_, Self>) {
///         cx.send_line("too late");
///         cx.lose_connection();
///     }
/// }
///
/// impl LineProtocol for Impatient {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         cx.call_later(Duration::from_secs(5), Self::give_up);
///     }
///
///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
///         cx.send_line(line);
///     }
/// }
///
/// let mut wire = Wire::new(Lines::new(Impatient));
/// wire.advance(Duration::from_secs(5));
/// assert_eq!(wire.take_received(), b"too late\r\n");
/// ```
pub trait LineProtocol: Sized + 'static {
    /// Called when the connection is established.
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called for each line, without its end of line.
    ///
    /// After [`pause_producing`](Transport::pause_producing) no line is delivered; after
    /// [`resume_producing`](Transport::resume_producing) the next one is, whether more bytes arrive
    /// or not. After [`become_protocol`](Context::become_protocol) the next protocol receives the
    /// bytes after this line.
    #[doc(alias = "lineReceived")]
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]);

    /// Called for a line that is longer than the limit; `line` is its beginning, or all of it
    /// without its end. The default closes the connection. If the connection stays open, the rest
    /// of the line is dropped and the next line is delivered.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Context;
    /// use torsade::protocols::{LineProtocol, Lines};
    /// use torsade::testing::Wire;
    ///
    /// struct Patient;
    ///
    /// impl LineProtocol for Patient {
    ///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         cx.send_line(line);
    ///     }
    ///     fn line_length_exceeded(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         cx.send_line(format!("{}... is too long", line[..3].escape_ascii()));
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Lines::with_limit(Patient, 5));
    /// wire.send("abcdefgh\nfine\n");
    /// assert_eq!(wire.take_received(), b"abc... is too long\r\nfine\r\n");
    /// ```
    #[doc(alias = "lineLengthExceeded")]
    fn line_length_exceeded(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let _ = line;
        cx.lose_connection();
    }

    /// Called for a descriptor that was received over a UNIX socket. The default closes the
    /// descriptor. See [`Protocol::descriptor_received`](crate::Protocol::descriptor_received).
    #[cfg(unix)]
    #[doc(alias = "fileDescriptorReceived")]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        cx.refuse_descriptor(descriptor);
    }

    /// Called when the peer has closed its side and all lines were delivered. The default closes
    /// the connection once its queued bytes are sent. An incomplete last line is not delivered.
    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        cx.lose_connection();
    }

    /// Called when the connection's send queue, which was full, has drained to the low-water mark.
    /// See [`Protocol::write_ready`](crate::Protocol::write_ready).
    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the writing side is closed and all bytes were sent. See
    /// [`Protocol::write_closed`](crate::Protocol::write_closed).
    #[doc(alias = "writeConnectionLost")]
    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the connection is lost. See
    /// [`Protocol::connection_lost`](crate::Protocol::connection_lost).
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// A [`Protocol`](crate::Protocol) that splits its input into lines for a [`LineProtocol`].
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
///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
///         cx.send_line(line.to_ascii_uppercase());
///     }
/// }
///
/// let mut wire = Wire::new(Lines::new(Shout));
/// wire.send("hello\r\nwor");
/// assert_eq!(wire.take_received(), b"HELLO\r\n");
/// ```
#[derive(Debug)]
pub struct Lines<P: 'static> {
    inner: Nested<P, Transport>,
    codec: LineCodec,
}

impl<P: LineProtocol> Lines<P> {
    /// Wraps a protocol, with lines of at most [`LineCodec::MAX_LENGTH`] bytes.
    pub fn new(protocol: P) -> Self {
        Self::with_limit(protocol, LineCodec::MAX_LENGTH)
    }

    /// Wraps a protocol, with lines of at most `limit` bytes.
    pub fn with_limit(protocol: P, limit: usize) -> Self {
        Self {
            inner: Nested::new(protocol),
            codec: LineCodec::new().limit(limit),
        }
    }

    /// Returns the inner protocol.
    pub fn get_mut(&mut self) -> &mut P {
        &mut self.inner.protocol
    }

    /// Returns the inner protocol and a context of it, to call its methods from a
    /// [`Handle`](crate::Handle) of the `Lines`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use torsade::prelude::*;
    /// use torsade::protocols::{LineProtocol, Lines};
    ///
    /// /// Sends questions, and returns a Deferred of each answer.
    /// #[derive(Default)]
    /// struct Asker(VecDeque<Resolver<String>>);
    ///
    /// impl Asker {
    ///     fn question(&mut self, cx: &mut Context<'_, Self>, text: &str) -> Deferred<String> {
    ///         let (answer, resolver) = Deferred::pair();
    ///         self.0.push_back(resolver);
    ///         cx.send_line(text);
    ///         answer
    ///     }
    /// }
    ///
    /// impl LineProtocol for Asker {
    ///     fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         if let Some(resolver) = self.0.pop_front() {
    ///             resolver.callback(String::from_utf8_lossy(line).into_owned());
    ///         }
    ///     }
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         conn.send_line("42").await?;
    ///         Ok(())
    ///     })?;
    ///     let to = port.local_addr();
    ///     let asker = reactor.connect(to, Lines::new(Asker::default())).await?;
    ///     let asked = asker.ask(|lines, cx| {
    ///         let (asker, mut cx) = lines.inner(cx);
    ///         asker.question(&mut cx, "what is the answer?")
    ///     });
    ///     let answer = asked.add_callback(|answer| answer); // waits for it
    ///     assert_eq!(answer.await?, "42");
    ///     port.stop().await
    /// });
    /// ```
    pub fn inner<'a>(&'a mut self, cx: &'a Context<'_, Self>) -> (&'a mut P, Context<'a, P>) {
        self.inner.enter(cx, |lines| &mut lines.inner.protocol)
    }

    fn enter<'a>(&'a mut self, cx: &'a Context<'_, Self>) -> (&'a mut P, Context<'a, P>) {
        self.inner(cx)
    }
}

impl<P: LineProtocol> FrameProtocol for Lines<P> {
    type Codec = LineCodec;

    fn codec(&mut self) -> &mut LineCodec {
        &mut self.codec
    }

    forward_hooks!();

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let (protocol, mut cx) = self.enter(cx);
        protocol.line_received(&mut cx, line);
    }

    fn frame_rejected(&mut self, cx: &mut Context<'_, Self>, rejected: Rejected<'_, FrameError>) {
        let (protocol, mut cx) = self.enter(cx);
        protocol.line_length_exceeded(&mut cx, rejected.bytes);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.inner.protocol.connection_lost(reason);
    }
}
