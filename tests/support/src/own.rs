//! This test program itself, run again for one test of the caller's file: for tests that need a
//! process of their own.

use std::env;
use std::panic::Location;
use std::path::PathBuf;
use std::process::Command;

/// The path of a test that stands in the caller's file, as the harness has it: `module::test`.
#[track_caller]
pub fn path_of(test: &str) -> String {
    let file = Location::caller().file().trim_end_matches(".rs");
    // `tests`, the area, and the modules.
    let mut path: Vec<_> = file.split(['/', '\\']).skip(2).collect();
    path.retain(|name| *name != "main" && *name != "mod");
    path.push(test);
    path.join("::")
}

/// Arguments by which the harness runs only that test of the caller's file.
#[track_caller]
pub fn words(test: &str) -> [String; 4] {
    only(&path_of(test))
}

fn only(path: &str) -> [String; 4] {
    ["--exact", path, "--nocapture", "--test-threads=1"].map(String::from)
}

/// This program, to run nothing but that test of the caller's file.
#[track_caller]
pub fn command(test: &str) -> Command {
    let mut command = Command::new(program());
    command.args(words(test));
    command
}

pub fn program() -> PathBuf {
    env::current_exe().unwrap()
}

/// Runs what that test of the caller's file does, in a process where nothing else happens.
#[track_caller]
pub fn alone(test: &str, body: impl FnOnce()) {
    const ALONE: &str = "TORSADE_ALONE";
    let path = path_of(test);
    if env::var_os(ALONE).is_some_and(|asked| *asked == *path) {
        return body();
    }
    let mut command = Command::new(program());
    let output = command
        .args(only(&path))
        .env(ALONE, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{path}: {}\n{said}\n{errors}",
        output.status
    );
    assert!(said.contains("1 passed"), "{path} is no test:\n{said}");
}
