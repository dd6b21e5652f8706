//! The seat of a protocol: take it out, call it, put it back.
//!
//! # The idea
//!
//! Between calls a protocol sits in its seat. To call it the loop takes it out, lends it with a [`Context`], and
//! puts it back. Everybody else holds a [`Handle`] and posts; what is posted runs in a batch of the loop. So a
//! protocol's `&mut self` is real, no `RefCell` guards it, and nothing can enter it twice.
//!
//! The same seat serves every kind of protocol and transport: a [`Home`] is what has one.
//!
//! # Invariants
//!
//! 1. The seat is empty only while the protocol is being visited, and after it left.
//! 2. The protocol leaves once, by [`leave`]; its timers, what it waits for and its mail go with it.
//! 3. A panic in a hook is reported, and its home is told; a connection ends, with the panic as the reason.
//! 4. What is posted during a batch of mail waits for the next.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::{Rc, Weak};

use slab::Slab;

use super::successor::Successor;
use super::{Context, Handle};
use crate::cells;
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::framing::Unused;
use crate::reactor::{Acting, NOBODY, Reactor};
use crate::report::{self, Origin};
use crate::slots::{ShrinkPolicy, shrink_queue};
use crate::task::WorkItem;
use crate::transport::ConnectionDone;

/// A seat with its protocol.
pub(crate) struct Seated<P: 'static, T: 'static> {
    /// See invariant 1.
    occupant: Cell<Option<Box<P>>>,
    /// Made when it is first needed.
    belongings: Cell<Option<Box<Belongings<P, T>>>>,
}

/// What has a seat: a connection, a port of datagrams.
pub(crate) trait Home: 'static {
    /// Who sits in it.
    type Protocol: 'static;
    /// The inert handle to what it is.
    type Transport: 'static;

    fn seat_inside(&self) -> &Seated<Self::Protocol, Self::Transport>;
    fn home_reactor(&self) -> Option<Reactor>;
    /// The connection's place in the reactor's table.
    fn home_key(&self) -> usize {
        NOBODY
    }
    /// Where it was made.
    fn home_place(&self) -> &'static Location<'static>;
    /// All that may still come is the end.
    fn is_closing(&self) -> bool;
    /// The protocol has left.
    fn is_left(&self) -> bool;
    /// Why it is over, once it is.
    fn why_it_ended(&self) -> Option<Failure> {
        self.is_left()
            .then(|| Failure::at(ConnectionDone, self.home_place()))
    }
    /// The protocol has named another one to have its connection.
    fn named_successor(&self) {}
    /// There are bytes to be delivered that did not come from outside.
    fn was_fed(&self) {}
    /// A hook panicked; that has been reported.
    fn panicked(&self, panic: Failure);
    fn inert_handle(self: &Rc<Self>) -> Self::Transport;
}

/// What a protocol has besides itself.
struct Belongings<P: 'static, T: 'static> {
    mail: VecDeque<Message<P, T>>,
    /// The mail's delivery is in the loop's queue.
    called: bool,
    timers: Vec<DelayedCall>,
    /// How to cancel the Deferreds that it waits for.
    waits: Slab<Box<dyn FnOnce()>>,
    /// Who is to have the connection next.
    successor: Option<Box<dyn Successor>>,
    /// What the protocol has not used of what came.
    unused: Unused,
    /// What handles know of the end, once there is one.
    fate: Option<Fate>,
}

/// Why it ended, once it has: for handles, which do not keep what they lead to.
pub(super) type Fate = Rc<OnceCell<Failure>>;

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
    /// Names who is to have the connection next; the last one that is named counts.
    fn succeed(&self, successor: Box<dyn Successor>);
    fn is_taken(&self) -> bool;
    /// What a handle knows when nothing else is left.
    fn fate(&self) -> Fate;
    /// Why the connection was lost, once it has been.
    fn reason(&self) -> Option<Failure>;
    /// Has bytes delivered as if they had come, after those that did.
    fn feed(&self, bytes: &[u8]);
    /// The inert handle to what it sits on, while that is there.
    fn transport(self: Rc<Self>) -> Option<T>;
}

impl<P: 'static, T: 'static> Seated<P, T> {
    pub(crate) fn new(protocol: P) -> Self {
        Self {
            occupant: Cell::new(Some(Box::new(protocol))),
            belongings: Cell::new(None),
        }
    }

