//! The libraries that do the cryptography: [`Provider`].

use std::sync::{Arc, OnceLock};

use rustls::crypto::{self, CryptoProvider};

use super::records::wrap;

/// The library that does the cryptography. Both have the usual algorithms of TLS 1.2 and 1.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// *ring*, the default. Its build needs a C compiler.
    #[default]
    Ring,
    /// *aws-lc-rs*, which also has key exchange that resists quantum computers, and keys of ECDSA
    /// P-521. Its build needs a C compiler and CMake. Cargo feature `tls-aws-lc-rs`.
    #[cfg(feature = "tls-aws-lc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls-aws-lc-rs")))]
    AwsLcRs,
}

impl Provider {
    /// Returns the provider's algorithms. They are never taken from the default of the process,
    /// which does not exist when two crates need different providers.
    pub(super) fn algorithms(self) -> Arc<CryptoProvider> {
        static RING: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
        match self {
            Self::Ring => RING
                .get_or_init(|| Arc::new(wrap(crypto::ring::default_provider())))
                .clone(),
            #[cfg(feature = "tls-aws-lc-rs")]
            Self::AwsLcRs => {
                static AWS_LC_RS: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
                AWS_LC_RS
                    .get_or_init(|| Arc::new(wrap(crypto::aws_lc_rs::default_provider())))
                    .clone()
            }
        }
    }
}
