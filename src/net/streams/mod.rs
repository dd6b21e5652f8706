//! Streams: ports that are listened at, and connecting.
//!
//! # Files
//!
//! `listen` the reactor's verbs that listen · `port` the listening socket · `accept` what becomes
//! of a connection that was accepted · `listener` a port whose connections async code accepts ·
//! `connect` the verbs that connect · `race` several addresses at once · `connector` one connection
//! after the other, with `backoff` how long in between · `reconnecting` the same for a factory.

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
pub use self::connector::{ClientFactory, Connector, ConnectorBusy, ConnectorState};
pub use self::listener::StreamListener;
pub use self::port::Port;
pub use self::reconnecting::{Reconnecting, Retries};
