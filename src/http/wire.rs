//! hyper's view of a server's connection: [`Wire`].
//!
//! # Invariants
//!
//! 1. The transport flushes what is written by itself, so hyper never waits for that. Dropping the
//!    wire closes the connection.
//! 2. Of an HTTP/1 connection hyper reads nothing that [`Strict`] refuses.
//! 3. A file that is the body of a response does not pass through hyper: hyper is given zeros from
//!    one buffer that is never read or written. When it writes these, which their address tells,
//!    the transport sends the file instead.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::io::ErrorKind::UnexpectedEof;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::strict::{REFUSED, Strict};
use super::watch::Watch;
use crate::defer::Deferred;
use crate::stream::Connection;

/// A connection, and the bytes that were read before hyper reads.
pub(super) struct Wire {
    conn: Connection,
    ahead: Vec<u8>,
    watch: Rc<Watch>,
    /// For HTTP/1.
    strict: Option<Strict>,
    /// For HTTP/2.
    frames: Frames,
    file: Option<SentFile>,
}

/// A file that the transport sends.
struct SentFile {
    sending: Option<Deferred<u64>>,
    /// The number of its bytes that hyper has not written yet.
    left: u64,
}

impl Wire {
    pub(super) fn new(conn: Connection, watch: Rc<Watch>) -> Self {
        Self {
            conn,
            ahead: Vec::new(),
            watch,
            strict: None,
            frames: Frames {
                left: PREFACE_LEN,
                header: Vec::new(),
                taken: 0,
            },
            file: None,
        }
    }

