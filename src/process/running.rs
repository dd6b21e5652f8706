//! The engine of every process: how the loop handles the process and its pipes.
//!
//! # The idea
//!
//! A process is a [`Common`], which is inert, and the slot of a protocol. It is registered in the
//! reactor's table to be notified of its exit. Each of its pipes is a connection with a handler of
//! this module, [`OnPipe`], which passes the events on.
//!
//! # Invariants
//!
//! 1. No hook is called before `connection_made`. `process_ended` is called once, last, when no
//!    pipe is left and the exit was delivered or the reactor ends. When the reactor is dropped
//!    before it ran, no hook is called and the protocol is dropped.
//! 2. The pipes own the process, and the process owns its open pipes; a pipe that is lost is
//!    dropped.
//! 3. The child is off the poller before its descriptor is closed.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use tracing::Span;

use super::body::Body;
use super::errors::ProcessError;
use super::handle::Common;
use super::{Command, Process, ProcessProtocol};
use crate::address::Address;
use crate::driver::{Event, Sockets};
use crate::failure::Failure;
use crate::protocol::{Handle, ProtocolHost, ProtocolSlot, handle, leave, visit};
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked};
use crate::report::WarnOnce;
use crate::spans;
use crate::transport::{Conn, ConnHandler, Transport};

impl Command {
    /// Starts the program with a [`ProcessProtocol`], whose hooks the reactor calls. The program is
    /// running when this returns; `connection_made` is called in the loop's next batch.
    ///
    /// # Errors
    ///
    /// Fails with [`ProcessError::NotStarted`](super::ProcessError::NotStarted), which holds the
    /// system's error: the program does not exist or must not be run, its arguments are too long,
    /// or this process can open no more descriptors; its kind is
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) for a command with contradictory
    /// settings. When the reactor has ended, the error is an [`io::Error`](std::io::Error) that
    /// holds [`ReactorError::NotRestartable`](crate::reactor::ReactorError::NotRestartable).
    ///
    /// # Examples
    ///
    /// See [`ProcessProtocol`].
    #[doc(alias("spawnProcess", "IReactorProcess", "subprocess_exec"))]
    #[track_caller]
    pub fn spawn_protocol<P: ProcessProtocol>(
        self,
        reactor: &Reactor,
        protocol: P,
    ) -> Result<Handle<P, Process>, Failure> {
        let location = Location::caller();
        let (running, pipes) = Running::start(reactor, &self, protocol, false, location)?;
        // In memory, a pipe that this process writes has an end of file when the program has closed
        // it.
        let is_virtual = reactor.inner().driver().is_virtual();
        let config = running.common.config(reactor);
        let mut conns = Vec::new();
        for (number, socket) in pipes {
            let slot = OnPipe {
                running: running.clone(),
                number,
                is_read: is_virtual || self.reads(number),
            };
            let conn = Conn::unwatched(reactor, socket, Address::Unnamed, &config, slot)
                .map_err(|failure| running.retract(reactor, &failure))?;
            let is_written = self.writes(number);
            running
                .common
                .add_pipe(number, is_written, conn.transport());
            conns.push(conn);
        }
        let (weak, later) = (reactor.downgrade(), running.clone());
        reactor.inner().executor().call(location, move || {
            let Some(reactor) = weak.upgrade() else {
                return;
            };
            later.begin(&reactor);
            for conn in conns {
                conn.begin_unwatched(&reactor, || {});
            }
        });
        Ok(handle(&running))
    }
}

/// A process and its protocol.
pub(super) struct Running<P: 'static> {
    pub(super) common: Rc<Common>,
    slot: ProtocolSlot<P, Process>,
    registration: Registration,
    retry: Retry,
    /// Whether `connection_made` has been called.
    begun: Cell<bool>,
    /// Whether `process_ended` has been called, or is being called.
    ended: Cell<bool>,
    /// The pipe whose hook is being called; `None` for hooks of the process.
    called_pipe: RefCell<Option<Transport>>,
}

/// The handler of a pipe.
struct OnPipe<P: 'static> {
    running: Rc<Running<P>>,
    number: i32,
    /// Whether this process reads the pipe.
    is_read: bool,
}

