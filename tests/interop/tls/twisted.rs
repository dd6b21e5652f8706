//! Twisted (`twisted_tls.py`): endpoints in TLS, and TLS that begins later, both ways.

use std::io::ErrorKind;

use super::certs::Dir;
use super::{end, file, files, have_openssl, roots};
use support::foreign::{say, script, twisted};
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::process::{Child, Command};
use torsade::tls::{ClientAuth, ClientConfig, Identity, ServerConfig};
use torsade::{Connection, Failure, Port, Reactor, testing};

/// A Python whose Twisted has TLS.
fn python() -> Option<String> {
    let python = twisted()?;
    let script = "import OpenSSL, service_identity";
    let has = std::process::Command::new(&python)
        .args(["-c", script])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        say("skipped: Twisted has neither pyOpenSSL nor service-identity");
        return None;
    }
    Some(python.display().to_string())
}

fn start(
    reactor: &Reactor,
    python: &str,
    dir: &Dir,
    args: [&str; 2],
    port: Option<u16>,
) -> Result<(Child, Connection), Failure> {
    let script = script("twisted_tls.py").display().to_string();
    let command = Command::new(python).arg(script).args(args).arg(dir.path());
    let command = command.args(port.map(|port| port.to_string()));
    let mut child = command.spawn(reactor)?;
    let out = child.take_stdout()?;
    Ok((child, out))
}

async fn line(out: &mut Connection) -> Result<String, Failure> {
    let line = out.read_line(20_000).await?;
    Ok(String::from_utf8(line.unwrap_or_default())?)
}

/// A server that echoes lines, and starts TLS after the line `start`.
fn serve(reactor: &Reactor, dir: &Dir, how: &str) -> Result<Port, Failure> {
    let pem = file(dir, "rsa.pem");
    let config = ServerConfig::new(Identity::from_pem_files(&pem, &pem)?)
        .client_auth(ClientAuth::Required(roots()));
    let text = "tcp:0:interface=127.0.0.1";
    let endpoint = ServerEndpoint::parse(text)?;
    let endpoint = match how {
        "tls" => endpoint.tls(config.clone()),
        _ => endpoint,
    };
    reactor.serve(endpoint, async move |mut conn| {
        while let Some(line) = conn.read_line(20_000).await? {
            if line == b"start" {
                conn.write_all(b"ready\r\n").await?;
                conn.start_tls_server(&config).await?;
                continue;
            }
            let tls = conn.transport().tls().expect("it has begun");
            assert!(!tls.peer_certificates.is_empty());
            conn.write_all(&[&line[..], b"\r\n"].concat()).await?;
        }
        Ok(())
    })
}

#[test]
fn twisted_is_a_client_of_our_server() {
    let Some(python) = python().filter(|_| have_openssl()) else {
        return;
    };
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        for how in ["tls", "plain"] {
            let port = serve(&reactor, &dir, how)?;
            let number = port.local_addr().port();
            let (child, mut out) = start(&reactor, &python, &dir, ["talk", how], number)?;
            if how == "plain" {
                assert_eq!(line(&mut out).await?, "hear ready");
            }
            assert_eq!(line(&mut out).await?, "hear hello");
            assert_eq!(
                line(&mut out).await?,
                format!("hear {}", "x".repeat(10_000))
            );
            assert_eq!(line(&mut out).await?, "lost ConnectionDone");
            assert!(child.status().await?.success());
            port.stop().await?;
        }
        Ok(())
    });
}

#[test]
fn twisted_is_a_server_of_our_client() {
    let Some(python) = python().filter(|_| have_openssl()) else {
        return;
    };
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let client = ClientConfig::new().roots(roots()).server_name("localhost");
        let client = client.identity(Identity::from_pem(super::pem("ecdsa"))?);
        for begin in ["tls", "plain"] {
            let (child, mut out) = start(&reactor, &python, &dir, ["serve", begin], None)?;
            let address = line(&mut out).await?;
            let address = address.strip_prefix("listening on ").unwrap().to_owned();
            for end in ["lose", "abort", "close"] {
                let endpoint = ClientEndpoint::parse(&address)?;
                let mut conn = match begin {
                    "tls" => reactor.connect_stream(endpoint.tls(client.clone())).await?,
                    _ => {
                        let mut conn = reactor.connect_stream(endpoint).await?;
                        conn.write_all(b"start\r\n").await?;
                        assert_eq!(line(&mut conn).await?, "ready");
                        conn.start_tls(&client).await?;
                        conn
                    }
                };
                conn.write_all(b"hello\r\n").await?;
                assert_eq!(line(&mut conn).await?, "hello");
                conn.write_all(format!("{end}\r\n").as_bytes()).await?;
                match end {
                    "lose" => {
                        assert_eq!(line(&mut conn).await?, "last words");
                        assert_eq!(conn.read(&mut [0; 9]).await?, 0);
                    }
                    "abort" => {
                        let error = conn.read(&mut [0; 9]).await.unwrap_err();
                        // Twisted resets the connection, or just closes it.
                        let kinds = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
                        assert!(kinds.contains(&error.kind()), "{error}");
                    }
                    _ => assert_eq!(line(&mut conn).await?, "close"),
                }
                drop(conn);
                let lost = line(&mut out).await?;
                assert!(lost.starts_with("lost Connection"), "{lost}");
            }
            drop(out);
            end(child).await?;
        }
        Ok(())
    });
}
