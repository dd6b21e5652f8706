//! A protocol that is to have the connection of another one.

use super::Protocol;
use super::connected::{OnStream, deliver};
use super::slot::{ProtocolSlot, visit};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::transport::{Conn, Handed};
use std::panic::Location;
use std::rc::Rc;

/// Whoever is to have a connection next.
pub(crate) trait Successor {
    /// Bytes that are to be delivered to it before all others.
    fn put_before(&mut self, bytes: Vec<u8>);

    /// Bytes that came and were not delivered to the one before.
    fn append(&mut self, bytes: &[u8]);

    /// Here it is. Nothing unwinds.
    fn take_over(
        self: Box<Self>,
        reactor: &Reactor,
        handed: Handed,
        location: &'static Location<'static>,
    );
}

/// A protocol, and what came that is for it.
pub(super) struct Next<Q> {
    pub(super) protocol: Q,
    pub(super) rest: Vec<u8>,
}

impl<Q: Protocol> Successor for Next<Q> {
    fn put_before(&mut self, mut bytes: Vec<u8>) {
        bytes.append(&mut self.rest);
        self.rest = bytes;
    }

    fn append(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    fn take_over(
        self: Box<Self>,
        reactor: &Reactor,
        handed: Handed,
        location: &'static Location<'static>,
    ) {
        let Self { protocol, rest } = *self;
        if let Err(failure) = attach_handed(reactor, handed, protocol, rest) {
            report::deliver(Origin::Protocol, failure, location);
        }
    }
}

/// Gives a protocol a connection that somebody else had, and what that one has left of what came.
pub(crate) fn attach_handed<P: Protocol>(
    reactor: &Reactor,
    handed: Handed,
    protocol: P,
    rest: Vec<u8>,
) -> Result<Rc<Conn<OnStream<P>>>, Failure> {
    let conn = Conn::of_handed(reactor, handed, ProtocolSlot::new(protocol))?;
    conn.begin(reactor, || {
        visit(&conn, reactor, |protocol, cx| protocol.connection_made(cx));
        if conn.link().is_handing_on() {
            // It has named the next one at once.
            conn.handler().leave_to_successor(rest);
        } else {
            deliver(&conn, reactor, &rest);
        }
    });
    Ok(conn)
}
