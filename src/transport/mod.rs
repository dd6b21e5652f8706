//! Connections: the engine that moves their bytes, and the [`Transport`] by which everybody else speaks to them.
//!
//! # The idea
//!
//! All stream connections, whatever their socket and whoever uses them, are moved by one engine (`engine`): it
//! reads when bytes are wanted, writes what is queued, keeps within limits and ends once. A connection's life is
//! a state machine of its own (`life`). A `Transport` is an inert handle: what it is asked for is noted, and done
//! by the loop.
//!
//! # Rules
//!
//! 1. **Writing appends.** The bytes leave once per dispatch and once per turn, together.
//! 2. **The end comes in two ways**: [`Transport::lose_connection`] writes what is queued first,
//!    [`Transport::abort_connection`] does not. After either nothing is taken or delivered any more.
//! 3. **Back-pressure is on**: see [`Limits`].
//! 4. **`connection_lost` comes once**, for every connection that was made, with the reason.
//! 5. **What is incomplete does not look whole**: a connection that ends while bytes are queued is reset, where its
//!    transport has a reset, and unless its user or its peer broke it off, the loss is reported as [`ConnectionError::NotSent`].
//!
//! # Passing descriptors
//!
//! Over a UNIX socket open files and sockets can be given to another process. [`Transport::send_descriptor`] queues one;
//! it leaves with the next byte that is sent, one with each byte, so there must be as many bytes as descriptors: a
//! connection that is to end while some have none is lost with [`ConnectionError::DescriptorOverrun`]. At the other end
//! `Protocol::descriptor_received` is given them before `data_received` is given the bytes they came with, and async
//! code takes them with `Connection::recv_descriptor`. All are closed on exec, and those that nobody takes are closed.

mod config;
mod counter;
#[cfg(unix)]
mod credentials;
mod engine;
mod errors;
mod flags;
mod group;
mod handed;
mod keep_alive;
mod life;
mod linger;
mod link;
mod producer;
mod stall;
mod unsent;

use std::fmt;
use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

#[cfg(unix)]
pub(crate) use self::config::DelayedClose;
pub use self::config::Limits;
pub(crate) use self::config::{ConnConfig, Patience};
pub(crate) use self::counter::ConnCounter;
#[cfg(unix)]
pub use self::credentials::Credentials;
pub(crate) use self::engine::{Conn, ConnHandler};
pub use self::errors::ConnectionError;
pub(crate) use self::errors::as_io_error;
use self::flags::Flag;
pub use self::group::Group;
pub(crate) use self::handed::Handed;
pub use self::keep_alive::KeepAlive;
use self::life::Event;
pub(crate) use self::linger::PATIENCE;
pub(crate) use self::link::{Addresses, ConnCore};
use self::producer::Sending;
pub use self::producer::{Consumer, Flow, Producer};

use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::Socket;
use crate::failure::Failure;

/// A connection, seen from outside: write to it, close it, ask about it. Clones are handles to the same one.
///
/// It can be kept by anyone. Nobody's code runs inside its methods: they note a wish, and the loop does the rest
/// when the present hook returns, or before it waits. Dropping it changes nothing.
#[derive(Clone)]
pub struct Transport(Rc<Conn>);

