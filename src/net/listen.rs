//! Listening: ports, and what becomes of the connections they accept.
//!
//! # Invariants
//!
//! 1. An acceptor is taken out while it is called, so it may do anything, even stop its own port.
//! 2. When the system has no descriptor or memory left, the port is disarmed; it looks again when one of the
//!    reactor's own descriptors has come back, and after [`RETRY`] in any case. It neither spins nor dies.
//! 3. A port accepts as many connections at a time as last time there were, and a few more when they did not end:
//!    so in steady traffic no call is made in vain.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::endpoint::{Places, ToServerEndpoint};
use super::errors::{CannotListen, NoAddress};
use super::options::{ListenConfig, ListenOptions};
use super::proxied::Proxied;
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, Resolver};
use crate::driver::{Event, Interest, Listener, Socket};
use crate::failure::Failure;
use crate::protocol::{Factory, IntoProtocol, Protocol, Seated, visit};
use crate::reactor::{Reactor, Source, WeakReactor};
use crate::report::{self, Origin};
use crate::stream::Connection;
use crate::transport::{Conn, Ends, Terms};

/// A port that is listened at. Clones are handles to the same one; dropping them changes nothing.
#[derive(Clone)]
pub struct Port {
    listening: Weak<Listening>,
    address: Address,
}

/// A listening socket in the reactor's care.
struct Listening {
    key: usize,
    /// Empty once closed.
    listener: RefCell<Option<Listener>>,
    /// Empty only while it is being called, and after the end.
    acceptor: Cell<Option<Box<dyn Acceptor>>>,
    /// How many to accept in one go (invariant 3).
    batch: Cell<usize>,
    /// Set while disarmed (invariant 2).
    retry: Cell<Option<DelayedCall>>,
    /// When it was last said that nothing can be accepted: once a second is enough.
    warned: Cell<Option<Instant>>,
    stopping: Cell<bool>,
    /// Who is to be told when it is closed.
    stopped: RefCell<Vec<Resolver<()>>>,
    reactor: WeakReactor,
    terms: Rc<Terms>,
}

/// What is done with a connection.
pub(super) trait Acceptor {
    fn accepted(&mut self, reactor: &Reactor, socket: Socket, ends: Ends, terms: &Rc<Terms>);
    /// Its user is told that the port is open. Fails with a panic of theirs.
    fn started(&mut self, _place: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
    /// Its user is told that the port is closed. Fails with a panic of theirs.
    fn stopped(&mut self, _place: &'static Location<'static>) -> Result<(), Failure> {
        Ok(())
    }
}

impl Reactor {
    /// Listens at an address, with a protocol for each connection made by `build`.
    ///
    /// `build` is given the peer's address, and returns a protocol, or `None` to turn the peer away.
    ///
    /// # Errors
    ///
    /// [`CannotListen`] when the address is taken, not ours, or not allowed; with several addresses, what the last
    /// one failed with; [`BadEndpoint`](crate::net::BadEndpoint) when text was given that says no address.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
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
        build: impl FnMut(Address) -> R + 'static,
    ) -> Result<Port, Failure> {
        self.listen_with(address, &ListenOptions::new(), build)
    }

