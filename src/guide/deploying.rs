//! Deploying: signals, sockets from a supervisor, a graceful stop.
//!
//! # A graceful stop
//!
//! [`torsade::run`](crate::run()) stops the reactor at SIGINT and SIGTERM; a second signal ends the
//! process. [`Reactor::stopped`](crate::Reactor::stopped) returns first, in `main` and in spawned
//! tasks, while all connections are open. When they have ended, the *shutdown* event runs its
//! triggers, connections deliver what was written within the limits of
//! [`Grace`](crate::reactor::Grace), and threads finish.
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
//!         for _ in 0..100 {
//!             if port.connections() == 0 {
//!                 return Ok(());
//!             }
//!             // Lets the handlers finish, for ten seconds.
//!             reactor.sleep(Duration::from_millis(100)).await?;
//!         }
//!         port.lose_connections(Duration::from_secs(1)).await?; // then close what is left
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Other signals
//!
//! [`Signal::wait`](crate::Signal::wait) waits for one signal,
//! [`Reactor::signals`](crate::Reactor::signals) returns a stream: reload at SIGHUP (example
//! `signals`).
//!
//! # Sockets from systemd (feature `systemd`)
//!
//! `reactor.serve("systemd:name=web", ..)` listens with the socket that the supervisor opened, so
//! that a restart refuses no connection and port 80 needs no privileges. Without a supervisor, a
//! server passes its listening socket to its successor over a UNIX socket (example `fd_passing`).
//!
//! # Behind a proxy (feature `proxy-protocol`)
//!
//! `haproxy:tcp:80:trust=10.0.0.0/8` reads the PROXY header, so that
//! [`Transport::peer`](crate::Transport::peer) is the client's address and not the load balancer's.
//!
//! # Services
//!
//! [`MultiService`](crate::services::MultiService) starts and stops the parts of a program in
//! order: ports, clients that reconnect ([`ClientService`](crate::services::ClientService)),
//! periodic work.
