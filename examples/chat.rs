//! A chat room: protocols that send to each other through a `Group`.
//!
//! Run `cargo run --example chat [ADDR]` (default `127.0.0.1:4004`) and join with `nc 127.0.0.1
//! 4004`, twice or more. Prints `listening on ADDR`.

use std::env;
use std::io::{self, Write};

use torsade::prelude::*;
use torsade::protocols::{LineProtocol, Lines};

struct Guest {
    room: Group,
    /// The member's name; `None` until the member has chosen a free one.
    name: Option<String>,
}

impl Guest {
    fn take_name(&mut self, cx: &Context<'_, Self>, name: &str) {
        if name.is_empty() {
            return cx.send_line("What is your name?");
        }
        if !self.room.join_as(cx, name) {
            return cx.send_line("Name taken, please choose another.");
        }
        cx.send_line(format!("Welcome, {name}!"));
        self.room.write_others(cx, format!("{name} has joined\r\n"));
        self.name = Some(name.into());
    }
}

impl LineProtocol for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.send_line("What is your name?");
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        match &self.name {
            None => self.take_name(cx, line.trim()),
            Some(name) => self.room.write_others(cx, format!("<{name}> {line}\r\n")),
        }
    }

    fn connection_lost(&mut self, _reason: Failure) {
        if let Some(name) = &self.name {
            self.room.write(format!("{name} has left\r\n"));
        }
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4004".into());
    torsade::run(async |reactor| {
        let room = Group::new();
        let port = reactor.listen(address, move |_peer| {
            let room = room.clone();
            Lines::new(Guest { room, name: None })
        })?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
