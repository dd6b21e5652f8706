//! The reasons for which a connection ended, and the errors of operations on it.

use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::failure::{Failure, errors};

/// The reason for which a connection ended, or for which an operation on it failed.
///
/// [`Protocol::connection_lost`](crate::Protocol::connection_lost) and
/// [`Handle::closed`](crate::Handle::closed) give a [`Failure`] that holds one of these.
///
/// # Examples
///
/// ```
/// use torsade::{ConnectionError, Failure};
///
/// fn describe(reason: &Failure) -> &'static str {
///     match reason.downcast_ref() {
///         Some(ConnectionError::Done) => "closed by the peer, or by lose_connection",
///         Some(ConnectionError::Lost { .. }) => "reset, or broken by the network",
///         Some(ConnectionError::SendTimedOut { .. }) => "the peer stopped reading",
///         _ => "something else",
///     }
/// }
/// let reason = Failure::new(ConnectionError::Done);
/// assert_eq!(describe(&reason), "closed by the peer, or by lose_connection");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The connection was closed in good order: by the peer's end of file, or by
    /// [`lose_connection`](crate::Transport::lose_connection) after everything had been sent.
    #[doc(alias = "ConnectionDone")]
    Done,
    /// The program ended the connection at once: with
    /// [`abort_connection`](crate::Transport::abort_connection), or because the limit of
    /// [`lose_connection_within`](crate::Transport::lose_connection_within), or of its port's
    /// [`lose_connections`](crate::net::Port::lose_connections), has passed.
    #[doc(alias = "ConnectionAborted")]
    Aborted,
    /// The connection broke: the peer reset it, the system reported another error, or the reactor
    /// ended.
    #[doc(alias = "ConnectionLost")]
    Lost {
        /// The error that broke the connection; the source of this error.
        cause: Failure,
    },
    /// The connection continues with another protocol
    /// ([`Context::become_protocol`](crate::Context::become_protocol)). This is the reason that
    /// handles and transports of the earlier protocol return.
    HandedOver,
    /// A write began while more bytes were queued than [`Limits::hard`](super::Limits::hard)
    /// allows.
    WriteOverflow {
        /// Number of bytes that were queued when the write began.
        queued: usize,
        /// Largest number of queued bytes at which a write may begin.
        limit: usize,
    },
    /// The peer accepted no byte for too long while bytes were queued for it.
    ///
    /// See [`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout),
    /// [`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout) and
    /// [`Grace::stalled`](crate::reactor::Grace::stalled).
    #[doc(alias = "send_timeout")]
    SendTimedOut {
        /// Number of bytes that were queued.
        queued: usize,
        /// Time for which the peer had accepted nothing.
        limit: Duration,
    },
    /// No byte was received or sent for too long.
    ///
    /// See [`ListenOptions::idle_timeout`](crate::net::ListenOptions::idle_timeout) and
    /// [`Transport::set_idle_timeout`](crate::Transport::set_idle_timeout).
    Idle {
        /// Time for which there was no traffic.
        limit: Duration,
    },
    /// A frame that had begun to arrive was not complete in time.
    ///
    /// See [`ListenOptions::frame_timeout`](crate::net::ListenOptions::frame_timeout) and
    /// [`Transport::set_frame_timeout`](crate::Transport::set_frame_timeout).
    FrameTimedOut {
        /// Longest allowed time for one frame.
        limit: Duration,
    },
    /// The connection was to close while file descriptors were queued for which no byte was
    /// written.
    #[doc(alias = "FileDescriptorOverrun")]
    DescriptorOverrun {
        /// Number of descriptors that were left.
        left: usize,
    },
    /// The connection ended before everything that was written to it had been handed to the
    /// system.
    ///
    /// This is reported ([`Reactor::on_report`](crate::Reactor::on_report)) when a limit or the end
    /// of the reactor is the cause. An
    /// [`abort_connection`](crate::Transport::abort_connection) and a peer that breaks the
    /// connection are not reported: the reason of the connection's end states them.
    NotSent {
        /// Number of bytes that were still queued.
        bytes: usize,
        /// Number of file descriptors that were still queued.
        descriptors: usize,
        /// Address of the peer.
        peer: Address,
        /// Kind of the connection: `connection`, `standard output`, or the kind of a pipe.
        kind: &'static str,
        /// The reason for which the connection ended; the source of this error.
        cause: Failure,
    },
    /// Another producer is registered: see
    /// [`Transport::register_producer`](crate::Transport::register_producer).
    ProducerRegistered,
}

impl ConnectionError {
    pub(crate) fn lost(cause: Failure) -> Self {
        Self::Lost { cause }
    }

