//! A client with a pool of connections: [`Agent`].

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};

use super::connect::HttpConn;
use super::pool::{Grant, Lease, Pool, Slot};
use super::redirect::Redirects;
use super::response::{Limits, received};
use super::url::{self, Origin};
use super::{Body, HttpError, Phase};
use crate::clock::Clock;
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::net::{ClientEndpoint, ConnectOptions};
use crate::reactor::Reactor;

/// A client of HTTP: sends requests over connections that it keeps, follows redirects, and keeps
/// limits.
///
/// A clone shares the connections and their limits, and has settings of its own otherwise. The
/// connections are closed when the last clone is dropped.
///
/// # Examples
///
/// ```
/// use torsade::http::{Agent, Body, Request};
///
/// torsade::testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         while !conn.read_line(1000).await?.is_none_or(|line| line.is_empty()) {}
///         conn.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await?;
///         Ok(())
///     })?;
///     let url = format!("http://{}/greeting", port.local_addr());
///
///     let agent = Agent::new();
///     let request = Request::put(&url).header("x-name", "joe").body("some bytes")?;
///     let response = agent.request(request).await?;
///     assert_eq!(response.status(), 200);
///     assert_eq!(response.into_body().read(1000).await?, "hello");
///     drop(agent);
///     port.stop().await
/// });
/// ```
#[derive(Clone)]
#[doc(alias(
    "HTTPConnectionPool",
    "RedirectAgent",
    "BrowserLikeRedirectAgent",
    "reqwest"
))]
pub struct Agent {
    config: Rc<Config>,
    pool: Rc<Pool>,
}

#[derive(Clone)]
struct Config {
    connect: Option<Duration>,
    headers: Option<Duration>,
    between: Option<Duration>,
    whole: Option<Duration>,
    redirects: Redirects,
    defaults: HeaderMap,
    over: Option<ClientEndpoint>,
    #[cfg(feature = "tls")]
    tls: crate::tls::ClientConfig,
    location: &'static Location<'static>,
}

impl Agent {
    /// Creates an agent.
    #[track_caller]
    pub fn new() -> Self {
        let agent = concat!("torsade/", env!("CARGO_PKG_VERSION"));
        let agent = (header::USER_AGENT, HeaderValue::from_static(agent));
        let minute = Some(Duration::from_secs(60));
        Self {
            config: Rc::new(Config {
                connect: Some(Duration::from_secs(30)),
                headers: minute,
                between: minute,
                whole: Some(Duration::from_secs(3600)),
                redirects: Redirects {
                    most: 20,
                    is_followed: Rc::new(|_, _| true),
                },
                defaults: HeaderMap::from_iter([agent]),
                over: None,
                #[cfg(feature = "tls")]
                tls: crate::tls::ClientConfig::new().or_alpn(&ALPN),
                location: Location::caller(),
            }),
            pool: Pool::new(6, 100, Duration::from_secs(60)),
        }
    }

    /// Limits the connections to one server. Default: 6. Over HTTP/2 one connection serves any
    /// number of requests.
    ///
    /// Requests beyond the limit wait. Clones of the agent share the limit.
    #[must_use]
    #[doc(alias("maxPersistentPerHost", "pool_max_idle_per_host"))]
    pub fn connections_per_host(self, limit: usize) -> Self {
        self.pool.per_host.set(limit.max(1));
        self
    }

    /// Limits the connections. Default: 100. Clones of the agent share the limit.
    #[must_use]
    pub fn connections(self, limit: usize) -> Self {
        self.pool.in_all.set(limit.max(1));
        self
    }

