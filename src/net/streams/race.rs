//! The race of connection attempts (RFC 8305): several addresses, the first that answers.
//!
//! # States
//!
//! | state      | holds                                     | leaves it                                              |
//! |------------|-------------------------------------------|--------------------------------------------------------|
//! | looking up | the look-up, its time limit               | an answer (racing), a failure or its limit (over)      |
//! | racing     | addresses left, attempts, a starting shot | an attempt connects, or all have failed (over)         |
//! | over       | nothing                                   | –                                                      |
//!
//! While addresses are left, the next attempt starts when the starting shot's delay is over, or at once when an attempt
//! fails. Addresses of different families take turns, beginning with the family of the first.
//!
//! # Invariants
//!
//! 1. It ends once: whoever takes `done` out ends it. Then no attempt, timer or look-up of it is left.
//! 2. What it ends with is called when nothing of it is left.
//! 3. Each address has its own time limit, so has the look-up, and there is one for the whole.
//! 4. While it is not over, something will go on with it: a look-up, or an attempt under way.
//! 5. A connection to itself is none: it is reset, and counts as refused.
//! 6. A UNIX socket whose queue is full cannot be waited for: it is tried again every [`RETRY`], within its limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Address;
use crate::cells;
use crate::clock::DelayedCall;
use crate::defer::Deferred;
use crate::driver::{Event, Interest, Socket};
use crate::failure::{Cancelled, Failure};
use crate::net::endpoint::Destination;
use crate::net::errors::{ConnectFailedEverywhere, ConnectTimedOut, NoAddress, connect_failure};
use crate::net::names::{LookupFailed, LookupProblem, look_up};
use crate::net::options::ConnectConfig;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked, WeakReactor};
use crate::report;
use crate::transport::{ConnConfig, ConnectionError};

/// What is done to reach one of several addresses.
pub(in crate::net) struct Race {
    reactor: WeakReactor,
    options: ConnectConfig,
    conn_config: Rc<ConnConfig>,
    /// Not tried yet.
    left: RefCell<VecDeque<Address>>,
    under_way: RefCell<Vec<Rc<Attempt>>>,
    /// How attempts have failed, in that order.
    failed: RefCell<Vec<(Address, Failure)>>,
    lookup: RefCell<Option<Lookup>>,
    /// Starts the next attempt.
    shot: Cell<Option<DelayedCall>>,
    /// The time limit for the whole.
    limit: Cell<Option<DelayedCall>>,
    /// Empty when it is over.
    done: Cell<Option<Done>>,
}

/// What to do in the end.
pub(in crate::net) type Done = Box<dyn FnOnce(&Reactor, Result<(Socket, Address), Failure>)>;

/// A look-up under way.
struct Lookup {
    host: String,
    /// Its place in the reactor's table.
    key: usize,
    cancel: Option<Box<dyn FnOnce()>>,
    timeout: Option<DelayedCall>,
}

/// A socket that is connecting.
struct Attempt {
    registration: Registration,
    retry: Retry,
    /// Empty while there is no room at the peer's, and in the end.
    socket: Cell<Option<Socket>>,
    address: Address,
    timeout: Cell<Option<DelayedCall>>,
    /// It is out of the reactor's care.
    has_left: Cell<bool>,
    race: Rc<Race>,
}

