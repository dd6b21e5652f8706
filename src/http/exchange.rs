//! The settings of a server, [`Server`], the requests of a connection, [`Exchange`], and its time
//! limits, [`Watch`].
//!
//! # The idea
//!
//! Each connection has one timer, whose interval is the shortest limit. It checks for which event
//! the connection waits, and since when. So the requests of a busy connection start no timers.

use std::cell::Cell;
use std::fs::File;
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, Uri, header};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;
use tracing::Level;

use super::body::{Body, Mapped};
use super::error::{HttpError, Phase};
use crate::cells;
use crate::clock::{Clock, Limit, LimitTimer, Sleep};
use crate::defer::{Deferred, Resolver};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::settings::settings;
use crate::stream::Connection;
use crate::transport::Transport;

settings! {
/// The settings of an HTTP server; [`Server::serve`] starts it.
///
/// | limit | default | a peer that exceeds it |
/// |---|---|---|
/// | [`head_timeout`](Self::head_timeout) | 30 s | is disconnected |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s | is disconnected |
/// | [`body_timeout`](Self::body_timeout) | 60 s | gets 408, or is disconnected |
/// | [`max_head`](Self::max_head) | 32 KiB | gets 431 |
/// | [`max_headers`](Self::max_headers) | 100 | gets 431 |
/// | [`max_body`](Self::max_body) | 16 MiB | gets 413 |
/// | [`max_concurrent_streams`](Self::max_concurrent_streams) | 100 | waits |
/// | [`max_connections`](Self::max_connections) | 10,000 | waits |
///
/// A peer that *waits* can send a further request, or connect, when another request or connection
/// has ended.
///
/// The [`ListenOptions`] of the endpoint have further limits, for example on the number of
/// connections of one peer. [The guide](crate::guide::http#a-server) has an example.
///
/// [`ListenOptions`]: crate::net::ListenOptions
#[derive(Clone, Debug)]
#[must_use]
pub struct Server of Server, |server| server;

    limits of time:
    /// Sets the time limit for the head of a request, from its first byte; for the first request,
    /// from the beginning of the connection.
    ///
    /// `None` means no limit, here and for the other time limits.
    #[doc(alias = "header_read_timeout")]
    head_timeout = Duration::from_secs(30);

    /// Sets how long a connection may stay open without a request, after its first one.
    #[doc(alias("keep_alive_timeout", "timeOut"))]
    idle_timeout = Duration::from_secs(60);

    /// Sets the time limit between two pieces of a request's body while the handler reads it, and
    /// between two pieces of a response that the peer accepts.
    ///
    /// When it passes, reading the request's body fails with
    /// [`HttpError::TimedOut`](super::HttpError::TimedOut), or the connection is closed.
    body_timeout = Duration::from_secs(60);

    others:
    /// Sets the maximum length of a request's head, in bytes. A value below 8 KiB is raised to
    /// 8 KiB.
    #[doc(alias("max_header_size", "max_header_list_size"))]
    max_head: usize = 32 << 10, usize => max_head.max(8 << 10);

    /// Sets the maximum number of headers of a request over HTTP/1.
    max_headers: Option<usize> = None, usize => Some(max_headers);

    /// Sets the maximum length of a request's body, in bytes.
    ///
    /// If `content-length` announces a longer body, the request is answered without a call of the
    /// handler. If the length is not announced, reading the body fails with
    /// [`HttpError::TooLarge`].
    ///
    /// [`HttpError::TooLarge`]: super::HttpError::TooLarge
    #[doc(alias("DefaultBodyLimit", "client_max_body_size"))]
    max_body: u64 = 16 << 20, u64 => max_body;

    /// Sets the maximum number of requests that are open at the same time on one HTTP/2 connection.
    max_concurrent_streams: u32 = 100, u32 => max_concurrent_streams;

    /// Sets the maximum number of connections, unless the endpoint's
    /// [`ListenOptions`](crate::net::ListenOptions::max_connections) set it.
    max_connections: usize = 10_000, usize => max_connections;

    /// Sets whether the extensions of each request contain the peer's [`Address`](crate::Address):
    /// `request.extensions().get::<Address>()`. By default they do not.
    #[doc(alias("ConnectInfo", "getClientAddress", "remote_addr"))]
    peers: bool = false, bool => peers;
}

