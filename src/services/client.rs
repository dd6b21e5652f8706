//! A connection that comes back.
//!
//! # The idea
//!
//! One task connects, waits for the end and connects again ([`Inner::run`]). Whoever stops the service only says so: the
//! attempt or the wait under way is given up, a connection is ended, and the task notices and tells that it has stopped. So
//! there is one place where things end, and a protocol that asks its own service to stop is no special case.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;

use futures::future::{Either, select};

use super::{Backoff, Service};
use crate::clock::Clock;
use crate::defer::{Deferred, IntoOutcome, Listeners, Resolver, maybe_deferred_at};
use crate::failure::{Cancelled, Failure, errors};
use crate::net::{ClientEndpoint, ToClientEndpoint};
use crate::protocol::{Handle, IntoProtocol, Protocol};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// Keeps a client connected: it connects when it is started, and again whenever the connection is lost or could not be
/// made, after a [`Backoff`]. Clones are handles to the same one.
///
/// ```text
///            start                        prepared
/// Stopped ───────────▶ Connecting ───────────────────────▶ Connected
///    ▲                  ▲     │ failed                        │ lost
///    │                  │     ▼                               │
///    │      waited long enough Waiting ◀──────────────────────┘
///    │
///    └── Stopping: told to stop while connected, it waits for the end; started then, it connects again after that
/// ```
///
/// It runs until it is stopped, also when all handles are dropped.
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
    /// Empty while they are being called.
    build: Cell<Option<Box<Build<P>>>>,
    prepare: Cell<Option<Box<Prepare<P>>>>,
    state: Cell<State>,
    /// The protocol, from when it is connected until it is lost.
    connection: RefCell<Option<Handle<P>>>,
    /// It may be given away: it has been prepared.
    is_prepared: Cell<bool>,
    /// Failures since it was last connected.
    failures: Cell<u32>,
    /// How often it has waited since then.
    waits: Cell<u32>,
    /// Those who wait for a connection, and after how many more failures that is given up.
    waiting: Listeners<Handle<P>, Option<u32>>,
    /// Who waits for it to stop.
    stopping: RefCell<Vec<Resolver<()>>>,
    /// Fired when it is told to stop, for the wait or the attempt under way.
    given_up: Cell<Option<Resolver<()>>>,
    location: &'static Location<'static>,
}

type Build<P> = dyn FnMut() -> Option<P>;
type Prepare<P> = dyn FnMut(Handle<P>) -> Deferred<()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Stopping,
    /// As soon as it has stopped it is to start.
    Restarting,
}

