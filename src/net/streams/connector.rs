//! Connecting with a factory that observes each attempt: [`ClientFactory`] and [`Connector`].
//!
//! # The idea
//!
//! `Reactor::connect` returns a Deferred for one connection. A [`ClientFactory`] is instead called
//! for every attempt: when it starts, when it fails, and when the connection is lost. Through the
//! [`Connector`] that it receives it can start another attempt. For most programs
//! [`ClientService`](crate::services::ClientService) is the simpler way to stay connected.
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
//! 1. The factory is taken out while one of its methods runs; what the method requests of its
//!    connector is done after it has returned.
//! 2. `started` is called before the first attempt, and `stopped` after a failure or a loss after
//!    which the factory has not requested another attempt.
//! 3. `connection_failed` or `connection_lost` is called once for each attempt, after the
//!    protocol's own `connection_lost`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use crate::address::Address;
use crate::defer::Deferred;
use crate::failure::{Cancelled, Failure};
use crate::net::endpoint::{ClientEndpoint, ToClientEndpoint};
use crate::net::errors::{ConnectError, ConnectorState};
use crate::protocol::{Handle, Protocol};
use crate::reactor::{Reactor, WeakReactor};
use crate::report::{self, Origin};
use crate::transport::ConnectionError;

/// A factory that makes the protocols of a [`Connector`]'s connections and is called with the
/// result of each attempt.
pub trait ClientFactory: 'static {
    /// The type of the protocols.
    type Protocol: Protocol;

    /// Returns a protocol for the connection to `peer`; `None` closes the connection.
    #[doc(alias = "buildProtocol")]
    fn build_protocol(&mut self, peer: Address) -> Option<Self::Protocol>;

    /// Called when an attempt starts.
    #[doc(alias = "startedConnecting")]
    fn started_connecting(&mut self, connector: &Connector) {
        let _ = connector;
    }

    /// Called when an attempt has failed. [`Connector::connect`] starts another one.
    #[doc(alias = "clientConnectionFailed")]
    fn connection_failed(&mut self, connector: &Connector, reason: Failure) {
        let _ = (connector, reason);
    }

    /// Called when the connection is lost, after the protocol's `connection_lost`.
    /// [`Connector::connect`] starts another attempt.
    #[doc(alias = "clientConnectionLost")]
    fn connection_lost(&mut self, connector: &Connector, reason: Failure) {
        let _ = (connector, reason);
    }

    /// Called before the first attempt.
    #[doc(alias("startFactory", "doStart"))]
    fn started(&mut self) {}

    /// Called when there is no connection and no attempt.
    #[doc(alias("stopFactory", "doStop"))]
    fn stopped(&mut self) {}
}

/// A handle that starts, cancels and closes the connections of a [`ClientFactory`]. Clones are
/// handles to the same connector.
#[doc(alias("IConnector", "BaseConnector"))]
#[derive(Clone)]
pub struct Connector(Rc<dyn Connects>);

/// The operations of a connector, whatever its factory.
trait Connects {
    fn connect(self: Rc<Self>) -> Result<(), ConnectError>;
    fn stop_connecting(self: Rc<Self>) -> Result<(), ConnectError>;
    fn disconnect(self: Rc<Self>);
    fn state(&self) -> ConnectorState;
    fn endpoint(&self) -> &ClientEndpoint;
    fn reactor(&self) -> Option<Reactor>;
}

struct Inner<F: ClientFactory> {
    reactor: WeakReactor,
    endpoint: ClientEndpoint,
    /// The factory; see invariant 1.
    factory: Cell<Option<F>>,
    state: Cell<ConnectorState>,
    /// Whether `started` was called, and `stopped` not yet.
    is_started: Cell<bool>,
    /// Whether the attempt under way is to be cancelled.
    is_cancelled: Cell<bool>,
    /// The attempt under way, once it has started.
    attempt: RefCell<Option<Deferred<()>>>,
    connection: RefCell<Option<Handle<F::Protocol>>>,
    location: &'static Location<'static>,
}

