//! A terminal: as standard input and output, in raw mode and in line mode, and restored.
//!
//! `tmux` and `socat` have the terminals; what runs in them is this very program, playing a `role`,
//! and an example.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use torsade::net::Terminal;

use support::HERE;
use support::folder::Folder;
use support::foreign::need;
use support::program::{Client, PATIENCE, Program, example_path};
use support::role::{self, READY, await_text};
use torsade::{Failure, Reactor, process};

/// Runs the child's role.
#[test]
fn role() {
    role::play(async |reactor, name| match name {
        "echo" => role::echo(reactor).await,
        "raw" => raw(reactor).await,
        "panic" => panics_in_raw_mode(reactor),
        "background" => in_the_background(reactor),
        other => panic!("no role is called {other}"),
    });
}

async fn raw(reactor: &Reactor) -> Result<(), Failure> {
    let terminal = Terminal::stdin(reactor)?;
    let (columns, rows) = terminal.window_size()?;
    let mut user = torsade::net::Stdio::new().open(reactor)?;
    terminal.raw()?;
    user.write_all(format!("{columns}x{rows} RAW\r\n").as_bytes())
        .await?;
    let mut key = [0];
    user.read_exact(&mut key).await?;
    terminal.line()?;
    user.write_all(format!("key {}\nLINE\n", key[0]).as_bytes())
        .await?;
    let line = user.read_line(80).await?.unwrap_or_default();
    terminal.raw()?;
    user.write_all(&[b"line ", &line[..], b"\r\n"].concat())
        .await?;
    user.flush().await?;
    // The end of the reactor restores a terminal that is never dropped.
    std::mem::forget(terminal);
    Ok(())
}

fn panics_in_raw_mode(reactor: &Reactor) -> Result<(), Failure> {
    let terminal = Terminal::stdin(reactor)?;
    terminal.raw()?;
    panic!("in raw mode");
}

/// Hands the terminal to the shell, and then leaves raw mode.
fn in_the_background(reactor: &Reactor) -> Result<(), Failure> {
    let terminal = Terminal::stdin(reactor)?;
    terminal.raw()?;
    let shell = rustix::process::getpgid(rustix::process::getppid()).unwrap();
    rustix::termios::tcsetpgrp(std::io::stdin(), shell).unwrap();
    for refused in [terminal.restore(), terminal.raw(), terminal.line()] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    }
    eprint!("left alone\r\n");
    Ok(())
}

#[test]
fn a_terminal_that_another_job_has_is_left_alone_and_the_program_is_not_stopped() {
    let script = format!(
        "set -m; TORSADE_ROLE=background {}; echo status $?",
        role::words().join(" ")
    );
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let shell = process::Command::new("sh").args(["-c", &*script]).pty();
        let output = shell.output(&reactor).await?;
        let said = String::from_utf8_lossy(&output.out).into_owned();
        assert!(said.contains("left alone"), "{said}");
        assert!(said.contains("status 0"), "{said}");
        Ok(())
    });
}

/// A terminal in which a shell runs.
struct Tmux {
    socket: String,
    folder: Folder,
}

impl Tmux {
    fn new() -> Option<Self> {
        need("tmux")?;
        let folder = Folder::create();
        let socket = folder.path("tmux").to_str().unwrap().to_owned();
        let this = Self { socket, folder };
        let size = ["-x", "100", "-y", "40"];
        let words = ["-f", "/dev/null", "new-session", "-d"];
        this.tmux(&[&words[..], &size[..], &["sh"]].concat());
        Some(this)
    }

    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        let output = command.args(["-S", &self.socket]).args(words).output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {words:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into()
    }

    /// Types.
    #[track_caller]
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Has the shell record the terminal's mode before and after a program.
    #[track_caller]
    fn start(&self, program: &str) {
        let [before, after] = ["before", "after"].map(|name| self.folder.path(name));
        let (before, after) = (before.display(), after.display());
        let line = format!(
            "clear; stty -a > {before}; {program}; stty -a > {after}.new; mv {after}.new {after}"
        );
        self.keys(&[&line, "Enter"]);
    }

