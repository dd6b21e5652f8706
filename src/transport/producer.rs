//! Producers: objects that write to a connection at its pace.
//!
//! # The idea
//!
//! Most programs look at `is_full` and wait for `write_ready`, or await their writes. A *producer*
//! does the same as a separate object, which can be registered with any connection. It is a layer
//! over the same two states of the write queue, [`Flag::FULL`] and empty: [`ConnCore::produce`]
//! runs in each round of flushing and calls the producer when they have changed. A file that is
//! sent ([`Transport::send_file`](super::Transport::send_file)) is a producer that the engine moves
//! without the bytes passing through the program.
//!
//! | kind | acts | `is_waiting` |
//! |---|---|---|
//! | `Push` | `pause_producing` when the connection is full | while it is full |
//! | | `resume_producing` at the low-water mark, before `write_ready` | |
//! | `Pull` | `resume_producing` at first, and each time the queue has become empty | until then |
//! | file | sends while the queue is empty and the socket accepts bytes | |
//!
//! # Invariants
//!
//! 1. A producer is taken out while it is called, from the loop's turn, never inside a handle's
//!    method.
//! 2. `stop_producing` is called once, when the connection is lost or handed to another protocol,
//!    unless the producer was unregistered before.
//! 3. While a producer is registered ([`Flag::PRODUCING`]), a requested close waits until it is
//!    unregistered. Another connection that is the producer does not hold up the close: that
//!    connection never unregisters itself, and two that are each other's producers would wait for
//!    each other.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::task::Waker;

use super::Transport;
use super::config::Limits;
use super::errors::ConnectionError;
use super::flags::Flag;
use super::life::Event;
use super::link::ConnCore;
use super::policed::Policies;
use super::stall::Stall;
use crate::cells;
use crate::clock::DelayedCall;
use crate::defer::Resolver;
use crate::failure::Failure;
use crate::report::{self, Origin};

/// An object that writes to a connection at the connection's pace. It is registered with
/// [`Transport::register_producer`](super::Transport::register_producer).
///
/// Most programs need none: they check [`Transport::is_full`](super::Transport::is_full) and wait
/// for `write_ready`, or await their writes. A [`Transport`] is itself a producer, of the bytes
/// that its peer sends: registered with another connection, it reads no faster than that connection
/// sends, and does not delay that connection's close.
pub trait Producer: 'static {
    /// Called when the producer may write: a [push](Flow::Push) producer after `pause_producing`,
    /// once the connection is no longer full; a [pull](Flow::Pull) producer at first, and each time
    /// all queued bytes have been sent. A pull producer writes one piece now, or calls
    /// [`Transport::unregister_producer`](super::Transport::unregister_producer) when it has
    /// finished; if it does neither, it is called again only after other bytes have been sent.
    fn resume_producing(&mut self, consumer: &Transport);

    /// Called when the connection is full. The producer must stop writing until
    /// [`resume_producing`](Self::resume_producing). Pull producers are not paused. The default
    /// does nothing.
    fn pause_producing(&mut self) {}

    /// Called once, when the connection has ended or has been handed to another protocol, unless
    /// the producer was unregistered before. The default does nothing.
    fn stop_producing(&mut self) {}
}

/// The side that decides when a producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The producer writes at any time, except while it is paused (Twisted's `streaming=True`).
    Push,
    /// The producer writes one piece each time [`Producer::resume_producing`] is called (Twisted's
    /// `streaming=False`).
    Pull,
}

/// A destination for the bytes of a producer: the trait through which code accepts a [`Transport`]
/// or a replacement for it.
pub trait Consumer {
    /// Queues bytes for sending.
    fn write(&self, bytes: &[u8]);

    /// Registers a producer, which writes at this consumer's pace.
    ///
    /// # Errors
    ///
    /// Fails with [`ConnectionError::ProducerRegistered`] when another producer is registered.
    fn register_producer(&self, producer: impl Producer, flow: Flow) -> Result<(), ConnectionError>
    where
        Self: Sized;

    /// Unregisters the producer, if there is one.
    fn unregister_producer(&self);
}

