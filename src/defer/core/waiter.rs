//! A source in a wait queue, whose result is fetched only when the consumer takes it.
//!
//! # The idea
//!
//! A lock that is granted to a Deferred which is never polled is held by no code, and blocks all
//! other waiters. So a [`WaitSource`], which grants values to waiters one by one, does not put them
//! into a Deferred in the hope that it is polled. If the core has steps, the source fires the
//! Deferred; if not, the source *offers*: the awaiting task is woken, the core stays `Pending`, and
//! when the Deferred is polled or gets a callback, the core *asks* the wait source, which gives a
//! value that is available then, or leaves the core in the queue.
//!
//! The core in the queue and the core that a task polls may differ: a step may have returned the
//! former. The wait source deals with the first, the *source*; the offer is stored in the second,
//! the *end*.
//!
//! # Ownership
//!
//! The wait source owns the resolver. The core refers to the wait source weakly, so that waiters
//! fail when nothing can serve them any more; during an offer the core holds the wait source, so
//! that what was offered can be fetched.
//!
//! # Invariants
//!
//! 1. An end is `Offered` exactly while its source may ask with success or must return to the
//!    queue: from [`Resolver::offer`] until [`Core::ask`].
//! 2. Dropping a Deferred whose only source waits in a queue removes the source from the queue,
//!    polled or not: there is nothing left to run. The same holds for a Deferred that listens (see
//!    `listeners`), and for a group whose members all do.

use std::panic::Location;
use std::rc::{Rc, Weak};

use super::{Canceller, Consumer, Core, Stage, advance, cancel};
use crate::cells;
use crate::debug::DumpItem;
use crate::defer::queued::Link;
use crate::defer::{Deferred, Resolver, State};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// A source that grants values to a queue of waiting Deferreds, one by one.
pub(crate) trait WaitSource {
    /// Serves the waiter with this id: fires it with [`Resolver::give`], or leaves it in the queue.
    fn ask(self: Rc<Self>, number: WaiterId);

    /// Removes the waiter with this id. Runs no user code.
    fn leave(&self, number: WaiterId);

    /// Describes the source for a dump, with the holders of what it has granted.
    fn dump_item(self: Rc<Self>) -> DumpItem;

    /// Serves other waiters after a waiter has left.
    fn serve(self: Rc<Self>);
}

/// The id of a waiter in the queue of a wait source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaiterId {
    /// The number of the waiter, in order of arrival; unique.
    pub(crate) number: u64,
    /// The slot in which the wait source stores the waiter.
    pub(crate) slot: usize,
}

/// An entry in the queue of a wait source.
pub(in crate::defer) struct Waiter {
    wait_source: Weak<dyn WaitSource>,
    /// `Some` during an offer.
    hold: Option<Rc<dyn WaitSource>>,
    number: WaiterId,
    /// The user's canceller.
    pub(super) by_user: Option<Box<dyn FnOnce()>>,
}

/// The relation of a core to a wait source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferState {
    No,
    /// The core is in the queue, or only listens.
    Queued,
    /// The core, or one that it waits for, has an offer.
    Offered,
}

impl<T: 'static> Deferred<T> {
    /// Makes a Deferred that waits in the queue of `wait_source` under this ID, and its resolver.
    pub(crate) fn in_queue(
        wait_source: Rc<dyn WaitSource>,
        number: WaiterId,
        offered: bool,
        location: &'static Location<'static>,
    ) -> (Self, Resolver<T>) {
        let (core, resolver) = Resolver::new(location);
        let link = Link {
            is_offered: offered,
            waker: None,
        };
        core.take_over(wait_source, number, link);
        let deferred = Self {
            state: State::Linked(core),
            polled: false,
        };
        (deferred, resolver)
    }
}

impl<T: 'static> Resolver<T> {
    /// Returns the line where the Deferred was made.
    pub(crate) fn location(&self) -> &'static Location<'static> {
        let core = self.core.as_ref();
        core.map_or_else(Location::caller, |core| core.location())
    }

    /// Returns whether a result would be consumed at once, instead of being stored in a Deferred.
    pub(crate) fn is_wanted(&self) -> bool {
        self.core.as_ref().is_none_or(|core| core.end().is_none())
    }

    /// Makes an offer: from now on the consumer must ask. Runs no user code; the returned function
    /// must be called, and wakes the awaiting task.
    pub(crate) fn offer(&self, wait_source: Rc<dyn WaitSource>) -> impl FnOnce() + use<T> {
        let core = self.core.as_ref();
        if let Some(core) = core {
            core.change_waiter(|waiter| waiter.hold = Some(wait_source));
        }
        let end = core.and_then(Core::end);
        if let Some(end) = &end {
            end.offer_state.set(OfferState::Offered);
        }
        move || {
            if let Some(end) = end {
                end.wake_if_awaited();
            }
        }
    }

    /// Gives the value to a core that has asked; the code that asked continues with that core.
    pub(crate) fn give(mut self, value: T) {
        if let Some(core) = self.core.take() {
            core.put(Ok(value));
        }
    }
}

impl Core {
    /// Puts the core into the queue under this ID, in place of a waiter without core.
    pub(in crate::defer) fn take_over(
        &self,
        wait_source: Rc<dyn WaitSource>,
        number: WaiterId,
        link: Link,
    ) {
        if self.has_fired() {
            return;
        }
        let waiter = Waiter {
            wait_source: Rc::downgrade(&wait_source),
            hold: link.is_offered.then_some(wait_source),
            number,
            by_user: None,
        };
        self.set_canceller(Canceller::Waiter(Box::new(waiter)));
        self.offer_state.set(match link.is_offered {
            true => OfferState::Offered,
            false => OfferState::Queued,
        });
        if link.waker.is_some() {
            self.waker.set(link.waker);
            self.consumer.set(Consumer::Awaiting);
        }
    }

