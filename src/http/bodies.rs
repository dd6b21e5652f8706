//! How far a request has come, in which time: [`Progress`], and the bodies that it follows.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::Polled;
use super::limits::{Limit, LimitTimer};
use super::pool::{Lease, Stage};
use super::{Body, HttpError, Phase};
use crate::cells;
use crate::clock::Clock;
use crate::defer::DeferredError;
use crate::failure::Failure;
use crate::reactor::Reactor;

/// A request, from connecting to the last byte of its response.
pub(super) struct Progress {
    pub(super) reactor: Reactor,
    url: RefCell<Uri>,
    phase: Cell<Phase>,
    /// When something has moved last, and how long nothing may.
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
    pub(super) fn new() -> Result<Rc<Self>, DeferredError> {
        Ok(Rc::new(Self {
            reactor: Reactor::current().ok_or(DeferredError::NoReactor)?,
            url: RefCell::default(),
            phase: Cell::new(Phase::Connecting),
            between: Cell::default(),
            whole: Cell::default(),
            timer: LimitTimer::default(),
            expired: Cell::default(),
            waker: Cell::default(),
            body: RefCell::default(),
            lease: Cell::default(),
        }))
    }

    /// Begins with a URL: the first one, or the target of a redirect.
    pub(super) fn begin(&self, url: &Uri) {
        self.url.replace(url.clone());
        self.phase.set(Phase::Connecting);
    }

    /// Begins to count the time: `between` anew, and `whole` unless it is counted already.
    pub(super) fn count(self: &Rc<Self>, between: Option<Duration>, whole: Option<Duration>) {
        let now = self.reactor.now();
        let since = |limit| (now, limit);
        self.between.set(between.map(since));
        self.whole.set(self.whole.get().or(whole.map(since)));
        self.watch();
    }

    fn note_moved(&self) {
        let since = |(_, limit)| (self.reactor.now(), limit);
        self.between.set(self.between.get().map(since));
    }

    /// Sees to it that the request fails when a limit has passed.
    fn watch(self: &Rc<Self>) {
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::watch);
        let limits = [self.between.get(), self.whole.get()];
        if let Some((_, limit)) = self.timer.passed(&limits, &self.reactor, look) {
            self.end(Stage::Sent);
            let failure = HttpError::timed_out(self.phase.get(), &self.url.borrow(), limit);
            self.expired.set(Some(failure));
            cells::wake(&self.waker);
        }
    }

    /// Waits for a future as long as the limits allow.
    pub(super) async fn within<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                self.between.set(None);
                return Poll::Ready(Ok(output));
            }
            self.waker.set(Some(cx.waker().clone()));
            match self.expired.take() {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            }
        })
        .await
    }

    pub(super) fn failed(&self, cause: Failure) -> Failure {
        HttpError::failed(self.phase.get(), &self.url.borrow(), cause)
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
        Body::mapped(body, move |mut body, cx| {
            let frame = match body.split(PIECE) {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None => ready!(body.as_mut().poll_frame(cx)),
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
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
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

impl Drop for Progress {
    fn drop(&mut self) {
        self.end(Stage::Sent);
    }
}

/// Returns the failure of a response's status, with the body if it is not larger than `most`.
pub(super) async fn status_error(url: &Uri, response: Response<Body>, most: u64) -> Failure {
    let (head, body) = response.into_parts();
    HttpError::Status {
        url: url.to_string(),
        status: head.status,
        headers: Box::new(head.headers),
        body: body.read(most).await.unwrap_or_default(),
    }
    .into()
}

/// The most bytes that are sent at once.
const PIECE: usize = 64 * 1024;
