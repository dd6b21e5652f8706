//! A BGP-4 speaker: it announces routes to its peers, and shows those that they announce.
//!
//! Run `cargo run --example bgp_speaker -- --as N --id A.B.C.D --peer ADDR[:PORT][,as=N] ...`, with
//! `--listen ADDR:PORT` for peers that connect, `--route PREFIX[,next-hop=A]` for each route, and
//! `--db FILE` for an SQLite file with the state of each peer. Prints `listening on ADDR`, a line
//! for each change of a peer's state, and one for each route that comes or goes. Lines of the
//! standard input are commands: `announce PREFIX[,next-hop=A]`, `withdraw PREFIX`, `refresh`,
//! `status`. SIGUSR1 withdraws the routes of the command line, SIGUSR2 announces them again. When
//! it is stopped, it ends its sessions with a NOTIFICATION.
//!
//! | File | What it is |
//! |---|---|
//! | `message.rs` | the messages as values |
//! | `codec.rs` | their bytes, both ways, and what is wrong with them |
//! | `machine.rs` | the state machine of one connection, without I/O and clock |
//! | `peer.rs` | the two machines of a peer, and what decides between them |
//! | `session.rs` | the task of a peer: connections, timers, routes |
//! | `speaker.rs` | the peers, the port, the commands |
//! | `store.rs` | the SQLite file |

mod codec;
mod machine;
mod message;
mod peer;
mod session;
mod speaker;
mod store;

use std::env;
use std::net::Ipv4Addr;
use std::rc::Rc;

use torsade::net::Stdio;
use torsade::prelude::*;

#[cfg(unix)]
use crate::session::Routes;
use crate::session::{Command, Note};
use crate::speaker::{Settings, Speaker, USAGE};
use crate::store::{Change, Store, Writer};

/// Prints the reports about a peer, and stores its state.
fn show(peer: Ipv4Addr, note: &Note, writer: Option<&Writer>) {
    match note {
        Note::State(state, session) => {
            let text = match session {
                Some(session) => format!("{state:?}, {session}"),
                None => format!("{state:?}"),
            };
            println!("{peer}: {text}");
        }
        Note::Ended(cause) => println!("{peer}: {cause}"),
        Note::Announced(prefix, attributes) => println!("{peer}: {prefix} {attributes}"),
        Note::Withdrawn(prefix) => println!("{peer}: {prefix} withdrawn"),
        Note::TreatedAsWithdrawn(error) => println!("{peer}: treated as withdrawn, for {error}"),
        Note::EndOfRoutes => println!("{peer}: all routes are here"),
        Note::Keepalive => {}
    }
    let change = match note {
        Note::State(state, _) => Change::State(format!("{state:?}")),
        Note::Keepalive => Change::Keepalive,
        _ => return,
    };
    if let Some(writer) = writer {
        writer.write(peer, change);
    }
}

/// Carries out the commands of the standard input until it ends.
async fn read_commands(reactor: Reactor, speaker: Rc<Speaker>) -> Result<(), Failure> {
    let mut input = Stdio::new().open(&reactor)?;
    while let Some(line) = input.read_line(1000).await? {
        match String::from_utf8_lossy(&line).parse::<Command>() {
            Ok(command) => speaker.command(&command).await?,
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}

/// Withdraws the given routes upon SIGUSR1, and announces them upon SIGUSR2.
#[cfg(unix)]
async fn read_signals(
    reactor: Reactor,
    speaker: Rc<Speaker>,
    routes: Routes,
) -> Result<(), Failure> {
    let mut signals = reactor.signals([Signal::USR1, Signal::USR2])?;
    while let Some(signal) = signals.next().await {
        for (prefix, next_hop) in &routes {
            let command = match signal == Signal::USR1 {
                true => Command::Withdraw(*prefix),
                false => Command::Announce(*prefix, *next_hop),
            };
            speaker.command(&command).await?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let settings = Settings::parse(env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}\n{USAGE}");
        std::process::exit(2);
    });
    torsade::run(async |reactor| {
        let store = match &settings.db {
            Some(path) => Some(Store::open(&reactor, path).await?),
            None => None,
        };
        let writer = store.as_ref().map(Store::writer);
        let notes = Rc::new(move |peer, note| show(peer, &note, writer.as_ref()));
        #[cfg(unix)]
        let routes = settings.routes.clone();
        let speaker = Rc::new(Speaker::start(&reactor, settings, notes)?);
        if let Some(address) = speaker.local_addr() {
            println!("listening on {address}");
        }
        spawn(read_commands(reactor.clone(), speaker.clone())).detach();
        #[cfg(unix)]
        spawn(read_signals(reactor.clone(), speaker.clone(), routes)).detach();
        reactor.stopped().await?;
        speaker.stop().await?;
        match store {
            Some(store) => store.close().await,
            None => Ok(()),
        }
    })
}
