//! One connection to a server, over which requests are sent: [`HttpConn`].
//!
//! # The idea
//!
//! hyper's future of a connection runs as a task of the reactor. It tells the connection's owner
//! when the connection can be sent a further request, and when it has ended.
//!
//! # Invariants
//!
//! 1. `on_change` is called once with `is_closed`, whatever ends the connection.
//! 2. The connection closes when its owner closes it, after the message that is under way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::Location;
use std::rc::Rc;

use futures::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use super::Body;
use crate::defer::{Deferred, Resolver};
use crate::failure::Failure;
use crate::hyper::{Executor, Timer};
use crate::reactor::Reactor;
use crate::stream::Connection;

/// A connection that requests are sent over.
pub(super) struct HttpConn {
    sender: RefCell<Option<Sender>>,
    pub(super) is_http2: bool,
    /// Whether a request is under way over HTTP/1.
    is_busy: Cell<bool>,
    /// Whether a request over HTTP/1 was given up.
    is_cut: Cell<bool>,
    /// Gets the connection when a request has ended HTTP on it.
    upgraded: Cell<Option<Resolver<Connection>>>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

type SendError = TrySendError<Request<Body>>;

impl HttpConn {
    /// Begins to speak HTTP over a connection, version 2 if `is_http2`.
    pub(super) async fn begin(
        reactor: &Reactor,
        conn: Connection,
        is_http2: bool,
        on_change: impl Fn(&Rc<Self>) + 'static,
        location: &'static Location<'static>,
    ) -> Result<Rc<Self>, Failure> {
        let executor = reactor.inner().executor().clone();
        let start = |sender| {
            let this = Rc::new(Self {
                sender: RefCell::new(Some(sender)),
                is_http2,
                is_busy: Cell::new(false),
                is_cut: Cell::new(false),
                upgraded: Cell::default(),
            });
            (this.clone(), Ending(this, on_change))
        };
        if is_http2 {
            let mut builder = http2::Builder::new(Executor);
            let (sender, driver) = builder.timer(Timer).handshake(conn).await?;
            let (this, ending) = start(Sender::Two(sender));
            let task = async move {
                let _ending = ending;
                // The error is that of each request as well.
                let _ = driver.await;
            };
            executor.spawn(task, location).detach();
            return Ok(this);
        }
        let (sender, mut driver) = http1::Builder::new().handshake(conn).await?;
        let (this, ending) = start(Sender::One(sender));
        let task = async move {
            let ended = poll_fn(|cx| {
                let polled = driver.poll_without_shutdown(cx);
                if polled.is_pending() && ending.0.has_become_ready() {
                    (ending.1)(&ending.0);
                }
                polled
            });
            let is_well = ended.await.is_ok();
            let mut parts = driver.into_parts();
            if let (true, Some(resolver)) = (is_well, ending.0.upgraded.take()) {
                parts.io.put_back(&parts.read_buf);
                resolver.callback(parts.io);
            } else if ending.0.is_cut.get() {
                // The rest of a response that nobody wants is not waited for.
                parts.io.transport().abort_connection();
            }
        };
        executor.spawn(task, location).detach();
        Ok(this)
    }

    pub(super) fn is_closed(&self) -> bool {
        match &*self.sender.borrow() {
            None => true,
            Some(Sender::One(sender)) => sender.is_closed(),
            Some(Sender::Two(sender)) => sender.is_closed(),
        }
    }

    /// Closes the connection when the messages that are under way are finished.
    pub(super) fn close(&self) {
        let sender = self.sender.take();
        drop(sender);
    }

    /// Returns whether the request over HTTP/1 has just been finished.
    fn has_become_ready(&self) -> bool {
        let is_ready = match &*self.sender.borrow() {
            Some(Sender::One(sender)) => sender.is_ready(),
            _ => false,
        };
        is_ready && self.is_busy.replace(false)
    }

    /// Records that the request that was sent is given up.
    pub(super) fn note_cut(&self) {
        self.is_cut.set(true);
    }

    /// Returns a Deferred of what the connection is when the request that is sent next has ended
    /// HTTP/1 on it.
    pub(super) fn upgraded(&self) -> Deferred<Connection> {
        let (deferred, resolver) = Deferred::pair();
        self.upgraded.set(Some(resolver));
        deferred
    }

    /// Sends a request; the future yields the response's head. Dropping the future resets the
    /// request, which over HTTP/1 closes the connection.
    #[expect(clippy::result_large_err, reason = "the request is sent again")]
    pub(super) fn send(
        &self,
        request: Request<Body>,
    ) -> Result<impl Future<Output = Result<Response<Incoming>, SendError>> + use<>, Request<Body>>
    {
        self.is_busy.set(true);
        self.is_cut.set(false);
        match &mut *self.sender.borrow_mut() {
            None => Err(request),
            Some(Sender::One(sender)) => Ok(Either::Left(sender.try_send_request(request))),
            Some(Sender::Two(sender)) => Ok(Either::Right(sender.try_send_request(request))),
        }
    }
}

/// Tells the owner of a connection that it has ended.
struct Ending<F: Fn(&Rc<HttpConn>)>(Rc<HttpConn>, F);

impl<F: Fn(&Rc<HttpConn>)> Drop for Ending<F> {
    fn drop(&mut self) {
        self.0.close();
        (self.1)(&self.0);
    }
}
