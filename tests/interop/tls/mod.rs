//! TLS with programs that other libraries are in: OpenSSL's own, curl, stunnel, sslscan, Exim,
//! Python, Twisted and tlsfuzzer.
//!
//! A test whose program is missing says so and passes.

#[path = "../../tls/certs.rs"]
#[allow(dead_code, reason = "the tests of TLS use the rest")]
mod certs;
mod fuzzer;
mod mail;
mod openssl_client;
mod openssl_server;
mod programs;
mod twisted;
mod volume;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use rcgen::KeyPair;

use self::certs::{Dir, authority, here};
use support::foreign::need;
use torsade::process::{Child, Command, Output};
use torsade::tls::{Identity, Roots, ServerConfig, Version};
use torsade::{Clock, Connection, Failure, Port, Reactor};

/// A cipher suite: OpenSSL's option and name, our name, and the kind of key that it needs.
struct Suite {
    option: &'static str,
    theirs: &'static str,
    ours: &'static str,
    key: Option<&'static str>,
}

const fn suite(
    option: &'static str,
    theirs: &'static str,
    ours: &'static str,
    key: Option<&'static str>,
) -> Suite {
    Suite {
        option,
        theirs,
        ours,
        key,
    }
}

/// All suites that there are.
#[rustfmt::skip]
const SUITES: [Suite; 9] = [
    suite("-ciphersuites", "TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384", None),
    suite("-ciphersuites", "TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256", None),
    suite("-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256", None),
    suite("-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some("ecdsa")),
    suite("-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some("ecdsa")),
    suite("-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Some("ecdsa")),
    suite("-cipher", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some("rsa")),
    suite("-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some("rsa")),
    suite("-cipher", "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Some("rsa")),
];

impl Suite {
    fn version(&self) -> (&'static str, Version) {
        match self.option {
            "-cipher" => ("-tls1_2", Version::Tls12),
            _ => ("-tls1_3", Version::Tls13),
        }
    }
}

/// The kinds of keys.
const KEYS: [&str; 4] = ["rsa", "ecdsa", "p384", "ed25519"];

/// Returns a certificate for `localhost` and its key, of a kind, in PEM.
fn pem(kind: &str) -> String {
    let key = match kind {
        "rsa" => KeyPair::from_pem(rsa_key()),
        "p384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        "ed25519" => KeyPair::from_pem(&key_of_openssl("ed25519")),
        _ => KeyPair::generate(),
    };
    authority().issue_for(&key.unwrap(), "localhost", |_| {})
}

/// Makes a key that rcgen cannot make, or that OpenSSL cannot read when rcgen has made it.
fn key_of_openssl(algorithm: &str) -> String {
    let mut openssl = std::process::Command::new("openssl");
    let made = openssl.args(["genpkey", "-algorithm", algorithm]).output();
    String::from_utf8(made.unwrap().stdout).unwrap()
}

/// An RSA key, made once.
fn rsa_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| key_of_openssl("rsa"))
}

/// A server's configuration for `localhost`.
fn config(kind: &str) -> ServerConfig {
    ServerConfig::new(Identity::from_pem(pem(kind)).unwrap())
}

/// The files that programs need: `ca.pem` and `other-ca.pem`, and for each kind of key `KIND.pem`.
fn files(kinds: &[&str]) -> Dir {
    let dir = Dir::new();
    dir.write("ca.pem", &authority().pem());
    dir.write("other-ca.pem", &certs::Authority::new().pem());
    for kind in kinds {
        dir.write(&format!("{kind}.pem"), &pem(kind));
    }
    dir
}

fn file(dir: &Dir, name: &str) -> String {
    Path::new(&dir.path()).join(name).display().to_string()
}

/// Opens a port that answers each line with what was agreed on, and ends after the line `bye`.
fn describing(reactor: &Reactor, config: ServerConfig) -> Result<Port, Failure> {
    reactor.serve(here().tls(config), describe)
}

async fn describe(mut conn: Connection) -> Result<(), Failure> {
    // A peer that breaks the connection off is the peer's test.
    while let Ok(Some(line)) = conn.read_line(16 << 10).await {
        let Some(tls) = conn.transport().tls() else {
            break;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        let alpn = tls.alpn.unwrap_or_default();
        let said = format!(
            "{:?} {} alpn={} sni={} resumed={} certificates={} {line}\n",
            tls.version,
            tls.cipher_suite,
            String::from_utf8_lossy(&alpn),
            tls.server_name.unwrap_or_default(),
            tls.is_resumed,
            tls.peer_certificates.len(),
        );
        if conn.write_all(said.as_bytes()).await.is_err() || line == "bye" {
            break;
        }
    }
    Ok(())
}

/// Returns a command that is killed when it needs too long.
fn limited(program: &str) -> Command {
    Command::new("timeout").args(["-k", "1", "40", program])
}

/// Returns all that a program has written.
fn text(output: &Output) -> String {
    let [out, err] = [&output.out, &output.err].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

fn have_openssl() -> bool {
    need("openssl").is_some()
}

/// Returns an address that no other test uses.
fn free() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let listener = TcpListener::bind((Ipv4Addr::new(127, 64 + high % 64, low, count), 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Ends a program that would run on.
async fn end(child: Child) -> Result<(), Failure> {
    child.kill();
    child.status().await.map(drop)
}

/// Connects as soon as something listens.
async fn connect(reactor: &Reactor, to: &str) -> Result<Connection, Failure> {
    let mut tries = 0;
    loop {
        match reactor.connect_stream(to).await {
            Err(_) if tries < 1000 => reactor.sleep(support::MS * 10).await?,
            conn => return conn,
        }
        tries += 1;
    }
}

fn roots() -> Roots {
    authority().roots()
}
