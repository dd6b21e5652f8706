//! TLS, on any stream connection: configurations, sessions and errors.
//!
//! # The idea
//!
//! TLS is a layer of the one transport, not a second kind of it. A connection's socket is wrapped
//! in one that encrypts what is written and decrypts what is read; its protocol, its [`Transport`],
//! its limits and its reason of the end are the same as without TLS. The protocol engine is that of
//! the library *rustls*, which does no I/O; a *session* holds it with the bytes that are on
//! their way between it and the socket.
//!
//! A port or a connect with TLS begins a connection's handler when the handshake is finished:
//! `connection_made` means that the peer has proved itself, and a connect fails when it has not.
//!
//! [`Transport`]: crate::Transport
//!
//! # Invariants
//!
//! 1. A session that is idle holds no bytes: no buffer is kept for an idle connection.
//! 2. Written bytes count as sent when the system has accepted all of the records they are in.
//! 3. After an error a session accepts and gives no bytes; the alert that says why is sent first.
//! 4. The end of the stream without `close_notify` is an error, never an end in good order.
//!
//! # Files
//!
//! `client`, `server`, `settings`: configurations · `identity`, `roots`, `verify`: certificates ·
//! `provider`: cryptography · `session`: the protocol without I/O · `engine`: the library's machine
//! · `hello`: a client's first message · `info`: what was agreed on · `error`: errors · `exchange`:
//! two sessions for fuzzing.
//!
//! [`Transport::start_tls`](crate::Transport::start_tls) starts TLS on a connection that is open
//! already. The [guide](crate::guide::tls) shows how to set it up.

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

pub use self::client::ClientConfig;
pub use self::error::{CertificateProblem, TlsError};
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use self::exchange::exchange;
pub use self::identity::{Identities, Identity};
pub use self::info::TlsInfo;
pub use self::provider::Provider;
pub(crate) use self::records::Records;
pub use self::roots::Roots;
pub use self::server::{ClientAuth, ClientHello, ServerConfig};
pub(crate) use self::session::{GivenUp, Handshake, Scratch, Session};

/// A version of TLS. Older ones than these are not spoken.
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
