//! Crates of others on a reactor: each row of the guide's page `crates`.

#[macro_use]
extern crate support;

mod axum;
mod browser;
mod channels;
mod clients;
mod codecs;
mod examples;
mod guide;
mod hyper;
mod providers;
mod sql;
mod tls;
mod tower;
mod websockets;

use std::time::Duration;

/// Any free port.
const HERE: &str = "127.0.0.1:0";
const SECOND: Duration = Duration::from_secs(1);
