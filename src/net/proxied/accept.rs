//! Reading the header of an accepted connection: the acceptor between a port and its own acceptor.
//!
//! # The idea
//!
//! An accepted connection gets a handler that only reads the header. When the header is complete,
//! the handler gives up the socket, and the inner acceptor is called with it as if it had just been
//! accepted.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;

use super::ProxyOptions;
use super::header::{BadHeader, Content, Header};
use crate::address::Address;
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::failure::Failure;
use crate::net::streams::accept::{self, Accepted, Acceptor};
use crate::reactor::Reactor;
use crate::report::{self, Origin, WarnOnce};
use crate::transport::{Addresses, Conn, ConnConfig, ConnHandler};

/// An acceptor that reads the header of each connection before it passes the connection on.
pub(in crate::net) struct Proxied(Rc<Shared>);

/// The state that a port and the connections whose header is being read share.
struct Shared {
    /// The inner acceptor; `None` while it is being called, and after the port is closed.
    inner: Cell<Option<Box<dyn Acceptor>>>,
    reading: RefCell<Slab<Weak<Conn<HeaderReader>>>>,
    options: ProxyOptions,
    /// When the last warning about a closed connection was logged: at most one a second.
    warned: Cell<Option<Instant>>,
    said: WarnOnce,
    location: &'static Location<'static>,
}

/// The handler that reads a header.
struct HeaderReader {
    header: RefCell<Header>,
    /// Bytes that an earlier handler has read and not used.
    unread: RefCell<Vec<u8>>,
    /// The connection's key in the list, while it is there.
    number: Cell<Option<usize>>,
    deadline: Cell<Option<DelayedCall>>,
    shared: Rc<Shared>,
}

/// The result of reading.
enum Step {
    Wait,
    End,
    Invalid(BadHeader),
    Whole(Content),
}

impl Proxied {
    pub(in crate::net) fn before(
        inner: Box<dyn Acceptor>,
        options: ProxyOptions,
        location: &'static Location<'static>,
    ) -> Box<dyn Acceptor> {
        Box::new(Self(Rc::new(Shared {
            inner: Cell::new(Some(inner)),
            reading: RefCell::default(),
            options,
            warned: Cell::new(None),
            said: WarnOnce::new(),
            location,
        })))
    }
}

impl Acceptor for Proxied {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let shared = &self.0;
        if !shared.options.trusts(accepted.peer()) {
            shared.log_closed(reactor, accepted.peer(), &"the peer is not trusted");
            return accepted.reset();
        }
        let handler = HeaderReader {
            header: RefCell::new(Header::new()),
            unread: RefCell::default(),
            number: Cell::new(None),
            deadline: Cell::new(None),
            shared: shared.clone(),
        };
        match accepted.conn(reactor, conn_config, handler) {
            Ok((conn, unread)) => conn.begin(reactor, || {
                HeaderReader::begin(&conn, reactor);
                if !unread.is_empty() {
                    conn.handler().unread.replace(unread);
                    HeaderReader::readable(&conn, reactor);
                }
                if conn.link().has_eof_to_report() {
                    conn.peer_done(reactor);
                }
            }),
            Err(failure) => report::deliver(Origin::Protocol, failure, shared.location),
        }
    }

    fn has_peer_address(&self) -> bool {
        false
    }

    fn wants(&self) -> bool {
        cells::with(&self.0.inner, |inner| {
            inner.as_ref().is_none_or(|inner| inner.wants())
        })
    }

    fn started(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        let inner = self.0.inner.take();
        let Some(mut inner) = inner else {
            return Ok(());
        };
        let started = inner.started(location);
        self.0.inner.set(Some(inner));
        started
    }

    fn stopped(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        let reading = self.0.reading.take();
        for (_, conn) in reading {
            if let Some(conn) = conn.upgrade() {
                conn.handler().number.set(None);
                conn.transport().abort_connection();
            }
        }
        accept::end(self.0.inner.take(), location)
    }
}

impl Shared {
    /// Logs that a connection is closed, and why.
    fn log_closed(&self, reactor: &Reactor, peer: &Address, why: &dyn fmt::Display) {
        let now = reactor.now();
        let last = self.warned.get();
        if last.is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL) {
            self.warned.set(Some(now));
            tracing::warn!(target: "torsade::net", %peer, %why, "closed a connection without a valid PROXY header");
            if !report::is_logged() {
                self.said.write(format_args!(
                    "closed the connection of the proxy {peer}: {why} (reported once for each port)"
                ));
            }
        } else {
            tracing::debug!(target: "torsade::net", %peer, %why, "closed a connection without a valid PROXY header");
        }
    }
}

