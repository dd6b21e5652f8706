//! A datagram echo server, as a protocol, and an async client.
//!
//! Run `cargo run --example udp_echo [ADDR]` (default `127.0.0.1:4005`) for the server, and send to
//! it, for example with `nc -u 127.0.0.1 4005`. Prints `listening on ADDR`. With `ask ADDR WORD...`
//! it is the client, which sends each word every second until it is echoed.

use std::env;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use torsade::{Address, Clock, Context, DatagramPort, DatagramProtocol, Failure, Reactor};

struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    ) {
        if let Err(failure) = cx.write(data, from) {
            eprintln!("no answer: {failure}");
        }
    }
}

async fn serve(reactor: Reactor, address: &str) -> Result<(), Failure> {
    let port = reactor.listen_datagram(address, Echo)?;
    println!("listening on {}", port.local_addr());
    io::stdout().flush()?;
    reactor.stopped().await
}

async fn ask(reactor: Reactor, address: &str, words: &[String]) -> Result<(), Failure> {
    let socket = reactor.bind_datagram("0.0.0.0:0")?;
    socket.connect(address)?;
    for word in words {
        let mut buf = [0; 1500];
        loop {
            socket.send(word.as_bytes()).await?;
            let patience = reactor.sleep(Duration::from_secs(1));
            // Dropping a waiting receive loses no datagram.
            if let Either::Left((count, _)) = select(pin!(socket.recv(&mut buf)), patience).await {
                count?;
                break;
            }
        }
        println!("{}", String::from_utf8_lossy(&buf[..word.len()]));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    torsade::run(async |reactor| match &words[..] {
        [verb, address, words @ ..] if verb == "ask" => ask(reactor, address, words).await,
        [address] => serve(reactor, address).await,
        _ => serve(reactor, "127.0.0.1:4005").await,
    })
}
