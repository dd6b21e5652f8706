//! The slot of a protocol: the loop takes the protocol out, calls it, and puts it back.
//!
//! # The idea
//!
//! Between calls a protocol is stored in its slot. To call it, the loop takes it out, lends it with
//! a [`Context`], and puts it back. All other code holds a [`Handle`] and posts closures, which run
//! in a batch of the loop. So a protocol has `&mut self` without a `RefCell`, and no hook can run
//! inside another one.
//!
//! The same slot serves every kind of protocol and transport: a [`ProtocolHost`] owns one.
//!
//! # Invariants
//!
//! 1. The slot is empty only while the protocol is being called, and after it was removed.
//! 2. The protocol is removed once, by [`leave`], with its timers, its pending Deferreds and its
//!    posted closures.
//! 3. A panic in a hook is reported, and its host is notified; a connection ends, with the panic as
//!    the reason.
//! 4. A closure that is posted during a batch of posted closures waits for the next batch.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::{Rc, Weak};

use slab::Slab;
use tracing::Span;

use super::successor::Successor;
use super::{Context, Handle};
use crate::cells;
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::framing::Unused;
use crate::reactor::{Acting, NO_CONNECTION, Reactor};
use crate::report::{self, Origin};
use crate::slots::{ShrinkPolicy, shrink_queue};
use crate::spans;
use crate::task::WorkItem;
use crate::transport::ConnectionError;

/// A slot with its protocol.
pub(crate) struct ProtocolSlot<P: 'static, T: 'static> {
    /// The protocol (invariant 1).
    protocol: Cell<Option<Box<P>>>,
    /// Allocated when first needed.
    extras: Cell<Option<Box<ProtocolExtras<P, T>>>>,
}

/// An owner of a slot: a connection, a datagram port, a process.
pub(crate) trait ProtocolHost: 'static {
    /// The type of the protocol.
    type Protocol: 'static;
    /// The type of the inert handle to the host.
    type Transport: 'static;

    fn protocol_slot(&self) -> &ProtocolSlot<Self::Protocol, Self::Transport>;
    fn host_reactor(&self) -> Option<Reactor>;
    /// Returns the connection's key in the reactor's table.
    fn host_key(&self) -> usize {
        NO_CONNECTION
    }
    /// Returns the span in which the protocol is called. Called while a subscriber is interested.
    fn span(&self, reactor: &Reactor) -> Option<Span>;
    /// Returns the line that made the host.
    fn host_location(&self) -> &'static Location<'static>;
    /// Returns whether the only hook still to come is the last one.
    fn is_closing(&self) -> bool;
    /// Returns whether the protocol was removed.
    fn is_removed(&self) -> bool;
    /// Returns the reason of the end, once the host has ended.
    fn reason_of_end(&self) -> Option<Failure> {
        self.is_removed()
            .then(|| Failure::at(ConnectionError::Done, self.host_location()))
    }
    /// Called when the protocol has named a successor.
    fn named_successor(&self) {}
    /// Called when there are bytes to deliver that were not read from the socket.
    fn was_fed(&self) {}
    /// Called when a hook has panicked, after the report.
    fn panicked(&self, panic: Failure);
    fn inert_handle(self: &Rc<Self>) -> Self::Transport;
}

/// The state that belongs to a protocol besides its value.
struct ProtocolExtras<P: 'static, T: 'static> {
    messages: VecDeque<Message<P, T>>,
    /// Whether the call that runs posted closures is in the loop's queue.
    called: bool,
    timers: Vec<DelayedCall>,
    /// The functions that cancel the Deferreds that it waits for.
    waits: Slab<Box<dyn FnOnce()>>,
    /// The successor, which gets the connection next.
    successor: Option<Box<dyn Successor>>,
    /// The received bytes that the protocol has not used.
    unused: Unused,
    /// The reason of the end as handles see it, once there is one.
    end_reason: Option<EndReason>,
}

/// The reason of the end, once there is one: for handles, which do not keep the host alive.
pub(super) type EndReason = Rc<OnceCell<Failure>>;

