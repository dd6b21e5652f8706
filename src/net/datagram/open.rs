//! The reactor's methods that open datagram sockets.

use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;

use super::bound::attach;
use super::endpoint::{Opening, ToDatagramEndpoint};
use super::engine::{DatagramConn, DatagramHandler};
use super::options::DatagramOptions;
#[cfg(unix)]
use super::options::QUEUE;
use super::socket::UdpSocket;
use super::{DatagramPort, DatagramProtocol};
use crate::address::Address;
#[cfg(unix)]
use crate::driver::NotAdopted;
use crate::driver::{Change, SocketFile};
use crate::failure::Failure;
use crate::net::errors::ListenError;
use crate::protocol::ProtocolSlot;
use crate::reactor::Reactor;

impl Reactor {
    /// Opens a UDP or UNIX datagram socket with a protocol. Calls the protocol's
    /// [`started`](DatagramProtocol::started) before it returns.
    ///
    /// The endpoint is an address, text (`"127.0.0.1:53"`, `"unix:/run/log"`), a pair of one of
    /// these and [`DatagramOptions`], or a [`DatagramEndpoint`](super::DatagramEndpoint). The name
    /// of a UNIX socket must be free; its file is removed when the port is closed.
    ///
    /// # Errors
    ///
    /// Fails with [`ListenError::Failed`] when the address is in use, not local, or not permitted;
    /// with [`DatagramError::InvalidAddress`](super::DatagramError::InvalidAddress) for text that
    /// is not a literal address; for a [connected](DatagramOptions::connect) socket with
    /// [`ConnectError::Refused`](crate::net::ConnectError::Refused) or
    /// [`ConnectError::Failed`](crate::net::ConnectError::Failed); and for an adopted socket that
    /// is not a bound datagram socket with [`ListenError::NotAdoptable`].
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
    ///     fn datagram_received(
    ///         &mut self,
    ///         cx: &mut Context<'_, Self, DatagramPort>,
    ///         data: &[u8],
    ///         from: Address,
    ///     ) {
    ///         cx.write(data, from).expect("what fits in comes out again");
    ///     }
    /// }
    ///
    /// testing::run(async |reactor| {
    ///     let echo = reactor.listen_datagram("127.0.0.1:0", Echo)?;
    ///     let socket = reactor.bind_datagram("127.0.0.1:0")?;
    ///     socket.send_to(b"hello", echo.local_addr()).await?;
    ///     let mut buf = [0; 16];
    ///     let (count, from) = socket.recv_from(&mut buf).await?;
    ///     assert_eq!(&buf[..count], b"hello");
    ///     assert_eq!(from, echo.local_addr());
    ///     echo.stop().await
    /// });
    /// ```
    #[doc(alias(
        "listenUDP",
        "listen_udp",
        "listenMulticast",
        "listenUNIXDatagram",
        "connectUNIXDatagram",
        "create_datagram_endpoint"
    ))]
    #[track_caller]
    pub fn listen_datagram<P: DatagramProtocol>(
        &self,
        endpoint: impl ToDatagramEndpoint,
        protocol: P,
    ) -> Result<DatagramPort, Failure> {
        let conn = self.open_endpoint(endpoint, Location::caller(), ProtocolSlot::new(protocol))?;
        Ok(attach(self, &conn))
    }

    /// Opens a UDP or UNIX datagram socket for async code. It takes the same endpoints as
    /// [`Reactor::listen_datagram`].
    ///
    /// # Errors
    ///
    /// Fails as [`Reactor::listen_datagram`] does.
    #[doc(alias("UdpSocket::bind", "UnixDatagram::bind", "bind_udp", "listenUDP"))]
    #[track_caller]
    pub fn bind_datagram(&self, endpoint: impl ToDatagramEndpoint) -> Result<UdpSocket, Failure> {
        let conn = self.open_endpoint(endpoint, Location::caller(), UdpSocket::handler())?;
        Ok(UdpSocket::new(conn))
    }

    fn open_endpoint<U: DatagramHandler>(
        &self,
        endpoint: impl ToDatagramEndpoint,
        location: &'static Location<'static>,
        handler: U,
    ) -> Result<Rc<DatagramConn<U>>, Failure> {
        let endpoint = endpoint
            .into_datagram_endpoint()
            .map_err(|failure| Failure::moved(failure, location))?;
        let (address, options) = match endpoint.0 {
            Opening::At(address, options) => (address, options),
            #[cfg(unix)]
            Opening::Adopted(fd) => return self.adopt_datagrams(fd, location, handler),
        };
        let conn = self.open_datagrams(&address, &options, location, handler)?;
        let Some(peer) = &options.connect else {
            return Ok(conn);
        };
        match conn.core().connect(peer) {
            Ok(()) => Ok(conn),
            Err(failure) => {
                U::discard(&conn);
                conn.close(Some(self));
                Err(Failure::moved(failure, location))
            }
        }
    }

    #[cfg(unix)]
    fn adopt_datagrams<U: DatagramHandler>(
        &self,
        fd: OwnedFd,
        location: &'static Location<'static>,
        handler: U,
    ) -> Result<Rc<DatagramConn<U>>, Failure> {
        let refused = |why| {
            let error = ListenError::not_adoptable("a datagram socket", why);
            Failure::at(error, location)
        };
        let adopted = self.inner().driver().adopt_datagrams(fd);
        let (socket, peer) = adopted.map_err(refused)?;
        let conn = DatagramConn::new(self, socket, QUEUE, None, location, handler)
            .map_err(|error| refused(NotAdopted::Io(error)))?;
        if let Some(peer) = peer {
            conn.core().set_peer(peer);
        }
        Ok(conn)
    }
}

impl Reactor {
    fn open_datagrams<U: DatagramHandler>(
        &self,
        address: &Address,
        options: &DatagramOptions,
        location: &'static Location<'static>,
        handler: U,
    ) -> Result<Rc<DatagramConn<U>>, Failure> {
        let opened = self.try_to_open(address, options, location, handler);
        opened.map_err(|error| {
            let address = address.clone();
            Failure::at(ListenError::Failed { address, error }, location)
        })
    }

    fn try_to_open<U: DatagramHandler>(
        &self,
        address: &Address,
        options: &DatagramOptions,
        location: &'static Location<'static>,
        handler: U,
    ) -> io::Result<Rc<DatagramConn<U>>> {
        let driver = self.inner().driver();
        let socket = driver.datagrams(address, options.listen_multiple)?;
        // If a later step fails, dropping this removes the file.
        #[cfg(unix)]
        let file = match driver.is_virtual() {
            true => None,
            false => SocketFile::bound(address)?,
        };
        #[cfg(not(unix))]
        let file = None;
        set_up(&socket, options, file.as_ref())?;
        DatagramConn::new(self, socket, options.queue, file, location, handler)
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
    socket.set_buffers([options.receive_buffer, options.send_buffer])?;
    #[cfg(unix)]
    if let Some(file) = file {
        file.give_mode(options.mode)?;
    }
    let _ = file;
    Ok(())
}
