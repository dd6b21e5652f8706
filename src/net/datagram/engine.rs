//! The engine under every port of datagrams: what the loop does with it.
//!
//! # The idea
//!
//! A port is a [`Core`] and a *user*: a protocol, or async code. What is sent goes out at once if the system takes it,
//! else it waits in a queue; [`DatagramConn::settle`] empties that when it can. Reading is the user's: it is told that there
//! is something.
//!
//! # States
//!
//! | state      | sends                   | reads | becomes                                                     |
//! |------------|-------------------------|-------|-------------------------------------------------------------|
//! | `Open`     | yes                     | yes   | `Stopping` by `stop`; `Closed` when the reactor ends        |
//! | `Stopping` | what is queued          | no    | `Closed` when the queue is empty, or nothing was sent for the time of [`Grace::stalled`] |
//! | `Closed`   | no                      | no    | –                                                           |
//!
//! # Invariants
//!
//! 1. A user is told `closed` once, last, when the socket is closed and the key is out of the table.
//! 2. Nothing a peer does closes a port: a refusal is told, other errors of reading let it rest for [`RETRY`].
//! 3. No more than the limit and one datagram is queued.
//! 4. Writing is armed only while the socket is full, and not where the system would say at once that it is not: then
//!    it is tried again after [`RETRY`]. So nothing spins.
//! 5. A destination that takes no more holds up nobody but those who send to it.
//! 6. What can be sent is never left lying: whoever clears `blocked` has the queue looked at.
//! 7. What was queued and is not sent is reported when the port closes.
//!
//! [`Grace::stalled`]: crate::reactor::Grace::stalled

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::convert::invalid;
use super::errors::{
    AlreadyConnected, DatagramsNotSent, MessageTooLong, PortClosed, QueueFull, SendFailed,
};
use super::queue::{Queue, Waiting};
use crate::address::Address;
use crate::clock::{Clock, DelayedCall};
use crate::debug::{Id, Thing};
use crate::defer::{Deferred, Resolver};
use crate::driver::{Arrived, Datagrams, Event, Interest, SocketFile};
use crate::failure::Failure;
use crate::net::streams::port::tell_stopped;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked};
use crate::report::{self, Origin, Subsystem};

/// A port and its user.
pub(super) struct DatagramConn<U: ?Sized = dyn DatagramHandler> {
    core: Core,
    user: U,
}

/// Whoever uses a port. None of the hooks may unwind.
pub(super) trait DatagramHandler: 'static {
    /// There may be something to read.
    fn readable(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Nobody is there to whom it is connected.
    fn refused(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// More can be sent; `was_full` when the queue had been.
    fn room(conn: &Rc<DatagramConn<Self>>, reactor: &Reactor, was_full: bool)
    where
        Self: Sized;

    /// It is over. Fails with the panic of its last words.
    fn closed(conn: &Rc<DatagramConn<Self>>) -> Result<(), Failure>
    where
        Self: Sized;

    /// Drops what it holds before the port was ever used, without calling it.
    fn discard(conn: &Rc<DatagramConn<Self>>)
    where
        Self: Sized,
    {
        let _ = conn;
    }

    /// Does it want to be told of what can be read?
    fn wants_datagrams(&self) -> bool;
}

/// A port without its user. Everything here is inert.
pub(super) struct Core {
    /// A name in the file system that goes when the port does: before the socket closes, so that no other file can be
    /// taken for it.
    file: Cell<Option<SocketFile>>,
    /// Empty once closed.
    socket: RefCell<Option<Datagrams>>,
    registration: Registration,
    retry: Retry,
    location: &'static Location<'static>,
    state: Cell<State>,
    paused: Cell<bool>,
    /// The socket takes no more for now.
    blocked: Cell<bool>,
    /// The queue was full, and its user has not been told that it is no more.
    full: Cell<bool>,
    /// A refusal was met in sending, and its user has not been told.
    refused: Cell<bool>,
    /// Reading failed: not before the retry.
    resting: Cell<bool>,
    /// It was said that nothing can be received, and nothing was since.
    has_complained: Cell<bool>,
    /// When it is closed, whatever is still queued.
    deadline: Cell<Option<DelayedCall>>,
    queue: Queue,
    /// Something was sent since that was looked at.
    has_moved: Cell<bool>,
    /// It was closed before all of the queue was sent.
    has_lost: Cell<bool>,
    peer: RefCell<Option<Address>>,
    local: Address,
    limit: usize,
    /// Who is to be told when it is closed.
    stopped: RefCell<Vec<Resolver<()>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stopping,
    Closed,
}

/// What came of giving a datagram to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Sent,
    /// The socket takes no more for now.
    Blocked,
    /// Its destination does not.
    Full,
}

