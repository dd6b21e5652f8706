//! The requests of an agent: which connections they use, and how long they may take.
#![expect(
    clippy::manual_async_fn,
    reason = "an async block uses what it captures in place; an async function stores it twice"
)]

use std::cell::Cell;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::bodies::{Limits, Upload, received, sent, status_error};
use super::connect::{HttpConn, Sent};
use super::pool::{Grant, Lease, Pool, Slot, Stage};
use super::redirect::Redirects;
use super::url::{Origin, Versions, host_header};
use super::{Body, HttpError, Phase};
use crate::clock::{Clock, Sleep};
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
    pub(super) fn exchange(
        self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> {
        async move {
            let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
            let (mut count, mut whole) = (0, None);
            loop {
                let body = mem::take(request.body_mut());
                let again = body.try_clone();
                let origin = self.origin(&request, self.config.versions)?;
                let attempt = self.attempt(&reactor, &origin, &request, body, &mut whole, false);
                let (response, lease, _) = attempt.await?;
                let mut response = self.received(&reactor, response, request.uri(), whole, lease);
                let redirects = &self.config.redirects;
                if !redirects.follow(&response, count, &mut request, again)? {
                    if count > 0 {
                        response.extensions_mut().insert(request.uri().clone());
                    }
                    return Ok(response);
                }
                count += 1;
            }
        }
    }

    /// Sends a request that ends HTTP on its connection, and returns that.
    pub(super) async fn upgrade(
        self,
        mut request: Request<Body>,
    ) -> Result<(Response<Body>, Connection), Failure> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        let body = mem::take(request.body_mut());
        let origin = self.origin(&request, Versions::Http1)?;
        let mut whole = None;
        let attempt = self.attempt(&reactor, &origin, &request, body, &mut whole, true);
        let (response, lease, upgraded) = attempt.await?;
        let is_tunnel = request.method() == Method::CONNECT && response.status().is_success();
        let is_agreed = is_tunnel || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let response = self.received(&reactor, response, request.uri(), whole, lease);
        match upgraded.filter(|_| is_agreed) {
            Some(upgraded) => Ok((response, upgraded.await?)),
            None => Err(status_error(request.uri(), response, self.config.max_page).await),
        }
    }

    /// Returns the server of a request.
    fn origin(&self, request: &Request<Body>, versions: Versions) -> Result<Rc<Origin>, HttpError> {
        match &self.config.only {
            Some(only) => Ok(only.clone()),
            None => Origin::of(request.uri(), versions).map(Rc::new),
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
    fn attempt<'a>(
        &'a self,
        reactor: &'a Reactor,
        origin: &'a Rc<Origin>,
        request: &'a Request<Body>,
        mut body: Body,
        whole: &'a mut Whole,
        upgrades: bool,
    ) -> impl Future<Output = Result<Attempt, Failure>> + 'a {
        async move {
            let url = request.uri();
            let mut may_retry = request.method().is_idempotent();
            let mut tries = 0..TRIES;
            loop {
                let (lease, is_reused) = match self.pool.acquire(origin) {
                    Ok(lease) => (lease, true),
                    // This is seldom, and its future is large.
                    Err(waiting) => {
                        Box::pin(self.wait(reactor, origin, url, waiting, whole)).await?
                    }
                };
                let now = Cell::new(reactor.now());
                self.begin(now.get(), whole);
                let again = body.try_clone();
                let upgraded = upgrades.then(|| lease.conn.upgraded());
                let (sending, upload) = self.send(request, body, &lease, now.get())?;
                let limits = Limits {
                    between: self.config.headers,
                    whole: *whole,
                };
                let moved = upload.as_ref().map_or(&now, |upload| &upload.moved);
                let (cause, unsent) = match sending {
                    Ok(sending) => match within(reactor, limits, moved, sending).await {
                        Ok(Ok(response)) => return Ok((response, lease, upgraded)),
                        Ok(Err(mut error)) => {
                            let unsent = error.take_message();
                            (error.into_error().into(), unsent)
                        }
                        Err(limit) => (HttpError::timed_out(phase(&upload), url, limit), None),
                    },
                    Err(request) => ("the connection has ended".into(), Some(request)),
                };
                body = match (unsent, again) {
                    (Some(request), _) if is_reused => request.into_body(),
                    (None, Some(again)) if is_refused(&cause) && tries.next().is_some() => again,
                    (None, Some(again)) if is_reused && may_retry && is_lost(&cause) => {
                        may_retry = false;
                        again
                    }
                    _ => return Err(HttpError::failed(phase(&upload), url, cause)),
                };
                lease.conn.close();
            }
        }
    }

    /// Sets when the request has to be finished.
    fn begin(&self, now: Instant, whole: &mut Whole) {
        if let (None, Some(limit)) = (&whole, self.config.whole) {
            *whole = now.checked_add(limit).map(|deadline| (deadline, limit));
        }
    }

    /// Waits for a connection, or makes one. Returns it, and whether it was used before.
    async fn wait(
        &self,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        url: &Uri,
        waiting: Deferred<Grant>,
        whole: &mut Whole,
    ) -> Result<(Lease, bool), Failure> {
        let slot = match waiting.await? {
            Grant::Use(lease) => return Ok((lease, true)),
            Grant::Open(slot) => slot,
        };
        let now = reactor.now();
        self.begin(now, whole);
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

    /// Begins to send a request over a connection.
    fn send(
        &self,
        from: &Request<Body>,
        body: Body,
        lease: &Lease,
        now: Instant,
    ) -> Result<(Sent, Option<Rc<Upload>>), HttpError> {
        let is_http2 = lease.conn.is_http2();
        let (body, upload) = sent(body, now);
        let mut request = Request::new(body);
        *request.method_mut() = from.method().clone();
        *request.extensions_mut() = from.extensions().clone();
        let headers = request.headers_mut();
        headers.clone_from(from.headers());
        for (name, value) in &self.config.defaults {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if !is_http2 && !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host_header(from.uri())?);
        }
        let path = from.uri().path_and_query();
        let path = path.filter(|_| !is_http2 && from.method() != Method::CONNECT);
        *request.uri_mut() = path.map_or_else(|| from.uri().clone(), |path| path.clone().into());
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        lease.stage.set(Stage::Sent);
        Ok((lease.conn.send(request), upload))
    }
}

