//! The parameters that the two ends of a connection have agreed on: [`TlsInfo`].

use super::Version;

/// The parameters that both ends of a TLS connection have agreed on, and the peer's certificates.
///
/// [`Transport::tls`](crate::Transport::tls) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version of the protocol.
    pub version: Version,
    /// The cipher suite's name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// The application protocol, if one was agreed on (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// At a server, the name that the client has requested (SNI), if any; at a client, `None`.
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed. `peer_certificates` are then those of its handshake.
    pub is_resumed: bool,
    /// The peer's certificates in DER: first its own, then those of its issuers. Empty if the peer
    /// is a client that has sent none.
    pub peer_certificates: Vec<Vec<u8>>,
}
