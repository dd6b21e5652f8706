//! Closing in good order: written bytes must not be lost because received bytes were not read.
//!
//! # The idea
//!
//! When a socket is closed while bytes of the peer are unread, or arrive later, the system answers
//! with a reset, and bytes that it had not sent yet are lost. So where that could happen, the
//! writing side is closed first and the socket stays open for a while: bytes that still arrive are
//! discarded, until the peer sends the end of file as well or the time limit is over. No user code
//! waits for that: the handler's `lost` has been called before. Bytes written to a UNIX socket have
//! reached the peer already, so there it is enough to discard the bytes that have arrived.
//!
//! A peer that floods is not read all that time: after [`MOST`] bytes nothing is read any more. The
//! socket stays open, so that bytes on their way to the peer can still arrive, and the peer's own
//! system slows it down.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::driver::{Event, Interest, Socket};
use crate::failure::Failure;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked};

/// A socket without a handler, which waits for its peer's end of file.
struct Lingering {
    /// The registration, whose timer is the time limit.
    registration: Registration,
    /// `None` once closed.
    socket: Cell<Option<Socket>>,
    send_limits: Retry,
    location: &'static Location<'static>,
    /// The number of bytes that may still be read and discarded.
    left: Cell<usize>,
}

/// Closes a socket that the driver does not watch any more, and that has accepted `sent` bytes.
pub(super) fn close(
    reactor: &Reactor,
    socket: Socket,
    sent: u16,
    send_limits: Duration,
    location: &'static Location<'static>,
) {
    let left = Cell::new(MOST);
    match discard(reactor, &socket, &left) {
        _ if socket.is_local() => return,
        Some(true) => {}
        Some(false) if sent > AT_ONCE => {}
        _ => return,
    }
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let registered = reactor.register(|registration| Lingering {
        registration,
        send_limits: Retry::default(),
        location,
        socket: Cell::new(None),
        left,
    });
    let Ok(lingering) = registered else {
        return;
    };
    let registration = &lingering.registration;
    if registration
        .add_or_leave(reactor, &socket, Interest::Read)
        .is_err()
    {
        return;
    }
    lingering.socket.set(Some(socket));
    let timer = reactor.limit(send_limits, registration.attention());
    lingering.send_limits.set(Some(timer));
}

impl Lingering {
    fn leave(&self, reactor: Option<&Reactor>) {
        let socket = self.socket.take();
        if let (Some(socket), Some(reactor)) = (&socket, reactor) {
            self.registration.leave_with(reactor, socket);
        }
        drop(socket);
        self.send_limits.cancel();
    }
}

impl Tracked for Lingering {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        self.leave(reactor);
    }

    fn is_draining(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "closing connection"
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl Handler for Lingering {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let more = match self.left.get() {
            0 if event.hangup() => None,
            0 => Some(true),
            _ => discard(reactor, &socket, &self.left),
        };
        let is_enough = self.left.get() == 0;
        let result = match is_enough && more.is_some() {
            true => {
                let registration = &self.registration;
                registration.set_interest(reactor, &socket, Interest::None)
            }
            false => Ok(()),
        };
        self.socket.set(Some(socket));
        if more.is_none() || result.is_err() {
            self.leave(Some(reactor));
        }
    }

    /// Ends the wait when the time limit is over.
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.send_limits.take_due() {
            self.leave(Some(reactor));
        }
    }
}

/// Discards the bytes that have arrived, at most `left`: returns `Some(true)` if there were any,
/// and `None` at the end of file.
fn discard(reactor: &Reactor, socket: &Socket, left: &Cell<usize>) -> Option<bool> {
    let mut buffer = reactor.inner().take_read_buffer();
    let mut result = Some(false);
    for _ in 0..READS {
        let most = buffer.len().min(left.get());
        if most == 0 {
            break;
        }
        match socket.read(&mut buffer[..most]) {
            Ok(0) => {
                result = None;
                break;
            }
            Ok(count) => {
                result = Some(true);
                left.set(left.get() - count);
                if count < most {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => {
                result = None;
                break;
            }
        }
    }
    reactor.inner().give_back_read_buffer(buffer);
    result
}

/// The number of bytes that are certainly on their way once written: TCP's first window.
const AT_ONCE: u16 = 14_600;
/// The default time for the peer to send the end of file.
pub(crate) const DEFAULT_LINGER: Duration = Duration::from_secs(2);
/// The largest number of bytes that are read and discarded.
const MOST: usize = 1024 * 1024;
/// The number of reads in a row.
const READS: usize = 4;
