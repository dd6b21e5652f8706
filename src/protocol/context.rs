//! What a hook is lent, and what others keep: [`Context`] and [`Handle`].

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Protocol;
use super::slot::{Fate, Mailbox};
use super::successor::Next;
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, DeferredError, Resolver};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::transport::Transport;

/// What a protocol is lent for the length of one call: its connection, its reactor, and ways to be called back.
///
/// It derefs to the transport: `cx.write(..)`, `cx.peer()`, `room.join(cx)`.
pub struct Context<'a, P: 'static, T: 'static = Transport> {
    reactor: &'a Reactor,
    chair: &'a Rc<dyn Mailbox<P, T>>,
    transport: &'a T,
}

impl<'a, P: 'static, T: 'static> Context<'a, P, T> {
    pub(super) fn new(
        reactor: &'a Reactor,
        chair: &'a Rc<dyn Mailbox<P, T>>,
        transport: &'a T,
    ) -> Self {
        Self {
            reactor,
            chair,
            transport,
        }
    }

    /// The handle by which others, or this protocol's own callbacks, reach it later.
    pub fn handle(&self) -> Handle<P, T> {
        Handle::new(Rc::downgrade(self.chair), self.chair.fate())
    }

    /// The connection.
    pub fn transport(&self) -> &T {
        self.transport
    }

    pub(super) fn chair(&self) -> &Rc<dyn Mailbox<P, T>> {
        self.chair
    }

    /// Has bytes delivered as if they had come, after those that did.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.chair.feed(bytes);
    }

    /// The reactor it runs on.
    pub fn reactor(&self) -> &Reactor {
        self.reactor
    }

    /// Calls `f` later, with the protocol. Called off when the connection is lost.
    ///
    /// For a limit to a peer's silence (Twisted's `TimeoutMixin`) keep the returned [`DelayedCall`]
    /// and [`reset`](DelayedCall::reset) it whenever something comes: see the second example.
    ///
    /// # Order
    ///
    /// As for [`Clock::call_later`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{Context, Protocol};
    /// struct Impatient { greeted: bool }
    ///
    /// impl Protocol for Impatient {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         cx.call_later(Duration::from_secs(30), |me, cx| {
    ///             if !me.greeted {
    ///                 cx.lose_connection();
    ///             }
    ///         });
    ///     }
    ///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {
    ///         self.greeted = true;
    ///     }
    /// }
    /// ```
    ///
    /// A client that sends nothing for ten minutes is disconnected:
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::testing::Wire;
    /// use torsade::{Context, DelayedCall, Protocol};
    ///
    /// const LIMIT: Duration = Duration::from_secs(600);
    ///
    /// #[derive(Default)]
    /// struct Echo {
    ///     idle: Option<DelayedCall>,
    /// }
    ///
    /// impl Protocol for Echo {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         self.idle = Some(cx.call_later(LIMIT, |_me, cx| cx.lose_connection()));
    ///     }
    ///
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         if let Some(idle) = &self.idle {
    ///             idle.reset(LIMIT);
    ///         }
    ///         cx.write(data);
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Echo::default());
    /// wire.advance(LIMIT / 2);
    /// wire.send("hello");
    /// wire.advance(LIMIT / 2);
    /// assert!(!wire.is_closed());
    /// wire.advance(LIMIT / 2);
    /// assert!(wire.is_closed());
    /// ```
    #[doc(alias("callLater", "TimeoutMixin", "setTimeout", "resetTimeout"))]
    #[track_caller]
    pub fn call_later(
        &self,
        delay: Duration,
        f: impl FnOnce(&mut P, &mut Context<'_, P, T>) + 'static,
    ) -> DelayedCall {
        let chair = Rc::downgrade(self.chair);
        let call = self.reactor.call_later(delay, move || {
            if let Some(chair) = chair.upgrade() {
                chair.visit_now(Box::new(f));
            }
        });
        self.chair.keep_timer(call.clone());
        call
    }

    /// Calls `f` with the protocol and the result, when there is one. When the connection is lost first, the
    /// Deferred is cancelled and `f` is dropped.
    ///
    /// # Order
    ///
    /// `f` is posted, as by [`Handle::post`], when the result comes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Deferred, Protocol};
    /// # fn look_up(name: String) -> Deferred<u32> { Deferred::succeed(name.len() as u32) }
    /// struct Ask;
    ///
    /// impl Protocol for Ask {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         let found = look_up(String::from_utf8_lossy(data).into_owned());
    ///         cx.when(found, |_me, cx, result| match result {
    ///             Ok(number) => cx.write(format!("{number}\r\n")),
    ///             Err(failure) => cx.write(format!("no: {failure}\r\n")),
    ///         });
    ///     }
    /// }
    /// ```
    #[doc(alias = "addCallback")]
    #[track_caller]
    pub fn when<V: 'static>(
        &self,
        deferred: Deferred<V>,
        f: impl FnOnce(&mut P, &mut Context<'_, P, T>, Result<V, Failure>) + 'static,
    ) {
        let number = self.chair.keep_wait(Box::new(deferred.remote_cancel()));
        let chair = Rc::downgrade(self.chair);
        drop(deferred.add_both(move |result| {
            let Some(chair) = chair.upgrade() else { return };
            if let Some(number) = number {
                chair.forget_wait(number);
            }
            chair.post(Box::new(move |protocol, cx| f(protocol, cx, result)));
        }));
    }
}

