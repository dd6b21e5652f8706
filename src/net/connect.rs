//! Connecting: one address after another, until one answers.
//!
//! # Invariants
//!
//! 1. Nothing comes of it inside the call: success and failure both come from the loop's turn, but for the wish to
//!    give up.
//! 2. Giving up (cancelling the Deferred) closes the attempt under way and starts no other.
//! 3. Each address has its own time limit.
//! 4. A UNIX socket whose queue is full cannot be waited for: it is tried again every [`RETRY`], within that limit.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::ToSocketAddrs;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;
use std::vec;

use super::endpoint::{Destination, ToClientEndpoint};
use super::errors::{ConnectTimedOut, NoAddress, connect_failure};
use super::options::ConnectOptions;
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, Resolver};
use crate::driver::{Event, Interest, Socket};
use crate::failure::{Cancelled, Failure};
use crate::protocol::{Handle, Protocol, Seated, handle, visit};
use crate::reactor::{Reactor, Source, WeakReactor};
use crate::report;
use crate::stream::Connection;
use crate::transport::{Conn, ConnectionLost, Terms};

/// An attempt at a list of addresses.
struct Attempt {
    reactor: WeakReactor,
    left: RefCell<vec::IntoIter<Address>>,
    options: ConnectOptions,
    terms: Rc<Terms>,
    /// The attempt under way at one address.
    now: RefCell<Option<Rc<Connecting>>>,
    /// Empty when it is over.
    done: Cell<Option<Done>>,
}

/// What to do in the end.
type Done = Box<dyn FnOnce(&Reactor, Result<(Socket, Address), Failure>)>;

/// A socket that is connecting.
struct Connecting {
    key: usize,
    /// Empty while there is no room at the peer's, and in the end.
    socket: Cell<Option<Socket>>,
    address: Address,
    timeout: Cell<Option<DelayedCall>>,
    /// Set while there is no room at the peer's.
    retry: Cell<Option<DelayedCall>>,
    /// It is out of the reactor's care.
    has_left: Cell<bool>,
    attempt: Rc<Attempt>,
}

impl Reactor {
    /// Connects to an address with a protocol, and gives the protocol's [`Handle`] when it is connected and its
    /// `connection_made` has run.
    ///
    /// Several addresses are tried in turn. Cancelling the Deferred gives up. A name is looked up inside this call,
    /// which may take its time; a literal address never waits.
    ///
    /// # Errors
    ///
    /// For the address tried last: [`ConnectionRefused`](crate::net::ConnectionRefused),
    /// [`NoRoute`](crate::net::NoRoute), [`ConnectTimedOut`],
    /// [`ConnectFailed`](crate::net::ConnectFailed); or [`NoAddress`].
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
    #[doc(alias(
        "connectTCP",
        "connectUNIX",
        "connectProtocol",
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
        self.connect_with(address, &ConnectOptions::new(), protocol)
    }

    /// As [`Reactor::connect`], with options.
    #[track_caller]
    pub fn connect_with<P: Protocol>(
        &self,
        address: impl ToClientEndpoint,
        options: &ConnectOptions,
        protocol: P,
    ) -> Deferred<Handle<P>> {
        self.attempt(address, options, move |reactor, socket, peer, terms| {
            let conn = Conn::new(reactor, socket, peer, terms, Seated::new(protocol))?;
            conn.begin(reactor, || {
                visit(&conn, reactor, |protocol, cx| protocol.connection_made(cx));
            });
            Ok(handle(&conn))
        })
    }

    /// Connects to an address and gives the connection, to be read and written by async code.
    ///
    /// Several addresses are tried in turn. Cancelling the Deferred gives up. A name is looked up inside this call,
    /// which may take its time; a literal address never waits.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::connect`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Failure, net::ConnectionRefused};
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///     let address = port.local_addr();
    ///     port.stop().await?;
    ///     let failure = reactor.connect_stream(&address).await.unwrap_err();
    ///     assert_eq!(failure.trap::<ConnectionRefused>()?.address, address);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("connectTCP", "connectUNIX"))]
    #[track_caller]
    pub fn connect_stream(&self, address: impl ToClientEndpoint) -> Deferred<Connection> {
        self.connect_stream_with(address, &ConnectOptions::new())
    }

    /// As [`Reactor::connect_stream`], with options.
    #[track_caller]
    pub fn connect_stream_with(
        &self,
        address: impl ToClientEndpoint,
        options: &ConnectOptions,
    ) -> Deferred<Connection> {
        self.attempt(address, options, |reactor, socket, peer, terms| {
            let conn = Conn::new(reactor, socket, peer, terms, Connection::seat())?;
            conn.begin(reactor, || {});
            Ok(Connection::new(conn))
        })
    }

    #[track_caller]
    fn attempt<T: 'static>(
        &self,
        address: impl ToClientEndpoint,
        options: &ConnectOptions,
        make: impl FnOnce(&Self, Socket, Address, &Rc<Terms>) -> Result<T, Failure> + 'static,
    ) -> Deferred<T> {
        let place = Location::caller();
        let endpoint = match address.to_client_endpoint(options) {
            Ok(endpoint) => endpoint,
            Err(failure) => return Deferred::fail(Failure::moved(failure, place)),
        };
        let options = endpoint.options;
        let addresses: Vec<Address> = match endpoint.to {
            Destination::Addresses(addresses) => addresses,
            Destination::Host { name, port } => match (name.as_str(), port).to_socket_addrs() {
                Ok(addresses) => addresses.map(Address::from).collect(),
                Err(error) => return Deferred::fail(Failure::at(Box::new(error), place)),
            },
        };
        let terms = Rc::new(Terms {
            limits: options.limits,
            place,
            is_shared: false,
        });
        let (deferred, resolver) = Deferred::pair();
        let attempt = Rc::new(Attempt {
            reactor: self.downgrade(),
            left: RefCell::new(addresses.into_iter()),
            options,
            terms: terms.clone(),
            now: RefCell::default(),
            done: Cell::new(Some(finish(resolver, terms, make))),
        });
        let weak = Rc::downgrade(&attempt);
        let deferred = deferred.on_cancel(move || {
            if let Some(attempt) = weak.upgrade() {
                attempt.give_up();
            }
        });
        // The call holds the attempt until the socket does.
        self.inner().executor().call(place, move || {
            attempt.next(Failure::at(Box::new(NoAddress), place));
        });
        deferred
    }
}

