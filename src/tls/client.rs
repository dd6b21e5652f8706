//! The TLS settings of a client: [`ClientConfig`].

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{KeyLogFile, SupportedProtocolVersion};

use super::error::TlsError;
use super::identity::Identity;
use super::provider::Provider;
use super::roots::Roots;
use super::settings::shared_settings;
use super::verify::Pinned;
use super::{HANDSHAKE, Version};

/// The TLS settings of a client: which servers it trusts, and what it offers.
///
/// By default it accepts a certificate for the name that is connected to, issued by an authority
/// that the system trusts; speaks TLS 1.3 and 1.2; and resumes sessions. Clones share the sessions,
/// so clone one configuration for all connections to a server.
///
/// # Examples
///
/// ```
/// use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};
/// use torsade::net::{ClientEndpoint, ServerEndpoint};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let pem = made.cert.pem() + &made.signing_key.serialize_pem();
/// let server = ServerConfig::new(Identity::from_pem(&pem)?);
/// let client = ClientConfig::new().roots(Roots::empty().pem(&pem)?);
/// torsade::testing::run(async move |reactor| {
///     let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(server);
///     let port = reactor.serve(endpoint, async |mut conn| {
///         conn.write_all(b"hello\n").await?;
///         Ok(())
///     })?;
///     let endpoint = ClientEndpoint::new(port.local_addr().clone());
///     let endpoint = endpoint.tls(client.server_name("localhost"));
///     let mut conn = reactor.connect_stream(endpoint).await?;
///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
///     drop(conn);
///     port.stop().await
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientConfig {
    settings: Settings,
    built: Rc<OnceCell<Result<Arc<rustls::ClientConfig>, TlsError>>>,
}

#[derive(Clone)]
struct Settings {
    roots: Option<Roots>,
    identity: Option<Identity>,
    server_name: Option<String>,
    alpn: Vec<Vec<u8>>,
    pins: Vec<[u8; 32]>,
    least: Version,
    provider: Provider,
    logs_keys: bool,
    limit: Duration,
    /// A configuration of rustls, in place of the other settings.
    given: Option<Arc<rustls::ClientConfig>>,
    /// Whether another setting was set as well, which would have no effect.
    is_mixed: bool,
}

impl ClientConfig {
    shared_settings!();

    /// Creates a configuration with the default settings.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// Creates a configuration from one of the library `rustls`, for settings that have no method
    /// here. The version of `rustls` may change with any version of this crate.
    ///
    /// Afterwards, only [`server_name`](Self::server_name) and
    /// [`handshake_timeout`](Self::handshake_timeout) may be set here. If another method is called,
    /// connects fail with [`TlsError::Config`].
    pub fn from_rustls(config: Arc<rustls::ClientConfig>) -> Self {
        Self::of(Some(config))
    }

