//! hyper's view of a server's connection: [`Wire`].
//!
//! # The idea
//!
//! A request that two programs divide differently can hide another one from the first of them. So
//! [`Framing`] follows HTTP/1 as well, more strictly than hyper does: lines end with CR LF, a
//! request has one `Content-Length` or `Transfer-Encoding: chunked`, not both, and nothing but an
//! extension follows the size of a chunk. What hyper refuses is not looked for.
//!
//! The frames of HTTP/2 are counted: one of a few bytes, such as a `PING`, takes hyper a
//! microsecond.
//!
//! # Invariants
//!
//! 1. The transport flushes what is written by itself, so hyper never waits for that. Dropping the
//!    wire closes the connection.
//! 2. hyper reads nothing that [`Framing`] refuses. In its place it reads [bytes](REFUSED) to which
//!    it answers with status 400, wherever they are.
//! 3. A file that is the body of a response does not pass through hyper: hyper is given [zeros].
//!    When it writes these, which their address tells, the transport sends the file instead.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::str;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use memchr::memchr;

use super::body::ZEROS;
use super::exchange::Watch;
use crate::defer::Deferred;
use crate::stream::Connection;

/// A connection, and the bytes that were read before hyper reads.
pub(super) struct Wire {
    conn: Connection,
    watch: Rc<Watch>,
    framing: Framing,
    ahead: Vec<u8>,
    /// The number of bytes ahead that hyper may read.
    checked: usize,
    /// The file that the transport sends, and its length.
    sending: Option<(Deferred<u64>, u64)>,
}

impl Wire {
    pub(super) fn new(conn: Connection, watch: Rc<Watch>) -> Self {
        Self {
            conn,
            watch,
            framing: Framing::default(),
            ahead: Vec::new(),
            checked: 0,
            sending: None,
        }
    }

