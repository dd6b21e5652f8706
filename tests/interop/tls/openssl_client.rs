//! `openssl s_client` with our server.

use super::{
    KEYS, SUITES, config, describing, file, files, have_openssl, limited, pem, roots, text,
};
use torsade::process::{Command, Output};
use torsade::tls::{ClientAuth, Identities, Identity, ServerConfig};
use torsade::{Failure, Port, Reactor, testing};

use super::certs::{Dir, authority};

/// Returns a command that runs another one, with its errors in its output.
fn merged(command: &[&str]) -> Command {
    limited("sh")
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .args(command.iter().copied())
}

fn command(port: &Port, dir: &Dir, args: &[&str]) -> Command {
    let address = port.local_addr().to_string();
    merged(&[
        "openssl",
        "s_client",
        "-connect",
        &address,
        "-verify_return_error",
    ])
    .args(["-CAfile", &file(dir, "ca.pem")])
    .args(args.iter().copied())
}

/// Sends the line `bye`, and returns the output.
async fn bye(reactor: &Reactor, port: &Port, dir: &Dir, args: &[&str]) -> Result<Output, Failure> {
    let command = command(port, dir, &["-quiet"]).args(args);
    command.input("bye\n").output(reactor).await
}

#[test]
fn openssl_reaches_our_server_by_every_cipher_suite_and_kind_of_key() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let mut count = 0;
        for key in KEYS {
            let port = describing(&reactor, config(key))?;
            let works = |suite: &&super::Suite| match suite.key {
                None => true,
                Some(other) => (key == "rsa") == (other == "rsa"),
            };
            for suite in SUITES.iter().filter(works) {
                let (option, version) = suite.version();
                let args = [option, suite.option, suite.theirs];
                let output = bye(&reactor, &port, &dir, &args).await?;
                let expected = format!(
                    "{version:?} {} alpn= sni= resumed=false certificates=0 bye\n",
                    suite.ours
                );
                assert!(text(&output).contains(&expected), "{output:?}");
                assert!(output.status.success(), "{key}: {output:?}");
                count += 1;
            }
            port.stop().await?;
        }
        assert_eq!(count, 4 * 6);
        Ok(())
    });
}

#[test]
fn old_versions_and_weak_suites_of_openssl_are_refused() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let port = describing(&reactor, config("rsa"))?;
        let all = "ALL:@SECLEVEL=0";
        for (args, alert) in [
            (["-tls1_1", "-cipher", all], "alert handshake failure"),
            (["-tls1", "-cipher", all], "alert handshake failure"),
            (
                ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
                "alert handshake failure",
            ),
            (
                ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
                "alert handshake failure",
            ),
            (
                ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
                "alert handshake failure",
            ),
            (
                ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
                "alert handshake failure",
            ),
            (["-tls1_3", "-groups", "X448"], "alert handshake failure"),
        ] {
            let output = bye(&reactor, &port, &dir, &args).await?;
            assert!(text(&output).contains(alert), "{args:?}: {}", text(&output));
            assert!(!output.status.success());
        }
        let output = bye(&reactor, &port, &dir, &[]).await?;
        assert!(output.status.success(), "{output:?}");
        port.stop().await
    });
}

#[test]
fn openssl_gets_the_certificate_of_the_name_it_asks_for_and_agrees_on_a_protocol() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let identities = Identities::from(Identity::from_pem(pem("ecdsa"))?);
        identities.set("shop.test", authority().identity("shop.test"));
        let server = ServerConfig::new(identities).alpn(["torsade", "http/1.1"]);
        let port = describing(&reactor, server)?;
        for (name, protocols, agreed) in [
            ("localhost", "http/1.1", "http/1.1"),
            ("shop.test", "http/1.1,torsade", "torsade"),
        ] {
            let args = [
                "-servername",
                name,
                "-verify_hostname",
                name,
                "-alpn",
                protocols,
            ];
            let output = bye(&reactor, &port, &dir, &args).await?;
            let said = text(&output);
            assert!(
                said.contains(&format!(" alpn={agreed} sni={name} ")),
                "{said}"
            );
        }
        for (args, problem) in [
            (
                &["-servername", "shop.test", "-verify_hostname", "localhost"][..],
                "hostname mismatch",
            ),
            (&["-alpn", "other"], "no application protocol"),
            (
                &["-CAfile", &file(&dir, "other-ca.pem")],
                "unable to get local issuer",
            ),
        ] {
            let output = bye(&reactor, &port, &dir, args).await?;
            let said = text(&output).to_lowercase();
            assert!(said.contains(problem), "{args:?}: {said}");
            assert!(!output.status.success(), "{args:?}");
        }
        port.stop().await
    });
}

