//! The limits of the work in one turn, so that many busy sources do not keep the loop from its
//! timers and from other sources.
//!
//! # The idea
//!
//! Each step of a turn goes through a list: messages of other threads, due timers, sources that
//! requested attention, ready sources, ready tasks, time limits. A step that takes long stops in
//! the middle of its list, and continues there in the next turn, after timers, threads and tasks
//! have had their turn. A step is long after a time on the machine ([`LONG`]), and after a number
//! of entries everywhere ([`MANY`]).
//!
//! A source that has used its share of a turn (a number of bytes or calls that it decides itself)
//! and has more to do requests another turn ([`Requests::attend_later`]) and is appended to the
//! *backlog*. Only a little of the backlog is done in each turn, and the driver is polled in
//! between: so sources with little to do are served before those with much, and these take turns
//! among themselves.
//!
//! # Invariants
//!
//! 1. The rest of an interrupted step goes before entries that are added to its list.
//! 2. In each turn at least one source of the backlog has its turn, however much else there is to
//!    do.
//! 3. The driver is not polled again while events of its last answer are left over.

use std::time::{Duration, Instant};

use super::{Inner, Reactor};
use crate::clock::Timers;
use crate::task::budget;

/// Measures one step of a turn.
pub(super) struct Slice<'a> {
    timers: &'a Timers,
    /// The number of entries after which the clock is read.
    every: usize,
    /// The number of entries since then.
    since_check: usize,
    /// When the step began; read when it is first needed.
    begun: Option<Instant>,
    done: usize,
}

impl<'a> Slice<'a> {
    pub(super) fn new(timers: &'a Timers, every: usize) -> Self {
        Self {
            timers,
            every,
            since_check: 0,
            begun: None,
            done: 0,
        }
    }

    /// Counts this many more entries; returns whether the step should stop.
    #[inline]
    pub(super) fn is_over_after(&mut self, count: usize) -> bool {
        self.done += count;
        self.since_check += count;
        self.since_check >= self.every && self.is_long()
    }

    #[cold]
    #[inline(never)]
    fn is_long(&mut self) -> bool {
        self.since_check = 0;
        if self.done >= MANY {
            return true;
        }
        let now = self.timers.now();
        let begun = *self.begun.get_or_insert(now);
        now.saturating_duration_since(begun) >= LONG
    }
}

impl Inner {
    /// Step 1: takes in messages of other threads, as many as there is time for. Returns their
    /// number.
    pub(super) fn collect(&self) -> usize {
        let mut slice = Slice::new(&self.timers, ENTRIES_PER_CLOCK);
        self.executor.collect(|| slice.is_over_after(1))
    }

    /// Step 5: attends to the sources that requested it. Returns their number.
    pub(super) fn attend_all(&self, reactor: &Reactor) -> usize {
        let mut slice = Slice::new(&self.timers, ENTRIES_PER_CLOCK);
        let count = self.attend_requests(reactor, |weight| slice.is_over_after(weight));
        count + self.attend_backlog(reactor)
    }

    /// Attends to a few sources in the middle of a batch of tasks, not to the backlog.
    #[inline]
    pub(super) fn attend_few(&self, reactor: &Reactor) {
        if self.requests.len() > 0 {
            let mut left = SOURCES_IN_BATCH;
            self.attend_requests(reactor, |weight| {
                left = left.saturating_sub(weight);
                left == 0
            });
        }
    }

    /// Attends to the sources that requested it, until `is_enough` returns `true` for the weight of
    /// one.
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
            let weight = self.measure_visit(|| self.attend_to(reactor, key));
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

    /// Runs `visit` and returns its weight in units of [`MANY`]: a source that has used its share
    /// counts for more.
    #[inline]
    fn measure_visit(&self, visit: impl FnOnce()) -> usize {
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
    pub(super) fn dispatch_ready(&self, reactor: &Reactor) -> usize {
        let mut slice = Slice::new(&self.timers, ENTRIES_PER_CLOCK);
        let (events, handled) = self.pace.lend_events();
        let mut count = 0;
        for event in &events[handled..] {
            // A source may have left because of an earlier event of this very batch.
            let weight = self.measure_visit(|| match self.handler(event.key) {
                Some(handler) => {
                    budget::renew();
                    handler.ready(reactor, *event);
                }
                None => self.unknown_keys.note(event.key),
            });
            count += 1;
            if slice.is_over_after(weight) {
                break;
            }
        }
        self.pace.put_events(events, handled + count);
        if !self.pace.has_events() {
            self.check_unknown_keys();
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

/// A step that takes longer than this continues in the next turn.
const LONG: Duration = Duration::from_micros(250);
/// The most entries of one step, whatever time they take.
const MANY: usize = 1024;
/// The weight of a source that has used its share: eight of them are enough for a step.
const HEAVY: usize = MANY / 8;
/// The number of sources after which the clock is read, which costs a fraction of one of them.
const ENTRIES_PER_CLOCK: usize = 8;
/// The most sources that are attended to in the middle of a batch of tasks.
const SOURCES_IN_BATCH: usize = 32;
