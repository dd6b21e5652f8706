//! The future of a connection that an async function serves: [`Served`].

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::awaited::{Awaited, release};
use super::reader::Reader;
use crate::failure::Failure;
use crate::reactor::Acting;
use crate::transport::{Conn, ConnectionError};

pin_project! {
    /// Polls the future that serves a connection; its failure decides how the connection ends.
    pub(crate) struct Served<F> {
        conn: Rc<Conn<Awaited>>,
        #[pin]
        future: F,
    }

    impl<F> PinnedDrop for Served<F> {
        fn drop(this: Pin<&mut Self>) {
            // Otherwise the future has failed, has panicked, or was cancelled.
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

/// A connection that its handler has not begun to serve. It is smaller than a connection's handle:
/// a future that was given a value keeps the space for it.
pub(crate) struct Unserved(Option<Rc<Conn<Awaited>>>);

impl Unserved {
    /// Counts for another handle of the connection, beside that of `reader`.
    pub(super) fn new(reader: &mut Reader) -> Self {
        let ahead = reader.take_ahead();
        let conn = reader.conn();
        if !ahead.is_empty() {
            conn.link().put_aside(ahead);
        }
        let handles = &conn.handler().handles;
        handles.set(handles.get() + 1);
        Self(Some(conn.clone()))
    }

    /// Returns the connection, whose handler begins, and the bytes that were read ahead.
    pub(super) fn begin(mut self) -> (Rc<Conn<Awaited>>, Vec<u8>) {
        let conn = self.0.take();
        let conn = conn.expect("it is there until it begins");
        let ahead = conn.link().take_aside();
        (conn, ahead)
    }
}

impl Drop for Unserved {
    fn drop(&mut self) {
        if let Some(conn) = &self.0 {
            release(conn);
        }
    }
}

/// Handles the result of the future. A reset by the peer is no failure of the future.
fn end(conn: &Rc<Conn<Awaited>>, result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Ok(()) => {
            conn.handler().is_served.set(true);
            Ok(())
        }
        Err(failure) if is_reset_by_peer(&failure) && was_reset(conn) => {
            let peer = conn.transport().peer();
            tracing::debug!(target: "torsade::net", %peer, %failure, "a peer broke its connection off");
            Ok(())
        }
        failed => failed,
    }
}

/// Returns whether the peer has reset the connection.
fn was_reset(conn: &Rc<Conn<Awaited>>) -> bool {
    conn.transport().failure().is_some_and(|failure| {
        matches!(failure.downcast_ref(), Some(ConnectionError::Lost { .. }))
            && is_reset_by_peer(&failure)
    })
}

/// Returns whether the failure is the system's error for a reset by the peer.
fn is_reset_by_peer(failure: &Failure) -> bool {
    use io::ErrorKind as Kind;
    let error = failure.find::<io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
        )
    })
}
