//! The errors of TLS: [`TlsError`].

use std::fmt::Write;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as Cause, PeerIncompatible};

use crate::failure::errors;

/// The errors of TLS configurations, handshakes and connections.
///
/// A connect fails with it when the handshake fails. A connection that breaks later ends with
/// [`ConnectionError::Lost`](crate::ConnectionError::Lost), whose cause it is.
///
/// # Examples
///
/// ```
/// use torsade::Failure;
/// use torsade::tls::{TlsError, Identity};
///
/// let failure: Failure = Identity::from_pem("no certificate").unwrap_err();
/// assert!(matches!(failure.downcast_ref(), Some(TlsError::Config { .. })));
/// assert!(failure.to_string().ends_with("the PEM text has no certificate"), "{failure}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The configuration cannot be used: for example, a file cannot be read, the key does not
    /// belong to the certificate, or the server's name is missing.
    Config {
        /// What is wrong with the configuration.
        problem: String,
    },
    /// The peer's certificate is not accepted.
    #[doc(alias("CertificateError", "VerificationError"))]
    Certificate {
        /// Why it is not accepted.
        problem: CertificateProblem,
    },
    /// The peer has sent bytes that are not TLS: it speaks a protocol without TLS on this port.
    NotTls {
        /// The first bytes that the peer has sent, at most 16.
        found: Vec<u8>,
    },
    /// Bytes had arrived already when TLS was started on the connection. They are not encrypted,
    /// so somebody between the peers may have put them in (as in RFC 3207, section 6).
    #[doc(alias = "STARTTLS")]
    PlaintextReceived {
        /// The number of bytes.
        bytes: usize,
    },
    /// The two ends have no protocol version, cipher suite, key exchange, signature scheme or
    /// application protocol (ALPN) in common.
    Incompatible {
        /// What the two ends do not have in common.
        problem: String,
    },
    /// The peer has ended the connection with an alert: for example, it does not accept this end's
    /// certificate.
    Alert {
        /// The meaning of the alert, or its name.
        alert: String,
    },
    /// The peer has sent bytes that the protocol does not allow, or they were changed on their way.
    Violation {
        /// What is wrong with the bytes.
        problem: String,
    },
    /// The handshake was not finished in time.
    HandshakeTimedOut {
        /// The time limit, `handshake_timeout` of the configuration.
        limit: Duration,
    },
    /// The peer closed the connection during the handshake.
    HandshakeClosed,
    /// The connection ended without the peer's `close_notify`, so bytes may be missing (RFC 8446,
    /// section 6.1).
    #[doc(alias("unexpected EOF", "close_notify"))]
    Truncated,
}

/// The reasons why a certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for other names.
    WrongName {
        /// The name that was connected to.
        expected: String,
        /// The names that the certificate is for, as far as they are known.
        presented: Vec<String>,
    },
    /// None of the accepted authorities has issued the certificate.
    UnknownIssuer,
    /// The certificate was revoked.
    Revoked,
    /// The peer has sent no certificate, although one is required.
    Missing,
    /// No key in the certificates is one of those that [`ClientConfig::pin`] requires.
    ///
    /// [`ClientConfig::pin`]: super::ClientConfig::pin
    NotPinned,
    /// Another problem.
    Other {
        /// The problem, in the words of the library.
        problem: String,
    },
}

errors! {
    enum TlsError {
        Config { problem }: "cannot use TLS as configured: {problem}";
        Certificate { problem }: "the peer's certificate is not accepted: {}", with describe(problem);
        NotTls { found }: "the peer does not speak TLS: it has sent \"{}\"", with found.escape_ascii();
        PlaintextReceived { bytes }:
            "{bytes} bytes had arrived before TLS was started, without encryption";
        Incompatible { problem }: "the peers have no parameters of TLS in common: {problem}";
        Alert { alert }: "the peer has ended TLS with an alert: {alert}";
        Violation { problem }: "the peer has violated the TLS protocol: {problem}";
        HandshakeTimedOut { limit }: "the TLS handshake was not finished within {limit:?}";
        HandshakeClosed: "the peer closed the connection during the TLS handshake";
        Truncated: "the connection ended without TLS's close_notify, so bytes may be missing";
    }
}

