//! The errors of connecting and of listening: [`ConnectError`] and [`ListenError`].

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::address::Address;
#[cfg(unix)]
use crate::driver::NotAdopted;
use crate::failure::{AsSource, Failure, errors};

/// The error of an attempt to connect.
///
/// The error of the operating system, where there is one, is the field `error` and the source.
///
/// # Examples
///
/// ```
/// use torsade::net::ConnectError;
///
/// torsade::testing::run(async |reactor| {
///     let failure = reactor.connect_stream("127.0.0.1:1").await.unwrap_err();
///     match failure.trap()? {
///         ConnectError::Refused { address, .. } => assert_eq!(address.port(), Some(1)),
///         _ => return Err(failure),
///     }
///     Ok(())
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer's host refused the connection: nothing listens at the address.
    #[doc(alias("ConnectionRefusedError", "ECONNREFUSED"))]
    Refused {
        /// The address of the attempt.
        address: Address,
        /// The system's error.
        error: io::Error,
    },
    /// The network or the host is unreachable.
    #[doc(alias("NoRouteError", "EHOSTUNREACH", "ENETUNREACH"))]
    NoRoute {
        /// The address of the attempt.
        address: Address,
        /// The system's error.
        error: io::Error,
    },
    /// A time limit expired before the connection was established.
    #[doc(alias("TCPTimedOutError", "TimeoutError", "ETIMEDOUT"))]
    TimedOut {
        /// The address of the attempt.
        address: Address,
        /// The limit of [`ConnectOptions`](super::ConnectOptions) that expired; `None` if the
        /// system gave up first.
        limit: Option<Duration>,
        /// The system's error, if the system gave up first.
        error: Option<io::Error>,
    },
    /// The attempt failed for another reason.
    #[doc(alias = "ConnectError")]
    Failed {
        /// The address of the attempt.
        address: Address,
        /// The system's error.
        error: io::Error,
    },
    /// The attempts to connect to two or more addresses all failed.
    ///
    /// `Display` names all attempts except the last, which is the source.
    AllFailed {
        /// Each address that was tried, with its error, in the order in which the attempts failed.
        attempts: Vec<(Address, Failure)>,
    },
    /// The list of addresses was empty.
    NoAddress,
    /// The [`Connector`](super::Connector) is in this state, which does not allow the call.
    #[doc(alias = "NotConnectingError")]
    Busy(ConnectorState),
}

/// The state of a [`Connector`](super::Connector).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorState {
    /// There is no connection and no attempt.
    Disconnected,
    /// An attempt is under way.
    Connecting,
    /// There is a connection.
    Connected,
}

/// The error of opening a port, or of taking over a descriptor: a listening or adopted socket, or
/// standard input and output.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The system refused to bind or to listen at the address.
    #[doc(alias("CannotListenError", "BindError", "EADDRINUSE"))]
    Failed {
        /// The address.
        address: Address,
        /// The system's error, which is the source.
        error: io::Error,
    },
    /// The list of addresses was empty.
    NoAddress,
    /// The port was stopped, or its reactor has ended.
    Closed,
    /// The descriptor is not of the kind that the endpoint needs, or the system refused to
    /// examine it.
    #[doc(alias("UnsupportedAddressFamily", "UnsupportedSocketType"))]
    NotAdoptable {
        /// The kind of socket that the endpoint needs.
        expected: &'static str,
        /// The kind of the descriptor, if the system could tell.
        found: Option<String>,
        /// The system's error, which is the source.
        error: Option<io::Error>,
    },
    /// The adopted socket was used before, by this endpoint or a clone of it.
    AlreadyAdopted,
    /// The process was started without the descriptor.
    NotInherited {
        /// The descriptor, as an endpoint names it: `fd:5`, `systemd:index=2`, `systemd:name=web`.
        descriptor: String,
        /// The number of descriptors that the supervisor passed (`LISTEN_FDS`).
        count: usize,
    },
    /// Standard input and output are in use as a connection already.
    StdioInUse,
}

impl ConnectError {
    /// Returns the error of one attempt, by the kind of the system's error.
    pub(super) fn new(address: Address, error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused { address, error },
            Kind::TimedOut => Self::TimedOut {
                address,
                limit: None,
                error: Some(error),
            },
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Self::NoRoute { address, error }
            }
            _ => Self::Failed { address, error },
        }
    }

    /// Returns whether the connection was refused: nothing listens at the address. If there were
    /// several attempts ([`AllFailed`](Self::AllFailed)), at least one of them was.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::net::ConnectError;
    ///
    /// torsade::testing::run(async |reactor| {
    ///     // `localhost` may have two addresses.
    ///     let failure = reactor.connect_stream("localhost:1").await.unwrap_err();
    ///     assert!(failure.trap::<ConnectError>()?.is_refused());
    ///     Ok(())
    /// });
    /// ```
    pub fn is_refused(&self) -> bool {
        self.is_any(&|error| matches!(error, Self::Refused { .. }))
    }

    /// Returns whether a time limit expired. If there were several attempts
    /// ([`AllFailed`](Self::AllFailed)), it expired for at least one of them.
    pub fn is_timed_out(&self) -> bool {
        self.is_any(&|error| matches!(error, Self::TimedOut { .. }))
    }

    /// Returns whether `test` holds for the error of an attempt.
    fn is_any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        match self {
            Self::AllFailed { attempts } => attempts.iter().any(|(_, failure)| {
                let error = failure.downcast_ref::<Self>();
                error.is_some_and(|error| error.is_any(test))
            }),
            error => test(error),
        }
    }
}

