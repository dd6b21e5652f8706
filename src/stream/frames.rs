//! Frames for async code: [`Framed`] and [`Frames`].

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::sink::Sink;
use futures::stream::{FusedStream, Stream};

use super::awaited::Awaited;
use super::reader::Reader;
use super::{Connection, ReadHalf, WriteHalf, writer};
use crate::framing::{Decoder, Encoder, Found, LineCodec};
use crate::transport::Conn;

/// A connection, or a half of one, with a codec: a stream of the frames that are received, and a
/// sink for the frames that are sent.
///
/// Received bytes that belong to no complete frame stay with the connection: what
/// [`get_mut`](Self::get_mut) and [`into_inner`](Self::into_inner) return continues to read where
/// the last frame ended. [`Connection::frames`] makes a stream without taking the connection.
///
/// The stream ends at the end of file, after an error of the connection, and after a fatal error of
/// the codec, which finds no further frame
/// ([`Rejected::is_fatal`](crate::protocols::Rejected::is_fatal)). After other errors of the codec
/// the stream continues.
///
/// # Cancel safety
///
/// Dropping the future of `next` loses nothing. When the future of `send` is dropped, the rest of
/// its frame is written by the next `send` or `flush`.
///
/// # Examples
///
/// ```
/// use torsade::protocols::NetstringCodec;
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |conn| {
///         let mut strings = conn.framed(NetstringCodec::new());
///         while let Some(string) = strings.next().await {
///             strings.send(string?.to_ascii_uppercase()).await?;
///         }
///         Ok(())
///     })?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     conn.write_all(b"5:hello,").await?;
///     let mut answer = [0; 8];
///     conn.read_exact(&mut answer).await?;
///     assert_eq!(&answer, b"5:HELLO,");
///     drop(conn);
///     port.stop().await
/// });
/// ```
#[must_use = "streams and sinks do nothing unless they are polled"]
pub struct Framed<C, T = Connection> {
    io: T,
    codec: C,
    unsent: Unsent,
    is_over: bool,
}

/// The bytes of frames that did not fit into the connection's queue.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// The number of bytes that were written.
    written: usize,
}

/// The frames that a connection receives, as a stream; see [`Connection::frames`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Frames<'a, C> {
    reader: &'a mut Reader,
    codec: C,
    is_over: bool,
}

impl Unsent {
    fn encode<T, C: Encoder<T>>(&mut self, codec: &mut C, item: T) -> io::Result<()> {
        let encoded = codec.encode(item, &mut self.bytes);
        encoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn poll_write(&mut self, conn: &Rc<Conn<Awaited>>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = &self.bytes[self.written..];
        let polled = writer::poll_write_all(conn, cx, &mut rest);
        self.written = self.bytes.len() - rest.len();
        if polled.is_ready() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        }
        polled
    }
}

/// Returns the next frame of a stream, or `None` after its end.
fn poll_next<C: Decoder>(
    reader: &mut Reader,
    codec: &mut C,
    is_over: &mut bool,
    cx: &Context<'_>,
) -> Poll<Option<io::Result<C::Owned>>> {
    let own = |found: Found<'_, C>| match found {
        Ok(frame) => Ok(frame.into()),
        Err(rejected) => Err(rejected.error),
    };
    poll_next_with(reader, codec, is_over, cx, &mut Some(own)).map(|frame| {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        frame.map(|frame| frame?.map_err(invalid))
    })
}

/// Calls `f` with the next frame, and returns its result, or `None` after the end, which a fatal
/// error of the codec is.
fn poll_next_with<C: Decoder, R, F: FnOnce(Found<'_, C>) -> R>(
    reader: &mut Reader,
    codec: &mut C,
    is_over: &mut bool,
    cx: &Context<'_>,
    f: &mut Option<F>,
) -> Poll<Option<io::Result<R>>> {
    if *is_over {
        return Poll::Ready(None);
    }
    let call = |found: Found<'_, C>| {
        let is_fatal = matches!(&found, Err(rejected) if rejected.is_fatal);
        f.take().map(|f| (f(found), is_fatal))
    };
    let frame = ready!(reader.poll_frame(cx, codec, &mut Some(call)));
    let frame = frame.map(Option::flatten).transpose();
    *is_over = !matches!(frame, Some(Ok((_, false))));
    Poll::Ready(frame.map(|frame| frame.map(|(value, _)| value)))
}

impl<C, T> Framed<C, T> {
    fn new(io: T, codec: C) -> Self {
        Self {
            io,
            codec,
            unsent: Unsent::default(),
            is_over: false,
        }
    }

    /// Returns the codec, for instance to change a limit.
    pub fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
    }

    /// Returns the connection. Frames that have not been written completely are lost: call `flush`
    /// before.
    pub fn into_inner(self) -> T {
        self.io
    }
}

