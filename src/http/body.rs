//! Bodies of messages: [`Body`], and [`BodyWriter`], which writes one piece by piece.
//!
//! # The idea
//!
//! One type for both directions: what a program sends is made of bytes, a file, a stream or another
//! crate's body; what it receives can be read whole, piece by piece, or passed on.
//!
//! # Invariants
//!
//! 1. A body that breaks off ends with an error, never like one that is complete.
//! 2. A `BodyWriter` calls no user code: its methods queue bytes and wake the body's reader.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::channel::mpsc::{self, UnboundedSender};
use futures::{Stream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::HttpError;
use crate::cells;
use crate::failure::Failure;

/// The body of a request or response.
///
/// Strings, byte vectors and [`Bytes`] convert into a body, and `()` into an empty one. A body
/// implements [`http_body::Body`], for other crates, and is a [`Stream`] of its pieces.
///
/// A body *breaks off* when its source fails or ends too early. Reading it then fails. If it was
/// being sent, its connection (in HTTP/2, its stream) is closed within the message, so that the
/// peer cannot take the part for the whole.
///
/// # Examples
///
/// ```
/// use torsade::http::Body;
///
/// torsade::testing::run(async |_reactor| {
///     assert_eq!(Body::from("hello").read(1000).await?, "hello");
///
///     let (writer, body) = Body::channel();
///     writer.write("hello, ");
///     writer.write("world");
///     writer.finish();
///     assert_eq!(body.read(1000).await?, "hello, world");
///     Ok(())
/// });
/// ```
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    Bytes(Bytes),
    Incoming(Incoming),
    /// A part of a file, from its current offset, and the number of bytes that are left. `None` is
    /// a file of zeros.
    File(Option<File>, u64),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, Failure>>>>),
    Other(Pin<Box<dyn HttpBody<Data = Bytes, Error = Failure>>>),
}

/// The result of polling a body.
pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, Failure>>>;

impl Default for Kind {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl Body {
    /// Creates an empty body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Creates a body of the bytes of a file, from its current offset to its end.
    ///
    /// A server sends it by `sendfile` where the connection and the system support that. Reading
    /// the file blocks the reactor's thread while the system waits for the disk.
    ///
    /// # Errors
    ///
    /// Fails with the system's error when the file's length or offset cannot be determined.
    pub fn file(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let start = io::Seek::stream_position(&mut &file)?;
        Ok(Self::file_part(file, end.saturating_sub(start)))
    }

    pub(super) fn file_part(file: File, left: u64) -> Self {
        Self(Kind::File(Some(file), left))
    }

    /// Creates a body of the pieces of a stream. An error of the stream breaks the body off.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::stream;
    /// use torsade::{Failure, http::Body};
    ///
    /// torsade::testing::run(async |_reactor| {
    ///     let pieces = [Ok("one, "), Err(Failure::new("no more"))];
    ///     let body = Body::from_stream(stream::iter(pieces));
    ///     assert_eq!(body.read(1000).await.unwrap_err().to_string(), "no more");
    ///     Ok(())
    /// });
    /// ```
    pub fn from_stream<B: Into<Bytes>, E: Into<Failure>>(
        stream: impl Stream<Item = Result<B, E>> + 'static,
    ) -> Self {
        let pieces = stream.map(|piece| piece.map(Into::into).map_err(Into::into));
        Self(Kind::Stream(Box::pin(pieces)))
    }

    /// Creates a body from any implementation of [`http_body::Body`].
    pub fn wrap<B: HttpBody<Error: Into<Failure>> + 'static>(body: B) -> Self {
        Self::mapped(Box::pin(body), |body, cx| {
            let frame = body.as_mut().poll_frame(cx).map_err(Into::into);
            frame.map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        })
    }

