//! A protocol on a stream connection: how the engine calls it.

use std::panic::Location;
use std::rc::Rc;

use tracing::Span;

use super::Protocol;
use super::input::Input;
use super::slot::{self, ProtocolHost, ProtocolSlot, visit, visit_inlined};
use crate::failure::Failure;
use crate::framing::Unused;
use crate::reactor::Reactor;
use crate::report;
use crate::transport::{Conn, ConnHandler, Transport};

/// The handler of a connection with a protocol.
pub(crate) type OnStream<P> = ProtocolSlot<P, Transport>;

impl<P: Protocol> ProtocolHost for Conn<OnStream<P>> {
    type Protocol = P;
    type Transport = Transport;

    fn protocol_slot(&self) -> &OnStream<P> {
        self.handler()
    }

    fn host_reactor(&self) -> Option<Reactor> {
        self.link().reactor()
    }

    fn host_key(&self) -> usize {
        self.link().key()
    }

    fn span(&self, reactor: &Reactor) -> Option<Span> {
        reactor.inner().connection_span(self.link().key())
    }

    fn host_location(&self) -> &'static Location<'static> {
        self.link().location()
    }

    fn is_closing(&self) -> bool {
        self.link().life().is_over() || self.link().is_handing_on()
    }

    fn is_removed(&self) -> bool {
        self.link().is_lost()
    }

    fn reason_of_end(&self) -> Option<Failure> {
        self.link().reason()
    }

    fn named_successor(&self) {
        self.link().note_successor();
    }

    fn was_fed(&self) {
        self.link().set_held(true);
        self.link().ask_for_attention();
    }

    fn panicked(&self, panic: Failure) {
        self.link().panicked(panic);
    }

    fn inert_handle(self: &Rc<Self>) -> Transport {
        self.transport()
    }
}

/// Delivers the descriptors that came with received bytes, as far as the state of the connection
/// allows. Descriptors that come too late are closed.
#[cfg(unix)]
fn hand_over<P: Protocol>(conn: &Rc<Conn<OnStream<P>>>, reactor: &Reactor) {
    let link = conn.link();
    while link.may_deliver() {
        let Some(descriptor) = link.take_descriptor() else {
            return;
        };
        visit(conn, reactor, |protocol, cx| {
            protocol.descriptor_received(cx, descriptor)
        });
    }
    while !link.life().is_reading() && link.take_descriptor().is_some() {}
}

/// Delivers new bytes, where no other state has to be checked.
#[inline(always)]
fn deliver_new<P: Protocol>(conn: &Rc<Conn<OnStream<P>>>, reactor: &Reactor, data: &[u8]) {
    let link = conn.link();
    if !link.is_usual() || link.is_partly_used() {
        return deliver(conn, reactor, data);
    }
    let mut input = Input::new(data, link);
    visit_inlined(conn, reactor, |protocol, cx| {
        protocol.input_received(cx, &mut input)
    });
    let (used, is_held) = input.outcome();
    // Bytes that were fed meanwhile are held, which is not the usual state.
    match used == data.len() && !is_held && link.is_usual() {
        true => link.note_buffered(|| 0),
        false => keep(conn, reactor, Unused::default(), data, (used, is_held)),
    }
}

/// Delivers the received descriptors, the bytes that the protocol has not used yet, and then
/// `data`, as far as the state allows, and keeps the rest. Last comes an end of file that an
/// earlier protocol got.
#[inline(never)]
pub(super) fn deliver<P: Protocol>(conn: &Rc<Conn<OnStream<P>>>, reactor: &Reactor, data: &[u8]) {
    let (slot, link) = (conn.handler(), conn.link());
    #[cfg(unix)]
    if link.has_descriptors() {
        hand_over(conn, reactor);
    }
    let mut unused = slot.take_unused();
    let is_new = unused.is_empty();
    if !is_new {
        unused.push(data);
    }
    let bytes = if is_new { data } else { unused.as_slice() };
    let mut input = Input::new(bytes, link);
    if !link.may_deliver() {
        input.hold();
    } else if !bytes.is_empty() {
        visit(conn, reactor, |protocol, cx| {
            protocol.input_received(cx, &mut input)
        });
    }
    let outcome = input.outcome();
    keep(conn, reactor, unused, data, outcome);
}

/// Keeps the part of `unused` that the protocol has not used, or of `data` when `unused` was empty.
#[inline(never)]
fn keep<P: Protocol>(
    conn: &Rc<Conn<OnStream<P>>>,
    reactor: &Reactor,
    mut unused: Unused,
    data: &[u8],
    (used, mut is_held): (usize, bool),
) {
    let (slot, link) = (conn.handler(), conn.link());
    let is_new = unused.is_empty();
    let came = if is_new { data } else { unused.as_slice() };
    is_held &= used < came.len() || link.has_eof_to_report();
    if link.life().is_ending() || !link.life().is_reading() {
        // Nothing more is delivered, and nothing is kept.
        link.set_partly_used(false);
        link.note_buffered(|| 0);
        return link.set_held(false);
    }
    match is_new {
        true => unused.push(&data[used..]),
        false => unused.consume(used),
    }
    is_held |= slot.put_back(unused);
    link.set_partly_used(slot.has_unused());
    link.note_unfinished(slot.has_unused() && !is_held, used > 0);
    link.note_buffered(|| slot.unused_len());
    link.set_held(is_held);
    if !is_held && link.has_eof_to_report() && !link.is_handing_on() {
        conn.peer_done(reactor);
    }
}

impl<P: Protocol> ConnHandler for OnStream<P> {
    #[inline(always)]
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let mut buffer = reactor.inner().take_read_buffer();
        match conn.link().read(&mut buffer) {
            Some(0) => conn.peer_done(reactor),
            Some(count) => deliver_new(conn, reactor, &buffer[..count]),
            None => {}
        }
        reactor.inner().give_back_read_buffer(buffer);
    }

    fn deliver_held(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        deliver(conn, reactor, &[]);
    }

    fn eof(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| protocol.eof_received(cx));
    }

    fn write_ready(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| protocol.write_ready(cx));
    }

    fn flushed(_conn: &Rc<Conn<Self>>) {}

    fn write_closed(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        visit(conn, reactor, |protocol, cx| protocol.write_closed(cx));
    }

    fn lost(conn: &Rc<Conn<Self>>, reason: Failure) {
        let has_begun = conn.link().has_begun();
        slot::leave(&**conn, |protocol| {
            if has_begun {
                protocol.connection_lost(reason);
            }
        });
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn hand_on(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let next = conn.handler().take_successor();
        let Some(mut next) = next else { return };
        next.append(conn.handler().take_unused().as_slice());
        let Some(handed) = conn.hand_over(reactor) else {
            return report::discard(next, conn.link().location());
        };
        slot::leave(&**conn, |_protocol| {});
        next.take_over(reactor, handed, conn.link().location());
    }

    #[cfg(feature = "tls")]
    fn unused(&self) -> usize {
        match self.has_unused() {
            true => self.unused_len(),
            false => 0,
        }
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}
