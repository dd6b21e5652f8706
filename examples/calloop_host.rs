//! A reactor as the guest of calloop: the reactor's descriptor is one of calloop's sources, beside
//! a socket of the host's own.
//!
//! Run `cargo run --example calloop_host`. Prints `calloop reads: hello`, `torsade calls later`,
//! `torsade has ended`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, Mode, PostAction};
use torsade::{Clock, Context, Protocol, Reactor};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let reactor = Reactor::new()?;
    reactor.start()?;
    let port = reactor.listen("127.0.0.1:0", |_peer| Echo)?;

    let mut calloop: EventLoop<'_, Reactor> = EventLoop::try_new()?;
    // It ends calloop's wait; the turn follows below.
    let descriptor = Generic::new(reactor.clone(), Interest::READ, Mode::Level);
    calloop
        .handle()
        .insert_source(descriptor, |_ready, _reactor, _data| {
            Ok(PostAction::Continue)
        })?;

    // The host's own work.
    let mut stream = TcpStream::connect(port.local_addr().to_string())?;
    stream.write_all(b"hello")?;
    let stream = Generic::new(stream, Interest::READ, Mode::Level);
    calloop
        .handle()
        .insert_source(stream, |_ready, stream, reactor| {
            let mut bytes = [0; 5];
            (&**stream).read_exact(&mut bytes)?;
            println!("calloop reads: {}", bytes.escape_ascii());
            // The host's code may call the reactor at any time.
            let stopper = reactor.clone();
            reactor.call_later(Duration::from_millis(10), move || {
                println!("torsade calls later");
                stopper.stop().expect("it runs");
            });
            Ok(PostAction::Remove)
        })?;

    let mut data = reactor.clone();
    while !reactor.has_ended() {
        calloop.dispatch(reactor.poll_timeout(), &mut data)?;
        reactor.run_until_current();
        reactor.do_iteration(Some(Duration::ZERO));
    }
    println!("torsade has ended");
    Ok(())
}
