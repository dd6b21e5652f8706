//! The seat of a protocol: take it out, call it, put it back.
//!
//! # The idea
//!
//! Between calls a protocol sits in its seat. To call it the loop takes it out, lends it with a [`Context`], and
//! puts it back. Everybody else holds a [`Handle`] and posts; what is posted runs in a batch of the loop. So a
//! protocol's `&mut self` is real, no `RefCell` guards it, and nothing can enter it twice.
//!
//! # Invariants
//!
//! 1. The seat is empty only while the protocol is being visited, and after it left.
//! 2. The protocol leaves once, with `connection_lost`; its timers, what it waits for and its mail go with it.
//! 3. A panic in a hook is reported and ends the connection, with the panic as the reason.
//! 4. What is posted during a batch of mail waits for the next.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use slab::Slab;

use super::{Context, Handle, Protocol};
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::task::{Errand, Job};
use crate::transport::{Conn, Seat, Transport};

/// A seat with its protocol.
pub(crate) struct Seated<P: Protocol> {
    /// See invariant 1.
    occupant: Cell<Option<Box<P>>>,
    /// Made when it is first needed.
    belongings: Cell<Option<Box<Belongings<P>>>>,
}

/// What a protocol has besides itself.
struct Belongings<P: Protocol> {
    mail: VecDeque<Message<P, Transport>>,
    /// The mail's delivery is in the loop's queue.
    called: bool,
    timers: Vec<DelayedCall>,
    /// How to cancel the Deferreds that it waits for.
    waits: Slab<Box<dyn FnOnce()>>,
}