impl Transport {
    /// Queues bytes to be sent. What is written after [`Transport::lose_connection`] or [`Transport::lose_write`] is
    /// dropped; a write that begins while more than [`Limits::hard`] is queued aborts the connection with
    /// [`ConnectionError::WriteOverflow`].
    ///
    /// Bytes queued during one hook leave together, in the order they were written.
    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        self.0.link().write(bytes.as_ref());
    }

    /// Queues several pieces, one after another.
    #[doc(alias = "writeSequence")]
    pub fn write_sequence<B: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = B>) {
        for piece in pieces {
            self.write(piece);
        }
    }

    /// Queues a line: `line` and then `\r\n`. What `line` has in it is not looked at; an end of line would make two.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::testing::Wire;
    /// use torsade::{Context, Protocol};
    ///
    /// struct Greet;
    ///
    /// impl Protocol for Greet {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         cx.send_line("220 ready");
    ///     }
    /// }
    ///
    /// assert_eq!(Wire::new(Greet).take_received(), b"220 ready\r\n");
    /// ```
    #[doc(alias = "sendLine")]
    pub fn send_line(&self, line: impl AsRef<[u8]>) {
        self.write(line);
        self.write("\r\n");
    }

    /// Addresses the connection when what is queued has been written. Nothing more is read or delivered.
    ///
    /// `connection_lost` comes with [`ConnectionError::Done`], in a later dispatch. A peer that accepts nothing is reset after
    /// [`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout), a minute unless set;
    /// [`Transport::lose_connection_within`] limits the whole. Bytes that a limit or the end of the reactor cut off are
    /// reported as [`ConnectionError::NotSent`]; the reactor, when it stops, waits for them ([`Grace`](crate::reactor::Grace)).
    #[doc(alias = "loseConnection")]
    pub fn lose_connection(&self) {
        self.0.link().end_by(Event::Lose);
    }

    /// Addresses the connection when what is queued has been written, and aborts it when that takes longer than `limit`: then
    /// what is left is reported as [`ConnectionError::NotSent`].
    pub fn lose_connection_within(&self, limit: Duration) {
        self.lose_connection();
        let link = self.0.link();
        if link.life().is_over() {
            return;
        }
        if let Some(reactor) = link.reactor() {
            let this = Rc::downgrade(&self.0);
            let deadline = reactor.limit(limit, move || {
                if let Some(conn) = this.upgrade() {
                    Self(conn).abort_connection();
                }
            });
            if let Some(old) = link.with_extras(|extras| extras.deadline.replace(deadline)) {
                old.cancel();
            }
        }
    }

    /// Addresses the connection at once: what is queued is dropped, and the peer sees a reset. (Over a UNIX socket it sees
    /// one only if something it sent was not read, else the end of file.)
    ///
    /// `connection_lost` comes with [`ConnectionError::Aborted`], in a later dispatch.
    #[doc(alias = "abortConnection")]
    pub fn abort_connection(&self) {
        self.0.link().wish(Event::Abort);
    }

    /// Says that there is nothing more to write: when what is queued has been written, the peer sees the end of
    /// file. Reading goes on.
    #[doc(alias("loseWriteConnection", "shutdown"))]
    pub fn lose_write(&self) {
        self.0.link().end_by(Event::LoseWrite);
    }

    /// Stops delivering what the peer sends, and reading it. (For protocols: async code that does not want to read
    /// does not.)
    #[doc(alias("pauseProducing", "pause_reading"))]
    pub fn pause_producing(&self) {
        self.0.link().flags.set(Flag::PAUSED, true);
        self.0.link().ask_for_attention();
    }

    /// Goes on delivering.
    #[doc(alias("resumeProducing", "resume_reading"))]
    pub fn resume_producing(&self) {
        if self.0.link().ends_later() {
            return;
        }
        self.0.link().flags.set(Flag::PAUSED, false);
        self.0.link().ask_for_attention();
    }

    /// Has somebody write at this connection's pace, until they are unregistered or the connection is over.
    ///
    /// While a producer is registered, an end in good order that is asked for waits for
    /// [`unregister_producer`](Self::unregister_producer). If the connection is over already, the producer is told to stop.
    ///
    /// # Order
    ///
    /// The producer is called from the loop's turn, never inside this call.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::ProducerRegistered`] when there is one already.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::transport::{Flow, Producer};
    /// use torsade::{Context, Protocol, Transport};
    ///
    /// /// Counts down, one line at a time.
    /// struct Down(u32);
    ///
    /// impl Producer for Down {
    ///     fn resume_producing(&mut self, consumer: &Transport) {
    ///         consumer.write(format!("{}\n", self.0));
    ///         match self.0.checked_sub(1) {
    ///             Some(less) => self.0 = less,
    ///             None => consumer.unregister_producer(),
    ///         }
    ///     }
    /// }
    ///
    /// struct Launch;
    ///
    /// impl Protocol for Launch {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         cx.register_producer(Down(3), Flow::Pull).expect("there is no other");
    ///         cx.lose_connection(); // when it is done
    ///     }
    ///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
    /// }
    ///
    /// let mut wire = torsade::testing::Wire::new(Launch);
    /// wire.advance(std::time::Duration::ZERO);
    /// assert_eq!(wire.take_received(), b"3\n2\n1\n0\n");
    /// assert!(wire.is_closed());
    /// ```
    #[doc(alias = "registerProducer")]
    pub fn register_producer(
        &self,
        producer: impl Producer,
        flow: Flow,
    ) -> Result<(), ConnectionError> {
        let link = self.0.link();
        if link.life().is_over() {
            let mut producer = producer;
            if let Some(reactor) = link.reactor() {
                reactor.call_soon(move || producer.stop_producing());
            }
            return Ok(());
        }
        link.register(producer, flow)
    }

    /// Lets go of the producer, if there is one. An end that was asked for meanwhile comes now.
    #[doc(alias("unregisterProducer", "stopConsuming"))]
    pub fn unregister_producer(&self) {
        self.0.link().unregister();
    }

    /// Sends a file from where it stands to its end, after what is queued; gives how many bytes that were.
    ///
    /// Where the system can send a file by itself (`sendfile` on Linux) its bytes are not copied here. Reading a file may
    /// wait for the disk, and the loop with it. Until it is sent the connection has a producer.
    ///
    /// # Cancel safety
    ///
    /// Cancelling sends no more of it; what was sent stays sent.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::ProducerRegistered`]; why the file could not be read; or why the connection was lost.
    #[doc(alias("FileSender", "beginFileTransfer", "sendfile"))]
    #[track_caller]
    pub fn send_file(&self, file: File) -> Deferred<u64> {
        let link = self.0.link();
        if let (true, Some(reason)) = (link.life().is_over(), link.reason()) {
            return Deferred::fail(reason);
        }
        let (deferred, resolver) = Deferred::pair();
        if let Err(sending) = link.register_file(Sending::new(file, resolver)) {
            sending
                .resolver
                .errback(ConnectionError::ProducerRegistered);
            return deferred;
        }
        let this = Rc::downgrade(&self.0);
        deferred.on_cancel(move || {
            if let Some(conn) = this.upgrade() {
                conn.link().unregister();
            }
        })
    }

    /// Sets how much may be queued.
    pub fn set_limits(&self, limits: Limits) {
        self.0.link().set_limits(limits);
    }

    /// How much may be queued.
    pub fn limits(&self) -> Limits {
        self.0.link().limits()
    }

    /// Is more queued than it should be? Then wait for `Protocol::write_ready` before writing more.
    pub fn is_full(&self) -> bool {
        self.0.link().is_full()
    }

    /// How many bytes are queued and not yet handed to the system.
    pub fn queued(&self) -> usize {
        self.0.link().queued()
    }

    /// The peer's address. It stays known after the end. Where a proxy has told for whom it connects
    /// ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied)), that one's.
    #[doc(alias = "getPeer")]
    pub fn peer(&self) -> Address {
        self.0.link().peer()
    }

    /// Our own address; where a proxy has told it, the one that its client had connected to.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] when the connection is over.
    #[doc(alias = "getHost")]
    pub fn host(&self) -> io::Result<Address> {
        self.on_socket(|socket| match self.0.link().told_host() {
            Some(host) => Ok(host),
            None => socket.local_addr(),
        })
    }

    /// Is it neither over nor asked to end?
    #[doc(alias = "disconnecting")]
    pub fn is_connected(&self) -> bool {
        !self.0.link().life().is_ending() && !self.0.link().ends_later()
    }

    /// Sends small writes at once (the default here) or lets the system gather them (Nagle's algorithm). UNIX sockets
    /// gather nothing, whatever is said here.
    ///
    /// # Errors
    ///
    /// The system's, or [`io::ErrorKind::NotConnected`] when the connection is over.
    #[doc(alias("setTcpNoDelay", "nodelay"))]
    pub fn set_no_delay(&self, no_delay: bool) -> io::Result<()> {
        self.on_socket(|socket| socket.set_nodelay(no_delay))
    }

    /// Are small writes sent at once?
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_no_delay`].
    #[doc(alias = "getTcpNoDelay")]
    pub fn no_delay(&self) -> io::Result<bool> {
        self.on_socket(Socket::nodelay)
    }

    /// Has the system probe a silent peer now and then.
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_no_delay`].
    #[doc(alias = "setTcpKeepAlive")]
    pub fn set_keep_alive(&self, keep_alive: bool) -> io::Result<()> {
        self.on_socket(|socket| socket.set_keepalive(keep_alive))
    }

    /// Is a silent peer probed?
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_no_delay`].
    #[doc(alias = "getTcpKeepAlive")]
    pub fn keep_alive(&self) -> io::Result<bool> {
        self.on_socket(Socket::keepalive)
    }

    /// Has the system probe a silent peer, at these times. TCP only.
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_no_delay`]; [`io::ErrorKind::InvalidInput`] for times that the system does not take;
    /// [`io::ErrorKind::Unsupported`] where it is not TCP.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::transport::KeepAlive;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///     let conn = reactor.connect_stream(port.local_addr()).await?;
    ///     let times = KeepAlive { idle: Duration::from_secs(60), ..KeepAlive::default() };
    ///     conn.transport().set_keep_alive_times(times)?;
    ///     assert!(conn.transport().keep_alive()?);
    ///     assert_eq!(conn.transport().keep_alive_times()?, times);
    ///     drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[doc(alias("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"))]
    pub fn set_keep_alive_times(&self, times: KeepAlive) -> io::Result<()> {
        // Less than a second would be none.
        let whole = |time: Duration| Duration::from_secs(time.as_secs().max(1));
        let (idle, interval) = (whole(times.idle), whole(times.interval));
        self.on_socket(|socket| socket.set_keepalive_times(idle, interval, times.count))
    }

    /// Returns at what times a silent peer would be probed.
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_keep_alive_times`].
    pub fn keep_alive_times(&self) -> io::Result<KeepAlive> {
        let (idle, interval, count) = self.on_socket(Socket::keepalive_times)?;
        Ok(KeepAlive {
            idle,
            interval,
            count,
        })
    }

    /// Lends a descriptor of the socket, for options that have no method here.
    ///
    /// It is a duplicate, closed when `f` has returned; so `f` may do anything, but for reading, writing, or making the socket
    /// blocking, which would upset the connection. A duplicate that `f` makes and keeps delays the end of the connection:
    /// the peer sees that when all are closed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] when the connection is over; [`io::ErrorKind::Unsupported`] in memory, and of a connection
    /// that is made of two descriptors (a child's pipes, standard input and output); the system's when there is no descriptor
    /// left.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     let port = reactor.serve("127.0.0.1:0", async |_conn| Ok(()))?;
    ///     let conn = reactor.connect_stream(port.local_addr()).await?;
    ///     // In memory there is no descriptor.
    ///     let lent = conn.transport().with_fd(|fd| fd.try_clone_to_owned());
    ///     assert_eq!(lent.unwrap_err().kind(), ErrorKind::Unsupported);
    ///     drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[cfg(unix)]
    #[doc(alias("AsFd", "as_fd", "getHandle", "fileno", "setsockopt"))]
    pub fn with_fd<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> io::Result<R> {
        let duplicate = self.on_socket(Socket::duplicate)?;
        self.0.link().note_lent();
        Ok(f(duplicate.as_fd()))
    }

    /// How long what was sent may go unacknowledged before the connection is lost (RFC 5482); `None` for as long as the
    /// system thinks right. TCP on Linux only.
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_no_delay`]; [`io::ErrorKind::Unsupported`] elsewhere.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.on_socket(|socket| socket.set_user_timeout(limit))
    }

    /// What [`Transport::set_user_timeout`] set.
    ///
    /// # Errors
    ///
    /// As for [`Transport::set_user_timeout`].
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.on_socket(Socket::user_timeout)
    }

    /// Why it ended, once it has.
    pub fn reason(&self) -> Option<Failure> {
        self.0.link().reason()
    }

    /// Is it the same connection?
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Rc::as_ptr(&self.0).cast::<()>() == Rc::as_ptr(&other.0).cast::<()>()
    }

    /// Why it broke: why it ended, or why writing failed where that was not the end.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.reason()
            .filter(|reason| matches!(reason.downcast_ref(), Some(ConnectionError::Lost { .. })))
            .or_else(|| self.0.link().write_failure())
    }

    /// Is the socket closed?
    #[cfg(unix)]
    pub(crate) fn has_ended(&self) -> bool {
        self.0.link().has_gone()
    }

    /// Addresses it, for a reason of somebody else's.
    #[cfg(unix)]
    pub(crate) fn break_with(&self, reason: Failure) {
        self.0.link().break_with(reason);
    }

    pub(crate) fn on_socket<R>(&self, f: impl FnOnce(&Socket) -> io::Result<R>) -> io::Result<R> {
        self.0
            .link()
            .with_socket(f)
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.peer())
            .field("life", &self.0.link().life())
            .field("queued", &self.queued())
            .finish()
    }
}
