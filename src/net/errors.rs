//! Why one cannot listen, or connect. Each keeps the address, and the system's error as its source.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::Address;

/// The address could not be listened at.
#[doc(alias("CannotListenError", "BindError"))]
#[derive(Debug)]
pub struct CannotListen {
    /// Where.
    pub address: Address,
    /// Why.
    pub error: io::Error,
}

/// Nobody listens there.
#[doc(alias = "ConnectionRefusedError")]
#[derive(Debug)]
pub struct ConnectionRefused {
    /// Where.
    pub address: Address,
    /// What the system said.
    pub error: io::Error,
}

/// The network or the host cannot be reached.
#[doc(alias = "NoRouteError")]
#[derive(Debug)]
pub struct NoRoute {
    /// Where.
    pub address: Address,
    /// What the system said.
    pub error: io::Error,
}

/// The connection did not come about in time.
#[doc(alias("TCPTimedOutError", "TimeoutError"))]
#[derive(Debug)]
pub struct ConnectTimedOut {
    /// Where.
    pub address: Address,
    /// Our own limit, if that was what ended it.
    pub limit: Option<Duration>,
    /// What the system said, if it gave up first.
    pub error: Option<io::Error>,
}

/// The connection failed for some other reason.
#[doc(alias("ConnectError", "ConnectBindError"))]
#[derive(Debug)]
pub struct ConnectFailed {
    /// Where.
    pub address: Address,
    /// What the system said.
    pub error: io::Error,
}

/// There was no address to try.
#[doc(alias("DNSLookupError", "UnknownHostError"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoAddress;

/// The failure of one attempt, as the error it is.
pub(super) fn connect_failure(address: Address, error: io::Error) -> crate::Failure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => ConnectionRefused { address, error }.into(),
        Kind::TimedOut => ConnectTimedOut {
            address,
            limit: None,
            error: Some(error),
        }
        .into(),
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            NoRoute { address, error }.into()
        }
        _ => ConnectFailed { address, error }.into(),
    }
}

macro_rules! about_an_address {
    ($($name:ident: $text:literal;)+) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($text, " {}: {}"), self.address, self.error)
            }
        }

        impl Error for $name {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.error)
            }
        })+
    };
}

about_an_address! {
    CannotListen: "cannot listen at";
    ConnectionRefused: "connection refused by";
    NoRoute: "no route to";
    ConnectFailed: "cannot connect to";
}

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.limit, &self.error) {
            (Some(limit), _) => write!(f, "no connection to {} within {limit:?}", self.address),
            (None, Some(error)) => write!(f, "no connection to {}: {error}", self.address),
            (None, None) => write!(f, "no connection to {}", self.address),
        }
    }
}

impl Error for ConnectTimedOut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref()?)
    }
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no address to connect to or listen at")
    }
}

impl Error for NoAddress {}
