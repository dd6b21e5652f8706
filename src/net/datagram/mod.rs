//! Datagrams: UDP, multicast, UNIX sockets. A [`DatagramProtocol`], or an async [`UdpSocket`].
//!
//! # The idea
//!
//! [`Reactor::listen_datagram`](crate::Reactor::listen_datagram) opens a socket with a protocol, whose hooks get the same
//! [`Context`] as those of streams, with a [`DatagramPort`] as transport.
//! [`Reactor::bind_datagram`](crate::Reactor::bind_datagram) opens a [`UdpSocket`] for async code. One engine serves both, for
//! UDP, UNIX and in-memory sockets.
//!
//! # Rules
//!
//! 1. **A datagram is whole.** It is sent as it is given or not at all, up to 65,507 bytes over IPv4; what would not
//!    fit where it is received is told ([`Truncated`]), never cut in silence. One of no bytes is one, too.
//! 2. **Nothing a peer does closes a port**: when nobody is there, a connected port is told
//!    ([`DatagramProtocol::connection_refused`]) and goes on. Nor does a panic in a hook: it is reported.
//! 3. **What would block waits** in the port's queue, in order, up to 256 KiB and one datagram unless
//!    [`DatagramOptions::queue`] says otherwise; then writing fails with [`QueueFull`]. Async sends wait instead. A UNIX
//!    socket that is full holds up what is for it, and nothing else: what is for others is sent although the queue be
//!    full. (Linux counts what its peers have not read against the sender's own buffer, so datagrams of many kilobytes
//!    that a peer leaves lying may still use that up, [`DatagramOptions::send_buffer`].)
//! 4. **Names are not looked up**: addresses are literal.
//! 5. One event of the loop brings as many datagrams as are there, up to 256 KiB (each counting for 1 KiB at least), so
//!    that one port does not keep the loop from the others.

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

pub use self::bound::DatagramListener;
pub use self::convert::ToDatagramAddress;
pub use self::endpoint::{DatagramEndpoint, ToDatagramEndpoint};
pub use self::errors::{
    AlreadyConnected, DatagramsNotSent, InvalidAddress, MessageTooLong, MulticastJoinError,
    PortClosed, QueueFull, SendFailed, Truncated,
};
pub use self::options::DatagramOptions;
pub use self::port::DatagramPort;
pub use self::socket::UdpSocket;
use crate::address::Address;
pub use crate::driver::Interface;
use crate::protocol::Context;

/// What to do when something happens at a port of datagrams.
///
/// # Order
///
/// [`started`](Self::started) once, then the others as things happen, and [`stopped`](Self::stopped) once, last.
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
///     fn datagram_received(&mut self, cx: &mut Context<'_, Self, DatagramPort>, data: &[u8], from: Address) {
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
    /// The port is open.
    #[doc(alias("startProtocol", "connection_made"))]
    fn started(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// A datagram came: all of it, perhaps no bytes.
    #[doc(alias = "datagramReceived")]
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    );

    /// Nobody is where the port is connected to; at least not just now, so the port stays open.
    #[doc(alias("connectionRefused", "error_received"))]
    fn connection_refused(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// The queue was full, and is half empty again: go on writing.
    fn write_ready(&mut self, cx: &mut Context<'_, Self, DatagramPort>) {
        let _ = cx;
    }

    /// The port is closed; the protocol is dropped when this returns.
    #[doc(alias("stopProtocol", "connection_lost"))]
    fn stopped(&mut self) {}
}
