//! The address and options of a datagram socket: [`DatagramEndpoint`], and the types that convert
//! to it.

use std::borrow::Borrow;
#[cfg(unix)]
use std::os::fd::OwnedFd;

use super::convert::ToDatagramAddress;
use super::options::DatagramOptions;
use crate::address::Address;
use crate::failure::Failure;

/// The address and options of a datagram socket to open, or an adopted socket.
///
/// Most programs pass [`Reactor::listen_datagram`] and [`Reactor::bind_datagram`] an address, or a
/// pair of an address and [`DatagramOptions`]; both convert to this type.
///
/// # Examples
///
/// ```
/// use torsade::net::datagram::DatagramOptions;
///
/// torsade::testing::run(async |reactor| {
///     let options = DatagramOptions::new().broadcast(true);
///     let socket = reactor.bind_datagram(("127.0.0.1:0", &options))?;
///     assert!(socket.port().broadcast()?);
///     Ok(())
/// });
/// ```
///
/// [`Reactor::listen_datagram`]: crate::Reactor::listen_datagram
/// [`Reactor::bind_datagram`]: crate::Reactor::bind_datagram
#[derive(Debug)]
pub struct DatagramEndpoint(pub(super) Opening);

/// The origin of a datagram socket.
#[derive(Debug)]
pub(super) enum Opening {
    /// A new socket, bound to the address.
    At(Address, DatagramOptions),
    /// A socket that is open already.
    #[cfg(unix)]
    Adopted(OwnedFd),
}

impl DatagramEndpoint {
    /// Creates an endpoint at a local address.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::InvalidAddress`](super::DatagramError::InvalidAddress) for text
    /// that is not a literal address.
    pub fn new(address: impl ToDatagramAddress) -> Result<Self, Failure> {
        let address = address.to_datagram_address()?;
        Ok(Self(Opening::At(address, DatagramOptions::new())))
    }

    /// Adopts a bound datagram socket: a `UdpSocket` or `UnixDatagram` of `std`, or any `OwnedFd`.
    ///
    /// Opening the endpoint makes the socket non-blocking, for all processes that share it, and
    /// sets its close-on-exec flag. When the port closes, the file of an adopted UNIX socket is not
    /// removed. An adopted socket takes no [`DatagramOptions`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::net::datagram::DatagramEndpoint;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    ///     let address = socket.local_addr()?;
    ///     let adopted = reactor.bind_datagram(DatagramEndpoint::adopt(socket))?;
    ///     assert_eq!(adopted.local_addr(), address);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[cfg(unix)]
    #[doc(alias("adoptDatagramPort", "from_std"))]
    pub fn adopt(socket: impl Into<OwnedFd>) -> Self {
        Self(Opening::Adopted(socket.into()))
    }
}

/// A type that converts to a [`DatagramEndpoint`]: an address, literal text, or a pair of an
/// address and [`DatagramOptions`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a datagram endpoint",
    note = "give text (\"127.0.0.1:53\"), an address, or a pair of an address and `DatagramOptions`"
)]
pub trait ToDatagramEndpoint {
    /// Returns the endpoint.
    ///
    /// # Errors
    ///
    /// Fails with [`DatagramError::InvalidAddress`](super::DatagramError::InvalidAddress) for text
    /// that is not a literal address.
    fn into_datagram_endpoint(self) -> Result<DatagramEndpoint, Failure>;
}

impl ToDatagramEndpoint for DatagramEndpoint {
    fn into_datagram_endpoint(self) -> Result<DatagramEndpoint, Failure> {
        Ok(self)
    }
}

impl<A: ToDatagramAddress> ToDatagramEndpoint for A {
    fn into_datagram_endpoint(self) -> Result<DatagramEndpoint, Failure> {
        DatagramEndpoint::new(self)
    }
}

macro_rules! with_options {
    ($($options:ty),+) => {
        $(impl<A: ToDatagramAddress> ToDatagramEndpoint for (A, $options) {
            fn into_datagram_endpoint(self) -> Result<DatagramEndpoint, Failure> {
                let (address, options) = (self.0.to_datagram_address()?, self.1);
                let options: &DatagramOptions = options.borrow();
                Ok(DatagramEndpoint(Opening::At(address, options.clone())))
            }
        })+
    };
}

with_options!(DatagramOptions, &DatagramOptions);
