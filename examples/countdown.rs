//! A function that schedules itself again and again, and stops the reactor in the end.
//!
//! Run `cargo run --example countdown [N] [SECONDS]`: from N (5) to 1, every SECONDS (1, may be a
//! fraction). Prints `Start!`, `5 ...`, `4 ...`, `3 ...`, `2 ...`, `1 ...`, `Stop!`.

use std::env;
use std::time::Duration;

use torsade::{Clock, Failure, Reactor};

fn count(reactor: Reactor, n: u32, step: Duration) {
    if n == 0 {
        // No other code stops the reactor, so it is running.
        let _ = reactor.stop();
        return;
    }
    println!("{n} ...");
    let again = reactor.clone();
    reactor.call_later(step, move || count(again, n - 1, step));
}

fn main() -> Result<(), Failure> {
    let mut words = env::args().skip(1);
    let n = words.next().map_or(Ok(5), |word| word.parse())?;
    let seconds = words.next().map_or(Ok(1.0), |word| word.parse())?;
    let step = Duration::try_from_secs_f64(seconds)?;

    println!("Start!");
    torsade::run(async |reactor| {
        count(reactor.clone(), n, step);
        reactor.stopped().await
    })?;
    println!("Stop!");
    Ok(())
}
