//! A first server, as a protocol and as an async function.
//!
//! The server remembers one word for each connection: the line `set WORD` stores the word, the line
//! `get` returns it, and any other line closes the connection.
//!
//! # As a protocol
//!
//! A [`LineProtocol`](crate::protocols::LineProtocol) is a value with
//! [hooks](super::glossary#hook), one value for each connection. [`Lines`](crate::protocols::Lines)
//! finds the lines in the received bytes and calls the hook `line_received` for each. The reactor
//! calls one hook at a time, with `&mut self`, so the state needs no lock and no `RefCell`. The
//! test below runs the protocol with a [`Wire`](crate::testing::Wire), an in-memory connection.
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
//! The same conversation as sequential code. Its state is in local variables.
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
//! function fits where the program decides what happens next: a login, then a transfer, then a
//! goodbye. Both may be mixed: an async function can hand its connection to a protocol
//! ([`Connection::become_protocol`](crate::Connection::become_protocol)), and a hook can
//! [`spawn`](crate::spawn()) a task.
//!
//! Next: [testing without a network](super::testing_protocols).
