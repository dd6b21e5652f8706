//! Handing a connection from one handler to another: everything but the handler moves.

use std::rc::Rc;

use super::config::{ConnConfig, Limits};
use super::counter::Counted;
use super::engine::{Conn, ConnHandler};
use super::errors::ConnectionError;
use super::flags::Flag;
use super::life::{Event, Life};
use super::link::Addresses;
#[allow(unused_imports, reason = "the docs name it")]
use super::link::ConnCore;
use super::policed::Policies;

use crate::address::Address;
use crate::bytes::Outgoing;
use crate::clock::Clock;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::reactor::{Reactor, Released};
use crate::report::{self, Origin};
use crate::spans;

/// A connection between two handlers. When it is dropped, its observers are notified; if bytes are
/// queued, it is reset, and the loss is reported.
pub(crate) struct Handed(Option<Box<Parts>>);

/// The parts that move.
struct Parts {
    socket: Socket,
    /// The registration with the driver and the table of handlers.
    registration: Released,
    ends: Addresses,
    config: Rc<ConnConfig>,
    limits: Option<Limits>,
    life: Life,
    flags: Flag,
    sent: u16,
    out: Option<Box<Outgoing>>,
    /// The error of a write that did not end the connection: see [`ConnCore::writing_failed`].
    failure: Option<(Failure, bool)>,
    policies: Option<Box<Policies>>,
    /// The number of queued bytes that the end of the reactor waits for.
    drain_bytes: usize,
    span: Option<tracing::Span>,
    /// The count in its port, which continues.
    counted: Option<Counted>,
}

impl<S: ConnHandler> Conn<S> {
    /// Takes all parts that can go to another handler. This connection has then ended, and its
    /// handler is not called again. Returns `None` when the connection had ended already.
    pub(crate) fn hand_over(&self, reactor: &Reactor) -> Option<Handed> {
        let link = self.link();
        let life = link.life();
        if life.is_over() || link.flags.replace(Flag::LOST, true) {
            return None;
        }
        link.on(Event::Broken, || link.failure(ConnectionError::HandedOver));
        let drain_bytes = link.drain_bytes();
        link.clear_stall();
        let source = link.take_source();
        if let Some(source) = source {
            source.stop(link, link.failure(ConnectionError::HandedOver));
        }
        let socket = link.socket.take()?;
        let registration = link.registration.release();
        let span = spans::are_on().then(|| reactor.inner().take_connection_span(link.key()));
        Some(Handed(Some(Box::new(Parts {
            socket,
            registration,
            span: span.flatten(),
            ends: link.ends(),
            config: link.config.clone(),
            limits: link.own_limits(),
            life,
            flags: link.flags.those_of(Flag::KEPT),
            sent: link.sent.get(),
            out: {
                link.note_queued(link.queued(), 0);
                link.note_buffered(|| 0);
                link.out.take()
            },
            failure: link.take_write_failure(),
            policies: link.take_policies(),
            drain_bytes,
            counted: link
                .config
                .counter
                .as_ref()
                .map(|counter| Counted::new(counter, link.key(), link.peer())),
        }))))
    }

    /// Makes a connection with a new handler. [`Conn::begin`] must follow, as after [`Conn::new`];
    /// then [`Conn::peer_done`], if the peer had sent the end of file before
    /// ([`ConnCore::has_eof_to_report`]).
    pub(crate) fn of_handed(
        reactor: &Reactor,
        mut handed: Handed,
        handler: S,
    ) -> Result<Rc<Self>, Failure> {
        let handed = *handed.0.take().expect("it is whole until it goes");
        let (socket, ends, released) = (handed.socket, handed.ends, handed.registration);
        // A connection of another reactor leaves that one.
        let released = match released.is_of(reactor) {
            true => Some(released),
            false => {
                released.end(&socket);
                None
            }
        };
        let is_watched = released.is_some();
        let conn = Self::registered(reactor, released, (socket, ends), &handed.config, handler)?;
        let link = conn.link();
        if let Some(counted) = &handed.counted {
            counted.replace_key(link.key());
        }
        if let Some(span) = handed.span {
            reactor.inner().set_connection_span(link.key(), span);
        }
        link.set_life(handed.life.for_new_handler());
        link.flags.set(handed.flags, true);
        link.sent.set(handed.sent);
        link.set_descriptors_wanted(true);
        link.out.set(handed.out);
        link.note_queued(0, link.queued());
        if handed.policies.is_some() {
            link.set_policies(handed.policies);
        }
        if let Some(limits) = handed.limits {
            link.set_limits(limits);
        }
        if let Some(failure) = handed.failure {
            link.with_extras(|extras| extras.failure = Some(failure));
        }
        if handed.drain_bytes > 0 {
            link.set_drain_bytes(reactor.now(), handed.drain_bytes);
        }
        link.note_unread();
        // Its queued bytes are lost as with every other end.
        conn.watch_or_end(reactor, is_watched)?;
        Ok(conn)
    }
}

impl Handed {
    /// Returns the peer's address.
    pub(crate) fn peer(&self) -> &Address {
        &self.parts().ends.peer
    }

    /// Closes the connection so that its peer sees a reset.
    #[cfg(any(doc, feature = "proxy-protocol", feature = "tls"))]
    pub(crate) fn cut_off(mut self) {
        if let Some(parts) = self.0.take() {
            parts.registration.end(&parts.socket);
            let _ = parts.socket.reset_on_close();
        }
    }

    fn parts(&self) -> &Parts {
        self.0.as_ref().expect("it is whole until it goes")
    }

    fn parts_mut(&mut self) -> &mut Parts {
        self.0.as_mut().expect("it is whole until it goes")
    }

    /// Returns the settings that it shares with the other connections of its port.
    #[cfg(any(doc, feature = "proxy-protocol"))]
    pub(crate) fn config(&self) -> Rc<ConnConfig> {
        self.parts().config.clone()
    }

    /// Replaces the addresses of its ends.
    #[cfg(any(doc, feature = "proxy-protocol"))]
    pub(crate) fn set_addresses(&mut self, ends: Addresses) {
        let parts = self.parts_mut();
        if let Some(counted) = &mut parts.counted {
            counted.set_peer(&ends.peer);
        }
        parts.ends = ends;
    }

    /// Moves the connection to the settings and the count of another port. Runs user code: the
    /// observers of a connection that gets other policies are notified.
    pub(crate) fn set_config(&mut self, config: &Rc<ConnConfig>) {
        let parts = self.parts_mut();
        let is_kept = match (&parts.config.policies, &config.policies) {
            (Some(old), Some(new)) => Rc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if let Some(policies) = parts.policies.take_if(|_| !is_kept) {
            let location = parts.config.location;
            policies.end(&Failure::at(ConnectionError::HandedOver, location));
        }
        let same = match (&parts.config.counter, &config.counter) {
            (Some(old), Some(new)) => Rc::ptr_eq(old, new),
            _ => false,
        };
        parts.config = config.clone();
        if !same {
            let counted = parts.counted.take();
            drop(counted);
        }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else {
            return;
        };
        parts.registration.end(&parts.socket);
        if parts.out.is_none() {
            // Nothing is missing, and TLS tells the peer so by `close_notify`.
            return parts.socket.say_end();
        }
        let _ = parts.socket.reset_on_close();
        let location = parts.config.location;
        let queued = parts.out.as_ref().map_or(0, |out| out.len());
        let cause = Failure::at(ConnectionError::Aborted, location);
        let error = ConnectionError::not_sent(queued, parts.ends.peer.clone(), cause);
        drop(parts);
        report::deliver(Origin::Connection, Failure::at(error, location), location);
    }
}
