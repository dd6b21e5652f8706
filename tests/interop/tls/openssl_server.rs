//! Our client with `openssl s_server`.

use super::certs::{Dir, authority, here, tls_error, to};
use super::{KEYS, SUITES, end, file, files, have_openssl, limited, roots};
use torsade::net::ClientEndpoint;
use torsade::process::{Child, Command};
use torsade::tls::{CertificateProblem, ClientConfig, Identity, Roots, ServerConfig, TlsError};
use torsade::{Connection, Failure, Reactor, testing};

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    output: Connection,
    address: String,
}

impl Server {
    /// Starts a server with the certificate of a kind.
    async fn start(
        reactor: &Reactor,
        dir: &Dir,
        kind: &str,
        args: &[&str],
    ) -> Result<Self, Failure> {
        let pem = file(dir, &format!("{kind}.pem"));
        let command = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", &pem])
            .args(["-key", &pem])
            .args(args);
        let mut child = command.spawn(reactor)?;
        let mut output = child.take_stdout()?;
        let address = loop {
            let Some(line) = output.read_line(4096).await? else {
                let mut said = Vec::new();
                child.take_stderr()?.read_to_end(&mut said).await?;
                panic!("{kind} {args:?}: {}", String::from_utf8_lossy(&said));
            };
            if let Some(address) = String::from_utf8(line)?.strip_prefix("ACCEPT ") {
                break address.to_owned();
            }
        };
        let server = Self {
            child,
            output,
            address,
        };
        Ok(server)
    }

    async fn end(self) -> Result<(), Failure> {
        drop(self.output);
        end(self.child).await
    }

    async fn connect(
        &self,
        reactor: &Reactor,
        config: &ClientConfig,
    ) -> Result<Connection, Failure> {
        let endpoint = ClientEndpoint::parse(&self.address)?.tls(config.clone());
        reactor.connect_stream(endpoint).await
    }
}

fn client() -> ClientConfig {
    ClientConfig::new().roots(roots()).server_name("localhost")
}

/// Sends a line to a server that reverses it.
async fn reversed(conn: &mut Connection) -> Result<(), Failure> {
    conn.write_all(b"hello\n").await?;
    assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"olleh"[..]));
    Ok(())
}

#[test]
fn our_client_reaches_openssl_by_every_cipher_suite_and_kind_of_key() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&KEYS);
        let client = client();
        let mut count = 0;
        for key in KEYS {
            let works = |suite: &&super::Suite| match suite.key {
                None => true,
                Some(other) => (key == "rsa") == (other == "rsa"),
            };
            for suite in SUITES.iter().filter(works) {
                let (option, version) = suite.version();
                let args = ["-rev", option, suite.option, suite.theirs];
                let server = Server::start(&reactor, &dir, key, &args).await?;
                let mut conn = server.connect(&reactor, &client).await?;
                reversed(&mut conn).await?;
                let tls = conn.transport().tls().unwrap();
                assert_eq!((tls.version, &*tls.cipher_suite), (version, suite.ours));
                assert_eq!(tls.peer_certificates.len(), 1);
                // The server closes after a line of this text.
                conn.write_all(b"CLOSE\n").await?;
                let mut rest = Vec::new();
                conn.read_to_end(&mut rest).await?;
                assert_eq!(rest, b"");
                server.end().await?;
                count += 1;
            }
        }
        assert_eq!(count, 4 * 6);
        Ok(())
    });
}