fn describe(problem: &CertificateProblem) -> String {
    match problem {
        CertificateProblem::Expired => String::from("it has expired"),
        CertificateProblem::NotYetValid => String::from("it is not valid yet"),
        CertificateProblem::WrongName {
            expected,
            presented,
        } => {
            let mut text = format!("it is not for {expected:?}");
            if !presented.is_empty() {
                let names: Vec<&str> = presented.iter().map(String::as_str).collect();
                let _ = write!(text, ", but for {}", names.join(", "));
            }
            text
        }
        CertificateProblem::UnknownIssuer => {
            String::from("none of the accepted authorities has issued it")
        }
        CertificateProblem::Revoked => String::from("it was revoked"),
        CertificateProblem::Missing => String::from("the peer has sent none"),
        CertificateProblem::NotPinned => {
            String::from("its key is not one of those that are pinned")
        }
        CertificateProblem::Other { problem } => problem.clone(),
    }
}

impl TlsError {
    pub(crate) fn config(problem: impl Into<String>) -> Self {
        Self::Config {
            problem: problem.into(),
        }
    }

    /// Returns the kind that an [`io::Error`] made of this one has.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Truncated | Self::HandshakeClosed => io::ErrorKind::UnexpectedEof,
            Self::HandshakeTimedOut { .. } => io::ErrorKind::TimedOut,
            Self::Config { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        }
    }

    /// Converts an error of the library; `found` are the first bytes that the peer has sent.
    pub(super) fn of(error: Cause, found: &[u8]) -> Self {
        let problem = error.to_string();
        match error {
            Cause::InvalidMessage(_) | Cause::PeerSentOversizedRecord if !is_tls(found) => {
                let found = found[..found.len().min(16)].to_vec();
                Self::NotTls { found }
            }
            Cause::InvalidCertificate(error) => Self::Certificate {
                problem: CertificateProblem::of(error),
            },
            Cause::NoCertificatesPresented => Self::Certificate {
                problem: CertificateProblem::Missing,
            },
            Cause::PeerIncompatible(error) => Self::Incompatible {
                problem: in_common(&error).map_or(problem, Into::into),
            },
            Cause::NoApplicationProtocol => Self::Incompatible {
                problem: String::from(
                    "none of the offered application protocols (ALPN) is supported",
                ),
            },
            Cause::AlertReceived(alert) => Self::of_alert(alert),
            Cause::General(_) | Cause::InconsistentKeys(_) | Cause::Other(_) => {
                Self::Config { problem }
            }
            _ => Self::Violation { problem },
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        let words = match alert {
            AlertDescription::BadCertificate => "it does not accept this end's certificate",
            AlertDescription::CertificateExpired => "this end's certificate has expired",
            AlertDescription::CertificateRequired => "it requires a certificate of this end",
            AlertDescription::CertificateUnknown => "it does not accept this end's certificate",
            AlertDescription::HandshakeFailure => {
                "it finds no parameters that both ends accept (handshake_failure)"
            }
            AlertDescription::NoApplicationProtocol => {
                "it supports none of the offered application protocols (ALPN)"
            }
            AlertDescription::ProtocolVersion => "it supports none of the offered versions of TLS",
            AlertDescription::UnknownCA => "it does not know the issuer of this end's certificate",
            AlertDescription::UnrecognisedName => "it serves no host of this name",
            other => {
                return Self::Alert {
                    alert: format!("{other:?}"),
                };
            }
        };
        Self::Alert {
            alert: words.into(),
        }
    }
}

/// Describes what the peers do not have in common, where the library's words say less.
fn in_common(error: &PeerIncompatible) -> Option<&'static str> {
    use PeerIncompatible as P;
    Some(match error {
        // Only clients of versions before 1.2 have none.
        P::SignatureAlgorithmsExtensionRequired
        | P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled => "no version",
        P::NoCipherSuitesInCommon => "no cipher suite",
        P::NoKxGroupsInCommon => "no key exchange",
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature scheme for this end's certificate"
        }
        _ => return None,
    })
}

impl CertificateProblem {
    fn of(error: CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Self::WrongName {
                expected: expected.to_str().into_owned(),
                presented,
            },
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Revoked => Self::Revoked,
            // The verifier of this crate gives it, see `verify`.
            CertificateError::ApplicationVerificationFailure => Self::NotPinned,
            CertificateError::BadSignature => Self::Other {
                problem: String::from("the key of its issuer has not signed it"),
            },
            other => Self::Other {
                problem: match format!("{other:?}") {
                    // An error of the library below, which has no type here.
                    debug if debug.contains("CaUsedAsEndEntity") => String::from(
                        "it is that of an authority (CA:TRUE), which is not accepted for a peer",
                    ),
                    _ => other.to_string(),
                },
            },
        }
    }
}

/// Returns whether the bytes begin like a TLS record: its type, and the major version.
pub(super) fn is_tls(found: &[u8]) -> bool {
    match found {
        [] => true,
        [kind] => (20..=23).contains(kind),
        [kind, major, ..] => (20..=23).contains(kind) && *major == 3,
    }
}
