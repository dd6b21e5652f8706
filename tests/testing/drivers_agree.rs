//! The in-memory network behaves like the machine's: scripts of operations, generated from seeds,
//! run on both, and each end's hooks and the reason of its end are compared after each step.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::program::PATIENCE;
use support::{HERE, how};
use torsade::net::ListenOptions;
use torsade::testing::Random;
use torsade::{Address, Context, Failure, Port, Protocol, Reactor, Transport};

/// An operation on one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Write(usize),
    Lose,
    LoseWrite,
    Abort,
    Pause,
    Resume,
    Advance(u64),
}

/// The reaction to the end of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnEof {
    Lose,
    Stay,
    Answer,
}

/// Operations, each with the end that it is done to; and how the two ends take the end of file.
#[derive(Clone, Debug)]
struct Script {
    is_unix: bool,
    on_eof: [OnEof; 2],
    /// The operations of one step are done without a turn of the loops in between.
    steps: Vec<Vec<(usize, Op)>>,
}

impl Script {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut eof = || random.pick(&[OnEof::Lose, OnEof::Lose, OnEof::Stay, OnEof::Answer]);
        let on_eof = [eof(), eof()];
        let is_unix = cfg!(unix) && random.below(3) == 0;
        let mut step = |_| {
            let op = match random.below(20) {
                0..=6 => Op::Write(1 + random.below(300)),
                7 => Op::Write(BIG),
                8..=9 => Op::Lose,
                10..=11 => Op::LoseWrite,
                12..=13 => Op::Abort,
                14..=15 => Op::Pause,
                16..=17 => Op::Resume,
                18 => Op::Advance(100),
                _ => Op::Advance(3_000),
            };
            (random.below(2), op)
        };
        let mut steps: Vec<Vec<_>> = (0..3 + seed % 10).map(|n| vec![step(n)]).collect();
        if seed % 2 == 1 {
            steps = steps.chunks(2).map(<[_]>::concat).collect();
        }
        Self {
            is_unix,
            on_eof,
            steps,
        }
    }
}

/// One end: its transport, and its hooks so far.
#[derive(Default)]
struct Seen {
    transport: Option<Transport>,
    observed: Vec<String>,
    /// The number of bytes since the last other hook.
    came: usize,
}

struct End {
    seen: Rc<RefCell<Seen>>,
    on_eof: OnEof,
}

impl End {
    fn note(&self, what: String) {
        let mut seen = self.seen.borrow_mut();
        seen.settle();
        seen.observed.push(what);
    }
}

impl Seen {
    fn settle(&mut self) {
        if self.came > 0 {
            let came = std::mem::take(&mut self.came);
            self.observed.push(how_many(came));
        }
    }
}

impl Drop for Played {
    /// Nothing is left that would be lost.
    fn drop(&mut self) {
        for end in 0..2 {
            self.step(end, Op::Abort);
        }
        torsade::testing::settle(&self.reactor);
    }
}

impl Protocol for End {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.seen.borrow_mut().transport = Some(cx.transport().clone());
        self.note("made".into());
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.seen.borrow_mut().came += data.len();
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.note("eof".into());
        match self.on_eof {
            OnEof::Lose => cx.lose_connection(),
            OnEof::Stay => {}
            OnEof::Answer => cx.write("answer"),
        }
    }

    fn write_ready(&mut self, _cx: &mut Context<'_, Self>) {
        self.note("ready".into());
    }

    fn write_closed(&mut self, _cx: &mut Context<'_, Self>) {
        self.note("write closed".into());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note(format!("lost {}", how(&reason)));
    }
}

/// Two ends on a reactor.
struct Played {
    is_exact: bool,
    reactor: Reactor,
    ends: [Rc<RefCell<Seen>>; 2],
    _port: Port,
}

impl Played {
    fn new(reactor: Reactor, script: &Script, seed: u64, is_exact: bool) -> Self {
        // The reasons show what is lost; the reports would be noise here.
        reactor.on_report(|_| {});
        let ends = [Rc::default(), Rc::default()];
        let end = |number: usize| End {
            seen: Rc::clone(&ends[number]),
            on_eof: script.on_eof[number],
        };
        let at: Address = match script.is_unix {
            true => Address::from_abstract(format!("torsade agree {} {seed}", std::process::id())),
            false => HERE.parse::<std::net::SocketAddr>().unwrap().into(),
        };
        let mut server = Some(end(0));
        let options = ListenOptions::new().close_timeout(None);
        let port = reactor
            .listen((at, &options), move |_| server.take())
            .unwrap();
        drop(reactor.connect(port.local_addr(), end(1)));
        let played = Self {
            is_exact,
            reactor,
            ends,
            _port: port,
        };
        played.wait_for(&[vec!["made".to_owned()], vec!["made".to_owned()]]);
        played
    }

