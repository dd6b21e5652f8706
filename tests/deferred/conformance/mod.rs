//! Twisted's behaviour as tables of `(name, script, trace)`, each with one runner.

mod cancelling;
mod clock;
mod cooperator;
mod coroutines;
mod deferred;
mod failures;
#[cfg(unix)]
mod filesystem;
mod lists;
mod locks;
mod looping;
mod making;
mod running;
mod script;
mod timeouts;
mod unhandled;

/// Runs every row of a table with `play`, and compares the logs.
#[track_caller]
fn check(table: &[(&str, &str, &str)], play: impl Fn(&str) -> Vec<String>) {
    let mut wrong = Vec::new();
    for (name, script, trace) in table {
        let got = play(script).join(" ");
        if got != *trace {
            wrong.push(format!(
                "{name}\n  {script}\n  expected {trace}\n  got      {got}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut names: Vec<_> = table.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table.len(), "row names differ");
}

/// Splits a script at separators that are not inside braces.
fn split(script: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = script.split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == separator && depth == 0
    });
    parts.map(str::trim)
}
