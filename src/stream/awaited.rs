//! The handler of a connection for async code: the waker of its reader. The waker of its writer is
//! part of the connection's rare state, because most connections write without ever having to wait.
//!
//! While no task reads, the first event only marks the connection readable; a second one removes
//! the interest in reading until a task reads. So bytes that no task reads cost two wake-ups, and
//! the loop does not spin.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

use crate::cells;
use crate::debug::DumpItem;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::task::{self, Wait, with_own_waker};
use crate::transport::{Conn, ConnHandler};

/// The handler of a connection for async code.
pub(crate) struct Awaited {
    pub(super) reader: Cell<Option<Waker>>,
    /// Whether a write waits for space or for its turn, so that the bytes written so far are a
    /// part.
    pub(super) is_writing: Cell<bool>,
    /// Whether there may be bytes to read.
    pub(super) readable: Cell<bool>,
    /// Whether the interest in reading was removed, because no task read the bytes that had
    /// arrived.
    pub(super) is_unread: Cell<bool>,
    /// Whether the future that serves the connection has returned `Ok`.
    pub(super) is_served: Cell<bool>,
    /// The number of big reads that fill their buffer after which the socket is not read again.
    reads_to_skip: Cell<u8>,
    /// The number of handles: one, or two halves.
    pub(super) handles: Cell<u8>,
}

impl Awaited {
    /// Makes the handler of a new connection.
    pub(super) fn new() -> Self {
        Self {
            reader: Cell::new(None),
            is_writing: Cell::new(false),
            readable: Cell::new(false),
            is_unread: Cell::new(false),
            is_served: Cell::new(false),
            reads_to_skip: Cell::new(0),
            handles: Cell::new(1),
        }
    }

    /// Returns whether to wait for the driver, and not read again, after a big read that filled its
    /// buffer.
    pub(super) fn skips_read(&self) -> bool {
        let left = self.reads_to_skip.get();
        self.reads_to_skip.set(left.saturating_sub(1));
        left > 0
    }

    /// Records that there were no more bytes after a big read had filled its buffer.
    pub(super) fn read_in_vain(&self) {
        self.reads_to_skip.set(SKIPPED);
    }

    /// Wakes the reader's task when bytes arrive.
    #[inline]
    pub(super) fn await_bytes(conn: &Rc<Conn<Self>>, cx: &Context<'_>) {
        set_waker(&conn.handler().reader, cx);
        task::note_wait(|| {
            Rc::new(Waits::new(conn, |conn| {
                cells::is_some(&conn.handler().reader)
            }))
        });
    }

    /// Wakes the writer's task when there is space.
    pub(super) fn await_space(conn: &Rc<Conn<Self>>, cx: &Context<'_>) {
        with_own_waker(cx, |new| {
            let old = conn.link().take_writer();
            let kept = old.filter(|old| old.will_wake(new));
            let waker = kept.unwrap_or_else(|| new.clone());
            conn.link().set_writer(waker);
        });
        task::note_wait(|| Rc::new(Waits::new(conn, |conn| conn.link().has_writer())));
    }
}

#[inline]
fn wake_writer(conn: &Rc<Conn<Awaited>>) {
    if let Some(waker) = conn.link().take_writer() {
        waker.wake();
    }
}

/// Removes one handle; the last one ends the connection.
pub(super) fn release(conn: &Rc<Conn<Awaited>>) {
    let handles = &conn.handler().handles;
    handles.set(handles.get() - 1);
    if handles.get() == 0 {
        conn.transport().lose_connection();
    }
}

impl ConnHandler for Awaited {
    fn readable(conn: &Rc<Conn<Self>>, _reactor: &Reactor) {
        let handler = conn.handler();
        if handler.readable.replace(true) {
            handler.is_unread.set(true);
        }
        cells::wake(&handler.reader);
    }

    fn eof(conn: &Rc<Conn<Self>>, _reactor: &Reactor) {
        // The driver need not report readiness any more.
        conn.link().ask_for_attention();
    }

    fn write_ready(conn: &Rc<Conn<Self>>, _reactor: &Reactor) {
        wake_writer(conn);
    }

    fn flushed(conn: &Rc<Conn<Self>>) {
        wake_writer(conn);
    }

    fn writing_failed(conn: &Rc<Conn<Self>>) {
        // A task that only reads now may have to learn it.
        cells::wake(&conn.handler().reader);
    }

    fn lost(conn: &Rc<Conn<Self>>, _reason: Failure) {
        cells::wake(&conn.handler().reader);
        wake_writer(conn);
    }

    fn wants_bytes(&self) -> bool {
        !self.is_unread.get()
    }

    fn is_held_when_full(&self) -> bool {
        false
    }

    #[inline]
    fn reads_for_itself(&self) -> bool {
        true
    }

    fn is_writing(&self) -> bool {
        self.is_writing.get()
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}

/// The number of reads that are not tried after one that found nothing.
const SKIPPED: u8 = 16;

/// The record of a task that waits for a connection.
struct Waits {
    conn: Weak<Conn<Awaited>>,
    is_waiting: fn(&Conn<Awaited>) -> bool,
}

impl Waits {
    fn new(conn: &Rc<Conn<Awaited>>, is_waiting: fn(&Conn<Awaited>) -> bool) -> Self {
        Self {
            conn: Rc::downgrade(conn),
            is_waiting,
        }
    }
}

impl Wait for Waits {
    fn look(&self) -> Option<DumpItem> {
        let conn = self.conn.upgrade()?;
        let is_waiting = (self.is_waiting)(&conn);
        conn.link().dump_item().filter(|_| is_waiting)
    }
}

#[inline]
fn set_waker(location: &Cell<Option<Waker>>, cx: &Context<'_>) {
    with_own_waker(cx, |new| match location.take() {
        None => location.set(Some(new.clone())),
        Some(old) if old.will_wake(new) => location.set(Some(old)),
        old => {
            location.set(Some(new.clone()));
            drop(old);
        }
    });
}
