//! A port whose connections async code accepts itself: [`StreamListener`].

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::stream::{FusedStream, Stream};

use super::accept::Pull;
use super::port::Port;
use crate::address::Address;
use crate::failure::Failure;
use crate::net::datagram::PortClosed;
use crate::stream::Connection;
use crate::task::own_waker;

/// A port whose connections are accepted one by one, when they are asked for: by [`accept`](Self::accept), or as a
/// [`Stream`] of connections, which ends when the port is closed.
///
/// While nobody asks, nothing is accepted (whoever has asked by
/// [`StreamExt::next`](futures::StreamExt::next) and given up gets at most one connection, which is
/// the next one's): what comes waits in the system's queue
/// ([`ListenOptions::backlog`](crate::net::ListenOptions::backlog)), and when that is full the system
/// turns peers away. Behind proxies ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied))
/// whoever is accepted and has not sent its header yet does not keep others waiting. A program's
/// own endpoint ([`StreamServerEndpoint`](crate::net::StreamServerEndpoint)) goes on accepting until the
/// first connection that it lets in has nobody to go to.
///
/// Made by [`Reactor::bind`](crate::Reactor::bind). Dropping it closes the port; connections that were accepted go on.
///
/// # Examples
///
/// Each connection gets a task of its own. One that fails is reported, and the loop goes on:
///
/// ```
/// use torsade::net::PortClosed;
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
///                 Err(failure) if failure.is::<PortClosed>() => return Ok::<(), Failure>(()),
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
/// The same as a stream, which ends when the port is closed:
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
#[doc(alias("TcpListener", "UnixListener"))]
#[must_use = "dropping it closes the port"]
pub struct StreamListener {
    port: Port,
    pull: Rc<Pull>,
}

impl StreamListener {
    pub(in crate::net) fn new(port: Port, pull: Rc<Pull>) -> Self {
        Self { port, pull }
    }

    /// Accepts the next connection.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: a connection that was accepted for it is the next one's.
    ///
    /// # Errors
    ///
    /// [`PortClosed`] when the port was stopped, or the reactor has ended. A connection that cannot be watched fails with
    /// the system's error; the next one may go well.
    #[track_caller]
    pub fn accept(&mut self) -> impl Future<Output = Result<Connection, Failure>> + '_ {
        Accept(self, Location::caller())
    }

    /// Returns the port: to stop it, to pause it, to count and to end its connections.
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
        if self.pull.is_over.get() {
            return Poll::Ready(None);
        }
        drop(self.pull.waker.replace(Some(own_waker(cx).clone())));
        if !self.pull.is_asking.replace(true) {
            self.port.look_again();
        }
        Poll::Pending
    }

    fn stop_asking(&self) {
        drop(self.pull.waker.take());
        if self.pull.is_asking.replace(false) {
            self.port.look_again();
        }
    }
}

impl Stream for StreamListener {
    type Item = Result<Connection, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

/// It is terminated when the port is closed and all connections that came before have been given.
impl FusedStream for StreamListener {
    fn is_terminated(&self) -> bool {
        self.pull.is_over.get() && self.pull.queue.borrow().is_empty()
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

/// The wait for one connection. Nobody asks any more when it is dropped.
struct Accept<'a>(&'a StreamListener, &'static Location<'static>);

impl Future for Accept<'_> {
    type Output = Result<Connection, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(listener, location) = *self;
        listener.poll(cx).map(|next| match next {
            Some(next) => next.map_err(|failure| failure.moved(location)),
            None => Err(Failure::at(PortClosed, location)),
        })
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        self.0.stop_asking();
    }
}
