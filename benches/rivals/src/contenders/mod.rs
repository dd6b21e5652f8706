//! The contenders, and how each is started.

mod ours;
#[cfg(feature = "tls")]
mod ours_tls;
#[cfg(feature = "rivals")]
mod raw;
#[cfg(feature = "rivals")]
mod smol;
#[cfg(feature = "rivals")]
mod tokio;
#[cfg(feature = "rivals")]
mod tokio_tls;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measure::Error;
use crate::rows::Work;

/// A way to do the work of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// torsade, where a row has no connections.
    Ours,
    /// torsade, with a protocol for each connection.
    Protocol,
    /// torsade, with an async function for each connection.
    Async,
    /// tokio's current-thread runtime, the reference of all ratios.
    Tokio,
    Smol,
    /// A loop around epoll, with nothing else.
    Raw,
    Twisted,
    Asyncio,
    Uvloop,
}

impl Contender {
    const ALL: [Self; 9] = [
        Self::Ours,
        Self::Protocol,
        Self::Async,
        Self::Tokio,
        Self::Smol,
        Self::Raw,
        Self::Twisted,
        Self::Asyncio,
        Self::Uvloop,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "torsade",
            Self::Protocol => "protocol",
            Self::Async => "async",
            Self::Tokio => "tokio",
            Self::Smol => "smol",
            Self::Raw => "raw",
            Self::Twisted => "twisted",
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    pub fn is_python(self) -> bool {
        matches!(self, Self::Twisted | Self::Asyncio | Self::Uvloop)
    }

    /// Returns whether the contender can run here: it may not be built, and Python may lack the
    /// module.
    pub fn is_available(self) -> bool {
        if !self.is_python() {
            let is_ours = matches!(self, Self::Ours | Self::Protocol | Self::Async);
            return is_ours || cfg!(feature = "rivals");
        }
        let import = format!("import {}", self.name());
        let mut python = Command::new("python3");
        python.args(["-c", &import]).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    }

    /// Returns the program of this contender, with its first arguments.
    pub fn program(self) -> Vec<String> {
        if self.is_python() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/echo.py");
            return vec!["python3".to_owned(), script.to_owned()];
        }
        let this = std::env::current_exe().expect("this program has a path");
        vec![this.to_string_lossy().into_owned()]
    }

    /// Serves until SIGTERM, or until the program that started it ends. There is no second thread:
    /// the calls of the C library would take longer beside one.
    pub fn serve(self, work: Work) -> Result<(), Error> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        #[cfg(feature = "tls")]
        if let Work::Tls(work) = work {
            return match self {
                Self::Protocol => ours_tls::serve_protocol(work),
                Self::Async => ours_tls::serve_async(work),
                #[cfg(feature = "rivals")]
                Self::Tokio => tokio_tls::serve(work),
                _ => Err("it has no TLS here".into()),
            };
        }
        match self {
            Self::Protocol => ours::serve_protocol(work),
            Self::Async => ours::serve_async(work),
            #[cfg(feature = "rivals")]
            Self::Tokio => tokio::serve(work),
            #[cfg(feature = "rivals")]
            Self::Smol => smol::serve(work),
            #[cfg(feature = "rivals")]
            Self::Raw => raw::serve(work),
            _ => Err("it serves nothing".into()),
        }
    }

    /// Does `count` operations; returns the nanoseconds of CPU time that each took.
    pub fn run(self, work: Work, count: usize) -> Result<f64, Error> {
        match self {
            Self::Ours => ours::run(work, count),
            #[cfg(feature = "rivals")]
            Self::Tokio => tokio::run(work, count),
            #[cfg(feature = "rivals")]
            Self::Smol => smol::run(work, count),
            _ => Err("it does not do that".into()),
        }
    }
}

/// Writes the address of a server for the parent process.
fn announce(address: SocketAddr) {
    println!("{address}");
}

/// CPU time of this thread.
struct Busy(f64);

impl Busy {
    fn start() -> Self {
        Self(Self::now())
    }

    /// Returns the scheduler's count, in nanoseconds.
    fn now() -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat");
        let stat = stat.expect("Linux counts the time of threads");
        let first = stat.split(' ').next().and_then(|word| word.parse().ok());
        first.expect("the first word is a number")
    }

    /// Returns the nanoseconds since the start, for each of `count` operations.
    fn each(&self, count: usize) -> f64 {
        (Self::now() - self.0) / count as f64
    }
}

#[cfg(feature = "rivals")]
/// Appends the complete lines of `unread` to `out`; the beginning of a line is left.
fn take_lines(unread: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut taken = 0;
    while let Some(length) = memchr::memchr(b'\n', &unread[taken..]) {
        out.extend_from_slice(&unread[taken..=taken + length]);
        taken += length + 1;
    }
    unread.drain(..taken);
}

/// Returns which of 100,000 sleeps is delayed next: an order without a pattern.
fn scrambled(number: usize) -> usize {
    number.wrapping_mul(2_654_435_761) % SLEEPS
}

const SLEEPS: usize = 100_000;

/// The distance of a sleep that never ends here.
const FAR: Duration = Duration::from_secs(3_600);

/// Returns the median of `count` times, in nanoseconds.
fn median(mut times: Vec<Duration>, count: usize) -> f64 {
    assert_eq!(times.len(), count);
    times.sort_unstable();
    times[count / 2].as_nanos() as f64
}
