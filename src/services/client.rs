//! A client that stays connected: [`ClientService`].
//!
//! # The idea
//!
//! The machine in `net::streams::client` connects and keeps the state. This module decides when it
//! connects again, has each connection prepared, and fires the Deferreds that wait.
//!
//! | `is_running` | `is_restarting` | machine | the service |
//! |---|---|---|---|
//! | no | no | `Idle` | is stopped |
//! | no | no | else | is stopping: the connection or attempt is ending |
//! | yes | no | any | runs |
//! | yes | yes | not `Idle` | was stopped and started again; runs once the machine is `Idle` |

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::{Backoff, Service, ServiceError};
use crate::address::Address;
use crate::defer::{Deferred, IntoOutcome, Listeners, maybe_deferred_at};
use crate::failure::{Cancelled, Failure};
use crate::net::client::{Core, Ended, Hooks, Made, State, call, made};
use crate::net::{Retry, ToClientEndpoint};
use crate::protocol::{Handle, IntoProtocol, Protocol};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A service that stays connected.
///
/// It connects when it is started, and again, after the delay of a [`Backoff`], whenever the
/// connection is lost or cannot be made. Clones are handles to the same service.
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
/// The service runs until it is stopped, even if all handles are dropped.
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
pub struct ClientService<P: Protocol> {
    core: Rc<Core>,
    inner: Rc<Inner<P>>,
}

struct Inner<P: Protocol> {
    location: &'static Location<'static>,
    /// The program's functions; `None` while they are being called.
    build: Cell<Option<Box<Build<P>>>>,
    prepare: Cell<Option<Box<Prepare<P>>>>,
    is_running: Cell<bool>,
    /// Whether it was stopped, and not started since.
    was_stopped: Cell<bool>,
    is_restarting: Cell<bool>,
    /// The preparation under way, and the error of one that failed, until the connection is lost.
    preparation: Cell<Option<Deferred<()>>>,
    unprepared: Cell<Option<Failure>>,
    /// The protocol's handle, while it is connected and prepared.
    connection: RefCell<Option<Handle<P>>>,
    /// The delays, and the number of failures, since it was last connected.
    retry: Retry,
    failures: Cell<u32>,
    /// The Deferreds of `when_connected`, each with the number of failures after which it fails.
    waiting: Listeners<Handle<P>, Option<u32>>,
    /// The Deferreds of `stop`.
    stopping: Listeners<()>,
}

type Build<P> = dyn FnMut() -> Option<P>;
type Prepare<P> = dyn FnMut(Handle<P>) -> Deferred<()>;

impl<P: Protocol> ClientService<P> {
    /// Creates a service that connects to `endpoint` when it is started.
    ///
    /// `build` makes the protocol of each connection; if it returns `None`, that counts as a
    /// failure to connect. So does a panic, which is reported unless a Deferred of
    /// [`when_connected_within`](Self::when_connected_within) fails with it.
    ///
    /// # Errors
    ///
    /// Fails with [`EndpointError::Endpoint`](crate::net::EndpointError::Endpoint) for text that
    /// cannot be parsed.
    #[track_caller]
    pub fn new<R: IntoProtocol<Protocol = P>>(
        reactor: &Reactor,
        endpoint: impl ToClientEndpoint,
        mut build: impl FnMut() -> R + 'static,
    ) -> Result<Self, Failure> {
        let endpoint = endpoint.into_client_endpoint(reactor)?;
        let location = Location::caller();
        let inner = Rc::new(Inner {
            location,
            build: Cell::new(Some(Box::new(move || build().into_protocol()))),
            prepare: Cell::default(),
            is_running: Cell::default(),
            was_stopped: Cell::default(),
            is_restarting: Cell::default(),
            preparation: Cell::default(),
            unprepared: Cell::default(),
            connection: RefCell::default(),
            retry: Retry::default(),
            failures: Cell::default(),
            waiting: Listeners::default(),
            stopping: Listeners::default(),
        });
        Ok(Self {
            core: Core::new(reactor, endpoint, location, inner.clone()),
            inner,
        })
    }

    /// Sets the delays before the service connects again. Default: [`Backoff::new`].
    #[doc(alias = "retryPolicy")]
    pub fn backoff(self, policy: Backoff) -> Self {
        self.inner.retry.policy.set(policy);
        self
    }

    /// Sets a function that is called with each new connection, and whose result is awaited, before
    /// `when_connected` returns the connection. If the function fails, the connection is closed,
    /// which counts as a failure to connect.
    #[doc(alias = "prepareConnection")]
    #[track_caller]
    pub fn prepare<V: 'static, R: IntoOutcome<V>>(
        self,
        mut f: impl FnMut(Handle<P>) -> R + 'static,
    ) -> Self {
        let location = Location::caller();
        let f = move |handle| maybe_deferred_at(location, || f(handle)).map(drop);
        self.inner.prepare.set(Some(Box::new(f)));
        self
    }

    /// Waits until there is a connection, and returns its handle. The service need not be started
    /// yet.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`Cancelled`] when the service is stopped, at once if it was stopped
    /// and not started since, and when the service is dropped before its start.
    #[doc(alias = "whenConnected")]
    #[track_caller]
    pub fn when_connected(&self) -> Deferred<Handle<P>> {
        self.wait(None)
    }

    /// Waits until there is a connection, but for at most this number of failures to connect, and
    /// returns its handle. A number of 0 counts as 1.
    ///
    /// # Errors
    ///
    /// The Deferred fails as that of [`when_connected`](Self::when_connected) does, and with the
    /// error of the last failure to connect.
    #[doc(alias = "failAfterFailures")]
    #[track_caller]
    pub fn when_connected_within(&self, failures: u32) -> Deferred<Handle<P>> {
        self.wait(Some(failures.max(1)))
    }

    /// Returns the number of failures to connect since the service was last connected or started.
    pub fn failures(&self) -> u32 {
        self.inner.failures.get()
    }

    #[track_caller]
    fn wait(&self, failures_left: Option<u32>) -> Deferred<Handle<P>> {
        if self.inner.was_stopped.get() {
            return Deferred::fail(Cancelled);
        }
        let connection = self.inner.connection.borrow().clone();
        match connection {
            Some(handle) => Deferred::succeed(handle),
            None => self.inner.waiting.join_with(failures_left),
        }
    }
}