errors! {
    enum ConnectError {
        Refused { address }: "connection refused by {address}", source error;
        NoRoute { address }: "no route to {address}", source error;
        TimedOut { address, limit }:
            "connecting to {address} timed out{}", with after(*limit), source error;
        Failed { address }: "cannot connect to {address}", source error;
        AllFailed { attempts }:
            "cannot connect to any of {} addresses{}",
            with attempts.len(), with all_but_last(attempts), source attempts;
        NoAddress: "cannot connect: the list of addresses is empty";
        Busy(state): "the connector is {state}";
    }
    enum ListenError {
        Failed { address }: "cannot listen at {address}", source error;
        NoAddress: "cannot listen: the list of addresses is empty";
        Closed: "the port is closed";
        NotAdoptable { expected, found }:
            "cannot adopt the descriptor as {expected}{}",
            with which_is(found.as_deref()), source error;
        AlreadyAdopted: "the adopted socket was used before";
        NotInherited { descriptor, count }:
            "this process was started without {descriptor} (its supervisor passed {count} descriptors)";
        StdioInUse: "standard input and output are in use already";
    }
}

fn after(limit: Option<Duration>) -> String {
    limit.map_or_else(String::new, |limit| format!(" after {limit:?}"))
}

fn which_is(found: Option<&str>) -> String {
    found.map_or_else(String::new, |found| format!(": it is {found}"))
}

/// Returns the errors of all attempts except the last, which is the source.
fn all_but_last(attempts: &[(Address, Failure)]) -> String {
    let Some((_, others)) = attempts.split_last() else {
        return String::new();
    };
    let others: Vec<String> = others
        .iter()
        .map(|(_, failure)| format!("{failure:#}"))
        .collect();
    match others.is_empty() {
        true => String::new(),
        false => format!(" ({})", others.join("; ")),
    }
}

impl AsSource for Vec<(Address, Failure)> {
    fn as_source(&self) -> Option<&(dyn Error + 'static)> {
        self.last()?.1.as_source()
    }
}

// It holds failures, and `?` turns it into one.
impl Unpin for ConnectError {}

#[cfg(unix)]
impl ListenError {
    pub(super) fn not_adoptable(expected: &'static str, why: NotAdopted) -> Self {
        let (found, error) = match why {
            NotAdopted::WrongKind(found) => (Some(found), None),
            NotAdopted::Io(error) => (None, Some(error)),
        };
        Self::NotAdoptable {
            expected,
            found,
            error,
        }
    }
}

impl fmt::Display for ConnectorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn here() -> Address {
        ([127, 0, 0, 1], 80).into()
    }

    #[test]
    fn each_error_of_the_system_is_the_source_of_its_variant() {
        type IsRight = fn(&ConnectError) -> bool;
        let is_refused: IsRight = |error| matches!(error, ConnectError::Refused { .. });
        let is_timed_out: IsRight = |error| matches!(error, ConnectError::TimedOut { .. });
        let is_no_route: IsRight = |error| matches!(error, ConnectError::NoRoute { .. });
        let is_failed: IsRight = |error| matches!(error, ConnectError::Failed { .. });
        for (number, is_right) in [
            (libc::ECONNREFUSED, is_refused),
            (libc::ETIMEDOUT, is_timed_out),
            (libc::ENETUNREACH, is_no_route),
            (libc::EHOSTUNREACH, is_no_route),
            (libc::ENETDOWN, is_no_route),
            (libc::EADDRINUSE, is_failed),
            (libc::EADDRNOTAVAIL, is_failed),
            (libc::ECONNRESET, is_failed),
            (libc::EACCES, is_failed),
        ] {
            let error = ConnectError::new(here(), io::Error::from_raw_os_error(number));
            assert!(is_right(&error), "{error:?}");
            let failure = Failure::new(error);
            let error = failure.find::<io::Error>();
            assert_eq!(error.and_then(io::Error::raw_os_error), Some(number));
        }
    }

    #[test]
    fn each_error_names_its_address_and_its_cause() {
        let error = || io::Error::other("no");
        let refused = |last| {
            let address = Address::from(([127, 0, 0, last], 80));
            let error = error();
            let failure = Failure::new(ConnectError::Refused {
                address: address.clone(),
                error,
            });
            (address, failure)
        };
        let (address, limit) = (here(), Some(Duration::from_secs(30)));
        let timed_out = |limit, error| ConnectError::TimedOut {
            address: here(),
            limit,
            error,
        };
        for (failure, said) in [
            (
                Failure::new(ListenError::Failed {
                    address: address.clone(),
                    error: error(),
                }),
                "cannot listen at 127.0.0.1:80",
            ),
            (refused(1).1, "connection refused by 127.0.0.1:80"),
            (
                Failure::new(ConnectError::NoRoute {
                    address: address.clone(),
                    error: error(),
                }),
                "no route to 127.0.0.1:80",
            ),
            (
                Failure::new(ConnectError::Failed {
                    address,
                    error: error(),
                }),
                "cannot connect to 127.0.0.1:80",
            ),
            (
                timed_out(limit, None).into(),
                "connecting to 127.0.0.1:80 timed out after 30s",
            ),
            (
                timed_out(None, Some(error())).into(),
                "connecting to 127.0.0.1:80 timed out",
            ),
            (
                timed_out(None, None).into(),
                "connecting to 127.0.0.1:80 timed out",
            ),
            (
                ConnectError::AllFailed {
                    attempts: vec![refused(1), refused(2)],
                }
                .into(),
                "cannot connect to any of 2 addresses (connection refused by 127.0.0.1:80: no)",
            ),
            (
                ConnectError::NoAddress.into(),
                "cannot connect: the list of addresses is empty",
            ),
        ] {
            assert_eq!(failure.to_string(), said);
        }
    }
}
