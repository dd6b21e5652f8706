//! tokio's traits of byte streams, for a [`Connection`] and its halves.
//!
//! They are the same polls as those of futures' traits, with no buffer of their own. A buffer of
//! which a part is not initialized is not cleared: the bytes go through the loop's read buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::reader::Reader;
use super::{Connection, ReadHalf, WriteHalf, writer};

macro_rules! reads {
    ($name:ident) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read(&mut self.get_mut().reader, cx, buf)
            }
        }

        #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
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
        #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                writer::poll_write_one($conn, cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                writer::poll_write($conn, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                writer::poll_flush($conn, cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

fn poll_read(reader: &mut Reader, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let limit = buf.remaining();
    if buf.initialized().len() < buf.capacity() {
        return reader.poll_read_uninit(cx, limit, |bytes| buf.put_slice(bytes));
    }
    let read = reader.poll_read(cx, buf.initialize_unfilled());
    read.map_ok(|count| buf.advance(count))
}