#[test]
fn our_client_says_why_it_does_not_accept_a_server_of_openssl() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let server = Server::start(&reactor, &dir, "rsa", &["-rev"]).await?;
        let failure = server
            .connect(&reactor, &client().server_name("shop.test"))
            .await;
        let failure = failure.unwrap_err();
        let problem = match tls_error(&failure) {
            TlsError::Certificate { problem } => problem,
            other => panic!("{other}"),
        };
        assert!(
            matches!(problem, CertificateProblem::WrongName { .. }),
            "{problem:?}"
        );

        let stranger = super::certs::Authority::new().roots();
        let failure = server
            .connect(&reactor, &client().roots(stranger))
            .await
            .unwrap_err();
        let problem = CertificateProblem::UnknownIssuer;
        assert_eq!(*tls_error(&failure), TlsError::Certificate { problem });
        reversed(&mut server.connect(&reactor, &client()).await?).await?;
        server.end().await?;

        // Servers of old versions, of other suites, and of none.
        for args in [
            &["-rev", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
            &["-rev", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
            &["-rev", "-alpn", "other"],
        ] {
            let server = Server::start(&reactor, &dir, "rsa", args).await?;
            let failure = server.connect(&reactor, &client().alpn(["torsade"])).await;
            let failure = failure.unwrap_err();
            assert!(
                matches!(tls_error(&failure), TlsError::Alert { .. }),
                "{failure:#}"
            );
            server.end().await?;
        }
        Ok(())
    });
}

#[test]
fn our_client_agrees_on_a_protocol_and_proves_itself_to_openssl() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["ecdsa"]);
        let ca = file(&dir, "ca.pem");
        for version in ["-tls1_2", "-tls1_3"] {
            let args = [
                "-rev",
                version,
                "-alpn",
                "one,torsade",
                "-Verify",
                "2",
                "-CAfile",
                &ca,
            ];
            let args = [&args[..], &["-verify_return_error"]].concat();
            let server = Server::start(&reactor, &dir, "ecdsa", &args).await?;
            let client = client().alpn(["torsade", "one"]);
            for key in KEYS {
                let identity = Identity::from_pem(super::pem(key))?;
                let mut conn = server
                    .connect(&reactor, &client.clone().identity(identity))
                    .await?;
                let tls = conn.transport().tls().unwrap();
                assert_eq!(tls.alpn.as_deref(), Some(&b"one"[..]));
                reversed(&mut conn).await?;
            }
            // In TLS 1.3 the client is finished before the server can refuse it.
            let stranger = super::certs::Authority::new().identity("localhost");
            for client in [client.clone(), client.identity(stranger)] {
                let failure = match server.connect(&reactor, &client).await {
                    Ok(mut conn) => conn.read_line(80).await.unwrap_err().into(),
                    Err(failure) => failure,
                };
                assert!(matches!(tls_error(&failure), TlsError::Alert { .. }));
            }
            server.end().await?;
        }
        Ok(())
    });
}

#[test]
fn our_client_resumes_sessions_of_openssl() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        for args in [
            &["-tls1_2"][..],
            &["-num_tickets", "1"],
            &["-num_tickets", "2"],
        ] {
            let args = [&["-rev"], args].concat();
            let server = Server::start(&reactor, &dir, "rsa", &args).await?;
            let client = client();
            for round in 0..8 {
                let mut conn = server.connect(&reactor, &client).await?;
                reversed(&mut conn).await?;
                let tls = conn.transport().tls().unwrap();
                assert_eq!(tls.is_resumed, round > 0, "{args:?} {round}");
            }
            server.end().await?;
        }
        Ok(())
    });
}

/// Starts a server that takes commands, and connects; returns both and the server's input.
async fn commanded(
    reactor: &Reactor,
    dir: &Dir,
    version: &str,
) -> Result<(Server, Connection, Connection), Failure> {
    let args = [version, "-cipher", "DEFAULT"];
    let mut server = Server::start(reactor, dir, "ecdsa", &args).await?;
    let input = server.child.take_stdin()?;
    let conn = server.connect(reactor, &client()).await?;
    Ok((server, input, conn))
}

#[cfg(target_os = "linux")]
#[test]
fn openssl_as_a_server_replaces_its_keys_and_ours() {
    use rustix::io::ioctl_fionread;
    use std::fs::File;

    use support::until;

    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["ecdsa"]);
        let (server, mut input, mut conn) = commanded(&reactor, &dir, "-tls1_3").await?;
        let commands = format!("/proc/{}/fd/0", server.child.pid().unwrap());
        for _ in 0..20 {
            for command in ["k\n", "hello\n", "K\n", "hello\n"] {
                input.write_all(command.as_bytes()).await?;
                if command == "hello\n" {
                    assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
                    conn.write_all(b"heard\n").await?;
                } else {
                    // What it reads at once is one command.
                    input.flush().await?;
                    let unread = File::open(&commands)?;
                    until(|| ioctl_fionread(&unread).unwrap() == 0).await;
                }
            }
        }
        // It ends without `close_notify`.
        input.write_all(b"Q\n").await?;
        assert!(conn.read_line(80).await.is_err());
        server.end().await?;
        Ok(())
    });
}

