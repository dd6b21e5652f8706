//! What can be wrong with a datagram.

use std::error::Error;
use std::fmt;
use std::io;

use crate::address::Address;
use crate::driver::Arrived;
use crate::failure::{Failure, errors};

/// A datagram is larger than the network takes: 65,507 bytes over IPv4.
#[doc(alias("MessageLengthError", "EMSGSIZE"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTooLong {
    /// How many bytes it has.
    pub size: usize,
}

/// A datagram had more bytes than there was room for; the others are lost.
#[doc(alias = "MSG_TRUNC")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// How many bytes it had, as far as the system says.
    pub size: usize,
    /// How many were kept.
    pub kept: usize,
    /// Who sent it.
    pub from: Address,
}

/// A datagram could not be sent at once, and too much waits to be sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// How many bytes wait.
    pub queued: usize,
    /// How many may.
    pub limit: usize,
}

/// A port of datagrams was closed before all that was queued had been handed to the system.
///
/// It is reported ([`Reactor::on_report`](crate::Reactor::on_report)). See
/// [`DatagramPort::stop`](super::DatagramPort::stop).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramsNotSent {
    /// How many datagrams were still queued.
    pub datagrams: usize,
    /// How many bytes they had.
    pub bytes: usize,
    /// The port's own address.
    pub from: Address,
}

/// The system would not send a datagram.
#[derive(Debug)]
pub struct SendFailed {
    /// Where it was to go; none for a port that is connected.
    pub to: Option<Address>,
    /// Why it did not.
    pub error: io::Error,
}

/// What was given is no address that this port can send to, or be bound to. Names are not looked up.
#[doc(alias = "InvalidAddressError")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    /// What was given.
    pub address: String,
    /// What was wanted.
    pub wanted: &'static str,
}

/// The port is connected already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlreadyConnected {
    /// With whom.
    pub to: Address,
}

/// The port is closed, or about to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortClosed;

/// A multicast group could not be joined or left.
#[derive(Debug)]
pub struct MulticastJoinError {
    /// The group.
    pub group: std::net::IpAddr,
    /// What the system said.
    pub error: io::Error,
}

impl MulticastJoinError {
    /// The number of the system's error.
    #[doc(alias = "errno")]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

errors! {
    MessageTooLong { size }: "a datagram of {size} bytes is too long";
    Truncated { size, kept, from }:
        "of a datagram of {size} bytes from {from} there was room for {kept}";
    QueueFull { queued, limit }: "{queued} bytes wait to be sent and the limit is {limit}";
    DatagramsNotSent { datagrams, bytes, from }:
        "{datagrams} datagrams of {bytes} bytes not sent from {from}";
    InvalidAddress { address, wanted }: "{address:?} is not {wanted}";
    AlreadyConnected { to }: "the port is connected to {to} already";
    PortClosed: "the port is closed";
    MulticastJoinError { group }: "cannot join or leave {group}", source error;
}

impl fmt::Display for SendFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Some(to) => write!(f, "cannot send to {to}"),
            None => f.write_str("cannot send"),
        }
    }
}

/// What was lost of a datagram, as a failure.
pub(super) fn truncated(arrived: Arrived) -> Failure {
    Failure::new(Truncated {
        size: arrived.size,
        kept: arrived.count,
        from: arrived.from,
    })
}

impl Error for SendFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
