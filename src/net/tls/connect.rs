//! The handshake of a client's connection, between the connect and its result.

use std::cell::Cell;
use std::rc::Rc;

use super::handshake;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::streams::accept::Accepted;
use crate::reactor::Reactor;
use crate::tls::ClientConfig;
use crate::transport::{ConnConfig, ConnectionError, TlsSide};

/// Does the handshake of a connection; the Deferred fires with it when that is finished.
pub(in crate::net) fn secure(
    reactor: &Reactor,
    accepted: Accepted,
    conn_config: &Rc<ConnConfig>,
    config: &ClientConfig,
) -> Deferred<Accepted> {
    let (deferred, resolver) = Deferred::pair_at(conn_config.location);
    let slot = Rc::new(Cell::new(Some(resolver)));
    let later = slot.clone();
    let then = move |_: &Reactor, result: Result<Accepted, Failure>| {
        if let Some(resolver) = later.take() {
            resolver.resolve(result.map_err(cause_of));
        }
    };
    let side = TlsSide::client(config);
    match handshake::begin(reactor, accepted, conn_config, side, Box::new(then)) {
        Ok(transport) => deferred.on_cancel(move || transport.abort_connection()),
        Err(failure) => {
            if let Some(resolver) = slot.take() {
                resolver.errback(failure);
            }
            deferred
        }
    }
}

/// Returns what has broken a connection: a connect fails with that.
fn cause_of(reason: Failure) -> Failure {
    match reason.downcast_ref() {
        Some(ConnectionError::Lost { cause }) => cause.clone(),
        _ => reason,
    }
}
