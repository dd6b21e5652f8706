//! The engine under every stream connection: what the loop does with it.
//!
//! # The idea
//!
//! A connection is a [`ConnCore`] and a *handler*: a protocol or an async stream. The handler's
//! hooks and the program's handles only record requests in the core; [`Conn::settle`] turns the
//! requests into system calls. It runs once after each dispatch and once before the loop waits.
//! Bytes that a task has written are sent before that, when the task is about to wait for its peer:
//! [`Conn::send_early`].
//!
//! # Invariants
//!
//! 1. A handler's `lost` is called exactly once, last, when the socket is closed and the key is out
//!    of the table; or never, if the connection was handed to another handler.
//! 2. No hook runs inside another hook of the same connection, nor inside a handle's method.
//! 3. Reading is armed only while the handler wants bytes; a paused connection is disarmed, so a
//!    hang-up cannot spin.
//! 4. Writing is armed when the socket is full, and disarmed when the driver reports it writable
//!    and the handler has not waited for that: a handler that has fills it again at once.
//! 5. While the connection is full, its protocol receives nothing from its own peer.
//! 6. When a handler has named its successor, none of its hooks run any more, and the connection is
//!    handed over in the next [`Conn::settle`], unless it is ending.

use std::panic::Location;
use std::rc::Rc;

use super::Transport;
use super::config::ConnConfig;
use super::errors::ConnectionError;
use super::flags::Flag;
use super::life::{Action, Event as Lived};
use super::linger;
use super::link::{Addresses, ConnCore};
use super::policed::Policies;
use crate::address::Address;
use crate::clock::Clock;
use crate::driver::{Event, Interest, Socket};
use crate::failure::Failure;
use crate::reactor::{Handler, Reactor, ReactorError, Registration, Released, Stopped, Tracked};
use crate::spans;
use crate::task::budget;

/// A connection and its handler.
pub(crate) struct Conn<S: ?Sized = dyn ConnHandler> {
    link: ConnCore,
    handler: S,
}

