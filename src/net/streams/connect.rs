//! The reactor's methods that connect: to an address, to one of several addresses, or to a host by
//! its name.
//!
//! A host name is looked up first; several addresses are raced (`race`).
//!
//! # Invariants
//!
//! 1. No result is delivered inside the call: success and failure both come from the loop's turn.
//!    Only cancelling takes effect at once.
//! 2. Cancelling the Deferred closes the attempts under way, starts no other attempt, and cancels
//!    the look-up.
//! 3. A protocol that is not connected in the end is dropped, after the code that waits for the
//!    result has seen the failure: the protocol may hold a resolver whose Deferred that code drops.

#[cfg(unix)]
use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::accept::Accepted;
use super::race::{Done, Race};
use crate::address::Address;
use crate::clock::Clock;
use crate::defer::{Deferred, Resolver};
use crate::failure::{Cancelled, Failure};
#[cfg(unix)]
use crate::net::adopted::given::AdoptedFd;
use crate::net::endpoint::{ClientEndpoint, Destination, StreamClientEndpoint, ToClientEndpoint};
use crate::net::options::ConnectOptions;
#[cfg(feature = "tls")]
use crate::net::tls::secure;
use crate::protocol::{Handle, Protocol, handle};
use crate::reactor::Reactor;
use crate::repeat::defer_later;
use crate::report;
use crate::stream::Connection;
use crate::transport::{ConnConfig, SharedPolicies};

