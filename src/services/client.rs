//! A client that stays connected: [`ClientService`].
//!
//! # The idea
//!
//! One task connects, waits for the connection to be lost, and connects again ([`Inner::run`]).
//! Stopping the service only sets its state, cancels the attempt or the delay under way, and closes
//! a connection; the task then ends and fires the Deferreds of `stop`. So there is one place where
//! a connection ends, and a protocol may stop its own service.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;

use futures::future::{Either, select};

use super::{Backoff, Service, ServiceError};
use crate::clock::Clock;
use crate::defer::{Deferred, IntoOutcome, Listeners, Resolver, maybe_deferred_at};
use crate::failure::{Cancelled, Failure};
use crate::net::{ClientEndpoint, ToClientEndpoint};
use crate::protocol::{Handle, IntoProtocol, Protocol};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A service that stays connected: it connects when it is started, and again, after a [`Backoff`],
/// whenever the connection is lost or cannot be made. Clones are handles to the same service.
///
/// ```text
///            start                        prepared
/// Stopped ───────────▶ Connecting ───────────────────────▶ Connected
///    ▲                  ▲     │ failed                        │ lost
///    │                  │     ▼                               │
///    │      waited long enough Waiting ◀──────────────────────┘
///    │
///    └── Stopping: stopped while connected, it waits until the connection is closed;
///                  if it is started meanwhile, it connects again after that
/// ```
///
/// It runs until it is stopped, even if all handles are dropped.
///
/// # Examples
///
/// ```
/// use torsade::services::{ClientService, Service};
/// use torsade::{Context, Protocol};
///
/// struct Greeter;
///
/// impl Protocol for Greeter {
///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
/// }
///
/// torsade::testing::run(async |reactor| {
///     let port = reactor.listen("127.0.0.1:0", |_peer| Greeter)?;
///     let client = ClientService::new(&reactor, port.local_addr(), || Greeter)?;
///     client.start()?;
///     let greeter = client.when_connected().await?;
///     greeter.transport().unwrap().write("hello");
///     client.stop().await?;
///     port.stop().await
/// });
/// ```
#[doc(alias("ReconnectingClientFactory", "reconnect"))]
pub struct ClientService<P: Protocol>(Rc<Inner<P>>);

struct Inner<P: Protocol> {
    reactor: Reactor,
    endpoint: ClientEndpoint,
    backoff: Cell<Backoff>,
    /// The program's functions; `None` while they are being called.
    build: Cell<Option<Box<Build<P>>>>,
    prepare: Cell<Option<Box<Prepare<P>>>>,
    state: Cell<State>,
    /// The protocol's handle, while it is connected.
    connection: RefCell<Option<Handle<P>>>,
    /// Whether the connection is prepared, so that `when_connected` may return it.
    is_prepared: Cell<bool>,
    /// The number of failures since it was last connected.
    failures: Cell<u32>,
    /// The number of delays since it was last connected.
    waits: Cell<u32>,
    /// The Deferreds of `when_connected`, each with the number of failures after which it fails.
    waiting: Listeners<Handle<P>, Option<u32>>,
    /// Resolvers to fire when the service has stopped.
    stopping: RefCell<Vec<Resolver<()>>>,
    /// Fired when the service is stopped, to end the delay or the attempt under way.
    stop_signal: Cell<Option<Resolver<()>>>,
    location: &'static Location<'static>,
}

type Build<P> = dyn FnMut() -> Option<P>;
type Prepare<P> = dyn FnMut(Handle<P>) -> Deferred<()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Stopping,
    /// The service is to start again once it has stopped.
    Restarting,
}

impl<P: Protocol> ClientService<P> {
    /// Creates a service that connects to `endpoint`. `build` makes the protocol of each
    /// connection; returning `None` counts as a failure to connect. So does a panic, which is
    /// reported unless a Deferred of [`when_connected_within`](Self::when_connected_within) fails
    /// with it.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that cannot be
    /// parsed.
    #[track_caller]
    pub fn new<R: IntoProtocol<Protocol = P>>(
        reactor: &Reactor,
        endpoint: impl ToClientEndpoint,
        mut build: impl FnMut() -> R + 'static,
    ) -> Result<Self, Failure> {
        Ok(Self(Rc::new(Inner {
            reactor: reactor.clone(),
            endpoint: endpoint.into_client_endpoint(reactor)?,
            backoff: Cell::new(Backoff::new()),
            build: Cell::new(Some(Box::new(move || build().into_protocol()))),
            prepare: Cell::new(None),
            state: Cell::new(State::Stopped),
            connection: RefCell::default(),
            is_prepared: Cell::new(false),
            failures: Cell::new(0),
            waits: Cell::new(0),
            waiting: Listeners::default(),
            stopping: RefCell::default(),
            stop_signal: Cell::new(None),
            location: Location::caller(),
        })))
    }

