//! Reads a connection: from the socket straight into the caller's buffer, or through a read-ahead
//! buffer for methods that look for a line or another frame.

use std::io;
use std::mem;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::awaited::Awaited;
use crate::framing::{
    Decoded, Decoder, Found, FrameError, LineCodec, Rejected, SKIPS, first_frame,
};
use crate::task::budget;
use crate::transport::{BIG, Conn, ConnectionError, as_io_error};

/// The reading side of a handle.
pub(super) struct Reader {
    conn: Rc<Conn<Awaited>>,
    /// Bytes that were read ahead. Allocated when first used.
    ahead: Option<Box<ReadAhead>>,
}

struct ReadAhead {
    /// The space for the bytes: longer than `READ_AHEAD` only while a line needs it.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How far an unfinished line has been looked at.
    lines: LineCodec,
}

impl Reader {
    pub(super) fn new(conn: Rc<Conn<Awaited>>) -> Self {
        Self { conn, ahead: None }
    }

    /// Moves the bytes that were read ahead into a new reader of the same connection.
    pub(super) fn take(&mut self) -> Self {
        Self {
            conn: self.conn.clone(),
            ahead: mem::take(&mut self.ahead),
        }
    }

    /// Returns how many bytes were read ahead.
    #[cfg(feature = "tls")]
    pub(super) fn ahead(&self) -> usize {
        let ahead = self.ahead.as_ref();
        ahead.map_or(0, |ahead| ahead.end - ahead.start)
    }

    /// Takes the bytes that were read ahead.
    pub(super) fn take_ahead(&mut self) -> Vec<u8> {
        let ahead = mem::take(&mut self.ahead);
        ahead.map_or_else(Vec::new, |ahead| {
            ahead.buffer[ahead.start..ahead.end].to_vec()
        })
    }

