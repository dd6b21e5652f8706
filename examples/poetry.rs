//! Slow poetry: servers that drip poems a line at a time, and a client that fetches them all at once, on one thread.
//! One of the servers dies half-way, and one is not there. A server is a protocol, a client an async function.
//!
//! Run `cargo run --release --example poetry`; it takes about five seconds. Prints each line as it comes (on a
//! terminal in place), and then the table: which poem, how many lines in what time, and how it ended.
//!
//! The halves alone: `poetry serve ADDR FILE` prints `listening on ADDR` and drips a file to whoever connects;
//! `poetry get ADDR...` fetches from all of these at once.

use std::cell::RefCell;
use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{env, fs, vec};

use torsade::{Clock, Context, Failure, Port, Protocol, Reactor};

/// The server's side of a connection: a line, a pause, a line, a pause.
struct Reciter {
    lines: vec::IntoIter<String>,
    pause: Duration,
    /// How many more lines it lives.
    breath: usize,
}

impl Reciter {
    fn recite(&mut self, cx: &mut Context<'_, Self>) {
        if self.breath == 0 {
            return cx.abort_connection();
        }
        let Some(line) = self.lines.next() else {
            return cx.lose_connection();
        };
        self.breath -= 1;
        cx.write(line + "\n");
        cx.call_later(self.pause, Self::recite); // called off by itself when the client leaves
    }
}

impl Protocol for Reciter {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.recite(cx);
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _heckling: &[u8]) {}
}

/// Recites `poem` to whoever connects, each at its own pace.
fn serve(reactor: &Reactor, address: &str, poem: &str, breath: usize) -> Result<Port, Failure> {
    let lines: Vec<String> = poem.lines().map(String::from).collect();
    let pause = Duration::from_millis(300 + poem.len() as u64 % 100);
    reactor.listen(address, move |_peer| Reciter {
        lines: lines.clone().into_iter(),
        pause,
        breath,
    })
}

/// The client's side: fetches one poem, and enters in its row of the table what comes.
async fn fetch(reactor: Reactor, address: String, table: Rc<Table>, row: usize) {
    let end = async {
        let mut conn = reactor.connect_stream(address).await?;
        while let Some(line) = conn.read_line(1_000).await? {
            table.enter(row, COMING, 1, &String::from_utf8_lossy(&line));
        }
        Ok::<_, Failure>(())
    };
    match end.await {
        Ok(()) => table.enter(row, WHOLE, 0, "complete"),
        Err(failure) => {
            let cause = failure.chain().last().unwrap_or_else(|| failure.error());
            table.enter(row, BROKEN, 0, &cause.to_string());
        }
    }
}

/// Fetches all poems at once, each given by title and address.
async fn get(reactor: &Reactor, poems: Vec<(String, String)>) -> Result<(), Failure> {
    let (titles, addresses): (Vec<_>, Vec<_>) = poems.into_iter().unzip();
    let table = Rc::new(Table::new(reactor, titles));
    let mut fetches = Vec::new();
    for (row, address) in addresses.into_iter().enumerate() {
        fetches.push(reactor.spawn(fetch(reactor.clone(), address, table.clone(), row)));
    }
    for fetch in fetches {
        fetch.await?; // all of them run by themselves: this waits for the last
    }
    table.sum_up();
    Ok(())
}

/// What has come so far, and how it is shown: on a terminal in place, elsewhere row by row.
struct Table {
    clock: Reactor,
    start: Instant,
    rows: RefCell<Vec<Row>>,
}

struct Row {
    title: String,
    lines: usize,
    seconds: f32,
    shown: String,
}

impl Table {
    fn new(reactor: &Reactor, titles: Vec<String>) -> Self {
        let row = |title| Row {
            shown: format!("  {title}"),
            title,
            lines: 0,
            seconds: 0.0,
        };
        let table = Self {
            clock: reactor.clone(),
            start: reactor.now(),
            rows: RefCell::new(titles.into_iter().map(row).collect()),
        };
        table.print();
        table
    }

    fn print(&self) {
        println!("  {:<22} lines    time", "poem");
        for row in &*self.rows.borrow() {
            println!("{}", row.shown);
        }
    }

    fn enter(&self, row: usize, (mark, color): (char, u8), more: usize, note: &str) {
        let rows = &mut *self.rows.borrow_mut();
        let Row {
            title,
            lines,
            seconds,
            shown,
        } = &mut rows[row];
        *lines += more;
        *seconds = (self.clock.now() - self.start).as_secs_f32();
        *shown = format!("{mark} {title:<22} {lines:>5} {seconds:>5.1} s  {note:.43}");
        if io::stdout().is_terminal() {
            *shown = format!("\x1b[{color}m{shown}\x1b[0m");
            print!("\x1b[{}A", rows.len()); // up to the first
            rows.iter().for_each(|row| println!("{}\x1b[K", row.shown));
        } else {
            println!("{shown}");
        }
    }

    fn sum_up(&self) {
        println!();
        if !io::stdout().is_terminal() {
            self.print();
            println!();
        }
        let (mut lines, mut most, mut sum) = (0, 0_f32, 0.0);
        for row in &*self.rows.borrow() {
            lines += row.lines;
            most = most.max(row.seconds);
            sum += row.seconds;
        }
        println!("{lines} lines in {most:.1} s; one by one it would have been {sum:.1} s.");
    }
}

/// The whole show: every poem has its server, but the last one.
async fn everything(reactor: &Reactor) -> Result<(), Failure> {
    let (mut poems, mut ports) = (Vec::new(), Vec::new());
    for (title, poem, breath) in POEMS {
        let port = serve(reactor, "127.0.0.1:0", poem, breath)?;
        poems.push((title.into(), port.local_addr().to_string()));
        ports.push(port);
    }
    if let Some(nobody) = ports.pop() {
        nobody.stop().await?;
    }
    get(reactor, poems).await
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    torsade::run(async |reactor| match words[..] {
        [] => everything(&reactor).await,
        ["serve", address, file] => {
            let port = serve(&reactor, address, &fs::read_to_string(file)?, ALL)?;
            println!("listening on {}", port.local_addr());
            io::stdout().flush()?;
            pending().await
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

/// A poem's mark and colour.
const COMING: (char, u8) = ('…', 36);
const WHOLE: (char, u8) = ('✓', 32);
const BROKEN: (char, u8) = ('✗', 31);

/// Title, text, and after how many lines its server dies.
const POEMS: [(&str, &str, usize); 5] = [
    // Emily Dickinson
    ("Hope", include_str!("poems/hope.txt"), ALL),
    // William Blake
    ("The Sick Rose", include_str!("poems/rose.txt"), ALL),
    // Christina Rossetti
    (
        "Who Has Seen the Wind?",
        include_str!("poems/wind.txt"),
        ALL,
    ),
    // Samuel Taylor Coleridge; a person from Porlock calls
    ("Kubla Khan", include_str!("poems/khan.txt"), 5),
    // Walter de la Mare; nobody answers
    ("The Listeners", "", 0),
];
const ALL: usize = usize::MAX;
