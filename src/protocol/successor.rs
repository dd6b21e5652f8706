//! The protocol that gets the connection of another one.

use super::Protocol;
use super::connected::{OnStream, deliver};
use super::slot::{ProtocolSlot, visit};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::transport::{Conn, Handed};
use std::panic::Location;
use std::rc::Rc;

/// The next owner of a connection.
pub(crate) trait Successor {
    /// Adds bytes that are delivered to it before all others.
    fn put_before(&mut self, bytes: Vec<u8>);

    /// Adds bytes that came and were not delivered to the previous protocol.
    fn append(&mut self, bytes: &[u8]);

    /// Takes the connection over. Does not unwind.
    fn take_over(
        self: Box<Self>,
        reactor: &Reactor,
        handed: Handed,
        location: &'static Location<'static>,
    );
}

/// A protocol, and the received bytes that are for it.
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

/// Attaches a protocol to a connection that another handler had, with the bytes that the other
/// handler has not used.
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
            // The protocol has named its own successor at once.
            conn.handler().leave_to_successor(rest);
        } else {
            deliver(&conn, reactor, &rest);
        }
    });
    Ok(conn)
}
