//! Volume, and half-close, with OpenSSL at the other end: Python's `ssl` (`tls_half_close.py`), and
//! `openssl s_server` with records of several sizes.
//!
//! `TORSADE_TLS_VOLUME` sets the number of bytes. Default: 3 MB.

use std::env;
use std::time::Instant;

use super::certs::here;
use super::{config, file, files, have_openssl, limited, roots};
use support::foreign::{python, say, script};
use torsade::net::ClientEndpoint;
use torsade::process::Command;
use torsade::tls::ClientConfig;
use torsade::{Reactor, testing};

fn volume() -> usize {
    let set = env::var("TORSADE_TLS_VOLUME");
    set.map_or(3_000_000, |text| text.parse().unwrap())
}

#[test]
fn what_python_sends_before_it_ends_its_direction_is_answered_as_a_whole() {
    let Some(python) = python().filter(|_| have_openssl()) else {
        return;
    };
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        // The echo goes on after the client's end.
        let port = reactor.serve(here().tls(config("ecdsa")), async |mut conn| {
            let mut buffer = vec![0; 50_000];
            loop {
                match conn.read(&mut buffer).await? {
                    0 => break,
                    count => conn.write_all(&buffer[..count]).await?,
                }
            }
            Ok(())
        })?;
        let number = port.local_addr().port().unwrap().to_string();
        let begin = Instant::now();
        let output = Command::new("timeout")
            .args(["300".as_ref(), python.as_os_str()])
            .arg(script("tls_half_close.py"))
            .args([number, file(&dir, "ca.pem"), volume().to_string()])
            .output(&reactor)
            .await?;
        assert_eq!(String::from_utf8_lossy(&output.out), "same\n", "{output:?}");
        say(&format!(
            "Python: {} bytes each way in {:.1?}",
            volume(),
            begin.elapsed()
        ));
        port.stop().await
    });
}

#[test]
fn a_file_from_openssl_comes_as_it_is_in_records_of_every_size() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let text: String = (0..volume() / 10).map(|n| format!("{n:09}\n")).collect();
        dir.write("file", &text);
        for version in ["-tls1_2", "-tls1_3"] {
            for (number, options) in [
                &[][..],
                &["-max_send_frag", "512"],
                &["-split_send_frag", "777", "-max_pipelines", "1"],
                &["-record_padding", "1000"],
                &["-max_send_frag", "4097", "-bugs"],
            ]
            .iter()
            .enumerate()
            {
                let address = super::free().to_string();
                let pem = file(&dir, "rsa.pem");
                // It serves one connection after another, and ends after the second.
                let child = limited("openssl")
                    .args(["s_server", "-accept", &address, "-cert", &pem, "-key", &pem])
                    .args(["-WWW", "-quiet", "-naccept", "2", version])
                    .args(options.iter().copied())
                    .current_dir(dir.path())
                    .spawn(&reactor)?;
                drop(super::connect(&reactor, &address).await?);
                let client = ClientConfig::new().roots(roots()).server_name("localhost");
                let endpoint = ClientEndpoint::parse(&address)?.tls(client);
                let begin = Instant::now();
                let mut conn = reactor.connect_stream(endpoint).await?;
                conn.write_all(b"GET /file HTTP/1.0\r\n\r\n").await?;
                let mut got = Vec::with_capacity(text.len() + 100);
                // OpenSSL closes without `close_notify` here.
                let _ = conn.read_to_end(&mut got).await;
                let head = got
                    .windows(4)
                    .position(|bytes| bytes == b"\r\n\r\n")
                    .unwrap();
                assert!(
                    got[head + 4..] == *text.as_bytes(),
                    "{options:?}: {}",
                    got.len()
                );
                if number == 0 || volume() > 10_000_000 {
                    let took = begin.elapsed();
                    say(&format!(
                        "OpenSSL {version} {options:?}: {} bytes in {took:.1?}",
                        text.len()
                    ));
                }
                drop(conn);
                super::end(child).await?;
            }
        }
        Ok(())
    });
}
