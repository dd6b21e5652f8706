//! Opening ports: the reactor's verbs, their options, and the seat of a protocol.

use std::fmt;
use std::io;
use std::ops::Deref;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;

use super::engine::{Got, Post, User};
use super::errors::Truncated;
use super::place::{ToDatagramAddress, invalid};
use super::socket::UdpSocket;
use super::{DatagramPort, DatagramProtocol};
use crate::address::Address;
#[cfg(unix)]
use crate::driver::NotAdopted;
use crate::driver::{Change, SocketFile};
use crate::failure::Failure;
#[cfg(unix)]
use crate::net::adopt::CannotAdopt;
use crate::net::errors::CannotListen;
use crate::protocol::{self, Handle, Home, Seated, visit};
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// How a port of datagrams is opened.
///
/// # Examples
///
/// ```
/// use torsade::net::datagram::DatagramOptions;
///
/// let options = DatagramOptions::new().listen_multiple(true).queue(1 << 20);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DatagramOptions {
    share: bool,
    broadcast: bool,
    queue: usize,
    mode: u32,
    bind: Option<Address>,
    buffers: [Option<usize>; 2],
}

/// A port with its protocol. It is the port (by deref), and knows the protocol's handle.
pub struct Bound<P: 'static> {
    port: DatagramPort,
    handle: Handle<P, DatagramPort>,
}

impl Reactor {
    /// Opens a UDP port for a protocol, whose `started` runs inside this call.
    ///
    /// # Errors
    ///
    /// [`CannotListen`] when the address is taken, not ours, or not allowed; [`InvalidAddress`] when what was given is
    /// no literal IP address.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::datagram::{DatagramPort, DatagramProtocol};
    /// use torsade::{Address, Context, testing};
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, cx: &mut Context<'_, Self, DatagramPort>, data: &[u8], from: Address) {
    ///         cx.write(data, from).expect("what fits in comes out again");
    ///     }
    /// }
    ///
    /// testing::run(async |reactor| {
    ///     let echo = reactor.listen_udp("127.0.0.1:0", Echo)?;
    ///     let socket = reactor.bind_udp("127.0.0.1:0")?;
    ///     socket.send_to(b"hello", echo.local_addr()).await?;
    ///     let mut buf = [0; 16];
    ///     let (count, from) = socket.recv_from(&mut buf).await?;
    ///     assert_eq!(&buf[..count], b"hello");
    ///     assert_eq!(from, echo.local_addr());
    ///     echo.stop().await
    /// });
    /// ```
    ///
    /// [`InvalidAddress`]: super::InvalidAddress
    #[doc(alias("listenUDP", "listenMulticast", "create_datagram_endpoint"))]
    #[track_caller]
    pub fn listen_udp<P: DatagramProtocol>(
        &self,
        address: impl ToDatagramAddress,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        self.listen_udp_with(address, &DatagramOptions::new(), protocol)
    }

    /// As [`Reactor::listen_udp`], with options.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen_udp`].
    #[doc(alias = "listenMulticast")]
    #[track_caller]
    pub fn listen_udp_with<P: DatagramProtocol>(
        &self,
        address: impl ToDatagramAddress,
        options: &DatagramOptions,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        let place = Location::caller();
        let address = ip_address(&address, place)?;
        seat(
            self,
            &self.open_datagrams(&address, options, place, Seated::new(protocol))?,
        )
    }

    /// Opens a UDP port for async code.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen_udp`].
    #[doc(alias("UdpSocket::bind", "listenUDP"))]
    #[track_caller]
    pub fn bind_udp(&self, address: impl ToDatagramAddress) -> Result<UdpSocket, Failure> {
        self.bind_udp_with(address, &DatagramOptions::new())
    }

    /// As [`Reactor::bind_udp`], with options.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen_udp`].
    #[track_caller]
    pub fn bind_udp_with(
        &self,
        address: impl ToDatagramAddress,
        options: &DatagramOptions,
    ) -> Result<UdpSocket, Failure> {
        let place = Location::caller();
        let address = ip_address(&address, place)?;
        let post = self.open_datagrams(&address, options, place, UdpSocket::user())?;
        Ok(UdpSocket::new(post))
    }
}