impl<P: Protocol> Service for ClientService<P> {
    fn start(&self) -> Result<(), Failure> {
        if self.inner.is_running.replace(true) {
            return Ok(());
        }
        self.inner.was_stopped.set(false);
        match self.core.state() {
            State::Idle => self.inner.begin(&self.core),
            _ => self.inner.is_restarting.set(true),
        }
        Ok(())
    }

    fn stop(&self) -> Deferred<()> {
        let inner = &self.inner;
        inner.is_running.set(false);
        inner.was_stopped.set(true);
        inner.is_restarting.set(false);
        drop(inner.connection.take());
        self.core.stop();
        let stopped = inner.stopping.join();
        inner.fail_waiting();
        inner.fire_stopped(self.core.state() == State::Idle);
        stopped
    }

    fn is_running(&self) -> bool {
        self.inner.is_running.get()
    }
}

impl<P: Protocol> Drop for ClientService<P> {
    fn drop(&mut self) {
        if !self.is_running() {
            self.inner.fail_waiting();
        }
    }
}

impl<P: Protocol> Inner<P> {
    /// Connects for the first time since it was started.
    fn begin(&self, core: &Rc<Core>) {
        self.reset_counts();
        core.connect();
    }

    /// Resets the counts of failures and delays, on start and when connected.
    fn reset_counts(&self) {
        self.failures.set(0);
        self.retry.count.set(0);
    }

    /// Has a new connection prepared.
    fn prepare(self: &Rc<Self>, handle: Handle<P>) {
        let prepare = |prepare: &mut Box<Prepare<P>>| prepare(handle.clone());
        let Some(preparation) = call(&self.prepare, self.location, prepare).transpose() else {
            return self.prepared(&handle, Ok(()));
        };
        let (this, preparation) = (self.clone(), preparation.unwrap_or_else(Deferred::fail));
        let preparation = preparation.add_both(move |result| this.prepared(&handle, result));
        drop(self.preparation.replace(Some(preparation)));
    }

    /// Called with the result of the preparation.
    fn prepared(&self, handle: &Handle<P>, result: Result<(), Failure>) {
        let is_closing = !self.is_running.get() || self.is_restarting.get();
        let Some(transport) = handle.transport().filter(|_| !is_closing) else {
            return;
        };
        match result {
            Err(failure) => {
                self.unprepared.set(Some(failure));
                transport.lose_connection();
            }
            Ok(()) => {
                self.reset_counts();
                self.connection.replace(Some(handle.clone()));
                for (resolver, _) in self.waiting.take() {
                    resolver.callback(handle.clone());
                }
            }
        }
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

    fn fire_stopped(&self, has_stopped: bool) {
        if has_stopped {
            for resolver in self.stopping.resolvers() {
                resolver.callback(());
            }
        }
    }
}

impl<P: Protocol> Hooks for Rc<Inner<P>> {
    fn attempt(&self, core: &Rc<Core>, reactor: &Reactor) -> Deferred<Option<Made>> {
        let protocol = match call(&self.build, self.location, |build| build()) {
            Ok(Some(Some(protocol))) => protocol,
            Ok(_) => return Deferred::fail(ServiceError::NoProtocol),
            Err(panic) => return Deferred::fail(panic),
        };
        let this = self.clone();
        let build = |_: &Address| Some(protocol);
        let attempt = reactor.connect_built(&core.endpoint, build, self.location);
        attempt.map(move |handle| {
            let handle = handle?;
            let made = made(&handle);
            this.prepare(handle);
            Some(made)
        })
    }

    fn ended(&self, core: &Rc<Core>, what: Ended, reason: Failure) {
        if let Some(preparation) = self.preparation.take() {
            preparation.cancel();
        }
        let was_prepared = self.connection.take().is_some();
        let was_stopped = self.is_restarting.take() || !self.is_running.get();
        let failure = match (self.unprepared.take(), what) {
            (Some(failure), _) => Some(failure),
            (None, Ended::Attempt) => Some(reason),
            (None, Ended::Connection) => (!was_prepared && !was_stopped).then_some(reason),
            (None, Ended::Delay) => {
                self.is_running.set(false);
                return self.fail_waiting();
            }
        };
        match failure {
            Some(failure) if !was_stopped => self.record_failure(failure),
            // A cancelled attempt is not a failure to connect, above all not for Deferreds that
            // wait for the next start.
            Some(panic) if panic.is_panic() => report::deliver(Origin::Call, panic, self.location),
            _ => {}
        }
        if self.is_running.get() && core.state() == State::Idle {
            let reactor = core.reactor.upgrade();
            match reactor.and_then(|reactor| self.retry.next(&reactor)) {
                Some(delay) if !was_stopped => core.connect_after(delay),
                _ => self.begin(core),
            }
        }
        self.fire_stopped(was_stopped);
    }
}

impl<P: Protocol> Clone for ClientService<P> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<P: Protocol> fmt::Debug for ClientService<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientService")
            .field("endpoint", &self.core.endpoint)
            .field("is_running", &self.is_running())
            .field("state", &self.core.state())
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}
