//! The connections of an agent: [`Pool`].
//!
//! # The idea
//!
//! A request asks for a connection to its server and gets a [`Grant`]: an open connection, or the
//! permission to make one. Otherwise it waits until one of the two can be given. A connection over
//! HTTP/2 is given to any number of requests at once.
//!
//! # Invariants
//!
//! 1. A [`Slot`] exists for each connection that is open or being made: these count against the
//!    limits. Dropping it lets the next request in.
//! 2. A [`Lease`] that is dropped before a request was sent gives its connection back.
//! 3. Among the requests that could be given something, the one that has waited longest is next.
//! 4. Nothing is borrowed while a waiting request is notified.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::connect::HttpConn;
use super::url::{Origin, Versions};
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, Resolver};
use crate::reactor::Reactor;

pub(super) struct Pool {
    /// The most connections to one server.
    pub(super) per_host: Cell<usize>,
    /// The most connections.
    pub(super) in_all: Cell<usize>,
    /// How long a connection may be idle.
    pub(super) idle: Cell<Duration>,
    state: RefCell<State>,
    /// Closes the connections that have been idle for too long.
    timer: Cell<Option<DelayedCall>>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<Rc<Origin>, Host>,
    /// The number of slots.
    open: usize,
    /// The number of requests in the queues.
    waiting: usize,
    /// The number of the next request that waits.
    next: u64,
    /// Whether an idle connection is being closed in favour of another server's.
    is_evicting: bool,
}

/// What belongs to one server.
#[derive(Default)]
struct Host {
    /// The open connections; the one that was used last is at the end.
    conns: Vec<Pooled>,
    /// The number of slots.
    open: usize,
    waiting: VecDeque<(u64, Resolver<Grant>)>,
    /// Whether the server has turned out to speak HTTP/1 only.
    is_http1: bool,
}

struct Pooled {
    conn: Rc<HttpConn>,
    /// The number of requests that use it.
    users: usize,
    /// When the last one has finished.
    since: Instant,
}

/// What a request gets.
pub(super) enum Grant {
    Use(Lease),
    Open(Slot),
}

impl Pool {
    pub(super) fn new(per_host: usize, in_all: usize, idle: Duration) -> Rc<Self> {
        Rc::new(Self {
            per_host: Cell::new(per_host),
            in_all: Cell::new(in_all),
            idle: Cell::new(idle),
            state: RefCell::default(),
            timer: Cell::default(),
        })
    }

    /// Returns the number of connections that are open or being made.
    pub(super) fn open(&self) -> usize {
        self.state.borrow().open
    }

