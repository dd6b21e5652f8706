//! A child process for async code: [`Child`].

use std::fmt;
use std::panic::Location;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use super::errors::ProcessError;
use super::output::answer;
use super::running::Running;
use super::{Command, Process, ProcessProtocol};
use crate::address::Address;
use crate::defer::{Deferred, Listeners};
use crate::driver::{Socket, Sockets};
use crate::failure::Failure;
use crate::protocol::{Context, Handle, Protocol, handle};
use crate::reactor::Reactor;
use crate::signal::Signal;
use crate::stream::Connection;

/// A child process whose pipes are [`Connection`]s.
///
/// [`Child::process`] returns a handle to the process, for signals and for its state.
///
/// Dropping a `Child` closes the pipes that have not been taken. The process continues, unless
/// [`Command::kill_on_drop`] is set, and the loop still waits for its exit, so it does not become a
/// zombie.
///
/// Most programs expect lines that end with `\n`. [`Connection::send_line`] ends a line with
/// `\r\n`, so write with [`Connection::write_all`], as the example does.
///
/// # Examples
///
/// ```
/// # use torsade::Failure;
/// use torsade::process::Command;
///
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     let mut child = Command::new("sort").spawn(&reactor)?;
///     let (mut stdin, mut stdout) = (child.take_stdin()?, child.take_stdout()?);
///     stdin.write_all(b"b\na\n").await?;
///     drop(stdin);
///     assert_eq!(stdout.read_line(80).await?.as_deref(), Some(&b"a"[..]));
///     assert_eq!(stdout.read_line(80).await?.as_deref(), Some(&b"b"[..]));
///     assert!(child.status().await?.success());
///     Ok(())
/// })
/// # }
/// ```
pub struct Child {
    process: Process,
    pipes: Vec<(i32, Connection)>,
    waiters: Listeners<ExitStatus>,
}

/// The protocol of a process that has a [`Child`].
struct ExitListener(Listeners<ExitStatus>);

impl Command {
    /// Starts the program and returns a [`Child`] whose pipes are [`Connection`]s for async code.
    /// The program is running when this returns.
    ///
    /// # Errors
    ///
    /// Fails as [`Command::spawn_protocol`] does.
    #[doc(alias("spawnProcess", "create_subprocess_exec", "Popen"))]
    #[track_caller]
    pub fn spawn(self, reactor: &Reactor) -> Result<Child, Failure> {
        let location = Location::caller();
        let (mut child, running, sockets) = self.begin_child(reactor, location)?;
        child.take_streams(reactor, &running, &self, sockets)?;
        Ok(child)
    }

    /// Starts the program and makes it the peer of `protocol`: the protocol receives the program's
    /// standard output, and the bytes that it writes are the program's standard input. Standard
    /// error is inherited unless the command sets descriptor 2; the command must not set
    /// descriptors 0 and 1.
    ///
    /// `connection_made` is called in the loop's next batch. The end of the program's output is the
    /// end of file; [`Child::status`] returns how the program exited.
    ///
    /// # Errors
    ///
    /// Fails as [`Command::spawn_protocol`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::process::Command;
    /// use torsade::protocols::{LineProtocol, Lines};
    /// use torsade::{Context, Failure};
    ///
    /// struct Ask;
    ///
    /// impl LineProtocol for Ask {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         cx.write("b\na\n");
    ///         cx.lose_write();
    ///     }
    ///     fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         assert!(line == b"a" || line == b"b");
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let (sort, child) = Command::new("sort").connect(&reactor, Lines::new(Ask))?;
    ///     sort.closed().await?;
    ///     assert!(child.status().await?.success());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("ProcessEndpoint", "StandardErrorBehavior"))]
    #[track_caller]
    pub fn connect<P: Protocol>(
        self,
        reactor: &Reactor,
        protocol: P,
    ) -> Result<(Handle<P>, Child), Failure> {
        let location = Location::caller();
        let command = self.with_stream();
        let (mut child, running, sockets) = command.begin_child(reactor, location)?;
        let is_peer = |(number, _): &(i32, Socket)| *number == 1;
        let (peer, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_peer);
        child.take_streams(reactor, &running, &command, others)?;
        let Some((number, socket)) = peer.into_iter().next() else {
            return Err(Failure::new(ProcessError::NoSuchPipe { fd: 1 }));
        };
        let conn = reactor
            .attach_later(socket, protocol, &child.process.0.config(reactor))
            .map_err(|failure| running.retract(reactor, &failure))?;
        child.process.0.add_pipe(number, true, conn.transport());
        Ok((handle(&conn), child))
    }

