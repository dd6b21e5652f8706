//! TLS for all contenders: one certificate (ECDSA, P-256), one configuration, one client.
//!
//! All use rustls with *ring*, TLS 1.3 and the first cipher suite of both, `AES_256_GCM_SHA384`. No
//! session is resumed: each handshake is a full one. torsade's port sets `TCP_DEFER_ACCEPT`, as it
//! does by default; tokio's listener is as its documentation makes one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

/// A certificate for `localhost`, which is its own authority, and its key.
pub const PEM: &[u8] = include_bytes!("../localhost.pem");

/// The bytes that are sent at a time where much is sent.
pub const BLOCK: usize = 64 * 1024;

/// Returns a block. Each begins elsewhere in a page: how long a processor takes to copy bytes
/// depends on the distance between source and target modulo the size of a page, so that with one
/// source a contender would be as fast as its allocations are lucky.
pub fn block(number: usize) -> &'static [u8] {
    static BYTES: [u8; BLOCK + 4096] = [b'x'; BLOCK + 4096];
    &BYTES[number % 64 * 64..][..BLOCK]
}

pub type Error = Box<dyn std::error::Error>;

/// A client's connection, which blocks.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

#[allow(dead_code, reason = "without rivals it is not used")]
pub fn server() -> Result<Arc<ServerConfig>, Error> {
    let certificate = CertificateDer::from_pem_slice(PEM)?;
    let key = PrivateKeyDer::from_pem_slice(PEM)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

pub fn client() -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(PEM)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Connects; the handshake is done with the first bytes.
pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Result<Secured, Error> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let session = ClientConnection::new(config.clone(), name)?;
    Ok(StreamOwned::new(session, stream))
}

#[allow(dead_code, reason = "not every program that shares this module closes")]
/// Ends the stream in good order, and waits for the peer's end.
pub fn close(mut stream: Secured) -> Result<(), Error> {
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Asks for `count` blocks, and reads them.
#[allow(
    dead_code,
    reason = "not every program that shares this module reads much"
)]
pub fn receive(stream: &mut Secured, count: usize) -> io::Result<()> {
    stream.write_all(&(count as u64).to_le_bytes())?;
    let mut buf = vec![0; BLOCK];
    for _ in 0..count {
        stream.read_exact(&mut buf)?;
    }
    Ok(())
}

/// Sends `count` blocks, and waits until they have been read.
#[allow(
    dead_code,
    reason = "not every program that shares this module sends much"
)]
pub fn send(stream: &mut Secured, count: usize) -> io::Result<()> {
    stream.write_all(&(count as u64).to_le_bytes())?;
    for number in 0..count {
        stream.write_all(block(number))?;
    }
    stream.read_exact(&mut [0])
}