    /// Returns whether the core must ask for its result.
    #[inline]
    pub(in crate::defer) fn is_offered(&self) -> bool {
        self.offer_state.get() == OfferState::Offered
    }

    /// Asks the wait source for the result, and runs what can run.
    #[cold]
    pub(in crate::defer) fn ask(self: &Rc<Self>) {
        if let Some(source) = self.fetch() {
            advance(source);
        }
    }

    /// Takes the result if the core is settled, or if an offer provides it.
    pub(in crate::defer) fn notify_and_take<T: 'static>(
        self: &Rc<Self>,
    ) -> Option<Result<T, Failure>> {
        if self.is_offered() {
            self.ask();
        }
        self.take_settled()
    }

    /// Marks the core's source as one that only listens.
    pub(in crate::defer) fn listens(&self) {
        self.offer_state.set(OfferState::Queued);
    }

    /// Returns whether the core's only source is in a queue, and nothing would run when it fires
    /// (invariant 2).
    #[inline]
    pub(in crate::defer) fn only_waits(self: &Rc<Self>) -> bool {
        let may_wait = self.offer_state.get() != OfferState::No
            || matches!(self.stage.get(), Stage::Waiting | Stage::Gathering);
        may_wait && self.leads_to_queues()
    }

    #[cold]
    fn leads_to_queues(self: &Rc<Self>) -> bool {
        let mut left = vec![self.clone()];
        while let Some(core) = left.pop() {
            let only_waits = match core.stage.get() {
                _ if core.has_steps() => false,
                Stage::Pending => core.offer_state.get() != OfferState::No,
                Stage::Waiting => {
                    left.extend(core.awaited_core());
                    true
                }
                Stage::Gathering => {
                    left.extend(core.members());
                    true
                }
                _ => false,
            };
            if !only_waits {
                return false;
            }
        }
        true
    }

    /// Handles a new consumer of a core in a queue. Returns the core to continue with.
    #[cold]
    pub(super) fn consumed(self: Rc<Self>) -> Rc<Self> {
        if self.consumer.get() == (Consumer::Dropped { gave_up: false }) && self.only_waits() {
            self.consumer.set(Consumer::Dropped { gave_up: true });
            cancel(&self, self.location);
            return self;
        }
        if self.is_offered() {
            match self.end() {
                None => return self.fetch().unwrap_or(self),
                Some(end) => {
                    self.offer_state.set(self.state_without_offer());
                    end.offer_state.set(OfferState::Offered);
                    end.wake_if_awaited();
                }
            }
        }
        self
    }

    /// Asks the wait source. Returns the source if it has its result now and must be advanced.
    fn fetch(self: &Rc<Self>) -> Option<Rc<Self>> {
        self.offer_state.set(self.state_without_offer());
        let mut source = self.clone();
        while let Some(inner) = source.awaited_core() {
            source = inner;
        }
        if source.stage.get() != Stage::Pending {
            return None;
        }
        let (wait_source, number) =
            source.change_waiter(|waiter| (waiter.hold.take(), waiter.number))?;
        wait_source?.ask(number);
        (source.stage.get() == Stage::Fired).then_some(source)
    }

    /// Returns the core in which a result would be stored until it is consumed: one that is held
    /// and has nothing left to run.
    fn end(self: &Rc<Self>) -> Option<Rc<Self>> {
        let mut core = self.clone();
        while !core.has_steps() {
            match core.consumer.get() {
                Consumer::Holder | Consumer::Awaiting | Consumer::Woken => return Some(core),
                Consumer::Then => core = core.consuming_core()?,
                Consumer::Released
                | Consumer::Dropped { .. }
                | Consumer::Member
                | Consumer::Resolvers => return None,
            }
        }
        None
    }

    fn wake_if_awaited(&self) {
        if self.consumer.get() == Consumer::Awaiting {
            self.wake();
        }
    }

    /// Returns the state without an offer.
    fn state_without_offer(&self) -> OfferState {
        match self.stage.get() {
            Stage::Pending => OfferState::Queued,
            _ => OfferState::No,
        }
    }

    /// Changes the core's entry in the queue, if it has one.
    fn change_waiter<R>(&self, change: impl FnOnce(&mut Waiter) -> R) -> Option<R> {
        cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Waiter(waiter)) => Some(change(waiter)),
            _ => None,
        })
    }
}

impl Waiter {
    /// Returns the wait source that the core waits for.
    pub(super) fn dump_item(&self) -> Option<DumpItem> {
        self.wait_source.upgrade().map(WaitSource::dump_item)
    }

    /// Handles the cancel of the core.
    pub(super) fn give_up(self, core: Rc<Core>, location: &'static Location<'static>) {
        let Self {
            wait_source,
            hold,
            number,
            by_user,
        } = self;
        let wait_source = hold.or_else(|| wait_source.upgrade());
        core.cancelling.set(true);
        let called = by_user.map(|f| report::catch_rarely(core.location, f));
        if let Some(wait_source) = &wait_source {
            wait_source.leave(number);
        }
        core.cancelling.set(false);
        let next = match called {
            Some(Err(failure)) if core.has_fired() => {
                report::deliver(Origin::Canceller, failure, core.location);
                None
            }
            Some(Err(failure)) => core.fail_source(failure),
            _ => core.fail_source(Failure::at(Cancelled, location)),
        };
        if let Some(next) = next {
            advance(next);
        }
        if let Some(wait_source) = wait_source {
            wait_source.serve();
        }
    }
}
