//! A certificate with its key: [`Identity`]; several, chosen by the name that a client asks for:
//! [`Identities`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::TlsError;
use super::provider::Provider;
use crate::failure::Failure;

/// A certificate with its private key, and the certificates of its issuers.
///
/// A server presents it to clients; a client presents it to servers that request a certificate.
///
/// A clone refers to the same certificate and key.
///
/// # Examples
///
/// ```
/// use torsade::tls::Identity;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let pem = made.cert.pem() + &made.signing_key.serialize_pem();
/// let identity = Identity::from_pem(pem)?;
/// assert_eq!(identity.certificates(), [made.cert.der().to_vec()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads an identity from a text in PEM: the certificate, after it the certificates of its
    /// issuers, and before or after them the private key (PKCS #8, PKCS #1 or SEC1).
    ///
    /// # Errors
    ///
    /// Fails with [`TlsError::Config`] when the text has no certificate or no key, when a part
    /// cannot be decoded, when the key does not belong to the first certificate, and when no
    /// [`Provider`] that is built in supports the key. If only another provider than that of the
    /// configuration does, the listen or connect fails.
    #[track_caller]
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, Failure> {
        let pem = pem.as_ref();
        Self::of_parts(
            certificates(&"the PEM text", pem),
            key(&"the PEM text", pem),
        )
    }

    /// Reads the certificate, and after it the certificates of its issuers, from one file in PEM,
    /// and the private key from another. Both may be the same file.
    ///
    /// Blocks the thread while the system waits for the disk.
    ///
    /// # Errors
    ///
    /// As for [`Identity::from_pem`], and when a file cannot be read. The error names the file.
    #[track_caller]
    pub fn from_pem_files(
        certificates_file: impl AsRef<Path>,
        key_file: impl AsRef<Path>,
    ) -> Result<Self, Failure> {
        Self::from_pem_files_with(certificates_file.as_ref(), None, key_file.as_ref())
    }

    /// Reads like [`Identity::from_pem_files`]; the certificates of the issuers may be in a third
    /// file.
    #[track_caller]
    pub(crate) fn from_pem_files_with(
        certificates_file: &Path,
        issuers_file: Option<&Path>,
        key_file: &Path,
    ) -> Result<Self, Failure> {
        let certificates_in =
            |path: &Path| read(path).and_then(|pem| certificates(&path.display(), &pem));
        let chain = certificates_in(certificates_file).and_then(|mut chain| {
            if let Some(path) = issuers_file {
                chain.append(&mut certificates_in(path)?);
            }
            Ok(chain)
        });
        let key = read(key_file).and_then(|pem| key(&key_file.display(), &pem));
        Self::of_parts(chain, key)
    }

    /// Creates an identity from certificates and a private key in DER. The first certificate is the
    /// one for the key; those of its issuers follow.
    ///
    /// # Errors
    ///
    /// As for [`Identity::from_pem`].
    #[track_caller]
    pub fn from_der(
        certificates: impl IntoIterator<Item = Vec<u8>>,
        key: Vec<u8>,
    ) -> Result<Self, Failure> {
        let chain: Vec<_> = certificates.into_iter().map(CertificateDer::from).collect();
        let chain = match chain.is_empty() {
            true => Err(TlsError::config("there is no certificate")),
            false => Ok(chain),
        };
        let key = PrivateKeyDer::try_from(key)
            .map_err(|problem| TlsError::config(format!("the key: {problem}")));
        Self::of_parts(chain, key)
    }

    /// Returns the certificates in DER: first the one for the key, then those of its issuers.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        let chain = self.0.chain.iter();
        chain.map(|certificate| certificate.to_vec()).collect()
    }

    #[track_caller]
    fn of_parts(
        chain: Result<Vec<CertificateDer<'static>>, TlsError>,
        key: Result<PrivateKeyDer<'static>, TlsError>,
    ) -> Result<Self, Failure> {
        let location = Location::caller();
        let made = chain.and_then(|chain| {
            let identity = Self(Arc::new(Parts { chain, key: key? }));
            let certified = identity.certified(Provider::Ring);
            #[cfg(feature = "tls-aws-lc-rs")]
            let certified = certified.or_else(|_| identity.certified(Provider::AwsLcRs));
            certified?;
            Ok(identity)
        });
        made.map_err(|error| Failure::at(error, location))
    }

    /// Returns the certificates and the key in the form that the library needs.
    pub(super) fn certified(&self, provider: Provider) -> Result<CertifiedKey, TlsError> {
        let Parts { chain, key } = &*self.0;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider.algorithms())
            .map_err(|error| TlsError::config(format!("the certificate and its key: {error}")))
    }
}

/// The identities of a server with several names.
///
/// A client gets the identity for the name that it requests (SNI, RFC 6066, section 3).
///
/// A clone is a handle to the same set, so identities can be replaced while a port is open: new
/// connections use the new ones, and open connections are not affected. A later identity whose key
/// the configuration's [`Provider`] does not support is not presented: its clients are refused.
///
/// # Examples
///
/// ```
/// use torsade::tls::{Identities, Identity, ServerConfig};
///
/// # fn made(name: &str) -> Result<Identity, Box<dyn std::error::Error>> {
/// #     let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
/// #     Ok(Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?)
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let identities = Identities::new();
/// identities.set_default(made("www.example.com")?);
/// identities.set("*.example.org", made("*.example.org")?);
/// let config = ServerConfig::new(identities.clone());
///
/// // Later, when the certificate has been renewed:
/// identities.set_default(made("www.example.com")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Identities(Arc<RwLock<Table>>);