    /// Sets the delays before it connects again.
    #[doc(alias = "retryPolicy")]
    pub fn backoff(self, policy: Backoff) -> Self {
        self.0.backoff.set(policy);
        self
    }

    /// Sets a function that is called with each new connection before `when_connected` returns it.
    /// If the function fails, the connection is closed, which counts as a failure to connect.
    #[doc(alias = "prepareConnection")]
    #[track_caller]
    pub fn prepare<V: 'static, R: IntoOutcome<V>>(
        self,
        mut f: impl FnMut(Handle<P>) -> R + 'static,
    ) -> Self {
        let location = Location::caller();
        let f = move |handle| maybe_deferred_at(location, || f(handle)).map(drop);
        self.0.prepare.set(Some(Box::new(f)));
        self
    }

    /// Returns the connection; waits until there is one.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`Cancelled`] if the service is stopped or does not run.
    #[doc(alias = "whenConnected")]
    #[track_caller]
    pub fn when_connected(&self) -> Deferred<Handle<P>> {
        self.wait(None)
    }

    /// Returns the connection; waits until there is one, but for at most this number of failures to
    /// connect.
    ///
    /// # Errors
    ///
    /// As for [`when_connected`](Self::when_connected); also the error of the last failure.
    #[doc(alias = "failAfterFailures")]
    #[track_caller]
    pub fn when_connected_within(&self, failures: u32) -> Deferred<Handle<P>> {
        self.wait(Some(failures.max(1)))
    }

    /// Returns the number of consecutive failures to connect.
    pub fn failures(&self) -> u32 {
        self.0.failures.get()
    }

    #[track_caller]
    fn wait(&self, failures_left: Option<u32>) -> Deferred<Handle<P>> {
        let inner = &self.0;
        if !matches!(inner.state.get(), State::Running | State::Restarting) {
            return Deferred::fail(Cancelled);
        }
        let connection = inner.connection.borrow().clone();
        if let (Some(handle), State::Running, true) =
            (connection, inner.state.get(), inner.is_prepared.get())
        {
            return Deferred::succeed(handle);
        }
        inner.waiting.join_with(failures_left)
    }
}

impl<P: Protocol> Service for ClientService<P> {
    fn start(&self) -> Result<(), Failure> {
        match self.0.state.get() {
            State::Running | State::Restarting => {}
            State::Stopping => self.0.state.set(State::Restarting),
            State::Stopped => self.0.begin(),
        }
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        let inner = &self.0;
        if inner.state.get() == State::Stopped {
            return Deferred::succeed(());
        }
        inner.state.set(State::Stopping);
        let (deferred, resolver) = Deferred::pair();
        inner.stopping.borrow_mut().push(resolver);
        let connection = inner.connection.borrow().clone();
        if let Some(transport) = connection.and_then(|handle| handle.transport()) {
            transport.lose_connection();
        }
        if let Some(stop_signal) = inner.stop_signal.take() {
            stop_signal.callback(());
        }
        inner.fail_waiting();
        deferred
    }

    fn is_running(&self) -> bool {
        matches!(self.0.state.get(), State::Running | State::Restarting)
    }
}

impl<P: Protocol> Inner<P> {
    fn begin(self: &Rc<Self>) {
        self.state.set(State::Running);
        self.reset_counts();
        let this = self.clone();
        self.reactor.spawn(async move { this.run().await }).detach();
    }

    /// Connects again and again, until the service is stopped.
    async fn run(self: Rc<Self>) {
        loop {
            match self.state.get() {
                State::Running => {}
                State::Restarting => {
                    self.state.set(State::Running);
                    self.reset_counts();
                    self.fire_stopped();
                }
                State::Stopping | State::Stopped => break,
            }
            match self.connect().await {
                Ok(()) => {}
                Err(failure) if self.state.get() == State::Running => self.record_failure(failure),
                // A cancelled attempt is not a failure to connect, above all not for Deferreds that
                // wait for the next start.
                Err(failure) if !failure.is_panic() => {}
                Err(panic) => report::deliver(Origin::Call, panic, self.location),
            }
            if self.state.get() == State::Running {
                let waits = self.waits.get().saturating_add(1);
                self.waits.set(waits);
                let rng = self.reactor.inner().rng().part();
                let wait = self.backoff.get().wait(waits, rng);
                let sleep = pin!(self.reactor.sleep(wait));
                if let Either::Left((Err(_), _)) = select(sleep, self.stop_requested()).await {
                    // The reactor has ended.
                    break;
                }
            }
        }
        self.state.set(State::Stopped);
        self.fail_waiting();
        self.fire_stopped();
    }

