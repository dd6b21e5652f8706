//! Servers: their start, [`serve`], their end, [`HttpPort`], and their handlers' responses.
//!
//! # The idea
//!
//! Each connection of a port is a task that runs hyper over a [`Wire`], with a [`Watch`] that
//! enforces the limits of time. hyper calls [`answer`] for each request.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use send_wrapper::SendWrapper;
use slab::Slab;
use tower_service::Service;

use super::body::Body;
use super::error::HttpError;
use super::exchange::{Exchange, Server, Watch, asks_for_upgrade};
use super::wire::Wire;
use crate::address::Address;
use crate::defer::{Deferred, Listeners};
use crate::failure::Failure;
use crate::hyper::{Executor, Timer};
use crate::net::{ListenOptions, Port, ToServerEndpoint};
use crate::reactor::{Reactor, ReactorError};
use crate::stream::Connection;

/// Serves HTTP at an endpoint, with the default settings of [`Server`]. The server calls `handler`
/// for each request, and sends the response that it returns.
///
/// [`Server::serve`] describes the versions of HTTP, and the responses to failures.
///
/// # Errors
///
/// As for [`Server::serve`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http;
///
/// torsade::testing::run(async |reactor| {
///     let port = http::serve("127.0.0.1:0", async |request| {
///         Ok(format!("hello from {}", request.uri().path()))
///     })?;
///
///     let mut client = reactor.connect_stream(port.local_addr()).await?;
///     client.write_all(b"GET /here HTTP/1.0\r\n\r\n").await?;
///     let mut answer = Vec::new();
///     client.read_to_end(&mut answer).await?;
///     assert!(answer.ends_with(b"\r\n\r\nhello from /here"));
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn serve<R: IntoResponse + 'static>(
    endpoint: impl ToServerEndpoint,
    handler: impl AsyncFn(Request<Body>) -> Result<R, Failure> + 'static,
) -> Result<HttpPort, Failure> {
    Server::new().serve(endpoint, handler)
}

impl Server {
    /// Returns the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves HTTP at an endpoint, on the reactor that runs on this thread. The server calls
    /// `handler` for each request, and sends the response that it returns. Calls for several
    /// connections, and for several requests of an HTTP/2 connection, run at the same time.
    ///
    /// The first bytes of a connection decide whether it speaks HTTP/2 or HTTP/1 (1.0 and 1.1). In
    /// TLS, `h2` and `http/1.1` are offered by ALPN unless the endpoint's configuration has
    /// protocols.
    ///
    /// When a peer disconnects before it has its response, the handler's future is dropped: when
    /// the connection ends, when an HTTP/2 stream is reset, and over HTTP/1 also when the peer ends
    /// its writing side. Work that must be finished is [spawned](crate::spawn). Over HTTP/1, while
    /// a part of the request's body or a further request is unread, the server notices the end only
    /// when the handler reads the body or the response is written.
    ///
    /// A failure or panic of the handler is reported ([`report`](crate::report)), and answered with
    /// status 500. If the handler returns the failure of reading the request's body, the answer is
    /// 413 (too large), 408 (too slow) or 400 (broken off) instead, and nothing is reported.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen`], and with [`ReactorError::NotRunning`] when no reactor runs on
    /// this thread.
    #[track_caller]
    pub fn serve<R: IntoResponse + 'static>(
        self,
        endpoint: impl ToServerEndpoint,
        handler: impl AsyncFn(Request<Body>) -> Result<R, Failure> + 'static,
    ) -> Result<HttpPort, Failure> {
        let location = Location::caller();
        let no_reactor = || Failure::at(ReactorError::NotRunning, location);
        let reactor = Reactor::current().ok_or_else(no_reactor)?;
        let endpoint = endpoint.into_server_endpoint(&reactor)?;
        #[cfg(feature = "tls")]
        let endpoint = endpoint.or_alpn(&["h2", "http/1.1"]);
        let options = ListenOptions::new().max_connections(self.max_connections);
        let options = options.send_timeout(self.body_timeout);
        let mut http1 = http1::Builder::new();
        http1.max_header_size(self.max_head);
        // hyper's own limit is the default, for which it does not clear its memory each time.
        if let Some(most) = self.max_headers {
            http1.max_headers(most);
        }
        let mut http2 = http2::Builder::new(Executor);
        let max_head = self.max_head.try_into().unwrap_or(u32::MAX);
        http2.timer(Timer).max_header_list_size(max_head);
        http2.max_concurrent_streams(self.max_concurrent_streams);
        let connections = Rc::new(Connections::default());
        let serving = Rc::new(Serving {
            http1,
            http2,
            server: Rc::new(self),
            connections: connections.clone(),
            handler,
            location,
        });
        let port = reactor.serve((endpoint, options), move |conn| serving.clone().serve(conn))?;
        Ok(HttpPort { port, connections })
    }
}

