//! What the two ends of a connection have agreed on: [`TlsInfo`].

use super::Version;

/// What the two ends of a TLS connection have agreed on, and how the peer has proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias("INegotiated", "getPeerCertificate", "negotiatedProtocol"))]
pub struct TlsInfo {
    /// The version of the protocol.
    pub version: Version,
    /// The cipher suite's name, as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// The application protocol, if one was agreed on (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// At a server: the name that the client has asked for (SNI).
    pub server_name: Option<String>,
    /// Whether the session was resumed, so that the handshake had no certificates.
    pub resumed: bool,
    /// The peer's certificates in DER: first its own, then those of its issuers. Empty for a client
    /// that has sent none.
    pub peer_certificates: Vec<Vec<u8>>,
}
