//! Fake programs: the child processes that an in-memory reactor starts.
//!
//! # The idea
//!
//! A test defines a program as an async function that gets the program's end of each pipe. The code
//! under test starts the program by name, as it would start a real one. A fake process exits when
//! its function returns, with the code that it returns, or by a signal that it does not catch.
//!
//! # Invariants
//!
//! 1. A process's status is set once; its handler in the reactor's table is notified then.
//! 2. Signals take effect in the loop's next batch, so no user code runs inside the handle that
//!    sends them.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::Location;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};

use super::ProcessError;
use crate::address::Address;
use crate::defer::{Deferred, Resolver};
use crate::driver::{Bind, Buffers, ChildFd, Launch, NotLaunched, Pty, Socket, Sockets};
use crate::failure::Failure;
use crate::reactor::{Reactor, Registration, WeakReactor};
use crate::report;
use crate::signal::Signal;
use crate::stream::Connection;
use crate::task::Task;
use crate::transport::ConnConfig;

/// The fake programs of an in-memory reactor, for tests of code that starts child processes.
///
/// A command finds a program by exactly the text that [`Command::new`](super::Command::new) got:
/// `git` and `/usr/bin/git` are two programs. Starting any other program fails with
/// [`ProcessError::NotStarted`].
///
/// # Examples
///
/// ```
/// use torsade::process::Command;
/// use torsade::testing;
///
/// testing::run_on(torsade::Reactor::in_memory()?, async |reactor| {
///     let programs = testing::Programs::new(&reactor)?;
///     programs.add("shout", async |mut actor| {
///         let (mut input, mut output) = (actor.take_stdin()?, actor.take_stdout()?);
///         while let Some(line) = input.read_line(80).await? {
///             output.write_all(&line.to_ascii_uppercase()).await?;
///         }
///         Ok(0)
///     });
///     let output = Command::new("shout").input("hello\n").output(&reactor).await?;
///     assert_eq!(output.success()?.out, b"HELLO");
///     Ok(())
/// });
/// # Ok::<(), torsade::Failure>(())
/// ```
pub struct Programs(Rc<FakePrograms>);

/// The program's side of a fake process: its arguments, environment, pipes and signals.
///
/// Pipes that have not been taken are closed when the program ends.
pub struct FakeProgram {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    pipes: Pipes,
    /// Whether the descriptors 0 and 1 are the same pipe.
    is_duplex: bool,
    process: Rc<FakeProcess>,
}

/// The pipes that have not been taken.
type Pipes = Rc<RefCell<Vec<(i32, Connection)>>>;

/// The fake programs of a reactor.
#[derive(Default)]
struct FakePrograms {
    programs: RefCell<Vec<(OsString, Rc<Script>)>>,
    started: Cell<u32>,
}

type Script = dyn Fn(FakeProgram) -> Pin<Box<dyn Future<Output = Result<i32, Failure>>>>;

/// Signals, by number, and the resolver of each [`FakeProgram::catch`].
type Caught = Vec<(i32, Resolver<()>)>;

/// A fake process.
pub(super) struct FakeProcess {
    pid: u32,
    /// Called when the program has ended.
    on_end: Cell<Option<Box<dyn FnOnce()>>>,
    /// The status as `wait` returns it (invariant 1).
    status: Cell<Option<i32>>,
    task: Cell<Option<Task<()>>>,
    /// The signals that do not end the program, and the resolvers that they fire.
    caught: RefCell<Caught>,
    /// The size of the terminal, if there is one.
    window: Cell<Option<Pty>>,
    reactor: WeakReactor,
    location: &'static Location<'static>,
}

/// The pending [`FakeProgram::catch`]es of a program that has ended.
struct PendingCatches(Caught, &'static Location<'static>);

/// Ends a program that unwinds.
struct EndGuard(Rc<FakeProcess>);

impl Programs {
    /// Makes an empty set of fake programs for a reactor, in place of any earlier one.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::Unsupported`] when the reactor is not in memory.
    pub fn new(reactor: &Reactor) -> Result<Self, Failure> {
        if !reactor.inner().driver().is_virtual() {
            let text =
                "the reactor does not use the in-memory driver, so it runs the system's programs";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text).into());
        }
        let programs = Rc::<FakePrograms>::default();
        let old = reactor.inner().insert_extension(programs.clone());
        drop(old);
        Ok(Self(programs))
    }

    /// Adds a program, or replaces the program of the same name. Each time that it is started,
    /// `script` is called and returns the exit code. If `script` fails, the exit code is 1, and the
    /// text of the failure is written to the program's standard error, unless that pipe has been
    /// taken. A panic is reported, which fails a test ([`run_on`](crate::testing::run_on)), and
    /// ends the program as SIGABRT would.
    pub fn add(
        &self,
        name: impl Into<OsString>,
        script: impl AsyncFn(FakeProgram) -> Result<i32, Failure> + 'static,
    ) {
        let name = name.into();
        let script = Rc::new(script);
        let script: Rc<Script> = Rc::new(move |program| {
            let script = script.clone();
            Box::pin(async move { script(program).await })
        });
        let mut programs = self.0.programs.borrow_mut();
        let old = match programs.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => Some(std::mem::replace(old, script)),
            None => {
                programs.push((name, script));
                None
            }
        };
        drop(programs);
        drop(old);
    }
}

