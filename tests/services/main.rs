//! Services: starting, stopping, and clients that reconnect.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod client;
mod start_and_stop;
