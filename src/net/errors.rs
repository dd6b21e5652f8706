//! Why one cannot listen, or connect. Each keeps the address, and the system's error as its source.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::Address;
#[cfg(unix)]
use crate::driver::NotAdopted;
use crate::failure::{Failure, errors};

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

/// Several addresses were tried, and none of them answered.
///
/// `Display` tells of all attempts but the last one, which is the source.
#[doc(alias = "ConnectError")]
#[derive(Debug)]
pub struct ConnectFailedEverywhere {
    /// Each address that was tried, with how that failed, in the order in which they failed.
    pub attempts: Vec<(Address, Failure)>,
}

/// There was no address to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoAddress;

#[cfg(unix)]
/// A descriptor cannot be adopted: it is not what it should be, or the system would not.
#[doc(alias("UnsupportedAddressFamily", "UnsupportedSocketType"))]
#[derive(Debug)]
pub struct CannotAdopt {
    pub(super) wanted: &'static str,
    pub(super) found: Result<String, io::Error>,
}

#[cfg(unix)]
/// An adopted socket was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlreadyAdopted;

/// The failure of one attempt, as the error it is.
pub(super) fn connect_failure(address: Address, error: io::Error) -> Failure {
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

errors! {
    CannotListen { address }: "cannot listen at {address}", source error;
    ConnectionRefused { address }: "connection refused by {address}", source error;
    NoRoute { address }: "no route to {address}", source error;
    ConnectFailed { address }: "cannot connect to {address}", source error;
    NoAddress: "there is no address to connect to or listen at";
}

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}", self.address)?;
        match self.limit {
            Some(limit) => write!(f, " within {limit:?}"),
            None => Ok(()),
        }
    }
}

impl Error for ConnectTimedOut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref()?)
    }
}

impl ConnectFailedEverywhere {
    pub(super) fn new(attempts: Vec<(Address, Failure)>) -> Self {
        Self { attempts }
    }
}

impl fmt::Display for ConnectFailedEverywhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} addresses answered", self.attempts.len())?;
        let Some((_, told)) = self.attempts.split_last() else {
            return Ok(());
        };
        for (index, (_, failure)) in told.iter().enumerate() {
            let before = if index == 0 { " (" } else { "; " };
            write!(f, "{before}{failure:#}")?;
        }
        f.write_str(if told.is_empty() { "" } else { ")" })
    }
}

impl Error for ConnectFailedEverywhere {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let (_, last) = self.attempts.last()?;
        Some(last.error())
    }
}

// It holds failures, and `?` turns it into one.
impl Unpin for ConnectFailedEverywhere {}

#[cfg(unix)]
impl CannotAdopt {
    pub(super) fn new(wanted: &'static str, why: NotAdopted) -> Self {
        let found = match why {
            NotAdopted::Is(found) => Ok(found),
            NotAdopted::Io(error) => Err(error),
        };
        Self { wanted, found }
    }
}

#[cfg(unix)]
impl fmt::Display for CannotAdopt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(found) => write!(f, "{} is wanted, and this is {found}", self.wanted),
            Err(_) => write!(f, "{} is wanted, and this cannot be looked at", self.wanted),
        }
    }
}

#[cfg(unix)]
impl Error for CannotAdopt {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.found.as_ref().err()?)
    }
}

#[cfg(unix)]
errors! {
    AlreadyAdopted: "the adopted socket was used already";
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn here() -> Address {
        ([127, 0, 0, 1], 80).into()
    }

    #[test]
    fn what_the_system_says_is_told_apart_and_kept() {
        type Kind = fn(&Failure) -> bool;
        let kinds: [(i32, Kind); 9] = [
            (libc::ECONNREFUSED, Failure::is::<ConnectionRefused>),
            (libc::ETIMEDOUT, Failure::is::<ConnectTimedOut>),
            (libc::ENETUNREACH, Failure::is::<NoRoute>),
            (libc::EHOSTUNREACH, Failure::is::<NoRoute>),
            (libc::ENETDOWN, Failure::is::<NoRoute>),
            (libc::EADDRINUSE, Failure::is::<ConnectFailed>),
            (libc::EADDRNOTAVAIL, Failure::is::<ConnectFailed>),
            (libc::ECONNRESET, Failure::is::<ConnectFailed>),
            (libc::EACCES, Failure::is::<ConnectFailed>),
        ];
        for (number, is_right) in kinds {
            let failure = connect_failure(here(), io::Error::from_raw_os_error(number));
            assert!(is_right(&failure), "{failure:?}");
            let error = failure.find::<io::Error>();
            assert_eq!(error.and_then(io::Error::raw_os_error), Some(number));
        }
    }

    #[test]
    fn each_says_where_and_why() {
        let error = || io::Error::other("no");
        let refused = |last| {
            let address = Address::from(([127, 0, 0, last], 80));
            let error = error();
            let failure = Failure::new(ConnectionRefused {
                address: address.clone(),
                error,
            });
            (address, failure)
        };
        let (address, limit) = (here(), Some(Duration::from_secs(30)));
        let timed_out = |limit, error| ConnectTimedOut {
            address: here(),
            limit,
            error,
        };
        for (failure, said) in [
            (
                Failure::new(CannotListen {
                    address: address.clone(),
                    error: error(),
                }),
                "cannot listen at 127.0.0.1:80",
            ),
            (refused(1).1, "connection refused by 127.0.0.1:80"),
            (
                Failure::new(NoRoute {
                    address: address.clone(),
                    error: error(),
                }),
                "no route to 127.0.0.1:80",
            ),
            (
                Failure::new(ConnectFailed {
                    address,
                    error: error(),
                }),
                "cannot connect to 127.0.0.1:80",
            ),
            (
                timed_out(limit, None).into(),
                "no connection to 127.0.0.1:80 within 30s",
            ),
            (
                timed_out(None, Some(error())).into(),
                "no connection to 127.0.0.1:80",
            ),
            (
                timed_out(None, None).into(),
                "no connection to 127.0.0.1:80",
            ),
            (
                ConnectFailedEverywhere::new(vec![refused(1), refused(2)]).into(),
                "none of 2 addresses answered (connection refused by 127.0.0.1:80: no)",
            ),
            (
                NoAddress.into(),
                "there is no address to connect to or listen at",
            ),
        ] {
            assert_eq!(failure.to_string(), said);
        }
    }
}
