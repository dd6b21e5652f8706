//! TLS: how a server gets its certificate, how a client checks it, STARTTLS, and tests.
//!
//! The feature `tls` puts any stream connection in TLS, by the library *rustls*. A protocol or an
//! async handler is the same with and without TLS; only the endpoint differs.
//!
//! # A server
//!
//! ```no_run
//! use torsade::net::ServerEndpoint;
//! use torsade::tls::{Identity, ServerConfig};
//!
//! # fn main() -> Result<(), torsade::Failure> {
//! torsade::run(async |reactor| {
//!     let identity = Identity::from_pem_files("fullchain.pem", "privkey.pem")?;
//!     let endpoint = ServerEndpoint::parse("tcp:443")?.tls(ServerConfig::new(identity));
//!     let port = reactor.serve(endpoint, async |mut conn| {
//!         let tls = conn.transport().tls().expect("the handshake is finished");
//!         conn.write_all(format!("{:?}\n", tls.version).as_bytes()).await?;
//!         Ok(())
//!     })?;
//!     port.closed().await
//! })
//! # }
//! ```
//!
//! The same endpoint as text is `tls:443:privateKey=privkey.pem:certKey=fullchain.pem`. Behind a
//! proxy that sends the PROXY header, it is `haproxy:tls:443:…`. The endpoint
//! `tls:/etc/sites:port=443` serves many names from the files of a directory: `www.example.org.pem`
//! has the certificate for `www.example.org`, and `*.example.org.pem` the certificate for all other
//! names directly below `example.org`.
//!
//! The handler begins when the handshake is finished. No handler is called for a client whose
//! handshake fails, or takes longer than
//! [`handshake_timeout`](crate::tls::ServerConfig::handshake_timeout). Such failures are logged, at
//! most once a second for each port.
//!
//! A server that renews its certificates gives [`Identities`](crate::tls::Identities) to
//! `ServerConfig::new` and keeps a clone, by which it replaces a certificate while the port is
//! open. With [`choose`](crate::tls::ServerConfig::choose), an async function of the program
//! selects the configuration for each client, for example from a database.
//!
//! # A client
//!
//! ```no_run
//! # fn main() -> Result<(), torsade::Failure> {
//! torsade::run(async |reactor| {
//!     let mut conn = reactor.connect_stream("tls:www.example.org:443").await?;
//!     conn.write_all(b"GET / HTTP/1.0\r\nHost: www.example.org\r\n\r\n").await?;
//!     println!("{:?}", conn.read_line(8192).await?);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The connect succeeds when the server has a certificate for `www.example.org` that an authority
//! has issued which the system trusts. Otherwise it fails with a
//! [`TlsError`](crate::tls::TlsError), whose
//! [`CertificateProblem`](crate::tls::CertificateProblem) is the reason: expired, another name, an
//! unknown issuer. No setting turns the checks off. For a test server or a company's authority, add
//! the authority's certificate to [`Roots`](crate::tls::Roots);
//! [`pin`](crate::tls::ClientConfig::pin) requires a certain key in addition.
//!
//! For tests, this command makes a certificate for `localhost`, which is its own authority; it must
//! name the host, and not be that of an authority for others (`CA:FALSE`):
//!
//! ```sh
//! openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 \
//!     -subj /CN=localhost -addext subjectAltName=DNS:localhost \
//!     -addext basicConstraints=critical,CA:FALSE
//! ```
//!
//! # STARTTLS
//!
//! [`Connection::start_tls`](crate::Connection::start_tls), in async code, and
//! [`Transport::start_tls`](crate::Transport::start_tls), in a protocol, start TLS as a client on a
//! connection that is open; a server calls `start_tls_server`. The example
//! [`starttls`](crate::guide::examples#starttls) has both ends.
//!
//! If bytes have arrived that the program has not read before the handshake, the connection ends:
//! otherwise an attacker could insert commands into the encrypted stream (RFC 3207, section 6).
//! Bytes that were written before are sent first, without encryption. Bytes that are written later
//! wait until the handshake is finished.
//!
//! # The end
//!
//! [`lose_connection`](crate::Transport::lose_connection) sends the queued bytes and
//! `close_notify`, and waits for the peer's end for the time of
//! [`linger`](crate::net::ListenOptions::linger). If the peer's stream ends without `close_notify`,
//! bytes may be missing: the connection then ends with
//! [`TlsError::Truncated`](crate::tls::TlsError::Truncated), not with
//! [`ConnectionError::Done`](crate::ConnectionError::Done). In TLS 1.2, some peers close both
//! directions when one is closed, so their answer after a half-close may be lost.
//!
//! # Tests without a network
//!
//! TLS also runs on the in-memory reactor, in virtual time: a handshake that times out does not
//! make a test slow. The keys are random, so the encrypted bytes differ from run to run. Their
//! number varies only by a few bytes of a signature, and their timing does not vary.
//!
//! ```
//! use torsade::net::{ClientEndpoint, ServerEndpoint};
//! use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig, TlsError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()])?;
//! let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
//! let server = ServerConfig::new(identity);
//! let client = ClientConfig::new().roots(Roots::empty().pem(made.cert.pem())?);
//!
//! torsade::testing::run(async move |reactor| {
//!     let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(server);
//!     let port = reactor.serve(endpoint, async |mut conn| {
//!         conn.write_all(b"welcome\n").await?;
//!         Ok(())
//!     })?;
//!     let address = ClientEndpoint::new(port.local_addr());
//!     let shop = address.clone().tls(client.clone().server_name("shop.test"));
//!     let mut conn = reactor.connect_stream(shop).await?;
//!     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"welcome"[..]));
//!
//!     let other = address.tls(client.server_name("bank.test"));
//!     let failure = reactor.connect_stream(other).await.unwrap_err();
//!     assert!(matches!(failure.downcast_ref(), Some(TlsError::Certificate { .. })));
//!     drop(conn);
//!     port.stop().await
//! });
//! # Ok(())
//! # }
//! ```
