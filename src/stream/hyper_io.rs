//! hyper's traits of byte streams, for a [`Connection`] and its halves.
//!
//! hyper reads into memory that is not initialized, which is not cleared: the bytes go through the
//! loop's read buffer. A flush never waits: writing waits while the queue is full, and the shutdown
//! until it is empty.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::writer::writes;
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
        writes! {
            #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
            Write::poll_shutdown by flush_at_once for $name, |$this| $conn,
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
