//! Deploying: a graceful stop, signals, sockets from a supervisor, proxies, services.
//!
//! # A graceful stop
//!
//! [`torsade::run`](crate::run()) stops the reactor at SIGINT and SIGTERM; a second signal ends the
//! process. The stop happens in this order:
//!
//! 1. [`Reactor::stopped`](crate::Reactor::stopped) is ready, in `main` and in spawned tasks, while
//!    all connections and ports are open.
//! 2. When `main` and these tasks have ended, the triggers of the *shutdown* event run
//!    ([`add_system_event_trigger`](crate::Reactor::add_system_event_trigger)).
//!    Spawned tasks have [`Grace::total`](crate::reactor::Grace::total) (60 seconds) for that.
//! 3. The queued bytes of all connections are sent, and threads finish their work, within the
//!    limits of [`Grace`](crate::reactor::Grace).
//! 4. `run` returns; with [`ends_by_signal`](crate::ReactorBuilder::ends_by_signal), the process
//!    ends by the signal instead, as a shell expects.
//!
//! This server accepts no more at the stop, lets its handlers finish for ten seconds, and then
//! closes what is left. (An [`http::HttpPort`](crate::http::HttpPort) does that by
//! [`stop(limit)`](crate::http::HttpPort::stop).)
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::{locks::Event, reactor::Grace};
//!
//! const LIMIT: Duration = Duration::from_secs(10);
//!
//! async fn echo(mut conn: Connection, stopping: Event) -> Result<(), Failure> {
//!     while !stopping.is_set() {
//!         let Some(line) = conn.read_line(100).await? else { break };
//!         conn.write_all(&[&line[..], b"\n"].concat()).await?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Failure> {
//!     let grace = Grace { total: LIMIT, ..Grace::default() };
//!     Reactor::builder().grace(grace).ends_by_signal(true).run(async |reactor| {
//!         let stopping = Event::new();
//!         let event = stopping.clone();
//!         let handler = async move |conn| echo(conn, event.clone()).await;
//!         let port = reactor.serve("127.0.0.1:0", handler)?;
//!         # let client = reactor.connect_stream(port.local_addr()).await?;
//!         # let stopper = reactor.clone();
//!         # reactor.call_later(Duration::from_millis(20), move || drop((client, stopper.stop())));
//!         reactor.stopped().await?;
//!         port.stop().await?; // accept no more
//!         stopping.set();
//!         // The handlers finish.
//!         let _ = reactor.timeout(LIMIT, port.disconnected()).await;
//!         // Closes what is left.
//!         port.lose_connections(Duration::from_secs(1)).await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The stop waits up to [`Grace::total`](crate::reactor::Grace::total) for every task and handler
//! that has waited for `stopped()`, also when `main` has returned. So set it to the drain limit, or
//! let handlers wait for an [`Event`](crate::locks::Event) instead, as here: it can be a branch of
//! a `select!`.
//!
//! # Several cores
//!
//! A reactor uses one thread. For more, run one reactor on each thread, with
//! [`reuse_port`](crate::net::ListenOptions::reuse_port), by which the system distributes the
//! connections:
//!
//! ```
//! use std::thread;
//! use torsade::net::ListenOptions;
//! use torsade::prelude::*;
//!
//! # fn main() -> Result<(), Failure> {
//! let work = |address: String| {
//!     torsade::run(async |reactor| {
//!         let options = ListenOptions::new().reuse_port(true);
//!         let port = reactor.serve((address.as_str(), options), async |mut conn| {
//!             Ok(conn.write_all(b"hello\n").await?)
//!         })?;
//!         # if true { return port.stop().await; }
//!         port.closed().await
//!     })
//! };
//! let address = "127.0.0.1:4002";
//! # let address = "127.0.0.1:0";
//! let threads: Vec<_> = (0..2).map(|_| thread::spawn(move || work(address.into()))).collect();
//! for thread in threads {
//!     thread.join().expect("a reactor does not panic")?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Other signals
//!
//! [`Signal::wait`](crate::Signal::wait) waits for one signal;
//! [`Reactor::signals`](crate::Reactor::signals) returns a stream of signals, for instance to
//! reload the configuration at SIGHUP (example `signals`).
//!
//! # Sockets from systemd (feature `systemd`)
//!
//! `reactor.serve("systemd:name=web", ..)` listens with the socket named `web` that the supervisor
//! opened, so that a restart refuses no connection and port 80 needs no privileges.
//! [`net::activation`](crate::net::activation) takes descriptors of other kinds. Without a
//! supervisor, a server passes its listening socket to the next server process over a UNIX socket
//! (example `fd_passing`).
//!
//! # Behind a proxy (feature `proxy-protocol`)
//!
//! A server that listens at the endpoint `haproxy:tcp:80:trust=10.0.0.0/8` reads the PROXY header
//! of connections from the addresses `10.0.0.0/8`, so that
//! [`Transport::peer`](crate::Transport::peer) returns the client's address and not the load
//! balancer's.
//!
//! # Services
//!
//! A [`MultiService`](crate::services::MultiService) starts and stops the parts of a program in
//! order: ports, clients that reconnect ([`ClientService`](crate::services::ClientService)),
//! periodic work.
