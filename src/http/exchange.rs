//! The bodies of a request and its response, at a server.

use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;

use super::access_log::LogEntry;
use super::body::Body;
use super::error::{HttpError, Phase};
use super::watch::{Active, Limits, Watch};
use super::wire::zeros;
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
    watch.set_upgrade(Some(resolver));
    deferred
}

/// The connection of a request that asks for another protocol.
#[derive(Clone)]
struct Upgradable(SendWrapper<Weak<Watch>>);

/// Returns whether a request asks for another protocol; if so, it may be [upgraded](upgrade).
pub(super) fn asks_for_upgrade<B>(request: &mut Request<B>, watch: &Rc<Watch>) -> bool {
    let is_connect = request.method() == Method::CONNECT;
    let asks = watch.is_asked() && (is_connect || request.headers().contains_key(header::UPGRADE));
    if asks {
        let watch = SendWrapper::new(Rc::downgrade(watch));
        request.extensions_mut().insert(Upgradable(watch));
    }
    asks
}

/// Returns the request with a body that keeps to the limits.
pub(super) fn received(request: Request<Incoming>, limits: &Limits) -> Request<Body> {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let uri = request.uri().clone();
    request.map(|incoming| {
        Body::other(Limited {
            body: incoming.into(),
            left: limits.max_body,
            most: limits.max_body,
            limit: limits.body,
            sleep: None,
            is_waiting: false,
            uri,
        })
    })
}

/// The body of a request, limited in its size and in the time between two pieces.
struct Limited {
    body: Body,
    left: u64,
    most: u64,
    limit: Option<Duration>,
    sleep: Option<Sleep>,
    /// Whether the sleep runs.
    is_waiting: bool,
    uri: Uri,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.poll_limit(cx));
            let limit = this.limit.unwrap_or_default();
            let (phase, url) = (Phase::Reading, this.uri.to_string());
            return Poll::Ready(Some(Err(HttpError::TimedOut { phase, url, limit }.into())));
        };
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let length = data.map_or(0, |data| data.len() as u64);
        // Pieces without bytes move no limit.
        this.is_waiting &= length == 0;
        match this.left.checked_sub(length) {
            Some(left) => {
                this.left = left;
                Poll::Ready(frame)
            }
            None => Poll::Ready(Some(Err(HttpError::TooLarge { limit: this.most }.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

impl Limited {
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(limit), Some(reactor)) = (self.limit, Reactor::current()) else {
            return Poll::Pending;
        };
        if !self.is_waiting {
            self.is_waiting = true;
            match &mut self.sleep {
                Some(sleep) => sleep.reset(reactor.now() + limit),
                None => self.sleep = Some(reactor.sleep(limit)),
            }
        }
        match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }
}

/// The body of a response.
pub(super) struct Sent {
    body: Body,
    active: Active,
    /// The number of zeros to give in place of a file.
    zeros: u64,
    /// Whether a file may be sent past hyper.
    is_direct: bool,
    log: Option<Box<LogEntry>>,
}

impl Sent {
    /// Returns the response with a body that is watched, and logged when it has ended.
    pub(super) fn response(
        response: Response<Body>,
        active: Active,
        mut log: Option<Box<LogEntry>>,
    ) -> Response<Self> {
        let headers = response.headers();
        // hyper must write as many zeros as there are bytes of the file, and nothing between.
        let is_direct = !headers.contains_key(header::TRANSFER_ENCODING)
            && !headers.contains_key(header::CONTENT_LENGTH);
        if let Some(log) = &mut log {
            log.status = response.status().as_u16();
        }
        response.map(|body| Self {
            body,
            active,
            zeros: 0,
            is_direct,
            log,
        })
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.log(self.active.watch().transport());
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if mem::take(&mut this.is_direct) {
            if let Some(part) = this.body.take_file() {
                let left = part.left;
                match this.active.watch().offer_file(part) {
                    Ok(()) => this.zeros = left,
                    Err(part) => this.body = Body::file_part(part.file, left),
                }
            }
        }
        let frame = match this.zeros {
            0 => Pin::new(&mut this.body).poll_frame(cx),
            left => {
                let zeros = zeros(left);
                this.zeros -= zeros.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(zeros))))
            }
        };
        this.active.set_blocked(frame.is_ready());
        if let (Some(log), Poll::Ready(Some(Ok(frame)))) = (&mut this.log, &frame) {
            log.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.zeros == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
