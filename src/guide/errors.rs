//! Errors: one type that travels, and enums to match on.
//!
//! # `Failure`
//!
//! [`Failure`](crate::Failure) carries any error through callbacks, tasks and `?`, and remembers
//! the line that made it. It is cheap to clone; clones share the error. With the feature `debug` it
//! also carries its trace: the callbacks and Deferreds it went through.
//!
//! Each module has one error enum (`#[non_exhaustive]`), whose kinds a program can match on with
//! `downcast_ref`; [`Failure::trap`](crate::Failure::trap) returns the error if it has a type and
//! passes on any other failure, as Twisted's does.
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
//! | connecting | [`ConnectError`](crate::net::ConnectError); with several addresses `AllFailed`, with each attempt inside |
//! | a look-up | [`LookupError`](crate::net::LookupError) |
//! | listening | [`ListenError`](crate::net::ListenError) |
//! | a connection's end | [`ConnectionError`](crate::transport::ConnectionError) |
//! | reading and writing | [`std::io::Error`] |
//! | `timeout` of any future | [`TimedOut`](crate::clock::TimedOut); of [`ConnectOptions::timeout`](crate::net::ConnectOptions::timeout) it is `ConnectError::TimedOut` |
//! | cancelling | [`Cancelled`](crate::Cancelled) |
//! | locks and queues | [`LockError`](crate::locks::LockError) |
//!
//! # Unhandled failures
//!
//! A failure at the end of a dropped chain, the `Err` of a detached task that ends in `Result<(),
//! Failure>` or another type that [`Task`](crate::Task) lists, and every panic are reported once:
//! to the hooks of [`Reactor::on_report`](crate::Reactor::on_report), or to `tracing` (target
//! `torsade`), or to standard error. An `Err` of any other type in a detached task is dropped
//! silently. A panic in user code ends the task or connection in which it happened, and the loop
//! goes on; [`OnPanic`](crate::OnPanic) chooses another policy.