    /// Resets the counts of failures and delays, on start and when connected.
    fn reset_counts(&self) {
        self.failures.set(0);
        self.waits.set(0);
    }

    /// Returns a Deferred that fires when the service is stopped; at once if it does not run.
    fn stop_requested(&self) -> Deferred<()> {
        if self.state.get() != State::Running {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        drop(self.stop_signal.replace(Some(resolver)));
        // The resolver is dropped by the next call or at the end, which is not a failure.
        deferred.add_errback(|_| {})
    }

    /// Runs one connection from its beginning to its end.
    async fn connect(&self) -> Result<(), Failure> {
        let protocol = call(&self.build, self.location, |build| build())?.flatten();
        let protocol = protocol.ok_or(ServiceError::NoProtocol)?;
        let connecting = self.reactor.connect(&self.endpoint, protocol);
        let handle = match select(connecting, self.stop_requested()).await {
            Either::Left((handle, _)) => handle?,
            Either::Right((_, connecting)) => {
                connecting.cancel();
                // The connection may have been made at this very moment.
                connecting.await?
            }
        };
        let mut lost = pin!(handle.closed());
        self.connection.replace(Some(handle.clone()));
        let left = ConnectionGuard(self);
        if self.state.get() != State::Running {
            drop(left);
            let _ = lost.await;
            return Ok(());
        }
        if let Some(prepared) = call(&self.prepare, self.location, |prepare| {
            prepare(handle.clone())
        })? {
            if let Err(failure) = until(prepared, lost.as_mut()).await {
                if let Some(transport) = handle.transport() {
                    transport.lose_connection();
                }
                let _ = lost.await;
                return Err(failure);
            }
        }
        if self.state.get() == State::Running {
            self.reset_counts();
            self.is_prepared.set(true);
            for (resolver, _) in self.waiting.take() {
                resolver.callback(handle.clone());
            }
        }
        let _ = lost.await;
        drop(left);
        Ok(())
    }

    /// Fails the Deferreds that wait no longer. A panic is reported if no Deferred fails with it.
    fn record_failure(&self, failure: Failure) {
        self.failures.set(self.failures.get().saturating_add(1));
        let over = self.waiting.take_if(|failures_left| {
            *failures_left = failures_left.map(|left| left - 1);
            *failures_left == Some(0)
        });
        if over.is_empty() && failure.is_panic() {
            return report::deliver(Origin::Call, failure, self.location);
        }
        for (resolver, _) in over {
            resolver.errback(failure.clone());
        }
    }

    fn fail_waiting(&self) {
        for (resolver, _) in self.waiting.take() {
            resolver.errback(Cancelled);
        }
    }

    fn fire_stopped(&self) {
        let stopping = self.stopping.take();
        for resolver in stopping {
            resolver.callback(());
        }
    }
}

/// Removes the connection when it is lost, and closes it when the task is dropped.
struct ConnectionGuard<'a, P: Protocol>(&'a Inner<P>);

impl<P: Protocol> Drop for ConnectionGuard<'_, P> {
    fn drop(&mut self) {
        self.0.is_prepared.set(false);
        let connection = self.0.connection.take();
        if let Some(transport) = connection.and_then(|handle| handle.transport()) {
            transport.lose_connection();
        }
    }
}

/// Takes a function out, calls it, and puts it back. Returns `None` if the function is not there;
/// fails with its panic.
fn call<F: ?Sized, R>(
    slot: &Cell<Option<Box<F>>>,
    location: &'static Location<'static>,
    call: impl FnOnce(&mut F) -> R,
) -> Result<Option<R>, Failure> {
    let Some(mut f) = slot.take() else {
        return Ok(None);
    };
    let result = report::catch_rarely(location, || call(&mut f));
    slot.set(Some(f));
    result.map(Some)
}

/// Waits for the preparation, or for the loss of the connection, which is then the error.
async fn until(prepared: Deferred<()>, lost: Pin<&mut Deferred<Failure>>) -> Result<(), Failure> {
    match select(prepared, lost).await {
        Either::Left((result, _)) => result,
        Either::Right((reason, _)) => Err(reason?),
    }
}

impl<P: Protocol> Clone for ClientService<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Protocol> fmt::Debug for ClientService<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientService")
            .field("endpoint", &self.0.endpoint)
            .field("state", &self.0.state.get())
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}
