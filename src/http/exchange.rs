//! The bodies of a request and its response, at a server.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::Body;
use super::error::{HttpError, Phase};
use super::watch::{Active, Limits};
use crate::clock::{Clock, Sleep};
use crate::failure::Failure;
use crate::reactor::Reactor;

/// Returns the request with a body that keeps to the limits.
pub(super) fn received(request: Request<Incoming>, limits: &Limits) -> Request<Body> {
    let (head, incoming) = request.into_parts();
    let body = match incoming.is_end_stream() {
        true => Body::empty(),
        false => Body::other(Limited {
            body: incoming.into(),
            left: limits.max_body,
            most: limits.max_body,
            limit: limits.body,
            sleep: None,
            is_waiting: false,
            uri: head.uri.clone(),
        }),
    };
    Request::from_parts(head, body)
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
        this.is_waiting = false;
        let data = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref());
        let length = data.map_or(0, |data| data.len() as u64);
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
}

impl Sent {
    pub(super) fn new(body: Body, active: Active) -> Self {
        Self { body, active }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.active.set_blocked(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
