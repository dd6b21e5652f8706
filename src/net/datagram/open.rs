//! Opening ports: the reactor's verbs.

use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::panic::Location;
#[cfg(unix)]
use std::path::Path;
use std::rc::Rc;

use super::DatagramProtocol;
use super::bound::{Bound, seat};
use super::engine::{Post, User};
use super::options::DatagramOptions;
#[cfg(unix)]
use super::options::QUEUE;
use super::place::{ToDatagramAddress, invalid};
use super::socket::UdpSocket;
use crate::address::Address;
#[cfg(unix)]
use crate::driver::NotAdopted;
use crate::driver::{Change, SocketFile};
use crate::failure::Failure;
#[cfg(unix)]
use crate::net::errors::CannotAdopt;
use crate::net::errors::CannotListen;
#[cfg(unix)]
use crate::protocol;
use crate::protocol::Seated;
use crate::reactor::Reactor;

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
