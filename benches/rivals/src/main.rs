//! Runs the same work on torsade and on its rivals, in turn, and prints the ratios.
//!
//! Run it in `benches/rivals`:
//!
//! | command | prints |
//! |---|---|
//! | `cargo run --release` | every row: CPU time per operation, and its ratio to tokio's |
//! | `cargo run --release -- echo-64 yield` | these rows only |
//! | `cargo run --release -- --chart FILE` | the same as a table, and an SVG chart in `FILE` |
//! | `cargo run --release -- publish [ROW..]` | the same and the instructions; writes `chart.svg`, and the tables in the README and in the guide |
//! | `cargo run --release -- instructions [ROW..]` | user instructions per operation, counted by callgrind |
//! | `cargo run --release -- http [ROW..]` | the CPU time of HTTP requests beside hyper on tokio, by `wrk` and `h2load`; after `http instructions` those of callgrind |
//! | `cargo run --release -- http http-get` | the same of a client, beside hyper-util's |
//! | `cargo run --profile guard --no-default-features -- guard` | torsade's counts beside those in `counts.txt`; fails where one has grown by more than 3 % |
//! | the same, with `--write` | writes `counts.txt` |
//! | `cargo bench --bench idle_tls` | the memory of idle connections in TLS, beside tokio-rustls |
//!
//! **Measured**: the time that the thread with the event loop spends on a processor, for one
//! operation: the median of all turns in [`ROUNDS`] rounds, in which the contenders take turns. A
//! ratio is the median of the ratios within each turn. A server and its clients are two processes,
//! pinned to different processors where there are two, and to one where one side only sends. **Left
//! out**: the start and the end of each runtime, and the time that the clients take. The kernel's
//! work is most of an echo, and the same for all.

mod chart;
mod client;
mod contenders;
mod guard;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_client;
mod measure;
mod publish;
mod rows;
#[cfg(feature = "tls")]
mod tls;

use std::process::ExitCode;

use self::contenders::Contender;
use self::measure::{Error, Sample};
use self::rows::{ROWS, Row, Unit, Work};

/// How often each contender runs each row; the median counts.
const ROUNDS: usize = 5;

/// How often that is in TLS, where a server is some percent faster or slower for as long as it
/// lives: its memory lies otherwise each time.
const ROUNDS_IN_TLS: usize = 15;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        // This program starts itself with the next two.
        ["serve", contender, row] => find(contender, row).and_then(|(c, row)| c.serve(row.work)),
        ["run", contender, row, count] => find(contender, row).and_then(|(contender, row)| {
            let count = count.parse().map_err(|_| format!("not a count: {count}"))?;
            println!("{}", contender.run(row.work, count)?);
            Ok(())
        }),
        #[cfg(feature = "http")]
        ["serve-http", who] => http::serve(who),
        #[cfg(feature = "http")]
        ["get-http", who, port, count] => http_client::get(who, port, count),
        #[cfg(feature = "http")]
        ["http", http_client::NAME] => http_client::compare(false),
        #[cfg(feature = "http")]
        ["http", "instructions", http_client::NAME] => http_client::compare(true),
        #[cfg(feature = "http")]
        ["http", "instructions", ref names @ ..] => http::compare(names, true),
        #[cfg(feature = "http")]
        ["http", ref names @ ..] => http::compare(names, false),
        ["instructions", ref names @ ..] => {
            chosen(names).and_then(|rows| instructions(&rows)).map(drop)
        }
        ["publish", ref names @ ..] => chosen(names).and_then(|rows| {
            let results = compare(&rows)?;
            publish::publish(&results, &instructions(&rows)?)
        }),
        ["guard"] => guard::guard(false),
        ["guard", "--write"] => guard::guard(true),
        ["--chart", file, ref names @ ..] => {
            let results = chosen(names).and_then(|rows| compare(&rows));
            results.and_then(|results| Ok(std::fs::write(file, chart::svg(&results))?))
        }
        ref names => chosen(names).and_then(|rows| compare(&rows)).map(drop),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {error}");
            ExitCode::FAILURE
        }
    }
}

