//! What the targets run: the checks, compiled once.

mod checks;

/// Runs the check of this name, which panics if it fails.
pub fn check(name: &str, data: &[u8]) {
    let check = checks::ALL.iter().find(|(known, _)| *known == name);
    let (_, check) = check.expect("the checks have such a name");
    check(data);
}
