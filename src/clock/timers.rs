//! [`Timers`]: all timers of one clock, for its owner and the handles.
//!
//! Where time passes by itself ([`Timers::passing`]), it is read each time a timer is made and at
//! each query: a delay counts from the call. Elsewhere the owner (a virtual clock, or a reactor
//! with manual or virtual time) sets it with [`set_now`](Timers::set_now), and it stands still in
//! between. Once a turn the owner calls [`absorb`](Timers::absorb), then
//! [`fire_due`](Timers::fire_due), which hands out one [`Due`] at a time. The
//! [`table`](super::table) says what a timer is and how it is stored; this file holds the borrow
//! around it, and the time.
//!
//! # Time limits
//!
//! All time limits of the crate are *limits* ([`Timers::limit`], [`Timers::limit_sleep`]). If the
//! loop was busy or the process was stopped when a limit came due, the limited work may have ended
//! in time and only waits to be seen. So an owner that does I/O does not fire limits in its pass
//! over the due timers ([`fire_due_and_hold_limits`](Timers::fire_due_and_hold_limits)), but holds
//! them, polls its I/O, calls [`release_limits`](Timers::release_limits), runs the tasks which that
//! woke, and then calls [`fire_limits`](Timers::fire_limits). A limit that was cancelled or reset
//! meanwhile does not fire. A clock without I/O fires them in their order among the other timers.
//!
//! # Invariants
//!
//! 1. No borrow is held while an action is run, woken, cloned or dropped.
//! 2. The time does not go back.
//! 3. Once closed, the table is empty and stays empty.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::mem;
use std::panic::Location;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::DelayedCall;
use super::table::{Action, Due, Key, NEVER, NO_ITEM, NO_SLOT, Table};
use crate::debug::{DumpItem, Id};
use crate::report::{self, Origin};
use crate::task::HostNotifier;

/// All timers of one clock; a cheap handle.
#[derive(Clone)]
#[allow(unnameable_types, reason = "seen by the sealed half of `Clock` only")]
pub struct Timers(Rc<Inner>);

impl Timers {
    /// Makes an empty set of timers. `base` is the zero of its time, and its first reading. The
    /// time moves by `set_now` only.
    pub(crate) fn new(base: Instant) -> Self {
        Self::starting_at(base, NO_ITEM + 1)
    }

    /// Makes timers like [`new`](Timers::new), with a time that passes by itself and is read with
    /// `read`.
    pub(crate) fn passing(base: Instant, read: fn() -> Instant) -> Self {
        Self::with(base, NO_ITEM + 1, Some(read))
    }

    /// Notifies `host` of timers that are requested or moved outside a turn.
    pub(crate) fn notify(&self, host: Rc<HostNotifier>) {
        // A clock has one owner, which calls this once.
        let _ = self.0.host.set(host);
    }

