//! What becomes of a connection that was accepted.

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
use crate::stream::Connection;
use crate::transport::{Addresses, Conn, ConnConfig, ConnHandler, Handed, Transport};

/// A connection that has no user yet.
pub(in crate::net) enum Accepted {
    /// A socket, and the addresses of its ends.
    Socket(Socket, Addresses),
    /// A connection that had a user before, and what that one has read and not used.
    Handed(Handed, Vec<u8>),
}

/// What is done with the connections of a port.
pub(in crate::net) trait Acceptor {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>);
    /// Is a connection wanted now?
    fn wants(&self) -> bool {
        true
    }
    /// Its user is told that the port is open. Fails with a panic of theirs.
    fn started(&mut self, _place: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
    /// Its user is told that the port is closed. Fails with a panic of theirs.
    fn stopped(&mut self, _place: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Tells an acceptor's user that the port is closed, and drops it; nothing where there is none.
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
    /// The peer's address.
    pub(in crate::net) fn peer(&self) -> &Address {
        match self {
            Self::Socket(_, ends) => &ends.peer,
            Self::Handed(handed, _) => handed.peer(),
        }
    }

    /// Gives it to a user of any kind, who is told nothing before [`Conn::begin`]; with what was read and not used.
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
                handed.set_terms(conn_config);
                Ok((Conn::of_handed(reactor, handed, attach)?, unread))
            }
        }
    }

    /// Gives it to a protocol, whose `connection_made` runs now. (A handle to it costs memory as long as it lives.)
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
                handed.set_terms(conn_config);
                attach_handed(reactor, handed, protocol, unread)
            }
        }
    }

    /// Gives it to async code.
    pub(in crate::net) fn stream(
        self,
        reactor: &Reactor,
        conn_config: &Rc<ConnConfig>,
    ) -> Result<Connection, Failure> {
        let (conn, unread) = self.conn(reactor, conn_config, Connection::handler())?;
        let connection = Connection::with_unread(conn.clone(), unread);
        conn.begin(reactor, || {
            if conn.link().has_eof_to_tell() {
                conn.peer_done(reactor);
            }
        });
        Ok(connection)
    }

    /// Closes it so that its peer sees a reset.
    #[cfg(any(doc, feature = "proxy-protocol"))]
    pub(in crate::net) fn cut_off(self) {
        match self {
            Self::Socket(socket, _) => {
                let _ = socket.reset_on_close();
            }
            Self::Handed(handed, _) => handed.cut_off(),
        }
    }
}

/// Has a closure make the protocols.
pub(in crate::net) struct Building<B>(pub(in crate::net) B);

impl<B: FnMut(Address) -> R, R: IntoProtocol> Acceptor for Building<B> {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        if let Some(protocol) = (self.0)(accepted.peer().clone()).into_protocol() {
            attach(reactor, accepted, conn_config, protocol);
        }
    }
}

/// Has a factory make the protocols.
pub(in crate::net) struct Made<F>(pub(in crate::net) F);

impl<F: Factory> Acceptor for Made<F> {
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

/// Runs an async function for each.
pub(in crate::net) struct Serving<H>(pub(in crate::net) Rc<H>);

impl<H: AsyncFn(Connection) -> Result<(), Failure> + 'static> Acceptor for Serving<H> {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let connection = match accepted.stream(reactor, conn_config) {
            Ok(connection) => connection,
            Err(failure) => {
                return report::deliver(Origin::Protocol, failure, conn_config.location);
            }
        };
        let handler = self.0.clone();
        let task = connection.served(|connection| async move { handler(connection).await });
        reactor
            .inner()
            .executor()
            .spawn(task, conn_config.location)
            .detach();
    }
}

/// Keeps them for a [`StreamListener`](crate::net::StreamListener), which asks for one at a time.
pub(in crate::net) struct Pulled(pub(in crate::net) Rc<Pull>);

/// What a listener and its port have in common.
#[derive(Default)]
pub(in crate::net) struct Pull {
    /// Accepted, and not given away yet.
    pub(in crate::net) queue: RefCell<VecDeque<Result<Connection, Failure>>>,
    /// Somebody asks for one.
    pub(in crate::net) is_asking: Cell<bool>,
    pub(in crate::net) waker: Cell<Option<Waker>>,
    /// There will be no more.
    pub(in crate::net) is_over: Cell<bool>,
}

impl Acceptor for Pulled {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let connection = accepted.stream(reactor, conn_config);
        self.0.queue.borrow_mut().push_back(connection);
        cells::wake(&self.0.waker);
    }

    fn wants(&self) -> bool {
        self.0.is_asking.get() && self.0.queue.borrow().is_empty()
    }

    fn stopped(&mut self, _place: &'static Location<'static>) -> Result<(), Failure> {
        self.0.is_over.set(true);
        cells::wake(&self.0.waker);
        Ok(())
    }
}