    /// Starts the program and watches for its exit.
    fn begin_child(
        &self,
        reactor: &Reactor,
        location: &'static Location<'static>,
    ) -> Result<(Child, Rc<Running<ExitListener>>, Sockets), Failure> {
        let waiters = Listeners::default();
        let waited = ExitListener(waiters.clone());
        let (running, sockets) = Running::start(reactor, self, waited, true, location)?;
        running.begin(reactor);
        let child = Child {
            process: Process(running.common.clone()),
            pipes: Vec::new(),
            waiters,
        };
        Ok((child, running, sockets))
    }
}

impl Child {
    /// Makes connections of the pipes.
    fn take_streams(
        &mut self,
        reactor: &Reactor,
        running: &Running<ExitListener>,
        command: &Command,
        sockets: Sockets,
    ) -> Result<(), Failure> {
        for (number, socket) in sockets {
            let config = self.process.0.config(reactor);
            let conn = Connection::of_socket(reactor, socket, Address::Unnamed, &config)
                .map_err(|failure| running.retract(reactor, &failure))?;
            let is_written = command.writes(number);
            let common = &self.process.0;
            common.add_pipe(number, is_written, conn.transport());
            self.pipes.push((number, conn));
        }
        Ok(())
    }

    /// Takes the pipe to the program's standard input, or its terminal. Dropping the connection
    /// closes the pipe: the program sees the end of its input.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::NoSuchPipe`](super::ProcessError::NoSuchPipe) when the pipe has
    /// been taken already, or there is none.
    #[track_caller]
    pub fn take_stdin(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(0)
    }

    /// Takes the pipe from the program's standard output, or its terminal.
    ///
    /// # Errors
    ///
    /// Fails as [`Child::take_stdin`] does.
    #[track_caller]
    pub fn take_stdout(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(1)
    }

    /// Takes the pipe from the program's standard error.
    ///
    /// # Errors
    ///
    /// Fails as [`Child::take_stdin`] does.
    #[track_caller]
    pub fn take_stderr(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(2)
    }

    /// Takes the pipe of the program's descriptor `fd`. A terminal has the numbers 0 and 1, and can
    /// be taken once.
    ///
    /// # Errors
    ///
    /// Fails as [`Child::take_stdin`] does.
    #[track_caller]
    pub fn take_pipe(&mut self, fd: i32) -> Result<Connection, Failure> {
        let fd = match fd {
            0 if self.process.is_duplex() => 1,
            fd => fd,
        };
        let at = self.pipes.iter().position(|(number, _)| *number == fd);
        match at {
            Some(at) => Ok(self.pipes.remove(at).1),
            None => Err(Failure::new(ProcessError::NoSuchPipe { fd })),
        }
    }

    /// Returns a Deferred that fires with the exit status when the process exits. If the process
    /// has exited already, the Deferred has fired.
    ///
    /// The method may be called any number of times; dropping or cancelling the Deferred does not
    /// affect the process.
    ///
    /// A program that writes more than fits into a pipe waits until the pipe is read, and does not
    /// exit: read its output pipes, or redirect them with [`Command::child_fd`].
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken), and with
    /// [`Stopped`](crate::reactor::Stopped) when the reactor ends first.
    #[doc(alias("wait", "returncode"))]
    #[track_caller]
    pub fn status(&self) -> Deferred<ExitStatus> {
        match self.process.0.exited() {
            Some(Ok(status)) => Deferred::succeed(status),
            Some(Err(failure)) => Deferred::fail(failure),
            None => self.waiters.join(),
        }
    }

    /// Sends SIGTERM, kills the process when it has not exited after `grace`, and returns a
    /// Deferred that fires with its exit status. See [`Process::terminate_within`].
    ///
    /// # Errors
    ///
    /// Fails as [`Child::status`] does.
    #[track_caller]
    pub fn end_within(&self, grace: Duration) -> Deferred<ExitStatus> {
        self.process.terminate_within(grace);
        self.status()
    }

    /// Returns the process id, as [`Process::pid`] does.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Sends a signal to the process, as [`Process::signal_process`] does.
    ///
    /// # Errors
    ///
    /// Fails as [`Process::signal_process`] does.
    #[track_caller]
    pub fn signal_process<S>(&self, signal: S) -> Result<(), Failure>
    where
        S: TryInto<Signal>,
        Failure: From<S::Error>,
    {
        self.process.signal_process(signal)
    }

    /// Kills the process, as [`Process::kill`] does.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Returns the handle of the process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.0.drop_silently();
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl ExitListener {
    fn tell(&self, exited: &Result<ExitStatus, Failure>) {
        for waiter in self.0.resolvers() {
            answer(waiter, exited.clone());
        }
    }
}

impl ProcessProtocol for ExitListener {
    fn process_exited(
        &mut self,
        _cx: &mut Context<'_, Self, Process>,
        exited: Result<ExitStatus, Failure>,
    ) {
        self.tell(&exited);
    }

    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        self.tell(&ended);
    }
}