/// State that few connections need, allocated when it is first used.
#[derive(Default)]
pub(super) struct Extras {
    /// Aborts the connection when its end takes too long.
    pub(super) deadline: Option<DelayedCall>,
    /// The connection's own limits, when they differ from the shared ones.
    pub(super) limits: Option<Limits>,
    /// Number of bytes that have been read and not been used; counted only where a budget needs it.
    pub(super) buffered: usize,
    /// The limit for a peer that accepts nothing: see `stall`.
    pub(super) stall: Option<Stall>,
    /// The policies of the connection: see `policy`.
    pub(super) policies: Option<Box<Policies>>,
    /// The task that waits for space in the queue.
    writer: Option<Waker>,
    /// Bytes that were read before the handler begins.
    aside: Vec<u8>,
    source: Option<Source>,
    /// The close that was requested and waits until the source is removed (invariant 3).
    then: Option<Event>,
    /// The error of a write that did not end the connection, and whether reading ends with it.
    pub(super) failure: Option<(Failure, bool)>,
    /// The reason for which the connection ended; set when its life is over.
    pub(super) reason: Option<Failure>,
    /// The handshake of its TLS, while that is under way.
    #[cfg(feature = "tls")]
    pub(super) handshaking: Option<Box<super::tls::Handshaking>>,
    /// Whether the limit for closing all connections of the port has ended this one.
    pub(super) was_cut_off: bool,
}

/// A registered producer or file.
pub(super) enum Source {
    Producer {
        producer: Box<dyn Producer>,
        flow: Flow,
        is_waiting: bool,
        /// The producer, if it is a connection.
        conn: Option<Transport>,
    },
    File(Sending),
}

/// A file that is being sent.
pub(super) struct Sending {
    file: File,
    resolver: Resolver<u64>,
    sent: u64,
    /// The most bytes that are sent.
    most: u64,
    /// Whether the file is read and written in pieces, because the system cannot send this file to
    /// this socket.
    is_read: bool,
}

/// The result of sending a piece of a file.
enum Sent {
    /// Bytes were sent, and there may be more to do without waiting.
    Some,
    Wait,
    Done,
    Failed(Failure),
}

impl Sending {
    /// Sends a piece. The queue is empty, and the socket is not known to be full.
    fn send(&mut self, link: &ConnCore) -> Sent {
        if self.is_read {
            return self.read_and_write(link);
        }
        let left = self.left(PIECE);
        if left == 0 {
            return Sent::Done;
        }
        let most = link.write_allowance().min(left);
        if most == 0 {
            return Sent::Wait;
        }
        let sent = link.with_socket(|socket| socket.send_file(&self.file, most));
        match sent {
            None => Sent::Wait,
            Some(Ok(0)) => Sent::Done,
            Some(Ok(count)) => {
                self.sent += count as u64;
                link.note_sent(count);
                Sent::Some
            }
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::Interrupted => Sent::Some,
                io::ErrorKind::WouldBlock => {
                    link.flags.set(Flag::BLOCKED, true);
                    Sent::Wait
                }
                io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => {
                    self.is_read = true;
                    self.read_and_write(link)
                }
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::TimedOut => {
                    link.broken_by(error);
                    Sent::Wait
                }
                _ => Sent::Failed(error.into()),
            },
        }
    }

    /// Returns how many bytes are left to send, at most `most`.
    fn left(&self, most: usize) -> usize {
        (self.most - self.sent).min(most as u64) as usize
    }

    fn read_and_write(&mut self, link: &ConnCore) -> Sent {
        let mut piece = vec![0; self.left(READ)];
        loop {
            return match self.file.read(&mut piece) {
                Ok(0) => Sent::Done,
                Ok(count) => {
                    link.write(&piece[..count]);
                    self.sent += count as u64;
                    Sent::Some
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Sent::Failed(error.into()),
            };
        }
    }
}

impl Source {
    /// Ends the source together with the connection.
    pub(super) fn stop(self, link: &ConnCore, reason: Failure) {
        match self {
            Self::Producer { mut producer, .. } => {
                let location = link.location();
                report::contain_rarely(Origin::Protocol, location, || producer.stop_producing());
                report::discard(producer, location);
            }
            Self::File(sending) => sending.resolver.errback(reason),
        }
    }
}

impl ConnCore {
    /// Changes the rarely used state. `f` must run no user code.
    pub(super) fn with_extras<R>(&self, f: impl FnOnce(&mut Extras) -> R) -> R {
        cells::with(&self.extras, |extras| f(extras.get_or_insert_default()))
    }

    /// Stores the waker of the task that waits for space in the queue.
    pub(crate) fn set_writer(&self, waker: Waker) {
        let before = self.with_extras(|extras| extras.writer.replace(waker));
        drop(before);
    }

