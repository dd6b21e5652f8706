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
//! 3. The queued bytes of all connections are sent, and threads finish their work, within the
//!    limits of [`Grace`](crate::reactor::Grace).
//! 4. `run` returns; with [`ends_by_signal`](crate::ReactorBuilder::ends_by_signal), the process
//!    ends by the signal instead, as a shell expects.
//!
//! ```no_run
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::reactor::Grace;
//!
//! async fn hello(mut conn: Connection) -> Result<(), Failure> {
//!     conn.write_all(b"hello\n").await?;
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Failure> {
//!     let grace = Grace { total: Duration::from_secs(20), ..Grace::default() };
//!     Reactor::builder().grace(grace).ends_by_signal(true).run(async |reactor| {
//!         let port = reactor.serve("127.0.0.1:4002", hello)?;
//!         reactor.stopped().await?;
//!         port.stop().await?; // accept no more
//!         // Lets the handlers finish, for ten seconds.
//!         let _ = reactor.timeout(Duration::from_secs(10), port.disconnected()).await;
//!         port.lose_connections(Duration::from_secs(1)).await?; // then close what is left
//!         Ok(())
//!     })
//! }
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
