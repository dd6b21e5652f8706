//! A source that stands in a line, and is given its result only when somebody takes it.
//!
//! # The idea
//!
//! A lock that gives itself to a Deferred which nobody polls is held by nobody, and stops everybody else. So one that
//! hands things out, a [`WaitSource`], does not put them into a Deferred in the hope that it is looked at. If steps wait
//! there it fires it; if not, it *offers*: the task that awaits is woken, the core stays `Pending`, and when the
//! Deferred is polled or gets a callback, the core *asks* the giver, which gives what there is by then, or lets the core
//! stand where it stood.
//!
//! The core that stands in line and the one that a task polls need not be the same: a step may have returned the
//! former. The giver deals with the one, the *source*; the offer lies with the other, the *end*.
//!
//! # Who owns what
//!
//! The giver owns the resolver. The core knows the giver weakly, so that those who wait for what nobody can bring any more
//! are told; while there is an offer it holds it, so that what was offered can be fetched.
//!
//! # Invariants
//!
//! 1. An end is `Offered` exactly while its source may ask with success or must come back into the line: from
//!    [`Resolver::offer`] until [`Core::ask`].
//! 2. A Deferred that is dropped while nothing but itself stands behind a source in line takes the source out of the
//!    line: whether it was polled or not, there is nothing to run on. The same holds for one that listens (see
//!    `listeners`), and for a group all of whose members do.

use std::panic::Location;
use std::rc::{Rc, Weak};

use super::{Canceller, Consumer, Core, Stage, advance, cancel};
use crate::cells;
use crate::debug::Thing;
use crate::defer::queued::Link;
use crate::defer::{Deferred, Resolver, State};
use crate::failure::{Cancelled, Failure};
use crate::report::{self, Origin};

/// One that hands things out to a line of Deferreds.
pub(crate) trait WaitSource {
    /// The one with this number wants its own: fires it with [`Resolver::give`], or has it wait on.
    fn ask(self: Rc<Self>, number: WaiterId);

    /// The one with this number leaves. Runs nobody's code.
    fn leave(&self, number: WaiterId);

    /// What it is, and who holds what it has given out.
    fn thing(self: Rc<Self>) -> Thing;

    /// Somebody has left: looks whether others can have something now.
    fn serve(self: Rc<Self>);
}

/// Which of those in a giver's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaiterId {
    /// When it came. No other has the same.
    pub(crate) number: u64,
    /// Where the giver has it.
    pub(crate) slot: usize,
}

/// A place in a giver's line.
pub(in crate::defer) struct Waiter {
    giver: Weak<dyn WaitSource>,
    /// Set while there is an offer.
    hold: Option<Rc<dyn WaitSource>>,
    number: WaiterId,
    /// What the user wants to happen when it is cancelled.
    pub(super) also: Option<Box<dyn FnOnce()>>,
}

/// How a core stands to a giver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    No,
    /// It stands in line, or merely listens.
    InLine,
    /// It, or one that it waits for, has been offered something.
    Offered,
}

impl<T: 'static> Deferred<T> {
    /// One that stands in a line under this number, and its resolver.
    pub(crate) fn in_line(
        giver: Rc<dyn WaitSource>,
        number: WaiterId,
        offered: bool,
        location: &'static Location<'static>,
    ) -> (Self, Resolver<T>) {
        let (core, resolver) = Resolver::new(location);
        let link = Link {
            is_offered: offered,
            waker: None,
        };
        core.take_over(giver, number, link);
        let deferred = Self {
            state: State::Linked(core),
            polled: false,
        };
        (deferred, resolver)
    }
}

impl<T: 'static> Resolver<T> {
    /// Where its Deferred was made.
    pub(crate) fn location(&self) -> &'static Location<'static> {
        let core = self.core.as_ref();
        core.map_or_else(Location::caller, |core| core.location())
    }

    /// Would a result be taken on the spot, and not lie in a Deferred that somebody holds?
    pub(crate) fn is_wanted(&self) -> bool {
        self.core.as_ref().is_none_or(|core| core.end().is_none())
    }

    /// Offers: from now on the core asks when it is asked. Runs nobody's code; what it returns is to be called,
    /// and wakes the task that awaits.
    pub(crate) fn offer(&self, giver: Rc<dyn WaitSource>) -> impl FnOnce() + use<T> {
        let core = self.core.as_ref();
        if let Some(core) = core {
            core.change_waiter(|waiter| waiter.hold = Some(giver));
        }
        let end = core.and_then(Core::end);
        if let Some(end) = &end {
            end.asking.set(Asking::Offered);
        }
        move || {
            if let Some(end) = end {
                end.wake_if_awaited();
            }
        }
    }

    /// Brings the value to one that has asked; it goes on from there by itself.
    pub(crate) fn give(mut self, value: T) {
        if let Some(core) = self.core.take() {
            core.put(Ok(value));
        }
    }
}

