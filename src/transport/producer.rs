//! Producers: objects that write to a connection at its pace.
//!
//! # The idea
//!
//! Most programs look at `is_full` and wait for `write_ready`, or await their writes. A *producer*
//! does the same as a separate object, which can be registered with any connection: the loop calls
//! it when it may write and when it must pause. A file that is sent
//! ([`Transport::send_file`](super::Transport::send_file)) is a producer that the engine moves
//! without the bytes passing through the program.
//!
//! | flow   | `resume_producing`                         | `pause_producing`        |
//! |--------|--------------------------------------------|--------------------------|
//! | `Push` | when a full connection has drained         | when it becomes full     |
//! | `Pull` | at first, and each time the queue is empty | never: one piece a call  |
//!
//! # Invariants
//!
//! 1. A producer is taken out while it is called, from the loop's turn, never inside a handle's
//!    method.
//! 2. `stop_producing` is called once, when the connection is lost, or handed to another protocol,
//!    before the producer was unregistered.
//! 3. While a producer is registered, a close that was asked for waits until it is unregistered.

use std::fs::File;
use std::io::{self, Read};

use super::Transport;
use super::config::Limits;
use super::errors::ConnectionError;
use super::flags::Flag;
use super::life::Event;
use super::link::ConnCore;
use super::stall::Stall;
use crate::cells;
use crate::clock::DelayedCall;
use crate::defer::Resolver;
use crate::failure::Failure;
use crate::report::{self, Origin};

/// An object that writes to a connection at the connection's pace.
///
/// A [`Transport`] is a producer of the bytes that its peer sends: registered with another
/// connection, it reads no faster than that connection sends.
#[doc(alias("IPushProducer", "IPullProducer", "IProducer"))]
pub trait Producer: 'static {
    /// Called when there is room for more bytes. A pull producer writes one piece now, or calls
    /// [`Transport::unregister_producer`](super::Transport::unregister_producer) when it has
    /// finished; if it does neither, it is called again when other bytes have been sent.
    fn resume_producing(&mut self, consumer: &Transport);

    /// Called when the queue is full. The producer must stop writing until
    /// [`resume_producing`](Self::resume_producing).
    fn pause_producing(&mut self) {}

    /// Called when the connection has ended, or has been handed to another protocol: bytes that are
    /// written are dropped.
    fn stop_producing(&mut self) {}
}

/// The side that decides when a producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The producer writes by itself, until it is paused (Twisted's `streaming=True`).
    Push,
    /// The producer writes one piece each time it is called.
    Pull,
}

/// A destination for the bytes of a producer.
#[doc(alias = "IConsumer")]
pub trait Consumer {
    /// Accepts bytes.
    fn write(&self, bytes: &[u8]);

    /// Registers a producer.
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

/// State that few connections have.
#[derive(Default)]
pub(super) struct Extras {
    /// Aborts it when the end takes too long.
    pub(super) deadline: Option<DelayedCall>,
    /// Limits of its own, when they were changed.
    pub(super) limits: Option<Limits>,
    /// How many bytes have been read and not been used; only where that is counted.
    pub(super) buffered: usize,
    /// See `stall`.
    pub(super) stall: Option<Stall>,
    source: Option<Source>,
    /// The end that was asked for, to come when the source is done (invariant 3).
    then: Option<Event>,
    /// Why writing failed, where that was not the end; and whether it is what reading ends with.
    pub(super) failure: Option<(Failure, bool)>,
    /// The limit for the end of all connections of its port has ended it.
    pub(super) was_cut_off: bool,
    /// Counts sources, so that one that was taken out is known again.
    count: u64,
}

/// A producer that is registered.
pub(super) struct Source {
    number: u64,
    kind: Kind,
    /// A push producer was told to pause.
    is_paused: bool,
    /// A pull producer is to be asked.
    is_due: bool,
}

enum Kind {
    Told(Box<dyn Producer>, Flow),
    File(Sending),
}

/// A file on its way.
pub(super) struct Sending {
    pub(super) file: File,
    pub(super) resolver: Resolver<u64>,
    sent: u64,
    /// The system does not send this file to this socket by itself.
    is_read: bool,
}

/// What is to be done with a source.
enum Step {
    Nothing,
    Pause,
    Resume,
    Send,
}

/// What became of sending.
enum Sent {
    /// There may be more to do at once.
    Some,
    Wait,
    Done,
    Failed(Failure),
}

impl Sending {
    pub(super) fn new(file: File, resolver: Resolver<u64>) -> Self {
        Self {
            file,
            resolver,
            sent: 0,
            is_read: false,
        }
    }

