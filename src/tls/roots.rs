//! The authorities that are trusted: [`Roots`].

use std::fmt;
use std::fs;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

use super::error::TlsError;
use super::identity::{certificates, read};
use crate::failure::Failure;

/// The certificate authorities that are trusted.
///
/// A peer's certificate is accepted if one of them has issued it, directly or through issuers whose
/// certificates the peer sends.
///
/// # Examples
///
/// ```
/// use torsade::tls::{ClientConfig, Roots};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let made = rcgen::generate_simple_self_signed(["db.internal".to_owned()])?;
/// # let pem = made.cert.pem();
/// // Only the authority of a company:
/// let config = ClientConfig::new().roots(Roots::empty().pem(&pem)?);
///
/// // The same authority, and those that browsers trust:
/// let config = ClientConfig::new().roots(Roots::webpki().pem(&pem)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Returns an empty set, to which authorities are added by [`pem`](Self::pem) and others.
    pub fn empty() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }

    /// Returns the authorities that browsers trust, by Mozilla's list, which is compiled into the
    /// program: for containers without certificates of a system.
    pub fn webpki() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self(Arc::new(roots.collect()))
    }

    /// Returns the authorities that the system trusts. The environment variables `SSL_CERT_FILE`
    /// and `SSL_CERT_DIR` name other files than the system's.
    ///
    /// The first call in a process reads them, and blocks the thread while the system waits for the
    /// disk; further calls return the same result.
    ///
    /// # Errors
    ///
    /// Fails with [`TlsError::Config`] when none are found.
    #[track_caller]
    pub fn platform() -> Result<Self, Failure> {
        Self::of_platform().map_err(|error| Failure::at(error, Location::caller()))
    }

    pub(super) fn of_platform() -> Result<Self, TlsError> {
        static FOUND: OnceLock<Result<Roots, TlsError>> = OnceLock::new();
        let load = || {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            // A system may list a certificate that cannot be parsed; the others count.
            let (added, _) = store.add_parsable_certificates(found.certs);
            match (added, found.errors.first()) {
                (0, Some(error)) => Err(TlsError::config(format!(
                    "the system's root certificates cannot be read: {error}"
                ))),
                (0, None) => Err(TlsError::config("the system has no root certificates")),
                _ => Ok(Self(Arc::new(store))),
            }
        };
        FOUND.get_or_init(load).clone()
    }

    /// Adds the certificates in a text in PEM.
    ///
    /// # Errors
    ///
    /// Fails with [`TlsError::Config`] when the text has no certificate, or one that cannot be
    /// decoded.
    #[track_caller]
    pub fn pem(self, pem: impl AsRef<[u8]>) -> Result<Self, Failure> {
        let location = Location::caller();
        self.with_pem(&"the PEM text", pem.as_ref())
            .map_err(|error| Failure::at(error, location))
    }

    /// Adds the certificates in a file in PEM.
    ///
    /// # Errors
    ///
    /// As for [`Roots::pem`], and when the file cannot be read. The error names the file.
    #[track_caller]
    pub fn pem_file(self, path: impl AsRef<Path>) -> Result<Self, Failure> {
        let location = Location::caller();
        self.with_pem_file(path.as_ref())
            .map_err(|error| Failure::at(error, location))
    }

    /// Adds the certificates in all files of a directory whose names end in `.pem`.
    ///
    /// # Errors
    ///
    /// As for [`Roots::pem_file`], and when there is no such file.
    #[track_caller]
    pub fn pem_dir(self, dir: impl AsRef<Path>) -> Result<Self, Failure> {
        let location = Location::caller();
        self.with_pem_dir(dir.as_ref())
            .map_err(|error| Failure::at(error, location))
    }

    fn with_pem(mut self, from: &dyn fmt::Display, pem: &[u8]) -> Result<Self, TlsError> {
        let store = Arc::make_mut(&mut self.0);
        for certificate in certificates(from, pem)? {
            store
                .add(certificate)
                .map_err(|error| TlsError::config(format!("{from}: {error}")))?;
        }
        Ok(self)
    }

    fn with_pem_file(self, path: &Path) -> Result<Self, TlsError> {
        let pem = read(path)?;
        self.with_pem(&path.display(), &pem)
    }

    fn with_pem_dir(mut self, dir: &Path) -> Result<Self, TlsError> {
        let unreadable = |error| TlsError::config(format!("{}: {error}", dir.display()));
        let mut any = false;
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                self = self.with_pem_file(&path)?;
                any = true;
            }
        }
        match any {
            true => Ok(self),
            false => {
                let problem = format!("{}: no file's name ends in .pem", dir.display());
                Err(TlsError::config(problem))
            }
        }
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        self.0.clone()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("count", &self.0.len())
            .finish()
    }
}
