//! Stream sockets: listening and connecting.
//!
//! # Files
//!
//! `listen` the reactor's methods that listen · `port` the listening socket · `accept` the handling
//! of accepted connections · `listener` a port whose connections async code accepts · `connect` the
//! reactor's methods that connect · `race` the race of several attempts · `connector` connecting
//! with a factory · `backoff` the delays between retries · `reconnecting` a factory that
//! reconnects.

pub(super) mod accept;
mod backoff;
mod connect;
mod connector;
mod listen;
mod listener;
pub(super) mod port;
mod race;
mod reconnecting;

pub use self::backoff::Backoff;
pub use self::connector::{ClientFactory, Connector};
pub use self::listener::StreamListener;
pub use self::port::Port;
pub use self::reconnecting::{Reconnecting, Retries};
