//! A chat room for the users of one machine: over a UNIX socket, where the system identifies the
//! peers.
//!
//! Run `cargo run --example unix_chat [ADDR]` (default `unix:/tmp/torsade-chat:mode=666`) and join
//! with `socat READLINE UNIX-CONNECT:/tmp/torsade-chat`, twice or more. Prints `listening on ADDR`.

use std::env;
use std::io::{self, Write};

use torsade::protocols::{LineProtocol, Lines};
use torsade::{Context, Failure, Group};

struct Guest {
    room: Group,
    name: String,
}

impl LineProtocol for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        // The system identifies the peer, so a peer cannot pretend to be another user.
        self.name = match cx.peer_credentials() {
            Ok(peer) => format!("user {}, process {}", peer.uid, peer.pid),
            Err(_) => "somebody".into(),
        };
        cx.write(format!("Welcome, {}!\r\n", self.name));
        self.room.write(format!("{} has joined\r\n", self.name));
        self.room.join(cx);
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let said = format!("<{}> {line}\r\n", self.name);
        self.room.write_others(cx, said);
    }

    fn connection_lost(&mut self, _reason: Failure) {
        self.room.write(format!("{} has left\r\n", self.name));
    }
}

fn main() -> Result<(), Failure> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "unix:/tmp/torsade-chat:mode=666".into());
    torsade::run(async |reactor| {
        let room = Group::default();
        let port = reactor.listen(address, move |_peer| {
            Lines::new(Guest {
                room: room.clone(),
                name: String::new(),
            })
        })?;
        println!("listening on {}", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
