//! A protocol on a stream connection: what the engine tells it.

use std::panic::Location;
use std::rc::Rc;

use super::Protocol;
use super::seat::{self, Home, Seated, visit};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report;
use crate::transport::{Conn, Seat, Transport};

/// The seat of a protocol on a connection.
pub(crate) type OnStream<P> = Seated<P, Transport>;

impl<P: Protocol> Home for Conn<OnStream<P>> {
    type Protocol = P;
    type Transport = Transport;

    fn seat_inside(&self) -> &OnStream<P> {
        self.seat()
    }

    fn home_reactor(&self) -> Option<Reactor> {
        self.link().reactor()
    }

    fn home_place(&self) -> &'static Location<'static> {
        self.link().place()
    }

    fn is_closing(&self) -> bool {
        self.link().life().is_over() || self.link().is_handing_on()
    }

    fn is_left(&self) -> bool {
        self.link().has_gone()
    }

    fn why_it_ended(&self) -> Option<Failure> {
        self.link().reason()
    }

    fn named_successor(&self) {
        self.link().note_successor();
    }

    fn panicked(&self, panic: Failure) {
        self.link().panicked(panic);
    }

    fn inert_handle(self: &Rc<Self>) -> Transport {
        self.transport()
    }
}

/// Gives the protocol the descriptors that came with what was read. `false` if it wants no more, of the bytes either.
fn hand_over<P: Protocol>(conn: &Rc<Conn<OnStream<P>>>, reactor: &Reactor) -> bool {
    #[cfg(unix)]
    while !conn.link().is_handing_on() {
        let Some(descriptor) = conn.link().take_descriptor() else {
            break;
        };
        if conn.link().life().is_reading() {
            visit(conn, reactor, |protocol, cx| {
                protocol.descriptor_received(cx, descriptor)
            });
        }
    }
    let _ = reactor;
    conn.link().life().is_reading()
}

impl<P: Protocol> Seat for OnStream<P> {
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let mut buffer = reactor.inner().take_read_buffer();
        match conn.link().read(&mut buffer) {
            Some(0) => conn.peer_done(reactor),
            Some(_) if conn.link().has_descriptors() && !hand_over(conn, reactor) => {}
            Some(count) if conn.link().is_handing_on() => {
                conn.seat().leave_to_successor(buffer[..count].into());
            }
            Some(count) => {
                visit(conn, reactor, |protocol, cx| {
                    protocol.data_received(cx, &buffer[..count])
                });
            }
            None => {}
        }
        reactor.inner().give_back_read_buffer(buffer);
    }

    fn eof(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| protocol.eof_received(cx));
    }

    fn write_ready(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| protocol.write_ready(cx));
    }

    fn flushed(_conn: &Rc<Conn<Self>>) {}

    fn lost(conn: &Rc<Conn<Self>>, reason: Failure) {
        let has_begun = conn.link().has_begun();
        seat::leave(&**conn, |protocol| {
            if has_begun {
                protocol.connection_lost(reason);
            }
        });
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn hand_on(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let next = conn.seat().take_successor();
        let Some(next) = next else { return };
        let Some(handed) = conn.hand_over(reactor) else {
            return report::discard(next, conn.link().place());
        };
        seat::leave(&**conn, |_protocol| {});
        next.take_over(reactor, handed, conn.link().place());
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}