    /// Returns whether there is nothing to absorb or to fire.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        let table = self.0.table.borrow();
        table.fresh.is_empty() && table.heap.len() == 0
    }

    /// Sets the time. An earlier `now` changes nothing.
    pub(crate) fn set_now(&self, now: Instant) {
        if now > self.0.now.get() {
            self.0.now.set(now);
        }
    }

    /// Moves the timers requested since the last call into the heap.
    pub(crate) fn absorb(&self) {
        self.0.table.borrow_mut().absorb();
    }

    /// Hands each due timer to `call`, in order; returns their number.
    ///
    /// Due are the timers that were requested before this pass, have a deadline not after the time
    /// at the start of the pass, and were absorbed. `call` may do anything, also cancel or delay a
    /// timer that is due in the same pass; that timer does not run then. If `call` panics, the
    /// timers behind it stay.
    pub(crate) fn fire_due(&self, call: impl FnMut(Due)) -> usize {
        self.pass(false, call, || false)
    }

    /// Hands out timers like [`fire_due`](Timers::fire_due), but only sets due limits aside: they
    /// stay pending until [`release_limits`](Timers::release_limits) and
    /// [`fire_limits`](Timers::fire_limits).
    ///
    /// Stops after the timer at which `is_enough` returns `true`; the next pass continues with the
    /// rest.
    pub(crate) fn fire_due_and_hold_limits(
        &self,
        call: impl FnMut(Due),
        is_enough: impl FnMut() -> bool,
    ) -> usize {
        self.pass(true, call, is_enough)
    }

    fn pass(
        &self,
        holds_limits: bool,
        mut call: impl FnMut(Due),
        mut is_enough: impl FnMut() -> bool,
    ) -> usize {
        let now = self.now();
        let table = self.0.table.borrow();
        let (now, pass) = (table.nanos(now).min(NEVER - 1), table.seq);
        drop(table);
        let mut fired = 0;
        loop {
            let due = self.0.table.borrow_mut().pop_due(now, pass, holds_limits);
            let Some(due) = due else {
                if fired > 0 {
                    self.0.table.borrow_mut().give_back();
                }
                return fired;
            };
            fired += 1;
            call(due);
            if is_enough() {
                return fired;
            }
        }
    }

    /// Returns whether due limits are held.
    #[inline]
    pub(crate) fn holds_limits(&self) -> bool {
        !self.0.table.borrow().held.is_empty()
    }

    /// Releases the held limits for the next [`fire_limits`](Timers::fire_limits).
    pub(crate) fn release_limits(&self) {
        self.0.table.borrow_mut().release_held();
    }

    /// Hands the released limits to `call`, in the order in which they came due, until `is_enough`
    /// returns `true` after one. The rest stays released. Returns whether that was all.
    pub(crate) fn fire_limits(
        &self,
        mut call: impl FnMut(Due),
        mut is_enough: impl FnMut() -> bool,
    ) -> bool {
        loop {
            let due = self.0.table.borrow_mut().pop_released();
            let Some(due) = due else { return true };
            call(due);
            if is_enough() {
                return false;
            }
        }
    }

    /// Drops every timer and accepts no more.
    ///
    /// Sleeping tasks are woken, and find that the clock has stopped. A later call is dropped at
    /// once.
    pub(crate) fn clear(&self) {
        self.0.closed.set(true);
        let mut entries = {
            let mut table = self.0.table.borrow_mut();
            let new = Table::new(table.seq, self.0.base);
            mem::replace(&mut *table, new).entries
        };
        for entry in &mut entries {
            // Wakes come before drops, so that a destructor that panics leaves no task asleep.
            let vacant = Action::Vacant { next: NO_SLOT };
            match mem::replace(&mut entry.action, vacant) {
                Action::Wake(waker) | Action::WakeLimit(waker) => {
                    report::contain(Origin::Destructor, entry.location, || waker.wake());
                }
                call => entry.action = call,
            }
        }
        for entry in entries {
            report::discard(entry.action, entry.location);
        }
    }

    /// Returns the time: read now where it passes by itself, otherwise as last set.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        if let Some(read) = self.0.read {
            self.set_now(read());
        }
        self.0.now.get()
    }

    /// Returns the instant `delay` after `instant`, or one too far away ever to come.
    #[inline]
    pub(crate) fn later(&self, instant: Instant, delay: Duration) -> Instant {
        match instant.checked_add(delay) {
            Some(later) => later,
            None => self.instant(NEVER),
        }
    }

    /// Makes a call that was requested at `location`.
    pub(crate) fn call_at(
        &self,
        deadline: Instant,
        location: &'static Location<'static>,
        f: impl FnOnce() + 'static,
    ) -> DelayedCall {
        DelayedCall::request(self, deadline, Box::new(f), location)
    }

    /// Calls `f` when an operation takes longer than `limit`, counted from this call. The owner of
    /// the limit cancels the call when the operation is done, or resets it when there was progress.
    ///
    /// Unlike other calls it comes after everything that arrived in time, even if the loop notices
    /// that late: see the module docs.
    pub(crate) fn limit(
        &self,
        limit: Duration,
        location: &'static Location<'static>,
        f: impl FnOnce() + 'static,
    ) -> DelayedCall {
        DelayedCall::request_limit(self, self.after(limit), Box::new(f), location)
    }

    /// Returns when to check again: never late, and early only because of a timer that was delayed
    /// since.
    ///
    /// `None` if there is nothing to wait for; timers too far away ever to come due do not count.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.0.table.borrow_mut().next_deadline();
        (next != NEVER).then(|| self.instant(next))
    }

    /// Returns whether the timers were cleared.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Returns the pending calls, in the order in which they will run.
    pub(crate) fn list(&self) -> Vec<DelayedCall> {
        let table = self.0.table.borrow();
        table
            .in_order()
            .into_iter()
            .filter(|(_, _, entry)| matches!(entry.action, Action::Call(_) | Action::Limit(_)))
            .map(|(key, _, entry)| DelayedCall::new(self.clone(), key, entry.location))
            .collect()
    }

    /// Returns everything that is pending: kind, deadline, and the line that requested it.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn pending(&self) -> Vec<(&'static str, Instant, &'static Location<'static>)> {
        let table = self.0.table.borrow();
        table
            .in_order()
            .into_iter()
            .map(|(_, time, entry)| (entry.action.kind(), time.deadline, entry.location))
            .collect()
    }

    /// Returns everything that is pending for a dump, in the order in which it will come due.
    pub(crate) fn dump_items(&self) -> Vec<DumpItem> {
        let keys: Vec<Key> = {
            let table = self.0.table.borrow();
            table.in_order().into_iter().map(|(key, ..)| key).collect()
        };
        keys.into_iter()
            .filter_map(|key| self.dump_item(key))
            .collect()
    }

    /// Returns the same for one timer, if it is pending.
    pub(super) fn dump_item(&self, key: Key) -> Option<DumpItem> {
        let left = self.left(key)?;
        let mut table = self.0.table.borrow_mut();
        let location = table.location(key)?;
        let kind = table.action(key)?.kind();
        Some(DumpItem {
            id: Id::Timer(Rc::as_ptr(&self.0).addr(), key.number()),
            kind,
            name: None,
            location,
            about: format!("due in {left:?}"),
            waits: Vec::new(),
        })
    }

    /// Adds a timer; returns its action if no more are accepted.
    #[inline]
    pub(super) fn request(
        &self,
        deadline: Instant,
        action: Action,
        location: &'static Location<'static>,
    ) -> Result<Key, Action> {
        if self.0.closed.get() {
            return Err(action);
        }
        self.deadline_changed();
        Ok(self
            .0
            .table
            .borrow_mut()
            .request(deadline, action, location))
    }

    /// Frees the entry of `key`; returns `false` if it is not pending.
    #[inline]
    pub(super) fn cancel(&self, key: Key) -> bool {
        let cancelled = self.0.table.borrow_mut().cancel(key);
        // Its destructor finds the timer gone and nothing borrowed.
        match cancelled {
            Some((action, location)) => report::discard(action, location),
            None => return false,
        }
        true
    }

    /// Sets the deadline to what `new` makes of the present one; returns `false` if the timer is
    /// not pending.
    #[inline]
    pub(super) fn reset(&self, key: Key, new: impl FnOnce(Instant) -> Instant) -> bool {
        self.deadline_changed();
        self.0.table.borrow_mut().reset(key, new)
    }

    /// Notifies a host loop that sleeps until the next deadline, so that it checks again.
    #[inline]
    fn deadline_changed(&self) {
        if let Some(host) = self.0.host.get() {
            host.work_added();
        }
    }

    /// Stores `waker` as the one to wake; returns `false` if the timer is not pending.
    pub(super) fn watch(&self, key: Key, waker: &Waker) -> bool {
        let wake: fn(Waker) -> Action = match self.0.table.borrow_mut().action(key) {
            Some(Action::Wake(old) | Action::WakeLimit(old)) if old.will_wake(waker) => {
                return true;
            }
            Some(Action::WakeLimit(_)) => Action::WakeLimit,
            Some(_) => Action::Wake,
            None => return false,
        };
        let new = wake(waker.clone());
        let replaced = match self.0.table.borrow_mut().action(key) {
            Some(action) => Ok(mem::replace(action, new)),
            None => Err(new),
        };
        let is_pending = replaced.is_ok();
        report::discard(replaced, Location::caller());
        is_pending
    }

    /// Returns the deadline, if the timer is pending.
    pub(super) fn deadline(&self, key: Key) -> Option<Instant> {
        self.0.table.borrow().time(key).map(|time| time.deadline)
    }

    /// Returns the time `delay` from now.
    #[inline]
    pub(super) fn after(&self, delay: Duration) -> Instant {
        self.later(self.now(), delay)
    }

    /// Returns the instant this many nanoseconds after the base. [`NEVER`] is some instant
    /// centuries away.
    #[cold]
    pub(super) fn instant(&self, nanos: u64) -> Instant {
        let far = || self.0.base + CENTURY;
        self.0
            .base
            .checked_add(Duration::from_nanos(nanos))
            .unwrap_or_else(far)
    }

    /// Returns the time left until `deadline`; zero if it has passed.
    pub(super) fn until(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.now())
    }

    /// Returns the time left until the timer fires, if it is pending.
    pub(super) fn left(&self, key: Key) -> Option<Duration> {
        Some(self.until(self.deadline(key)?))
    }

    /// Returns whether `deadline` had passed when the time was last read or set. True for every
    /// timer that has fired.
    pub(super) fn has_come(&self, deadline: Instant) -> bool {
        deadline <= self.0.now.get()
    }

    /// Returns whether time passes by itself.
    pub(super) fn passes(&self) -> bool {
        self.0.read.is_some()
    }

    /// Returns whether a requested timer with this deadline is certainly pending. (A due timer may
    /// be.)
    #[inline]
    pub(super) fn is_to_come(&self, deadline: Instant) -> bool {
        !self.has_come(deadline) && !self.0.closed.get()
    }

    /// Makes timers like [`new`](Timers::new); the first request has the number `seq`, which is not
    /// [`NO_ITEM`].
    pub(super) fn starting_at(base: Instant, seq: u32) -> Self {
        Self::with(base, seq, None)
    }

    fn with(base: Instant, seq: u32, read: Option<fn() -> Instant>) -> Self {
        Self(Rc::new(Inner {
            base,
            now: Cell::new(base),
            closed: Cell::new(false),
            read,
            host: OnceCell::new(),
            table: RefCell::new(Table::new(seq, base)),
        }))
    }

    /// Returns the number of items, stale ones included.
    #[cfg(test)]
    pub(super) fn items(&self) -> usize {
        let table = self.0.table.borrow();
        table.heap.len() + table.fresh.len() + table.held.len()
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.table.borrow();
        f.debug_struct("Timers")
            .field("now", &self.0.now.get().duration_since(self.0.base))
            .field("pending", &table.live)
            .field("in_heap", &table.heap.len())
            .field("fresh", &table.fresh.len())
            .finish_non_exhaustive()
    }
}

