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

/// Runs a test once for each of `count` seeds, on a network in memory with the faults that `faults`
/// makes of the seed.
///
/// Each run is one of [`run_on`], so it may leave nothing behind. The test is given the seed, too,
/// for choices of its own ([`Random`](super::Random)). The first seed that fails is named, with
/// what to set to run exactly that one again: the environment variable `TORSADE_SEED`.
/// `TORSADE_SEEDS` says how many to run instead of `count`.
///
/// # Panics
///
/// When the test fails for a seed, and when those variables are no numbers.
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
        let _witness = Witness(seed);
        let reactor = Reactor::builder()
            .in_memory_with(faults(seed))
            .build()
            .expect("an in-memory reactor needs only a descriptor");
        run_on(reactor, async |reactor| test(reactor, seed).await);
    }
}

/// Says which seed it was, when a test fails.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let seed = self.0;
        let current = thread::current();
        let name = current.name().unwrap_or("");
        // Not `eprintln!`, which panics when nobody is there to read.
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
