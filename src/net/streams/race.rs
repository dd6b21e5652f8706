//! The race of connection attempts to several addresses (Happy Eyeballs, RFC 8305).
//!
//! # States
//!
//! | state | holds | transitions |
//! |---|---|---|
//! | looking up | the look-up, its time limit | an answer (racing), a failure or its limit (over) |
//! | racing | addresses left, attempts, the delay timer | an attempt connects, or all have failed (over) |
//! | over | nothing | – |
//!
//! While addresses are left, the next attempt starts when the delay is over, or at once when an
//! attempt fails. Addresses of different families take turns, starting with the family of the
//! first.
//!
//! # Invariants
//!
//! 1. A race ends once: the code that takes `done` out ends it. Then no attempt, timer or look-up
//!    of the race is left.
//! 2. `done` is called when nothing of the race is left.
//! 3. Each address has a time limit, so has the look-up, and there is one for the whole race.
//! 4. Until the race is over, a look-up or an attempt is under way.
//! 5. A connection of a socket to itself is reset and counts as refused.
//! 6. A UNIX socket whose queue is full cannot be polled: connecting is tried again every
//!    [`RETRY`], within its limit.

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
use crate::net::errors::ConnectError;
use crate::net::names::{LookupError, LookupErrorKind, look_up};
use crate::net::options::ConnectConfig;
use crate::reactor::{Handler, Reactor, Registration, Retry, Tracked, WeakReactor};
use crate::report;
use crate::transport::{ConnConfig, ConnectionError};

/// The attempts to reach one of several addresses.
pub(in crate::net) struct Race {
    reactor: WeakReactor,
    options: ConnectConfig,
    conn_config: Rc<ConnConfig>,
    /// The addresses that were not tried yet.
    left: RefCell<VecDeque<Address>>,
    attempts: RefCell<Vec<Rc<Attempt>>>,
    /// The failed attempts, in the order in which they failed.
    failed: RefCell<Vec<(Address, Failure)>>,
    lookup: RefCell<Option<Lookup>>,
    /// The timer that starts the next attempt.
    delay_timer: Cell<Option<DelayedCall>>,
    /// The time limit of the whole race.
    limit: Cell<Option<DelayedCall>>,
    /// The function to call with the result; `None` once the race is over.
    done: Cell<Option<Done>>,
}

/// The function that a race calls with its result.
pub(in crate::net) type Done = Box<dyn FnOnce(&Reactor, Result<(Socket, Address), Failure>)>;

/// A look-up under way.
struct Lookup {
    host: String,
    /// Its key in the reactor's table.
    key: usize,
    cancel: Option<Box<dyn FnOnce()>>,
    timeout: Option<DelayedCall>,
}

