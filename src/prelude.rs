//! The names that most programs use, in one import: `use torsade::prelude::*;`.
//!
//! [`Clock`] is a trait: with it in scope a [`Reactor`] has `sleep`, `call_later` and `timeout`.
//! The prelude has no `run`, because programs call [`torsade::run`](crate::run()) by that name.
//!
//! # Examples
//!
//! ```
//! use torsade::prelude::*;
//!
//! fn main() -> Result<(), Failure> {
//!     torsade::run(async |reactor| {
//!         let port = reactor.serve("127.0.0.1:0", async |mut conn| {
//!             conn.write_all(b"hello\n").await?;
//!             Ok(())
//!         })?;
//!         let mut conn = reactor.connect_stream(port.local_addr()).await?;
//!         assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
//!         reactor.sleep(std::time::Duration::from_millis(1)).await
//!     })
//! }
//! ```

pub use crate::{
    Address, Clock, Connection, Context, Deferred, DelayedCall, Factory, Failure, Group, Handle,
    Port, Protocol, Reactor, Resolver, Signal, Task, Transport, interval, spawn,
};
