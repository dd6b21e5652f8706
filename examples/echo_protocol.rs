//! An echo server as a protocol.
//!
//! Run `cargo run --example echo_protocol [ADDR]` (default `127.0.0.1:4001`) and connect to it, for
//! example with `nc 127.0.0.1 4001`. Prints `listening on ADDR`.

use std::env;
use std::io::{self, Write};

use torsade::{Context, Failure, Protocol};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4001".into());
    torsade::run(async |reactor| {
        let port = reactor.listen(address, |_peer| Echo)?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
