//! Running a program to its end: [`Command::output`], [`Command::status`].

use std::cell::Cell;
use std::panic::Location;
use std::process::ExitStatus;
use std::rc::Rc;

use super::errors::{ProcessError, reason};
use super::{Command, Process, ProcessProtocol};
use crate::defer::{Deferred, Resolver};
use crate::failure::Failure;
use crate::protocol::Context;
use crate::reactor::{Reactor, Stopped};

/// The output of a program, and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status: a code or a signal.
    pub status: ExitStatus,
    /// The bytes that the program wrote to its standard output, or to its terminal.
    pub out: Vec<u8>,
    /// The bytes that the program wrote to its standard error.
    pub err: Vec<u8>,
}

impl Output {
    /// Returns the output itself when the exit code is 0.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::Terminated`](super::ProcessError::Terminated) otherwise; its
    /// context is the last line that the program wrote to its standard error.
    #[track_caller]
    pub fn success(self) -> Result<Self, Failure> {
        if self.status.success() {
            return Ok(self);
        }
        let failure = reason(self.status, Location::caller());
        let err = String::from_utf8_lossy(&self.err);
        match err.trim_end().lines().next_back() {
            Some(line) if !line.is_empty() => Err(failure.context(format!("{line:?}"))),
            _ => Err(failure),
        }
    }
}

impl Command {
    /// Runs the program to its end. The Deferred fires with its output and exit status.
    ///
    /// The program's standard input is [`Command::input`], or empty. On a terminal the end of the
    /// input is sent as Control-D. The Deferred fires when the program has exited *and* both of its
    /// output pipes are closed: if the program has started other programs that hold the pipes open,
    /// it waits for those too. Cancelling the Deferred kills the program.
    ///
    /// # Errors
    ///
    /// Fails as [`Command::spawn_protocol`] does; with [`ProcessError::OutputTooLong`]; with
    /// [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken); with [`Stopped`]; and with
    /// [`ConnectionError::Lost`](crate::ConnectionError::Lost) when the system breaks a pipe, so
    /// that output is missing. An unsuccessful exit is *not* an error: see [`Output::success`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::process::Command;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let output = Command::new("echo").arg("hello").output(&reactor).await?;
    ///     assert!(output.status.success());
    ///     assert_eq!(output.out, b"hello\n");
    ///
    ///     let counted = Command::new("wc").arg("-c").input("abc").output(&reactor).await?;
    ///     assert_eq!(counted.success()?.out.trim_ascii(), b"3");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias(
        "getProcessOutput",
        "getProcessOutputAndValue",
        "communicate",
        "check_output"
    ))]
    #[track_caller]
    pub fn output(mut self, reactor: &Reactor) -> Deferred<Output> {
        let collected = Collected {
            input: self.take_input().unwrap_or_default(),
            limit: self.output_limit,
            out: Vec::new(),
            err: Vec::new(),
        };
        self.collect(reactor, Some(collected), Answer::Output)
    }

    /// Runs the program to its end, with this process's standard input, output and error. The
    /// Deferred fires with the exit status. Cancelling the Deferred kills the program.
    ///
    /// Descriptors that the command sets ([`Command::child_fd`]) replace the inherited ones.
    ///
    /// # Errors
    ///
    /// Fails as [`Command::spawn_protocol`] does, with
    /// [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken), and with [`Stopped`]. An
    /// unsuccessful exit is *not* an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::process::Command;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let status = Command::new("sh").args(["-c", "exit 3"]).status(&reactor).await?;
    ///     assert_eq!(status.code(), Some(3));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("getProcessValue", "system", "call"))]
    #[track_caller]
    pub fn status(self, reactor: &Reactor) -> Deferred<ExitStatus> {
        self.or_inherit().collect(reactor, None, Answer::Status)
    }

    #[track_caller]
    fn collect<T: 'static>(
        self,
        reactor: &Reactor,
        collected: Option<Collected>,
        to_answer: impl FnOnce(Resolver<T>) -> Answer,
    ) -> Deferred<T> {
        let answer = Rc::new(Cell::new(None));
        let collecting = Collecting {
            collected,
            process: None,
            answer: answer.clone(),
        };
        let handle = match self.spawn_protocol(reactor, collecting) {
            Ok(handle) => handle,
            Err(failure) => return Deferred::fail(failure),
        };
        let (deferred, resolver) = Deferred::pair();
        answer.set(Some(to_answer(resolver)));
        deferred.on_cancel_itself(move || {
            if let Some(process) = handle.transport() {
                process.forget();
            }
        })
    }
}

