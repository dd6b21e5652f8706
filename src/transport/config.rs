//! What the connections of one port, or of one call of `connect`, have in common.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::counter::ConnCounter;
use super::linger::PATIENCE;
use crate::bytes::BufferPool;
use crate::driver::Socket;
use crate::reactor::Reactor;

/// How much a connection may have queued, and what is done about it.
///
/// Above `high` the connection counts as full: it no longer reads from its own peer, and async writes wait; both
/// until no more than `low` is left. A write that begins while more than `hard` is queued aborts the connection
/// with [`ConnectionError::WriteOverflow`](super::ConnectionError::WriteOverflow). So a peer that never reads costs at most `hard` and one write, and a server that only
/// answers its peers costs `high` and one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At or below this a full connection is ready again; it counts as less than `high` in any case. Default: 16 KiB.
    pub low: usize,
    /// Above this the connection is full. Default: 64 KiB.
    #[doc(alias = "bufferSize")]
    pub high: usize,
    /// Above this the next write aborts the connection. Default: 16 MiB.
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

/// What all connections of one port, or one call of `connect`, have in common.
pub(crate) struct ConnConfig {
    pub(crate) limits: Limits,
    /// How long the socket may stay after the end, for the peer to get all.
    pub(crate) linger: Duration,
    pub(crate) location: &'static Location<'static>,
    /// Others may have the descriptor too, so closing ours does not take it off the poller.
    pub(crate) is_shared: bool,
    /// At the other end is a filter, perhaps: what it writes is read however full we are.
    pub(crate) is_filter: bool,
    /// Who keeps the socket open when the peer has closed its end.
    pub(crate) delayed_close: Option<Rc<DelayedClose>>,
    /// Counts them, where they are a port's.
    pub(crate) counter: Option<Rc<ConnCounter>>,
    /// The time limits for a peer that accepts nothing of what is queued.
    pub(crate) patience: Patience,
    /// It is reset when the handler that serves it fails.
    pub(crate) resets_on_error: bool,
    /// Where queues come from, and go.
    pub(crate) buffers: Rc<BufferPool>,
}

impl ConnConfig {
    /// The defaults.
    pub(crate) fn new(reactor: &Reactor, location: &'static Location<'static>) -> Self {
        Self {
            limits: Limits::default(),
            linger: PATIENCE,
            location,
            is_shared: false,
            is_filter: false,
            delayed_close: None,
            counter: None,
            patience: Patience::default(),
            resets_on_error: false,
            buffers: reactor.inner().buffers().clone(),
        }
    }

    /// The defaults for two descriptors, pipes mostly: whoever reads them may take its time.
    pub(crate) fn of_pipes(reactor: &Reactor, location: &'static Location<'static>) -> Self {
        Self {
            is_shared: true,
            patience: Patience::ENDLESS,
            ..Self::new(reactor, location)
        }
    }
}

/// Keeps sockets that have nothing more to say, because to close them says something: a terminal that is closed hangs up on
/// whoever runs in it, who may be about to end by itself.
#[derive(Debug, Default)]
pub(crate) struct DelayedClose {
    kept: RefCell<Vec<Socket>>,
    is_over: Cell<bool>,
}

impl DelayedClose {
    /// Keeps a socket, which is off the poller, until [`DelayedClose::finish`].
    pub(super) fn keep(&self, socket: Socket) {
        if !self.is_over.get() {
            self.kept.borrow_mut().push(socket);
        }
    }

    /// Closes what it keeps, and keeps nothing any more.
    #[cfg(unix)]
    pub(crate) fn finish(&self) {
        self.is_over.set(true);
        drop(self.kept.take());
    }
}

/// How long a peer may accept nothing; `None` is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// At any time.
    pub(crate) open: Option<Duration>,
    /// Once the program, or the peer, has closed its side.
    pub(crate) closing: Option<Duration>,
}

impl Patience {
    pub(crate) const ENDLESS: Self = Self {
        open: None,
        closing: None,
    };
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            open: None,
            closing: Some(CLOSING),
        }
    }
}

/// How long a peer may accept nothing once the program has closed its side, unless told.
const CLOSING: Duration = Duration::from_secs(60);
