//! The core of a connection, whatever its handler: socket, write queue, life.
//!
//! Everything here is inert: the methods record requests and ask the loop for attention. `engine`
//! carries the requests out.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::panic::Location;
use std::rc::Rc;

use super::config::{BIG, ConnConfig, Limits};
use super::errors::ConnectionError;
use super::flags::{Flag, Flags};
use super::life::{Action, EndCause, Event, Life};
use super::producer::Extras;
use crate::address::Address;
use crate::bytes::Outgoing;
use crate::cells;
use crate::debug::{DumpItem, Id};
use crate::driver::{Interest, Socket, SocketCell, is_for_later};
use crate::failure::Failure;
use crate::reactor::{Reactor, Registration, WeakReactor};

/// A connection without its handler.
pub(crate) struct ConnCore {
    /// `None` once closed.
    pub(super) socket: SocketCell,
    pub(super) registration: Registration,
    life: Cell<Life>,
    pub(super) flags: Flags,
    /// The number of bytes that the socket has accepted.
    pub(super) sent: Cell<u16>,
    /// The write queue. An idle connection has none.
    pub(super) out: Cell<Option<Box<Outgoing>>>,
    /// The rare state: limits that differ from the shared ones, a deadline, a producer, and the
    /// reason of the end; see `producer`.
    pub(super) extras: Cell<Option<Box<Extras>>>,
    pub(super) config: Rc<ConnConfig>,
    peer: Peer,
}

/// The addresses of a connection's ends.
pub(crate) struct Addresses {
    pub(crate) peer: Address,
    /// The local address, where a PROXY header gave it; otherwise the socket knows it.
    pub(crate) host: Option<Address>,
}

/// The peer's address, in half the memory: nearly all are of the first kind.
enum Peer {
    V4(SocketAddrV4),
    Other(Box<Address>),
    /// The peer's address and the local address, both given by a PROXY header.
    Given(Box<(Address, Address)>),
}

impl ConnCore {
    pub(super) fn new(
        socket: Socket,
        registration: Registration,
        ends: Addresses,
        config: Rc<ConnConfig>,
        reactor: &Reactor,
    ) -> Self {
        let flags = Flags::new();
        flags.set(Flag::COUNTED, reactor.inner().has_budget());
        flags.set(Flag::OWN_LIMITS, config.limits.hard < config.limits.high);
        // The loop is about to attend to it.
        registration.begin_busy();
        Self {
            socket: SocketCell::new(socket),
            registration,
            life: Cell::new(Life::NEW),
            flags,
            sent: Cell::new(0),
            out: Cell::new(None),
            extras: Cell::new(None),
            config,
            peer: match (ends.peer, ends.host) {
                (peer, Some(host)) => Peer::Given(Box::new((peer, host))),
                (Address::Ip(SocketAddr::V4(peer)), None) => Peer::V4(peer),
                (peer, None) => Peer::Other(Box::new(peer)),
            },
        }
    }

    pub(super) fn set_life(&self, life: Life) {
        self.life.set(life);
        self.flags.set(Flag::ALTERED, life != Life::NEW);
    }

    /// Passes the interest to the driver, if it has changed.
    pub(super) fn set_interest(&self, reactor: &Reactor, wanted: Interest) -> io::Result<()> {
        let otherwise = wanted != Interest::Read;
        self.flags.set(Flag::ARMED_OTHERWISE, otherwise);
        let result =
            self.with_socket(|socket| self.registration.set_interest(reactor, socket, wanted));
        result.unwrap_or(Ok(()))
    }

    /// Passes an event to the connection's life; records the reason when that ends it.
    pub(super) fn on(&self, event: Event, reason: impl FnOnce() -> Failure) -> Action {
        let mut life = self.life.get();
        let action = life.on(event);
        if action == Action::Nothing {
            return action;
        }
        self.set_life(life);
        if let Action::Close(why) = action {
            let failure = match why {
                EndCause::Broken => reason(),
                why => self.reason_of(why),
            };
            self.set_reason(failure);
        }
        action
    }

