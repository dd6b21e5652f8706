//! What comes of a program, and nothing else: [`Reactor::output`], [`Reactor::status`].

use std::cell::Cell;
use std::panic::Location;
use std::process::ExitStatus;
use std::rc::Rc;

use super::errors::{OutputTooLong, reason};
use super::{Command, Process, ProcessProtocol};
use crate::defer::{Deferred, Resolver};
use crate::failure::Failure;
use crate::protocol::Context;
use crate::reactor::{Reactor, Stopped};

/// What a program wrote, and how it exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it exited.
    pub status: ExitStatus,
    /// What it wrote to its standard output, or to its terminal.
    pub out: Vec<u8>,
    /// What it wrote to its standard error.
    pub err: Vec<u8>,
}

impl Output {
    /// Itself, if the program says that all went well.
    ///
    /// # Errors
    ///
    /// [`ProcessTerminated`](super::ProcessTerminated), with the last line that it wrote to its standard error before it.
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

impl Reactor {
    /// Runs a program, and gives what it wrote and how it exited.
    ///
    /// Its standard input is what [`Command::input`] says, else nothing. (On a terminal its end is said with Control-D.) The
    /// Deferred fires when it has exited *and* both pipes are closed, so when it has started something that holds them open, not
    /// before that ends. Cancelling it kills the program.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::spawn_process`]; [`OutputTooLong`]; [`StatusTaken`](super::StatusTaken),
    /// [`Stopped`]; [`ConnectionLost`](crate::transport::ConnectionLost) when the system breaks a pipe,
    /// so that not all of it is there. That the program fails is *not* an error: see [`Output::success`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::process::Command;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let output = reactor.output(Command::new("echo").arg("hello")).await?;
    ///     assert!(output.status.success());
    ///     assert_eq!(output.out, b"hello\n");
    ///
    ///     let counted = reactor.output(Command::new("wc").arg("-c").input("abc")).await?;
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
    pub fn output(&self, mut command: Command) -> Deferred<Output> {
        let collected = Collected {
            input: command.take_input().unwrap_or_default(),
            limit: command.output_limit,
            out: Vec::new(),
            err: Vec::new(),
        };
        self.collect(command, Some(collected), Answer::Output)
    }

    /// Runs a program with our own standard input, output and error, and tells how it exited. Cancelling the Deferred kills the
    /// program.
    ///
    /// Descriptors that the command names are as it says.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::spawn_process`]; [`StatusTaken`](super::StatusTaken), [`Stopped`]. That the
    /// program fails is *not* an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::Failure;
    /// use torsade::process::Command;
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let status = reactor.status(Command::new("sh").args(["-c", "exit 3"])).await?;
    ///     assert_eq!(status.code(), Some(3));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("getProcessValue", "system", "call"))]
    #[track_caller]
    pub fn status(&self, command: Command) -> Deferred<ExitStatus> {
        self.collect(command.or_inherit(), None, Answer::Status)
    }

    #[track_caller]
    fn collect<T: 'static>(
        &self,
        command: Command,
        collected: Option<Collected>,
        to_answer: impl FnOnce(Resolver<T>) -> Answer,
    ) -> Deferred<T> {
        let answer = Rc::new(Cell::new(None));
        let collecting = Collecting {
            collected,
            process: None,
            answer: answer.clone(),
        };
        let handle = match self.spawn_process(command, collecting) {
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

/// Says what came of a process. That the reactor ends is no news to a Deferred that was dropped long ago.
pub(super) fn answer<T>(resolver: Resolver<T>, result: Result<T, Failure>) {
    match result {
        Err(failure) if failure.is::<Stopped>() && resolver.is_unheard() => resolver.forsake(),
        result => {
            let asked_at = resolver.place();
            resolver.resolve(result.map_err(|failure| failure.moved(asked_at)));
        }
    }
}

/// The protocol of a process of which it is only asked what it wrote, or how it exited.
struct Collecting {
    /// What it wrote; `None` where only its exit matters.
    collected: Option<Collected>,
    /// There once it has begun.
    process: Option<Process>,
    /// Empty until it was started, and once it is known what comes of it.
    answer: Rc<Cell<Option<Answer>>>,
}

/// What fires with what came of a process.
enum Answer {
    Output(Resolver<Output>),
    Status(Resolver<ExitStatus>),
}

/// What a process is given to read, and what it wrote.
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
    /// Its reactor never ran, so it was told nothing.
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else {
            return;
        };
        let place = match &answer {
            Answer::Output(resolver) => resolver.place(),
            Answer::Status(resolver) => resolver.place(),
        };
        self.answer.set(Some(answer));
        self.answer(Err(Failure::at(Stopped, place)));
    }
}

impl Collected {
    fn begin(&mut self, process: &Process) {
        let input = std::mem::take(&mut self.input);
        let ends_with_line = input.is_empty() || input.ends_with(b"\n");
        process.write(input);
        if process.has_terminal() {
            // Control-D, as one who types it: in the middle of a line once more, for the first one only sends that.
            process.write(if ends_with_line { "\x04" } else { "\x04\x04" });
        }
        process.close_stdin();
    }

    /// Keeps what came from a descriptor of its.
    ///
    /// # Errors
    ///
    /// Why that is enough.
    fn add(&mut self, fd: i32, data: &[u8]) -> Result<(), Failure> {
        let kept = self.out.len() + self.err.len();
        let (limit, kept_there) = match fd {
            1 => (self.limit, &mut self.out),
            2 => (self.limit, &mut self.err),
            _ => return Ok(()),
        };
        if data.len() > limit.saturating_sub(kept) {
            return Err(Failure::new(OutputTooLong { limit }));
        }
        kept_there.extend_from_slice(data);
        Ok(())
    }
}
