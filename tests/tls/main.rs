//! TLS: handshakes, certificates, streams in records, the end, and TLS that begins later.

#[macro_use]
extern crate support;

mod certificates;
mod certs;
mod environment;
mod handshakes;
mod hostile;
mod peer;
mod start_tls;
mod streams;
mod volume;
