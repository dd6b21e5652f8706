//! Children that are the test's own program in a role: for tests that need their own standard input
//! and output.
//!
//! The test called `role` in the caller's file runs the role, when it finds its name in the
//! environment.

#[cfg(unix)]
use std::fs::File;
use std::io::Read;
use std::process::{self, Child, Command, Stdio};
use std::{env, thread};

#[cfg(unix)]
use rustix::pipe::{PipeFlags, pipe_with};
use torsade::{Failure, Reactor};

use crate::own;
use crate::program::PATIENCE;
#[cfg(unix)]
use crate::{Log, Spy};

/// The first output of a child, after the harness's own.
pub const READY: &str = "READY\n";

/// Plays the role that this process was given, if it was, and ends it. The parent compares what it
/// writes, to which a watchdog would add on a slow machine.
pub fn play(act: impl AsyncFnOnce(&Reactor, &str) -> Result<(), Failure>) {
    let Ok(name) = env::var("TORSADE_ROLE") else {
        return;
    };
    // A child that hangs is not waited for.
    thread::spawn(|| {
        thread::park_timeout(PATIENCE);
        process::exit(124);
    });
    let builder = Reactor::builder().watchdog(None);
    match builder.run(async |reactor| act(&reactor, &name).await) {
        Ok(()) => process::exit(0),
        Err(failure) => {
            eprintln!("{failure:#}");
            process::exit(3);
        }
    }
}

/// A protocol that begins by saying that it is ready.
#[cfg(unix)]
pub fn spy(log: &Log) -> Spy {
    Spy::new(log).on_made(|cx| cx.write(READY))
}

/// Echoes until the end.
#[cfg(unix)]
pub async fn echo(reactor: &Reactor) -> Result<(), Failure> {
    let handle = torsade::net::Stdio::new()
        .connect(reactor, spy(&Log::new()).on_data(|cx, data| cx.write(data)))?;
    let reason = handle.closed().await?;
    eprint!("{}", crate::how(&reason));
    Ok(())
}

/// This program in a role.
#[track_caller]
pub fn child(role: &str) -> Command {
    let words = words();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("TORSADE_ROLE", role);
    command.stderr(Stdio::piped());
    command
}

/// Returns the command that starts this program in a role.
#[track_caller]
pub fn words() -> [String; 5] {
    let [exact, path, no_capture, threads] = own::words("role");
    let exe = own::program().into_os_string().into_string().unwrap();
    [exe, exact, path, no_capture, threads]
}

/// Returns a child's output after it was ready.
#[track_caller]
pub fn after_ready(said: &[u8]) -> &[u8] {
    let at = said
        .windows(READY.len())
        .position(|part| part == READY.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(said)));
    &said[at + READY.len()..]
}

/// Reads until a child has written this.
#[track_caller]
pub fn await_text(from: &mut impl Read, text: &str) {
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(text.as_bytes()) {
        from.read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&said)));
        said.push(byte[0]);
    }
}

/// Waits for a child's end, and returns its standard error.
#[track_caller]
pub fn end(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {errors}", output.status);
    errors
}

/// A pipe: its end to read, and its end to write.
#[cfg(unix)]
pub fn pipe() -> (File, File) {
    let (input, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (input.into(), output.into())
}