    /// Returns whether the peer speaks HTTP/2: as agreed by ALPN, or else as the first bytes say.
    /// Fails when the connection has to end.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        let is_http2 = self.speaks_http2().await?;
        self.watch.set_http2(is_http2);
        self.strict = (!is_http2).then(Strict::default);
        Ok(is_http2)
    }

    async fn speaks_http2(&mut self) -> io::Result<bool> {
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

    /// Takes the connection, when hyper has done its part.
    pub(super) fn into_connection(self, unread: &[u8]) -> Connection {
        let mut conn = self.conn;
        conn.put_back(&[unread, &self.ahead].concat());
        conn
    }

    /// Sends the file in whose place hyper writes `length` zeros.
    fn poll_send_file(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let file = self.file.get_or_insert_with(|| {
            let part = self.watch.take_file();
            let left = part.as_ref().map_or(0, |part| part.left);
            let transport = self.conn.transport();
            let sending = part.map(|part| transport.send_file_part(part.file, part.left));
            SentFile { sending, left }
        });
        if let Some(sending) = &mut file.sending {
            let sent = ready!(Pin::new(sending).poll(cx));
            file.sending = None;
            if !sent.as_ref().is_ok_and(|sent| *sent == file.left) {
                // The peer must not take a part for the whole.
                self.conn.transport().abort_connection();
                let error = sent.map_or_else(io::Error::other, |_| UnexpectedEof.into());
                return Poll::Ready(Err(error));
            }
        }
        let count = (length as u64).min(file.left);
        file.left -= count;
        if file.left == 0 {
            self.file = None;
        }
        Poll::Ready(Ok(count as usize))
    }

    fn poll_write_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = pieces;
        if self.file.is_some() || self.watch.has_file() {
            let first = pieces.iter().position(|piece| !piece.is_empty());
            pieces = &pieces[first.unwrap_or(0)..];
            match pieces.iter().position(|piece| is_zeros(piece)) {
                Some(0) => return self.poll_send_file(cx, pieces[0].len()),
                Some(count) => pieces = &pieces[..count],
                None => {}
            }
        }
        let written = ready!(Write::poll_write_vectored(
            Pin::new(&mut self.conn),
            cx,
            pieces
        ));
        self.watch.note_moved();
        Poll::Ready(written)
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            conn,
            ahead,
            watch,
            strict,
            frames,
            ..
        } = self.get_mut();
        let space = buf.remaining();
        let Some(strict) = strict else {
            if frames.is_turn_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let space = space.min(FRAMES_READ);
            let mut put = |bytes: &[u8]| {
                let count = frames.take(bytes);
                buf.put_slice(&bytes[..count]);
                count
            };
            if !ahead.is_empty() {
                let count = put(&ahead[..space.min(ahead.len())]);
                ahead.drain(..count);
                return Poll::Ready(Ok(()));
            }
            let polled = conn.poll_read_uninit(cx, space, |bytes| {
                let count = put(bytes);
                ahead.extend_from_slice(&bytes[count..]);
            });
            match polled.is_ready() {
                true => watch.note_moved(),
                false => watch.note_waiting(false),
            }
            return polled;
        };
        if strict.is_refused() {
            return Poll::Ready(Ok(()));
        }
        if strict.is_upgrade() {
            ready!(watch.poll_stays(cx));
            strict.stay();
        }
        let most = space.saturating_sub(REFUSED.len()).max(1);
        let mut put = |bytes: &[u8]| {
            let count = strict.check(bytes);
            buf.put_slice(&bytes[..count]);
            if strict.asks_for_upgrade() {
                watch.note_asked();
            }
            if strict.is_refused() && buf.remaining() >= REFUSED.len() {
                buf.put_slice(REFUSED);
            }
            bytes[count..].to_vec()
        };
        if !ahead.is_empty() {
            let count = most.min(ahead.len());
            let held = put(&ahead[..count]);
            ahead.splice(..count, held);
            return Poll::Ready(Ok(()));
        }
        let polled = conn.poll_read_uninit(cx, most, |bytes| *ahead = put(bytes));
        if polled.is_pending() {
            watch.note_waiting(strict.is_in_head());
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
        self.poll_write_pieces(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(cx, bufs)
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

/// Counts the frames of HTTP/2, so that other tasks have their turn after some: a frame of a few
/// bytes, such as a `PING`, takes hyper microseconds.
struct Frames {
    /// The number of bytes of the current frame that are left.
    left: usize,
    /// The beginning of the next frame's header.
    header: Vec<u8>,
    /// The number of frames in this turn.
    taken: usize,
}

impl Frames {
    /// Returns how many of the bytes hyper may read in this turn.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let count = self.left.min(bytes.len() - at);
            (self.left, at) = (self.left - count, at + count);
            if self.left == 0 && at < bytes.len() {
                if self.taken == FRAMES {
                    break;
                }
                let count = (9 - self.header.len()).min(bytes.len() - at);
                self.header.extend_from_slice(&bytes[at..at + count]);
                at += count;
                if let [high, middle, low, _, _, _, _, _, _] = self.header[..] {
                    self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                    self.header.clear();
                    self.taken += 1;
                }
            }
        }
        at
    }

    /// Returns whether other tasks have their turn now; hyper's next one begins after that.
    fn is_turn_over(&mut self) -> bool {
        let is_over = self.taken == FRAMES;
        if is_over {
            self.taken = 0;
        }
        is_over
    }
}

/// Returns at most `most` zeros of the one buffer.
pub(super) fn zeros(most: u64) -> Bytes {
    ZEROS.with(|zeros| {
        let zeros = zeros.get_or_init(|| vec![0; ZEROS_LEN].into());
        zeros.slice(..most.min(ZEROS_LEN as u64) as usize)
    })
}

/// Returns whether the bytes are in that buffer.
fn is_zeros(bytes: &[u8]) -> bool {
    ZEROS.with(|zeros| {
        let zeros = zeros.get().map(|zeros| zeros.as_ptr_range());
        zeros.is_some_and(|zeros| zeros.contains(&bytes.as_ptr()))
    })
}

thread_local! {
    /// The system gives such a buffer no memory before it is used.
    static ZEROS: OnceCell<Bytes> = const { OnceCell::new() };
}

const ZEROS_LEN: usize = 4 << 20;
/// The beginning of what a client sends first that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// The number of bytes that such a client sends before its first frame.
const PREFACE_LEN: usize = 24;
/// The most frames of HTTP/2 in one turn, and the most bytes that are read at once for them.
const FRAMES: usize = 16;
const FRAMES_READ: usize = 16 << 10;
/// The most bytes that are read before it is known what the peer speaks.
const FIRST: usize = 4096;
