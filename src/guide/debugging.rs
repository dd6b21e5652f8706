//! Debugging a stuck program (feature `debug`).
//!
//! # What is alive, and what waits for what
//!
//! [`Reactor::dump`](crate::Reactor::dump) returns the tree of tasks, Deferreds, timers,
//! connections and ports, each with the line that made it and below it what it waits for.
//! [`ReactorBuilder::dumps_on_signal`](crate::ReactorBuilder::dumps_on_signal) makes SIGUSR1 write
//! it to standard error.
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//!
//! # fn main() -> Result<(), Failure> {
//! let reactor = Reactor::builder().debug(true).build()?;
//! reactor.run_until(async {
//!     let clock = reactor.clone();
//!     let nap = reactor.spawn_named("nap", async move {
//!         clock.sleep(Duration::from_secs(9)).await
//!     });
//!     torsade::yield_now().await;
//!     let tree = reactor.dump().to_string();
//!     assert!(tree.contains("task `nap`") && tree.contains("sleep, due in"));
//!     drop(nap);
//! })
//! # }
//! ```
//!
//! # What blocks the loop
//!
//! The watchdog names each callback or task that keeps the loop for longer than a limit
//! ([`ReactorBuilder::watchdog`](crate::ReactorBuilder::watchdog)): by default 100 ms in debug
//! mode. Work that blocks belongs in [`spawn_blocking`](crate::Reactor::spawn_blocking).
//!
//! # Where a failure came from
//!
//! In debug mode `{failure:?}` shows the trace: the callbacks, Deferreds and tasks that the failure
//! went through. Debug mode is on in debug builds that have the feature; the environment variable
//! `TORSADE_DEBUG` (`1` or `0`) overrides that.
//!
//! # Logs
//!
//! Everything is logged through `tracing`, under targets that begin with `torsade`; bytes of peers
//! are escaped.