    /// Puts back bytes that another reader has taken with `take_ahead`.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let ahead = self.ahead.get_or_insert_with(ReadAhead::new);
            if ahead.buffer.len() < bytes.len() {
                ahead.buffer.resize(bytes.len(), 0);
            }
            ahead.buffer[..bytes.len()].copy_from_slice(bytes);
            ahead.start = 0;
            ahead.end = bytes.len();
        }
    }

    pub(super) fn conn(&self) -> &Rc<Conn<Awaited>> {
        &self.conn
    }

    /// Reads available bytes into `buf`, or waits. `0` is the end of file.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.ahead.is_none() && !buf.is_empty() {
            return poll_socket(&self.conn, cx, buf);
        }
        self.poll_read_ahead(cx, buf)
    }

    /// Reads like [`Reader::poll_read`], where bytes were read ahead before.
    #[inline(never)]
    fn poll_read_ahead(&mut self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        if let Some(ahead) = &mut self.ahead {
            let count = buf.len().min(ahead.end - ahead.start);
            if count > 0 {
                budget::spend(count);
                buf[..count].copy_from_slice(&ahead.buffer[ahead.start..ahead.start + count]);
                ahead.consume(count);
                return Poll::Ready(Ok(count));
            }
        }
        poll_socket(&self.conn, cx, buf)
    }

    /// Reads into the loop's own buffer and calls `f` with the bytes, or waits. An empty slice is
    /// the end of file.
    pub(super) fn poll_read_with<R, F: FnOnce(&[u8]) -> R>(
        &mut self,
        cx: &Context<'_>,
        f: &mut Option<F>,
    ) -> Poll<io::Result<R>> {
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        let ahead = self.take_ahead();
        if !ahead.is_empty() {
            self.conn.link().note_buffered(|| 0);
            budget::spend(ahead.len());
            return Poll::Ready(Ok(call(f, &ahead)));
        }
        self.poll_shared(cx, usize::MAX, f)
    }

    /// Reads at most `limit` bytes like [`Reader::poll_read_with`], for a buffer that cannot be
    /// lent because it is not initialized: copying the bytes that come costs less than to clear it.
    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    pub(super) fn poll_read_uninit(
        &mut self,
        cx: &Context<'_>,
        limit: usize,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        let mut put = Some(put);
        let ahead = match &mut self.ahead {
            _ if limit == 0 => return Poll::Ready(Ok(())),
            Some(ahead) if ahead.start < ahead.end => ahead,
            _ => return self.poll_shared(cx, limit, &mut put),
        };
        if budget::is_spent(cx) {
            return Poll::Pending;
        }
        let count = limit.min(ahead.end - ahead.start);
        budget::spend(count);
        call(&mut put, &ahead.buffer[ahead.start..ahead.start + count]);
        ahead.consume(count);
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket into the loop's buffer, at most `limit` bytes.
    fn poll_shared<R, F: FnOnce(&[u8]) -> R>(
        &self,
        cx: &Context<'_>,
        limit: usize,
        f: &mut Option<F>,
    ) -> Poll<io::Result<R>> {
        let Some(reactor) = self.conn.link().reactor() else {
            return poll_socket(&self.conn, cx, &mut []).map_ok(|_| call(f, &[]));
        };
        let mut buffer = reactor.inner().take_read_buffer();
        let limit = limit.min(buffer.len());
        let read = poll_socket(&self.conn, cx, &mut buffer[..limit]);
        let read = read.map_ok(|count| call(f, &buffer[..count]));
        reactor.inner().give_back_read_buffer(buffer);
        read
    }

    /// Returns the bytes that were read ahead, reading more if there are none. An empty slice is
    /// the end of file.
    pub(super) fn poll_fill_buf(&mut self, cx: &Context<'_>) -> Poll<io::Result<&[u8]>> {
        let ahead = self.ahead.get_or_insert_with(ReadAhead::new);
        if ahead.start == ahead.end {
            ahead.make_room();
            let unfilled = ahead.buffer.len();
            self.conn.link().note_buffered(|| unfilled);
            ahead.end = ready!(poll_socket(&self.conn, cx, &mut ahead.buffer))?;
        } else if budget::is_spent(cx) {
            return Poll::Pending;
        } else {
            budget::spend(0);
        }
        Poll::Ready(Ok(&ahead.buffer[ahead.start..ahead.end]))
    }

    /// Takes out the next line, reading ahead for it. Returns `None` at the end; the bytes that are
    /// left then count as a line.
    ///
    /// The received bytes of an unfinished line stay in the buffer.
    pub(super) fn poll_line(
        &mut self,
        cx: &Context<'_>,
        limit: usize,
    ) -> Poll<io::Result<Option<Vec<u8>>>> {
        match self.line_at_once(limit, <[u8]>::to_vec) {
            Some(line) => Poll::Ready(Ok(Some(line))),
            None => self.poll_line_slowly(cx, limit, <[u8]>::to_vec),
        }
    }

    /// Takes out the next line like [`Reader::poll_line`], and puts it into `line`. Returns whether
    /// there was one.
    pub(super) fn poll_line_into(
        &mut self,
        cx: &Context<'_>,
        limit: usize,
        line: &mut Vec<u8>,
    ) -> Poll<io::Result<bool>> {
        line.clear();
        if self
            .line_at_once(limit, |found| line.extend_from_slice(found))
            .is_some()
        {
            return Poll::Ready(Ok(true));
        }
        let read = self.poll_line_slowly(cx, limit, |found| line.extend_from_slice(found));
        read.map_ok(|found| found.is_some())
    }

    /// Takes out the next line, if it is there and there is nothing else to do.
    #[inline(always)]
    fn line_at_once<R>(&mut self, limit: usize, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let ahead = self.ahead.as_mut()?;
        if ahead.start == ahead.end || !budget::is_left() {
            return None;
        }
        ahead.lines.set_limit(limit);
        let input = &ahead.buffer[ahead.start..ahead.end];
        let (line, used) = ahead.lines.whole_line(input)?;
        let line = f(line);
        ahead.start += used;
        self.conn.link().note_unfinished(false, true);
        budget::spend(used);
        Some(line)
    }

    #[inline(never)]
    fn poll_line_slowly<R>(
        &mut self,
        cx: &Context<'_>,
        limit: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Poll<io::Result<Option<R>>> {
        let ahead = self.ahead.get_or_insert_with(ReadAhead::new);
        let mut lines = mem::take(&mut ahead.lines);
        lines.set_limit(limit);
        let own = |found: Found<'_, LineCodec>| found.map(f).map_err(|no| no.error);
        let line = self.poll_frame(cx, &mut lines, &mut Some(own));
        if let Some(ahead) = &mut self.ahead {
            ahead.lines = lines;
        }
        line.map(|line| match line?.transpose() {
            Ok(line) => Ok(line),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        })
    }

    /// Takes out the next frame, reading ahead for it, and calls `f` with it. Returns `None` at the
    /// end.
    ///
    /// The received bytes of an unfinished frame stay in the buffer.
    pub(super) fn poll_frame<D: Decoder, R, F: FnOnce(Found<'_, D>) -> R>(
        &mut self,
        cx: &Context<'_>,
        decoder: &mut D,
        f: &mut Option<F>,
    ) -> Poll<io::Result<Option<R>>> {
        let ahead = self.ahead.get_or_insert_with(ReadAhead::new);
        loop {
            if budget::is_spent(cx) {
                return Poll::Pending;
            }
            let rest = &ahead.buffer[ahead.start..ahead.end];
            let (found, used, skips) = first_frame(decoder, rest);
            budget::spend_on(skips);
            let result = found.map(|found| call(f, found));
            ahead.start += used;
            let is_unfinished = result.is_none() && ahead.start < ahead.end;
            self.conn.link().note_unfinished(is_unfinished, used > 0);
            if result.is_some() {
                budget::spend(used);
                return Poll::Ready(Ok(result));
            }
            if skips == SKIPS {
                continue;
            }
            ahead.make_room();
            self.conn.link().note_buffered(|| ahead.buffer.len());
            let unfilled = &mut ahead.buffer[ahead.end..];
            match ready!(poll_socket(&self.conn, cx, unfilled))? {
                0 => return Poll::Ready(ahead.last_frame(decoder, f)),
                count => ahead.end += count,
            }
        }
    }

    /// Takes the next received descriptor, reading ahead for it. Returns `None` at the end of file.
    #[cfg(unix)]
    pub(super) fn poll_descriptor(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Option<OwnedFd>>> {
        self.conn.link().set_descriptors_wanted(true);
        loop {
            if budget::is_spent(cx) {
                return Poll::Pending;
            }
            if let Some(descriptor) = self.conn.link().take_descriptor() {
                budget::spend(0);
                return Poll::Ready(Ok(Some(descriptor)));
            }
            let ahead = self.ahead.get_or_insert_with(ReadAhead::new);
            ahead.compact();
            if ahead.end == ahead.buffer.len() {
                let message = format!("{READ_AHEAD} bytes came and no descriptor with them");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
            }
            let unfilled = &mut ahead.buffer[ahead.end..];
            match ready!(poll_socket(&self.conn, cx, unfilled))? {
                0 => return Poll::Ready(Ok(None)),
                count => ahead.end += count,
            }
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        if let Some(ahead) = &mut self.ahead {
            ahead.consume(count);
        }
    }
}

impl ReadAhead {
    fn new() -> Box<Self> {
        Box::new(Self {
            buffer: vec![0; READ_AHEAD],
            start: 0,
            end: 0,
            lines: LineCodec::new(),
        })
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        self.lines.restart();
    }

    /// Moves the unread bytes to the beginning of the buffer.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Makes space after the unread bytes.
    fn make_room(&mut self) {
        if self.start == self.end && self.buffer.len() > READ_AHEAD {
            self.buffer = vec![0; READ_AHEAD];
            self.start = 0;
            self.end = 0;
        }
        self.compact();
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
    }

    /// Takes out the frame that ends with the end of file, if there are bytes left.
    fn last_frame<D: Decoder, R, F: FnOnce(Found<'_, D>) -> R>(
        &mut self,
        decoder: &mut D,
        f: &mut Option<F>,
    ) -> io::Result<Option<R>> {
        let input = &self.buffer[self.start..self.end];
        let received = input.len();
        if received == 0 {
            return Ok(None);
        }
        let (result, used) = match decoder.decode_end(input) {
            Decoded::More => {
                let error = FrameError::Incomplete { received };
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, error);
                (Err(error), received)
            }
            Decoded::Skip(length) => (Ok(None), length),
            Decoded::Frame { frame, length } => (Ok(Some(call(f, Ok(frame)))), length),
            Decoded::Bad {
                error,
                bytes,
                length,
            } => {
                let rejected = Rejected::new(error, bytes, false);
                (Ok(Some(call(f, Err(rejected)))), length)
            }
            Decoded::Broken { error, bytes } => {
                let rejected = Rejected::new(error, bytes, true);
                (Ok(Some(call(f, Err(rejected)))), received)
            }
        };
        self.consume(used);
        result
    }
}

/// Calls a function that is called once, when the future is ready.
fn call<T, R>(f: &mut Option<impl FnOnce(T) -> R>, value: T) -> R {
    let f = f.take().expect("a future is not polled after it was ready");
    f(value)
}

/// Reads from the socket if the loop has reported it readable, otherwise waits until it does.
///
/// A separate function, because inlining it into each `read` of a handler would cost more than the
/// call.
#[inline(never)]
fn poll_socket(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    if budget::is_spent(cx) {
        return Poll::Pending;
    }
    let is_usual = conn.link().is_usual();
    if conn.handler().readable.get() && (is_usual || end_of_reading(conn).is_none()) {
        if let Some(count) = read_socket(conn, buf) {
            // Where a peer floods, the system does its own work in the same call.
            budget::spend(2 * count);
            return Poll::Ready(Ok(count));
        }
    }
    if !conn.link().is_usual() {
        if let Some(end) = end_of_reading(conn) {
            budget::spend(0);
            return Poll::Ready(end);
        }
    }
    Awaited::await_bytes(conn, cx);
    // If that fails it wakes this task.
    conn.send_early();
    Poll::Pending
}

/// Reads from the socket; returns `None` when there were no bytes, or an error.
#[inline(always)]
fn read_socket(conn: &Rc<Conn<Awaited>>, buf: &mut [u8]) -> Option<usize> {
    let link = conn.link();
    let count = link.read(buf);
    match count {
        Some(0) => peer_done(conn),
        // Fewer bytes than fit: those were all, and the driver reports when there are more.
        Some(count) if count < buf.len() => note_empty(conn),
        // Messages that are as long as a big buffer: mostly there is no more.
        Some(count) if count >= BIG && conn.handler().skips_read() => note_empty(conn),
        Some(_) => {}
        None => {
            if buf.len() >= BIG {
                conn.handler().read_in_vain();
            }
            note_empty(conn);
        }
    }
    count
}

#[cold]
#[inline(never)]
fn peer_done(conn: &Rc<Conn<Awaited>>) {
    if let Some(reactor) = conn.link().reactor() {
        conn.peer_done(&reactor);
    }
}

/// Records that nothing is left to read, so the driver has to report further bytes.
#[inline]
fn note_empty(conn: &Rc<Conn<Awaited>>) {
    let handler = conn.handler();
    if conn.link().has_unread() {
        return;
    }
    handler.readable.set(false);
    if handler.is_unread.replace(false) {
        conn.link().ask_for_attention();
    }
}

/// Returns the result of a read after which nothing more comes.
#[cold]
#[inline(never)]
fn end_of_reading(conn: &Rc<Conn<Awaited>>) -> Option<io::Result<usize>> {
    let link = conn.link();
    if link.life().is_over() {
        let reason = link.reason()?;
        return Some(
            if matches!(reason.downcast_ref(), Some(ConnectionError::Done)) {
                Ok(0)
            } else {
                Err(as_io_error(&reason))
            },
        );
    }
    (!link.life().is_reading()).then_some(Ok(0))
}

/// The largest number of bytes that are read ahead, except for a long line.
const READ_AHEAD: usize = 8 * 1024;
