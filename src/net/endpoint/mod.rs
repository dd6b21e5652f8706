//! Endpoints, as values and as text: [`ServerEndpoint`] and [`ClientEndpoint`].
//!
//! The documentation of `net` describes the text. `convert` has the types that convert to an
//! endpoint, `fields` the fields of a text, `describe` the parser, `custom` the endpoints that
//! programs define, and `registered` their names.

mod convert;
pub(super) mod custom;
mod describe;
pub(super) mod fields;
mod registered;

use std::fmt;
use std::rc::Rc;

pub use self::convert::{ToClientEndpoint, ToServerEndpoint};
pub use self::custom::{Incoming, StreamClientEndpoint, StreamServerEndpoint};
#[cfg(unix)]
pub(super) use self::describe::no_proxy;
pub use self::fields::{EndpointFields, quote};
#[cfg(unix)]
use super::adopted::given::{AdoptedFd, OpenListener};
use super::options::{ConnectOptions, ListenOptions};
use super::proxied::ProxyOptions;
use crate::address::{Address, literal};
#[cfg(feature = "tls")]
use crate::tls::{ClientConfig, ServerConfig};

/// The address that a server listens at, and its options.
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
///     "\"tcp:http\" is not an endpoint: at byte 4: \
///      the port must be a number up to 65535, not \"http\""
/// );
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone)]
pub struct ServerEndpoint {
    pub(super) at: ListenTarget,
    /// The options that the endpoint itself sets.
    pub(super) options: ListenOptions,
    /// The default for the lock file of a UNIX socket.
    pub(super) locks: bool,
    /// The options of the PROXY protocol, if the endpoint is behind a proxy.
    pub(super) proxy: Option<ProxyOptions>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Rc<ServerConfig>>,
}

/// The address or host that a client connects to, and its options.
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
#[derive(Clone)]
pub struct ClientEndpoint {
    pub(super) to: Destination,
    /// The options that the endpoint itself sets.
    pub(super) options: ConnectOptions,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientConfig>,
}

/// The sockets that a server may listen with.
#[derive(Clone)]
pub(super) enum ListenTarget {
    /// The first of these addresses that is free.
    Addresses(Vec<Address>),
    /// A socket that listens already.
    #[cfg(unix)]
    OpenListener(OpenListener),
    /// Standard input and output.
    #[cfg(unix)]
    Stdio,
    /// An endpoint that the program defines.
    Custom(Rc<dyn StreamServerEndpoint>),
}

/// The peers that a client may connect to.
#[derive(Clone)]
pub(super) enum Destination {
    /// One of these addresses.
    Addresses(Vec<Address>),
    /// A host, which must be looked up first.
    Host { name: String, port: u16 },
    /// A socket that is connected already.
    #[cfg(unix)]
    AdoptedFd(AdoptedFd),
    /// An endpoint that the program defines.
    Custom(Rc<dyn StreamClientEndpoint>),
}

