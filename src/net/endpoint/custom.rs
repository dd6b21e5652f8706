//! Endpoints that programs define: [`StreamClientEndpoint`] and [`StreamServerEndpoint`].
//!
//! # Invariants
//!
//! 1. A program's endpoint is called from the loop's turn when it connects, and inside the method
//!    that listens.
//! 2. A connection that an endpoint accepts reaches the port's acceptor in the loop's next batch,
//!    never inside [`Incoming::accept`], and only while the port may accept: it is not paused, has
//!    fewer connections than its limit, and its acceptor wants one.
//! 3. While a connection waits because the port may not accept it, the port that the endpoint
//!    listens with is paused, so that it accepts no more.
//! 4. The acceptor's `stopped` is called once: when the port is stopped, or when the endpoint has
//!    dropped its [`Incoming`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use crate::address::Address;
use crate::cells;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::net::streams::accept::{self, Accepted, Acceptor};
use crate::net::streams::port::{Port, PortState, notify_stopped};
use crate::reactor::{Reactor, WeakReactor};
use crate::report::{self, Origin};
use crate::stream::Connection;
use crate::transport::{ConnConfig, ConnCounter};

/// A way to connect that a program defines: through a proxy, to a child process, or with encryption
/// over another connection.
///
/// A value of such a type is accepted wherever an endpoint is: by [`Reactor::connect`],
/// [`Reactor::connect_stream`], [`Connector::start`](crate::net::Connector::start), a
/// [`ClientService`](crate::services::ClientService).
/// [`ClientEndpoint::register`](crate::net::ClientEndpoint::register) gives it a name for text.
///
/// # Examples
///
/// An endpoint that sends a password first:
///
/// ```
/// use torsade::net::{ConnectOptions, StreamClientEndpoint};
/// use torsade::{Connection, Deferred, Reactor};
///
/// #[derive(Clone)]
/// struct WithPassword { to: String, password: String }
///
/// impl StreamClientEndpoint for WithPassword {
///     fn connect(&self, reactor: &Reactor, options: &ConnectOptions) -> Deferred<Connection> {
///         let connecting = reactor.connect_stream((&self.to, options));
///         let line = format!("{}\n", self.password);
///         Deferred::from_future(async move {
///             let mut conn = connecting.await?;
///             conn.write_all(line.as_bytes()).await?;
///             Ok(conn)
///         })
///     }
/// }
///
/// torsade::testing::run(async |reactor| {
///     let mut listener = reactor.bind("127.0.0.1:0")?;
///     let to = listener.local_addr().to_string();
///     let endpoint = WithPassword { to, password: "open sesame".into() };
///     let conn = reactor.connect_stream(endpoint).await?;
///     let mut server = listener.accept().await?;
///     assert_eq!(server.read_line(80).await?.as_deref(), Some(&b"open sesame"[..]));
///     drop(conn);
///     Ok(())
/// });
/// ```
pub trait StreamClientEndpoint: 'static {
    /// Connects. `options` are those of the endpoint and of the call; an endpoint that connects
    /// through another endpoint passes them on.
    ///
    /// The reactor calls this method in a turn of the loop, and cancels the Deferred when the
    /// caller cancels, or when [`ConnectOptions::overall_timeout`] expires.
    fn connect(&self, reactor: &Reactor, options: &ConnectOptions) -> Deferred<Connection>;

    /// Returns a description for logs. The default is the name of the type.
    fn describe(&self) -> String {
        std::any::type_name::<Self>().into()
    }
}

