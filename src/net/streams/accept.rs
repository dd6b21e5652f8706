//! The handling of accepted connections: [`Acceptor`] and its kinds.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;

use crate::address::Address;
use crate::cells;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::protocol::{Factory, IntoProtocol, Protocol, ProtocolSlot, attach_handed, visit};
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::spans;
use crate::stream::Connection;
use crate::transport::{Addresses, Conn, ConnConfig, ConnHandler, Handed, Transport};

/// A connection that has no handler yet.
pub(in crate::net) enum Accepted {
    /// A socket and its addresses.
    Socket(Socket, Addresses),
    /// A connection that had another handler before, and the bytes that were read and not used.
    Handed(Handed, Vec<u8>),
}

/// The receiver of a port's connections.
pub(in crate::net) trait Acceptor {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>);
    /// Returns whether a connection is wanted now, where `coming` others are on their way here.
    fn wants(&self, _coming: usize) -> bool {
        true
    }
    /// Returns whether the address of an accepted connection is that of its peer, not of a proxy.
    fn has_peer_address(&self) -> bool {
        true
    }
    /// Called when the port is open. Fails with the panic of user code.
    fn started(&mut self, _location: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
    /// Called when the port is closed. Fails with the panic of user code.
    fn stopped(&mut self, _location: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Passes a connection to an acceptor, unless its peer has as many connections as it may.
pub(in crate::net) fn pass(
    acceptor: &mut dyn Acceptor,
    reactor: &Reactor,
    accepted: Accepted,
    conn_config: &Rc<ConnConfig>,
) {
    let counter = conn_config.counter.as_ref();
    let is_admitted = counter.is_none_or(|counter| counter.admits(accepted.peer()));
    if is_admitted || !acceptor.has_peer_address() {
        return acceptor.accepted(reactor, accepted, conn_config);
    }
    let peer = accepted.peer();
    tracing::debug!(target: "torsade::net", %peer, "a peer has too many connections: closed");
    drop(accepted);
}

/// Calls an acceptor's `stopped` and drops it; does nothing if there is none.
pub(in crate::net) fn end(
    acceptor: Option<Box<dyn Acceptor>>,
    location: &'static Location<'static>,
) -> Result<(), Failure> {
    let Some(mut acceptor) = acceptor else {
        return Ok(());
    };
    let stopped = acceptor.stopped(location);
    report::discard(acceptor, location);
    stopped
}

impl Accepted {
    /// Returns the peer's address.
    pub(in crate::net) fn peer(&self) -> &Address {
        match self {
            Self::Socket(_, ends) => &ends.peer,
            Self::Handed(handed, _) => handed.peer(),
        }
    }

    /// Attaches a handler, with the bytes that were read and not used. The handler is not called
    /// before [`Conn::begin`].
    pub(in crate::net) fn conn<S: ConnHandler>(
        self,
        reactor: &Reactor,
        conn_config: &Rc<ConnConfig>,
        attach: S,
    ) -> Result<(Rc<Conn<S>>, Vec<u8>), Failure> {
        match self {
            Self::Socket(socket, ends) => {
                let conn = Conn::new(reactor, socket, ends, conn_config, attach)?;
                Ok((conn, Vec::new()))
            }
            Self::Handed(mut handed, unread) => {
                handed.set_config(conn_config);
                Ok((Conn::of_handed(reactor, handed, attach)?, unread))
            }
        }
    }

    /// Attaches a protocol and calls its `connection_made`. (A handle to the protocol keeps its
    /// memory alive.)
    pub(in crate::net) fn attach<P: Protocol>(
        self,
        reactor: &Reactor,
        conn_config: &Rc<ConnConfig>,
        protocol: P,
    ) -> Result<Rc<Conn<ProtocolSlot<P, Transport>>>, Failure> {
        match self {
            Self::Socket(socket, ends) => {
                let conn = Conn::new(
                    reactor,
                    socket,
                    ends,
                    conn_config,
                    ProtocolSlot::new(protocol),
                )?;
                conn.begin(reactor, || {
                    visit(&conn, reactor, |protocol, cx| protocol.connection_made(cx));
                });
                Ok(conn)
            }
            Self::Handed(mut handed, unread) => {
                handed.set_config(conn_config);
                attach_handed(reactor, handed, protocol, unread)
            }
        }
    }

    /// Makes a [`Connection`] for async code.
    pub(in crate::net) fn stream(
        self,
        reactor: &Reactor,
        conn_config: &Rc<ConnConfig>,
    ) -> Result<Connection, Failure> {
        let (conn, unread) = self.conn(reactor, conn_config, Connection::handler())?;
        let connection = Connection::with_unread(conn.clone(), unread);
        conn.begin(reactor, || {
            if conn.link().has_unread() {
                // It is readable from the beginning: the first read need not wait for the loop.
                ConnHandler::readable(&conn, reactor);
            }
            if conn.link().has_eof_to_report() {
                conn.peer_done(reactor);
            }
        });
        Ok(connection)
    }

    /// Closes the connection so that the peer sees a reset.
    #[cfg(any(doc, feature = "proxy-protocol", feature = "tls"))]
    pub(in crate::net) fn reset(self) {
        match self {
            Self::Socket(socket, _) => {
                let _ = socket.reset_on_close();
            }
            Self::Handed(handed, _) => handed.cut_off(),
        }
    }
}

/// An acceptor whose protocols are made by a closure.
pub(in crate::net) struct ClosureAcceptor<B>(pub(in crate::net) B);

impl<B: FnMut(Address) -> R, R: IntoProtocol> Acceptor for ClosureAcceptor<B> {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        if let Some(protocol) = (self.0)(accepted.peer().clone()).into_protocol() {
            attach(reactor, accepted, conn_config, protocol);
        }
    }
}

/// An acceptor whose protocols are made by a factory.
pub(in crate::net) struct FactoryAcceptor<F>(pub(in crate::net) F);

impl<F: Factory> Acceptor for FactoryAcceptor<F> {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        if let Some(protocol) = self.0.build_protocol(accepted.peer().clone()) {
            attach(reactor, accepted, conn_config, protocol);
        }
    }

    fn started(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        report::catch_rarely(location, || self.0.started())
    }

    fn stopped(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        report::catch_rarely(location, || self.0.stopped())
    }
}

