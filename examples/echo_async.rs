//! An echo server as an async function.
//!
//! Run `cargo run --example echo_async [ADDR]` (default `127.0.0.1:4002`) and talk to it, with `nc 127.0.0.1 4002`
//! say. Prints `listening on ADDR`.

use std::env;
use std::io::{self, Write};

use torsade::{Connection, Failure};

async fn echo(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 4096];
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(()),
            n => conn.write_all(&buf[..n]).await?,
        }
    }
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
