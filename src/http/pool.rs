//! The connections of an agent: [`Pool`].
//!
//! # The idea
//!
//! A request asks for a connection to its server and gets a [`Grant`]: the use of an open
//! connection, or the permission to open one. Otherwise it waits until one of the two can be given.
//! A connection over HTTP/2 is given to any number of requests at once.
//!
//! hyper's future of a connection runs as a task of the reactor. After each of its polls it is seen
//! whether the connection can be used again.
//!
//! # Invariants
//!
//! 1. A [`Slot`] exists for each connection that is open or being opened: these count against the
//!    limits. Dropping it lets the next request in.
//! 2. A [`Lease`] that is dropped before a request was sent gives its connection back.
//! 3. Among the requests that could be given something, the one that has waited longest is next.
//! 4. Nothing is borrowed while a waiting request is notified.
//! 5. A connection that is closed, by the pool or a peer, ends after the messages under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use futures::future::{Either, LocalBoxFuture};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use super::agent::Config;
use super::url::Origin;
use super::{Agent, Body};
use crate::clock::{Clock, LimitTimer};
use crate::defer::{Deferred, DeferredError, Resolver};
use crate::failure::Failure;
use crate::hyper::{Executor, Timer};
use crate::reactor::Reactor;
use crate::stream::Connection;

#[derive(Default)]
pub(super) struct Pool {
    /// The number of slots.
    pub(super) open: Cell<usize>,
    hosts: RefCell<BTreeMap<Rc<Origin>, Host>>,
    /// The number of requests in the queues, and of all that were there.
    waiting: Cell<usize>,
    count: Cell<u64>,
}

/// What belongs to one server.
#[derive(Default)]
struct Host {
    /// The connections that can be used, which over HTTP/1 are those that are idle; the one that
    /// was used last is at the end.
    conns: Vec<Rc<Conn>>,
    /// The number of slots.
    open: usize,
    /// The requests that wait, with their numbers.
    waiting: VecDeque<(u64, Rc<Config>, Resolver<Grant>)>,
    /// Whether the server has turned out to speak HTTP/1 only.
    is_http1: bool,
}

/// What a request gets: the use of a connection, or the permission to open one.
pub(super) type Grant = Result<Lease, Slot>;

impl Pool {
    /// Returns the use of an open connection to the server, or a Deferred of a grant.
    pub(super) fn acquire(
        self: &Rc<Self>,
        origin: &Rc<Origin>,
        config: &Rc<Config>,
    ) -> Result<Lease, Deferred<Grant>> {
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(origin.clone()).or_default();
        if let Some(lease) = host.lease(config) {
            return Ok(lease);
        }
        let (deferred, resolver) = Deferred::pair();
        let number = self.count.replace(self.count.get() + 1);
        let waiting = (number, config.clone(), resolver);
        host.waiting.push_back(waiting);
        self.waiting.set(self.waiting.get() + 1);
        drop(hosts);
        self.serve();
        Err(deferred)
    }

    /// Gives the waiting requests what there is for them.
    fn serve(self: &Rc<Self>) {
        while self.waiting.get() > 0 {
            let mut hosts = self.hosts.borrow_mut();
            let served = hosts.iter_mut().filter_map(|(origin, host)| {
                let (number, config, _) = host.waiting.front()?;
                let can_open = self.open.get() < config.connections && host.can_open(origin);
                let is_served = can_open || host.conns.iter().any(|conn| !conn.is_closed());
                is_served.then_some((*number, origin, host))
            });
            let Some((_, origin, host)) = served.min_by_key(|(number, ..)| *number) else {
                let evicted = evicted(&hosts);
                drop(hosts);
                return evicted.map_or((), |conn| conn.close());
            };
            let (_, config, resolver) = host.waiting.pop_front().expect("it was seen");
            let (lease, origin) = (host.lease(&config), origin.clone());
            drop(hosts);
            self.waiting.set(self.waiting.get() - 1);
            if !resolver.is_cancelled() {
                resolver.callback(lease.ok_or_else(|| Slot::new(self, &origin)));
            }
        }
    }
}

/// Returns the connection that has been idle longest, if a request waits for its end only.
fn evicted(hosts: &BTreeMap<Rc<Origin>, Host>) -> Option<Rc<Conn>> {
    hosts.iter().find(|(origin, host)| host.can_open(origin))?;
    let conns = hosts.values().flat_map(|host| &host.conns);
    let idle = conns.filter(|conn| conn.users.get() == 0 && !conn.is_closed());
    idle.min_by_key(|conn| conn.since.get()).cloned()
}

