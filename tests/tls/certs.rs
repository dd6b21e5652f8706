//! Certificates for tests, made once.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::none().pem(self.pem()).unwrap()
    }

    /// Issues a certificate for a name, or for none; `change` may spoil it. Returns it with its key
    /// in PEM.
    pub(crate) fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.0).unwrap();
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
