//! A guest of tokio: both loops on one thread, where tokio waits and turns the reactor when there
//! is something to do.
//!
//! Run `cargo run --example guest_of_tokio` in `benches/rivals`. Prints `tokio reads: hello`,
//! `torsade calls later`, `torsade has ended`.

use std::error::Error;
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::task;
use torsade::{Clock, Context, Protocol, Reactor};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

/// Turns the reactor until it has ended.
#[allow(
    unsafe_code,
    reason = "tokio has its users promise that a descriptor stays open"
)]
async fn drive(reactor: &Reactor) -> io::Result<()> {
    // SAFETY: the reactor is borrowed for longer than the registration lives, and its descriptor
    // never changes.
    let descriptor =
        unsafe { AsyncFd::register_with_interest(reactor.as_fd(), Interest::READABLE)? };
    while !reactor.has_ended() {
        tokio::select! {
            // Cleared before the turn, so that events during the turn are reported again.
            readable = descriptor.readable() => readable?.clear_ready(),
            () = timeout(reactor.poll_timeout()) => {}
        }
        reactor.run_until_current();
        reactor.do_iteration(Some(Duration::ZERO));
    }
    Ok(())
}

async fn timeout(timeout: Option<Duration>) {
    match timeout {
        None => pending().await,
        Some(Duration::ZERO) => task::yield_now().await,
        Some(timeout) => tokio::time::sleep(timeout).await,
    }
}

/// One of tokio's tasks, which makes requests of the reactor at any time.
async fn talk(reactor: Reactor, address: String) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"hello").await?;
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await?;
    println!("tokio reads: {}", heard.escape_ascii());
    let stopper = reactor.clone();
    reactor.call_later(Duration::from_millis(10), move || {
        println!("torsade calls later");
        stopper.stop().expect("it runs");
    });
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    reactor.start()?;
    let port = reactor.listen("127.0.0.1:0", |_| Echo)?;
    let talking = talk(reactor.clone(), port.local_addr().to_string());
    tokio::try_join!(drive(&reactor), talking)?;
    println!("torsade has ended");
    Ok(())
}
