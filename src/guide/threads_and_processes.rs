//! Threads and processes: work that must not hold up the loop.
//!
//! # Work in a thread
//!
//! [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking) runs a closure on a thread of the
//! reactor's pool and returns its result as a Deferred. Work that takes long asks its
//! [`CancelToken`](crate::threads::CancelToken) now and then.
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
//! [`Remote::call`](crate::Remote::call) runs a closure in the loop,
//! [`Remote::spawn`](crate::Remote::spawn) starts a task there, and
//! [`Remote::blocking_call`](crate::Remote::blocking_call) waits for a result. The closure must be
//! `Send`, so it cannot hold a transport or a connection: send values through
//! `futures::channel::mpsc` to the task that has it.
//!
//! # Child processes
//!
//! A [`Command`](crate::process::Command) runs to its end (`output`, `status`), with pipes for
//! async code (`spawn`), or with a protocol (`spawn_protocol`, or `connect` when its output is a
//! stream that a protocol reads).
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
