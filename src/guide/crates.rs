//! Which crates run on torsade, and how.
//!
//! | kind of crate | runs | how |
//! |---|---|---|
//! | executor-independent futures: `futures`, `async-channel`, `flume`, `event-listener`, `async-lock` | yes | as they are: wakers may be called from any thread |
//! | code over `futures`' `AsyncRead`, `AsyncWrite`, `AsyncBufRead`: codecs, TLS by `futures-rustls`, WebSockets by `async-tungstenite` | yes | over a [`Connection`](crate::Connection) or its halves; [`Connection::over`](crate::Connection::over) makes a connection of what they return |
//! | blocking clients: `ureq`, `rusqlite`, `postgres` | yes | in [`spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | loops of others: a GUI, tokio, a game | yes | the reactor is their guest: [`Reactor::start`](crate::Reactor::start) and its descriptor (see [hosts](super::hosts)) |
//! | code that needs a tokio runtime around it: `reqwest`, `sqlx`, `tonic` | no | run them in a thread that has such a runtime, and use [`Remote`](crate::Remote) or a channel |
//!
//! A channel of `futures` between a task and a thread:
//!
//! ```
//! use futures::StreamExt;
//! use futures::channel::mpsc;
//! use torsade::prelude::*;
//!
//! # fn main() -> Result<(), Failure> {
//! torsade::run(async |_reactor| {
//!     let (sender, mut receiver) = mpsc::unbounded();
//!     let thread = std::thread::spawn(move || (1..=3).try_for_each(|n| sender.unbounded_send(n)));
//!     let mut sum = 0;
//!     while let Some(n) = receiver.next().await {
//!         sum += n;
//!     }
//!     assert_eq!(sum, 6);
//!     thread.join().expect("it does not panic")?;
//!     Ok(())
//! })
//! # }
//! ```
