//! A client of the chat: standard input and output on one side, the server on the other.
//!
//! Run `cargo run --example chat`, and beside it `cargo run --example stdio_chat [ADDR]` (default
//! `127.0.0.1:4003`), twice or more. Prints what the server sends, and in the end `* the server has
//! left`, whether any input was typed or not; Ctrl-D leaves.

use std::env;

use torsade::{Failure, net::Stdio};

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4003".into());
    torsade::run(async |reactor| {
        let (mut from_server, mut to_server) = reactor.connect_stream(address).await?.split();
        let (mut from_user, mut to_user) = Stdio::new().open(&reactor)?.split();
        let typing = reactor.spawn(async move {
            while let Some(line) = from_user.read_line(LONGEST).await? {
                to_server.write_all(&[&line[..], b"\r\n"].concat()).await?;
            }
            to_server.close().await?;
            Ok::<_, Failure>(())
        });
        while let Some(line) = from_server.read_line(LONGEST).await? {
            to_user.write_all(&[&line[..], b"\n"].concat()).await?;
        }
        to_user.write_all(b"* the server has left\n").await?;
        to_user.flush().await?;
        drop(typing); // what is not finished is not wanted any more
        Ok(())
    })
}

const LONGEST: usize = 1000;
