//! The limits of time of a server's connection: [`Watch`].
//!
//! # The idea
//!
//! One timer for each connection looks, as often as the shortest limit is, at what the connection
//! waits for and since when. So the requests of a busy connection cost no timer.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::access_log::LogEntry;
use super::settings::Server;
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::defer::Resolver;
use crate::stream::Connection;
use crate::transport::Transport;

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
    pub(super) changes: Cell<Option<bool>>,
    pub(super) server: Rc<Server>,
    wait: Cell<Wait>,
    since: Cell<Instant>,
    /// When the end was requested, and how long it may take.
    end: Cell<Option<(Instant, Duration)>>,
    timer: Cell<Option<DelayedCall>>,
    /// The number of requests whose response is not finished, and of those that wait for the peer.
    active: Cell<usize>,
    blocked: Cell<usize>,
    /// Whether the connection has not ended in time.
    pub(super) was_cut_off: Cell<bool>,
    /// The task of the connection.
    waker: Cell<Option<Waker>>,
}

impl Watch {
    /// Watches a new connection.
    pub(super) fn start(transport: Transport, now: Instant, server: Rc<Server>) -> Rc<Self> {
        let this = Rc::new(Self {
            transport,
            is_http2: Cell::default(),
            file: Cell::default(),
            upgrade: Cell::default(),
            changes: Cell::default(),
            server,
            wait: Cell::new(Wait::Head),
            since: Cell::new(now),
            end: Cell::default(),
            timer: Cell::default(),
            active: Cell::default(),
            blocked: Cell::default(),
            was_cut_off: Cell::default(),
            waker: Cell::default(),
        });
        this.check();
        this
    }

    /// Ends the connection when its requests are answered, and after `limit` in any case.
    pub(super) fn stop(self: &Rc<Self>, limit: Duration) {
        if let Some(reactor) = self.transport.reactor() {
            self.end.set(Some((reactor.now(), limit)));
            self.check();
            cells::wake(&self.waker);
        }
    }

    /// Returns whether the end was requested. The task is woken when it is.
    pub(super) fn poll_stop(&self, cx: &Context<'_>) -> bool {
        if !cells::is_some(&self.waker) {
            self.waker.set(Some(cx.waker().clone()));
        }
        self.end.get().is_some()
    }

    /// Records whether the protocol changes, as a request has asked for it.
    pub(super) fn set_changes(&self, changes: bool) {
        self.changes.set(Some(changes));
        if !changes {
            drop(self.upgrade.take());
        }
        cells::wake(&self.waker);
    }

    /// Records that a part of a head has come.
    pub(super) fn head_begun(&self) {
        if self.wait.get() == Wait::Idle {
            self.set_wait(Wait::Head);
        }
    }

    fn set_wait(&self, wait: Wait) {
        if let Some(reactor) = self.transport.reactor() {
            self.wait.set(wait);
            self.since.set(reactor.now());
        }
    }

    /// Looks whether a limit has passed, and sets the timer for the next look.
    fn check(self: &Rc<Self>) {
        let Some(reactor) = self.transport.reactor() else {
            return;
        };
        let [head, idle, body] = self.server.time_limits();
        let limit = match self.wait.get() {
            Wait::Head => head,
            Wait::Idle => idle,
            Wait::Busy => None,
            Wait::Peer => body,
        };
        let limits = [limit.map(|limit| (self.since.get(), limit)), self.end.get()];
        let passed = |since| reactor.now().saturating_duration_since(since);
        let left = |(since, limit): (_, Duration)| limit.saturating_sub(passed(since));
        let left = limits.map(|limit| limit.map(left));
        if left.contains(&Some(Duration::ZERO)) {
            return self.expired(left[1] == Some(Duration::ZERO));
        }
        let looks = left.into_iter().chain([head, idle, body]);
        let Some(next) = looks.flatten().min() else {
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
    fn expired(self: &Rc<Self>, is_cut_off: bool) {
        let (wait, peer) = (self.wait.get(), self.transport.peer());
        tracing::debug!(target: "torsade::http", %peer, ?wait, "a time limit has passed");
        self.was_cut_off.set(is_cut_off);
        self.set_wait(wait);
        match (wait, self.server.idle_timeout) {
            (Wait::Head, _) if !is_cut_off => self.transport.lose_connection(),
            (Wait::Idle, Some(limit)) if !is_cut_off => self.stop(limit.max(SHORTEST)),
            _ => self.transport.abort_connection(),
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
