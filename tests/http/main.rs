//! HTTP: servers and clients.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod client;
mod files;
mod limits;
mod server;
mod smuggling;
