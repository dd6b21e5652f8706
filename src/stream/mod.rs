//! Connections for async code: [`Connection`].
//!
//! # The idea
//!
//! A `Connection` is what a task holds instead of a protocol: a seat that keeps wakers. Reading goes straight from
//! the socket into the reader's buffer when the loop has said that there is something; writing appends to the
//! connection's queue, which the loop flushes, and waits while the queue is full. So both faces share one engine.
//!
//! # Invariants
//!
//! 1. While nobody reads, the first event only marks the connection readable; a second one disarms it until
//!    somebody does. So bytes that nobody wants cost two wakes, not a spin.
//! 2. At most the high-water mark is queued by writing; a write takes as much as there is room for.
//! 3. A task that reads or writes without ever having to wait is made to yield now and then.
//! 4. When the last handle is dropped, the connection ends as by `lose_connection`.

mod awaited;
#[cfg(unix)]
mod descriptors;
mod halves;
mod over;
mod reader;
mod served;
mod writer;

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use self::awaited::{Awaited, release};
pub use self::halves::{LineStream, ReadHalf, WriteHalf};
use self::reader::Reader;
use self::served::Served;
use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::protocol::{Handle, Protocol, attach_handed, handle};
use crate::reactor::Reactor;
use crate::report;
use crate::transport::{Addresses, Conn, ConnConfig, ConnectionError, Handed, Transport};

/// A connection, for async code: read, write, split.
///
/// It is futures' [`AsyncRead`], [`AsyncWrite`] and [`AsyncBufRead`]; the most used of their methods it has itself, so
/// that nothing need be imported. Dropping it ends the connection when what was written has been sent.
///
/// # Cancel safety
///
/// Reading into a buffer, reading lines and writing from a buffer lose nothing when the future is dropped while it waits:
/// what was not reported as read is still there, what was not reported as written was not taken. `read_exact`,
/// `write_all` and the like, which do several steps, may have done some of them.
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
    /// The seat for a new one.
    pub(crate) fn handler() -> Awaited {
        Awaited::new()
    }

    /// Makes one of a socket, which is watched from now on.
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
        conn.link().set_descriptors_asked(false);
        Self {
            reader: Reader::new(conn),
        }
    }

    /// The same of a connection that had a user before, which has left these bytes of what came.
    pub(crate) fn with_unread(conn: Rc<Conn<Awaited>>, unread: Vec<u8>) -> Self {
        let mut connection = Self::new(conn);
        connection.reader.put_back(&unread);
        connection
    }

    /// The future of a handler that serves it.
    pub(crate) fn served<F>(self, handler: impl FnOnce(Self) -> F) -> Served<F>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let conn = self.reader.conn().clone();
        Served::new(conn, handler(self))
    }

    /// Takes the connection away from async code, with what was read ahead. Fails with why it was lost, if it was.
    pub(crate) fn hand_over(mut self, reactor: &Reactor) -> Result<(Handed, Vec<u8>), Failure> {
        let unread = self.reader.take_ahead();
        let conn = self.reader.conn();
        match conn.hand_over(reactor) {
            Some(handed) => Ok((handed, unread)),
            None => {
                let reason = conn.link().reason();
                Err(reason.unwrap_or_else(|| conn.link().failure(ConnectionError::Done)))
            }
        }
    }

    /// The connection's inert handle, to close it from elsewhere, or to ask about it.
    pub fn transport(&self) -> Transport {
        self.reader.conn().transport()
    }

    /// The peer's address.
    #[doc(alias = "getPeer")]
    pub fn peer(&self) -> Address {
        self.transport().peer()
    }

    /// Our own address.
    ///
    /// # Errors
    ///
    /// [`std::io::ErrorKind::NotConnected`] when the connection is over.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> std::io::Result<Address> {
        self.transport().local_addr()
    }

    /// Gives the connection to a protocol, in the loop's turn: its `connection_made` runs, then it gets what was read ahead
    /// here and not used, then everything else. Fires with the protocol's [`Handle`].
    ///
    /// So async code can do the first part of a conversation, and a protocol the rest.
    ///
    /// # Errors
    ///
    /// Why the connection was lost, if it was; the protocol is dropped then.
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

    /// Two halves, for a task that reads and one that writes.
    ///
    /// Dropping the writing half says the end of file to the peer; when both are dropped the connection ends.
    pub fn split(mut self) -> (ReadHalf, WriteHalf) {
        let conn = self.reader.conn().clone();
        // One for each half; ours goes when `self` does.
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