    /// Sends some of it: the queue is empty, and the socket not full as far as is known.
    fn send(&mut self, link: &ConnCore) -> Sent {
        if self.is_read {
            return self.read_and_write(link);
        }
        let sent = link.with_socket(|socket| socket.send_file(&self.file, PIECE));
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

    fn read_and_write(&mut self, link: &ConnCore) -> Sent {
        let mut piece = vec![0; READ];
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
    fn next_step(&mut self, is_full: bool, is_drained: bool) -> Step {
        match &self.kind {
            Kind::Told(_, Flow::Push) => match (is_full, self.is_paused) {
                (true, false) => {
                    self.is_paused = true;
                    Step::Pause
                }
                (false, true) => {
                    self.is_paused = false;
                    Step::Resume
                }
                _ => Step::Nothing,
            },
            Kind::Told(_, Flow::Pull) if is_drained && self.is_due => {
                self.is_due = false;
                Step::Resume
            }
            Kind::File(_) if is_drained => Step::Send,
            _ => Step::Nothing,
        }
    }

    /// The connection is over.
    pub(super) fn stop(self, link: &ConnCore, reason: Failure) {
        match self.kind {
            Kind::Told(mut producer, _) => {
                let location = link.location();
                report::contain_rarely(Origin::Protocol, location, || producer.stop_producing());
                report::discard(producer, location);
            }
            Kind::File(sending) => sending.resolver.errback(reason),
        }
    }
}

impl ConnCore {
    /// Changes what few connections have; that runs nobody's code.
    pub(super) fn with_extras<R>(&self, f: impl FnOnce(&mut Extras) -> R) -> R {
        cells::with(&self.extras, |extras| f(extras.get_or_insert_default()))
    }

    pub(super) fn register(
        &self,
        producer: impl Producer,
        flow: Flow,
    ) -> Result<(), ConnectionError> {
        self.add_source(Kind::Told(Box::new(producer), flow))
            .map_err(|_| ConnectionError::ProducerRegistered)
    }

    /// Has a file sent; gives it back when there is a producer.
    pub(super) fn register_file(&self, sending: Sending) -> Result<(), Sending> {
        self.add_source(Kind::File(sending))
            .map_err(|kind| match kind {
                Kind::File(sending) => sending,
                Kind::Told(..) => unreachable!("what comes back is what was given"),
            })
    }

    fn add_source(&self, kind: Kind) -> Result<(), Kind> {
        if self.flags.replace(Flag::PRODUCING, true) {
            return Err(kind);
        }
        self.with_extras(|extras| {
            extras.count += 1;
            extras.source = Some(Source {
                number: extras.count,
                kind,
                is_paused: false,
                is_due: true,
            });
        });
        self.ask_for_attention();
        Ok(())
    }

    /// Lets go of the source. One that is being called just now is dropped when it returns.
    pub(super) fn unregister(&self) {
        if !self.flags.replace(Flag::PRODUCING, false) {
            return;
        }
        let (source, then) = self.with_extras(|extras| {
            extras.count += 1;
            (extras.source.take(), extras.then.take())
        });
        if let Some(then) = then {
            self.request(then);
        }
        self.ask_for_attention();
        report::discard(source, self.location());
    }

    /// The end is asked for: it comes when the source is done (invariant 3).
    pub(super) fn end_by(&self, event: Event) {
        if !self.flags.has(Flag::PRODUCING) {
            return self.request(event);
        }
        if event == Event::Lose {
            // Nothing more is delivered.
            self.flags.set(Flag::PAUSED, true);
        }
        self.with_extras(|extras| {
            if extras.then != Some(Event::Lose) {
                extras.then = Some(event);
            }
        });
        self.ask_for_attention();
    }

    /// Is it asked to end as soon as its source is done?
    pub(super) fn ends_later(&self) -> bool {
        self.flags.has(Flag::PRODUCING)
            && self.with_extras(|extras| extras.then == Some(Event::Lose))
    }

    /// Is a file on its way?
    pub(super) fn sends_file(&self) -> bool {
        let is_file = |source: &Source| matches!(source.kind, Kind::File(_));
        self.flags.has(Flag::PRODUCING)
            && self.with_extras(|extras| extras.source.as_ref().is_some_and(is_file))
    }

    /// Stops a producer whose user has named a successor, and does what waited for it; a file goes
    /// on. `true` if there was one.
    pub(super) fn dismiss_producer(&self) -> bool {
        if !self.flags.has(Flag::PRODUCING) || self.sends_file() {
            return false;
        }
        let then = self.with_extras(|extras| extras.then.take());
        if let Some(source) = self.take_source() {
            source.stop(self, self.failure(ConnectionError::HandedOver));
        }
        if let Some(then) = then {
            self.request(then);
        }
        true
    }

    /// Takes out the source for good.
    pub(super) fn take_source(&self) -> Option<Source> {
        self.flags.set(Flag::PRODUCING, false);
        self.extras.take().and_then(|mut extras| {
            let source = extras.source.take();
            self.extras.set(Some(extras));
            source
        })
    }

    /// All that was queued has been written.
    pub(super) fn note_drained(&self) {
        if self.flags.has(Flag::PRODUCING) {
            self.with_extras(|extras| {
                if let Some(source) = &mut extras.source {
                    source.is_due = true;
                }
            });
        }
    }

    /// Does with the source what is to be done; `true` if there may be more to do.
    pub(super) fn produce(&self, transport: impl FnOnce() -> Transport) -> bool {
        let source = self.with_extras(|extras| extras.source.take());
        let Some(mut source) = source else {
            return false;
        };
        let is_drained = self.queued() == 0 && !self.flags.has(Flag::BLOCKED);
        let step = source.next_step(self.is_full(), is_drained);
        let location = self.location();
        let called = match (step, &mut source.kind) {
            (Step::Pause, Kind::Told(producer, _)) => {
                report::catch_rarely(location, || producer.pause_producing())
            }
            (Step::Resume, Kind::Told(producer, _)) => {
                let transport = transport();
                report::catch_rarely(location, || producer.resume_producing(&transport))
            }
            (Step::Send, Kind::File(sending)) => match sending.send(self) {
                Sent::Some => Ok(()),
                Sent::Wait => {
                    self.put_back(source);
                    return false;
                }
                Sent::Done => {
                    let sent = sending.sent;
                    return self.is_done(source, Ok(sent));
                }
                Sent::Failed(failure) => return self.is_done(source, Err(failure)),
            },
            _ => {
                self.put_back(source);
                return false;
            }
        };
        self.put_back(source);
        if let Err(panic) = called {
            report::deliver(Origin::Protocol, panic.clone(), location);
            self.panicked(panic);
        }
        true
    }

    /// Puts the source back, unless it was unregistered meanwhile.
    fn put_back(&self, source: Source) {
        let gone = self.with_extras(|extras| {
            if extras.count == source.number {
                extras.source = Some(source);
                None
            } else {
                Some(source)
            }
        });
        report::discard(gone, self.location());
    }

    /// A file is at its end.
    fn is_done(&self, source: Source, result: Result<u64, Failure>) -> bool {
        self.unregister();
        if let Kind::File(sending) = source.kind {
            sending.resolver.resolve(result);
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

/// How much of a file the system is asked to send in one go.
const PIECE: usize = 256 * 1024;
/// How much of it is read in one go where the system does not send it.
const READ: usize = 64 * 1024;