impl Connector {
    /// Starts to connect, with the protocols that `factory` makes. The reactor calls the factory's
    /// methods from the loop's turn.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed; all other errors are passed to [`ClientFactory::connection_failed`].
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
            is_cancelled: Cell::new(false),
            attempt: RefCell::default(),
            connection: RefCell::default(),
            location,
        });
        let connector = Self(inner);
        connector.connect()?;
        Ok(connector)
    }

    /// Starts an attempt, in the loop's turn.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Busy`] unless the connector is disconnected.
    pub fn connect(&self) -> Result<(), ConnectError> {
        self.0.clone().connect()
    }

    /// Cancels the attempt under way, which fails with [`Cancelled`].
    ///
    /// # Errors
    ///
    /// [`ConnectError::Busy`] unless the connector is connecting.
    #[doc(alias = "stopConnecting")]
    pub fn stop_connecting(&self) -> Result<(), ConnectError> {
        self.0.clone().stop_connecting()
    }

    /// Cancels the attempt, or closes the connection after its queued bytes are sent, whichever
    /// there is.
    pub fn disconnect(&self) {
        self.0.clone().disconnect();
    }

    /// Returns the state.
    pub fn state(&self) -> ConnectorState {
        self.0.state()
    }

    /// Returns the endpoint that it connects to.
    #[doc(alias = "getDestination")]
    pub fn endpoint(&self) -> &ClientEndpoint {
        self.0.endpoint()
    }

    /// Returns the reactor that it runs on; `None` once the reactor is gone.
    pub fn reactor(&self) -> Option<Reactor> {
        self.0.reactor()
    }
}

impl<F: ClientFactory> Inner<F> {
    fn connector(self: &Rc<Self>) -> Connector {
        Connector(self.clone())
    }

    /// Calls the factory; returns `None` if the factory is being called already, or if it panics.
    fn call_factory<R>(&self, call: impl FnOnce(&mut F) -> R) -> Option<R> {
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
            self.call_factory(F::started);
        }
        self.call_factory(|factory| factory.started_connecting(&self.connector()));
        if self.is_cancelled.take() {
            // The attempt was cancelled before it started.
            return self.failed(Failure::at(Cancelled, self.location));
        }
        let weak = Rc::downgrade(self);
        let build = move |peer: &Address| {
            let inner = weak.upgrade().filter(|inner| !inner.is_cancelled.get())?;
            inner.call_factory(|factory| factory.build_protocol(peer.clone()))?
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
        let is_cancelled = self.is_cancelled.take();
        let Some(handle) = handle else {
            if is_cancelled {
                return self.failed(Failure::at(Cancelled, self.location));
            }
            self.attempt.take();
            self.state.set(ConnectorState::Connected);
            // The factory made no protocol, so the connection was closed normally.
            return self.lost(Failure::at(ConnectionError::Done, self.location));
        };
        self.attempt.take();
        self.state.set(ConnectorState::Connected);
        if let (true, Some(transport)) = (is_cancelled, handle.transport()) {
            // The attempt was cancelled by its own protocol, in `connection_made`.
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
        self.is_cancelled.set(false);
        self.state.set(ConnectorState::Disconnected);
        self.call_factory(|factory| factory.connection_failed(&self.connector(), failure));
        self.stopped();
    }

    fn lost(self: &Rc<Self>, reason: Failure) {
        drop(self.connection.take());
        self.state.set(ConnectorState::Disconnected);
        self.call_factory(|factory| factory.connection_lost(&self.connector(), reason));
        self.stopped();
    }

    /// Calls `stopped` after a failure or a loss (invariant 2).
    fn stopped(&self) {
        if self.state.get() == ConnectorState::Disconnected && self.is_started.replace(false) {
            self.call_factory(F::stopped);
        }
    }
}

impl<F: ClientFactory> Connects for Inner<F> {
    fn connect(self: Rc<Self>) -> Result<(), ConnectError> {
        let state = self.state.get();
        if state != ConnectorState::Disconnected {
            return Err(ConnectError::Busy(state));
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

    fn stop_connecting(self: Rc<Self>) -> Result<(), ConnectError> {
        let state = self.state.get();
        if state != ConnectorState::Connecting {
            return Err(ConnectError::Busy(state));
        }
        self.is_cancelled.set(true);
        let Some(reactor) = self.reactor.upgrade() else {
            return Ok(());
        };
        let location = self.location;
        reactor.inner().executor().call(location, move || {
            // Cancelling calls the factory, from which this call may come.
            let attempt = self.attempt.take();
            if let Some(attempt) = attempt.filter(|_| self.is_cancelled.get()) {
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

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("endpoint", self.endpoint())
            .field("state", &self.state())
            .finish()
    }
}