/// What came of reading.
pub(super) enum Got {
    Datagram(Arrived),
    Nothing,
    Refused(io::Error),
    /// The port rests now.
    Failed(io::Error),
}

impl<U: DatagramHandler> DatagramConn<U> {
    /// Takes a bound socket into the reactor's care.
    pub(super) fn new(
        reactor: &Reactor,
        socket: Datagrams,
        limit: usize,
        file: Option<SocketFile>,
        location: &'static Location<'static>,
        user: U,
    ) -> io::Result<Rc<Self>> {
        let local = socket.local_addr()?;
        let conn = reactor.register(|registration| {
            let core = Core {
                socket: RefCell::new(Some(socket)),
                registration,
                retry: Retry::default(),
                location: location,
                state: Cell::new(State::Open),
                paused: Cell::new(false),
                blocked: Cell::new(false),
                full: Cell::new(false),
                refused: Cell::new(false),
                resting: Cell::new(false),
                has_complained: Cell::new(false),
                deadline: Cell::new(None),
                queue: Queue::default(),
                has_moved: Cell::new(false),
                has_lost: Cell::new(false),
                peer: RefCell::default(),
                local,
                limit,
                file: Cell::new(file),
                stopped: RefCell::default(),
            };
            Self { core, user }
        })?;
        let core = &conn.core;
        let added = core.with_socket(|socket| {
            let registration = &core.registration;
            registration.add_or_leave(reactor, socket, Interest::Read)
        });
        added.unwrap_or(Ok(()))?;
        Ok(conn)
    }

    pub(super) fn user(&self) -> &U {
        &self.user
    }

