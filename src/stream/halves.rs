//! The two halves of a [`Connection`], and the traits and methods of the connection and its halves.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::awaited::{Awaited, release};
use super::reader::Reader;
use super::{Connection, writer};
use crate::transport::{Conn, Transport};

/// The reading half of a [`Connection`]; see [`Connection::split`].
pub struct ReadHalf {
    pub(super) reader: Reader,
}

/// The writing half of a [`Connection`]; see [`Connection::split`]. Dropping it sends the end of
/// file to the peer.
pub struct WriteHalf {
    pub(super) conn: Rc<Conn<Awaited>>,
}

impl ReadHalf {
    /// Returns the connection's inert handle.
    pub fn transport(&self) -> Transport {
        self.reader.conn().transport()
    }
}

impl WriteHalf {
    /// Returns the connection's inert handle.
    pub fn transport(&self) -> Transport {
        self.conn.transport()
    }
}

macro_rules! reads {
    ($name:ident) => {
        impl $name {
            /// Reads the bytes that have arrived into `buf`, or waits until some arrive. Returns
            /// their number; `0` means the end of file, or that `buf` is empty.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke.
            pub fn read<'a>(
                &'a mut self,
                buf: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                poll_fn(move |cx| self.reader.poll_read(cx, buf))
            }

            /// Waits for bytes, and calls `f` with all that have arrived, at most 64 KiB. An empty
            /// slice means the end of file.
            ///
            /// The bytes are in a buffer that all connections of the reactor share, so a task that
            /// reads in this way holds no buffer while it waits.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke; `f` is then not called.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future loses nothing: nothing is read before `f` is called.
            ///
            /// # Examples
            ///
            /// ```
            /// torsade::testing::run(async |reactor| {
            ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            ///         let out = conn.transport();
            ///         let mut echo = |bytes: &[u8]| {
            ///             out.write(bytes);
            ///             bytes.len()
            ///         };
            ///         while conn.read_with(&mut echo).await? > 0 {
            ///             if out.is_full() {
            ///                 conn.flush().await?;
            ///             }
            ///         }
            ///         Ok(())
            ///     })?;
            ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
            ///     conn.write_all(b"hello").await?;
            ///     assert_eq!(conn.read_with(<[u8]>::to_vec).await?, b"hello");
            ///     drop(conn);
            ///     port.stop().await
            /// });
            /// ```
            pub fn read_with<R>(
                &mut self,
                f: impl FnOnce(&[u8]) -> R,
            ) -> impl Future<Output = io::Result<R>> {
                let mut f = Some(f);
                poll_fn(move |cx| self.reader.poll_read_with(cx, &mut f))
            }

            /// Reads until `buf` is full.
            ///
            /// # Errors
            ///
            /// Fails with [`io::ErrorKind::UnexpectedEof`] when the end of file comes first, and
            /// with the reason for which the connection broke.
            pub fn read_exact<'a>(
                &'a mut self,
                buf: &'a mut [u8],
            ) -> impl Future<Output = io::Result<()>> + 'a {
                AsyncReadExt::read_exact(self, buf)
            }

            /// Reads until the end of file, appends the bytes to `buf`, and returns their number.
            /// The size is not limited: use this only with trusted peers.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke.
            pub async fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                // Not into `buf` itself: its spare capacity would have to be cleared at every wait.
                let mut piece = vec![0; PIECE];
                let before = buf.len();
                loop {
                    match self.read(&mut piece).await? {
                        0 => return Ok(buf.len() - before),
                        count => buf.extend_from_slice(&piece[..count]),
                    }
                }
            }

            /// Reads a line of at most `limit` bytes, not counting its end (`\n` or `\r\n`), and
            /// returns it without its end. Returns `None` at the end of file; a last line without
            /// an end counts as a line.
            ///
            /// # Errors
            ///
            /// Fails with [`io::ErrorKind::InvalidData`], which holds a
            /// [`FrameError::LineTooLong`](crate::protocols::FrameError::LineTooLong), when the
            /// line is longer: that line is dropped up to its end, and the next call reads the next
            /// line. Fails with the reason for which the connection broke.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future loses nothing: the bytes of an incomplete line can still be
            /// read, by the next call and by all other methods.
            ///
            /// # Examples
            ///
            /// A line or a second, whichever comes first:
            ///
            /// ```
            /// use std::time::Duration;
            /// use futures::future::{Either, select};
            /// use torsade::{Clock, testing};
            ///
            /// testing::run(async |reactor| {
            ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            ///         conn.write_all(b"hel").await?;
            ///         let reactor = torsade::Reactor::current().expect("this is a task");
            ///         reactor.sleep(Duration::from_secs(3)).await?;
            ///         Ok(conn.write_all(b"lo\r\n").await?)
            ///     })?;
            ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
            ///     let mut ticks = 0;
            ///     let line = loop {
            ///         let tick = reactor.sleep(Duration::from_secs(1));
            ///         let line = Box::pin(conn.read_line(80));
            ///         match select(line, Box::pin(tick)).await {
            ///             Either::Left((line, _)) => break line?,
            ///             Either::Right(_) => ticks += 1,
            ///         }
            ///     };
            ///     assert_eq!(line, Some(b"hello".to_vec()));
            ///     assert!(ticks >= 2);
            ///     port.stop().await
            /// });
            /// ```
            pub fn read_line(
                &mut self,
                limit: usize,
            ) -> impl Future<Output = io::Result<Option<Vec<u8>>>> + '_ {
                poll_fn(move |cx| self.reader.poll_line(cx, limit))
            }

            /// Reads a line as `read_line` does, but into `line`, whose content is replaced and
            /// whose memory is reused. Returns `false` at the end of file; `line` is then empty.
            ///
            /// # Errors
            ///
            /// Fails as `read_line` does.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future loses no received bytes.
            ///
            /// # Examples
            ///
            /// ```
            /// use torsade::testing;
            ///
            /// testing::run(async |reactor| {
            ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            ///         let mut line = Vec::new();
            ///         while conn.read_line_into(80, &mut line).await? {
            ///             conn.send_line(&line).await?;
            ///         }
            ///         Ok(())
            ///     })?;
            ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
            ///     conn.write_all(b"one\ntwo\n").await?;
            ///     conn.close().await?;
            ///     let mut all = Vec::new();
            ///     conn.read_to_end(&mut all).await?;
            ///     assert_eq!(all, b"one\r\ntwo\r\n");
            ///     port.stop().await
            /// });
            /// ```
            pub fn read_line_into(
                &mut self,
                limit: usize,
                line: &mut Vec<u8>,
            ) -> impl Future<Output = io::Result<bool>> {
                poll_fn(move |cx| self.reader.poll_line_into(cx, limit, line))
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.reader.poll_read(cx, buf)
            }
        }

        impl AsyncBufRead for $name {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                self.get_mut().reader.poll_fill_buf(cx)
            }

            fn consume(mut self: Pin<&mut Self>, count: usize) {
                self.reader.consume(count);
            }
        }
    };
}

