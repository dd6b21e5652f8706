//! A socket inside this process: two queues, which a task fills and empties at the far end.
//!
//! # The idea
//!
//! A relay makes a connection of any two byte streams: the connection's engine has a [`Relay`] in
//! place of a socket of the machine or in memory, and the task that moves the streams' bytes has
//! the [`FarEnd`].
//!
//! # Invariants
//!
//! 1. Readiness is level-triggered, as that of other sockets: every wait reports it while it lasts
//!    and is asked for.
//! 2. The queues are never longer than [`CAPACITY`].
//! 3. Wakers are called while nothing is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{Event, Interest};
use crate::cells;
use crate::index::Indexed;

/// The connection's end. Dropping it closes the relay.
#[derive(Debug)]
pub(crate) struct Relay(Rc<Shared>);

/// The end of the task that moves the bytes. Dropping it breaks the connection, unless the
/// connection has ended before.
#[derive(Debug)]
pub(crate) struct FarEnd(Rc<Shared>);

/// What the connection has written or done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Bytes, which were appended to the buffer.
    Bytes,
    /// The connection writes no more, and still reads.
    Shut,
    /// The connection ended in good order.
    Closed,
    /// The connection was aborted.
    Reset,
}

#[derive(Default)]
struct Shared {
    to_connection: RefCell<VecDeque<u8>>,
    from_connection: RefCell<VecDeque<u8>>,
    /// Set when the far end gives no more bytes; an `Err` holds the reason.
    end: Cell<Option<Result<(), io::Error>>>,
    is_shut: Cell<bool>,
    is_closed: Cell<bool>,
    is_reset: Cell<bool>,
    /// Whether the far end is gone.
    is_abandoned: Cell<bool>,
    /// Wakes the task that takes what the connection has written.
    read_waker: Cell<Option<Waker>>,
    /// Wakes the task that gives bytes to the connection.
    write_waker: Cell<Option<Waker>>,
    /// The key and the interest while the relay is watched, and the driver's list.
    watch: RefCell<Option<(usize, Interest, Relays)>>,
}

/// The watched relays of a driver.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays(Rc<RefCell<Indexed<Rc<Shared>>>>);

/// Makes the two ends of a relay.
pub(crate) fn pair() -> (Relay, FarEnd) {
    let shared = Rc::<Shared>::default();
    (Relay(shared.clone()), FarEnd(shared))
}

impl Relays {
    /// Appends the events of ready relays.
    #[inline]
    pub(super) fn append_ready(&self, events: &mut Vec<Event>) {
        let mut changed = self.0.borrow_mut();
        if changed.is_empty() {
            return;
        }
        changed.retain(|key, relay| {
            let (readable, writable) = relay.ready();
            if readable || writable {
                events.push(Event::new(key as usize, readable, writable, false));
            }
            readable || writable
        });
    }
}

impl Relay {
    pub(super) fn watch(&self, relays: &Relays, key: usize, interest: Interest) {
        self.0.watch.replace(Some((key, interest, relays.clone())));
        self.0.changed();
    }

