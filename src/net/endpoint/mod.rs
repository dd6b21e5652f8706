//! Endpoints: where to listen and where to connect to, as values and as text.
//!
//! The room's header says how text is read. `place` is what may stand for an endpoint,
//! `fields` text taken apart, `describe` the parser, `custom` endpoints that programs define, `registered` their names.

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
pub use self::fields::{BadEndpoint, EndpointFields, quote};
#[cfg(unix)]
use super::adopted::given::{Adopted, Given};
use super::options::{ConnectOptions, ListenOptions};
use super::proxied::ProxyOptions;
use crate::address::{Address, literal};

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
#[derive(Clone)]
pub struct ServerEndpoint {
    pub(super) at: Places,
    /// What it sets itself.
    pub(super) options: ListenOptions,
    /// Whether a UNIX socket has a lock file where no options say so.
    pub(super) locks: bool,
    /// If it is behind proxies.
    pub(super) proxy: Option<ProxyOptions>,
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
#[derive(Clone)]
pub struct ClientEndpoint {
    pub(super) to: Destination,
    /// What it sets itself.
    pub(super) options: ConnectOptions,
}

/// What a server listens at.
#[derive(Clone)]
pub(super) enum Places {
    /// The first of these that is free.
    Addresses(Vec<Address>),
    /// A socket that listens already.
    #[cfg(unix)]
    Given(Given),
    /// Standard input and output.
    #[cfg(unix)]
    Stdio,
    /// What a program defines.
    Custom(Rc<dyn StreamServerEndpoint>),
}

/// What a client looks for.
#[derive(Clone)]
pub(super) enum Destination {
    /// One of these.
    Addresses(Vec<Address>),
    /// A host, which has to be looked up first.
    Host { name: String, port: u16 },
    /// A socket that is connected already.
    #[cfg(unix)]
    Adopted(Adopted),
    /// What a program defines.
    Custom(Rc<dyn StreamClientEndpoint>),
}

impl ServerEndpoint {
    /// Listens at an address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::at(Places::Addresses(vec![address.into()]))
    }

    /// Listens with an endpoint that the program defines, so that it can be kept where a [`ServerEndpoint`] is, with options,
    /// or behind proxies.
    pub fn custom(endpoint: impl StreamServerEndpoint) -> Self {
        Self::at(Places::Custom(Rc::new(endpoint)))
    }

    /// Adopts a stream socket that listens already: a `TcpListener` or `UnixListener` of `std`, or any `OwnedFd`. It can be
    /// listened with once; the second time fails with [`AlreadyAdopted`](super::AlreadyAdopted), another kind of socket with
    /// [`CannotAdopt`](super::CannotAdopt).
    ///
    /// Listening makes the socket non-blocking, for all processes that share it, and closed on exec. Stopping the port closes
    /// the socket and no more: the file of a UNIX socket stays, and other processes that have the socket go on accepting.
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
        Self::at(Places::Given(Given::owned(listener.into())))
    }

    /// Behind a proxy, which tells in front of all other bytes for whom it connects: in the header of the PROXY protocol,
    /// of version 1 or 2. The text for it is `haproxy:` in front of the rest.
    ///
    /// The header is read, and checked, before anybody is told of the connection. Then its `peer` and `host` are those of
    /// the header, unless it says nothing of them (`UNKNOWN`, `LOCAL`), and the bytes after the header come first. Who sends
    /// no header, a bad one, or one that takes more than ten seconds, is cut off; that is logged.
    ///
    /// The options say which peers may send a header, and how long it may take. By default every peer may: where others than
    /// the proxies can connect, set [`ProxyOptions::trust`].
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

    /// Sets options. What they do not set stays as it was, as the endpoint's text set it for example.
    ///
    /// Most programs give an address and options as a pair: see [`ListenOptions`].
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> Self {
        self.options = options.or(&self.options);
        self
    }

    fn at(at: Places) -> Self {
        Self {
            at,
            options: ListenOptions::new(),
            locks: false,
            proxy: None,
        }
    }
}

impl ClientEndpoint {
    /// Connects to an address.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::to(Destination::Addresses(vec![address.into()]))
    }

    /// Connects with an endpoint that the program defines, so that it can be kept where a [`ClientEndpoint`] is, and with
    /// options.
    pub fn custom(endpoint: impl StreamClientEndpoint) -> Self {
        Self::to(Destination::Custom(Rc::new(endpoint)))
    }

    /// Connects to a host, by its name or a literal address.
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        let name = name.into();
        Self::to(match literal(&name, port) {
            Some(address) => Destination::Addresses(vec![address.into()]),
            // It has to be looked up.
            None => Destination::Host { name, port },
        })
    }

    /// Adopts a connected stream socket: a `TcpStream` or `UnixStream` of `std`, or any `OwnedFd`. It can be connected with
    /// once; the second time fails with [`AlreadyAdopted`](super::AlreadyAdopted), another kind of socket with
    /// [`CannotAdopt`](super::CannotAdopt).
    ///
    /// Connecting makes the socket non-blocking, for all processes that share it, and closed on exec.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Context, Failure, Protocol};
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
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
        Self::to(Destination::Adopted(Adopted::new(socket.into())))
    }

    /// Sets options. What they do not set stays as it was, as the endpoint's text set it for example.
    ///
    /// Most programs give an address and options as a pair: see [`ConnectOptions`].
    #[must_use]
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = options.or(&self.options);
        self
    }

    fn to(to: Destination) -> Self {
        Self {
            to,
            options: ConnectOptions::new(),
        }
    }
}

impl fmt::Display for ServerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proxy.is_some() {
            f.write_str("haproxy:")?;
        }
        match &self.at {
            Places::Addresses(addresses) => all(f, addresses),
            #[cfg(unix)]
            Places::Given(given) => given.fmt(f),
            #[cfg(unix)]
            Places::Stdio => f.write_str("stdio:"),
            Places::Custom(custom) => f.write_str(&custom.describe()),
        }
    }
}

impl fmt::Display for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Destination::Addresses(addresses) => all(f, addresses),
            Destination::Host { name, port } => write!(f, "{name}:{port}"),
            #[cfg(unix)]
            Destination::Adopted(_) => f.write_str("an adopted socket"),
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
