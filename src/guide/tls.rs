//! TLS: how a server gets its certificate, how a client checks it, STARTTLS, and tests.
//!
//! The feature `tls` puts any stream connection in TLS, by the library *rustls*. A protocol or an
//! async handler stays as it is: its endpoint says that there is TLS.
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
//! The same as text: `tls:443:privateKey=privkey.pem:certKey=fullchain.pem`. A directory serves
//! many names, `tls:/etc/sites:port=443`: the file `www.example.org.pem` is for `www.example.org`,
//! and `*.example.org.pem` for its neighbours. Behind a proxy that sends the PROXY header,
//! `haproxy:tls:443:…`.
//!
//! The handler begins when the handshake is finished. A client that fails, or needs longer than
//! [`handshake_timeout`](crate::tls::ServerConfig::handshake_timeout), costs one log line a second
//! for each port at most, and reaches no handler.
//!
//! When a certificate was renewed, [`Identities`](crate::tls::Identities) replaces it: connections
//! that are open go on. [`choose`](crate::tls::ServerConfig::choose) asks the program for each
//! client, and may wait for a database.
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
//! The connect succeeds when the server has proved that it is `www.example.org` to an authority
//! that the system accepts. Otherwise it fails with a [`TlsError`](crate::tls::TlsError), whose
//! [`CertificateProblem`](crate::tls::CertificateProblem) says why: expired, another name, an
//! unknown issuer. There is no switch that accepts everything: give the authority of a test server
//! or of one's own company to [`Roots`](crate::tls::Roots), or
//! [`pin`](crate::tls::ClientConfig::pin) a key.
//!
//! # STARTTLS
//!
//! [`Connection::start_tls`](crate::Connection::start_tls) and
//! [`Transport::start_tls`](crate::Transport::start_tls) begin TLS on a connection that is open;
//! the example `starttls` is a server and a client of it. Bytes that came before the handshake and
//! were not used end the connection: nobody can put commands into the encrypted stream from outside
//! (RFC 3207, section 6). What was written before is sent first, in the clear; what is written
//! later waits until the peer has proved itself.
//!
//! # The end
//!
//! [`lose_connection`](crate::Transport::lose_connection) sends everything, then `close_notify`,
//! and gives the peer the time of [`linger`](crate::net::ListenOptions::linger) to answer. A peer
//! whose stream ends without `close_notify` has perhaps been cut off: the reason is then
//! [`TlsError::Truncated`](crate::tls::TlsError::Truncated), not
//! [`ConnectionError::Done`](crate::ConnectionError::Done). In TLS 1.2 some peers close both
//! directions when one is closed, so a half-close may lose their answer there.
//!
//! # Tests without a network
//!
//! TLS runs on the in-memory reactor, under virtual time: an hour of handshakes that time out takes
//! no time. The keys are random, so the bytes below TLS differ from run to run; their number and
//! time do not, but for a few bytes of a signature.
//!
//! ```
//! use torsade::net::{ClientEndpoint, ServerEndpoint};
//! use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig, TlsError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()])?;
//! let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
//! let server = ServerConfig::new(identity);
//! let client = ClientConfig::new().roots(Roots::none().pem(made.cert.pem())?);
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