impl<P: ProcessProtocol> Running<P> {
    /// Starts the process and watches it for its end; adds the pipes to it.
    pub(super) fn start(
        reactor: &Reactor,
        command: &Command,
        protocol: P,
        has_streams: bool,
        location: &'static Location<'static>,
    ) -> Result<(Rc<Self>, Sockets), Failure> {
        let running = reactor.register(|registration| Self {
            common: Rc::new(Common::new(reactor, command, has_streams, location)),
            slot: ProtocolSlot::new(protocol),
            registration,
            retry: Retry::default(),
            begun: Cell::new(false),
            ended: Cell::new(false),
            called_pipe: RefCell::new(None),
        })?;
        match running.launch(reactor, command) {
            Ok(pipes) => Ok((running, pipes)),
            Err(failure) => {
                running.ended.set(true);
                running.registration.leave(reactor);
                Err(failure)
            }
        }
    }

    fn launch(&self, reactor: &Reactor, command: &Command) -> Result<Sockets, Failure> {
        let launched = Body::launch(reactor, command, &self.registration, self.common.location);
        let (body, pipes) = launched.map_err(|error| Failure::at(error, self.common.location))?;
        self.common.began(body);
        Ok(pipes)
    }

    /// Ends the process because one of its pipes could not be watched, and returns the failure to
    /// start with.
    pub(super) fn retract(&self, reactor: &Reactor, failure: &Failure) -> Failure {
        self.ended.set(true);
        self.leave_loop(reactor);
        Failure::at(self.common.retract(failure), self.common.location)
    }

    /// Calls `connection_made`.
    pub(super) fn begin(self: &Rc<Self>, reactor: &Reactor) {
        self.begun.set(true);
        visit(self, reactor, |protocol, cx| protocol.connection_made(cx));
        // The process may have ended already, and in memory that is reported only once.
        self.registration.request_attention();
    }

    /// Removes the child from the poller, and the process from the reactor's table.
    fn leave_loop(&self, reactor: &Reactor) {
        let left = self
            .common
            .with_body(|body| body.unwatch(reactor, &self.registration));
        if left.is_none() {
            self.registration.leave(reactor);
        }
        self.retry.cancel();
    }

    /// Calls `process_ended` if the exit is known and no pipe is left.
    fn end_if_over(self: &Rc<Self>) {
        let Some(exited) = self.common.exited() else {
            return;
        };
        if !self.common.has_pipes() && !self.ended.replace(true) {
            spans::within(self.common.take_span(), || {
                leave(&**self, |protocol| protocol.process_ended(exited));
            });
        }
    }

    /// Retries later: the process has ended, but its tracer must be notified first.
    fn retry_later(&self, reactor: &Reactor) {
        self.set_watched(reactor, false);
        self.retry.after(RETRY, &self.registration);
    }

    fn set_watched(&self, reactor: &Reactor, watched: bool) {
        let set = |body: &Body| body.set_watched(reactor, &self.registration, watched);
        if let Some(Err(error)) = self.common.with_body(set) {
            if tracing::enabled!(target: "torsade::process", tracing::Level::WARN) {
                tracing::warn!(target: "torsade::process", %error, "a child is not watched any more");
            } else {
                static WARNED: WarnOnce = WarnOnce::new();
                WARNED.write(format_args!(
                    "a child is not watched any more, so its end may go unnoticed: {error} (reported once)"
                ));
            }
        }
    }

    /// Waits for the process; returns `false` when it has not exited yet.
    fn wait(self: &Rc<Self>, reactor: &Reactor) -> bool {
        let exited: Result<ExitStatus, Failure> = match self.common.with_body(Body::try_wait) {
            None => return true,
            Some(Ok(None)) => return false,
            Some(Ok(Some(status))) => Ok(status),
            Some(Err(_)) => Err(Failure::at(ProcessError::StatusTaken, self.common.location)),
        };
        self.leave_loop(reactor);
        self.common.exit(exited.clone());
        visit(self, reactor, |protocol, cx| {
            protocol.process_exited(cx, exited)
        });
        self.end_if_over();
        true
    }
}

impl<P: ProcessProtocol> Handler for Running<P> {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, _event: Event) {
        // Nothing is done before `connection_made`; the event comes again.
        if self.begun.get() && !self.wait(reactor) {
            self.retry_later(reactor);
        }
    }

    /// Handles the end of a fake process, or the time for another try.
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.retry.take_due() {
            self.set_watched(reactor, true);
        }
        if self.begun.get() {
            self.wait(reactor);
        }
    }
}

