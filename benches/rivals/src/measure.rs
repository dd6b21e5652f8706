//! Starts contenders as processes, and reads their cost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::client;
use crate::contenders::Contender;
use crate::rows::{Row, Tls, Unit, Work};

pub type Error = Box<dyn std::error::Error>;

/// Nanoseconds of CPU time for one operation.
pub type Sample = f64;

/// The processor of the clients, and that of the loop under test.
const CLIENT: usize = 0;
const LOOP: usize = 1;

/// The turns of each server in a round.
const TURNS: usize = 8;

/// The most connections to one server with which all servers of a row are open together. With more
/// each finds what it needs in the caches only after a while.
const TOGETHER: usize = 100;

/// Lets the contenders take turns; returns what each of them took in each turn. Where they can be
/// open together there are [`TURNS`] short ones: what the machine does beside them then happens to
/// all.
pub fn round(contenders: &[Contender], row: &Row) -> Result<Vec<Vec<Sample>>, Error> {
    if row.unit != Unit::Messages {
        let once = |who: &Contender| Ok(vec![run(*who, row, row.count, &[])?.0]);
        return contenders.iter().map(once).collect();
    }
    pin(None, client_of(row));
    let start = |who: &Contender| Pair::start(*who, row);
    if row.work.connections() > TOGETHER {
        let alone = |who: &Contender| Ok(vec![start(who)?.turn(row.count)?]);
        return contenders.iter().map(alone).collect();
    }
    let mut pairs: Vec<Pair> = contenders.iter().map(start).collect::<Result<_, _>>()?;
    let mut samples = vec![Vec::new(); pairs.len()];
    for _ in 0..TURNS {
        for (pair, samples) in pairs.iter_mut().zip(&mut samples) {
            samples.push(pair.turn(row.count / TURNS)?);
        }
    }
    Ok(samples)
}

/// Returns the processor of a row's clients. Where one side sends all the time, both sides share
/// one: on two, the system's work for a packet falls to the side that holds the lock of its socket
/// at the moment, and the time of a loop changes by a third from run to run.
fn client_of(row: &Row) -> usize {
    match row.work {
        Work::Tls(Tls::Send | Tls::Receive) => LOOP,
        _ => CLIENT,
    }
}

/// A server and its clients.
struct Pair {
    server: Server,
    client: client::Client,
}

impl Pair {
    /// Starts both, and lets them exchange messages that do not count.
    fn start(contender: Contender, row: &Row) -> Result<Self, Error> {
        let server = Server::start(contender, row, &[])?;
        let mut client = client::Client::connect(server.address, row.work)?;
        client.exchange(row.count / 10)?;
        Ok(Self { server, client })
    }

    /// Measures about `count` messages.
    fn turn(&mut self, count: usize) -> Result<Sample, Error> {
        let before = self.server.busy()?;
        let count = self.client.exchange(count)?;
        Ok((self.server.busy()? - before) / count as f64)
    }
}

/// Counts user instructions of one operation: those of twice as many operations, less those of the
/// operations once, so that the start and the end do not count.
pub fn instructions(contender: Contender, row: &Row) -> Result<f64, Error> {
    let counted = |count: usize| -> Result<f64, Error> {
        if row.unit != Unit::Messages {
            return run(contender, row, count, &VALGRIND).map(|(_, total)| total);
        }
        let server = Server::start(contender, row, &VALGRIND)?;
        let mut client = client::Client::connect(server.address, row.work)?;
        client.exchange(count)?;
        drop(client);
        server.end()
    };
    let (once, twice) = (counted(row.counted)?, counted(row.counted * 2)?);
    Ok((twice - once) / row.counted as f64)
}

/// Runs work that needs no client; returns the number that it printed, and the instructions where
/// they are counted.
fn run(contender: Contender, row: &Row, count: usize, under: &[&str]) -> Result<(f64, f64), Error> {
    // A program with several threads has all processors.
    let _ = sched_setaffinity(None, &processors());
    let count = count.to_string();
    let arguments = ["run", contender.name(), row.name, &count];
    let output = command(under, contender, &arguments).output()?;
    if !output.status.success() {
        return Err(format!("{} {}: {}", contender.name(), row.name, output.status).into());
    }
    let printed = String::from_utf8(output.stdout)?.trim().parse()?;
    let total = match under.is_empty() {
        true => 0.0,
        false => collected(&String::from_utf8_lossy(&output.stderr))?,
    };
    Ok((printed, total))
}

/// Returns the total that callgrind writes at the end.
pub fn collected(text: &str) -> Result<f64, Error> {
    let line = text
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let line = line.ok_or_else(|| format!("callgrind counted nothing: {text}"))?;
    Ok(line.trim().parse()?)
}

fn command(under: &[&str], contender: Contender, arguments: &[&str]) -> Command {
    let mut words: Vec<String> = under.iter().map(|word| (*word).to_owned()).collect();
    words.extend(contender.program());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stderr(Stdio::piped());
    command
}

/// A server in a separate process.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(contender: Contender, row: &Row, under: &[&str]) -> Result<Self, Error> {
        let mut child = command(under, contender, &["serve", contender.name(), row.name])
            .stdout(Stdio::piped())
            .spawn()?;
        pin(Some(child.id()), LOOP);
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse();
        let mut server = Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        server.address = address.map_err(|_| format!("{} did not start", contender.name()))?;
        Ok(server)
    }

    /// Returns how long its main thread has been on a processor, in nanoseconds.
    fn busy(&self) -> Result<f64, Error> {
        busy(self.child.id())
    }

    /// Ends it; returns its instructions.
    fn end(mut self) -> Result<f64, Error> {
        let id = Pid::from_raw(self.child.id() as i32);
        if let Some(id) = id {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        }
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        collected(&text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns how long the main thread of a process has been on a processor, in nanoseconds.
pub fn busy(process: u32) -> Result<f64, Error> {
    let stat = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}

/// Pins a process (`None`: this one) to a processor, where there are enough of them.
fn pin(process: Option<u32>, processor: usize) {
    let all = processors();
    if all.is_set(processor) && all.count() > 1 {
        let mut set = CpuSet::new();
        set.set(processor);
        let process = process.and_then(|id| Pid::from_raw(id as i32));
        let _ = sched_setaffinity(process, &set);
    }
}

/// Returns the processors that this process may use, as long as it is not pinned.
fn processors() -> CpuSet {
    static ALL: OnceLock<CpuSet> = OnceLock::new();
    *ALL.get_or_init(|| sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new()))
}

pub const VALGRIND: [&str; 3] = [
    "valgrind",
    "--tool=callgrind",
    "--callgrind-out-file=/dev/null",
];
