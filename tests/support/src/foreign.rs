//! Foreign programs: their paths, or a note that they are missing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::program::{target_folder, which};

pub fn script(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    tests.join("interop").join(name)
}

/// A program, or a word that it is missing.
pub fn need(name: &str) -> Option<PathBuf> {
    let path = which(name);
    if path.is_none() {
        say(&format!("skipped: there is no {name}"));
    }
    path
}

pub fn have(name: &str) -> bool {
    need(name).is_some()
}

pub fn python() -> Option<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let named = need("python3")?;
    // The name may be that of a script that chooses a version, which takes longer than Python does.
    let found = FOUND.get_or_init(|| {
        let script = "import sys; print(sys.executable, end='')";
        let output = Command::new(&named).args(["-c", script]).output();
        let path = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let path = path.map(PathBuf::from).unwrap_or_default();
        if path.is_file() { path } else { named }
    });
    Some(found.clone())
}

/// A Python that knows Twisted: the system's, or one made for it.
pub fn twisted() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            // With its TLS, if it can be had.
            let whole = python_with("import twisted, OpenSSL, service_identity", "twisted[tls]");
            let python = whole.or_else(|| {
                python()
                    .filter(|python| succeeds(Command::new(python).args(["-c", "import twisted"])))
            });
            if python.is_none() {
                say("skipped: Twisted is not there, and cannot be installed");
            }
            python
        })
        .clone()
}

/// A Python that knows HTTPX, with its HTTP/2: the system's, or one made for it.
pub fn httpx() -> Option<PathBuf> {
    let python = python_with("import httpx, h2", "httpx[http2]");
    if python.is_none() {
        say("skipped: HTTPX is not there, and cannot be installed");
    }
    python
}

/// A Python in which an import succeeds: the system's, or one into which the package is installed.
fn python_with(import: &str, package: &str) -> Option<PathBuf> {
    let python = python()?;
    let check = ["-c", import];
    if succeeds(Command::new(&python).args(check)) {
        return Some(python);
    }
    let name = package.split('[').next().unwrap_or_default();
    let venv = target_folder().join(format!("{name}-venv"));
    let inner = venv.join("bin/python");
    let pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--retries",
        "0",
        "--timeout",
        "10",
        package,
    ];
    let is_there = succeeds(Command::new(&inner).args(check))
        || succeeds(Command::new(&python).args(["-m", "venv"]).arg(&venv))
            && succeeds(Command::new(&inner).args(pip));
    is_there.then_some(inner)
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
pub fn say(what: &str) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
