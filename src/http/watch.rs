//! The limits of time of a server's connection: [`Watch`].
//!
//! # The idea
//!
//! One timer for each connection looks from time to time at what the connection waits for, and
//! since when. So the requests of a busy connection cost no timer.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::body::FilePart;
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::defer::Resolver;
use crate::stream::Connection;
use crate::transport::Transport;

/// The limits of the peers of a server. `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) head: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) body: Option<Duration>,
    pub(super) max_body: u64,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The rest of a head.
    Head,
    /// The next request.
    Idle,
    /// A handler, or the body of a request, which `Limited` limits.
    Busy,
    /// The peer, which is to accept the body of a response.
    Peer,
    /// The end, which was requested.
    End,
}

/// Watches a connection.
pub(super) struct Watch {
    transport: Transport,
    limits: Limits,
    wait: Cell<Wait>,
    since: Cell<Instant>,
    /// Whether bytes were moved since then.
    has_moved: Cell<bool>,
    /// The timer, and when it fires.
    timer: Cell<Option<DelayedCall>>,
    fires: Cell<Instant>,
    /// The number of requests whose response is not finished.
    active: Cell<usize>,
    /// The number of bodies that gave a piece and were not asked for the next one.
    blocked: Cell<usize>,
    /// Whether a graceful end was requested and has not begun.
    is_stopping: Cell<bool>,
    /// The time limit of that end.
    grace: Cell<Option<Duration>>,
    waker: Cell<Option<Waker>>,
    was_cut_off: Cell<bool>,
    is_http2: Cell<bool>,
    /// The file to send in place of zeros.
    file: Cell<Option<FilePart>>,
    /// Fires with the connection, if the response says that the protocol changes.
    upgrade: Cell<Option<Resolver<Connection>>>,
    /// Whether a request has asked for another protocol.
    is_asked: Cell<bool>,
    /// Whether the protocol changes, or does not, as a request has asked for it.
    changes: Cell<Option<bool>>,
    /// Woken when that is known.
    reader: Cell<Option<Waker>>,
}

