//! The engine of every datagram port.
//!
//! # The idea
//!
//! A port is a [`Core`] and a *handler*: a protocol, or async code. A datagram is sent at once if
//! the system accepts it; otherwise it waits in a queue, which [`DatagramConn::settle`] empties
//! when the socket becomes writable. The engine calls the handler when the socket is readable; the
//! handler reads.
//!
//! # States
//!
//! | state | sends | reads | next state |
//! |---|---|---|---|
//! | `Open` | yes | yes | `Stopping` after `stop`; `Closed` when the reactor ends |
//! | `Stopping` | the queued datagrams | no | `Closed` when the queue is empty, or nothing was sent for the time of [`Grace::stalled`] |
//! | `Closed` | no | no | – |
//!
//! # Invariants
//!
//! 1. The handler's `closed` is called once, last, after the socket is closed and its key is out of
//!    the table.
//! 2. No peer can close a port: a refusal is passed to the handler, and after any other error of
//!    reading the port does not read for [`RETRY`].
//! 3. The queue holds at most the limit and one datagram.
//! 4. The socket is polled for writing only while it is full, and not where the system would report
//!    it as writable at once although it is full: there the engine retries after [`RETRY`]. So the
//!    loop never spins.
//! 5. A destination that is full delays only datagrams to that destination.
//! 6. Queued datagrams that can be sent are sent: code that clears `blocked` also schedules another
//!    flush of the queue.
//! 7. Queued datagrams that are never sent are reported when the port closes.
//!
//! [`Grace::stalled`]: crate::reactor::Grace::stalled

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::convert::invalid;
use super::errors::{DatagramError, is_refusal};
use super::queue::{Queue, Waiting};
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::debug::{DumpItem, Id};
use crate::defer::{Deferred, Resolver};
use crate::driver::{Arrived, Datagrams, Event, Interest, SocketFile};
use crate::failure::Failure;
use crate::net::errors::ConnectError;
use crate::net::streams::port::notify_stopped;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked};
use crate::report::{self, Origin, Subsystem};
use crate::spans::{self, OwnSpan};

/// A port and its handler.
pub(super) struct DatagramConn<U: ?Sized = dyn DatagramHandler> {
    core: Core,
    handler: U,
}

/// The handler of a port: a protocol or async code. None of its functions may unwind.
pub(super) trait DatagramHandler: 'static {
    /// Called when the socket may be readable.
    fn readable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Called when the peer of a connected port refused a datagram.
    fn refused(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Called when the port can send again; `was_full` if the queue had reached its limit.
    fn writable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor, was_full: bool)
    where
        Self: Sized;

    /// Called when the port is closed. Fails with the panic of the protocol's `stopped`.
    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure>
    where
        Self: Sized;

    /// Drops the handler's values without calling them, because the port could not be opened.
    fn discard(conn: &Rc<DatagramConn<Self>>)
    where
        Self: Sized,
    {
        let _ = conn;
    }

    /// Returns whether the handler has to be called when the socket is readable.
    fn wants_datagrams(&self) -> bool;
}

/// A port without its handler. No user code runs in its methods.
pub(super) struct Core {
    /// The socket file, which is removed before the socket closes, so that another process's file
    /// of the same name cannot be removed instead.
    file: Cell<Option<SocketFile>>,
    /// The socket; `None` once closed.
    socket: RefCell<Option<Datagrams>>,
    registration: Registration,
    retry: Retry,
    location: &'static Location<'static>,
    state: Cell<State>,
    paused: Cell<bool>,
    /// Whether the socket accepts no more datagrams for now.
    blocked: Cell<bool>,
    /// Whether the queue was full and the handler was not called for that since.
    full: Cell<bool>,
    /// Whether sending found a refusal that was not passed to the handler yet.
    refused: Cell<bool>,
    /// Whether reading failed, so that the port does not read before the retry.
    reads_suspended: Cell<bool>,
    /// Whether an error of reading was logged and no datagram has been received since.
    error_logged: Cell<bool>,
    /// The timer that closes a stopping port although datagrams are queued.
    deadline: Cell<Option<DelayedCall>>,
    queue: Queue,
    /// Whether a datagram was sent since the deadline was last checked.
    has_progress: Cell<bool>,
    /// Whether the port was closed before all queued datagrams were sent.
    has_unsent: Cell<bool>,
    peer: RefCell<Option<Address>>,
    local: Address,
    limit: usize,
    /// Resolvers to fire when the port is closed.
    stopped: RefCell<Vec<Resolver<()>>>,
    /// The connection with the type of its protocol; empty for async code.
    typed_conn: OnceCell<Weak<dyn Any>>,
    pub(super) span: OwnSpan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stopping,
    Closed,
}

