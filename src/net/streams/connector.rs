//! Connecting with a factory that is told how it went: [`ClientFactory`] and [`Connector`].
//!
//! # The idea
//!
//! Where `Reactor::connect` gives a Deferred for one connection, a [`ClientFactory`] hears of every attempt: that it
//! begins, that it failed, that the connection was lost. With the [`Connector`] that it is given it can have another one made. For
//! most programs [`ClientService`](crate::services::ClientService) is the simpler way to stay connected.
//!
//! # States
//!
//! ```text
//!                 connect                     made
//! Disconnected ────────────▶ Connecting ──────────────▶ Connected
//!      ▲                          │ failed                  │ lost
//!      └──────────────────────────┴─────────────────────────┘
//! ```
//!
//! # Invariants
//!
//! 1. The factory is taken out while one of its methods runs; what that asks of its connector is done when it has returned.
//! 2. `started` comes before the first attempt, `stopped` after a failure or a loss on which the factory has not asked for
//!    another attempt.
//! 3. `connection_failed` or `connection_lost` comes once for each attempt, after the protocol's own `connection_lost`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use crate::address::Address;
use crate::defer::Deferred;
use crate::failure::{Cancelled, Failure};
use crate::net::endpoint::{ClientEndpoint, ToClientEndpoint};
use crate::protocol::{Handle, Protocol};
use crate::reactor::{Reactor, WeakReactor};
use crate::report::{self, Origin};
use crate::transport::ConnectionError;

/// Makes the protocols of a [`Connector`]'s connections, and is told how each attempt went.
pub trait ClientFactory: 'static {
    /// What it makes.
    type Protocol: Protocol;

    /// A protocol for the connection to `peer`; `None` ends that connection.
    #[doc(alias = "buildProtocol")]
    fn build_protocol(&mut self, peer: Address) -> Option<Self::Protocol>;

    /// An attempt begins.
    #[doc(alias = "startedConnecting")]
    fn started_connecting(&mut self, connector: &Connector) {
        let _ = connector;
    }

    /// An attempt has failed. [`Connector::connect`] begins another one.
    #[doc(alias = "clientConnectionFailed")]
    fn connection_failed(&mut self, connector: &Connector, reason: Failure) {
        let _ = (connector, reason);
    }

    /// The connection is over, and its protocol has been told. [`Connector::connect`] begins another one.
    #[doc(alias = "clientConnectionLost")]
    fn connection_lost(&mut self, connector: &Connector, reason: Failure) {
        let _ = (connector, reason);
    }

    /// The first attempt is about to begin.
    #[doc(alias("startFactory", "doStart"))]
    fn started(&mut self) {}

    /// There is no connection, and none is being made.
    #[doc(alias("stopFactory", "doStop"))]
    fn stopped(&mut self) {}
}

/// The way to begin, give up and end the connections of a [`ClientFactory`]. Clones are handles to the same one.
#[doc(alias("IConnector", "BaseConnector"))]
#[derive(Clone)]
pub struct Connector(Rc<dyn Connects>);

/// What a connector does, whatever its factory.
trait Connects {
    fn connect(self: Rc<Self>) -> Result<(), ConnectorBusy>;
    fn stop_connecting(self: Rc<Self>) -> Result<(), ConnectorBusy>;
    fn disconnect(self: Rc<Self>);
    fn state(&self) -> ConnectorState;
    fn endpoint(&self) -> &ClientEndpoint;
    fn reactor(&self) -> Option<Reactor>;
}

/// Where a [`Connector`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorState {
    /// There is no connection, and none is being made.
    Disconnected,
    /// One is being made.
    Connecting,
    /// There is one.
    Connected,
}

struct Inner<F: ClientFactory> {
    reactor: WeakReactor,
    endpoint: ClientEndpoint,
    /// See invariant 1.
    factory: Cell<Option<F>>,
    state: Cell<ConnectorState>,
    /// `started` was called, and `stopped` not yet.
    is_started: Cell<bool>,
    /// The attempt under way is to be given up.
    is_given_up: Cell<bool>,
    /// The attempt under way, once it has begun.
    attempt: RefCell<Option<Deferred<()>>>,
    connection: RefCell<Option<Handle<F::Protocol>>>,
    location: &'static Location<'static>,
}