/// The data that the connections of a server share.
struct Serving<H> {
    http1: http1::Builder,
    http2: http2::Builder<Executor>,
    server: Rc<Server>,
    connections: Rc<Connections>,
    handler: H,
    location: &'static Location<'static>,
}

impl<R, H> Serving<H>
where
    R: IntoResponse + 'static,
    H: AsyncFn(Request<Body>) -> Result<R, Failure> + 'static,
{
    async fn serve(self: Rc<Self>, conn: Connection) -> Result<(), Failure> {
        let reactor = Reactor::current().ok_or(ReactorError::NotRunning)?;
        let watch = &Watch::start(&conn, reactor, &self.server);
        let _entry = self.connections.enter(watch);
        let mut wire = Wire::new(conn, watch.clone());
        let Ok(is_http2) = wire.find_version().await else {
            return Ok(());
        };
        let (this, its_watch) = (self.clone(), watch.clone());
        let service = service_fn(move |request| this.clone().answer(request, its_watch.clone()));
        let served = if is_http2 {
            let mut serving = self.http2.serve_connection(wire, service);
            run(&mut serving, http2::Connection::graceful_shutdown, watch).await
        } else {
            let mut serving = self.http1.serve_connection(wire, service);
            let served = run(&mut serving, http1::Connection::graceful_shutdown, watch).await;
            if served.is_ok() && watch.changes.get() == Some(true) {
                if let Some(upgrade) = watch.upgrade.take() {
                    let parts = serving.into_parts();
                    upgrade.callback(parts.io.into_connection(&parts.read_buf));
                }
            }
            served
        };
        let Err(error) = served else { return Ok(()) };
        let peer = watch.transport.peer();
        if error.is_user() {
            // The peer must not take a part for the whole.
            watch.transport.abort_connection();
            Failure::from(error).report(format_args!("of a response to {peer}"));
        } else {
            tracing::debug!(target: "torsade::http", %peer, %error, "a connection ended");
        }
        Ok(())
    }

    /// Makes the response of a request.
    fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
        watch: Rc<Watch>,
    ) -> impl Future<Output = Result<Response<impl HttpBody<Data = Bytes, Error = Failure>>, Infallible>>
    {
        let (mut head, incoming) = request.into_parts();
        let asks_for_upgrade = asks_for_upgrade(&mut head, &watch);
        if self.server.peers {
            head.extensions.insert(watch.transport.peer());
        }
        let refusal = match incoming.size_hint().lower() > self.server.max_body {
            true => Some(StatusCode::PAYLOAD_TOO_LARGE),
            false => is_ambiguous(&head).then_some(StatusCode::BAD_REQUEST),
        };
        let exchange = Exchange::new(&head, watch);
        let body = exchange.received(incoming, &head.uri);
        let (method, path) = (head.method.clone(), head.uri.path_and_query().cloned());
        let request = Request::from_parts(head, body);
        async move {
            let mut response = match refusal {
                Some(status) => {
                    let mut response = status.into_response();
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                    response
                }
                None => {
                    let future = AssertUnwindSafe((self.handler)(request));
                    let answer = future.catch_unwind().await;
                    let failure = |panic| Err(Failure::from_panic(panic, self.location));
                    match answer.unwrap_or_else(failure) {
                        Ok(response) => response.into_response(),
                        Err(failure) => failed(failure, &method, path.as_ref()),
                    }
                }
            };
            if asks_for_upgrade {
                let status = response.status();
                let is_accepted = method == Method::CONNECT && status.is_success();
                let changes = is_accepted || status == StatusCode::SWITCHING_PROTOCOLS;
                exchange.watch.set_changes(changes);
            }
            if method == Method::HEAD {
                if let Some(length @ 1..) = response.body().size_hint().exact() {
                    let (headers, length) = (response.headers_mut(), length.into());
                    headers.entry(header::CONTENT_LENGTH).or_insert(length);
                }
                *response.body_mut() = Body::empty();
            }
            Ok(exchange.sent(response))
        }
    }
}

