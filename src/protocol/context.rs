//! The arguments of hooks, and handles for other code: [`Context`] and [`Handle`].

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Protocol;
use super::slot::{EndReason, Mailbox};
use super::successor::Next;
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, DeferredError, Resolver};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::transport::Transport;

/// The connection and the reactor of a protocol, for the length of one hook, with methods that call
/// the protocol later.
///
/// A context dereferences to the transport, which is of the type `T` ([`Transport`],
/// [`Process`](crate::process::Process), [`DatagramPort`](crate::net::datagram::DatagramPort)), so
/// it has the transport's methods (`cx.write(..)`, `cx.peer()`) and can be passed where a
/// `&Transport` is expected (`group.join(cx)`). No method of the context hides a method of the
/// transport. [`Context::transport`] returns the transport itself, to be cloned and kept.
pub struct Context<'a, P: 'static, T: 'static = Transport> {
    reactor: &'a Reactor,
    mailbox: &'a Rc<dyn Mailbox<P, T>>,
    transport: &'a T,
}

impl<'a, P: 'static, T: 'static> Context<'a, P, T> {
    pub(super) fn new(
        reactor: &'a Reactor,
        mailbox: &'a Rc<dyn Mailbox<P, T>>,
        transport: &'a T,
    ) -> Self {
        Self {
            reactor,
            mailbox,
            transport,
        }
    }

    /// Returns a handle through which other code, and this protocol's callbacks, reach the protocol
    /// later.
    pub fn handle(&self) -> Handle<P, T> {
        Handle::new(Rc::downgrade(self.mailbox), self.mailbox.end_reason())
    }

    /// Returns the transport.
    pub fn transport(&self) -> &T {
        self.transport
    }

    pub(super) fn mailbox(&self) -> &Rc<dyn Mailbox<P, T>> {
        self.mailbox
    }

    /// Delivers bytes as if they had arrived, after those that did.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.mailbox.feed(bytes);
    }

    /// Returns the reactor that the connection belongs to.
    pub fn reactor(&self) -> &Reactor {
        self.reactor
    }

    /// Calls `f` with the protocol after `delay`. The call is cancelled when the connection ends.
    ///
    /// To limit how long a peer may be silent (Twisted's `TimeoutMixin`), keep the returned
    /// [`DelayedCall`] and [`reset`](DelayedCall::reset) it whenever bytes arrive: see the second
    /// example.
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
    #[doc(alias("callLater", "TimeoutMixin"))]
    #[doc(alias("setTimeout", "resetTimeout", "timeoutConnection"))]
    #[track_caller]
    pub fn call_later(
        &self,
        delay: Duration,
        f: impl FnOnce(&mut P, &mut Context<'_, P, T>) + 'static,
    ) -> DelayedCall {
        let mailbox = Rc::downgrade(self.mailbox);
        let call = self.reactor.call_later(delay, move || {
            if let Some(mailbox) = mailbox.upgrade() {
                mailbox.visit_now(Box::new(f));
            }
        });
        self.mailbox.keep_timer(call.clone());
        call
    }

    /// Calls `f` with the protocol and the result of a Deferred, once the result is there. When the
    /// connection is lost first, the Deferred is cancelled and `f` is dropped.
    ///
    /// # Order
    ///
    /// When the result arrives, `f` is posted, as by [`Handle::post`].
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
        let number = self.mailbox.keep_wait(Box::new(deferred.remote_cancel()));
        let mailbox = Rc::downgrade(self.mailbox);
        drop(deferred.add_both(move |result| {
            let Some(mailbox) = mailbox.upgrade() else {
                return;
            };
            if let Some(number) = number {
                mailbox.forget_wait(number);
            }
            mailbox.post(Box::new(move |protocol, cx| f(protocol, cx, result)));
        }));
    }
}

