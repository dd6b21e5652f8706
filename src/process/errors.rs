//! The reason why a process was not started, how it ended, or why an operation on it failed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::panic::Location;
use std::process::ExitStatus;

use crate::driver::NotLaunched;
use crate::failure::{Failure, errors};

/// The reason why a process was not started, how it ended, or why an operation on it failed.
///
/// # Examples
///
/// ```
/// use torsade::process::{Command, ProcessError};
///
/// # torsade::run(async |reactor| {
/// let failure = Command::new("no-such-program").output(&reactor).await.unwrap_err();
/// match failure.downcast_ref() {
///     Some(ProcessError::NotStarted { program, error, .. }) => {
///         assert_eq!(program, "no-such-program");
///         assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
///     }
///     _ => unreachable!("{failure}"),
/// }
/// # Ok(())
/// # })?;
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program could not be started. No process, pipe or file is left of the attempt.
    NotStarted {
        /// The program, as the [`Command`](super::Command) names it.
        program: OsString,
        /// The step that failed, such as `changing to its directory`.
        step: &'static str,
        /// The system's error: [`io::ErrorKind::NotFound`] for a program that does not exist, for
        /// instance. The source of this error.
        error: io::Error,
    },
    /// The process exited with code 0.
    #[doc(alias = "ProcessDone")]
    Done,
    /// The process exited with a code other than 0, or was ended by a signal.
    #[doc(alias = "ProcessTerminated")]
    Terminated {
        /// The code or the signal.
        status: ExitStatus,
    },
    /// The process has already exited, so no signal can be sent to it.
    #[doc(alias = "ProcessExitedAlready")]
    AlreadyExited,
    /// The process exited, and its status is unknown: other code in this program has collected it
    /// with `wait`, or this program ignores `SIGCHLD`.
    StatusTaken,
    /// The process wrote more than [`Command::output_limit`](super::Command::output_limit) allows.
    /// It has been killed.
    OutputTooLong {
        /// Largest number of bytes that are kept.
        limit: usize,
    },
    /// The process has no open pipe with this number and the wanted direction, or the pipe was
    /// taken.
    NoSuchPipe {
        /// Number of the pipe: the descriptor in the child.
        fd: i32,
    },
}

impl ProcessError {
    pub(super) fn not_started(program: &OsStr, why: NotLaunched) -> Self {
        Self::NotStarted {
            program: program.to_owned(),
            step: why.step,
            error: why.error,
        }
    }
}

/// Returns how a process ended, as a reason.
pub(super) fn reason(status: ExitStatus, location: &'static Location<'static>) -> Failure {
    match status.success() {
        true => Failure::at(ProcessError::Done, location),
        false => Failure::at(ProcessError::Terminated { status }, location),
    }
}

errors! {
    enum ProcessError {
        NotStarted { program, step }: "cannot start {program:?}: {step} failed", source error;
        Done: "the process exited with code 0";
        Terminated { status }: "the process ended with {status}";
        AlreadyExited: "the process has already exited";
        StatusTaken:
            "the process exited, and other code in this program has collected its exit status";
        OutputTooLong { limit }: "the process wrote more than {limit} bytes";
        NoSuchPipe { fd }: "the process has no open pipe {fd}";
    }
}
