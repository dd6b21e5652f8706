//! Back-pressure: a peer that does not read must not fill the memory.
//!
//! # What the crate does by itself
//!
//! Every connection queues the bytes that the peer has not accepted. When more bytes are queued
//! than the *high-water mark* ([`Limits::high`](crate::transport::Limits), 64 KiB by default), the
//! connection is *full*: it stops reading from its peer until the queue is down to the *low-water
//! mark* (16 KiB). So the queue of a server that only answers requests stays bounded without
//! further code. A write that begins while more bytes are queued than the *hard limit* (16 MiB)
//! aborts the connection. The page [limits](super::limits) lists every bound.
//!
//! # Async code
//!
//! [`write_all`](crate::Connection::write_all) waits while the connection is full. Code that reads
//! and writes in turn needs nothing else.
//!
//! # Protocols
//!
//! A protocol that sends more than answers stops when
//! [`Transport::is_full`](crate::Transport::is_full) returns `true`, and continues in
//! [`Protocol::write_ready`](crate::Protocol::write_ready):
//!
//! ```
//! use torsade::prelude::*;
//! use torsade::testing::Wire;
//!
//! /// Sends numbers for as long as the peer reads them.
//! struct Numbers { next: u32, last: u32 }
//!
//! impl Numbers {
//!     fn send(&mut self, cx: &mut Context<'_, Self>) {
//!         while self.next < self.last && !cx.is_full() {
//!             cx.write(format!("{}\n", self.next));
//!             self.next += 1;
//!         }
//!         if self.next == self.last {
//!             cx.lose_connection();
//!         }
//!     }
//! }
//!
//! impl Protocol for Numbers {
//!     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
//!         self.send(cx);
//!     }
//!
//!     fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
//!         self.send(cx);
//!     }
//!
//!     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
//! }
//!
//! let mut wire = Wire::new(Numbers { next: 0, last: 100_000 });
//! let mut bytes = 0;
//! while !wire.is_closed() {
//!     bytes += wire.take_received().len();
//!     wire.flush();
//! }
//! bytes += wire.take_received().len();
//! assert_eq!(bytes, (0..100_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>());
//! ```
//!
//! Twisted's interface exists as well:
//! [`Transport::register_producer`](crate::Transport::register_producer) with a
//! [`Producer`](crate::transport::Producer). A proxy registers each connection as the producer of
//! the other, and then reads from each no faster than the other sends. Its end needs no code: a
//! connection that is a producer does not hold up a close, and when one of the two has ended, the
//! other is closed after its queued bytes. (Example `proxy` does the same in async code.)
//!
//! ```
//! use torsade::prelude::*;
//! use torsade::transport::Flow;
//!
//! /// The side of the client that has connected to the proxy.
//! struct Front {
//!     to: Address,
//!     back: Option<Transport>,
//! }
//!
//! /// The side of the server to which the proxy has connected.
//! struct Back {
//!     front: Transport,
//! }
//!
//! impl Protocol for Front {
//!     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
//!         cx.pause_producing(); // until there is a connection to write to
//!         let back = Back { front: cx.transport().clone() };
//!         let connecting = cx.reactor().connect(&self.to, back);
//!         cx.when(connecting, |front, cx, connected| match connected {
//!             Ok(back) => {
//!                 front.back = back.transport();
//!                 cx.resume_producing();
//!             }
//!             Err(_) => cx.abort_connection(),
//!         });
//!     }
//!
//!     fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
//!         if let Some(back) = &self.back {
//!             back.write(data);
//!         }
//!     }
//! }
//!
//! impl Protocol for Back {
//!     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
//!         let back = cx.transport();
//!         back.register_producer(self.front.clone(), Flow::Push).expect("it has no producer");
//!         self.front.register_producer(back.clone(), Flow::Push).expect("it has no producer");
//!     }
//!
//!     fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
//!         self.front.write(data);
//!     }
//! }
//!
//! torsade::testing::run(async |reactor| {
//!     let server = reactor.serve("127.0.0.1:0", async |mut conn| {
//!         let mut name = [0; 5];
//!         conn.read_exact(&mut name).await?;
//!         conn.write_all(&[b"hello ", &name[..]].concat()).await?;
//!         Ok(())
//!     })?;
//!     let to = server.local_addr();
//!     let proxy = reactor.listen("127.0.0.1:0", move |_| Front { to: to.clone(), back: None })?;
//!     let mut client = reactor.connect_stream(proxy.local_addr()).await?;
//!     client.write_all(b"proxy").await?;
//!     let mut reply = Vec::new();
//!     client.read_to_end(&mut reply).await?;
//!     assert_eq!(reply, b"hello proxy");
//!     proxy.stop().await?;
//!     server.stop().await
//! });
//! ```
//!
//! # All connections together
//!
//! [`ReactorBuilder::buffer_budget`](crate::ReactorBuilder::buffer_budget) limits the number of
//! bytes that all connections together hold;
//! [`Port::set_max_connections`](crate::Port::set_max_connections) limits the number of connections
//! of a port. Neither has a limit by default.