    /// Returns an open connection to the server, or a Deferred of one or of the permission to make
    /// one.
    pub(super) fn acquire(self: &Rc<Self>, origin: &Rc<Origin>) -> Result<Lease, Deferred<Grant>> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        if !state.hosts.contains_key(origin) {
            state.hosts.insert(origin.clone(), Host::default());
        }
        let host = state.hosts.get_mut(origin).expect("it is there now");
        if let Some(conn) = host.take_conn() {
            return Ok(self.lease(origin, conn));
        }
        let (deferred, resolver) = Deferred::pair();
        host.waiting.push_back((state.next, resolver));
        state.next += 1;
        state.waiting += 1;
        drop(guard);
        self.serve();
        Err(deferred)
    }

    fn lease(self: &Rc<Self>, origin: &Rc<Origin>, conn: Rc<HttpConn>) -> Lease {
        Lease {
            pool: Rc::downgrade(self),
            origin: origin.clone(),
            conn,
            stage: Cell::new(Stage::Unsent),
        }
    }

    /// Gives the waiting requests what there is for them.
    fn serve(self: &Rc<Self>) {
        loop {
            let mut guard = self.state.borrow_mut();
            let Some(origin) = self.next_served(&mut guard) else {
                let evicted = self.evict(&mut guard);
                drop(guard);
                if let Some(conn) = evicted {
                    conn.close();
                }
                return;
            };
            let state = &mut *guard;
            let host = state.hosts.get_mut(&origin).expect("it has just been seen");
            let Some((_, resolver)) = host.waiting.pop_front() else {
                return;
            };
            state.waiting -= 1;
            let grant = match host.take_conn() {
                Some(conn) => Grant::Use(self.lease(&origin, conn)),
                None => {
                    host.open += 1;
                    state.open += 1;
                    Grant::Open(Slot {
                        pool: Rc::downgrade(self),
                        origin,
                    })
                }
            };
            drop(guard);
            resolver.callback(grant);
        }
    }

    /// Returns the server whose first request is next.
    fn next_served(&self, state: &mut State) -> Option<Rc<Origin>> {
        if state.waiting == 0 {
            return None;
        }
        let has_room = state.open < self.in_all.get();
        let mut next: Option<(u64, &Rc<Origin>)> = None;
        for (origin, host) in &mut state.hosts {
            state.waiting -= host.skip_cancelled();
            let Some((number, _)) = host.waiting.front() else {
                continue;
            };
            let can_open = has_room && host.open < self.limit(origin, host);
            let is_first = next.is_none_or(|(least, _)| *number < least);
            if is_first && (can_open || host.available().is_some()) {
                next = Some((*number, origin));
            }
        }
        next.map(|(_, origin)| origin.clone())
    }

    /// Removes the connection that has been idle longest, if a request waits for its end only.
    fn evict(&self, state: &mut State) -> Option<Rc<HttpConn>> {
        let is_starved = |(origin, host): (&Rc<Origin>, &Host)| {
            !host.waiting.is_empty() && host.open < self.limit(origin, host)
        };
        if state.waiting == 0 || state.is_evicting || !state.hosts.iter().any(is_starved) {
            return None;
        }
        let idle = state.hosts.values_mut().filter_map(|host| {
            let index = host.conns.iter().position(|conn| conn.users == 0)?;
            Some((host.conns[index].since, index, host))
        });
        let (_, index, host) = idle.min_by_key(|(since, ..)| *since)?;
        state.is_evicting = true;
        Some(host.conns.remove(index).conn)
    }

    /// Returns how many connections to the server there may be. Whether it speaks HTTP/2 is found
    /// out by one.
    fn limit(&self, origin: &Origin, host: &Host) -> usize {
        match origin.versions {
            Versions::Any if origin.is_tls && !host.is_http1 => 1,
            Versions::Http2 => 1,
            _ => self.per_host.get(),
        }
    }

    /// Takes in a new connection, and returns the lease of the request that has made it.
    pub(super) fn add(
        self: &Rc<Self>,
        reactor: &Reactor,
        origin: &Rc<Origin>,
        conn: Rc<HttpConn>,
    ) -> Lease {
        let mut state = self.state.borrow_mut();
        if let Some(host) = state.hosts.get_mut(origin) {
            host.is_http1 = !conn.is_http2();
            host.conns.push(Pooled {
                conn: conn.clone(),
                users: 1,
                since: reactor.now(),
            });
        }
        drop(state);
        self.serve();
        self.lease(origin, conn)
    }

    /// Records that a request has finished with its connection.
    pub(super) fn release(self: &Rc<Self>, origin: &Rc<Origin>, conn: &Rc<HttpConn>) {
        let mut state = self.state.borrow_mut();
        let Some(host) = state.hosts.get_mut(origin) else {
            return;
        };
        let Some(index) = host.position(conn) else {
            return;
        };
        let mut pooled = host.conns.remove(index);
        pooled.users -= 1;
        let reactor = Reactor::current().filter(|_| pooled.users == 0);
        if let Some(reactor) = &reactor {
            pooled.since = reactor.now();
        }
        host.conns.push(pooled);
        drop(state);
        self.serve();
        if let Some(reactor) = reactor {
            self.watch(&reactor, self.idle.get());
        }
    }

    /// Forgets a connection that has ended.
    pub(super) fn remove(&self, origin: &Origin, conn: &Rc<HttpConn>) {
        let mut state = self.state.borrow_mut();
        let Some(host) = state.hosts.get_mut(origin) else {
            return;
        };
        let ended = host.position(conn).map(|index| host.conns.remove(index));
        drop(state);
        drop(ended);
    }

    /// Sees to it that connections that have been idle for too long are closed.
    fn watch(self: &Rc<Self>, reactor: &Reactor, after: Duration) {
        if after.is_zero() {
            return self.close_idle(reactor);
        }
        let mut timer = self.timer.take();
        if !timer.as_ref().is_some_and(DelayedCall::is_pending) {
            let weak = Rc::downgrade(self);
            timer = Some(reactor.call_later(after, move || {
                if let (Some(pool), Some(reactor)) = (weak.upgrade(), Reactor::current()) {
                    pool.close_idle(&reactor);
                }
            }));
        }
        self.timer.set(timer);
    }

    fn close_idle(self: &Rc<Self>, reactor: &Reactor) {
        let (now, limit) = (reactor.now(), self.idle.get());
        let (mut next, mut expired) = (Duration::MAX, Vec::new());
        for host in self.state.borrow_mut().hosts.values_mut() {
            host.conns.retain(|pooled| {
                let idle = now.saturating_duration_since(pooled.since);
                let is_expired = pooled.users == 0 && idle >= limit;
                if is_expired {
                    expired.push(pooled.conn.clone());
                } else if pooled.users == 0 {
                    next = next.min(limit - idle);
                }
                !is_expired
            });
        }
        for conn in expired {
            conn.close();
        }
        if next < Duration::MAX {
            self.watch(reactor, next);
        }
    }
}

