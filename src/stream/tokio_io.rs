//! tokio's traits of byte streams, for a [`Connection`] and its halves.
//!
//! They are the same polls as those of futures' traits, with no buffer of their own. A buffer of
//! which a part is not initialized is not cleared: the bytes go through the loop's read buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::reader::Reader;
use super::writer::writes;
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

macro_rules! writes_vectored {
    ($name:ident, |$this:ident| $conn:expr) => {
        writes! {
            #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
            AsyncWrite::poll_shutdown by poll_flush for $name, |$this| $conn,
            fn is_write_vectored(&self) -> bool {
                true
            }
        }
    };
}

reads!(Connection);
reads!(ReadHalf);
writes_vectored!(Connection, |this| this.reader.conn());
writes_vectored!(WriteHalf, |this| &this.conn);

fn poll_read(reader: &mut Reader, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let limit = buf.remaining();
    if buf.initialized().len() < buf.capacity() {
        return reader.poll_read_uninit(cx, limit, |bytes| buf.put_slice(bytes));
    }
    let read = reader.poll_read(cx, buf.initialize_unfilled());
    read.map_ok(|count| buf.advance(count))
}
