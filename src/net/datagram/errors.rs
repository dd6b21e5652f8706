//! The error of datagram ports: [`DatagramError`].

use std::io;
use std::net::IpAddr;

use crate::address::Address;
use crate::driver::Arrived;
use crate::failure::errors;

/// The error of a datagram port or of one of its datagrams.
///
/// A datagram that cannot be sent or received leaves the port open.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramError {
    /// The datagram is larger than the network accepts: 65,507 bytes over IPv4.
    #[doc(alias("MessageLengthError", "EMSGSIZE"))]
    TooLong {
        /// The size of the datagram, in bytes.
        size: usize,
    },
    /// The receive buffer was too small for the datagram. The rest of the datagram is lost.
    #[doc(alias = "MSG_TRUNC")]
    Truncated {
        /// The size of the datagram, in bytes, as reported by the system.
        size: usize,
        /// The number of bytes that were received.
        kept: usize,
        /// The sender's address.
        from: Address,
    },
    /// The datagram could not be sent at once, and the port's queue is full.
    QueueFull {
        /// The number of bytes in the queue.
        queued: usize,
        /// The limit of [`DatagramOptions::queue`](super::DatagramOptions::queue), in bytes.
        limit: usize,
    },
    /// The port was closed before all queued datagrams had been passed to the system.
    ///
    /// The reactor reports this error ([`Reactor::on_report`](crate::Reactor::on_report)). See
    /// [`DatagramPort::stop`](super::DatagramPort::stop).
    NotSent {
        /// The number of datagrams in the queue.
        datagrams: usize,
        /// The sum of their sizes, in bytes.
        bytes: usize,
        /// The port's local address.
        from: Address,
    },
    /// The system refused to send the datagram.
    SendFailed {
        /// The destination; `None` for a connected port.
        to: Option<Address>,
        /// The system's error, which is the source.
        error: io::Error,
    },
    /// The value is not an address to which the port can be bound, connect or send. Host names are
    /// not looked up.
    #[doc(alias = "InvalidAddressError")]
    InvalidAddress {
        /// The value.
        address: String,
        /// The kind of address that the port needs.
        expected: &'static str,
    },
    /// The port is connected already.
    AlreadyConnected {
        /// The peer's address.
        to: Address,
    },
    /// The port is closed or closing.
    Closed,
    /// The system refused to join or leave the multicast group.
    #[doc(alias = "MulticastJoinError")]
    MulticastJoin {
        /// The group.
        group: IpAddr,
        /// The system's error, which is the source.
        error: io::Error,
    },
}

impl DatagramError {
    /// Returns the error of a datagram that did not fit in its buffer.
    pub(super) fn truncated(arrived: Arrived) -> Self {
        Self::Truncated {
            size: arrived.size,
            kept: arrived.count,
            from: arrived.from,
        }
    }
}

errors! {
    enum DatagramError {
        TooLong { size }: "a datagram of {size} bytes is too long";
        Truncated { size, kept, from }:
            "a datagram of {size} bytes from {from} was cut to the {kept} bytes of the buffer";
        QueueFull { queued, limit }:
            "the port's queue is full: it has {queued} bytes and a limit of {limit}";
        NotSent { datagrams, bytes, from }:
            "{datagrams} datagrams of {bytes} bytes not sent from {from}";
        SendFailed { to }: "cannot send to {}", with destination(to.as_ref()), source error;
        InvalidAddress { address, expected }: "{address:?} is not {expected}";
        AlreadyConnected { to }: "the port is connected to {to} already";
        Closed: "the port is closed";
        MulticastJoin { group }: "cannot join or leave the multicast group {group}", source error;
    }
}

fn destination(to: Option<&Address>) -> String {
    to.map_or_else(|| "the port's peer".into(), Address::to_string)
}

/// Returns whether the error means that nothing listens at the peer's address.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    // Windows reports a refusal as a reset.
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