impl Connector {
    /// Begins to connect, with the protocols that `factory` makes. The reactor calls the factory's hooks from the loop's turn.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](crate::net::BadEndpoint); all other failures go to [`ClientFactory::connection_failed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::{ClientFactory, Connector};
    /// use torsade::{Address, Context, Failure, Protocol};
    ///
    /// struct Quiet;
    ///
    /// impl Protocol for Quiet {
    ///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
    /// }
    ///
    /// struct Stubborn { left: u32 }
    ///
    /// impl ClientFactory for Stubborn {
    ///     type Protocol = Quiet;
    ///
    ///     fn build_protocol(&mut self, _peer: Address) -> Option<Quiet> {
    ///         Some(Quiet)
    ///     }
    ///
    ///     fn connection_failed(&mut self, connector: &Connector, reason: Failure) {
    ///         println!("{reason}");
    ///         if self.left > 0 {
    ///             self.left -= 1;
    ///             let _ = connector.connect();
    ///         }
    ///     }
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     Connector::start(&reactor, "127.0.0.1:1", Stubborn { left: 3 })?;
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("connectTCP", "connectUNIX", "connect_factory"))]
    #[track_caller]
    pub fn start<F: ClientFactory>(
        reactor: &Reactor,
        endpoint: impl ToClientEndpoint,
        factory: F,
    ) -> Result<Self, Failure> {
        let location = Location::caller();
        let endpoint = endpoint
            .into_client_endpoint(reactor)
            .map_err(|failure| Failure::moved(failure, location))?;
        let inner = Rc::new(Inner {
            reactor: reactor.downgrade(),
            endpoint,
            factory: Cell::new(Some(factory)),
            state: Cell::new(ConnectorState::Disconnected),
            is_started: Cell::new(false),
            is_given_up: Cell::new(false),
            attempt: RefCell::default(),
            connection: RefCell::default(),
            location,
        });
        let connector = Self(inner);
        connector.connect()?;
        Ok(connector)
    }

    /// Begins an attempt, in the loop's turn.
    ///
    /// # Errors
    ///
    /// [`ConnectorBusy`] unless it is disconnected.
    pub fn connect(&self) -> Result<(), ConnectorBusy> {
        self.0.clone().connect()
    }

    /// Gives up the attempt under way: it fails with [`Cancelled`].
    ///
    /// # Errors
    ///
    /// [`ConnectorBusy`] unless it is connecting.
    #[doc(alias = "stopConnecting")]
    pub fn stop_connecting(&self) -> Result<(), ConnectorBusy> {
        self.0.clone().stop_connecting()
    }

    /// Gives up the attempt, or ends the connection in good order, whichever there is.
    pub fn disconnect(&self) {
        self.0.clone().disconnect();
    }

    /// Where it stands.
    pub fn state(&self) -> ConnectorState {
        self.0.state()
    }

    /// Where it leads.
    #[doc(alias = "getDestination")]
    pub fn endpoint(&self) -> &ClientEndpoint {
        self.0.endpoint()
    }

    /// The reactor it runs on, while that is there.
    pub fn reactor(&self) -> Option<Reactor> {
        self.0.reactor()
    }
}

impl<F: ClientFactory> Inner<F> {
    fn connector(self: &Rc<Self>) -> Connector {
        Connector(self.clone())
    }

    /// Calls the factory, if it is there.
    fn tell<R>(&self, call: impl FnOnce(&mut F) -> R) -> Option<R> {
        let mut factory = self.factory.take()?;
        let result = report::contain_rarely(Origin::Protocol, self.location, || call(&mut factory));
        self.factory.set(Some(factory));
        result
    }