/// Returns the connection of an HTTP/1 request that asks for another protocol, such as WebSocket.
///
/// A handler calls this, spawns a task that awaits the Deferred, and returns a response of status
/// 101; to `CONNECT`, of a success. The Deferred fires when that response has been sent, so a
/// handler that awaited it itself would wait forever.
///
/// The connection no longer belongs to the server: [`HttpPort::stop`](super::HttpPort::stop)
/// neither waits for it nor closes it.
///
/// # Errors
///
/// Fails with [`HttpError::NoUpgrade`] when the request does not ask for another protocol, when it
/// came over HTTP/2, and when the function was called for the request before. Fails with
/// [`DeferredError::Abandoned`] when the response has another status, or the connection ends first.
///
/// [`DeferredError::Abandoned`]: crate::defer::DeferredError::Abandoned
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
pub(super) fn asks_for_upgrade(head: &mut Parts, watch: &Rc<Watch>) -> bool {
    let asks = head.method == Method::CONNECT || head.headers.contains_key(header::UPGRADE);
    if asks && !watch.is_http2() {
        let watch = SendWrapper::new(Rc::downgrade(watch));
        head.extensions.insert(Upgradable(watch));
    }
    asks
}

/// A request whose response is not finished.
pub(super) struct Exchange {
    pub(super) watch: Rc<Watch>,
    log: Option<Box<LogEntry>>,
    /// Whether its body has given a piece and was not asked for the next one.
    is_blocked: bool,
}

/// The fields of the `tracing` event that is emitted when a response has ended.
struct LogEntry {
    begun: Instant,
    head: Parts,
    status: u16,
    /// The number of bytes of the body that were given to the connection.
    bytes: u64,
}

impl Exchange {
    /// Begins with a request.
    pub(super) fn new(head: &Parts, watch: Rc<Watch>) -> Self {
        watch.active.set(watch.active.get() + 1);
        if watch.blocked.get() == 0 {
            // The time does not matter: this wait has no limit.
            watch.wait.set((Wait::Busy, watch.wait.get().1));
        }
        let is_logged = tracing::enabled!(target: "torsade::http::access", Level::INFO);
        let entry = || LogEntry {
            begun: watch.reactor.now(),
            head: head.clone(),
            status: 0,
            bytes: 0,
        };
        Self {
            log: is_logged.then(|| Box::new(entry())),
            watch,
            is_blocked: false,
        }
    }

