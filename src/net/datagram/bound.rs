//! A port with its protocol: [`DatagramListener`], and the seat of the protocol.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::engine::{DatagramConn, DatagramHandler, Got};
use super::errors::truncated;
use super::{DatagramPort, DatagramProtocol};
use crate::failure::Failure;
use crate::protocol::{self, Handle, ProtocolHost, ProtocolSlot, visit};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A port with its protocol. It is the port (by deref), and knows the protocol's handle.
pub struct DatagramListener<P: 'static> {
    port: DatagramPort,
    handle: Handle<P, DatagramPort>,
}

impl<P: 'static> DatagramListener<P> {
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
type OnPort<P> = ProtocolSlot<P, DatagramPort>;

impl<P: DatagramProtocol> ProtocolHost for DatagramConn<OnPort<P>> {
    type Protocol = P;
    type Transport = DatagramPort;

    fn protocol_slot(&self) -> &OnPort<P> {
        self.user()
    }

    fn host_reactor(&self) -> Option<Reactor> {
        self.core().reactor()
    }

    fn host_location(&self) -> &'static Location<'static> {
        self.core().location()
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

impl<P: DatagramProtocol> DatagramHandler for OnPort<P> {
    fn readable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor) {
        let lent = reactor.inner().take_read_buffer();
        let usual = lent.len();
        let mut buffer = lent;
        let mut budget = BATCH;
        while budget > 0 && conn.core().may_read() {
            match conn.core().receive_whole(&mut buffer) {
                Got::Datagram(arrived) => {
                    budget = budget.saturating_sub(arrived.size.max(LEAST));
                    if arrived.size > arrived.count {
                        report::deliver(
                            Origin::Protocol,
                            truncated(arrived),
                            conn.core().location(),
                        );
                        continue;
                    }
                    let data = &buffer[..arrived.count];
                    visit(conn, reactor, |protocol, cx| {
                        protocol.datagram_received(cx, data, arrived.from)
                    });
                }
                Got::Refused(_) => {
                    budget = budget.saturating_sub(LEAST);
                    Self::refused(conn, reactor);
                }
                Got::Nothing | Got::Failed(_) => break,
            }
        }
        if buffer.len() == usual {
            reactor.inner().give_back_read_buffer(buffer);
        }
    }

    fn refused(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| {
            protocol.connection_refused(cx)
        });
    }

    fn room(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor, was_full: bool) {
        if was_full {
            visit(conn, reactor, |protocol, cx| protocol.write_ready(cx));
        }
    }

    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure> {
        protocol::try_leave(&**conn, P::stopped)
    }

    fn discard(conn: &Rc<DatagramConn<Self>>) {
        protocol::leave(&**conn, |_| {});
    }

    fn wants_datagrams(&self) -> bool {
        true
    }
}

impl<P: 'static> Deref for DatagramListener<P> {
    type Target = DatagramPort;

    fn deref(&self) -> &DatagramPort {
        &self.port
    }
}

impl<P: 'static> Clone for DatagramListener<P> {
    fn clone(&self) -> Self {
        Self {
            port: self.port.clone(),
            handle: self.handle.clone(),
        }
    }
}

impl<P: 'static> fmt::Debug for DatagramListener<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatagramListener").field(&self.port).finish()
    }
}

/// Lets a protocol begin.
pub(super) fn attach<P: DatagramProtocol>(
    reactor: &Reactor,
    conn: &Rc<DatagramConn<OnPort<P>>>,
) -> Result<DatagramListener<P>, Failure> {
    visit(conn, reactor, |protocol, cx| protocol.started(cx));
    Ok(DatagramListener {
        port: conn.port(),
        handle: protocol::handle(conn),
    })
}

/// How many bytes of datagrams one event brings at most.
const BATCH: usize = 256 * 1024;
/// What each counts for at least.
const LEAST: usize = 1024;
