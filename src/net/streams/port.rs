//! Ports: the listening sockets of a reactor, and their handles.
//!
//! # Invariants
//!
//! 1. An acceptor is taken out while it is called, so it may call anything, even stop its own port.
//! 2. When the system runs out of descriptors or memory, the port is disarmed. It tries again when
//!    one of the reactor's own descriptors has been closed, and after [`RETRY`] in any case. It
//!    neither spins nor closes.
//! 3. A port accepts as many connections in one batch as in the last one, and some more if that
//!    batch was full: so steady traffic causes no `accept` call that finds nothing.
//! 4. The driver reports connections only while the port may accept one: the port is not paused,
//!    has fewer connections than its limit, and its acceptor wants one. Other connections wait in
//!    the system's queue.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::accept::{self, Accepted, Acceptor};
use crate::address::Address;
use crate::cells;
use crate::clock::Clock;
use crate::defer::{Deferred, Resolver};
use crate::driver::{Event, Interest, Listener, Socket};
use crate::failure::Failure;
use crate::net::options::ListenConfig;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked};
use crate::report::{self, Origin, Subsystem, WarnOnce};
use crate::transport::{ConnConfig, ConnCounter};
use std::panic::Location;

/// A handle to a listening port. Clones are handles to the same port; dropping them does not close
/// it.
///
/// # Examples
///
/// A graceful stop: the server accepts no more connections and closes those that it has. Queued
/// bytes are sent for up to ten seconds. The handlers are not waited for: a handler's next read is
/// the end of file, and bytes that it writes after that are dropped.
///
/// ```
/// # use std::time::Duration;
/// # use torsade::Failure;
/// torsade::testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         while let Some(line) = conn.read_line(80).await? {
///             conn.write_all(&line).await?;
///         }
///         Ok::<(), Failure>(())
///     })?;
///     let conn = reactor.connect_stream(port.local_addr()).await?;
///     # while port.connections() == 0 { torsade::yield_now().await }
///     assert_eq!(port.connections(), 1);
///     port.stop().await?;
///     assert_eq!(port.lose_connections(Duration::from_secs(10)).await?, 0);
///     assert_eq!(port.connections(), 0);
///     # drop(conn);
///     Ok(())
/// });
/// ```
#[derive(Clone)]
pub struct Port {
    state: Weak<dyn PortState>,
    address: Address,
    counter: Rc<ConnCounter>,
}

/// The state of a port, of whatever kind.
pub(in crate::net) trait PortState {
    fn stop(self: Rc<Self>) -> Deferred<()>;
    fn is_listening(&self) -> bool;
    fn set_paused(&self, is_paused: bool);
    fn is_paused(&self) -> bool;
    /// Duplicates the descriptor of the socket.
    #[cfg(unix)]
    fn duplicate(&self) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A listening socket that is registered with the reactor.
pub(in crate::net) struct Listening {
    registration: Registration,
    retry: Retry,
    /// The socket; `None` once closed.
    listener: RefCell<Option<Listener>>,
    /// The acceptor; `None` while it is being called, and after the port is closed.
    acceptor: Cell<Option<Box<dyn Acceptor>>>,
    /// The number of connections to accept in one batch (invariant 3).
    batch: Cell<usize>,
    is_paused: Cell<bool>,
    /// Whether no peer has connected yet.
    is_unused: Cell<bool>,
    /// When the last warning was given that no connection can be accepted; `None` once one was
    /// accepted.
    warned: Cell<Option<Instant>>,
    stopping: Cell<bool>,
    /// Resolvers to fire when the port is closed.
    stopped: RefCell<Vec<Resolver<()>>>,
    conn_config: Rc<ConnConfig>,
}

impl Port {
    pub(in crate::net) fn new(
        state: Weak<dyn PortState>,
        address: Address,
        counter: Rc<ConnCounter>,
    ) -> Self {
        Self {
            state,
            address,
            counter,
        }
    }

