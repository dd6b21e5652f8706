//! The acceptor between a port and its own acceptor that does the handshakes.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use super::handshake;
use crate::failure::Failure;
use crate::net::streams::accept::{Accepted, Acceptor};
use crate::net::streams::stage::Stage;
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::tls::{ServerConfig, TlsError};
use crate::transport::{ConnConfig, ConnectionError, TlsSide};

/// An acceptor that passes a connection on when its handshake is finished.
pub(in crate::net) struct Secured {
    stage: Rc<Stage>,
    config: Rc<ServerConfig>,
}

impl Secured {
    /// Makes the acceptor; fails when the configuration cannot be used.
    pub(in crate::net) fn before(
        inner: Box<dyn Acceptor>,
        config: Rc<ServerConfig>,
        location: &'static Location<'static>,
    ) -> Result<Box<dyn Acceptor>, TlsError> {
        TlsSide::server(&config)?;
        let stage = Stage::before(inner, ("", "a TLS handshake"), location);
        Ok(Box::new(Self { stage, config }))
    }
}

impl Acceptor for Secured {
    fn accepted(&mut self, reactor: &Reactor, accepted: Accepted, conn_config: &Rc<ConnConfig>) {
        let (stage, conn_config) = (self.stage.clone(), conn_config.clone());
        let (config, peer) = (conn_config.clone(), accepted.peer().clone());
        let number = Rc::new(Cell::new(None));
        let listed = number.clone();
        let then = move |reactor: &Reactor, result: Result<Accepted, Failure>| {
            if let Some(number) = listed.take() {
                stage.leave(number);
            }
            match result {
                Ok(accepted) => {
                    stage.pass_on(accepted, |inner, accepted| {
                        inner.accepted(reactor, accepted, &config);
                    });
                }
                Err(reason) => match reason.downcast_ref() {
                    // The port was stopped, or the program has said what is wrong.
                    Some(ConnectionError::Aborted) => {}
                    Some(ConnectionError::Lost { cause }) => match cause.downcast_ref() {
                        // A load balancer that checks the server leaves like this, too.
                        Some(TlsError::HandshakeClosed) => {
                            tracing::debug!(target: "torsade::net", %peer, "left during the handshake");
                        }
                        _ => stage.log_closed(reactor, &peer, cause),
                    },
                    _ => stage.log_closed(reactor, &peer, &reason),
                },
            }
            if let Some(counter) = &config.counter {
                // Another handshake may begin.
                counter.notify_port();
            }
        };
        let side = TlsSide::server(&self.config);
        match handshake::begin(reactor, accepted, &conn_config, side, Box::new(then)) {
            Ok(transport) if transport.reason().is_none() => {
                number.set(Some(self.stage.enter(transport)));
            }
            Ok(_) => {}
            Err(failure) => report::deliver(Origin::Protocol, failure, self.stage.location()),
        }
    }

    fn wants(&self, coming: usize) -> bool {
        self.stage.count() + coming < self.config.most_handshakes() && self.stage.wants(coming)
    }

    fn started(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        self.stage.started(location)
    }

    fn stopped(&mut self, location: &'static Location<'static>) -> Result<(), Failure> {
        self.stage.stopped(location)
    }
}
