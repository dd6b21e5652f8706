//! The registration of an I/O source with the loop: what every handler has in common.
//!
//! # The idea
//!
//! A connection, a port and a child process are different [`Handler`](super::Handler)s with the
//! same needs: a key that events carry, an interest that the driver knows, and a way to request a
//! call in this turn. The registration has all of these; the handler only decides. Some have a
//! [`Retry`] as well, a timer for conditions that the system does not report.
//!
//! # States of attention
//!
//! | state     | becomes                                                                          |
//! |-----------|----------------------------------------------------------------------------------|
//! | idle      | *listed* by a request, *busy* when the loop dispatches an event                  |
//! | *listed*  | idle or *busy* when the loop attends to the handler                              |
//! | *busy*    | idle by [`Registration::end_busy`]; a request meanwhile changes nothing          |
//!
//! A handler that uses *busy* checks everything once more before it ends that state, so a request
//! that comes meanwhile is not lost. Others are never *busy*.
//!
//! # Invariants
//!
//! 1. The key is in the reactor's table until [`Registration::leave`]. It names another handler
//!    only after [`Registration::release`]: one that has got the source, too.
//! 2. The interest is the one that the driver got last.
//! 3. A handler is in the list of requests at most once.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::requests::Requests;
use super::{Reactor, WeakReactor};
use crate::cells;
use crate::clock::{Clock, DelayedCall};
use crate::driver::{Interest, Source};

/// The registration of a handler with the loop.
pub(crate) struct Registration {
    key: usize,
    requests: Rc<Requests>,
    interest: Cell<Interest>,
    attention: Cell<u8>,
}

impl Registration {
    pub(super) fn new(reactor: &Reactor, key: usize) -> Self {
        Self {
            key,
            requests: reactor.inner().requests.clone(),
            interest: Cell::new(Interest::None),
            attention: Cell::new(IDLE),
        }
    }

    /// Returns the key that events carry.
    pub(crate) fn key(&self) -> usize {
        self.key
    }

    /// Returns the reactor, while it exists.
    pub(crate) fn reactor(&self) -> Option<Reactor> {
        self.requests.reactor.upgrade()
    }

    /// Returns a handle to the reactor that does not keep it alive.
    pub(crate) fn weak_reactor(&self) -> WeakReactor {
        self.requests.reactor.clone()
    }

    /// Registers `source` with the driver.
    ///
    /// # Errors
    ///
    /// Fails with the driver's errors. The handler stays in the table.
    pub(crate) fn add(
        &self,
        reactor: &Reactor,
        source: &impl Source,
        interest: Interest,
    ) -> io::Result<()> {
        reactor.inner().driver().add(source, self.key, interest)?;
        self.interest.set(interest);
        Ok(())
    }

    /// Registers like [`Registration::add`]; on failure the handler leaves the table.
    pub(crate) fn add_or_leave(
        &self,
        reactor: &Reactor,
        source: &impl Source,
        interest: Interest,
    ) -> io::Result<()> {
        let added = self.add(reactor, source, interest);
        if added.is_err() {
            self.leave(reactor);
        }
        added
    }

    /// Returns the interest that the driver got last.
    #[inline]
    pub(crate) fn interest(&self) -> Interest {
        self.interest.get()
    }

    /// Passes the interest to the driver, if it has changed.
    ///
    /// # Errors
    ///
    /// Fails with the driver's errors. The interest counts as passed, so the same call is not made
    /// again.
    pub(crate) fn set_interest(
        &self,
        reactor: &Reactor,
        source: &impl Source,
        wanted: Interest,
    ) -> io::Result<()> {
        if self.interest.replace(wanted) == wanted {
            return Ok(());
        }
        let driver = reactor.inner().driver();
        driver.set_interest(source, self.key, wanted)
    }

    /// Removes `source` from the driver, and the handler from the table.
    pub(crate) fn leave_with(&self, reactor: &Reactor, source: &impl Source) {
        // A source that the driver does not know needs no removal.
        let _ = reactor.inner().driver().remove(source);
        self.leave(reactor);
    }

    /// Removes the handler from the table.
    pub(crate) fn leave(&self, reactor: &Reactor) {
        reactor.inner().remove(self.key);
    }

