//! Protocols: codecs, frames, wrappers and policies.
//!
//! The [glossary](super::glossary) defines frame, codec and policy. Most protocols send messages:
//! lines, strings with a length, records. Such a protocol is made of four pieces, and each can be
//! used without the others.
//!
//! | piece | what it is | examples |
//! |---|---|---|
//! | [codec](crate::protocols::Decoder) | finds and writes messages; no I/O, no clock | [`LineCodec`](crate::protocols::LineCodec), [`NetstringCodec`](crate::protocols::NetstringCodec), [`LengthCodec`](crate::protocols::LengthCodec) |
//! | interface | a hook for each message, or a stream and a sink | [`FrameProtocol`](crate::protocols::FrameProtocol), [`Framed`](crate::protocols::Framed) |
//! | [wrapper](crate::protocols::ProtocolWrapper) | a layer around any protocol | a password, a header before everything else |
//! | [policy](crate::transport::Policy) | a limit or an observer of a connection, for protocols and async code | idle time, rates, a log of the traffic |
//!
//! # A custom codec
//!
//! A codec looks at the bytes that have arrived and returns where the first message ends. It must
//! return the same messages however the bytes are cut, and must refuse a message that is too long
//! as soon as it knows that. Here a message is a key and a value in two lines, of at most 1024
//! bytes.
//!
//! ```
//! use torsade::prelude::*;
//! use torsade::protocols::{Decoded, Decoder, FrameBuffer};
//!
//! const MOST: usize = 1024;
//!
//! #[derive(Clone)]
//! struct Pairs;
//!
//! impl Decoder for Pairs {
//!     type Frame<'a> = (&'a [u8], &'a [u8]);
//!     type Owned = Pair;
//!     type Error = &'static str;
//!
//!     fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Self::Frame<'a>, &'static str> {
//!         let mut lines = input.splitn(3, |byte| *byte == b'\n');
//!         match (lines.next(), lines.next(), lines.next()) {
//!             (Some(key), Some(value), Some(rest)) if input.len() - rest.len() <= MOST => {
//!                 Decoded::Frame { frame: (key, value), length: input.len() - rest.len() }
//!             }
//!             _ if input.len() > MOST => {
//!                 Decoded::Broken { error: "a pair is too long", bytes: input }
//!             }
//!             _ => Decoded::More,
//!         }
//!     }
//! }
//!
//! // For async code, which keeps messages.
//! #[derive(Debug, PartialEq)]
//! struct Pair(String, String);
//!
//! impl From<(&[u8], &[u8])> for Pair {
//!     fn from((key, value): (&[u8], &[u8])) -> Self {
//!         let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
//!         Self(text(key), text(value))
//!     }
//! }
//!
//! // Without a connection: for tests.
//! let mut pairs = FrameBuffer::new(Pairs);
//! pairs.feed(b"name\nAda\nborn");
//! assert_eq!(pairs.next_frame(), Some(Ok(Pair("name".into(), "Ada".into()))));
//! assert_eq!(pairs.next_frame(), None);
//!
//! // With a connection.
//! async fn print(conn: Connection) -> Result<(), Failure> {
//!     let mut pairs = conn.framed(Pairs);
//!     while let Some(pair) = pairs.next().await {
//!         let Pair(key, value) = pair?;
//!         println!("{key} = {value}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Codecs for the traits of the crate `asynchronous-codec` need no adapter: a
//! [`Connection`](crate::Connection) implements futures' `AsyncRead` and `AsyncWrite`, which its
//! `Framed` requires.
//!
//! # Limits
//!
//! Limits of time and traffic belong to the connection, so the same options set them for protocols,
//! factories and async handlers, and they stay when a protocol hands the connection to another
//! protocol.
//!
//! ```
//! use std::time::Duration;
//! use torsade::net::ListenOptions;
//! use torsade::transport::RateLimits;
//!
//! let minute = Duration::from_secs(60);
//! let options = ListenOptions::new()
//!     .max_connections(10_000)
//!     .max_connections_per_peer(20)
//!     .idle_timeout(10 * minute)
//!     // A message of which a part has arrived must be complete in time: a peer that sends one
//!     // byte a second cannot keep a connection.
//!     .frame_timeout(minute / 2)
//!     .rate_limits(RateLimits { read: Some(1 << 20), write: None });
//!
//! torsade::testing::run(async |reactor| {
//!     let port = reactor.serve(("127.0.0.1:0", options), async |mut conn| {
//!         while let Some(line) = conn.read_line(512).await? {
//!             conn.send_line(line).await?;
//!         }
//!         Ok(())
//!     })?;
//!     let mut conn = reactor.connect_stream(port.local_addr()).await?;
//!     conn.send_line("hello").await?;
//!     assert_eq!(conn.read_line(512).await?.as_deref(), Some(&b"hello"[..]));
//!     drop(conn);
//!     port.stop().await
//! });
//! ```
//!
//! [`limits`](super::limits) lists all limits and their defaults.
