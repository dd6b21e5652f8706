//! A client of HTTP and its settings, [`Agent`], and its connections, [`Pool`].
//!
//! # The idea
//!
//! A request asks for a connection to its server and gets a [`Grant`]: the use of an open
//! connection, or the permission to open one. Otherwise it waits until one of the two can be given.
//! A connection over HTTP/2 is given to any number of requests at once.
//!
//! hyper's future of a connection runs as a task of the reactor. After each poll of it, the task
//! checks whether the connection can be used again.
//!
//! # Invariants
//!
//! 1. A [`Slot`] exists for each connection that is open or being opened: these count against the
//!    limits. Dropping it lets the next request in.
//! 2. A [`Lease`] that is dropped before a request was sent gives its connection back.
//! 3. Among the requests that could be given something, the one that has waited longest is next.
//! 4. Nothing is borrowed while a waiting request is notified, or anything of a request or a
//!    connection is dropped.
//! 5. A connection that is closed, by the pool or a peer, ends after the messages under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use futures::TryFutureExt;
use futures::future::{self, Either};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use super::Body;
use super::url::Origin;
use crate::clock::{Clock, LimitTimer};
use crate::defer::{Deferred, DeferredError, Resolver};
use crate::failure::Failure;
use crate::hyper::{Executor, Timer};
use crate::net::ClientEndpoint;
use crate::reactor::Reactor;
use crate::settings::settings;
use crate::stream::Connection;
#[cfg(feature = "tls")]
use crate::tls::ClientConfig;

/// Sends HTTP requests, keeps connections for later ones, and follows redirects.
///
/// | limit | default |
/// |---|---|
/// | [`connections_per_host`](Self::connections_per_host) | 6 |
/// | [`connections`](Self::connections) | 100 |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s |
/// | [`connect_timeout`](Self::connect_timeout) | 30 s |
/// | [`head_timeout`](Self::head_timeout) | 60 s |
/// | [`body_timeout`](Self::body_timeout) | 60 s |
/// | [`timeout`](Self::timeout) | 1 h |
/// | [`redirects`](Self::redirects) | 20 |
/// | [`max_page`](Self::max_page) | 16 MiB |
///
/// [The guide](crate::guide::http#limits-of-an-agent) says what happens at each limit.
///
/// A clone shares the connections, and may have other settings. The connections are closed when the
/// last clone is dropped.
///
/// An agent has no cookies and no compression; [the guide](crate::guide::http) shows how to add
/// them.
///
/// # Retries
///
/// A server may close a connection that is kept for later requests just when the next request is
/// sent. The request is then sent again, if nothing of it was sent before, or if its method is
/// idempotent and its body is in memory (not a stream, a file or a [channel](Body::channel)). A
/// request that an HTTP/2 server has refused unread is sent again, too, if its body is in memory.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http::{self, Agent, Request};
///
/// torsade::testing::run(async |_reactor| {
///     let port = http::serve("127.0.0.1:0", async |request| {
///         let body = request.into_body().read(1000).await?;
///         Ok([b"got ", &body[..]].concat())
///     })?;
///     let url = format!("http://{}/", port.local_addr());
///
///     let agent = Agent::new().connections_per_host(2);
///     let request = Request::put(&url).header("x-name", "joe").body("some bytes")?;
///     let response = agent.request(request).await?;
///     assert_eq!(response.status(), 200);
///     assert_eq!(response.into_body().read(1000).await?, "got some bytes");
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[derive(Clone)]
#[must_use]
pub struct Agent {
    pub(super) config: Rc<Config>,
    pub(super) pool: Rc<Pool>,
    pub(super) location: &'static Location<'static>,
}

