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

use super::limits::{Limit, LimitTimer};
use super::settings::Server;
use crate::cells;
use crate::clock::Clock;
use crate::defer::Resolver;
use crate::reactor::Reactor;
use crate::stream::Connection;
use crate::transport::Transport;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wait {
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
    pub(super) reactor: Reactor,
    wait: Cell<(Wait, Instant)>,
    /// When the end was requested, and how long it may take.
    end: Cell<Limit>,
    timer: LimitTimer,
    /// The number of requests whose response is not finished, and of those that wait for the peer.
    pub(super) active: Cell<usize>,
    pub(super) blocked: Cell<usize>,
    /// Whether the connection has not ended in time.
    pub(super) was_cut_off: Cell<bool>,
    /// The task of the connection.
    waker: Cell<Option<Waker>>,
}

impl Watch {
    /// Watches a new connection.
    pub(super) fn start(conn: &Connection, reactor: Reactor, server: &Rc<Server>) -> Rc<Self> {
        let this = Rc::new(Self {
            transport: conn.transport(),
            is_http2: Cell::default(),
            file: Cell::default(),
            upgrade: Cell::default(),
            changes: Cell::default(),
            server: server.clone(),
            wait: Cell::new((Wait::Head, reactor.now())),
            reactor,
            end: Cell::default(),
            timer: LimitTimer::default(),
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
        self.end.set(Some((self.reactor.now(), limit)));
        self.check();
        cells::wake(&self.waker);
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
        if self.wait.get().0 == Wait::Idle {
            self.set_wait(Wait::Head);
        }
    }

    pub(super) fn set_wait(&self, wait: Wait) {
        self.wait.set((wait, self.reactor.now()));
    }

    /// Looks whether a limit has passed, and sees to the next look.
    fn check(self: &Rc<Self>) {
        let (wait, since) = self.wait.get();
        let Server {
            head_timeout,
            idle_timeout,
            body_timeout,
            ..
        } = *self.server;
        let limit = match wait {
            Wait::Head => head_timeout,
            Wait::Idle => idle_timeout,
            Wait::Busy => None,
            Wait::Peer => body_timeout,
        };
        // What is waited for changes without a look.
        let all = [head_timeout, idle_timeout, body_timeout];
        let next = all.into_iter().flatten().min();
        let next = next.map(|next| (self.reactor.now(), next.max(SHORTEST)));
        let limits = [self.end.get(), limit.map(|limit| (since, limit)), next];
        let this = Rc::downgrade(self);
        let look = move || this.upgrade().iter().for_each(Self::check);
        let passed = self.timer.passed(&limits, &self.reactor, look);
        if passed.is_some() {
            self.expired(wait, passed == self.end.get());
        }
    }

    #[cold]
    fn expired(self: &Rc<Self>, wait: Wait, is_cut_off: bool) {
        let peer = self.transport.peer();
        tracing::debug!(target: "torsade::http", %peer, ?wait, "a time limit has passed");
        self.was_cut_off.set(is_cut_off);
        self.set_wait(wait);
        match (wait, self.server.idle_timeout) {
            (Wait::Head, _) if !is_cut_off => self.transport.lose_connection(),
            (Wait::Idle, Some(limit)) if !is_cut_off => self.stop(limit.max(SHORTEST)),
            _ => self.transport.abort_connection(),
        }
    }
}

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(10);
