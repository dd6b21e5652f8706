//! TLS, on any stream connection: configurations, certificates and errors.
//!
//! Cargo feature `tls`. [The guide](crate::guide::tls) shows how to set it up.
//!
//! * [`ServerConfig`] and [`ClientConfig`] are the settings of the two ends.
//!   [`ServerEndpoint::tls`](crate::net::ServerEndpoint::tls) and
//!   [`ClientEndpoint::tls`](crate::net::ClientEndpoint::tls) put endpoints in TLS;
//!   [`Transport::start_tls`](crate::Transport::start_tls) starts TLS on an open connection.
//! * An [`Identity`] is a certificate with its key; [`Roots`] are the authorities that are trusted.
//! * [`Transport::tls`](crate::Transport::tls) returns the [`TlsInfo`] of a connection.
//!
//! # The idea
//!
//! A connection in TLS is one like any other: its socket is wrapped in one that encrypts the bytes
//! that are written and decrypts those that are read. Its protocol, its
//! [`Transport`](crate::Transport), its limits and the errors with which it ends are the same. The
//! library *rustls* implements the protocol; it does no I/O. A *session* holds its state and the
//! bytes between it and the socket.
//!
//! A connection's handler begins when the handshake is finished: `connection_made` is called after
//! the peer's certificate was checked, if one is required. When the handshake fails, a connect
//! fails, and a port calls no handler.
//!
//! # Invariants
//!
//! 1. A session that is idle holds no bytes: no buffer is kept for an idle connection.
//! 2. Written bytes count as sent when the system has accepted all of the records they are in.
//! 3. After an error a session accepts and delivers no bytes; an alert is sent to the peer first.
//! 4. The end of the stream without `close_notify` is an error ([`TlsError::Truncated`]).

mod client;
mod engine;
mod error;
#[cfg(feature = "testing")]
mod exchange;
mod hello;
mod identity;
mod info;
mod provider;
mod records;
mod roots;
mod server;
mod session;
mod settings;
mod verify;

use std::time::Duration;

#[doc(alias(
    "optionsForClientTLS",
    "CertificateOptions",
    "SSLContext",
    "TlsConnector"
))]
pub use self::client::ClientConfig;
pub use self::error::CertificateProblem;
#[doc(alias("SSLError", "VerifyError", "PeerVerifyError", "SSL.Error"))]
pub use self::error::TlsError;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use self::exchange::exchange;
#[doc(alias("SNI", "txsni", "reload", "ResolvesServerCert"))]
pub use self::identity::Identities;
#[doc(alias("PrivateCertificate", "CertificateOptions", "KeyPair", "Pkcs12"))]
pub use self::identity::Identity;
#[doc(alias("INegotiated", "getPeerCertificate", "negotiatedProtocol"))]
pub use self::info::TlsInfo;
pub use self::provider::Provider;
pub(crate) use self::records::Records;
#[doc(alias(
    "trustRoot",
    "platformTrust",
    "OpenSSLDefaultPaths",
    "caCertsDir",
    "RootCertStore"
))]
pub use self::roots::Roots;
#[doc(alias("requireCertificate", "verify", "mTLS"))]
pub use self::server::ClientAuth;
pub use self::server::ClientHello;
#[doc(alias("CertificateOptions", "SSLContext", "TlsAcceptor", "ContextFactory"))]
pub use self::server::ServerConfig;
pub(crate) use self::session::{GivenUp, Handshake, Scratch, Session};

/// A version of TLS. Older versions than these are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[doc(alias = "TLSVersion")]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// How long a handshake may take by default.
const HANDSHAKE: Duration = Duration::from_secs(10);
