//! Listening and connecting: what `Reactor::listen`, `serve` and `connect` give and fail with.
//!
//! # The idea
//!
//! Three verbs listen, with three exact bounds: [`Reactor::listen`](crate::Reactor::listen) takes a closure that makes
//! a protocol, [`Reactor::listen_factory`](crate::Reactor::listen_factory) a factory, and
//! [`Reactor::serve`](crate::Reactor::serve) an async function. Two connect:
//! [`Reactor::connect`](crate::Reactor::connect) with a protocol, and
//! [`Reactor::connect_stream`](crate::Reactor::connect_stream) for a stream. What is accepted and what is connected
//! is moved by the same engine.
//!
//! All five take an *endpoint*: text (`"127.0.0.1:80"`, `"example.org:80"`, `"tcp:80:interface=::1"`), an address, or a
//! value with its own options ([`ServerEndpoint`], [`ClientEndpoint`]). Text is read as
//!
//! ```text
//! description = type ":" field *( ":" field )
//! field       = value / key "=" value
//! ```
//!
//! or else as a host and a port. A backslash takes away the meaning of what follows it; a colon always ends a field; the
//! first `=` that is not escaped ends a key, later ones belong to the value. It is a description when what stands before its
//! first colon is one of these types, so a host of that name is written `tcp:tcp:80`.
//!
//! | to listen                                     | is                                                            |
//! |-----------------------------------------------|---------------------------------------------------------------|
//! | `tcp:PORT[:interface=A][:backlog=N]`          | TCP; of IPv4, unless the interface is an IPv6 address         |
//! | `tcp6:PORT[:interface=A][:backlog=N]`         | TCP of IPv6                                                   |
//! | `unix:PATH[:mode=M][:backlog=N][:lockfile=L]` | a UNIX socket; `M` is octal (666), `L` 1 (the default) or 0   |
//! | `systemd:index=N[:domain=D]`                  | a socket of the supervisor's ([`activation`]), by its place   |
//! | `systemd:name=NAME[:domain=D]`                | the same by its name; `D` is `INET`, `INET6` or `UNIX`        |
//! | `fd:N[:domain=D]`                             | a socket that the process was started with, by its number     |
//! | `stdio:`                                      | standard input and output: one connection, made at once       |
//! | `haproxy:WHAT[:trust=LIST][:headertimeout=S]` | `WHAT` is any of these, or an address: behind proxies (below) |
//!
//! | to connect                                    | is                                                            |
//! |-----------------------------------------------|---------------------------------------------------------------|
//! | `tcp:HOST:PORT[:timeout=S][:bindAddress=A]`   | TCP; the fields may be named: `tcp:host=HOST:port=PORT`       |
//! | `unix:PATH[:timeout=S][:lockfile=L]`          | a UNIX socket; with `L` 1 its server must hold the lock       |
//!
//! A `PATH` that begins with `@` is a name that Linux keeps outside the file system, without mode and lock; `path=` before
//! it makes it a path all the same. What cannot be written in a line of text is written in hexadecimal, after `path-hex=`
//! or `abstract-hex=`; this is how an [`Address`](crate::Address) prints itself.
//!
//! # UNIX sockets
//!
//! They are listened at and connected to like all others, and can do more: tell who is at the other end
//! ([`Transport::peer_credentials`](crate::Transport::peer_credentials)) and pass descriptors
//! ([`Transport::send_descriptor`](crate::Transport::send_descriptor)). The file is made with its mode
//! ([`ListenOptions::mode`]) before anybody can connect, and removed when the port is closed, if it is still ours. A file
//! that is in the way is an error, unless the lock ([`ListenOptions::lock_file`]) says that its owner is dead.
//!
//! # Behind a proxy
//!
//! A load balancer that connects for others can say for whom, in a header before all other bytes: the PROXY protocol of
//! HAProxy. `haproxy:` in front of any text to listen at (`haproxy:127.0.0.1:80` too), or [`ServerEndpoint::proxied`], has
//! the header read first; the connection then has its addresses. `trust=10.0.0.0/8,127.0.0.1` says whose header is believed
//! (in a literal of IPv6 the colons are escaped as everywhere, `trust=fd00\:\:/8`); all others are cut off. What else may be
//! in a header is passed over. [`Transport::peer_credentials`](crate::Transport::peer_credentials) and the port's own address
//! are those of the socket all the same.
//!
//! # Endpoints that a program defines
//!
//! A type that implements [`StreamClientEndpoint`] or [`StreamServerEndpoint`] goes wherever an endpoint goes: a proxy, a child
//! process, encryption over something else. [`ClientEndpoint::register`](crate::net::ClientEndpoint::register)
//! and [`ServerEndpoint::register`](crate::net::ServerEndpoint::register) give it a name for text.
//! [`Connection::over`](crate::Connection::over) makes a connection of any two byte streams, and
//! [`Connection::become_protocol`](crate::Connection::become_protocol) gives a connection of async code to a protocol.
//!
//! # Accepting by hand
//!
//! [`Reactor::bind`](crate::Reactor::bind) listens without a user: async code accepts the connections one by one
//! ([`StreamListener`]). A [`Port`] counts its connections, limits and ends them, and pauses.
//!
//! # Sockets that somebody else has made
//!
//! [`ServerEndpoint::adopt`] takes a listening socket, [`ClientEndpoint::adopt`] a connected one: a socket of `std` or a bare
//! descriptor.
//!
//! # Standard input and output
//!
//! [`Stdio`] opens standard input and output, or any two descriptors, as one connection. A server that listens at `stdio:`
//! accepts that one connection in the loop's next batch; its port is closed from the beginning, and its factory's `stopped`
//! is called once the protocol is made. A [`Terminal`] changes the mode of a terminal.
//!
//! What is not understood is named, with its place in the text ([`BadEndpoint`]).
//!
//! To connect, names are looked up by the reactor's [`NameResolver`], on the machine in threads that do nothing else, and the
//! addresses found are raced (RFC 8305). In memory only `localhost`, literal addresses and what stands in a [`HostsTable`]
//! are known; there the addresses set aside for documentation (`192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24`,
//! `2001:db8::/32`) never answer when nobody listens there, where others refuse.
//!
//! Datagrams have ports and verbs of their own: see [`datagram`].

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

