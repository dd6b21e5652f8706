//! The seat of a protocol: take it out, call it, put it back.
//!
//! # The idea
//!
//! Between calls a protocol sits in its seat. To call it the loop takes it out, lends it with a
//! [`Context`], and puts it back. Everybody else holds a [`Handle`] and posts; what is posted runs
//! in a batch of the loop. So a protocol's `&mut self` is real, no `RefCell` guards it, and nothing
//! can enter it twice.
//!
//! The same seat serves every kind of protocol and transport: a [`ProtocolHost`] is what has one.
//!
//! # Invariants
//!
//! 1. The seat is empty only while the protocol is being visited, and after it left.
//! 2. The protocol leaves once, by [`leave`]; its timers, what it waits for and its mail go with
//!    it.
//! 3. A panic in a hook is reported, and its home is told; a connection ends, with the panic as the
//!    reason.
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
use crate::reactor::{Acting, NO_CONNECTION, Reactor};
use crate::report::{self, Origin};
use crate::slots::{ShrinkPolicy, shrink_queue};
use crate::task::WorkItem;
use crate::transport::ConnectionError;

/// A seat with its protocol.
pub(crate) struct ProtocolSlot<P: 'static, T: 'static> {
    /// See invariant 1.
    protocol: Cell<Option<Box<P>>>,
    /// Made when it is first needed.
    extras: Cell<Option<Box<ProtocolExtras<P, T>>>>,
}