impl<C: Decoder, T> Framed<C, T> {
    /// Returns the connection, to read raw data between two frames, or to use its other methods.
    pub fn get_mut(&mut self) -> &mut T {
        self.codec.restart();
        &mut self.io
    }
}

macro_rules! reads {
    ($name:ident) => {
        impl $name {
            /// Makes a stream of the received frames of a codec; with an
            /// [`Encoder`](crate::protocols::Encoder), it is also a sink of frames to be sent. See
            /// [`Framed`].
            #[doc(alias("codec", "framing"))]
            pub fn framed<C>(self, codec: C) -> Framed<C, Self> {
                Framed::new(self, codec)
            }

            /// Returns the received frames of a codec, as a stream that borrows the connection. The
            /// stream ends as that of [`Framed`] does.
            ///
            /// The codec is dropped with the stream. The bytes of an incomplete frame stay with the
            /// connection, and the next stream decodes them from their beginning.
            pub fn frames<C: Decoder>(&mut self, codec: C) -> Frames<'_, C> {
                Frames {
                    reader: &mut self.reader,
                    codec,
                    is_over: false,
                }
            }

            /// Returns the lines of the connection, each of at most `limit` bytes, as a stream; see
            /// `read_line`.
            ///
            /// A line that is too long is an error, after which the stream continues; after any
            /// other error, and at the end of file, the stream ends.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future of the next line, or the stream, loses no received bytes.
            ///
            /// # Examples
            ///
            /// ```
            /// use futures::StreamExt;
            /// use torsade::testing;
            ///
            /// testing::run(async |reactor| {
            ///     let port = reactor.serve("127.0.0.1:0", async |conn| {
            ///         let (mut reader, mut writer) = conn.split();
            ///         let mut lines = reader.read_lines(512);
            ///         while let Some(line) = lines.next().await {
            ///             writer.send_line(line?.to_ascii_uppercase()).await?;
            ///         }
            ///         Ok(())
            ///     })?;
            ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
            ///     conn.send_line("hello").await?;
            ///     assert_eq!(conn.read_line(512).await?, Some(b"HELLO".to_vec()));
            ///     drop(conn);
            ///     port.stop().await
            /// });
            /// ```
            ///
            /// A line or a tick, whichever comes first; the other one is not lost:
            ///
            /// ```
            /// use std::time::Duration;
            /// use futures::StreamExt;
            /// use futures::future::{Either, select};
            /// use torsade::{Clock, interval, testing};
            ///
            /// const SECOND: Duration = Duration::from_secs(1);
            ///
            /// testing::run(async |reactor| {
            ///     let clock = reactor.clone();
            ///     let port = reactor.serve("127.0.0.1:0", async move |conn| {
            ///         let (mut reader, mut writer) = conn.split();
            ///         let mut lines = reader.read_lines(512);
            ///         let mut ticks = interval(&clock, SECOND).starting_at(clock.now() + SECOND);
            ///         loop {
            ///             match select(lines.next(), ticks.next()).await {
            ///                 Either::Left((Some(line), _)) => writer.send_line(line?).await?,
            ///                 Either::Left((None, _)) => return Ok(()),
            ///                 Either::Right((tick, _)) => {
            ///                     tick.transpose()?;
            ///                     writer.send_line("still there?").await?;
            ///                 }
            ///             }
            ///         }
            ///     })?;
            ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
            ///     assert_eq!(conn.read_line(512).await?, Some(b"still there?".to_vec()));
            ///     conn.send_line("hello").await?;
            ///     assert_eq!(conn.read_line(512).await?, Some(b"hello".to_vec()));
            ///     drop(conn);
            ///     port.stop().await
            /// });
            /// ```
            pub fn read_lines(&mut self, limit: usize) -> Frames<'_, LineCodec> {
                self.frames(LineCodec::new().limit(limit))
            }
        }

        impl<C: Decoder> Framed<C, $name> {
            /// Waits for the next frame, and returns it. Returns `None` when the stream has ended;
            /// see [`Framed`].
            ///
            /// # Errors
            ///
            /// Fails with [`io::ErrorKind::InvalidData`], which holds the codec's error, for bytes
            /// that are not a frame; with [`io::ErrorKind::UnexpectedEof`], which holds
            /// [`FrameError::Incomplete`](crate::protocols::FrameError::Incomplete), when the end
            /// of file comes within a frame; and with the reason for which the connection broke.
            #[allow(clippy::should_implement_trait, reason = "it is asynchronous")]
            pub fn next(&mut self) -> impl Future<Output = Option<io::Result<C::Owned>>> + '_ {
                poll_fn(|cx| {
                    let reader = &mut self.io.reader;
                    poll_next(reader, &mut self.codec, &mut self.is_over, cx)
                })
            }

            /// Waits for the next frame, calls `f` with the frame in the receive buffer, so that it
            /// is not copied, and returns the result of `f`. Errors of the codec are passed to `f`
            /// too. Returns `None` when the stream has ended, and after a fatal error of the codec.
            ///
            /// # Errors
            ///
            /// As for [`next`](Self::next), except for the codec's errors, which `f` gets.
            ///
            /// # Examples
            ///
            /// ```
            /// use torsade::protocols::LineCodec;
            /// use torsade::testing;
            ///
            /// testing::run(async |reactor| {
            ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            ///         Ok(conn.write_all(b"one\ntwo\nthree\n").await?)
            ///     })?;
            ///     let conn = reactor.connect_stream(port.local_addr()).await?;
            ///     let mut lines = conn.framed(LineCodec::new());
            ///     let mut bytes = 0;
            ///     while let Some(n) = lines.next_with(|line| line.map_or(0, <[u8]>::len)).await {
            ///         bytes += n?;
            ///     }
            ///     assert_eq!(bytes, 11);
            ///     port.stop().await
            /// });
            /// ```
            pub fn next_with<R>(
                &mut self,
                f: impl FnOnce(Found<'_, C>) -> R,
            ) -> impl Future<Output = Option<io::Result<R>>> {
                let mut f = Some(f);
                poll_fn(move |cx| {
                    let reader = &mut self.io.reader;
                    poll_next_with(reader, &mut self.codec, &mut self.is_over, cx, &mut f)
                })
            }
        }

        impl<C: Decoder + Unpin> Stream for Framed<C, $name> {
            type Item = io::Result<C::Owned>;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                let this = self.get_mut();
                poll_next(&mut this.io.reader, &mut this.codec, &mut this.is_over, cx)
            }
        }

        impl<C: Decoder + Unpin> FusedStream for Framed<C, $name> {
            fn is_terminated(&self) -> bool {
                self.is_over
            }
        }
    };
}