#[cfg(unix)]
#[cfg(any(doc, feature = "systemd"))]
#[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
pub use self::adopted::activation;
pub use self::datagram::PortClosed;
pub use self::endpoint::{
    BadEndpoint, ClientEndpoint, EndpointFields, Incoming, ServerEndpoint, StreamClientEndpoint,
    StreamServerEndpoint, ToClientEndpoint, ToServerEndpoint, quote,
};
#[cfg(unix)]
pub use self::errors::{AlreadyAdopted, CannotAdopt};
pub use self::errors::{
    CannotListen, ConnectFailed, ConnectFailedEverywhere, ConnectTimedOut, ConnectionRefused,
    NoAddress, NoRoute,
};
pub use self::names::{
    BadHostName, HostsTable, LookupFailed, LookupProblem, NameResolver, SystemResolver,
};
pub use self::options::{ConnectOptions, ListenOptions};
#[cfg(any(doc, feature = "proxy-protocol"))]
#[cfg_attr(docsrs, doc(cfg(feature = "proxy-protocol")))]
pub use self::proxied::{BadNetwork, Network, ProxyOptions};
#[cfg(unix)]
pub use self::stdio::{InBackground, NotATerminal, Stdio, StdioInUse, Terminal};
pub use self::streams::{
    Backoff, ClientFactory, Connector, ConnectorBusy, ConnectorState, Port, Reconnecting, Retries,
    StreamListener,
};
pub use crate::address::BadAddress;
