//! An echo server as an async function. A waiting connection has no buffer: bytes are read into one
//! buffer that all connections share.
//!
//! Run `cargo run --example echo_async [ADDR]` (default `127.0.0.1:4002`) and connect to it, for
//! example with `nc 127.0.0.1 4002`. Prints `listening on ADDR`.

use std::env;
use std::io::{self, Write};

use torsade::{Connection, Failure};

async fn echo(mut conn: Connection) -> Result<(), Failure> {
    let out = conn.transport();
    let mut echo = |bytes: &[u8]| {
        out.write(bytes);
        bytes.len()
    };
    while conn.read_with(&mut echo).await? > 0 {
        if out.is_full() {
            // The peer sends faster than it reads, so wait until the echo is sent.
            conn.flush().await?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4002".into());
    torsade::run(async |reactor| {
        let port = reactor.serve(address, echo)?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
