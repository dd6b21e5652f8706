//! A peer that speaks TLS by the library itself, record by record, over a connection without TLS:
//! so it can do what our own end never does.

use std::io::Write;
use std::sync::Arc;

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use crate::certs::authority;
use torsade::{Connection, Failure};

pub(crate) struct Peer {
    pub(crate) conn: Connection,
    pub(crate) tls: rustls::Connection,
}

impl Peer {
    /// A server for `localhost`, after the handshake.
    pub(crate) async fn server(conn: Connection) -> Result<Self, Failure> {
        let mut peer = Self::server_before(conn)?;
        peer.shake().await?;
        Ok(peer)
    }

    /// The same, before the handshake.
    pub(crate) fn server_before(conn: Connection) -> Result<Self, Failure> {
        let tls = ServerConnection::new(server_config())?.into();
        Ok(Self { conn, tls })
    }

    /// A client, before the handshake.
    pub(crate) fn client(
        conn: Connection,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, Failure> {
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(client_config(versions), name)?.into();
        Ok(Self { conn, tls })
    }

    /// Finishes the handshake.
    pub(crate) async fn shake(&mut self) -> Result<(), Failure> {
        while self.tls.is_handshaking() {
            self.flush().await?;
            if self.tls.is_handshaking() && !self.receive().await? {
                Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
            }
        }
        self.flush().await
    }

    /// Sends what is to be sent.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        let records = self.take_records();
        Ok(self.conn.write_all(&records).await?)
    }

    /// Returns what is to be sent.
    pub(crate) fn take_records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Receives once; returns `false` at the end of the stream.
    pub(crate) async fn receive(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 4096];
        let count = self.conn.read(&mut buffer).await?;
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest)?;
            self.tls.process_new_packets()?;
        }
        Ok(count > 0)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.tls.writer().write_all(bytes)?;
        self.flush().await
    }

    /// Goes on without the library: returns the connection, and what makes records.
    pub(crate) fn into_records(self) -> (Connection, Records) {
        let suite = self.tls.negotiated_cipher_suite().unwrap();
        let suite = suite.tls13().unwrap();
        let secrets = match self.tls {
            rustls::Connection::Client(tls) => tls.dangerous_extract_secrets(),
            rustls::Connection::Server(tls) => tls.dangerous_extract_secrets(),
        };
        let (number, secrets) = secrets.unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            unreachable!("there are no others");
        };
        let encrypter = suite.aead_alg.encrypter(key, iv);
        (self.conn, Records { encrypter, number })
    }
}

/// Makes records of any content.
pub(crate) struct Records {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Records {
    pub(crate) fn make(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(content),
        };
        self.number += 1;
        let record = self.encrypter.encrypt(message, self.number - 1).unwrap();
        record.encode()
    }

    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.make(ContentType::ApplicationData, content)
    }
}

pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = authority().pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

pub(crate) fn server_config() -> Arc<ServerConfig> {
    let pem = authority().issue("localhost", |_| {});
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    config.enable_secret_extraction = true;
    Arc::new(config)
}