impl ServerEndpoint {
    /// Creates an endpoint that listens at an address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::at(ListenTarget::Addresses(vec![address.into()]))
    }

    /// Creates an endpoint from one that the program defines, to store it as a [`ServerEndpoint`],
    /// with options, or behind a proxy.
    pub fn custom(endpoint: impl StreamServerEndpoint) -> Self {
        Self::at(ListenTarget::Custom(Rc::new(endpoint)))
    }

    /// Adopts a listening stream socket: a `TcpListener` or `UnixListener` of `std`, or any
    /// `OwnedFd`. The endpoint can be used once: listening a second time fails with
    /// [`ListenError::AlreadyAdopted`](super::ListenError::AlreadyAdopted), and another kind of
    /// socket with [`ListenError::NotAdoptable`](super::ListenError::NotAdoptable).
    ///
    /// Listening makes the socket non-blocking, for all processes that share it, and sets its
    /// close-on-exec flag. Stopping the port only closes the socket: the file of a UNIX socket
    /// stays, and other processes that share the socket go on accepting.
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
    #[doc(alias("adoptStreamPort", "AdoptedStreamServerEndpoint", "from_std"))]
    pub fn adopt(listener: impl Into<std::os::fd::OwnedFd>) -> Self {
        Self::at(ListenTarget::OpenListener(OpenListener::owned(
            listener.into(),
        )))
    }

    /// Puts the endpoint behind a proxy that sends the client's address before all other bytes: in
    /// a header of the PROXY protocol, version 1 or 2. In text this is the prefix `haproxy:`.
    ///
    /// The port reads and checks the header before its protocol or handler sees the connection. The
    /// connection's peer and local address are then those of the header, unless the header has none
    /// (`UNKNOWN`, `LOCAL`); its first bytes are those after the header. A connection whose header
    /// is invalid, missing, or not complete within the timeout (ten seconds by default) is closed
    /// and logged.
    ///
    /// The options list the peers that may send a header, and set the header's timeout. By default
    /// every peer may: call [`ProxyOptions::trust`] unless only the proxies can connect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::net::{ProxyOptions, ServerEndpoint};
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let options = ProxyOptions::new().trust("127.0.0.0/8".parse()?);
    ///     let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.proxied(options);
    ///     let port = reactor.serve(endpoint, async |mut conn| {
    ///         let hello = format!("hello {}", conn.peer());
    ///         conn.write_all(hello.as_bytes()).await?;
    ///         Ok(())
    ///     })?;
    ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
    ///     conn.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\n").await?;
    ///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello 192.0.2.7:50001"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias(
        "proxyEndpoint",
        "HAProxyWrappingFactory",
        "HAProxy",
        "PROXY",
        "send-proxy"
    ))]
    #[cfg(any(doc, feature = "proxy-protocol"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxy-protocol")))]
    #[must_use]
    pub fn proxied(mut self, options: ProxyOptions) -> Self {
        self.proxy = Some(options);
        self
    }

    /// Sets options. Options that are not set here keep the value that the endpoint has, for
    /// example from its text.
    ///
    /// Most programs pass an address and options as a pair: see [`ListenOptions`].
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> Self {
        self.options = options.or(&self.options);
        self
    }

    /// Offers application protocols over TLS, unless the endpoint does.
    #[cfg(all(feature = "http", feature = "tls"))]
    pub(crate) fn or_alpn(mut self, protocols: &[&str]) -> Self {
        let tls = self.tls.take();
        self.tls = tls.map(|config| Rc::new(ServerConfig::clone(&config).or_alpn(protocols)));
        self
    }

    fn at(at: ListenTarget) -> Self {
        Self {
            at,
            options: ListenOptions::new(),
            locks: false,
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ClientEndpoint {
    /// Creates an endpoint that connects to an address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::to(Destination::Addresses(vec![address.into()]))
    }

    /// Creates an endpoint from one that the program defines, to store it as a [`ClientEndpoint`],
    /// with options.
    pub fn custom(endpoint: impl StreamClientEndpoint) -> Self {
        Self::to(Destination::Custom(Rc::new(endpoint)))
    }

    /// Creates an endpoint that connects to a host, given its name or a literal address.
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        let name = name.into();
        Self::to(match literal(&name, port) {
            Some(address) => Destination::Addresses(vec![address.into()]),
            // A name is looked up when it is connected to.
            None => Destination::Host { name, port },
        })
    }

    /// Adopts a connected stream socket: a `TcpStream` or `UnixStream` of `std`, or any `OwnedFd`.
    /// The endpoint can be used once: connecting a second time fails with
    /// [`ListenError::AlreadyAdopted`](super::ListenError::AlreadyAdopted), and another kind of
    /// socket with [`ListenError::NotAdoptable`](super::ListenError::NotAdoptable).
    ///
    /// Connecting makes the socket non-blocking, for all processes that share it, and sets its
    /// close-on-exec flag.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    /// #         cx.write(data)
    /// #     }
    /// # }
    /// use torsade::net::ClientEndpoint;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let (one, other) = std::os::unix::net::UnixStream::pair()?;
    ///     reactor.connect(ClientEndpoint::adopt(one), Echo).await?;
    ///     let mut conn = reactor.connect_stream(ClientEndpoint::adopt(other)).await?;
    ///     conn.write_all(b"hello\n").await?;
    ///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[cfg(unix)]
    #[doc(alias("adoptStreamConnection", "from_std"))]
    pub fn adopt(socket: impl Into<std::os::fd::OwnedFd>) -> Self {
        Self::to(Destination::AdoptedFd(AdoptedFd::new(socket.into())))
    }

    /// Sets options. Options that are not set here keep the value that the endpoint has, for
    /// example from its text.
    ///
    /// Most programs pass an address and options as a pair: see [`ConnectOptions`].
    #[must_use]
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = options.or(&self.options);
        self
    }

    fn to(to: Destination) -> Self {
        Self {
            to,
            options: ConnectOptions::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

#[cfg(feature = "tls")]
impl ClientEndpoint {
    /// Returns the name of the host that is connected to, if it is known.
    pub(super) fn host_name(&self) -> Option<String> {
        match &self.to {
            Destination::Host { name, .. } => Some(name.clone()),
            Destination::Addresses(addresses) => {
                let ip = addresses.iter().find_map(Address::ip)?;
                Some(ip.to_string())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ServerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proxy.is_some() {
            f.write_str("haproxy:")?;
        }
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            f.write_str("tls:")?;
        }
        match &self.at {
            ListenTarget::Addresses(addresses) => all(f, addresses),
            #[cfg(unix)]
            ListenTarget::OpenListener(given) => given.fmt(f),
            #[cfg(unix)]
            ListenTarget::Stdio => f.write_str("stdio:"),
            ListenTarget::Custom(custom) => f.write_str(&custom.describe()),
        }
    }
}

impl fmt::Display for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            f.write_str("tls:")?;
        }
        match &self.to {
            Destination::Addresses(addresses) => all(f, addresses),
            Destination::Host { name, port } => write!(f, "{name}:{port}"),
            #[cfg(unix)]
            Destination::AdoptedFd(_) => f.write_str("an adopted socket"),
            Destination::Custom(custom) => f.write_str(&custom.describe()),
        }
    }
}

impl fmt::Debug for ServerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerEndpoint")
            .field("at", &format_args!("{self}"))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEndpoint")
            .field("to", &format_args!("{self}"))
            .field("options", &self.options)
            .finish()
    }
}

fn all(f: &mut fmt::Formatter<'_>, addresses: &[Address]) -> fmt::Result {
    for (index, address) in addresses.iter().enumerate() {
        let before = if index == 0 { "" } else { " or " };
        write!(f, "{before}{address}")?;
    }
    Ok(())
}
