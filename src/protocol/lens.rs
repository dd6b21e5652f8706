//! A protocol inside another one: its [`Context`] and [`Handle`](super::Handle) are its own.

use std::rc::{Rc, Weak};

use super::Context;
use super::slot::{EndReason, Mailbox, Message};
use super::successor::Successor;
use crate::clock::DelayedCall;

/// A protocol inside another one, which owns it. The outer protocol [enters](Nested::enter) it to
/// call its hooks.
pub(crate) struct Nested<P: 'static, T: 'static> {
    pub(crate) protocol: P,
    /// The source of its contexts, once there is a connection.
    mailbox: Option<Rc<dyn Mailbox<P, T>>>,
}

/// Reaches the inner protocol through the outer one.
struct Lens<O: 'static, P: 'static, T: 'static> {
    outer: Weak<dyn Mailbox<O, T>>,
    get: fn(&mut O) -> &mut P,
}

/// Makes the source of the contexts of an inner protocol.
#[cold]
fn lens<O: 'static, P: 'static, T: 'static>(
    cx: &Context<'_, O, T>,
    get: fn(&mut O) -> &mut P,
) -> Rc<dyn Mailbox<P, T>> {
    let outer = Rc::downgrade(cx.mailbox());
    Rc::new(Lens { outer, get })
}

impl<P: 'static, T: 'static> Nested<P, T> {
    pub(crate) fn new(protocol: P) -> Self {
        Self {
            protocol,
            mailbox: None,
        }
    }

    /// Returns the inner protocol and a context of it. `get` finds the inner protocol in the outer
    /// one.
    #[inline(always)]
    pub(crate) fn enter<'a, O: 'static>(
        &'a mut self,
        cx: &'a Context<'_, O, T>,
        get: fn(&mut O) -> &mut P,
    ) -> (&'a mut P, Context<'a, P, T>) {
        let mailbox = match &mut self.mailbox {
            Some(mailbox) => mailbox,
            none => none.insert(lens(cx, get)),
        };
        let cx = Context::new(cx.reactor(), mailbox, cx.transport());
        (&mut self.protocol, cx)
    }
}

impl<O: 'static, P: 'static, T: 'static> Lens<O, P, T> {
    /// Converts a message to the inner protocol into one to the outer protocol.
    fn lift(self: Rc<Self>, message: Message<P, T>) -> Message<O, T> {
        Box::new(move |outer, cx| {
            let get = self.get;
            let mailbox: Rc<dyn Mailbox<P, T>> = self;
            let mut cx = Context::new(cx.reactor(), &mailbox, cx.transport());
            message(get(outer), &mut cx);
        })
    }
}

impl<O: 'static, P: 'static, T: 'static> Mailbox<P, T> for Lens<O, P, T> {
    fn post(self: Rc<Self>, message: Message<P, T>) {
        if let Some(outer) = self.outer.upgrade() {
            outer.post(self.lift(message));
        }
    }

    fn visit_now(self: Rc<Self>, message: Message<P, T>) {
        if let Some(outer) = self.outer.upgrade() {
            outer.visit_now(self.lift(message));
        }
    }

    fn keep_timer(&self, timer: DelayedCall) {
        if let Some(outer) = self.outer.upgrade() {
            outer.keep_timer(timer);
        }
    }

    fn keep_wait(&self, cancel: Box<dyn FnOnce()>) -> Option<usize> {
        self.outer
            .upgrade()
            .and_then(|outer| outer.keep_wait(cancel))
    }

    fn forget_wait(&self, number: usize) {
        if let Some(outer) = self.outer.upgrade() {
            outer.forget_wait(number);
        }
    }

    fn succeed(&self, successor: Box<dyn Successor>) {
        if let Some(outer) = self.outer.upgrade() {
            outer.succeed(successor);
        }
    }

    fn is_taken(&self) -> bool {
        self.outer.upgrade().is_some_and(|outer| outer.is_taken())
    }

    fn end_reason(&self) -> EndReason {
        self.outer
            .upgrade()
            .map_or_else(EndReason::default, |outer| outer.end_reason())
    }

    fn reason(&self) -> Option<crate::failure::Failure> {
        self.outer.upgrade().and_then(|outer| outer.reason())
    }

    fn feed(&self, bytes: &[u8]) {
        if let Some(outer) = self.outer.upgrade() {
            outer.feed(bytes);
        }
    }

    fn transport(self: Rc<Self>) -> Option<T> {
        self.outer.upgrade().and_then(Mailbox::transport)
    }
}

impl<P: std::fmt::Debug, T> std::fmt::Debug for Nested<P, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.protocol.fmt(f)
    }
}
