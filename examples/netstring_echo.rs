//! A server that answers each netstring with the same netstring: a codec, as a stream and a sink.
//!
//! Run `cargo run --example netstring_echo [ADDR]` (default `127.0.0.1:4011`) and try `printf
//! '5:hello,' | nc -N 127.0.0.1 4011`, which prints `5:hello,`. Prints `listening on ADDR`. What is
//! no netstring is reported and closes the connection.

use std::env;

use torsade::prelude::*;
use torsade::protocols::NetstringCodec;

async fn echo(conn: Connection) -> Result<(), Failure> {
    let mut strings = conn.framed(NetstringCodec::new());
    while let Some(string) = strings.next().await {
        strings.send(string?).await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4011".into());
    torsade::run(async |reactor| {
        let port = reactor.serve(address, echo)?;
        println!("listening on {}", port.local_addr());
        reactor.stopped().await
    })
}
