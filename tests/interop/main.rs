//! Foreign programs as peers: socat, curl, HAProxy, systemd, Python and Twisted.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod endpoints;
mod haproxy;
mod processes;
mod tcp;
mod udp;
mod unix;
