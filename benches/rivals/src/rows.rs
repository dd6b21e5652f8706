//! The rows of the table: the work, the contenders, the number of operations, and the ratio that
//! torsade aims at.

use crate::contenders::Contender;

/// One row.
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub work: Work,
    pub unit: Unit,
    /// Operations in a round.
    pub count: usize,
    /// Operations when instructions are counted, where each takes fifty times as long.
    pub counted: usize,
    /// The goals of a protocol and of async code, as ratios to tokio. Rows without connections have
    /// one.
    pub goals: (f64, f64),
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Messages that a server answers.
    Messages,
    /// Operations inside one process.
    Operations,
    /// Timers that fire at their time, which would measure nothing in a slow simulator.
    Idle,
}

/// The work of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A server echoes messages of this many bytes, over this many connections, of which some are
    /// used.
    Echo {
        size: usize,
        connections: usize,
        active: usize,
    },
    /// A server echoes each line; `depth` lines are sent at once. With a codec, async code uses the
    /// runtime's stream and sink of lines.
    Lines {
        connections: usize,
        depth: usize,
        has_codec: bool,
    },
    /// Connect, one message, close.
    Churn,
    /// Connections in TLS.
    Tls(Tls),
    /// A task yields again and again.
    Yield,
    /// This many tasks are started, then awaited.
    Spawn(usize),
    /// Two tasks wake each other by their wakers alone.
    Wake,
    /// Two tasks pass a token through two queues of the runtime.
    Queue,
    /// Another thread sends through `futures`' unbounded channel.
    Channel,
    /// Another thread has a closure called on the loop's thread.
    Remote,
    /// One of 100,000 sleeps is delayed, and polled.
    Reset,
    /// Timers that fire within a second.
    Timers,
    /// The same timers; what counts is how late they are.
    Late,
}

/// What is done in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Connect, handshake, one byte each way, close.
    Handshake,
    /// A server echoes messages of 64 bytes, over this many connections.
    Echo(usize),
    /// A server sends blocks of 64 KiB, in one write each.
    Send,
    /// A server receives blocks of 64 KiB.
    Receive,
}

const fn echo(size: usize, connections: usize, active: usize) -> Work {
    Work::Echo {
        size,
        connections,
        active,
    }
}

const fn messages(
    name: &'static str,
    title: &'static str,
    work: Work,
    count: usize,
    goals: (f64, f64),
) -> Row {
    Row {
        name,
        title,
        work,
        unit: Unit::Messages,
        count,
        counted: 4_096,
        goals,
    }
}

const fn operations(
    name: &'static str,
    title: &'static str,
    work: Work,
    count: usize,
    goal: f64,
) -> Row {
    Row {
        name,
        title,
        work,
        unit: Unit::Operations,
        count,
        counted: 20_000,
        goals: (goal, goal),
    }
}

