//! The two halves of a [`Connection`], and the traits and methods that it and they have.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
};

use super::reader::Reader;
use super::{Awaited, Connection, release, writer};
use crate::transport::{Conn, Transport};

/// The reading half of a [`Connection`]; see [`Connection::split`].
pub struct ReadHalf {
    pub(super) reader: Reader,
}

/// The writing half of a [`Connection`]; see [`Connection::split`]. Dropping it says the end of file to the peer.
pub struct WriteHalf {
    pub(super) conn: Rc<Conn<Awaited>>,
}

impl ReadHalf {
    /// The connection's inert handle.
    pub fn transport(&self) -> Transport {
        self.reader.conn().transport()
    }
}

impl WriteHalf {
    /// The connection's inert handle.
    pub fn transport(&self) -> Transport {
        self.conn.transport()
    }
}

macro_rules! reads {
    ($name:ident) => {
        impl $name {
            /// Reads what there is into `buf`, or waits for something. `0` is the end of file.
            ///
            /// # Errors
            ///
            /// Why the connection broke.
            pub fn read<'a>(
                &'a mut self,
                buf: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                AsyncReadExt::read(self, buf)
            }

            /// Fills `buf`.
            ///
            /// # Errors
            ///
            /// [`io::ErrorKind::UnexpectedEof`] when the peer ends before that, or why the connection broke.
            pub fn read_exact<'a>(
                &'a mut self,
                buf: &'a mut [u8],
            ) -> impl Future<Output = io::Result<()>> + 'a {
                AsyncReadExt::read_exact(self, buf)
            }

            /// Reads until the end of file, which a peer may put off for ever: for peers one trusts.
            ///
            /// # Errors
            ///
            /// Why the connection broke.
            pub async fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                // Not into `buf` itself: its spare room would have to be cleared at every wait.
                let mut piece = vec![0; PIECE];
                let before = buf.len();
                loop {
                    match self.read(&mut piece).await? {
                        0 => return Ok(buf.len() - before),
                        count => buf.extend_from_slice(&piece[..count]),
                    }
                }
            }

            /// Reads a line of at most `limit` bytes and gives it without its end, which is `\n` or `\r\n`. `None`
            /// at the end of file; a last line without an end counts.
            ///
            /// # Errors
            ///
            /// [`io::ErrorKind::InvalidData`] when the line is longer (then end the connection: what is left of that line
            /// would pass for the next one), or why the connection broke.
            ///
            /// # Cancel safety
            ///
            /// What was read of an unfinished line is lost when the future is dropped.
            pub async fn read_line(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
                let mut line = Vec::new();
                // Two more for the line's end.
                let mut most = (&mut *self).take((limit as u64).saturating_add(2));
                most.read_until(b'\n', &mut line).await?;
                if line.is_empty() {
                    return Ok(None);
                }
                if line.last() == Some(&b'\n') {
                    line.pop();
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                }
                if line.len() > limit {
                    let message = format!("a line is longer than {limit} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                Ok(Some(line))
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
            /// Writes some of `buf`: what there is room for. Waits while there is none.
            ///
            /// The bytes are on their way when the task next waits; see `flush` for knowing when they have been
            /// handed to the system.
            ///
            /// # Errors
            ///
            /// [`io::ErrorKind::BrokenPipe`] after the end, or why the connection broke.
            pub fn write<'a>(
                &'a mut self,
                buf: &'a [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                AsyncWriteExt::write(self, buf)
            }

            /// Writes all of `buf`.
            ///
            /// # Errors
            ///
            /// As for `write`.
            pub fn write_all<'a>(
                &'a mut self,
                buf: &'a [u8],
            ) -> impl Future<Output = io::Result<()>> + 'a {
                AsyncWriteExt::write_all(self, buf)
            }

            /// Waits until everything written has been handed to the system.
            ///
            /// # Errors
            ///
            /// Why the connection broke.
            pub fn flush(&mut self) -> impl Future<Output = io::Result<()>> + '_ {
                AsyncWriteExt::flush(self)
            }

            /// Says the end of file to the peer, after everything written. Reading goes on.
            ///
            /// # Errors
            ///
            /// Why the connection broke.
            #[doc(alias = "shutdown")]
            pub fn close(&mut self) -> impl Future<Output = io::Result<()>> + '_ {
                AsyncWriteExt::close(self)
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                writer::poll_write($conn, cx, &[IoSlice::new(buf)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                writer::poll_write($conn, cx, bufs)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                writer::poll_flush($conn, cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                writer::poll_close($conn, cx)
            }
        }
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

/// How much `read_to_end` reads at a time.
const PIECE: usize = 32 * 1024;
