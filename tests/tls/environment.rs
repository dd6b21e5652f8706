//! What the environment of the process says: authorities, and where secrets are written.
//!
//! The tests play a part in a separate process, as an environment belongs to a whole process.

use std::env;
use std::fs;
use std::process::Command;

use crate::certs::{Dir, authority, here, pair, to};
use torsade::tls::{ClientConfig, Roots, TlsError};
use torsade::{Failure, Reactor};

/// Runs `act` in a process with these variables: the test of this name calls this again there.
fn in_a_process(
    name: &str,
    variables: &[(&str, &str)],
    act: impl AsyncFnOnce(Reactor) -> Result<(), Failure>,
) {
    if env::var("TORSADE_TLS_PART").as_deref() == Ok(name) {
        return torsade::testing::run(act);
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&format!("environment::{name}"), "--exact", "--nocapture"]);
    command.env("TORSADE_TLS_PART", name);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_systems_authorities_are_accepted_by_default() {
    let dir = Dir::new();
    dir.write("ca.pem", &authority().pem());
    let key = authority().issue("localhost", |_| {});
    dir.write("server.pem", &key);
    let path = dir.path();
    let variables = [
        ("SSL_CERT_FILE", &*format!("{path}/ca.pem")),
        ("TORSADE_TLS_DIR", &*path),
    ];
    in_a_process(
        "the_systems_authorities_are_accepted_by_default",
        &variables,
        async |reactor| {
            let path = env::var("TORSADE_TLS_DIR").unwrap();
            let server = format!("tls:0:interface=127.0.0.1:privateKey={path}/server.pem");
            let port =
                reactor.serve(&*server, async |mut conn| Ok(conn.write_all(b"x").await?))?;
            let endpoint = to(&port).tls(ClientConfig::new().server_name("localhost"));
            let mut conn = reactor.connect_stream(endpoint).await?;
            conn.read_exact(&mut [0]).await?;
            drop(conn);
            port.stop().await
        },
    );
}

#[test]
fn a_system_without_authorities_is_an_error_that_says_so() {
    let dir = Dir::new();
    dir.write("none.pem", "");
    let file = format!("{}/none.pem", dir.path());
    let variables = [("SSL_CERT_FILE", &*file), ("SSL_CERT_DIR", "/nowhere")];
    in_a_process(
        "a_system_without_authorities_is_an_error_that_says_so",
        &variables,
        async |reactor| {
            let failure = Roots::platform().unwrap_err();
            assert!(matches!(
                failure.downcast_ref(),
                Some(TlsError::Config { .. })
            ));
            assert!(
                failure.to_string().contains("root certificates"),
                "{failure}"
            );
            let port = reactor.serve(here(), async |_conn| Ok(()))?;
            let endpoint = to(&port).tls(ClientConfig::new().server_name("localhost"));
            assert!(reactor.connect_stream(endpoint).await.is_err());
            port.stop().await
        },
    );
}

#[test]
fn secrets_are_written_where_the_environment_says_when_that_is_asked_for() {
    let dir = Dir::new();
    let file = format!("{}/keys", dir.path());
    let variables = [("SSLKEYLOGFILE", &*file)];
    in_a_process(
        "secrets_are_written_where_the_environment_says_when_that_is_asked_for",
        &variables,
        async |reactor| {
            let file = env::var("SSLKEYLOGFILE").unwrap();
            for (asked, count) in [((false, false), 0), ((true, false), 5), ((false, true), 5)] {
                let (server, client) = pair();
                let port = reactor
                    .serve(here().tls(server.log_keys(asked.0)), async |mut conn| {
                        Ok(conn.write_all(b"x").await?)
                    })?;
                let endpoint = to(&port).tls(client.log_keys(asked.1));
                let mut conn = reactor.connect_stream(endpoint).await?;
                conn.read_exact(&mut [0]).await?;
                drop(conn);
                port.stop().await?;
                let lines = fs::read_to_string(&file).unwrap_or_default();
                assert_eq!(lines.lines().count(), count, "{lines}");
                let _ = fs::remove_file(&file);
            }
            Ok(())
        },
    );
}