struct Inner {
    /// The zero of this clock's nanoseconds.
    base: Instant,
    /// The time as last read or set.
    now: Cell<Instant>,
    /// Whether it was cleared, and accepts no more timers.
    closed: Cell<bool>,
    /// Reads the time, where it passes by itself.
    read: Option<fn() -> Instant>,
    /// Notified of timers that are requested outside a turn.
    host: OnceCell<Rc<HostNotifier>>,
    table: RefCell<Table>,
}

/// Replaces [`NEVER`] where an `Instant` does not reach so far.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use crate::clock::table::{LAST_GENERATION, Time, TimerEntry};

    const SECOND: Duration = Duration::from_secs(1);

    fn timers() -> Timers {
        Timers::new(Instant::now())
    }

    #[track_caller]
    fn request(timers: &Timers, delay: Duration, f: impl FnOnce() + 'static) -> Key {
        let action = Action::Call(Box::new(f));
        match timers.request(timers.after(delay), action, Location::caller()) {
            Ok(key) => key,
            Err(_) => panic!("the clock has stopped"),
        }
    }

    /// Makes one turn, `step` later.
    fn turn(timers: &Timers, step: Duration) -> usize {
        timers.absorb();
        timers.set_now(timers.now() + step);
        timers.fire_due(|due| match due {
            Due::Call(f, _) => f(),
            Due::Wake(waker) => waker.wake(),
        })
    }

    /// Uses the timers when it is dropped.
    struct ReentrantDrop(Timers, Option<Key>);

    impl Drop for ReentrantDrop {
        fn drop(&mut self) {
            if let Some(sibling) = self.1 {
                self.0.cancel(sibling);
            }
            let timers = self.0.clone();
            let action = Action::Call(Box::new(|| ()));
            drop(timers.request(timers.after(SECOND), action, Location::caller()));
        }
    }

    #[test]
    fn a_timer_requested_in_a_pass_waits_for_the_next() {
        let timers = timers();
        let again = timers.clone();
        request(&timers, Duration::ZERO, move || {
            request(&again, Duration::ZERO, || ());
            again.absorb();
            again.next_deadline();
        });
        assert_eq!(turn(&timers, Duration::ZERO), 1);
        assert_eq!(turn(&timers, Duration::ZERO), 1);
        assert_eq!(turn(&timers, Duration::ZERO), 0);
    }

    #[test]
    fn a_due_timer_that_is_reset_in_the_pass_waits_for_the_next() {
        for back in [Duration::ZERO, SECOND] {
            let timers = timers();
            let (again, sibling) = (timers.clone(), Rc::new(Cell::new(Key::NONE)));
            let its_key = sibling.clone();
            request(&timers, SECOND, move || {
                // No delay from now, or earlier: sooner than it was, and later.
                let deadline = again.after(Duration::ZERO) - back;
                assert!(again.reset(its_key.get(), |_| deadline));
            });
            sibling.set(request(&timers, SECOND + Duration::from_nanos(1), || ()));
            assert_eq!(turn(&timers, SECOND * 2), 1);
            assert_eq!(turn(&timers, Duration::ZERO), 1);
        }
    }

    #[test]
    fn a_due_timer_that_is_cancelled_in_the_pass_does_not_run() {
        let timers = timers();
        let (again, sibling) = (timers.clone(), Rc::new(Cell::new(Key::NONE)));
        let its_key = sibling.clone();
        request(&timers, SECOND, move || {
            assert!(again.cancel(its_key.get()))
        });
        sibling.set(request(&timers, SECOND, || unreachable!()));
        assert_eq!(turn(&timers, SECOND), 1);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_timer_that_runs_is_no_longer_pending() {
        let timers = timers();
        let (again, own) = (timers.clone(), Rc::new(Cell::new(Key::NONE)));
        let own_key = own.clone();
        own.set(request(&timers, Duration::ZERO, move || {
            let key = own_key.get();
            assert_eq!(again.deadline(key), None);
            assert!(!again.cancel(key));
            assert!(!again.reset(key, |old| old));
        }));
        assert_eq!(turn(&timers, Duration::ZERO), 1);
    }

    #[test]
    fn a_key_is_not_valid_for_the_next_timer_in_its_slot() {
        let timers = timers();
        let old = request(&timers, SECOND, || ());
        assert!(timers.cancel(old));
        let new = request(&timers, SECOND, || ());
        assert_eq!(old.slot, new.slot);
        assert!(!timers.cancel(old));
        assert!(timers.cancel(new));
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_is_retired() {
        let timers = timers();
        timers.cancel(request(&timers, SECOND, || ()));
        timers.0.table.borrow_mut().times[0].generation = LAST_GENERATION - 1;
        let last = request(&timers, SECOND, || ());
        assert_eq!(last.slot, 0);
        assert!(timers.cancel(last));
        assert_eq!(request(&timers, SECOND, || ()).slot, 1);
        assert_eq!(request(&timers, SECOND, || ()).slot, 2);
        assert_eq!(turn(&timers, SECOND), 2);
    }

    #[test]
    fn delaying_touches_neither_the_heap_nor_the_fresh_items() {
        let timers = timers();
        let keys: Vec<_> = (0..100).map(|_| request(&timers, SECOND, || ())).collect();
        timers.absorb();
        for i in 1..100 {
            for &key in &keys {
                assert!(timers.reset(key, |_| timers.0.base + SECOND * (i + 1)));
            }
        }
        // Also back, as long as it is not before the item surfaces.
        for &key in &keys {
            assert!(timers.reset(key, |_| timers.0.base + SECOND * 2));
        }
        assert_eq!(timers.items(), 100);
        assert_eq!(timers.next_deadline(), Some(timers.0.base + SECOND));
        assert_eq!(turn(&timers, SECOND), 0);
        assert_eq!(timers.next_deadline(), Some(timers.0.base + SECOND * 2));
        assert_eq!(turn(&timers, SECOND), 100);
    }

    #[test]
    fn bringing_forward_takes_effect_at_once() {
        let timers = timers();
        let key = request(&timers, SECOND * 9, || ());
        timers.absorb();
        let base = timers.0.base;
        assert!(timers.reset(key, |_| base + SECOND));
        assert_eq!(timers.next_deadline(), Some(base + SECOND));
        // Delayed again, but less than before: that needs no new item.
        assert!(timers.reset(key, |_| base + SECOND * 2));
        assert!(timers.reset(key, |_| base + SECOND));
        assert_eq!(timers.items(), 1);
        assert_eq!(turn(&timers, SECOND), 1);
        assert_eq!(turn(&timers, SECOND * 9), 0);
        assert_eq!(timers.items(), 0);
    }

    #[test]
    fn a_timer_that_gets_the_number_of_a_stale_item_does_not_fire_early() {
        let timers = timers();
        let number = timers.0.table.borrow().seq;
        let stale = request(&timers, SECOND, || ());
        timers.absorb();
        timers.cancel(stale);
        // As if 2^32 timers had been requested.
        timers.0.table.borrow_mut().seq = number;
        request(&timers, SECOND * 5, || ());
        assert_eq!(turn(&timers, SECOND * 4), 0);
        assert_eq!(turn(&timers, SECOND), 1);
        assert_eq!(turn(&timers, SECOND), 0);
        assert_eq!(timers.items(), 0);
    }

    #[test]
    fn schedule_and_cancel_leave_no_heap_behind() {
        const LIVE: usize = 500;
        for turns_every in [usize::MAX, 1, 7, 5_000] {
            let timers = timers();
            let mut recent = Vec::new();
            let mut worst = 0;
            for i in 0..200_000 {
                recent.push(request(&timers, SECOND * 60, || ()));
                if recent.len() > LIVE {
                    // Neither the newest nor the oldest.
                    let key = recent.swap_remove(i * 7 % LIVE);
                    assert!(timers.cancel(key));
                }
                if i % turns_every == turns_every - 1 {
                    timers.absorb();
                }
                worst = worst.max(timers.items());
            }
            assert!(worst <= 2 * LIVE + 1_000, "{worst} items for {LIVE} timers");
            assert!(timers.0.table.borrow().items.len() <= LIVE + 1);
        }
    }

    #[test]
    fn after_a_peak_the_table_is_short_again() {
        const PEAK: usize = 100_000;
        let room = |timers: &Timers| timers.0.table.borrow().items.capacity();
        for fires in [false, true] {
            let timers = timers();
            let keys: Vec<_> = (0..PEAK).map(|_| request(&timers, SECOND, || ())).collect();
            let last = request(&timers, SECOND * 2, || ());
            timers.absorb();
            if fires {
                assert_eq!(turn(&timers, SECOND), PEAK);
            } else {
                for &key in &keys {
                    assert!(timers.cancel(key));
                }
            }
            // The last entry is in use, until it is freed as well.
            timers.next_deadline();
            assert!(room(&timers) > PEAK);
            assert!(timers.deadline(last).is_some());
            assert_eq!(turn(&timers, SECOND * 2), 1);
            timers.next_deadline();
            assert!(room(&timers) < 2_000);
            // Old keys are not valid for the timers that have their slots now.
            for _ in 0..PEAK {
                request(&timers, SECOND, || ());
            }
            assert!(keys.iter().all(|&key| !timers.cancel(key)) && !timers.cancel(last));
            assert_eq!(turn(&timers, SECOND * 2), PEAK);
        }
    }

    #[test]
    fn bringing_forward_again_and_again_leaves_no_heap_behind() {
        let timers = timers();
        let keys: Vec<_> = (0..500)
            .map(|_| request(&timers, SECOND * 60, || ()))
            .collect();
        for i in 0..200_000 {
            timers.reset(keys[i % 500], |old| old - Duration::from_nanos(1));
            if i % 1_000 == 0 {
                timers.absorb();
            }
            assert!(timers.items() <= 2_000);
        }
    }

    #[test]
    fn destructors_find_nothing_borrowed() {
        let timers = timers();
        let sibling = request(&timers, SECOND, || unreachable!());
        let meddler = ReentrantDrop(timers.clone(), Some(sibling));
        let key = request(&timers, SECOND, move || drop(meddler));
        assert!(timers.cancel(key));
        assert_eq!(timers.deadline(sibling), None);
        assert_eq!(timers.pending().len(), 1);

        let meddler = ReentrantDrop(timers.clone(), None);
        request(&timers, SECOND, move || drop(meddler));
        timers.clear();
        assert!(timers.is_closed());
        assert!(timers.pending().is_empty());
        let meddler = ReentrantDrop(timers.clone(), None);
        let refused = Action::Call(Box::new(move || drop(meddler)));
        assert!(
            timers
                .request(timers.now(), refused, Location::caller())
                .is_err()
        );
        assert_eq!(timers.items(), 0);
    }

    #[test]
    fn time_does_not_go_back() {
        let timers = timers();
        let start = timers.now();
        timers.set_now(start + SECOND);
        timers.set_now(start);
        assert_eq!(timers.now(), start + SECOND);
    }

    #[test]
    fn passing_time_is_read_for_each_timer_and_does_not_go_back() {
        thread_local! {
            static READ: Cell<Option<Instant>> = const { Cell::new(None) };
        }
        let start = Instant::now();
        let timers = Timers::passing(start, || READ.get().expect("it was set"));
        READ.set(Some(start + SECOND * 2));
        let early = request(&timers, SECOND, || ());
        assert_eq!(timers.deadline(early), Some(start + SECOND * 3));
        READ.set(Some(start + SECOND * 4));
        let late = request(&timers, SECOND, || ());
        assert_eq!(timers.deadline(late), Some(start + SECOND * 5));
        assert_eq!(timers.now(), start + SECOND * 4);
        READ.set(Some(start + SECOND));
        assert_eq!(timers.now(), start + SECOND * 4);
        assert_eq!(timers.later(start, SECOND), start + SECOND);
        let never = timers.later(start, Duration::MAX);
        assert_eq!(timers.0.table.borrow().nanos(never), NEVER);
    }

    #[test]
    fn no_delay_is_too_long_and_no_deadline_too_early() {
        let timers = timers();
        timers.set_now(timers.now() + SECOND);
        request(&timers, Duration::MAX, || unreachable!());
        request(
            &timers,
            Duration::from_secs(u64::MAX / 2),
            || unreachable!(),
        );
        timers.absorb();
        assert_eq!(timers.next_deadline(), None);
        if let Some(long_ago) = timers.now().checked_sub(SECOND * 60) {
            assert_eq!(timers.0.table.borrow().nanos(long_ago), 0);
        }
        let key = request(&timers, SECOND, || unreachable!());
        assert!(timers.reset(key, |old| timers.later(old, Duration::MAX)));
        timers.set_now(timers.instant(NEVER));
        assert_eq!(turn(&timers, Duration::ZERO), 0);
        assert_eq!(timers.pending().len(), 3);
    }

    #[test]
    fn entries_have_their_documented_sizes() {
        assert_eq!(size_of::<Time>(), 32);
        assert_eq!(size_of::<TimerEntry>(), 32);
        assert_eq!(size_of::<DelayedCall>(), 24);
    }
}