    /// Waits until a line of the screen has this.
    #[track_caller]
    fn shows(&self, text: &str) {
        let late = std::time::Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if screen.lines().any(|line| line.contains(text)) {
                return;
            }
            assert!(std::time::Instant::now() < late, "no {text:?} in {screen}");
        }
    }

    /// Waits until the program is over, and compares the modes.
    #[track_caller]
    fn is_restored(&self) {
        let late = std::time::Instant::now() + PATIENCE;
        while !self.folder.path("after").exists() {
            assert!(std::time::Instant::now() < late, "it does not end");
            thread::yield_now();
        }
        let [before, after] =
            ["before", "after"].map(|name| fs::read_to_string(self.folder.path(name)).unwrap());
        assert!(before.contains(" icanon"), "{before}");
        assert_eq!(before, after);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-S", &self.socket, "kill-server"])
            .stderr(Stdio::null())
            .status();
    }
}

fn in_shell(role: &str) -> String {
    format!(
        "TORSADE_ROLE={role} {} 2>/dev/null",
        role::words().join(" ")
    )
}

#[test]
fn a_terminal_is_raw_or_gives_lines_and_is_restored() {
    let Some(tmux) = Tmux::new() else { return };
    tmux.start(&in_shell("raw"));
    tmux.shows("100x4");
    // In raw mode Ctrl-C is a key.
    tmux.keys(&["C-c"]);
    tmux.shows("key 3");
    tmux.shows("LINE");
    // In line mode a line can be corrected.
    tmux.keys(&["helpo", "BSpace", "BSpace", "lo", "Enter"]);
    tmux.shows("line hello");
    tmux.is_restored();
}

#[test]
fn a_panic_restores_the_terminal() {
    let Some(tmux) = Tmux::new() else { return };
    tmux.start(&in_shell("panic"));
    tmux.is_restored();
}

#[test]
fn a_terminal_echoes_lines_until_its_end_of_file() {
    let Some(tmux) = Tmux::new() else { return };
    tmux.start(&in_shell("echo"));
    tmux.shows("READY");
    tmux.keys(&["one", "Enter", "two", "Enter"]);
    tmux.shows("two");
    tmux.keys(&["C-d"]);
    tmux.is_restored();
}

#[test]
fn the_chat_is_left_by_its_server_while_the_user_types_nothing() {
    let Some(tmux) = Tmux::new() else { return };
    let server = Program::example("chat", &[HERE]);
    let address = server.address();
    let guest = example_path("stdio_chat");
    tmux.start(&format!("{} {address}", guest.display()));
    tmux.shows("What is your name?");
    tmux.keys(&["Ada", "Enter"]);
    tmux.shows("Welcome, Ada!");
    let mut ben = Client::new(&address);
    ben.say("Ben");
    tmux.shows("Ben has joined");
    tmux.keys(&["hello", "Enter"]);
    ben.hears("What is your name?");
    ben.hears("Welcome, Ben!");
    ben.hears("<Ada> hello");
    server.interrupt();
    tmux.shows("* the server has left");
    tmux.is_restored();
}

#[test]
fn a_terminal_of_socats_is_echoed_to() {
    let Some(socat) = need("socat") else { return };
    // A colon would end the words.
    let words = role::words().join(" ").replace(':', "\\:");
    let program = format!("EXEC:{words},pty,rawer,stderr");
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(socat)
        .args(["-t", "1", "STDIO"])
        .arg(program);
    command.env("TORSADE_ROLE", "echo").stderr(Stdio::null());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_text(&mut output, READY);
    input.write_all(b"hello\n").unwrap();
    await_text(&mut output, "hello\n");
    drop(input);
    assert!(child.wait().unwrap().success());
}
