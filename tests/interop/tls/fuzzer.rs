//! Scripts of tlsfuzzer, which speak TLS wrongly in many ways and know how a server has to answer.
//!
//! It is in no package: `TORSADE_TLSFUZZER` names a directory with its sources, and a Python that
//! has `tlslite-ng` is looked for. `TORSADE_TLSFUZZER_SCRIPTS` tries others than these, separated
//! by semicolons.

use std::env;
use std::path::Path;

use super::certs::here;
use super::{config, have_openssl};
use crate::support::foreign::{say, twisted};
use torsade::process::Command;
use torsade::{Reactor, testing};

/// Scripts and their options.
const SCRIPTS: &[&str] = &["tls13-conversation"];

#[test]
fn the_scripts_of_tlsfuzzer_find_no_fault() {
    let Some(root) = env::var_os("TORSADE_TLSFUZZER") else {
        return say("skipped: TORSADE_TLSFUZZER names no directory");
    };
    let Some(python) = twisted().filter(|_| have_openssl()) else {
        return;
    };
    let others = env::var("TORSADE_TLSFUZZER_SCRIPTS").unwrap_or_default();
    let words = |script: &'static str| script.split_whitespace().collect::<Vec<_>>();
    let scripts: Vec<Vec<&str>> = match others.is_empty() {
        true => SCRIPTS.iter().map(|script| words(script)).collect(),
        false => others.leak().split(';').map(words).collect(),
    };
    testing::run_on(Reactor::new().unwrap(), async move |reactor| {
        let port = reactor.serve(here().tls(config("rsa")), async |mut conn| {
            loop {
                match conn.read_line(64 << 10).await {
                    Ok(Some(line)) if !line.is_empty() => {}
                    Ok(Some(_)) => break,
                    _ => return Ok(()),
                }
            }
            let _ = conn.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\r\n").await;
            Ok(())
        })?;
        let number = port.local_addr().port().unwrap().to_string();
        let mut failed = Vec::new();
        for script in scripts {
            let (name, options) = (script[0], &script[1..]);

            let path = Path::new(&root).join(format!("scripts/test-{name}.py"));
            let command = Command::new("timeout")
                .args(["-k", "1", "300"])
                .arg(&python);
            let command = command.arg(path).args(["-h", "127.0.0.1", "-p", &number]);
            let command = command.args(options.iter().copied());
            let output = command.env("PYTHONPATH", &root).output(&reactor).await?;
            let out = String::from_utf8_lossy(&output.out).into_owned();
            let sums = out.lines().filter(|line| {
                ["TOTAL:", "PASS:", "FAIL:", "XFAIL:", "XPASS:"]
                    .iter()
                    .any(|word| line.starts_with(word))
            });
            let sums: Vec<&str> = sums.collect();
            say(&format!(
                "{name}: {:?} {}",
                output.status.code(),
                sums.join(" ")
            ));
            if !output.status.success() {
                failed.push((name, out, String::from_utf8_lossy(&output.err).into_owned()));
            }
        }
        for (name, out, err) in &failed {
            let lines: Vec<&str> = out.lines().rev().take(30).collect();
            say(&format!("{name}: {lines:#?} {err}"));
        }
        assert!(
            failed.is_empty(),
            "{:?}",
            failed.iter().map(|one| one.0).collect::<Vec<_>>()
        );
        port.stop().await
    });
}