impl Watch {
    /// Watches a new connection.
    pub(super) fn start(transport: Transport, now: Instant, limits: Limits) -> Rc<Self> {
        let this = Rc::new(Self {
            transport,
            limits,
            wait: Cell::new(Wait::Head),
            since: Cell::new(now),
            has_moved: Cell::new(false),
            timer: Cell::new(None),
            fires: Cell::new(now),
            active: Cell::new(0),
            blocked: Cell::new(0),
            is_stopping: Cell::new(false),
            grace: Cell::new(None),
            waker: Cell::new(None),
            was_cut_off: Cell::new(false),
            is_http2: Cell::new(false),
            file: Cell::new(None),
            upgrade: Cell::new(None),
            is_asked: Cell::new(false),
            changes: Cell::new(None),
            reader: Cell::new(None),
        });
        this.check();
        this
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Returns whether the time limit of its end has ended the connection.
    pub(super) fn was_cut_off(&self) -> bool {
        self.was_cut_off.get()
    }

    /// Ends the connection when its requests are answered, and after `limit` in any case.
    pub(super) fn stop(self: &Rc<Self>, limit: Option<Duration>) {
        self.is_stopping.set(true);
        self.grace.set(limit);
        self.set_wait(Wait::End);
        cells::wake(&self.waker);
    }

    /// Returns whether to begin the end now. The task is woken when it is requested.
    pub(super) fn poll_stop(&self, cx: &Context<'_>) -> bool {
        if !cells::is_some(&self.waker) {
            self.waker.set(Some(cx.waker().clone()));
        }
        self.is_stopping.take()
    }

    pub(super) fn set_http2(&self, is_http2: bool) {
        self.is_http2.set(is_http2);
    }

    /// Stores a file that the wire sends in place of zeros. Returns it if the wire cannot.
    pub(super) fn offer_file(&self, part: FilePart) -> Result<(), FilePart> {
        if self.is_http2.get() {
            return Err(part);
        }
        self.file.set(Some(part));
        Ok(())
    }

    pub(super) fn has_file(&self) -> bool {
        cells::is_some(&self.file)
    }

    pub(super) fn take_file(&self) -> Option<FilePart> {
        self.file.take()
    }

    /// Stores what fires with the connection when its protocol changes.
    pub(super) fn set_upgrade(&self, resolver: Option<Resolver<Connection>>) {
        drop(self.upgrade.replace(resolver));
    }

    /// Returns what was stored, if the protocol changes.
    pub(super) fn take_upgrade(&self) -> Option<Resolver<Connection>> {
        let resolver = self.upgrade.take();
        resolver.filter(|_| self.changes.get() == Some(true))
    }

    /// Records that a request asks for another protocol.
    pub(super) fn note_asked(&self) {
        self.is_asked.set(true);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// Records whether the protocol changes, as a request has asked for it.
    pub(super) fn set_changes(&self, changes: bool) {
        self.changes.set(Some(changes));
        if !changes {
            self.set_upgrade(None);
        }
        cells::wake(&self.reader);
    }

    /// Waits until it is known that the protocol does not change.
    pub(super) fn poll_stays(&self, cx: &Context<'_>) -> Poll<()> {
        if self.changes.get() != Some(false) {
            self.reader.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.changes.set(None);
        Poll::Ready(())
    }

    /// Records that the peer has sent or accepted bytes.
    pub(super) fn note_moved(&self) {
        self.has_moved.set(true);
    }

    /// Records that there is nothing to read.
    pub(super) fn note_waiting(self: &Rc<Self>, is_in_head: bool) {
        let wait = match (self.wait.get(), self.active.get()) {
            (Wait::End, _) | (Wait::Head, 0) => return,
            _ if is_in_head => Wait::Head,
            (_, 0) => Wait::Idle,
            // Over HTTP/1 the transport knows whether the peer accepts bytes.
            _ if self.blocked.get() > 0 && self.is_http2.get() => Wait::Peer,
            _ => Wait::Busy,
        };
        let has_moved = self.has_moved.take() && !matches!(wait, Wait::Head | Wait::Busy);
        if has_moved || wait != self.wait.get() {
            self.set_wait(wait);
        }
    }

    fn set_wait(self: &Rc<Self>, wait: Wait) {
        self.wait.set(wait);
        let (Some(limit), Some(reactor)) = (self.limit(), self.transport.reactor()) else {
            return;
        };
        self.since.set(reactor.now());
        if self.since.get() + limit < self.fires.get() || !cells::is_some(&self.timer) {
            self.check();
        }
    }

    fn limit(&self) -> Option<Duration> {
        match self.wait.get() {
            Wait::Head => self.limits.head,
            Wait::Idle => self.limits.idle,
            Wait::Busy => None,
            Wait::Peer => self.limits.body,
            Wait::End => self.grace.get(),
        }
    }

    /// Looks whether a limit has passed, and sets the timer for the next look.
    fn check(self: &Rc<Self>) {
        let Some(reactor) = self.transport.reactor() else {
            return;
        };
        let now = reactor.now();
        let Limits {
            head, idle, body, ..
        } = self.limits;
        let left = match self.limit() {
            Some(limit) => limit.saturating_sub(now.saturating_duration_since(self.since.get())),
            None => match [head, idle, body].into_iter().flatten().min() {
                Some(shortest) => shortest,
                None => return,
            },
        };
        if left.is_zero() && self.limit().is_some() {
            return self.expired();
        }
        let this = Rc::downgrade(self);
        let timer = reactor.limit(left, move || {
            if let Some(this) = this.upgrade() {
                this.check();
            }
        });
        self.fires.set(now + left);
        if let Some(old) = self.timer.replace(Some(timer)) {
            old.cancel();
        }
    }

    #[cold]
    fn expired(self: &Rc<Self>) {
        let (wait, peer) = (self.wait.get(), self.transport.peer());
        tracing::debug!(target: "torsade::http", %peer, ?wait, "a time limit has passed");
        match wait {
            Wait::Head => self.transport.lose_connection(),
            Wait::Idle => self.stop(self.limits.idle.filter(|limit| !limit.is_zero())),
            Wait::Peer | Wait::End | Wait::Busy => {
                self.was_cut_off.set(wait == Wait::End);
                self.transport.abort_connection();
            }
        }
    }

    /// Begins a request.
    pub(super) fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        if self.wait.get() != Wait::End {
            self.wait.set(Wait::Busy);
        }
        Active {
            watch: self.clone(),
            is_blocked: false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

/// A request whose response is not finished.
pub(super) struct Active {
    watch: Rc<Watch>,
    /// Whether its body waits for the peer.
    is_blocked: bool,
}

impl Active {
    pub(super) fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// Records whether the body of the response waits for the peer.
    pub(super) fn set_blocked(&mut self, is_blocked: bool) {
        if self.is_blocked != is_blocked {
            self.is_blocked = is_blocked;
            let blocked = &self.watch.blocked;
            blocked.set(match is_blocked {
                true => blocked.get() + 1,
                false => blocked.get() - 1,
            });
        }
        self.watch.note_moved();
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.set_blocked(false);
        self.watch.active.set(self.watch.active.get() - 1);
        if self.watch.active.get() == 0 && self.watch.wait.get() == Wait::Busy {
            // hyper does not always read again now.
            self.watch.set_wait(Wait::Idle);
        }
    }
}
