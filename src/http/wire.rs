//! hyper's view of a server's connection: [`Wire`].
//!
//! # Invariants
//!
//! 1. The transport flushes what is written by itself, so hyper never waits for that. Dropping the
//!    wire closes the connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::watch::Watch;
use crate::stream::Connection;

/// A connection, and the bytes that were read before hyper reads.
pub(super) struct Wire {
    conn: Connection,
    ahead: Vec<u8>,
    watch: Rc<Watch>,
}

impl Wire {
    pub(super) fn new(conn: Connection, watch: Rc<Watch>) -> Self {
        Self {
            conn,
            ahead: Vec::new(),
            watch,
        }
    }

    /// Returns whether the peer speaks HTTP/2: as agreed by ALPN, or else as the first bytes say.
    /// Fails when the connection has to end.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        #[cfg(feature = "tls")]
        if let Some(agreed) = self.conn.transport().tls().and_then(|tls| tls.alpn) {
            return Ok(agreed == b"h2");
        }
        poll_fn(|cx| {
            loop {
                if self.watch.poll_stop(cx) {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                let count = self.ahead.len().min(PREFACE.len());
                if count == PREFACE.len() || self.ahead[..count] != PREFACE[..count] {
                    return Poll::Ready(Ok(self.ahead.starts_with(PREFACE)));
                }
                let ahead = &mut self.ahead;
                let put = |bytes: &[u8]| ahead.extend_from_slice(bytes);
                ready!(self.conn.poll_read_uninit(cx, FIRST, put))?;
                if self.ahead.len() == count {
                    return Poll::Ready(Ok(false));
                }
            }
        })
        .await
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = buf.remaining().min(this.ahead.len());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.drain(..count);
            if this.ahead.is_empty() {
                this.ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining();
        let polled = this
            .conn
            .poll_read_uninit(cx, room, |bytes| buf.put_slice(bytes));
        match polled.is_ready() {
            true => this.watch.note_moved(),
            false => this.watch.note_waiting(false),
        }
        polled
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.conn).poll_write(cx, buf));
        self.watch.note_moved();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Write::poll_write_vectored(
            Pin::new(&mut self.conn),
            cx,
            bufs
        ));
        self.watch.note_moved();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The beginning of what a client sends first that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// The most bytes that are read before it is known what the peer speaks.
const FIRST: usize = 4096;
