//! A model of the machine in memory: virtual time and a network of its own.
//!
//! Time stands still until a wait with a timeout finds nothing to tell, or [`Memory::set_now`] is
//! called; so a year goes by in no time, and exactly. The network delivers at once and in order,
//! unless it is given faults, which one seed decides. Nothing in here depends on other chance, on
//! the hash of anything or on the machine's clock, but for the moment the clock starts at.
//!
//! It has a poller all the same, for what comes from outside: a wake by another thread, a signal.

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

/// The model as a driver.
pub(crate) struct Memory {
    net: Rc<RefCell<Net>>,
    now: Rc<Cell<Instant>>,
    /// It has nothing to tell but wakes.
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

    /// The virtual time.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Moves time forward, never back.
    pub(super) fn set_now(&self, now: Instant) {
        self.now.set(self.now.get().max(now));
    }

    /// What wakes it.
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
        self.tell(events);
        if self.waking.is_notified() {
            self.selector.wait_for_wake(Some(Duration::ZERO))?;
            return Ok(None);
        }
        if events.len() > before {
            return Ok(None);
        }
        if let Some(at) = self.next_arrival() {
            self.set_now(at);
            self.tell(events);
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
        self.tell(events);
        if self.waking.is_notified() {
            // The descriptor was made readable for it.
            return self.selector.wait_for_wake(Some(Duration::ZERO)).map(drop);
        }
        // A time that no clock can show never comes.
        let then = timeout.and_then(|timeout| self.now.get().checked_add(timeout));
        loop {
            if events.len() > before || timeout == Some(Duration::ZERO) {
                return Ok(());
            }
            let next = self.next_arrival();
            match next.filter(|at| then.is_none_or(|then| *at <= then)) {
                Some(at) => {
                    self.set_now(at);
                    self.tell(events);
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

    /// Tells what is ready, with what arrives by now.
    fn tell(&self, events: &mut Vec<Event>) {
        let mut net = self.net.borrow_mut();
        net.let_arrive();
        net.tell(events);
        self.relays.tell(events);
    }

    pub(super) fn relays(&self) -> &Relays {
        &self.relays
    }

    /// See [`Driver::next_arrival`](super::Driver::next_arrival).
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.net.borrow().next_arrival()
    }

    /// See [`Driver::add`](super::Driver::add).
    pub(super) fn add(&self, place: SocketId, key: usize, interest: Interest) -> io::Result<()> {
        Ok(self.net.borrow_mut().watch(place, key, interest)?)
    }

    /// See [`Driver::set_interest`](super::Driver::set_interest).
    pub(super) fn set_interest(
        &self,
        place: SocketId,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(self.net.borrow_mut().change(place, key, interest)?)
    }

    /// See [`Driver::remove`](super::Driver::remove).
    pub(super) fn remove(&self, place: SocketId) {
        self.net.borrow_mut().ignore(place);
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