impl Host {
    /// Returns the position of the connection that the next request should use.
    fn available(&self) -> Option<usize> {
        let is_available = |pooled: &Pooled| {
            (pooled.users == 0 || pooled.conn.is_http2()) && !pooled.conn.is_closed()
        };
        self.conns.iter().rposition(is_available)
    }

    fn take_conn(&mut self) -> Option<Rc<HttpConn>> {
        let pooled = self.available().map(|index| &mut self.conns[index])?;
        pooled.users += 1;
        Some(pooled.conn.clone())
    }

    fn position(&self, conn: &Rc<HttpConn>) -> Option<usize> {
        let is_it = |pooled: &Pooled| Rc::ptr_eq(&pooled.conn, conn);
        self.conns.iter().position(is_it)
    }

    /// Removes the requests at the front of the queue that were cancelled; returns their number.
    fn skip_cancelled(&mut self) -> usize {
        let is_cancelled = |(_, resolver): &(u64, Resolver<Grant>)| resolver.is_cancelled();
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(is_cancelled) {
            self.waiting.pop_front();
        }
        before - self.waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        let hosts = std::mem::take(&mut self.state.get_mut().hosts);
        for pooled in hosts.values().flat_map(|host| &host.conns) {
            pooled.conn.close();
        }
    }
}

/// The permission to have one connection to a server.
pub(super) struct Slot {
    pool: Weak<Pool>,
    origin: Rc<Origin>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let mut state = pool.state.borrow_mut();
        state.open -= 1;
        state.is_evicting = false;
        if let Some(host) = state.hosts.get_mut(&self.origin) {
            host.open -= 1;
            if host.open == 0 && host.waiting.is_empty() {
                state.hosts.remove(&self.origin);
            }
        }
        drop(state);
        pool.serve();
    }
}

/// A connection that one request uses.
pub(super) struct Lease {
    pool: Weak<Pool>,
    origin: Rc<Origin>,
    pub(super) conn: Rc<HttpConn>,
    pub(super) stage: Cell<Stage>,
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Unsent,
    /// Over HTTP/1 the connection itself says when it can be used again.
    Sent,
    /// The response has been read.
    Over,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let stage = self.stage.get();
        if stage == Stage::Unsent || self.conn.is_http2() {
            if let Some(pool) = self.pool.upgrade() {
                pool.release(&self.origin, &self.conn);
            }
        } else if stage == Stage::Sent {
            self.conn.note_cut();
        }
    }
}