/// A way to listen that a program defines.
///
/// A value of such a type is accepted wherever an endpoint is: by [`Reactor::listen`],
/// [`Reactor::serve`], [`Reactor::bind`].
/// [`ServerEndpoint::register`](crate::net::ServerEndpoint::register) gives it a name for text.
///
/// # Examples
///
/// An endpoint that accepts peers that know a password:
///
/// ```
/// use torsade::net::{Incoming, ListenOptions, StreamServerEndpoint};
/// use torsade::{Failure, Port, Reactor};
///
/// struct WithPassword(&'static str);
///
/// impl StreamServerEndpoint for WithPassword {
///     fn listen(
///         &self,
///         reactor: &Reactor,
///         options: &ListenOptions,
///         incoming: Incoming,
///     ) -> Result<Port, Failure> {
///         let password = self.0;
///         reactor.serve(("127.0.0.1:0", options), async move |mut conn| {
///             if conn.read_line(80).await?.as_deref() == Some(password.as_bytes()) {
///                 incoming.accept(conn);
///             }
///             Ok(())
///         })
///     }
/// }
///
/// torsade::testing::run(async |reactor| {
///     let port = reactor.serve(WithPassword("open sesame"), async |mut conn| {
///         conn.write_all(b"welcome\n").await?;
///         Ok(())
///     })?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     conn.write_all(b"open sesame\n").await?;
///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"welcome"[..]));
///     port.stop().await
/// });
/// ```
pub trait StreamServerEndpoint: 'static {
    /// Starts to listen, and passes each connection to `incoming`. `options` are those of the
    /// endpoint and of the call; an endpoint that listens with another endpoint passes them on.
    ///
    /// The returned port is the one that the endpoint listens with, or one made by
    /// [`Incoming::port`]. The returned port is stopped when the caller stops its own port.
    ///
    /// # Errors
    ///
    /// The reason why the endpoint cannot listen.
    fn listen(
        &self,
        reactor: &Reactor,
        options: &ListenOptions,
        incoming: Incoming,
    ) -> Result<Port, Failure>;

    /// Returns a description for logs. The default is the name of the type.
    fn describe(&self) -> String {
        std::any::type_name::<Self>().into()
    }
}

/// The receiver of the connections of a [`StreamServerEndpoint`]. Clones are handles to the same
/// port.
///
/// Dropping the last clone closes the port, and the factory's `stopped` is called.
#[derive(Clone)]
pub struct Incoming(Rc<Shared>);

/// The state that an endpoint, its [`Incoming`] and its port share.
pub(in crate::net) struct Shared {
    /// The acceptor; `None` while it is being called, before the port is open, and after it is
    /// closed.
    acceptor: Cell<Option<Box<dyn Acceptor>>>,
    /// Connections that were not passed to the acceptor yet.
    waiting: RefCell<VecDeque<Connection>>,
    /// Whether a call that passes on connections is queued in the loop.
    is_scheduled: Cell<bool>,
    is_paused: Cell<bool>,
    /// Whether the port that the endpoint listens with is paused because connections wait.
    is_held: Cell<bool>,
    is_closed: Cell<bool>,
    /// The port that the endpoint listens with.
    port: RefCell<Option<Port>>,
    /// The state of that port, if it was made by [`Incoming::port`]; this keeps it alive.
    own_state: RefCell<Option<Rc<dyn PortState>>>,
    reactor: WeakReactor,
    conn_config: Rc<ConnConfig>,
}

impl Incoming {
    /// Passes a connection to the port's protocol or handler, with the bytes that were read ahead
    /// and not used.
    ///
    /// # Order
    ///
    /// Connections are passed on in the order of the calls, in a later batch of the loop, never
    /// inside this call. While the port is paused or has reached its limit of connections, they
    /// wait; the port that the endpoint listens with is paused meanwhile. An endpoint whose port
    /// was made by [`Incoming::port`] must limit the number of waiting connections itself.
    /// Connections that wait when the port is closed are closed.
    pub fn accept(&self, connection: Connection) {
        if !self.0.is_closed.get() {
            self.0.waiting.borrow_mut().push_back(connection);
            self.0.schedule();
        }
    }