impl Host {
    /// Returns whether there may be a further connection to the server, for the next request.
    /// Whether it speaks HTTP/2 is found out by one.
    fn can_open(&self, origin: &Origin) -> bool {
        let is_shared = origin.http2.unwrap_or(origin.is_tls && !self.is_http1);
        self.waiting
            .front()
            .is_some_and(|(_, config, _)| match is_shared {
                true => self.open == 0,
                false => self.open < config.connections_per_host,
            })
    }

    /// Returns the use of an open connection.
    fn lease(&mut self, config: &Config) -> Option<Lease> {
        loop {
            let conn = self.conns.pop()?;
            if conn.is_closed() {
                continue;
            }
            conn.idle_timeout.set(config.idle_timeout);
            if conn.is_http2 {
                self.conns.push(conn.clone());
            }
            return Some(Lease::new(conn));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.conns.iter().for_each(|conn| conn.close());
    }
}

/// The permission to have one connection to a server.
pub(super) struct Slot {
    pool: Weak<Pool>,
    origin: Rc<Origin>,
    is_free: Cell<bool>,
}

impl Slot {
    pub(super) fn new(pool: &Rc<Pool>, origin: &Rc<Origin>) -> Self {
        let mut hosts = pool.hosts.borrow_mut();
        hosts.entry(origin.clone()).or_default().open += 1;
        pool.open.set(pool.open.get() + 1);
        Self {
            pool: Rc::downgrade(pool),
            origin: origin.clone(),
            is_free: Cell::new(false),
        }
    }

    /// Lets the next request in.
    fn free(&self) {
        let was_free = self.is_free.replace(true);
        if let Some(pool) = self.pool.upgrade().filter(|_| !was_free) {
            pool.open.set(pool.open.get() - 1);
            let mut hosts = pool.hosts.borrow_mut();
            if let Some(host) = hosts.get_mut(&self.origin) {
                host.open -= 1;
                if host.open == 0 && host.waiting.is_empty() {
                    hosts.remove(&self.origin);
                }
            }
            drop(hosts);
            pool.serve();
        }
    }

    /// Begins to speak HTTP over a connection.
    pub(super) async fn begin(self, io: Connection, agent: &Agent) -> Result<Lease, Failure> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        #[cfg(feature = "tls")]
        let agreed = io.transport().tls().and_then(|tls| tls.alpn);
        #[cfg(not(feature = "tls"))]
        let agreed = None::<Vec<u8>>;
        let agreed = agreed.map(|protocol| protocol == b"h2");
        let is_http2 = agreed.or(self.origin.http2).unwrap_or(false);
        let (sender, driver) = if is_http2 {
            let mut builder = http2::Builder::new(Executor);
            let (sender, driver) = builder.timer(Timer).handshake(io).await?;
            (Sender::Two(sender), Either::Left(driver))
        } else {
            let (sender, driver) = http1::Builder::new().handshake(io).await?;
            (Sender::One(sender), Either::Right(driver))
        };
        let conn = Rc::new(Conn {
            sender: RefCell::new(Some(sender)),
            slot: self,
            is_http2,
            users: Cell::default(),
            since: Cell::new(reactor.now()),
            idle_timeout: Cell::new(agent.config.idle_timeout),
            timer: LimitTimer::default(),
            is_busy: Cell::default(),
            is_cut: Cell::default(),
            upgraded: Cell::default(),
        });
        let driven = conn.clone();
        let task = async move {
            match driver {
                // The error is that of each request as well.
                Either::Left(driver) => drop(driver.await),
                Either::Right(driver) => driven.drive(driver).await,
            }
            driven.close();
        };
        let executor = reactor.inner().executor();
        executor.spawn(task, agent.location).detach();
        let lease = Lease::new(conn.clone());
        if let Some(pool) = conn.slot.pool.upgrade() {
            if let Some(host) = pool.hosts.borrow_mut().get_mut(&conn.slot.origin) {
                host.is_http1 = !is_http2;
                host.conns.extend(is_http2.then(|| conn.clone()));
            }
            pool.serve();
        }
        Ok(lease)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free();
    }
}

