//! Foreign programs as peers: socat, curl, wrk, HAProxy, OpenSSL, stunnel, Python, Twisted and
//! others.

#[macro_use]
extern crate support;

mod endpoints;
#[cfg(target_os = "linux")]
mod framing;
mod haproxy;
mod http_client;
mod http_server;
#[cfg(target_os = "linux")]
mod irc;
mod processes;
mod tcp;
#[cfg(target_os = "linux")]
mod tls;
mod udp;
mod unix;