impl<P: 'static> Context<'_, P, Transport> {
    /// Hands the connection to another protocol, for good: after `STARTTLS`, an upgrade, a login. `rest` is what came
    /// already and is for that one, so mostly the end of what `data_received` was given.
    ///
    /// What this protocol has written is still sent, before all that the next one writes; so is a file that it sends
    /// ([`Transport::send_file`]), and the hand-over waits for that. A producer that it has registered is told to stop, and an
    /// end that waited for the producer comes then. Its timers, its mail and what it
    /// waits for are called off. Its handles and the transports taken from its context are over, with [`ConnectionError::HandedOver`](crate::transport::ConnectionError::HandedOver) as the
    /// reason, and so is its membership in a [`Group`](crate::Group). Paused stays paused, and limits stay.
    ///
    /// # Order
    ///
    /// It is done when this hook has returned, and a file under way is sent; no other hook of this protocol is called, not even `connection_lost`, and it
    /// is dropped. Then `connection_made` of the next one is called, `data_received` with the rest, and, if the peer had said
    /// its end before, `eof_received`. When the connection was told to end, before or in this hook, or the hook panics, it is
    /// not handed over.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Protocol};
    /// struct Echo;
    ///
    /// impl Protocol for Echo {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
    /// }
    ///
    /// /// Wants a star first.
    /// struct Door;
    ///
    /// impl Protocol for Door {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         match data {
    ///             [b'*', rest @ ..] => cx.become_protocol(Echo, rest),
    ///             _ => cx.lose_connection(),
    ///         }
    ///     }
    /// }
    /// ```
    #[doc(alias("switchProtocol", "setRawMode", "startTLS", "upgrade", "set_protocol"))]
    pub fn become_protocol<Q: Protocol>(&self, next: Q, rest: &[u8]) {
        self.chair.succeed(Box::new(Next {
            protocol: next,
            rest: rest.into(),
        }));
    }
}

impl<P: 'static, T: 'static> Deref for Context<'_, P, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.transport
    }
}

impl<P: 'static, T: fmt::Debug + 'static> fmt::Debug for Context<'_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// A way to reach a protocol from outside. Clones are handles to the same one.
///
/// It does not keep the connection alive, and posting never runs anything at once.
///
/// # Examples
///
/// ```
/// # use torsade::{Context, Failure, Handle, Protocol};
/// struct Count { bytes: usize }
///
/// impl Protocol for Count {
///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
///         self.bytes += data.len();
///     }
/// }
///
/// async fn so_far(count: &Handle<Count>) -> Result<usize, Failure> {
///     count.ask(|count, _cx| count.bytes).await
/// }
/// ```
pub struct Handle<P: 'static, T: 'static = Transport> {
    chair: Weak<dyn Mailbox<P, T>>,
    fate: Fate,
}

impl<P: 'static, T: 'static> Handle<P, T> {
    pub(super) fn new(chair: Weak<dyn Mailbox<P, T>>, fate: Fate) -> Self {
        Self { chair, fate }
    }