/// A connection that requests are sent over.
pub(super) struct Conn {
    /// `None` when it is closed.
    sender: RefCell<Option<Sender>>,
    slot: Slot,
    pub(super) is_http2: bool,
    /// The number of leases.
    users: Cell<usize>,
    /// When the last one has ended, and how long the connection is kept after that.
    since: Cell<Instant>,
    idle_timeout: Cell<Duration>,
    timer: LimitTimer,
    /// Whether a request is under way over HTTP/1.
    is_busy: Cell<bool>,
    /// Whether a request over HTTP/1 was given up.
    is_cut: Cell<bool>,
    /// Gets the connection when a request has ended HTTP on it.
    upgraded: Cell<Option<Resolver<Connection>>>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// The response's head that is to come.
type Sending = LocalBoxFuture<'static, Result<Response<Incoming>, TrySendError<Request<Body>>>>;

impl Conn {
    fn is_closed(&self) -> bool {
        match &*self.sender.borrow() {
            None => true,
            Some(Sender::One(sender)) => sender.is_closed(),
            Some(Sender::Two(sender)) => sender.is_closed(),
        }
    }

    /// Closes the connection when the messages that are under way are finished.
    pub(super) fn close(&self) {
        let sender = self.sender.take();
        drop(sender);
        self.slot.free();
    }

    /// Gives the connection back to the pool.
    fn release(self: &Rc<Self>) {
        let (pool, reactor) = (self.slot.pool.upgrade(), Reactor::current());
        let (Some(pool), Some(reactor), false) = (pool, reactor, self.is_closed()) else {
            return self.close();
        };
        self.users.set(self.users.get() - 1);
        self.since.set(reactor.now());
        if !self.is_http2 {
            if let Some(host) = pool.hosts.borrow_mut().get_mut(&self.slot.origin) {
                host.conns.push(self.clone());
            }
        }
        pool.serve();
        self.look();
    }

    /// Closes the connection if it has been idle too long.
    fn look(self: &Rc<Self>) {
        let Some(reactor) = Reactor::current().filter(|_| self.users.get() == 0) else {
            return;
        };
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::look);
        let limit = Some((self.since.get(), self.idle_timeout.get()));
        if self.timer.passed(&[limit], &reactor, look).is_some() {
            self.close();
        }
    }

    /// Drives a connection over HTTP/1.
    async fn drive(self: &Rc<Self>, mut driver: http1::Connection<Connection, Body>) {
        let ended = poll_fn(|cx| {
            let polled = driver.poll_without_shutdown(cx);
            let sender = self.sender.borrow();
            let is_ready = matches!(&*sender, Some(Sender::One(sender)) if sender.is_ready());
            drop(sender);
            if polled.is_pending() && is_ready && self.is_busy.replace(false) {
                self.release();
            }
            polled
        });
        let is_well = ended.await.is_ok();
        let mut parts = driver.into_parts();
        if let (true, Some(resolver)) = (is_well, self.upgraded.take()) {
            parts.io.put_back(&parts.read_buf);
            resolver.callback(parts.io);
        } else if self.is_cut.get() {
            // The rest of a response that nobody wants is not waited for.
            parts.io.transport().abort_connection();
        }
    }

    /// Returns a Deferred of what the connection is when the request that is sent next has ended
    /// HTTP/1 on it.
    pub(super) fn upgraded(&self) -> Deferred<Connection> {
        let (deferred, resolver) = Deferred::pair();
        self.upgraded.set(Some(resolver));
        deferred
    }

    /// Sends a request; the future yields the response's head. Dropping the future resets the
    /// request, which over HTTP/1 closes the connection. Returns the request if it cannot be sent.
    #[expect(clippy::result_large_err, reason = "the request is sent again")]
    pub(super) fn send(&self, request: Request<Body>) -> Result<Sending, Request<Body>> {
        self.is_busy.set(true);
        self.is_cut.set(false);
        match &mut *self.sender.borrow_mut() {
            None => Err(request),
            Some(Sender::One(sender)) => Ok(Box::pin(sender.try_send_request(request))),
            Some(Sender::Two(sender)) => Ok(Box::pin(sender.try_send_request(request))),
        }
    }
}

/// A connection that one request uses.
pub(super) struct Lease {
    pub(super) conn: Rc<Conn>,
    pub(super) stage: Cell<Stage>,
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Unsent,
    /// Over HTTP/1 the connection itself says when it can be used again.
    Sent,
    /// The response has been read.
    Over,
}

impl Lease {
    fn new(conn: Rc<Conn>) -> Self {
        conn.users.set(conn.users.get() + 1);
        let stage = Cell::new(Stage::Unsent);
        Self { conn, stage }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.stage.get() {
            Stage::Sent if !self.conn.is_http2 => self.conn.is_cut.set(true),
            Stage::Over if !self.conn.is_http2 => {}
            _ => self.conn.release(),
        }
    }
}
