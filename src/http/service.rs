//! Services of `tower` and routers of `axum` as handlers: [`service`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use send_wrapper::SendWrapper;
use tower_service::Service;

use super::body::Body;
use crate::failure::Failure;

/// Returns a handler that calls a `tower::Service`, such as an axum `Router`, for
/// [`serve`](super::serve).
///
/// The service is cloned for each request, and waited for until it is ready. It runs on the
/// reactor's thread.
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
#[doc(alias("tower", "axum", "Router", "ServiceExt"))]
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
        let request = request.map(|body| SendBody(SendWrapper::new(body)));
        let response = service.call(request).await.map_err(Into::into)?;
        Ok(response.map(Body::wrap))
    }
}

/// A [`Body`] that claims to be `Send`, as services want it.
///
/// # Panics
///
/// Using it on another thread than the reactor's panics.
#[derive(Debug)]
pub struct SendBody(SendWrapper<Body>);

impl HttpBody for SendBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut *self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&*self.0)
    }
}
