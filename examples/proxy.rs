//! A TCP proxy: forwards each connection to another server, as fast as the slower side reads, and
//! each end of file too.
//!
//! Run `cargo run --example proxy [LISTEN [CONNECT]]` (default `127.0.0.1:4010` and
//! `127.0.0.1:4002`, where `echo_async` listens) and connect to it. Either may be any endpoint:
//! `tcp:80`, `unix:/run/app.sock`, `haproxy:tcp:80`. Prints `listening on ADDR`, and at the end of
//! a connection the number of bytes each way: `PEER: 5 up, 5 down`, or the error.

use std::env;
use std::io::{self, Write};

use futures::future::try_join;
use torsade::net::ClientEndpoint;
use torsade::stream::{ReadHalf, WriteHalf};
use torsade::{Connection, Failure, Reactor, Transport};

/// Forwards bytes. Waiting for room in `to` slows `from` down; dropping `to` sends the end of file.
async fn pass(mut from: ReadHalf, mut to: WriteHalf) -> Result<u64, Failure> {
    let mut buf = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let count = from.read(&mut buf).await?;
        if count == 0 {
            return Ok(passed);
        }
        to.write_all(&buf[..count]).await?;
        passed += count as u64;
    }
}

async fn proxy(reactor: &Reactor, to: &ClientEndpoint, near: Connection) -> Result<(), Failure> {
    let far = reactor.connect_stream(to).await?;
    let both = [near.transport(), far.transport()];
    let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
    let passed = try_join(pass(near_read, far_write), pass(far_read, near_write)).await;
    if passed.is_err() {
        both.iter().for_each(Transport::abort_connection); // one side broke: the other is to see that
    }
    let (up, down) = passed?;
    println!("{}: {up} up, {down} down", both[0].peer());
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut words = env::args().skip(1);
    let listen = words.next().unwrap_or_else(|| "127.0.0.1:4010".into());
    let connect = words.next().unwrap_or_else(|| "127.0.0.1:4002".into());
    let connect = ClientEndpoint::parse(&connect)?;
    torsade::run(async |reactor| {
        let port = reactor.serve(listen, {
            let reactor = reactor.clone();
            async move |conn| {
                let peer = conn.peer();
                if let Err(failure) = proxy(&reactor, &connect, conn).await {
                    println!("{peer}: {failure}");
                }
                Ok(())
            }
        })?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
