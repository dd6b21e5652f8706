//! Decrypts a file with `gpg`, which reads the passphrase from one descriptor and writes its status
//! to another: so neither is mixed with the decrypted text, and the passphrase is not on the
//! command line of `gpg`, where other users could see it. (It is on ours: a program for daily use
//! would ask for it.)
//!
//! Run `cargo run --example gpg_decrypt FILE PASSPHRASE`. Prints the contents of the file, and to
//! standard error `gpg: ` with each keyword of the status. To create such a file: `gpg --symmetric
//! FILE`.

use std::io::{self, Write};

use torsade::Failure;
use torsade::process::{ChildFd, Command};

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [file, passphrase] = &words[..] else {
        return Err(Failure::new("usage: gpg_decrypt FILE PASSPHRASE"));
    };
    let command = Command::new("gpg")
        .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
        .args(["--passphrase-fd", "3", "--status-fd", "4", "--decrypt"])
        .args(["--", file])
        .child_fds([
            (0, ChildFd::Null),
            (1, ChildFd::Read),
            (2, ChildFd::Inherit),
            (3, ChildFd::Write),
            (4, ChildFd::Read),
        ]);
    torsade::run(async |reactor| {
        let mut gpg = command.spawn(&reactor)?;
        let mut secret = gpg.take_pipe(3)?;
        // If gpg has exited already, its exit status tells why.
        let _ = secret.write_all(passphrase.as_bytes()).await;
        let _ = secret.close().await;

        // Both pipes are read at once: reading one to its end first could wait forever.
        let mut status = gpg.take_pipe(4)?;
        let observed = reactor.spawn(async move {
            while let Some(line) = status.read_line(1000).await? {
                let line = String::from_utf8_lossy(&line).into_owned();
                if let Some(word) = line.split_whitespace().nth(1) {
                    eprintln!("gpg: {word}");
                }
            }
            Ok::<_, Failure>(())
        });
        let mut plain = Vec::new();
        gpg.take_stdout()?.read_to_end(&mut plain).await?;
        observed.await??;
        match gpg.status().await? {
            status if status.success() => Ok(io::stdout().write_all(&plain)?),
            status => Err(Failure::new(format!("gpg ended with {status}"))),
        }
    })
}
