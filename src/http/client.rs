//! The requests of an agent: which connections they use, and how long they may take.
#![expect(
    clippy::manual_async_fn,
    reason = "an async block uses what it captures in place; an async function stores it twice"
)]

use std::mem;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version, header};

use super::bodies::{Progress, status_error};
use super::pool::{Grant, Lease, Slot, Stage};
use super::url::{Origin, host_header};
use super::{Agent, Body};
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::net::{ClientEndpoint, ConnectOptions};
use crate::stream::Connection;

impl Agent {
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
                if !self.config.follow(&response, count, &mut request, again)? {
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
    pub(super) async fn upgraded(
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
            let config = &self.config;
            let origin = match &config.only {
                Some(only) => only.clone(),
                None if upgrades => Rc::new(Origin::of(request.uri(), Some(false))?),
                None => Rc::new(Origin::of(request.uri(), config.http2)?),
            };
            progress.begin(request.uri());
            let mut may_retry = request.method().is_idempotent();
            let mut tries = 0..TRIES;
            loop {
                let (lease, is_reused) = match self.pool.acquire(&origin, config) {
                    Ok(lease) => (lease, true),
                    // This is seldom, and its future is large.
                    Err(waiting) => Box::pin(self.wait(progress, &origin, waiting)).await?,
                };
                progress.count(config.head_timeout, config.timeout);
                let again = body.try_clone();
                let upgraded = upgrades.then(|| lease.conn.upgraded());
                let message = self.message(request, progress.sent(body), &lease);
                let (cause, unsent): (Failure, _) = match lease.conn.send(message) {
                    Ok(sending) => match progress.within(sending).await? {
                        Ok(response) => {
                            let body = |body| progress.received(body, config.body_timeout, lease);
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
        progress.count(self.config.connect_timeout, self.config.timeout);
        let opened = progress.within(self.open(progress, origin, slot)).await?;
        let opened = opened.map_err(|cause| progress.failed(cause))?;
        Ok((opened, false))
    }

    /// Makes a connection.
    async fn open(
        &self,
        progress: &Progress,
        origin: &Origin,
        slot: Slot,
    ) -> Result<Lease, Failure> {
        let config = &self.config;
        if config.only.is_some() {
            return Err("the only connection has ended".into());
        }
        let server = || ClientEndpoint::host(&origin.host, origin.port);
        let endpoint = config.over.clone().unwrap_or_else(server);
        // The limit of the agent is what counts.
        let limit = config.connect_timeout.unwrap_or(Duration::MAX);
        let options = ConnectOptions::new().timeout(limit.saturating_mul(2));
        let endpoint = endpoint.options(options);
        #[cfg(feature = "tls")]
        let endpoint = match origin.is_tls {
            true => {
                let tls = &config.tls[usize::from(origin.http2 == Some(false))];
                let name = || Some(origin.host.clone());
                endpoint.tls(tls.clone().or_server_name(name))
            }
            false => endpoint,
        };
        let conn = progress.reactor.connect_stream(endpoint).await?;
        slot.begin(&progress.reactor, conn, self).await
    }

    /// Returns a request as it is sent over a connection.
    fn message(&self, from: &Request<Body>, body: Body, lease: &Lease) -> Request<Body> {
        let is_http2 = lease.conn.is_http2;
        let mut request = Request::new(body);
        *request.method_mut() = from.method().clone();
        *request.extensions_mut() = from.extensions().clone();
        *request.headers_mut() = from.headers().clone();
        let headers = request.headers_mut();
        for (name, value) in &self.config.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        } else if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host_header(from.uri()));
        }
        let path = from.uri().path_and_query();
        let path = path.filter(|_| !is_http2 && from.method() != Method::CONNECT);
        *request.uri_mut() = path.map_or_else(|| from.uri().clone(), |path| path.clone().into());
        lease.stage.set(Stage::Sent);
        request
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
