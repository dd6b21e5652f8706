//! Records without content, in TLS: of a peer that sends nothing else, and comes back whenever it
//! is refused, and of one that sends as many as the library takes in a row, for ever.

use std::sync::Arc;

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, StreamOwned,
};
use torsade::tls::{Identity, ServerConfig};

use super::*;

/// The time for which such records come.
fn lasts() -> Duration {
    Duration::from_millis(if is_full() { 5_000 } else { 100 })
}

/// Makes records of any content.
struct Records {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Records {
    fn push(&mut self, content: &[u8], to: &mut Vec<u8>) {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(content),
        };
        let record = self.encrypter.encrypt(message, self.number).unwrap();
        self.number += 1;
        to.extend(record.encode());
    }
}

/// Connects, and goes on without the library after the handshake.
fn connect(config: &Arc<ClientConfig>, to: SocketAddr) -> std::io::Result<(TcpStream, Records)> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let suite = stream.conn.negotiated_cipher_suite().unwrap();
    let secrets = stream.conn.dangerous_extract_secrets().unwrap();
    let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
        unreachable!("it is the first cipher suite of both");
    };
    let encrypter = suite.tls13().unwrap().aead_alg.encrypter(key, iv);
    Ok((stream.sock, Records { encrypter, number }))
}

/// Sends rounds of a number of records without content, and one of a byte if `goes_on`.
fn flood(to: SocketAddr, roots: &RootCertStore, empty: usize, goes_on: bool) -> Attack {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let (begun, mut attack) = (Instant::now(), Attack::default());
    while begun.elapsed() < lasts() {
        let (mut stream, mut records) = connect(&config, to).unwrap();
        attack.connections += 1;
        let mut result = Ok(());
        while result.is_ok() && begun.elapsed() < lasts() {
            let mut bytes = Vec::new();
            while bytes.len() < 4 << 10 {
                (0..empty).for_each(|_| records.push(b"", &mut bytes));
                if goes_on {
                    records.push(b"x", &mut bytes);
                }
            }
            result = stream.write_all(&bytes);
            if !goes_on && is_ended(&mut stream, Duration::from_millis(1)) {
                result = Err(ErrorKind::ConnectionReset.into());
            }
        }
        attack.refused += usize::from(result.is_err());
    }
    attack
}

fn endpoint() -> (ServerEndpoint, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let config = ServerConfig::new(Identity::from_pem(pem).unwrap()).tickets(false);
    let endpoint = ServerEndpoint::parse(HERE).unwrap().tls(config);
    (endpoint, roots)
}

/// Counts bytes.
struct Bytes(Rc<Cell<usize>>);

impl torsade::Protocol for Bytes {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0.set(self.0.get() + data.len());
    }
}

/// Attacks each face of a port in TLS.
fn each(what: &str, empty: usize, goes_on: bool) -> Vec<(Attack, usize)> {
    let (endpoint, roots) = endpoint();
    let protocol: Listen = Box::new({
        let endpoint = endpoint.clone();
        move |reactor, options, count| {
            let endpoint = endpoint.clone().options(options);
            reactor.listen(endpoint, move |_| Bytes(count.clone()))
        }
    });
    let stream: Listen = Box::new(move |reactor, options, count| {
        reactor.serve(endpoint.clone().options(options), async move |mut conn| {
            let mut buffer = [0; 4096];
            loop {
                match conn.read(&mut buffer).await? {
                    0 => return Ok(()),
                    read => count.set(count.get() + read),
                }
            }
        })
    });
    let faces = [("protocol", protocol), ("async", stream)];
    let attacks = faces.iter().map(|(face, listen)| {
        let roots = roots.clone();
        let attack = move |to: Vec<_>| flood(to[0], &roots, empty, goes_on);
        under_attack(&format!("TLS {face}: {what}"), &[listen], FLAT, attack)
    });
    attacks.collect()
}

#[test]
fn a_peer_that_sends_nothing_but_empty_records_is_refused_each_time() {
    for (attack, bytes) in each("empty records", 1, false) {
        // The last one may be cut off at the end of the time.
        assert!(attack.refused + 1 >= attack.connections && attack.connections > 1);
        assert_eq!(bytes, 0);
    }
}

#[test]
fn a_peer_that_sends_a_byte_now_and_then_among_empty_records_delays_no_other() {
    for (attack, bytes) in each("31 empty records and a byte", 31, true) {
        assert_eq!((attack.connections, attack.refused), (1, 0));
        assert!(bytes > 0);
    }
}