/// The result of passing a datagram to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendResult {
    Sent,
    /// The socket accepts no more datagrams for now.
    Blocked,
    /// The destination accepts no more datagrams for now.
    Full,
}

/// The result of reading.
pub(super) enum ReadResult {
    Datagram(Arrived),
    Nothing,
    Refused(io::Error),
    /// An error; the port does not read until the retry.
    Failed(io::Error),
}

impl<U: DatagramHandler> DatagramConn<U> {
    /// Registers a bound socket with the reactor.
    pub(super) fn new(
        reactor: &Reactor,
        socket: Datagrams,
        limit: usize,
        file: Option<SocketFile>,
        location: &'static Location<'static>,
        handler: U,
    ) -> io::Result<Rc<Self>> {
        let local = socket.local_addr()?;
        let conn = reactor.register(|registration| {
            let core = Core {
                socket: RefCell::new(Some(socket)),
                registration,
                retry: Retry::default(),
                location,
                state: Cell::new(State::Open),
                paused: Cell::new(false),
                blocked: Cell::new(false),
                full: Cell::new(false),
                refused: Cell::new(false),
                reads_suspended: Cell::new(false),
                error_logged: Cell::new(false),
                deadline: Cell::new(None),
                queue: Queue::default(),
                has_progress: Cell::new(false),
                has_unsent: Cell::new(false),
                peer: RefCell::default(),
                local,
                limit,
                file: Cell::new(file),
                stopped: RefCell::default(),
                typed_conn: OnceCell::new(),
                span: OwnSpan::default(),
            };
            Self { core, handler }
        })?;
        let core = &conn.core;
        let added = core.with_socket(|socket| {
            let registration = &core.registration;
            registration.add_or_leave(reactor, socket, Interest::Read)
        });
        added.unwrap_or(Ok(()))?;
        Ok(conn)
    }

    pub(super) fn handler(&self) -> &U {
        &self.handler
    }

    /// Does all pending work that does not block: passes on a refusal, flushes the queue, calls the
    /// handler when the queue has space, and closes a stopping port whose queue is empty.
    fn settle(self: &Rc<Self>, reactor: &Reactor) {
        let core = &self.core;
        core.registration.begin_busy();
        if core.refused.replace(false) && core.is_open() {
            U::refused(self, reactor);
        }
        if !core.blocked.get() {
            core.flush();
        }
        let was_full = core.full.get() && core.queued() <= core.limit / 2;
        if core.is_open() && (was_full || !core.blocked.get()) {
            if was_full {
                core.full.set(false);
            }
            U::writable(self, reactor, was_full);
        }
        match core.state.get() {
            State::Stopping if core.queued() == 0 => return self.close(Some(reactor)),
            State::Closed => return,
            _ => {}
        }
        if let Err(error) = self.arm(reactor) {
            core.suspend_reads(&error);
        }
        core.registration.end_busy();
        // A hook may have made another request after the flags were checked (invariant 6).
        if core.refused.get() || (core.queue.has_main() && !core.blocked.get()) {
            core.ask_for_attention();
        }
    }

    /// Passes the wanted interest to the driver, if it has changed.
    fn arm(&self, reactor: &Reactor) -> io::Result<()> {
        let core = &self.core;
        let reads = core.may_read() && self.handler.wants_datagrams();
        let wanted = Interest::of(reads, core.blocked.get() && !core.waits_to_retry());
        let registration = &core.registration;
        let result = core.with_socket(|socket| registration.set_interest(reactor, socket, wanted));
        result.unwrap_or(Ok(()))
    }

