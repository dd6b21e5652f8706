//! Closing in good order: what is written must not be lost on account of what was not read.
//!
//! # The idea
//!
//! When a socket is closed while bytes of the peer's are unread, or come later, the system answers
//! with a reset, and what it had not sent yet of our own is gone. So where that is to be feared the
//! socket says the end of file first and stays for a while: what still comes is thrown away, until
//! the peer says the end as well or its patience is over. Nobody waits for it: the connection's
//! user has been told of the end before. What was written to a UNIX socket is with the peer
//! already, so there it is enough to throw away what has come.
//!
//! A peer that floods is not read for all that time: after [`MOST`] bytes nothing is read any more.
//! The socket stays, so that what is under way to the peer can still arrive, and the peer's own
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

/// A socket whose user has left.
struct Lingering {
    /// Its timer is the end of its patience.
    registration: Registration,
    /// Empty once closed.
    socket: Cell<Option<Socket>>,
    patience: Retry,
    location: &'static Location<'static>,
    /// How many more bytes are read and thrown away.
    left: Cell<usize>,
}

/// Closes a socket that the driver does not watch any more, and that has taken `sent` bytes.
pub(super) fn close(
    reactor: &Reactor,
    socket: Socket,
    sent: u16,
    patience: Duration,
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
        patience: Retry::default(),
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
    let timer = reactor.limit(patience, registration.attention());
    lingering.patience.set(Some(timer));
}

impl Lingering {
    fn leave(&self, reactor: Option<&Reactor>) {
        let socket = self.socket.take();
        if let (Some(socket), Some(reactor)) = (&socket, reactor) {
            self.registration.leave_with(reactor, socket);
        }
        drop(socket);
        self.patience.cancel();
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
        let told = match is_enough && more.is_some() {
            true => {
                let registration = &self.registration;
                registration.set_interest(reactor, &socket, Interest::Nothing)
            }
            false => Ok(()),
        };
        self.socket.set(Some(socket));
        if more.is_none() || told.is_err() {
            self.leave(Some(reactor));
        }
    }

    /// Its patience is over.
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.patience.take_due() {
            self.leave(Some(reactor));
        }
    }
}

/// Throws away what has come, at most as much as is `left`: `Some(true)` if there was something,
/// `None` at the end of it all.
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

/// No more than this is surely on its way when it has been written: the first window of TCP.
const AT_ONCE: u16 = 14_600;
/// How long a peer may take to say the end, unless told otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How many bytes are read and thrown away at most.
const MOST: usize = 1024 * 1024;
/// How often is read in one go.
const READS: usize = 4;