    /// Makes the error for lost bytes that were not in the connection's own queue: they were below
    /// it, or between two protocols.
    pub(crate) fn not_sent(bytes: usize, peer: Address, cause: Failure) -> Self {
        Self::NotSent {
            bytes,
            descriptors: 0,
            peer,
            kind: "connection",
            cause,
        }
    }

    /// Returns the system's error that broke the connection, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Lost { cause } => cause.find(),
            _ => None,
        }
    }

    /// Returns the kind of the [`io::Error`] into which this error is converted.
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Done => io::ErrorKind::NotConnected,
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::SendTimedOut { .. } | Self::Idle { .. } | Self::FrameTimedOut { .. } => {
                io::ErrorKind::TimedOut
            }
            #[cfg(feature = "tls")]
            Self::Lost { cause } if cause.find::<crate::tls::TlsError>().is_some() => {
                let error = cause.find::<crate::tls::TlsError>();
                error.map_or(io::ErrorKind::Other, crate::tls::TlsError::kind)
            }
            _ => self
                .io_error()
                .map_or(io::ErrorKind::Other, io::Error::kind),
        }
    }
}

errors! {
    enum ConnectionError {
        Done: "the connection was closed cleanly";
        Aborted: "the connection was aborted";
        Lost: "the connection was lost", source cause;
        HandedOver: "the connection was handed to another protocol";
        WriteOverflow { queued, limit }:
            "the peer does not read: {queued} bytes are queued and the limit is {limit}";
        SendTimedOut { queued, limit }:
            "the peer accepted no byte for {limit:?} while {queued} bytes were queued";
        Idle { limit }: "no byte was received or sent for {limit:?}";
        FrameTimedOut { limit }: "the peer has not completed a frame within {limit:?}";
        DescriptorOverrun { left }:
            "the connection closed while {left} descriptors were queued without a byte to carry them";
        NotSent { bytes, descriptors, peer, kind }:
            "{} not sent to {}",
            with amount(*bytes, *descriptors),
            with receiver(peer, kind),
            source cause;
        ProducerRegistered: "a producer is registered already";
    }
}

fn amount(bytes: usize, descriptors: usize) -> String {
    match (bytes, descriptors) {
        (bytes, 0) => format!("{bytes} bytes"),
        (0, descriptors) => format!("{descriptors} descriptors"),
        (bytes, descriptors) => format!("{bytes} bytes and {descriptors} descriptors"),
    }
}

fn receiver(peer: &Address, kind: &str) -> String {
    match (peer, kind) {
        (Address::Unnamed, "standard output") => String::from("standard output"),
        (Address::Unnamed, "connection") => String::from("an unnamed peer"),
        (Address::Unnamed, kind) => format!("a {kind}"),
        (peer, _) => peer.to_string(),
    }
}

// A `ConnectionError` holds a failure, and `?` turns it into one.
impl Unpin for ConnectionError {}

/// Returns the reason of a connection's end as an error of `std::io`.
pub(crate) fn as_io_error(reason: &Failure) -> io::Error {
    if let Some(error) = reason.find::<io::Error>() {
        return match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
    }
    let error = reason.downcast_ref();
    let kind = error.map_or(io::ErrorKind::Other, ConnectionError::kind);
    let cause = match error {
        Some(ConnectionError::Lost { cause }) => cause,
        _ => reason,
    };
    io::Error::new(kind, ConnectionError::lost(cause.clone()))
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn a_lost_connection_keeps_the_systems_error() {
        let cause = io::Error::from(io::ErrorKind::ConnectionReset);
        let said = cause.to_string();
        let lost = Failure::new(ConnectionError::lost(cause.into()));
        assert_eq!(lost.to_string(), "the connection was lost");
        assert_eq!(
            format!("{lost:#}"),
            format!("the connection was lost: {said}")
        );
        let error = lost
            .downcast_ref()
            .and_then(ConnectionError::io_error)
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(as_io_error(&lost).kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn each_end_has_its_kind_of_io_error() {
        for (error, kind) in [
            (ConnectionError::Done, io::ErrorKind::NotConnected),
            (ConnectionError::Aborted, io::ErrorKind::ConnectionAborted),
            (
                ConnectionError::SendTimedOut {
                    queued: 9,
                    limit: Duration::from_secs(2),
                },
                io::ErrorKind::TimedOut,
            ),
            (
                ConnectionError::DescriptorOverrun { left: 2 },
                io::ErrorKind::Other,
            ),
        ] {
            let said = error.to_string();
            let error = as_io_error(&Failure::new(error));
            assert_eq!(error.kind(), kind);
            let lost: &ConnectionError = error.get_ref().unwrap().downcast_ref().unwrap();
            assert_eq!(lost.source().unwrap().to_string(), said);
        }
    }
}
