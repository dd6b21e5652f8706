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
    /// Puts the connections in TLS: a connection's handler begins when the handshake is finished. A
    /// PROXY header ([`ServerEndpoint::proxied`]) is read before the handshake.
    ///
    /// The program is not called for a client whose handshake fails or exceeds
    /// [`ServerConfig::handshake_timeout`](crate::tls::ServerConfig::handshake_timeout): the
    /// connection is closed and logged.
    ///
    /// On Linux the port's socket has the option `TCP_DEFER_ACCEPT`: the system passes on a
    /// connection when its first bytes have arrived, or after about a second without any. To switch
    /// the option off, set it to 0 in
    /// [`ListenOptions::configure_socket`](super::ListenOptions::configure_socket).
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
    /// Puts the connection in TLS: connecting succeeds when the handshake is finished and the
    /// server's certificate is verified. The certificate must be for the host of the endpoint,
    /// unless [`ClientConfig::server_name`](crate::tls::ClientConfig::server_name) sets another
    /// name.
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
