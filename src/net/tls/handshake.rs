//! The handler of a connection until its handshake is finished.

use std::cell::Cell;
use std::rc::Rc;

use crate::failure::Failure;
use crate::net::streams::accept::Accepted;
use crate::reactor::Reactor;
use crate::report;
use crate::tls::TlsError;
use crate::transport::{Conn, ConnConfig, ConnHandler, ConnectionError, TlsSide, Transport};

/// The function to call with the connection, or with the failure.
pub(super) type Then = Box<dyn FnOnce(&Reactor, Result<Accepted, Failure>)>;

/// The handler: it wants no bytes, as the transport does the handshake by itself.
struct Handshaker {
    then: Cell<Option<Then>>,
}

/// Begins a handshake; `then` is called once, unless the reactor ends first. Returns a handle, to
/// abort it with.
pub(super) fn begin(
    reactor: &Reactor,
    accepted: Accepted,
    conn_config: &Rc<ConnConfig>,
    side: Result<TlsSide, TlsError>,
    then: Then,
) -> Result<Transport, Failure> {
    let mut side = match side {
        Ok(side) => side,
        Err(error) => {
            report::discard(then, conn_config.location);
            return Err(Failure::at(error, conn_config.location));
        }
    };
    let handler = Handshaker {
        then: Cell::new(Some(then)),
    };
    let is_new = matches!(accepted, Accepted::Socket(..));
    let (conn, unread) = accepted.conn(reactor, conn_config, handler)?;
    // Bytes that an earlier handler has read and not used are a part of the handshake.
    side.session.process(&mut { unread }, &mut []);
    conn.begin(reactor, || {
        let waits_for_peer = is_new && side.session.waits_for_peer();
        conn.link().begin_tls(reactor, side, None, waits_for_peer);
        if conn.link().has_eof_to_report() {
            conn.transport().lose_connection();
        }
    });
    Ok(conn.transport())
}

impl Handshaker {
    fn finish(conn: &Rc<Conn<Self>>, reactor: &Reactor, result: Result<Accepted, Failure>) {
        let then = conn.handler().then.take();
        if let Some(then) = then {
            then(reactor, result);
        }
    }
}

impl ConnHandler for Handshaker {
    fn readable(_conn: &Rc<Conn<Self>>, _reactor: &Reactor) {}

    fn eof(_conn: &Rc<Conn<Self>>, _reactor: &Reactor) {}

    fn write_ready(_conn: &Rc<Conn<Self>>, _reactor: &Reactor) {}

    fn flushed(_conn: &Rc<Conn<Self>>) {}

    fn secured(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let accepted = match conn.hand_over(reactor) {
            Some(handed) => Ok(Accepted::Handed(handed, Vec::new())),
            None => Err(conn.link().failure(ConnectionError::Done)),
        };
        Self::finish(conn, reactor, accepted);
    }

    fn lost(conn: &Rc<Conn<Self>>, reason: Failure) {
        if let Some(reactor) = conn.link().reactor() {
            Self::finish(conn, &reactor, Err(reason));
        }
    }

    fn is_observed(&self) -> bool {
        false
    }

    fn wants_bytes(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "TLS handshake"
    }
}
