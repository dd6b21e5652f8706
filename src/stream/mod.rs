//! Connections for async code: [`Connection`], its halves, and streams of frames.
//!
//! # The idea
//!
//! A task holds a `Connection` and reads and writes it, where a [`Protocol`] is called by the loop.
//! Both kinds of code share the same engine, limits and policies ([`transport`](crate::transport)).
//! Reading goes straight from the socket into the reader's buffer; writing appends to the
//! connection's queue, which the loop sends, and waits while the connection is full.
//!
//! # Rules
//!
//! 1. While no task reads, the loop does not read the socket either, so the system slows the peer
//!    down.
//! 2. Writing queues at most the high-water mark
//!    ([`Limits::high`](crate::transport::Limits::high)); a write takes as many bytes as fit.
//! 3. A task that reads or writes without ever having to wait yields to other tasks when its
//!    [budget](crate::guide::glossary#budget) is used up.
//! 4. When the `Connection`, or the last of its halves, is dropped, the connection closes as by
//!    [`Transport::lose_connection`].
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [connection](crate::guide::glossary#connection), [handler](crate::guide::glossary#handler),
//! [cancel safety](crate::guide::glossary#cancel-safety).

mod awaited;
#[cfg(unix)]
mod descriptors;
mod frames;
mod halves;
#[cfg(feature = "hyper")]
mod hyper_io;
mod over;
mod reader;
mod served;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod writer;

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use self::awaited::{Awaited, release};
pub use self::frames::{Framed, Frames};
pub use self::halves::{ReadHalf, WriteHalf};
use self::reader::Reader;
use self::served::{Served, Unserved};
use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::protocol::{Handle, Protocol, attach_handed, handle};
use crate::reactor::Reactor;
use crate::report;
use crate::transport::{Addresses, Conn, ConnConfig, ConnectionError, Handed, Transport};

/// A connection for async code, which reads from it, writes to it and splits it.
///
/// It implements [`AsyncRead`], [`AsyncWrite`] and [`AsyncBufRead`] of the crate `futures`; their
/// most used methods are also inherent methods, so no trait need be imported. Dropping a
/// `Connection` closes the connection after the written bytes have been sent.
///
/// # Errors
///
/// Methods that fail "with the reason for which the connection broke" return the system's error
/// where there is one. Otherwise the [`io::Error`](std::io::Error) holds a
/// [`ConnectionError::Lost`] whose cause is the reason; its kind is `TimedOut` for a time limit,
/// and `ConnectionAborted` after `abort_connection`. After an end in good order, reading returns
/// the end of file.
///
/// # Cancel safety
///
/// `read`, `read_with`, `read_line` and `write` lose nothing when the future is dropped while it
/// waits: bytes that were not returned can still be read, and nothing was written. `read_exact`,
/// `read_to_end` and `write_all` take several steps: when their future is dropped, a part may have
/// been read into the buffer, or written.
///
/// # Examples
///
/// ```
/// use torsade::{Connection, Failure};
///
/// async fn echo(mut conn: Connection) -> Result<(), Failure> {
///     let mut buf = [0; 4096];
///     loop {
///         match conn.read(&mut buf).await? {
///             0 => return Ok(()),
///             n => conn.write_all(&buf[..n]).await?,
///         }
///     }
/// }
/// ```
///
/// [`AsyncRead`]: futures::io::AsyncRead
/// [`AsyncWrite`]: futures::io::AsyncWrite
/// [`AsyncBufRead`]: futures::io::AsyncBufRead
pub struct Connection {
    reader: Reader,
}

impl Connection {
    /// Returns the handler of a new connection.
    pub(crate) fn handler() -> Awaited {
        Awaited::new()
    }

    /// Makes a connection of a socket, which is watched from now on.
    pub(crate) fn of_socket(
        reactor: &Reactor,
        socket: Socket,
        ends: impl Into<Addresses>,
        config: &Rc<ConnConfig>,
    ) -> Result<Self, Failure> {
        let conn = Conn::new(reactor, socket, ends, config, Self::handler())?;
        conn.begin(reactor, || {});
        Ok(Self::new(conn))
    }

    pub(crate) fn new(conn: Rc<Conn<Awaited>>) -> Self {
        conn.link().set_descriptors_wanted(false);
        Self {
            reader: Reader::new(conn),
        }
    }

    /// Makes a connection that had another handler before, which has left these bytes unused.
    pub(crate) fn with_unread(conn: Rc<Conn<Awaited>>, unread: Vec<u8>) -> Self {
        let mut connection = Self::new(conn);
        connection.reader.put_back(&unread);
        connection
    }

    /// Puts back bytes that were read, before those that were read ahead.
    #[cfg(feature = "http")]
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        let unread = [bytes, &self.reader.take_ahead()].concat();
        self.reader.put_back(&unread);
    }

    /// Returns the future of a handler that serves the connection.
    pub(crate) fn served<F>(mut self, handler: impl FnOnce(Unserved) -> F) -> Served<F>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let conn = self.reader.conn().clone();
        let unserved = Unserved::new(&mut self.reader);
        Served::new(conn, handler(unserved))
    }

    /// Returns the connection that [`Connection::served`] has passed to the handler.
    pub(crate) fn begin(unserved: Unserved) -> Self {
        let (conn, unread) = unserved.begin();
        Self::with_unread(conn, unread)
    }

    /// Takes the connection away from async code, with the bytes that were read ahead. Fails with
    /// the reason for which the connection ended, if it has.
    pub(crate) fn hand_over(mut self, reactor: &Reactor) -> Result<(Handed, Vec<u8>), Failure> {
        let unread = self.reader.take_ahead();
        let conn = self.reader.conn();
        #[cfg(feature = "tls")]
        if conn.link().is_securing() {
            let error = crate::tls::TlsError::config("a handshake is under way");
            return Err(conn.link().failure(error));
        }
        match conn.hand_over(reactor) {
            Some(handed) => Ok((handed, unread)),
            None => {
                let reason = conn.link().reason();
                Err(reason.unwrap_or_else(|| conn.link().failure(ConnectionError::Done)))
            }
        }
    }

    /// Returns the connection's key in the reactor's table.
    pub(crate) fn key(&self) -> usize {
        self.reader.conn().link().key()
    }

    /// Returns the connection's inert handle, for closing the connection from other code, or for
    /// reading its state.
    pub fn transport(&self) -> Transport {
        self.reader.conn().transport()
    }

    /// Returns the peer's address.
    #[doc(alias = "getPeer")]
    pub fn peer(&self) -> Address {
        self.transport().peer()
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Fails with [`std::io::ErrorKind::NotConnected`] when the connection has ended.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> std::io::Result<Address> {
        self.transport().local_addr()
    }

    /// Hands the connection to a protocol: the loop calls the protocol's `connection_made`, then
    /// passes it the bytes that were read ahead and not returned, then all that follow. The
    /// Deferred fires with the protocol's [`Handle`].
    ///
    /// So async code can handle the first part of a conversation, and a protocol the rest.
    ///
    /// # Errors
    ///
    /// Fails with the reason for which the connection ended, if it has ended; the protocol is then
    /// dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::{Context, Protocol};
    ///
    /// struct Echo;
    ///
    /// impl Protocol for Echo {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         cx.write(data);
    ///     }
    /// }
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let mut listener = reactor.bind("127.0.0.1:0")?;
    ///     let mut client = reactor.connect_stream(listener.local_addr()).await?;
    ///     client.write_all(b"name\nrest\n").await?;
    ///
    ///     let mut server = listener.accept().await?;
    ///     assert_eq!(server.read_line(80).await?.as_deref(), Some(&b"name"[..]));
    ///     server.become_protocol(Echo).await?;
    ///
    ///     assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"rest"[..]));
    ///     Ok(())
    /// });
    /// ```
    #[track_caller]
    pub fn become_protocol<P: Protocol>(self, protocol: P) -> Deferred<Handle<P>> {
        let location = Location::caller();
        let link = self.reader.conn().link();
        let (Some(reactor), weak) = (link.reactor(), link.weak_reactor()) else {
            report::discard(protocol, location);
            return Deferred::fail(Failure::at(ConnectionError::Done, location));
        };
        let (deferred, resolver) = Deferred::pair();
        reactor.inner().executor().call(location, move || {
            let Some(reactor) = weak.upgrade() else {
                return;
            };
            resolver.resolve(match self.hand_over(&reactor) {
                Ok((handed, unread)) => {
                    let conn = attach_handed(&reactor, handed, protocol, unread);
                    conn.map(|conn| handle(&conn))
                }
                Err(reason) => {
                    report::discard(protocol, location);
                    Err(reason)
                }
            });
        });
        deferred
    }

    /// Splits the connection into two halves, for a task that reads and a task that writes.
    ///
    /// Dropping the writing half sends the end of file to the peer; dropping both halves closes the
    /// connection. A proxy copies the reading half of each connection to the writing half of the
    /// other (example `proxy`).
    #[doc(alias("into_split", "copy_bidirectional", "portforward"))]
    pub fn split(mut self) -> (ReadHalf, WriteHalf) {
        let conn = self.reader.conn().clone();
        // One for each half; the third is released when `self` is dropped.
        conn.handler().handles.set(3);
        (
            ReadHalf {
                reader: self.reader.take(),
            },
            WriteHalf { conn },
        )
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        release(self.reader.conn());
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("transport", &self.transport())
            .finish()
    }
}