    /// Creates a port that is closed already.
    pub(in crate::net) fn already_closed(address: Address, counter: Rc<ConnCounter>) -> Self {
        let state: Weak<Listening> = Weak::new();
        Self::new(state, address, counter)
    }

    /// Returns the address that the port listens at, with the port number that the system chose if
    /// port 0 was requested. The address stays known after the port is closed.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.address.clone()
    }

    /// Closes the port. The Deferred fires when the port is closed. Accepted connections stay open,
    /// except those whose PROXY header has not arrived, or whose TLS handshake is not finished.
    ///
    /// Calling `stop` again is not an error: each Deferred fires.
    ///
    /// # Errors
    ///
    /// The panic of [`Factory::stopped`](crate::Factory::stopped); the port is closed all the same.
    #[doc(alias = "stopListening")]
    #[track_caller]
    pub fn stop(&self) -> Deferred<()> {
        match self.state.upgrade() {
            Some(state) => state.stop(),
            None => Deferred::succeed(()),
        }
    }

    /// Returns a Deferred that fires when the port is closed, by [`stop`](Self::stop) or by the end
    /// of the reactor; at once if it is closed already.
    ///
    /// # Examples
    ///
    /// ```
    /// # torsade::testing::run(async |reactor| {
    /// let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    /// let closed = port.closed();
    /// let other = port.clone();
    /// reactor.call_soon(move || drop(other.stop()));
    /// closed.await?;
    /// assert!(!port.is_listening());
    /// # Ok(())
    /// # });
    /// ```
    #[doc(alias = "wait_closed")]
    #[track_caller]
    pub fn closed(&self) -> Deferred<()> {
        self.counter.closed()
    }

    /// Returns whether the port is open and not closing.
    pub fn is_listening(&self) -> bool {
        self.state
            .upgrade()
            .is_some_and(|state| state.is_listening())
    }

    /// Returns the number of accepted connections that are not closed.
    ///
    /// A connection counts until its protocol's `connection_lost` has returned, even if the port is
    /// closed.
    pub fn connections(&self) -> usize {
        self.counter.count()
    }

    /// Returns a Deferred that fires when the port has no connection: at once if it has none.
    ///
    /// A server that stops in good order calls [`stop`](Self::stop), and then waits here, with a
    /// time limit, until its handlers have finished.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::Clock;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         while conn.read_line(80).await?.is_some() {}
    ///         Ok(())
    ///     })?;
    ///     let conn = reactor.connect_stream(port.local_addr()).await?;
    ///     # while port.connections() == 0 { torsade::yield_now().await }
    ///     port.stop().await?;
    ///     reactor.call_later(Duration::from_secs(1), move || drop(conn));
    ///     reactor.timeout(Duration::from_secs(10), port.disconnected()).await??;
    ///     assert_eq!(port.connections(), 0);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("graceful shutdown", "drain"))]
    #[track_caller]
    pub fn disconnected(&self) -> Deferred<()> {
        self.counter.empty()
    }

    /// Closes the accepted connections: each as by
    /// [`Transport::lose_connection`](crate::Transport::lose_connection), and after `limit` as by
    /// [`Transport::abort_connection`](crate::Transport::abort_connection). The Deferred fires when
    /// all of them are closed, with the number that had to be aborted. Bytes that an aborted
    /// connection had queued are reported as
    /// [`ConnectionError::NotSent`](crate::transport::ConnectionError::NotSent).
    ///
    /// Connections that are accepted after the call are not closed, so to stop a server call
    /// [`stop`](Self::stop) first. Bytes that a protocol writes after the call are dropped, as
    /// after any `lose_connection`. Handlers that wait for
    /// [`Reactor::stopped`](crate::Reactor::stopped) are not ended by `limit`:
    /// [`Grace::total`](crate::reactor::Grace::total) is also the limit for them. The guide's page
    /// [deploying](crate::guide::deploying) has a stop that lets handlers finish first.
    ///
    /// # Cancel safety
    ///
    /// Cancelling ends the wait and the limit; the connections still close once their queued bytes
    /// are sent.
    #[doc(alias("graceful shutdown", "drain"))]
    #[track_caller]
    pub fn lose_connections(&self, limit: Duration) -> Deferred<usize> {
        self.counter.end_all(limit)
    }