    /// Sets how long a connection is kept that no request uses. Default: 60 seconds. Without any
    /// time it is closed at once, unless a request waits for it. Clones of the agent share the
    /// limit.
    #[must_use]
    #[doc(alias("cachedConnectionTimeout", "pool_idle_timeout"))]
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.pool.idle.set(limit);
        self
    }

    /// Sends a request. The Deferred fires with the response when its head has come; its body is
    /// then read with the methods of [`Body`].
    ///
    /// After redirects the response has its URL, a [`Uri`], among its extensions.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred ends the request, and closes its connection or stream; so does
    /// dropping a response whose body was not read to its end.
    ///
    /// # Errors
    ///
    /// Fails with an [`HttpError`]. A response with an error status is no error.
    #[track_caller]
    pub fn request<B: Into<Body>>(&self, request: Request<B>) -> Deferred<Response<Body>> {
        let (agent, request) = (self.clone(), request.map(Into::into));
        Deferred::from_future(async move { agent.exchange(request).await })
    }

    /// Requests a URL by the method `GET`; otherwise like [`request`](Self::request).
    #[track_caller]
    pub fn get(&self, url: impl fmt::Display) -> Deferred<Response<Body>> {
        match url::parse(url) {
            Ok(uri) => {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = uri;
                self.request(request)
            }
            Err(error) => Deferred::fail(error),
        }
    }

    /// Sends a request, and those to which its response redirects.
    async fn exchange(self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        let (mut parts, body) = request.into_parts();
        let (mut body, mut count, mut whole) = (Some(body), 0, None);
        while let Some(sent) = body {
            body = sent.try_clone();
            let mut response = self.attempt(&reactor, &parts, sent, &mut whole).await?;
            let redirects = &self.config.redirects;
            if !redirects.follow(&response, count, &mut parts, &mut body)? {
                if count > 0 {
                    response.extensions_mut().insert(parts.uri);
                }
                return Ok(response);
            }
            count += 1;
        }
        unreachable!("a redirect is not followed without a body")
    }

    /// Sends a request, again if its connection turns out to have ended before and that is safe.
    async fn attempt(
        &self,
        reactor: &Reactor,
        parts: &Parts,
        mut body: Body,
        whole: &mut Option<(Instant, Duration)>,
    ) -> Result<Response<Body>, Failure> {
        let origin = Rc::new(Origin::of(&parts.uri)?);
        let url = &parts.uri;
        let mut may_retry = parts.method.is_idempotent();
        loop {
            let (lease, is_reused) = self.connect(reactor, &origin, url, whole).await?;
            let again = body.try_clone();
            let (request, upload) = self.prepare(reactor, parts, body, &lease.conn)?;
            lease.is_sent.set(true);
            let answer = lease.conn.send(request);
            let limits = Limits {
                between: self.config.headers,
                whole: *whole,
            };
            let answer = within(reactor, limits, &upload.moved, answer).await;
            let phase = match upload.is_over.get() {
                true => Phase::Waiting,
                false => Phase::Sending,
            };
            let unanswered = match answer {
                Ok(Ok(response)) => {
                    let (head, incoming) = response.into_parts();
                    let between = self.config.between;
                    let limits = Limits { between, ..limits };
                    let body = received(reactor, incoming, limits, url.clone(), lease);
                    return Ok(Response::from_parts(head, body));
                }
                Ok(Err(unanswered)) => unanswered,
                Err(limit) => return Err(HttpError::timed_out(phase, url, limit)),
            };
            lease.conn.close();
            body = match (unanswered.unsent, again) {
                (Some(request), _) if is_reused => request.into_body(),
                (None, Some(again)) if is_reused && may_retry && is_lost(&unanswered.cause) => {
                    may_retry = false;
                    again
                }
                _ => return Err(HttpError::failed(phase, url, unanswered.cause)),
            };
        }
    }

    /// Returns a connection to the server, and whether it was used before.
    async fn connect(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        url: &Uri,
        whole: &mut Option<(Instant, Duration)>,
    ) -> Result<(Lease, bool), Failure> {
        let grant = match self.pool.acquire(origin) {
            Ok(lease) => Grant::Use(lease),
            Err(waiting) => waiting.await?,
        };
        let now = reactor.now();
        if let (None, Some(limit)) = (&whole, self.config.whole) {
            *whole = now.checked_add(limit).map(|deadline| (deadline, limit));
        }
        let slot = match grant {
            Grant::Use(lease) => return Ok((lease, true)),
            Grant::Open(slot) => slot,
        };
        let limits = Limits {
            between: self.config.connect,
            whole: *whole,
        };
        let opening = self.open(reactor, origin, slot);
        match within(reactor, limits, &Cell::new(now), opening).await {
            Ok(Ok(lease)) => Ok((lease, false)),
            Ok(Err(cause)) => Err(HttpError::failed(Phase::Connecting, url, cause)),
            Err(limit) => Err(HttpError::timed_out(Phase::Connecting, url, limit)),
        }
    }

    /// Makes a connection.
    async fn open(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        slot: Slot,
    ) -> Result<Lease, Failure> {
        let config = &self.config;
        let endpoint = match &config.over {
            Some(endpoint) => endpoint.clone(),
            None => ClientEndpoint::host(&origin.host, origin.port),
        };
        // The limit of the agent is what counts.
        let limit = config.connect.unwrap_or(Duration::MAX).saturating_mul(2);
        let endpoint = endpoint.options(ConnectOptions::new().timeout(limit));
        #[cfg(feature = "tls")]
        let endpoint = match origin.is_tls {
            true => endpoint.tls(
                config
                    .tls
                    .clone()
                    .or_server_name(|| Some(origin.host.clone())),
            ),
            false => endpoint,
        };
        let conn = reactor.connect_stream(endpoint).await?;
        #[cfg(feature = "tls")]
        let is_http2 = {
            let agreed = conn.transport().tls().and_then(|tls| tls.alpn);
            agreed.is_some_and(|protocol| protocol == ALPN[0].as_bytes())
        };
        #[cfg(not(feature = "tls"))]
        let is_http2 = false;
        let (pool, at) = (Rc::downgrade(&self.pool), origin.clone());
        let on_change = move |conn: &Rc<HttpConn>| {
            // It is counted until the connection has ended.
            let _ = &slot;
            match pool.upgrade() {
                Some(pool) if conn.is_closed() => pool.remove(&at, conn),
                Some(pool) => pool.release(&at, conn),
                None => conn.close(),
            }
        };
        let conn = HttpConn::begin(reactor, conn, is_http2, on_change, config.location).await?;
        Ok(self.pool.add(reactor, origin, conn))
    }

    /// Makes the request that is sent over a connection.
    fn prepare(
        &self,
        reactor: &Reactor,
        parts: &Parts,
        body: Body,
        conn: &HttpConn,
    ) -> Result<(Request<Body>, Upload), HttpError> {
        let upload = Upload {
            moved: Cell::new(reactor.now()),
            is_over: Cell::new(true),
        };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.extensions_mut() = parts.extensions.clone();
        let headers = request.headers_mut();
        headers.clone_from(&parts.headers);
        for (name, value) in &self.config.defaults {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if conn.is_http2() {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = parts.uri.clone();
            return Ok((request, upload));
        }
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, url::host_header(&parts.uri)?);
        }
        let path = parts.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        Ok((request, upload))
    }
}

/// How far a request's body has been sent.
struct Upload {
    /// When a part of it was sent last.
    moved: Cell<Instant>,
    is_over: Cell<bool>,
}

/// Waits for a future. Fails with the limit that is over, counted from `since`.
async fn within<F: Future>(
    reactor: &Reactor,
    limits: Limits,
    since: &Cell<Instant>,
    future: F,
) -> Result<F::Output, Duration> {
    let mut future = pin!(future);
    let mut sleep = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some((deadline, limit)) = limits.next(since.get()) else {
            return Poll::Pending;
        };
        let sleep = sleep.get_or_insert_with(|| reactor.sleep_until(deadline));
        if sleep.deadline() < deadline {
            sleep.reset(deadline);
        }
        match Pin::new(sleep).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(limit)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Returns whether a connection ended without an answer.
fn is_lost(cause: &Failure) -> bool {
    cause
        .downcast_ref()
        .is_some_and(|error: &hyper::Error| !error.is_parse() && !error.is_user())
}

/// The protocols that are offered to servers in TLS.
#[cfg(feature = "tls")]
const ALPN: [&str; 2] = ["h2", "http/1.1"];

impl Default for Agent {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("connections", &self.pool.open())
            .finish_non_exhaustive()
    }
}
