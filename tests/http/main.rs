//! HTTP: servers and clients.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod client;
mod files;
mod limits;
mod in_tls;
mod peers;
mod pool;
mod redirects;
mod server;
mod smuggling;
mod time_limits;