impl HeaderReader {
    fn begin(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let handler = conn.handler();
        let number = handler
            .shared
            .reading
            .borrow_mut()
            .insert(Rc::downgrade(conn));
        handler.number.set(Some(number));
        let weak = Rc::downgrade(conn);
        let deadline = reactor.limit(handler.shared.options.timeout, move || {
            if let Some(conn) = weak.upgrade() {
                Self::refuse(&conn, |header| header.bad("it did not arrive in time"));
            }
        });
        handler.deadline.set(Some(deadline));
    }

    /// Reads the part of the header that has arrived.
    fn read(conn: &Rc<Conn<Self>>, buffer: &mut [u8]) -> Step {
        let mut header = conn.handler().header.borrow_mut();
        loop {
            let wanted = header.wants().min(buffer.len());
            let before = conn.handler().take_unread(&mut buffer[..wanted]);
            let count = match before {
                0 => match conn.link().read(&mut buffer[..wanted]) {
                    None => return Step::Wait,
                    Some(0) => return Step::End,
                    Some(count) => count,
                },
                count => count,
            };
            match header.feed(&buffer[..count]) {
                Ok(Some(content)) => return Step::Whole(content),
                // Fewer bytes than requested: nothing more has arrived.
                Ok(None) if count < wanted && before == 0 => return Step::Wait,
                Ok(None) => {}
                Err(bad) => return Step::Invalid(bad),
            }
        }
    }

    /// Closes the connection, because its header is invalid.
    fn refuse(conn: &Rc<Conn<Self>>, why: impl FnOnce(&Header) -> BadHeader) {
        let transport = conn.transport();
        let why = why(&conn.handler().header.borrow());
        if let Some(reactor) = conn.link().reactor() {
            conn.handler()
                .shared
                .log_closed(&reactor, &transport.peer(), &why);
        }
        transport.abort_connection();
    }

    /// Passes the connection to the inner acceptor.
    fn pass_on(conn: &Rc<Conn<Self>>, reactor: &Reactor, content: Content) {
        let shared = &conn.handler().shared;
        conn.handler().leave();
        let Some(mut handed) = conn.hand_over(reactor) else {
            return;
        };
        if let Content::Addresses { peer, host } = content {
            handed.set_addresses(Addresses {
                peer,
                host: Some(host),
            });
        }
        let conn_config = handed.config();
        let accepted = Accepted::Handed(handed, conn.handler().unread.take());
        let inner = shared.inner.take();
        let Some(mut inner) = inner else {
            return accepted.reset();
        };
        report::contain_rarely(Origin::Protocol, shared.location, || {
            accept::pass(&mut *inner, reactor, accepted, &conn_config);
        });
        shared.inner.set(Some(inner));
    }

    /// Takes bytes that were read before; returns their number.
    fn take_unread(&self, into: &mut [u8]) -> usize {
        let mut unread = self.unread.borrow_mut();
        let count = unread.len().min(into.len());
        into[..count].copy_from_slice(&unread[..count]);
        unread.drain(..count);
        count
    }

    /// Removes the connection from the list.
    fn leave(&self) {
        if let Some(deadline) = self.deadline.take() {
            deadline.cancel();
        }
        if let Some(number) = self.number.take() {
            self.shared.reading.borrow_mut().try_remove(number);
        }
    }
}

impl ConnHandler for HeaderReader {
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let mut buffer = reactor.inner().take_read_buffer();
        let step = Self::read(conn, &mut buffer);
        reactor.inner().give_back_read_buffer(buffer);
        match step {
            Step::Wait => {}
            Step::End => conn.peer_done(reactor),
            Step::Invalid(bad) => Self::refuse(conn, |_| bad),
            Step::Whole(content) => Self::pass_on(conn, reactor, content),
        }
    }

    fn eof(conn: &Rc<Conn<Self>>, _reactor: &Reactor) {
        if conn.handler().header.borrow().is_empty() {
            // A load balancer checks whether the server is alive in this way, so it is not logged.
            return conn.transport().lose_connection();
        }
        Self::refuse(conn, |header| header.bad("it is incomplete"));
    }

    fn write_ready(_conn: &Rc<Conn<Self>>, _reactor: &Reactor) {}

    fn flushed(_conn: &Rc<Conn<Self>>) {}

    fn lost(conn: &Rc<Conn<Self>>, _reason: Failure) {
        conn.handler().leave();
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}

/// The shortest time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(1);
