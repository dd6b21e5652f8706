//! Back-pressure: a peer that does not read must not fill the memory.
//!
//! # What the crate does by itself
//!
//! Every connection queues the bytes that the peer has not accepted. Above the *high-water mark*
//! ([`Limits::high`](crate::transport::Limits)) the connection stops reading from its own peer
//! until the queue is down to the *low-water mark*, so a request/response server stays bounded
//! without a line of code. A write that begins while more than the *hard limit* is queued aborts
//! the connection. [Limits](super::limits) lists every bound.
//!
//! # Async code
//!
//! `write_all` waits while the queue is above the high-water mark. Code that reads and writes in
//! turn needs nothing else.
//!
//! # Protocols
//!
//! A protocol that sends without being asked looks at
//! [`Transport::is_full`](crate::Transport::is_full) and goes on in
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
//! Twisted's shape, `register_producer` with [`Producer`](crate::transport::Producer), is there as
//! well; a proxy registers each side as the producer of the other (example `proxy`).
//!
//! # All connections together
//!
//! [`ReactorBuilder::buffer_budget`](crate::ReactorBuilder::buffer_budget) bounds the sum, and
//! [`Port::set_max_connections`](crate::Port::set_max_connections) the number.