fn find(contender: &str, row: &str) -> Result<(Contender, &'static Row), Error> {
    let found = Contender::named(contender).ok_or_else(|| format!("no contender {contender}"))?;
    let row = ROWS.iter().find(|known| known.name == row);
    Ok((found, row.ok_or("no such row")?))
}

/// Returns the rows of these names; all rows when there are none.
fn chosen(names: &[&str]) -> Result<Vec<&'static Row>, Error> {
    for name in names {
        if !ROWS.iter().any(|row| row.name == *name) {
            let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("no row {name}; there are {}", known.join(", ")).into());
        }
    }
    let is_chosen = |row: &&Row| names.is_empty() || names.contains(&row.name);
    Ok(ROWS.iter().filter(is_chosen).collect())
}

/// What one row has taken: each contender's time, turn by turn.
struct Outcome {
    row: &'static Row,
    samples: Vec<(Contender, Vec<Sample>)>,
}

impl Outcome {
    /// Returns the contenders and their figures.
    fn figures(&self) -> impl Iterator<Item = (Contender, f64)> {
        let figure = |(who, samples): &(Contender, Vec<Sample>)| (*who, median(samples.clone()));
        self.samples.iter().map(figure)
    }

    /// Returns the time of `contender` over tokio's.
    fn ratio(&self, contender: Contender) -> Option<f64> {
        let samples = |wanted| {
            let found = self.samples.iter().find(|(who, _)| *who == wanted);
            found.map(|(_, samples)| samples)
        };
        let both = samples(contender)?.iter().zip(samples(Contender::Tokio)?);
        Some(median(both.map(|(ours, tokio)| ours / tokio).collect()))
    }
}

fn compare(rows: &[&'static Row]) -> Result<Vec<Outcome>, Error> {
    println!("{}", publish::machine());
    println!(
        "{:<14} {:<10} {:>12} {:>8} {:>6}",
        "row", "contender", "ns each", "× tokio", "goal"
    );
    let mut results = Vec::new();
    for row in rows {
        let contenders = row.contenders();
        let mut samples: Vec<_> = contenders.iter().map(|who| (*who, Vec::new())).collect();
        let rounds = match row.work {
            Work::Tls(_) => ROUNDS_IN_TLS,
            _ => ROUNDS,
        };
        for _ in 0..rounds {
            let round = measure::round(&contenders, row)?;
            for ((_, all), new) in samples.iter_mut().zip(round) {
                all.extend(new);
            }
        }
        let result = Outcome { row, samples };
        print(&result);
        results.push(result);
    }
    Ok(results)
}

fn print(result: &Outcome) {
    let row = result.row;
    println!("{:<14} {}", row.name, row.title);
    for (contender, figure) in result.figures() {
        let ratio = result.ratio(contender);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        let goal = row.goal(contender);
        let goal = goal.map_or(String::new(), |goal| format!("{goal:.2}"));
        let name = contender.name();
        println!("{:<14} {name:<10} {figure:>12.0} {ratio:>8} {goal:>6}", "");
    }
}

/// The counted instructions of one row, for each contender.
struct Counts {
    row: &'static Row,
    each: Vec<(Contender, f64)>,
}

fn instructions(rows: &[&'static Row]) -> Result<Vec<Counts>, Error> {
    println!("{:<14} {:<10} {:>12}", "row", "contender", "instructions");
    let mut all = Vec::new();
    for row in rows.iter().filter(|row| row.unit != Unit::Idle) {
        let mut each = Vec::new();
        for contender in row.contenders() {
            if contender.is_python() {
                continue;
            }
            let count = measure::instructions(contender, row)?;
            println!("{:<14} {:<10} {count:>12.0}", row.name, contender.name());
            each.push((contender, count));
        }
        all.push(Counts { row, each });
    }
    Ok(all)
}

fn median(mut samples: Vec<Sample>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