/// What to do when an attempt has come to its end.
fn finish<T: 'static>(
    resolver: Resolver<T>,
    terms: Rc<Terms>,
    make: impl FnOnce(&Reactor, Socket, Address, &Rc<Terms>) -> Result<T, Failure> + 'static,
) -> Done {
    Box::new(move |reactor, result| {
        let made = match result {
            Ok((socket, peer)) => make(reactor, socket, peer, &terms),
            Err(failure) => {
                // A protocol that was never connected goes with it.
                report::discard(make, terms.place);
                Err(failure)
            }
        };
        resolver.resolve(made);
    })
}

impl Attempt {
    /// Tries the next address; when there is none, it has failed as the last one did.
    fn next(self: &Rc<Self>, mut failure: Failure) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        loop {
            let done = self.done.take();
            let Some(done) = done else { return };
            let address = self.left.borrow_mut().next();
            let Some(address) = address else {
                return done(&reactor, Err(failure));
            };
            self.done.set(Some(done));
            match self.try_one(&reactor, &address) {
                Ok(()) => return,
                Err(error) => failure = self.failure(address, error),
            }
        }
    }

    fn try_one(self: &Rc<Self>, reactor: &Reactor, address: &Address) -> io::Result<()> {
        let inner = reactor.inner();
        if self.options.lock_file {
            inner.driver().check_lock(address)?;
        }
        let socket = self.begin(reactor, address)?;
        let mut made = None;
        let key = inner.insert(|key| {
            let connecting = Rc::new(Connecting {
                key,
                socket: Cell::new(None),
                address: address.clone(),
                timeout: Cell::new(None),
                retry: Cell::new(None),
                has_left: Cell::new(false),
                attempt: self.clone(),
            });
            made = Some(connecting.clone());
            connecting
        })?;
        let connecting = made.expect("`insert` calls its argument");
        if let Err(error) = connecting.watch(reactor, socket) {
            inner.remove(key);
            return Err(error);
        }
        let weak = Rc::downgrade(&connecting);
        let timeout = reactor.call_later(self.options.timeout, move || {
            if let Some(connecting) = weak.upgrade() {
                connecting.timed_out();
            }
        });
        connecting.timeout.set(Some(timeout));
        self.now.replace(Some(connecting));
        Ok(())
    }

    /// A connection begun; none where there is no room for one more now.
    fn begin(&self, reactor: &Reactor, address: &Address) -> io::Result<Option<Socket>> {
        let driver = reactor.inner().driver();
        match driver.connect(address, self.options.bind.as_ref()) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn give_up(&self) {
        let connecting = self.now.take();
        let reactor = self.reactor.upgrade();
        if let (Some(connecting), Some(reactor)) = (connecting, &reactor) {
            drop(connecting.leave(reactor));
        }
        let done = self.done.take();
        match (done, reactor) {
            (Some(done), Some(reactor)) => {
                done(
                    &reactor,
                    Err(Failure::at(Box::new(Cancelled), self.terms.place)),
                );
            }
            (done, _) => report::discard(done, self.terms.place),
        }
    }

    fn failure(&self, address: Address, error: io::Error) -> Failure {
        let failure = connect_failure(address, error);
        Failure::moved(failure, self.terms.place)
    }
}