/// A response's head, its connection, and what becomes of that.
type Attempt = (Response<Incoming>, Lease, Option<Deferred<Connection>>);

fn phase(upload: &Option<Rc<Upload>>) -> Phase {
    match upload.as_ref().is_none_or(|upload| upload.is_over.get()) {
        true => Phase::Waiting,
        false => Phase::Sending,
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
fn within<'a, F: Future>(
    reactor: &'a Reactor,
    limits: Limits,
    since: &'a Cell<Instant>,
    future: F,
) -> Within<'a, F> {
    Within {
        future,
        reactor,
        limits,
        since,
        sleep: None,
    }
}

pin_project! {
    struct Within<'a, F> {
        #[pin]
        future: F,
        reactor: &'a Reactor,
        limits: Limits,
        since: &'a Cell<Instant>,
        sleep: Option<Sleep>,
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Duration>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some((deadline, limit)) = this.limits.next(this.since.get()) else {
            return Poll::Pending;
        };
        let sleep = this.sleep;
        let sleep = sleep.get_or_insert_with(|| this.reactor.sleep_until(deadline));
        if sleep.deadline() < deadline {
            sleep.reset(deadline);
        }
        match Pin::new(sleep).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(limit)),
            _ => Poll::Pending,
        }
    }
}

/// How often a request is sent that servers leave unanswered when they end their connections.
const TRIES: usize = 100;

/// Returns whether the server has said that it has not looked at a request over HTTP/2.
fn is_refused(cause: &Failure) -> bool {
    cause.find::<h2::Error>().is_some_and(|error| {
        let is_end = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_end || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Returns whether a connection ended without an answer.
fn is_lost(cause: &Failure) -> bool {
    let error = cause.find::<hyper::Error>();
    error.is_some_and(|error| !error.is_parse() && !error.is_user())
}
