//! `tokio-rustls` and `futures-rustls`: TLS over connections.

use std::rc::Rc;
use std::sync::Arc;

use futures_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use torsade::{Connection, Failure};

use crate::HERE;

/// The settings of a client that trusts a server's certificate, and the server's.
fn settings() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(futures_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok((Arc::new(client), Arc::new(server)))
}

fn bytes() -> Vec<u8> {
    (0..1_000_000_u32).map(|n| (n % 251) as u8).collect()
}

on_both! {
    async fn tokio_rustls_is_client_and_server_over_connections(reactor) {
        let (client, server) = settings()?;
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let port = reactor.serve(HERE, async move |conn| {
            let mut stream = acceptor.accept(conn).await?;
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await?;
            stream.write_all(&received).await?;
            Ok(stream.shutdown().await?)
        })?;
        let address = port.local_addr();
        let conn = reactor.connect_stream(&address).await?;
        let connector = tokio_rustls::TlsConnector::from(client);
        let mut stream = connector.connect(ServerName::try_from("localhost")?, conn).await?;
        let sent = bytes();
        stream.write_all(&sent).await?;
        stream.shutdown().await?;
        // As a connection of torsade's.
        let (reader, writer) = tokio::io::split(stream);
        let (reader, writer) = (reader.compat(), writer.compat_write());
        let mut conn = Connection::over(&reactor, address, reader, writer)?;
        let mut received = Vec::new();
        conn.read_to_end(&mut received).await?;
        assert!(received == sent);
        drop(conn);
        port.stop().await?;
    }

    async fn futures_rustls_is_client_and_server_and_a_connection_again(reactor) {
        use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (client, server) = settings()?;
        let acceptor = futures_rustls::TlsAcceptor::from(server);
        let own = Rc::new(reactor.clone());
        let port = reactor.serve(HERE, async move |conn| {
            let peer = conn.peer();
            let (reader, writer) = acceptor.accept(conn).await?.split();
            let mut conn = Connection::over(&own, peer, reader, writer)?;
            while let Some(line) = conn.read_line(80).await? {
                conn.send_line(line.to_ascii_uppercase()).await?;
            }
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let connector = futures_rustls::TlsConnector::from(client);
        let mut stream = connector.connect(ServerName::try_from("localhost")?, conn).await?;
        stream.write_all(b"hello\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"HELLO\r\n");
        stream.close().await?;
        drop(stream);
        port.stop().await?;
    }
}
