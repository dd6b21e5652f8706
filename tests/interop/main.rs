//! Foreign programs as peers: socat, curl, HAProxy, systemd, OpenSSL, stunnel, Python and Twisted.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod endpoints;
#[cfg(target_os = "linux")]
mod framing;
mod haproxy;
#[cfg(target_os = "linux")]
mod irc;
mod processes;
mod tcp;
#[cfg(target_os = "linux")]
mod tls;
mod udp;
mod unix;
