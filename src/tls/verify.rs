//! The check of a server's certificate against pinned keys, after the check against the
//! authorities.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::provider::Provider;

/// A verifier that also requires one of some keys: that of the certificate, or of one of its
/// issuers that the server has sent (as in RFC 7469, section 2.6).
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) pins: Vec<[u8; 32]>,
    pub(super) provider: Provider,
}

impl Pinned {
    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return false;
        };
        let hash = sha256(self.provider, &parsed.subject_public_key_info());
        self.pins.iter().any(|pin| hash.as_deref() == Some(pin))
    }

    /// Returns whether the key of `issuer` has issued a certificate, or has issued the certificate
    /// of its issuer, and so on. A server may send any certificates along with its own.
    fn has_issued(
        &self,
        issuer: &CertificateDer<'_>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let mut store = RootCertStore::empty();
        let Ok(parsed) = ParsedCertificate::try_from(end_entity) else {
            return false;
        };
        if store.add(issuer.clone().into_owned()).is_err() {
            return false;
        }
        let algorithms = self.provider.algorithms();
        let algorithms = algorithms.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &store, intermediates, now, algorithms)
            .is_ok()
    }
}

/// Returns the SHA-256 of some bytes.
pub(super) fn sha256(provider: Provider, bytes: &[u8]) -> Option<Vec<u8>> {
    let algorithms = provider.algorithms();
    let mut suites = algorithms.cipher_suites.iter();
    let hash = suites.find_map(|suite| {
        let hash = suite.tls13()?.common.hash_provider;
        (hash.output_len() == 32).then_some(hash)
    })?;
    Some(hash.hash(bytes).as_ref().to_vec())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let is_pinned = self.is_pinned(end_entity)
            || intermediates.iter().any(|issuer| {
                self.is_pinned(issuer) && self.has_issued(issuer, end_entity, intermediates, now)
            });
        match is_pinned {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
