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
//! Addresses are taken as `std` takes them: a literal (`"127.0.0.1:80"`, `("::1", 80)`) never waits. A name is
//! looked up before the call returns, which may take its time.

mod connect;
mod errors;
mod listen;
mod options;

pub use self::errors::{
    CannotListen, ConnectFailed, ConnectTimedOut, ConnectionRefused, NoAddress, NoRoute,
};
pub use self::listen::Port;
pub use self::options::{ConnectOptions, ListenOptions};
