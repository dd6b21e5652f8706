//! The limits of the work in one turn, so that many busy sources do not keep the loop from its
//! timers and from other sources.
//!
//! # The idea
//!
//! Each step of a turn goes through a list: what other threads sent, due timers, sources that asked
//! for attention, ready sources, ready tasks, time limits. A step that takes long stops in the
//! middle of its list, and continues there in the next turn, after timers, threads and tasks had
//! their turn. A step is long after a time on the machine ([`LONG`]), and after a number of entries
//! everywhere ([`MANY`]).
//!
//! A source that has used its share of a turn (so many bytes, so many calls: its own affair) and
//! has more to do asks for another turn ([`Requests::attend_later`]) and stands at the end of the
//! *backlog*. Of the backlog only a little is done in each turn, and the driver is looked at in
//! between: so those that have little to do are served before those that have much, and these in a
//! circle among themselves.
//!
//! # Invariants
//!
//! 1. What a step has left goes before what is added to its list.
//! 2. In each turn at least one of the backlog has its turn, however much else there is to do.
//! 3. The driver is not asked again while ready sources are left over from its last answer.

use std::time::{Duration, Instant};

use super::{Inner, Reactor};
use crate::clock::Timers;
use crate::task::budget;

/// A step of a turn: how much of it has been done.
pub(super) struct Slice<'a> {
    timers: &'a Timers,
    /// How often the time is looked at: each time after so many.
    every: usize,
    /// How much was done since then.
    unseen: usize,
    /// When it began, read when it is first wanted.
    begun: Option<Instant>,
    done: usize,
}

impl<'a> Slice<'a> {
    pub(super) fn new(timers: &'a Timers, every: usize) -> Self {
        Self {
            timers,
            every,
            unseen: 0,
            begun: None,
            done: 0,
        }
    }

    /// So many more were done: is that enough?
    #[inline]
    pub(super) fn is_over_after(&mut self, count: usize) -> bool {
        self.done += count;
        self.unseen += count;
        self.unseen >= self.every && self.is_long()
    }

    #[cold]
    #[inline(never)]
    fn is_long(&mut self) -> bool {
        self.unseen = 0;
        if self.done >= MANY {
            return true;
        }
        let now = self.timers.now();
        let begun = *self.begun.get_or_insert(now);
        now.saturating_duration_since(begun) >= LONG
    }
}

impl Inner {
    /// Step 1: takes in what other threads have sent, as much as there is time for. Returns how
    /// much.
    pub(super) fn collect(&self) -> usize {
        let mut slice = Slice::new(&self.timers, SOME);
        self.executor.collect(|| slice.is_over_after(1))
    }

    /// Step 5: lets the sources that asked for it do what they have to do. Returns how many did.
    pub(super) fn attend_all(&self, reactor: &Reactor) -> usize {
        let mut slice = Slice::new(&self.timers, SOME);
        let count = self.attend_requests(reactor, |weight| slice.is_over_after(weight));
        count + self.attend_backlog(reactor)
    }

    /// The same in the middle of a batch of tasks: a few, and not the backlog.
    #[inline]
    pub(super) fn attend_few(&self, reactor: &Reactor) {
        if self.requests.len() > 0 {
            let mut left = FEW;
            self.attend_requests(reactor, |weight| {
                left = left.saturating_sub(weight);
                left == 0
            });
        }
    }

    /// Attends to those that have requested it, until `is_enough` says so of what one has done.
    fn attend_requests(
        &self,
        reactor: &Reactor,
        mut is_enough: impl FnMut(usize) -> bool,
    ) -> usize {
        let waiting = self.requests.len();
        let mut count = 0;
        while count < waiting {
            let Some(key) = self.requests.pop() else {
                break;
            };
            let weight = self.weigh(|| self.attend_to(reactor, key));
            count += 1;
            if is_enough(weight) {
                break;
            }
        }
        count
    }

    fn attend_backlog(&self, reactor: &Reactor) -> usize {
        let backlog = &self.requests.backlog;
        let waiting = backlog.len();
        let mut slice = Slice::new(&self.timers, 1);
        let mut count = 0;
        while count < waiting {
            let Some(key) = backlog.pop() else { break };
            self.attend_to(reactor, key);
            count += 1;
            if slice.is_over_after(HEAVY) {
                break;
            }
        }
        self.requests.shrink();
        count
    }

    /// What a source has done in `visit`, in the measure of [`MANY`]: one that has used its share
    /// counts for more.
    #[inline]
    fn weigh(&self, visit: impl FnOnce()) -> usize {
        self.requests.has_grown.set(false);
        visit();
        match self.requests.has_grown.get() {
            true => HEAVY,
            false => 1,
        }
    }

    #[inline(always)]
    fn attend_to(&self, reactor: &Reactor, key: usize) {
        if let Some(handler) = self.handler(key) {
            budget::renew();
            handler.registration().was_taken_off_list();
            handler.attend(reactor);
        }
    }

    /// Step 7: dispatches the driver's events to ready sources, as many as the limits allow.
    /// Returns their number.
    pub(super) fn tell_ready(&self, reactor: &Reactor) -> usize {
        let mut slice = Slice::new(&self.timers, SOME);
        let (events, told) = self.pace.lend_events();
        let mut count = 0;
        for event in &events[told..] {
            // A source may have left on account of an earlier event of this very batch.
            let weight = self.weigh(|| match self.handler(event.key) {
                Some(handler) => {
                    budget::renew();
                    handler.ready(reactor, *event);
                }
                None => self.strays.note(event.key),
            });
            count += 1;
            if slice.is_over_after(weight) {
                break;
            }
        }
        self.pace.put_events(events, told + count);
        if !self.pace.has_events() {
            self.look_at_strays();
        }
        count
    }

    /// Returns whether a source waits for attention.
    pub(super) fn has_attention(&self) -> bool {
        self.requests.has_any()
    }

    /// Returns whether the backlog has a source.
    pub(super) fn has_backlog(&self) -> bool {
        !self.requests.backlog.is_empty()
    }
}

/// A step that takes longer than this goes on in the next turn.
const LONG: Duration = Duration::from_micros(250);
/// So many are enough for one step, whatever time they take.
const MANY: usize = 1024;
/// For so many counts a source that has used its share: eight of them are enough.
const HEAVY: usize = MANY / 8;
/// After so many sources the time is looked at. It costs a fraction of what one of them does.
const SOME: usize = 8;
/// So many are attended to, at most, in the middle of a batch of tasks.
const FEW: usize = 32;
