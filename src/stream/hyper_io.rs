//! hyper's traits of byte streams, for a [`Connection`] and its halves.
//!
//! hyper reads into memory that is not initialized, which is not cleared: the bytes go through the
//! loop's read buffer. A flush never waits: writing waits while the queue is full, and the shutdown
//! until it is empty.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::{Connection, ReadHalf, WriteHalf, writer};

#[cfg(feature = "http")]
impl Connection {
    /// Reads at most `limit` bytes, and calls `put` with them; none are the end of file.
    pub(crate) fn poll_read_uninit(
        &mut self,
        cx: &Context<'_>,
        limit: usize,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        self.reader.poll_read_uninit(cx, limit, put)
    }
}

macro_rules! reads {
    ($name:ident) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
        impl Read for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut buf: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                let reader = &mut self.get_mut().reader;
                reader.poll_read_uninit(cx, buf.remaining(), |bytes| buf.put_slice(bytes))
            }
        }
    };
}

macro_rules! writes_vectored {
    ($name:ident, |$this:ident| $conn:expr) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
        impl Write for $name {
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
                writer::poll_write_vectored($conn, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }
            /// Is ready at once: the loop sends what is queued anyway, and a task that waited for
            /// that would be woken once more for each message. If the loop fails to, it wakes the
            /// task, and the next flush returns the error.
            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                Poll::Ready(writer::state_of_writing($conn))
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
writes_vectored!(Connection, |this| this.reader.conn());
writes_vectored!(WriteHalf, |this| &this.conn);
