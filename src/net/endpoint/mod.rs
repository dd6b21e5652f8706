//! Endpoints: where to listen and where to connect to, as values and as text.
//!
//! The room's header says how text is read. `place` is what may stand for an endpoint, `describe` the parser.

mod describe;
mod place;

use std::fmt;

pub use self::describe::{BadEndpoint, quote};
pub(super) use self::place::literal;
pub use self::place::{ToClientEndpoint, ToServerEndpoint};
#[cfg(unix)]
use super::adopt::Given;
use super::options::{ConnectOptions, ListenOptions};
use crate::address::Address;
use crate::failure::Failure;

/// Where to listen, and how.
///
/// # Examples
///
/// ```
/// use torsade::net::ServerEndpoint;
///
/// let endpoint = ServerEndpoint::parse("tcp:8080:interface=127.0.0.1")?;
/// assert_eq!(endpoint.to_string(), "127.0.0.1:8080");
///
/// let failure = ServerEndpoint::parse("tcp:http").unwrap_err();
/// assert_eq!(
///     failure.to_string(),
///     "bad endpoint \"tcp:http\", at byte 4: the port is a number up to 65535, not \"http\""
/// );
/// # Ok::<(), torsade::Failure>(())
/// ```
#[doc(alias(
    "serverFromString",
    "IStreamServerEndpoint",
    "TCP4ServerEndpoint",
    "TCP6ServerEndpoint",
    "UNIXServerEndpoint",
    "AdoptedStreamServerEndpoint",
    "StandardIOEndpoint"
))]
#[derive(Clone, Debug)]
pub struct ServerEndpoint {
    pub(super) at: Places,
    pub(super) options: ListenOptions,
}

/// Where to connect to, and how.
///
/// # Examples
///
/// ```
/// use torsade::net::ClientEndpoint;
///
/// let endpoint = ClientEndpoint::parse("tcp:host=example.org:port=80:timeout=5")?;
/// assert_eq!(endpoint.to_string(), "example.org:80");
/// # Ok::<(), torsade::Failure>(())
/// ```
#[doc(alias(
    "clientFromString",
    "IStreamClientEndpoint",
    "TCP4ClientEndpoint",
    "TCP6ClientEndpoint",
    "UNIXClientEndpoint",
    "HostnameEndpoint"
))]
#[derive(Clone, Debug)]
pub struct ClientEndpoint {
    pub(super) to: Destination,
    pub(super) options: ConnectOptions,
}

/// What a server listens at.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// The first of these that is free.
    Addresses(Vec<Address>),
    /// A socket that listens already.
    #[cfg(unix)]
    Given(Given),
    /// Standard input and output.
    #[cfg(unix)]
    Stdio,
}

/// What a client looks for.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// One of these.
    Addresses(Vec<Address>),
    /// A host, which has to be looked up first.
    Host { name: String, port: u16 },
}

impl ServerEndpoint {
    /// Listens at an address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::with(vec![address.into()], &ListenOptions::new())
    }

    /// Reads text, which is an address or a description.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`].
    pub fn parse(text: &str) -> Result<Self, Failure> {
        text.to_server_endpoint(&ListenOptions::new())
    }

    /// Listens with a socket that somebody else has bound and that listens already, once: the second time it is
    /// [`AlreadyListened`](super::AlreadyListened). See [`Reactor::adopt_listener`](crate::Reactor::adopt_listener).
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Failure, net::ServerEndpoint};
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let port = reactor.serve(ServerEndpoint::adopt(listener), async |_conn| Ok(()))?;
    ///     port.stop().await
    /// })
    /// # }
    /// ```
    #[cfg(unix)]
    #[doc(alias("AdoptedStreamServerEndpoint", "from_std"))]
    pub fn adopt(listener: impl Into<std::os::fd::OwnedFd>) -> Self {
        Self {
            at: Places::Given(Given::owned(listener.into())),
            options: ListenOptions::new(),
        }
    }

    /// With other options.
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> Self {
        self.options = options.settled(false);
        self
    }

    fn with(addresses: Vec<Address>, options: &ListenOptions) -> Self {
        Self {
            at: Places::Addresses(addresses),
            options: options.clone().settled(false),
        }
    }
}

impl ClientEndpoint {
    /// Connects to an address.
    pub fn new(address: impl Into<Address>) -> Self {
        let to = Destination::Addresses(vec![address.into()]);
        Self::with(to, &ConnectOptions::new())
    }

    /// Connects to a host, by its name or a literal address.
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        Self::with(place::host(name.into(), port), &ConnectOptions::new())
    }

    /// Reads text, which is an address or a description.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`].
    pub fn parse(text: &str) -> Result<Self, Failure> {
        text.to_client_endpoint(&ConnectOptions::new())
    }

    /// With other options.
    #[must_use]
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = options;
        self
    }

    fn with(to: Destination, options: &ConnectOptions) -> Self {
        Self {
            to,
            options: options.clone(),
        }
    }
}

impl fmt::Display for ServerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Places::Addresses(addresses) => all(f, addresses),
            #[cfg(unix)]
            Places::Given(given) => given.fmt(f),
            #[cfg(unix)]
            Places::Stdio => f.write_str("stdio:"),
        }
    }
}

impl fmt::Display for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Destination::Addresses(addresses) => all(f, addresses),
            Destination::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

fn all(f: &mut fmt::Formatter<'_>, addresses: &[Address]) -> fmt::Result {
    for (index, address) in addresses.iter().enumerate() {
        let before = if index == 0 { "" } else { " or " };
        write!(f, "{before}{address}")?;
    }
    Ok(())
}
