//! The TLS settings of a server: [`ServerConfig`].

use std::cell::OnceCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::KeyLogFile;
use rustls::server::WebPkiClientVerifier;

use super::client::{MIXED, versions};
use super::error::TlsError;
use super::identity::{Identities, Resolver};
use super::provider::Provider;
use super::roots::Roots;
use super::settings::shared_settings;
use super::{HANDSHAKE, Version};
use crate::failure::Failure;

/// The TLS settings of a server: its certificates, and what it requires of its clients.
///
/// By default it speaks TLS 1.3 and 1.2, requests no certificate of clients, resumes sessions by
/// tickets whose keys are replaced every six hours, and allows 10 seconds for a handshake and 1,000
/// handshakes of a port at a time. It never accepts early data (0-RTT). Clones share the keys of
/// the tickets.
///
/// # Examples
///
/// ```
/// use torsade::tls::{ClientAuth, Identity, Roots, ServerConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let made = rcgen::generate_simple_self_signed(["db.internal".to_owned()])?;
/// # let pem = made.cert.pem() + &made.signing_key.serialize_pem();
/// let config = ServerConfig::new(Identity::from_pem(&pem)?)
///     .client_auth(ClientAuth::Required(Roots::empty().pem(&pem)?))
///     .alpn(["postgresql"]);
/// # let _ = config;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ServerConfig {
    settings: Settings,
    built: Rc<OnceCell<Result<Arc<rustls::ServerConfig>, TlsError>>>,
}

#[derive(Clone)]
struct Settings {
    identities: Identities,
    auth: ClientAuth,
    alpn: Vec<Vec<u8>>,
    least: Version,
    provider: Provider,
    tickets: bool,
    logs_keys: bool,
    limit: Duration,
    most: usize,
    choose: Option<Choose>,
    /// A configuration of rustls, in place of the other settings.
    given: Option<Arc<rustls::ServerConfig>>,
    /// Whether another setting was set as well, which would have no effect.
    is_mixed: bool,
}

type Choose = Rc<dyn Fn(ClientHello) -> Chosen>;
/// The configuration for one client, once it is known.
pub(crate) type Chosen = Pin<Box<dyn Future<Output = Result<ServerConfig, Failure>>>>;

/// Whether clients present a certificate, and which authorities have to issue it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No certificate is requested.
    #[default]
    None,
    /// A certificate is requested. A client without one is accepted; a client whose certificate
    /// none of these authorities has issued is refused.
    Optional(Roots),
    /// A certificate that one of these authorities has issued is required.
    Required(Roots),
}

/// The server name and protocols in a client's first message: see [`ServerConfig::choose`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    /// The name of the server to which the client connects (SNI), if it has sent one.
    pub server_name: Option<String>,
    /// The application protocols that the client offers (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
}

impl ServerConfig {
    shared_settings!();

    /// Creates a configuration with one [`Identity`](super::Identity) for all clients, or with
    /// [`Identities`], of which the name that a client requests (SNI) selects one.
    pub fn new(identities: impl Into<Identities>) -> Self {
        Self::of(identities.into(), None)
    }