#[derive(Default)]
struct Table {
    default: Option<Entry>,
    /// By name in lower case; a name that begins with `*.` stands for all names with one more
    /// label.
    named: BTreeMap<String, Entry>,
}

struct Entry {
    identity: Identity,
    /// The identity for a provider, once a client has needed it.
    certified: Option<(Provider, Arc<CertifiedKey>)>,
}

impl Identities {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the identity for clients that request no name, or a name that is not in the set. While
    /// there is no default, such clients are refused.
    pub fn set_default(&self, identity: Identity) {
        self.write(|table| table.default = Some(Entry::new(identity)));
    }

    /// Sets the identity for a name, and replaces an earlier one.
    ///
    /// The name is a host name, or `*.` and a domain, which matches all names with one label more
    /// than the domain. A host name takes precedence over a `*.` name.
    pub fn set(&self, name: &str, identity: Identity) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.write(|table| {
            table.named.insert(name, Entry::new(identity));
        });
    }

    /// Removes the identity of a name, as it was set. Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.write(|table| table.named.remove(&name).is_some())
    }

    /// Sets the identities in the files of a directory.
    ///
    /// The file `NAME.pem` has the identity for this name, in the form of [`Identity::from_pem`];
    /// `_default.pem` has the default identity. The identities of names without a file are kept.
    ///
    /// # Errors
    ///
    /// Fails as [`Identity::from_pem`] does, and with [`TlsError::Config`] when the directory or a
    /// file cannot be read, or when there is no such file; then none of the identities is set. The
    /// error names the file.
    #[track_caller]
    pub fn set_from_dir(&self, dir: impl AsRef<Path>) -> Result<(), Failure> {
        let location = Location::caller();
        let found = identities_in(dir.as_ref()).map_err(|failure| failure.moved(location))?;
        for (name, identity) in found {
            match &*name {
                "_default" => self.set_default(identity),
                name => self.set(name, identity),
            }
        }
        Ok(())
    }

    /// Fails if the provider does not support one of the keys.
    pub(super) fn check(&self, provider: Provider) -> Result<(), TlsError> {
        self.write(|table| {
            let mut entries = table.default.iter().chain(table.named.values());
            entries.try_for_each(|entry| entry.identity.certified(provider).map(drop))
        })
    }

    fn write<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        // A panic while it is locked leaves it whole.
        f(&mut self.0.write().unwrap_or_else(|broken| broken.into_inner()))
    }

    fn find(&self, name: Option<&str>, provider: Provider) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        self.write(|table| {
            let entry = table.entry(name.as_deref())?;
            match &entry.certified {
                Some((of, certified)) if *of == provider => Some(certified.clone()),
                _ => {
                    let certified = Arc::new(entry.identity.certified(provider).ok()?);
                    entry.certified = Some((provider, certified.clone()));
                    Some(certified)
                }
            }
        })
    }
}

impl From<Identity> for Identities {
    fn from(identity: Identity) -> Self {
        let identities = Self::new();
        identities.set_default(identity);
        identities
    }
}

impl Table {
    fn entry(&mut self, name: Option<&str>) -> Option<&mut Entry> {
        if let Some(name) = name {
            let wildcard = name
                .split_once('.')
                .map(|(_, domain)| format!("*.{domain}"));
            let known = [Some(name.to_owned()), wildcard];
            let known = known.into_iter().flatten();
            if let Some(key) = known.into_iter().find(|key| self.named.contains_key(key)) {
                return self.named.get_mut(&key);
            }
        }
        self.default.as_mut()
    }
}

impl Entry {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            certified: None,
        }
    }
}

/// The identities with the provider that they are used with.
pub(super) struct Resolver {
    pub(super) identities: Identities,
    pub(super) provider: Provider,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.identities
            .find(client_hello.server_name(), self.provider)
    }
}

/// Reads the certificates in a text in PEM.
pub(super) fn certificates(
    from: &dyn fmt::Display,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsError::config(format!("{from} has no certificate")))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::config(format!("{from}: {error}"))),
    }
}

fn key(from: &dyn fmt::Display, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            TlsError::config(format!("{from} has no private key"))
        }
        error => TlsError::config(format!("{from}: {error}")),
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::config(format!("{}: {error}", path.display())))
}

fn identities_in(dir: &Path) -> Result<Vec<(String, Identity)>, Failure> {
    let unreadable = |error| TlsError::config(format!("{}: {error}", dir.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.and_then(|name| name.strip_suffix(".pem")) {
            found.push((name.to_owned(), Identity::from_pem_files(&path, &path)?));
        }
    }
    if found.is_empty() {
        let problem = format!("{}: no file's name ends in .pem", dir.display());
        return Err(TlsError::config(problem).into());
    }
    Ok(found)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.0.chain.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.read().unwrap_or_else(|broken| broken.into_inner());
        f.debug_struct("Identities")
            .field("has_default", &table.default.is_some())
            .field("names", &table.named.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identities.fmt(f)
    }
}
