//! Closing in good order: what is written must not be lost on account of what was not read.
//!
//! # The idea
//!
//! When a socket is closed while bytes of the peer's are unread, or come later, the system answers with a reset,
//! and what it had not sent yet of our own is gone. So where that is to be feared the socket says the end of
//! file first and stays for a while: what still comes is thrown away, until the peer says the end as well or
//! its patience is over. Nobody waits for it: the connection's user has been told of the end before. What was written to
//! a UNIX socket is with the peer already, so there it is enough to throw away what has come.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::DelayedCall;
use crate::driver::{Event, Interest, Socket};
use crate::failure::Failure;
use crate::reactor::{Reactor, Source};

/// A socket whose user has left.
struct Lingering {
    key: usize,
    /// Empty once closed.
    socket: Cell<Option<Socket>>,
    timer: Cell<Option<DelayedCall>>,
    place: &'static Location<'static>,
}

/// Closes a socket that the driver does not watch any more, and that has taken `sent` bytes.
pub(super) fn close(
    reactor: &Reactor,
    socket: Socket,
    sent: u32,
    patience: Duration,
    place: &'static Location<'static>,
) {
    match discard(reactor, &socket) {
        _ if socket.is_local() => return,
        Some(true) => {}
        Some(false) if sent > AT_ONCE => {}
        _ => return,
    }
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut made = None;
    let inserted = reactor.inner().insert(|key| {
        let lingering = Rc::new(Lingering {
            key,
            socket: Cell::new(None),
            timer: Cell::new(None),
            place,
        });
        made = Some(lingering.clone());
        lingering
    });
    let (Ok(key), Some(lingering)) = (inserted, made) else {
        return;
    };
    if reactor
        .inner()
        .driver()
        .add(&socket, key, Interest::Read)
        .is_err()
    {
        reactor.inner().remove(key);
        return;
    }
    lingering.socket.set(Some(socket));
    let (weak, reactor_too) = (Rc::downgrade(&lingering), reactor.downgrade());
    let timer = reactor.limit(patience, move || {
        if let (Some(lingering), Some(reactor)) = (weak.upgrade(), reactor_too.upgrade()) {
            lingering.leave(Some(&reactor));
        }
    });
    lingering.timer.set(Some(timer));
}

impl Lingering {
    fn leave(&self, reactor: Option<&Reactor>) {
        let socket = self.socket.take();
        if let (Some(socket), Some(reactor)) = (&socket, reactor) {
            let _ = reactor.inner().driver().remove(socket);
            reactor.inner().remove(self.key);
        }
        drop(socket);
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

impl Source for Lingering {
    fn ready(self: Rc<Self>, reactor: &Reactor, _event: Event) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let more = discard(reactor, &socket);
        self.socket.set(Some(socket));
        if more.is_none() {
            self.leave(Some(reactor));
        }
    }

    fn attend(self: Rc<Self>, _reactor: &Reactor) {}

    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        self.leave(reactor);
    }

    fn is_draining(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "closing connection"
    }

    fn place(&self) -> &'static Location<'static> {
        self.place
    }
}

/// Throws away what has come: `Some(true)` if there was something, `None` at the end of it all.
fn discard(reactor: &Reactor, socket: &Socket) -> Option<bool> {
    let mut buffer = reactor.inner().take_read_buffer();
    let mut result = Some(false);
    for _ in 0..READS {
        match socket.read(&mut buffer) {
            Ok(0) => {
                result = None;
                break;
            }
            Ok(count) => {
                result = Some(true);
                if count < buffer.len() {
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
const AT_ONCE: u32 = 14_600;
/// How long a peer may take to say the end, unless told otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How often is read in one go.
const READS: usize = 4;