impl FakeProgram {
    /// Returns the program's arguments; the first is its name.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Returns a variable of the program's environment, if it is set.
    pub fn env(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let mut all = self.env.iter();
        let (_, value) = all.find(|(other, _)| other == name.as_ref())?;
        Some(value)
    }

    /// Returns the working directory that the command sets
    /// ([`Command::current_dir`](super::Command::current_dir)), if it sets one.
    pub fn current_dir(&self) -> Option<&std::path::Path> {
        self.directory.as_deref()
    }

    /// Returns the process id, which no process of the machine has.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Returns the rows and columns of the program's terminal, or `None` without one. When the size
    /// changes, the program gets SIGWINCH ([`FakeProgram::catch`]).
    #[doc(alias = "TIOCGWINSZ")]
    pub fn window_size(&self) -> Option<(u16, u16)> {
        let size = self.process.window.get()?;
        Some((size.rows, size.columns))
    }

    /// Takes the program's end of the pipe to its standard input, or its terminal.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::NoSuchPipe`] when the pipe has been taken already, or the
    /// descriptor is not a pipe.
    pub fn take_stdin(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(0)
    }

    /// Takes the program's end of the pipe from its standard output, or its terminal.
    ///
    /// # Errors
    ///
    /// Fails as [`FakeProgram::take_stdin`] does.
    pub fn take_stdout(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(1)
    }

    /// Takes the program's end of the pipe from its standard error.
    ///
    /// # Errors
    ///
    /// Fails as [`FakeProgram::take_stdin`] does.
    pub fn take_stderr(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(2)
    }

    /// Takes the program's end of the pipe with number `fd`. A terminal, and the pipe that
    /// [`Command::connect`](super::Command::connect) makes, has the numbers 0 and 1, and can be
    /// taken once.
    ///
    /// # Errors
    ///
    /// Fails as [`FakeProgram::take_stdin`] does.
    #[track_caller]
    pub fn take_pipe(&mut self, fd: i32) -> Result<Connection, Failure> {
        let fd = match fd {
            0 if self.is_duplex => 1,
            fd => fd,
        };
        match take(&self.pipes, fd) {
            Some(pipe) => Ok(pipe),
            None => Err(Failure::new(ProcessError::NoSuchPipe { fd })),
        }
    }

    /// Returns a Deferred that fires when the program next gets `signal`, which then does not end
    /// the program. SIGKILL cannot be caught.
    #[track_caller]
    pub fn catch(&self, signal: Signal) -> Deferred<()> {
        let (deferred, resolver) = Deferred::pair();
        self.process
            .caught
            .borrow_mut()
            .push((signal.number(), resolver));
        deferred
    }
}

/// The handle by which a process holds its fake program.
pub(super) type FakeHandle = Rc<FakeProcess>;

/// Starts a fake program. `location` is the line that requested it.
pub(super) fn launch(
    reactor: &Reactor,
    launch: &Launch<'_>,
    registration: &Registration,
    location: &'static Location<'static>,
) -> Result<(Rc<FakeProcess>, Sockets), NotLaunched> {
    let programs: Option<Rc<FakePrograms>> = reactor.inner().extension();
    let programs = programs.unwrap_or_default();
    let script = {
        let programs = programs.programs.borrow();
        let found = programs.iter().find(|(name, _)| *name == launch.program);
        found.map(|(_, script)| script.clone())
    };
    let Some(script) = script else {
        let text = "`testing::Programs` has no program of this name, and an in-memory reactor runs no others";
        return Err(NotLaunched {
            step: "executing it",
            error: io::Error::new(io::ErrorKind::NotFound, text),
        });
    };
    programs.started.set(programs.started.get() + 1);
    let process = Rc::new(FakeProcess {
        pid: FIRST_PID + programs.started.get(),
        on_end: Cell::new(Some(Box::new(registration.attention()))),
        status: Cell::new(None),
        task: Cell::new(None),
        caught: RefCell::default(),
        window: Cell::new(launch.pty),
        reactor: reactor.downgrade(),
        location,
    });
    let program = FakeProgram {
        args: launch.args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: launch.env.clone(),
        directory: launch.directory.map(Into::into),
        pipes: Pipes::default(),
        is_duplex: launch.pty.is_some() || launch.has_stream,
        process: process.clone(),
    };
    let piped = launch
        .fds
        .iter()
        .filter(|(_, fd)| matches!(fd, ChildFd::Read | ChildFd::Write));
    let mut numbers: Vec<i32> = piped.map(|(number, _)| *number).collect();
    if launch.pty.is_some() || launch.has_stream {
        numbers.push(1);
    }
    let mut ours = Vec::new();
    for number in numbers {
        let made = make_pipe(reactor, &process, number);
        let (our_end, their_end) = made.map_err(|error| NotLaunched {
            step: "creating its descriptors",
            error,
        })?;
        ours.push((number, our_end));
        program.pipes.borrow_mut().push((number, their_end));
    }
    let end_guard = EndGuard(process.clone());
    let executor = reactor.inner().executor();
    let run = async move {
        let pipes = program.pipes.clone();
        let code = match script(program).await {
            Ok(code) => code,
            Err(failure) => {
                if let Some(errors) = take(&pipes, 2) {
                    errors.transport().write(format!("{failure}\n"));
                }
                1
            }
        };
        drop(pipes);
        end_guard.0.end((code & 0xff) << 8);
    };
    process.task.set(Some(executor.spawn(run, location)));
    Ok((process, ours))
}