impl Reactor {
    /// Connects to an endpoint with a protocol. The Deferred fires with the protocol's [`Handle`]
    /// after the connection is established and `connection_made` has returned.
    ///
    /// A host name is looked up ([`Reactor::set_resolver`]). Several addresses are raced as in RFC
    /// 8305: address families take turns, the next attempt starts when one has failed or has not
    /// answered for a while, and the first connection that is established is kept. Cancelling the
    /// Deferred cancels the attempts.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Refused`], [`ConnectError::NoRoute`], [`ConnectError::TimedOut`] or
    /// [`ConnectError::Failed`] if one address was tried; [`ConnectError::AllFailed`] with the
    /// error of each attempt if there were several; [`ConnectError::NoAddress`] for an empty list;
    /// [`LookupError`](crate::net::LookupError) for a host name;
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed; [`ListenError::NotAdoptable`](crate::net::ListenError::NotAdoptable) and
    /// [`ListenError::AlreadyAdopted`](crate::net::ListenError::AlreadyAdopted) for an adopted
    /// socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// #[derive(Default)]
    /// struct Count { bytes: usize }
    ///
    /// impl Protocol for Count {
    ///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         self.bytes += data.len();
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| std::future::pending().await)?;
    ///     let count = reactor.connect(port.local_addr(), Count::default()).await?;
    ///     assert_eq!(count.ask(|count, _cx| count.bytes).await?, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// [`ConnectError::Refused`]: crate::net::ConnectError::Refused
    /// [`ConnectError::NoRoute`]: crate::net::ConnectError::NoRoute
    /// [`ConnectError::TimedOut`]: crate::net::ConnectError::TimedOut
    /// [`ConnectError::Failed`]: crate::net::ConnectError::Failed
    /// [`ConnectError::AllFailed`]: crate::net::ConnectError::AllFailed
    /// [`ConnectError::NoAddress`]: crate::net::ConnectError::NoAddress
    #[doc(alias(
        "connectTCP",
        "connectUNIX",
        "connectProtocol",
        "ClientCreator",
        "connect_tcp",
        "ClientFactory",
        "clientConnectionFailed"
    ))]
    #[track_caller]
    pub fn connect<P: Protocol>(
        &self,
        address: impl ToClientEndpoint,
        protocol: P,
    ) -> Deferred<Handle<P>> {
        self.attempt(address, move |reactor, made, conn_config| {
            let conn = made.attach(reactor, conn_config, protocol)?;
            Ok(handle(&conn))
        })
    }

    /// Connects to an endpoint. The Deferred fires with a [`Connection`] that async code reads and
    /// writes.
    ///
    /// The addresses are looked up and raced, and the Deferred can be cancelled, as for
    /// [`Reactor::connect`].
    ///
    /// # Errors
    ///
    /// As for [`Reactor::connect`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Failure, net::ConnectError};
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///     let address = port.local_addr();
    ///     port.stop().await?;
    ///     let failure = reactor.connect_stream(&address).await.unwrap_err();
    ///     assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("connectTCP", "connectUNIX"))]
    #[track_caller]
    pub fn connect_stream(&self, address: impl ToClientEndpoint) -> Deferred<Connection> {
        self.attempt(address, |reactor, made, conn_config| {
            made.stream(reactor, conn_config)
        })
    }

    /// Connects as [`Reactor::connect`] does, with a protocol that `build` makes once the
    /// connection is established. If `build` returns `None`, the connection is closed.
    pub(crate) fn connect_built<P: Protocol>(
        &self,
        endpoint: &ClientEndpoint,
        build: impl FnOnce(&Address) -> Option<P> + 'static,
        location: &'static Location<'static>,
    ) -> Deferred<Option<Handle<P>>> {
        self.attempt_at(endpoint, location, |reactor, made, conn_config| {
            let protocol = build(made.peer());
            let attach = |protocol| made.attach(reactor, conn_config, protocol);
            let seated = protocol.map(|protocol| attach(protocol).map(|conn| handle(&conn)));
            seated.transpose()
        })
    }

    #[track_caller]
    fn attempt<T: 'static>(
        &self,
        address: impl ToClientEndpoint,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        self.attempt_at(address, Location::caller(), make)
    }

    fn attempt_at<T: 'static>(
        &self,
        address: impl ToClientEndpoint,
        location: &'static Location<'static>,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let endpoint = match address.into_client_endpoint(self) {
            Ok(endpoint) => endpoint,
            Err(failure) => return Deferred::fail(Failure::moved(failure, location)),
        };
        #[cfg(all(feature = "tls", feature = "testing"))]
        let endpoint = {
            let mut endpoint = endpoint;
            crate::net::tls::put_client_in_tls(self, &mut endpoint);
            endpoint
        };
        #[cfg(feature = "tls")]
        if endpoint.tls.is_some() {
            return self.attempt_in_tls(endpoint, location, make);
        }
        self.attempt_plain(endpoint, location, make)
    }

    /// Connects, and does the handshake of TLS before the connection gets its handler.
    #[cfg(feature = "tls")]
    fn attempt_in_tls<T: 'static>(
        &self,
        mut endpoint: ClientEndpoint,
        location: &'static Location<'static>,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let name = endpoint.host_name();
        let config = endpoint.tls.take().unwrap_or_default();
        let config = config.or_server_name(|| name);
        if let Err(error) = config.check() {
            report::discard(make, location);
            return Deferred::fail(Failure::at(error, location));
        }
        let weak = self.downgrade();
        let connected =
            self.attempt_plain(endpoint, location, move |reactor, made, conn_config| {
                let secured = secure(reactor, made, conn_config, &config);
                let conn_config = conn_config.clone();
                Ok(secured.map(move |accepted| (accepted, conn_config)))
            });
        let secured = connected.add_callback(|secured: Deferred<_>| secured);
        secured.add_both(
            move |secured: Result<(Accepted, Rc<ConnConfig>), Failure>| match (
                secured,
                weak.upgrade(),
            ) {
                (Ok((accepted, conn_config)), Some(reactor)) => {
                    make(&reactor, accepted, &conn_config)
                }
                (secured, _) => {
                    drop_last(weak.upgrade(), make, location);
                    let failure = secured.err();
                    Err(failure.unwrap_or_else(|| Failure::at(Cancelled, location)))
                }
            },
        )
    }

    fn attempt_plain<T: 'static>(
        &self,
        endpoint: ClientEndpoint,
        location: &'static Location<'static>,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let options = endpoint.options;
        let config = options.clone().config();
        #[cfg(unix)]
        let is_adopted = matches!(endpoint.to, Destination::AdoptedFd(_));
        #[cfg(not(unix))]
        let is_adopted = false;
        let conn_config = Rc::new(ConnConfig {
            limits: config.limits,
            linger: config.linger,
            send_limits: config.send_limits,
            policies: SharedPolicies::of(&config.policies, self.now()),
            is_shared: is_adopted,
            ..ConnConfig::new(self, location)
        });
        let to = match endpoint.to {
            #[cfg(unix)]
            Destination::AdoptedFd(adopted) => {
                return self.connect_adopted(&adopted, location, conn_config, make);
            }
            Destination::Custom(custom) => {
                return self.connect_custom(&custom, options, config.overall, conn_config, make);
            }
            to => to,
        };
        let (deferred, resolver) = Deferred::pair_at(location);
        let done = finish(resolver, conn_config.clone(), make);
        let race = Race::new(self, config, conn_config, done);
        let weak = Rc::downgrade(&race);
        let deferred = deferred.on_cancel(move || {
            if let Some(race) = weak.upgrade() {
                race.cancel();
            }
        });
        // The queued call owns the race until the reactor's table does.
        self.inner()
            .executor()
            .call(location, move || race.start(to));
        deferred
    }

    /// Takes over a connected socket, in the loop's next batch.
    #[cfg(unix)]
    fn connect_adopted<T: 'static>(
        &self,
        adopted: &AdoptedFd,
        location: &'static Location<'static>,
        conn_config: Rc<ConnConfig>,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let (socket, peer) = match adopted.connection(self, location) {
            Ok(adopted) => adopted,
            Err(failure) => {
                report::discard(make, location);
                return Deferred::fail(failure);
            }
        };
        let (deferred, resolver) = Deferred::pair();
        let slot = Rc::new(Cell::new(Some((socket, make, resolver))));
        let (later, reactor) = (slot.clone(), self.downgrade());
        self.inner().executor().call(location, move || {
            if let (Some(reactor), Some((socket, make, resolver))) =
                (reactor.upgrade(), later.take())
            {
                let accepted = Accepted::Socket(socket, peer.into());
                resolver.resolve(make(&reactor, accepted, &conn_config));
            }
        });
        // Dropping the queued call drops what it owns.
        let slot = Rc::downgrade(&slot);
        deferred.on_cancel(move || {
            let held = slot.upgrade().and_then(|slot| slot.take());
            if let Some((socket, make, resolver)) = held {
                drop(socket);
                resolver.errback(Failure::at(Cancelled, location));
                report::discard(make, location);
            }
        })
    }

    /// Connects with an endpoint that the program defines.
    fn connect_custom<T: 'static>(
        &self,
        endpoint: &Rc<dyn StreamClientEndpoint>,
        options: ConnectOptions,
        limit: Duration,
        conn_config: Rc<ConnConfig>,
        make: impl FnOnce(&Self, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let (endpoint, weak, location) = (endpoint.clone(), self.downgrade(), conn_config.location);
        let call = defer_later(self, Duration::ZERO, move || {
            let Some(reactor) = weak.upgrade() else {
                return Deferred::fail(Cancelled);
            };
            let connecting =
                report::catch_rarely(location, || endpoint.connect(&reactor, &options));
            let connecting = connecting.unwrap_or_else(Deferred::fail);
            connecting.timeout(limit, &reactor)
        });
        let weak = self.downgrade();
        call.add_both(move |connected: Result<Connection, Failure>| {
            let Some(reactor) = weak.upgrade() else {
                report::discard(make, location);
                return Err(Failure::at(Cancelled, location));
            };
            let handed = connected.and_then(|connection| connection.hand_over(&reactor));
            match handed {
                Ok((handed, unread)) => {
                    make(&reactor, Accepted::Handed(handed, unread), &conn_config)
                }
                Err(failure) => {
                    drop_last(Some(reactor), make, location);
                    Err(failure.moved(location))
                }
            }
        })
    }
}

/// Returns the function that a race calls with its result.
fn finish<T: 'static>(
    resolver: Resolver<T>,
    conn_config: Rc<ConnConfig>,
    make: impl FnOnce(&Reactor, Accepted, &Rc<ConnConfig>) -> Result<T, Failure> + 'static,
) -> Done {
    Box::new(move |reactor, result| {
        let made = match result {
            Ok((socket, peer)) => {
                make(reactor, Accepted::Socket(socket, peer.into()), &conn_config)
            }
            Err(failure) => {
                drop_last(Some(reactor.clone()), make, conn_config.location);
                Err(failure)
            }
        };
        resolver.resolve(made);
    })
}

/// Drops `make`, and with it the protocol that was never connected, after the tasks that the
/// failure wakes have run (invariant 3): those are queued between the two calls.
fn drop_last<M: 'static>(reactor: Option<Reactor>, make: M, location: &'static Location<'static>) {
    let Some(reactor) = reactor else {
        return report::discard(make, location);
    };
    let weak = reactor.downgrade();
    reactor.inner().executor().call(location, move || {
        if let Some(reactor) = weak.upgrade() {
            let drop_it = move || report::discard(make, location);
            reactor.inner().executor().call(location, drop_it);
        }
    });
}