/// A closure to be called with a protocol.
pub(super) type Message<P, T> = Box<dyn FnOnce(&mut P, &mut Context<'_, P, T>)>;

/// What a [`Handle`] and a [`Context`] need of a slot.
pub(super) trait Mailbox<P: 'static, T: 'static> {
    /// Posts a closure. It is dropped when the protocol is gone.
    fn post(self: Rc<Self>, message: Message<P, T>);
    /// Runs a closure now, from the loop's turn.
    fn visit_now(self: Rc<Self>, message: Message<P, T>);
    /// Registers a timer to be cancelled when the protocol is removed.
    fn keep_timer(&self, timer: DelayedCall);
    /// Registers a function to be called when the protocol is removed, unless
    /// [`Mailbox::forget_wait`] is called first.
    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize>;
    fn forget_wait(&self, number: usize);
    /// Names the successor of the protocol; the last one that is named counts.
    fn succeed(&self, successor: Box<dyn Successor>);
    fn is_taken(&self) -> bool;
    /// Returns the cell in which handles find the reason of the end.
    fn end_reason(&self) -> EndReason;
    /// Returns the reason for which the connection was lost, once it was.
    fn reason(&self) -> Option<Failure>;
    /// Delivers bytes as if they had been received, after those that were.
    fn feed(&self, bytes: &[u8]);
    /// Returns the inert handle to the host, while that exists.
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

    /// Takes out the successor, which gets the connection next.
    pub(super) fn take_successor(&self) -> Option<Box<dyn Successor>> {
        self.with_extras(|extras| extras.successor.take())
    }

    /// Returns whether there are received bytes that the protocol has not used.
    #[inline]
    pub(super) fn has_unused(&self) -> bool {
        cells::with(&self.extras, |extras| {
            let extras = extras.as_ref();
            extras.is_some_and(|extras| !extras.unused.is_empty())
        })
    }

    /// Returns the number of those bytes.
    pub(super) fn unused_len(&self) -> usize {
        self.with_extras(|extras| extras.unused.as_slice().len())
    }

    /// Takes out the received bytes that the protocol has not used.
    pub(super) fn take_unused(&self) -> Unused {
        cells::with(&self.extras, |extras| match extras {
            Some(extras) => std::mem::take(&mut extras.unused),
            None => Unused::default(),
        })
    }

    /// Puts back the bytes that the protocol has not used, before those that were received
    /// meanwhile; returns whether there were any of the latter.
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

    /// Passes received bytes on to the successor.
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
    host: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    let (mut call, mut result) = (Some(call), None);
    // This is not generic over the call, so that it is compiled once for a protocol.
    visit_dyn(host, reactor, &mut |protocol, cx| {
        result = call.take().map(|call| call(protocol, cx));
    });
    result
}

/// Calls the protocol like [`visit`], for the one caller that runs for each message.
#[inline(always)]
pub(super) fn visit_inlined<H: ProtocolHost, R>(
    host: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    if cfg!(debug_assertions) || spans::are_on() {
        return visit(host, reactor, call);
    }
    visit_here(host, reactor, call)
}

/// Calls the protocol, in the span of its host if a subscriber is interested.
#[inline(never)]
fn visit_dyn<H: ProtocolHost>(host: &Rc<H>, reactor: &Reactor, call: &mut Hook<'_, H>) {
    let span = match spans::are_on() {
        true => host.span(reactor),
        false => None,
    };
    spans::within(span, || visit_here(host, reactor, call));
}

type Hook<'a, H> = dyn FnMut(
        &mut <H as ProtocolHost>::Protocol,
        &mut Context<'_, <H as ProtocolHost>::Protocol, <H as ProtocolHost>::Transport>,
    ) + 'a;