impl Core {
    /// It stands in the giver's line under this number, in the stead of a waiter that had no core.
    pub(in crate::defer) fn take_over(
        &self,
        giver: Rc<dyn WaitSource>,
        number: WaiterId,
        link: Link,
    ) {
        if self.has_fired() {
            return;
        }
        let waiter = Waiter {
            giver: Rc::downgrade(&giver),
            hold: link.is_offered.then_some(giver),
            number,
            also: None,
        };
        self.set_canceller(Canceller::Waiter(Box::new(waiter)));
        self.asking.set(match link.is_offered {
            true => Asking::Offered,
            false => Asking::InLine,
        });
        if link.waker.is_some() {
            self.waker.set(link.waker);
            self.consumer.set(Consumer::Awaiting);
        }
    }

    /// Must it be asked for its result?
    #[inline]
    pub(in crate::defer) fn is_offered(&self) -> bool {
        self.asking.get() == Asking::Offered
    }

    /// Asks the giver for the result, and runs what can run.
    #[cold]
    pub(in crate::defer) fn ask(self: &Rc<Self>) {
        if let Some(source) = self.fetch() {
            advance(source);
        }
    }

    /// The result, if it is settled, or to be had for the asking.
    pub(in crate::defer) fn ask_and_take<T: 'static>(
        self: &Rc<Self>,
    ) -> Option<Result<T, Failure>> {
        if self.is_offered() {
            self.ask();
        }
        self.take_settled()
    }

    /// From now on it is known that its source makes nothing happen.
    pub(in crate::defer) fn listens(&self) {
        self.asking.set(Asking::InLine);
    }

    /// Is a source in line all there is, with nothing to be run when it fires (invariant 2)?
    #[inline]
    pub(in crate::defer) fn only_waits(self: &Rc<Self>) -> bool {
        let may_wait = self.asking.get() != Asking::No
            || matches!(self.stage.get(), Stage::Waiting | Stage::Gathering);
        may_wait && self.leads_to_lines()
    }

    #[cold]
    fn leads_to_lines(self: &Rc<Self>) -> bool {
        let mut left = vec![self.clone()];
        while let Some(core) = left.pop() {
            let only_waits = match core.stage.get() {
                _ if core.has_steps() => false,
                Stage::Pending => core.asking.get() != Asking::No,
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

    /// It stands in line, and now somebody consumes it. Gives the core to go on with.
    #[cold]
    pub(super) fn consumed(self: Rc<Self>) -> Rc<Self> {
        if self.consumer.get() == (Consumer::Nobody { gave_up: false }) && self.only_waits() {
            self.consumer.set(Consumer::Nobody { gave_up: true });
            cancel(&self, self.location);
            return self;
        }
        if self.is_offered() {
            match self.end() {
                None => return self.fetch().unwrap_or(self),
                Some(end) => {
                    self.asking.set(self.asking_unless_offered());
                    end.asking.set(Asking::Offered);
                    end.wake_if_awaited();
                }
            }
        }
        self
    }

    /// Asks the giver. The source, if it has its result now, is to be advanced.
    fn fetch(self: &Rc<Self>) -> Option<Rc<Self>> {
        self.asking.set(self.asking_unless_offered());
        let mut source = self.clone();
        while let Some(inner) = source.awaited_core() {
            source = inner;
        }
        if source.stage.get() != Stage::Pending {
            return None;
        }
        let (giver, number) = source.change_waiter(|waiter| (waiter.hold.take(), waiter.number))?;
        giver?.ask(number);
        (source.stage.get() == Stage::Fired).then_some(source)
    }

    /// Where a result would come to lie until somebody looks: in a core that is held, and has nothing to do with it.
    fn end(self: &Rc<Self>) -> Option<Rc<Self>> {
        let mut core = self.clone();
        while !core.has_steps() {
            match core.consumer.get() {
                Consumer::Holder | Consumer::Awaiting | Consumer::Woken => return Some(core),
                Consumer::Then => core = core.consuming_core()?,
                Consumer::Nobody { .. } | Consumer::Member | Consumer::Others => return None,
            }
        }
        None
    }

    fn wake_if_awaited(&self) {
        if self.consumer.get() == Consumer::Awaiting {
            self.wake();
        }
    }

    /// What it is when it has no offer.
    fn asking_unless_offered(&self) -> Asking {
        match self.stage.get() {
            Stage::Pending => Asking::InLine,
            _ => Asking::No,
        }
    }

    /// Changes its place in line, if it has one.
    fn change_waiter<R>(&self, change: impl FnOnce(&mut Waiter) -> R) -> Option<R> {
        cells::with(&self.canceller, |canceller| match canceller {
            Some(Canceller::Waiter(waiter)) => Some(change(waiter)),
            _ => None,
        })
    }
}

impl Waiter {
    /// What it stands in line for.
    pub(super) fn thing(&self) -> Option<Thing> {
        self.giver.upgrade().map(WaitSource::thing)
    }

    /// Its core is cancelled.
    pub(super) fn give_up(self, core: Rc<Core>, location: &'static Location<'static>) {
        let Self {
            giver,
            hold,
            number,
            also,
        } = self;
        let giver = hold.or_else(|| giver.upgrade());
        core.cancelling.set(true);
        let called = also.map(|f| report::catch_rarely(core.location, f));
        if let Some(giver) = &giver {
            giver.leave(number);
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
        if let Some(giver) = giver {
            giver.serve();
        }
    }
}