    /// Returns the limit on the number of connections; `None` if there is no limit.
    pub fn max_connections(&self) -> Option<usize> {
        self.counter.limit()
    }

    /// Sets the limit on the number of connections. While the port has that many it accepts none;
    /// new ones wait in the system's queue
    /// ([`ListenOptions::backlog`](crate::net::ListenOptions::backlog)). Existing connections stay
    /// open even if there are more.
    pub fn set_max_connections(&self, limit: impl Into<Option<usize>>) {
        self.counter.set_limit(limit.into());
    }

    /// Stops accepting connections until [`resume_accepting`](Self::resume_accepting). New ones
    /// wait in the system's queue.
    #[doc(alias("pauseProducing", "stopReading"))]
    pub fn pause_accepting(&self) {
        self.set_paused(true);
    }

    /// Resumes accepting connections.
    #[doc(alias("resumeProducing", "startReading"))]
    pub fn resume_accepting(&self) {
        self.set_paused(false);
    }

    /// Returns whether the port is open and paused.
    pub fn is_paused(&self) -> bool {
        self.state.upgrade().is_some_and(|state| state.is_paused())
    }

    /// Calls `f` with a descriptor of the listening socket: see
    /// [`Transport::with_fd`](crate::Transport::with_fd).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] when the port is closed; [`io::ErrorKind::Unsupported`] for
    /// an in-memory port, for standard input and output, and for an endpoint that the program
    /// defines.
    #[cfg(unix)]
    #[doc(alias("AsFd", "as_fd", "getHandle", "fileno"))]
    pub fn with_fd<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> io::Result<R> {
        let state = self.state.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let duplicate = state.duplicate()?;
        drop(state);
        Ok(f(duplicate.as_fd()))
    }

    fn set_paused(&self, is_paused: bool) {
        if let Some(state) = self.state.upgrade() {
            state.set_paused(is_paused);
        }
    }

    /// Makes the port check again whether its acceptor wants a connection.
    pub(in crate::net) fn recheck(&self) {
        self.counter.notify_port();
    }
}

impl PortState for Listening {
    fn stop(self: Rc<Self>) -> Deferred<()> {
        if !self.is_open() {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        self.stopped.borrow_mut().push(resolver);
        if !self.stopping.replace(true) {
            self.registration.request_attention();
        }
        deferred
    }

    fn is_listening(&self) -> bool {
        self.is_open() && !self.stopping.get()
    }

    fn set_paused(&self, is_paused: bool) {
        self.is_paused.set(is_paused);
        self.registration.request_attention();
    }

    fn is_paused(&self) -> bool {
        self.is_listening() && self.is_paused.get()
    }

    #[cfg(unix)]
    fn duplicate(&self) -> io::Result<OwnedFd> {
        let listener = self.listener.borrow();
        let listener = listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        listener.duplicate()
    }
}

impl Listening {
    /// Registers a listening socket with the reactor.
    pub(in crate::net) fn watch(
        reactor: &Reactor,
        listener: Listener,
        config: &ListenConfig,
        location: &'static Location<'static>,
    ) -> io::Result<Rc<Self>> {
        let listening = reactor.register(|registration| Self {
            registration,
            retry: Retry::default(),
            listener: RefCell::new(Some(listener)),
            acceptor: Cell::new(None),
            batch: Cell::new(BATCH),
            is_paused: Cell::new(false),
            is_unused: Cell::new(true),
            warned: Cell::new(None),
            stopping: Cell::new(false),
            stopped: RefCell::default(),
            conn_config: config.conn_config(reactor, location),
        })?;
        listening.with_listener(|listener| {
            let registration = &listening.registration;
            registration.add_or_leave(reactor, listener, Interest::Read)
        })?;
        let weak = Rc::downgrade(&listening);
        listening.counter().set_port(Some(Box::new(move || {
            if let Some(listening) = weak.upgrade() {
                listening.registration.request_attention();
            }
        })));
        Ok(listening)
    }

