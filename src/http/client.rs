//! The requests of an agent: which connections they use, and how long they may take.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;

use super::bodies::{Limits, received, sent, status_error};
use super::connect::{HttpConn, Unanswered};
use super::pool::{Grant, Lease, Pool, Slot, Stage};
use super::redirect::Redirects;
use super::url::{Origin, Versions, host_header};
use super::{Body, HttpError, Phase};
use crate::clock::Clock;
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::net::{ClientEndpoint, ConnectOptions};
use crate::reactor::Reactor;
use crate::stream::Connection;

/// The settings of an agent.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) connect: Option<Duration>,
    pub(super) headers: Option<Duration>,
    pub(super) between: Option<Duration>,
    pub(super) whole: Option<Duration>,
    pub(super) redirects: Redirects,
    pub(super) defaults: HeaderMap,
    pub(super) max_page: u64,
    pub(super) versions: Versions,
    pub(super) over: Option<ClientEndpoint>,
    #[cfg(feature = "tls")]
    pub(super) tls: Tls,
    /// Set if all requests use the one connection of the pool.
    pub(super) only: Option<Rc<Origin>>,
    pub(super) location: &'static Location<'static>,
}

/// How TLS is spoken: with both versions of HTTP, and with HTTP/1 only.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub(super) struct Tls([crate::tls::ClientConfig; 2]);

#[cfg(feature = "tls")]
impl Tls {
    pub(super) fn new(config: crate::tls::ClientConfig) -> Self {
        Self([
            config.clone().or_alpn(&["h2", "http/1.1"]),
            config.or_alpn(&["http/1.1"]),
        ])
    }
}

/// What an agent is made of.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) config: Rc<Config>,
    pub(super) pool: Rc<Pool>,
}

/// When a request has to be finished, and the limit of time for that.
type Whole = Option<(Instant, Duration)>;

