//! The body of a response, with its time limits: [`received`].

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use super::{Body, HttpError, Phase};
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::failure::Failure;
use crate::reactor::Reactor;

/// The time limits of a body.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The longest time in which no byte is read.
    pub(super) between: Option<Duration>,
    /// When the whole has to be finished, and the limit of time for that.
    pub(super) whole: Option<(Instant, Duration)>,
}

impl Limits {
    /// Returns when the first limit is over if `since` is when something was read last, and which
    /// one that is.
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
        return Body::empty();
    }
    let reading = Rc::new(Reading {
        incoming: RefCell::new(Some(incoming)),
        limits,
        url,
        read: Cell::new(reactor.now()),
        expired: Cell::default(),
        timer: Cell::default(),
        reader: Cell::default(),
        lease: Cell::new(Some(lease)),
    });
    reading.watch(reactor);
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
    fn watch(self: &Rc<Self>, reactor: &Reactor) {
        let Some((deadline, _)) = self.limits.next(self.read.get()) else {
            return;
        };
        let weak = Rc::downgrade(self);
        let left = deadline.saturating_duration_since(reactor.now());
        self.timer.set(Some(reactor.limit(left, move || {
            let this = Weak::upgrade(&weak);
            if let (Some(this), Some(reactor)) = (this, Reactor::current()) {
                this.check(&reactor);
            }
        })));
    }

    fn check(self: &Rc<Self>, reactor: &Reactor) {
        match self.limits.next(self.read.get()) {
            Some((deadline, limit)) if deadline <= reactor.now() => {
                self.expired.set(Some(limit));
                self.end();
                cells::wake(&self.reader);
            }
            _ => self.watch(reactor),
        }
    }

    /// Drops the body, which frees its connection.
    fn end(&self) {
        let incoming = self.incoming.take();
        drop((incoming, self.lease.take()));
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
            true => reading.end(),
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
        self.0.end();
    }
}