impl Race {
    pub(in crate::net) fn new(
        reactor: &Reactor,
        options: ConnectConfig,
        conn_config: Rc<ConnConfig>,
        done: Done,
    ) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.downgrade(),
            options,
            conn_config,
            left: RefCell::default(),
            under_way: RefCell::default(),
            failed: RefCell::default(),
            lookup: RefCell::default(),
            shot: Cell::new(None),
            limit: Cell::new(None),
            done: Cell::new(Some(done)),
        })
    }

    /// Begins. Called from a turn.
    pub(in crate::net) fn start(self: &Rc<Self>, to: Destination) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        if self.is_over() {
            return;
        }
        // One attempt needs no limit besides its own.
        let is_single = matches!(&to, Destination::Addresses(all) if all.len() == 1);
        if !is_single || self.options.overall < self.options.timeout {
            let weak = Rc::downgrade(self);
            let limit = reactor.limit(self.options.overall, move || {
                if let Some(race) = weak.upgrade() {
                    race.out_of_time();
                }
            });
            self.limit.set(Some(limit));
        }
        match to {
            Destination::Addresses(addresses) => self.run(addresses),
            Destination::Host { name, port } => self.look_up(&reactor, name, port),
            // Neither an adopted socket nor a program's endpoint runs a race.
            _ => self.finish(Err(self.verdict())),
        }
    }

    /// Addresses it because nobody wants it any more.
    pub(in crate::net) fn give_up(&self) {
        let Some(done) = self.over() else { return };
        match self.reactor.upgrade() {
            Some(reactor) => {
                let cancelled = Failure::at(Cancelled, self.conn_config.location);
                done(&reactor, Err(cancelled));
            }
            None => report::discard(done, self.conn_config.location),
        }
    }

    fn look_up(self: &Rc<Self>, reactor: &Reactor, name: String, port: u16) {
        let key = match reactor.inner().track(self.clone()) {
            Ok(key) => key,
            Err(error) => return self.finish(Err(Failure::at(error, self.conn_config.location))),
        };
        self.lookup.replace(Some(Lookup {
            host: name.clone(),
            key,
            cancel: None,
            timeout: None,
        }));
        let found = look_up(reactor, &name, port, self.conn_config.location);
        if found.is_settled() {
            drop(self.when_found(found));
            return;
        }
        let cancel: Box<dyn FnOnce()> = Box::new(found.remote_cancel());
        let weak = Rc::downgrade(self);
        let timeout = reactor.limit(self.options.timeout, move || {
            if let Some(race) = weak.upgrade() {
                race.lookup_timed_out();
            }
        });
        let lookup = self.lookup.take();
        match lookup {
            Some(lookup) => {
                self.lookup.replace(Some(Lookup {
                    cancel: Some(cancel),
                    timeout: Some(timeout),
                    ..lookup
                }));
            }
            // The resolver itself has given us up.
            None => {
                timeout.cancel();
                cancel();
            }
        }
        drop(self.when_found(found));
    }

    fn when_found(self: &Rc<Self>, found: Deferred<Vec<SocketAddr>>) -> Deferred<()> {
        let race = self.clone();
        found.add_both(move |found| race.looked_up(found))
    }

    fn looked_up(self: &Rc<Self>, found: Result<Vec<SocketAddr>, Failure>) {
        if self.is_over() {
            return;
        }
        self.leave_lookup();
        match found {
            Ok(found) => self.run(found.into_iter().map(Address::from).collect()),
            Err(failure) => self.finish(Err(failure.moved(self.conn_config.location))),
        }
    }

    fn lookup_timed_out(&self) {
        let host = self
            .lookup
            .borrow()
            .as_ref()
            .map(|lookup| lookup.host.clone());
        let Some(host) = host else { return };
        let error = LookupFailed::new(host, LookupProblem::TimedOut);
        self.finish(Err(Failure::at(error, self.conn_config.location)));
    }

    fn run(self: &Rc<Self>, addresses: Vec<Address>) {
        self.left.replace(in_turn(addresses));
        self.next();
    }

    /// Starts the next attempt, if one is left; when nothing is left at all, it has failed.
    fn next(self: &Rc<Self>) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        cancel(&self.shot);
        while !self.is_over() {
            let address = self.left.borrow_mut().pop_front();
            let Some(address) = address else {
                if self.under_way.borrow().is_empty() {
                    self.finish(Err(self.verdict()));
                }
                return;
            };
            match self.try_one(&reactor, &address) {
                Ok(()) => return self.load(&reactor),
                Err(error) => self.note(address, error),
            }
        }
    }

    /// Has the next attempt started after a while, if there is one.
    fn load(self: &Rc<Self>, reactor: &Reactor) {
        if self.left.borrow().is_empty() {
            return;
        }
        let weak = Rc::downgrade(self);
        // A limit as well: a connection that was made in time needs no second one.
        let shot = reactor.limit(self.options.attempt_delay, move || {
            if let Some(race) = weak.upgrade() {
                race.next();
            }
        });
        self.shot.set(Some(shot));
    }

    fn try_one(self: &Rc<Self>, reactor: &Reactor, address: &Address) -> io::Result<()> {
        let inner = reactor.inner();
        if self.options.lock_file {
            inner.driver().check_lock(address)?;
        }
        let socket = self.begin(reactor, address)?;
        // The program's own code may have run meanwhile, to set the socket up.
        if self.is_over() {
            return Ok(());
        }
        let attempt = reactor.register(|registration| Attempt {
            registration,
            retry: Retry::default(),
            socket: Cell::new(None),
            address: address.clone(),
            timeout: Cell::new(None),
            has_left: Cell::new(false),
            race: self.clone(),
        })?;
        if let Err(error) = attempt.watch(reactor, socket) {
            attempt.registration.leave(reactor);
            return Err(error);
        }
        let weak = Rc::downgrade(&attempt);
        let timeout = reactor.limit(self.options.timeout, move || {
            if let Some(attempt) = weak.upgrade() {
                attempt.timed_out();
            }
        });
        attempt.timeout.set(Some(timeout));
        self.under_way.borrow_mut().push(attempt);
        Ok(())
    }

    /// A connection begun; none where there is no room for one more now.
    fn begin(&self, reactor: &Reactor, address: &Address) -> io::Result<Option<Socket>> {
        let driver = reactor.inner().driver();
        let options = &self.options;
        let (bind, hook) = (options.bind.as_ref(), options.hook.as_ref());
        match driver.connect_hooked(address, bind, options.buffers, hook) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && address.ip().is_none() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The time for the whole is over.
    fn out_of_time(&self) {
        if self.lookup.borrow().is_some() {
            return self.lookup_timed_out();
        }
        let under_way = self.under_way.borrow().clone();
        for attempt in under_way {
            let error = attempt.too_late(self.options.overall);
            self.failed.borrow_mut().push((
                attempt.address.clone(),
                Failure::at(error, self.conn_config.location),
            ));
        }
        self.finish(Err(self.verdict()));
    }

    /// How it has failed: as its only attempt has, or with all of them.
    fn verdict(&self) -> Failure {
        let mut failed = self.failed.take();
        let (last, is_only) = (failed.pop(), failed.is_empty());
        match last {
            None => Failure::at(NoAddress, self.conn_config.location),
            Some((_, failure)) if is_only => failure,
            Some(last) => {
                failed.push(last);
                let error = ConnectFailedEverywhere::new(failed);
                Failure::at(error, self.conn_config.location)
            }
        }
    }

    fn note(&self, address: Address, error: io::Error) {
        let failure = connect_failure(address.clone(), error).moved(self.conn_config.location);
        self.failed.borrow_mut().push((address, failure));
    }

    /// Addresses it with this.
    fn finish(&self, result: Result<(Socket, Address), Failure>) {
        let Some(done) = self.over() else { return };
        match self.reactor.upgrade() {
            Some(reactor) => done(&reactor, result),
            None => report::discard((done, result), self.conn_config.location),
        }
    }

    /// Takes out what is to be done in the end, and leaves nothing else behind (invariant 1).
    fn over(&self) -> Option<Done> {
        let done = self.done.take()?;
        cancel(&self.shot);
        cancel(&self.limit);
        drop(self.left.take());
        let under_way = self.under_way.take();
        if let Some(reactor) = self.reactor.upgrade() {
            for attempt in under_way {
                drop(attempt.leave(&reactor));
            }
        }
        if let Some(wish) = self.leave_lookup() {
            wish();
        }
        Some(done)
    }

    /// Addresses the look-up; gives what tells the resolver so.
    fn leave_lookup(&self) -> Option<Box<dyn FnOnce()>> {
        let lookup = self.lookup.take()?;
        if let Some(timeout) = lookup.timeout {
            timeout.cancel();
        }
        if let Some(reactor) = self.reactor.upgrade() {
            reactor.inner().untrack(lookup.key);
        }
        lookup.cancel
    }

    fn is_over(&self) -> bool {
        !cells::is_some(&self.done)
    }

    /// The reactor ends.
    fn lost(&self, reactor: Option<&Reactor>, reason: &Failure) {
        let Some(done) = self.over() else { return };
        match reactor {
            Some(reactor) => {
                let lost = ConnectionError::lost(reason.clone());
                done(reactor, Err(Failure::at(lost, self.conn_config.location)));
            }
            None => report::discard(done, self.conn_config.location),
        }
    }
}

