//! The reactor's methods that listen.

use std::panic::Location;
use std::rc::Rc;

use super::accept::{
    self, Accepted, Acceptor, ClosureAcceptor, FactoryAcceptor, QueueAcceptor, ServeAcceptor,
};
use super::listener::StreamListener;
use super::port::{Listening, Port, notify_stopped};
use crate::address::Address;
use crate::failure::Failure;
use crate::net::endpoint::{ListenTarget, ToServerEndpoint, custom};
use crate::net::errors::ListenError;
use crate::net::options::ListenConfig;
use crate::net::proxied::Proxied;
#[cfg(feature = "tls")]
use crate::net::tls::Secured;
use crate::protocol::{BuildProtocol, Factory, IntoProtocol};
use crate::reactor::Reactor;
use crate::report::{self, Origin};
use crate::stream::Connection;
use crate::transport::SendLimits;

impl Reactor {
    /// Listens at an endpoint; `build` makes the protocol of each connection.
    ///
    /// `build` receives the peer's address and returns a protocol, or `None` to close the
    /// connection.
    ///
    /// # Errors
    ///
    /// [`ListenError::Failed`] when the address is in use, not local, or not permitted (of several
    /// addresses the first free one is bound, and the error is that of the last);
    /// [`ListenError::NoAddress`] for an empty list;
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed; for an adopted or inherited socket [`ListenError::NotAdoptable`],
    /// [`ListenError::AlreadyAdopted`] or [`ListenError::NotInherited`];
    /// [`ListenError::StdioInUse`] for `stdio:`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    /// #         cx.write(data)
    /// #     }
    /// # }
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.listen("127.0.0.1:0", |_peer| Echo)?;
    ///     println!("listening on {}", port.local_addr());
    ///     port.stop().await
    /// })
    /// # }
    /// ```
    #[doc(alias("listenTCP", "listenUNIX", "listen_tcp", "startListening"))]
    #[track_caller]
    pub fn listen<R: IntoProtocol + 'static>(
        &self,
        address: impl ToServerEndpoint,
        build: impl BuildProtocol<R> + 'static,
    ) -> Result<Port, Failure> {
        self.open_port(address, Box::new(ClosureAcceptor(build)))
    }

    /// Listens at an endpoint; a factory makes the protocol of each connection.
    ///
    /// The factory's `started` is called before this method returns, and its `stopped` when the
    /// port is closed.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    #[track_caller]
    #[doc(alias("listenTCP", "listenUNIX"))]
    pub fn listen_factory<F: Factory>(
        &self,
        address: impl ToServerEndpoint,
        factory: F,
    ) -> Result<Port, Failure> {
        self.open_port(address, Box::new(FactoryAcceptor(factory)))
    }

    /// Listens at an endpoint, and runs an async function for each connection.
    ///
    /// The connection is closed when the function returns or panics, after the bytes written by
    /// then are sent. A failure or a panic of the function is reported, and the connection is still
    /// closed normally: a peer that must not take half a response for a whole one needs
    /// [`ListenOptions::reset_on_error`](crate::net::ListenOptions::reset_on_error).
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         conn.write_all(b"hello\n").await?;
    ///         Ok(())
    ///     })?;
    ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
    ///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// Write an async closure, `async |mut conn| ..`. The compiler cannot infer the type of `conn`
    /// in `|mut conn| async move { .. }` (E0282): write `|mut conn: Connection|` there.
    ///
    /// A handler that needs a value for each connection, such as the reactor, clones it:
    ///
    /// ```
    /// # use torsade::{Clock, Connection, Failure, Reactor};
    /// async fn slowly(reactor: Reactor, mut conn: Connection) -> Result<(), Failure> {
    ///     reactor.sleep(std::time::Duration::from_millis(1)).await?;
    ///     Ok(conn.write_all(b"hello\n").await?)
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let inner = reactor.clone();
    ///     let handler = async move |conn| slowly(inner.clone(), conn).await;
    ///     let port = reactor.serve("127.0.0.1:0", handler)?;
    /// #   let mut conn = reactor.connect_stream(port.local_addr()).await?;
    /// #   assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    /// #   drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[track_caller]
    pub fn serve(
        &self,
        address: impl ToServerEndpoint,
        handler: impl AsyncFn(Connection) -> Result<(), Failure> + 'static,
    ) -> Result<Port, Failure> {
        self.open_port(address, Box::new(ServeAcceptor(Rc::new(handler))))
    }

    /// Listens at an endpoint for async code that accepts the connections itself: see
    /// [`StreamListener`].
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    ///
    /// # Examples
    ///
    /// ```
    /// torsade::testing::run(async |reactor| {
    ///     let mut listener = reactor.bind("127.0.0.1:0")?;
    ///     let client = reactor.connect_stream(listener.local_addr());
    ///     let mut conn = listener.accept().await?;
    ///     conn.write_all(b"hello\n").await?;
    ///     let mut client = client.await?;
    ///     assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("TcpListener", "UnixListener", "accept"))]
    #[track_caller]
    pub fn bind(&self, address: impl ToServerEndpoint) -> Result<StreamListener, Failure> {
        let pull = Rc::default();
        let acceptor = Box::new(QueueAcceptor(Rc::clone(&pull)));
        let port = self.open_port(address, acceptor)?;
        Ok(StreamListener::new(port, pull))
    }

    #[track_caller]
    fn open_port(
        &self,
        address: impl ToServerEndpoint,
        acceptor: Box<dyn Acceptor>,
    ) -> Result<Port, Failure> {
        let location = Location::caller();
        let endpoint = address
            .into_server_endpoint(self)
            .map_err(|failure| Failure::moved(failure, location))?;
        #[cfg(all(feature = "tls", feature = "testing"))]
        let endpoint = {
            let mut endpoint = endpoint;
            crate::net::tls::put_server_in_tls(self, &mut endpoint);
            endpoint
        };
        #[cfg(unix)]
        if endpoint.proxy.is_some() && matches!(endpoint.at, ListenTarget::Stdio) {
            let failure = crate::net::endpoint::no_proxy(&endpoint.to_string());
            return Err(Failure::moved(failure, location));
        }
        #[cfg(feature = "tls")]
        let is_in_tls = endpoint.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_in_tls = false;
        #[cfg(feature = "tls")]
        let acceptor = match endpoint.tls {
            Some(config) => Secured::before(acceptor, config, location)
                .map_err(|error| Failure::at(error, location))?,
            None => acceptor,
        };
        let acceptor = match endpoint.proxy {
            Some(proxy) => Proxied::before(acceptor, proxy, location),
            None => acceptor,
        };
        let options = endpoint.options;
        let mut config = options.clone().config(endpoint.locks);
        config.bind.peers_send_first = is_in_tls;
        let config = &config;
        let addresses = match endpoint.at {
            ListenTarget::Addresses(addresses) => addresses,
            #[cfg(unix)]
            ListenTarget::OpenListener(given) => {
                let listening = given.listen(self).and_then(|listener| {
                    let watched = Listening::watch(self, listener, config, location);
                    watched.map_err(Failure::from)
                });
                let listening = listening.map_err(|failure| Failure::moved(failure, location))?;
                return listening.open(self, acceptor);
            }
            ListenTarget::Custom(custom) => {
                let conn_config = config.conn_config(self, location);
                return custom::listen(self, &*custom, &options, conn_config, acceptor);
            }
            #[cfg(unix)]
            ListenTarget::Stdio => return self.accept_stdio(config, acceptor, location),
        };
        let mut failure = Failure::at(ListenError::NoAddress, location);
        for address in addresses {
            let bound = self.inner().driver().listen(&address, &config.bind);
            match bound.and_then(|listener| Listening::watch(self, listener, config, location)) {
                Ok(listening) => return listening.open(self, acceptor),
                Err(error) => {
                    let error = ListenError::Failed { address, error };
                    failure = Failure::at(error, location);
                }
            }
        }
        Err(failure)
    }

    /// Accepts standard input and output once; the port that it returns is closed.
    #[cfg(unix)]
    fn accept_stdio(
        &self,
        config: &ListenConfig,
        mut acceptor: Box<dyn Acceptor>,
        location: &'static Location<'static>,
    ) -> Result<Port, Failure> {
        let socket = self.open_stdio(location)?;
        let mut conn_config = config.conn_config(self, location);
        if let Some(conn_config) = Rc::get_mut(&mut conn_config) {
            conn_config.is_shared = true;
            conn_config.send_limits = SendLimits::NONE;
        }
        let counter = conn_config.counter.clone().expect("a port counts");
        if let Err(panic) = acceptor.started(location) {
            report::discard(acceptor, location);
            return Err(panic);
        }
        let reactor = self.downgrade();
        self.inner().executor().call(location, move || {
            if let Some(reactor) = reactor.upgrade() {
                report::contain_rarely(Origin::Protocol, location, || {
                    let accepted = Accepted::Socket(socket, Address::Unnamed.into());
                    accept::pass(&mut *acceptor, &reactor, accepted, &conn_config);
                });
            }
            notify_stopped(Vec::new(), accept::end(Some(acceptor), location), location);
        });
        Ok(Port::already_closed(Address::Unnamed, counter))
    }
}