    /// Returns the body of the request, limited in its size and in the time between two pieces.
    pub(super) fn received(&self, incoming: Incoming, url: &Uri) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        let (url, reactor) = (url.clone(), self.watch.reactor.clone());
        let (limit, most) = (self.watch.server.body_timeout, self.watch.server.max_body);
        let (mut left, mut sleep) = (most, None::<Sleep>);
        Body::mapped(Body::from(incoming), move |body, cx| {
            match (body.next_frame(cx), limit) {
                (Poll::Ready(frame), _) => {
                    let length = length(&frame);
                    if length > 0 {
                        sleep = None;
                    }
                    let Some(rest) = left.checked_sub(length) else {
                        return Poll::Ready(Some(Err(HttpError::TooLarge { limit: most }.into())));
                    };
                    left = rest;
                    Poll::Ready(frame)
                }
                (Poll::Pending, None) => Poll::Pending,
                (Poll::Pending, Some(limit)) => {
                    let sleep = sleep.get_or_insert_with(|| reactor.sleep(limit));
                    ready!(Pin::new(sleep).poll(cx))?;
                    Poll::Ready(Some(Err(HttpError::timed_out(Phase::Reading, &url, limit))))
                }
            }
        })
    }

    /// Returns the response with a body that is watched; its end is logged.
    pub(super) fn sent(
        mut self,
        response: Response<Body>,
    ) -> Response<impl HttpBody<Data = Bytes, Error = Failure>> {
        // hyper must write as many zeros as there are bytes of the file, and nothing between.
        let names = [header::TRANSFER_ENCODING, header::CONTENT_LENGTH];
        let is_sized = || names.iter().any(|it| response.headers().contains_key(it));
        let mut is_direct = response.body().is_file() && !self.watch.is_http2() && !is_sized();
        if let Some(log) = &mut self.log {
            log.status = response.status().as_u16();
        }
        let poll = move |body: &mut Body, cx: &mut Context<'_>| {
            if mem::take(&mut is_direct) {
                self.watch.file.set(body.take_file());
            }
            let frame = body.next_frame(cx);
            self.set_blocked(frame.is_ready());
            if let (Some(log), Poll::Ready(frame)) = (&mut self.log, &frame) {
                log.bytes += length(frame);
            }
            frame
        };
        response.map(|body| Mapped { body, poll })
    }

    /// Records whether the body waits for the peer. Over HTTP/1 the transport knows that.
    fn set_blocked(&mut self, is_blocked: bool) {
        let watch = &self.watch;
        if watch.is_http2() {
            let others = watch.blocked.get() - usize::from(self.is_blocked);
            watch.blocked.set(others + usize::from(is_blocked));
            self.is_blocked = is_blocked;
            watch.set_wait(match watch.blocked.get() {
                0 => Wait::Busy,
                _ => Wait::Peer,
            });
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.set_blocked(false);
        let watch = &self.watch;
        watch.active.set(watch.active.get() - 1);
        if watch.active.get() == 0 {
            watch.set_wait(Wait::Idle);
        }
        let Some(log) = &self.log else { return };
        // The bytes of the peer are escaped.
        let text = |name: HeaderName| {
            let value = log.head.headers.get(name);
            let bytes = value.map_or(&b"-"[..], |value| value.as_bytes());
            bytes.escape_ascii()
        };
        tracing::info!(
            target: "torsade::http::access",
            peer = %watch.transport.peer(),
            method = %log.head.method,
            target = %log.head.uri.to_string().escape_debug(),
            version = ?log.head.version,
            status = log.status,
            bytes = log.bytes,
            seconds = (watch.reactor.now() - log.begun).as_secs_f64(),
            referer = %text(header::REFERER),
            user_agent = %text(header::USER_AGENT),
        );
    }
}

/// Returns the number of the frame's bytes.
fn length(frame: &Option<Result<Frame<Bytes>, Failure>>) -> u64 {
    let frame = frame.as_ref().and_then(|frame| frame.as_ref().ok());
    let data = frame.and_then(Frame::data_ref);
    data.map_or(0, |data| data.len() as u64)
}

/// The event for which a connection waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// The rest of a head.
    Head,
    /// The next request.
    Idle,
    /// A handler, or the body of a request, which is limited where it is read.
    Busy,
    /// The peer, which is to accept the bodies of responses over HTTP/2.
    Peer,
}

/// Watches a connection.
pub(super) struct Watch {
    pub(super) transport: Transport,
    /// `None` until it is known.
    pub(super) is_http2: Cell<Option<bool>>,
    /// The file to send in place of zeros, and its length.
    pub(super) file: Cell<Option<(File, u64)>>,
    /// Fires with the connection if the response says that the protocol changes.
    pub(super) upgrade: Cell<Option<Resolver<Connection>>>,
    /// Whether the response agrees to change the protocol. `None` unless a request asked for it.
    pub(super) changes: Cell<Option<bool>>,
    pub(super) server: Rc<Server>,
    pub(super) reactor: Reactor,
    wait: Cell<(Wait, Instant)>,
    /// The time at which the end was requested, and its limit.
    end: Cell<Limit>,
    timer: LimitTimer,
    /// The number of requests whose response is not finished, and of those that wait for the peer.
    active: Cell<usize>,
    blocked: Cell<usize>,
    /// Whether the connection has not ended in time.
    pub(super) was_cut_off: Cell<bool>,
    /// The task of the connection.
    waker: Cell<Option<Waker>>,
}

