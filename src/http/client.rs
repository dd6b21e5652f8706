//! The requests of an agent: which connections they use, and how long they may take.
#![expect(
    clippy::manual_async_fn,
    reason = "an async block uses what it captures in place; an async function stores it twice"
)]

use std::mem;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};

use super::bodies::{Progress, status_error};
use super::pool::{Grant, Lease, Pool, Slot, Stage};
use super::redirect::Redirects;
use super::url::{Origin, Versions, host_header};
use super::{Body, HttpError};
use crate::defer::Deferred;
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
    /// How TLS is spoken: with both versions of HTTP, and with HTTP/1 only.
    #[cfg(feature = "tls")]
    pub(super) tls: [crate::tls::ClientConfig; 2],
    /// Set if all requests use the one connection of the pool.
    pub(super) only: Option<Rc<Origin>>,
    pub(super) location: &'static Location<'static>,
}

/// What an agent is made of.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) config: Rc<Config>,
    pub(super) pool: Rc<Pool>,
}

impl Client {
    /// Sends a request, and those to which its response redirects.
    pub(super) fn exchange(
        self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> {
        async move {
            let (progress, mut count) = (Progress::new()?, 0);
            loop {
                let body = mem::take(request.body_mut());
                let again = body.try_clone();
                let attempt = self.attempt(&progress, &request, body, false);
                let (mut response, _) = attempt.await?;
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
        let body = mem::take(request.body_mut());
        let progress = Progress::new()?;
        let (response, upgraded) = self.attempt(&progress, &request, body, true).await?;
        let is_tunnel = request.method() == Method::CONNECT && response.status().is_success();
        let is_agreed = is_tunnel || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match upgraded.filter(|_| is_agreed) {
            Some(upgraded) => Ok((response, upgraded.await?)),
            None => Err(status_error(request.uri(), response, self.config.max_page).await),
        }
    }

    /// Sends a request, again if its connection turns out to have ended before and that is safe.
    /// Returns the response, and what becomes of its connection.
    fn attempt<'a>(
        &'a self,
        progress: &'a Rc<Progress>,
        request: &'a Request<Body>,
        mut body: Body,
        upgrades: bool,
    ) -> impl Future<Output = Result<(Response<Body>, Option<Deferred<Connection>>), Failure>> + 'a
    {
        async move {
            let config = &*self.config;
            let origin = &match &config.only {
                Some(only) => only.clone(),
                None if upgrades => Rc::new(Origin::of(request.uri(), Versions::Http1)?),
                None => Rc::new(Origin::of(request.uri(), config.versions)?),
            };
            progress.begin(request.uri());
            let mut may_retry = request.method().is_idempotent();
            let mut tries = 0..TRIES;
            loop {
                let (lease, is_reused) = match self.pool.acquire(origin) {
                    Ok(lease) => (lease, true),
                    // This is seldom, and its future is large.
                    Err(waiting) => Box::pin(self.wait(progress, origin, waiting)).await?,
                };
                progress.count(config.headers, config.whole);
                let again = body.try_clone();
                let upgraded = upgrades.then(|| lease.conn.upgraded());
                let message = self.message(request, progress.sent(body), &lease)?;
                let (cause, unsent): (Failure, _) = match lease.conn.send(message) {
                    Ok(sending) => match progress.within(sending).await? {
                        Ok(response) => {
                            let between = config.between;
                            let body = |body| progress.received(body, between, lease);
                            return Ok((response.map(body), upgraded));
                        }
                        Err(mut error) => {
                            let unsent = error.take_message();
                            (error.into_error().into(), unsent)
                        }
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
                    _ => return Err(progress.failed(cause)),
                };
                lease.conn.close();
            }
        }
    }

    /// Waits for a connection, or makes one. Returns it, and whether it was used before.
    async fn wait(
        &self,
        progress: &Rc<Progress>,
        origin: &Origin,
        waiting: Deferred<Grant>,
    ) -> Result<(Lease, bool), Failure> {
        let slot = match waiting.await? {
            Ok(lease) => return Ok((lease, true)),
            Err(slot) => slot,
        };
        progress.count(self.config.connect, self.config.whole);
        let opening = self.open(&progress.reactor, origin, slot);
        let opened = progress.within(opening).await?.map(|lease| (lease, false));
        opened.map_err(|cause| progress.failed(cause))
    }

    /// Makes a connection.
    async fn open(&self, reactor: &Reactor, origin: &Origin, slot: Slot) -> Result<Lease, Failure> {
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
                let tls = &config.tls[usize::from(origin.versions == Versions::Http1)];
                let name = || Some(origin.host.clone());
                endpoint.tls(tls.clone().or_server_name(name))
            }
            false => endpoint,
        };
        let conn = reactor.connect_stream(endpoint).await?;
        slot.begin(reactor, conn, config.location).await
    }

    /// Returns a request as it is sent over a connection.
    fn message(
        &self,
        from: &Request<Body>,
        body: Body,
        lease: &Lease,
    ) -> Result<Request<Body>, HttpError> {
        let is_http2 = lease.conn.is_http2;
        let mut request = Request::new(body);
        *request.method_mut() = from.method().clone();
        *request.extensions_mut() = from.extensions().clone();
        *request.headers_mut() = from.headers().clone();
        let headers = request.headers_mut();
        for (name, value) in &self.config.defaults {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        } else if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host_header(from.uri())?);
        }
        let path = from.uri().path_and_query();
        let path = path.filter(|_| !is_http2 && from.method() != Method::CONNECT);
        *request.uri_mut() = path.map_or_else(|| from.uri().clone(), |path| path.clone().into());
        lease.stage.set(Stage::Sent);
        Ok(request)
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
