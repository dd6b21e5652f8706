//! Handing a connection from one seat to another: everything but the user moves.

use std::rc::Rc;

use super::counter::Counted;
use super::engine::{Conn, Seat};
use super::errors::HandedOver;
use super::life::{Event, Life};
#[allow(unused_imports, reason = "the docs name it")]
use super::link::Link;
use super::link::{Ends, Limits, Terms};
use crate::address::Address;
use crate::bytes::Outgoing;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::reactor::Reactor;

/// A connection between two seats.
pub(crate) struct Handed {
    socket: Socket,
    ends: Ends,
    terms: Rc<Terms>,
    limits: Option<Limits>,
    life: Life,
    peer_done: bool,
    paused: bool,
    full: bool,
    sent: u32,
    has_descriptors: bool,
    out: Option<Box<Outgoing>>,
    queued: usize,
    /// It counts among those of its port all the time.
    counted: Option<Counted>,
}

impl<S: Seat> Conn<S> {
    /// Takes away all that can go to another seat. This connection is over then, and its seat is told nothing more.
    /// `None` when it was over already.
    pub(crate) fn hand_over(&self, reactor: &Reactor) -> Option<Handed> {
        let link = self.link();
        let life = link.life.get();
        if life.is_over() || link.gone.replace(true) {
            return None;
        }
        link.on(Event::Broken, || link.failure(HandedOver));
        link.forget_stall();
        let source = link.take_source();
        if let Some(source) = source {
            source.stop(link, link.failure(HandedOver));
        }
        let socket = link.socket.take()?;
        let _ = reactor.inner().driver().remove(&socket);
        reactor.inner().remove(link.key);
        Some(Handed {
            socket,
            ends: link.ends(),
            terms: link.terms.clone(),
            limits: link.own_limits(),
            life,
            peer_done: link.peer_done.get(),
            paused: link.paused.get(),
            full: link.full.get(),
            sent: link.sent.get(),
            has_descriptors: link.has_descriptors.get(),
            out: link.out.take(),
            queued: {
                let queued = link.queued();
                link.set_queued(0);
                link.note_buffered(|| 0);
                queued
            },
            counted: link
                .terms
                .counter
                .as_ref()
                .map(|counter| Counted::new(counter, link.key)),
        })
    }

    /// Gives a seat a connection that another one had. [`Conn::begin`] is next, as after [`Conn::new`]; then
    /// [`Conn::peer_done`], if the peer had said its end before ([`Link::has_eof_to_tell`]).
    pub(crate) fn of_handed(
        reactor: &Reactor,
        handed: Handed,
        seat: S,
    ) -> Result<Rc<Self>, Failure> {
        let Handed { socket, ends, .. } = handed;
        let conn = Self::unwatched(reactor, socket, ends, &handed.terms, seat)?;
        let link = conn.link();
        if let Some(counted) = &handed.counted {
            counted.goes_on_as(link.key);
        }
        link.life.set(handed.life.read_anew());
        link.peer_done.set(handed.peer_done);
        link.paused.set(handed.paused);
        link.full.set(handed.full);
        link.sent.set(handed.sent);
        link.has_descriptors.set(handed.has_descriptors);
        link.set_descriptors_asked(true);
        link.out.set(handed.out);
        link.set_queued(handed.queued);
        if let Some(limits) = handed.limits {
            link.set_limits(limits);
        }
        // What it has queued is lost as with every other end.
        conn.watch_or_end(reactor)?;
        Ok(conn)
    }
}

impl Handed {
    /// The peer's address.
    pub(crate) fn peer(&self) -> &Address {
        &self.ends.peer
    }

    /// Closes it so that its peer sees a reset.
    pub(crate) fn cut_off(self) {
        let _ = self.socket.reset_on_close();
    }

    /// What it has in common with the others of its port.
    pub(crate) fn terms(&self) -> Rc<Terms> {
        self.terms.clone()
    }

    /// Names its ends anew.
    pub(crate) fn set_ends(&mut self, ends: Ends) {
        self.ends = ends;
    }

    /// Has it count among those of another port, and end as they do.
    pub(crate) fn set_terms(&mut self, terms: &Rc<Terms>) {
        let same = match (&self.terms.counter, &terms.counter) {
            (Some(old), Some(new)) => Rc::ptr_eq(old, new),
            _ => false,
        };
        self.terms = terms.clone();
        if !same {
            let counted = self.counted.take();
            drop(counted);
        }
    }
}