impl<P: ProcessProtocol> Tracked for Running<P> {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        // The process was started, so `connection_made` is called first (invariant 1).
        if let Some(reactor) = reactor.filter(|_| !self.begun.get()) {
            self.begin(reactor);
        }
        if let Some(reactor) = reactor {
            self.leave_loop(reactor);
        }
        self.common.leave();
        if self.begun.get() {
            self.end_if_over();
        } else if !self.ended.replace(true) {
            // Without a reactor no hook was called, and none is.
            leave(&*self, |_| {});
        }
    }

    fn kind(&self) -> &'static str {
        "process"
    }

    fn about(&self) -> String {
        self.common.about()
    }

    fn location(&self) -> &'static Location<'static> {
        self.common.location
    }
}

impl<P: ProcessProtocol> ProtocolHost for Running<P> {
    type Protocol = P;
    type Transport = Process;

    fn protocol_slot(&self) -> &ProtocolSlot<P, Process> {
        &self.slot
    }

    fn host_reactor(&self) -> Option<Reactor> {
        self.common.reactor()
    }

    fn span(&self, _reactor: &Reactor) -> Option<Span> {
        self.common.span()
    }

    fn host_location(&self) -> &'static Location<'static> {
        self.common.location
    }

    fn is_closing(&self) -> bool {
        self.ended.get()
    }

    fn is_removed(&self) -> bool {
        self.ended.get()
    }

    fn reason_of_end(&self) -> Option<Failure> {
        self.common.reason()
    }

    fn panicked(&self, panic: Failure) {
        let called_pipe = self.called_pipe.borrow().clone();
        let pipes = called_pipe.map_or_else(|| self.common.all_pipes(), |pipe| vec![pipe]);
        for pipe in pipes {
            pipe.break_with(panic.clone());
        }
    }

    fn inert_handle(self: &Rc<Self>) -> Process {
        Process(self.common.clone())
    }
}

impl<P: ProcessProtocol> OnPipe<P> {
    /// Calls a hook on behalf of a pipe.
    fn call_for_pipe(
        conn: &Rc<Conn<Self>>,
        reactor: &Reactor,
        hook: impl FnOnce(&mut P, &mut crate::protocol::Context<'_, P, Process>, i32),
    ) {
        let Self {
            running, number, ..
        } = conn.handler();
        *running.called_pipe.borrow_mut() = Some(conn.transport());
        visit(running, reactor, |protocol, cx| hook(protocol, cx, *number));
        drop(running.called_pipe.take());
    }
}

impl<P: ProcessProtocol> ConnHandler for OnPipe<P> {
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        let mut buffer = reactor.inner().take_read_buffer();
        match conn.link().read(&mut buffer) {
            Some(0) => conn.peer_done(reactor),
            Some(count) => Self::call_for_pipe(conn, reactor, |protocol, cx, fd| {
                protocol.child_data_received(cx, fd, &buffer[..count])
            }),
            None => {}
        }
        reactor.inner().give_back_read_buffer(buffer);
    }

    fn eof(conn: &Rc<Conn<Self>>, _reactor: &Reactor) {
        conn.transport().lose_connection();
    }

    fn write_ready(conn: &Rc<Conn<Self>>, reactor: &Reactor) {
        Self::call_for_pipe(conn, reactor, |protocol, cx, fd| {
            protocol.write_ready(cx, fd)
        });
    }

    fn flushed(_conn: &Rc<Conn<Self>>) {}

    fn lost(conn: &Rc<Conn<Self>>, reason: Failure) {
        let running = &conn.handler().running;
        running.common.record_loss(&reason);
        running.common.remove_pipe(conn.handler().number);
        if let Some(reactor) = running.common.reactor().filter(|_| running.begun.get()) {
            Self::call_for_pipe(conn, &reactor, |protocol, cx, fd| {
                protocol.child_connection_lost(cx, fd)
            });
        }
        running.end_if_over();
    }

    fn wants_bytes(&self) -> bool {
        self.is_read
    }

    /// Reading from a terminal does not fill it further.
    fn is_held_when_full(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "pipe of a process"
    }
}

/// The delay before another try with a child that has ended and cannot be reaped yet.
const RETRY: Duration = Duration::from_millis(50);
