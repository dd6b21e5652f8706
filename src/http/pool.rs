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
use crate::cells;
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
    /// The connections that can be used, which over HTTP/1 are those that are idle; the one that
    /// was used last is at the end.
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
        let host = match state.hosts.get_mut(origin) {
            Some(host) => host,
            None => state.hosts.entry(origin.clone()).or_default(),
        };
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
            let state = &mut *guard;
            if state.waiting == 0 {
                return;
            }
            let has_room = state.open < self.in_all.get();
            let can_serve = |(origin, host): &(&Rc<Origin>, &mut Host)| {
                let can_open = has_room && host.open < self.limit(origin, host);
                can_open || host.conns.iter().any(|pooled| !pooled.conn.is_closed())
            };
            let served = state.hosts.iter_mut().filter(can_serve);
            let served = served.filter_map(|(origin, host)| {
                let number = host.waiting.front()?.0;
                Some((number, origin, host))
            });
            let first = served.min_by_key(|(number, ..)| *number);
            let Some((origin, host, (_, resolver))) = first.and_then(|(_, origin, host)| {
                let waiting = host.waiting.pop_front()?;
                Some((origin, host, waiting))
            }) else {
                let evicted = self.evict(state);
                drop(guard);
                return evicted.map_or((), |conn| conn.close());
            };
            state.waiting -= 1;
            if resolver.is_cancelled() {
                continue;
            }
            let grant = match host.take_conn() {
                Some(conn) => Grant::Use(self.lease(origin, conn)),
                None => {
                    host.open += 1;
                    state.open += 1;
                    let (pool, origin) = (Rc::downgrade(self), origin.clone());
                    Grant::Open(Slot { pool, origin })
                }
            };
            drop(guard);
            resolver.callback(grant);
        }
    }

    /// Removes the connection that has been idle longest, if a request waits for its end only.
    fn evict(&self, state: &mut State) -> Option<Rc<HttpConn>> {
        let is_starved = |(origin, host): (&Rc<Origin>, &Host)| {
            !host.waiting.is_empty() && host.open < self.limit(origin, host)
        };
        if state.is_evicting || !state.hosts.iter().any(is_starved) {
            return None;
        }
        let idle = state.hosts.values_mut().filter_map(|host| {
            let pooled = host.conns.first()?;
            (pooled.users == 0).then_some((pooled.since, host))
        });
        let (_, host) = idle.min_by_key(|(since, _)| *since)?;
        state.is_evicting = true;
        Some(host.conns.remove(0).conn)
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
            host.is_http1 = !conn.is_http2;
            if conn.is_http2 {
                host.conns.push(Pooled {
                    conn: conn.clone(),
                    users: 1,
                    since: reactor.now(),
                });
            }
        }
        drop(state);
        self.serve();
        self.lease(origin, conn)
    }

    /// Records that a request has finished with its connection.
    fn release(self: &Rc<Self>, origin: &Rc<Origin>, conn: &Rc<HttpConn>) {
        let Some(reactor) = Reactor::current().filter(|_| !conn.is_closed()) else {
            return conn.close();
        };
        if let Some(host) = self.state.borrow_mut().hosts.get_mut(origin) {
            let index = host.conns.iter().position(|it| Rc::ptr_eq(&it.conn, conn));
            let pooled = index.map(|index| host.conns.remove(index));
            host.conns.push(Pooled {
                conn: conn.clone(),
                users: pooled.map_or(0, |pooled| pooled.users.saturating_sub(1)),
                since: reactor.now(),
            });
        }
        self.serve();
        let is_watched = cells::with(&self.timer, |timer| {
            timer.as_ref().is_some_and(DelayedCall::is_pending)
        });
        if !is_watched || self.idle.get().is_zero() {
            self.close_idle(&reactor);
        }
    }

    /// Closes the connections that have been idle for too long, now and later.
    fn close_idle(self: &Rc<Self>, reactor: &Reactor) {
        let (now, limit) = (reactor.now(), self.idle.get());
        let (mut next, mut expired) = (Duration::MAX, Vec::new());
        for host in self.state.borrow_mut().hosts.values_mut() {
            host.conns.retain(|pooled| {
                let idle = now.saturating_duration_since(pooled.since);
                match limit.saturating_sub(idle) {
                    _ if pooled.users > 0 => return true,
                    Duration::ZERO => expired.push(pooled.conn.clone()),
                    left => next = next.min(left),
                }
                idle < limit
            });
        }
        for conn in expired {
            conn.close();
        }
        if next < Duration::MAX {
            let weak = Rc::downgrade(self);
            self.timer.set(Some(reactor.call_later(next, move || {
                if let (Some(pool), Some(reactor)) = (weak.upgrade(), Reactor::current()) {
                    pool.close_idle(&reactor);
                }
            })));
        }
    }
}

impl Host {
    fn take_conn(&mut self) -> Option<Rc<HttpConn>> {
        loop {
            let pooled = self.conns.last_mut()?;
            if pooled.conn.is_http2 && !pooled.conn.is_closed() {
                pooled.users += 1;
                return Some(pooled.conn.clone());
            }
            let conn = self.conns.pop()?.conn;
            if !conn.is_closed() {
                return Some(conn);
            }
        }
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

impl Slot {
    /// Records that the connection can be used again, or has ended.
    pub(super) fn changed(&self, conn: &Rc<HttpConn>) {
        match self.pool.upgrade() {
            None => conn.close(),
            Some(pool) if !conn.is_closed() => pool.release(&self.origin, conn),
            Some(pool) => {
                if let Some(host) = pool.state.borrow_mut().hosts.get_mut(&self.origin) {
                    host.conns.retain(|it| !Rc::ptr_eq(&it.conn, conn));
                }
            }
        }
    }
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
        }
        let is_used = |host: &Host| host.open > 0 || !host.waiting.is_empty();
        state.hosts.retain(|_, host| is_used(host));
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
        if stage == Stage::Unsent || self.conn.is_http2 {
            if let Some(pool) = self.pool.upgrade() {
                pool.release(&self.origin, &self.conn);
            }
        } else if stage == Stage::Sent {
            self.conn.note_cut();
        }
    }
}
