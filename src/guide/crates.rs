//! Which crates run on torsade, and how.
//!
//! Each row is tested with the real crate, in `tests/crates` of the repository or in the tests of
//! this crate; those on *both* also in memory, under virtual time. The last table is not tested.
//!
//! | crate | how | tested |
//! |---|---|---|
//! | `futures`, `flume`, `async-channel`, `async-lock` | as they are: wakers may be called from any thread | `channels`, both |
//! | `tower` | services and layers as they are; a `Buffer`'s worker is a task; layers with a clock need `tokio-rt` | `tower`, both |
//! | codecs of `asynchronous-codec`, `tokio-util` | over a [`Connection`](crate::Connection) or its halves (the latter with `tokio-io`) | `codecs`, both |
//! | `futures-rustls` | over a connection; [`Connection::over`](crate::Connection::over) makes a connection of it again | `tls`, both |
//! | `tokio-rustls` | over a connection, with `tokio-io`; `tokio_util::compat` makes it fit for [`Connection::over`](crate::Connection::over) | `tls`, both |
//! | `async-tungstenite` | over a connection | `websockets`, both |
//! | `hyper`: HTTP/1 and HTTP/2, servers and clients | over a connection, with `hyper` and [`hyper::Timer`](crate::hyper::Timer), [`hyper::Executor`](crate::hyper::Executor) | `hyper`, both |
//! | `axum` | its `Router` as a handler ([`http::service`](crate::http::service)); handlers that are not `Send` in a [`SendWrapper`](crate::task::SendWrapper) | `axum`, both |
//! | `tokio-postgres` | `connect_raw` over a connection, with `tokio-io`; its driver is a task | `sql` |
//! | `sqlx`, `reqwest`, `redis`, `lettre` | as they are, after [`tokio::enter`](crate::tokio::enter), with `tokio-rt` | `sql`, `clients` |
//! | `ureq`, `rusqlite`: whatever blocks | in [`spawn_blocking`](crate::Reactor::spawn_blocking) | `clients` |
//! | loops of others: a GUI, tokio, a game | the reactor is their guest: see [hosts](super::hosts) | examples |
//!
//! A time limit of the reactor ([`Clock::timeout`](crate::Clock::timeout)), and a cancel, drop the
//! futures of all these crates, in tasks that are polled by the reactor. What a crate spawns itself
//! with `tokio::spawn` runs on the runtime's own thread, and ends as the crate says: `sqlx`, for
//! instance, waits for the server's answer before it uses a connection again.
//!
//! Three examples are in `tests/crates/examples`: `axum_hello`, a web server; `websocket_chat`, a
//! chat in the browser; and `postgres`, a guest book through `sqlx`.
//!
//! # What does not run
//!
//! | crate | why | instead |
//! |---|---|---|
//! | `axum::serve`, the servers of `tonic`, `warp`, `actix-web` | they open tokio's sockets and spawn a task for each connection on the runtime: with `tokio-rt` they run on *its* thread and cannot use the reactor | hyper over the reactor's connections |
//! | `tokio::task::spawn_local`, `LocalSet`, `block_in_place` | the reactor's thread is not a thread of the runtime | [`spawn`](crate::spawn()), [`spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | `glommio`, `monoio`, `compio` and what is made for them | they own the thread's loop, and their sockets are known to it only | the reactor in a thread of its own, and [`Remote`](crate::Remote) |
//! | libraries that drop a value that was lent to them on a thread of theirs | a [`SendWrapper`](crate::task::SendWrapper) panics there | a handle that is `Send`: [`Remote`](crate::Remote), a channel |
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