    /// Takes the waker of the task that waits for space in the queue, if one does.
    #[inline]
    pub(crate) fn take_writer(&self) -> Option<Waker> {
        // Most connections have no rare state, and each flush asks.
        let mut extras = self.extras.take()?;
        let writer = extras.writer.take();
        self.extras.set(Some(extras));
        writer
    }

    /// Stores bytes that were read before the handler begins.
    pub(crate) fn put_aside(&self, bytes: Vec<u8>) {
        self.with_extras(|extras| extras.aside = bytes);
    }

    /// Takes the bytes that were read before the handler begins.
    pub(crate) fn take_aside(&self) -> Vec<u8> {
        cells::with(&self.extras, |extras| {
            let extras = extras.as_mut();
            extras.map_or_else(Vec::new, |extras| mem::take(&mut extras.aside))
        })
    }

    /// Returns whether a task waits for space in the queue.
    pub(crate) fn has_writer(&self) -> bool {
        cells::with(&self.extras, |extras| {
            let extras = extras.as_ref();
            extras.is_some_and(|extras| extras.writer.is_some())
        })
    }

    pub(super) fn register(
        &self,
        producer: impl Producer,
        flow: Flow,
    ) -> Result<(), ConnectionError> {
        let as_conn = (&producer as &dyn Any).downcast_ref::<Transport>();
        let source = Source::Producer {
            flow,
            is_waiting: false,
            conn: as_conn.cloned(),
            producer: Box::new(producer),
        };
        if self.has_ended_producer() {
            self.unregister();
        }
        let added = self.add_source(source);
        added.map_err(|_| ConnectionError::ProducerRegistered)
    }

    /// Returns whether the producer is a connection.
    fn has_conn_as_producer(&self) -> bool {
        self.with_producer_conn(|_| true)
    }

    /// Returns whether the producer is a connection that will deliver nothing more.
    fn has_ended_producer(&self) -> bool {
        self.with_producer_conn(|conn| !conn.0.link().life().is_reading())
    }

    /// Calls `f` with the connection that is the producer. Returns `false` if there is none.
    fn with_producer_conn(&self, f: impl FnOnce(&Transport) -> bool) -> bool {
        self.flags.has(Flag::PRODUCING)
            && self.with_extras(|extras| match &extras.source {
                Some(Source::Producer {
                    conn: Some(conn), ..
                }) => f(conn),
                _ => false,
            })
    }

    /// Sends at most `most` bytes of a file, unless a producer is registered. Returns whether the
    /// file is sent.
    pub(super) fn send_file(&self, file: File, most: u64, resolver: Resolver<u64>) -> bool {
        let added = self.add_source(Source::File(Sending {
            file,
            resolver,
            sent: 0,
            most,
            is_read: false,
        }));
        if let Err(Source::File(sending)) = added {
            let error = ConnectionError::ProducerRegistered;
            sending.resolver.errback(error);
            return false;
        }
        true
    }

    fn add_source(&self, source: Source) -> Result<(), Source> {
        if self.flags.replace(Flag::PRODUCING, true) {
            return Err(source);
        }
        self.with_extras(|extras| extras.source = Some(source));
        self.ask_for_attention();
        Ok(())
    }

    /// Removes the source. A source that is being called is dropped when the call returns.
    pub(super) fn unregister(&self) {
        let location = self.location();
        self.release(|source| report::discard(source, location));
    }

    /// Stops a producer whose connection is handed to another protocol; a file is sent to its end.
    /// Returns whether there was a producer.
    pub(super) fn dismiss_producer(&self) -> bool {
        let reason = || self.failure(ConnectionError::HandedOver);
        !self.sends_file() && self.release(|source| source.stop(self, reason()))
    }

    /// Removes the source, calls `end` with it, and requests the close that waited for it.
    fn release(&self, end: impl FnOnce(Source)) -> bool {
        if !self.flags.has(Flag::PRODUCING) {
            return false;
        }
        let then = self.with_extras(|extras| extras.then.take());
        let source = self.take_source();
        if let Some(then) = then {
            self.request(then);
        }
        self.ask_for_attention();
        if let Some(source) = source {
            end(source);
        }
        true
    }

    /// Removes the source and returns it.
    pub(super) fn take_source(&self) -> Option<Source> {
        self.flags.set(Flag::PRODUCING, false);
        cells::with(&self.extras, |extras| extras.as_mut()?.source.take())
    }