pub const ROWS: [Row; 22] = [
    messages(
        "echo-1",
        "echo, 64 bytes, 1 connection",
        echo(64, 1, 1),
        20_000,
        (1.0, 1.0),
    ),
    messages(
        "echo-64",
        "echo, 64 bytes, 64 connections",
        echo(64, 64, 64),
        128_000,
        (0.98, 1.0),
    ),
    messages(
        "echo-1000",
        "echo, 64 bytes, 1,000 connections",
        echo(64, 1_000, 1_000),
        128_000,
        (0.91, 0.96),
    ),
    messages(
        "sparse",
        "echo, 100 of 10,100 connections",
        echo(64, 10_100, 100),
        100_000,
        (0.98, 1.0),
    ),
    messages(
        "lines",
        "lines, pipelined 16 deep, 64 connections",
        Work::Lines {
            connections: 64,
            depth: 16,
            has_codec: false,
        },
        512_000,
        (0.96, 0.97),
    ),
    messages(
        "codec",
        "lines with a codec, as a stream and a sink",
        Work::Lines {
            connections: 64,
            depth: 16,
            has_codec: true,
        },
        512_000,
        (1.05, 1.05),
    ),
    messages(
        "churn",
        "connect, one message, close",
        Work::Churn,
        8_000,
        (0.96, 0.99),
    ),
    messages(
        "bulk",
        "echo, 64 KiB, 8 connections",
        echo(64 * 1024, 8, 8),
        8_000,
        (0.92, 0.92),
    ),
    Row {
        counted: 64,
        ..messages(
            "tls-handshake",
            "TLS: connect, handshake, a byte each way, close",
            Work::Tls(Tls::Handshake),
            2_000,
            (1.0, 1.0),
        )
    },
    messages(
        "tls-echo",
        "TLS: echo, 64 bytes, 32 connections",
        Work::Tls(Tls::Echo(32)),
        64_000,
        (1.0, 1.0),
    ),
    Row {
        counted: 128,
        ..messages(
            "tls-send",
            "TLS: send 256 MiB, 64 KiB at a time",
            Work::Tls(Tls::Send),
            4_096,
            (1.0, 1.0),
        )
    },
    Row {
        counted: 128,
        ..messages(
            "tls-receive",
            "TLS: receive 256 MiB",
            Work::Tls(Tls::Receive),
            4_096,
            (1.0, 1.0),
        )
    },
    operations("yield", "yield", Work::Yield, 1_000_000, 0.12),
    operations(
        "spawn",
        "spawn 100 tasks and await them",
        Work::Spawn(100),
        300_000,
        0.32,
    ),
    operations(
        "join",
        "spawn 1,000 tasks and await them",
        Work::Spawn(1_000),
        300_000,
        0.45,
    ),
    operations("wake", "ping-pong by wakers", Work::Wake, 500_000, 0.95),
    operations("queue", "ping-pong by queues", Work::Queue, 300_000, 0.9),
    operations(
        "channel",
        "from a thread by a channel",
        Work::Channel,
        1_000_000,
        1.0,
    ),
    operations(
        "remote",
        "from a thread by calls",
        Work::Remote,
        1_000_000,
        0.35,
    ),
    operations(
        "reset",
        "reset one of 100,000 sleeps",
        Work::Reset,
        1_000_000,
        0.7,
    ),
    Row {
        name: "timers",
        title: "1,000,000 timers in a second",
        work: Work::Timers,
        unit: Unit::Idle,
        count: 1_000_000,
        counted: 0,
        goals: (0.6, 0.6),
    },
    Row {
        name: "late",
        title: "1,000,000 timers in a second: half are later than so many ns",
        work: Work::Late,
        unit: Unit::Idle,
        count: 1_000_000,
        counted: 0,
        goals: (0.05, 0.05),
    },
];

impl Work {
    /// Returns how many connections a server has at a time.
    pub fn connections(self) -> usize {
        match self {
            Self::Echo { connections, .. } | Self::Lines { connections, .. } => connections,
            Self::Tls(Tls::Echo(connections)) => connections,
            _ => 1,
        }
    }
}

impl Row {
    /// Returns the contenders of the row.
    pub fn contenders(&self) -> Vec<Contender> {
        use Contender::{Async, Asyncio, Ours, Protocol, Raw, Smol, Tokio, Twisted, Uvloop};
        let all: &[Contender] = match (self.unit, self.work) {
            (
                Unit::Messages,
                Work::Echo {
                    size: 64,
                    active: 64,
                    ..
                },
            ) => &[Raw, Tokio, Protocol, Async, Smol, Twisted, Asyncio, Uvloop],
            (
                Unit::Messages,
                Work::Lines {
                    has_codec: true, ..
                },
            ) => &[Raw, Tokio, Protocol, Async],
            (Unit::Messages, Work::Tls(_)) if cfg!(feature = "tls") => &[Tokio, Protocol, Async],
            (Unit::Messages, Work::Tls(_)) => &[],
            (Unit::Messages, _) => &[Raw, Tokio, Protocol, Async, Smol],
            (_, Work::Remote | Work::Timers | Work::Late) => &[Tokio, Ours],
            _ => &[Tokio, Ours, Smol],
        };
        let all = all.iter().copied();
        all.filter(|who| who.is_available()).collect()
    }

    /// Returns the ratio that `contender` aims at.
    pub fn goal(&self, contender: Contender) -> Option<f64> {
        match contender {
            Contender::Protocol | Contender::Ours => Some(self.goals.0),
            Contender::Async => Some(self.goals.1),
            _ => None,
        }
    }
}