    /// Closes the port (invariant 1).
    pub(super) fn close(self: &Rc<Self>, reactor: Option<&Reactor>) {
        let core = &self.core;
        if core.state.replace(State::Closed) == State::Closed {
            return;
        }
        let socket = core.socket.take();
        if let Some(reactor) = reactor {
            match &socket {
                Some(socket) => core.registration.leave_with(reactor, socket),
                None => core.registration.leave(reactor),
            }
        }
        drop(core.file.take());
        drop(socket);
        core.retry.cancel();
        if let Some(deadline) = core.deadline.take() {
            deadline.cancel();
        }
        let (datagrams, bytes) = core.queue.unsent();
        core.has_unsent.set(datagrams > 0);
        core.queue.clear();
        spans::within(core.span.take(), || {
            let closed = U::closed(self);
            if datagrams > 0 {
                let from = core.local.clone();
                let loss = DatagramError::NotSent {
                    datagrams,
                    bytes,
                    from,
                };
                let failure = Failure::at(loss, core.location());
                report::deliver(Origin::Connection, failure, core.location());
            }
            notify_stopped(core.stopped.take(), closed, core.location());
        });
    }
}

impl<U: ?Sized> DatagramConn<U> {
    pub(super) fn core(&self) -> &Core {
        &self.core
    }
}

impl<U: DatagramHandler> Handler for DatagramConn<U> {
    fn registration(&self) -> &Registration {
        &self.core.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event) {
        let core = &self.core;
        core.registration.begin_busy();
        if (event.readable() || event.hangup()) && core.may_read() && self.handler.wants_datagrams()
        {
            U::readable(&self, reactor);
        }
        if event.hangup() {
            // Reading clears the error, unless nothing was read.
            if let Some(Ok(Some(error))) = core.with_socket(Datagrams::take_error) {
                core.record_refusal(&error);
            }
        }
        if event.writable() || event.hangup() {
            core.blocked.set(false);
        }
        self.settle(reactor);
    }

    fn attend(self: Rc<Self>, reactor: &Reactor) {
        let core = &self.core;
        if was_notified(&core.deadline) {
            // The loop may have been late, so the queue is flushed once more.
            core.blocked.set(false);
            core.flush();
            core.flush_held();
            if core.state.get() == State::Stopping && !core.has_progress.replace(false) {
                return self.close(Some(reactor));
            }
            core.await_progress();
        }
        if core.retry.take_due() {
            core.blocked.set(false);
            core.reads_suspended.set(false);
            core.flush_held();
        }
        self.settle(reactor);
    }
}

impl<U: DatagramHandler> Tracked for DatagramConn<U> {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
        self.close(reactor);
    }

    fn begin_to_drain(self: Rc<Self>, _reactor: &Reactor) {
        if self.core.queued() > 0 {
            self.core.begin_to_stop();
        }
    }

    fn is_draining(&self) -> bool {
        self.core.state.get() == State::Stopping
    }

    fn kind(&self) -> &'static str {
        "port"
    }

    fn about(&self) -> String {
        let mut about = format!("of datagrams, at {}", self.core.local_addr());
        if let Some(peer) = self.core.peer() {
            about += &format!(", connected to {peer}");
        }
        if self.core.queued() > 0 {
            about += &format!(", {} bytes to be sent", self.core.queued());
        }
        about
    }

    fn location(&self) -> &'static Location<'static> {
        self.core.location()
    }
}

impl Core {
    /// Records the connection with the type of its protocol.
    pub(super) fn set_typed_conn(&self, typed_conn: Weak<dyn Any>) {
        let _ = self.typed_conn.set(typed_conn);
    }

    /// Returns the connection with the type of its protocol.
    pub(super) fn typed_conn(&self) -> Option<Rc<dyn Any>> {
        self.typed_conn.get()?.upgrade()
    }