    /// Returns the reason of an end that nothing has broken.
    #[cold]
    fn reason_of(&self, why: EndCause) -> Failure {
        match why {
            EndCause::Aborted => self.failure(ConnectionError::Aborted),
            // An end with bytes that could not be written is not in good order, whatever the
            // program requested later.
            _ => self
                .write_failure()
                .unwrap_or_else(|| self.failure(ConnectionError::Done)),
        }
    }

    /// Records a request of the program.
    pub(super) fn request(&self, event: Event) {
        if self.on(event, || self.failure(ConnectionError::Aborted)) != Action::Nothing {
            self.ask_for_attention();
        }
    }

    /// Ends the connection for a reason other than a system error.
    pub(crate) fn break_with(&self, reason: Failure) {
        if self.on(Event::Broken, || reason) != Action::Nothing {
            self.ask_for_attention();
        }
    }

    /// Ends the connection because user code panicked, also when that code has ended it before.
    pub(crate) fn panicked(&self, panic: Failure) {
        match self.reason() {
            Some(reason) if !self.flags.has(Flag::LOST) => {
                if matches!(reason.downcast_ref(), Some(ConnectionError::Aborted)) {
                    // The peer sees the end that the program requested.
                    let _ = self.with_socket(Socket::reset_on_close);
                }
                self.set_reason(panic);
            }
            _ => self.break_with(panic),
        }
    }

    /// Ends the connection after a failed read or write.
    pub(super) fn broken_by(&self, error: io::Error) {
        self.break_with(self.lost(error));
    }

    #[inline]
    pub(crate) fn ask_for_attention(&self) {
        self.registration.request_attention();
    }

