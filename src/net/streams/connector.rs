//! Connecting with a factory that observes each attempt: [`ClientFactory`] and [`Connector`].
//!
//! # The idea
//!
//! `Reactor::connect` returns a Deferred for one connection. A [`ClientFactory`] is instead called
//! for every attempt: when it starts, when it fails, and when the connection is lost. Through the
//! [`Connector`] that it receives it can start another attempt. For most programs
//! [`ClientService`](crate::services::ClientService) is the simpler way to stay connected.
//!
//! The state machine in `client` makes the connections and keeps the state.
//!
//! # Invariants
//!
//! 1. The factory is taken out while one of its methods runs; what the method requests of its
//!    connector is done after it has returned.
//! 2. `started` is called before the first attempt, and `stopped` after a failure or a loss after
//!    which the factory has not requested another attempt.
//! 3. `connection_failed` or `connection_lost` is called once for each attempt, after the
//!    protocol's own `connection_lost`.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::client::{self, Core, Ended, Hooks, Made, State, made};
use crate::address::Address;
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::endpoint::{ClientEndpoint, ToClientEndpoint};
use crate::net::errors::{ConnectError, ConnectorState};
use crate::protocol::Protocol;
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A factory that makes the protocols of a [`Connector`]'s connections and is called with the
/// result of each attempt.
///
/// A program that only wants to stay connected uses a
/// [`ClientService`](crate::services::ClientService), which needs no factory of this kind.
pub trait ClientFactory: 'static {
    /// The type of the protocols.
    type Protocol: Protocol;

    /// Returns a protocol for the connection to `peer`. `None` closes the connection, and
    /// `connection_lost` is called.
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

    /// Called before the first attempt, and before the first one after `stopped`.
    #[doc(alias("startFactory", "doStart"))]
    fn started(&mut self) {}

    /// Called when there is no connection and no attempt, even if
    /// [`Reconnecting`](super::Reconnecting) waits to connect again.
    #[doc(alias("stopFactory", "doStop"))]
    fn stopped(&mut self) {}
}

/// A handle that starts, cancels and closes the connections of a [`ClientFactory`]. Clones are
/// handles to the same connector.
#[derive(Clone)]
pub struct Connector(Rc<Core>);

struct Factory<F> {
    /// The factory; see invariant 1.
    slot: Cell<Option<F>>,
    /// Whether `started` was called, and `stopped` not yet.
    is_started: Cell<bool>,
}

impl Connector {
    /// Starts to connect, with the protocols that `factory` makes. The reactor calls the factory's
    /// methods in a [turn](crate::guide::glossary#turn) of the loop, never inside this call.
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
        let factory = Rc::new(Factory {
            slot: Cell::new(Some(factory)),
            is_started: Cell::new(false),
        });
        let core = Core::new(reactor, endpoint, location, factory);
        core.connect();
        Ok(Self(core))
    }

    /// Starts an attempt, which begins in a turn of the loop.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Busy`] unless the connector is disconnected.
    pub fn connect(&self) -> Result<(), ConnectError> {
        self.expect(ConnectorState::Disconnected)?;
        self.0.connect();
        Ok(())
    }

    /// Cancels the attempt under way, which fails with [`Cancelled`](crate::Cancelled).
    ///
    /// # Errors
    ///
    /// [`ConnectError::Busy`] unless the connector is connecting.
    #[doc(alias = "stopConnecting")]
    pub fn stop_connecting(&self) -> Result<(), ConnectError> {
        self.expect(ConnectorState::Connecting)?;
        self.0.stop();
        Ok(())
    }

    /// Cancels the attempt, or closes the connection after its queued bytes are sent, whichever
    /// there is.
    ///
    /// The factory is called as for any failed attempt or lost connection, so
    /// [`Reconnecting`](super::Reconnecting) connects again. To prevent that, call
    /// [`Retries::stop_trying`](super::Retries::stop_trying) first, which also ends the delay
    /// before an attempt.
    pub fn disconnect(&self) {
        if self.state() != ConnectorState::Disconnected {
            self.0.stop();
        }
    }

    /// Returns the state.
    pub fn state(&self) -> ConnectorState {
        match self.0.state() {
            State::Idle | State::Waiting => ConnectorState::Disconnected,
            State::Connecting | State::Cancelling => ConnectorState::Connecting,
            State::Connected => ConnectorState::Connected,
        }
    }

    /// Returns the endpoint that the connector connects to.
    #[doc(alias = "getDestination")]
    pub fn endpoint(&self) -> &ClientEndpoint {
        &self.0.endpoint
    }

    /// Returns the reactor that the connector runs on; `None` once the reactor is gone.
    pub fn reactor(&self) -> Option<Reactor> {
        self.0.reactor.upgrade()
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.0
    }

    fn expect(&self, expected: ConnectorState) -> Result<(), ConnectError> {
        let state = self.state();
        match state == expected {
            true => Ok(()),
            false => Err(ConnectError::Busy(state)),
        }
    }
}

impl<F: ClientFactory> Factory<F> {
    /// Calls the factory; returns `None` if the factory is being called already, or if it panics.
    fn call<R>(&self, core: &Rc<Core>, call: impl FnOnce(&mut F) -> R) -> Option<R> {
        client::call(&self.slot, core.location, call).unwrap_or_else(|panic| {
            report::deliver(Origin::Protocol, panic, core.location);
            None
        })
    }
}

impl<F: ClientFactory> Hooks for Rc<Factory<F>> {
    fn starting(&self, core: &Rc<Core>) {
        if !self.is_started.replace(true) {
            self.call(core, F::started);
        }
        let connector = Connector(core.clone());
        self.call(core, |factory| factory.started_connecting(&connector));
    }

    fn attempt(&self, core: &Rc<Core>, reactor: &Reactor) -> Deferred<Option<Made>> {
        let (this, client) = (self.clone(), core.clone());
        let build = move |peer: &Address| match client.state() {
            State::Cancelling => None,
            _ => this.call(&client, |factory| factory.build_protocol(peer.clone()))?,
        };
        let attempt = reactor.connect_built(&core.endpoint, build, core.location);
        attempt.map(|handle| handle.as_ref().map(made))
    }

    fn ended(&self, core: &Rc<Core>, what: Ended, reason: Failure) {
        let connector = Connector(core.clone());
        self.call(core, |factory| match what {
            Ended::Attempt => factory.connection_failed(&connector, reason),
            Ended::Connection => factory.connection_lost(&connector, reason),
            Ended::Delay => {}
        });
        let is_over = connector.state() == ConnectorState::Disconnected;
        if is_over && self.is_started.replace(false) {
            self.call(core, F::stopped);
        }
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
