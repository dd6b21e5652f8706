//! Reading the header of an accepted connection: the acceptor between a port and its own acceptor.
//!
//! # The idea
//!
//! An accepted connection gets a handler that only reads the header. When the header is complete,
//! the handler gives up the socket, and the inner acceptor is called with it as if it had just been
//! accepted.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;

use super::ProxyOptions;
use super::header::{BadHeader, Content, Header};
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::net::streams::accept::{self, Accepted, Acceptor};
use crate::net::streams::stage::Stage;
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::transport::{Addresses, Conn, ConnConfig, ConnCounter, ConnHandler};

/// An acceptor that reads the header of each connection before it passes the connection on.
pub(in crate::net) struct Proxied(Rc<Shared>);

/// The state that a port and the connections whose header is being read share.
struct Shared {
    stage: Rc<Stage>,
    options: ProxyOptions,
}

/// The handler that reads a header.
struct HeaderReader {
    header: RefCell<Header>,
    /// Bytes that an earlier handler has read and not used.
    unread: RefCell<Vec<u8>>,
    /// The connection's key in the list, while it is there.
    number: Cell<Option<usize>>,
    deadline: Cell<Option<DelayedCall>>,
    /// The port's count of connections.
    counter: Option<Rc<ConnCounter>>,
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
        let stage = Stage::before(inner, ("the proxy ", "a valid PROXY header"), location);
        Box::new(Self(Rc::new(Shared { stage, options })))
    }
}

impl Acceptor for Proxied {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let shared = &self.0;
        if !shared.options.trusts(accepted.peer()) {
            shared
                .stage
                .log_closed(reactor, accepted.peer(), &"the peer is not trusted");
            return accepted.reset();
        }
        let handler = HeaderReader {
            header: RefCell::new(Header::new()),
            unread: RefCell::default(),
            number: Cell::new(None),
            deadline: Cell::new(None),
            counter: conn_config.counter.clone(),
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
            Err(failure) => report::deliver(Origin::Protocol, failure, shared.stage.location()),
        }
    }

    fn has_peer_address(&self) -> bool {
        false
    }

    fn wants(&self, coming: usize) -> bool {
        self.0.stage.wants(coming)
    }

    fn started(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        self.0.stage.started(location)
    }

    fn stopped(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        self.0.stage.stopped(location)
    }
}

impl HeaderReader {
    fn begin(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let handler = conn.handler();
        let number = handler.shared.stage.enter(conn.transport());
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
            let stage = &conn.handler().shared.stage;
            stage.log_closed(&reactor, &transport.peer(), &why);
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
        shared.stage.pass_on(accepted, |inner, accepted| {
            accept::pass(inner, reactor, accepted, &conn_config);
        });
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
            self.shared.stage.leave(number);
            if let Some(counter) = &self.counter {
                // The inner acceptor may want another one in its place.
                counter.notify_port();
            }
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

    fn is_observed(&self) -> bool {
        false
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}