macro_rules! writes {
    ($name:ident, |$this:ident| $conn:expr) => {
        impl<C> Framed<C, $name> {
            /// Encodes a frame, and waits until all of it is in the connection's queue, from which
            /// the loop sends it.
            ///
            /// # Errors
            ///
            /// Fails with [`io::ErrorKind::InvalidInput`], which holds the codec's error, when
            /// `item` cannot be sent as a frame, and as `write_all` of the connection does.
            pub fn send<T>(&mut self, item: T) -> impl Future<Output = io::Result<()>>
            where
                C: Encoder<T>,
            {
                let mut encoded = Some(self.unsent.encode(&mut self.codec, item));
                poll_fn(move |cx| {
                    if let Some(Err(error)) = encoded.take() {
                        return Poll::Ready(Err(error));
                    }
                    let $this = &self.io;
                    self.unsent.poll_write($conn, cx)
                })
            }

            /// Waits until all frames have been handed to the system.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke.
            pub fn flush(&mut self) -> impl Future<Output = io::Result<()>> + '_ {
                poll_fn(|cx| self.poll_flush_all(cx))
            }

            fn poll_flush_all(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
                let $this = &self.io;
                ready!(self.unsent.poll_write($conn, cx))?;
                writer::poll_flush($conn, cx)
            }
        }

        impl<T, C: Encoder<T> + Unpin> Sink<T> for Framed<C, $name> {
            type Error = io::Error;

            fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let this = self.get_mut();
                let $this = &this.io;
                this.unsent.poll_write($conn, cx)
            }

            fn start_send(self: Pin<&mut Self>, item: T) -> io::Result<()> {
                let this = self.get_mut();
                this.unsent.encode(&mut this.codec, item)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.get_mut().poll_flush_all(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let this = self.get_mut();
                let $this = &this.io;
                ready!(this.unsent.poll_write($conn, cx))?;
                writer::poll_close($conn, cx)
            }
        }
    };
}

reads!(Connection);
reads!(ReadHalf);
writes!(Connection, |this| this.reader.conn());
writes!(WriteHalf, |this| &this.conn);

impl WriteHalf {
    /// Makes a sink of the frames of a codec. See [`Framed`].
    pub fn framed<C>(self, codec: C) -> Framed<C, Self> {
        Framed::new(self, codec)
    }
}

impl<C: Decoder + Unpin> Stream for Frames<'_, C> {
    type Item = io::Result<C::Owned>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        poll_next(this.reader, &mut this.codec, &mut this.is_over, cx)
    }
}

impl<C: Decoder + Unpin> FusedStream for Frames<'_, C> {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl<C, T> fmt::Debug for Framed<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed")
            .field("is_over", &self.is_over)
            .field("unsent", &(self.unsent.bytes.len() - self.unsent.written))
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Frames<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

/// The largest capacity that the buffer for frames to be sent keeps.
const KEPT: usize = 4 * 1024;