    /// Creates a body and the writer that writes it piece by piece.
    ///
    /// The body ends when the writer's [`finish`](BodyWriter::finish) is called. It breaks off with
    /// [`HttpError::WriterDropped`] when the writer is dropped before that.
    ///
    /// When the client goes away, writing fails with [`HttpError::BodyDropped`]. A task that writes
    /// then returns `Ok`, unless that is to be reported as a failure.
    #[doc(alias("pipe", "startProducing"))]
    pub fn channel() -> (BodyWriter, Self) {
        let (sender, receiver) = mpsc::unbounded();
        let shared = Rc::new(Shared::default());
        let reader = Reader(shared.clone());
        let pieces = receiver.inspect(move |piece: &Result<Bytes, Failure>| {
            let length = piece.as_ref().map_or(0, Bytes::len);
            reader.0.queued.set(reader.0.queued.get() - length);
            cells::wake(&reader.0.writer);
        });
        let body = Self(Kind::Stream(Box::pin(pieces)));
        (BodyWriter { sender, shared }, body)
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, Kind::File(..))
    }

    /// Takes the file out, and its length, if this is the body of a file. The body is one of as
    /// many zeros then.
    pub(super) fn take_file(&mut self) -> Option<(File, u64)> {
        match &mut self.0 {
            Kind::File(file, left) => Some((file.take()?, *left)),
            _ => None,
        }
    }

    /// Takes the first `length` bytes, if this is a body of more bytes in memory.
    pub(super) fn split(&mut self, length: usize) -> Option<Bytes> {
        match &mut self.0 {
            Kind::Bytes(bytes) if bytes.len() > length => Some(bytes.split_to(length)),
            _ => None,
        }
    }

    /// Creates a body as [`Mapped`] says.
    pub(super) fn mapped<B: HttpBody + Unpin + 'static>(
        body: B,
        poll: impl FnMut(&mut B, &mut Context<'_>) -> Polled + 'static,
    ) -> Self {
        Self::other(Mapped { body, poll })
    }

    /// Polls for the next frame.
    pub(super) fn next_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        Pin::new(self).poll_frame(cx)
    }

    pub(super) fn other(body: impl HttpBody<Data = Bytes, Error = Failure> + 'static) -> Self {
        Self(Kind::Other(Box::pin(body)))
    }

    /// Returns the same body once more, if it can be sent again.
    pub(super) fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(bytes.clone().into()),
            _ => None,
        }
    }

    /// Reads the next piece. Returns `None` at the end.
    ///
    /// Cancel safe: dropping the future loses no piece; the next call returns it.
    ///
    /// # Errors
    ///
    /// Fails when the body breaks off, or exceeds a limit of the [`Agent`](super::Agent) or
    /// [`Server`](super::Server) that received it.
    #[doc(alias("next", "data", "frame"))]
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.next().await.transpose()
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::TooLarge`] when there are more bytes, and as [`chunk`](Self::chunk)
    /// does.
    #[doc(alias("readBody", "collect", "to_bytes"))]
    pub async fn read(mut self, limit: u64) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        let mut length = HttpBody::size_hint(&self).lower();
        while length <= limit {
            let Some(piece) = self.chunk().await? else {
                return Ok(whole.freeze());
            };
            length = (whole.len() + piece.len()) as u64;
            if whole.is_empty() && length <= limit && self.is_end_stream() {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Err(HttpError::TooLarge { limit }.into())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = match &mut self.0 {
            Kind::Bytes(bytes) => match mem::take(bytes) {
                bytes if bytes.is_empty() => None,
                bytes => Some(Ok(Frame::data(bytes))),
            },
            Kind::Incoming(from) => ready!(Pin::new(from).poll_frame(cx).map_err(broken)),
            Kind::File(_, 0) => None,
            Kind::File(file, left) => Some(read(file, left).map(Frame::data).map_err(Into::into)),
            Kind::Stream(pieces) => ready!(pieces.as_mut().poll_next(cx).map_ok(Frame::data)),
            Kind::Other(other) => return other.as_mut().poll_frame(cx),
        };
        if !matches!(frame, Some(Ok(_))) {
            self.0 = Kind::default();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Other(other) => other.is_end_stream(),
            _ => HttpBody::size_hint(self).exact() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::File(_, left) => SizeHint::with_exact(*left),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Other(other) => other.size_hint(),
        }
    }
}

/// The pieces of the body. Trailers are skipped.
impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = ready!(self.as_mut().poll_frame(cx)).transpose()?;
            match frame.map(Frame::into_data) {
                None => return Poll::Ready(None),
                Some(Ok(piece)) if !piece.is_empty() => return Poll::Ready(Some(Ok(piece))),
                Some(_) => {}
            }
        }
    }
}

fn broken(error: hyper::Error) -> Failure {
    let cause = Failure::from(error);
    HttpError::BodyBroken { cause }.into()
}

/// Reads the next piece of a file. One that has become shorter is an error.
fn read(file: &mut Option<File>, left: &mut u64) -> io::Result<Bytes> {
    let piece = match file {
        None => zeros(*left),
        Some(file) => {
            let mut piece = Vec::with_capacity((*left).min(PIECE) as usize);
            file.take((*left).min(PIECE)).read_to_end(&mut piece)?;
            piece.into()
        }
    };
    *left -= piece.len() as u64;
    match piece.is_empty() {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(piece),
    }
}

/// Returns at most `most` bytes that stand for those of a file.
fn zeros(most: u64) -> Bytes {
    Bytes::from_static(&ZEROS[..most.min(ZEROS.len() as u64) as usize])
}

pub(super) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The most bytes of a file that are read at once.
const PIECE: u64 = 64 * 1024;

macro_rules! from {
    ($($kind:ty: $from:expr;)*) => {$(
        impl From<$kind> for Body {
            fn from(from: $kind) -> Self {
                Self($from(from))
            }
        }
    )*};
}

from! {
    (): |()| Kind::default();
    Bytes: Kind::Bytes;
    Incoming: Kind::Incoming;
    String: |text: String| Kind::Bytes(text.into());
    Vec<u8>: |bytes: Vec<u8>| Kind::Bytes(bytes.into());
    &'static [u8]: |bytes| Kind::Bytes(Bytes::from_static(bytes));
    &'static str: |text: &'static str| Kind::Bytes(text.into());
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = HttpBody::size_hint(self);
        f.debug_tuple("Body").field(&size).finish()
    }
}

/// A body whose frames are those that `poll` makes of the inner `body`. Its end and length are
/// those of the inner body.
pub(super) struct Mapped<B, F> {
    pub(super) body: B,
    pub(super) poll: F,
}

impl<B, F> Unpin for Mapped<B, F> {}

impl<B: HttpBody + Unpin, F: FnMut(&mut B, &mut Context<'_>) -> Polled> HttpBody for Mapped<B, F> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        (this.poll)(&mut this.body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Writes a [`Body`] piece by piece; [`Body::channel`] creates both.
///
/// The bytes are queued in memory until the body is read. [`send`](Self::send) waits while 64 KiB
/// or more are queued. [`write`](Self::write) never waits, and the queue has no limit: call it for
/// little data, or after [`ready`](Self::ready).
pub struct BodyWriter {
    sender: UnboundedSender<Result<Bytes, Failure>>,
    shared: Rc<Shared>,
}

/// What a body and its writer share.
#[derive(Default)]
struct Shared {
    /// The number of bytes that are queued.
    queued: Cell<usize>,
    writer: Cell<Option<Waker>>,
}

/// Wakes the writer when the body is dropped.
struct Reader(Rc<Shared>);

impl Drop for Reader {
    fn drop(&mut self) {
        cells::wake(&self.0.writer);
    }
}

impl BodyWriter {
    /// Queues bytes without waiting. Drops them if the body has been dropped.
    pub fn write(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() && !self.is_closed() {
            let queued = &self.shared.queued;
            queued.set(queued.get() + bytes.len());
            self.send_now(Ok(bytes));
        }
    }

    /// Waits until the queue is not full ([`is_full`](Self::is_full)), and queues bytes.
    ///
    /// Cancel safe: the bytes are queued as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::BodyDropped`] when the body has been dropped.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.ready().await?;
        self.write(bytes);
        Ok(())
    }

    /// Waits until the queue is not full ([`is_full`](Self::is_full)). Cancel safe.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::BodyDropped`] when the body has been dropped.
    #[doc(alias("write_ready", "poll_ready"))]
    pub async fn ready(&self) -> Result<(), Failure> {
        poll_fn(|cx| {
            self.shared.writer.set(Some(cx.waker().clone()));
            match self.is_full() {
                _ if self.is_closed() => Poll::Ready(Err(HttpError::BodyDropped.into())),
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Returns whether 64 KiB or more are queued, which the body's reader has not yet taken.
    pub fn is_full(&self) -> bool {
        self.shared.queued.get() >= HIGH_WATER
    }

    /// Returns whether the body has been dropped. Further bytes are then dropped as well.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends the body after the bytes that are queued.
    pub fn finish(self) {
        self.sender.close_channel();
    }

    /// Breaks the body off after the bytes that are queued: reading it then fails with `failure`.
    #[doc(alias("abort", "stopProducing"))]
    pub fn fail(self, failure: impl Into<Failure>) {
        self.send_now(Err(failure.into()));
    }

    fn send_now(&self, piece: Result<Bytes, Failure>) {
        // It fails when the body has been dropped, so that the piece is not needed.
        let _ = self.sender.unbounded_send(piece);
    }
}

/// The most bytes that wait in a body's queue before it is full.
const HIGH_WATER: usize = 64 * 1024;

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // After what ends the body, this is not sent or not read.
        self.send_now(Err(HttpError::WriterDropped.into()));
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyWriter({} bytes queued)", self.shared.queued.get())
    }
}
