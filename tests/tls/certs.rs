//! Certificates for tests, made once.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig, TlsError};
use torsade::{Failure, Port};

use support::HERE;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::empty().pem(self.pem()).unwrap()
    }

    /// Issues a certificate for a name, or for none; `change` may spoil it. Returns it with its key
    /// in PEM.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        self.issue_for(&KeyPair::generate().unwrap(), name, change)
    }

    /// The same, for a key.
    pub(crate) fn issue_for(
        &self,
        key: &KeyPair,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let made = params.signed_by(key, &self.0).unwrap();
        made.pem() + &key.serialize_pem()
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::from_pem(self.issue(name, |_| {})).unwrap()
    }
}

/// The authority of most tests.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(Authority::new)
}

/// A server for `localhost`, and a client that trusts it.
pub(crate) fn pair() -> (ServerConfig, ClientConfig) {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| authority().identity("localhost"));
    let client = ClientConfig::new().roots(authority().roots());
    (
        ServerConfig::new(identity.clone()),
        client.server_name("localhost"),
    )
}

pub(crate) fn here() -> ServerEndpoint {
    ServerEndpoint::parse(HERE).unwrap()
}

/// The kinds of endpoints whose sockets treat a peer that is gone differently: TCP, and UNIX where
/// there is a name for one.
pub(crate) fn kinds() -> Vec<ServerEndpoint> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("unix:@torsade tls {} {count}", std::process::id());
    let mut kinds = vec![here()];
    if cfg!(target_os = "linux") {
        kinds.push(ServerEndpoint::parse(&name).unwrap());
    }
    kinds
}

pub(crate) fn to(port: &Port) -> ClientEndpoint {
    ClientEndpoint::new(port.local_addr())
}

/// The error of TLS in a failure.
#[track_caller]
pub(crate) fn tls_error(failure: &Failure) -> &TlsError {
    failure.find().unwrap_or_else(|| panic!("{failure:#}"))
}

/// A directory for one test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("torsade-tls-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