settings! {
/// The settings of an agent.
#[derive(Clone)]
pub(super) struct Config of Agent, |agent| Rc::make_mut(&mut agent.config);

    limits of time:
    /// Sets the time limit for opening a connection: looking up the name, connecting and the TLS
    /// handshake.
    ///
    /// `None` means no limit, here and for the other time limits.
    #[doc(alias = "connectTimeout")]
    connect_timeout = MINUTE / 2;

    /// Sets the time limit from the last piece of the request's body to the head of the response,
    /// and between two pieces of the request's body.
    #[doc(alias("headers_timeout", "read_timeout"))]
    head_timeout = MINUTE;

    /// Sets the time limit between two pieces of the response's body, whether the server does not
    /// send the next one or the program does not read it. When it passes, the connection (in
    /// HTTP/2, the stream) is closed, and reading the body fails.
    #[doc(alias = "read_timeout")]
    body_timeout = MINUTE;

    /// Sets the time limit of a whole request with its redirects, until the last byte of the
    /// response is read. Waiting for a connection before the request is first sent does not count,
    /// but opening one does.
    #[doc(alias = "total_timeout")]
    timeout = MINUTE * 60;

    others:
    /// Sets the maximum number of connections to one server, at least 1. Further requests wait for
    /// one of them. Over HTTP/2, one connection serves all requests.
    #[doc(alias("maxPersistentPerHost", "pool_max_idle_per_host"))]
    connections_per_host: usize = 6, usize => connections_per_host.max(1);

    /// Sets the maximum number of connections to all servers together, at least 1. A request that
    /// needs a further one closes the connection that has been idle longest, or waits.
    connections: usize = 100, usize => connections.max(1);

    /// Sets how long a connection is kept without a request. [`Duration::ZERO`] keeps it only if
    /// another request waits for it already.
    #[doc(alias("cachedConnectionTimeout", "pool_idle_timeout"))]
    idle_timeout: Duration = MINUTE, Duration => idle_timeout;

    /// Sets how many redirects in a row are followed. One more fails with
    /// [`HttpError::Redirect`](super::HttpError::Redirect). With 0, a redirect is returned as the
    /// response.
    ///
    /// After status 303 the agent continues with `GET` (if the request was `HEAD`, with `HEAD`).
    /// After 301 and 302 it does so if the request was `POST`. Otherwise the method and the body
    /// stay the same. If the target is on another server, the headers `authorization`, `cookie`,
    /// `host` and `proxy-authorization` are removed.
    #[doc(alias("redirectLimit", "max_redirects"))]
    redirects: usize = 20, usize => redirects;

    /// Sets a function that decides whether a redirect is followed, given the URL of the request
    /// and the target. When it returns `false`, the redirect is returned as the response.
    ///
    /// The target may be a URL that cannot be requested, such as one of another scheme: following
    /// it then fails with [`HttpError::Redirect`](super::HttpError::Redirect), and so does a
    /// `Location` that is not a URL, for which the function is not called.
    redirect_if: Rc<dyn Fn(&Uri, &Uri) -> bool> = Rc::new(|_, _| true),
        impl Fn(&Uri, &Uri) -> bool + 'static => Rc::new(redirect_if);

    /// Sets the maximum length, in bytes, of a body that [`get_page`](Self::get_page) reads.
    max_page: u64 = 16 << 20, u64 => max_page;

    without methods:
    headers: HeaderMap = HeaderMap::from_iter([(header::USER_AGENT, USER_AGENT)]);
    // Whether HTTP/2 is spoken; `None` if the server agrees on it by ALPN.
    http2: Option<bool> = None;
    // The endpoint to connect to, in place of the server of a URL.
    connect_to: Option<ClientEndpoint> = None;
    // The TLS settings for both versions of HTTP, and for HTTP/1 only.
    #[cfg(feature = "tls")]
    tls: [ClientConfig; 2] = with_alpn(ClientConfig::new());
    // Set if all requests use the one connection of the pool.
    only: Option<Rc<Origin>> = None;
}

const MINUTE: Duration = Duration::from_secs(60);
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("torsade/", env!("CARGO_PKG_VERSION")));

impl Agent {
    /// Creates an agent with the default settings, which has no connection yet.
    #[track_caller]
    pub fn new() -> Self {
        Self {
            config: Rc::default(),
            pool: Rc::default(),
            location: Location::caller(),
        }
    }