/// Something to be done with a protocol.
pub(super) type Message<P, T> = Box<dyn FnOnce(&mut P, &mut Context<'_, P, T>)>;

/// What a [`Handle`] and a [`Context`] need of a seat.
pub(super) trait Chair<P: 'static, T: 'static> {
    /// Leaves a message. It is dropped when the protocol is gone.
    fn post(self: Rc<Self>, message: Message<P, T>);
    /// Runs a message now, from the loop's turn.
    fn visit_now(self: Rc<Self>, message: Message<P, T>);
    /// Has a timer called off when the protocol leaves.
    fn keep_timer(&self, timer: DelayedCall);
    /// Has something called when the protocol leaves, unless [`Chair::forget_wait`] comes first.
    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize>;
    fn forget_wait(&self, number: usize);
    fn is_taken(&self) -> bool;
    /// The inert handle to what it sits on.
    fn transport(self: Rc<Self>) -> T;
}

impl<P: Protocol> Seated<P> {
    pub(crate) fn new(protocol: P) -> Self {
        Self {
            occupant: Cell::new(Some(Box::new(protocol))),
            belongings: Cell::new(None),
        }
    }

    fn with_belongings<R>(&self, f: impl FnOnce(&mut Belongings<P>) -> R) -> R {
        let mut belongings = self.belongings.take().unwrap_or_default();
        let result = f(&mut belongings);
        self.belongings.set(Some(belongings));
        result
    }
}

/// Takes the protocol out, calls it, and puts it back. `None` when it is not there, or panics.
pub(crate) fn visit<P: Protocol, R>(
    conn: &Rc<Conn<Seated<P>>>,
    reactor: &Reactor,
    call: impl FnOnce(&mut P, &mut Context<'_, P>) -> R,
) -> Option<R> {
    let mut occupant = conn.seat().occupant.take()?;
    let chair: Rc<dyn Chair<P, Transport>> = conn.clone();
    let transport = conn.transport();
    let mut cx = Context::new(reactor, &chair, &transport);
    let result = report::catch(conn.link().place(), || call(&mut occupant, &mut cx));
    conn.seat().occupant.set(Some(occupant));
    match result {
        Ok(result) => Some(result),
        Err(panic) => {
            report::deliver(Origin::Protocol, panic.clone(), conn.link().place());
            conn.link().break_with(panic);
            None
        }
    }
}

/// Gives the protocol the descriptors that came with what was read. `false` if it wants no more, of the bytes either.
fn hand_over<P: Protocol>(conn: &Rc<Conn<Seated<P>>>, reactor: &Reactor) -> bool {
    #[cfg(unix)]
    while let Some(descriptor) = conn.link().take_descriptor() {
        if conn.link().life().is_reading() {
            visit(conn, reactor, |protocol, cx| {
                protocol.descriptor_received(cx, descriptor)
            });
        }
    }
    let _ = reactor;
    conn.link().life().is_reading()
}

impl<P: Protocol> Seat for Seated<P> {
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let mut buffer = reactor.inner().take_read_buffer();
        match conn.link().read(&mut buffer) {
            Some(0) => conn.peer_done(reactor),
            Some(_) if conn.link().has_descriptors() && !hand_over(conn, reactor) => {}
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
        let place = conn.link().place();
        let occupant = conn.seat().occupant.take();
        if let Some(mut occupant) = occupant {
            report::contain(Origin::Protocol, place, || occupant.connection_lost(reason));
            report::discard(occupant, place);
        }
        let belongings = conn.seat().belongings.take();
        let Some(belongings) = belongings else { return };
        let Belongings {
            mail,
            timers,
            waits,
            ..
        } = *belongings;
        for timer in timers {
            report::contain(Origin::Destructor, place, || timer.cancel());
        }
        for (_, cancel) in waits {
            report::contain(Origin::Canceller, place, cancel);
        }
        for message in mail {
            report::discard(message, place);
        }
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}

impl<P: Protocol> Chair<P, Transport> for Conn<Seated<P>> {
    fn post(self: Rc<Self>, message: Message<P, Transport>) {
        if self.link().has_gone() {
            return report::discard(message, self.link().place());
        }
        let called = self.seat().with_belongings(|belongings| {
            belongings.mail.push_back(message);
            std::mem::replace(&mut belongings.called, true)
        });
        if !called {
            if let Some(reactor) = self.link().reactor() {
                reactor.inner().executor().push(Job::Errand(self));
            }
        }
    }

    fn visit_now(self: Rc<Self>, message: Message<P, Transport>) {
        match self.link().reactor() {
            // Once it is over all that may come is `connection_lost`.
            Some(reactor) if !self.link().life().is_over() => {
                visit(&self, &reactor, message);
            }
            _ => report::discard(message, self.link().place()),
        }
    }

    fn keep_timer(&self, timer: DelayedCall) {
        self.seat().with_belongings(|belongings| {
            if belongings.timers.len() == belongings.timers.capacity() {
                belongings.timers.retain(DelayedCall::is_pending);
            }
            belongings.timers.push(timer);
        });
    }

    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize> {
        Some(
            self.seat()
                .with_belongings(|belongings| belongings.waits.insert(cancel)),
        )
    }

    fn forget_wait(&self, number: usize) {
        let cancel = self
            .seat()
            .with_belongings(|belongings| belongings.waits.try_remove(number));
        drop(cancel);
    }

    fn is_taken(&self) -> bool {
        !self.link().has_gone()
    }

    fn transport(self: Rc<Self>) -> Transport {
        Self::transport(&self)
    }
}

impl<P: Protocol> Errand for Conn<Seated<P>> {
    /// Delivers the mail that is there.
    fn run(self: Rc<Self>) {
        let Some(reactor) = self.link().reactor() else {
            return;
        };
        let letters = self.seat().with_belongings(|belongings| {
            belongings.called = false;
            belongings.mail.len()
        });
        for _ in 0..letters {
            if self.link().life().is_over() {
                // What is left is dropped when it is told so.
                return;
            }
            let message = self
                .seat()
                .with_belongings(|belongings| belongings.mail.pop_front());
            let Some(message) = message else { return };
            visit(&self, &reactor, message);
        }
    }
}

impl<P: Protocol> Default for Belongings<P> {
    fn default() -> Self {
        Self {
            mail: VecDeque::new(),
            called: false,
            timers: Vec::new(),
            waits: Slab::new(),
        }
    }
}

/// The handle to a protocol in its seat.
pub(crate) fn handle<P: Protocol>(conn: &Rc<Conn<Seated<P>>>) -> Handle<P> {
    let chair: Rc<dyn Chair<P, Transport>> = conn.clone();
    let chair: Weak<dyn Chair<P, Transport>> = Rc::downgrade(&chair);
    Handle::new(chair)
}