    /// Releases the registration for another handler, which gets the source: the driver watches it
    /// as before. This handler requests nothing any more.
    pub(crate) fn release(&self) -> Released {
        let attention = self.attention.replace(LISTED | BUSY);
        Released {
            requests: self.requests.clone(),
            key: self.key,
            interest: self.interest.get(),
            is_listed: attention & LISTED != 0,
        }
    }

    /// Requests a call of [`Handler::attend`](super::Handler::attend) in this turn.
    #[inline]
    pub(crate) fn request_attention(&self) {
        if self.attention.get() == IDLE {
            self.attention.set(LISTED);
            self.requests.attend(self.key);
        }
    }

    /// Withdraws the request, if the handler made the last one: everything was done already.
    #[inline]
    pub(crate) fn take_request_back(&self) {
        if self.attention.get() == LISTED && self.requests.take_back(self.key) {
            self.attention.set(IDLE);
        }
    }

    /// Requests a call when another handler has left the table, and has freed a descriptor.
    pub(crate) fn request_attention_when_one_leaves(&self) {
        self.requests.attend_after_leave(self.key);
    }

    /// Requests a call behind all other sources: the handler has used its share of the turn.
    pub(crate) fn request_turn(&self) {
        if self.attention.get() & LISTED == 0 {
            self.attention.set(self.attention.get() | LISTED);
            self.requests.attend_later(self.key);
        }
    }

    /// Records that the loop has taken the handler off its list.
    #[inline]
    pub(super) fn was_taken_off_list(&self) {
        self.attention.set(self.attention.get() & !LISTED);
    }

    /// Begins the *busy* state: requests are not listed, because the handler checks everything
    /// before it ends the state.
    #[inline]
    pub(crate) fn begin_busy(&self) {
        self.attention.set(self.attention.get() | BUSY);
    }

    /// Ends the *busy* state: requests are listed again.
    #[inline]
    pub(crate) fn end_busy(&self) {
        self.attention.set(self.attention.get() & !BUSY);
    }

    /// Returns a function that requests attention, for a timer.
    pub(crate) fn attention(&self) -> impl FnOnce() + 'static {
        let (reactor, key) = (self.weak_reactor(), self.key);
        move || {
            if let Some(reactor) = reactor.upgrade() {
                if let Some(handler) = reactor.inner().handler(key) {
                    handler.registration().request_attention();
                }
            }
        }
    }
}

/// A registration between two handlers, within one call of the loop: an event finds the first one.
pub(crate) struct Released {
    requests: Rc<Requests>,
    pub(super) key: usize,
    interest: Interest,
    is_listed: bool,
}

impl Released {
    /// Returns whether this reactor has it.
    pub(crate) fn is_of(&self, reactor: &Reactor) -> bool {
        Rc::ptr_eq(&self.requests, &reactor.inner().requests)
    }

    /// Returns the registration for the next handler.
    pub(super) fn renewed(self) -> Registration {
        Registration {
            key: self.key,
            requests: self.requests,
            interest: Cell::new(self.interest),
            attention: Cell::new(if self.is_listed { LISTED } else { IDLE }),
        }
    }

    /// Removes `source` from the driver, and the key from the table: there is no other handler.
    pub(crate) fn end(&self, source: &impl Source) {
        if let Some(reactor) = self.requests.reactor.upgrade() {
            // A source that the driver does not know needs no removal.
            let _ = reactor.inner().driver().remove(source);
            reactor.inner().remove(self.key);
        }
    }
}

/// The timer of a handler that tries an operation again.
#[derive(Default)]
pub(crate) struct Retry(Cell<Option<DelayedCall>>);

impl Retry {
    /// Requests attention after `delay`. Replaces an earlier retry.
    pub(crate) fn after(&self, delay: Duration, registration: &Registration) {
        if let Some(reactor) = registration.reactor() {
            self.set(Some(reactor.call_later(delay, registration.attention())));
        }
    }

    /// Sets the timer, which calls [`Registration::attention`].
    pub(crate) fn set(&self, timer: Option<DelayedCall>) {
        let old = self.0.replace(timer);
        if let Some(old) = old {
            old.cancel();
        }
    }

    /// Returns whether a retry is set, be it due or not.
    pub(crate) fn is_set(&self) -> bool {
        cells::is_some(&self.0)
    }