    /// Sends a datagram, or queues it if the system does not accept it now.
    #[track_caller]
    pub(super) fn write(&self, bytes: &[u8], to: Option<&Address>) -> Result<(), Failure> {
        let given = self.try_to_send(bytes, to)?;
        if given == SendResult::Sent {
            return Ok(());
        }
        let queued = self.queued();
        if queued > self.limit {
            self.full.set(true);
            let limit = self.limit;
            return Err(Failure::new(DatagramError::QueueFull { queued, limit }));
        }
        let waiting = Waiting::new(bytes, to);
        match to {
            Some(to) if given == SendResult::Full => self.queue.hold(to.clone(), waiting),
            _ => self.queue.push(waiting),
        }
        self.full.set(self.full.get() || self.is_full());
        self.ask_for_attention();
        Ok(())
    }

    /// Sends a datagram at once; returns `false` if that would block.
    #[track_caller]
    pub(super) fn send(&self, bytes: &[u8], to: Option<&Address>) -> Result<bool, Failure> {
        Ok(self.try_to_send(bytes, to)? == SendResult::Sent)
    }

    #[track_caller]
    fn try_to_send(&self, bytes: &[u8], to: Option<&Address>) -> Result<SendResult, Failure> {
        if !self.is_open() {
            return Err(Failure::new(DatagramError::Closed));
        }
        self.check(to)?;
        if to.is_some_and(|to| self.queue.holds(to)) {
            return Ok(SendResult::Full);
        }
        if self.blocked.get() || self.queue.has_main() {
            return Ok(SendResult::Blocked);
        }
        self.hand_over(bytes, to)
    }

    /// Checks that the address is of the port's kind.
    #[track_caller]
    fn check(&self, to: Option<&Address>) -> Result<(), Failure> {
        let wanted = match (&self.local, to) {
            (_, None) if self.peer.borrow().is_none() => {
                return Err(invalid("", "an address; the port is not connected"));
            }
            (_, None) => return Ok(()),
            (Address::Ip(local), Some(Address::Ip(to))) if local.is_ipv4() == to.is_ipv4() => {
                return Ok(());
            }
            (Address::Ip(local), _) if local.is_ipv4() => "an IPv4 address",
            (Address::Ip(_), _) => "an IPv6 address",
            (_, Some(Address::Path(_) | Address::Abstract(_))) => return Ok(()),
            _ => "the address of a UNIX socket",
        };
        let to = to.map(Address::to_string).unwrap_or_default();
        Err(invalid(&to, wanted))
    }

