//! Why a process was not started, and how it ended.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::panic::Location;
use std::process::ExitStatus;

use crate::driver::NotLaunched;
use crate::failure::{Failure, errors};

/// The program could not be started; nothing is left of the attempt.
///
/// Its source is the system's error: [`io::ErrorKind::NotFound`] for a program that is missing, and so on.
#[derive(Debug)]
pub struct NotStarted {
    program: OsString,
    step: &'static str,
    error: io::Error,
}

/// The process ended by itself, and says that all went well: its code is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessDone;

/// The process ended by itself with a code that is not 0, or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTerminated(pub ExitStatus);

/// The process has ended already, so there is nobody to send a signal to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessExitedAlready;

/// The process ended, and how is not known: somebody else in this program has waited for it, or this program ignores
/// `SIGCHLD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusTaken;

/// More came from the process than was to be kept; it has been killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputTooLong {
    /// How many bytes were to be kept.
    pub limit: usize,
}

/// The process has no such pipe under this number: none, none of that direction, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPipe(pub i32);

impl NotStarted {
    pub(super) fn new(program: &OsStr, why: NotLaunched) -> Self {
        Self {
            program: program.to_owned(),
            step: why.step,
            error: why.error,
        }
    }

    /// The system's error.
    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

/// How a process ended, as a reason.
pub(super) fn reason(status: ExitStatus, location: &'static Location<'static>) -> Failure {
    match status.success() {
        true => Failure::at(ProcessDone, location),
        false => Failure::at(ProcessTerminated(status), location),
    }
}

errors! {
    NotStarted { program, step }: "cannot start {program:?}: {step} failed", source error;
    ProcessDone: "the process has ended, and all went well";
    ProcessExitedAlready: "the process has ended already";
    StatusTaken: "the process has ended, and somebody else was told how";
    OutputTooLong { limit }: "the process wrote more than {limit} bytes";
}

impl fmt::Display for ProcessTerminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the process has ended with {}", self.0)
    }
}

impl fmt::Display for NoSuchPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the process has no such pipe under {}", self.0)
    }
}

impl Error for ProcessTerminated {}
impl Error for NoSuchPipe {}
