//! Signals: SIGHUP reads the settings again, SIGUSR1 counts, and SIGTERM stops gracefully.
//!
//! Run `cargo run --example signals`; it sends itself all of them, as `kill` would from another
//! terminal. Prints `settings, reading 1`, `settings, reading 2`, `hint 1`, `hint 2`, `asked to
//! stop by SIGTERM`, `the work is finished`, `stopped`. A second SIGTERM during the work would stop
//! the loop all the same, and a third one would kill the process.

use std::time::Duration;

use torsade::{Clock, Failure, Reactor, Signal, spawn};

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let asked = Signal::TERM.wait(&reactor); // once: the next one is the loop's again
        let serving = spawn(serve(reactor.clone()));
        let killer = spawn(kill(reactor.clone()));

        println!("asked to stop by {}", asked.await?);
        reactor.sleep(Duration::from_millis(10)).await?; // what must be done before the end
        println!("the work is finished");
        killer.await??;
        serving.cancel().await;
        println!("stopped");
        Ok(())
    })
}

/// Handles signals while the daemon runs.
async fn serve(reactor: Reactor) -> Result<(), Failure> {
    let mut signals = reactor.signals([SETTINGS, HINT])?;
    let (mut readings, mut hints) = (1, 0);
    println!("settings, reading {readings}");
    while let Some(signal) = signals.next().await {
        if signal == SETTINGS {
            readings += 1;
            println!("settings, reading {readings}");
        } else {
            hints += 1;
            println!("hint {hints}");
        }
    }
    Ok(())
}

/// Sends the signals, as another terminal would.
async fn kill(reactor: Reactor) -> Result<(), Failure> {
    for signal in [SETTINGS, HINT, HINT, Signal::TERM] {
        // Two equal signals before the loop runs would be merged into one.
        reactor.sleep(Duration::from_millis(1)).await?;
        signal.raise()?;
    }
    Ok(())
}

#[cfg(unix)]
const SETTINGS: Signal = Signal::HUP;
#[cfg(unix)]
const HINT: Signal = Signal::USR1;
// Windows has neither.
#[cfg(windows)]
const SETTINGS: Signal = Signal::BREAK;
#[cfg(windows)]
const HINT: Signal = Signal::ABRT;
