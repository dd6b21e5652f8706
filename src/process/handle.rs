//! The handle of a process: [`Process`].

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::panic::Location;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use tracing::{Level, Span, span_enabled};

use super::Command;
use super::body::Body;
use super::errors::{ProcessError, reason};
use crate::clock::DelayedCall;
use crate::driver::{NotLaunched, Pty};
use crate::failure::Failure;
use crate::reactor::{Reactor, Stopped, WeakReactor};
use crate::signal::Signal;
use crate::spans::OwnSpan;
use crate::transport::{ConnConfig, ConnectionError, DelayedClose, Transport};

/// A handle to a child process, for writing to it, sending signals to it and reading its state.
/// Clones are handles to the same process.
///
/// Its methods run no user code: writing and closing record requests, which the loop carries out;
/// signals are sent at once. Dropping a handle does nothing.
#[derive(Clone)]
pub struct Process(pub(super) Rc<Common>);

/// A process without its protocol.
pub(super) struct Common {
    program: OsString,
    kills_on_drop: bool,
    /// Whether the process leads a process group.
    leads: bool,
    /// Whether standard input and output are one pipe, with number 1.
    is_duplex: bool,
    has_terminal: bool,
    /// `None` before the process is started, and once it has been waited for.
    body: RefCell<Option<Body>>,
    /// The open pipes, by the child's descriptor numbers.
    pipes: RefCell<Vec<Pipe>>,
    /// The error of a pipe that was lost without being closed by the program.
    broken: RefCell<Option<Failure>>,
    /// Keeps the terminal open when the child has closed it and not exited yet.
    delayed_close: Rc<DelayedClose>,
    /// Whether async code has the pipes, so that the process ends with its exit.
    has_streams: bool,
    /// The exit status, or the reason why it is unknown.
    exit: RefCell<Option<Result<ExitStatus, Failure>>>,
    /// The timer that kills the process, after a request to end.
    deadline: Cell<Option<DelayedCall>>,
    reactor: WeakReactor,
    pub(super) location: &'static Location<'static>,
    span: OwnSpan,
}

/// A pipe of a process.
struct Pipe {
    /// The child's descriptor number.
    number: i32,
    /// Whether this process writes the pipe.
    is_written: bool,
    transport: Transport,
}

impl Process {
    /// Returns the process id, or `None` when the process has exited and been waited for: from then
    /// on the number may belong to another process.
    pub fn pid(&self) -> Option<u32> {
        self.0.body.borrow().as_ref().map(Body::pid)
    }