impl<P: Protocol> ClientService<P> {
    /// A service that connects to `endpoint`, each time with a protocol that `build` makes; if `build` gives none, that
    /// counts as a failure. So does a panic, which is reported unless somebody waits who is told.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`](crate::net::BadEndpoint).
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
            given_up: Cell::new(None),
            location: Location::caller(),
        })))
    }

    /// Sets how long it waits before it connects again.
    #[doc(alias = "retryPolicy")]
    pub fn backoff(self, policy: Backoff) -> Self {
        self.0.backoff.set(policy);
        self
    }

    /// Has `f` called with each new connection before anybody else gets it. A failure ends the connection, and counts as
    /// one to connect.
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

    /// The connection, as soon as there is one.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`Cancelled`] when the service is stopped, or does not run.
    #[doc(alias = "whenConnected")]
    #[track_caller]
    pub fn when_connected(&self) -> Deferred<Handle<P>> {
        self.wait(None)
    }

    /// The same, but not after `failures` failures to connect: it fails with the last of those.
    ///
    /// # Errors
    ///
    /// As for [`when_connected`](Self::when_connected), and why it could not connect.
    #[doc(alias = "failAfterFailures")]
    #[track_caller]
    pub fn when_connected_within(&self, failures: u32) -> Deferred<Handle<P>> {
        self.wait(Some(failures.max(1)))
    }

    /// How often in a row it could not connect.
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
        if let Some(given_up) = inner.given_up.take() {
            given_up.callback(());
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
        self.begin_anew();
        let this = self.clone();
        self.reactor.spawn(async move { this.run().await }).detach();
    }

    /// Connects again and again, until it is stopped.
    async fn run(self: Rc<Self>) {
        loop {
            match self.state.get() {
                State::Running => {}
                State::Restarting => {
                    self.state.set(State::Running);
                    self.begin_anew();
                    self.tell_stopped();
                }
                State::Stopping | State::Stopped => break,
            }
            match self.connect().await {
                Ok(()) => {}
                Err(failure) if self.state.get() == State::Running => self.note_failure(failure),
                // What was given up is no failure to connect, least of all of those who wait for what comes next.
                Err(failure) if !failure.is_panic() => {}
                Err(panic) => report::deliver(Origin::Call, panic, self.location),
            }
            if self.state.get() == State::Running {
                let waits = self.waits.get().saturating_add(1);
                self.waits.set(waits);
                let rng = self.reactor.inner().rng().part();
                let wait = self.backoff.get().wait(waits, rng);
                let sleep = pin!(self.reactor.sleep(wait));
                if let Either::Left((Err(_), _)) = select(sleep, self.give_up()).await {
                    // The reactor has ended.
                    break;
                }
            }
        }
        self.state.set(State::Stopped);
        self.fail_waiting();
        self.tell_stopped();
    }

    /// It is connected, or starts: failures and waits are counted from here.
    fn begin_anew(&self) {
        self.failures.set(0);
        self.waits.set(0);
    }

    /// Fires when the service is told to stop; at once if it has been.
    fn give_up(&self) -> Deferred<()> {
        if self.state.get() != State::Running {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        drop(self.given_up.replace(Some(resolver)));
        // What it is dropped with, the next one or the end, is no failure.
        deferred.add_errback(|_| {})
    }

    /// One connection from its beginning to its end.
    async fn connect(&self) -> Result<(), Failure> {
        let protocol = call(&self.build, self.location, |build| build())?.flatten();
        let protocol = protocol.ok_or(NoProtocol)?;
        let connecting = self.reactor.connect(&self.endpoint, protocol);
        let handle = match select(connecting, self.give_up()).await {
            Either::Left((handle, _)) => handle?,
            Either::Right((_, connecting)) => {
                connecting.cancel();
                // It may have been made in the very moment.
                connecting.await?
            }
        };
        let mut lost = pin!(handle.closed());
        self.connection.replace(Some(handle.clone()));
        let left = Left(self);
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
            self.begin_anew();
            self.is_prepared.set(true);
            for (resolver, _) in self.waiting.take() {
                resolver.callback(handle.clone());
            }
        }
        let _ = lost.await;
        drop(left);
        Ok(())
    }

    /// Tells those who do not wait any longer. A panic that is told to nobody is reported.
    fn note_failure(&self, failure: Failure) {
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

    fn tell_stopped(&self) {
        let stopping = self.stopping.take();
        for resolver in stopping {
            resolver.callback(());
        }
    }
}

/// The connection is forgotten when it is lost, and closed when whoever tends it is dropped.
struct Left<'a, P: Protocol>(&'a Inner<P>);

impl<P: Protocol> Drop for Left<'_, P> {
    fn drop(&mut self) {
        self.0.is_prepared.set(false);
        let connection = self.0.connection.take();
        if let Some(transport) = connection.and_then(|handle| handle.transport()) {
            transport.lose_connection();
        }
    }
}

/// Takes a function out, calls it, and puts it back. `None` when it is not there; a panic is the failure.
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

/// What is prepared, or the reason that comes first.
async fn until(prepared: Deferred<()>, lost: Pin<&mut Deferred<Failure>>) -> Result<(), Failure> {
    match select(prepared, lost).await {
        Either::Left((result, _)) => result,
        Either::Right((reason, _)) => Err(reason?),
    }
}

/// There was no protocol for the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoProtocol;

errors! {
    NoProtocol: "no protocol was made for the connection";
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