    /// Returns a port for an endpoint that listens with no other port. The port is open until it is
    /// stopped, which calls `stop` once.
    pub fn port(
        &self,
        address: impl Into<Address>,
        stop: impl FnOnce() -> Deferred<()> + 'static,
    ) -> Port {
        let state: Rc<dyn PortState> = Rc::new(StopOnlyPort {
            stop: Cell::new(Some(Box::new(stop))),
            is_paused: Cell::new(false),
        });
        let weak = Rc::downgrade(&state);
        self.0.own_state.replace(Some(state));
        Port::new(weak, address.into(), self.0.counter().clone())
    }
}

type Stop = Box<dyn FnOnce() -> Deferred<()>>;

/// A port that can only be stopped.
struct StopOnlyPort {
    stop: Cell<Option<Stop>>,
    is_paused: Cell<bool>,
}

impl PortState for StopOnlyPort {
    fn stop(self: Rc<Self>) -> Deferred<()> {
        match self.stop.take() {
            Some(stop) => stop(),
            None => Deferred::succeed(()),
        }
    }

    fn is_listening(&self) -> bool {
        cells::is_some(&self.stop)
    }

    fn set_paused(&self, is_paused: bool) {
        self.is_paused.set(is_paused);
    }

    fn is_paused(&self) -> bool {
        self.is_paused.get()
    }
}

impl Shared {
    fn new(reactor: &Reactor, conn_config: Rc<ConnConfig>) -> Rc<Self> {
        let this = Rc::new(Self {
            acceptor: Cell::new(None),
            waiting: RefCell::default(),
            is_scheduled: Cell::new(false),
            is_paused: Cell::new(false),
            is_held: Cell::new(false),
            is_closed: Cell::new(false),
            port: RefCell::default(),
            own_state: RefCell::default(),
            reactor: reactor.downgrade(),
            conn_config,
        });
        let weak = Rc::downgrade(&this);
        this.counter().set_port(Some(Box::new(move || {
            if let Some(this) = Weak::upgrade(&weak) {
                this.schedule();
            }
        })));
        this
    }

    fn counter(&self) -> &Rc<ConnCounter> {
        self.conn_config.counter.as_ref().expect("a port counts")
    }

    /// Queues a call that passes waiting connections to the acceptor, in the loop's turn.
    fn schedule(self: &Rc<Self>) {
        self.pause_or_resume();
        if self.waiting.borrow().is_empty() || self.is_scheduled.replace(true) {
            return;
        }
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        let this = self.clone();
        let location = self.conn_config.location;
        reactor
            .inner()
            .executor()
            .call(location, move || this.pass_all_on());
    }

    /// Pauses or resumes the endpoint's own port (invariant 3).
    fn pause_or_resume(&self) {
        let is_empty = self.waiting.borrow().is_empty();
        let (is_held, may_accept) = (self.is_held.get(), self.may_accept());
        // In all other cases the endpoint's port stays as it is.
        if is_empty != may_accept || is_held != may_accept || self.is_closed.get() {
            return;
        }
        let port = self.port.borrow().clone();
        let Some(port) = port else { return };
        self.is_held.set(!may_accept);
        match may_accept {
            // The caller paused the port itself.
            false if self.is_paused.get() => {}
            false => port.pause_accepting(),
            true => port.resume_accepting(),
        }
    }

    fn pass_all_on(self: Rc<Self>) {
        self.pass_on_waiting();
        self.pause_or_resume();
    }

    fn pass_on_waiting(self: &Rc<Self>) {
        self.is_scheduled.set(false);
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        while self.may_accept() {
            let connection = self.waiting.borrow_mut().pop_front();
            let Some(connection) = connection else { return };
            let Some(mut acceptor) = self.acceptor.take() else {
                return;
            };
            // A connection that was lost meanwhile is dropped.
            if let Ok((handed, unread)) = connection.hand_over(&reactor) {
                let accepted = Accepted::Handed(handed, unread);
                report::contain_rarely(Origin::Protocol, self.conn_config.location, || {
                    accept::pass(&mut *acceptor, &reactor, accepted, &self.conn_config);
                });
            }
            if self.is_closed.get() {
                // The acceptor stopped the port.
                let stopped = accept::end(Some(acceptor), self.conn_config.location);
                return notify_stopped(Vec::new(), stopped, self.conn_config.location);
            }
            self.acceptor.set(Some(acceptor));
        }
    }