    /// Passes a datagram to the system. No user code runs.
    #[track_caller]
    fn hand_over(&self, bytes: &[u8], to: Option<&Address>) -> Result<SendResult, Failure> {
        let mut others = 0;
        loop {
            let sent = self.with_socket(|socket| socket.send(bytes, to));
            let error = match sent {
                None => return Err(Failure::new(DatagramError::Closed)),
                Some(Ok(())) => {
                    self.has_progress.set(true);
                    return Ok(SendResult::Sent);
                }
                Some(Err(error)) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            let is_short = error.raw_os_error() == Some(NO_BUFFERS);
            // The system reports a full destination, but never that the destination has space again
            // (invariant 5).
            if is_full && to.is_some() && self.is_unix() {
                self.retry_soon();
                return Ok(SendResult::Full);
            }
            if is_full || is_short {
                self.blocked.set(true);
                if is_short {
                    self.retry_soon();
                }
                self.ask_for_attention();
                return Ok(SendResult::Blocked);
            }
            // The error is about an earlier datagram; this one was not sent.
            let is_old = self.record_refusal(&error) || self.is_about_earlier(&error, bytes.len());
            if is_old && others < MAX_EARLIER_ERRORS {
                others += 1;
                continue;
            }
            if error.raw_os_error() == Some(TOO_LONG) {
                return Err(Failure::new(DatagramError::TooLong { size: bytes.len() }));
            }
            let to = to.cloned();
            return Err(Failure::new(DatagramError::SendFailed { to, error }));
        }
    }

    /// Sends the queued datagrams until the socket is full.
    fn flush(&self) {
        loop {
            let Some(waiting) = self.queue.next() else {
                return;
            };
            let held_for = waiting.to.clone().filter(|to| self.queue.holds(to));
            if let Some(to) = held_for {
                self.queue.hold(to, waiting);
                continue;
            }
            match (
                self.hand_over(&waiting.bytes, waiting.to.as_ref()),
                &waiting.to,
            ) {
                (Ok(SendResult::Sent), _) => {}
                (Ok(SendResult::Full), Some(to)) => self.queue.hold(to.clone(), waiting),
                (Ok(_), _) => return self.queue.put_back(waiting),
                (Err(failure), _) => report::deliver(Origin::Protocol, failure, self.location()),
            }
        }
    }

    /// Sends the held datagrams of each destination until the destination is full.
    fn flush_held(&self) {
        for to in self.queue.destinations() {
            while let Some(waiting) = self.queue.next_held(&to) {
                match self.hand_over(&waiting.bytes, Some(&to)) {
                    Ok(SendResult::Sent) => {}
                    Ok(_) => {
                        self.queue.hold_back(to, waiting);
                        break;
                    }
                    Err(failure) => report::deliver(Origin::Protocol, failure, self.location()),
                }
            }
        }
        if self.queue.holds_any() {
            self.retry_soon();
        }
    }

    /// Receives one datagram.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> ReadResult {
        let mut others = 0;
        loop {
            let got = self.with_socket(|socket| socket.receive(buffer));
            match got {
                None => return ReadResult::Nothing,
                Some(Ok(arrived)) => {
                    if self.error_logged.replace(false) {
                        report::warn(Subsystem::Net, format_args!("datagrams are received again"));
                    }
                    return ReadResult::Datagram(arrived);
                }
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return ReadResult::Nothing,
                    _ if is_refusal(&error) => return ReadResult::Refused(error),
                    _ if others < MAX_EARLIER_ERRORS && self.is_about_earlier(&error, 0) => {
                        others += 1
                    }
                    _ => {
                        self.suspend_reads(&error);
                        return ReadResult::Failed(error);
                    }
                },
            }
        }
    }

    /// Receives one datagram, growing the buffer if the datagram is longer.
    pub(super) fn receive_growing(&self, buffer: &mut Box<[u8]>) -> ReadResult {
        if self.is_unix() {
            if let Some(Ok(Some(size))) = self.with_socket(Datagrams::next_size) {
                if size > buffer.len() {
                    *buffer = vec![0; size].into_boxed_slice();
                }
            }
        }
        self.receive(buffer)
    }

    /// Stops reading until the retry (invariant 2).
    fn suspend_reads(&self, error: &io::Error) {
        // Without a log, one report is enough until a datagram is received.
        if !self.error_logged.replace(true) || report::is_logged() {
            report::warn(
                Subsystem::Net,
                format_args!("cannot receive datagrams for now: {error}"),
            );
        }
        self.reads_suspended.set(true);
        self.retry_soon();
        self.ask_for_attention();
    }

    /// Starts the timer that closes the port if no datagram is sent by then.
    fn await_progress(&self) {
        let Some(reactor) = self.reactor() else {
            return;
        };
        let limit = reactor.inner().grace().stalled;
        let deadline = reactor.call_later(limit, self.registration.attention());
        let old = self.deadline.replace(Some(deadline));
        if let Some(old) = old {
            old.cancel();
        }
    }

    /// Schedules a retry. A retry that is scheduled already is not postponed.
    fn retry_soon(&self) {
        if !self.waits_to_retry() {
            self.retry.after(RETRY, &self.registration);
        }
    }

    fn waits_to_retry(&self) -> bool {
        self.retry.is_set()
    }

    /// Returns whether the error is a refusal, and if so records it for the handler.
    fn record_refusal(&self, error: &io::Error) -> bool {
        let is = is_refusal(error) && self.peer.borrow().is_some();
        if is {
            self.refused.set(true);
            self.ask_for_attention();
        }
        is
    }

    /// Returns whether the error is about an earlier datagram that was too large for a network on
    /// its path.
    fn is_about_earlier(&self, error: &io::Error, size: usize) -> bool {
        error.raw_os_error() == Some(TOO_LONG)
            && size <= SMALL
            && !self.is_unix()
            && self.peer.borrow().is_some()
    }

    #[track_caller]
    pub(super) fn connect(&self, to: &Address) -> Result<(), Failure> {
        if let Some(to) = self.peer() {
            return Err(Failure::new(DatagramError::AlreadyConnected { to }));
        }
        self.check(Some(to))?;
        match self.with_socket(|socket| socket.connect(to)) {
            None => Err(Failure::new(DatagramError::Closed)),
            Some(Ok(())) => {
                self.peer.replace(Some(to.clone()));
                Ok(())
            }
            Some(Err(error)) => Err(Failure::new(ConnectError::new(to.clone(), error))),
        }
    }

    /// Records the peer of an adopted socket that was connected before.
    #[cfg(unix)]
    pub(super) fn set_peer(&self, peer: Address) {
        self.peer.replace(Some(peer));
    }

    /// Closes the port in the loop's turn, once the queued datagrams have been sent.
    #[track_caller]
    pub(super) fn stop(&self) -> Deferred<()> {
        if self.state.get() == State::Closed {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        self.stopped.borrow_mut().push(resolver);
        self.begin_to_stop();
        deferred
    }

    pub(super) fn begin_to_stop(&self) {
        if self.is_open() {
            self.state.set(State::Stopping);
            if self.queued() > 0 {
                self.blocked.set(false);
                self.has_progress.set(false);
                self.await_progress();
            }
            self.ask_for_attention();
        }
    }

    pub(super) fn ask_for_attention(&self) {
        self.registration.request_attention();
    }

    /// Calls `f`, which runs no user code, with the socket; returns `None` once it is closed.
    pub(super) fn with_socket<R>(&self, f: impl FnOnce(&Datagrams) -> R) -> Option<R> {
        self.socket.borrow().as_ref().map(f)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        self.ask_for_attention();
    }

    /// Returns whether the handler may read.
    pub(super) fn may_read(&self) -> bool {
        self.is_open() && !self.paused.get() && !self.reads_suspended.get()
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
    }

    pub(super) fn is_full(&self) -> bool {
        self.queued() > self.limit
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.size()
    }

    /// Returns whether a queued datagram was never sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent.get()
    }

    pub(super) fn is_unix(&self) -> bool {
        self.local.inet().is_none()
    }

    /// Returns the local address, also after the port is closed.
    pub(super) fn local_addr(&self) -> Address {
        let local = self.with_socket(Datagrams::local_addr);
        local
            .and_then(Result::ok)
            .unwrap_or_else(|| self.local.clone())
    }

    pub(super) fn peer(&self) -> Option<Address> {
        self.peer.borrow().clone()
    }

    pub(super) fn reactor(&self) -> Option<Reactor> {
        self.registration.reactor()
    }

    pub(super) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Returns the port as a dump shows it where a task waits for the port.
    pub(super) fn dump_item(&self) -> Option<DumpItem> {
        (!self.is_closed()).then(|| DumpItem {
            id: Id::Source(self.registration.key()),
            kind: "port",
            name: None,
            location: self.location(),
            about: String::new(),
            waits: Vec::new(),
        })
    }
}

/// Returns whether the timer has run, and if so removes it.
fn was_notified(timer: &Cell<Option<DelayedCall>>) -> bool {
    let taken = timer.take();
    match taken {
        Some(taken) if taken.is_pending() => {
            timer.set(Some(taken));
            false
        }
        Some(_) => true,
        None => false,
    }
}

/// The delay of a retry, where the system does not report when an operation will succeed.
const RETRY: Duration = Duration::from_millis(5);
/// The number of errors about earlier datagrams that are skipped in sending one datagram.
const MAX_EARLIER_ERRORS: usize = 2;
/// A size that every network accepts, so that no error can be about it.
const SMALL: usize = 1200;

#[cfg(unix)]
const NO_BUFFERS: i32 = libc::ENOBUFS;
#[cfg(not(unix))]
const NO_BUFFERS: i32 = 10055;
#[cfg(unix)]
const TOO_LONG: i32 = libc::EMSGSIZE;
#[cfg(not(unix))]
const TOO_LONG: i32 = 10040;
