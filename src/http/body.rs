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

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::HttpError;
use super::wire::zeros;
use crate::cells;
use crate::failure::Failure;

/// The body of a request or response.
///
/// Strings, byte vectors and [`Bytes`] convert into a body, and so does `()`, into an empty one. A
/// body implements [`http_body::Body`], for other crates, and is a [`Stream`] of its pieces.
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
#[doc(alias("IBodyProducer", "FileBodyProducer"))]
pub struct Body(Kind);

enum Kind {
    Bytes(Bytes),
    Incoming(Incoming),
    File(FilePart),
    Other(Pin<Box<dyn HttpBody<Data = Bytes, Error = Failure>>>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A part of a file, from its current offset.
struct FilePart {
    /// `None` is a file of zeros.
    file: Option<File>,
    /// The number of bytes that are left.
    left: u64,
}

impl Body {
    /// Creates an empty body.
    pub fn empty() -> Self {
        Self(Kind::default())
    }

    /// Creates a body of the bytes of a file, from its current offset to its end.
    ///
    /// A server sends it by `sendfile` where the connection and the system support that. Reading it
    /// blocks the loop while the system reads the file.
    ///
    /// # Errors
    ///
    /// Fails when the system cannot tell the file's length or offset.
    pub fn file(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let start = io::Seek::stream_position(&mut &file)?;
        Ok(Self::file_part(file, end.saturating_sub(start)))
    }

    pub(super) fn file_part(file: File, left: u64) -> Self {
        let file = Some(file);
        Self(Kind::File(FilePart { file, left }))
    }

    /// Creates a body of the pieces of a stream. Its failure breaks the body off.
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
    pub fn from_stream<B, E>(stream: impl Stream<Item = Result<B, E>> + 'static) -> Self
    where
        B: Into<Bytes>,
        E: Into<Failure>,
    {
        Self::other(Streamed { stream })
    }

    /// Creates a body from one of another crate.
    pub fn wrap<B>(body: B) -> Self
    where
        B: HttpBody<Error: Into<Failure>> + 'static,
    {
        Self::other(Wrapped { body })
    }

    /// Creates a body that is written piece by piece.
    ///
    /// The body ends when the writer's [`finish`](BodyWriter::finish) is called. It breaks off with
    /// [`HttpError::Unfinished`] when the writer is dropped before that.
    #[doc(alias("pipe", "startProducing"))]
    pub fn channel() -> (BodyWriter, Self) {
        let channel = Rc::new(Channel::default());
        let body = Self::other(Received(Rc::clone(&channel)));
        (BodyWriter(channel), body)
    }

    /// Takes the file out, and its length, if this is the body of a file. The body is one of as many
    /// zeros then.
    pub(super) fn take_file(&mut self) -> Option<(File, u64)> {
        match &mut self.0 {
            Kind::File(part) => Some((part.file.take()?, part.left)),
            _ => None,
        }
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
    /// Cancel safe: a piece that was not returned is returned by the next call.
    ///
    /// # Errors
    ///
    /// Fails when the body breaks off.
    #[doc(alias("next", "data", "frame"))]
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| self.poll_chunk(cx)).await.transpose()
    }

    /// Reads the whole body, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::TooLarge`] when there are more bytes, and with the reason when the
    /// body breaks off.
    #[doc(alias("readBody", "collect", "to_bytes"))]
    pub async fn read(mut self, limit: u64) -> Result<Bytes, Failure> {
        let too_large = |length| length > limit;
        if too_large(HttpBody::size_hint(&self).lower()) {
            return Err(HttpError::TooLarge { limit }.into());
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        if self.is_end_stream() && !too_large(first.len() as u64) {
            return Ok(first);
        }
        let mut whole = BytesMut::from(first);
        loop {
            if too_large(whole.len() as u64) {
                return Err(HttpError::TooLarge { limit }.into());
            }
            match self.chunk().await? {
                Some(piece) => whole.extend_from_slice(&piece),
                None => return Ok(whole.freeze()),
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            match ready!(Pin::new(&mut *self).poll_frame(cx)) {
                // What is not data is a trailer, which is for `http_body::Body` only.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Poll::Ready(Some(Ok(piece))),
                    _ => {}
                },
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.0 {
            Kind::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Kind::Incoming(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(broken)))
            }
            Kind::File(part) => Poll::Ready(part.read().transpose().map(|piece| {
                let piece = piece.map_err(Failure::from);
                piece.map(Frame::data)
            })),
            Kind::Other(other) => other.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::File(part) => part.left == 0,
            Kind::Other(other) => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::File(part) => SizeHint::with_exact(part.left),
            Kind::Other(other) => other.size_hint(),
        }
    }
}

/// The pieces of the body. Trailers are skipped.
impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_chunk(cx)
    }
}

fn broken(error: hyper::Error) -> Failure {
    let cause = Failure::from(error);
    HttpError::Broken { cause }.into()
}

impl FilePart {
    /// Reads the next piece; none at the end of the part. A file that has become shorter is an
    /// error.
    fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(file) = &mut self.file else {
            let zeros = zeros(self.left);
            self.left -= zeros.len() as u64;
            return Ok(Some(zeros));
        };
        let most = self.left.min(PIECE) as usize;
        let mut piece = Vec::with_capacity(most);
        let count = file.take(most as u64).read_to_end(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(Some(piece.into()))
    }
}

/// The most bytes of a file that are read at once.
const PIECE: u64 = 64 * 1024;

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes(bytes))
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Kind::Incoming(incoming))
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