#[test]
fn a_server_of_openssl_gets_no_renegotiation() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["ecdsa"]);
        let (server, mut input, mut conn) = commanded(&reactor, &dir, "-tls1_2").await?;
        input.write_all(b"r\n").await?;
        // OpenSSL does not accept the refusal.
        let failure: Failure = conn.read(&mut [0; 80]).await.unwrap_err().into();
        assert!(
            matches!(tls_error(&failure), TlsError::Alert { .. }),
            "{failure:#}"
        );
        server.end().await
    });
}

#[test]
fn bytes_without_encryption_from_a_server_of_openssl_end_the_connection() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["ecdsa"]);
        for version in ["-tls1_2", "-tls1_3"] {
            let (server, mut input, mut conn) = commanded(&reactor, &dir, version).await?;
            input.write_all(b"P\n").await?;
            let failure: Failure = conn.read(&mut [0; 80]).await.unwrap_err().into();
            assert!(
                matches!(tls_error(&failure), TlsError::Violation { .. }),
                "{failure:#}"
            );
            server.end().await?;
        }
        Ok(())
    });
}

#[test]
fn a_server_of_openssl_is_known_by_its_pinned_key() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let pem = authority().issue("localhost", |_| {});
        dir.write("own.pem", &pem);
        let server = Server::start(&reactor, &dir, "own", &["-rev"]).await?;
        let mut conn = server.connect(&reactor, &client()).await?;
        reversed(&mut conn).await?;
        drop(conn);
        // The pin as other programs compute it.
        let script = "openssl x509 -noout -pubkey -in \"$0\" | openssl pkey -pubin -outform der | \
                      openssl dgst -sha256 -binary";
        let command = limited("sh").args(["-c", script, &file(&dir, "own.pem")]);
        let pin: [u8; 32] = command.output(&reactor).await?.out[..].try_into()?;
        let mut conn = server.connect(&reactor, &client().pin(pin)).await?;
        reversed(&mut conn).await?;
        drop(conn);
        let failure = server
            .connect(&reactor, &client().pin([0; 32]))
            .await
            .unwrap_err();
        let problem = CertificateProblem::NotPinned;
        assert_eq!(*tls_error(&failure), TlsError::Certificate { problem });
        server.end().await
    });
}

#[test]
fn the_command_in_the_guide_makes_a_certificate_that_is_accepted() {
    if !have_openssl() {
        return;
    }
    let guide = include_str!("../../../src/guide/tls.rs");
    let lines = guide
        .lines()
        .skip_while(|line| !line.contains("openssl req"));
    let script: String = lines
        .take_while(|line| !line.contains("```"))
        .map(|line| format!("{}\n", line.trim_start_matches("//!")))
        .collect();
    testing::run_on(Reactor::new().unwrap(), async move |reactor| {
        let dir = Dir::new();
        let command = limited("sh").args(["-c", &script]).current_dir(dir.path());
        command.output(&reactor).await?.success()?;
        let [pem, key] = ["cert.pem", "key.pem"].map(|name| file(&dir, name));
        let server = ServerConfig::new(Identity::from_pem_files(&pem, &key)?);
        let port = reactor.serve(here().tls(server), async |mut conn| {
            conn.write_all(b"here").await?;
            Ok(())
        })?;
        let roots = Roots::empty().pem(std::fs::read_to_string(pem)?)?;
        let config = ClientConfig::new().roots(roots).server_name("localhost");
        let mut conn = reactor.connect_stream(to(&port).tls(config)).await?;
        assert_eq!(conn.read_line(10).await?.unwrap(), b"here");
        drop(conn);
        port.stop().await
    });
}
