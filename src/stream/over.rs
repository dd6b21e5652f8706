//! Connections made of any two byte streams: [`Connection::over`].
//!
//! # The idea
//!
//! A task moves bytes between the streams and the connection, whose socket is a [`relay`]. The task
//! is in the reactor's table as well, so that a reactor that ends waits for the bytes that a
//! connection has written.
//!
//! # Invariants
//!
//! 1. Bytes written to the connection reach `writer`; or the error that prevents this is the reason
//!    of the connection's end; or they are reported as [`ConnectionError::NotSent`]. Only an abort
//!    discards bytes silently.
//! 2. The end of the reactor waits for each writer separately: no longer than [`Grace::stalled`]
//!    for one that accepts nothing.
//!
//! [`Grace::stalled`]: crate::reactor::Grace::stalled

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Instant;

use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::driver::{FarEnd, Socket, Written, relay};
use crate::failure::Failure;
use crate::reactor::{Reactor, Tracked, WeakReactor};
use crate::report::{self, Origin};
use crate::transport::{Conn, ConnConfig, ConnectionError, Transport};

impl Connection {
    /// Makes a connection of any two byte streams: bytes read from `reader` are received by the
    /// connection, and bytes written to the connection are written to `writer`. So encryption,
    /// compression or a tunnel over a connection is a connection as well. `peer` is the address
    /// that [`Connection::peer`] returns.
    ///
    /// Closing the connection closes `writer` after everything was written; aborting it drops both
    /// streams. An error of `reader` or of `writer` is the reason for which the connection is lost;
    /// the bytes read before the error are delivered first. Up to 64 KiB are buffered in either
    /// direction, besides the connection's queue. The connection's local address is not known.
    ///
    /// A reactor that ends waits for `writer` as for any peer ([`Grace`](crate::reactor::Grace)).
    /// Bytes of a closed connection that `writer` has not accepted by then, or that were lost by an
    /// error of `writer`, are reported as [`ConnectionError::NotSent`].
    ///
    /// # Errors
    ///
    /// Fails when the reactor has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::io::AsyncReadExt;
    /// use torsade::Connection;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     // Any other stream would do.
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         conn.write_all(b"hello\n").await?;
    ///         Ok(())
    ///     })?;
    ///     let inner = reactor.connect_stream(port.local_addr()).await?;
    ///     let (reader, writer) = inner.split();
    ///     let mut outer = Connection::over(&reactor, port.local_addr(), reader, writer)?;
    ///     assert_eq!(outer.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     drop(outer);
    ///     port.stop().await
    /// });
    /// ```
    #[track_caller]
    pub fn over(
        reactor: &Reactor,
        peer: impl Into<Address>,
        reader: impl AsyncRead + 'static,
        writer: impl AsyncWrite + 'static,
    ) -> Result<Self, Failure> {
        let location = Location::caller();
        let (near, far) = relay::pair();
        let config = Rc::new(ConnConfig::new(reactor, location));
        let (socket, handler) = (Socket::Relay(Box::new(near)), Self::handler());
        let conn = Conn::new(reactor, socket, peer.into(), &config, handler)?;
        let relaying = Rc::new(Relaying {
            far,
            location,
            transport: conn.transport(),
            reactor: reactor.downgrade(),
            piece: Cell::new(0),
            drain_bytes: Cell::new(0),
            moved: Cell::new(reactor.now()),
            next_check: Cell::new(None),
        });
        let key = reactor.inner().track(relaying.clone());
        let key = key.map_err(|error| Failure::at(error, location))?;
        let leave = LeaveOnDrop(reactor.downgrade(), key);
        let task = async move {
            relay_all(&relaying, reader, writer).await;
            drop((relaying, leave));
        };
        reactor.inner().executor().spawn(task, location).detach();
        conn.begin(reactor, || {});
        Ok(Self::new(conn))
    }
}

/// The entry of the task in the reactor's table.
struct Relaying {
    far: FarEnd,
    location: &'static Location<'static>,
    /// The connection's transport.
    transport: Transport,
    reactor: WeakReactor,
    /// The number of bytes that were taken from the connection and are not known to have reached
    /// the writer.
    piece: Cell<usize>,
    /// The number of further bytes of an open connection that the end of the reactor waits for.
    drain_bytes: Cell<usize>,
    /// When bytes were last moved.
    moved: Cell<Instant>,
    /// While the reactor ends: the next check.
    next_check: Cell<Option<DelayedCall>>,
}

impl Relaying {
    /// Returns how many bytes have not reached the writer yet.
    fn left(&self) -> usize {
        self.piece.get() + self.far.unsent()
    }

    fn note_moved(&self) {
        if let Some(reactor) = self.reactor.upgrade() {
            self.moved.set(reactor.now());
        }
    }

    /// Records that the piece has reached the writer.
    fn note_written(&self) {
        let count = self.piece.replace(0);
        self.drain_bytes
            .set(self.drain_bytes.get().saturating_sub(count));
        self.note_moved();
    }

    /// Handles an error of the writer: the connection ends with it, or, if the connection has ended
    /// already, the error is reported.
    fn fail(&self, error: io::Error) {
        match self.far.is_closed() {
            true => self.report_loss(Failure::at(error, self.location)),
            false => self.far.end(Err(error)),
        }
    }