/// A socket that is connecting.
struct Attempt {
    registration: Registration,
    retry: Retry,
    /// The socket; `None` while the peer's queue is full, and at the end.
    socket: Cell<Option<Socket>>,
    address: Address,
    timeout: Cell<Option<DelayedCall>>,
    /// Whether the socket is deregistered from the reactor.
    is_deregistered: Cell<bool>,
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
            attempts: RefCell::default(),
            failed: RefCell::default(),
            lookup: RefCell::default(),
            delay_timer: Cell::new(None),
            limit: Cell::new(None),
            done: Cell::new(Some(done)),
        })
    }

    /// Starts the race. Called from a turn.
    pub(in crate::net) fn start(self: &Rc<Self>, to: Destination) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        if self.is_over() {
            return;
        }
        // A single attempt needs no limit besides its own.
        let is_single = matches!(&to, Destination::Addresses(all) if all.len() == 1);
        if !is_single || self.options.overall < self.options.timeout {
            let weak = Rc::downgrade(self);
            let limit = reactor.limit(self.options.overall, move || {
                if let Some(race) = weak.upgrade() {
                    race.overall_timeout();
                }
            });
            self.limit.set(Some(limit));
        }
        match to {
            Destination::Addresses(addresses) => self.run(addresses),
            Destination::Host { name, port } => self.look_up(&reactor, name, port),
            // Neither an adopted socket nor a program's endpoint runs a race.
            _ => self.finish(Err(self.error())),
        }
    }

    /// Ends the race because its Deferred was cancelled.
    pub(in crate::net) fn cancel(&self) {
        let Some(done) = self.take_done() else { return };
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
            // The resolver itself cancelled the Deferred.
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
        let error = LookupError::new(host, LookupErrorKind::TimedOut);
        self.finish(Err(Failure::at(error, self.conn_config.location)));
    }

    fn run(self: &Rc<Self>, addresses: Vec<Address>) {
        self.left.replace(interleave(addresses));
        self.next();
    }

    /// Starts the next attempt, if an address is left; if no attempt is left either, ends the race
    /// with the error.
    fn next(self: &Rc<Self>) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        cancel(&self.delay_timer);
        while !self.is_over() {
            let address = self.left.borrow_mut().pop_front();
            let Some(address) = address else {
                if self.attempts.borrow().is_empty() {
                    self.finish(Err(self.error()));
                }
                return;
            };
            match self.try_one(&reactor, &address) {
                Ok(()) => return self.start_delay(&reactor),
                Err(error) => self.note(address, error),
            }
        }
    }

    /// Starts the delay before the next attempt, if an address is left.
    fn start_delay(self: &Rc<Self>, reactor: &Reactor) {
        if self.left.borrow().is_empty() {
            return;
        }
        let weak = Rc::downgrade(self);
        // This is a limit, too: a connection that was made in time needs no second attempt.
        let delay_timer = reactor.limit(self.options.attempt_delay, move || {
            if let Some(race) = weak.upgrade() {
                race.next();
            }
        });
        self.delay_timer.set(Some(delay_timer));
    }

    fn try_one(self: &Rc<Self>, reactor: &Reactor, address: &Address) -> io::Result<()> {
        let inner = reactor.inner();
        if self.options.lock_file {
            inner.driver().check_lock(address)?;
        }
        let socket = self.begin(reactor, address)?;
        // The program's code that configures the socket may have ended the race.
        if self.is_over() {
            return Ok(());
        }
        let attempt = reactor.register(|registration| Attempt {
            registration,
            retry: Retry::default(),
            socket: Cell::new(None),
            address: address.clone(),
            timeout: Cell::new(None),
            is_deregistered: Cell::new(false),
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
        self.attempts.borrow_mut().push(attempt);
        Ok(())
    }

    /// Starts to connect; returns `None` if the peer's queue is full.
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

    /// Ends the race because its overall time limit expired.
    fn overall_timeout(&self) {
        if self.lookup.borrow().is_some() {
            return self.lookup_timed_out();
        }
        let attempts = self.attempts.borrow().clone();
        for attempt in attempts {
            let error = attempt.timeout_error(self.options.overall);
            self.failed.borrow_mut().push((
                attempt.address.clone(),
                Failure::at(error, self.conn_config.location),
            ));
        }
        self.finish(Err(self.error()));
    }

    /// Returns the error of the only attempt, or that of all of them.
    fn error(&self) -> Failure {
        let mut failed = self.failed.take();
        let (last, is_only) = (failed.pop(), failed.is_empty());
        match last {
            None => Failure::at(ConnectError::NoAddress, self.conn_config.location),
            Some((_, failure)) if is_only => failure,
            Some(last) => {
                failed.push(last);
                let error = ConnectError::AllFailed { attempts: failed };
                Failure::at(error, self.conn_config.location)
            }
        }
    }

    fn note(&self, address: Address, error: io::Error) {
        let error = ConnectError::new(address.clone(), error);
        let failure = Failure::at(error, self.conn_config.location);
        self.failed.borrow_mut().push((address, failure));
    }

    /// Ends the race with a result.
    fn finish(&self, result: Result<(Socket, Address), Failure>) {
        let Some(done) = self.take_done() else { return };
        match self.reactor.upgrade() {
            Some(reactor) => done(&reactor, result),
            None => report::discard((done, result), self.conn_config.location),
        }
    }

    /// Takes out `done`, and removes everything else of the race (invariant 1).
    fn take_done(&self) -> Option<Done> {
        let done = self.done.take()?;
        cancel(&self.delay_timer);
        cancel(&self.limit);
        drop(self.left.take());
        let attempts = self.attempts.take();
        if let Some(reactor) = self.reactor.upgrade() {
            for attempt in attempts {
                drop(attempt.leave(&reactor));
            }
        }
        if let Some(request) = self.leave_lookup() {
            request();
        }
        Some(done)
    }

    /// Ends the look-up; returns the function that cancels it at the resolver.
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

    /// Ends the race because the reactor ends.
    fn lost(&self, reactor: Option<&Reactor>, reason: &Failure) {
        let Some(done) = self.take_done() else { return };
        match reactor {
            Some(reactor) => {
                let lost = ConnectionError::lost(reason.clone());
                done(reactor, Err(Failure::at(lost, self.conn_config.location)));
            }
            None => report::discard(done, self.conn_config.location),
        }
    }
}

/// The entry in the reactor's table during the look-up.
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
    /// Waits for the socket to connect, or for space in the peer's queue.
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
        if self.is_deregistered.get() {
            return;
        }
        if let Err(error) = begun.and_then(|socket| self.watch(reactor, socket)) {
            drop(self.leave(reactor));
            race.note(self.address.clone(), error);
            race.next();
        }
    }

    /// Deregisters the socket, if there is one yet, and returns it.
    fn leave(&self, reactor: &Reactor) -> Option<Socket> {
        if self.is_deregistered.replace(true) {
            return None;
        }
        let socket = self.socket.take();
        match &socket {
            Some(socket) => self.registration.leave_with(reactor, socket),
            None => self.registration.leave(reactor),
        }
        cancel(&self.timeout);
        self.retry.cancel();
        let mut attempts = self.race.attempts.borrow_mut();
        attempts.retain(|attempt| !std::ptr::eq(&**attempt, self));
        socket
    }

    /// Returns whether the socket is connected to itself. TCP allows that: a socket that connects
    /// to its own port answers itself when nothing listens there.
    fn is_connected_to_itself(&self, socket: &Socket) -> bool {
        let Some(port) = self.address.port() else {
            return false;
        };
        // The address may be `0.0.0.0`, so the socket's own peer address is compared.
        socket.local_addr().is_ok_and(|local| {
            local.port() == Some(port) && socket.peer_addr().is_ok_and(|peer| peer == local)
        })
    }

    fn timeout_error(&self, limit: Duration) -> ConnectError {
        ConnectError::TimedOut {
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
        if self.is_deregistered.get() {
            return;
        }
        drop(self.leave(&reactor));
        let error = self.timeout_error(race.options.timeout);
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
                if self.is_connected_to_itself(&socket) {
                    let _ = socket.reset_on_close();
                    drop(socket);
                    self.race.note(self.address.clone(), self_connection());
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

    /// Tries again, because the peer's queue may have space (invariant 6).
    fn attend(self: Rc<Self>, reactor: &Reactor) {
        if self.retry.take_due() {
            self.try_again(reactor);
        }
    }
}

/// The error of a socket that is connected to itself.
fn self_connection() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "nothing listens there: the socket was connected to itself",
    )
}

fn cancel(call: &Cell<Option<DelayedCall>>) {
    if let Some(call) = call.take() {
        call.cancel();
    }
}

/// Returns the addresses with their families taking turns, starting with the first one's family;
/// the order within each family stays.
fn interleave(addresses: Vec<Address>) -> VecDeque<Address> {
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

/// The time between two tries to connect to a UNIX socket whose queue is full.
const RETRY: Duration = Duration::from_millis(10);

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_that_of_the_first() {
        let sort = |texts: &[&str]| -> Vec<String> {
            let addresses = texts.iter().map(|text| {
                let address: SocketAddr = text.parse().unwrap();
                Address::from(address)
            });
            let sorted = interleave(addresses.collect());
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