/// What has a seat: a connection, a port of datagrams.
pub(crate) trait ProtocolHost: 'static {
    /// Who sits in it.
    type Protocol: 'static;
    /// The inert handle to what it is.
    type Transport: 'static;

    fn protocol_slot(&self) -> &ProtocolSlot<Self::Protocol, Self::Transport>;
    fn host_reactor(&self) -> Option<Reactor>;
    /// The connection's place in the reactor's table.
    fn host_key(&self) -> usize {
        NO_CONNECTION
    }
    /// Where it was made.
    fn host_location(&self) -> &'static Location<'static>;
    /// All that may still come is the end.
    fn is_closing(&self) -> bool;
    /// The protocol has left.
    fn is_left(&self) -> bool;
    /// Why it is over, once it is.
    fn why_it_ended(&self) -> Option<Failure> {
        self.is_left()
            .then(|| Failure::at(ConnectionError::Done, self.host_location()))
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
struct ProtocolExtras<P: 'static, T: 'static> {
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
pub(super) trait Mailbox<P: 'static, T: 'static> {
    /// Leaves a message. It is dropped when the protocol is gone.
    fn post(self: Rc<Self>, message: Message<P, T>);
    /// Runs a message now, from the loop's turn.
    fn visit_now(self: Rc<Self>, message: Message<P, T>);
    /// Has a timer called off when the protocol leaves.
    fn keep_timer(&self, timer: DelayedCall);
    /// Has something called when the protocol leaves, unless [`Mailbox::forget_wait`] comes first.
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

impl<P: 'static, T: 'static> ProtocolSlot<P, T> {
    pub(crate) fn new(protocol: P) -> Self {
        Self {
            protocol: Cell::new(Some(Box::new(protocol))),
            extras: Cell::new(None),
        }
    }

    fn with_extras<R>(&self, f: impl FnOnce(&mut ProtocolExtras<P, T>) -> R) -> R {
        cells::with(&self.extras, |extras| f(extras.get_or_insert_default()))
    }

    /// Who is to have the connection next.
    pub(super) fn take_successor(&self) -> Option<Box<dyn Successor>> {
        self.with_extras(|extras| extras.successor.take())
    }

    /// Has the protocol something of what came that it has not used?
    #[inline]
    pub(super) fn has_unused(&self) -> bool {
        cells::with(&self.extras, |extras| {
            let extras = extras.as_ref();
            extras.is_some_and(|extras| !extras.unused.is_empty())
        })
    }

    /// How many bytes that is.
    pub(super) fn unused_len(&self) -> usize {
        self.with_extras(|extras| extras.unused.as_slice().len())
    }

    /// Takes out what the protocol has not used of what came.
    pub(super) fn take_unused(&self) -> Unused {
        cells::with(&self.extras, |extras| match extras {
            Some(extras) => std::mem::take(&mut extras.unused),
            None => Unused::default(),
        })
    }

    /// Puts back what the protocol has not used, before what came meanwhile; gives whether that was
    /// anything.
    pub(super) fn put_back(&self, mut unused: Unused) -> bool {
        let newer = self.take_unused();
        let any = !newer.is_empty();
        if any {
            unused.push(newer.as_slice());
        }
        if !unused.is_empty() {
            self.with_extras(|extras| extras.unused = unused);
        }
        any
    }

    /// What came for this one is for its successor.
    pub(super) fn leave_to_successor(&self, bytes: Vec<u8>) {
        self.with_extras(|extras| {
            if let Some(successor) = &mut extras.successor {
                successor.put_before(bytes);
            }
        });
    }
}

/// Takes the protocol out, calls it, and puts it back. `None` when it is not there, or panics.
pub(crate) fn visit<H: ProtocolHost, R>(
    home: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    visit_inlined(home, reactor, call)
}

/// As [`visit`], for the one place that is passed for each message.
#[inline(always)]
pub(super) fn visit_inlined<H: ProtocolHost, R>(
    home: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    let mut protocol = home.protocol_slot().protocol.take()?;
    let mailbox: Rc<dyn Mailbox<H::Protocol, H::Transport>> = home.clone();
    let transport = home.inert_handle();
    let mut cx = Context::new(reactor, &mailbox, &transport);
    let acting = Acting::begin(home.host_key());
    let result = report::catch(home.host_location(), || call(&mut protocol, &mut cx));
    home.protocol_slot().protocol.set(Some(protocol));
    let result = match result {
        Ok(result) => Some(result),
        Err(panic) => {
            report::deliver(Origin::Protocol, panic.clone(), home.host_location());
            home.panicked(panic);
            None
        }
    };
    drop(acting);
    result
}

/// The protocol leaves, after its last words (invariant 2). A panic in those is reported.
pub(crate) fn leave<H: ProtocolHost>(home: &H, farewell: impl FnOnce(&mut H::Protocol)) {
    if let Err(panic) = try_leave(home, farewell) {
        report::deliver(Origin::Protocol, panic, home.host_location());
    }
}

/// As [`leave`], but gives the panic of its last words.
pub(crate) fn try_leave<H: ProtocolHost>(
    home: &H,
    farewell: impl FnOnce(&mut H::Protocol),
) -> Result<(), Failure> {
    let location = home.host_location();
    let protocol = home.protocol_slot().protocol.take();
    let mut said = Ok(());
    if let Some(mut protocol) = protocol {
        said = report::catch(location, || farewell(&mut protocol));
        report::discard(protocol, location);
    }
    let extras = home.protocol_slot().extras.take();
    let Some(extras) = extras else {
        return said;
    };
    let ProtocolExtras {
        mail,
        timers,
        waits,
        successor,
        fate,
        ..
    } = *extras;
    if let Some(fate) = fate {
        let reason = home.why_it_ended();
        // It leaves once.
        let done = || Failure::at(ConnectionError::Done, location);
        let _ = fate.set(reason.unwrap_or_else(done));
    }
    for timer in timers {
        report::contain(Origin::Destructor, location, || timer.cancel());
    }
    for (_, cancel) in waits {
        report::contain(Origin::Canceller, location, cancel);
    }
    for message in mail {
        report::discard(message, location);
    }
    report::discard(successor, location);
    said
}

/// The handle to a protocol in its seat.
pub(crate) fn handle<H: ProtocolHost>(home: &Rc<H>) -> Handle<H::Protocol, H::Transport> {
    let mailbox: Rc<dyn Mailbox<H::Protocol, H::Transport>> = home.clone();
    let mailbox: Weak<dyn Mailbox<H::Protocol, H::Transport>> = Rc::downgrade(&mailbox);
    Handle::new(mailbox, home.fate())
}

impl<H: ProtocolHost> Mailbox<H::Protocol, H::Transport> for H {
    fn post(self: Rc<Self>, message: Message<H::Protocol, H::Transport>) {
        if self.is_left() {
            return report::discard(message, self.host_location());
        }
        let called = self.protocol_slot().with_extras(|extras| {
            extras.mail.push_back(message);
            std::mem::replace(&mut extras.called, true)
        });
        if !called {
            if let Some(reactor) = self.host_reactor() {
                reactor.inner().executor().push(self);
            }
        }
    }

    fn visit_now(self: Rc<Self>, message: Message<H::Protocol, H::Transport>) {
        match self.host_reactor() {
            // Once it is over all that may come is the end.
            Some(reactor) if !self.is_closing() => {
                visit(&self, &reactor, message);
            }
            _ => report::discard(message, self.host_location()),
        }
    }

    fn keep_timer(&self, timer: DelayedCall) {
        self.protocol_slot().with_extras(|extras| {
            if extras.timers.len() == extras.timers.capacity() {
                extras.timers.retain(DelayedCall::is_pending);
            }
            extras.timers.push(timer);
        });
    }

    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize> {
        Some(
            self.protocol_slot()
                .with_extras(|extras| extras.waits.insert(cancel)),
        )
    }

    fn forget_wait(&self, number: usize) {
        let cancel = self.protocol_slot().with_extras(|extras| {
            let cancel = extras.waits.try_remove(number);
            if extras.waits.is_empty() {
                ShrinkPolicy::default().give_back(&mut extras.waits, number);
            }
            cancel
        });
        drop(cancel);
    }

    fn succeed(&self, successor: Box<dyn Successor>) {
        let old = self
            .protocol_slot()
            .with_extras(|extras| extras.successor.replace(successor));
        report::discard(old, self.host_location());
        self.named_successor();
    }

    fn is_taken(&self) -> bool {
        !self.is_left()
    }

    fn fate(&self) -> Fate {
        let fate = self
            .protocol_slot()
            .with_extras(|extras| extras.fate.get_or_insert_default().clone());
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
            self.protocol_slot()
                .with_extras(|extras| extras.unused.push(bytes));
            self.was_fed();
        }
    }

    fn transport(self: Rc<Self>) -> Option<H::Transport> {
        Some(self.inert_handle())
    }
}

impl<H: ProtocolHost> WorkItem for H {
    /// Delivers the mail that is there.
    fn run(self: Rc<Self>) {
        let Some(reactor) = self.host_reactor() else {
            return;
        };
        let letters = self.protocol_slot().with_extras(|extras| {
            extras.called = false;
            extras.mail.len()
        });
        for _ in 0..letters {
            if self.is_closing() {
                // What is left is dropped when it is told so.
                return;
            }
            let message = self.protocol_slot().with_extras(|extras| {
                let message = extras.mail.pop_front();
                shrink_queue(&mut extras.mail);
                message
            });
            let Some(message) = message else { return };
            visit(&self, &reactor, message);
        }
    }
}

impl<P: 'static, T: 'static> Default for ProtocolExtras<P, T> {
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