    /// As [`Reactor::listen`], with options. What the endpoint sets itself comes before them: see [`ListenOptions`].
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    #[track_caller]
    pub fn listen_with<R: IntoProtocol + 'static>(
        &self,
        address: impl ToServerEndpoint,
        options: &ListenOptions,
        build: impl FnMut(Address) -> R + 'static,
    ) -> Result<Port, Failure> {
        self.open_port(address, options, Box::new(Building(build)))
    }

    /// Listens at an address, with the protocols that a factory makes.
    ///
    /// The factory's `started` runs before this returns, its `stopped` when the port is closed.
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
        self.listen_factory_with(address, &ListenOptions::new(), factory)
    }

    /// As [`Reactor::listen_factory`], with options. What the endpoint sets itself comes before them: see
    /// [`ListenOptions`].
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    #[track_caller]
    pub fn listen_factory_with<F: Factory>(
        &self,
        address: impl ToServerEndpoint,
        options: &ListenOptions,
        factory: F,
    ) -> Result<Port, Failure> {
        self.open_port(address, options, Box::new(Made(factory)))
    }

    /// Listens at an address, and runs an async function for each connection.
    ///
    /// The connection ends when the function returns; what it had written is sent. A failure or a panic of the
    /// function is reported.
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
    /// A handler that needs something of its own for each connection, the reactor for one, clones it:
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
    ///     let port = reactor.serve("127.0.0.1:0", async move |conn| slowly(inner.clone(), conn).await)?;
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
        self.serve_with(address, &ListenOptions::new(), handler)
    }

    /// As [`Reactor::serve`], with options. What the endpoint sets itself comes before them: see [`ListenOptions`].
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`].
    #[track_caller]
    pub fn serve_with(
        &self,
        address: impl ToServerEndpoint,
        options: &ListenOptions,
        handler: impl AsyncFn(Connection) -> Result<(), Failure> + 'static,
    ) -> Result<Port, Failure> {
        self.open_port(address, options, Box::new(Serving(Rc::new(handler))))
    }

    #[track_caller]
    fn open_port(
        &self,
        address: impl ToServerEndpoint,
        options: &ListenOptions,
        acceptor: Box<dyn Acceptor>,
    ) -> Result<Port, Failure> {
        let place = Location::caller();
        let endpoint = address
            .into_server_endpoint(self)
            .map_err(|failure| Failure::moved(failure, place))?;
        #[cfg(unix)]
        if endpoint.proxy.is_some() && matches!(endpoint.at, Places::Stdio) {
            let failure = super::endpoint::no_proxy(&endpoint.to_string());
            return Err(Failure::moved(failure, place));
        }
        let acceptor = match endpoint.proxy {
            Some(proxy) => Proxied::before(acceptor, proxy, place),
            None => acceptor,
        };
        let config = &endpoint.options.or(options).config(endpoint.locks);
        let addresses = match endpoint.at {
            Places::Addresses(addresses) => addresses,
            #[cfg(unix)]
            Places::Given(given) => {
                let listening = given.listen(self).and_then(|listener| {
                    let watched = self.watch_port(listener, config, place);
                    watched.map_err(Failure::from)
                });
                let listening = listening.map_err(|failure| Failure::moved(failure, place))?;
                return listening.open(self, acceptor);
            }
            #[cfg(unix)]
            Places::Stdio => return self.accept_stdio(config, acceptor, place),
        };
        let mut failure = Failure::at(Box::new(NoAddress), place);
        for address in addresses {
            let bound = self.inner().driver().listen(&address, &config.bind);
            match bound.and_then(|listener| self.watch_port(listener, config, place)) {
                Ok(listening) => return listening.open(self, acceptor),
                Err(error) => {
                    failure = Failure::at(Box::new(CannotListen { address, error }), place)
                }
            }
        }
        Err(failure)
    }

    /// Standard input and output are accepted once, and there is no port to close.
    #[cfg(unix)]
    fn accept_stdio(
        &self,
        config: &ListenConfig,
        mut acceptor: Box<dyn Acceptor>,
        place: &'static Location<'static>,
    ) -> Result<Port, Failure> {
        let socket = self.open_stdio(place)?;
        let terms = Rc::new(Terms {
            limits: config.limits,
            linger: config.linger,
            place,
            is_shared: true,
            is_filter: false,
            keeper: None,
        });
        if let Err(panic) = acceptor.started(place) {
            report::discard(acceptor, place);
            return Err(panic);
        }
        let reactor = self.downgrade();
        self.inner().executor().call(place, move || {
            if let Some(reactor) = reactor.upgrade() {
                report::contain(Origin::Protocol, place, || {
                    acceptor.accepted(&reactor, socket, Address::Unnamed.into(), &terms)
                });
            }
            let stopped = acceptor.stopped(place);
            report::discard(acceptor, place);
            tell_stopped(Vec::new(), stopped, place);
        });
        Ok(Port {
            listening: Weak::new(),
            address: Address::Unnamed,
        })
    }

    /// Takes a listening socket into the reactor's care.
    fn watch_port(
        &self,
        listener: Listener,
        config: &ListenConfig,
        place: &'static Location<'static>,
    ) -> io::Result<Rc<Listening>> {
        let mut made = None;
        let key = self.inner().insert(|key| {
            let listening = Rc::new(Listening {
                key,
                listener: RefCell::new(Some(listener)),
                acceptor: Cell::new(None),
                batch: Cell::new(BATCH),
                retry: Cell::new(None),
                warned: Cell::new(None),
                stopping: Cell::new(false),
                stopped: RefCell::default(),
                reactor: self.downgrade(),
                terms: Rc::new(Terms {
                    limits: config.limits,
                    linger: config.linger,
                    place,
                    is_shared: false,
                    is_filter: false,
                    keeper: None,
                }),
            });
            made = Some(listening.clone());
            listening
        })?;
        let listening = made.expect("`insert` calls its argument");
        let added = listening
            .tell_driver(|listener| self.inner().driver().add(listener, key, Interest::Read));
        if let Err(error) = added {
            self.inner().remove(key);
            return Err(error);
        }
        Ok(listening)
    }
}

impl Port {
    /// Where it listens, with the real port when port 0 was asked for.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.address.clone()
    }

    /// Closes the port. The Deferred fires when it is closed. Connections that were accepted go on; those whose proxy
    /// has not told yet for whom it connects are ended.
    ///
    /// Stopping it again is no error: each Deferred fires.
    ///
    /// # Errors
    ///
    /// The panic of [`Factory::stopped`]; the port is closed all the same.
    #[doc(alias = "stopListening")]
    #[track_caller]
    pub fn stop(&self) -> Deferred<()> {
        let listening = self.listening.upgrade();
        let Some(listening) = listening.filter(|listening| listening.is_open()) else {
            return Deferred::succeed(());
        };
        let (deferred, resolver) = Deferred::pair();
        listening.stopped.borrow_mut().push(resolver);
        if !listening.stopping.replace(true) {
            if let Some(reactor) = listening.reactor.upgrade() {
                reactor.inner().attend(listening.key);
            }
        }
        deferred
    }

    /// Is it open, and not about to close?
    pub fn is_listening(&self) -> bool {
        self.listening
            .upgrade()
            .is_some_and(|listening| listening.is_open() && !listening.stopping.get())
    }
}

impl Listening {
    /// Begins to accept, unless the acceptor panics.
    fn open(
        self: Rc<Self>,
        reactor: &Reactor,
        mut acceptor: Box<dyn Acceptor>,
    ) -> Result<Port, Failure> {
        let address = self.listener.borrow().as_ref().map(Listener::local_addr);
        let address = address.and_then(Result::ok).unwrap_or(Address::Unnamed);
        let place = self.terms.place;
        if let Err(panic) = acceptor.started(place) {
            self.close(Some(reactor));
            report::discard(acceptor, place);
            return Err(panic);
        }
        self.acceptor.set(Some(acceptor));
        Ok(Port {
            listening: Rc::downgrade(&self),
            address,
        })
    }

    fn is_open(&self) -> bool {
        self.listener.borrow().is_some()
    }

    /// Accepts a batch.
    fn accept(&self, reactor: &Reactor) {
        let most = self.batch.get();
        for count in 0..most {
            // Its own acceptor may have stopped it.
            if self.stopping.get() {
                return;
            }
            let accepted = self.listener.borrow().as_ref().map(Listener::accept);
            match accepted {
                None => return,
                Some(Ok((socket, peer))) => self.hand_over(reactor, socket, peer),
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.batch.set(count.max(1));
                        return;
                    }
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ if is_the_peers(&error) => {}
                    _ => return self.disarm(reactor, &error),
                },
            }
        }
        // All came. In steady traffic of one at a time that is one, and no call is made in vain.
        self.batch.set(if most == 1 {
            2
        } else {
            (most + GROWTH).min(BATCH)
        });
    }

    fn hand_over(&self, reactor: &Reactor, socket: Socket, peer: Address) {
        let Some(mut acceptor) = self.acceptor.take() else {
            return;
        };
        let place = self.terms.place;
        report::contain(Origin::Protocol, place, || {
            acceptor.accepted(reactor, socket, peer.into(), &self.terms)
        });
        self.acceptor.set(Some(acceptor));
    }

    /// Nothing can be accepted for now (invariant 2).
    fn disarm(&self, reactor: &Reactor, error: &io::Error) {
        let now = reactor.now();
        if self
            .warned
            .get()
            .is_none_or(|last| now.duration_since(last) >= A_SECOND)
        {
            self.warned.set(Some(now));
            tracing::warn!(target: "torsade::net", %error, "cannot accept connections for now");
        }
        let inner = reactor.inner();
        let told = self.tell_driver(|listener| {
            inner
                .driver()
                .set_interest(listener, self.key, Interest::Nothing)
        });
        if let Err(error) = told {
            tracing::error!(target: "torsade::net", %error, "a port cannot be disarmed");
        }
        let (weak, key) = (self.reactor.clone(), self.key);
        let retry = reactor.call_later(RETRY, move || {
            if let Some(reactor) = weak.upgrade() {
                reactor.inner().attend(key);
            }
        });
        inner.attend_when_one_leaves(self.key);
        let old = self.retry.replace(Some(retry));
        if let Some(old) = old {
            old.cancel();
        }
    }

    fn tell_driver(&self, tell: impl FnOnce(&Listener) -> io::Result<()>) -> io::Result<()> {
        self.listener.borrow().as_ref().map_or(Ok(()), tell)
    }

    fn close(&self, reactor: Option<&Reactor>) {
        let listener = self.listener.take();
        let Some(listener) = listener else { return };
        if let Some(reactor) = reactor {
            let _ = reactor.inner().driver().remove(&listener);
            reactor.inner().remove(self.key);
        }
        drop(listener);
        if let Some(retry) = self.retry.take() {
            retry.cancel();
        }
        let place = self.terms.place;
        let acceptor = self.acceptor.take();
        let mut stopped = Ok(());
        if let Some(mut acceptor) = acceptor {
            stopped = acceptor.stopped(place);
            report::discard(acceptor, place);
        }
        tell_stopped(self.stopped.take(), stopped, place);
    }
}

impl Source for Listening {
    fn ready(self: Rc<Self>, reactor: &Reactor, _event: Event) {
        self.accept(reactor);
        if self.stopping.get() {
            self.close(Some(reactor));
        }
    }

    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.stopping.get() {
            return self.close(Some(reactor));
        }
        let retry = self.retry.take();
        let Some(retry) = retry else { return };
        retry.cancel();
        let driver = reactor.inner().driver();
        let told =
            self.tell_driver(|listener| driver.set_interest(listener, self.key, Interest::Read));
        if let Err(error) = told {
            self.disarm(reactor, &error);
        }
    }

    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        self.close(reactor);
    }

    fn kind(&self) -> &'static str {
        "port"
    }

    fn place(&self) -> &'static Location<'static> {
        self.terms.place
    }
}

/// Tells those who wait for a port's end; a failure that is told to nobody is reported.
pub(in crate::net) fn tell_stopped(
    waiting: Vec<Resolver<()>>,
    stopped: Result<(), Failure>,
    place: &'static Location<'static>,
) {
    if let (Err(failure), true) = (&stopped, waiting.is_empty()) {
        return report::deliver(Origin::Protocol, failure.clone(), place);
    }
    for resolver in waiting {
        resolver.resolve(stopped.clone());
    }
}

struct Building<B>(B);

impl<B: FnMut(Address) -> R, R: IntoProtocol> Acceptor for Building<B> {
    fn accepted(&mut self, reactor: &Reactor, socket: Socket, ends: Ends, terms: &Rc<Terms>) {
        if let Some(protocol) = (self.0)(ends.peer.clone()).into_protocol() {
            seat(reactor, socket, ends, terms, protocol);
        }
    }
}

struct Made<F>(F);

impl<F: Factory> Acceptor for Made<F> {
    fn accepted(&mut self, reactor: &Reactor, socket: Socket, ends: Ends, terms: &Rc<Terms>) {
        if let Some(protocol) = self.0.build_protocol(ends.peer.clone()) {
            seat(reactor, socket, ends, terms, protocol);
        }
    }

    fn started(&mut self, place: &'static Location<'static>) -> Result<(), Failure> {
        report::catch_watched(place, || self.0.started())
    }

    fn stopped(&mut self, place: &'static Location<'static>) -> Result<(), Failure> {
        report::catch_watched(place, || self.0.stopped())
    }
}

struct Serving<H>(Rc<H>);

impl<H: AsyncFn(Connection) -> Result<(), Failure> + 'static> Acceptor for Serving<H> {
    fn accepted(&mut self, reactor: &Reactor, socket: Socket, ends: Ends, terms: &Rc<Terms>) {
        match Conn::new(reactor, socket, ends, terms, Connection::seat()) {
            Ok(conn) => {
                let handler = self.0.clone();
                let connection = Connection::new(conn.clone());
                let task = async move { handler(connection).await };
                reactor.inner().executor().spawn(task, terms.place).detach();
                conn.begin(reactor, || {});
            }
            Err(failure) => report::deliver(Origin::Protocol, failure, terms.place),
        }
    }
}

/// Gives a protocol its connection.
fn seat<P: Protocol>(
    reactor: &Reactor,
    socket: Socket,
    ends: Ends,
    terms: &Rc<Terms>,
    protocol: P,
) {
    match Conn::new(reactor, socket, ends, terms, Seated::new(protocol)) {
        Ok(conn) => conn.begin(reactor, || {
            visit(&conn, reactor, |protocol, cx| protocol.connection_made(cx));
        }),
        Err(failure) => report::deliver(Origin::Protocol, failure, terms.place),
    }
}

/// Is it about the one connection only, so that the next may be accepted?
#[cfg(unix)]
fn is_the_peers(error: &io::Error) -> bool {
    const THEIRS: [i32; 9] = [
        libc::EPROTO,
        libc::EPERM,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
        libc::ETIMEDOUT,
    ];
    error
        .raw_os_error()
        .is_some_and(|number| THEIRS.contains(&number))
}

#[cfg(not(unix))]
fn is_the_peers(_error: &io::Error) -> bool {
    false
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("address", &self.address)
            .field("is_listening", &self.is_listening())
            .finish()
    }
}

/// How many connections are accepted in one go at most.
const BATCH: usize = 100;
/// By how much a batch that was full grows.
const GROWTH: usize = 20;
/// After this time a disarmed port looks again, whatever has happened.
const RETRY: Duration = Duration::from_millis(250);
/// No more often than this is it said that nothing can be accepted.
const A_SECOND: Duration = Duration::from_secs(1);
