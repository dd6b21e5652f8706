//! A port with its protocol: [`Bound`], and the seat of the protocol.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::engine::{Got, Post, User};
use super::errors::truncated;
use super::{DatagramPort, DatagramProtocol};
use crate::failure::Failure;
use crate::protocol::{self, Handle, Home, Seated, visit};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A port with its protocol. It is the port (by deref), and knows the protocol's handle.
pub struct Bound<P: 'static> {
    port: DatagramPort,
    handle: Handle<P, DatagramPort>,
}

impl<P: 'static> Bound<P> {
    /// The protocol's handle.
    pub fn handle(&self) -> Handle<P, DatagramPort> {
        self.handle.clone()
    }

    /// The port.
    pub fn port(&self) -> &DatagramPort {
        &self.port
    }
}

/// The seat of a protocol at a port.
type OnPort<P> = Seated<P, DatagramPort>;

impl<P: DatagramProtocol> Home for Post<OnPort<P>> {
    type Protocol = P;
    type Transport = DatagramPort;

    fn seat_inside(&self) -> &OnPort<P> {
        self.user()
    }

    fn home_reactor(&self) -> Option<Reactor> {
        self.core().reactor()
    }

    fn home_place(&self) -> &'static Location<'static> {
        self.core().place()
    }

    fn is_closing(&self) -> bool {
        !self.core().is_open()
    }

    fn is_left(&self) -> bool {
        self.core().is_closed()
    }

    /// A port outlives the mistakes of its protocol: they were about one datagram.
    fn panicked(&self, _panic: Failure) {}

    fn inert_handle(self: &Rc<Self>) -> DatagramPort {
        self.port()
    }
}

impl<P: DatagramProtocol> User for OnPort<P> {
    fn readable(post: &Rc<Post<Self>>, reactor: &Reactor) {
        let lent = reactor.inner().take_read_buffer();
        let usual = lent.len();
        let mut buffer = lent;
        let mut budget = BATCH;
        while budget > 0 && post.core().may_read() {
            match post.core().receive_whole(&mut buffer) {
                Got::Datagram(arrived) => {
                    budget = budget.saturating_sub(arrived.size.max(LEAST));
                    if arrived.size > arrived.count {
                        report::deliver(Origin::Protocol, truncated(arrived), post.core().place());
                        continue;
                    }
                    let data = &buffer[..arrived.count];
                    visit(post, reactor, |protocol, cx| {
                        protocol.datagram_received(cx, data, arrived.from)
                    });
                }
                Got::Refused(_) => {
                    budget = budget.saturating_sub(LEAST);
                    Self::refused(post, reactor);
                }
                Got::Nothing | Got::Failed(_) => break,
            }
        }
        if buffer.len() == usual {
            reactor.inner().give_back_read_buffer(buffer);
        }
    }

    fn refused(post: &Rc<Post<Self>>, reactor: &Reactor) {
        visit(post, reactor, |protocol, cx| {
            protocol.connection_refused(cx)
        });
    }

    fn room(post: &Rc<Post<Self>>, reactor: &Reactor, was_full: bool) {
        if was_full {
            visit(post, reactor, |protocol, cx| protocol.write_ready(cx));
        }
    }

    fn closed(post: &Rc<Post<Self>>) -> Result<(), Failure> {
        protocol::try_leave(&**post, P::stopped)
    }

    fn discard(post: &Rc<Post<Self>>) {
        protocol::leave(&**post, |_| {});
    }

    fn wants_datagrams(&self) -> bool {
        true
    }
}

impl<P: 'static> Deref for Bound<P> {
    type Target = DatagramPort;

    fn deref(&self) -> &DatagramPort {
        &self.port
    }
}

impl<P: 'static> Clone for Bound<P> {
    fn clone(&self) -> Self {
        Self {
            port: self.port.clone(),
            handle: self.handle.clone(),
        }
    }
}

impl<P: 'static> fmt::Debug for Bound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(&self.port).finish()
    }
}

/// Lets a protocol begin.
pub(super) fn seat<P: DatagramProtocol>(
    reactor: &Reactor,
    post: &Rc<Post<OnPort<P>>>,
) -> Result<Bound<P>, Failure> {
    visit(post, reactor, |protocol, cx| protocol.started(cx));
    Ok(Bound {
        port: post.port(),
        handle: protocol::handle(post),
    })
}

/// How many bytes of datagrams one event brings at most.
const BATCH: usize = 256 * 1024;
/// What each counts for at least.
const LEAST: usize = 1024;
