//! Foreign programs: their paths, or a note that they are missing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::program::which;

pub(crate) fn script(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/interop").join(name)
}

/// A program, or a word that it is missing.
pub(crate) fn need(name: &str) -> Option<PathBuf> {
    let path = which(name);
    if path.is_none() {
        say(&format!("skipped: there is no {name}"));
    }
    path
}

pub(crate) fn have(name: &str) -> bool {
    need(name).is_some()
}

pub(crate) fn python() -> Option<PathBuf> {
    need("python3")
}

/// A Python that knows Twisted: the system's, or one made for it.
pub(crate) fn twisted() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let python = python()?;
        // With its TLS, if it can be had.
        let whole = ["-c", "import twisted, OpenSSL, service_identity"];
        if succeeds(Command::new(&python).args(whole)) {
            return Some(python);
        }
        let has_some = succeeds(Command::new(&python).args(["-c", "import twisted"]));
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let venv = tmp.with_file_name("twisted-venv");
        let inner = venv.join("bin/python");
        if succeeds(Command::new(&inner).args(whole)) {
            return Some(inner);
        }
        let pip = [
            "-m",
            "pip",
            "install",
            "-q",
            "--retries",
            "0",
            "--timeout",
            "10",
            "twisted[tls]",
        ];
        let made = succeeds(Command::new(&python).args(["-m", "venv"]).arg(&venv))
            && succeeds(Command::new(&inner).args(pip));
        match made {
            true => Some(inner),
            false => has_some.then_some(python),
        }
    });
    if found.is_none() {
        say("skipped: Twisted is not there, and cannot be installed");
    }
    found.clone()
}

/// Returns whether a program ends successfully within a minute.
fn succeeds(command: &mut Command) -> bool {
    let mut timed = Command::new("timeout");
    timed
        .arg("60")
        .arg(command.get_program())
        .args(command.get_args());
    timed
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    timed.status().is_ok_and(|status| status.success())
}

/// Says it past the harness, which would keep it to itself.
pub(crate) fn say(what: &str) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