    fn with_belongings<R>(&self, f: impl FnOnce(&mut Belongings<P, T>) -> R) -> R {
        cells::with(&self.belongings, |belongings| {
            f(belongings.get_or_insert_default())
        })
    }

    /// Who is to have the connection next.
    pub(super) fn take_successor(&self) -> Option<Box<dyn Successor>> {
        self.with_belongings(|belongings| belongings.successor.take())
    }

    /// Has the protocol something of what came that it has not used?
    #[inline]
    pub(super) fn has_unused(&self) -> bool {
        cells::with(&self.belongings, |belongings| {
            let belongings = belongings.as_ref();
            belongings.is_some_and(|belongings| !belongings.unused.is_empty())
        })
    }

    /// How many bytes that is.
    pub(super) fn unused_len(&self) -> usize {
        self.with_belongings(|belongings| belongings.unused.as_slice().len())
    }

    /// Takes out what the protocol has not used of what came.
    pub(super) fn take_unused(&self) -> Unused {
        cells::with(&self.belongings, |belongings| match belongings {
            Some(belongings) => std::mem::take(&mut belongings.unused),
            None => Unused::default(),
        })
    }

    /// Puts back what the protocol has not used, before what came meanwhile; gives whether that was anything.
    pub(super) fn put_back(&self, mut unused: Unused) -> bool {
        let newer = self.take_unused();
        let any = !newer.is_empty();
        if any {
            unused.push(newer.as_slice());
        }
        if !unused.is_empty() {
            self.with_belongings(|belongings| belongings.unused = unused);
        }
        any
    }

    /// What came for this one is for its successor.
    pub(super) fn leave_to_successor(&self, bytes: Vec<u8>) {
        self.with_belongings(|belongings| {
            if let Some(successor) = &mut belongings.successor {
                successor.put_before(bytes);
            }
        });
    }
}

/// Takes the protocol out, calls it, and puts it back. `None` when it is not there, or panics.
pub(crate) fn visit<H: Home, R>(
    home: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    visit_inlined(home, reactor, call)
}

/// As [`visit`], for the one place that is passed for each message.
#[inline(always)]
pub(super) fn visit_inlined<H: Home, R>(
    home: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    let mut occupant = home.seat_inside().occupant.take()?;
    let chair: Rc<dyn Chair<H::Protocol, H::Transport>> = home.clone();
    let transport = home.inert_handle();
    let mut cx = Context::new(reactor, &chair, &transport);
    let acting = Acting::begin(home.home_key());
    let result = report::catch(home.home_place(), || call(&mut occupant, &mut cx));
    home.seat_inside().occupant.set(Some(occupant));
    let result = match result {
        Ok(result) => Some(result),
        Err(panic) => {
            report::deliver(Origin::Protocol, panic.clone(), home.home_place());
            home.panicked(panic);
            None
        }
    };
    drop(acting);
    result
}

/// The protocol leaves, after its last words (invariant 2). A panic in those is reported.
pub(crate) fn leave<H: Home>(home: &H, farewell: impl FnOnce(&mut H::Protocol)) {
    if let Err(panic) = try_leave(home, farewell) {
        report::deliver(Origin::Protocol, panic, home.home_place());
    }
}

/// As [`leave`], but gives the panic of its last words.
pub(crate) fn try_leave<H: Home>(
    home: &H,
    farewell: impl FnOnce(&mut H::Protocol),
) -> Result<(), Failure> {
    let place = home.home_place();
    let occupant = home.seat_inside().occupant.take();
    let mut said = Ok(());
    if let Some(mut occupant) = occupant {
        said = report::catch(place, || farewell(&mut occupant));
        report::discard(occupant, place);
    }
    let belongings = home.seat_inside().belongings.take();
    let Some(belongings) = belongings else {
        return said;
    };
    let Belongings {
        mail,
        timers,
        waits,
        successor,
        fate,
        ..
    } = *belongings;
    if let Some(fate) = fate {
        let reason = home.why_it_ended();
        // It leaves once.
        let done = || Failure::at(ConnectionDone, place);
        let _ = fate.set(reason.unwrap_or_else(done));
    }
    for timer in timers {
        report::contain(Origin::Destructor, place, || timer.cancel());
    }
    for (_, cancel) in waits {
        report::contain(Origin::Canceller, place, cancel);
    }
    for message in mail {
        report::discard(message, place);
    }
    report::discard(successor, place);
    said
}

