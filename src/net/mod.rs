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
//!
//! | to connect                                    | is                                                            |
//! |-----------------------------------------------|---------------------------------------------------------------|
//! | `tcp:HOST:PORT[:timeout=S][:bindAddress=A]`   | TCP; the fields may be named: `tcp:host=HOST:port=PORT`       |
//!
//! What is not understood is named, with its place in the text ([`BadEndpoint`]).
//!
//! Datagrams have ports and verbs of their own: see [`datagram`].

mod connect;
pub mod datagram;
mod endpoint;
mod errors;
mod listen;
mod options;

pub use self::endpoint::{
    BadEndpoint, ClientEndpoint, ServerEndpoint, ToClientEndpoint, ToServerEndpoint, quote,
};
pub use self::errors::{
    CannotListen, ConnectFailed, ConnectTimedOut, ConnectionRefused, NoAddress, NoRoute,
};
pub use self::listen::Port;
pub use self::options::{ConnectOptions, ListenOptions};
