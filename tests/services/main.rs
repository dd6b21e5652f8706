//! Services: starting, stopping, and clients that reconnect.

#[macro_use]
extern crate support;

mod client;
mod start_and_stop;