    /// Returns the exit status, or `None` while the process runs and when the status is not known.
    #[doc(alias("returncode", "exitCode", "poll"))]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.exited()?.ok()
    }

    /// Returns whether the process has not exited.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Queues bytes for the program's standard input, or its terminal. Like [`Transport::write`],
    /// it drops them when that pipe is closed.
    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        if let Some(stdin) = self.stdin() {
            stdin.write(bytes);
        }
    }

    /// Queues several pieces for the program's standard input, one after another.
    #[doc(alias = "writeSequence")]
    pub fn write_sequence<B: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = B>) {
        if let Some(stdin) = self.stdin() {
            stdin.write_sequence(pieces);
        }
    }

    /// Queues bytes for the program's descriptor `fd`.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::NoSuchPipe`] when this process writes no pipe with that number,
    /// or the pipe is closed.
    #[doc(alias = "writeToChild")]
    #[track_caller]
    pub fn write_to_child(&self, fd: i32, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        match self.0.pipe(fd, |pipe| pipe.is_written) {
            Some(pipe) => {
                pipe.write(bytes);
                Ok(())
            }
            _ => Err(Failure::new(ProcessError::NoSuchPipe { fd })),
        }
    }

    /// Returns the pipe of the program's descriptor `fd` as a transport, for instance to set limits
    /// or to register a producer; `None` when there is no such pipe, or it is closed. Bytes written
    /// to a pipe that this process reads are dropped.
    pub fn pipe(&self, fd: i32) -> Option<Transport> {
        self.0.pipe(fd, |_| true)
    }

    /// Returns the pipe to the program's standard input, or its terminal; `None` when it is closed.
    pub fn stdin(&self) -> Option<Transport> {
        match self.0.is_duplex {
            true => self.pipe(1),
            false => self.pipe(0),
        }
    }

    /// Closes the program's standard input after the queued bytes have been written. A terminal
    /// stays open: write `\x04` (Control-D) to end the input.
    #[doc(alias = "closeStdin")]
    pub fn close_stdin(&self) {
        self.close_child_fd(0);
    }

    /// Closes the program's standard output: a program that continues to write gets an error,
    /// mostly SIGPIPE. A terminal stays open.
    #[doc(alias = "closeStdout")]
    pub fn close_stdout(&self) {
        self.close_child_fd(1);
    }

    /// Closes the program's standard error. See [`Process::close_stdout`].
    #[doc(alias = "closeStderr")]
    pub fn close_stderr(&self) {
        self.close_child_fd(2);
    }

    /// Closes the pipe of the program's descriptor `fd`: after the queued bytes have been written,
    /// or at once when this process reads it. Does nothing when there is no such pipe, and for a
    /// terminal.
    #[doc(alias = "closeChildFD")]
    pub fn close_child_fd(&self, fd: i32) {
        match fd {
            0..3 if self.0.has_terminal => {}
            // The other direction stays open.
            0 if self.0.is_duplex => {
                if let Some(pipe) = self.pipe(1) {
                    pipe.lose_write();
                }
            }
            _ => {
                if let Some(pipe) = self.pipe(fd) {
                    pipe.lose_connection();
                }
            }
        }
    }

    /// Closes all pipes of the process, or its terminal. Closing the terminal sends SIGHUP, upon
    /// which many programs end.
    #[doc(alias = "loseConnection")]
    pub fn lose_connection(&self) {
        for pipe in self.0.all_pipes() {
            pipe.lose_connection();
        }
    }

    /// Stops reading from all pipes of the process.
    #[doc(alias = "pauseProducing")]
    pub fn pause_producing(&self) {
        for pipe in self.0.all_pipes() {
            pipe.pause_producing();
        }
    }

    /// Continues reading from all pipes of the process, after [`Process::pause_producing`].
    #[doc(alias = "resumeProducing")]
    pub fn resume_producing(&self) {
        for pipe in self.0.all_pipes() {
            pipe.resume_producing();
        }
    }

    /// Sends a signal to the process, given as a [`Signal`], by name (`"TERM"`) or by number. Only
    /// the process itself gets it, also when it leads a group.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::AlreadyExited`]; with
    /// [`SignalError`](crate::signals::SignalError) for an unknown signal; and with the system's
    /// error when the process has changed its user and must not be signalled.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use torsade::{Failure, Signal, process::Process};
    /// # fn pause(process: &Process) -> Result<(), Failure> {
    /// process.signal_process(Signal::STOP)?;
    /// process.signal_process("CONT")?;
    /// process.signal_process(1)?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("signalProcess", "send_signal"))]
    #[track_caller]
    pub fn signal_process<S>(&self, signal: S) -> Result<(), Failure>
    where
        S: TryInto<Signal>,
        Failure: From<S::Error>,
    {
        let signal = signal.try_into()?;
        self.0.send(signal, false)
    }

    /// Sends a signal to the process group that the process leads, or to the process alone when it
    /// leads none. See [`Process::signal_process`].
    ///
    /// # Errors
    ///
    /// Fails as [`Process::signal_process`] does.
    #[doc(alias = "killpg")]
    #[track_caller]
    pub fn signal_group<S>(&self, signal: S) -> Result<(), Failure>
    where
        S: TryInto<Signal>,
        Failure: From<S::Error>,
    {
        let signal = signal.try_into()?;
        self.0.send(signal, self.0.leads)
    }

    /// Kills the process (SIGKILL), and when it leads a process group or has a terminal, the whole
    /// group. Does nothing when the process has exited, or when it must not be signalled.
    pub fn kill(&self) {
        // A process that must not be killed stays; `is_running` shows that.
        let _ = self.0.send(Signal::KILL, self.0.leads);
    }

    /// Sends SIGTERM to the process, and kills it when it has not exited after `grace`, or when the
    /// reactor ends before that. As with [`Process::kill`], both signals go to the whole group that
    /// the process leads. Processes of the group that remain after their leader has ended upon
    /// SIGTERM are not killed.
    ///
    /// When it is called again, the process is killed at the earliest of the times.
    #[doc(alias("terminate", "kill_with_grace"))]
    #[track_caller]
    pub fn terminate_within(&self, grace: Duration) {
        if self.0.send(Signal::TERM, self.0.leads).is_err() {
            return;
        }
        let Some(reactor) = self.0.reactor.upgrade() else {
            return;
        };
        let this = Rc::downgrade(&self.0);
        let deadline = reactor.limit(grace, move || {
            if let Some(common) = this.upgrade() {
                Self(common).kill();
            }
        });
        let old = self.0.deadline.take();
        let (sooner, later) = match old {
            // A call that is over has no deadline, and counts as the later one then.
            Some(old)
                if old
                    .deadline()
                    .is_some_and(|at| Some(at) <= deadline.deadline()) =>
            {
                (old, Some(deadline))
            }
            old => (deadline, old),
        };
        self.0.deadline.set(Some(sooner));
        if let Some(later) = later {
            later.cancel();
        }
    }

    /// Kills the process and closes its pipes, also when other code holds them.
    pub(super) fn forget(&self) {
        self.kill();
        for pipe in self.0.all_pipes() {
            pipe.abort_connection();
        }
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.0.has_terminal
    }

    pub(super) fn is_duplex(&self) -> bool {
        self.0.is_duplex
    }

    /// Sets the size of the program's terminal. When it changes, the program gets SIGWINCH.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::Unsupported`] without a terminal; with
    /// [`io::ErrorKind::NotConnected`] when the terminal is closed; and with the system's error.
    #[doc(alias = "TIOCSWINSZ")]
    pub fn set_window_size(&self, rows: u16, columns: u16) -> io::Result<()> {
        if !self.0.has_terminal {
            let text = "the process was started without a terminal";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let Some(terminal) = self.pipe(1) else {
            let text = "the terminal of the process is closed";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        };
        let size = Pty { rows, columns };
        terminal.on_socket(|socket| socket.set_window_size(size))?;
        self.0.with_body(|body| body.resize(size));
        Ok(())
    }
}