    /// Sets a header that is added to each request without a header of this name. By default,
    /// `user-agent` is `torsade/` and the version of this crate.
    #[doc(alias = "default_headers")]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(|config| drop(config.headers.insert(name, value)))
    }

    /// Speaks HTTP/1 only. By default HTTP/2 is spoken in TLS, with servers that agree on it by
    /// ALPN.
    pub fn http1_only(self) -> Self {
        self.set(|config| config.http2 = Some(false))
    }

    /// Speaks HTTP/2 also without TLS, with all servers (RFC 9113, section 3.3).
    #[doc(alias("prior_knowledge", "h2c"))]
    pub fn http2_prior_knowledge(self) -> Self {
        self.set(|config| config.http2 = Some(true))
    }

    /// Connects to `endpoint`, whichever server a URL names: for example to the UNIX socket of a
    /// service. With `https` URLs, TLS is spoken over it, with the URL's host as the server's name.
    ///
    /// The requests stay those for the URL's server: an HTTP proxy needs `CONNECT`, as in the
    /// example of [`with_connection`](Self::with_connection). The connections are not shared with
    /// earlier clones.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use torsade::http::Agent;
    /// use torsade::net::ClientEndpoint;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// torsade::run(async |_reactor| {
    ///     let docker = Agent::new().connect_to(ClientEndpoint::parse("unix:/run/docker.sock")?);
    ///     println!("{:?}", docker.get_page("http://docker/version").await?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("usingEndpointFactory", "unix_socket"))]
    pub fn connect_to(self, endpoint: ClientEndpoint) -> Self {
        let this = self.with_new_pool();
        this.set(|config| config.connect_to = Some(endpoint))
    }

    /// Sets the TLS configuration of `https` URLs. If it has no ALPN protocols, those of HTTP are
    /// offered. The connections are not shared with earlier clones.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[doc(alias("contextFactory", "BrowserLikePolicyForHTTPS"))]
    pub fn tls(self, config: ClientConfig) -> Self {
        let tls = with_alpn(config);
        self.with_new_pool().set(|config| config.tls = tls)
    }

    pub(super) fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Rc::make_mut(&mut self.config));
        self
    }

    pub(super) fn with_new_pool(self) -> Self {
        let pool = Rc::default();
        Self { pool, ..self }
    }
}

impl Default for Agent {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent {{ connections: {} }}", self.pool.open.get())
    }
}

#[cfg(feature = "tls")]
fn with_alpn(config: ClientConfig) -> [ClientConfig; 2] {
    let both = config.clone().or_alpn(&["h2", "http/1.1"]);
    [both, config.or_alpn(&["http/1.1"])]
}

/// The connections of an agent, for all servers.
#[derive(Default)]
pub(super) struct Pool {
    /// The number of slots.
    pub(super) open: Cell<usize>,
    hosts: RefCell<BTreeMap<Rc<Origin>, Host>>,
    /// The number of requests in the queues, and of all that were there.
    waiting: Cell<usize>,
    count: Cell<u64>,
}

/// The connections to one server, and the requests that wait for one.
#[derive(Default)]
struct Host {
    /// The connections that can be used, which over HTTP/1 are those that are idle; the one that
    /// was used last is at the end.
    conns: Vec<Rc<Conn>>,
    /// The number of slots.
    open: usize,
    /// The requests that wait, with their numbers.
    waiting: VecDeque<(u64, Rc<Config>, Resolver<Grant>)>,
    /// Whether the last connection has shown that the server speaks HTTP/1 only.
    is_http1: bool,
}

/// The answer to a waiting request: the use of a connection, or the permission to open one.
pub(super) type Grant = Result<Lease, Slot>;

impl Pool {
    /// Returns the use of an open connection to the server, or a Deferred of a grant.
    pub(super) fn acquire(
        self: &Rc<Self>,
        origin: &Rc<Origin>,
        config: &Rc<Config>,
    ) -> Result<Lease, Deferred<Grant>> {
        let (mut closed, mut hosts) = (Vec::new(), self.hosts.borrow_mut());
        let host = hosts.entry(origin.clone()).or_default();
        if let Some(lease) = host.lease(config, &mut closed) {
            return Ok(lease);
        }
        let (deferred, resolver) = Deferred::pair();
        let number = self.count.replace(self.count.get() + 1);
        host.waiting.push_back((number, config.clone(), resolver));
        self.waiting.set(self.waiting.get() + 1);
        drop(hosts);
        self.serve();
        Err(deferred)
    }

    /// Gives connections, or the permission to open one, to the waiting requests.
    fn serve(self: &Rc<Self>) {
        while self.waiting.get() > 0 {
            let (mut closed, mut hosts) = (Vec::new(), self.hosts.borrow_mut());
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
            self.waiting.set(self.waiting.get() - 1);
            let lease = (!resolver.is_cancelled()).then(|| host.lease(&config, &mut closed));
            let origin = origin.clone();
            drop(hosts);
            if let Some(lease) = lease {
                resolver.callback(lease.ok_or_else(|| Slot::new(self, &origin)));
            }
        }
    }
}