    /// Starts to accept, unless the acceptor panics.
    pub(in crate::net) fn open(
        self: Rc<Self>,
        reactor: &Reactor,
        mut acceptor: Box<dyn Acceptor>,
    ) -> Result<Port, Failure> {
        let address = self.listener.borrow().as_ref().map(Listener::local_addr);
        let address = address.and_then(Result::ok).unwrap_or(Address::Unnamed);
        let location = self.conn_config.location;
        if let Err(panic) = acceptor.started(location) {
            self.close(Some(reactor));
            report::discard(acceptor, location);
            return Err(panic);
        }
        self.acceptor.set(Some(acceptor));
        let counter = self.counter().clone();
        let state: Rc<dyn PortState> = self;
        Ok(Port::new(Rc::downgrade(&state), address, counter))
    }

    fn counter(&self) -> &Rc<ConnCounter> {
        self.conn_config.counter.as_ref().expect("a port counts")
    }

    fn is_open(&self) -> bool {
        self.listener.borrow().is_some()
    }

    /// Returns whether a connection may be accepted (invariant 4).
    fn may_accept(&self) -> bool {
        if self.is_paused.get() || self.counter().is_full() {
            return false;
        }
        // An acceptor that is taken out is being called, and is checked after it has returned.
        cells::with(&self.acceptor, |acceptor| {
            acceptor.as_ref().is_none_or(|acceptor| acceptor.wants(0))
        })
    }

    /// Passes the wanted interest to the driver, if it has changed.
    fn arm(&self, reactor: &Reactor) {
        let wanted = self.may_accept();
        if let (Err(error), true) = (self.set_armed(reactor, wanted), wanted) {
            self.disarm(reactor, &error);
        }
    }

    fn set_armed(&self, reactor: &Reactor, armed: bool) -> io::Result<()> {
        let interest = Interest::of(armed, false);
        let registration = &self.registration;
        self.with_listener(|listener| registration.set_interest(reactor, listener, interest))
    }

