//! Ports, connections and datagrams: TCP, UDP, UNIX sockets, endpoints, names, proxies, adopted
//! sockets.

#[macro_use]
extern crate support;

mod adoption;
mod connector;
mod custom_endpoints;
mod descriptors_lost;
mod descriptors_passed;
mod descriptors_run_out;
mod endpoints;
mod happy_eyeballs;
mod multicast;
mod names;
mod ports;
mod proxied;
mod tcp_close;
mod tcp_connect;
mod tcp_half_close;
mod tcp_listen;
mod tcp_many;
mod tcp_options;
mod udp;
mod unix;
mod unix_datagrams;
mod unix_files;