    fn begin(self: &Rc<Self>) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        if !self.is_started.replace(true) {
            self.tell(F::started);
        }
        self.tell(|factory| factory.started_connecting(&self.connector()));
        if self.is_given_up.take() {
            // Before it began.
            return self.failed(Failure::at(Cancelled, self.location));
        }
        let weak = Rc::downgrade(self);
        let build = move |peer: &Address| {
            let inner = weak.upgrade().filter(|inner| !inner.is_given_up.get())?;
            inner.tell(|factory| factory.build_protocol(peer.clone()))?
        };
        let this = self.clone();
        let attempt = reactor.connect_built(&self.endpoint, build, self.location);
        let attempt = attempt.add_both(move |result| match result {
            Ok(handle) => this.made(handle),
            Err(failure) => this.failed(failure),
        });
        if self.state.get() == ConnectorState::Connecting {
            self.attempt.replace(Some(attempt));
        }
    }

    fn made(self: &Rc<Self>, handle: Option<Handle<F::Protocol>>) {
        let is_given_up = self.is_given_up.take();
        let Some(handle) = handle else {
            if is_given_up {
                return self.failed(Failure::at(Cancelled, self.location));
            }
            self.attempt.take();
            self.state.set(ConnectorState::Connected);
            // There was no protocol for it, so it was closed in good order.
            return self.lost(Failure::at(ConnectionError::Done, self.location));
        };
        self.attempt.take();
        self.state.set(ConnectorState::Connected);
        if let (true, Some(transport)) = (is_given_up, handle.transport()) {
            // By its own protocol, when that was told of the connection.
            transport.lose_connection();
        }
        let this = self.clone();
        let closed = handle.closed();
        self.connection.replace(Some(handle));
        drop(closed.add_both(move |reason| {
            let (Ok(reason) | Err(reason)) = reason;
            this.lost(reason);
        }));
    }

    fn failed(self: &Rc<Self>, failure: Failure) {
        drop(self.attempt.take());
        self.is_given_up.set(false);
        self.state.set(ConnectorState::Disconnected);
        self.tell(|factory| factory.connection_failed(&self.connector(), failure));
        self.stopped();
    }

    fn lost(self: &Rc<Self>, reason: Failure) {
        drop(self.connection.take());
        self.state.set(ConnectorState::Disconnected);
        self.tell(|factory| factory.connection_lost(&self.connector(), reason));
        self.stopped();
    }

    /// After a failure or a loss (invariant 2).
    fn stopped(&self) {
        if self.state.get() == ConnectorState::Disconnected && self.is_started.replace(false) {
            self.tell(F::stopped);
        }
    }
}

impl<F: ClientFactory> Connects for Inner<F> {
    fn connect(self: Rc<Self>) -> Result<(), ConnectorBusy> {
        let state = self.state.get();
        if state != ConnectorState::Disconnected {
            return Err(ConnectorBusy(state));
        }
        let Some(reactor) = self.reactor.upgrade() else {
            return Ok(());
        };
        self.state.set(ConnectorState::Connecting);
        let location = self.location;
        reactor
            .inner()
            .executor()
            .call(location, move || self.begin());
        Ok(())
    }

    fn stop_connecting(self: Rc<Self>) -> Result<(), ConnectorBusy> {
        let state = self.state.get();
        if state != ConnectorState::Connecting {
            return Err(ConnectorBusy(state));
        }
        self.is_given_up.set(true);
        let Some(reactor) = self.reactor.upgrade() else {
            return Ok(());
        };
        let location = self.location;
        reactor.inner().executor().call(location, move || {
            // Cancelling runs the factory, which may be who asks for it here.
            let attempt = self.attempt.take();
            if let Some(attempt) = attempt.filter(|_| self.is_given_up.get()) {
                attempt.cancel();
            }
        });
        Ok(())
    }

    fn disconnect(self: Rc<Self>) {
        if self.clone().stop_connecting().is_err() {
            let connection = self.connection.borrow().clone();
            if let Some(transport) = connection.and_then(|handle| handle.transport()) {
                transport.lose_connection();
            }
        }
    }

    fn state(&self) -> ConnectorState {
        self.state.get()
    }

    fn endpoint(&self) -> &ClientEndpoint {
        &self.endpoint
    }

    fn reactor(&self) -> Option<Reactor> {
        self.reactor.upgrade()
    }
}

/// A [`Connector`] was asked for something that its state does not allow.
#[doc(alias = "NotConnectingError")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectorBusy(pub ConnectorState);

impl fmt::Display for ConnectorBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            ConnectorState::Disconnected => "disconnected",
            ConnectorState::Connecting => "connecting",
            ConnectorState::Connected => "connected",
        };
        write!(f, "the connector is {state}")
    }
}

impl Error for ConnectorBusy {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", self.endpoint())
            .field("state", &self.state())
            .finish()
    }
}
