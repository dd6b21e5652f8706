//! The requests of an agent: which connections they use, whether redirects are followed, and
//! [`Progress`], how far they have come in which time.
#![expect(clippy::manual_async_fn, reason = "an async fn would be larger")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::agent::{Config, Grant, Lease, Stage};
use super::body::Polled;
use super::url::{Origin, host_header, join};
use super::{Agent, Body, HttpError, Phase};
use crate::cells;
use crate::clock::{Clock, Limit, LimitTimer};
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::net::{ClientEndpoint, ConnectOptions};
use crate::reactor::Reactor;
use crate::stream::Connection;

impl Agent {
    /// Sends a request, and those to which its response redirects. Leaves the last of them in
    /// `request`.
    pub(super) fn exchange(
        &self,
        request: &mut Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> {
        async move {
            let (mut whole, mut count) = (None, 0);
            loop {
                let again = request.body().try_clone();
                let progress = Progress::new(request.uri(), whole)?;
                let (mut response, _) = self.attempt(&progress, request, false).await?;
                whole = progress.whole.get();
                if !self.config.follow(&response, count, request, again)? {
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
        let progress = Progress::new(request.uri(), None)?;
        let (response, upgraded) = self.attempt(&progress, &mut request, true).await?;
        let is_tunnel = request.method() == Method::CONNECT && response.status().is_success();
        let is_agreed = is_tunnel || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match upgraded.filter(|_| is_agreed) {
            Some(upgraded) => Ok((response, upgraded.await?)),
            None => Err(self.status_error(request.uri(), response).await),
        }
    }

    /// Returns the failure of a response's status, with the body if it is not larger than a page.
    pub(super) async fn status_error(&self, url: &Uri, response: Response<Body>) -> Failure {
        let (head, body) = response.into_parts();
        HttpError::Status {
            url: url.to_string(),
            status: head.status,
            headers: Box::new(head.headers),
            body: body.read(self.config.max_page).await.unwrap_or_default(),
        }
        .into()
    }

    /// Sends a request, again if its connection turns out to have ended before and that is safe.
    /// Returns the response; if `upgrades`, also a Deferred of its connection.
    fn attempt(
        &self,
        progress: &Rc<Progress>,
        request: &mut Request<Body>,
        upgrades: bool,
    ) -> impl Future<Output = Result<(Response<Body>, Option<Deferred<Connection>>), Failure>> {
        async move {
            let config = &self.config;
            let mut body = mem::take(request.body_mut());
            let (mut may_retry, mut tries) = (request.method().is_idempotent(), 0..TRIES);
            loop {
                let origin = match &config.only {
                    Some(only) => only.clone(),
                    None if upgrades => Rc::new(Origin::of(request.uri(), Some(false))?),
                    None => Rc::new(Origin::of(request.uri(), config.http2)?),
                };
                let (lease, is_reused) = match self.pool.acquire(&origin, config) {
                    Ok(lease) => (lease, true),
                    // This is rare, and its future is large.
                    Err(waiting) => Box::pin(self.wait(progress, &origin, waiting)).await?,
                };
                drop(origin);
                progress.count(config.head_timeout, config.timeout);
                let again = body.try_clone();
                let upgraded = upgrades.then(|| lease.conn.upgraded());
                let message = self.message(request, progress.sent(body), &lease);
                let (cause, unsent) = match progress.within(pin!(lease.conn.send(message))).await? {
                    Ok(response) => {
                        let body = |body| progress.received(body, config.body_timeout, lease);
                        return Ok((response.map(body), upgraded));
                    }
                    Err(failed) => *failed,
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
        let config = &self.config;
        progress.count(config.connect_timeout, config.timeout);
        let opening = async {
            if config.only.is_some() {
                return Err("the only connection has ended".into());
            }
            let server = || ClientEndpoint::host(&origin.host, origin.port);
            let endpoint = config.connect_to.clone().unwrap_or_else(server);
            // Only the limit of the agent counts.
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
            slot.begin(conn, self).await
        };
        let opened = progress.within(pin!(opening)).await?;
        let opened = opened.map_err(|cause| progress.failed(cause))?;
        Ok((opened, false))
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

/// The most times that a request is sent again after servers have refused it unread.
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

impl Config {
    /// Changes the request into the one that follows the response, after `count` redirects; `again`
    /// is its body once more. Returns whether the response is a redirect that is followed.
    pub(super) fn follow(
        &self,
        response: &Response<Body>,
        count: usize,
        request: &mut Request<Body>,
        again: Option<Body>,
    ) -> Result<bool, HttpError> {
        let location = response.headers().get(header::LOCATION);
        let Some(location) = location.filter(|_| self.redirects > 0) else {
            return Ok(false);
        };
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *request.method() == Method::POST,
            StatusCode::SEE_OTHER => *request.method() != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let url = request.uri().clone();
        let problem = |problem: String| HttpError::Redirect {
            url: url.to_string(),
            problem,
        };
        let invalid = |error| problem(format!("invalid URL {location:?}: {error}"));
        let target = join(&url, location.as_bytes()).map_err(invalid)?;
        if !(self.redirect_if)(&url, &target) {
            return Ok(false);
        }
        let to = Origin::of(&target, None).map_err(|error| problem(error.to_string()))?;
        if count >= self.redirects {
            return Err(problem(format!("{count} redirects were followed before")));
        }
        *request.body_mut() = match again {
            _ if becomes_get => Body::empty(),
            Some(body) => body,
            None => return Err(problem("the request's body cannot be sent again".into())),
        };
        if becomes_get {
            *request.method_mut() = Method::GET;
            for name in OF_BODY.split(' ') {
                request.headers_mut().remove(name);
            }
        }
        if Origin::of(&url, None).ok() != Some(to) {
            for name in OF_ORIGIN.split(' ') {
                request.headers_mut().remove(name);
            }
        }
        *request.uri_mut() = target;
        Ok(true)
    }
}

/// The headers that describe a request's body.
const OF_BODY: &str = "content-encoding content-language content-length content-location \
                       content-type transfer-encoding";

/// The headers that are for one server only.
const OF_ORIGIN: &str = "authorization cookie host proxy-authorization";

/// A request, from connecting to the last byte of its response.
pub(super) struct Progress {
    pub(super) reactor: Reactor,
    url: Uri,
    phase: Cell<Phase>,
    /// The time of the last progress, and the limit until the next.
    between: Cell<Limit>,
    whole: Cell<Limit>,
    timer: LimitTimer,
    /// The failure of a limit that has passed, and the task that waits for that too.
    expired: Cell<Option<Failure>>,
    waker: Cell<Option<Waker>>,
    /// The rest of the response's body, and its connection.
    body: RefCell<Body>,
    lease: Cell<Option<Lease>>,
}

impl Progress {
    /// Begins with a URL; `whole` is counted already after a redirect.
    pub(super) fn new(url: &Uri, whole: Limit) -> Result<Rc<Self>, DeferredError> {
        Ok(Rc::new(Self {
            reactor: Reactor::current().ok_or(DeferredError::NoReactor)?,
            url: url.clone(),
            phase: Cell::new(Phase::Connecting),
            between: Cell::default(),
            whole: Cell::new(whole),
            timer: LimitTimer::default(),
            expired: Cell::default(),
            waker: Cell::default(),
            body: RefCell::default(),
            lease: Cell::default(),
        }))
    }

    /// Begins to count the time: `between` anew, and `whole` unless it is counted already.
    pub(super) fn count(self: &Rc<Self>, between: Option<Duration>, whole: Option<Duration>) {
        let now = self.reactor.now();
        let since = |limit| (now, limit);
        self.between.set(between.map(since));
        self.whole
            .set(self.whole.get().or_else(|| whole.map(since)));
        self.watch();
    }

    fn note_moved(&self) {
        let since = |(_, limit)| (self.reactor.now(), limit);
        self.between.set(self.between.get().map(since));
    }

    /// Fails the request if a limit has passed, and sets the timer for the next check.
    fn watch(self: &Rc<Self>) {
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::watch);
        let limits = [self.between.get(), self.whole.get()];
        if let Some((_, limit)) = self.timer.passed(&limits, &self.reactor, look) {
            self.end(Stage::Sent);
            let failure = HttpError::timed_out(self.phase.get(), &self.url, limit);
            self.expired.set(Some(failure));
            cells::wake(&self.waker);
        }
    }

    /// Waits for a future as long as the limits allow.
    pub(super) async fn within<F>(&self, mut future: F) -> Result<F::Output, Failure>
    where
        F: Future + Unpin,
    {
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.poll_unpin(cx) {
                self.between.set(None);
                return Poll::Ready(Ok(output));
            }
            self.waker.set(Some(cx.waker().clone()));
            let expired = self.expired.take();
            expired.map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)))
        })
        .await
    }

    pub(super) fn failed(&self, cause: Failure) -> Failure {
        HttpError::failed(self.phase.get(), &self.url, cause)
    }

    /// Returns a request's body, whose sending is followed unless it is sent at once.
    pub(super) fn sent(self: &Rc<Self>, body: Body) -> Body {
        let most = HttpBody::size_hint(&body).upper();
        if most.is_some_and(|most| most <= PIECE as u64) {
            self.phase.set(Phase::Waiting);
            return body;
        }
        self.phase.set(Phase::Sending);
        let this = self.clone();
        Body::mapped(body, move |body, cx| {
            let frame = match body.split(PIECE) {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None => ready!(body.next_frame(cx)),
            };
            this.note_moved();
            if frame.is_none() || body.is_end_stream() {
                this.phase.set(Phase::Waiting);
            }
            Poll::Ready(frame)
        })
    }

    /// Returns a response's body, in which `between` is the longest time without a piece. The
    /// connection is in use until its end.
    pub(super) fn received(
        self: &Rc<Self>,
        incoming: Incoming,
        between: Option<Duration>,
        lease: Lease,
    ) -> Body {
        if incoming.is_end_stream() {
            lease.stage.set(Stage::Over);
            return Body::empty();
        }
        self.phase.set(Phase::Reading);
        self.body.replace(incoming.into());
        self.lease.set(Some(lease));
        self.count(between, None);
        Body::other(Received(self.clone()))
    }

    /// Drops the response's body, which frees its connection.
    fn end(&self, stage: Stage) {
        let (body, lease) = (self.body.take(), self.lease.take());
        if let Some(lease) = &lease {
            lease.stage.set(stage);
        }
        drop((body, lease));
        self.timer.stop();
    }
}

struct Received(Rc<Progress>);

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if let Some(failure) = self.0.expired.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let mut body = self.0.body.borrow_mut();
        let Poll::Ready(frame) = body.next_frame(cx) else {
            self.0.waker.set(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        let is_end = body.is_end_stream() || !matches!(frame, Some(Ok(_)));
        drop(body);
        match is_end {
            true => self.0.end(Stage::Over),
            false => self.0.note_moved(),
        }
        Poll::Ready(frame).map_err(|cause| self.0.failed(cause))
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.borrow().is_end_stream() && !cells::is_some(&self.0.expired)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&*self.0.body.borrow())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.0.end(Stage::Sent);
    }
}

/// The most bytes that are sent at once.
const PIECE: usize = 64 * 1024;
