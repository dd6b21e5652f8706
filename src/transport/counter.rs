//! The number of connections of a port, and the end of all of them.
//!
//! # Invariants
//!
//! 1. Each connection of the port counts from its registration with the reactor until its handler's
//!    `lost` has returned. A connection that is handed to another protocol counts all the time.
//! 2. A Deferred for the end of the connections that were asked to end waits for those that exist
//!    at the call, not for later ones. A Deferred for an empty port fires when the count is zero.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::cells;
use crate::clock::DelayedCall;
use crate::defer::{Deferred, Listeners, Resolver};
use crate::index::Index;
use crate::reactor::{Reactor, WeakReactor};

/// Counts the connections of a port.
pub(crate) struct ConnCounter {
    reactor: WeakReactor,
    count: Cell<usize>,
    limit: Cell<Option<usize>>,
    /// The limit on the number of connections from one IP address.
    per_peer: Option<usize>,
    /// The number of connections from each IP address, where that is limited.
    peers: RefCell<Index>,
    /// Makes the port check whether it may accept; `Some` while it is open. Runs no user code.
    port: Cell<Option<Rc<dyn Fn()>>>,
    /// The Deferreds that wait until the port is closed.
    closed: Listeners<()>,
    /// The Deferreds that wait until there is no connection.
    empty: Listeners<()>,
    /// The groups of connections whose end a Deferred waits for.
    ending: RefCell<Vec<Rc<Ending>>>,
}

/// A group of connections that were asked to end.
struct Ending {
    /// The keys of the connections that have not ended.
    left: RefCell<Index>,
    aborted: Cell<usize>,
    timer: Cell<Option<DelayedCall>>,
    resolver: Cell<Option<Resolver<usize>>>,
}

/// A connection between two handlers, which still counts.
pub(super) struct Counted {
    counter: Rc<ConnCounter>,
    key: usize,
    peer: Address,
}

