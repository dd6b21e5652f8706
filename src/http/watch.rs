//! The limits of time of a server's connection: [`Watch`].
//!
//! # The idea
//!
//! One timer for each connection looks, as often as the shortest limit is, at what the connection
//! waits for and since when. So the requests of a busy connection cost no timer.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::access_log::LogEntry;
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
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// The rest of a head.
    Head,
    /// The next request.
    Idle,
    /// A handler, or the body of a request, which is limited where it is read.
    Busy,
    /// The peer, which is to accept the bodies of responses over HTTP/2.
    Peer,
    /// The end, which was requested, at most this long.
    End(Option<Duration>),
    /// The end, as that limit has passed.
    CutOff,
}

/// Watches a connection.
pub(super) struct Watch {
    pub(super) transport: Transport,
    pub(super) is_http2: Cell<bool>,
    /// The file to send in place of zeros, and its length.
    pub(super) file: Cell<Option<(File, u64)>>,
    /// Fires with the connection if the response says that the protocol changes.
    pub(super) upgrade: Cell<Option<Resolver<Connection>>>,
    /// Whether the protocol changes, as a request has asked for it.
    changes: Cell<Option<bool>>,
    limits: Limits,
    wait: Cell<Wait>,
    since: Cell<Instant>,
    timer: Cell<Option<DelayedCall>>,
    /// The number of requests whose response is not finished, and of those that wait for the peer.
    active: Cell<usize>,
    blocked: Cell<usize>,
    /// The task of the connection.
    waker: Cell<Option<Waker>>,
}

impl Watch {
    /// Watches a new connection.
    pub(super) fn start(transport: Transport, now: Instant, limits: Limits) -> Rc<Self> {
        let this = Rc::new(Self {
            transport,
            is_http2: Cell::default(),
            file: Cell::default(),
            upgrade: Cell::default(),
            changes: Cell::default(),
            limits,
            wait: Cell::new(Wait::Head),
            since: Cell::new(now),
            timer: Cell::default(),
            active: Cell::default(),
            blocked: Cell::default(),
            waker: Cell::default(),
        });
        this.check();
        this
    }

    /// Ends the connection when its requests are answered, and after `limit` in any case.
    pub(super) fn stop(self: &Rc<Self>, limit: Option<Duration>) {
        self.set_wait(Wait::End(limit));
        self.check();
        cells::wake(&self.waker);
    }

    /// Returns whether the end was requested. The task is woken when it is.
    pub(super) fn poll_stop(&self, cx: &Context<'_>) -> bool {
        if !cells::is_some(&self.waker) {
            self.waker.set(Some(cx.waker().clone()));
        }
        matches!(self.wait.get(), Wait::End(_))
    }

    /// Returns whether the time limit of its end has ended the connection.
    pub(super) fn was_cut_off(&self) -> bool {
        self.wait.get() == Wait::CutOff
    }

    /// Records whether the protocol changes, as a request has asked for it.
    pub(super) fn set_changes(&self, changes: bool) {
        self.changes.set(Some(changes));
        if !changes {
            drop(self.upgrade.take());
        }
        cells::wake(&self.waker);
    }

    /// Returns what fires with the connection, if the protocol changes.
    pub(super) fn take_upgrade(&self) -> Option<Resolver<Connection>> {
        let resolver = self.upgrade.take();
        resolver.filter(|_| self.changes.get() == Some(true))
    }

    /// Waits until it is known that the protocol does not change.
    pub(super) fn poll_stays(&self) -> Poll<()> {
        if self.changes.get() != Some(false) {
            return Poll::Pending;
        }
        self.changes.set(None);
        Poll::Ready(())
    }

    /// Records that a part of a head has come.
    pub(super) fn head_begun(&self) {
        if self.wait.get() == Wait::Idle {
            self.set_wait(Wait::Head);
        }
    }

    fn set_wait(&self, wait: Wait) {
        let is_over = match self.wait.get() {
            Wait::End(_) => !matches!(wait, Wait::End(_)),
            wait => wait == Wait::CutOff,
        };
        if let (false, Some(reactor)) = (is_over, self.transport.reactor()) {
            self.wait.set(wait);
            self.since.set(reactor.now());
        }
    }

    /// Looks whether a limit has passed, and sets the timer for the next look.
    fn check(self: &Rc<Self>) {
        let Some(reactor) = self.transport.reactor() else {
            return;
        };
        let Limits {
            head, idle, body, ..
        } = self.limits;
        let limit = match self.wait.get() {
            Wait::Head => head,
            Wait::Idle => idle,
            Wait::Busy | Wait::CutOff => None,
            Wait::Peer => body,
            Wait::End(limit) => limit,
        };
        let passed = reactor.now().saturating_duration_since(self.since.get());
        let left = limit.map(|limit| limit.saturating_sub(passed));
        if left.is_some_and(|left| left.is_zero()) {
            return self.expired();
        }
        let Some(next) = [left, head, idle, body].into_iter().flatten().min() else {
            return;
        };
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::check);
        let timer = reactor.limit(next.max(SHORTEST), look);
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
            Wait::Idle => self.stop(self.limits.idle.map(|limit| limit.max(SHORTEST))),
            _ => {
                self.wait.set(Wait::CutOff);
                self.transport.abort_connection();
            }
        }
    }

    /// Begins a request.
    pub(super) fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        if matches!(self.wait.get(), Wait::Head | Wait::Idle) {
            self.wait.set(Wait::Busy);
        }
        Active {
            watch: self.clone(),
            log: None,
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
    pub(super) watch: Rc<Watch>,
    pub(super) log: Option<Box<LogEntry>>,
    /// Whether its body has given a piece and was not asked for the next one.
    is_blocked: bool,
}

impl Active {
    /// Records whether the body waits for the peer. Over HTTP/1 the transport knows that.
    pub(super) fn set_blocked(&mut self, is_blocked: bool) {
        let watch = &self.watch;
        if watch.is_http2.get() {
            let others = watch.blocked.get() - usize::from(self.is_blocked);
            watch.blocked.set(others + usize::from(is_blocked));
            self.is_blocked = is_blocked;
            watch.set_wait(match watch.blocked.get() {
                0 => Wait::Busy,
                _ => Wait::Peer,
            });
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.set_blocked(false);
        let watch = &self.watch;
        watch.active.set(watch.active.get() - 1);
        if watch.active.get() == 0 {
            watch.set_wait(Wait::Idle);
        }
        if let Some(log) = &self.log {
            log.log(&watch.transport);
        }
    }
}

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(10);
