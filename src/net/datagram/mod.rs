//! Datagram sockets (UDP, multicast, UNIX), for a [`DatagramProtocol`] or as an async
//! [`UdpSocket`].
//!
//! # The idea
//!
//! [`Reactor::listen_datagram`](crate::Reactor::listen_datagram) opens a socket with a protocol,
//! whose hooks receive the same [`Context`] as those of streams, with a [`DatagramPort`] as
//! transport. [`Reactor::bind_datagram`](crate::Reactor::bind_datagram) opens a [`UdpSocket`] for
//! async code. Both behave alike for UDP, UNIX and in-memory sockets. The reactor on which they are
//! called owns the *port*: the open socket with its protocol or async code.
//!
//! # Rules
//!
//! 1. **A datagram is whole.** It is sent unchanged or not at all, up to 65,507 bytes over IPv4.
//!    Receiving a datagram into a buffer that is too small fails with [`DatagramError::Truncated`];
//!    no datagram is cut silently. A datagram may be empty.
//! 2. **No peer can close a port.** When nothing listens at the peer's address of a connected port,
//!    [`DatagramProtocol::connection_refused`] is called, and the port stays open. A panic in a
//!    hook is reported and does not close the port either.
//! 3. **A datagram that the system does not accept now waits** in the port's queue, in order. While
//!    more than [`DatagramOptions::queue`] bytes are queued (256 KiB by default), writing fails
//!    with [`DatagramError::QueueFull`]; async sends wait instead. A full UNIX socket delays only
//!    datagrams to that socket; datagrams to others are sent even if the queue is full. (On Linux,
//!    datagrams that a UNIX peer has not read fill the sender's buffer: see
//!    [`DatagramOptions::send_buffer`].)
//! 4. **Host names are not looked up**: addresses are literal ([`ToDatagramAddress`]).
//! 5. A turn of the loop delivers all datagrams that have arrived at a port, up to 256 KiB, where
//!    each datagram counts as 1 KiB at least. So no port starves the others.

mod bound;
mod convert;
mod endpoint;
mod engine;
mod errors;
mod open;
mod options;
mod port;
mod queue;
mod socket;

pub use self::convert::ToDatagramAddress;
pub use self::endpoint::{DatagramEndpoint, ToDatagramEndpoint};
pub use self::errors::DatagramError;
pub use self::options::DatagramOptions;
#[doc(alias(
    "IUDPTransport",
    "IMulticastTransport",
    "IUNIXDatagramTransport",
    "IListeningPort",
    "UDPServer",
    "MulticastServer"
))]
pub use self::port::DatagramPort;
#[doc(alias("UnixDatagram", "DatagramEndpoint"))]
pub use self::socket::UdpSocket;
use crate::address::Address;
pub use crate::driver::Interface;
use crate::protocol::Context;

/// The hooks of a datagram port: what a program does when datagrams arrive.
///
/// # Order
///
/// [`started`](Self::started) is called once, first, and [`stopped`](Self::stopped) once, last. No
/// hook runs inside another hook, nor inside a method of a handle. The default hooks do nothing.
///
/// # Examples
///
/// ```
/// use torsade::net::datagram::{DatagramPort, DatagramProtocol};
/// use torsade::{Address, Context};
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
///         if let Err(failure) = cx.write(data, from) {
///             eprintln!("no answer: {failure}");
///         }
///     }
/// }
/// ```
#[doc(alias(
    "AbstractDatagramProtocol",
    "ConnectedDatagramProtocol",
    "asyncio.DatagramProtocol"
))]
pub trait DatagramProtocol: Sized + 'static {
    /// Called when the port has been opened.
    #[doc(alias("startProtocol", "connection_made"))]
    fn started(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called for each datagram with all of its bytes. `data` may be empty.
    #[doc(alias = "datagramReceived")]
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    );

    /// Called when the peer of a connected port refused a datagram, because nothing listens at its
    /// address. The port stays open.
    #[doc(alias("connectionRefused", "error_received"))]
    fn connection_refused(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called when the queue was full ([`DatagramPort::is_full`]) and is now at most half full.
    fn write_ready(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called when the port has been closed. The protocol is dropped when this returns.
    #[doc(alias("stopProtocol", "connection_lost"))]
    fn stopped(&mut self) {}
}