    fn observed(&self) -> [Vec<String>; 2] {
        self.ends.each_ref().map(|seen| {
            let seen = seen.borrow();
            let mut observed = seen.observed.clone();
            if !self.is_exact {
                // Linux names the one or the other: over TCP it depends on whether the end of the
                // peer had arrived when its reset did, on UNIX sockets on whether a read or a write
                // comes first.
                for event in &mut observed {
                    *event = event.replace("BrokenPipe", "ConnectionReset");
                }
            }
            if seen.came > 0 {
                observed.push(how_many(seen.came));
            }
            observed
        })
    }

    /// Waits until the expected events have come, or clearly do not.
    fn wait_for(&self, expected: &[Vec<String>; 2]) -> [Vec<String>; 2] {
        let patience = Instant::now() + PATIENCE;
        loop {
            torsade::testing::settle(&self.reactor);
            let observed = self.observed();
            if observed == *expected || Instant::now() > patience {
                return observed;
            }
            std::thread::yield_now();
        }
    }

    fn step(&self, end: usize, op: Op) {
        let transport = self.ends[end].borrow().transport.clone().unwrap();
        match op {
            Op::Write(count) => transport.write(vec![b'x'; count]),
            Op::Lose => transport.lose_connection(),
            Op::LoseWrite => transport.lose_write(),
            Op::Abort => transport.abort_connection(),
            Op::Pause => transport.pause_producing(),
            Op::Resume => transport.resume_producing(),
            Op::Advance(ms) => self.reactor.advance(Duration::from_millis(ms)),
        }
    }
}

/// Runs a script on both; returns the differences, if there are any.
fn compare(seed: u64, is_exact: bool) -> Option<String> {
    let script = Script::new(seed);
    let play = |reactor| Played::new(reactor, &script, seed, is_exact);
    let memory = play(Reactor::in_memory().unwrap());
    let machine = play(Reactor::builder().manual_time().build().unwrap());
    for (number, step) in script.steps.iter().enumerate() {
        for (end, op) in step {
            memory.step(*end, *op);
            machine.step(*end, *op);
        }
        torsade::testing::settle(&memory.reactor);
        let expected = memory.observed();
        let observed = machine.wait_for(&expected);
        if observed != expected {
            let mut text = format!("seed {seed}, {:?}", script.on_eof);
            let kind = if script.is_unix { "UNIX" } else { "TCP" };
            writeln!(text, ", {kind}: {:?}", &script.steps[..=number]).unwrap();
            for end in 0..2 {
                writeln!(text, "  end {end}: {:?} on the machine", observed[end]).unwrap();
                writeln!(text, "         {:?} in memory", expected[end]).unwrap();
            }
            return Some(text);
        }
    }
    None
}

fn check(seeds: impl IntoIterator<Item = u64>, is_exact: bool) {
    let differences = seeds.into_iter().filter_map(|seed| compare(seed, is_exact));
    let differences: Vec<_> = differences.take(8).collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn both_drivers_tell_the_same_of_the_same_script() {
    check(0..100, false);
}

#[test]
fn both_drivers_tell_the_same_of_other_scripts() {
    check(1_000..1_100, false);
}

/// On UNIX sockets unread bytes are a reset for the reader, and a broken pipe for the writer.
#[cfg(unix)]
#[test]
fn both_drivers_tell_the_same_of_bytes_that_were_left_unread() {
    check([2029, 2859, 2878, 3053, 3088, 4215, 4669], true);
}

/// A number of bytes. Bytes in flight when a connection broke are at most the size of the buffers,
/// and the system's are larger than those in memory.
fn how_many(bytes: usize) -> String {
    match bytes {
        0..60_000 => format!("{bytes} bytes"),
        BIG.. => format!("{} times much", bytes / BIG),
        _ => "part of much".into(),
    }
}

/// More than the system's buffers take.
const BIG: usize = 12 << 20;
