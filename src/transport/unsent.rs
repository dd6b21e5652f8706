//! What is lost when a connection ends while something is queued for its peer.
//!
//! # The idea
//!
//! An end at which bytes are thrown away must not look like one in good order. To the peer it does not: the
//! connection is reset, where its transport has a reset. To the program it does not either:
//!
//! | what ended it                               | `connection_lost` is given             | reported |
//! |---------------------------------------------|----------------------------------------|----------|
//! | `abort_connection`                          | [`ConnectionAborted`]                  | no: it was asked for |
//! | the limit of `lose_connection_within`       | [`ConnectionAborted`]                  | yes      |
//! | the limit of a port's `lose_connections`    | [`ConnectionAborted`]                  | yes      |
//! | a limit: time, the hard limit, the budget   | that limit's error                     | yes      |
//! | the end of the reactor, or its drop         | [`ConnectionLost`] with `Stopped` in it | yes     |
//! | the peer, or the network                    | [`ConnectionLost`] with the system's error | only of standard output |
//! | a panic in a hook                           | the panic                              | as the panic |
//! | descriptors without bytes                   | [`DescriptorOverrun`]                  | no: that says it |
//!
//! To standard output a program has written in vain when that breaks in any way but that its reader left, and then
//! `run` fails as well.

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::panic::Location;

use super::errors::{ConnectionAborted, ConnectionLost, DescriptorOverrun};
use super::life::Event;
use super::link::ConnCore;
use crate::address::Address;
use crate::cells;
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A connection ended before all that was written to it had been handed to the system.
///
/// It is reported ([`Reactor::on_report`]) when a limit or the end of the reactor is the cause, which is its source.
/// An [`abort_connection`](crate::Transport::abort_connection) and a peer that breaks the connection are not reported:
/// the reason of the connection's end tells them.
#[derive(Clone, Debug)]
pub struct BytesNotSent {
    /// How many bytes were still queued.
    pub bytes: usize,
    /// How many descriptors were.
    pub descriptors: usize,
    /// Whom they were for.
    pub peer: Address,
    what: &'static str,
    cause: Failure,
}

/// Something that was lost, and who is to know of it.
pub(super) struct Loss {
    error: BytesNotSent,
    /// The program as a whole has failed.
    is_output: bool,
}

impl ConnCore {
    /// A failure of this connection, made where the connection was asked for.
    pub(crate) fn failure(&self, error: impl Error + Send + Sync + 'static) -> Failure {
        Failure::at(error, self.location())
    }

    /// What the system says broke it.
    pub(super) fn lost(&self, error: io::Error) -> Failure {
        self.failure(ConnectionLost::new(self.failure(error)))
    }

    /// Is something queued for the peer?
    pub(super) fn has_unsent(&self) -> bool {
        self.queued() > 0 || self.descriptors_left() > 0
    }

    /// What is lost with its end, if somebody is to be told.
    pub(super) fn loss(&self, reason: &Failure, kind: &'static str) -> Option<Loss> {
        let is_told_already = reason.is_panic() || reason.is::<DescriptorOverrun>();
        if !self.has_unsent() || is_told_already {
            return None;
        }
        let is_output = self.is_standard();
        let system = reason.downcast_ref().and_then(ConnectionLost::io_error);
        let is_told = match system {
            Some(error) => is_output && error.kind() != io::ErrorKind::BrokenPipe,
            None => !reason.is::<ConnectionAborted>() || self.has_passed_deadline(),
        };
        let error = BytesNotSent {
            bytes: self.queued(),
            descriptors: self.descriptors_left(),
            peer: self.peer(),
            what: if is_output { "standard output" } else { kind },
            cause: reason.clone(),
        };
        if !is_told {
            tracing::debug!(target: "torsade::transport", %error, cause = %reason, "an end with a loss");
            return None;
        }
        Some(Loss { error, is_output })
    }

    /// The limit for the end of all connections of its port is over.
    pub(super) fn cut_off(&self) {
        if !self.life().is_over() {
            self.with_extras(|extras| extras.was_cut_off = true);
            self.wish(Event::Abort);
        }
    }

    /// Has the limit of `lose_connection_within`, or that of its port's `lose_connections`, ended
    /// it?
    fn has_passed_deadline(&self) -> bool {
        if self.with_extras(|extras| extras.was_cut_off) {
            return true;
        }
        let deadline = self.take_deadline();
        let has_passed = deadline.as_ref().is_some_and(|call| !call.is_pending());
        if deadline.is_some() {
            self.with_extras(|extras| extras.deadline = deadline);
        }
        has_passed
    }

    pub(super) fn take_deadline(&self) -> Option<DelayedCall> {
        cells::with(&self.extras, |extras| {
            mem::take(&mut extras.as_mut()?.deadline)
        })
    }
}

impl BytesNotSent {
    /// For a connection's bytes that are not in its queue: they are below it, or between two of its
    /// users.
    pub(crate) fn new(bytes: usize, peer: Address, cause: Failure) -> Self {
        Self {
            bytes,
            descriptors: 0,
            peer,
            what: "connection",
            cause,
        }
    }
}

impl Loss {
    /// Reports it.
    pub(super) fn tell(self, reactor: Option<&Reactor>, location: &'static Location<'static>) {
        let failure = Failure::at(self.error, location);
        if let Some(reactor) = reactor.filter(|_| self.is_output) {
            reactor.inner().note_lost_output(failure.clone());
        }
        report::deliver(Origin::Connection, failure, location);
    }
}

impl fmt::Display for BytesNotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, self.descriptors) {
            (bytes, 0) => write!(f, "{bytes} bytes")?,
            (0, descriptors) => write!(f, "{descriptors} descriptors")?,
            (bytes, descriptors) => write!(f, "{bytes} bytes and {descriptors} descriptors")?,
        }
        f.write_str(" not sent to ")?;
        match (&self.peer, self.what) {
            (Address::Unnamed, "standard output") => f.write_str("standard output"),
            (Address::Unnamed, "connection") => f.write_str("an unnamed peer"),
            (Address::Unnamed, what) => write!(f, "a {what}"),
            (peer, _) => peer.fmt(f),
        }
    }
}

impl Error for BytesNotSent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.error())
    }
}