fn attach<P: Protocol>(
    reactor: &Reactor,
    accepted: Accepted,
    conn_config: &Rc<ConnConfig>,
    protocol: P,
) {
    if let Err(failure) = accepted.attach(reactor, conn_config, protocol) {
        report::deliver(Origin::Protocol, failure, conn_config.location);
    }
}

/// An acceptor that runs an async function for each connection.
pub(in crate::net) struct ServeAcceptor<H>(pub(in crate::net) Rc<H>);

impl<H: AsyncFn(Connection) -> Result<(), Failure> + 'static> Acceptor for ServeAcceptor<H> {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let connection = match accepted.stream(reactor, conn_config) {
            Ok(connection) => connection,
            Err(failure) => {
                return report::deliver(Origin::Protocol, failure, conn_config.location);
            }
        };
        let (handler, key) = (self.0.clone(), connection.key());
        let task =
            connection.served(|unserved| async move { handler(Connection::begin(unserved)).await });
        let spawn = || reactor.inner().executor().spawn(task, conn_config.location);
        let spawned = match spans::are_on() {
            true => spans::within(reactor.inner().connection_span(key), spawn),
            false => spawn(),
        };
        spawned.detach();
    }
}

/// An acceptor that keeps the connections for a [`StreamListener`](crate::net::StreamListener),
/// which requests them one at a time.
pub(in crate::net) struct QueueAcceptor(pub(in crate::net) Rc<AcceptQueue>);

/// The state that a listener and its port share.
#[derive(Default)]
pub(in crate::net) struct AcceptQueue {
    /// Connections that were accepted and not returned yet.
    pub(in crate::net) queue: RefCell<VecDeque<Result<Connection, Failure>>>,
    /// Whether a connection is requested.
    pub(in crate::net) is_asking: Cell<bool>,
    pub(in crate::net) waker: Cell<Option<Waker>>,
    /// Whether the port is closed.
    pub(in crate::net) is_closed: Cell<bool>,
}

impl Acceptor for QueueAcceptor {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let connection = accepted.stream(reactor, conn_config);
        self.0.queue.borrow_mut().push_back(connection);
        cells::wake(&self.0.waker);
    }

    /// One that is on its way may never arrive, and delays no other.
    fn wants(&self, _coming: usize) -> bool {
        self.0.is_asking.get() && self.0.queue.borrow().is_empty()
    }

    fn stopped(&mut self, _location: &'static Location<'static>) -> Result<(), Failure> {
        self.0.is_closed.set(true);
        cells::wake(&self.0.waker);
        Ok(())
    }
}
