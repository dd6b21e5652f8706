//! A chat room: protocols that send to each other through a `Group`.
//!
//! Run `cargo run --example chat [ADDR]` (default `127.0.0.1:4004`) and join with `nc 127.0.0.1
//! 4004`, twice or more. Prints `listening on ADDR`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::io::{self, Write};
use std::rc::Rc;

use torsade::protocols::{LineProtocol, Lines};
use torsade::{Context, Failure, Group};

/// The members of the chat. Clones are handles to the same room.
#[derive(Clone, Default)]
struct Room {
    group: Group,
    names: Rc<RefCell<BTreeSet<String>>>,
}

struct Guest {
    room: Room,
    /// The member's name; `None` until the member has chosen a free one.
    name: Option<String>,
}

impl Guest {
    fn take_name(&mut self, cx: &Context<'_, Self>, name: &str) {
        if name.is_empty() {
            return cx.write("What is your name?\r\n");
        }
        if !self.room.names.borrow_mut().insert(name.into()) {
            return cx.write("Name taken, please choose another.\r\n");
        }
        cx.write(format!("Welcome, {name}!\r\n"));
        self.room.group.write(format!("{name} has joined\r\n"));
        self.room.group.join(cx);
        self.name = Some(name.into());
    }
}

impl LineProtocol for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write("What is your name?\r\n");
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        match &self.name {
            None => self.take_name(cx, line.trim()),
            Some(name) => self
                .room
                .group
                .write_others(cx, format!("<{name}> {line}\r\n")),
        }
    }

    fn connection_lost(&mut self, _reason: Failure) {
        if let Some(name) = &self.name {
            self.room.names.borrow_mut().remove(name);
            self.room.group.write(format!("{name} has left\r\n"));
        }
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:4004".into());
    torsade::run(async |reactor| {
        let room = Room::default();
        let port = reactor.listen(address, move |_peer| {
            Lines::new(Guest {
                room: room.clone(),
                name: None,
            })
        })?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
