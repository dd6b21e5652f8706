//! Debugging a stuck program (feature `debug`).
//!
//! # Tasks, connections and timers that are alive
//!
//! [`Reactor::dump`](crate::Reactor::dump) returns the tree of tasks, Deferreds, timers,
//! connections and ports: each with the line that made it, and below each task the things for which
//! it waits. With [`ReactorBuilder::dumps_on_signal`](crate::ReactorBuilder::dumps_on_signal),
//! SIGUSR1 makes the reactor write this tree to standard error.
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
//! # Code that blocks the loop
//!
//! The watchdog reports each callback or task that runs for longer than a limit without returning
//! to the loop ([`ReactorBuilder::watchdog`](crate::ReactorBuilder::watchdog)): by default 100 ms
//! in debug mode, and no limit otherwise. Work that blocks belongs in
//! [`spawn_blocking`](crate::Reactor::spawn_blocking).
//!
//! # The origin of a failure
//!
//! In debug mode, `{failure:?}` shows the trace of the failure: the callbacks, Deferreds and tasks
//! through which it passed. Debug mode is on in debug builds that have the feature `debug`; the
//! environment variable `TORSADE_DEBUG` (`1` or `0`) overrides that, and
//! [`ReactorBuilder::debug`](crate::ReactorBuilder::debug) overrides both.
//!
//! # Logs
//!
//! The crate logs through `tracing`, under targets that begin with `torsade`. Bytes from peers are
//! escaped in log lines.
//!
//! # Spans
//!
//! While a `tracing` subscriber is interested, code runs in these spans:
//!
//! | code | runs in |
//! |---|---|
//! | a task, a child of a scope | the span in which it was spawned |
//! | a callback of a Deferred, `call_later`, `call_soon`, [`Remote::call`](crate::Remote::call), work for a thread pool | the span in which it was added or requested |
//! | the hooks, timers, results and posted closures of a protocol on a connection; the handler of [`serve`](crate::Reactor::serve) | the connection's span |
//! | the hooks, timers, results and posted closures of a protocol on a datagram port or of a process | the span of the port or the process |
//!
//! | span | level | target | fields |
//! |---|---|---|---|
//! | `connection` | `INFO` | `torsade::net` | `peer`, `endpoint` (the local address) |
//! | `datagrams` | `INFO` | `torsade::net` | `endpoint` |
//! | `process` | `INFO` | `torsade::process` | `program`, `pid` |
//!
//! The span of a connection lasts as long as the connection, also when the connection gets another
//! handler. A failure of a task, a call or a hook is reported inside the span of that code; an
//! unhandled failure of a Deferred is reported inside the span in which the failure was made.
//! Without a subscriber, no span is made.
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
