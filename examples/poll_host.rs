//! A reactor as the guest of another loop: the program itself waits with poll(2), and turns the
//! reactor when it has work.
//!
//! Run `cargo run --example poll_host`. Prints `the host reads: hello`, `torsade calls later`,
//! `torsade has ended`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use torsade::{Clock, Context, Protocol, Reactor};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

/// Waits until the reactor or the host's own socket is ready, for as long as the reactor allows.
/// Returns whether the socket is readable.
fn wait(reactor: &Reactor, stream: &TcpStream) -> io::Result<bool> {
    let timeout = reactor.poll_timeout().map(Timespec::try_from);
    let timeout = timeout.transpose().map_err(io::Error::other)?;
    let mut fds = [
        PollFd::new(reactor, PollFlags::IN),
        PollFd::new(stream, PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        // A signal is no error: the reactor looks for it in its turn.
        Ok(_) | Err(Errno::INTR) => Ok(!fds[1].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    reactor.start()?;
    let port = reactor.listen("127.0.0.1:0", |_| Echo)?;
    // The host's own work.
    let mut stream = TcpStream::connect(port.local_addr().to_string())?;
    stream.write_all(b"hello")?;
    let mut heard = None;
    while !reactor.has_ended() {
        let is_readable = wait(&reactor, &stream)?;
        reactor.run_until_current();
        reactor.do_iteration(Some(Duration::ZERO));
        if is_readable && heard.is_none() {
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes)?;
            println!("the host reads: {}", bytes.escape_ascii());
            heard = Some(bytes);
            // The host may call the reactor at any time.
            let stopper = reactor.clone();
            reactor.call_later(Duration::from_millis(10), move || {
                println!("torsade calls later");
                stopper.stop().expect("it runs");
            });
        }
    }
    println!("torsade has ended");
    Ok(())
}