/// Its place in the reactor's table during the look-up.
impl Tracked for Race {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure) {
        self.lost(reactor, reason);
    }

    fn kind(&self) -> &'static str {
        "connection attempt"
    }

    fn about(&self) -> String {
        let lookup = self.lookup.borrow();
        lookup
            .as_ref()
            .map(|lookup| format!("looks up {}", lookup.host))
            .unwrap_or_default()
    }

    fn location(&self) -> &'static Location<'static> {
        self.conn_config.location
    }
}

impl Attempt {
    /// Waits for the socket, or for room.
    fn watch(self: &Rc<Self>, reactor: &Reactor, socket: Option<Socket>) -> io::Result<()> {
        let Some(socket) = socket else {
            self.retry.after(RETRY, &self.registration);
            return Ok(());
        };
        self.registration.add(reactor, &socket, Interest::Write)?;
        self.socket.set(Some(socket));
        Ok(())
    }

    fn try_again(self: &Rc<Self>, reactor: &Reactor) {
        let race = &self.race;
        let begun = race.begin(reactor, &self.address);
        if self.has_left.get() {
            return;
        }
        if let Err(error) = begun.and_then(|socket| self.watch(reactor, socket)) {
            drop(self.leave(reactor));
            race.note(self.address.clone(), error);
            race.next();
        }
    }