    /// Has `f` called with the protocol, from the loop. Dropped when the connection is gone by then.
    ///
    /// # Order
    ///
    /// What is posted to one protocol runs in the order it was posted, in the loop's next batch: never inside
    /// this call.
    pub fn post(&self, f: impl FnOnce(&mut P, &mut Context<'_, P, T>) + 'static) {
        if let Some(chair) = self.chair.upgrade() {
            chair.post(Box::new(f));
        }
    }

    /// As [`Handle::post`], and gives what `f` returns.
    ///
    /// # Errors
    ///
    /// When the connection is gone before `f` is called, the Deferred fails with the reason why it ended as the cause
    /// ([`Failure::find`] gives it: [`ConnectionError::Done`](crate::ConnectionError::Done), for instance). It fails with [`Abandoned`]
    /// when `f` panics, or when the reactor was dropped without having run.
    #[track_caller]
    pub fn ask<V: 'static>(
        &self,
        f: impl FnOnce(&mut P, &mut Context<'_, P, T>) -> V + 'static,
    ) -> Deferred<V> {
        let (deferred, resolver) = Deferred::pair();
        let mut answer = Answer {
            resolver: Some(resolver),
            handle: self.clone(),
            location: Location::caller(),
        };
        if let Some(chair) = self.chair.upgrade() {
            chair.post(Box::new(move |protocol, cx| {
                let value = f(protocol, cx);
                if let Some(resolver) = answer.resolver.take() {
                    resolver.callback(value);
                }
            }));
        }
        deferred
    }

    /// Fires when it is over, with the reason, after the protocol's last hook (`connection_lost`, `process_ended`); at once when
    /// it is over already. Of a process the reason is [`ProcessError::Done`](crate::process::ProcessError::Done) or
    /// [`ProcessError::Terminated`](crate::process::ProcessError::Terminated).
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DeferredError::Abandoned`] when its reactor was dropped without having run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Handle, Protocol};
    /// async fn wait_for_the_end<P: Protocol>(handle: &Handle<P>) -> Result<(), Failure> {
    ///     let reason = handle.closed().await?;
    ///     println!("it is over: {reason}");
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias("wait_closed", "connectionLost"))]
    #[track_caller]
    pub fn closed(&self) -> Deferred<Failure> {
        let location = Location::caller();
        let Some(chair) = self.chair.upgrade() else {
            return match self.fate.get() {
                Some(reason) => Deferred::succeed(reason.clone()),
                None => Deferred::fail(Failure::at(DeferredError::Abandoned, location)),
            };
        };
        if !chair.is_taken() {
            return match chair.reason() {
                Some(reason) => Deferred::succeed(reason),
                None => Deferred::fail(Failure::at(DeferredError::Abandoned, location)),
            };
        }
        let (deferred, resolver) = Deferred::pair();
        let fate = chair.fate();
        let number = chair.keep_wait(Box::new(move || {
            if let Some(reason) = fate.get() {
                resolver.callback(reason.clone());
            }
        }));
        let weak = self.chair.clone();
        deferred.listens(move || {
            if let (Some(chair), Some(number)) = (weak.upgrade(), number) {
                chair.forget_wait(number);
            }
        })
    }

    /// Why it is over, once it is.
    fn reason(&self) -> Option<Failure> {
        let chair = self.chair.upgrade().filter(|chair| !chair.is_taken());
        let reason = chair.and_then(|chair| chair.reason());
        reason.or_else(|| self.fate.get().cloned())
    }

    /// Is the protocol still connected?
    pub fn is_connected(&self) -> bool {
        self.chair.upgrade().is_some_and(|chair| chair.is_taken())
    }

    /// The connection, while it is there.
    pub fn transport(&self) -> Option<T> {
        self.chair.upgrade().and_then(Mailbox::transport)
    }
}

/// Who waits for the answer of [`Handle::ask`]; dropped without one, it says why there is none.
struct Answer<P: 'static, T: 'static, V: 'static> {
    resolver: Option<Resolver<V>>,
    handle: Handle<P, T>,
    location: &'static Location<'static>,
}

impl<P: 'static, T: 'static, V: 'static> Drop for Answer<P, T, V> {
    fn drop(&mut self) {
        if let Some(resolver) = self.resolver.take() {
            resolver.errback(match self.handle.reason() {
                Some(reason) => {
                    reason.context_at("cannot ask the protocol, which has ended", self.location)
                }
                None => Failure::at(DeferredError::Abandoned, self.location),
            });
        }
    }
}

impl<P: 'static> Handle<P, Transport> {
    /// Addresses the connection when what is queued has been written, as [`Transport::lose_connection`] does.
    ///
    /// Does nothing when the connection is over.
    ///
    /// # Order
    ///
    /// What was posted before runs first, if the loop gets to it before the connection is over: closures that are to run
    /// before the end post the end as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::testing::Wire;
    /// # use torsade::{Context, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
    /// # }
    /// let mut wire = Wire::new(Echo);
    /// let handle = wire.handle();
    /// handle.lose_connection();
    /// wire.advance(std::time::Duration::ZERO);
    /// assert!(wire.is_closed() && !handle.is_connected());
    /// ```
    #[doc(alias("loseConnection", "disconnect"))]
    pub fn lose_connection(&self) {
        if let Some(transport) = self.transport() {
            transport.lose_connection();
        }
    }

    /// Addresses the connection when what is queued has been written, and aborts it when that takes longer than `limit`, as
    /// [`Transport::lose_connection_within`] does.
    ///
    /// Does nothing when the connection is over.
    pub fn lose_connection_within(&self, limit: Duration) {
        if let Some(transport) = self.transport() {
            transport.lose_connection_within(limit);
        }
    }

    /// Addresses the connection at once: what is queued is dropped and the peer sees a reset, as by
    /// [`Transport::abort_connection`].
    ///
    /// Does nothing when the connection is over.
    #[doc(alias = "abortConnection")]
    pub fn abort_connection(&self) {
        if let Some(transport) = self.transport() {
            transport.abort_connection();
        }
    }
}

impl<P: 'static, T: 'static> Clone for Handle<P, T> {
    fn clone(&self) -> Self {
        Self {
            chair: self.chair.clone(),
            fate: self.fate.clone(),
        }
    }
}

impl<P: 'static, T: 'static> fmt::Debug for Handle<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("is_connected", &self.is_connected())
            .finish()
    }
}