    fn may_accept(&self) -> bool {
        if self.is_closed.get() || self.is_paused.get() || self.counter().is_full() {
            return false;
        }
        cells::with(&self.acceptor, |acceptor| {
            acceptor.as_ref().is_some_and(|acceptor| acceptor.wants(0))
        })
    }

    /// Closes the port (invariant 4).
    fn finish(&self) -> Result<(), Failure> {
        if self.is_closed.replace(true) {
            return Ok(());
        }
        self.counter().set_port(None);
        drop(self.waiting.take());
        let ended = accept::end(self.acceptor.take(), self.conn_config.location);
        self.counter().notify_closed();
        ended
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let stopped = self.finish();
        notify_stopped(Vec::new(), stopped, self.conn_config.location);
    }
}

impl PortState for Shared {
    fn stop(self: Rc<Self>) -> Deferred<()> {
        let port = self.port.borrow().clone();
        let stopped = port.map_or_else(|| Deferred::succeed(()), |port| port.stop());
        stopped.add_both(move |stopped| match (stopped, self.finish()) {
            (Err(failure), _) | (Ok(()), Err(failure)) => Err(failure),
            (Ok(()), Ok(())) => Ok(()),
        })
    }

    fn is_listening(&self) -> bool {
        let port = self.port.borrow().clone();
        !self.is_closed.get() && port.is_some_and(|port| port.is_listening())
    }

    fn set_paused(&self, is_paused: bool) {
        self.is_paused.set(is_paused);
        let port = self.port.borrow().clone();
        match port {
            Some(port) if is_paused => port.pause_accepting(),
            Some(port) if !self.is_held.get() => port.resume_accepting(),
            Some(_) => {}
            None => {}
        }
        self.counter().notify_port();
    }

    fn is_paused(&self) -> bool {
        self.is_listening() && self.is_paused.get()
    }
}

/// Listens with a program's endpoint.
pub(in crate::net) fn listen(
    reactor: &Reactor,
    endpoint: &dyn StreamServerEndpoint,
    options: &ListenOptions,
    conn_config: Rc<ConnConfig>,
    mut acceptor: Box<dyn Acceptor>,
) -> Result<Port, Failure> {
    let location = conn_config.location;
    let shared = Shared::new(reactor, conn_config);
    let incoming = Incoming(shared.clone());
    let listening = report::catch_rarely(location, || endpoint.listen(reactor, options, incoming));
    let port = listening.and_then(|listening| listening);
    let port = port.map_err(|failure| Failure::moved(failure, location))?;
    if let Err(panic) = acceptor.started(location) {
        drop(port.stop());
        report::discard(acceptor, location);
        return Err(panic);
    }
    let address = port.local_addr();
    shared.port.replace(Some(port));
    shared.acceptor.set(Some(acceptor));
    shared.schedule();
    let counter = shared.counter().clone();
    let state: Rc<dyn PortState> = shared;
    Ok(Port::new(Rc::downgrade(&state), address, counter))
}

macro_rules! is_shared {
    ($($pointer:ident),+) => {
        $(impl<E: StreamClientEndpoint + ?Sized> StreamClientEndpoint for $pointer<E> {
            fn connect(&self, reactor: &Reactor, options: &ConnectOptions) -> Deferred<Connection> {
                (**self).connect(reactor, options)
            }

            fn describe(&self) -> String {
                (**self).describe()
            }
        }

        impl<E: StreamServerEndpoint + ?Sized> StreamServerEndpoint for $pointer<E> {
            fn listen(
                &self,
                reactor: &Reactor,
                options: &ListenOptions,
                incoming: Incoming,
            ) -> Result<Port, Failure> {
                (**self).listen(reactor, options, incoming)
            }

            fn describe(&self) -> String {
                (**self).describe()
            }
        })+
    };
}

is_shared!(Box, Rc);

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("waiting", &self.0.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}