fn take(pipes: &Pipes, fd: i32) -> Option<Connection> {
    let mut pipes = pipes.borrow_mut();
    let at = pipes.iter().position(|(number, _)| *number == fd)?;
    Some(pipes.remove(at).1)
}

/// Makes a pipe in memory; returns our end, and the program's.
fn make_pipe(
    reactor: &Reactor,
    process: &FakeProcess,
    number: i32,
) -> io::Result<(Socket, Connection)> {
    let driver = reactor.inner().driver();
    let name = format!("torsade process {} descriptor {number}", process.pid);
    let address = Address::from_abstract(name);
    let listener = driver.listen(&address, &Bind::default())?;
    let ours = driver.connect(&address, None, Buffers::default())?;
    let (their_end, _) = listener.accept()?;
    let config = Rc::new(ConnConfig {
        is_filter: true,
        ..ConnConfig::of_pipes(reactor, process.location)
    });
    let their_end = Connection::of_socket(reactor, their_end, Address::Unnamed, &config);
    Ok((ours, their_end.map_err(io::Error::other)?))
}

impl FakeProcess {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.status.get().map(ExitStatus::from_raw)
    }

    /// Sets the size of the terminal, and sends SIGWINCH if it has changed.
    pub(super) fn resize(self: &Rc<Self>, size: Pty) {
        let old = self.window.replace(Some(size));
        if old != Some(size) {
            self.signal(libc::SIGWINCH);
        }
    }

    /// Sends a signal (invariant 2).
    pub(super) fn signal(self: &Rc<Self>, number: i32) {
        if let Some(reactor) = self.reactor.upgrade() {
            let this = Rc::downgrade(self);
            let executor = reactor.inner().executor();
            executor.call(self.location, move || Self::inject(&this, number));
        }
    }

    fn inject(this: &Weak<Self>, number: i32) {
        let Some(this) = this.upgrade().filter(|this| this.status.get().is_none()) else {
            return;
        };
        let caught = {
            let mut caught = this.caught.borrow_mut();
            let mut all = caught.iter();
            let at = all.position(|(other, resolver)| *other == number && !resolver.is_cancelled());
            at.map(|at| caught.remove(at))
        };
        match caught {
            Some((_, resolver)) if number != libc::SIGKILL => resolver.callback(()),
            _ if IGNORED_SIGNALS.contains(&number) => {}
            _ => this.end(number),
        }
    }

    /// Sets the status, and drops all parts of the process (invariant 1).
    fn end(&self, status: i32) {
        if self.status.get().is_some() {
            return;
        }
        self.status.set(Some(status));
        let pending = PendingCatches(self.caught.take(), self.location);
        if let Some(task) = self.task.take() {
            task.cancel();
        }
        if let Some(on_end) = self.on_end.take() {
            on_end();
        }
        if let Some(reactor) = self.reactor.upgrade() {
            // The task is dropped in the next batch, and may wait for one of them until then.
            let executor = reactor.inner().executor();
            executor.call(self.location, move || drop(pending));
        }
    }
}

impl Drop for PendingCatches {
    fn drop(&mut self) {
        let Self(caught, location) = self;
        for (_, resolver) in caught.drain(..) {
            // A Deferred that was dropped does not need a failure.
            match resolver.has_no_consumer() {
                true => resolver.drop_silently(),
                false => report::discard(resolver, location),
            }
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(libc::SIGABRT);
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.0.programs.borrow();
        f.debug_list()
            .entries(programs.iter().map(|(name, _)| name))
            .finish()
    }
}

impl fmt::Debug for FakeProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeProgram")
            .field("args", &self.args)
            .field("pid", &self.process.pid)
            .finish_non_exhaustive()
    }
}

/// The lowest process ID of fake processes, which no process of the machine has: Linux counts at
/// most up to here, other systems less. A query or a signal for it finds no process.
const FIRST_PID: u32 = 1 << 22;

/// The signals that do not end a program that has not asked for them. (Stopping a process is not
/// simulated.)
const IGNORED_SIGNALS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];
