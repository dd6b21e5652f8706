//! A server that answers each line with the same line: the line protocol as a callback.
//!
//! Run `cargo run --example line_echo [ADDR]` (default `127.0.0.1:4010`) and type lines into `nc
//! 127.0.0.1 4010`. Prints `listening on ADDR`. The line `quit` closes the connection; a line of
//! more than 16 KiB does as well.

use std::env;

use torsade::prelude::*;
use torsade::protocols::{LineProtocol, Lines};

struct Echo;

impl LineProtocol for Echo {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        match line {
            b"quit" => cx.lose_connection(),
            line => cx.send_line(line),
        }
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4010".into());
    torsade::run(async |reactor| {
        let port = reactor.listen(address, |_peer| Lines::new(Echo))?;
        println!("listening on {}", port.local_addr());
        reactor.stopped().await
    })
}
