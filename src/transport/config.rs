//! Settings that the connections of one port, or of one call of `connect`, share.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::counter::ConnCounter;
use super::linger::DEFAULT_LINGER;
use super::policy::SharedPolicies;
use crate::bytes::BufferPool;
use crate::driver::Socket;
use crate::reactor::Reactor;

/// The limits of a connection's write queue.
///
/// With more than `high` queued bytes the connection is full: it no longer reads from its peer, and
/// async writes wait, until no more than `low` bytes are queued. A write that begins while more
/// than `hard` bytes are queued aborts the connection with
/// [`ConnectionError::WriteOverflow`](super::ConnectionError::WriteOverflow). A peer that never
/// reads therefore costs at most `hard` bytes and one write, and a server that only answers its
/// peers costs `high` bytes and one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of queued bytes at or below which a full connection is ready again. A value that is
    /// not less than `high` is replaced by `high - 1`. Default: 16 KiB.
    pub low: usize,
    /// Number of queued bytes above which the connection is full. Default: 64 KiB.
    #[doc(alias = "bufferSize")]
    pub high: usize,
    /// Number of queued bytes above which the next write aborts the connection. Default: 16 MiB.
    pub hard: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            low: 16 * 1024,
            high: 64 * 1024,
            hard: 16 * 1024 * 1024,
        }
    }
}

/// The settings that all connections of one port, or of one call of `connect`, share.
pub(crate) struct ConnConfig {
    pub(crate) limits: Limits,
    /// How long the socket may stay open after the end, until the peer has received everything.
    pub(crate) linger: Duration,
    pub(crate) location: &'static Location<'static>,
    /// Other processes may have the descriptor, so closing this one does not remove it from the
    /// poller.
    pub(crate) is_shared: bool,
    /// The peer may be a filter: what it writes is read however full the connection is.
    pub(crate) is_filter: bool,
    /// Keeps the socket open after the peer has closed its end.
    pub(crate) delayed_close: Option<Rc<DelayedClose>>,
    /// Counts the connections of a port.
    pub(crate) counter: Option<Rc<ConnCounter>>,
    /// Time limits for a peer that accepts none of the queued bytes.
    pub(crate) send_limits: SendLimits,
    /// The connection is reset when the handler that serves it fails.
    pub(crate) resets_on_error: bool,
    /// The policies that a connection begins with.
    pub(crate) policies: Option<Rc<SharedPolicies>>,
    /// Provides and takes back write queues.
    pub(crate) buffers: Rc<BufferPool>,
}

impl ConnConfig {
    /// Returns the default settings.
    pub(crate) fn new(reactor: &Reactor, location: &'static Location<'static>) -> Self {
        Self {
            limits: Limits::default(),
            linger: DEFAULT_LINGER,
            location,
            is_shared: false,
            is_filter: false,
            delayed_close: None,
            counter: None,
            send_limits: SendLimits::default(),
            resets_on_error: false,
            policies: None,
            buffers: reactor.inner().buffers().clone(),
        }
    }

    /// Returns the default settings for two descriptors, mostly pipes, whose readers may be slow.
    pub(crate) fn of_pipes(reactor: &Reactor, location: &'static Location<'static>) -> Self {
        Self {
            is_shared: true,
            send_limits: SendLimits::NONE,
            ..Self::new(reactor, location)
        }
    }
}

/// Sockets that have ended and stay open, because closing them has an effect: closing a terminal
/// hangs up on the process in it, which may be about to exit.
#[derive(Debug, Default)]
pub(crate) struct DelayedClose {
    kept: RefCell<Vec<Socket>>,
    is_over: Cell<bool>,
}

impl DelayedClose {
    /// Keeps a socket that has been removed from the poller until [`DelayedClose::finish`].
    pub(super) fn keep(&self, socket: Socket) {
        if !self.is_over.get() {
            self.kept.borrow_mut().push(socket);
        }
    }

    /// Closes all sockets that it keeps.
    #[cfg(unix)]
    pub(crate) fn finish(&self) {
        self.is_over.set(true);
        drop(self.kept.take());
    }
}

/// How long a peer may accept nothing; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendLimits {
    /// While the connection is open.
    pub(crate) open: Option<Duration>,
    /// After the program, or the peer, has closed its side.
    pub(crate) closing: Option<Duration>,
}

impl SendLimits {
    pub(crate) const NONE: Self = Self {
        open: None,
        closing: None,
    };
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            open: None,
            closing: Some(CLOSING),
        }
    }
}

/// The default of [`SendLimits::closing`].
const CLOSING: Duration = Duration::from_secs(60);

/// From this size on a write goes straight to the socket when nothing is queued.
pub(crate) const BIG: usize = 16 * 1024;
