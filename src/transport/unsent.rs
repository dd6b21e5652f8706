//! The loss when a connection ends while bytes are queued for its peer.
//!
//! # The idea
//!
//! An end that drops bytes must not look like one in good order. For the peer, the connection is
//! reset, where its transport has a reset. For the program:
//!
//! | cause of the end                            | `connection_lost` gets                 | reported |
//! |---------------------------------------------|----------------------------------------|----------|
//! | `abort_connection`                          | [`ConnectionError::Aborted`]                  | no: the program requested it |
//! | the limit of `lose_connection_within`       | [`ConnectionError::Aborted`]                  | yes      |
//! | the limit of a port's `lose_connections`    | [`ConnectionError::Aborted`]                  | yes      |
//! | a limit: time, the hard limit, the budget   | that limit's error                     | yes      |
//! | the end of the reactor, or its drop         | [`ConnectionError::Lost`] with `Stopped` in it | yes     |
//! | TLS: a handshake that fails, a violation    | [`ConnectionError::Lost`] with `TlsError` in it | no            |
//! | the peer, or the network                    | [`ConnectionError::Lost`] with the system's error | only of standard output |
//! | a panic in a hook                           | the panic                              | as the panic |
//! | descriptors without bytes                   | [`ConnectionError::DescriptorOverrun`] | no: the reason states it |
//!
//! When standard output breaks for any reason except that its reader closed it, output is lost, and
//! `run` fails as well.

use std::error::Error;
use std::io;
use std::mem;
use std::panic::Location;

use super::errors::ConnectionError;
use super::life::Event;
use super::link::ConnCore;
use crate::cells;
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// A loss that has to be reported.
pub(super) struct Loss {
    error: ConnectionError,
    /// Whether the program's output was lost, which makes `run` fail.
    is_output: bool,
}

impl ConnCore {
    /// Makes a failure of this connection, whose location is where the connection was made.
    pub(crate) fn failure(&self, error: impl Error + Send + Sync + 'static) -> Failure {
        Failure::at(error, self.location())
    }

    /// Makes the failure for a system error that broke the connection.
    pub(super) fn lost(&self, error: io::Error) -> Failure {
        #[cfg(feature = "tls")]
        let error = match error.downcast::<crate::tls::TlsError>() {
            Ok(error) => return self.failure(ConnectionError::lost(self.failure(error))),
            Err(error) => error,
        };
        self.failure(ConnectionError::lost(self.failure(error)))
    }

    /// Returns whether bytes or descriptors are queued for the peer.
    pub(super) fn has_unsent(&self) -> bool {
        self.queued() > 0 || self.descriptors_left() > 0
    }

    /// Returns the loss that the end causes, if it has to be reported.
    pub(super) fn loss(&self, reason: &Failure, kind: &'static str) -> Option<Loss> {
        let end = reason.downcast_ref();
        let is_reported_already =
            reason.is_panic() || matches!(end, Some(ConnectionError::DescriptorOverrun { .. }));
        if !self.has_unsent() || is_reported_already {
            return None;
        }
        let is_output = self.is_standard();
        let system = end.and_then(ConnectionError::io_error);
        let must_report = match system {
            // The handshake failed, or the peer has violated TLS.
            None if self.is_broken_by_tls(reason) => false,
            Some(error) => is_output && error.kind() != io::ErrorKind::BrokenPipe,
            None => !matches!(end, Some(ConnectionError::Aborted)) || self.has_passed_deadline(),
        };
        let error = ConnectionError::NotSent {
            bytes: self.queued(),
            descriptors: self.descriptors_left(),
            peer: self.peer(),
            kind: if is_output { "standard output" } else { kind },
            cause: reason.clone(),
        };
        if !must_report {
            tracing::debug!(target: "torsade::transport", %error, cause = %reason, "an end with a loss");
            return None;
        }
        Some(Loss { error, is_output })
    }

    fn is_broken_by_tls(&self, reason: &Failure) -> bool {
        #[cfg(feature = "tls")]
        return reason.find::<crate::tls::TlsError>().is_some();
        #[cfg(not(feature = "tls"))]
        return {
            let _ = reason;
            false
        };
    }

    /// Ends the connection because the limit for the end of all connections of its port is over.
    pub(super) fn cut_off(&self) {
        if !self.life().is_over() {
            self.with_extras(|extras| extras.was_cut_off = true);
            self.request(Event::Abort);
        }
    }

    /// Returns whether the limit of `lose_connection_within`, or that of its port's
    /// `lose_connections`, has ended it.
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

impl Loss {
    /// Reports the loss.
    pub(super) fn tell(self, reactor: Option<&Reactor>, location: &'static Location<'static>) {
        let failure = Failure::at(self.error, location);
        if let Some(reactor) = reactor.filter(|_| self.is_output) {
            reactor.inner().note_lost_output(failure.clone());
        }
        report::deliver(Origin::Connection, failure, location);
    }
}