/// UNIX sockets. A path that begins with NUL is a name outside the file system (Linux).
#[cfg(unix)]
impl Reactor {
    /// Opens a UNIX socket for datagrams, at a path that is free. The name goes when the port is closed.
    ///
    /// # Errors
    ///
    /// [`CannotListen`].
    #[doc(alias("listenUNIXDatagram", "UnixDatagram"))]
    #[track_caller]
    pub fn listen_unix_datagram<P: DatagramProtocol>(
        &self,
        path: impl AsRef<Path>,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        self.listen_unix_datagram_with(path, &DatagramOptions::new(), protocol)
    }

    /// As [`Reactor::listen_unix_datagram`], with options.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen_unix_datagram`].
    #[track_caller]
    pub fn listen_unix_datagram_with<P: DatagramProtocol>(
        &self,
        path: impl AsRef<Path>,
        options: &DatagramOptions,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        let place = Location::caller();
        let address = path.as_ref().to_datagram_address()?;
        seat(
            self,
            &self.open_datagrams(&address, options, place, Seated::new(protocol))?,
        )
    }

    /// Opens a UNIX socket that is connected to another one. It has no name of its own, so it gets no answers, unless
    /// [`DatagramOptions::bind`] gives it one.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](crate::net::ConnectionRefused) or [`ConnectFailed`](crate::net::ConnectFailed) when
    /// nobody is there, [`CannotListen`] for its own name.
    #[doc(alias = "connectUNIXDatagram")]
    #[track_caller]
    pub fn connect_unix_datagram<P: DatagramProtocol>(
        &self,
        path: impl AsRef<Path>,
        options: &DatagramOptions,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        let place = Location::caller();
        let to = path.as_ref().to_datagram_address()?;
        let own = options.bind.clone().unwrap_or(Address::Unnamed);
        let post = self.open_datagrams(&own, options, place, Seated::new(protocol))?;
        if let Err(failure) = post.core().connect(&to) {
            // It has not begun, so it is not told of an end.
            protocol::leave(&*post, |_| {});
            post.close(Some(self));
            return Err(Failure::moved(failure, place));
        }
        seat(self, &post)
    }

    /// Opens a UNIX socket for datagrams, for async code.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::listen_unix_datagram`].
    #[doc(alias = "UnixDatagram::bind")]
    #[track_caller]
    pub fn bind_unix_datagram(&self, path: impl AsRef<Path>) -> Result<UdpSocket, Failure> {
        let place = Location::caller();
        let address = path.as_ref().to_datagram_address()?;
        let options = DatagramOptions::new();
        let post = self.open_datagrams(&address, &options, place, UdpSocket::user())?;
        Ok(UdpSocket::new(post))
    }
}

/// Sockets that somebody else has made.
#[cfg(unix)]
impl Reactor {
    /// Takes over a bound socket for datagrams, with a protocol, whose `started` runs inside this call: a `UdpSocket` or
    /// `UnixDatagram` of `std`, or any `OwnedFd`.
    ///
    /// The socket is made non-blocking, for all processes that share it, and closed on exec. Stopping the port closes it
    /// and no more: a UNIX socket's file stays.
    ///
    /// # Errors
    ///
    /// [`CannotAdopt`] when it is no socket for datagrams.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::net::datagram::{DatagramPort, DatagramProtocol};
    /// # use torsade::{Address, Context, Failure};
    /// # struct Ear;
    /// # impl DatagramProtocol for Ear {
    /// #     fn datagram_received(&mut self, _: &mut Context<'_, Self, DatagramPort>, _: &[u8], _: Address) {}
    /// # }
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    ///     let address = socket.local_addr()?;
    ///     let port = reactor.adopt_datagrams(socket, Ear)?;
    ///     assert_eq!(port.local_addr(), address);
    ///     port.stop().await
    /// })
    /// # }
    /// ```
    #[doc(alias("adoptDatagramPort", "from_std"))]
    #[track_caller]
    pub fn adopt_datagrams<P: DatagramProtocol>(
        &self,
        socket: impl Into<OwnedFd>,
        protocol: P,
    ) -> Result<Bound<P>, Failure> {
        let place = Location::caller();
        let post = self.take_datagrams(socket.into(), place, Seated::new(protocol))?;
        seat(self, &post)
    }

