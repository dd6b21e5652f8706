//! Testing protocols and programs without a network (feature `testing`).
//!
//! # One connection: `Wire`
//!
//! [`Wire`](crate::testing::Wire) connects a protocol to the test.
//! [`Wire::send`](crate::testing::Wire::send) delivers bytes,
//! [`Wire::take_received`](crate::testing::Wire::take_received) returns what the protocol wrote,
//! and [`Wire::advance`](crate::testing::Wire::advance) advances the clock. The test is an ordinary
//! function and takes no real time.
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::testing::Wire;
//!
//! /// Closes the connection a minute after it was made.
//! struct Polite;
//!
//! impl Protocol for Polite {
//!     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
//!         cx.call_later(Duration::from_secs(60), |_me, cx| {
//!             cx.write("goodbye");
//!             cx.lose_connection();
//!         });
//!     }
//!
//!     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
//! }
//!
//! let mut wire = Wire::new(Polite);
//! wire.advance(Duration::from_secs(59));
//! assert!(!wire.is_closed());
//! wire.advance(Duration::from_secs(1));
//! assert_eq!(wire.take_received(), b"goodbye");
//! assert!(wire.is_closed());
//! ```
//!
//! # A whole program: `testing::run`
//!
//! [`testing::run`](crate::testing::run) runs an async test on an in-memory reactor. Sockets,
//! timers and child processes are simulated, so an hour passes in no time, and the result is the
//! same on every machine. The test fails when it leaves a task, timer, connection or port behind,
//! or an unhandled failure.
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::clock::TimedOut;
//!
//! torsade::testing::run(async |reactor| {
//!     // A server that reads and never answers.
//!     let port = reactor.serve("127.0.0.1:80", async |mut conn| {
//!         while conn.read_line(80).await?.is_some() {}
//!         Ok(())
//!     })?;
//!     let mut conn = reactor.connect_stream(port.local_addr()).await?;
//!     conn.send_line("hello?").await?;
//!     let limit = Duration::from_secs(3600);
//!     let failure = reactor.timeout(limit, conn.read_line(80)).await.unwrap_err();
//!     failure.trap::<TimedOut>()?;
//!     drop(conn);
//!     port.stop().await
//! });
//! ```
//!
//! Inside an async test, `reactor.sleep(step).await` advances the time. A test that is not async
//! drives the reactor with [`testing::settle`](crate::testing::settle) and
//! [`Reactor::advance`](crate::Reactor::advance). A server function that runs until
//! [`Reactor::stopped`](crate::Reactor::stopped) is tested together with the code that stops the
//! reactor: `futures::try_join!(server(reactor.clone()), async { …; Ok(reactor.stop()?) })?`.
//!
//! # A bad network: faults from a seed
//!
//! [`NetworkFaults`](crate::testing::NetworkFaults) delays and splits the bytes of connections,
//! resets connections, and loses datagrams. [`each_seed`](crate::testing::each_seed) runs a test
//! once for each of many seeds, and prints the seed that failed.
//!
//! # The same test on the machine
//!
//! [`testing::run_on`](crate::testing::run_on) runs the same test on any reactor, such as
//! `Reactor::new()?`, with the sockets and the clock of the machine. If a test passes in memory and
//! fails on the machine, and depends on neither real time nor the machine's settings, report a
//! defect of the crate.
