//! A server with very many clients, each of which says something now and then: as many as the
//! limits of the machine allow, over several processes and addresses.
//!
//! Run `cargo run --release --example many_clients [N [SECONDS]]` (default `1000` clients for `10`
//! seconds). Prints each second `connected C of N, answered A, p50 T, p99 T, B bytes a connection`,
//! where the times are from a question to its answer and the bytes are the memory of the servers,
//! and at the end `N clients were connected` with the number that was reached.
//!
//! Each process may have a limited number of descriptors, so the clients are divided among pairs of
//! processes, a server and its clients; pair `k` uses the address `127.0.0.k`.

use std::cell::{Cell, RefCell};
use std::env;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use rustix::process::{Resource, getrlimit, setrlimit};
use torsade::net::ListenOptions;
use torsade::prelude::*;
use torsade::process::{ChildFd, Command};
use torsade::protocols::{LineProtocol, Lines};
use torsade::{DeferredSemaphore, interval};

const SECOND: Duration = Duration::from_secs(1);
/// How often a client says something.
const PERIOD: Duration = Duration::from_secs(5);
/// How many connections are being made at the same time, and descriptors that are kept for others.
const AT_ONCE: usize = 200;
const OTHERS: usize = 300;

/// Answers each line.
struct Echo;

impl LineProtocol for Echo {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        cx.send_line(line);
    }
}

/// Serves until its standard input ends, and says each second how much memory it takes.
async fn serve(reactor: Reactor, address: &str) -> Result<(), Failure> {
    // A client that says nothing for three periods is gone.
    let options = ListenOptions::new().backlog(4096).idle_timeout(3 * PERIOD);
    let before = memory();
    let port = reactor.listen((address, options), |_peer| Lines::new(Echo))?;
    println!("listening {}", port.local_addr());
    let mut ticks = interval(&reactor, SECOND);
    while ticks.next().await.is_some() {
        let taken = memory().saturating_sub(before);
        println!("server {} {taken}", port.connections());
    }
    Ok(())
}

/// The memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or_default() * 4096
}

/// What the clients of a process have seen in the present second.
#[derive(Default)]
struct Seen {
    connected: Cell<usize>,
    times: RefCell<Vec<Duration>>,
}

/// One client: a line and its answer in each period.
async fn client(
    reactor: Reactor,
    address: String,
    permits: DeferredSemaphore,
    seen: Rc<Seen>,
    number: usize,
) -> Result<(), Failure> {
    let permit = permits.acquire().await?;
    let mut conn = reactor.connect_stream(address.as_str()).await?;
    drop(permit);
    seen.connected.set(seen.connected.get() + 1);
    // Not all in the same moment.
    reactor
        .sleep(PERIOD.mul_f64(number as f64 * 0.618 % 1.0))
        .await?;
    let mut ticks = interval(&reactor, PERIOD);
    while ticks.next().await.is_some() {
        let asked = reactor.now();
        conn.send_line("still here").await?;
        if conn.read_line(80).await?.is_none() {
            break;
        }
        seen.times.borrow_mut().push(reactor.now() - asked);
    }
    seen.connected.set(seen.connected.get() - 1);
    Ok(())
}

/// Runs clients, and says each second how many are connected and how long their answers took.
async fn clients(reactor: Reactor, address: &str, count: usize) -> Result<(), Failure> {
    let (permits, seen) = (DeferredSemaphore::new(AT_ONCE)?, Rc::new(Seen::default()));
    for number in 0..count {
        let (address, permits) = (address.to_string(), permits.clone());
        let client = client(reactor.clone(), address, permits, seen.clone(), number);
        reactor.spawn(client).detach();
    }
    let mut ticks = interval(&reactor, SECOND);
    while ticks.next().await.is_some() {
        let times: Vec<String> = seen
            .times
            .take()
            .iter()
            .map(|time| time.as_micros().to_string())
            .collect();
        println!("clients {} {}", seen.connected.get(), times.join(","));
    }
    Ok(())
}

/// What a pair of processes said last.
#[derive(Default)]
struct Pair {
    connected: Cell<usize>,
    times: RefCell<Vec<u64>>,
    served: Cell<usize>,
    memory: Cell<u64>,
}

