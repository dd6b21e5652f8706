//! The guard: instruction counts of torsade's hot paths, compared with the recorded ones in
//! `counts.txt`.
//!
//! A count that is more than [`MARGIN`] above the recorded one fails. A count that is as much below
//! has to be recorded too, so that the gain is kept: `guard --write` writes the file again, and the
//! commit says why. Counts are valid for one compiler: with another one the table is printed and
//! nothing fails. They are also valid for one profile, `guard`, and the guard refuses others.

use std::env;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::contenders::Contender;
use crate::measure::{self, Error};
use crate::rows::{ROWS, Row};

/// The rows that are counted. Each row takes the same steps in every run. With more connections the
/// turns of the loop depend on the machine, and so do the counts; of lines, many of which come at
/// once, by less than 1 %.
const GUARDED: [(&str, Contender); 9] = [
    ("echo-1", Contender::Protocol),
    ("echo-1", Contender::Async),
    ("lines", Contender::Protocol),
    ("yield", Contender::Ours),
    ("spawn", Contender::Ours),
    ("join", Contender::Ours),
    ("wake", Contender::Ours),
    ("queue", Contender::Ours),
    ("reset", Contender::Ours),
];

/// The allowed increase: 3 %.
const MARGIN: f64 = 1.03;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.txt");

/// Counts, and compares with the file or writes it.
pub fn guard(writes: bool) -> Result<(), Error> {
    if !env::current_exe()?
        .parent()
        .is_some_and(|folder| folder.ends_with("guard"))
    {
        return Err("the counts are those of `cargo run --profile guard`".into());
    }
    let compiler = compiler()?;
    let file = match writes {
        true => String::new(),
        false => fs::read_to_string(FILE)?,
    };
    let ptr_eq = file.lines().next() == Some(compiler.as_str());
    let mut text = format!("{compiler}\n");
    let mut grown = String::new();
    for (name, contender) in GUARDED {
        let count = measure::instructions(contender, row(name)?)?;
        let key = format!("{name} {}", contender.name());
        writeln!(text, "{key} {count:.0}")?;
        if writes {
            println!("{key:<20} {count:>8.0}");
            continue;
        }
        let known = known(&file, &key)?;
        println!(
            "{key:<20} {count:>8.0} {:>8.3} of {known:.0}",
            count / known
        );
        if count > known * MARGIN {
            write!(grown, " {key},")?;
        }
    }
    if writes {
        fs::write(FILE, text)?;
    } else if !ptr_eq {
        println!("counted with another compiler than {FILE} was: nothing is compared");
    } else if !grown.is_empty() {
        return Err(format!(
            "more than 3 % more instructions:{}",
            grown.trim_end_matches(',')
        )
        .into());
    }
    Ok(())
}

fn row(name: &str) -> Result<&'static Row, Error> {
    let found = ROWS.iter().find(|row| row.name == name);
    found.ok_or_else(|| format!("no row {name}").into())
}

/// Returns the recorded count.
fn known(file: &str, key: &str) -> Result<f64, Error> {
    let found = file.lines().find_map(|line| line.strip_prefix(key));
    let found = found.ok_or_else(|| format!("{FILE} has no {key}"))?;
    Ok(found.trim().parse()?)
}

/// Returns the compiler for which the counts are valid.
fn compiler() -> Result<String, Error> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
