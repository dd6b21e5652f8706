//! The future of a connection that an async function serves: [`Served`].

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::awaited::Awaited;
use crate::failure::Failure;
use crate::reactor::Acting;
use crate::transport::{Conn, ConnectionError};

pin_project! {
    /// Polls a connection's handler, and makes of its failure what becomes of the connection.
    pub(crate) struct Served<F> {
        conn: Rc<Conn<Awaited>>,
        #[pin]
        future: F,
    }

    impl<F> PinnedDrop for Served<F> {
        fn drop(this: Pin<&mut Self>) {
            // Else the handler has failed, has panicked, or was cancelled.
            if !this.conn.handler().is_served.get() && this.conn.link().resets_on_error() {
                this.conn.transport().abort_connection();
            }
        }
    }
}

impl<F: Future<Output = Result<(), Failure>>> Served<F> {
    pub(super) fn new(conn: Rc<Conn<Awaited>>, future: F) -> Self {
        Self { conn, future }
    }
}

impl<F: Future<Output = Result<(), Failure>>> Future for Served<F> {
    type Output = Result<(), Failure>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let acting = Acting::begin(this.conn.link().key());
        let polled = this.future.poll(cx);
        drop(acting);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => Poll::Ready(end(this.conn, result)),
        }
    }
}

/// The handler has returned. That its peer broke the connection off is no failure of the handler.
fn end(conn: &Rc<Conn<Awaited>>, result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Ok(()) => {
            conn.handler().is_served.set(true);
            Ok(())
        }
        Err(failure) if is_the_peers_reset(&failure) && was_reset(conn) => {
            let peer = conn.transport().peer();
            tracing::debug!(target: "torsade::net", %peer, %failure, "a peer broke its connection off");
            Ok(())
        }
        failed => failed,
    }
}

/// Did the peer break the connection off?
fn was_reset(conn: &Rc<Conn<Awaited>>) -> bool {
    conn.transport().failure().is_some_and(|failure| {
        matches!(failure.downcast_ref(), Some(ConnectionError::Lost { .. }))
            && is_the_peers_reset(&failure)
    })
}

/// Is it what the system says when a peer has broken its connection off?
fn is_the_peers_reset(failure: &Failure) -> bool {
    use io::ErrorKind as Kind;
    let error = failure.find::<io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
        )
    })
}