    /// Takes over a bound socket for datagrams, for async code. See [`Reactor::adopt_datagrams`].
    ///
    /// # Errors
    ///
    /// As there.
    #[doc(alias("adoptDatagramPort", "from_std"))]
    #[track_caller]
    pub fn adopt_datagram_socket(&self, socket: impl Into<OwnedFd>) -> Result<UdpSocket, Failure> {
        let place = Location::caller();
        let post = self.take_datagrams(socket.into(), place, UdpSocket::user())?;
        Ok(UdpSocket::new(post))
    }

    fn take_datagrams<U: User>(
        &self,
        fd: OwnedFd,
        place: &'static Location<'static>,
        user: U,
    ) -> Result<Rc<Post<U>>, Failure> {
        let refused = |why| {
            let error = CannotAdopt::new("a datagram socket", why);
            Failure::at(error, place)
        };
        let adopted = self.inner().driver().adopt_datagrams(fd);
        let (socket, peer) = adopted.map_err(refused)?;
        let post = Post::new(self, socket, QUEUE, None, place, user)
            .map_err(|error| refused(NotAdopted::Io(error)))?;
        if let Some(peer) = peer {
            post.core().is_connected_to(peer);
        }
        Ok(post)
    }
}

impl Reactor {
    fn open_datagrams<U: User>(
        &self,
        address: &Address,
        options: &DatagramOptions,
        place: &'static Location<'static>,
        user: U,
    ) -> Result<Rc<Post<U>>, Failure> {
        let opened = self.try_to_open(address, options, place, user);
        opened.map_err(|error| {
            let address = address.clone();
            Failure::at(CannotListen { address, error }, place)
        })
    }

    fn try_to_open<U: User>(
        &self,
        address: &Address,
        options: &DatagramOptions,
        place: &'static Location<'static>,
        user: U,
    ) -> io::Result<Rc<Post<U>>> {
        let driver = self.inner().driver();
        let socket = driver.datagrams(address, options.share)?;
        // When something fails the file goes with it.
        #[cfg(unix)]
        let file = match driver.is_virtual() {
            true => None,
            false => SocketFile::bound(address)?,
        };
        #[cfg(not(unix))]
        let file = None;
        set_up(&socket, options, file.as_ref())?;
        Post::new(self, socket, options.queue, file, place, user)
    }
}

impl DatagramOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            share: false,
            broadcast: false,
            queue: QUEUE,
            mode: 0o666,
            bind: None,
            buffers: [None; 2],
        }
    }

    /// May several sockets have the same address? All of them have to agree. Each gets what is sent to a group it
    /// has joined; which of them gets what is sent to the address itself, the system decides.
    #[doc(alias("listenMultiple", "SO_REUSEADDR", "SO_REUSEPORT"))]
    pub fn listen_multiple(mut self, share: bool) -> Self {
        self.share = share;
        self
    }

    /// May it send to broadcast addresses?
    pub fn broadcast(mut self, allowed: bool) -> Self {
        self.broadcast = allowed;
        self
    }

    /// How many bytes may wait to be sent before writing fails with [`QueueFull`](super::QueueFull); each datagram
    /// counts for 64 more. One more datagram may begin as long as no more than this waits.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// Who may send to a UNIX socket: the permissions of its name.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The own path of a UNIX socket that is connected.
    #[doc(alias = "bindAddress")]
    pub fn bind(mut self, path: impl AsRef<Path>) -> Self {
        self.bind = path.as_ref().to_datagram_address().ok();
        self
    }

    /// How much the system may keep of what came and was not read.
    #[doc(alias = "SO_RCVBUF")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.buffers[0] = Some(bytes);
        self
    }

    /// How much the system may keep of what is to be sent.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.buffers[1] = Some(bytes);
        self
    }
}

impl<P: 'static> Bound<P> {
    /// The protocol's handle.
    pub fn handle(&self) -> Handle<P, DatagramPort> {
        self.handle.clone()
    }

    /// The port.
    pub fn port(&self) -> &DatagramPort {
        &self.port
    }
}

/// The seat of a protocol at a port.
type OnPort<P> = Seated<P, DatagramPort>;

impl<P: DatagramProtocol> Home for Post<OnPort<P>> {
    type Protocol = P;
    type Transport = DatagramPort;

    fn seat_inside(&self) -> &OnPort<P> {
        self.user()
    }

    fn home_reactor(&self) -> Option<Reactor> {
        self.core().reactor()
    }

