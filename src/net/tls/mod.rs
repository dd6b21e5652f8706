//! Endpoints in TLS: the handshake comes before the connection's handler.
//!
//! `accept` is the stage between a port and its acceptor, `connect` that between a connect and its
//! result, `handshake` the handler that both use, `describe` reads the fields of an endpoint's
//! text.
//!
//! # Invariants
//!
//! 1. A handler begins when the handshake is finished, and never when it fails.
//! 2. A connection leaves this module within the time limit of the handshake: passed on, or closed.

mod accept;
mod connect;
mod describe;
#[cfg(feature = "testing")]
mod everywhere;
mod handshake;

pub(super) use self::accept::Secured;
pub(super) use self::connect::secure;
pub(super) use self::describe::{client, server};
#[cfg(feature = "testing")]
pub(super) use self::everywhere::{put_client_in_tls, put_server_in_tls};
use super::{ClientEndpoint, ServerEndpoint};
use crate::tls::{ClientConfig, ServerConfig};

impl ServerEndpoint {
    /// Puts the connections in TLS: a connection's handler begins when its handshake is finished.
    /// What [`ServerEndpoint::proxied`] reads comes before the handshake.
    ///
    /// A client whose handshake fails, or is not finished in time, is logged and not reported.
    ///
    /// On Linux the system gives a TCP connection to the port when its first bytes have arrived, or
    /// after about a second without any: one that is only open costs the program nothing until
    /// then. ([`ListenOptions::configure_socket`](super::ListenOptions::configure_socket) can set
    /// `TCP_DEFER_ACCEPT` to 0, which ends that.)
    ///
    /// # Examples
    ///
    /// See [`tls::ClientConfig`](crate::tls::ClientConfig).
    #[doc(alias("wrapServerTLS", "listenSSL", "SSL4ServerEndpoint", "https"))]
    #[must_use]
    pub fn tls(mut self, config: ServerConfig) -> Self {
        self.tls = Some(config.into());
        self
    }
}

impl ClientEndpoint {
    /// Puts the connection in TLS: the connect succeeds when the server has proved itself. The
    /// name that it has to prove is that of the endpoint, unless
    /// [`ClientConfig::server_name`](crate::tls::ClientConfig::server_name) sets another one.
    ///
    /// # Examples
    ///
    /// See [`tls::ClientConfig`](crate::tls::ClientConfig).
    #[doc(alias("wrapClientTLS", "connectSSL", "SSL4ClientEndpoint", "https"))]
    #[must_use]
    pub fn tls(mut self, config: ClientConfig) -> Self {
        self.tls = Some(config);
        self
    }
}