/// The handle to a protocol in its seat.
pub(crate) fn handle<H: Home>(home: &Rc<H>) -> Handle<H::Protocol, H::Transport> {
    let chair: Rc<dyn Chair<H::Protocol, H::Transport>> = home.clone();
    let chair: Weak<dyn Chair<H::Protocol, H::Transport>> = Rc::downgrade(&chair);
    Handle::new(chair, home.fate())
}

impl<H: Home> Chair<H::Protocol, H::Transport> for H {
    fn post(self: Rc<Self>, message: Message<H::Protocol, H::Transport>) {
        if self.is_left() {
            return report::discard(message, self.home_place());
        }
        let called = self.seat_inside().with_belongings(|belongings| {
            belongings.mail.push_back(message);
            std::mem::replace(&mut belongings.called, true)
        });
        if !called {
            if let Some(reactor) = self.home_reactor() {
                reactor.inner().executor().push(self);
            }
        }
    }

    fn visit_now(self: Rc<Self>, message: Message<H::Protocol, H::Transport>) {
        match self.home_reactor() {
            // Once it is over all that may come is the end.
            Some(reactor) if !self.is_closing() => {
                visit(&self, &reactor, message);
            }
            _ => report::discard(message, self.home_place()),
        }
    }

    fn keep_timer(&self, timer: DelayedCall) {
        self.seat_inside().with_belongings(|belongings| {
            if belongings.timers.len() == belongings.timers.capacity() {
                belongings.timers.retain(DelayedCall::is_pending);
            }
            belongings.timers.push(timer);
        });
    }

    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize> {
        Some(
            self.seat_inside()
                .with_belongings(|belongings| belongings.waits.insert(cancel)),
        )
    }

    fn forget_wait(&self, number: usize) {
        let cancel = self.seat_inside().with_belongings(|belongings| {
            let cancel = belongings.waits.try_remove(number);
            if belongings.waits.is_empty() {
                ShrinkPolicy::default().give_back(&mut belongings.waits, number);
            }
            cancel
        });
        drop(cancel);
    }

    fn succeed(&self, successor: Box<dyn Successor>) {
        let old = self
            .seat_inside()
            .with_belongings(|belongings| belongings.successor.replace(successor));
        report::discard(old, self.home_place());
        self.named_successor();
    }

    fn is_taken(&self) -> bool {
        !self.is_left()
    }

    fn fate(&self) -> Fate {
        let fate = self
            .seat_inside()
            .with_belongings(|belongings| belongings.fate.get_or_insert_default().clone());
        if let Some(reason) = self.why_it_ended().filter(|_| self.is_left()) {
            let _ = fate.set(reason);
        }
        fate
    }

    fn reason(&self) -> Option<Failure> {
        self.why_it_ended()
    }

    fn feed(&self, bytes: &[u8]) {
        if !self.is_closing() {
            self.seat_inside()
                .with_belongings(|belongings| belongings.unused.push(bytes));
            self.was_fed();
        }
    }

    fn transport(self: Rc<Self>) -> Option<H::Transport> {
        Some(self.inert_handle())
    }
}

impl<H: Home> WorkItem for H {
    /// Delivers the mail that is there.
    fn run(self: Rc<Self>) {
        let Some(reactor) = self.home_reactor() else {
            return;
        };
        let letters = self.seat_inside().with_belongings(|belongings| {
            belongings.called = false;
            belongings.mail.len()
        });
        for _ in 0..letters {
            if self.is_closing() {
                // What is left is dropped when it is told so.
                return;
            }
            let message = self.seat_inside().with_belongings(|belongings| {
                let message = belongings.mail.pop_front();
                shrink_queue(&mut belongings.mail);
                message
            });
            let Some(message) = message else { return };
            visit(&self, &reactor, message);
        }
    }
}

impl<P: 'static, T: 'static> Default for Belongings<P, T> {
    fn default() -> Self {
        Self {
            mail: VecDeque::new(),
            called: false,
            timers: Vec::new(),
            waits: Slab::new(),
            successor: None,
            unused: Unused::default(),
            fate: None,
        }
    }
}
