//! Slow poetry: servers that send poems a line at a time, and a client that fetches all poems at
//! once, on one thread. One of the servers dies half-way, and one does not exist. A server is a
//! protocol, a client an async function.
//!
//! Run `cargo run --example poetry`; it takes about five seconds. Prints what it is about, each
//! line when it arrives, then a table (each poem with the number of its lines, the time, and the
//! result), and what to try next.
//!
//! The halves alone: `poetry serve ADDR FILE` prints `listening on ADDR` and sends a file slowly to
//! every client; `poetry get ADDR...` fetches from all of the addresses at once.

use std::io::{self, Write};
use std::{env, fs, time::Duration, vec};

use torsade::{Clock, Context, Failure, Port, Protocol, Reactor};

/// The server's side of a connection: sends a line, pauses, sends a line, and so on.
struct Reciter(vec::IntoIter<String>);

impl Protocol for Reciter {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        match self.0.next().as_deref() {
            Some(line) if line.contains("from Porlock") => return cx.abort_connection(),
            Some(line) => cx.write(format!("{line}\n")),
            None => return cx.lose_connection(),
        }
        cx.call_later(PAUSE, Self::connection_made); // called off by itself when the client leaves
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _heckling: &[u8]) {}
}

fn serve(reactor: &Reactor, address: &str, poem: &str) -> Result<Port, Failure> {
    let lines: Vec<_> = poem.lines().map(String::from).collect();
    reactor.listen(address, move |_peer| Reciter(lines.clone().into_iter()))
}

/// The client's side: fetches one poem, and returns its row of the table.
async fn fetch(reactor: Reactor, title: String, address: String) -> String {
    let (start, mut lines) = (reactor.now(), 0);
    let poem = async {
        let mut conn = reactor.connect_stream(address).await?;
        while let Some(line) = conn.read_line(1_000).await? {
            lines += 1;
            println!("{title:>22}: {}", String::from_utf8_lossy(&line));
        }
        Ok::<_, Failure>(())
    };
    let end = poem
        .await
        .map_or_else(|failure| format!("{failure:#}"), |()| "complete".into());
    let seconds = (reactor.now() - start).as_secs_f32();
    format!("{title:>22} {lines:>5} {seconds:>5.1} s  {end}")
}

/// Fetches all poems at once, and prints the table.
async fn get(reactor: &Reactor, poems: Vec<(String, String)>) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (title, address) in poems {
        rows.push(reactor.spawn(fetch(reactor.clone(), title, address)));
    }
    let mut table = format!("\n{:>22} lines    time  end", "poem");
    for row in rows {
        table = table + "\n" + &row.await?; // all of them run by themselves: this waits for the last
    }
    println!("{table}");
    Ok(())
}

/// Runs everything: a server for each poem but the last, and the client.
async fn everything(reactor: &Reactor) -> Result<(), Failure> {
    println!("{ABOUT}");
    let (mut poems, mut ports) = (Vec::new(), Vec::new());
    for (title, poem) in POEMS {
        let port = serve(reactor, "127.0.0.1:0", poem)?;
        poems.push((title.into(), port.local_addr().to_string()));
        ports.push(port);
    }
    if let Some(nobody) = ports.pop() {
        nobody.stop().await?;
    }
    get(reactor, poems).await?;
    println!("{NEXT}");
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    torsade::run(async |reactor| match words[..] {
        [] => everything(&reactor).await,
        ["serve", address, file] => {
            let port = serve(&reactor, address, &fs::read_to_string(file)?)?;
            println!("listening on {}", port.local_addr());
            io::stdout().flush()?;
            reactor.stopped().await
        }
        ["get", ref addresses @ ..] => {
            let named = |address: &&str| (address.to_string(), address.to_string());
            get(&reactor, addresses.iter().map(named).collect()).await
        }
        _ => Err(Failure::new(
            "the words are `serve ADDR FILE` or `get ADDR...`",
        )),
    })
}

const ABOUT: &str =
    "torsade: four servers drip poems, and five clients read them, all at once on one thread";
const NEXT: &str = "
Next: `cargo run --example chat` (protocols that talk to each other), `cargo run --example echo_async`
(an async function), and the guide: `cargo doc --open`, module `guide`.";
const PAUSE: Duration = Duration::from_millis(350);
const POEMS: [(&str, &str); 5] = [
    ("Hope", include_str!("poems/hope.txt")),
    ("The Sick Rose", include_str!("poems/rose.txt")),
    ("Who Has Seen the Wind?", include_str!("poems/wind.txt")),
    ("Kubla Khan", include_str!("poems/khan.txt")), // is interrupted
    ("The Listeners", ""),                          // nobody answers
];
