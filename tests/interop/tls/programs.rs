//! curl, stunnel and sslscan.

use super::certs::{Dir, here};
use super::{
    config, connect, describe, describing, end, file, files, free, have_openssl, limited, pem,
};
use super::{roots, text};
use support::HERE;
use support::foreign::need;
use torsade::net::ClientEndpoint;
use torsade::process::{Child, Command, Output};
use torsade::tls::{ClientAuth, ClientConfig};
use torsade::{Failure, Port, Reactor, testing};

/// A server of one page.
fn page(reactor: &Reactor, config: torsade::tls::ServerConfig) -> Result<Port, Failure> {
    reactor.serve(here().tls(config), async |mut conn| {
        while conn
            .read_line(16 << 10)
            .await?
            .is_some_and(|line| !line.is_empty())
        {}
        let tls = conn.transport().tls();
        let page = format!(
            "{:?}",
            tls.map(|tls| (tls.version, tls.peer_certificates.len()))
        );
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
        conn.write_all(format!("{head}{page}").as_bytes()).await?;
        Ok(())
    })
}

async fn curl(
    reactor: &Reactor,
    port: &Port,
    dir: &Dir,
    (host, args): (&str, &[&str]),
) -> Result<Output, Failure> {
    let port = port.local_addr().port().unwrap();
    let url = format!("https://{host}:{port}/");
    let command = limited("curl")
        .args(["-sS", "--cacert", &file(dir, "ca.pem")])
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(args);
    command.arg(url).output(reactor).await
}

#[test]
fn curl_gets_a_page_and_accepts_no_other_name_or_authority() {
    if !have_openssl() || need("curl").is_none() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let port = page(&reactor, config("rsa").alpn(["http/1.1", "http/1.0"]))?;
        for (args, said) in [
            (&["--http1.0"][..], "Some((Tls13, 0))"),
            (&["--http1.1"], "Some((Tls13, 0))"),
            (&["--tls-max", "1.2"], "Some((Tls12, 0))"),
            (&["--tlsv1.3"], "Some((Tls13, 0))"),
        ] {
            let output = curl(&reactor, &port, &dir, ("localhost", args)).await?;
            assert_eq!(
                String::from_utf8_lossy(&output.out),
                said,
                "{args:?} {output:?}"
            );
            assert!(output.status.success());
        }
        // 60: the server is not proved; 35: there is no handshake.
        let other = file(&dir, "other-ca.pem");
        for (host, args, code) in [
            ("shop.test", &[][..], 60),
            ("localhost", &["--cacert", &other], 60),
            (
                "localhost",
                &["--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"],
                35,
            ),
        ] {
            let output = curl(&reactor, &port, &dir, (host, args)).await?;
            assert_eq!(output.status.code(), Some(code), "{output:?}");
        }
        port.stop().await?;

        let port = page(
            &reactor,
            config("ecdsa").client_auth(ClientAuth::Required(roots())),
        )?;
        let pem = file(&dir, "rsa.pem");
        let args = ["--cert", &pem, "--key", &pem];
        let output = curl(&reactor, &port, &dir, ("localhost", &args)).await?;
        assert_eq!(
            String::from_utf8_lossy(&output.out),
            "Some((Tls13, 2))",
            "{output:?}"
        );
        let output = curl(&reactor, &port, &dir, ("localhost", &[])).await?;
        assert!(text(&output).contains("certificate required"), "{output:?}");
        port.stop().await
    });
}

/// Starts stunnel with a service.
fn stunnel(reactor: &Reactor, dir: &Dir, service: &str) -> Result<Child, Failure> {
    let path = file(dir, "stunnel.conf");
    let text = format!("foreground = yes\npid =\nsyslog = no\n[service]\n{service}\n");
    dir.write("stunnel.conf", &text);
    Command::new("stunnel4").arg(path).spawn(reactor)
}

