//! Where the cryptography comes from: [`Provider`].

use std::sync::{Arc, OnceLock};

use rustls::crypto::{self, CryptoProvider};

use super::records::wrap;

/// The library that does the cryptography.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// *ring*, which needs a C compiler only.
    #[default]
    Ring,
    /// *aws-lc-rs*: also key exchange that resists quantum computers.
    #[cfg(feature = "tls-aws-lc-rs")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls-aws-lc-rs")))]
    AwsLcRs,
}

impl Provider {
    /// Returns the provider's algorithms. They are always named, never taken from a default of the
    /// process, which there is none of when two crates need different providers.
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