macro_rules! writes {
    ($name:ident, |$this:ident| $conn:expr) => {
        impl $name {
            /// Writes as many bytes of `buf` as fit into the connection's queue, and returns their
            /// number. Waits while the connection is full.
            ///
            /// The bytes are sent when the task next waits, if not before; `flush` waits until they
            /// have been handed to the system.
            ///
            /// # Errors
            ///
            /// Fails with [`io::ErrorKind::BrokenPipe`] when the connection or its writing side is
            /// closed, and with the reason for which the connection broke.
            pub fn write<'a>(
                &'a mut self,
                buf: &'a [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                let $this = self;
                poll_fn(move |cx| writer::poll_write_one($conn, cx, buf))
            }

            /// Writes all of `buf`, and waits whenever the connection is full.
            ///
            /// # Errors
            ///
            /// Fails as `write` does.
            pub fn write_all<'a>(
                &'a mut self,
                buf: &'a [u8],
            ) -> impl Future<Output = io::Result<()>> + 'a {
                let ($this, mut rest) = (self, buf);
                poll_fn(move |cx| writer::poll_write_all($conn, cx, &mut rest))
            }

            /// Writes a line: `line`, then `\r\n`. `line` is sent as it is, so an end of line
            /// inside it makes two lines.
            ///
            /// A child process at the other end of a pipe usually expects `\n` alone: use
            /// `write_all`.
            ///
            /// # Errors
            ///
            /// Fails as `write` does.
            ///
            /// # Cancel safety
            ///
            /// A part of the line may have been written when the future is dropped.
            #[doc(alias = "sendLine")]
            pub async fn send_line(&mut self, line: impl AsRef<[u8]>) -> io::Result<()> {
                let $this = &*self;
                if writer::write_line_at_once($conn, line.as_ref()) {
                    return Ok(());
                }
                self.write_all(line.as_ref()).await?;
                self.write_all(b"\r\n").await
            }

            /// Waits until all written bytes have been handed to the system.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke.
            pub fn flush(&mut self) -> impl Future<Output = io::Result<()>> + '_ {
                AsyncWriteExt::flush(self)
            }

            /// Closes the writing side: sends the end of file to the peer after all written bytes,
            /// and waits until they have been handed to the system. Reading continues; to close the
            /// connection, drop it.
            ///
            /// # Errors
            ///
            /// Fails with the reason for which the connection broke.
            #[doc(alias = "shutdown")]
            pub fn close(&mut self) -> impl Future<Output = io::Result<()>> + '_ {
                AsyncWriteExt::close(self)
            }
        }

        writer::writes! { AsyncWrite::poll_close by poll_flush for $name, |$this| $conn }
    };
}

reads!(Connection);
reads!(ReadHalf);
writes!(Connection, |this| this.reader.conn());
writes!(WriteHalf, |this| &this.conn);

impl Drop for ReadHalf {
    fn drop(&mut self) {
        release(self.reader.conn());
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.conn.transport().lose_write();
        release(&self.conn);
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHalf")
            .field("transport", &self.transport())
            .finish()
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHalf")
            .field("transport", &self.transport())
            .finish()
    }
}

/// The number of bytes that `read_to_end` reads in one step.
const PIECE: usize = 32 * 1024;