/// Returns the connection that has been idle longest, if closing it lets a waiting request go on.
fn evicted(hosts: &BTreeMap<Rc<Origin>, Host>) -> Option<Rc<Conn>> {
    hosts.iter().find(|(origin, host)| host.can_open(origin))?;
    let conns = hosts.values().flat_map(|host| &host.conns);
    let idle = conns.filter(|conn| conn.users.get() == 0 && !conn.is_closed());
    idle.min_by_key(|conn| conn.since.get()).cloned()
}

impl Host {
    /// Returns whether there may be a further connection to the server, for the next request. Until
    /// it is known whether the server speaks HTTP/2, there is at most one.
    fn can_open(&self, origin: &Origin) -> bool {
        let is_shared = !self.is_http1 && origin.http2.unwrap_or(origin.is_tls);
        let next = self.waiting.front();
        next.is_some_and(|(_, config, _)| match is_shared {
            true => self.open == 0,
            false => self.open < config.connections_per_host,
        })
    }

    /// Returns the use of an open connection. Moves those that are closed to `closed`, which the
    /// caller drops when nothing is borrowed.
    fn lease(&mut self, config: &Config, closed: &mut Vec<Rc<Conn>>) -> Option<Lease> {
        loop {
            let conn = self.conns.pop()?;
            if conn.is_closed() {
                closed.push(conn);
                continue;
            }
            conn.idle_timeout.set(config.idle_timeout);
            self.conns.extend(conn.is_http2.then(|| conn.clone()));
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
            let (mut _removed, mut hosts) = (None, pool.hosts.borrow_mut());
            if let Some(host) = hosts.get_mut(&self.origin) {
                host.open -= 1;
                if host.open == 0 && host.waiting.is_empty() {
                    _removed = hosts.remove(&self.origin);
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
        let is_http2 = agreed.map(|it| it == b"h2").or(self.origin.http2) == Some(true);
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
                // Each request fails with this error as well.
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

/// The response's head, or why there is none, and the request if it was not sent.
type Answer = Result<Response<Incoming>, Box<(Failure, Option<Request<Body>>)>>;

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
        drop(self.sender.take());
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
        if let Some(host) = pool.hosts.borrow_mut().get_mut(&self.slot.origin) {
            host.conns.extend((!self.is_http2).then(|| self.clone()));
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
            let is_ready = matches!(&*self.sender.borrow(), Some(Sender::One(it)) if it.is_ready());
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
            // The rest of the response is not needed.
            parts.io.transport().abort_connection();
        }
    }

    /// Returns a Deferred that fires with the connection when the request that is sent next has
    /// ended HTTP/1 on it.
    pub(super) fn upgraded(&self) -> Deferred<Connection> {
        let (deferred, resolver) = Deferred::pair();
        self.upgraded.set(Some(resolver));
        deferred
    }

    /// Sends a request; the future yields the response's head. Dropping the future resets the
    /// request, which over HTTP/1 closes the connection.
    pub(super) fn send(&self, request: Request<Body>) -> impl Future<Output = Answer> + use<> {
        self.is_busy.set(true);
        self.is_cut.set(false);
        let mut sender = self.sender.borrow_mut();
        let Some(sender) = &mut *sender else {
            let unsent = ("the connection has ended".into(), Some(request));
            return Either::Left(future::err(Box::new(unsent)));
        };
        let answer = match sender {
            Sender::One(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Two(sender) => Either::Right(sender.try_send_request(request)),
        };
        Either::Right(answer.map_err(failed))
    }
}

fn failed(mut error: TrySendError<Request<Body>>) -> Box<(Failure, Option<Request<Body>>)> {
    let request = error.take_message();
    Box::new((error.into_error().into(), request))
}

/// A connection that one request uses.
pub(super) struct Lease {
    pub(super) conn: Rc<Conn>,
    pub(super) stage: Cell<Stage>,
}

/// The stage of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Unsent,
    /// Over HTTP/1, the connection's task finds out when it can be used again.
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