impl Common {
    pub(super) fn new(
        reactor: &Reactor,
        command: &Command,
        has_streams: bool,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            program: command.program().to_owned(),
            kills_on_drop: command.kills_on_drop,
            leads: command.leads(),
            is_duplex: command.is_duplex(),
            has_terminal: command.has_terminal(),
            body: RefCell::new(None),
            pipes: RefCell::new(Vec::new()),
            broken: RefCell::new(None),
            delayed_close: Rc::default(),
            has_streams,
            exit: RefCell::new(None),
            deadline: Cell::new(None),
            reactor: reactor.downgrade(),
            location,
            span: OwnSpan::default(),
        }
    }

    /// Returns the span in which its hooks are called.
    #[cold]
    pub(super) fn span(&self) -> Option<Span> {
        self.span.get_or(|| {
            let is_wanted = span_enabled!(target: "torsade::process", Level::INFO, program, pid);
            is_wanted.then(|| {
                let program = Path::new(&self.program).display();
                let pid = self.with_body(Body::pid);
                tracing::info_span!(target: "torsade::process", "process", %program, pid)
            })
        })
    }

    /// Takes the span, for the last hook.
    pub(super) fn take_span(&self) -> Option<Span> {
        self.span.take()
    }

    /// Returns the settings of its pipes.
    pub(super) fn config(&self, reactor: &Reactor) -> Rc<ConnConfig> {
        Rc::new(ConnConfig {
            is_filter: true,
            delayed_close: self.has_terminal.then(|| self.delayed_close.clone()),
            ..ConnConfig::of_pipes(reactor, self.location)
        })
    }

    pub(super) fn reactor(&self) -> Option<Reactor> {
        self.reactor.upgrade()
    }

    pub(super) fn began(&self, body: Body) {
        *self.body.borrow_mut() = Some(body);
    }

    /// Borrows the body, for one statement that runs no user code.
    pub(super) fn with_body<R>(&self, f: impl FnOnce(&Body) -> R) -> Option<R> {
        self.body.borrow().as_ref().map(f)
    }

    /// Records that the process has exited and was waited for.
    pub(super) fn exit(&self, how: Result<ExitStatus, Failure>) {
        *self.exit.borrow_mut() = Some(how);
        self.delayed_close.finish();
        drop(self.body.take());
        if let Some(deadline) = self.deadline.take() {
            deadline.cancel();
        }
    }

    /// Kills the process and waits for it, because it has no pipe to communicate through; returns
    /// the error of the start.
    pub(super) fn retract(&self, why: &Failure) -> ProcessError {
        if let Some(body) = self.body.take() {
            body.end();
        }
        let errno = why.downcast_ref().and_then(io::Error::raw_os_error);
        let error = errno.map_or_else(
            || io::Error::other(why.clone()),
            io::Error::from_raw_os_error,
        );
        let step = "watching its pipes";
        ProcessError::not_started(&self.program, NotLaunched { step, error })
    }

    /// Handles the end of the reactor before that of the process.
    pub(super) fn leave(&self) {
        if self.exit.borrow().is_some() {
            return;
        }
        let deadline = self.deadline.take();
        let is_to_end = deadline.is_some_and(|deadline| deadline.cancel());
        if self.kills_on_drop || is_to_end {
            let _ = self.send(Signal::KILL, self.leads);
        }
        if let Some(body) = self.body.take() {
            body.abandon();
        }
        self.exit(Err(Failure::at(Stopped, self.location)));
    }

    /// Drops the process when its reactor is dropped, without reports.
    pub(super) fn drop_silently(&self) {
        if self.kills_on_drop {
            let _ = self.send(Signal::KILL, self.leads);
        }
    }

    pub(super) fn exited(&self) -> Option<Result<ExitStatus, Failure>> {
        self.exit.borrow().clone()
    }

    /// Returns how the process ended, once it has exited.
    pub(super) fn reason(&self) -> Option<Failure> {
        Some(match self.exited()? {
            Ok(status) => reason(status, self.location),
            Err(failure) => failure,
        })
    }

    pub(super) fn add_pipe(&self, number: i32, is_written: bool, transport: Transport) {
        self.pipes.borrow_mut().push(Pipe {
            number,
            is_written,
            transport,
        });
    }

    /// Returns an open pipe.
    fn pipe(&self, fd: i32, fits: impl Fn(&Pipe) -> bool) -> Option<Transport> {
        let pipes = self.pipes.borrow();
        let mut open = pipes.iter().filter(|pipe| pipe.is_open());
        let pipe = open.find(|pipe| pipe.number == fd && fits(pipe))?;
        Some(pipe.transport.clone())
    }

    pub(super) fn remove_pipe(&self, number: i32) {
        let mut pipes = self.pipes.borrow_mut();
        let at = pipes.iter().position(|pipe| pipe.number == number);
        let removed = at.map(|at| pipes.remove(at));
        drop(pipes);
        drop(removed);
    }

    /// Records that a pipe was lost. That the program does not read what this process writes is not
    /// an error.
    pub(super) fn record_loss(&self, reason: &Failure) {
        let lost = reason.downcast_ref();
        let Some(error) = lost.and_then(ConnectionError::io_error) else {
            return;
        };
        if error.kind() != io::ErrorKind::BrokenPipe {
            drop(self.broken.replace(Some(reason.clone())));
        }
    }

    /// Returns the error that makes the output of the pipes incomplete.
    pub(super) fn broken(&self) -> Option<Failure> {
        self.broken.borrow().clone()
    }

    /// Returns whether there is a pipe whose loss was not delivered yet.
    pub(super) fn has_pipes(&self) -> bool {
        !self.has_streams && !self.pipes.borrow().is_empty()
    }

    pub(super) fn all_pipes(&self) -> Vec<Transport> {
        let pipes = self.pipes.borrow();
        pipes.iter().map(|pipe| pipe.transport.clone()).collect()
    }

    /// Describes the state, for a dump.
    pub(super) fn about(&self) -> String {
        let mut about = format!("{:?}", self.program);
        match self.with_body(Body::pid) {
            Some(pid) => about += &format!(", process {pid}"),
            None => about += ", exited",
        }
        let pipes = self.pipes.borrow();
        let open = pipes.iter().filter(|pipe| pipe.is_open());
        let open: Vec<i32> = open.map(|pipe| pipe.number).collect();
        if !open.is_empty() {
            about += &format!(", pipes {open:?} open");
        }
        about
    }

    #[track_caller]
    fn send(&self, signal: Signal, group: bool) -> Result<(), Failure> {
        match self.with_body(|body| body.signal(signal.number(), group)) {
            None => Err(Failure::new(ProcessError::AlreadyExited)),
            Some(Err(error)) if error.raw_os_error() == Some(libc::ESRCH) => {
                Err(Failure::new(ProcessError::AlreadyExited))
            }
            Some(sent) => Ok(sent?),
        }
    }
}

impl Pipe {
    /// Returns whether the pipe is open. Pipes of async code are not removed when they are closed.
    fn is_open(&self) -> bool {
        !self.transport.has_ended()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("program", &self.0.program)
            .field("pid", &self.pid())
            .field("exited", &self.0.exited())
            .finish()
    }
}