impl<P: 'static> Context<'_, P, Transport> {
    /// Hands the connection to another protocol, permanently: after an upgrade or a login, for
    /// instance. `rest` holds the bytes that have arrived and are for the next protocol, mostly the
    /// end of the bytes that `data_received` got.
    ///
    /// Bytes that this protocol has written are sent before those that the next protocol writes;
    /// the hand-over waits for a file that is being sent ([`Transport::send_file`]). A registered
    /// producer is stopped. The protocol's timers, posted closures and awaited Deferreds are
    /// cancelled. Its handles, and the transports taken from its context, end with
    /// [`ConnectionError::HandedOver`](crate::ConnectionError::HandedOver) as the reason; the
    /// connection leaves each [`Group`](crate::Group). A paused connection stays paused, and its
    /// limits and policies stay. If this is called twice in one hook, the second protocol gets the
    /// connection, and the first is dropped.
    ///
    /// # Order
    ///
    /// The hand-over happens when this hook has returned and the file has been sent. This protocol
    /// is dropped, and no other hook of it is called, not even `connection_lost`. Then
    /// `connection_made` of the next protocol is called, `data_received` with the rest, and, if the
    /// peer had closed its writing side before, `eof_received`. When `lose_connection` or
    /// `abort_connection` is called, before or in this hook, or the hook panics, there is no
    /// hand-over.
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
    /// /// Lets a peer in that sends a star.
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
    #[doc(alias(
        "switchProtocol",
        "setRawMode",
        "setLineMode",
        "startTLS",
        "upgrade",
        "set_protocol"
    ))]
    pub fn become_protocol<Q: Protocol>(&self, next: Q, rest: &[u8]) {
        self.mailbox.succeed(Box::new(Next {
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

/// A handle to a protocol, for code outside its hooks. Clones are handles to the same protocol.
///
/// A handle does not keep the connection open.
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
    mailbox: Weak<dyn Mailbox<P, T>>,
    end_reason: EndReason,
}

impl<P: 'static, T: 'static> Handle<P, T> {
    pub(super) fn new(mailbox: Weak<dyn Mailbox<P, T>>, end_reason: EndReason) -> Self {
        Self {
            mailbox,
            end_reason,
        }
    }

    /// Calls `f` with the protocol, in the loop's next [batch](crate::guide::glossary#batch). `f`
    /// is dropped when the connection has ended by then.
    ///
    /// # Order
    ///
    /// Closures posted to one protocol run in the order of the calls, never inside this call.
    pub fn post(&self, f: impl FnOnce(&mut P, &mut Context<'_, P, T>) + 'static) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.post(Box::new(f));
        }
    }

    /// Calls `f` with the protocol, as [`Handle::post`] does; the Deferred fires with the value
    /// that `f` returns.
    ///
    /// # Errors
    ///
    /// When the connection ends before `f` is called, the Deferred fails, and the reason of the end
    /// is the source of the failure: [`Failure::find`] returns
    /// [`ConnectionError::Done`](crate::ConnectionError::Done), for instance. The Deferred fails
    /// with [`DeferredError::Abandoned`] when `f` panics, and when the reactor was dropped without
    /// having run.
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
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.post(Box::new(move |protocol, cx| {
                let value = f(protocol, cx);
                if let Some(resolver) = answer.resolver.take() {
                    resolver.callback(value);
                }
            }));
        }
        deferred
    }

    /// Returns a Deferred that fires with the reason of the end when the connection or process has
    /// ended, after the protocol's last hook (`connection_lost`, `process_ended`). If it has ended
    /// already, the Deferred has fired.
    ///
    /// The reason of a process is [`ProcessError::Done`](crate::process::ProcessError::Done) or
    /// [`ProcessError::Terminated`](crate::process::ProcessError::Terminated).
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DeferredError::Abandoned`] when its reactor was dropped without
    /// having run.
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
        let Some(mailbox) = self.mailbox.upgrade() else {
            return match self.end_reason.get() {
                Some(reason) => Deferred::succeed(reason.clone()),
                None => Deferred::fail(Failure::at(DeferredError::Abandoned, location)),
            };
        };
        if !mailbox.is_taken() {
            return match mailbox.reason() {
                Some(reason) => Deferred::succeed(reason),
                None => Deferred::fail(Failure::at(DeferredError::Abandoned, location)),
            };
        }
        let (deferred, resolver) = Deferred::pair();
        let end_reason = mailbox.end_reason();
        let number = mailbox.keep_wait(Box::new(move || {
            if let Some(reason) = end_reason.get() {
                resolver.callback(reason.clone());
            }
        }));
        let weak = self.mailbox.clone();
        deferred.listens(move || {
            if let (Some(mailbox), Some(number)) = (weak.upgrade(), number) {
                mailbox.forget_wait(number);
            }
        })
    }

    /// Returns the reason of the end, or `None` before it.
    fn reason(&self) -> Option<Failure> {
        let mailbox = self.mailbox.upgrade().filter(|mailbox| !mailbox.is_taken());
        let reason = mailbox.and_then(|mailbox| mailbox.reason());
        reason.or_else(|| self.end_reason.get().cloned())
    }

    /// Returns whether the connection or process has not ended. Unlike [`Transport::is_connected`],
    /// this is true while a requested close is under way.
    pub fn is_connected(&self) -> bool {
        self.mailbox
            .upgrade()
            .is_some_and(|mailbox| mailbox.is_taken())
    }

    /// Returns the transport, or `None` when the connection has ended and no clone of its transport
    /// is left.
    pub fn transport(&self) -> Option<T> {
        self.mailbox.upgrade().and_then(Mailbox::transport)
    }
}

/// The pending result of [`Handle::ask`]. When it is dropped without a result, the Deferred fails
/// with the reason.
struct Answer<P: 'static, T: 'static, V: 'static> {
    resolver: Option<Resolver<V>>,
    handle: Handle<P, T>,
    location: &'static Location<'static>,
}

impl<P: 'static, T: 'static, V: 'static> Drop for Answer<P, T, V> {
    fn drop(&mut self) {
        if let Some(resolver) = self.resolver.take() {
            resolver.errback(match self.handle.reason() {
                Some(reason) => reason.context_at("the protocol has ended", self.location),
                None => Failure::at(DeferredError::Abandoned, self.location),
            });
        }
    }
}

impl<P: 'static> Handle<P, Transport> {
    /// Closes the connection after the queued bytes have been sent, as
    /// [`Transport::lose_connection`] does.
    ///
    /// Does nothing when the connection has ended.
    ///
    /// # Order
    ///
    /// Closures that were posted before this call run only if the loop reaches them before the
    /// connection ends. To make sure that they run, post a closure that calls
    /// [`Transport::lose_connection`] instead.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::testing::Wire;
    /// # use torsade::{Context, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    /// #         cx.write(data)
    /// #     }
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

    /// Closes the connection after the queued bytes have been sent, and aborts it when that takes
    /// longer than `limit`, as [`Transport::lose_connection_within`] does.
    ///
    /// Does nothing when the connection has ended.
    pub fn lose_connection_within(&self, limit: Duration) {
        if let Some(transport) = self.transport() {
            transport.lose_connection_within(limit);
        }
    }

    /// Aborts the connection at once: the queued bytes are dropped and the peer sees a reset, as by
    /// [`Transport::abort_connection`].
    ///
    /// Does nothing when the connection has ended.
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
            mailbox: self.mailbox.clone(),
            end_reason: self.end_reason.clone(),
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