    /// Does what can be done without waiting.
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
            U::room(self, reactor, was_full);
        }
        match core.state.get() {
            State::Stopping if core.queued() == 0 => return self.close(Some(reactor)),
            State::Closed => return,
            _ => {}
        }
        if let Err(error) = self.arm(reactor) {
            core.rest(&error);
        }
        core.registration.end_busy();
        // It may have been asked for something after that was looked at (invariant 6).
        if core.refused.get() || (core.queue.has_line() && !core.blocked.get()) {
            core.ask_for_attention();
        }
    }

    /// Tells the driver what is wanted, if that has changed.
    fn arm(&self, reactor: &Reactor) -> io::Result<()> {
        let core = &self.core;
        let reads = core.may_read() && self.user.wants_datagrams();
        let wanted = Interest::of(reads, core.blocked.get() && !core.waits_to_retry());
        let registration = &core.registration;
        let told = core.with_socket(|socket| registration.set_interest(reactor, socket, wanted));
        told.unwrap_or(Ok(()))
    }

    /// The end (invariant 1).
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
        core.has_lost.set(datagrams > 0);
        core.queue.clear();
        let closed = U::closed(self);
        if datagrams > 0 {
            let from = core.local.clone();
            let loss = DatagramsNotSent {
                datagrams,
                bytes,
                from,
            };
            let failure = Failure::at(loss, core.location());
            report::deliver(Origin::Connection, failure, core.location());
        }
        tell_stopped(core.stopped.take(), closed, core.location());
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
        if (event.readable() || event.hangup()) && core.may_read() && self.user.wants_datagrams() {
            U::readable(&self, reactor);
        }
        if event.hangup() {
            // Reading has taken the error away, unless nobody read.
            if let Some(Ok(Some(error))) = core.with_socket(Datagrams::take_error) {
                core.note_refusal(&error);
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
            // The loop may have been late: it is tried once more.
            core.blocked.set(false);
            core.flush();
            core.flush_held();
            if core.state.get() == State::Stopping && !core.has_moved.replace(false) {
                return self.close(Some(reactor));
            }
            core.await_progress();
        }
        if core.retry.take_due() {
            core.blocked.set(false);
            core.resting.set(false);
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
    /// Sends, or queues what cannot be sent now.
    #[track_caller]
    pub(super) fn write(&self, bytes: &[u8], to: Option<&Address>) -> Result<(), Failure> {
        let given = self.try_to_send(bytes, to)?;
        if given == Given::Sent {
            return Ok(());
        }
        let queued = self.queued();
        if queued > self.limit {
            self.full.set(true);
            let limit = self.limit;
            return Err(Failure::new(QueueFull { queued, limit }));
        }
        let waiting = Waiting::new(bytes, to);
        match to {
            Some(to) if given == Given::Full => self.queue.hold(to.clone(), waiting),
            _ => self.queue.push(waiting),
        }
        self.full.set(self.full.get() || self.is_full());
        self.ask_for_attention();
        Ok(())
    }

    /// Sends at once; `false` when that would block.
    #[track_caller]
    pub(super) fn send(&self, bytes: &[u8], to: Option<&Address>) -> Result<bool, Failure> {
        Ok(self.try_to_send(bytes, to)? == Given::Sent)
    }

    #[track_caller]
    fn try_to_send(&self, bytes: &[u8], to: Option<&Address>) -> Result<Given, Failure> {
        if !self.is_open() {
            return Err(Failure::new(PortClosed));
        }
        self.check(to)?;
        if to.is_some_and(|to| self.queue.holds(to)) {
            return Ok(Given::Full);
        }
        if self.blocked.get() || self.queue.has_line() {
            return Ok(Given::Blocked);
        }
        self.hand_over(bytes, to)
    }

    /// Is it an address of the kind that the port has?
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

    /// Gives it to the system. Runs nobody's code.
    #[track_caller]
    fn hand_over(&self, bytes: &[u8], to: Option<&Address>) -> Result<Given, Failure> {
        let mut others = 0;
        loop {
            let sent = self.with_socket(|socket| socket.send(bytes, to));
            let error = match sent {
                None => return Err(Failure::new(PortClosed)),
                Some(Ok(())) => {
                    self.has_moved.set(true);
                    return Ok(Given::Sent);
                }
                Some(Err(error)) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            let is_short = error.raw_os_error() == Some(NO_BUFFERS);
            // The system says of each destination that it is full, and says never when it is no more (invariant 5).
            if is_full && to.is_some() && self.is_unix() {
                self.retry_soon();
                return Ok(Given::Full);
            }
            if is_full || is_short {
                self.blocked.set(true);
                if is_short {
                    self.retry_soon();
                }
                self.ask_for_attention();
                return Ok(Given::Blocked);
            }
            // It is about what was sent before: this one has not been sent.
            let is_old = self.note_refusal(&error) || self.is_about_another(&error, bytes.len());
            if is_old && others < OTHERS {
                others += 1;
                continue;
            }
            if error.raw_os_error() == Some(TOO_LONG) {
                return Err(Failure::new(MessageTooLong { size: bytes.len() }));
            }
            let to = to.cloned();
            return Err(Failure::new(SendFailed { to, error }));
        }
    }

    /// Sends what is in the line, as far as that goes.
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
                (Ok(Given::Sent), _) => {}
                (Ok(Given::Full), Some(to)) => self.queue.hold(to.clone(), waiting),
                (Ok(_), _) => return self.queue.put_back(waiting),
                (Err(failure), _) => report::deliver(Origin::Protocol, failure, self.location()),
            }
        }
    }

    /// Sends what was held, to each destination as far as that goes.
    fn flush_held(&self) {
        for to in self.queue.destinations() {
            while let Some(waiting) = self.queue.next_held(&to) {
                match self.hand_over(&waiting.bytes, Some(&to)) {
                    Ok(Given::Sent) => {}
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

    /// Receives one.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Got {
        let mut others = 0;
        loop {
            let got = self.with_socket(|socket| socket.receive(buffer));
            match got {
                None => return Got::Nothing,
                Some(Ok(arrived)) => {
                    if self.has_complained.replace(false) {
                        report::warn(Subsystem::Net, format_args!("datagrams are received again"));
                    }
                    return Got::Datagram(arrived);
                }
                Some(Err(error)) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Got::Nothing,
                    _ if is_refusal(&error) => return Got::Refused(error),
                    _ if others < OTHERS && self.is_about_another(&error, 0) => others += 1,
                    _ => {
                        self.rest(&error);
                        return Got::Failed(error);
                    }
                },
            }
        }
    }

    /// Receives one, making the buffer larger if that is what it takes.
    pub(super) fn receive_whole(&self, buffer: &mut Box<[u8]>) -> Got {
        if self.is_unix() {
            if let Some(Ok(Some(size))) = self.with_socket(Datagrams::next_size) {
                if size > buffer.len() {
                    *buffer = vec![0; size].into_boxed_slice();
                }
            }
        }
        self.receive(buffer)
    }

    /// Reading does not work: it is tried again later (invariant 2).
    fn rest(&self, error: &io::Error) {
        // Where nobody logs it, once is enough until something was received.
        if !self.has_complained.replace(true) || report::is_logged() {
            report::warn(
                Subsystem::Net,
                format_args!("cannot receive datagrams for now: {error}"),
            );
        }
        self.resting.set(true);
        self.retry_soon();
        self.ask_for_attention();
    }

    /// When nothing has been sent by then, it is closed.
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

    /// Has it tried again soon. What waits for that already is not put off.
    fn retry_soon(&self) {
        if !self.waits_to_retry() {
            self.retry.after(RETRY, &self.registration);
        }
    }

    fn waits_to_retry(&self) -> bool {
        self.retry.is_set()
    }

    /// Was it a refusal? Then it is told soon.
    fn note_refusal(&self, error: &io::Error) -> bool {
        let is = is_refusal(error) && self.peer.borrow().is_some();
        if is {
            self.refused.set(true);
            self.ask_for_attention();
        }
        is
    }

    /// Is it about a datagram that was sent before, and was too large for some network on its way?
    fn is_about_another(&self, error: &io::Error, size: usize) -> bool {
        error.raw_os_error() == Some(TOO_LONG)
            && size <= SMALL
            && !self.is_unix()
            && self.peer.borrow().is_some()
    }

    #[track_caller]
    pub(super) fn connect(&self, to: &Address) -> Result<(), Failure> {
        if let Some(to) = self.peer() {
            return Err(Failure::new(AlreadyConnected { to }));
        }
        self.check(Some(to))?;
        match self.with_socket(|socket| socket.connect(to)) {
            None => Err(Failure::new(PortClosed)),
            Some(Ok(())) => {
                self.peer.replace(Some(to.clone()));
                Ok(())
            }
            Some(Err(error)) => Err(super::super::errors::connect_failure(to.clone(), error)),
        }
    }

    /// Somebody else has connected it.
    #[cfg(unix)]
    pub(super) fn is_connected_to(&self, peer: Address) {
        self.peer.replace(Some(peer));
    }

    /// Closes it from the loop's turn, when what is queued has been sent.
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
                self.has_moved.set(false);
                self.await_progress();
            }
            self.ask_for_attention();
        }
    }

    pub(super) fn ask_for_attention(&self) {
        self.registration.request_attention();
    }

    /// The socket, for one statement that runs nobody's code. `None` once it is closed.
    pub(super) fn with_socket<R>(&self, f: impl FnOnce(&Datagrams) -> R) -> Option<R> {
        self.socket.borrow().as_ref().map(f)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        self.ask_for_attention();
    }

    /// Shall its user be told what there is to read?
    pub(super) fn may_read(&self) -> bool {
        self.is_open() && !self.paused.get() && !self.resting.get()
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

    /// Was something queued that was never sent?
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost.get()
    }

    pub(super) fn is_unix(&self) -> bool {
        self.local.inet().is_none()
    }

    /// Where it is bound; after the end, where it was.
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

    /// The port as a dump shows it where something waits for it.
    pub(super) fn thing(&self) -> Option<Thing> {
        (!self.is_closed()).then(|| Thing {
            id: Id::Source(self.registration.key()),
            kind: "port",
            name: None,
            location: self.location(),
            about: String::new(),
            waits: Vec::new(),
        })
    }
}

/// Has the timer run? Then it is taken out.
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

/// Is it what a peer's host says when nobody listens there?
fn is_refusal(error: &io::Error) -> bool {
    // Windows calls it a reset.
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// How long it takes until something is tried again of which the system does not say when it will do.
const RETRY: Duration = Duration::from_millis(5);
/// How many errors about others one datagram may meet.
const OTHERS: usize = 2;
/// What every network takes, so that no error can be about its size.
const SMALL: usize = 1200;

#[cfg(unix)]
const NO_BUFFERS: i32 = libc::ENOBUFS;
#[cfg(not(unix))]
const NO_BUFFERS: i32 = 10055;
#[cfg(unix)]
const TOO_LONG: i32 = libc::EMSGSIZE;
#[cfg(not(unix))]
const TOO_LONG: i32 = 10040;