impl ConnCounter {
    pub(crate) fn new(
        reactor: &Reactor,
        limit: Option<usize>,
        per_peer: Option<usize>,
    ) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.downgrade(),
            count: Cell::new(0),
            limit: Cell::new(limit),
            per_peer,
            peers: RefCell::default(),
            port: Cell::new(None),
            closed: Listeners::default(),
            empty: Listeners::default(),
            ending: RefCell::default(),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit.get()
    }

    /// Sets the largest number of connections.
    pub(crate) fn set_limit(&self, limit: Option<usize>) {
        self.limit.set(limit);
        self.notify_port();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.limit.get().is_some_and(|limit| self.count() >= limit)
    }

    /// Sets the function that is called when the port may accept again; `None` when the port is
    /// closed.
    pub(crate) fn set_port(&self, look: Option<Box<dyn Fn()>>) {
        self.port.set(look.map(Rc::from));
    }

    /// Returns a Deferred that fires when the port is closed.
    #[track_caller]
    pub(crate) fn closed(&self) -> Deferred<()> {
        match cells::is_some(&self.port) {
            true => self.closed.join(),
            false => Deferred::succeed(()),
        }
    }

    /// Fires the Deferreds of [`closed`](Self::closed). Called last of all, for callbacks run.
    pub(crate) fn notify_closed(&self) {
        for resolver in self.closed.resolvers() {
            resolver.callback(());
        }
    }

    /// Returns a Deferred that fires when there is no connection.
    #[track_caller]
    pub(crate) fn empty(&self) -> Deferred<()> {
        match self.count() {
            0 => Deferred::succeed(()),
            _ => self.empty.join(),
        }
    }

    /// Makes the port check whether it may accept.
    pub(crate) fn notify_port(&self) {
        let port = self.port.take();
        self.port.set(port.clone());
        if let Some(look) = port {
            look();
        }
    }

    /// Closes the present connections in good order, and aborts those that are left after `limit`.
    /// The Deferred fires when all have ended, with the number of those that were aborted.
    #[track_caller]
    pub(crate) fn end_all(self: &Rc<Self>, limit: Duration) -> Deferred<usize> {
        let Some(reactor) = self.reactor.upgrade() else {
            return Deferred::succeed(0);
        };
        let keys = reactor.inner().counted_by(self.address());
        if keys.is_empty() {
            return Deferred::succeed(0);
        }
        let mut left = Index::default();
        for key in &keys {
            left.add(*key as u128);
        }
        let (deferred, resolver) = Deferred::pair();
        let ending = Rc::new(Ending {
            left: RefCell::new(left),
            aborted: Cell::new(0),
            timer: Cell::new(None),
            resolver: Cell::new(Some(resolver)),
        });
        self.ending.borrow_mut().push(ending.clone());
        for key in keys {
            reactor.inner().end_counted(key, false);
        }
        let (weak, reactor_too) = (Rc::downgrade(&ending), self.reactor.clone());
        let timer = reactor.limit(limit, move || {
            let (Some(ending), Some(reactor)) = (weak.upgrade(), reactor_too.upgrade()) else {
                return;
            };
            let left = ending.left.borrow().entries();
            ending.aborted.set(left.len());
            for (key, _) in left {
                reactor.inner().end_counted(key as usize, true);
            }
        });
        ending.timer.set(Some(timer));
        let (this, ending) = (Rc::downgrade(self), Rc::downgrade(&ending));
        deferred.on_cancel(move || {
            if let (Some(this), Some(ending)) = (this.upgrade(), ending.upgrade()) {
                this.ending
                    .borrow_mut()
                    .retain(|other| !Rc::ptr_eq(other, &ending));
                ending.stop_timer();
            }
        })
    }

    /// Returns the number that identifies the port's connections.
    pub(super) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Returns whether another connection from this peer may be accepted.
    pub(crate) fn admits(&self, peer: &Address) -> bool {
        match (self.per_peer, number_of(peer)) {
            (Some(limit), Some(number)) => self.peers.borrow().get(number).unwrap_or(0) < limit,
            _ => true,
        }
    }

    /// Counts one more connection, or one less, from a peer.
    fn count_peer(&self, peer: &Address, is_added: bool) {
        let number = number_of(peer).filter(|_| self.per_peer.is_some());
        let Some(number) = number else { return };
        let mut peers = self.peers.borrow_mut();
        let count = peers.get(number).unwrap_or(0);
        match is_added {
            true => peers.insert(number, count + 1),
            false if count > 1 => peers.insert(number, count - 1),
            false => peers.remove(number),
        };
    }

    /// Counts one more connection.
    pub(super) fn connection_added(&self, peer: &Address) {
        self.count.set(self.count.get() + 1);
        self.count_peer(peer, true);
    }

    /// Counts one connection less.
    pub(super) fn connection_ended(&self, key: usize, peer: &Address) {
        self.count_peer(peer, false);
        let was_full = self.is_full();
        self.count.set(self.count.get().saturating_sub(1));
        if was_full && !self.is_full() {
            self.notify_port();
        }
        if self.count() == 0 && !self.empty.is_empty() {
            for resolver in self.empty.resolvers() {
                resolver.callback(());
            }
        }
        if self.ending.borrow().is_empty() {
            return;
        }
        let mut over = Vec::new();
        self.ending.borrow_mut().retain(|ending| {
            let mut left = ending.left.borrow_mut();
            let is_over = left.remove(key as u128).is_some() && left.is_empty();
            if is_over {
                over.push(ending.clone());
            }
            !is_over
        });
        for ending in over {
            ending.stop_timer();
            if let Some(resolver) = ending.resolver.take() {
                resolver.callback(ending.aborted.get());
            }
        }
    }
}

/// Returns the number by which the connections from an IP address are counted.
fn number_of(peer: &Address) -> Option<u128> {
    match peer.inet()?.ip() {
        IpAddr::V4(ip) => Some(ip.to_ipv6_mapped().to_bits()),
        IpAddr::V6(ip) => Some(ip.to_bits()),
    }
}

impl Ending {
    fn stop_timer(&self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }
}

impl Counted {
    pub(super) fn new(counter: &Rc<ConnCounter>, key: usize, peer: Address) -> Self {
        Self {
            counter: counter.clone(),
            key,
            peer,
        }
    }

    /// Counts the connection as one from another peer.
    #[cfg(any(doc, feature = "proxy-protocol"))]
    pub(super) fn set_peer(&mut self, peer: &Address) {
        self.counter.count_peer(&self.peer, false);
        self.counter.count_peer(peer, true);
        self.peer = peer.clone();
    }

    /// Replaces the key of a connection in the groups whose end is awaited.
    pub(super) fn replace_key(&self, key: usize) {
        for ending in self.counter.ending.borrow().iter() {
            let mut left = ending.left.borrow_mut();
            if left.contains(self.key as u128) {
                left.add(key as u128);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.connection_ended(self.key, &self.peer);
    }
}

impl fmt::Debug for ConnCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnCounter")
            .field("count", &self.count.get())
            .field("limit", &self.limit.get())
            .finish_non_exhaustive()
    }
}