#[test]
fn stunnel_is_a_client_of_our_server_and_a_server_of_our_client() {
    if !have_openssl() || need("stunnel4").is_none() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let (pem, ca) = (file(&dir, "rsa.pem"), file(&dir, "ca.pem"));
        let server = config("ecdsa").client_auth(ClientAuth::Required(roots()));
        let port = describing(&reactor, server)?;
        let (entry, target) = (free(), port.local_addr());
        let service = format!(
            "client = yes\naccept = {entry}\nconnect = {target}\nCAfile = {ca}\nverifyChain = yes\n\
             checkHost = localhost\ncert = {pem}\nkey = {pem}"
        );
        let client = stunnel(&reactor, &dir, &service)?;
        let mut conn = connect(&reactor, &entry.to_string()).await?;
        conn.write_all(b"hello\nbye\n").await?;
        let mut said = String::new();
        while let Some(line) = conn.read_line(500).await? {
            said += &String::from_utf8_lossy(&line);
        }
        assert!(
            said.contains("certificates=2 hello") && said.contains(" bye"),
            "{said}"
        );
        drop(conn);
        end(client).await?;
        port.stop().await?;

        // The other way round: the server behind stunnel knows nothing of TLS.
        let plain = reactor.serve(HERE, async |mut conn| {
            let mut got = vec![0; 300_000];
            conn.read_exact(&mut got).await?;
            conn.write_all(&got).await?;
            Ok(())
        })?;
        let (entry, target) = (free(), plain.local_addr());
        let service = format!(
            "accept = {entry}\nconnect = {target}\ncert = {pem}\nkey = {pem}\nCAfile = {ca}\n\
             verifyChain = yes"
        );
        let server = stunnel(&reactor, &dir, &service)?;
        drop(connect(&reactor, &entry.to_string()).await?);
        let identity = torsade::tls::Identity::from_pem(self::pem("p384"))?;
        let client = ClientConfig::new().roots(roots()).server_name("localhost");
        let endpoint = ClientEndpoint::parse(&entry.to_string())?.tls(client.identity(identity));
        let mut conn = reactor.connect_stream(endpoint).await?;
        let sent: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
        conn.transport().write(&sent);
        let mut got = vec![0; sent.len()];
        conn.read_exact(&mut got).await?;
        assert!(got == sent);
        assert_eq!(conn.read(&mut [0; 9]).await?, 0);
        drop(conn);
        end(server).await?;
        plain.stop().await
    });
}

#[test]
fn sslscan_finds_no_old_version_no_weak_suite_and_no_renegotiation_with_rsa() {
    scan("rsa");
}

#[test]
fn sslscan_finds_no_old_version_no_weak_suite_and_no_renegotiation_with_ecdsa() {
    scan("ecdsa");
}

fn scan(key: &str) {
    if !have_openssl() || need("sslscan").is_none() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let port = reactor.serve(here().tls(config(key)), describe)?;
        let address = port.local_addr().to_string();
        // It waits so many seconds for each suite after the server's answer. Where one is too short
        // for a slow machine, the scan is repeated with three, its default.
        let mut faults = check_scan(&reactor, &address, "1").await?;
        if faults.is_some() {
            faults = check_scan(&reactor, &address, "3").await?;
        }
        assert_eq!(faults, None);
        port.stop().await
    });
}

/// Returns what sslscan finds if that is not as it should be.
async fn check_scan(
    reactor: &Reactor,
    address: &str,
    seconds: &str,
) -> Result<Option<String>, Failure> {
    let command = limited("sslscan").args(["--xml=-", "--no-colour"]);
    let command = command.args([&format!("--timeout={seconds}"), address]);
    let said = text(&command.output(reactor).await?);
    let is_on = |kind: &str, version: &str| {
        said.contains(&format!("{kind}version=\"{version}\" enabled=\"1\""))
    };
    let ciphers = said.lines().filter(|line| line.contains("<cipher "));
    let is_fine = !["2", "3", "1.0", "1.1"].iter().any(|old| is_on("", old))
        && ["1.2", "1.3"].iter().all(|new| is_on("type=\"tls\" ", new))
        && !said.contains("vulnerable=\"1\"")
        && said.contains("renegotiation supported=\"0\"")
        && ciphers.count() == 6
        && !said.contains("CBC")
        && !said.contains("-SHA\"");
    Ok((!is_fine).then_some(said))
}
