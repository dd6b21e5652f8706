//! A driver in memory: virtual time and a simulated network.
//!
//! Time stands still until a wait with a timeout finds nothing ready, or [`Memory::set_now`] is
//! called; so a year passes in no time, and exactly. The network delivers immediately and in order,
//! unless it has faults, all of which one seed decides. Nothing in this module depends on other
//! randomness, on the order of a hash map, or on the machine's clock, except for the instant at
//! which the virtual clock starts.
//!
//! The driver has a poller all the same, for events from outside: wakes by other threads, and
//! signals.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use faults::NetworkFaults;
pub(crate) use id::SocketId;
use net::Net;
pub(crate) use socket::{Datagrams, Listener, Socket};

use super::poller::{Event, Interest, Selector, Waking};
use super::relay::Relays;
use crate::address::Address;

mod datagrams;
mod delivery;
mod end;
mod faults;
mod id;
mod injector;
mod net;
mod socket;
mod udp;

/// How an enum holds a [`Socket`], which is large.
pub(crate) type Owned = Box<Socket>;

/// The in-memory driver.
pub(crate) struct Memory {
    net: Rc<RefCell<Net>>,
    now: Rc<Cell<Instant>>,
    /// Reports only wakes.
    selector: Selector,
    waking: Waking,
    relays: Relays,
}

impl Memory {
    pub(super) fn new(faults: Option<NetworkFaults>) -> io::Result<Self> {
        let selector = Selector::for_wakes()?;
        let now = Rc::new(Cell::new(Instant::now()));
        Ok(Self {
            net: Rc::new(RefCell::new(Net::new(now.clone(), faults))),
            now,
            waking: selector.waker(),
            selector,
            relays: Relays::default(),
        })
    }

    /// Returns the virtual time.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Moves the time forward, never back.
    pub(super) fn set_now(&self, now: Instant) {
        self.now.set(self.now.get().max(now));
    }

    /// Returns a handle that wakes the driver.
    pub(super) fn waker(&self) -> Waking {
        self.waking.clone()
    }

    /// See [`Driver::wait_outside`](super::Driver::wait_outside).
    pub(super) fn wait_outside(
        &self,
        limit: Duration,
        events: &mut Vec<Event>,
    ) -> io::Result<Option<Duration>> {
        let before = events.len();
        self.append_ready(events);
        if self.waking.is_notified() {
            self.selector.wait_for_wake(Some(Duration::ZERO))?;
            return Ok(None);
        }
        if events.len() > before {
            return Ok(None);
        }
        if let Some(at) = self.next_arrival() {
            self.set_now(at);
            self.append_ready(events);
            return Ok(None);
        }
        let start = Instant::now();
        let is_woken = self.selector.wait_for_wake(Some(limit))?;
        Ok((!is_woken).then(|| start.elapsed()))
    }

    /// See [`Driver::wait`](super::Driver::wait).
    pub(super) fn wait(
        &self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let before = events.len();
        self.append_ready(events);
        if self.waking.is_notified() {
            // The wake has made the descriptor readable.
            return self.selector.wait_for_wake(Some(Duration::ZERO)).map(drop);
        }
        // A time beyond the range of `Instant` never comes.
        let then = timeout.and_then(|timeout| self.now.get().checked_add(timeout));
        loop {
            if events.len() > before || timeout == Some(Duration::ZERO) {
                return Ok(());
            }
            let next = self.next_arrival();
            match next.filter(|at| then.is_none_or(|then| *at <= then)) {
                Some(at) => {
                    self.set_now(at);
                    self.append_ready(events);
                }
                None => break,
            }
        }
        if let Some(then) = then {
            self.now.set(then);
            return Ok(());
        }
        self.selector.wait_for_wake(None).map(drop)
    }

    /// Appends the events of ready sockets, after delivering the items that are due.
    fn append_ready(&self, events: &mut Vec<Event>) {
        let mut net = self.net.borrow_mut();
        net.deliver_due();
        net.append_ready(events);
        self.relays.append_ready(events);
    }

    pub(super) fn relays(&self) -> &Relays {
        &self.relays
    }

    /// See [`Driver::next_arrival`](super::Driver::next_arrival).
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.net.borrow().next_arrival()
    }

    /// See [`Driver::add`](super::Driver::add).
    pub(super) fn add(
        &self,
        socket_id: SocketId,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(self.net.borrow_mut().watch(socket_id, key, interest)?)
    }

    /// See [`Driver::set_interest`](super::Driver::set_interest).
    pub(super) fn set_interest(
        &self,
        socket_id: SocketId,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(self.net.borrow_mut().change(socket_id, key, interest)?)
    }

    /// See [`Driver::remove`](super::Driver::remove).
    pub(super) fn remove(&self, socket_id: SocketId) {
        self.net.borrow_mut().ignore(socket_id);
    }

    /// See [`Driver::listen`](super::Driver::listen).
    pub(super) fn listen(&self, addr: &Address, backlog: i32) -> io::Result<Listener> {
        let (listener, addr) = self.net.borrow_mut().listen(addr.clone(), backlog)?;
        Ok(Listener::new(self.net.clone(), listener, addr))
    }

    /// See [`Driver::connect`](super::Driver::connect).
    pub(super) fn connect(&self, addr: &Address, bind: Option<&Address>) -> io::Result<Owned> {
        let end = self.net.borrow_mut().connect(addr, bind)?;
        Ok(Box::new(Socket::new(self.net.clone(), end)))
    }

    /// See [`Driver::datagrams`](super::Driver::datagrams).
    pub(super) fn datagrams(&self, addr: &Address, share: bool) -> io::Result<Datagrams> {
        let udp = self.net.borrow_mut().udp(addr, share)?;
        Ok(Datagrams::new(self.net.clone(), udp))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("now", &self.now)
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.lend()
    }
}