/// Fires with the result of a process. The reactor's end does not concern a Deferred that was
/// dropped long ago.
pub(super) fn answer<T>(resolver: Resolver<T>, result: Result<T, Failure>) {
    match result {
        Err(failure) if failure.is::<Stopped>() && resolver.has_no_consumer() => {
            resolver.drop_silently()
        }
        result => {
            let asked_at = resolver.location();
            resolver.resolve(result.map_err(|failure| failure.moved(asked_at)));
        }
    }
}

/// The protocol of a process of which only the output or the exit status is needed.
struct Collecting {
    /// The output; `None` where only the exit status is needed.
    collected: Option<Collected>,
    /// `Some` once the process has started.
    process: Option<Process>,
    /// `None` until the process is started, and after the result is known.
    answer: Rc<Cell<Option<Answer>>>,
}

/// The resolver that fires with the result of a process.
enum Answer {
    Output(Resolver<Output>),
    Status(Resolver<ExitStatus>),
}

/// The input of a process, and its output so far.
#[derive(Default)]
struct Collected {
    input: Vec<u8>,
    limit: usize,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Collecting {
    fn answer(&mut self, result: Result<ExitStatus, Failure>) {
        match self.answer.take() {
            Some(Answer::Status(resolver)) => answer(resolver, result),
            Some(Answer::Output(resolver)) => {
                let Collected { out, err, .. } = self.collected.take().unwrap_or_default();
                answer(resolver, result.map(|status| Output { status, out, err }));
            }
            None => {}
        }
    }
}

impl ProcessProtocol for Collecting {
    fn connection_made(&mut self, cx: &mut Context<'_, Self, Process>) {
        self.process = Some((**cx).clone());
        if let Some(collected) = &mut self.collected {
            collected.begin(cx);
        }
    }

    fn child_data_received(&mut self, cx: &mut Context<'_, Self, Process>, fd: i32, data: &[u8]) {
        let collected = self.collected.as_mut();
        if let Some(Err(failure)) = collected.map(|collected| collected.add(fd, data)) {
            cx.forget();
            self.answer(Err(failure));
        }
    }

    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        let broken = self.process.take().and_then(|process| process.0.broken());
        self.answer(broken.map_or(ended, Err));
    }
}

impl Drop for Collecting {
    /// Fails the result when the process ends without having run its hooks, because its reactor
    /// never ran.
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else {
            return;
        };
        let location = match &answer {
            Answer::Output(resolver) => resolver.location(),
            Answer::Status(resolver) => resolver.location(),
        };
        self.answer.set(Some(answer));
        self.answer(Err(Failure::at(Stopped, location)));
    }
}

impl Collected {
    fn begin(&mut self, process: &Process) {
        let input = std::mem::take(&mut self.input);
        let ends_with_line = input.is_empty() || input.ends_with(b"\n");
        process.write(input);
        if process.has_terminal() {
            // Control-D, as a user types it: twice in the middle of a line, because the first one
            // there only sends the line.
            process.write(if ends_with_line { "\x04" } else { "\x04\x04" });
        }
        process.close_stdin();
    }

    /// Collects bytes from one of the process's descriptors.
    ///
    /// # Errors
    ///
    /// Fails when the limit is reached.
    fn add(&mut self, fd: i32, data: &[u8]) -> Result<(), Failure> {
        let kept = self.out.len() + self.err.len();
        let (limit, kept_there) = match fd {
            1 => (self.limit, &mut self.out),
            2 => (self.limit, &mut self.err),
            _ => return Ok(()),
        };
        if data.len() > limit.saturating_sub(kept) {
            return Err(Failure::new(ProcessError::OutputTooLong { limit }));
        }
        kept_there.extend_from_slice(data);
        Ok(())
    }
}
