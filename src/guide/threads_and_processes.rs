//! Threads and processes: work that must not hold up the loop.
//!
//! # Work in a thread
//!
//! [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking) runs a closure on a thread of the
//! reactor's pool, and returns a Deferred that fires with its result. Long work checks its
//! [`CancelToken::current`](crate::threads::CancelToken::current) from time to time, so that
//! cancelling the Deferred ends it.
//!
//! ```
//! use torsade::prelude::*;
//!
//! torsade::testing::run(async |reactor| {
//!     let text = "three small words".to_owned();
//!     let count = reactor.spawn_blocking(move || Ok(text.split(' ').count())).await?;
//!     assert_eq!(count, 3);
//!     Ok(())
//! });
//! ```
//!
//! # Calls from a thread
//!
//! [`Reactor::remote`](crate::Reactor::remote) returns a handle that is `Send`:
//! [`Remote::call`](crate::Remote::call) runs a closure on the loop's thread,
//! [`Remote::spawn`](crate::Remote::spawn) starts a task there, and
//! [`Remote::blocking_call`](crate::Remote::blocking_call) blocks the calling thread until the
//! closure's result is there. The closure must be `Send`, so it cannot hold a transport or a
//! connection: send values through `futures::channel::mpsc` to the task that has the connection.
//!
//! # Child processes
//!
//! A [`Command`](crate::process::Command) runs a program to its end (`output`, `status`), with
//! pipes for async code (`spawn`), with the hooks of a `ProcessProtocol` (`spawn_protocol`), or as
//! the peer of an ordinary protocol (`connect`).
//!
//! ```
//! # #[cfg(unix)]
//! # fn main() -> Result<(), torsade::Failure> {
//! use torsade::process::Command;
//!
//! torsade::run(async |reactor| {
//!     let sorted = Command::new("sort").input("b\na\n").output(&reactor).await?.success()?;
//!     assert_eq!(sorted.out, b"a\nb\n");
//!
//!     let mut cat = Command::new("cat").spawn(&reactor)?;
//!     let (mut input, mut output) = (cat.take_stdin()?, cat.take_stdout()?);
//!     input.write_all(b"meow\n").await?;
//!     assert_eq!(output.read_line(80).await?.as_deref(), Some(&b"meow"[..]));
//!     drop(input); // the end of its input
//!     assert!(cat.status().await?.success());
//!     Ok(())
//! })
//! # }
//! # #[cfg(not(unix))]
//! # fn main() {}
//! ```
