//! A process for async code: [`Child`].

use std::fmt;
use std::ops::Deref;
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
use crate::stream::Connection;

/// A process whose pipes are [`Connection`]s.
///
/// It derefs to [`Process`]: `child.pid()`, `child.signal_process(..)`, `child.kill()`.
///
/// Dropping it changes nothing, unless [`Command::kill_on_drop`] was asked for: the process goes on, and is waited for by the loop.
/// Pipes that have not been taken are closed.
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
#[doc(alias("Process", "Popen", "subprocess"))]
pub struct Child {
    process: Process,
    pipes: Vec<(i32, Connection)>,
    waiters: Listeners<ExitStatus>,
}

/// What sits in the seat of a process that has a [`Child`].
struct Waited(Listeners<ExitStatus>);

impl Command {
    /// Starts the program and returns a [`Child`] whose pipes are [`Connection`]s for async code. The program runs when
    /// this returns.
    ///
    /// # Errors
    ///
    /// As for [`Command::spawn_protocol`].
    #[doc(alias("spawnProcess", "create_subprocess_exec", "Popen"))]
    #[track_caller]
    pub fn spawn(self, reactor: &Reactor) -> Result<Child, Failure> {
        let location = Location::caller();
        let (mut child, running, sockets) = self.begin_child(reactor, location)?;
        child.take_streams(reactor, &running, &self, sockets)?;
        Ok(child)
    }

    /// Starts the program and connects `protocol` to it as to a peer: the protocol receives the program's standard output, and
    /// its writes are the program's standard input. Standard error is inherited unless the command sets descriptor 2; the
    /// command may not set descriptors 0 and 1.
    ///
    /// `connection_made` runs in the loop's next batch. The end of the program's output is the end of file; [`Child::status`]
    /// returns how the program exited.
    ///
    /// # Errors
    ///
    /// As for [`Command::spawn_protocol`].
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
    ) -> Result<(Child, Rc<Running<Waited>>, Sockets), Failure> {
        let waiters = Listeners::default();
        let waited = Waited(waiters.clone());
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
    /// Makes streams of its pipes.
    fn take_streams(
        &mut self,
        reactor: &Reactor,
        running: &Running<Waited>,
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

    /// The pipe to its standard input, or its terminal. Dropping it closes it: the program sees the end of its input.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NoSuchPipe`](super::ProcessError::NoSuchPipe) when it has been taken already, or there is none.
    #[track_caller]
    pub fn take_stdin(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(0)
    }

    /// The pipe from its standard output, or its terminal.
    ///
    /// # Errors
    ///
    /// As for [`Child::take_stdin`].
    #[track_caller]
    pub fn take_stdout(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(1)
    }

    /// The pipe from its standard error.
    ///
    /// # Errors
    ///
    /// As for [`Child::take_stdin`].
    #[track_caller]
    pub fn take_stderr(&mut self) -> Result<Connection, Failure> {
        self.take_pipe(2)
    }

    /// The pipe under any number. A terminal is under 0 as well as under 1, and is taken once.
    ///
    /// # Errors
    ///
    /// As for [`Child::take_stdin`].
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

    /// Fires when it exits, with how; at once if it has. It may be asked any number of times, and a Deferred that is
    /// dropped without callbacks leaves nothing behind.
    ///
    /// A program that writes more than a pipe holds goes on only when that is read: take its pipes, or have them lead elsewhere.
    ///
    /// # Errors
    ///
    /// [`ProcessError::StatusTaken`](super::ProcessError::StatusTaken), [`Stopped`](crate::reactor::Stopped).
    #[doc(alias("wait", "returncode"))]
    #[track_caller]
    pub fn status(&self) -> Deferred<ExitStatus> {
        match self.process.0.exited() {
            Some(Ok(status)) => Deferred::succeed(status),
            Some(Err(failure)) => Deferred::fail(failure),
            None => self.waiters.join(),
        }
    }

    /// Asks it to end, kills it if it has not after `grace`, and tells how it exited. See [`Process::terminate_within`].
    ///
    /// # Errors
    ///
    /// As for [`Child::status`].
    #[track_caller]
    pub fn end_within(&self, grace: Duration) -> Deferred<ExitStatus> {
        self.process.terminate_within(grace);
        self.status()
    }

    /// Its inert handle.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.0.drop_silently();
    }
}

impl Deref for Child {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Waited {
    fn tell(&self, exited: &Result<ExitStatus, Failure>) {
        for waiter in self.0.resolvers() {
            answer(waiter, exited.clone());
        }
    }
}

impl ProcessProtocol for Waited {
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
