//! TLS: handshakes, certificates, streams in records, the end, and TLS that begins later.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod handshakes;
mod hostile;
mod start_tls;
mod streams;
mod certs;
