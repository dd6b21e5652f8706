//! The examples print what their headers say, and small programs as users write them.

#[macro_use]
extern crate support;

mod bgp;
mod crawler;
mod irc_logbot;
mod promises;
mod proxy;
mod redis;
mod small_programs;
