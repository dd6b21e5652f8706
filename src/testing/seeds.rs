//! One test, many seeds: [`each_seed`].

use std::env;
use std::fmt::Display;
use std::io::Write;
use std::str::FromStr;
use std::thread;

use super::run_on;
use crate::driver::NetworkFaults;
use crate::failure::Failure;
use crate::reactor::Reactor;

/// Runs a test once for each of the seeds 1 to `count`, on an in-memory network with the faults
/// that `faults` returns for the seed.
///
/// Each run is a [`run_on`] on a new reactor, so the test must leave nothing behind. The test gets
/// the seed as well, for its random choices ([`Random`](super::Random)). The first seed that fails
/// ends the series; it is printed on standard error, with the command that runs only this seed
/// again. That command sets the environment variable `TORSADE_SEED`; the variable `TORSADE_SEEDS`
/// replaces `count`.
///
/// # Panics
///
/// Panics as [`run_on`] does, and when one of these variables is not a number.
///
/// # Examples
///
/// ```
/// use torsade::testing::{NetworkFaults, each_seed};
///
/// each_seed(20, NetworkFaults::lossless, async |reactor, _seed| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         conn.write_all(b"hello").await?;
///         Ok(())
///     })?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     let mut all = Vec::new();
///     conn.read_to_end(&mut all).await?;
///     assert_eq!(all, b"hello");
///     port.stop().await
/// });
/// ```
#[track_caller]
pub fn each_seed(
    count: u64,
    faults: impl Fn(u64) -> NetworkFaults,
    mut test: impl AsyncFnMut(Reactor, u64) -> Result<(), Failure>,
) {
    let seeds = match from_env::<u64>("TORSADE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=from_env("TORSADE_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let _witness = SeedPrinter(seed);
        let reactor = Reactor::builder()
            .in_memory_with(faults(seed))
            .build()
            .expect("an in-memory reactor needs only a descriptor");
        run_on(reactor, async |reactor| test(reactor, seed).await);
    }
}

/// Prints the seed when a test fails.
struct SeedPrinter(u64);

impl Drop for SeedPrinter {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let seed = self.0;
        let current = thread::current();
        let name = current.name().unwrap_or("");
        // Not `eprintln!`, which panics when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "seed {seed} failed; to run it again: TORSADE_SEED={seed} cargo test {name}"
        );
    }
}

fn from_env<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    match value.parse() {
        Ok(value) => Some(value),
        Err(error) => panic!("{name} is {value:?}: {error}"),
    }
}
