//! Connections made of any two byte streams: [`Reactor::stream_over`].
//!
//! # The idea
//!
//! A task moves bytes between the streams and the connection, whose socket is a [`relay`]. The task is in the
//! reactor's table as well, so that a program that ends waits for what a connection has written before it was closed.

use std::future::poll_fn;
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;

use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;
use crate::address::Address;
use crate::driver::{Event, FarEnd, Socket, Written, relay};
use crate::failure::Failure;
use crate::reactor::{Reactor, Source, WeakReactor};
use crate::transport::{Conn, Terms};

impl Reactor {
    /// Makes a connection of any two byte streams: what `reader` reads is what the peer sends, and what is written to the
    /// connection is written to `writer`. So encryption, compression or a tunnel over one connection is a connection as well.
    ///
    /// Closing the connection closes `writer` when everything was written; aborting it drops both. An error of `reader` is why
    /// the connection is lost, after what was read before it; an error of `writer` likewise. Up to 64 KiB wait in either
    /// direction besides what the connection queues itself. The connection's own address is not known.
    ///
    /// # Errors
    ///
    /// When the reactor has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::io::AsyncReadExt;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     // Any other stream would do.
    ///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
    ///         conn.write_all(b"hello\n").await?;
    ///         Ok(())
    ///     })?;
    ///     let inner = reactor.connect_stream(port.local_addr()).await?;
    ///     let (reader, writer) = inner.split();
    ///     let mut outer = reactor.stream_over(port.local_addr(), reader, writer)?;
    ///     assert_eq!(outer.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     drop(outer);
    ///     port.stop().await
    /// });
    /// ```
    #[track_caller]
    pub fn stream_over(
        &self,
        peer: impl Into<Address>,
        reader: impl AsyncRead + 'static,
        writer: impl AsyncWrite + 'static,
    ) -> Result<Connection, Failure> {
        let place = Location::caller();
        let (near, far) = relay::pair();
        let terms = Rc::new(Terms::new(place));
        let (socket, seat) = (Socket::Relay(Box::new(near)), Connection::seat());
        let conn = Conn::new(self, socket, peer.into(), &terms, seat)?;
        let moving = Rc::new(Moving { far, place });
        let key = self.inner().insert(|_| moving.clone());
        let key = key.map_err(|error| Failure::at(Box::new(error), place))?;
        let leave = Leave(self.downgrade(), key);
        let task = async move {
            relay_all(&moving.far, reader, writer).await;
            drop((moving, leave));
        };
        self.inner().executor().spawn(task, place).detach();
        conn.begin(self, || {});
        Ok(Connection::new(conn))
    }
}

/// What the reactor's table knows of the task.
struct Moving {
    far: FarEnd,
    place: &'static Location<'static>,
}

/// The task leaves the table, however it ends.
struct Leave(WeakReactor, usize);

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(reactor) = self.0.upgrade() {
            reactor.inner().remove(self.1);
        }
    }
}

impl Source for Moving {
    fn ready(self: Rc<Self>, _reactor: &Reactor, _event: Event) {}

    fn attend(self: Rc<Self>, _reactor: &Reactor) {}

    /// The task is dropped with all others.
    fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, _reason: &Failure) {}

    fn is_draining(&self) -> bool {
        self.far.is_closed()
    }

    fn kind(&self) -> &'static str {
        "streams under a connection"
    }

    fn place(&self) -> &'static Location<'static> {
        self.place
    }
}

/// Moves bytes both ways until the connection has ended and what it wrote is written.
async fn relay_all(far: &FarEnd, reader: impl AsyncRead, writer: impl AsyncWrite) {
    let (reader, writer) = (pin!(reader), pin!(writer));
    let inward = pin!(inward(far, reader));
    let outward = pin!(outward(far, writer));
    match select(outward, inward).await {
        // The connection is over.
        Either::Left((Ok(true), _)) => {}
        // It writes no more, but still reads.
        Either::Left((Ok(false), inward)) => {
            let closed = pin!(poll_fn(|cx| far.poll_closed(cx)));
            select(closed, inward).await;
            poll_fn(|cx| far.poll_closed(cx)).await;
        }
        Either::Left((Err(error), _)) => far.end(Err(error)),
        // Nothing more is read, but it still writes.
        Either::Right(((), outward)) => match outward.await {
            Ok(true) => {}
            Ok(false) => poll_fn(|cx| far.poll_closed(cx)).await,
            Err(error) => far.end(Err(error)),
        },
    }
}

/// What the streams have for the connection.
async fn inward(far: &FarEnd, mut reader: Pin<&mut impl AsyncRead>) {
    let mut buffer = vec![0; PIECE];
    while let Some(room) = poll_fn(|cx| far.poll_room(cx)).await {
        match reader.read(&mut buffer[..room.min(PIECE)]).await {
            Ok(0) => return far.end(Ok(())),
            Ok(count) => far.give(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return far.end(Err(error)),
        }
    }
}

/// What the connection has for the streams. `true` when the connection is over, `false` when it only writes no more.
async fn outward(far: &FarEnd, mut writer: Pin<&mut impl AsyncWrite>) -> io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match poll_fn(|cx| far.poll_take(cx, &mut bytes)).await {
            Written::Bytes => {
                writer.write_all(&bytes).await?;
                writer.flush().await?;
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

/// How much is read at once.
const PIECE: usize = 16 * 1024;