/// Runs a connection, whose `end` is called when a stop is requested.
async fn run<C: Future + Unpin>(conn: &mut C, end: fn(Pin<&mut C>), watch: &Watch) -> C::Output {
    poll_fn(|cx| {
        if watch.poll_stop(cx) {
            end(Pin::new(conn));
        }
        conn.poll_unpin(cx)
    })
    .await
}

/// Makes the response for a failure of the handler; reports it unless the peer caused it.
#[cold]
fn failed(failure: Failure, method: &Method, path: Option<&PathAndQuery>) -> Response<Body> {
    let status = match failure.downcast_ref() {
        Some(HttpError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(HttpError::TimedOut { .. }) => StatusCode::REQUEST_TIMEOUT,
        Some(HttpError::BodyBroken { .. }) => StatusCode::BAD_REQUEST,
        _ => {
            let path = path.map_or("", |path| path.path()).escape_debug();
            failure.report(format_args!("in the handler of {method} {path}"));
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    status.into_response()
}

/// Returns whether it is not certain which host a request is for.
fn is_ambiguous(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, other) = (hosts.next(), hosts.next());
    let Some(host) = host else {
        return head.version == Version::HTTP_11;
    };
    let is_other = |to: &str| !host.as_bytes().eq_ignore_ascii_case(to.as_bytes());
    let authority = head.uri.authority();
    other.is_some() || authority.is_some_and(|to| is_other(to.as_str()))
}

/// Converts a value that a handler returns into a response.
///
/// * A string is sent as `text/plain; charset=utf-8`, with status 200.
/// * Bytes, a [`Body`] and `()` are sent without a content type, with status 200.
/// * A [`StatusCode`] is a response without a body; with another value, as in
///   `(StatusCode::CREATED, "done")`, it is the status of that response.
/// * A [`Response`] is sent as it is.
///
/// A handler that returns different types calls [`into_response`](Self::into_response) on each.
pub trait IntoResponse {
    /// Returns the response.
    fn into_response(self) -> Response<Body>;
}

impl<B: Into<Body>> IntoResponse for Response<B> {
    fn into_response(self) -> Response<Body> {
        self.map(Into::into)
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response<Body> {
        (self, ()).into_response()
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response<Body> {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

macro_rules! is_response {
    ($($kind:ty),+ => $headers:expr;) => {
        $(impl IntoResponse for $kind {
            fn into_response(self) -> Response<Body> {
                let mut response = Response::new(Body::from(self));
                response.headers_mut().extend($headers);
                response
            }
        })+
    };
}

is_response!(&'static str, String => [(header::CONTENT_TYPE, TEXT)];);
is_response!((), Body, Bytes, Vec<u8>, &'static [u8] => None::<(HeaderName, HeaderValue)>;);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A handle to a port that serves HTTP.
///
/// A clone is a handle to the same port. Dropping all handles does not close it.
#[derive(Clone)]
pub struct HttpPort {
    pub(super) port: Port,
    pub(super) connections: Rc<Connections>,
}

impl HttpPort {
    /// Returns the address that the port listens at, like [`Port::local_addr`].
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.port.local_addr()
    }

    /// Returns the underlying [`Port`], which can pause and limit the accepting of connections. Its
    /// [`stop`](Port::stop) does not close the connections.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Closes the port at once, and each connection when its requests are answered. After `limit`,
    /// the remaining connections are closed without an answer. The Deferred fires when all are
    /// closed, with the number of those that were closed after `limit`.
    ///
    /// Idle connections are closed at once. HTTP/2 peers receive `GOAWAY`. Upgraded connections
    /// ([`upgrade`](super::upgrade)) stay open.
    ///
    /// # Errors
    ///
    /// As for [`Port::stop`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::http;
    ///
    /// torsade::testing::run(async |_reactor| {
    ///     let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
    ///     assert_eq!(port.stop(Duration::from_secs(10)).await?, 0);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("graceful_shutdown", "stopListening", "stopFactory"))]
    #[track_caller]
    pub fn stop(&self, limit: Duration) -> Deferred<usize> {
        let connections = self.connections.clone();
        let ended = connections.ended.join();
        connections.stopping.set(Some(limit));
        let watches = connections.watches.borrow().clone();
        watches.iter().for_each(|(_, watch)| watch.stop(limit));
        self.port.stop().add_callback(move |()| {
            connections.check();
            ended
        })
    }
}

/// The open connections of a server.
#[derive(Default)]
pub(super) struct Connections {
    watches: RefCell<Slab<Rc<Watch>>>,
    /// The limit of a stop that was requested.
    stopping: Cell<Option<Duration>>,
    cut_off: Cell<usize>,
    /// The Deferreds of stops.
    ended: Listeners<usize>,
}

impl Connections {
    /// Enters a connection, until the entry is dropped.
    pub(super) fn enter(self: &Rc<Self>, watch: &Rc<Watch>) -> Entry {
        let key = self.watches.borrow_mut().insert(watch.clone());
        if let Some(limit) = self.stopping.get() {
            watch.stop(limit);
        }
        Entry(self.clone(), key)
    }

    /// Fires the Deferreds of stops when no connection is left.
    fn check(&self) {
        if self.stopping.get().is_some() && self.watches.borrow().is_empty() {
            let count = self.cut_off.get();
            self.ended.resolvers().for_each(|it| it.callback(count));
        }
    }
}

/// The entry of a connection.
pub(super) struct Entry(Rc<Connections>, usize);

impl Drop for Entry {
    fn drop(&mut self) {
        let Self(connections, key) = self;
        let watch = connections.watches.borrow_mut().remove(*key);
        let count = connections.cut_off.get() + usize::from(watch.was_cut_off.get());
        connections.cut_off.set(count);
        connections.check();
    }
}

impl fmt::Debug for HttpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port.fmt(f)
    }
}

/// Returns a handler for [`serve`](super::serve) that calls a `tower::Service`, such as an axum
/// `Router`.
///
/// For each request the handler clones the service, waits until the clone is ready, and calls it,
/// on the reactor's thread. An error of the service is a failure of the handler.
///
/// # Examples
///
/// ```no_run
/// # use std::convert::Infallible;
/// # use std::future::{Ready, ready};
/// # use std::task::{Context, Poll};
/// use torsade::http::{self, Request, Response, SendBody};
///
/// #[derive(Clone)]
/// struct Hello;
///
/// impl tower_service::Service<Request<SendBody>> for Hello {
///     type Response = Response<String>;
///     type Error = Infallible;
///     type Future = Ready<Result<Response<String>, Infallible>>;
///
///     fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, _request: Request<SendBody>) -> Self::Future {
///         ready(Ok(Response::new("hello".into())))
///     }
/// }
///
/// # fn main() -> Result<(), torsade::Failure> {
/// torsade::run(async |reactor| {
///     // Or `http::service(axum::Router::new())`.
///     http::serve("127.0.0.1:8080", http::service(Hello))?;
///     std::future::pending().await
/// })
/// # }
/// ```
pub fn service<S, B>(
    service: S,
) -> impl AsyncFn(Request<Body>) -> Result<Response<Body>, Failure> + 'static
where
    S: Service<Request<SendBody>, Response = Response<B>, Error: Into<Failure>> + Clone + 'static,
    B: HttpBody<Error: Into<Failure>> + 'static,
{
    async move |request: Request<Body>| {
        let mut service = service.clone();
        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
        ready.map_err(Into::into)?;
        let request = request.map(|body| Pin::new(SendWrapper::new(body)));
        let response = service.call(request).await.map_err(Into::into)?;
        Ok(response.map(Body::wrap))
    }
}

/// A [`Body`] in a wrapper that is `Send`, as services such as axum's require.
///
/// Using or dropping it on another thread than the reactor's panics.
pub type SendBody = Pin<SendWrapper<Body>>;