/// The handler of a connection. None of the hooks may unwind.
pub(crate) trait ConnHandler: 'static {
    /// Called when there is something to read: bytes, the end of file, or an error.
    fn readable(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Called when the peer has sent the end of file.
    fn eof(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Called when the connection was full and is not any more.
    fn write_ready(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized;

    /// Called when a flush has made progress, or the writing side was shut.
    fn flushed(conn: &Rc<Conn<Self>>)
    where
        Self: Sized;

    /// Called when everything was written and the writing side was shut.
    fn write_closed(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized,
    {
        let _ = (conn, reactor);
    }

    /// Called when what was queued could not be written, and the connection goes on: see
    /// [`ConnCore::writing_failed`].
    fn writing_failed(conn: &Rc<Conn<Self>>)
    where
        Self: Sized,
    {
        let _ = conn;
    }

    /// Called when a handshake that [`ConnCore::begin_tls`] has begun is finished.
    #[cfg(feature = "tls")]
    fn secured(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized,
    {
        let _ = (conn, reactor);
    }

    /// Called once, last, when the connection has ended.
    fn lost(conn: &Rc<Conn<Self>>, reason: Failure)
    where
        Self: Sized;

    /// Returns whether the handler wants `readable` to be called.
    fn wants_bytes(&self) -> bool;

    /// Returns whether the handler receives no bytes while the connection is full. A handler that
    /// reads by itself decides that itself.
    fn is_held_when_full(&self) -> bool {
        true
    }

    /// Returns whether the handler reads by itself, at any time. Then [`ConnHandler::readable`]
    /// only records that there are bytes, and received bytes are not lost because writing failed.
    #[inline]
    fn reads_for_itself(&self) -> bool {
        false
    }

    /// Returns whether a write waits for space in the queue.
    fn is_writing(&self) -> bool {
        false
    }

    /// Called when bytes that were held back may be delivered.
    fn deliver_held(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized,
    {
        let _ = (conn, reactor);
    }

    /// Hands the connection over to the successor that the handler has named.
    fn hand_on(conn: &Rc<Conn<Self>>, reactor: &Reactor)
    where
        Self: Sized,
    {
        let _ = (conn, reactor);
    }

    /// Returns whether the observers of the connection see it while it has this handler.
    fn is_observed(&self) -> bool {
        true
    }

    /// Returns how many received bytes the handler holds that it has not used.
    #[cfg(feature = "tls")]
    fn unused(&self) -> usize {
        0
    }

    /// Returns the kind of the connection, for the list of what a program left behind.
    fn kind(&self) -> &'static str;
}

impl<S: ConnHandler> Conn<S> {
    /// Registers a connected socket with the reactor.
    pub(crate) fn new(
        reactor: &Reactor,
        socket: Socket,
        ends: impl Into<Addresses>,
        config: &Rc<ConnConfig>,
        handler: S,
    ) -> Result<Rc<Self>, Failure> {
        let conn = Self::unwatched(reactor, socket, ends, config, handler)?;
        if let Err(error) = conn.watch(reactor) {
            conn.link.registration.leave(reactor);
            conn.link.flags.set(Flag::LOST, true);
            conn.left();
            return Err(error.into());
        }
        Ok(conn)
    }

    /// Registers a connected socket like [`Conn::new`], but has it watched only in
    /// [`Conn::begin_unwatched`].
    pub(crate) fn unwatched(
        reactor: &Reactor,
        socket: Socket,
        ends: impl Into<Addresses>,
        config: &Rc<ConnConfig>,
        handler: S,
    ) -> Result<Rc<Self>, Failure> {
        Self::registered(reactor, None, (socket, ends.into()), config, handler)
    }

    /// Makes a connection, with the registration that another handler has released if there is one.
    pub(super) fn registered(
        reactor: &Reactor,
        released: Option<Released>,
        (socket, ends): (Socket, Addresses),
        config: &Rc<ConnConfig>,
        handler: S,
    ) -> Result<Rc<Self>, Failure> {
        let make = |registration| {
            let link = ConnCore::new(socket, registration, ends, config.clone(), reactor);
            if let Some(shared) = &config.policies {
                link.set_policies(Some(Policies::of_shared(shared, reactor.now())));
            }
            Self { link, handler }
        };
        let conn = match released {
            Some(released) => reactor.register_released(released, make)?,
            None => reactor.register(make)?,
        };
        if let Some(counter) = &config.counter {
            counter.connection_added(&conn.link.peer());
        }
        Ok(conn)
    }

    /// Removes the connection from the count of its port.
    fn left(&self) {
        if let Some(counter) = &self.link.config.counter {
            counter.connection_ended(self.link.key(), &self.link.peer());
        }
    }

    /// Has the driver watch a connection that may have queued bytes already, or ends it.
    pub(super) fn watch_or_end(
        self: &Rc<Self>,
        reactor: &Reactor,
        is_watched: bool,
    ) -> Result<(), Failure> {
        let watched = match is_watched {
            true => self.link.set_interest(reactor, Interest::Read),
            false => self.watch(reactor),
        };
        let Err(error) = watched else {
            return Ok(());
        };
        self.link.broken_by(error);
        self.close(Some(reactor));
        let reason = self.link.reason();
        Err(reason.unwrap_or_else(|| self.link.failure(ConnectionError::Done)))
    }

    fn watch(&self, reactor: &Reactor) -> std::io::Result<()> {
        let registration = &self.link.registration;
        let added = self
            .link
            .with_socket(|socket| registration.add(reactor, socket, Interest::Read));
        added.unwrap_or(Ok(()))
    }

    /// Begins the connection, right after [`Conn::new`]: calls the handler, then carries out its
    /// requests.
    pub(crate) fn begin(self: &Rc<Self>, reactor: &Reactor, hook: impl FnOnce()) {
        self.link.flags.set(Flag::BEGUN, true);
        if self.link.flags.has(Flag::POLICED) && self.handler.is_observed() {
            self.link.begin_policies(&self.transport());
        }
        hook();
        self.settle(reactor);
    }

    /// Begins a connection like [`Conn::begin`], right after [`Conn::unwatched`]. If it cannot be
    /// watched, that error ends it.
    #[cfg(unix)]
    pub(crate) fn begin_unwatched(self: &Rc<Self>, reactor: &Reactor, hook: impl FnOnce()) {
        if self.link.flags.has(Flag::LOST) {
            return;
        }
        self.link.flags.set(Flag::BEGUN, true);
        if self.link.flags.has(Flag::POLICED) {
            self.link.begin_policies(&self.transport());
        }
        hook();
        if let Err(error) = self.watch(reactor) {
            self.link.broken_by(error);
        }
        self.settle(reactor);
    }

    /// Turns requests into system calls, until there is nothing left to do without waiting.
    #[inline(always)]
    fn settle(self: &Rc<Self>, reactor: &Reactor) {
        if self.link.is_usual() && self.link.has_queue() {
            self.send();
            S::flushed(self);
        }
        match self.is_settled() {
            true => self.link.registration.end_busy(),
            false => self.settle_unusual(reactor),
        }
    }

    /// Returns whether there is nothing to do.
    #[inline(always)]
    fn is_settled(&self) -> bool {
        self.link.is_usual() && !self.link.has_queue() && self.handler.wants_bytes()
    }

    /// Sends the bytes that a task has queued that is about to wait for its peer. If there is
    /// nothing else to do, the loop need not attend to the connection any more.
    #[inline(always)]
    pub(crate) fn send_early(self: &Rc<Self>) {
        if self.link.has_queue() && self.link.is_usual() {
            if self.send() {
                self.link.registration.take_request_back();
            }
            S::flushed(self);
        }
    }

    /// The rest of [`Conn::settle`], for states other than plain writing.
    #[inline(never)]
    fn settle_unusual(self: &Rc<Self>, reactor: &Reactor) {
        let link = &self.link;
        // From here on hooks may record requests; all are carried out at the end.
        link.registration.begin_busy();
        link.flags.set(Flag::DIRECT, false);
        #[cfg(feature = "tls")]
        if link.flags.has(Flag::SECURING) {
            self.advance_handshake(reactor);
        }
        if link.flags.has(Flag::POLICED) {
            link.check_policies(reactor);
        }
        let mut rounds = 0;
        self.flush_all(reactor, &mut rounds);
        if link.is_handing_on() && link.dismiss_producer() {
            // A recorded end may have waited for that.
            self.flush_all(reactor, &mut rounds);
        }
        if link.is_over_here() && link.is_handing_on() {
            return S::hand_on(self, reactor);
        }
        if link.life().is_over() {
            return self.close(Some(reactor));
        }
        if let Err(error) = self.arm(reactor) {
            link.broken_by(error);
            return self.close(Some(reactor));
        }
        link.watch_stall(reactor);
        if link.life().is_over() {
            return self.close(Some(reactor));
        }
        if link.flags.has(Flag::POLICED) {
            link.watch_policies(reactor);
        }
        link.registration.end_busy();
        // The peer reads as fast as this end writes, or has sent more than its share: other
        // connections get their turn.
        let is_waiting = link.flags.has(Flag::HELD) || self.has_unread();
        let wants_more = rounds >= ROUNDS || (is_waiting && self.takes_bytes());
        if wants_more {
            link.registration.request_turn();
        }
    }

    /// Flushes until there is nothing more to do without waiting.
    fn flush_all(self: &Rc<Self>, reactor: &Reactor, rounds: &mut usize) {
        while !self.link.is_over_here() && *rounds < ROUNDS && self.flush(reactor) {
            // A handler that has used up its budget goes on in the next turn.
            *rounds += if budget::is_left() { 1 } else { ROUNDS };
        }
    }

    /// Writes from the queue what the socket accepts; returns `true` when the queue is empty.
    #[inline(always)]
    fn send(self: &Rc<Self>) -> bool {
        match self.link.flush() {
            Ok(true) => true,
            unsent => {
                self.note_unsent(unsent);
                false
            }
        }
    }

    /// Records that the socket is full, or broken.
    #[cold]
    #[inline(never)]
    fn note_unsent(self: &Rc<Self>, unsent: std::io::Result<bool>) {
        match unsent {
            Ok(_) => self.link.flags.set(Flag::BLOCKED, true),
            Err(error) if self.handler.reads_for_itself() => {
                self.link.writing_failed(error, false);
                S::writing_failed(self);
            }
            // What a peer has sent that is gone is delivered first.
            Err(error) if self.takes_bytes() && self.link.peer_has_shut() => {
                self.link.writing_failed(error, true);
            }
            Err(error) => self.link.broken_by(error),
        }
    }

    /// Runs one round of flushing; returns `true` when a hook ran, so that there may be more to do.
    fn flush(self: &Rc<Self>, reactor: &Reactor) -> bool {
        let link = &self.link;
        let queued = link.queued();
        let is_held = link.flags.has(Flag::BLOCKED)
            || link.flags.has(Flag::WRITE_HELD)
            || link.flags.has(Flag::SECURING);
        if queued > 0 && !is_held && !self.send() && link.life().is_over() {
            return false;
        }
        let left = link.queued();
        // A half-close comes after the handshake, which needs both directions.
        let may_shut = !link.flags.has(Flag::SECURING) || link.life().is_ending();
        if left == 0 && link.flags.has(Flag::ALTERED) && may_shut {
            if link.life().is_flushing() {
                let left = link.descriptors_left();
                if left > 0 {
                    link.break_with(link.failure(ConnectionError::DescriptorOverrun { left }));
                    return false;
                }
                #[cfg(feature = "tls")]
                if !self.link.finish_tls() {
                    return false;
                }
            }
            match link.on(Lived::Drained, || link.failure(ConnectionError::Done)) {
                Action::ShutWrite => {
                    // A broken peer is detected by reading.
                    let driver = reactor.inner().driver();
                    let _ = link.with_socket(|socket| driver.shut_write(socket));
                    S::flushed(self);
                    // A handler that has named a successor is no longer called, and none hears that
                    // everything was written when writing has failed.
                    let is_written =
                        self.handler.reads_for_itself() || link.write_failure().is_none();
                    if is_written && !link.is_handing_on() {
                        S::write_closed(self, reactor);
                    }
                    return true;
                }
                Action::Close(_) => return false,
                _ => {}
            }
        }
        if left < queued {
            if left == 0 {
                link.note_drained();
            }
            S::flushed(self);
        }
        if link.flags.has(Flag::PRODUCING) && link.produce(&|| self.transport()) {
            return true;
        }
        // A handler that has named a successor is no longer called.
        if link.flags.has(Flag::FULL) && left <= link.limits().low && !link.is_handing_on() {
            if !budget::is_left() {
                return true;
            }
            link.flags.set(Flag::FULL, false);
            if link.life().takes_writes() {
                link.flags.set(Flag::WRITABLE, false);
                S::write_ready(self, reactor);
            }
            return true;
        }
        false
    }

    /// Returns whether the handler may be called for bytes.
    fn takes_bytes(&self) -> bool {
        self.link.takes_bytes(self.handler.is_held_when_full())
    }

    /// Returns whether there are bytes that no event reports, and the handler wants them.
    fn has_unread(&self) -> bool {
        self.link.has_unread() && self.handler.wants_bytes()
    }

    /// Passes the interest to the driver, if it has changed.
    pub(super) fn arm(&self, reactor: &Reactor) -> std::io::Result<()> {
        let link = &self.link;
        let read = self.takes_bytes() && self.handler.wants_bytes();
        let is_armed = link.registration.interest().writes() && !link.flags.has(Flag::WRITABLE);
        let usual = (read, link.flags.has(Flag::BLOCKED) || is_armed);
        #[cfg(feature = "tls")]
        let usual = link.handshake_interest().unwrap_or(usual);
        let wanted = Interest::of(usual.0, usual.1);
        link.set_interest(reactor, wanted)
    }

    /// Closes the connection (invariant 1).
    fn close(self: &Rc<Self>, reactor: Option<&Reactor>) {
        let link = &self.link;
        if link.flags.replace(Flag::LOST, true) {
            return;
        }
        link.clear_stall();
        let reason = link
            .reason()
            .unwrap_or_else(|| link.failure(ConnectionError::Done));
        let loss = link.loss(&reason, self.handler.kind());
        #[cfg(feature = "tls")]
        link.end_handshake(&reason);
        // A task was in the middle of a write, or the handler has not returned `Ok` where that is
        // to show.
        let is_cut_off = self.handler.is_writing()
            || (link.config.resets_on_error && self.handler.reads_for_itself());
        link.close_socket(reactor, &reason, is_cut_off);
        let mut span = None;
        if let Some(reactor) = reactor {
            if spans::are_on() {
                span = reactor.inner().take_connection_span(link.key());
            }
            link.registration.leave(reactor);
        }
        spans::within(span, || {
            link.clear_all(&reason);
            S::lost(self, reason.clone());
            self.link.end_policies(&reason);
            self.left();
            if let Some(loss) = loss {
                loss.tell(reactor, link.location());
            }
        });
    }

    /// Records that the peer has sent the end of file, and calls the handler.
    pub(crate) fn peer_done(self: &Rc<Self>, reactor: &Reactor) {
        self.link.flags.set(Flag::PEER_DONE, true);
        if self
            .link
            .on(Lived::PeerDone, || self.link.failure(ConnectionError::Done))
            == Action::ReportEof
        {
            S::eof(self, reactor);
        }
    }

    /// Returns the inert handle.
    pub(crate) fn transport(self: &Rc<Self>) -> Transport {
        Transport(self.clone())
    }
}

impl ConnCore {
    /// Takes the socket and closes it, in good order or not.
    fn close_socket(&self, reactor: Option<&Reactor>, reason: &Failure, is_cut_off: bool) {
        let socket = self.socket.take();
        let is_to_be_reset = self.is_to_be_reset(reason, is_cut_off);
        if let Some(socket) = socket.as_ref().filter(|_| is_to_be_reset) {
            // Incomplete data must not look complete.
            let _ = socket.reset_on_close();
        }
        if let (Some(socket), Some(reactor)) = (socket, reactor) {
            let driver = reactor.inner().driver();
            if socket.is_pair() {
                let _ = driver.remove(&socket);
                match &self.config.delayed_close {
                    Some(delayed_close) if socket.is_at_end() => delayed_close.keep(socket),
                    // When the reactor ends, or the reader of the output is gone, unread output
                    // stays for the next reader.
                    _ if matches!(reason.downcast_ref(), Some(ConnectionError::Lost { .. })) => {}
                    _ => socket.end(),
                }
            } else if !self.flags.has(Flag::PEER_DONE) && !is_to_be_reset && may_linger(reason) {
                let _ = driver.remove(&socket);
                // When the reactor ends, a peer that has received nothing is not waited for.
                let sent = match reason.downcast_ref() {
                    _ if socket.says_its_end() => u16::MAX,
                    Some(ConnectionError::Done) => self.sent.get(),
                    _ => 0,
                };
                let (socket, limit) = (socket.into_base(), self.config.linger);
                linger::close(reactor, socket, sent, limit, self.location());
            } else {
                if self.config.is_shared || self.flags.has(Flag::LENT) {
                    let _ = driver.remove(&socket);
                } else {
                    let _ = driver.remove_closing(&socket);
                }
            }
        }
    }

    /// Drops everything that a closed connection has left.
    fn clear_all(&self, reason: &Failure) {
        self.clear_queue();
        self.note_buffered(|| 0);
        let deadline = self.take_deadline();
        if let Some(deadline) = deadline {
            deadline.cancel();
        }
        let source = self.take_source();
        if let Some(source) = source {
            source.stop(self, reason.clone());
        }
    }

    /// Returns whether the end must show the peer that data is missing.
    fn is_to_be_reset(&self, reason: &Failure, is_cut_off: bool) -> bool {
        let error = reason.downcast_ref();
        if matches!(error, Some(ConnectionError::Lost { cause }) if is_of_tls(cause)) {
            return false;
        }
        let is_asked = matches!(error, Some(ConnectionError::Aborted));
        let is_forced = matches!(error, Some(ConnectionError::WriteOverflow { .. }))
            || matches!(reason.downcast_ref(), Some(ReactorError::OverBudget { .. }));
        let is_lost = matches!(error, Some(ConnectionError::Lost { .. }));
        let is_cut_off = is_lost && is_cut_off;
        // A close that the program has requested waits for the producer, unless that is a
        // connection.
        let is_done = matches!(error, Some(ConnectionError::Done));
        let has_source = self.flags.has(Flag::PRODUCING) && !is_done;
        is_asked || is_forced || is_cut_off || has_source || self.has_unsent()
    }
}

#[cfg(feature = "tls")]
impl<S: ConnHandler + ?Sized> Conn<S> {
    /// Returns whether the handler reads by itself.
    pub(super) fn reads_for_itself(&self) -> bool {
        self.handler.reads_for_itself()
    }
}

impl<S: ?Sized> Conn<S> {
    pub(crate) fn handler(&self) -> &S {
        &self.handler
    }

    pub(crate) fn link(&self) -> &ConnCore {
        &self.link
    }
}

impl<S: ConnHandler> Handler for Conn<S> {
    fn registration(&self) -> &Registration {
        &self.link.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, event: Event) {
        let link = &self.link;
        if self.handler.reads_for_itself() && event.is_read_only() && link.is_usual() {
            S::readable(&self, reactor);
            return match self.handler.wants_bytes() {
                true => {}
                false => self.settle_unusual(reactor),
            };
        }
        // From here on hooks may record requests; all are carried out at the end.
        link.registration.begin_busy();
        #[cfg(feature = "tls")]
        // An alert that has arrived says more than the end of the stream.
        if link.flags.has(Flag::SECURING) && self.advance_handshake_first(reactor, event) {
            return;
        }
        if event.is_read_only() && link.is_usual() {
            S::readable(&self, reactor);
            return self.settle(reactor);
        }
        // The interest alone is not enough: an earlier event of this batch may have paused or ended
        // the connection.
        let takes_bytes = self.takes_bytes();
        let is_held = link.flags.has(Flag::HELD);
        let reads = (event.readable() || event.hangup())
            && link.registration.interest().reads()
            && takes_bytes
            && !is_held;
        if reads {
            S::readable(&self, reactor);
        }
        let is_done = link.life().is_ending() && link.queued() == 0;
        // Bytes that were read before a hang-up are delivered first: the hang-up is reported again
        // afterwards.
        let waits = is_held && takes_bytes;
        if event.hangup() && (!reads || link.is_pair()) && !is_done && !waits {
            // A broken connection ends also while no task reads.
            if let Some(Ok(Some(error))) = link.with_socket(Socket::take_error) {
                match self.handler.reads_for_itself() {
                    true => link.writing_failed(error, false),
                    false => link.broken_by(error),
                }
            }
        }
        if event.writable() || event.hangup() || (link.flags.has(Flag::BLOCKED) && link.is_pair()) {
            link.flags.set(Flag::BLOCKED, false);
            link.flags.set(Flag::WRITABLE, true);
        }
        self.settle(reactor);
    }

    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.link.is_overdue() {
            // The loop may have been late: the write is tried once more.
            self.link.flags.set(Flag::BLOCKED, false);
        }
        if self.link.flags.has(Flag::HELD) && self.takes_bytes() {
            self.link.registration.begin_busy();
            S::deliver_held(&self, reactor);
        }
        let is_held = self.link.flags.has(Flag::HELD);
        if self.has_unread() && self.takes_bytes() && !is_held {
            self.link.registration.begin_busy();
            S::readable(&self, reactor);
        }
        self.settle(reactor);
    }

    fn counter(&self) -> Option<*const ()> {
        let counter = self.link.config.counter.as_ref()?;
        Some(counter.address())
    }

    fn end(&self, at_once: bool) {
        match at_once {
            false => self.link.end_by(Lived::Lose),
            true => self.link.cut_off(),
        }
    }

    fn held(&self) -> usize {
        self.link.held_bytes()
    }

    fn break_with(&self, reason: Failure) {
        self.link.break_with(reason);
    }

    fn peer(&self) -> Option<Address> {
        Some(self.link.peer())
    }

    fn local_addr(&self) -> Option<Address> {
        let given = self.link.given_host();
        given.or_else(|| self.link.with_socket(Socket::local_addr)?.ok())
    }
}

impl<S: ConnHandler> Tracked for Conn<S> {
    fn take_no_more(&self, reason: &Failure) {
        self.link.on(Lived::Broken, || {
            self.link.failure(ConnectionError::lost(reason.clone()))
        });
    }

    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure) {
        self.link.registration.begin_busy();
        self.take_no_more(reason);
        self.close(reactor);
    }

    fn begin_to_drain(self: Rc<Self>, reactor: &Reactor) {
        self.link.begin_to_drain(reactor);
    }

    fn is_draining(&self) -> bool {
        self.link.is_draining()
    }

    fn drains_without_limit(&self) -> bool {
        self.link.is_standard()
    }

    fn kind(&self) -> &'static str {
        self.handler.kind()
    }

    fn about(&self) -> String {
        self.link.about()
    }

    fn location(&self) -> &'static Location<'static> {
        self.link.location()
    }
}

/// Returns whether all written bytes must arrive, whatever the peer still sends.
fn may_linger(reason: &Failure) -> bool {
    match reason.downcast_ref() {
        Some(ConnectionError::Done) => true,
        Some(ConnectionError::Lost { cause }) => {
            cause.find::<Stopped>().is_some() || is_of_tls(cause)
        }
        _ => false,
    }
}

/// Returns whether TLS is what broke: the peer is to get the alert, and without `close_notify` no
/// end looks like one in good order.
fn is_of_tls(cause: &Failure) -> bool {
    #[cfg(feature = "tls")]
    return cause.find::<crate::tls::TlsError>().is_some();
    #[cfg(not(feature = "tls"))]
    return {
        let _ = cause;
        false
    };
}

/// The rounds of flushing that a connection gets in a row, while its peer accepts everything.
const ROUNDS: usize = 4;
