//! A first server, both ways.
//!
//! A server that remembers one word for each connection: `set WORD` stores it, `get` returns it.
//!
//! # As a protocol
//!
//! A [`LineProtocol`](crate::protocols::LineProtocol) is a value with hooks.
//! [`Lines`](crate::protocols::Lines) finds the lines in the bytes and calls `line_received` for
//! each. The reactor calls one hook at a time, so `&mut self` is all the state needs.
//!
//! ```
//! use torsade::prelude::*;
//! use torsade::protocols::{LineProtocol, Lines};
//! use torsade::testing::Wire;
//!
//! #[derive(Default)]
//! struct Memory(Vec<u8>);
//!
//! impl LineProtocol for Memory {
//!     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
//!         match line.strip_prefix(b"set ") {
//!             Some(word) => self.0 = word.to_vec(),
//!             None if line == b"get" => cx.send_line(&self.0),
//!             None => cx.lose_connection(),
//!         }
//!     }
//! }
//!
//! // A server: `reactor.listen("127.0.0.1:4001", |_peer| Lines::new(Memory::default()))?`.
//! let mut wire = Wire::new(Lines::new(Memory::default()));
//! wire.send("set rope\r\nget\r\n");
//! assert_eq!(wire.take_received(), b"rope\r\n");
//! ```
//!
//! # As an async function
//!
//! The same conversation, read from the top to the bottom. The future is the state.
//!
//! ```
//! use torsade::prelude::*;
//!
//! async fn memory(mut conn: Connection) -> Result<(), Failure> {
//!     let mut word = Vec::new();
//!     while let Some(line) = conn.read_line(80).await? {
//!         match line.strip_prefix(b"set ") {
//!             Some(new) => word = new.to_vec(),
//!             None if line == *b"get" => conn.send_line(&word).await?,
//!             None => break,
//!         }
//!     }
//!     Ok(())
//! }
//!
//! torsade::testing::run(async |reactor| {
//!     let port = reactor.serve("127.0.0.1:4001", memory)?;
//!     let mut client = reactor.connect_stream(port.local_addr()).await?;
//!     client.write_all(b"set rope\r\nget\r\n").await?;
//!     assert_eq!(client.read_line(80).await?.as_deref(), Some(&b"rope"[..]));
//!     drop(client);
//!     port.stop().await
//! });
//! ```
//!
//! # Which one
//!
//! A protocol fits where the peer decides what happens next, where connections act on each other
//! ([`Group`](crate::Group)), and where each message must cost as little as possible. An async
//! function fits where the program decides: a login, then a transfer, then a goodbye. Both may be
//! mixed: an async handler can hand its connection to a protocol
//! ([`Connection::become_protocol`](crate::Connection::become_protocol)), and a hook can
//! [`spawn`](crate::spawn()) a task.
//!
//! Next: [testing without a network](super::testing_protocols).