    /// Reports bytes that have not reached the writer, if there are any, once.
    fn report_loss(&self, cause: Failure) {
        let left = self.left();
        let reason = self.transport.reason();
        let is_asked = reason
            .is_some_and(|reason| matches!(reason.downcast_ref(), Some(ConnectionError::Aborted)));
        if left > 0 && !is_asked {
            let error = ConnectionError::not_sent(left, self.transport.peer(), cause);
            let failure = Failure::at(error, self.location);
            report::deliver(Origin::Connection, failure, self.location);
        }
    }

    /// Returns whether the writer has accepted nothing for as long as the end of the reactor waits.
    fn is_stalled(&self) -> bool {
        let Some(reactor) = self.reactor.upgrade() else {
            return true;
        };
        let limit = reactor.inner().grace_to_drain();
        limit
            .is_some_and(|limit| reactor.now().saturating_duration_since(self.moved.get()) >= limit)
    }

    /// Schedules a check for when the time may be over.
    fn check_later(self: &Rc<Self>, reactor: &Reactor) {
        let limit = reactor.inner().grace_to_drain();
        let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
            return;
        };
        let idle = reactor.now().saturating_duration_since(self.moved.get());
        let left = limit.saturating_sub(idle);
        let left = if left.is_zero() { limit } else { left };
        let (weak, reactor_too) = (Rc::downgrade(self), reactor.downgrade());
        let timer = reactor.limit(left, move || {
            if let (Some(this), Some(reactor)) = (weak.upgrade(), reactor_too.upgrade()) {
                this.check_later(&reactor);
            }
        });
        self.next_check.set(Some(timer));
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        if let Some(timer) = self.next_check.take() {
            timer.cancel();
        }
    }
}

/// Removes the task from the table, however the task ends.
struct LeaveOnDrop(WeakReactor, usize);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        if let Some(reactor) = self.0.upgrade() {
            reactor.inner().untrack(self.1);
        }
    }
}

impl Tracked for Relaying {
    /// The task is dropped with all others.
    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, reason: &Failure) {
        let reason = ConnectionError::lost(reason.clone());
        self.report_loss(Failure::at(reason, self.location));
    }

    fn begin_to_drain(self: Rc<Self>, reactor: &Reactor) {
        self.drain_bytes.set(self.left() + self.transport.queued());
        // The writer may have been stalled for long, but the limit of the end begins now.
        self.moved.set(reactor.now());
        self.check_later(reactor);
    }

    fn is_draining(&self) -> bool {
        let owes = self.drain_bytes.get() > 0 && !self.far.is_reset();
        (owes || self.far.is_closed()) && !self.is_stalled()
    }

    fn kind(&self) -> &'static str {
        "streams under a connection"
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

/// Moves bytes both ways until the connection has ended and everything that it wrote has reached
/// the writer.
async fn relay_all(relaying: &Relaying, reader: impl AsyncRead, writer: impl AsyncWrite) {
    let far = &relaying.far;
    let (reader, writer) = (pin!(reader), pin!(writer));
    let inward = pin!(inward(far, reader));
    let outward = pin!(outward(relaying, writer));
    match select(outward, inward).await {
        // The connection has ended.
        Either::Left((Ok(true), _)) => {}
        // The connection writes no more, but still reads.
        Either::Left((Ok(false), inward)) => {
            let closed = pin!(poll_fn(|cx| far.poll_closed(cx)));
            select(closed, inward).await;
            poll_fn(|cx| far.poll_closed(cx)).await;
        }
        Either::Left((Err(error), _)) => relaying.fail(error),
        // The reader has ended, but the connection still writes.
        Either::Right(((), outward)) => match outward.await {
            Ok(true) => {}
            Ok(false) => poll_fn(|cx| far.poll_closed(cx)).await,
            Err(error) => relaying.fail(error),
        },
    }
}

/// Moves bytes from the reader to the connection.
async fn inward(far: &FarEnd, mut reader: Pin<&mut impl AsyncRead>) {
    let mut buffer = vec![0; PIECE];
    while let Some(room) = poll_fn(|cx| far.poll_space(cx)).await {
        match reader.read(&mut buffer[..room.min(PIECE)]).await {
            Ok(0) => return far.end(Ok(())),
            Ok(count) => far.give(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return far.end(Err(error)),
        }
    }
}

/// Moves bytes from the connection to the writer. Returns `true` when the connection has ended,
/// `false` when it only writes no more.
async fn outward(relaying: &Relaying, mut writer: Pin<&mut impl AsyncWrite>) -> io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let written = poll_fn(|cx| relaying.far.poll_take(cx, &mut bytes)).await;
        relaying.note_moved();
        match written {
            Written::Bytes => {
                relaying.piece.set(bytes.len());
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    match writer.write(rest).await? {
                        0 => return Err(io::ErrorKind::WriteZero.into()),
                        count => rest = &rest[count..],
                    }
                    relaying.note_moved();
                }
                writer.flush().await?;
                relaying.note_written();
            }
            Written::Shut => {
                writer.close().await?;
                return Ok(false);
            }
            Written::Closed => {
                writer.close().await?;
                return Ok(true);
            }
            Written::Reset => return Ok(true),
        }
    }
}

/// The largest number of bytes that are read in one step.
const PIECE: usize = 16 * 1024;
