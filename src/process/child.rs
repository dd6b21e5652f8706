//! A process for async code: [`Child`].

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use super::errors::NoSuchPipe;
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
///     let mut child = reactor.spawn_child(Command::new("sort"))?;
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

impl Reactor {
    /// Starts a program whose pipes are connections for async code. When this returns the program has begun.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::spawn_process`].
    #[doc(alias("spawnProcess", "create_subprocess_exec", "Popen"))]
    #[track_caller]
    pub fn spawn_child(&self, command: Command) -> Result<Child, Failure> {
        let place = Location::caller();
        let (mut child, running, sockets) = self.begin_child(&command, place)?;
        child.take_streams(self, &running, &command, sockets)?;
        Ok(child)
    }

    /// Starts a program, and connects a protocol to it as to a peer: what it writes to its standard output is received, what is
    /// written is its standard input. Its errors go where ours go, unless the command says otherwise; of 0 and 1 it may say nothing
    /// else.
    ///
    /// `connection_made` runs in the loop's next batch. The end of its output is the end of file; how it exited is the
    /// [`Child`]'s to tell.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::spawn_process`].
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
    ///     let (sort, child) = reactor.connect_process(Command::new("sort"), Lines::new(Ask))?;
    ///     sort.closed().await?;
    ///     assert!(child.status().await?.success());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("ProcessEndpoint", "StandardErrorBehavior"))]
    #[track_caller]
    pub fn connect_process<P: Protocol>(
        &self,
        command: Command,
        protocol: P,
    ) -> Result<(Handle<P>, Child), Failure> {
        let place = Location::caller();
        let command = command.with_stream();
        let (mut child, running, sockets) = self.begin_child(&command, place)?;
        let is_peer = |(number, _): &(i32, Socket)| *number == 1;
        let (peer, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_peer);
        child.take_streams(self, &running, &command, others)?;
        let Some((number, socket)) = peer.into_iter().next() else {
            return Err(Failure::new(NoSuchPipe(1)));
        };
        let conn = self
            .seat_soon(socket, protocol, &child.process.0.terms(self))
            .map_err(|failure| running.retract(self, &failure))?;
        child.process.0.add_pipe(number, true, conn.transport());
        Ok((handle(&conn), child))
    }

    /// Starts a program, and has its exit told.
    fn begin_child(
        &self,
        command: &Command,
        place: &'static Location<'static>,
    ) -> Result<(Child, Rc<Running<Waited>>, Sockets), Failure> {
        let waiters = Listeners::default();
        let waited = Waited(waiters.clone());
        let (running, sockets) = Running::start(self, command, waited, true, place)?;
        running.begin(self);
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
            let terms = self.process.0.terms(reactor);
            let conn = Connection::of_socket(reactor, socket, Address::Unnamed, &terms)
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
    /// [`NoSuchPipe`](super::NoSuchPipe) when it has been taken already, or there is none.
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
            None => Err(Failure::new(NoSuchPipe(fd))),
        }
    }

    /// Fires when it exits, with how; at once if it has. It may be asked any number of times, and a Deferred that is
    /// dropped without callbacks leaves nothing behind.
    ///
    /// A program that writes more than a pipe holds goes on only when that is read: take its pipes, or have them lead elsewhere.
    ///
    /// # Errors
    ///
    /// [`StatusTaken`](super::StatusTaken), [`Stopped`](crate::reactor::Stopped).
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
        self.process.0.forsake();
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