    /// Returns whether the peer speaks HTTP/2, according to its first bytes. Fails when the
    /// connection ends before they are known.
    pub(super) async fn find_version(&mut self) -> io::Result<bool> {
        while self.ahead.len() < PREFACE.len() && PREFACE.starts_with(&self.ahead) {
            let mut bytes = [0; 1024];
            match self.conn.read(&mut bytes).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.ahead.extend_from_slice(&bytes[..count]),
            }
        }
        let is_http2 = self.ahead.starts_with(PREFACE);
        if is_http2 {
            self.framing.state = HTTP2;
        }
        self.watch.is_http2.set(Some(is_http2));
        Ok(is_http2)
    }

    /// Returns the connection when HTTP has ended on it; `unread` are bytes that hyper has read.
    pub(super) fn into_connection(mut self, unread: &[u8]) -> Connection {
        self.conn.put_back(&[unread, &self.ahead].concat());
        self.conn
    }

    /// Checks how many of the bytes ahead hyper may read.
    fn check(&mut self) {
        self.checked = self.framing.check(&self.ahead);
        if self.framing.state == State::Refused {
            self.ahead.truncate(self.checked);
            self.ahead.extend_from_slice(REFUSED);
        } else if self.checked > 0 || self.ahead.len() <= self.watch.server.max_head {
            return;
        }
        // hyper refuses these bytes, or a line of this length.
        self.framing.state = State::Refused;
        self.checked = self.ahead.len();
    }

    /// Sends the file in whose place hyper writes `length` zeros.
    fn poll_send_file(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let transport = self.conn.transport();
        if let Some((file, length)) = self.watch.file.take() {
            self.sending = Some((transport.send_file_part(file, length), length));
        }
        if let Some((sending, length)) = &mut self.sending {
            let sent = ready!(Pin::new(sending).poll(cx));
            if !sent.as_ref().is_ok_and(|sent| sent == length) {
                // The peer must not take a part for the whole.
                transport.abort_connection();
                let shorter = |_| ErrorKind::UnexpectedEof.into();
                return Poll::Ready(Err(sent.map_or_else(io::Error::other, shorter)));
            }
            self.sending = None;
        }
        Poll::Ready(Ok(length))
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.checked == 0 {
                match this.framing.state {
                    State::Upgrade => {
                        if this.watch.changes.get() != Some(false) {
                            return Poll::Pending;
                        }
                        this.watch.changes.set(None);
                        this.framing.state = State::Start;
                    }
                    State::Frame(left, 0) => {
                        this.framing.state = State::Frame(left, FRAMES);
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    State::Refused if this.ahead.is_empty() => return Poll::Ready(Ok(())),
                    _ => {}
                }
                this.check();
            }
            if this.checked > 0 {
                let count = this.checked.min(buf.remaining());
                buf.put_slice(&this.ahead[..count]);
                this.ahead.drain(..count);
                this.checked -= count;
                return Poll::Ready(Ok(()));
            }
            let (mut count, mut given) = (0, 0);
            let polled = this.conn.poll_read_uninit(cx, buf.remaining(), |bytes| {
                count = bytes.len();
                if this.ahead.is_empty() {
                    given = this.framing.check(bytes);
                    buf.put_slice(&bytes[..given]);
                }
                this.ahead.extend_from_slice(&bytes[given..]);
            });
            if polled.is_pending() && (this.framing.state == State::Head || !this.ahead.is_empty())
            {
                this.watch.head_begun();
            }
            ready!(polled)?;
            if given > 0 || count == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let is_zeros = |piece: &IoSlice<'_>| ZEROS.as_ptr_range().contains(&piece.as_ptr());
        match pieces.iter().position(is_zeros) {
            Some(0) => this.poll_send_file(cx, pieces[0].len()),
            count => {
                let pieces = &pieces[..count.unwrap_or(pieces.len())];
                Pin::new(&mut this.conn).poll_write_vectored(cx, pieces)
            }
        }
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

/// A byte that is not allowed in a head or in the size of a chunk, and the end of a head, for which
/// hyper waits before it parses the rest.
const REFUSED: &[u8] = b"\0\r\n\r\n";
/// The first bytes of a client that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Follows the messages of a connection.
#[derive(Default)]
struct Framing {
    state: State,
    /// The number of bytes of the body, or [`CHUNKED`], as far as it is known from the head.
    body: Option<u64>,
    /// The state after the request.
    end: State,
    /// The number of empty lines before a request.
    empty_lines: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// Before a request.
    #[default]
    Start,
    Head,
    /// In a body, or in a chunk and the end of its line: the number of bytes that are left.
    Body(u64),
    ChunkSize,
    Trailer,
    /// After a request that asks for another protocol, until the response says whether the
    /// following bytes are HTTP.
    Upgrade,
    Refused,
    /// HTTP/2: the number of bytes until the next frame, and of frames until other tasks have their
    /// turn.
    Frame(u64, usize),
}

/// The state in which HTTP/2 begins, with a preface of 24 bytes.
const HTTP2: State = State::Frame(24, FRAMES);
/// The most frames in one turn.
const FRAMES: usize = 16;

impl Framing {
    /// Returns how many of the bytes, which follow those that it has returned before, hyper may
    /// read now. The rest is an unfinished line or header if the state does not say otherwise.
    fn check(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Upgrade | State::Refused | State::Frame(_, 0) => break,
                State::Body(left) => {
                    self.state = match (skip(left, bytes, &mut at), self.body) {
                        (0, Some(CHUNKED)) => State::ChunkSize,
                        (0, _) => self.end,
                        (left, _) => State::Body(left),
                    };
                }
                State::Frame(left, frames) => {
                    let left = skip(left, bytes, &mut at);
                    self.state = State::Frame(left, frames);
                    let header = bytes[at..].first_chunk::<9>();
                    let Some([high, middle, low, ..]) = header.filter(|_| left == 0) else {
                        break;
                    };
                    let length = u32::from_be_bytes([0, *high, *middle, *low]);
                    self.state = State::Frame(9 + u64::from(length), frames - 1);
                }
                _ => {
                    let Some(length) = memchr(b'\n', &bytes[at..]) else {
                        break;
                    };
                    let line = bytes[at..at + length].strip_suffix(b"\r");
                    match line.and_then(|line| self.next(line)) {
                        Some(state) => (self.state, at) = (state, at + length + 1),
                        None => self.state = State::Refused,
                    }
                }
            }
        }
        at
    }

    /// Returns the state after a line. `None` refuses it.
    fn next(&mut self, line: &[u8]) -> Option<State> {
        Some(match self.state {
            State::Start if line.is_empty() => {
                self.empty_lines += 1;
                (self.empty_lines <= EMPTY_LINES).then_some(State::Start)?
            }
            State::Start => {
                (self.body, self.empty_lines) = (None, 0);
                self.end = match line.starts_with(b"CONNECT ") {
                    true => State::Upgrade,
                    false => State::Start,
                };
                State::Head
            }
            State::Head if line.is_empty() => match self.body {
                None | Some(0) => self.end,
                Some(CHUNKED) => State::ChunkSize,
                Some(length) => State::Body(length),
            },
            // The headers that matter begin with one of these letters.
            State::Head if !matches!(line[0] | 0x20, b'c' | b't' | b'u') => State::Head,
            State::Head => self.header(line)?,
            State::ChunkSize => {
                let digits = str::from_utf8(line.split(|byte| *byte == b';').next()?).ok()?;
                match u64::from_str_radix(digits, 16).ok()? {
                    0 => State::Trailer,
                    // The end of the line counts.
                    size => State::Body(size.checked_add(2)?),
                }
            }
            State::Trailer if line.is_empty() => self.end,
            state => state,
        })
    }

    fn header(&mut self, line: &[u8]) -> Option<State> {
        let (name, value) = line.split_at(memchr(b':', line)?);
        let body = if name.eq_ignore_ascii_case(b"content-length") {
            str::from_utf8(&value[1..]).ok()?.trim().parse().ok()?
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_chunked = value[1..].trim_ascii().eq_ignore_ascii_case(b"chunked");
            is_chunked.then_some(CHUNKED)?
        } else {
            if name.eq_ignore_ascii_case(b"upgrade") {
                self.end = State::Upgrade;
            }
            return Some(State::Head);
        };
        let other = self.body.replace(body);
        other.is_none().then_some(State::Head)
    }
}

/// Moves on by at most `left` bytes. Returns how many of them have not come yet.
fn skip(left: u64, bytes: &[u8], at: &mut usize) -> u64 {
    let count = left.min((bytes.len() - *at) as u64);
    *at += count as usize;
    left - count
}

/// hyper refuses such a length.
const CHUNKED: u64 = u64::MAX;
/// The most empty lines before a request.
const EMPTY_LINES: usize = 8;
