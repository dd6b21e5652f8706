//! The reasons why a reactor refuses a call or ends an operation.

use std::env;
use std::io;
use std::str::FromStr;

use crate::driver::{Driver, Poller};
use crate::failure::errors;

/// The reason why a reactor refused a call, or ended an operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReactorError {
    /// The reactor cannot be run: it is running already, or another one is running on this thread.
    #[doc(alias = "ReactorAlreadyRunning")]
    AlreadyRunning,
    /// The reactor cannot be stopped: it is not running, or [`Reactor::stop`](crate::Reactor::stop)
    /// was called before.
    #[doc(alias = "ReactorNotRunning")]
    NotRunning,
    /// The reactor cannot be run, because it has ended. Make a new one.
    #[doc(alias = "ReactorNotRestartable")]
    NotRestartable,
    /// The reactor has ended or was dropped, so it accepts no calls from other threads.
    Ended,
    /// A thread that runs a reactor (this one or another) tried to block on a reactor.
    WouldDeadlock,
    /// The work was still running on a thread of the reactor's pool when the reactor ended; see
    /// [`Grace::threads`](super::Grace::threads). Only in reports.
    StillRunning,
    /// The connection was reset: all connections of the reactor together held more bytes than the
    /// budget allows, and this one held the most.
    ///
    /// See [`ReactorBuilder::buffer_budget`](super::ReactorBuilder::buffer_budget).
    OverBudget {
        /// Number of bytes that this connection held.
        held: usize,
        /// Number of bytes that all connections held together.
        used: usize,
        /// Number of bytes that all connections together may hold.
        limit: usize,
    },
    /// The chosen [`Poller`] is not available on this system. The error's text lists the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::reactor::Poller;
    ///
    /// let error = "kevent".parse::<Poller>().unwrap_err();
    /// assert!(error.to_string().contains(Poller::available()[0].name()));
    /// ```
    PollerUnavailable {
        /// Name of the poller.
        name: String,
        /// Whether the environment variable `TORSADE_POLLER` named it.
        from_environment: bool,
        /// The system's error if the system has the poller and refused it. It is the source.
        error: Option<io::Error>,
    },
}

errors! {
    enum ReactorError {
        AlreadyRunning: "a reactor is already running on this thread";
        NotRunning: "the reactor is not running";
        NotRestartable: "the reactor has ended and cannot be run again";
        Ended: "the reactor has ended";
        WouldDeadlock:
            "a thread that runs a reactor must not block on a reactor: await the result instead";
        StillRunning: "the work was still running on its thread when the reactor ended";
        OverBudget { held, used, limit }:
            "the connection held {held} bytes, the most of all connections, which together held \
             {used} where {limit} are allowed";
        PollerUnavailable { name, from_environment, error }:
            "the poller {name:?}{} is not available here; available: {}",
            with if *from_environment { ", which TORSADE_POLLER names," } else { "" },
            with others(name, error.is_some()),
            source error;
    }
}

/// Lists the pollers of this system, without the one that the system refused.
fn others(name: &str, is_refused: bool) -> String {
    let all = Poller::available().iter().map(|poller| poller.name());
    let others: Vec<_> = all
        .filter(|other| !(is_refused && *other == name))
        .collect();
    others.join(", ")
}

impl From<ReactorError> for io::Error {
    fn from(error: ReactorError) -> Self {
        let kind = match error {
            ReactorError::PollerUnavailable { .. } => io::ErrorKind::Unsupported,
            ReactorError::WouldDeadlock => io::ErrorKind::Deadlock,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl FromStr for Poller {
    type Err = ReactorError;

    /// Parses the name of a poller that this system has.
    fn from_str(name: &str) -> Result<Self, ReactorError> {
        let found = Self::available()
            .iter()
            .find(|poller| poller.name() == name);
        found.copied().ok_or_else(|| unavailable(name, false, None))
    }
}

/// Makes the driver of a reactor with the poller that the program chose, or else the one that the
/// environment names, or else the default one.
pub(super) fn driver_with(chosen: Option<Poller>) -> io::Result<Driver> {
    let from_environment = chosen.is_none();
    let poller = match chosen {
        Some(poller) if !Poller::available().contains(&poller) => {
            return Err(unavailable(poller.name(), false, None).into());
        }
        Some(poller) => Some(poller),
        None => named_by_environment()?,
    };
    Driver::machine_with(poller).map_err(|error| match poller {
        Some(poller) => unavailable(poller.name(), from_environment, Some(error)).into(),
        None => error,
    })
}

/// Returns the poller that the environment names, if it names one.
fn named_by_environment() -> Result<Option<Poller>, ReactorError> {
    let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = name.to_string_lossy();
    let found = name.parse();
    found
        .map(Some)
        .map_err(|_: ReactorError| unavailable(&name, true, None))
}

fn unavailable(name: &str, from_environment: bool, error: Option<io::Error>) -> ReactorError {
    ReactorError::PollerUnavailable {
        name: name.to_owned(),
        from_environment,
        error,
    }
}

/// Names the poller of all reactors of the process for which the program chose none.
const VARIABLE: &str = "TORSADE_POLLER";

/// The error of an operation that had not finished when the reactor was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped;

errors! {
    Stopped: "the reactor was stopped";
}
