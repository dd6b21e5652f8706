//! Errors: the type `Failure`, and the error enums to match on.
//!
//! # `Failure`
//!
//! [`Failure`](crate::Failure) carries any error through callbacks, tasks and `?`, and stores the
//! line that made it. It is cheap to clone; clones share the error. In [debug
//! mode](crate::reactor::ReactorBuilder::debug) it also records its trace: the callbacks, Deferreds
//! and tasks that it went through.
//!
//! The error enums are `#[non_exhaustive]`. A program gets one with
//! [`Failure::downcast_ref`](crate::Failure::downcast_ref) and matches on its variants.
//! [`Failure::trap`](crate::Failure::trap) returns the error if it has the given type, and
//! otherwise the failure as an `Err`, which `?` passes on.
//!
//! ```
//! use torsade::prelude::*;
//!
//! fn parse(text: &str) -> Result<u16, Failure> {
//!     Ok(text.parse::<u16>()?) // any error becomes a Failure
//! }
//!
//! let failure = parse("x").unwrap_err();
//! let error = failure.trap::<std::num::ParseIntError>()?;
//! assert_eq!(error.to_string(), "invalid digit found in string");
//! assert!(!failure.location().file().is_empty());
//!
//! let failure = failure.context("reading the port");
//! assert_eq!(failure.to_string(), "reading the port");
//! assert_eq!(format!("{failure:#}"), "reading the port: invalid digit found in string");
//! # Ok::<(), Failure>(())
//! ```
//!
//! | operation | error |
//! |---|---|
//! | connecting | [`ConnectError`](crate::net::ConnectError); with several addresses its variant `AllFailed`, which has the failure of each attempt |
//! | a look-up | [`LookupError`](crate::net::LookupError) |
//! | listening | [`ListenError`](crate::net::ListenError) |
//! | a connection's end | [`ConnectionError`](crate::transport::ConnectionError) |
//! | reading and writing | [`std::io::Error`] |
//! | `timeout` of any future | [`TimedOut`](crate::clock::TimedOut); of [`ConnectOptions::timeout`](crate::net::ConnectOptions::timeout) it is `ConnectError::TimedOut` |
//! | cancelling | [`Cancelled`](crate::Cancelled) |
//! | locks and queues | [`LockError`](crate::locks::LockError) |
//! | a Deferred whose resolver was dropped, or that needs a reactor | [`DeferredError`](crate::defer::DeferredError) |
//! | a panic in a callback or task | [`Panicked`](crate::failure::Panicked) |
//! | work on threads | [`PoolError`](crate::threads::PoolError) |
//! | child processes | [`ProcessError`](crate::process::ProcessError) |
//! | what had not finished when the reactor ended | [`Stopped`](crate::reactor::Stopped) |
//!
//! # Unhandled failures
//!
//! A failure at the end of a dropped chain, the `Err` of a detached task that ends in
//! `Result<(), Failure>` or another type that [`Task`](crate::Task) lists, and every panic are
//! reported once: to the hooks of [`Reactor::on_report`](crate::Reactor::on_report), or to
//! `tracing` (target `torsade`), or to standard error. An `Err` of any other type in a detached
//! task is dropped silently. A panic in user code ends the task or connection in which it happened,
//! and the loop continues; [`OnPanic`](crate::OnPanic) chooses another policy.
