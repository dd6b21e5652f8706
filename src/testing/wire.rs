//! A protocol without a socket: [`Wire`].

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::driver::{Bind, Buffers, Socket};
use crate::failure::Failure;
use crate::protocol::{Context, Handle, Protocol, ProtocolSlot, handle, visit};
use crate::reactor::{OnPanic, Reactor};
use crate::transport::{Conn, ConnConfig, Transport};

/// An in-memory connection with a protocol at one end and the test at the other.
///
/// The reactor's turns run inside the wire's methods: when [`send`](Self::send) returns, the bytes
/// have been delivered and everything that follows from them has run. Time moves only by
/// [`advance`](Self::advance).
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use torsade::{Context, Protocol, testing::Wire};
/// /// Says goodbye after ten seconds.
/// struct Brief;
///
/// impl Protocol for Brief {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         cx.call_later(Duration::from_secs(10), |_me, cx| {
///             cx.write("bye");
///             cx.lose_connection();
///         });
///     }
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         cx.write(data);
///     }
/// }
///
/// let mut wire = Wire::new(Brief);
/// wire.send("hello");
/// assert_eq!(wire.take_received(), b"hello");
/// wire.advance(Duration::from_secs(9));
/// assert!(!wire.is_closed());
/// wire.advance(Duration::from_secs(1));
/// assert_eq!(wire.take_received(), b"bye");
/// assert!(wire.is_closed());
/// ```
pub struct Wire<P: Protocol> {
    reactor: Reactor,
    peer: Socket,
    conn: Rc<Conn<ProtocolSlot<P, Transport>>>,
    handle: Handle<P>,
    transport: Transport,
    /// The bytes that the protocol has not accepted yet.
    unsent: Vec<u8>,
    /// Whether the end of file follows when all bytes are sent.
    ending: bool,
    received: Vec<u8>,
    /// Whether the protocol has sent the end of file.
    ended: bool,
    /// Whether the protocol ended the connection by a reset.
    was_reset: bool,
    /// Whether the other end of the pair accepts nothing, so that nothing is taken from this one.
    is_held: bool,
    /// Whether the end of file or the reset was moved to the other end of the pair.
    end_was_taken: bool,
}

/// The bytes and the end of file that one end of a pair has for the other.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Eof,
    Reset,
}

/// Makes a reactor out of which a panic unwinds.
#[track_caller]
pub(super) fn in_memory() -> Reactor {
    let reactor = Reactor::in_memory().expect("a reactor in memory needs little");
    reactor.set_on_panic(OnPanic::Unwind);
    reactor
}

impl<P: Protocol> Wire<P> {
    /// Connects a protocol. Its `connection_made` has run when this returns.
    ///
    /// # Panics
    ///
    /// Panics when this process can open no more descriptors. Like every method of a wire, panics
    /// when a hook panics.
    #[track_caller]
    pub fn new(protocol: P) -> Self {
        Self::on(in_memory(), protocol)
    }

    /// Connects a protocol on an existing in-memory reactor.
    #[track_caller]
    pub(super) fn on(reactor: Reactor, protocol: P) -> Self {
        let listener = reactor
            .inner()
            .driver()
            .listen(&Address::from(([127, 0, 0, 1], 0)), &Bind::default())
            .expect("there are ports enough");
        let address = listener.local_addr().expect("it listens");
        let socket = reactor
            .inner()
            .driver()
            .connect(&address, None, Buffers::default())
            .expect("it is listened at");
        let (peer, _) = listener.accept().expect("a connection is pending");
        let config = Rc::new(ConnConfig::new(&reactor, Location::caller()));
        let conn = Conn::new(
            &reactor,
            socket,
            address,
            &config,
            ProtocolSlot::new(protocol),
        )
        .expect("a socket in memory can be watched");
        let (handle, transport) = (handle(&conn), conn.transport());
        let (inside, begun) = (reactor.clone(), conn.clone());
        reactor.call_soon(move || {
            begun.begin(&inside, || {
                visit(&begun, &inside, |protocol, cx| protocol.connection_made(cx));
            });
        });
        reactor.settle();
        let mut wire = Self {
            reactor,
            peer,
            conn,
            handle,
            transport,
            unsent: Vec::new(),
            ending: false,
            received: Vec::new(),
            ended: false,
            was_reset: false,
            is_held: false,
            end_was_taken: false,
        };
        wire.settle();
        wire
    }
}

impl<P: Protocol> Wire<P> {
    /// Sends bytes to the protocol. While it accepts none, because its connection is paused or
    /// full, the rest is kept; later calls of the wire's methods send it. Bytes are dropped after
    /// the end of the connection, and after [`send_eof`](Self::send_eof).
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.unsent.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// Sends the end of file to the protocol, after all bytes.
    #[doc(alias = "loseWriteConnection")]
    #[track_caller]
    pub fn send_eof(&mut self) {
        self.ending = true;
        self.settle();
    }

    /// Runs turns until nothing is left to do. This carries out requests made outside the wire's
    /// methods: through a [`Handle`], a [`Transport`] or the [reactor](Self::reactor).
    ///
    /// # Panics
    ///
    /// Panics as [`Wire::new`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Protocol;
    /// use torsade::testing::Wire;
    ///
    /// struct Quiet;
    ///
    /// impl Protocol for Quiet {}
    ///
    /// let mut wire = Wire::new(Quiet);
    /// wire.handle().lose_connection();
    /// assert!(!wire.is_closed()); // the request is carried out in the next turn
    /// wire.flush();
    /// assert!(wire.is_closed());
    /// ```
    #[track_caller]
    pub fn flush(&mut self) {
        self.settle();
    }