    /// Returns when the retry is due, if one is set and not due yet.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        cells::with(&self.0, |timer| timer.as_ref()?.deadline())
    }

    /// Returns whether the retry has come due, and was not taken out yet.
    pub(crate) fn is_due(&self) -> bool {
        self.is_set() && self.deadline().is_none()
    }

    /// Takes the retry out if it has come due; returns whether it had.
    pub(crate) fn take_due(&self) -> bool {
        let is_due = self.is_due();
        if is_due {
            self.0.set(None);
        }
        is_due
    }

    /// Cancels the retry.
    pub(crate) fn cancel(&self) {
        self.set(None);
    }
}

const IDLE: u8 = 0;
const LISTED: u8 = 1;
const BUSY: u8 = 2;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::panic::Location;
    use std::rc::Rc;

    use super::*;
    use crate::driver::Event;
    use crate::failure::Failure;
    use crate::reactor::{Handler, Tracked};

    /// A handler that counts how often it is attended to.
    struct Counted {
        registration: Registration,
        retry: Retry,
        count: Cell<usize>,
    }

    impl Tracked for Counted {
        fn lose(self: Rc<Self>, reactor: Option<&Reactor>, _reason: &Failure) {
            if let Some(reactor) = reactor {
                self.registration.leave(reactor);
            }
        }

        fn kind(&self) -> &'static str {
            "counted"
        }

        fn location(&self) -> &'static Location<'static> {
            Location::caller()
        }
    }

    impl Handler for Counted {
        fn registration(&self) -> &Registration {
            &self.registration
        }

        fn ready(self: Rc<Self>, _reactor: &Reactor, event: Event) {
            unreachable!("nothing is registered with the driver: {event:?}");
        }

        fn attend(self: Rc<Self>, _reactor: &Reactor) {
            self.count.set(self.count.get() + 1);
        }
    }

    fn counted() -> (Reactor, Rc<Counted>) {
        let reactor = Reactor::in_memory().unwrap();
        let made = reactor.register(|registration| Counted {
            registration,
            retry: Retry::default(),
            count: Cell::new(0),
        });
        (reactor, made.unwrap())
    }

    #[test]
    fn requests_before_a_turn_are_one_and_each_turn_takes_new_ones() {
        let (reactor, handler) = counted();
        for turn in 1..=3 {
            for _ in 0..turn {
                handler.registration.request_attention();
            }
            reactor.settle();
            assert_eq!(handler.count.get(), turn);
        }
    }

    #[test]
    fn the_next_handler_gets_a_released_registration_with_its_request() {
        let (reactor, first) = counted();
        first.registration.request_attention();
        let released = first.registration.release();
        let next = reactor.register_released(released, |registration| Counted {
            registration,
            retry: Retry::default(),
            count: Cell::new(0),
        });
        let next = next.unwrap();
        assert_eq!(next.registration.key(), first.registration.key());
        for turn in 1..=3 {
            first.registration.request_attention();
            next.registration.request_attention();
            reactor.settle();
            assert_eq!((first.count.get(), next.count.get()), (0, turn));
        }
        assert_eq!(Rc::strong_count(&first), 1);
    }

    #[test]
    fn a_busy_handler_is_not_listed() {
        let (reactor, handler) = counted();
        handler.registration.begin_busy();
        handler.registration.request_attention();
        handler.registration.end_busy();
        reactor.settle();
        assert_eq!(handler.count.get(), 0);
        handler.registration.request_attention();
        reactor.settle();
        assert_eq!(handler.count.get(), 1);
    }

    #[test]
    fn a_retry_comes_when_it_is_due_and_not_after_the_handler_has_left() {
        const SECOND: Duration = Duration::from_secs(1);
        let (reactor, handler) = counted();
        let (retry, registration) = (&handler.retry, &handler.registration);
        retry.after(SECOND, registration);
        retry.after(SECOND * 2, registration);
        reactor.advance(SECOND * 3 / 2);
        assert!(handler.count.get() == 0 && retry.deadline().is_some());
        reactor.advance(SECOND);
        assert_eq!(handler.count.get(), 1);
        assert!(retry.take_due() && !retry.is_set());

        retry.after(SECOND, registration);
        registration.request_attention();
        registration.leave(&reactor);
        retry.cancel();
        reactor.advance(SECOND * 2);
        assert!(handler.count.get() == 1 && !retry.is_set());
    }
}
