//! A program that behaves differently on a terminal: `grep` colours its matches there.
//!
//! Run `cargo run --example pty`. Prints `through a pipe: a needle in hay\n` and `on a terminal: a
//! \x1b[01;31m\x1b[Kneedle\x1b[m\x1b[K in hay\r\n`.

use torsade::process::Command;
use torsade::{Connection, Failure, Reactor};

/// The text to search.
const HAY: &[u8] = b"some hay\na needle in hay\n";

async fn through_a_pipe(reactor: &Reactor, grep: Command) -> Result<Vec<u8>, Failure> {
    let mut child = grep.spawn(reactor)?;
    let mut stdin = child.take_stdin()?;
    stdin.write_all(HAY).await?;
    // Closing the pipe ends the input.
    drop(stdin);
    rest(child.take_stdout()?).await
}

async fn on_a_terminal(reactor: &Reactor, grep: Command) -> Result<Vec<u8>, Failure> {
    let mut child = grep.pty().spawn(reactor)?;
    let mut terminal = child.take_stdout()?;
    // A terminal echoes its input unless that is turned off.
    loop {
        match terminal.read_line(80).await? {
            Some(line) if line == b"ready" => break,
            Some(_) => {}
            None => return Err(Failure::new("it ended and was not ready")),
        }
    }
    terminal.write_all(HAY).await?;
    // Control-D ends the input of a terminal.
    terminal.write_all(b"\x04").await?;
    rest(terminal).await
}

async fn rest(mut from: Connection) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    from.read_to_end(&mut text).await?;
    Ok(text)
}

fn main() -> Result<(), Failure> {
    let command = Command::new("sh")
        .env("TERM", "xterm")
        .env_remove("GREP_COLORS");
    let grep = command
        .clone()
        .args(["-c", "exec grep --color=auto needle"]);
    let quiet = command.args([
        "-c",
        "stty -echo; echo ready; exec grep --color=auto needle",
    ]);
    torsade::run(async |reactor| {
        let found = through_a_pipe(&reactor, grep).await?;
        println!("through a pipe: {}", found.escape_ascii());
        let found = on_a_terminal(&reactor, quiet).await?;
        println!("on a terminal: {}", found.escape_ascii());
        Ok(())
    })
}
