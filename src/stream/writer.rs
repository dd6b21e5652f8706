//! Writes a connection: into its queue, as long as there is space.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::awaited::Awaited;
use crate::task::{Executor, budget};
use crate::transport::{BIG, Conn, ConnCore, ConnectionError, as_io_error};

/// To copy this many bytes pushes other memory out of the processor's caches. Tasks that are ready
/// run before that: their code, for the most part the same, is read from memory once, not again
/// after each such write.
const HUGE: usize = 256 * 1024;

/// Writes like [`poll_write`], one slice.
#[inline]
pub(super) fn poll_write_one(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    piece: &[u8],
) -> Poll<io::Result<usize>> {
    match write_at_once(conn, piece) {
        true => Poll::Ready(Ok(piece.len())),
        false => poll_write(conn, cx, &[IoSlice::new(piece)]),
    }
}

/// Queues all of `piece`, if no limit has to be checked.
#[inline(never)]
fn write_at_once(conn: &Rc<Conn<Awaited>>, piece: &[u8]) -> bool {
    write_both_at_once(conn, piece, b"")
}

/// Queues a line and its end, if no limit has to be checked.
#[inline(never)]
pub(super) fn write_line_at_once(conn: &Rc<Conn<Awaited>>, line: &[u8]) -> bool {
    write_both_at_once(conn, line, b"\r\n")
}

#[inline(always)]
fn write_both_at_once(conn: &Rc<Conn<Awaited>>, piece: &[u8], end: &[u8]) -> bool {
    let is_done = piece.len() + end.len() < BIG
        && budget::is_left()
        && conn.link().write_if_usual(piece, end);
    if is_done {
        conn.handler().is_writing.set(false);
        budget::spend(piece.len() + end.len());
    }
    is_done
}

/// Writes like [`poll_write`], several slices.
#[inline]
pub(super) fn poll_write_vectored(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match pieces {
        [one, two] if write_both_at_once(conn, one, two) => Poll::Ready(Ok(one.len() + two.len())),
        _ => poll_write(conn, cx, pieces),
    }
}

/// Queues as many bytes as fit, or waits for space.
#[inline(never)]
pub(super) fn poll_write(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if budget::is_spent(cx) {
        conn.handler().is_writing.set(true);
        return Poll::Pending;
    }
    let written = poll_write_unmetered(conn, cx, pieces);
    conn.handler().is_writing.set(written.is_pending());
    if let Poll::Ready(written) = &written {
        budget::spend(ConnCore::cost_of_writing(*written.as_ref().unwrap_or(&0)));
    }
    written
}

fn poll_write_unmetered(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let link = conn.link();
    if let Some(error) = end_of_writing(conn) {
        return Poll::Ready(Err(error));
    }
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    if total == 0 {
        return Poll::Ready(Ok(0));
    }
    if total >= HUGE && gives_way(conn) {
        budget::give_way(cx);
        return Poll::Pending;
    }
    if total >= BIG {
        // Not worth copying, if the socket accepts it at once.
        if let Some(count) = link.write_through(pieces) {
            return Poll::Ready(Ok(count));
        }
        if let Some(error) = end_of_writing(conn) {
            return Poll::Ready(Err(error));
        }
    }
    let mut room = link.limits().high.max(1).saturating_sub(link.queued());
    if link.is_full() || room == 0 {
        link.note_full();
        Awaited::await_space(conn, cx);
        return Poll::Pending;
    }
    let mut taken = 0;
    for piece in pieces {
        let count = piece.len().min(room);
        link.write(&piece[..count]);
        taken += count;
        room -= count;
    }
    Poll::Ready(Ok(taken))
}

/// Returns whether others run before a huge write. (What is written in TLS is divided.)
fn gives_way(conn: &Rc<Conn<Awaited>>) -> bool {
    // It has given way, or waited for space, already.
    let is_again = conn.handler().is_writing.get();
    !is_again
        && budget::is_limited_and_left()
        && !conn.link().is_in_tls()
        && Executor::others_are_ready()
}

/// Writes all of `rest`, and advances it past the bytes that were written.
#[inline]
pub(super) fn poll_write_all(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    rest: &mut &[u8],
) -> Poll<io::Result<()>> {
    if write_at_once(conn, rest) {
        *rest = &[];
        return Poll::Ready(Ok(()));
    }
    poll_write_rest(conn, cx, rest)
}

/// Writes like [`poll_write_all`], where it takes more than one step.
#[inline(never)]
fn poll_write_rest(
    conn: &Rc<Conn<Awaited>>,
    cx: &Context<'_>,
    rest: &mut &[u8],
) -> Poll<io::Result<()>> {
    while !rest.is_empty() {
        match ready!(poll_write_one(conn, cx, rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => *rest = &rest[count..],
        }
    }
    Poll::Ready(Ok(()))
}

/// Waits until everything has been handed to the system.
pub(super) fn poll_flush(conn: &Rc<Conn<Awaited>>, cx: &Context<'_>) -> Poll<io::Result<()>> {
    let link = conn.link();
    if budget::is_spent(cx) {
        return Poll::Pending;
    }
    if link.queued() == 0 || link.life().is_over() {
        budget::spend(0);
        return Poll::Ready(state_of_writing(conn));
    }
    Awaited::await_space(conn, cx);
    Poll::Pending
}

/// Is ready at once: the loop sends what is queued anyway, and a task that waited for that would be
/// woken once more for each message. If the loop fails to, it wakes the task, and the next flush
/// returns the error.
#[cfg(feature = "hyper")]
pub(super) fn flush_at_once(conn: &Rc<Conn<Awaited>>, _cx: &Context<'_>) -> Poll<io::Result<()>> {
    Poll::Ready(state_of_writing(conn))
}

/// Fails with the error that has ended writing, if there is one.
fn state_of_writing(conn: &Rc<Conn<Awaited>>) -> io::Result<()> {
    let link = conn.link();
    match link.reason().or_else(|| link.write_failure()) {
        Some(reason) if !matches!(reason.downcast_ref(), Some(ConnectionError::Done)) => {
            Err(as_io_error(&reason))
        }
        _ => Ok(()),
    }
}

/// Sends the end of file to the peer, and waits until everything before it has been handed to the
/// system.
pub(super) fn poll_close(conn: &Rc<Conn<Awaited>>, cx: &Context<'_>) -> Poll<io::Result<()>> {
    conn.transport().lose_write();
    if conn.link().life().has_shut_write() {
        return poll_flush(conn, cx);
    }
    Awaited::await_space(conn, cx);
    Poll::Pending
}

/// Returns the error of a write after the end.
fn end_of_writing(conn: &Rc<Conn<Awaited>>) -> Option<io::Error> {
    let link = conn.link();
    if link.life().takes_writes() {
        return None;
    }
    match link.reason().or_else(|| link.write_failure()) {
        Some(reason) if !matches!(reason.downcast_ref(), Some(ConnectionError::Done)) => {
            Some(as_io_error(&reason))
        }
        _ => Some(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Implements a trait for writing bytes. The traits of futures, tokio and hyper differ in how they
/// call the end, in whether a flush waits, and in whether they ask if vectored writes are
/// worthwhile.
macro_rules! writes {
    (
        $(#[$attribute:meta])*
        $trait:ident::$close:ident by $flush:ident for $name:ident, |$this:ident| $conn:expr $(, $($more:tt)*)?
    ) => {
        $(#[$attribute])*
        impl $trait for $name {
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

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                writer::$flush($conn, cx)
            }

            fn $close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                writer::poll_close($conn, cx)
            }

            $($($more)*)?
        }
    };
}
pub(super) use writes;
