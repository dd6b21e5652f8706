//! The streams of connections: bytes, lines, limits, producers, hand-over to another protocol, and
//! the end.

#[macro_use]
extern crate support;

mod backpressure;
mod connections;
mod frames;
mod handles;
mod lines;
mod over_byte_streams;
mod policies;
mod producers;
mod protocol_switch;
mod shutdown_drain;
mod stalled_peers;
mod tokio_io;
mod wrapping;