impl Watch {
    /// Watches a new connection.
    pub(super) fn start(conn: &Connection, reactor: Reactor, server: &Rc<Server>) -> Rc<Self> {
        let this = Rc::new(Self {
            transport: conn.transport(),
            is_http2: Cell::default(),
            file: Cell::default(),
            upgrade: Cell::default(),
            changes: Cell::default(),
            server: server.clone(),
            wait: Cell::new((Wait::Head, reactor.now())),
            reactor,
            end: Cell::default(),
            timer: LimitTimer::default(),
            active: Cell::default(),
            blocked: Cell::default(),
            was_cut_off: Cell::default(),
            waker: Cell::default(),
        });
        this.check();
        this
    }

    /// Ends the connection when its requests are answered, and after `limit` in any case.
    pub(super) fn stop(self: &Rc<Self>, limit: Duration) {
        self.end.set(Some((self.reactor.now(), limit)));
        if self.is_http2.get().is_none() {
            return self.transport.lose_connection();
        }
        self.check();
        cells::wake(&self.waker);
    }

    fn is_http2(&self) -> bool {
        self.is_http2.get() == Some(true)
    }

    /// Returns whether the end was requested. The task is woken when it is.
    pub(super) fn poll_stop(&self, cx: &Context<'_>) -> bool {
        let waker = self.waker.take().unwrap_or_else(|| cx.waker().clone());
        self.waker.set(Some(waker));
        self.end.get().is_some()
    }

    /// Records whether the response agrees to change the protocol, for which the request asked.
    pub(super) fn set_changes(&self, changes: bool) {
        self.changes.set(Some(changes));
        self.upgrade.set(self.upgrade.take().filter(|_| changes));
        cells::wake(&self.waker);
    }

    /// Records that a part of a head has arrived.
    pub(super) fn head_begun(&self) {
        if self.wait.get().0 == Wait::Idle {
            self.set_wait(Wait::Head);
        }
    }

    fn set_wait(&self, wait: Wait) {
        self.wait.set((wait, self.reactor.now()));
    }

    /// Checks whether a limit has passed, and sets the timer for the next check.
    fn check(self: &Rc<Self>) {
        let (wait, since) = self.wait.get();
        let (head, idle) = (self.server.head_timeout, self.server.idle_timeout);
        let body = self.server.body_timeout;
        let limit = match wait {
            Wait::Head => head,
            Wait::Idle => idle,
            Wait::Busy => None,
            Wait::Peer => body,
        };
        // The wait may change before the next check.
        let next = [head, idle, body].into_iter().flatten().min();
        let next = next.map(|next| (self.reactor.now(), next.max(SHORTEST)));
        let limits = [self.end.get(), limit.map(|limit| (since, limit)), next];
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::check);
        let passed = self.timer.passed(&limits, &self.reactor, look);
        if passed.is_some() {
            self.expired(wait, passed == self.end.get());
        }
    }

    #[cold]
    fn expired(self: &Rc<Self>, wait: Wait, is_cut_off: bool) {
        let peer = self.transport.peer();
        tracing::debug!(target: "torsade::http", %peer, ?wait, "a time limit has passed");
        self.was_cut_off.set(is_cut_off);
        self.set_wait(wait);
        match (wait, self.server.idle_timeout) {
            (Wait::Head, _) if !is_cut_off => self.transport.lose_connection(),
            (Wait::Idle, Some(limit)) if !is_cut_off => self.stop(limit.max(SHORTEST)),
            _ => self.transport.abort_connection(),
        }
    }
}

/// The shortest time between two checks.
const SHORTEST: Duration = Duration::from_millis(10);
