//! A port whose connections async code accepts: [`StreamListener`].

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::stream::{FusedStream, Stream};

use super::accept::AcceptQueue;
use super::port::Port;
use crate::address::Address;
use crate::failure::Failure;
use crate::net::errors::ListenError;
use crate::stream::Connection;
use crate::task::own_waker;

/// A port whose connections async code accepts one by one, with [`accept`](Self::accept) or as a
/// [`Stream`] of connections, which ends when the port is closed.
///
/// Connections are accepted only on request. Others wait in the system's queue
/// ([`ListenOptions::backlog`](crate::net::ListenOptions::backlog)), and the system turns peers
/// away while that is full. If a future of [`StreamExt::next`](futures::StreamExt::next) is dropped
/// while it waits, at most one connection is accepted for it, and the next request gets that
/// connection. Behind a proxy ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied)) a
/// peer that has not sent its header does not delay the others. An endpoint that the program
/// defines ([`StreamServerEndpoint`](crate::net::StreamServerEndpoint)) is paused only after it has
/// passed on a connection for which there is no request.
///
/// [`Reactor::bind`](crate::Reactor::bind) creates a listener. Dropping the listener closes the
/// port; accepted connections stay open.
///
/// # Examples
///
/// Each connection is served by a task. A failure is reported, and the loop goes on:
///
/// ```
/// use torsade::net::ListenError;
/// use torsade::{Connection, Failure};
///
/// async fn greet(mut conn: Connection) -> Result<(), Failure> {
///     Ok(conn.write_all(b"hello\n").await?)
/// }
///
/// torsade::testing::run(async |reactor| {
///     let mut listener = reactor.bind("127.0.0.1:0")?;
///     let port = listener.port().clone();
///     let server = reactor.spawn(async move {
///         loop {
///             match listener.accept().await {
///                 Ok(conn) => torsade::spawn(greet(conn)).detach(),
///                 Err(failure) if matches!(failure.trap(), Ok(ListenError::Closed)) => {
///                     return Ok::<(), Failure>(());
///                 }
///                 Err(failure) => failure.report("while accepting"),
///             }
///         }
///     });
///     let mut client = reactor.connect_stream(port.local_addr()).await?;
///     assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
///     port.stop().await?;
///     server.await?
/// });
/// ```
///
/// The same with a stream, which ends when the port is closed:
///
/// ```
/// use futures::StreamExt;
///
/// torsade::testing::run(async |reactor| {
///     let mut listener = reactor.bind("127.0.0.1:0")?;
///     let port = listener.port().clone();
///     let server = reactor.spawn(async move {
///         let mut accepted = 0;
///         while let Some(conn) = listener.next().await {
///             match conn {
///                 Ok(_conn) => accepted += 1,
///                 Err(failure) => failure.report("while accepting"),
///             }
///         }
///         accepted
///     });
///     let mut client = reactor.connect_stream(port.local_addr()).await?;
///     assert_eq!(client.read(&mut [0]).await?, 0); // it was closed
///     port.stop().await?;
///     assert_eq!(server.await?, 1);
///     Ok(())
/// });
/// ```
#[must_use = "dropping it closes the port"]
pub struct StreamListener {
    port: Port,
    pull: Rc<AcceptQueue>,
}

impl StreamListener {
    pub(in crate::net) fn new(port: Port, pull: Rc<AcceptQueue>) -> Self {
        Self { port, pull }
    }

    /// Accepts the next connection.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost if the future is dropped: a connection that was accepted for it is
    /// returned by the next call.
    ///
    /// # Errors
    ///
    /// [`ListenError::Closed`] when the port was stopped, or the reactor has ended. The system's
    /// error for a connection that cannot be registered; a later call may succeed.
    #[track_caller]
    pub fn accept(&mut self) -> impl Future<Output = Result<Connection, Failure>> + '_ {
        Accept(self, Location::caller())
    }

    /// Returns the port, to stop or pause it, and to count and close its connections.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Returns the address that the port listens at.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> Address {
        self.port.local_addr()
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Result<Connection, Failure>>> {
        let next = self.pull.queue.borrow_mut().pop_front();
        if let Some(next) = next {
            self.stop_asking();
            return Poll::Ready(Some(next));
        }
        if self.pull.is_closed.get() {
            return Poll::Ready(None);
        }
        drop(self.pull.waker.replace(Some(own_waker(cx).clone())));
        if !self.pull.is_asking.replace(true) {
            self.port.recheck();
        }
        Poll::Pending
    }

    fn stop_asking(&self) {
        drop(self.pull.waker.take());
        if self.pull.is_asking.replace(false) {
            self.port.recheck();
        }
    }
}

impl Stream for StreamListener {
    type Item = Result<Connection, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

/// The stream is terminated when the port is closed and all connections accepted before have been
/// returned.
impl FusedStream for StreamListener {
    fn is_terminated(&self) -> bool {
        self.pull.is_closed.get() && self.pull.queue.borrow().is_empty()
    }
}

impl Drop for StreamListener {
    fn drop(&mut self) {
        drop(self.port.stop());
        drop(self.pull.queue.take());
    }
}

impl fmt::Debug for StreamListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamListener")
            .field("port", &self.port)
            .finish()
    }
}

/// The wait for one connection. Dropping it withdraws the request.
struct Accept<'a>(&'a StreamListener, &'static Location<'static>);

impl Future for Accept<'_> {
    type Output = Result<Connection, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(listener, location) = *self;
        listener.poll(cx).map(|next| match next {
            Some(next) => next.map_err(|failure| failure.moved(location)),
            None => Err(Failure::at(ListenError::Closed, location)),
        })
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        self.0.stop_asking();
    }
}