#[inline(always)]
fn visit_here<H: ProtocolHost, R>(
    host: &Rc<H>,
    reactor: &Reactor,
    call: impl FnOnce(&mut H::Protocol, &mut Context<'_, H::Protocol, H::Transport>) -> R,
) -> Option<R> {
    let mut protocol = host.protocol_slot().protocol.take()?;
    let mailbox: Rc<dyn Mailbox<H::Protocol, H::Transport>> = host.clone();
    let transport = host.inert_handle();
    let mut cx = Context::new(reactor, &mailbox, &transport);
    let acting = Acting::begin(host.host_key());
    let result = report::catch(host.host_location(), || call(&mut protocol, &mut cx));
    host.protocol_slot().protocol.set(Some(protocol));
    let result = match result {
        Ok(result) => Some(result),
        Err(panic) => {
            report::deliver(Origin::Protocol, panic.clone(), host.host_location());
            host.panicked(panic);
            None
        }
    };
    drop(acting);
    result
}

/// Removes the protocol, after its last hook (invariant 2). A panic in that hook is reported.
pub(crate) fn leave<H: ProtocolHost>(host: &H, last_hook: impl FnOnce(&mut H::Protocol)) {
    if let Err(panic) = try_leave(host, last_hook) {
        report::deliver(Origin::Protocol, panic, host.host_location());
    }
}

/// Removes the protocol as [`leave`] does, but returns the panic of its last hook.
pub(crate) fn try_leave<H: ProtocolHost>(
    host: &H,
    last_hook: impl FnOnce(&mut H::Protocol),
) -> Result<(), Failure> {
    let location = host.host_location();
    let protocol = host.protocol_slot().protocol.take();
    let mut said = Ok(());
    if let Some(mut protocol) = protocol {
        said = report::catch(location, || last_hook(&mut protocol));
        report::discard(protocol, location);
    }
    if let Some(extras) = host.protocol_slot().extras.take() {
        (*extras).end(host);
    }
    said
}

impl<P: 'static, T: 'static> ProtocolExtras<P, T> {
    /// Ends what belongs to a protocol that was removed.
    fn end(self, host: &impl ProtocolHost) {
        let location = host.host_location();
        let Self {
            messages,
            timers,
            waits,
            successor,
            end_reason,
            ..
        } = self;
        if let Some(end_reason) = end_reason {
            let reason = host.reason_of_end();
            // The last hook is called once.
            let done = || Failure::at(ConnectionError::Done, location);
            let _ = end_reason.set(reason.unwrap_or_else(done));
        }
        cancel_all(timers, waits, location);
        for message in messages {
            report::discard(message, location);
        }
        report::discard(successor, location);
    }
}

/// Adds a timer of a protocol, and forgets those that are over when the list would grow.
fn add_timer(timers: &mut Vec<DelayedCall>, timer: DelayedCall) {
    if timers.len() == timers.capacity() {
        timers.retain(DelayedCall::is_pending);
    }
    timers.push(timer);
}

/// Cancels the timers of a protocol that was removed, and the Deferreds that it waits for.
fn cancel_all(
    timers: Vec<DelayedCall>,
    waits: Slab<Box<dyn FnOnce()>>,
    location: &'static Location<'static>,
) {
    for timer in timers {
        report::contain_rarely(Origin::Destructor, location, || timer.cancel());
    }
    for (_, cancel) in waits {
        report::contain_rarely(Origin::Canceller, location, cancel);
    }
}

/// The handle to a protocol in its slot.
pub(crate) fn handle<H: ProtocolHost>(host: &Rc<H>) -> Handle<H::Protocol, H::Transport> {
    let mailbox: Rc<dyn Mailbox<H::Protocol, H::Transport>> = host.clone();
    let mailbox: Weak<dyn Mailbox<H::Protocol, H::Transport>> = Rc::downgrade(&mailbox);
    Handle::new(mailbox, host.end_reason())
}

impl<H: ProtocolHost> Mailbox<H::Protocol, H::Transport> for H {
    fn post(self: Rc<Self>, message: Message<H::Protocol, H::Transport>) {
        if self.is_removed() {
            return report::discard(message, self.host_location());
        }
        let called = self.protocol_slot().with_extras(|extras| {
            extras.messages.push_back(message);
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
            // After the end, only the last hook may still be called.
            Some(reactor) if !self.is_closing() => {
                visit(&self, &reactor, message);
            }
            _ => report::discard(message, self.host_location()),
        }
    }

    fn keep_timer(&self, timer: DelayedCall) {
        self.protocol_slot()
            .with_extras(|extras| add_timer(&mut extras.timers, timer));
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
        !self.is_removed()
    }

    fn end_reason(&self) -> EndReason {
        let end_reason = self
            .protocol_slot()
            .with_extras(|extras| extras.end_reason.get_or_insert_default().clone());
        if let Some(reason) = self.reason_of_end().filter(|_| self.is_removed()) {
            let _ = end_reason.set(reason);
        }
        end_reason
    }

    fn reason(&self) -> Option<Failure> {
        self.reason_of_end()
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
    /// Runs the posted closures.
    fn run(self: Rc<Self>) {
        let Some(reactor) = self.host_reactor() else {
            return;
        };
        let messages = self.protocol_slot().with_extras(|extras| {
            extras.called = false;
            extras.messages.len()
        });
        for _ in 0..messages {
            if self.is_closing() {
                // The rest is dropped when the protocol is removed.
                return;
            }
            let message = self.protocol_slot().with_extras(|extras| {
                let message = extras.messages.pop_front();
                shrink_queue(&mut extras.messages);
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
            messages: VecDeque::new(),
            called: false,
            timers: Vec::new(),
            waits: Slab::new(),
            successor: None,
            unused: Unused::default(),
            end_reason: None,
        }
    }
}