/// Starts this program again, with other words, and passes each line of its output to `note`.
async fn start(
    reactor: &Reactor,
    words: &[&str],
    note: impl Fn(&[&str]) + 'static,
) -> Result<(), Failure> {
    let program = env::current_exe()?;
    let command = Command::new(program)
        .args(words)
        .child_fd(2, ChildFd::Inherit);
    let mut child = command.kill_on_drop(true).spawn(reactor)?;
    let mut output = child.take_stdout()?;
    while let Some(line) = output.read_line(16 << 20).await? {
        let line = String::from_utf8_lossy(&line);
        note(&line.split(' ').collect::<Vec<_>>());
    }
    Err(Failure::new(format!(
        "a process ended with {}",
        child.status().await?
    )))
}

/// Starts a server and its clients.
async fn run_pair(
    reactor: Reactor,
    number: usize,
    count: usize,
    pair: Rc<Pair>,
) -> Result<(), Failure> {
    let (address, resolver) = Deferred::pair();
    let resolver = Cell::new(Some(resolver));
    let seen = pair.clone();
    let at = format!("127.0.0.{number}:0");
    let words = ["serve", &at];
    let serving = start(&reactor, &words, move |words| match words {
        ["listening", address] => {
            if let Some(resolver) = resolver.take() {
                resolver.callback(address.to_string());
            }
        }
        ["server", connections, memory] => {
            seen.served.set(connections.parse().unwrap_or(0));
            seen.memory.set(memory.parse().unwrap_or(0));
        }
        _ => {}
    });
    let asking = async {
        let address = address.await?;
        start(
            &reactor,
            &["clients", &address, &count.to_string()],
            move |words| {
                if let ["clients", connected, times] = words {
                    pair.connected.set(connected.parse().unwrap_or(0));
                    let times = times.split(',').filter_map(|time| time.parse::<u64>().ok());
                    pair.times.borrow_mut().extend(times);
                }
            },
        )
        .await
    };
    futures::future::try_join(serving, asking).await?;
    Ok(())
}

/// Starts the pairs, and prints what all of them say together.
async fn conduct(reactor: Reactor, count: usize, seconds: u64) -> Result<(), Failure> {
    let each = descriptors().saturating_sub(OTHERS).max(1);
    let mut pairs = Vec::new();
    while pairs.len() * each < count {
        let (number, pair) = (pairs.len() + 1, Rc::new(Pair::default()));
        let share = each.min(count - pairs.len() * each);
        let run = run_pair(reactor.clone(), number, share, pair.clone());
        pairs.push((reactor.spawn(run), pair));
    }
    println!("{count} clients in {} pairs of processes", pairs.len());
    let (mut most, mut ticks) = (0, interval(&reactor, SECOND));
    for _ in 0..=seconds {
        ticks.next().await.transpose()?;
        let sum = |get: fn(&Pair) -> usize| pairs.iter().map(|(_, pair)| get(pair)).sum::<usize>();
        let connected = sum(|pair| pair.connected.get());
        let memory = sum(|pair| pair.memory.get() as usize) / sum(|pair| pair.served.get()).max(1);
        let mut times: Vec<u64> = pairs
            .iter()
            .flat_map(|(_, pair)| pair.times.take())
            .collect();
        times.sort_unstable();
        let share = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(0);
        let answered = times.len();
        let (p50, p99) = (
            Duration::from_micros(share(50)),
            Duration::from_micros(share(99)),
        );
        println!(
            "connected {connected} of {count}, answered {answered}, p50 {p50:?}, p99 {p99:?}, \
             {memory} bytes a connection"
        );
        most = most.max(connected);
    }
    println!("{most} clients were connected");
    Ok(())
}

/// Raises the number of descriptors of this process as far as it may, and returns it.
fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        println!("the limit of descriptors cannot be raised: {error}");
    }
    let limit = getrlimit(Resource::Nofile).current;
    limit
        .map_or(usize::MAX, |limit| limit as usize)
        .min(100_000)
}

fn main() -> Result<(), Failure> {
    descriptors();
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    torsade::run(async |reactor| match words[..] {
        ["serve", address] => serve(reactor, address).await,
        ["clients", address, count] => clients(reactor, address, count.parse()?).await,
        [] => conduct(reactor, 1_000, 10).await,
        [count] => conduct(reactor, count.parse()?, 10).await,
        [count, seconds, ..] => conduct(reactor, count.parse()?, seconds.parse()?).await,
    })
}