    /// Takes the socket, if there is one yet, out of the reactor's care.
    fn leave(&self, reactor: &Reactor) -> Option<Socket> {
        if self.has_left.replace(true) {
            return None;
        }
        let socket = self.socket.take();
        match &socket {
            Some(socket) => self.registration.leave_with(reactor, socket),
            None => self.registration.leave(reactor),
        }
        cancel(&self.timeout);
        self.retry.cancel();
        let mut under_way = self.race.under_way.borrow_mut();
        under_way.retain(|attempt| !std::ptr::eq(&**attempt, self));
        socket
    }

    /// Is the socket connected to itself? TCP allows that: a socket whose own port is the one that it connects to answers itself
    /// when nobody listens there.
    fn leads_to(&self, socket: &Socket) -> bool {
        let Some(port) = self.address.port() else {
            return false;
        };
        // The address may be `0.0.0.0`, so the peer's name is the socket's.
        socket.local_addr().is_ok_and(|local| {
            local.port() == Some(port) && socket.peer_addr().is_ok_and(|peer| peer == local)
        })
    }

    fn too_late(&self, limit: Duration) -> ConnectTimedOut {
        ConnectTimedOut {
            address: self.address.clone(),
            limit: Some(limit),
            error: None,
        }
    }

    fn timed_out(&self) {
        let race = &self.race;
        let Some(reactor) = race.reactor.upgrade() else {
            return;
        };
        if self.has_left.get() {
            return;
        }
        drop(self.leave(&reactor));
        let error = self.too_late(race.options.timeout);
        let failure = Failure::at(error, race.conn_config.location);
        race.failed
            .borrow_mut()
            .push((self.address.clone(), failure));
        race.next();
    }
}

impl Tracked for Attempt {
    fn lose(self: Rc<Self>, reactor: Option<&Reactor>, reason: &Failure) {
        self.race.lost(reactor, reason);
    }

    fn kind(&self) -> &'static str {
        "connection attempt"
    }

    fn about(&self) -> String {
        format!("to {}", self.address)
    }

    fn location(&self) -> &'static Location<'static> {
        self.race.conn_config.location
    }
}

impl Handler for Attempt {
    fn registration(&self) -> &Registration {
        &self.registration
    }

    fn ready(self: Rc<Self>, reactor: &Reactor, _event: Event) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let connected = socket.connected();
        self.socket.set(Some(socket));
        match connected {
            Ok(false) => {}
            Ok(true) => {
                let Some(socket) = self.leave(reactor) else {
                    return;
                };
                if self.leads_to(&socket) {
                    let _ = socket.reset_on_close();
                    drop(socket);
                    self.race.note(self.address.clone(), to_itself());
                    return self.race.next();
                }
                self.race.finish(Ok((socket, self.address.clone())));
            }
            Err(error) => {
                drop(self.leave(reactor));
                self.race.note(self.address.clone(), error);
                self.race.next();
            }
        }
    }

    /// There may be room at the peer's now (invariant 6).
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.retry.take_due() {
            self.try_again(reactor);
        }
    }
}

/// The error of a connection that leads back to its own socket.
fn to_itself() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "nobody listens there: the connection led back to its own socket",
    )
}

fn cancel(call: &Cell<Option<DelayedCall>>) {
    if let Some(call) = call.take() {
        call.cancel();
    }
}

/// The addresses with their families taking turns, each in its own order, the first one's first.
fn in_turn(addresses: Vec<Address>) -> VecDeque<Address> {
    let mut families: Vec<(Option<bool>, VecDeque<Address>)> = Vec::new();
    let mut left = addresses.len();
    for address in addresses {
        let family = address.ip().map(|ip| ip.is_ipv4());
        match families.iter_mut().find(|(other, _)| *other == family) {
            Some((_, lane)) => lane.push_back(address),
            None => families.push((family, VecDeque::from([address]))),
        }
    }
    let mut sorted = VecDeque::with_capacity(left);
    while left > 0 {
        for (_, lane) in &mut families {
            if let Some(address) = lane.pop_front() {
                sorted.push_back(address);
                left -= 1;
            }
        }
    }
    sorted
}

/// How long a UNIX socket whose queue is full is left alone.
const RETRY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_that_of_the_first() {
        let sort = |texts: &[&str]| -> Vec<String> {
            let addresses = texts.iter().map(|text| {
                let address: SocketAddr = text.parse().unwrap();
                Address::from(address)
            });
            let sorted = in_turn(addresses.collect());
            sorted.iter().map(Address::to_string).collect()
        };
        assert_eq!(
            sort(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]
        );
        assert_eq!(
            sort(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]),
            ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]
        );
        assert!(sort(&[]).is_empty());
    }
}