    /// Breaks the connection as a peer does that resets it: the protocol's `connection_lost` gets
    /// [`ConnectionError::Lost`](crate::ConnectionError::Lost).
    ///
    /// # Panics
    ///
    /// Panics as [`Wire::new`] does.
    #[track_caller]
    pub fn reset(&mut self) {
        self.peer
            .reset_on_close()
            .expect("a socket in memory can be reset");
        let (reactor, address) = (&self.reactor, Address::from(([127, 0, 0, 1], 0)));
        let other = reactor
            .inner()
            .driver()
            .listen(&address, &Bind::default())
            .expect("there are ports enough");
        let port = other.local_addr().expect("it listens");
        // Any other socket would do: the point is to drop the test's own end.
        self.peer = reactor
            .inner()
            .driver()
            .connect(&port, None, Buffers::default())
            .expect("it is listened at");
        self.reactor.settle();
    }

    /// Advances the clock by `step`, and runs everything that comes due.
    #[track_caller]
    pub fn advance(&mut self, step: Duration) {
        self.reactor.advance(step);
        self.settle();
    }

    /// Returns the bytes that the protocol has written since the last call.
    #[doc(alias = "value")]
    #[track_caller]
    pub fn take_received(&mut self) -> Vec<u8> {
        self.settle();
        std::mem::take(&mut self.received)
    }

    /// Calls `f` with the protocol and its context, as a hook is called, and returns its result.
    /// Everything that follows from the call has run when this returns.
    ///
    /// # Panics
    ///
    /// Panics as [`Wire::new`] does, and when the connection has ended or was handed to another
    /// protocol.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::testing::Wire;
    /// use torsade::{Context, Protocol};
    ///
    /// struct Count(usize);
    ///
    /// impl Protocol for Count {
    ///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         self.0 += data.len();
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Count(0));
    /// wire.send("hello");
    /// let count = wire.with_protocol(|count, cx| {
    ///     cx.write("ok");
    ///     count.0
    /// });
    /// assert_eq!(count, 5);
    /// assert_eq!(wire.take_received(), b"ok");
    /// ```
    #[track_caller]
    pub fn with_protocol<R>(&mut self, f: impl FnOnce(&mut P, &mut Context<'_, P>) -> R) -> R {
        let result = self.reactor.in_turn(|| visit(&self.conn, &self.reactor, f));
        self.settle();
        result.expect("the connection has ended, or another protocol has it")
    }

    /// Returns whether the protocol's `connection_lost` has been called.
    pub fn is_closed(&self) -> bool {
        !self.handle.is_connected()
    }

    /// Returns whether the peer has received the end of file, or a reset, from the protocol. The
    /// connection may still be open: see [`is_closed`](Self::is_closed).
    pub fn has_received_eof(&self) -> bool {
        self.ended
    }

    /// Returns the reason for which the connection ended, or `None` while it has not.
    pub fn reason(&self) -> Option<Failure> {
        self.transport.reason()
    }

    /// Returns the protocol's handle.
    pub fn handle(&self) -> Handle<P> {
        self.handle.clone()
    }

    /// Returns the protocol's connection.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Returns the reactor that the wire runs on.
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Moves bytes both ways until nothing moves any more.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        loop {
            let sent = match self.peer.write(&self.unsent) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                written => written.unwrap_or(self.unsent.len()),
            };
            self.unsent.drain(..sent);
            if self.ending && self.unsent.is_empty() {
                self.ending = false;
                let _ = self.peer.shutdown(Shutdown::Write);
            }
            self.reactor.settle();
            if !self.receive() && sent == 0 {
                return;
            }
        }
    }

    /// Returns whether the protocol accepts bytes.
    pub(super) fn takes_more(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Takes the bytes and the end that have to be moved to the other end of a pair, if that end
    /// accepts them.
    #[track_caller]
    pub(super) fn take_outgoing(&mut self, is_taken: bool) -> Outgoing {
        self.is_held = !is_taken;
        self.settle();
        let bytes = std::mem::take(&mut self.received);
        let end = match self.was_reset {
            _ if !self.ended || std::mem::replace(&mut self.end_was_taken, true) => None,
            true => Some(End::Reset),
            false => Some(End::Eof),
        };
        Outgoing { bytes, end }
    }

    /// Delivers the bytes and the end that come from the other end of a pair. Returns whether there
    /// were any.
    #[track_caller]
    pub(super) fn deliver(&mut self, outgoing: Outgoing) -> bool {
        let Outgoing { bytes, end } = outgoing;
        let moved = !bytes.is_empty() || end.is_some();
        if !bytes.is_empty() {
            self.send(bytes);
        }
        match end {
            Some(End::Eof) => self.send_eof(),
            Some(End::Reset) if !self.is_closed() => self.reset(),
            Some(End::Reset) | None => {}
        }
        moved
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut moved = false;
        while !self.ended && !self.is_held {
            match self.peer.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return moved,
                Err(_) => {
                    self.ended = true;
                    self.was_reset = true;
                }
            }
            moved = true;
        }
        moved
    }
}

impl<P: Protocol> fmt::Debug for Wire<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
