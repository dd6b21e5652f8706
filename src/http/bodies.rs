//! How far a request has come, in which time: [`Progress`], and the bodies that it follows.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::Polled;
use super::pool::{Lease, Stage};
use super::{Body, HttpError, Phase};
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::defer::DeferredError;
use crate::failure::Failure;
use crate::reactor::Reactor;

/// A request, from connecting to the last byte of its response.
pub(super) struct Progress {
    pub(super) reactor: Reactor,
    url: RefCell<Uri>,
    phase: Cell<Phase>,
    /// The longest time in which nothing moves.
    between: Cell<Option<Duration>>,
    /// When the whole has to be finished, and the limit of time for that.
    whole: Cell<Limit>,
    /// When something has moved last.
    moved: Cell<Instant>,
    /// The rest of the response's body, and its connection.
    body: RefCell<Body>,
    lease: Cell<Option<Lease>>,
    timer: Cell<Option<DelayedCall>>,
    /// The failure of a limit that is over, and the task that waits for that too.
    expired: Cell<Option<Failure>>,
    waker: Cell<Option<Waker>>,
}

/// The end of a limit of time, and that limit.
type Limit = Option<(Instant, Duration)>;

impl Progress {
    pub(super) fn new() -> Result<Rc<Self>, DeferredError> {
        let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
        Ok(Rc::new(Self {
            url: RefCell::default(),
            phase: Cell::new(Phase::Connecting),
            between: Cell::default(),
            whole: Cell::default(),
            moved: Cell::new(reactor.now()),
            reactor,
            body: RefCell::default(),
            lease: Cell::default(),
            timer: Cell::default(),
            expired: Cell::default(),
            waker: Cell::default(),
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
        self.moved.set(now);
        self.between.set(between);
        let end = || Some((now.checked_add(whole?)?, whole?));
        self.whole.set(self.whole.get().or_else(end));
        self.watch();
    }

    /// Returns when the first limit is over, and which it is.
    fn next(&self) -> Limit {
        let end = |limit| Some((self.moved.get().checked_add(limit)?, limit));
        let between = self.between.get().and_then(end);
        between.into_iter().chain(self.whole.get()).min()
    }

    fn note_moved(&self) {
        self.moved.set(self.reactor.now());
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

    fn timed_out(&self, limit: Duration) -> Failure {
        HttpError::timed_out(self.phase.get(), &self.url.borrow(), limit)
    }

    /// Returns a request's body, whose sending is followed unless it is sent at once.
    pub(super) fn sent(self: &Rc<Self>, body: Body) -> Body {
        let most = HttpBody::size_hint(&body).upper();
        if most.is_some_and(|most| most <= PIECE as u64) {
            self.phase.set(Phase::Waiting);
            return body;
        }
        self.phase.set(Phase::Sending);
        let (this, mut rest) = (self.clone(), Bytes::new());
        Body::mapped(body, move |mut body, cx| {
            let mut frame = match std::mem::take(&mut rest) {
                rest if !rest.is_empty() => Some(Ok(Frame::data(rest))),
                _ => ready!(body.as_mut().poll_frame(cx)),
            };
            if let Some(Ok(Some(data))) = frame.as_mut().map(|f| f.as_mut().map(Frame::data_mut)) {
                rest = data.split_off(data.len().min(PIECE));
            }
            if body.is_end_stream() && !rest.is_empty() {
                // So that it has not ended yet.
                body.set(std::mem::take(&mut rest).into());
            }
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
        self.between.set(between);
        self.note_moved();
        self.body.replace(incoming.into());
        self.lease.set(Some(lease));
        self.watch();
        Body::other(Received(self.clone()))
    }

    /// Sees to it that the request fails when a limit is over.
    fn watch(self: &Rc<Self>) {
        let Some((deadline, limit)) = self.next() else {
            return;
        };
        let left = deadline.saturating_duration_since(self.reactor.now());
        if left.is_zero() {
            self.end(Stage::Sent);
            self.expired.set(Some(self.timed_out(limit)));
            return cells::wake(&self.waker);
        }
        // A timer that fires earlier looks again.
        let is_set = |timer: &mut Option<DelayedCall>| {
            let timer = timer.as_ref();
            timer.is_some_and(|timer| {
                timer.deadline().is_some_and(|set| set <= deadline) || timer.reset_at(deadline)
            })
        };
        if !cells::with(&self.timer, is_set) {
            let weak = Rc::downgrade(self);
            let check = move || weak.upgrade().map_or((), |this| this.watch());
            self.timer.set(Some(self.reactor.limit(left, check)));
        }
    }

    /// Drops the response's body, which frees its connection.
    fn end(&self, stage: Stage) {
        let (body, lease) = (self.body.take(), self.lease.take());
        if let Some(lease) = &lease {
            lease.stage.set(stage);
        }
        drop((body, lease));
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
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
