//! A custom codec: messages of a kind, one byte, and a value, a decimal number that ends with
//! `;`. A server that adds numbers up.
//!
//! Run `cargo run --example own_codec [ADDR]` (default `127.0.0.1:4013`) and try `printf
//! 'a40;a2;s;' | nc -N 127.0.0.1 4013`, which prints `42;`. Prints `listening on ADDR`.

use std::env;

use torsade::prelude::*;
use torsade::protocols::{Decoded, Decoder};

/// A kind and a value. The codec is the next fourteen lines.
type Message = (u8, u32);
struct Messages;

impl Decoder for Messages {
    type Frame<'a> = Message;
    type Owned = Message;
    type Error = &'static str;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Message, &'static str> {
        let Some(end) = input.iter().take(16).position(|byte| *byte == b';') else {
            return if input.len() < 16 {
                Decoded::More
            } else {
                broken(input)
            };
        };
        match std::str::from_utf8(&input[1.min(end)..end]).map(str::parse) {
            Ok(Ok(value)) => Decoded::Frame {
                frame: (input[0], value),
                length: end + 1,
            },
            _ if end == 1 => Decoded::Frame {
                frame: (input[0], 0),
                length: end + 1,
            },
            _ => broken(input),
        }
    }
}

fn broken(bytes: &[u8]) -> Decoded<'_, Message, &'static str> {
    Decoded::Broken {
        error: "a message is a letter, a number and a semicolon",
        bytes,
    }
}

async fn add_up(conn: Connection) -> Result<(), Failure> {
    let (reader, mut writer) = conn.split();
    let mut messages = reader.framed(Messages);
    let mut sum = 0_u64;
    while let Some(message) = messages.next().await {
        match message? {
            (b'a', value) => sum += u64::from(value),
            (b's', _) => writer.write_all(format!("{sum};").as_bytes()).await?,
            (kind, _) => {
                return Err(Failure::new(format!(
                    "no such kind: {}",
                    kind.escape_ascii()
                )));
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4013".into());
    torsade::run(async |reactor| {
        let port = reactor.serve(address, add_up)?;
        println!("listening on {}", port.local_addr());
        reactor.stopped().await
    })
}
