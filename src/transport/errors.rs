//! Why a connection ended.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::failure::{Failure, errors};

/// The connection ended in good order: by the peer's end of file, or by our own wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionDone;

/// The connection ended because we wanted it ended at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionAborted;

/// The connection broke: a reset, another error of the system's, or the end of the reactor.
///
/// What broke it is its source; [`ConnectionLost::io_error`] gives the system's error with its number.
#[derive(Clone)]
pub struct ConnectionLost {
    cause: Failure,
}

/// The connection goes on, with another protocol: see
/// [`Context::become_protocol`](crate::Context::become_protocol). It is for handles and transports of the one that had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedOver;

/// More was written than the connection's hard limit allows, while the peer did not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOverflow {
    /// How many bytes were queued already.
    pub queued: usize,
    /// How many may be.
    pub limit: usize,
}

/// The peer accepted no byte for too long while bytes were queued for it.
///
/// See [`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout),
/// [`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout) and
/// [`Grace::stalled`](crate::reactor::Grace::stalled).
#[doc(alias = "send_timeout")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTimedOut {
    /// How many bytes were queued.
    pub queued: usize,
    /// How long the peer could accept nothing.
    pub limit: Duration,
}

/// The connection was to end, and descriptors were left that had no byte to ride on.
#[doc(alias = "FileDescriptorOverrun")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorOverrun {
    /// How many were left.
    pub left: usize,
}

impl ConnectionLost {
    pub(crate) fn new(cause: Failure) -> Self {
        Self { cause }
    }

    /// The system's error, if it was one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.cause.find()
    }
}

errors! {
    ConnectionDone: "the connection was closed in good order";
    HandedOver: "the connection was handed to another protocol";
    ConnectionAborted: "the connection was aborted";
    WriteOverflow { queued, limit }:
        "the peer does not read: {queued} bytes are queued and the limit is {limit}";
    SendTimedOut { limit, queued }:
        "the peer accepted no byte for {limit:?} while {queued} bytes were queued";
    DescriptorOverrun { left }:
        "the connection was to end with {left} descriptors that no byte was written for";
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was lost")
    }
}

impl fmt::Debug for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionLost").field(&self.cause).finish()
    }
}

impl Error for ConnectionLost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.error())
    }
}

// It holds a failure, and `?` turns it into one.
impl Unpin for ConnectionLost {}

/// A connection's end, in the terms of `std::io`.
pub(crate) fn as_io_error(reason: &Failure) -> io::Error {
    if let Some(error) = reason.find::<io::Error>() {
        return match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
    }
    let kind = if reason.is::<ConnectionAborted>() {
        io::ErrorKind::ConnectionAborted
    } else if reason.is::<SendTimedOut>() {
        io::ErrorKind::TimedOut
    } else if reason.is::<ConnectionDone>() {
        io::ErrorKind::NotConnected
    } else {
        io::ErrorKind::Other
    };
    let cause = reason
        .downcast_ref::<ConnectionLost>()
        .map_or(reason, |lost| &lost.cause);
    io::Error::new(kind, ConnectionLost::new(cause.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_says_what_it_was_and_keeps_the_systems_number() {
        for (reason, said) in [
            (
                Failure::new(ConnectionDone),
                "the connection was closed in good order",
            ),
            (
                Failure::new(ConnectionAborted),
                "the connection was aborted",
            ),
            (
                Failure::new(HandedOver),
                "the connection was handed to another protocol",
            ),
            (
                Failure::new(WriteOverflow {
                    queued: 9,
                    limit: 8,
                }),
                "the peer does not read: 9 bytes are queued and the limit is 8",
            ),
            (
                Failure::new(SendTimedOut {
                    queued: 9,
                    limit: Duration::from_secs(2),
                }),
                "the peer accepted no byte for 2s while 9 bytes were queued",
            ),
            (
                Failure::new(DescriptorOverrun { left: 2 }),
                "the connection was to end with 2 descriptors that no byte was written for",
            ),
        ] {
            assert_eq!(reason.to_string(), said);
        }
        let cause = io::Error::from(io::ErrorKind::ConnectionReset);
        let said = cause.to_string();
        let lost = Failure::new(ConnectionLost::new(cause.into()));
        assert_eq!(lost.to_string(), "the connection was lost");
        assert_eq!(
            format!("{lost:#}"),
            format!("the connection was lost: {said}")
        );
        let error = lost.downcast_ref::<ConnectionLost>().unwrap().io_error();
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(as_io_error(&lost).kind(), io::ErrorKind::ConnectionReset);
    }
}