    /// Accepts one batch of connections.
    fn accept(&self, reactor: &Reactor) {
        let most = self.batch.get();
        for count in 0..most {
            // The acceptor may have stopped the port.
            if self.stopping.get() {
                return;
            }
            if !self.may_accept() {
                return self.arm(reactor);
            }
            let accepted = self.listener.borrow().as_ref().map(Listener::accept);
            match accepted {
                None => return,
                Some(Ok((socket, peer))) => self.hand_over(reactor, socket, peer),
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        // Only once all waiting connections are accepted: until then accepting may
                        // fail again.
                        self.log_recovered();
                        self.batch.set(count.max(1));
                        return;
                    }
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ if is_peer_error(&error) => {}
                    _ => return self.disarm(reactor, &error),
                },
            }
        }
        // All expected connections were there. In steady traffic of single connections the batch
        // stays at one, which saves a call that finds nothing.
        self.batch.set(if most == 1 {
            2
        } else {
            (most + GROWTH).min(BATCH)
        });
        // Disarms a port that may not accept, so that no event arrives for it.
        self.arm(reactor);
    }

    fn hand_over(&self, reactor: &Reactor, socket: Socket, peer: Address) {
        let Some(mut acceptor) = self.acceptor.take() else {
            return;
        };
        self.is_unused.set(false);
        let location = self.conn_config.location;
        report::contain_rarely(Origin::Protocol, location, || {
            let accepted = Accepted::Socket(socket, peer.into());
            accept::pass(&mut *acceptor, reactor, accepted, &self.conn_config);
        });
        self.acceptor.set(Some(acceptor));
    }

    /// Stops accepting for now, because the system is out of resources (invariant 2).
    fn disarm(&self, reactor: &Reactor, error: &io::Error) {
        self.warn_exhausted(reactor, error);
        if let Err(error) = self.set_armed(reactor, false) {
            tracing::error!(target: "torsade::net", %error, "a port cannot be disarmed");
            if !report::is_logged() {
                static WARNED: WarnOnce = WarnOnce::new();
                WARNED.write(format_args!(
                    "a port cannot be disarmed: {error} (reported once)"
                ));
            }
        }
        self.retry.after(RETRY, &self.registration);
        self.registration.request_attention_when_one_leaves();
    }

    /// Warns that no connection can be accepted: once a second with a `tracing` subscriber,
    /// otherwise once until a connection is accepted.
    fn warn_exhausted(&self, reactor: &Reactor, error: &io::Error) {
        let now = reactor.now();
        let last = self.warned.get();
        let is_logged = report::is_logged();
        if last.is_some_and(|last| !is_logged || now.duration_since(last) < WARN_INTERVAL) {
            return;
        }
        self.warned.set(Some(now));
        let name = self.name();
        report::warn(
            Subsystem::Net,
            format_args!("{name} cannot accept connections for now: {error}"),
        );
    }

    /// Logs that connections are accepted again, if the opposite was logged.
    fn log_recovered(&self) {
        if self.warned.take().is_some() {
            let name = self.name();
            report::warn(
                Subsystem::Net,
                format_args!("{name} accepts connections again"),
            );
        }
    }

    fn name(&self) -> String {
        let address = self.listener.borrow().as_ref().map(Listener::local_addr);
        match address {
            Some(Ok(address)) => format!("the port {address}"),
            _ => "a port".into(),
        }
    }

    fn with_listener(&self, f: impl FnOnce(&Listener) -> io::Result<()>) -> io::Result<()> {
        self.listener.borrow().as_ref().map_or(Ok(()), f)
    }

    fn close(&self, reactor: Option<&Reactor>) {
        let listener = self.listener.take();
        let Some(listener) = listener else { return };
        self.counter().set_port(None);
        if let Some(reactor) = reactor {
            self.registration.leave_with(reactor, &listener);
        }
        drop(listener);
        self.retry.cancel();
        let location = self.conn_config.location;
        let ended = accept::end(self.acceptor.take(), location);
        notify_stopped(self.stopped.take(), ended, location);
        self.counter().notify_closed();
    }
}

impl Tracked for Listening {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        self.close(reactor);
    }

    fn kind(&self) -> &'static str {
        "port"
    }

    fn location(&self) -> &'static Location<'static> {
        self.conn_config.location
    }
}

impl Handler for Listening {
    fn registration(&self) -> &Registration {
        &self.registration
    }

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
        self.retry.cancel();
        self.arm(reactor);
    }

    fn is_unused_port(&self) -> bool {
        self.is_unused.get()
    }
}

/// Fires the resolvers that wait for a port to close; a failure that no resolver receives is
/// reported.
pub(in crate::net) fn notify_stopped(
    waiting: Vec<Resolver<()>>,
    stopped: Result<(), Failure>,
    location: &'static Location<'static>,
) {
    if let (Err(failure), true) = (&stopped, waiting.is_empty()) {
        return report::deliver(Origin::Protocol, failure.clone(), location);
    }
    for resolver in waiting {
        resolver.resolve(stopped.clone());
    }
}

/// Returns whether the error is about one connection only, so that the next may be accepted.
#[cfg(unix)]
fn is_peer_error(error: &io::Error) -> bool {
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
fn is_peer_error(_error: &io::Error) -> bool {
    false
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("address", &self.address)
            .field("is_listening", &self.is_listening())
            .field("connections", &self.connections())
            .finish()
    }
}

/// The largest number of connections that are accepted in one batch.
const BATCH: usize = 100;
/// The growth of a batch that was full.
const GROWTH: usize = 20;
/// The time after which a disarmed port tries again in any case.
const RETRY: Duration = Duration::from_millis(250);
/// The shortest time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(1);
