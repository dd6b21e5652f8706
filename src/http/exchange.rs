//! The bodies of a request and its response, at a server.

use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;

use super::body::{Body, Mapped};
use super::error::{HttpError, Phase};
use super::settings::Server;
use super::watch::{Active, Watch};
use crate::clock::{Clock, Sleep};
use crate::defer::Deferred;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::stream::Connection;

/// Returns the connection of an HTTP/1 request that asks for another protocol, such as WebSocket's.
/// The Deferred fires when the handler's response, whose status is 101 (or, to `CONNECT`, a
/// success), was sent; if the response is another, it fails with [`DeferredError::Abandoned`].
///
/// [`DeferredError::Abandoned`]: crate::defer::DeferredError::Abandoned
///
/// The connection is no longer one of the server's: [`HttpPort::stop`](super::HttpPort::stop) does
/// not wait for it.
///
/// # Errors
///
/// [`HttpError::NoUpgrade`] when the request does not ask for another protocol.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http::{self, Body, Response};
///
/// torsade::testing::run(async |reactor| {
///     let port = http::serve("127.0.0.1:0", async |mut request| {
///         let upgrade = http::upgrade(&mut request);
///         torsade::spawn(async move {
///             let mut conn = upgrade.await?;
///             conn.write_all(b"welcome\n").await?;
///             Ok::<(), torsade::Failure>(())
///         })
///         .detach();
///         Ok(Response::builder().status(101).header("upgrade", "greeting").body(Body::empty())?)
///     })?;
///     let mut client = reactor.connect_stream(port.local_addr()).await?;
///     client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\n").await?;
///     client.write_all(b"Upgrade: greeting\r\n\r\n").await?;
///     while client.read_line(1000).await?.is_some_and(|line| !line.is_empty()) {}
///     assert_eq!(client.read_line(1000).await?.as_deref(), Some(&b"welcome"[..]));
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[doc(alias("on_upgrade", "WebSocket", "CONNECT"))]
#[track_caller]
pub fn upgrade(request: &mut Request<Body>) -> Deferred<Connection> {
    let extension = request.extensions_mut().remove::<Upgradable>();
    let Some(watch) = extension.and_then(|upgradable| upgradable.0.upgrade()) else {
        return Deferred::fail(HttpError::NoUpgrade);
    };
    let (deferred, resolver) = Deferred::pair();
    watch.upgrade.set(Some(resolver));
    deferred
}

/// The connection of a request that asks for another protocol.
#[derive(Clone)]
struct Upgradable(SendWrapper<Weak<Watch>>);

/// Returns whether a request asks for another protocol; if so, it may be [upgraded](upgrade).
pub(super) fn asks_for_upgrade<B>(request: &mut Request<B>, watch: &Rc<Watch>) -> bool {
    let is_connect = request.method() == Method::CONNECT;
    let asks = is_connect || request.headers().contains_key(header::UPGRADE);
    if asks && !watch.is_http2.get() {
        let watch = SendWrapper::new(Rc::downgrade(watch));
        request.extensions_mut().insert(Upgradable(watch));
    }
    asks
}

/// Returns the request with a body that is limited in its size and in the time between two pieces.
pub(super) fn received(request: Request<Incoming>, server: &Server) -> Request<Body> {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let url = request.uri().clone();
    let (limit, most) = (server.body_timeout, server.max_body);
    let (mut left, mut sleep) = (most, None::<Sleep>);
    let poll = move |body: Pin<&mut Body>, cx: &mut Context<'_>| {
        let Poll::Ready(frame) = body.poll_frame(cx) else {
            let (Some(limit), Some(reactor)) = (limit, Reactor::current()) else {
                return Poll::Pending;
            };
            let sleep = sleep.get_or_insert_with(|| reactor.sleep(limit));
            let _ = ready!(Pin::new(sleep).poll(cx));
            let failure = HttpError::timed_out(Phase::Reading, &url, limit);
            return Poll::Ready(Some(Err(failure)));
        };
        let length = length(&frame);
        if length > 0 {
            sleep = None;
        }
        let Some(rest) = left.checked_sub(length as u64) else {
            return Poll::Ready(Some(Err(HttpError::TooLarge { limit: most }.into())));
        };
        left = rest;
        Poll::Ready(frame)
    };
    request.map(|incoming| Body::mapped(Body::from(incoming), poll))
}

/// Returns the response with a body that is watched, and logged when it has ended.
pub(super) fn sent(
    response: Response<Body>,
    mut active: Active,
) -> Response<impl HttpBody<Data = Bytes, Error = Failure>> {
    let headers = response.headers();
    // hyper must write as many zeros as there are bytes of the file, and nothing between.
    let mut is_direct = !active.watch.is_http2.get()
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && !headers.contains_key(header::CONTENT_LENGTH);
    if let Some(log) = &mut active.log {
        log.status = response.status().as_u16();
    }
    let poll = move |mut body: Pin<&mut Body>, cx: &mut Context<'_>| {
        if mem::take(&mut is_direct) {
            active.watch.file.set(body.take_file());
        }
        let frame = body.poll_frame(cx);
        active.set_blocked(frame.is_ready());
        if let (Some(log), Poll::Ready(frame)) = (&mut active.log, &frame) {
            log.bytes += length(frame) as u64;
        }
        frame
    };
    response.map(|body| Mapped { body, poll })
}

/// Returns the number of the frame's bytes.
fn length(frame: &Option<Result<Frame<Bytes>, Failure>>) -> usize {
    let frame = frame.as_ref().and_then(|frame| frame.as_ref().ok());
    frame.and_then(Frame::data_ref).map_or(0, Bytes::len)
}
