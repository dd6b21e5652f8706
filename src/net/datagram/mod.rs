//! Datagram sockets: UDP, multicast and UNIX. A [`DatagramProtocol`], or an async [`UdpSocket`].
//!
//! # The idea
//!
//! [`Reactor::listen_datagram`](crate::Reactor::listen_datagram) opens a socket with a protocol,
//! whose hooks receive the same [`Context`] as those of streams, with a [`DatagramPort`] as
//! transport. [`Reactor::bind_datagram`](crate::Reactor::bind_datagram) opens a [`UdpSocket`] for
//! async code. One engine serves both, for UDP, UNIX and in-memory sockets.
//!
//! # Rules
//!
//! 1. **A datagram is whole.** It is sent unchanged or not at all, up to 65,507 bytes over IPv4. A
//!    datagram that is longer than the receive buffer fails with [`DatagramError::Truncated`] and
//!    is never cut silently. A datagram may be empty.
//! 2. **No peer can close a port.** A refusal is passed to a connected port
//!    ([`DatagramProtocol::connection_refused`]), which stays open. A panic in a hook is reported
//!    and does not close the port either.
//! 3. **A datagram that would block waits** in the port's queue, in order. The queue holds up to
//!    256 KiB and one datagram, unless [`DatagramOptions::queue`] sets another limit; then writing
//!    fails with [`DatagramError::QueueFull`]. Async sends wait instead. A full UNIX socket delays
//!    only datagrams to that socket; datagrams to others are sent even if the queue is full. (Linux
//!    counts datagrams that the peers have not read against the sender's buffer, so a peer that
//!    leaves many kilobytes unread may still use it up, see [`DatagramOptions::send_buffer`].)
//! 4. **Host names are not looked up**: addresses are literal.
//! 5. One event of the loop delivers all datagrams that have arrived, up to 256 KiB (each counts at
//!    least 1 KiB), so that one port does not starve the others.

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
pub use self::port::DatagramPort;
pub use self::socket::UdpSocket;
use crate::address::Address;
pub use crate::driver::Interface;
use crate::protocol::Context;

/// The event handler of a datagram port.
///
/// # Order
///
/// [`started`](Self::started) is called once, first, and [`stopped`](Self::stopped) once, last.
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
    /// Called when the port is open.
    #[doc(alias("startProtocol", "connection_made"))]
    fn started(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called for each datagram with all of its bytes, of which there may be none.
    #[doc(alias = "datagramReceived")]
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    );

    /// Called when the peer of a connected port refused a datagram: nothing listens there now. The
    /// port stays open.
    #[doc(alias("connectionRefused", "error_received"))]
    fn connection_refused(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called when the queue, which was full, is at most half full again.
    fn write_ready(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// Called when the port is closed. The protocol is dropped afterwards.
    #[doc(alias("stopProtocol", "connection_lost"))]
    fn stopped(&mut self) {}
}