impl Client {
    /// Sends a request, and those to which its response redirects.
    pub(super) async fn exchange(self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        let (mut parts, body) = request.into_parts();
        let (mut body, mut count, mut whole) = (Some(body), 0, None);
        while let Some(sent) = body {
            body = sent.try_clone();
            let origin = self.origin(&parts, self.config.versions)?;
            let attempt = self.attempt(&reactor, &origin, &parts, sent, &mut whole, false);
            let (response, lease, _) = attempt.await?;
            let mut response = self.received(&reactor, response, &parts.uri, whole, lease);
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

    /// Sends a request that ends HTTP on its connection, and returns that.
    pub(super) async fn upgrade(
        self,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Connection), Failure> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        let (parts, body) = request.into_parts();
        let origin = self.origin(&parts, Versions::Http1)?;
        let mut whole = None;
        let attempt = self.attempt(&reactor, &origin, &parts, body, &mut whole, true);
        let (response, lease, upgraded) = attempt.await?;
        let is_tunnel = parts.method == Method::CONNECT && response.status().is_success();
        let is_agreed = is_tunnel || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let response = self.received(&reactor, response, &parts.uri, whole, lease);
        match upgraded.filter(|_| is_agreed) {
            Some(upgraded) => Ok((response, upgraded.await?)),
            None => Err(status_error(&parts.uri, response, self.config.max_page).await),
        }
    }

    /// Returns the server of a request.
    fn origin(&self, parts: &Parts, versions: Versions) -> Result<Rc<Origin>, HttpError> {
        match &self.config.only {
            Some(only) => Ok(only.clone()),
            None => Origin::of(&parts.uri, versions).map(Rc::new),
        }
    }

    fn received(
        &self,
        reactor: &Reactor,
        response: Response<Incoming>,
        url: &Uri,
        whole: Whole,
        lease: Lease,
    ) -> Response<Body> {
        let between = self.config.between;
        let limits = Limits { between, whole };
        response.map(|incoming| received(reactor, incoming, limits, url.clone(), lease))
    }

    /// Sends a request, again if its connection turns out to have ended before and that is safe.
    async fn attempt(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        parts: &Parts,
        mut body: Body,
        whole: &mut Whole,
        upgrades: bool,
    ) -> Result<(Response<Incoming>, Lease, Option<Deferred<Connection>>), Failure> {
        let mut may_retry = parts.method.is_idempotent();
        loop {
            let (lease, is_reused) = self.lease(reactor, origin, &parts.uri, whole).await?;
            let again = body.try_clone();
            let upgraded = upgrades.then(|| lease.conn.upgraded());
            let sending = self.send(reactor, parts, body, &lease, *whole);
            let unanswered = match sending.await {
                Ok(response) => return Ok((response, lease, upgraded)),
                Err(unanswered) => unanswered,
            };
            body = match (unanswered.unsent, again) {
                (Some(request), _) if is_reused => request.into_body(),
                (None, Some(again)) if is_reused && may_retry && is_lost(&unanswered.cause) => {
                    may_retry = false;
                    again
                }
                _ => return Err(unanswered.cause),
            };
            lease.conn.close();
        }
    }

    /// Returns a connection to the server, and whether it was used before.
    async fn lease(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        url: &Uri,
        whole: &mut Whole,
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
        if config.only.is_some() {
            return Err("the only connection has ended".into());
        }
        let endpoint = match &config.over {
            Some(endpoint) => endpoint.clone(),
            None => ClientEndpoint::host(&origin.host, origin.port),
        };
        // The limit of the agent is what counts.
        let limit = config.connect.unwrap_or(Duration::MAX).saturating_mul(2);
        let endpoint = endpoint.options(ConnectOptions::new().timeout(limit));
        #[cfg(feature = "tls")]
        let endpoint = match origin.is_tls {
            true => {
                let tls = &config.tls.0[usize::from(origin.versions == Versions::Http1)];
                let name = || Some(origin.host.clone());
                endpoint.tls(tls.clone().or_server_name(name))
            }
            false => endpoint,
        };
        let conn = reactor.connect_stream(endpoint).await?;
        self.adopt(reactor, origin, conn, slot).await
    }

    /// Begins to speak HTTP over a connection.
    pub(super) async fn adopt(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        conn: Connection,
        slot: Slot,
    ) -> Result<Lease, Failure> {
        let is_http2 = match agreed(&conn) {
            Some(agreed) => agreed == b"h2",
            None => origin.versions == Versions::Http2,
        };
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
        let location = self.config.location;
        let conn = HttpConn::begin(reactor, conn, is_http2, on_change, location).await?;
        Ok(self.pool.add(reactor, origin, conn))
    }

    /// Sends a request over a connection. Returns the response when its head has come.
    async fn send(
        &self,
        reactor: &Reactor,
        parts: &Parts,
        body: Body,
        lease: &Lease,
        whole: Whole,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        let url = &parts.uri;
        let (body, upload) = sent(reactor, body);
        let mut request = Request::new(body);
        if let Err(cause) = self.fill_in(&mut request, parts, lease.conn.is_http2()) {
            let (cause, unsent) = (cause.into(), None);
            return Err(Box::new(Unanswered { cause, unsent }));
        }
        lease.stage.set(Stage::Sent);
        let limits = Limits {
            between: self.config.headers,
            whole,
        };
        let answer = within(reactor, limits, &upload.moved, lease.conn.send(request)).await;
        let phase = match upload.is_over.get() {
            true => Phase::Waiting,
            false => Phase::Sending,
        };
        let mut unanswered = match answer {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(unanswered)) => unanswered,
            Err(limit) => Box::new(Unanswered {
                cause: HttpError::timed_out(phase, url, limit),
                unsent: None,
            }),
        };
        unanswered.cause = HttpError::failed(phase, url, unanswered.cause);
        Err(unanswered)
    }

    /// Makes the request that is sent.
    fn fill_in(
        &self,
        request: &mut Request<Body>,
        parts: &Parts,
        is_http2: bool,
    ) -> Result<(), HttpError> {
        *request.method_mut() = parts.method.clone();
        *request.extensions_mut() = parts.extensions.clone();
        let headers = request.headers_mut();
        headers.clone_from(&parts.headers);
        for (name, value) in &self.config.defaults {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if !is_http2 && !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host_header(&parts.uri)?);
        }
        let path = parts.uri.path_and_query();
        *request.uri_mut() = match path.filter(|_| !is_http2 && parts.method != Method::CONNECT) {
            Some(path) => Uri::from(path.clone()),
            None => parts.uri.clone(),
        };
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        Ok(())
    }
}

/// Returns the protocol that the ends of a connection have agreed on.
pub(super) fn agreed(conn: &Connection) -> Option<Vec<u8>> {
    #[cfg(feature = "tls")]
    return conn.transport().tls().and_then(|tls| tls.alpn);
    #[cfg(not(feature = "tls"))]
    return Some(conn).and(None);
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
    let error = cause.find::<hyper::Error>();
    error.is_some_and(|error| !error.is_parse() && !error.is_user())
}