    /// Requests a close, which happens when there is no source (invariant 3).
    pub(super) fn end_by(&self, event: Event) {
        if !self.flags.has(Flag::PRODUCING) || self.has_conn_as_producer() {
            return self.request(event);
        }
        if event == Event::Lose {
            // No more bytes are delivered.
            self.flags.set(Flag::PAUSED, true);
        }
        self.with_extras(|extras| {
            if extras.then != Some(Event::Lose) {
                extras.then = Some(event);
            }
        });
        self.ask_for_attention();
    }

    /// Returns whether the connection closes as soon as there is no source.
    pub(super) fn ends_later(&self) -> bool {
        self.flags.has(Flag::PRODUCING)
            && self.with_extras(|extras| extras.then == Some(Event::Lose))
    }

    /// Returns whether a file is being sent.
    pub(super) fn sends_file(&self) -> bool {
        self.flags.has(Flag::PRODUCING)
            && self.with_extras(|extras| matches!(extras.source, Some(Source::File(_))))
    }

    /// Records that the queue has become empty.
    pub(super) fn note_drained(&self) {
        if self.flags.has(Flag::PRODUCING) {
            self.with_extras(|extras| {
                if let Some(Source::Producer {
                    flow: Flow::Pull,
                    is_waiting,
                    ..
                }) = &mut extras.source
                {
                    *is_waiting = false;
                }
            });
        }
    }

    /// Calls the producer, or sends a piece of the file, if the state of the queue calls for it.
    /// Returns whether there may be more to do.
    pub(super) fn produce(&self, transport: &dyn Fn() -> Transport) -> bool {
        let source = self.with_extras(|extras| extras.source.take());
        let Some(mut source) = source else {
            return false;
        };
        let (is_full, location) = (self.is_full(), self.location());
        let is_held = self.flags.has(Flag::BLOCKED) || self.flags.has(Flag::WRITE_HELD);
        let is_drained = self.queued() == 0 && !is_held;
        let called = match &mut source {
            Source::Producer {
                producer,
                flow,
                is_waiting,
                ..
            } => {
                let is_due = match flow {
                    Flow::Push => is_full != *is_waiting,
                    Flow::Pull => is_drained && !*is_waiting,
                };
                is_due.then(|| {
                    *is_waiting = !*is_waiting;
                    report::catch_rarely(location, || match *flow == Flow::Push && is_full {
                        true => producer.pause_producing(),
                        false => producer.resume_producing(&transport()),
                    })
                })
            }
            Source::File(sending) if is_drained => match sending.send(self) {
                Sent::Some => Some(Ok(())),
                Sent::Wait => None,
                Sent::Done => return self.file_ended(source, Ok(())),
                Sent::Failed(failure) => return self.file_ended(source, Err(failure)),
            },
            Source::File(_) => None,
        };
        self.put_back(source);
        if let Some(Err(panic)) = &called {
            report::deliver(Origin::Protocol, panic.clone(), location);
            self.panicked(panic.clone());
        }
        called.is_some()
    }

    /// Puts the source back, unless it was unregistered or replaced meanwhile.
    fn put_back(&self, source: Source) {
        let is_registered = self.flags.has(Flag::PRODUCING);
        let left = self.with_extras(|extras| match extras.source {
            None if is_registered => extras.source.replace(source),
            _ => Some(source),
        });
        report::discard(left, self.location());
    }

    fn file_ended(&self, source: Source, result: Result<(), Failure>) -> bool {
        self.unregister();
        if let Source::File(sending) = source {
            sending.resolver.resolve(result.map(|()| sending.sent));
        }
        true
    }
}

impl Producer for Transport {
    fn resume_producing(&mut self, _consumer: &Transport) {
        Self::resume_producing(self);
    }

    fn pause_producing(&mut self) {
        Self::pause_producing(self);
    }

    fn stop_producing(&mut self) {
        self.lose_connection();
    }
}

impl Consumer for Transport {
    fn write(&self, bytes: &[u8]) {
        Self::write(self, bytes);
    }

    fn register_producer(
        &self,
        producer: impl Producer,
        flow: Flow,
    ) -> Result<(), ConnectionError> {
        Self::register_producer(self, producer, flow)
    }

    fn unregister_producer(&self) {
        Self::unregister_producer(self);
    }
}

/// Number of bytes of a file that the system is asked to send in one call.
const PIECE: usize = 256 * 1024;
/// Number of bytes that are read in one call where the system does not send the file.
const READ: usize = 64 * 1024;
