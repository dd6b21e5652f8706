//! Scripts of tlsfuzzer, which speak TLS wrongly in many ways and know how a server has to answer.
//!
//! It is in no package: `TORSADE_TLSFUZZER` names a directory with its sources, and a Python that
//! has `tlslite-ng` is looked for. `TORSADE_TLSFUZZER_SCRIPTS` tries others than these, separated
//! by semicolons.

use std::cell::RefCell;
use std::env;
use std::path::Path;
use std::rc::Rc;

use super::certs::here;
use super::{config, have_openssl, limited, text};
use support::foreign::{say, twisted};
use torsade::{Connection, Failure, Reactor, testing};

/// Scripts and their options. Others want another alert than the library sends, or parts of TLS
/// that it does not have: RSA key exchange, finite fields, CBC, client certificates of their own.
const SCRIPTS: &[&str] = &[
    "tls13-ccs",
    "tls13-conversation",
    "tls13-count-tickets",
    "tls13-hrr",
    "tls13-invalid-ciphers",
    "tls13-no-unknown-groups",
    "tls13-nociphers",
    "tls13-record-padding",
    "tls13-unencrypted-alert",
    "conversation -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "zero-length-data -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "fuzzed-ciphertext -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "early-application-data -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "hello-request-by-client -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "invalid-compression-methods -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "invalid-content-type -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "renegotiation-disabled -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "version-numbers -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];

#[test]
fn the_scripts_of_tlsfuzzer_find_no_fault() {
    let Ok(root) = env::var("TORSADE_TLSFUZZER") else {
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
    let failed: Rc<RefCell<Vec<String>>> = Rc::default();
    for words in scripts {
        // A test has a minute.
        let (failed, python, root) = (failed.clone(), python.clone(), root.clone());
        testing::run_on(Reactor::new().unwrap(), async move |reactor| {
            let port = reactor.serve(here().tls(config("rsa")), page)?;
            let path = Path::new(&root).join(format!("scripts/test-{}.py", words[0]));
            let output = limited("env")
                .arg("PYTHONPATH=".to_owned() + &root)
                .arg(&python)
                .arg(path)
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port.local_addr().port().unwrap().to_string(),
                ])
                .args(words[1..].iter().copied())
                .output(&reactor)
                .await?;
            let said = text(&output);
            let is_sum = |line: &&str| {
                ["TOTAL", "PASS", "FAIL"]
                    .iter()
                    .any(|word| line.starts_with(word))
            };
            let sums: Vec<&str> = said.lines().filter(is_sum).collect();
            say(&format!("{}: {}", words.join(" "), sums.join(" ")));
            if !output.status.success() {
                failed
                    .borrow_mut()
                    .push(format!("{}\n{said}", words.join(" ")));
            }
            port.stop().await
        });
    }
    let failed = failed.take();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Answers a request with a page.
async fn page(mut conn: Connection) -> Result<(), Failure> {
    loop {
        match conn.read_line(64 << 10).await {
            Ok(Some(line)) if !line.is_empty() => {}
            Ok(Some(_)) => break,
            // What the scripts do is no failure here.
            _ => return Ok(()),
        }
    }
    let _ = conn.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\r\n").await;
    Ok(())
}
