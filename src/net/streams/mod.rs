//! Stream sockets: listening and connecting.
//!
//! # Files
//!
//! `listen` the reactor's methods that listen · `port` the listening socket · `accept` the handling
//! of accepted connections · `stage` what happens to them before · `listener` a port whose
//! connections async code accepts · `connect` the reactor's methods that connect · `race` the race
//! of several attempts · `client` the state machine of clients that reconnect · `connector`
//! connecting with a factory · `reconnecting` a factory that reconnects · `backoff` the delays
//! between retries.

pub(super) mod accept;
mod backoff;
pub(crate) mod client;
mod connect;
mod connector;
mod listen;
mod listener;
pub(super) mod port;
mod race;
mod reconnecting;
#[cfg(any(doc, feature = "proxy-protocol", feature = "tls"))]
pub(super) mod stage;

pub use self::backoff::Backoff;
pub(crate) use self::backoff::Retry;
pub use self::connector::{ClientFactory, Connector};
pub use self::listener::StreamListener;
pub use self::port::Port;
pub use self::reconnecting::{Reconnecting, Retries};
