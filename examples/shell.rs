//! Runs a command, and prints its output and its errors line by line, as they arrive.
//!
//! Run `cargo run --example shell [COMMAND]`. Prints `out: one`, `err: two`, `out: three`, and `it
//! ended with exit status: 4`.

use torsade::process::{ChildFd, Command};
use torsade::{Connection, Failure};

/// Prints each line with a name before it.
async fn stream(name: &str, mut pipe: Connection) -> Result<(), Failure> {
    while let Some(line) = pipe.read_line(64 * 1024).await? {
        println!("{name}: {}", String::from_utf8_lossy(&line));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let usual = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; exit 4";
    let script = std::env::args().nth(1).unwrap_or_else(|| usual.into());
    torsade::run(async |reactor| {
        let command = Command::new("sh")
            .args(["-c", &script])
            .child_fd(0, ChildFd::Null)
            .kill_on_drop(true);
        let mut child = command.spawn(&reactor)?;
        let (out, err) = (child.take_stdout()?, child.take_stderr()?);
        let out = reactor.spawn(stream("out", out));
        let err = reactor.spawn(stream("err", err));
        out.await??;
        err.await??;
        println!("it ended with {}", child.status().await?);
        Ok(())
    })
}
