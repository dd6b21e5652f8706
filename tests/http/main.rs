//! HTTP: servers and clients.

#[macro_use]
extern crate support;

mod client;
mod files;
mod handlers;
mod in_tls;
mod limits;
mod peers;
mod pool;
mod redirects;
mod server;
mod smuggling;
mod time_limits;
