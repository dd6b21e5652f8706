//! The bodies of a request and its response, at a client, with their time limits: [`sent`] and
//! [`received`].

use std::cell::{Cell, RefCell};
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::{Lease, Stage};
use super::{Body, HttpError, Phase};
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::failure::Failure;
use crate::reactor::Reactor;

/// A limit of time.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The longest time in which nothing moves.
    pub(super) between: Option<Duration>,
    /// When the whole has to be finished, and the limit of time for that.
    pub(super) whole: Option<(Instant, Duration)>,
}

impl Limits {
    /// Returns when the first limit is over if something has moved at `since`, and which it is.
    pub(super) fn next(&self, since: Instant) -> Option<(Instant, Duration)> {
        let between = self
            .between
            .and_then(|limit| Some((since.checked_add(limit)?, limit)));
        between.into_iter().chain(self.whole).min()
    }
}

/// Returns a response's body that keeps the limits. The connection is in use until its end.
pub(super) fn received(
    reactor: &Reactor,
    incoming: Incoming,
    limits: Limits,
    url: Uri,
    lease: Lease,
) -> Body {
    if incoming.is_end_stream() {
        lease.stage.set(Stage::Over);
        return Body::empty();
    }
    let now = reactor.now();
    let reading = Rc::new(Reading {
        incoming: RefCell::new(Some(incoming)),
        limits,
        url,
        read: Cell::new(now),
        expired: Cell::default(),
        timer: Cell::default(),
        reader: Cell::default(),
        lease: Cell::new(Some(lease)),
    });
    reading.watch(reactor, now);
    Body::other(Received(reading))
}

struct Received(Rc<Reading>);

struct Reading {
    /// `None` when it has ended.
    incoming: RefCell<Option<Incoming>>,
    limits: Limits,
    url: Uri,
    /// When something was read last.
    read: Cell<Instant>,
    /// The limit that was not kept.
    expired: Cell<Option<Duration>>,
    timer: Cell<Option<DelayedCall>>,
    /// Waits for a piece.
    reader: Cell<Option<Waker>>,
    lease: Cell<Option<Lease>>,
}

impl Reading {
    /// Ends the body when a limit is over.
    fn watch(self: &Rc<Self>, reactor: &Reactor, now: Instant) {
        let Some((deadline, _)) = self.limits.next(self.read.get()) else {
            return;
        };
        let weak = Rc::downgrade(self);
        let left = deadline.saturating_duration_since(now);
        self.timer.set(Some(reactor.limit(left, move || {
            let this = Weak::upgrade(&weak);
            if let (Some(this), Some(reactor)) = (this, Reactor::current()) {
                this.check(&reactor);
            }
        })));
    }

    fn check(self: &Rc<Self>, reactor: &Reactor) {
        let now = reactor.now();
        match self.limits.next(self.read.get()) {
            Some((deadline, limit)) if deadline <= now => {
                self.expired.set(Some(limit));
                self.end(Stage::Sent);
                cells::wake(&self.reader);
            }
            _ => self.watch(reactor, now),
        }
    }

    /// Drops the body, which frees its connection.
    fn end(&self, stage: Stage) {
        let (incoming, lease) = (self.incoming.take(), self.lease.take());
        if let Some(lease) = &lease {
            lease.stage.set(stage);
        }
        drop((incoming, lease));
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let reading = &self.0;
        if let Some(limit) = reading.expired.take() {
            let (phase, url) = (Phase::Reading, reading.url.to_string());
            let error = HttpError::TimedOut { phase, url, limit };
            return Poll::Ready(Some(Err(error.into())));
        }
        let mut incoming = reading.incoming.borrow_mut();
        let Some(body) = incoming.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
            reading.reader.set(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        let is_end = body.is_end_stream() || !matches!(frame, Some(Ok(_)));
        drop(incoming);
        match is_end {
            true => reading.end(Stage::Over),
            false => {
                if let Some(reactor) = Reactor::current() {
                    reading.read.set(reactor.now());
                }
            }
        }
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| HttpError::failed(Phase::Reading, &reading.url, error.into()))
        }))
    }

    fn is_end_stream(&self) -> bool {
        let incoming = self.0.incoming.borrow();
        incoming
            .as_ref()
            .is_none_or(|incoming| incoming.is_end_stream())
            && self.0.expired.get().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.0.incoming.borrow();
        incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.0.end(Stage::Sent);
    }
}

/// Returns the failure of a response's status, with as much of the body as can be read.
pub(super) async fn status_error(url: &Uri, response: Response<Body>, most: u64) -> Failure {
    let (head, mut body) = response.into_parts();
    let (mut bytes, most) = (Vec::new(), usize::try_from(most).unwrap_or(usize::MAX));
    while bytes.len() < most {
        match body.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            _ => break,
        }
    }
    bytes.truncate(most);
    HttpError::Status {
        url: url.to_string(),
        status: head.status,
        headers: Box::new(head.headers),
        body: bytes.into(),
    }
    .into()
}

/// How far the body of a request has been sent.
pub(super) struct Upload {
    /// When a piece of it was sent last.
    pub(super) moved: Cell<Instant>,
    pub(super) is_over: Cell<bool>,
}

/// Returns a request's body, and how its sending can be followed if it is not sent at once.
pub(super) fn sent(body: Body, now: Instant) -> (Body, Option<Rc<Upload>>) {
    let most = HttpBody::size_hint(&body).upper();
    if most.is_some_and(|most| most <= PIECE as u64) {
        return (body, None);
    }
    let upload = Rc::new(Upload {
        moved: Cell::new(now),
        is_over: Cell::new(false),
    });
    let sent = Sent {
        body,
        rest: Bytes::new(),
        upload: upload.clone(),
    };
    (Body::other(sent), Some(upload))
}

/// The most bytes that are sent at once.
const PIECE: usize = 64 * 1024;

struct Sent {
    body: Body,
    /// The rest of a piece.
    rest: Bytes,
    upload: Rc<Upload>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let mut frame = match this.rest.is_empty() {
            true => ready!(Pin::new(&mut this.body).poll_frame(cx)),
            false => Some(Ok(Frame::data(mem::take(&mut this.rest)))),
        };
        if let Some(Ok(Some(data))) = frame
            .as_mut()
            .map(|frame| frame.as_mut().map(Frame::data_mut))
        {
            this.rest = data.split_off(data.len().min(PIECE));
        }
        if let Some(reactor) = Reactor::current() {
            this.upload.moved.set(reactor.now());
        }
        this.upload
            .is_over
            .set(frame.is_none() || this.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = HttpBody::size_hint(&self.body);
        let rest = self.rest.len() as u64;
        match hint.upper() {
            Some(most) => hint.set_upper(most + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