    pub(super) fn ignore(&self) {
        let watch = self.0.watch.take();
        if let Some((key, _, relays)) = watch {
            relays.0.borrow_mut().remove(key as u64);
        }
    }

    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let shared = &self.0;
        let count = move_out(&mut shared.to_connection.borrow_mut(), into);
        if count > 0 {
            cells::wake(&shared.write_waker);
            return Ok(count);
        }
        if into.is_empty() {
            return Ok(0);
        }
        match shared.end.take() {
            Some(end) => {
                shared.end.set(Some(Ok(())));
                end.map(|()| 0)
            }
            None if shared.is_abandoned.get() => Err(io::ErrorKind::ConnectionReset.into()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &self.0;
        if shared.is_shut.get() || shared.is_abandoned.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut queue = shared.from_connection.borrow_mut();
        let count = bytes.len().min(CAPACITY - queue.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        queue.extend(&bytes[..count]);
        drop(queue);
        cells::wake(&shared.read_waker);
        Ok(count)
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        if how != Shutdown::Read {
            self.0.is_shut.set(true);
            cells::wake(&self.0.read_waker);
        }
    }

    pub(super) fn reset_on_close(&self) {
        self.0.is_reset.set(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ignore();
        self.0.is_closed.set(true);
        cells::wake(&self.0.read_waker);
        cells::wake(&self.0.write_waker);
    }
}

impl FarEnd {
    /// Takes what the connection has written, or waits for it.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut Vec<u8>) -> Poll<Written> {
        let shared = &self.0;
        if shared.is_reset.get() && shared.is_closed.get() {
            return Poll::Ready(Written::Reset);
        }
        let mut queue = shared.from_connection.borrow_mut();
        if !queue.is_empty() {
            into.extend(queue.drain(..));
            drop(queue);
            shared.changed();
            return Poll::Ready(Written::Bytes);
        }
        drop(queue);
        if shared.is_closed.get() {
            return Poll::Ready(Written::Closed);
        }
        if shared.is_shut.get() {
            return Poll::Ready(Written::Shut);
        }
        set(&shared.read_waker, cx);
        Poll::Pending
    }

    /// Returns whether the connection ended in good order.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.get() && !self.0.is_reset.get()
    }

    /// Returns whether the connection was aborted.
    pub(crate) fn is_reset(&self) -> bool {
        self.0.is_closed.get() && self.0.is_reset.get()
    }

    /// Returns how many bytes the connection has written that were not taken.
    pub(crate) fn unsent(&self) -> usize {
        self.0.from_connection.borrow().len()
    }

    /// Waits until the connection has ended.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.is_closed.get() {
            return Poll::Ready(());
        }
        set(&self.0.read_waker, cx);
        Poll::Pending
    }

    /// Waits until there is space; returns how many bytes fit, or `None` when the connection takes
    /// no more.
    pub(crate) fn poll_space(&self, cx: &Context<'_>) -> Poll<Option<usize>> {
        if self.0.is_closed.get() {
            return Poll::Ready(None);
        }
        match CAPACITY - self.0.to_connection.borrow().len() {
            0 => {
                set(&self.0.write_waker, cx);
                Poll::Pending
            }
            room => Poll::Ready(Some(room)),
        }
    }

    /// Gives bytes to the connection, at most as many as fit.
    pub(crate) fn give(&self, bytes: &[u8]) {
        self.0.to_connection.borrow_mut().extend(bytes);
        self.0.changed();
    }

    /// Ends the connection's input, in good order or with an error.
    pub(crate) fn end(&self, end: io::Result<()>) {
        self.0.end.set(Some(end));
        self.0.changed();
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.0.is_abandoned.set(true);
        self.0.changed();
    }
}

impl Shared {
    /// Returns the readiness to read and to write, limited to the interest.
    fn ready(&self) -> (bool, bool) {
        let watch = self.watch.borrow();
        let Some((_, interest, _)) = &*watch else {
            return (false, false);
        };
        let has_ended = cells::is_some(&self.end) || self.is_abandoned.get();
        let readable = has_ended || !self.to_connection.borrow().is_empty();
        let writable = self.is_abandoned.get() || self.from_connection.borrow().len() < CAPACITY;
        (interest.reads() && readable, interest.writes() && writable)
    }

    /// Lists the relay for the driver's next look.
    fn changed(self: &Rc<Self>) {
        if let Some((key, _, relays)) = &*self.watch.borrow() {
            relays.0.borrow_mut().insert(*key as u64, self.clone());
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("to_connection", &self.to_connection.borrow().len())
            .field("from_connection", &self.from_connection.borrow().len())
            .field("is_closed", &self.is_closed.get())
            .finish_non_exhaustive()
    }
}

fn move_out(queue: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    let count = into.len().min(queue.len());
    for (location, byte) in into.iter_mut().zip(queue.drain(..count)) {
        *location = byte;
    }
    count
}

fn set(location: &Cell<Option<Waker>>, cx: &Context<'_>) {
    drop(location.replace(Some(cx.waker().clone())));
}

/// The most bytes that wait in either direction.
const CAPACITY: usize = 64 * 1024;