    /// Queues bytes. They are dropped when the connection is ending.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) {
        if self.flags.has(Flag::CHECKED_WRITES) || bytes.is_empty() {
            return self.write_unusual(bytes);
        }
        if (BIG..=self.config.limits.high).contains(&bytes.len()) {
            return self.write_big(bytes);
        }
        if self.push(bytes) > self.config.limits.high {
            self.flags.set(Flag::FULL, true);
        }
        self.registration.request_attention();
    }

    /// Queues a line and its end.
    #[inline]
    pub(crate) fn write_line(&self, line: &[u8]) {
        const END: &[u8] = b"\r\n";
        if line.len() >= BIG || !self.write_if_usual(line, END) {
            self.write(line);
            self.write(END);
        }
    }

    /// Puts bytes into the queue; returns how many are in it then.
    #[inline(always)]
    fn push(&self, bytes: &[u8]) -> usize {
        let mut out = match self.out.take() {
            Some(out) => out,
            None => self.config.buffers.take(),
        };
        out.push(bytes);
        let queued = out.len();
        self.out.set(Some(out));
        queued
    }

    /// Queues bytes, and others behind them, where no limit need be checked. Returns `false` where
    /// one must be.
    #[inline(always)]
    pub(crate) fn write_if_usual(&self, bytes: &[u8], more: &[u8]) -> bool {
        let (high, count) = (self.config.limits.high, bytes.len() + more.len());
        if self.flags.has(Flag::CHECKED_WRITES) || count == 0 || count > high {
            return false;
        }
        let mut out = match self.out.take() {
            Some(out) if out.len() > high - count => {
                self.out.set(Some(out));
                return false;
            }
            Some(out) => out,
            None => self.config.buffers.take(),
        };
        out.push_both(bytes, more);
        self.out.set(Some(out));
        self.registration.request_attention();
        true
    }

    /// The rest of [`ConnCore::write`]: another big write after one that went straight out, or one
    /// for which limits are checked.
    #[inline(never)]
    fn write_unusual(&self, bytes: &[u8]) {
        let is_big = (BIG..=self.config.limits.high).contains(&bytes.len());
        match is_big && !self.flags.has(Flag::QUEUES) {
            true => self.write_big(bytes),
            false => self.write_checked(bytes),
        }
    }

    /// Queues bytes, where limits are checked.
    pub(super) fn write_checked(&self, bytes: &[u8]) {
        if bytes.is_empty() || !self.life.get().takes_writes() {
            return;
        }
        let Limits {
            high, hard: limit, ..
        } = self.limits_as_set();
        let queued = self.queued();
        if queued > limit {
            let overflow = ConnectionError::WriteOverflow { queued, limit };
            return self.break_with(self.failure(overflow));
        }
        if self.push(bytes) > high {
            self.flags.set(Flag::FULL, true);
        }
        self.note_queued(queued, queued + bytes.len());
        self.ask_for_attention();
    }

    /// Reads once; `None` when no bytes are available. An end or error changes the life.
    #[inline(always)]
    pub(crate) fn read(&self, buf: &mut [u8]) -> Option<usize> {
        let result = match self.flags.has(Flag::CHECKED_READS) {
            false => self.socket.read(buf)?,
            true => self.read_checked(buf)?,
        };
        if !self.socket.is_plain() {
            self.note_descriptors();
            self.note_unread();
        }
        match result {
            Ok(count) if count > 0 => Some(count),
            result => self.read_nothing(result, buf),
        }
    }

    /// Handles a read without bytes: there are none now, or no more will come.
    #[cold]
    #[inline(never)]
    fn read_nothing(&self, result: io::Result<usize>, buf: &mut [u8]) -> Option<usize> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(buf),
            Ok(0) if !buf.is_empty() && self.ends_badly() => None,
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // What has broken writing says more than the end that follows from it.
            Err(_) if self.ends_badly() => None,
            Err(error) => {
                self.broken_by(error);
                None
            }
        }
    }

    /// Writes from the queue what the socket accepts. Returns `false` when the socket is full.
    #[inline(always)]
    pub(super) fn flush(&self) -> io::Result<bool> {
        let Some(mut out) = self.out.take() else {
            return Ok(true);
        };
        if self.flags.has(Flag::POLICED) {
            return self.flush_policed(out);
        }
        // Nearly always there is one piece, and the socket accepts it.
        if out.is_short() {
            let sent = self.socket.write(out.front()).unwrap_or(Ok(0));
            return match sent {
                Ok(count) if count == out.len() => {
                    self.note_sent(count);
                    out.empty();
                    self.config.buffers.give_back_empty(out);
                    self.note_queued(count, 0);
                    Ok(true)
                }
                sent => self.flush_part(out, sent),
            };
        }
        self.flush_long(out)
    }

    /// Handles a short queue that the socket has accepted in part, or not at all.
    #[cold]
    #[inline(never)]
    fn flush_part(&self, mut out: Box<Outgoing>, sent: io::Result<usize>) -> io::Result<bool> {
        let before = out.len();
        let result = match sent {
            Ok(count) => {
                self.note_sent(count);
                out.consume(count);
                Ok(false)
            }
            Err(error) if is_for_later(&error) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return self.flush_long(out);
            }
            Err(error) => Err(error),
        };
        self.note_queued(before, out.len());
        self.out.set(Some(out));
        result
    }

    /// Writes a queue of many pieces, or of many bytes.
    #[inline(never)]
    fn flush_long(&self, mut out: Box<Outgoing>) -> io::Result<bool> {
        let before = out.len();
        let result = self.flush_queue(&mut out);
        self.note_queued(before, out.len());
        if out.is_empty() {
            self.config.buffers.give_back(out);
        } else {
            self.out.set(Some(out));
        }
        result
    }

    /// Drops the queued bytes.
    pub(super) fn clear_queue(&self) {
        if let Some(out) = self.out.take() {
            self.note_queued(out.len(), 0);
            self.config.buffers.give_back(out);
        }
    }

    fn flush_queue(&self, out: &mut Outgoing) -> io::Result<bool> {
        let mut budget = FLUSH;
        while !out.is_empty() {
            let (asked, result) = match out.is_split() {
                false => (
                    out.front().len(),
                    self.with_socket(|socket| socket.write(out.front())),
                ),
                true => out.with_slices(|slices| {
                    let asked = slices.iter().map(|slice| slice.len()).sum();
                    (
                        asked,
                        self.with_socket(|socket| socket.write_vectored(slices)),
                    )
                }),
            };
            match result.unwrap_or(Ok(0)) {
                Ok(count) => {
                    out.consume(count);
                    self.note_sent(count);
                    budget = budget.saturating_sub(count);
                    if count < asked || budget == 0 {
                        return Ok(out.is_empty());
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    _ if is_for_later(&error) => return Ok(false),
                    _ => return Err(error),
                },
            }
        }
        Ok(true)
    }

    /// Records that writing failed: bytes that the peer sent before can still be read, so the
    /// connection has not ended. If `is_last`, reading ends with the same error. If not, it does so
    /// unless the error is a broken pipe: then the peer may have closed in good order.
    pub(super) fn writing_failed(&self, error: io::Error, is_last: bool) {
        let life = self.life.get();
        if !life.is_reading() || life.is_ending() || self.flags.has(Flag::PRODUCING) {
            return self.broken_by(error);
        }
        let ends_reading = is_last || error.kind() != io::ErrorKind::BrokenPipe;
        let failure = self.lost(error);
        self.with_extras(|extras| extras.failure = Some((failure, ends_reading)));
        self.clear_queue();
        self.flags.set(Flag::BLOCKED, false);
        self.on(Event::LoseWrite, || self.failure(ConnectionError::Done));
        self.ask_for_attention();
    }

    /// Returns the error of a write that did not end the connection.
    pub(crate) fn write_failure(&self) -> Option<Failure> {
        self.look_at_write_failure().map(|(failure, _)| failure)
    }

    /// Takes that error, with whether reading ends with it, for the connection's next handler.
    pub(super) fn take_write_failure(&self) -> Option<(Failure, bool)> {
        cells::with(&self.extras, |extras| extras.as_mut()?.failure.take())
    }

    fn look_at_write_failure(&self) -> Option<(Failure, bool)> {
        cells::with(&self.extras, |extras| extras.as_ref()?.failure.clone())
    }

    /// Returns whether a connection that was read to its end is broken.
    fn ends_badly(&self) -> bool {
        match self.look_at_write_failure() {
            Some((failure, true)) => {
                self.break_with(failure);
                true
            }
            _ => false,
        }
    }

    /// Returns whether this is the process's own standard input and output.
    pub(super) fn is_standard(&self) -> bool {
        self.with_socket(Socket::is_standard).unwrap_or(false)
    }

    /// See [`Socket::is_pair`].
    pub(super) fn is_pair(&self) -> bool {
        self.with_socket(Socket::is_pair).unwrap_or(false)
    }

    #[inline(always)]
    pub(super) fn note_sent(&self, count: usize) {
        let added = count.min(usize::from(u16::MAX)) as u16;
        self.sent.set(self.sent.get().saturating_add(added));
        if self.flags.has(Flag::STALLED) {
            self.note_progress(count);
        }
        if self.flags.has(Flag::POLICED) {
            self.note_sent_policed(count);
        }
    }

    /// Borrows the socket, for one statement that runs no user code; `None` once it is closed.
    pub(crate) fn with_socket<R>(&self, f: impl FnOnce(&Socket) -> R) -> Option<R> {
        self.socket.with(f)
    }

    /// Returns whether bytes are queued.
    #[inline]
    pub(super) fn has_queue(&self) -> bool {
        cells::is_some(&self.out)
    }

    /// Returns the number of queued bytes.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        let queued = cells::with(&self.out, |out| out.as_ref().map_or(0, |out| out.len()));
        match self.flags.has(Flag::SECURING) {
            false => queued,
            true => queued + self.unsent_below(),
        }
    }

    /// Returns the number of bytes that a handshake has taken over from the queue, or adds.
    #[cold]
    fn unsent_below(&self) -> usize {
        #[cfg(feature = "tls")]
        let unsent = |socket: &Socket| socket.tls().map_or(0, crate::driver::TlsSocket::unsent);
        #[cfg(not(feature = "tls"))]
        let unsent = |_: &Socket| 0;
        self.with_socket(unsent).unwrap_or(0)
    }

    /// Records that the size of the queue has changed from `old` to `new` bytes.
    #[inline]
    pub(super) fn note_queued(&self, old: usize, new: usize) {
        if self.flags.has(Flag::COUNTED) {
            self.recount(old, new);
        }
    }

    /// Records how many bytes have been read and not been used.
    #[inline(always)]
    pub(crate) fn note_buffered(&self, count: impl FnOnce() -> usize) {
        if self.flags.has(Flag::COUNTED) {
            let new = if self.flags.has(Flag::LOST) {
                0
            } else {
                count()
            };
            self.set_buffered(new);
        }
    }

    #[cold]
    fn set_buffered(&self, new: usize) {
        let old = self.with_extras(|extras| std::mem::replace(&mut extras.buffered, new));
        self.recount(old, new);
    }

    #[cold]
    fn recount(&self, old: usize, new: usize) {
        if let Some(reactor) = self.reactor() {
            reactor.inner().recount(old, new);
        }
    }

    /// Returns how many bytes of memory the connection holds.
    pub(super) fn held_bytes(&self) -> usize {
        match self.flags.has(Flag::COUNTED) {
            true => self.queued() + self.with_extras(|extras| extras.buffered),
            false => 0,
        }
    }

    #[inline]
    pub(crate) fn limits(&self) -> Limits {
        let limits = self.limits_as_set();
        // With a low mark at or above the high one, a connection would be full and ready at once.
        Limits {
            low: limits.low.min(limits.high.saturating_sub(1)),
            ..limits
        }
    }

    #[inline]
    fn limits_as_set(&self) -> Limits {
        self.own_limits().unwrap_or(self.config.limits)
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.with_extras(|extras| extras.limits = Some(limits));
        self.flags.set(Flag::OWN_LIMITS, true);
        // A full connection stays full until the loop finds its queue at the low mark and calls the
        // handler.
        if self.queued() > limits.high {
            self.flags.set(Flag::FULL, true);
        }
        self.ask_for_attention();
    }

    pub(crate) fn life(&self) -> Life {
        self.life.get()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.flags.has(Flag::FULL)
    }

    /// Returns whether nothing need be checked before a read, or after a write.
    #[inline]
    pub(crate) fn is_usual(&self) -> bool {
        !self.flags.has(Flag::UNUSUAL)
    }

    /// Returns whether bytes may be delivered to a handler that does not read for itself.
    pub(crate) fn may_deliver(&self) -> bool {
        self.takes_bytes(true)
    }

    /// Returns whether the handler may be called for bytes. A handler that is held back gets none
    /// while the connection is full.
    #[inline]
    pub(super) fn takes_bytes(&self, is_held_when_full: bool) -> bool {
        self.is_usual() || self.takes_bytes_unusually(is_held_when_full)
    }

    fn takes_bytes_unusually(&self, is_held_when_full: bool) -> bool {
        let is_held = self.flags.has(Flag::PAUSED) || self.flags.has(Flag::READ_HELD);
        if self.is_handing_on() || is_held || self.flags.has(Flag::SECURING) {
            return false;
        }
        let is_held = is_held_when_full && !self.config.is_filter;
        self.life.get().is_reading() && !(self.flags.has(Flag::FULL) && is_held)
    }

    /// Sets whether bytes that were read wait to be delivered.
    pub(crate) fn set_held(&self, is_held: bool) {
        self.flags.set(Flag::HELD, is_held);
    }

    /// Returns whether the handler has left some of the bytes read.
    #[inline]
    pub(crate) fn is_partly_used(&self) -> bool {
        self.flags.has(Flag::PARTIAL)
    }

    pub(crate) fn set_partly_used(&self, is_partly_used: bool) {
        self.flags.set(Flag::PARTIAL, is_partly_used);
    }

    /// Returns whether the handler has yet to get an end of file that an earlier handler got.
    pub(crate) fn has_eof_to_report(&self) -> bool {
        self.flags.has(Flag::PEER_DONE) && self.life.get().is_reading()
    }

    /// Records that the handler has named a successor.
    pub(crate) fn note_successor(&self) {
        self.flags.set(Flag::SUCCEEDED, true);
        self.ask_for_attention();
    }

    /// Returns whether the connection goes to a successor; no longer when it is ending.
    pub(crate) fn is_handing_on(&self) -> bool {
        self.flags.has(Flag::SUCCEEDED) && !self.life.get().is_ending()
    }

    /// Returns whether only the hand-over is left to do; a file is sent to its end before, and a
    /// handshake is finished.
    pub(super) fn is_over_here(&self) -> bool {
        let is_busy = || self.sends_file() || self.flags.has(Flag::SECURING);
        self.life.get().is_over() || (self.is_handing_on() && !is_busy())
    }

    /// Records whether there are bytes to read that no event reports.
    pub(super) fn note_unread(&self) {
        self.flags.set(Flag::UNREAD, self.socket.has_unread());
    }

    /// Returns whether there are bytes to read that no event reports.
    #[inline]
    pub(crate) fn has_unread(&self) -> bool {
        self.flags.has(Flag::UNREAD)
    }

    /// Returns whether the handler has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.flags.has(Flag::BEGUN)
    }

    /// Returns whether the handler's `lost` was called.
    pub(crate) fn is_lost(&self) -> bool {
        self.flags.has(Flag::LOST)
    }

    /// Returns the connection's key in the reactor's table.
    pub(crate) fn key(&self) -> usize {
        self.registration.key()
    }

    /// Records that other code may have a duplicate of the descriptor.
    #[cfg(unix)]
    pub(super) fn note_lent(&self) {
        self.flags.set(Flag::LENT, true);
    }

    /// Returns a handle to the reactor that does not keep it alive.
    pub(crate) fn weak_reactor(&self) -> WeakReactor {
        self.registration.weak_reactor()
    }

    /// Returns the reactor, while it exists.
    pub(crate) fn reactor(&self) -> Option<Reactor> {
        self.registration.reactor()
    }

    /// Marks the connection as full until its queue has come down to the low-water mark.
    pub(crate) fn note_full(&self) {
        self.flags.set(Flag::FULL, true);
        self.ask_for_attention();
    }

    /// Returns the reason for which the connection ended, once it has.
    pub(crate) fn reason(&self) -> Option<Failure> {
        cells::with(&self.extras, |extras| extras.as_ref()?.reason.clone())
    }

    fn set_reason(&self, reason: Failure) {
        self.with_extras(|extras| extras.reason = Some(reason));
    }

    /// Returns whether the connection is reset when its handler fails.
    pub(crate) fn resets_on_error(&self) -> bool {
        self.config.resets_on_error
    }

    pub(crate) fn location(&self) -> &'static Location<'static> {
        self.config.location
    }

    /// Describes the connection for a dump, where something waits for it.
    pub(crate) fn dump_item(&self) -> Option<DumpItem> {
        (!self.is_lost()).then(|| DumpItem {
            id: Id::Source(self.key()),
            kind: "connection",
            name: None,
            location: self.location(),
            about: String::new(),
            waits: Vec::new(),
        })
    }

    /// Returns the state, for a dump.
    pub(super) fn about(&self) -> String {
        let mut about = format!("with {}", self.peer());
        let life = self.life();
        if life.is_ending() {
            about += ", ending";
        } else if !life.takes_writes() {
            about += ", its writing side closed";
        }
        if self.flags.has(Flag::PEER_DONE) {
            about += ", the peer has sent its end of file";
        }
        if self.flags.has(Flag::PAUSED) {
            about += ", paused";
        }
        if self.queued() > 0 {
            about += &format!(", {} bytes to be written", self.queued());
        }
        about
    }

    pub(super) fn peer(&self) -> Address {
        match &self.peer {
            Peer::V4(peer) => SocketAddr::V4(*peer).into(),
            Peer::Other(peer) => (**peer).clone(),
            Peer::Given(both) => both.0.clone(),
        }
    }

    /// Returns the addresses of both ends.
    pub(super) fn ends(&self) -> Addresses {
        Addresses {
            peer: self.peer(),
            host: self.given_host(),
        }
    }

    /// Returns the connection's own limits, if they were changed.
    #[inline]
    pub(super) fn own_limits(&self) -> Option<Limits> {
        match self.flags.has(Flag::OWN_LIMITS) {
            true => self.with_extras(|extras| extras.limits),
            false => None,
        }
    }

    /// Returns the local address, if a PROXY header gave it.
    pub(super) fn given_host(&self) -> Option<Address> {
        match &self.peer {
            Peer::Given(both) => Some(both.1.clone()),
            _ => None,
        }
    }
}

impl From<Address> for Addresses {
    fn from(peer: Address) -> Self {
        Self { peer, host: None }
    }
}

/// Largest number of bytes of one flush, so that one connection does not keep the loop.
const FLUSH: usize = 1024 * 1024;