    /// Creates a configuration from one of the library `rustls`, for settings that have no method
    /// here. The version of `rustls` may change with any version of this crate.
    ///
    /// Early data (0-RTT) must be off in it, which is the default. Afterwards, only
    /// [`handshake_timeout`](Self::handshake_timeout), [`max_handshakes`](Self::max_handshakes) and
    /// [`choose`](Self::choose) may be called. Otherwise listening fails.
    pub fn from_rustls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::of(Identities::new(), Some(config))
    }

    fn of(identities: Identities, given: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            settings: Settings {
                identities,
                auth: ClientAuth::None,
                alpn: Vec::new(),
                least: Version::Tls12,
                provider: Provider::default(),
                tickets: true,
                logs_keys: false,
                limit: HANDSHAKE,
                most: HANDSHAKES,
                choose: None,
                given,
                is_mixed: false,
            },
            built: Rc::default(),
        }
    }

    /// Sets whether clients present a certificate; [`ClientAuth::None`] by default.
    pub fn client_auth(self, auth: ClientAuth) -> Self {
        self.set(|settings| settings.auth = auth)
    }

    /// Sets the application protocols (ALPN, RFC 7301) that are supported, the preferred one first.
    /// A client that offers only other protocols is refused; a client that offers none is accepted.
    /// By default there are none, and all clients are accepted.
    #[doc(alias = "acceptableProtocols")]
    pub fn alpn<P: AsRef<[u8]>>(self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter();
        let names = protocols.map(|name| name.as_ref().to_vec()).collect();
        self.set(|settings| settings.alpn = names)
    }

    /// Sets the application protocols, unless they are set.
    #[cfg(feature = "http")]
    pub(crate) fn or_alpn(self, protocols: &[&str]) -> Self {
        match self.settings.alpn.is_empty() && self.settings.given.is_none() {
            true => self.alpn(protocols),
            false => self,
        }
    }

    /// Sets whether clients receive tickets, with which they can resume their session later; on by
    /// default.
    #[doc(alias("session tickets", "enableSessions"))]
    pub fn tickets(self, on: bool) -> Self {
        self.set(|settings| settings.tickets = on)
    }

    /// Sets the maximum number of handshakes of a port at a time, at least 1; 1,000 by default.
    ///
    /// While there are that many, the port accepts no connection, and new clients wait. Behind a
    /// proxy ([`ServerEndpoint::proxied`](crate::net::ServerEndpoint::proxied)) a connection whose
    /// PROXY header has not arrived counts as well.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.settings.most = count.max(1);
        self
    }

    /// Sets an async function that chooses the configuration for each client, by the client's first
    /// message. The time that it takes counts for [`handshake_timeout`](Self::handshake_timeout).
    ///
    /// The function returns clones of configurations that it keeps. A configuration that is created
    /// anew for each client could not resume sessions.
    ///
    /// When the function fails, the client is refused with the alert `handshake_failure`, and the
    /// connection ends with that failure. When it panics, the alert is `internal_error`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    /// use torsade::tls::{Identity, ServerConfig};
    ///
    /// let known = ServerConfig::new(Identity::from_pem(&pem)?);
    /// let config = known.clone().choose(async move |hello| {
    ///     // A look-up in a database, for example.
    ///     match hello.server_name.as_deref() {
    ///         Some("localhost") => Ok(known.clone()),
    ///         _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound))?,
    ///     }
    /// });
    /// # let _ = config;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("SNICallback", "LazyConfigAcceptor", "sni_callback"))]
    pub fn choose<F>(self, choose: F) -> Self
    where
        F: AsyncFn(ClientHello) -> Result<Self, Failure> + 'static,
    {
        let choose = Rc::new(choose);
        let boxed: Choose = Rc::new(move |hello| {
            let choose = choose.clone();
            Box::pin(async move { choose(hello).await })
        });
        Self {
            settings: Settings {
                choose: Some(boxed),
                ..self.settings
            },
            built: Rc::default(),
        }
    }

    pub(crate) fn most_handshakes(&self) -> usize {
        self.settings.most
    }

    /// Returns whether a function of the program chooses the configuration.
    pub(super) fn chooses(&self) -> bool {
        self.settings.choose.is_some()
    }

    /// Calls the function of [`choose`](Self::choose), if there is one: user code.
    pub(crate) fn chosen(&self, hello: ClientHello) -> Option<Chosen> {
        self.settings.choose.as_ref().map(|choose| choose(hello))
    }

    /// Makes the configuration, once.
    pub(crate) fn built(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        self.built.get_or_init(|| self.settings.build()).clone()
    }
}

impl Settings {
    fn build(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        if let Some(given) = &self.given {
            // Early data can be replayed by anybody who has seen it before.
            return match given.max_early_data_size {
                _ if self.is_mixed => Err(TlsError::config(MIXED)),
                0 => Ok(given.clone()),
                _ => Err(TlsError::config("early data (0-RTT) is not accepted")),
            };
        }
        self.identities.check(self.provider)?;
        let algorithms = self.provider.algorithms();
        let unusable = |problem: &dyn fmt::Display| TlsError::config(problem.to_string());
        let verifier = |roots: &Roots| {
            WebPkiClientVerifier::builder_with_provider(roots.store(), algorithms.clone())
        };
        let none = |_| TlsError::config("there is no root certificate for clients' certificates");
        let auth = match &self.auth {
            ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Optional(roots) => verifier(roots)
                .allow_unauthenticated()
                .build()
                .map_err(none)?,
            ClientAuth::Required(roots) => verifier(roots).build().map_err(none)?,
        };
        let mut config = rustls::ServerConfig::builder_with_provider(algorithms)
            .with_protocol_versions(versions(self.least))
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(auth)
            .with_cert_resolver(Arc::new(Resolver {
                identities: self.identities.clone(),
                provider: self.provider,
            }));
        config.alpn_protocols.clone_from(&self.alpn);
        match self.tickets {
            true => config.ticketer = ticketer(self.provider)?,
            false => config.send_tls13_tickets = 0,
        }
        if self.logs_keys {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(Arc::new(config))
    }
}

fn ticketer(provider: Provider) -> Result<Arc<dyn rustls::server::ProducesTickets>, TlsError> {
    let made = match provider {
        Provider::Ring => rustls::crypto::ring::Ticketer::new(),
        #[cfg(feature = "tls-aws-lc-rs")]
        Provider::AwsLcRs => rustls::crypto::aws_lc_rs::Ticketer::new(),
    };
    made.map_err(|error| TlsError::config(error.to_string()))
}

/// The default of [`ServerConfig::max_handshakes`].
const HANDSHAKES: usize = 1000;

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("identities", &self.settings.identities)
            .field("auth", &self.settings.auth)
            .finish_non_exhaustive()
    }
}
