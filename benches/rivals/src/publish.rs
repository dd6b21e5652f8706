//! Writes what a run has measured to the places that show it: the chart, and the tables in the
//! README and in the guide.
//!
//! A table is the lines that begin with `|`, in the guide with `//! |`, after the line that names
//! it. The rows that a run has left out keep their figures there; the chart shows the rows of the
//! run.

use std::fs;
use std::process::Command;

use crate::contenders::Contender;
use crate::measure::Error;
use crate::rows::Row;
use crate::{Counts, Outcome, chart};

/// Writes the chart and all tables.
pub fn publish(results: &[Outcome], counts: &[Counts]) -> Result<(), Error> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let (readme, guide) = (
        format!("{root}/README.md"),
        format!("{root}/src/guide/figures.rs"),
    );
    // Of `late`, the time itself says more than the ratio.
    let ratios = results.iter().filter(|result| result.row.name != "late");
    let ratios: Vec<_> = ratios.map(ratios_of).collect();
    let counted: Vec<_> = counts.iter().map(counts_of).collect();
    replace(&readme, "<!-- CPU time -->", "", &ratios)?;
    replace(&guide, "//! # CPU time", "//! ", &ratios)?;
    replace(&guide, "//! # Instructions", "//! ", &counted)?;
    fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/chart.svg"),
        chart::svg(results),
    )?;
    println!("written: chart.svg, {readme}, {guide}");
    Ok(())
}

/// Describes the machine and the day of a run.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = info.lines().filter(|line| line.starts_with("model name"));
    let count = models.clone().count();
    let model = models.clone().next().and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = Command::new("date").arg("+%F").output();
    let date = date.map_or(Vec::new(), |output| output.stdout);
    format!(
        "{model}, {count} processors; Linux {}; {}",
        release.trim(),
        String::from_utf8_lossy(&date).trim()
    )
}

/// Returns a row of the table of times: ratios to tokio.
fn ratios_of(result: &Outcome) -> String {
    let ratio = |who| result.ratio(who).map(|ratio| format!("{ratio:.2}"));
    row(result.row, ratio, &[Contender::Smol, Contender::Raw])
}

/// Returns a row of the table of instructions.
fn counts_of(counts: &Counts) -> String {
    let count = |wanted| {
        let found = counts.each.iter().find(|(who, _)| *who == wanted);
        found.map(|(_, count)| grouped(*count))
    };
    let others = [Contender::Tokio, Contender::Smol, Contender::Raw];
    row(counts.row, count, &others)
}

/// Returns `| title | protocol / async, or ours | others .. |`.
fn row(row: &Row, figure: impl Fn(Contender) -> Option<String>, others: &[Contender]) -> String {
    let ours = match (figure(Contender::Protocol), figure(Contender::Async)) {
        (Some(protocol), Some(served)) => format!("{protocol} / {served}"),
        _ => figure(Contender::Ours).unwrap_or_default(),
    };
    let mut line = format!("| {} | {ours} |", row.title);
    for who in others {
        line += &figure(*who).map_or(" |".into(), |figure| format!(" {figure} |"));
    }
    line
}

/// Returns the number with commas between its thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Replaces the rows of the table after the line `title` in a file. A row that is there already is
/// found by its first cell.
fn replace(file: &str, title: &str, prefix: &str, rows: &[String]) -> Result<(), Error> {
    let text = fs::read_to_string(file)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let table = format!("{prefix}|");
    let after = lines.iter().position(|line| line == title);
    let after = after.ok_or_else(|| format!("{file} has no line {title}"))?;
    let first = lines[after..]
        .iter()
        .position(|line| line.starts_with(&table));
    let first = after + first.ok_or_else(|| format!("{file} has no table after {title}"))?;
    let end = lines[first..]
        .iter()
        .position(|line| !line.starts_with(&table));
    let mut end = end.map_or(lines.len(), |length| first + length);
    // A row that is new comes after the one before it.
    let mut last = end - 1;
    for row in rows {
        let name = row.split('|').nth(1).unwrap_or_default();
        let start = format!("{table}{name}|");
        let known = lines[first..end]
            .iter()
            .position(|line| line.starts_with(&start));
        last = known.map_or(last + 1, |at| first + at);
        match known {
            Some(_) => lines[last] = format!("{prefix}{row}"),
            None => {
                lines.insert(last, format!("{prefix}{row}"));
                end += 1;
            }
        }
    }
    Ok(fs::write(file, lines.join("\n") + "\n")?)
}
