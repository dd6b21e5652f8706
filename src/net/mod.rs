//! Endpoints, ports and connections: TCP, UDP and UNIX sockets, host names, standard input and
//! output.
//!
//! # Listening and connecting
//!
//! | method | each connection is given to |
//! |---|---|
//! | [`Reactor::listen`](crate::Reactor::listen) | a protocol, which a closure makes |
//! | [`Reactor::listen_factory`](crate::Reactor::listen_factory) | a protocol, which a [`Factory`](crate::Factory) makes |
//! | [`Reactor::serve`](crate::Reactor::serve) | an async function |
//! | [`Reactor::bind`](crate::Reactor::bind) | async code that accepts connections one by one ([`StreamListener`]) |
//! | [`Reactor::connect`](crate::Reactor::connect) | a protocol |
//! | [`Reactor::connect_stream`](crate::Reactor::connect_stream) | async code, as a [`Connection`](crate::Connection) |
//!
//! The first four listen, the last two connect once. A
//! [`ClientService`](crate::services::ClientService) stays connected; a [`Connector`] with a
//! [`ClientFactory`] does the same in Twisted's form, where the factory is called with the result
//! of each attempt.
//!
//! All these methods take an *endpoint*: text (`"127.0.0.1:80"`, `"example.org:80"`,
//! `"tcp:80:interface=::1"`), an address, or a [`ServerEndpoint`] or [`ClientEndpoint`]. Text is
//! `HOST:PORT` (to listen: `localhost` or a literal address), or a *description* of the form
//!
//! ```text
//! description = type ":" field *( ":" field )
//! field       = value / key "=" value
//! ```
//!
//! A backslash escapes the next character; an unescaped colon always ends a field; the first
//! unescaped `=` ends a key, and later ones belong to the value. Text is read as a description if
//! the word before its first colon is one of the types below, so a host of such a name is written
//! `tcp:tcp:80`. Text that cannot be parsed fails with [`EndpointError::Endpoint`], which names the
//! position of the error.
//!
//! | to listen | meaning |
//! |---|---|
//! | `tcp:PORT[:interface=A][:backlog=N]` | TCP; the interface is a literal address or `localhost`, by default `0.0.0.0` |
//! | `tcp6:PORT[:interface=A][:backlog=N]` | the same; the interface is `::` by default |
//! | `unix:PATH[:mode=M][:backlog=N][:lockfile=L]` | a UNIX socket; `M` is octal (default 666), `L` is 1 (the default) or 0 |
//! | `systemd:index=N[:domain=D]` | a socket passed by the supervisor ([`activation`]), by index |
//! | `systemd:name=NAME[:domain=D]` | the same, by name; `D` is `INET`, `INET6` or `UNIX` |
//! | `fd:N[:domain=D]` | a socket that the process was started with, by the number of its descriptor |
//! | `stdio:` | standard input and output: one connection, made at once |
//! | `tls:PORT[:privateKey=P][:certKey=P][:extraCertChain=P][:interface=A][:backlog=N]` | TCP in [TLS](crate::guide::tls): the key and its certificate, by default both in `server.pem` |
//! | `tls:DIR[:port=N][:interface=A][:backlog=N]` | the same, with a certificate `DIR/NAME.pem` for each host name; port 443 by default. `DIR` is a field that is not a number |
//! | `haproxy:ENDPOINT[:trust=LIST][:headertimeout=S]` | any of these except `stdio:`, behind a proxy (see below) |
//!
//! | to connect | meaning |
//! |---|---|
//! | `tcp:HOST:PORT[:timeout=S][:bindAddress=A]` | TCP; the fields may be named: `tcp:host=HOST:port=PORT` |
//! | `tls:HOST:PORT[:trustRoots=P][:hostname=N][:certificate=P][:privateKey=P][:timeout=S][:bindAddress=A]` | TCP in TLS; the trusted authorities are in a file or a directory, by default those of the system |
//! | `unix:PATH[:timeout=S][:lockfile=L]` | a UNIX socket; with `L` 1 its server must hold the lock |
//!
//! A `PATH` that begins with `@` is a name in Linux's abstract socket namespace, which has neither
//! mode nor lock; with the key `path=` it is a path in the file system. `path-hex=` and
//! `abstract-hex=` take bytes in hexadecimal, for names that cannot be written in a line of text;
//! an [`Address`](crate::Address) prints such names in this form. Timeouts are in whole seconds.
//! `ssl:` is another word for `tls:`, and `caCertsDir=` for `trustRoots=`; the files are read when
//! the text is parsed.
//!
//! The type `tls:` needs the crate feature `tls`, `systemd:` and `fd:` need `systemd`, and
//! `haproxy:` needs `proxy-protocol`; without the feature such text is an error.
//!
//! # Connecting to a host
//!
//! The reactor's [`NameResolver`] looks up host names: by default the [`SystemResolver`], in
//! threads that do nothing else. `localhost` and literal addresses are not passed to the resolver.
//! The connection attempts to the addresses found are raced (Happy Eyeballs, RFC 8305).
//!
//! The resolver of an in-memory reactor is an empty [`HostsTable`]. There, the addresses reserved
//! for documentation (`192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24`, `2001:db8::/32`) never
//! answer unless something listens at them, while all other addresses refuse.
//!
//! # UNIX sockets
//!
//! UNIX sockets also identify their peers
//! ([`Transport::peer_credentials`](crate::Transport::peer_credentials)) and pass descriptors
//! ([`Transport::send_descriptor`](crate::Transport::send_descriptor)). The socket file has its
//! mode ([`ListenOptions::mode`]) before any client can connect, and is removed when the port
//! closes if it is still the port's own file. An existing file is an error unless the lock
//! ([`ListenOptions::lock_file`]) shows that the file's owner is dead.
//!
//! # Behind a proxy
//!
//! A load balancer that connects on behalf of a client can send the client's address in a header
//! before all other bytes: HAProxy's PROXY protocol, versions 1 and 2. With `haproxy:` before any
//! text to listen at, or with [`ServerEndpoint::proxied`], the port reads the header first, and the
//! connection reports the header's addresses. `trust=10.0.0.0/8,127.0.0.1` lists the peers that may
//! send a header (the colons of an IPv6 address are escaped, `trust=fd00\:\:/8`); connections from
//! all others are closed. Without `trust`, every peer may. `HOST:PORT` takes no fields:
//! `haproxy:127.0.0.1:80` is valid, but with `trust` it is
//! `haproxy:tcp:80:interface=127.0.0.1:trust=...`. Of the extensions in a header only the checksum
//! is checked; the others are ignored.
//! [`Transport::peer_credentials`](crate::Transport::peer_credentials) and the port's own address
//! remain those of the socket.
//!
//! # Endpoints that a program defines
//!
//! A type that implements [`StreamClientEndpoint`] or [`StreamServerEndpoint`] is accepted wherever
//! an endpoint is: for a proxy, a child process, or encryption over another connection.
//! [`ClientEndpoint::register`] and [`ServerEndpoint::register`] give it a name for text.
//! [`Connection::over`](crate::Connection::over) makes a connection of any two byte streams, and
//! [`Connection::become_protocol`](crate::Connection::become_protocol) hands a connection of async
//! code to a protocol.
//!
//! # Ports
//!
//! A [`Port`] is the handle to a listening socket: it counts its connections, limits their number,
//! closes them, and pauses accepting.
//!
//! # Adopted sockets
//!
//! [`ServerEndpoint::adopt`] takes a listening socket and [`ClientEndpoint::adopt`] a connected
//! one: a socket of `std` or an `OwnedFd`.
//!
//! # Standard input and output
//!
//! [`Stdio`] opens standard input and output, or any two descriptors, as one connection. A server
//! that listens at `stdio:` accepts that one connection in the loop's next
//! [batch](crate::guide::glossary#batch); its [`Port`] is closed from the start, and its factory's
//! `stopped` is called once the protocol is made. A [`Terminal`] changes the mode of a terminal.
//!
//! # Datagrams
//!
//! Datagram sockets have their own ports and methods: see [`datagram`].
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [endpoint](crate::guide::glossary#endpoint), [port](crate::guide::glossary#port),
//! [handler](crate::guide::glossary#handler), [linger](crate::guide::glossary#linger).

#[cfg(unix)]
mod adopted;
pub mod datagram;
mod endpoint;
mod errors;
mod names;
mod options;
#[cfg(any(doc, feature = "proxy-protocol"))]
mod proxied;
#[cfg(not(any(doc, feature = "proxy-protocol")))]
#[path = "proxied_off.rs"]
mod proxied;
#[cfg(unix)]
mod stdio;
mod streams;
#[cfg(feature = "tls")]
mod tls;

#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
#[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
pub use self::adopted::activation;
#[doc(alias(
    "clientFromString",
    "IStreamClientEndpoint",
    "TCP4ClientEndpoint",
    "TCP6ClientEndpoint",
    "UNIXClientEndpoint",
    "HostnameEndpoint"
))]
pub use self::endpoint::ClientEndpoint;
#[doc(alias(
    "serverFromString",
    "IStreamServerEndpoint",
    "TCP4ServerEndpoint",
    "TCP6ServerEndpoint",
    "UNIXServerEndpoint",
    "AdoptedStreamServerEndpoint",
    "StandardIOEndpoint"
))]
pub use self::endpoint::ServerEndpoint;
#[doc(alias("IStreamClientEndpoint", "wrapClientTLS", "ProcessEndpoint"))]
pub use self::endpoint::StreamClientEndpoint;
#[doc(alias("IStreamServerEndpoint"))]
pub use self::endpoint::StreamServerEndpoint;
#[doc(alias = "quoteStringArgument")]
pub use self::endpoint::quote;
pub use self::endpoint::{EndpointFields, Incoming, ToClientEndpoint, ToServerEndpoint};
#[doc(alias("ConnectBindError"))]
pub use self::errors::ConnectError;
pub use self::errors::{ConnectorState, ListenError};
#[doc(alias("HostsResolver", "/etc/hosts"))]
pub use self::names::HostsTable;
#[doc(alias("DNSLookupError", "UnknownHostError", "gaierror"))]
pub use self::names::LookupError;
#[doc(alias("IHostnameResolver", "IResolverSimple", "getaddrinfo"))]
pub use self::names::NameResolver;
pub use self::names::{LookupErrorKind, SystemResolver};
pub use self::options::{ConnectOptions, ListenOptions};
#[cfg(any(doc, feature = "proxy-protocol"))]
#[cfg_attr(docsrs, doc(cfg(feature = "proxy-protocol")))]
#[doc(alias("IpNet", "CIDR", "ip_network"))]
pub use self::proxied::Network;
#[cfg(any(doc, feature = "proxy-protocol"))]
#[cfg_attr(docsrs, doc(cfg(feature = "proxy-protocol")))]
pub use self::proxied::ProxyOptions;
#[cfg(all(feature = "testing", feature = "proxy-protocol"))]
#[doc(hidden)]
pub use self::proxied::read_header;
#[cfg(unix)]
#[doc(alias(
    "StandardIO",
    "stdin",
    "stdout",
    "PipeAddress",
    "connect_read_pipe",
    "connect_write_pipe"
))]
pub use self::stdio::Stdio;
#[cfg(unix)]
#[doc(alias("tty", "termios", "insults"))]
pub use self::stdio::Terminal;
#[doc(alias("backoffPolicy", "retryPolicy"))]
pub use self::streams::Backoff;
#[doc(alias("IConnector", "BaseConnector"))]
pub use self::streams::Connector;
#[doc(alias = "IListeningPort")]
pub use self::streams::Port;
#[doc(alias = "ReconnectingClientFactory")]
pub use self::streams::Reconnecting;
#[doc(alias("TcpListener", "UnixListener"))]
pub use self::streams::StreamListener;
pub use self::streams::{ClientFactory, Retries};
pub(crate) use self::streams::{Retry, client};
#[doc(alias = "InvalidAddressError")]
pub use crate::address::EndpointError;
