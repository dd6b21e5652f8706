//! A reactor as the guest of tokio: tokio's loop waits for the reactor's descriptor and turns the
//! reactor; a client of tokio's talks to a server of torsade's, on one thread.
//!
//! Run `cargo run --example tokio_host`. Prints `tokio reads: hello`, `torsade calls later`,
//! `torsade has ended`.

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use futures::future::try_join;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use torsade::{Clock, Context, Protocol, Reactor};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

/// Turns the reactor whenever it has work, until it has ended.
#[allow(
    deprecated,
    reason = "its replacement is `unsafe`; a descriptor that is borrowed stays open"
)]
async fn host(reactor: &Reactor) -> io::Result<()> {
    let descriptor = AsyncFd::with_interest(reactor.as_fd(), Interest::READABLE)?;
    while !reactor.has_ended() {
        match reactor.poll_timeout() {
            // It has more to do. The others come first.
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(timeout) => {
                if let Ok(ready) = tokio::time::timeout(timeout, descriptor.readable()).await {
                    ready?.clear_ready();
                }
            }
            None => descriptor.readable().await?.clear_ready(),
        }
        reactor.run_until_current();
        reactor.do_iteration(Some(Duration::ZERO));
    }
    println!("torsade has ended");
    Ok(())
}

async fn client(reactor: &Reactor, address: String) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"hello").await?;
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await?;
    println!("tokio reads: {}", bytes.escape_ascii());
    // The host's code may call the reactor at any time.
    let stopper = reactor.clone();
    reactor.call_later(Duration::from_millis(10), move || {
        println!("torsade calls later");
        stopper.stop().expect("it runs");
    });
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let tokio = Builder::new_current_thread().enable_all().build()?;
    let reactor = Reactor::new()?;
    reactor.start()?;
    let port = reactor.listen("127.0.0.1:0", |_peer| Echo)?;
    let client = client(&reactor, port.local_addr().to_string());
    tokio.block_on(try_join(host(&reactor), client))?;
    Ok(())
}
