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
//!
//! # Spans
//!
//! The spans of `tracing` follow what is made inside them, while a subscriber is interested:
//!
//! | code | runs in |
//! |---|---|
//! | a task, a child of a scope | the span in which it was spawned |
//! | a callback of a Deferred, `call_later`, `call_soon`, [`Remote::call`](crate::Remote::call), work for a thread pool | the span in which it was made |
//! | the hooks of a protocol on a connection, its timers, results and posted closures; the handler of [`serve`](crate::Reactor::serve) | the connection's span |
//! | the same of a protocol on a datagram port or of a process | the span of the port or the process |
//!
//! | span | level | target | fields |
//! |---|---|---|---|
//! | `connection` | `INFO` | `torsade::net` | `peer`, `endpoint` (the local address) |
//! | `datagrams` | `INFO` | `torsade::net` | `endpoint` |
//! | `process` | `INFO` | `torsade::process` | `program`, `pid` |
//!
//! The span of a connection lasts as long as the connection, also when the connection gets another
//! handler. A failure of a task, a call or a hook is reported
//! inside the span of that code, that of a Deferred inside the span in which the failure was made.
//! Without a subscriber all this costs nothing.
//!
//! ```
//! use torsade::spawn;
//! use tracing::{Span, info_span};
//!
//! torsade::testing::run(async |_reactor| {
//!     let task = info_span!("request", number = 7).in_scope(|| {
//!         spawn(async { Span::current().metadata().map(|span| span.name()) })
//!     });
//!     // `None` without a subscriber; with one, the request's span.
//!     assert!([None, Some("request")].contains(&task.await?));
//!     Ok(())
//! });
//! ```