macro_rules! from_bytes {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Body {
            fn from(bytes: $kind) -> Self {
                Bytes::from(bytes).into()
            }
        }
    )*};
}

from_bytes!(&'static str &'static [u8] String Vec<u8>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = HttpBody::size_hint(self);
        f.debug_struct("Body")
            .field("least", &hint.lower())
            .field("most", &hint.upper())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The pieces of a stream as a body.
    struct Streamed<S> {
        #[pin]
        stream: S,
    }
}

impl<S, B, E> HttpBody for Streamed<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<Failure>,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let piece = ready!(self.project().stream.poll_next(cx));
        let frame = |piece: Result<B, E>| match piece {
            Ok(bytes) => Ok(Frame::data(bytes.into())),
            Err(error) => Err(error.into()),
        };
        Poll::Ready(piece.map(frame))
    }
}

pin_project! {
    /// Another crate's body.
    struct Wrapped<B> {
        #[pin]
        body: B,
    }
}

impl<B: HttpBody<Error: Into<Failure>>> HttpBody for Wrapped<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        let bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(bytes)),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Writes a [`Body`] piece by piece: [`Body::channel`] makes both.
///
/// Writing only queues the bytes; the reader of the body takes them from the queue. A writer that
/// makes more than the reader takes must look at [`is_full`](Self::is_full) and wait, or
/// [`send`](Self::send), which waits.
#[doc(alias("Sender", "IConsumer"))]
pub struct BodyWriter(Rc<Channel>);

/// What a body and its writer share.
#[derive(Default)]
struct Channel {
    pieces: RefCell<VecDeque<Bytes>>,
    /// The number of bytes in `pieces`.
    queued: Cell<usize>,
    /// How the body ends after the pieces.
    end: Cell<Option<Result<(), Failure>>>,
    is_closed: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl BodyWriter {
    /// Queues bytes. They are dropped when the body has been dropped.
    pub fn write(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.is_empty() || self.is_closed() {
            return;
        }
        self.0.queued.set(self.0.queued.get() + bytes.len());
        self.0.pieces.borrow_mut().push_back(bytes);
        cells::wake(&self.0.reader);
    }

    /// Waits until the queue is not full, and queues bytes.
    ///
    /// Cancel safe: the bytes are queued as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::NotRead`] when the body has been dropped.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.ready().await?;
        self.write(bytes);
        Ok(())
    }

    /// Waits until the queue is not full.
    ///
    /// # Errors
    ///
    /// Fails with [`HttpError::NotRead`] when the body has been dropped.
    #[doc(alias("write_ready", "poll_ready"))]
    pub async fn ready(&self) -> Result<(), Failure> {
        poll_fn(|cx| {
            if self.is_closed() {
                return Poll::Ready(Err(HttpError::NotRead.into()));
            }
            if !self.is_full() {
                return Poll::Ready(Ok(()));
            }
            self.0.writer.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Returns whether 64 KiB or more are queued.
    pub fn is_full(&self) -> bool {
        self.0.queued.get() >= HIGH_WATER
    }

    /// Returns whether the body has been dropped, so that nobody will read what is written.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed.get()
    }

    /// Ends the body after the bytes that are queued.
    pub fn finish(self) {
        self.end(Ok(()));
    }

    /// Breaks the body off, after the bytes that are queued.
    #[doc(alias("abort", "stopProducing"))]
    pub fn fail(self, failure: impl Into<Failure>) {
        self.end(Err(failure.into()));
    }

    fn end(&self, end: Result<(), Failure>) {
        self.0.end.set(Some(end));
        cells::wake(&self.0.reader);
    }
}

/// The most bytes that wait in a body's queue before it is full.
const HIGH_WATER: usize = 64 * 1024;

impl Drop for BodyWriter {
    fn drop(&mut self) {
        let end = self.0.end.take();
        self.end(end.unwrap_or_else(|| Err(HttpError::Unfinished.into())));
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter")
            .field("queued", &self.0.queued.get())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

/// The body of a channel.
struct Received(Rc<Channel>);

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let channel = &self.0;
        let piece = channel.pieces.borrow_mut().pop_front();
        if let Some(piece) = piece {
            channel.queued.set(channel.queued.get() - piece.len());
            cells::wake(&channel.writer);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match channel.end.replace(Some(Ok(()))) {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(failure)) => Poll::Ready(Some(Err(failure))),
            None => {
                channel.end.set(None);
                channel.reader.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let channel = &self.0;
        let end = channel.end.take();
        let is_end = matches!(end, Some(Ok(()))) && channel.queued.get() == 0;
        channel.end.set(end);
        is_end
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.0.is_closed.set(true);
        let pieces = self.0.pieces.take();
        self.0.queued.set(0);
        cells::wake(&self.0.writer);
        drop(pieces);
    }
}