    fn of(given: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            settings: Settings {
                roots: None,
                identity: None,
                server_name: None,
                alpn: Vec::new(),
                pins: Vec::new(),
                least: Version::Tls12,
                provider: Provider::default(),
                logs_keys: false,
                limit: HANDSHAKE,
                given,
                is_mixed: false,
            },
            built: Rc::default(),
        }
    }

    /// Sets the authorities that are trusted; those of [`Roots::platform`] by default.
    pub fn roots(self, roots: Roots) -> Self {
        self.set(|settings| settings.roots = Some(roots))
    }

    /// Sets the certificate that the client presents to servers that request one; none by default.
    #[doc(alias("clientCertificate", "client_auth"))]
    pub fn identity(self, identity: Identity) -> Self {
        self.set(|settings| settings.identity = Some(identity))
    }

    /// Sets the name that the server's certificate must be for: a host name or an IP address. A
    /// host name is also sent to the server (SNI).
    ///
    /// By default, the name is the host of the endpoint. Where there is none, as with
    /// [`Transport::start_tls`](crate::Transport::start_tls) or a UNIX socket, it must be set;
    /// otherwise TLS fails with [`TlsError::Config`].
    #[doc(alias("hostname", "SNI"))]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        // The sessions stay shared.
        self.settings.server_name = Some(name.into());
        self
    }

    /// Sets the application protocols (ALPN, RFC 7301) that are offered, the preferred one first;
    /// none by default. A server that supports ALPN and none of these protocols refuses the
    /// connection. A server without ALPN accepts it, and [`TlsInfo::alpn`](super::TlsInfo::alpn) is
    /// `None`.
    #[doc(alias("acceptableProtocols", "nextProtocols"))]
    pub fn alpn<P: AsRef<[u8]>>(self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter();
        let names = protocols.map(|name| name.as_ref().to_vec()).collect();
        self.set(|settings| settings.alpn = names)
    }

    /// Requires, besides all other checks, that the server's certificate or that of one of its
    /// issuers has this key. An issuer counts only if the server sends its certificate.
    ///
    /// `sha256` is the SHA-256 of the certificate's subject public key info in DER, as in RFC 7469.
    /// After several calls, any of the keys suffices. A certificate without one fails with
    /// [`CertificateProblem::NotPinned`](super::CertificateProblem::NotPinned).
    #[doc(alias("pinnedpubkey", "HPKP"))]
    pub fn pin(self, sha256: [u8; 32]) -> Self {
        self.set(|settings| settings.pins.push(sha256))
    }

    /// Sets the application protocols, unless they are set already.
    #[cfg(feature = "http")]
    pub(crate) fn or_alpn(self, protocols: &[&str]) -> Self {
        match self.settings.given.is_none() && self.settings.alpn.is_empty() {
            true => self.alpn(protocols),
            false => self,
        }
    }

    /// Sets the server's name, unless there is one.
    pub(crate) fn or_server_name(self, name: impl FnOnce() -> Option<String>) -> Self {
        match (&self.settings.server_name, name) {
            (None, name) => match name() {
                Some(name) => self.server_name(name),
                None => self,
            },
            _ => self,
        }
    }

    /// Returns the server's name in the library's form.
    pub(super) fn name(&self) -> Result<ServerName<'static>, TlsError> {
        let Some(name) = &self.settings.server_name else {
            return Err(TlsError::config(
                "the server's name is missing: set it with `ClientConfig::server_name`",
            ));
        };
        let bare = name.trim_end_matches('.');
        let bare = bare
            .strip_prefix('[')
            .map_or(bare, |ip| ip.trim_end_matches(']'));
        ServerName::try_from(bare.to_owned())
            .map_err(|_| TlsError::config(format!("{name:?} is not the name of a server")))
    }

    /// Fails when a session with this configuration would fail. (Creating a session to find out
    /// would use up a ticket.)
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.built()?;
        self.name().map(drop)
    }

    /// Makes the configuration, once.
    pub(super) fn built(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        self.built.get_or_init(|| self.settings.build()).clone()
    }
}

impl Settings {
    fn build(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        if let Some(given) = &self.given {
            return match self.is_mixed {
                false => Ok(given.clone()),
                true => Err(TlsError::config(MIXED)),
            };
        }
        let algorithms = self.provider.algorithms();
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => Roots::of_platform()?,
        };
        let unusable = |problem: &dyn fmt::Display| TlsError::config(problem.to_string());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.store(), algorithms.clone())
                .build()
                .map_err(|_| {
                    TlsError::config("there is no root certificate for servers' certificates")
                })?;
        let builder = rustls::ClientConfig::builder_with_provider(algorithms)
            .with_protocol_versions(versions(self.least))
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(match self.pins.is_empty() {
                true => verifier,
                false => Arc::new(Pinned {
                    inner: verifier,
                    pins: self.pins.clone(),
                    provider: self.provider,
                }),
            });
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certified = identity.certified(self.provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if self.logs_keys {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(Arc::new(config))
    }
}

/// The problem of a configuration of rustls whose other settings were changed.
pub(super) const MIXED: &str = "the configuration has settings beside those of `from_rustls`: change the configuration of rustls";

static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Returns the versions from this one on.
pub(super) fn versions(least: Version) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        Version::Tls12 => rustls::ALL_VERSIONS,
        Version::Tls13 => &TLS13,
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("server_name", &self.settings.server_name)
            .field("roots", &self.settings.roots)
            .field("identity", &self.settings.identity)
            .finish_non_exhaustive()
    }
}