impl Connecting {
    /// Waits for the socket, or for room.
    fn watch(self: &Rc<Self>, reactor: &Reactor, socket: Option<Socket>) -> io::Result<()> {
        let Some(socket) = socket else {
            let weak = Rc::downgrade(self);
            let retry = reactor.call_later(RETRY, move || {
                if let Some(connecting) = weak.upgrade() {
                    connecting.try_again();
                }
            });
            self.retry.set(Some(retry));
            return Ok(());
        };
        let driver = reactor.inner().driver();
        driver.add(&socket, self.key, Interest::Write)?;
        self.socket.set(Some(socket));
        Ok(())
    }

    fn try_again(self: &Rc<Self>) {
        let attempt = &self.attempt;
        let Some(reactor) = attempt.reactor.upgrade() else {
            return;
        };
        if self.has_left.get() {
            return;
        }
        let begun = attempt.begin(&reactor, &self.address);
        if let Err(error) = begun.and_then(|socket| self.watch(&reactor, socket)) {
            drop(self.leave(&reactor));
            attempt.now.take();
            let failure = attempt.failure(self.address.clone(), error);
            attempt.next(failure);
        }
    }

    /// Takes the socket, if there is one yet, out of the reactor's care.
    fn leave(&self, reactor: &Reactor) -> Option<Socket> {
        if self.has_left.replace(true) {
            return None;
        }
        let socket = self.socket.take();
        if let Some(socket) = &socket {
            let _ = reactor.inner().driver().remove(socket);
        }
        reactor.inner().remove(self.key);
        for timer in [self.timeout.take(), self.retry.take()]
            .into_iter()
            .flatten()
        {
            timer.cancel();
        }
        socket
    }

    fn timed_out(&self) {
        let attempt = &self.attempt;
        let Some(reactor) = attempt.reactor.upgrade() else {
            return;
        };
        if self.has_left.get() {
            return;
        }
        drop(self.leave(&reactor));
        let limit = Some(attempt.options.timeout);
        let error = ConnectTimedOut {
            address: self.address.clone(),
            limit,
            error: None,
        };
        attempt.now.take();
        attempt.next(Failure::at(Box::new(error), attempt.terms.place));
    }
}

impl Source for Connecting {
    fn ready(self: Rc<Self>, reactor: &Reactor, _event: Event) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let connected = socket.connected();
        self.socket.set(Some(socket));
        match connected {
            Ok(false) => {}
            Ok(true) => {
                let socket = self.leave(reactor);
                self.attempt.now.take();
                let done = self.attempt.done.take();
                if let (Some(socket), Some(done)) = (socket, done) {
                    done(reactor, Ok((socket, self.address.clone())));
                }
            }
            Err(error) => {
                drop(self.leave(reactor));
                self.attempt.now.take();
                let failure = self.attempt.failure(self.address.clone(), error);
                self.attempt.next(failure);
            }
        }
    }

    fn attend(self: Rc<Self>, _reactor: &Reactor) {}

    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure) {
        let done = self.attempt.done.take();
        self.attempt.now.take();
        let Some(reactor) = reactor else {
            return drop(done);
        };
        drop(self.leave(reactor));
        if let Some(done) = done {
            done(
                reactor,
                Err(Failure::new(ConnectionLost::new(reason.clone()))),
            );
        }
    }

    fn kind(&self) -> &'static str {
        "connection attempt"
    }

    fn place(&self) -> &'static Location<'static> {
        self.attempt.terms.place
    }
}

/// How long a UNIX socket whose queue is full is left alone.
const RETRY: Duration = Duration::from_millis(10);