#[test]
fn openssl_proves_itself_with_a_certificate_where_one_is_asked_for() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa", "ecdsa"]);
        dir.write(
            "stranger.pem",
            &super::certs::Authority::new().issue("localhost", |_| {}),
        );
        let required = config("ecdsa").client_auth(ClientAuth::Required(roots()));
        let optional = config("ecdsa").client_auth(ClientAuth::Optional(roots()));
        for (server, may_be_absent) in [(required, false), (optional, true)] {
            let port = describing(&reactor, server)?;
            for version in ["-tls1_2", "-tls1_3"] {
                for key in ["rsa", "ecdsa"] {
                    let pem = file(&dir, &format!("{key}.pem"));
                    let args = [version, "-cert", &pem, "-key", &pem];
                    let output = bye(&reactor, &port, &dir, &args).await?;
                    let said = text(&output);
                    // It sends the authority's too.
                    assert!(said.contains(" certificates=2 bye"), "{said}");
                }
                let output = bye(&reactor, &port, &dir, &[version]).await?;
                let said = text(&output);
                assert_eq!(
                    said.contains(" certificates=0 bye"),
                    may_be_absent,
                    "{said}"
                );
                assert_eq!(said.contains("alert"), !may_be_absent, "{said}");
                let pem = file(&dir, "stranger.pem");
                let args = [version, "-cert", &pem, "-key", &pem];
                let output = bye(&reactor, &port, &dir, &args).await?;
                assert!(
                    text(&output).contains("alert unknown ca"),
                    "{}",
                    text(&output)
                );
            }
            port.stop().await?;
        }
        Ok(())
    });
}

#[test]
fn openssl_resumes_its_session() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let port = describing(&reactor, config("rsa"))?;
        let unresumed = describing(&reactor, config("rsa").tickets(false))?;
        for version in ["-tls1_2", "-tls1_3"] {
            let session = file(&dir, &format!("session{version}"));
            let args = [version, "-sess_out", &session];
            let output = bye(&reactor, &port, &dir, &args).await?;
            assert!(text(&output).contains("resumed=false"), "{}", text(&output));
            let args = [version, "-sess_in", &session];
            let output = bye(&reactor, &port, &dir, &args).await?;
            assert!(text(&output).contains("resumed=true"), "{}", text(&output));
            // Another server knows neither the ticket nor its key.
            let output = bye(&reactor, &unresumed, &dir, &args).await?;
            assert!(text(&output).contains("resumed=false"), "{}", text(&output));
        }
        port.stop().await?;
        unresumed.stop().await
    });
}

/// Sends lines to a client, each when the one before is answered; returns its output.
async fn converse(
    reactor: &Reactor,
    command: Command,
    steps: &[(&str, &str)],
) -> Result<String, Failure> {
    let mut child = command.spawn(reactor)?;
    let (mut input, mut output) = (child.take_stdin()?, child.take_stdout()?);
    let mut said = Vec::new();
    for (send, expected) in steps {
        // What fails is seen by what is not answered.
        let _ = input.write_all(send.as_bytes()).await;
        let start = said.len();
        let is_there = |said: &[u8]| String::from_utf8_lossy(&said[start..]).contains(expected);
        while !is_there(&said) {
            let mut buffer = [0; 4096];
            let count = output.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            said.extend_from_slice(&buffer[..count]);
        }
    }
    drop(input);
    output.read_to_end(&mut said).await?;
    child.status().await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn openssl_replaces_its_keys_and_ours() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let port = describing(&reactor, config("ecdsa"))?;
        let command = command(&port, &dir, &["-tls1_3"]);
        let mut steps = vec![("one\n", " one\n")];
        for _ in 0..20 {
            steps.extend([
                ("k\n", "KEYUPDATE"),
                ("two\n", " two\n"),
                ("K\n", "KEYUPDATE"),
                ("three\n", " three\n"),
            ]);
        }
        steps.push(("bye\n", " bye\n"));
        let said = converse(&reactor, command, &steps).await?;
        for (word, count) in [
            (" one\n", 1),
            (" two\n", 20),
            (" three\n", 20),
            (" bye\n", 1),
        ] {
            assert_eq!(said.matches(word).count(), count, "{said}");
        }
        port.stop().await
    });
}

#[test]
fn openssl_gets_no_renegotiation() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let port = describing(&reactor, config("ecdsa"))?;
        let command = command(&port, &dir, &["-tls1_2"]);
        let steps = [
            ("one\n", " one\n"),
            ("R\n", "RENEGOTIATING"),
            ("two\n", " two\n"),
        ];
        let said = converse(&reactor, command, &steps).await?;
        assert!(said.contains("no renegotiation"), "{said}");
        assert!(!said.contains(" two\n"), "{said}");
        let output = bye(&reactor, &port, &dir, &[]).await?;
        assert!(output.status.success(), "{output:?}");
        port.stop().await
    });
}
