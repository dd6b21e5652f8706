//! Which crates run on torsade, and how.
//!
//! Each row is tested with the real crate: the last column names the file in
//! `tests/crates/tests/crates` of the repository. *Both* means that the test runs with sockets of
//! the machine, and in memory under virtual time.
//!
//! | crate | how | tested |
//! |---|---|---|
//! | `futures`, `flume`, `async-channel`, `async-lock` | unchanged; also from other threads, because any thread may wake a task | `channels`, both |
//! | `tokio::sync`, `tokio::select!`, `tokio_util`'s `CancellationToken` and `TaskTracker` | unchanged, without a runtime | `channels`, both |
//! | `tower` | services and layers unchanged; spawn the worker of a `Buffer` as a task; layers with a clock need `tokio-rt` | `tower`, both |
//! | codecs of `asynchronous-codec`, `tokio-util` | over a [`Connection`](crate::Connection) or its halves (the latter with `tokio-io`) | `codecs`, both |
//! | `futures-rustls` | over a connection; [`Connection::over`](crate::Connection::over) makes a connection of the TLS stream | `tls`, both |
//! | `tokio-rustls` | over a connection, with `tokio-io`; `tokio_util::compat` converts the TLS stream for [`Connection::over`](crate::Connection::over) | `tls`, both |
//! | `async-tungstenite` | over a connection | `websockets`, both |
//! | `hyper`: HTTP/1 and HTTP/2, servers and clients | over a connection, with `hyper` and [`hyper::Timer`](crate::hyper::Timer), [`hyper::Executor`](crate::hyper::Executor) | `hyper`, both |
//! | `axum` | its `Router` as a handler ([`http::service`](crate::http::service)); wrap the futures of handlers that are not `Send` in a [`SendWrapper`](crate::task::SendWrapper) | `axum`, both |
//! | `tokio-postgres` | `connect_raw` over a connection, with `tokio-io`; spawn its `Connection` as a task | `sql` |
//! | `sqlx`, `reqwest`, `redis`, `lettre` | unchanged, after [`tokio::enter`](crate::tokio::enter), with `tokio-rt` | `sql`, `clients` |
//! | `ureq`, `rusqlite`, others that block | in [`spawn_blocking`](crate::Reactor::spawn_blocking) | `clients` |
//! | other event loops: of a GUI, tokio, a game | the reactor runs as a guest in them: see [hosts](super::hosts) | the examples there |
//!
//! The reactor's tasks poll the futures of all these crates. A time limit of the reactor
//! ([`Clock::timeout`](crate::Clock::timeout)) drops such a future, and so does a cancel of the
//! task. A task that a crate spawns with `tokio::spawn` runs on the thread of the tokio runtime,
//! and the crate decides when it ends: `sqlx`, for instance, waits for the server's answer before
//! it uses a connection again.
//!
//! Three examples are in `tests/crates/examples`: `axum_hello`, a web server; `websocket_chat`, a
//! chat in the browser; and `postgres`, a guest book through `sqlx`.
//!
//! # What does not run
//!
//! This table is not tested.
//!
//! | crate | why | instead |
//! |---|---|---|
//! | `axum::serve`, the servers of `tonic`, `warp`, `actix-web` | they open tokio's sockets and spawn a task for each connection on the runtime: with `tokio-rt` these tasks run on the runtime's thread and cannot use the reactor | [`http::serve`](crate::http::serve), or hyper over the reactor's connections |
//! | `tokio::task::spawn_local`, `LocalSet`, `block_in_place` | the reactor's thread is not a thread of the runtime | [`spawn`](crate::spawn()), [`spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | `glommio`, `monoio`, `compio` and crates for them | they run the thread's event loop, and only it can wait for their sockets | the reactor on another thread, and [`Remote`](crate::Remote) |
//! | libraries that drop a value of the caller on one of their threads | a [`SendWrapper`](crate::task::SendWrapper) in the value panics there | a handle that is `Send`: [`Remote`](crate::Remote), a channel |
//!
//! # A channel to a thread
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
