//! Connections: the [`Transport`], the handle through which programs write to a connection and
//! close it; limits, producers and policies.
//!
//! # The idea
//!
//! All stream connections behave alike, whatever their socket (TCP, UNIX, TLS, pipes, in memory)
//! and their handler (a protocol or an async function). A `Transport` is an inert handle: its
//! methods record requests, which the loop carries out.
//!
//! # Rules
//!
//! 1. **Writing appends to a queue.** The queue is sent when the hook returns, or, after a write
//!    outside of hooks, before the loop waits. Only a write of 16 KiB or more, while nothing is
//!    queued, goes straight to the socket.
//! 2. **A connection ends in one of two ways**: [`Transport::lose_connection`] sends the queued
//!    bytes first, [`Transport::abort_connection`] does not. After either call nothing is accepted
//!    or delivered any more.
//! 3. **Back-pressure is on**: see [`Limits`].
//! 4. **`connection_lost` is called once**, for every connection that was made, with the reason.
//! 5. **Incomplete data does not look complete**: a connection that ends while bytes are queued is
//!    reset, where its transport has a reset, and the loss is reported as
//!    [`ConnectionError::NotSent`], unless the program or the peer aborted the connection.
//!
//! # Passing descriptors
//!
//! Over a UNIX socket a process can give open files and sockets to another process.
//! [`Transport::send_descriptor`] queues a descriptor, which is sent with the next byte, one
//! descriptor with each byte. So there must be as many bytes as descriptors: a connection that
//! closes while descriptors without a byte are left is lost with
//! [`ConnectionError::DescriptorOverrun`]. At the other end,
//! [`Protocol::descriptor_received`](crate::Protocol::descriptor_received) gets the descriptors
//! before `data_received` gets the bytes that they came with; async code takes them with
//! [`Connection::recv_descriptor`](crate::Connection::recv_descriptor). Received descriptors are
//! closed on exec, and those that the program does not take are closed.
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [connection](crate::guide::glossary#connection), [transport](crate::guide::glossary#transport),
//! [lose and abort](crate::guide::glossary#lose-abort), [high-water
//! mark](crate::guide::glossary#high-water-mark), [producer](crate::guide::glossary#producer),
//! [linger](crate::guide::glossary#linger).

mod config;
mod counter;
#[cfg(unix)]
mod credentials;
mod descriptors;
mod direct;
mod engine;
mod errors;
mod flags;
mod group;
mod handed;
mod keep_alive;
mod life;
mod linger;
mod link;
mod policed;
mod policy;
mod producer;
mod stall;
#[cfg(feature = "tls")]
mod tls;
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
pub(crate) use self::config::{BIG, ConnConfig, SendLimits};
pub(crate) use self::counter::ConnCounter;
#[cfg(unix)]
#[doc(alias("SO_PEERCRED", "ucred", "UCred", "peer_cred"))]
pub use self::credentials::Credentials;
pub(crate) use self::engine::{Conn, ConnHandler};
pub use self::errors::ConnectionError;
pub(crate) use self::errors::as_io_error;
use self::flags::Flag;
pub use self::group::Group;
pub(crate) use self::handed::Handed;
pub use self::keep_alive::KeepAlive;
use self::life::Event;
pub(crate) use self::linger::DEFAULT_LINGER;
pub(crate) use self::link::{Addresses, ConnCore};
#[doc(alias = "policies")]
pub use self::policy::Policy;
pub use self::policy::RateLimits;
#[doc(alias("AccumulatingProtocol", "StringTransport"))]
pub use self::policy::Recording;
#[doc(alias("TrafficLoggingFactory", "TrafficLoggingProtocol", "SpewingFactory"))]
pub use self::policy::TrafficLog;
pub(crate) use self::policy::{MakePolicy, PolicyConfig, SharedPolicies};
#[doc(alias = "IConsumer")]
pub use self::producer::Consumer;
pub use self::producer::Flow;
#[doc(alias("IPushProducer", "IPullProducer", "IProducer"))]
pub use self::producer::Producer;
#[cfg(feature = "tls")]
pub(crate) use self::tls::TlsSide;

use crate::address::Address;
use crate::defer::Deferred;
use crate::driver::Socket;
use crate::failure::Failure;

/// A handle to a connection, for writing to it, closing it and reading its state. Clones are
/// handles to the same connection.
///
/// Any code on the reactor's thread may keep one. Its methods run no user code, except
/// [`add_policy`](Self::add_policy) and [`with_fd`](Self::with_fd): they record requests, which the
/// loop carries out when the present hook returns, or before it waits. Dropping a handle does not
/// close the connection.
#[derive(Clone)]
pub struct Transport(Rc<Conn>);

impl Transport {
    /// Queues bytes for sending.
    ///
    /// Bytes are sent in the order of the writes, those of one hook together. Bytes written after
    /// [`Transport::lose_connection`] or [`Transport::lose_write`] are dropped. A write that begins
    /// while more than [`Limits::hard`] bytes are queued aborts the connection with
    /// [`ConnectionError::WriteOverflow`].
    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        self.0.link().write(bytes.as_ref());
    }

    /// Queues several pieces for sending, one after another.
    #[doc(alias = "writeSequence")]
    pub fn write_sequence<B: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = B>) {
        for piece in pieces {
            self.write(piece);
        }
    }

    /// Queues a line for sending: `line`, then `\r\n`. `line` is sent as it is, so an end of line
    /// inside it makes two lines.
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
        self.0.link().write_line(line.as_ref());
    }

    /// Closes the connection after the queued bytes have been sent. Nothing more is delivered.
    ///
    /// The loop calls `connection_lost` with [`ConnectionError::Done`], never inside this call. A
    /// peer that accepts nothing is reset after
    /// [`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout), one minute by
    /// default; [`Transport::lose_connection_within`] limits the whole time. A registered producer
    /// that is not a `Transport` delays the close until it is unregistered: see
    /// [`register_producer`](Self::register_producer). Bytes that a limit or
    /// the end of the reactor cut off are reported as [`ConnectionError::NotSent`]; a reactor that
    /// stops waits for them ([`Grace`](crate::reactor::Grace)).
    #[doc(alias = "loseConnection")]
    pub fn lose_connection(&self) {
        self.0.link().end_by(Event::Lose);
    }

    /// Closes the connection after the queued bytes have been sent, and aborts it when that takes
    /// longer than `limit`. The reason is then [`ConnectionError::Aborted`], and the remaining
    /// bytes are reported as [`ConnectionError::NotSent`]. A later call replaces the limit.
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

    /// Aborts the connection at once: the queued bytes are dropped, and the peer sees a reset.
    /// (Over a UNIX socket the peer sees a reset only if it had sent bytes that were not read, else
    /// the end of file.)
    ///
    /// The loop calls `connection_lost` with [`ConnectionError::Aborted`], never inside this call.
    #[doc(alias = "abortConnection")]
    pub fn abort_connection(&self) {
        self.0.link().request(Event::Abort);
    }

    /// Closes the writing side: the peer sees the end of file after the queued bytes. Reading
    /// continues.
    #[doc(alias("loseWriteConnection", "shutdown"))]
    pub fn lose_write(&self) {
        self.0.link().end_by(Event::LoseWrite);
    }

    /// Stops reading from the connection, and stops delivering bytes that have been read. (For
    /// protocols only: async code does not call `read` when it does not want to read.)
    #[doc(alias("pauseProducing", "pause_reading"))]
    pub fn pause_producing(&self) {
        self.0.link().flags.set(Flag::PAUSED, true);
        self.0.link().ask_for_attention();
    }

    /// Continues reading and delivering after [`Transport::pause_producing`].
    #[doc(alias("resumeProducing", "resume_reading"))]
    pub fn resume_producing(&self) {
        if self.0.link().ends_later() {
            return;
        }
        self.0.link().flags.set(Flag::PAUSED, false);
        self.0.link().ask_for_attention();
    }

    /// Registers a producer, which writes at this connection's pace until it is unregistered or the
    /// connection ends.
    ///
    /// While a producer is registered, [`lose_connection`](Self::lose_connection) and
    /// [`lose_write`](Self::lose_write) wait for
    /// [`unregister_producer`](Self::unregister_producer), and so does the default
    /// [`Protocol::eof_received`](crate::Protocol::eof_received). When the connection has ended
    /// already, this returns `Ok`, and the producer's
    /// [`stop_producing`](Producer::stop_producing) is called.
    ///
    /// A `Transport` that is the producer delays no close. When this connection ends, that one is
    /// closed after its queued bytes. When that one delivers no more bytes, another producer may be
    /// registered in its place.
    ///
    /// # Order
    ///
    /// The producer is called from the loop's turn, never inside this call.
    ///
    /// # Errors
    ///
    /// Fails with [`ConnectionError::ProducerRegistered`] when another producer is registered.
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
    ///         cx.register_producer(Down(3), Flow::Pull).expect("no other producer is registered");
    ///         cx.lose_connection(); // after the countdown
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

    /// Unregisters the producer, if there is one. A close that waited for it begins now.
    #[doc(alias("unregisterProducer", "stopConsuming"))]
    pub fn unregister_producer(&self) {
        self.0.link().unregister();
    }

    /// Sends a file from its current position to its end, after the queued bytes. The Deferred
    /// fires with the number of bytes sent.
    ///
    /// Where the system can send a file by itself (`sendfile` on Linux), its bytes are not copied
    /// through the process. Reading a file may wait for the disk, and then the loop waits too.
    /// Until the file has been sent, the connection counts as having a producer: see
    /// [`register_producer`](Self::register_producer).
    ///
    /// # Cancel safety
    ///
    /// Cancelling stops the sending; bytes that were sent stay sent.
    ///
    /// # Errors
    ///
    /// Fails with [`ConnectionError::ProducerRegistered`] when a producer is registered, with the
    /// system's error when the file cannot be read, and with the connection's reason when it ends
    /// first.
    #[doc(alias("FileSender", "beginFileTransfer", "sendfile"))]
    #[track_caller]
    pub fn send_file(&self, file: File) -> Deferred<u64> {
        self.send_file_part(file, u64::MAX)
    }

    /// Sends at most `most` bytes of a file, as [`Transport::send_file`] does.
    #[track_caller]
    pub(crate) fn send_file_part(&self, file: File, most: u64) -> Deferred<u64> {
        let link = self.0.link();
        if let (true, Some(reason)) = (link.life().is_over(), link.reason()) {
            return Deferred::fail(reason);
        }
        let (deferred, resolver) = Deferred::pair();
        if !link.send_file(file, most, resolver) {
            return deferred;
        }
        let this = Rc::downgrade(&self.0);
        deferred.on_cancel(move || {
            if let Some(conn) = this.upgrade() {
                conn.link().unregister();
            }
        })
    }

    /// Sets the limits of the write queue.
    pub fn set_limits(&self, limits: Limits) {
        self.0.link().set_limits(limits);
    }

    /// Returns the limits of the write queue.
    pub fn limits(&self) -> Limits {
        self.0.link().limits()
    }

    /// Returns whether the connection is full: a protocol should wait for
    /// [`Protocol::write_ready`](crate::Protocol::write_ready) before it writes more.
    ///
    /// A connection is full when more than [`Limits::high`] bytes, or more than 64 descriptors, are
    /// queued. Writes of 16 KiB or more also make it full when the system has accepted so little of
    /// one that more than [`Limits::low`] bytes are left, or when they have used up the
    /// connection's share of the loop's turn (2 MiB). The connection stays full until no more than
    /// `low` bytes are queued.
    pub fn is_full(&self) -> bool {
        self.0.link().is_full()
    }

    /// Returns the number of bytes that are queued and have not been handed to the system.
    pub fn queued(&self) -> usize {
        self.0.link().queued()
    }

    /// Returns the peer's address, also after the connection has ended. When a proxy has sent the
    /// address of its client ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied)),
    /// this is the client's address.
    #[doc(alias = "getPeer")]
    pub fn peer(&self) -> Address {
        self.0.link().peer()
    }

    /// Returns the local address. When a proxy has sent the address that its client connected to,
    /// this is that address.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::NotConnected`] when the connection has ended.
    #[doc(alias = "getHost")]
    pub fn local_addr(&self) -> io::Result<Address> {
        self.on_socket(|socket| match self.0.link().given_host() {
            Some(host) => Ok(host),
            None => socket.local_addr(),
        })
    }

    /// Returns whether the connection is open: it has not ended, and neither
    /// [`lose_connection`](Self::lose_connection) nor [`abort_connection`](Self::abort_connection)
    /// has been called. See also [`Handle::is_connected`](crate::Handle::is_connected).
    #[doc(alias = "disconnecting")]
    pub fn is_connected(&self) -> bool {
        !self.0.link().life().is_ending() && !self.0.link().ends_later()
    }

    /// Sets whether the system sends small writes at once (`true`, the default) or gathers them
    /// (Nagle's algorithm). UNIX sockets gather nothing in either case.
    ///
    /// # Errors
    ///
    /// Fails with the system's error, and with [`io::ErrorKind::NotConnected`] when the connection
    /// has ended.
    #[doc(alias("setTcpNoDelay", "nodelay"))]
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.on_socket(|socket| socket.set_nodelay(nodelay))
    }

    /// Returns whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_nodelay`] does.
    #[doc(alias = "getTcpNoDelay")]
    pub fn nodelay(&self) -> io::Result<bool> {
        self.on_socket(Socket::nodelay)
    }

    /// Sets whether the system probes a silent TCP peer, at the times of
    /// [`set_keepalive_times`](Self::set_keepalive_times). Default: `false`.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_nodelay`] does.
    #[doc(alias = "setTcpKeepAlive")]
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.on_socket(|socket| socket.set_keepalive(keepalive))
    }

    /// Returns whether a silent peer is probed.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_nodelay`] does.
    #[doc(alias = "getTcpKeepAlive")]
    pub fn keepalive(&self) -> io::Result<bool> {
        self.on_socket(Socket::keepalive)
    }

    /// Makes the system probe a silent peer at these times, as
    /// [`set_keepalive`](Self::set_keepalive) with `true` does. TCP only.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_nodelay`] does; with [`io::ErrorKind::InvalidInput`] for times
    /// that the system does not accept; and with [`io::ErrorKind::Unsupported`] on other sockets
    /// than TCP.
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
    ///     conn.transport().set_keepalive_times(times)?;
    ///     assert!(conn.transport().keepalive()?);
    ///     assert_eq!(conn.transport().keepalive_times()?, times);
    ///     drop(conn);
    ///     port.stop().await
    /// });
    /// ```
    #[doc(alias("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"))]
    pub fn set_keepalive_times(&self, times: KeepAlive) -> io::Result<()> {
        // Less than a second would be none.
        let whole = |time: Duration| Duration::from_secs(time.as_secs().max(1));
        let (idle, interval) = (whole(times.idle), whole(times.interval));
        self.on_socket(|socket| socket.set_keepalive_times(idle, interval, times.count))
    }

    /// Returns the times at which a silent peer is probed.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_keepalive_times`] does.
    pub fn keepalive_times(&self) -> io::Result<KeepAlive> {
        let (idle, interval, count) = self.on_socket(Socket::keepalive_times)?;
        Ok(KeepAlive {
            idle,
            interval,
            count,
        })
    }

    /// Calls `f` with a descriptor of the socket, for options that have no method here.
    ///
    /// The descriptor is a duplicate, which is closed when `f` has returned. `f` must not read,
    /// write or make the socket blocking, which would break the connection. A duplicate that `f`
    /// makes and keeps delays the end of the connection: the peer sees the end when all duplicates
    /// are closed.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::NotConnected`] when the connection has ended; with
    /// [`io::ErrorKind::Unsupported`] in memory, and for a connection that consists of two
    /// descriptors (a child's pipes, standard input and output); and with the system's error when
    /// the process can open no more descriptors.
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

    /// Sets how long sent bytes may stay unacknowledged before the connection is lost
    /// (`TCP_USER_TIMEOUT`, RFC 5482). `None` means the system's default. TCP on Linux only.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_nodelay`] does, and with [`io::ErrorKind::Unsupported`]
    /// elsewhere.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.on_socket(|socket| socket.set_user_timeout(limit))
    }

    /// Returns the limit that [`Transport::set_user_timeout`] sets; `None` means the system's
    /// default.
    ///
    /// # Errors
    ///
    /// Fails as [`Transport::set_user_timeout`] does.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.on_socket(Socket::user_timeout)
    }

    /// Returns the reason for which the connection ended, or `None` while it has not.
    pub fn reason(&self) -> Option<Failure> {
        self.0.link().reason()
    }

    /// Returns whether both are handles to the same connection.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Rc::as_ptr(&self.0).cast::<()>() == Rc::as_ptr(&other.0).cast::<()>()
    }

    /// Returns why the connection broke: the reason of its end, or the error of a write that did
    /// not end it.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.reason()
            .filter(|reason| matches!(reason.downcast_ref(), Some(ConnectionError::Lost { .. })))
            .or_else(|| self.0.link().write_failure())
    }

    /// Returns whether the socket is closed.
    #[cfg(unix)]
    pub(crate) fn has_ended(&self) -> bool {
        self.0.link().is_lost()
    }

    /// Ends the connection with `reason`, whatever the state of its socket.
    #[cfg(unix)]
    pub(crate) fn break_with(&self, reason: Failure) {
        self.0.link().break_with(reason);
    }

    /// Returns the reactor of the connection, while there is one.
    #[cfg(any(doc, feature = "irc"))]
    pub(crate) fn reactor(&self) -> Option<crate::reactor::Reactor> {
        self.0.link().reactor()
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