    fn home_place(&self) -> &'static Location<'static> {
        self.core().place()
    }

    fn is_closing(&self) -> bool {
        !self.core().is_open()
    }

    fn is_left(&self) -> bool {
        self.core().is_closed()
    }

    /// A port outlives the mistakes of its protocol: they were about one datagram.
    fn panicked(&self, _panic: Failure) {}

    fn inert_handle(self: &Rc<Self>) -> DatagramPort {
        self.port()
    }
}

impl<P: DatagramProtocol> User for OnPort<P> {
    fn readable(post: &Rc<Post<Self>>, reactor: &Reactor) {
        let lent = reactor.inner().take_read_buffer();
        let usual = lent.len();
        let mut buffer = lent;
        let mut budget = BATCH;
        while budget > 0 && post.core().may_read() {
            match post.core().receive_whole(&mut buffer) {
                Got::Datagram(arrived) => {
                    budget = budget.saturating_sub(arrived.size.max(LEAST));
                    if arrived.size > arrived.count {
                        report::deliver(Origin::Protocol, truncated(arrived), post.core().place());
                        continue;
                    }
                    let data = &buffer[..arrived.count];
                    visit(post, reactor, |protocol, cx| {
                        protocol.datagram_received(cx, data, arrived.from)
                    });
                }
                Got::Refused(_) => {
                    budget = budget.saturating_sub(LEAST);
                    Self::refused(post, reactor);
                }
                Got::Nothing | Got::Failed(_) => break,
            }
        }
        if buffer.len() == usual {
            reactor.inner().give_back_read_buffer(buffer);
        }
    }

    fn refused(post: &Rc<Post<Self>>, reactor: &Reactor) {
        visit(post, reactor, |protocol, cx| {
            protocol.connection_refused(cx)
        });
    }

    fn room(post: &Rc<Post<Self>>, reactor: &Reactor, was_full: bool) {
        if was_full {
            visit(post, reactor, |protocol, cx| protocol.write_ready(cx));
        }
    }

    fn closed(post: &Rc<Post<Self>>) -> Result<(), Failure> {
        protocol::try_leave(&**post, P::stopped)
    }

    fn wants_datagrams(&self) -> bool {
        true
    }
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: 'static> Deref for Bound<P> {
    type Target = DatagramPort;

    fn deref(&self) -> &DatagramPort {
        &self.port
    }
}

impl<P: 'static> Clone for Bound<P> {
    fn clone(&self) -> Self {
        Self {
            port: self.port.clone(),
            handle: self.handle.clone(),
        }
    }
}

impl<P: 'static> fmt::Debug for Bound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(&self.port).finish()
    }
}

/// What was lost of a datagram, as a failure.
pub(super) fn truncated(arrived: crate::driver::Arrived) -> Failure {
    Failure::new(Truncated {
        size: arrived.size,
        kept: arrived.count,
        from: arrived.from,
    })
}

/// Lets a protocol begin.
fn seat<P: DatagramProtocol>(
    reactor: &Reactor,
    post: &Rc<Post<OnPort<P>>>,
) -> Result<Bound<P>, Failure> {
    visit(post, reactor, |protocol, cx| protocol.started(cx));
    Ok(Bound {
        port: post.port(),
        handle: protocol::handle(post),
    })
}

fn ip_address(
    address: &impl ToDatagramAddress,
    place: &'static Location<'static>,
) -> Result<Address, Failure> {
    let address = address
        .to_datagram_address()
        .map_err(|failure| Failure::moved(failure, place))?;
    match address.inet() {
        Some(_) => Ok(address),
        None => Err(Failure::moved(invalid(&address, "an IP address"), place)),
    }
}

fn set_up(
    socket: &crate::driver::Datagrams,
    options: &DatagramOptions,
    file: Option<&SocketFile>,
) -> io::Result<()> {
    if options.broadcast {
        socket.change(Change::Broadcast(true))?;
    }
    socket.set_buffers(options.buffers)?;
    #[cfg(unix)]
    if let Some(file) = file {
        file.give_mode(options.mode)?;
    }
    let _ = file;
    Ok(())
}

/// How many bytes are queued at most, unless told.
const QUEUE: usize = 256 * 1024;
/// How many bytes of datagrams one event brings at most.
const BATCH: usize = 256 * 1024;
/// What each counts for at least.
const LEAST: usize = 1024;
