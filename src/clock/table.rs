//! The table of timers: the action and the time of each.
//!
//! A timer is an *entry* in a table (the action, and the deadline that counts) and an *item* in a
//! [heap](super::heap) (when to look at the entry). The two may disagree, which makes the common
//! operations cheap: cancelling frees the entry and leaves the item behind, *stale*; delaying
//! changes the entry and leaves the item in place, to be corrected when it surfaces. Only a timer
//! that is brought forward needs a new item. An item is put among the *fresh* ones first and moves
//! into the heap at the start of the next turn, so that a timer that is cancelled before that never
//! touches the heap.
//!
//! A timer is identified by its slot in the table and the generation of that slot, which changes
//! when the entry is freed, and not when the timer is reset. A slot whose generations are used up
//! (four billion timers) is retired, so that a handle, however old, never refers to another timer.
//!
//! A *limit* is a timer that ends something which takes too long. That may have ended in time
//! without the loop having seen it yet, so where the owner does I/O, a limit that comes due is not
//! handed out at once: it is *held*, still pending, until the owner has polled its I/O (see
//! [`Timers`](super::Timers)).
//!
//! Nothing here runs or drops user code: it is handed out.
//!
//! An entry's deadline is an `Instant`, as it was requested. The heap counts in nanoseconds since
//! the clock's base, in 64 bits: 584 years; what lies beyond is [`NEVER`]. A deadline is converted
//! only when an item is made of it, so a timer that is delayed again and again is never converted.
//!
//! # Invariants
//!
//! 1. Each entry in use has exactly one item that is not stale: the one whose `seq` is in `items`.
//!    It is in the heap, among the fresh items or among those held, and surfaces (at `surfaces`) no
//!    later than the entry's deadline.
//! 2. The entry's deadline is what counts: an item that surfaces before it is put back with that
//!    deadline. So nothing fires early, even if a number is reused while a stale item still has it.
//! 3. Timers fire by deadline, then in the order of the requests. Delaying and bringing forward
//!    count as new requests.
//! 4. A timer that is requested during a pass waits for the next pass, whatever its deadline.
//! 5. An entry is freed before its action is handed out: a timer that runs is no longer pending.
//! 6. Stale items are at most half of the heap, or fifty, and the same holds for the fresh items.
//! 7. A held limit can be cancelled and reset like any other timer. Cancelled, it is not handed
//!    out; delayed, it returns to the heap when it is looked at again.
//! 8. The table ends with an entry in use, or is not much longer than its entries in use, or few
//!    entries were freed since the last check. A slot that was removed and is added again begins
//!    with a generation that no removed slot has had.

use std::collections::VecDeque;
use std::mem;
use std::panic::Location;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::heap::{self, Heap, Item};
use crate::index;

/// A timer that has come due.
pub(crate) enum Due {
    /// A call, and the line that requested it.
    Call(Box<dyn FnOnce()>, &'static Location<'static>),
    /// A sleeping task.
    Wake(Waker),
}

/// The action of a timer.
pub(super) enum Action {
    Call(Box<dyn FnOnce()>),
    Wake(Waker),
    /// A call at the end of a limit.
    Limit(Box<dyn FnOnce()>),
    /// A wake at the end of a limit.
    WakeLimit(Waker),
    /// No action: the entry is free. `next` is the next free entry, or [`NO_SLOT`].
    Vacant {
        next: u32,
    },
}

impl Action {
    fn is_limit(&self) -> bool {
        matches!(self, Self::Limit(_) | Self::WakeLimit(_))
    }

    /// Returns the name of the kind, for dumps.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Wake(_) => "sleep",
            Self::Limit(_) | Self::WakeLimit(_) => "time limit",
            Self::Call(_) | Self::Vacant { .. } => "delayed call",
        }
    }
}

/// The key of a timer: a slot in the table, and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    generation: u32,
    pub(super) slot: u32,
}

impl Key {
    /// Returns a number that no other timer of the same clock has.
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The key of no timer.
    pub(super) const NONE: Self = Self {
        generation: 0,
        slot: NO_SLOT,
    };
}

/// The table has three columns, because a walk through a million timers needs only one of them.
pub(super) struct Table {
    /// The `seq` of each entry's item; [`NO_ITEM`] if the entry is free. Small, because it is read
    /// with every item when the heap is cleaned.
    pub(super) items: Vec<u32>,
    pub(super) times: Vec<Time>,
    pub(super) entries: Vec<TimerEntry>,
    /// The first free entry, or [`NO_SLOT`].
    vacant: u32,
    /// The number of entries in use.
    pub(super) live: usize,
    /// The number of entries freed since the length of the table was last checked.
    freed: usize,
    /// The last entry in use at that check, and how often it may be checked again when that is
    /// free.
    last: u32,
    checks_left: u32,
    /// The generation of an entry that is added.
    generation: u32,
    pub(super) heap: Heap,
    /// Items not yet in the heap.
    pub(super) fresh: Vec<Item>,
    /// Items of limits that have come due and wait for the owner.
    pub(super) held: VecDeque<Item>,
    /// The number of held items, from the front, that are handed out next.
    released: usize,
    /// The number of stale items in the heap. Exact except for reused numbers.
    stale: usize,
    /// The number of stale items among the fresh ones.
    stale_fresh: usize,
    /// The number of the next request. Wraps around, and is never [`NO_ITEM`].
    pub(super) seq: u32,
    /// The `seq` at which there last were no fresh items: theirs begin here.
    absorbed: u32,
    /// The zero of the heap's nanoseconds.
    base: Instant,
}

/// The times of an entry: everything that is read and written when it is delayed.
pub(super) struct Time {
    /// When the timer fires.
    pub(super) deadline: Instant,
    /// When the item surfaces: the item's deadline, never after the entry's (invariant 1).
    surfaces: u64,
    /// The number of the last request; differs from the item's only when the timer was delayed.
    order: u32,
    /// Counts the timers that have had this slot. A key is valid only while it is equal.
    pub(super) generation: u32,
}

/// The action of an entry.
pub(super) struct TimerEntry {
    /// The line that requested it.
    pub(super) location: &'static Location<'static>,
    pub(super) action: Action,
}

impl Table {
    /// Makes an empty table; the first request has the number `seq`.
    pub(super) fn new(seq: u32, base: Instant) -> Self {
        Self {
            items: Vec::new(),
            times: Vec::new(),
            entries: Vec::new(),
            vacant: NO_SLOT,
            live: 0,
            freed: 0,
            last: NO_SLOT,
            checks_left: MAX_CHECKS,
            generation: 0,
            heap: Heap::default(),
            fresh: Vec::new(),
            held: VecDeque::new(),
            released: 0,
            stale: 0,
            stale_fresh: 0,
            seq,
            absorbed: seq,
            base,
        }
    }

    /// Adds a timer.
    #[inline]
    pub(super) fn request(
        &mut self,
        deadline: Instant,
        action: Action,
        location: &'static Location<'static>,
    ) -> Key {
        let surfaces = self.nanos(deadline);
        if self.vacant == NO_SLOT {
            self.add_slot();
        }
        let slot = self.vacant;
        let seq = self.next_seq();
        let at = slot as usize;
        let entry = &mut self.entries[at];
        if let Action::Vacant { next } = entry.action {
            self.vacant = next;
        }
        *entry = TimerEntry { location, action };
        let time = &mut self.times[at];
        let generation = time.generation;
        *time = Time {
            deadline,
            surfaces,
            order: seq,
            generation,
        };
        self.items[at] = seq;
        self.live += 1;
        self.fresh.push(Item {
            deadline: surfaces,
            seq,
            slot,
        });
        Key { generation, slot }
    }

    /// Removes a timer, if it is pending. Returns its action, and the line that requested it.
    #[inline]
    pub(super) fn cancel(&mut self, key: Key) -> Option<(Action, &'static Location<'static>)> {
        self.time(key)?;
        let (item, location) = (
            self.items[key.slot as usize],
            self.entries[key.slot as usize].location,
        );
        let action = self.free(key.slot);
        self.count_stale(item, key.slot);
        Some((action, location))
    }

    /// Sets the deadline to what `new` makes of the present one. Returns `false` if the timer is
    /// not pending.
    #[inline]
    pub(super) fn reset(&mut self, key: Key, new: impl FnOnce(Instant) -> Instant) -> bool {
        let seq = self.seq;
        let Some(time) = self
            .times
            .get_mut(key.slot as usize)
            .filter(|time| time.generation == key.generation)
        else {
            return false;
        };
        let old = time.deadline;
        time.deadline = new(old);
        time.order = seq;
        if time.deadline < old {
            self.bring_forward(key.slot, seq);
        }
        self.next_seq();
        true
    }

    /// Handles a deadline that is sooner than it was: the item may have to surface sooner.
    #[inline(never)]
    fn bring_forward(&mut self, slot: u32, seq: u32) {
        let at = slot as usize;
        let deadline = self.nanos(self.times[at].deadline);
        if deadline >= self.times[at].surfaces {
            return;
        }
        self.times[at].surfaces = deadline;
        let old = mem::replace(&mut self.items[at], seq);
        self.count_stale(old, slot);
        self.fresh.push(Item {
            deadline,
            seq,
            slot,
        });
    }

    /// Converts a deadline to the heap's nanoseconds. What lies before the base is at the base.
    #[inline]
    pub(super) fn nanos(&self, deadline: Instant) -> u64 {
        nanos(deadline.saturating_duration_since(self.base))
    }

    /// Makes a new item for an entry, which replaces its present one.
    fn renew_item(&mut self, slot: u32) -> Item {
        let at = slot as usize;
        let deadline = self.nanos(self.times[at].deadline);
        let time = &mut self.times[at];
        time.surfaces = deadline;
        self.items[at] = time.order;
        Item {
            deadline,
            seq: time.order,
            slot,
        }
    }

    /// Moves the fresh items into the heap, and gives memory back.
    pub(super) fn absorb(&mut self) {
        for item in self.fresh.drain(..) {
            if self.items[item.slot as usize] == item.seq {
                self.heap.push(item);
            }
        }
        self.stale_fresh = 0;
        self.absorbed = self.seq;
        self.give_back();
    }

    /// Takes out the next timer due at `now` that was requested before the pass that began at the
    /// number `pass`. With `holds_limits`, limits among them are held.
    pub(super) fn pop_due(&mut self, now: u64, pass: u32, holds_limits: bool) -> Option<Due> {
        loop {
            let first = self.heap.first()?;
            if first.deadline > now {
                return None;
            }
            let at = first.slot as usize;
            if self.items[at] != first.seq {
                self.drop_stale_first();
                continue;
            }
            let time = &self.times[at];
            let is_in_place = time.order == first.seq && time.surfaces == first.deadline;
            let item = match is_in_place {
                true => first,
                false => self.renew_item(first.slot),
            };
            if item.seq.wrapping_sub(pass) < self.seq.wrapping_sub(pass) {
                // Requested since the pass began (invariant 4).
                self.heap.pop();
                self.fresh.push(item);
            } else if item != first {
                self.heap.replace_first(item);
            } else if holds_limits && self.entries[at].action.is_limit() {
                self.heap.pop();
                self.held.push_back(item);
            } else {
                self.heap.pop();
                if let Some(due) = self.take_due_entry(item.slot) {
                    return Some(due);
                }
            }
        }
    }

    /// Frees an entry and returns its action as due.
    fn take_due_entry(&mut self, slot: u32) -> Option<Due> {
        let location = self.entries[slot as usize].location;
        match self.free(slot) {
            Action::Call(f) | Action::Limit(f) => Some(Due::Call(f, location)),
            Action::Wake(waker) | Action::WakeLimit(waker) => Some(Due::Wake(waker)),
            Action::Vacant { .. } => None,
        }
    }

    /// Releases the limits that are held now, for [`pop_released`](Self::pop_released).
    pub(super) fn release_held(&mut self) {
        self.released = self.held.len();
    }

    /// Takes out the next released limit that was not cancelled or delayed since it came due.
    pub(super) fn pop_released(&mut self) -> Option<Due> {
        while self.released > 0 {
            self.released -= 1;
            let item = self.held.pop_front()?;
            let at = item.slot as usize;
            if self.items[at] != item.seq {
                // It was counted as stale in the heap when it became stale.
                self.stale = self.stale.saturating_sub(1);
                continue;
            }
            let time = &self.times[at];
            if time.order == item.seq && time.surfaces == item.deadline {
                if let Some(due) = self.take_due_entry(item.slot) {
                    return Some(due);
                }
                continue;
            }
            let item = self.renew_item(item.slot);
            if self.is_fresh(item.seq) {
                self.fresh.push(item);
            } else {
                self.heap.push(item);
            }
        }
        None
    }

    /// Returns whether this number was given since there last were no fresh items.
    #[inline]
    fn is_fresh(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.absorbed) < self.seq.wrapping_sub(self.absorbed)
    }

    /// Returns when to check again, or [`NEVER`]. Drops stale items at the front, and gives memory
    /// back.
    pub(super) fn next_deadline(&mut self) -> u64 {
        self.give_back();
        let mut next = loop {
            match self.heap.first() {
                Some(first) if self.items[first.slot as usize] != first.seq => {
                    self.drop_stale_first();
                }
                Some(first) => break first.deadline,
                None => break NEVER,
            }
        };
        for item in &self.fresh {
            if item.deadline < next && self.items[item.slot as usize] == item.seq {
                next = item.deadline;
            }
        }
        next
    }

    fn drop_stale_first(&mut self) {
        self.heap.pop();
        self.stale = self.stale.saturating_sub(1);
    }

    /// Counts an item that has become stale, and cleans up when there are too many (invariant 6).
    #[inline]
    fn count_stale(&mut self, seq: u32, slot: u32) {
        if self.is_fresh(seq) {
            if self
                .fresh
                .last()
                .is_some_and(|last| last.seq == seq && last.slot == slot)
            {
                self.fresh.pop();
                return;
            }
            self.stale_fresh += 1;
            if self.stale_fresh > MIN_STALE && self.stale_fresh > self.fresh.len() / 2 {
                self.tidy_fresh();
            }
        } else {
            self.stale += 1;
            if self.stale > MIN_STALE && self.stale > self.heap.len() / 2 {
                self.tidy_heap();
            }
        }
    }

    /// Gives back memory that is unused since a peak.
    #[inline]
    pub(super) fn give_back(&mut self) {
        self.heap.shrink();
        heap::shrink(&mut self.fresh);
        let len = self.items.len();
        if len > 4 * self.live + heap::MANY && self.held.is_empty() {
            let last = self.items.get(self.last as usize);
            let is_in_the_way = last.is_some_and(|item| *item != NO_ITEM);
            if self.freed > len / 8 || (!is_in_the_way && self.checks_left > 0) {
                self.shorten();
            }
        }
    }

    /// Removes the free entries at the end of the table.
    #[cold]
    fn shorten(&mut self) {
        self.freed = 0;
        self.checks_left = self.checks_left.saturating_sub(1);
        // No stale item is left that could refer to them.
        self.tidy_fresh();
        self.tidy_heap();
        self.held.shrink_to(heap::MANY);
        while let (Some(&NO_ITEM), Some(time)) = (self.items.last(), self.times.last()) {
            if time.generation == LAST_GENERATION {
                break;
            }
            self.generation = self.generation.max(time.generation);
            self.items.pop();
            self.times.pop();
            self.entries.pop();
        }
        self.last = (self.items.len() as u32).wrapping_sub(1);
        // The first slots are used first, so that the last ones become free.
        self.vacant = NO_SLOT;
        for slot in (0..self.items.len()).rev() {
            if self.items[slot] == NO_ITEM && self.times[slot].generation < LAST_GENERATION {
                self.entries[slot].action = Action::Vacant { next: self.vacant };
                self.vacant = slot as u32;
            }
        }
        heap::shrink(&mut self.items);
        heap::shrink(&mut self.times);
        heap::shrink(&mut self.entries);
        self.heap.shrink();
        heap::shrink(&mut self.fresh);
    }

    #[cold]
    fn tidy_fresh(&mut self) {
        let items = &self.items;
        self.fresh
            .retain(|item| items[item.slot as usize] == item.seq);
        self.stale_fresh = 0;
    }

    #[cold]
    fn tidy_heap(&mut self) {
        let items = &self.items;
        self.heap
            .retain(|item| items[item.slot as usize] == item.seq);
        self.stale = 0;
    }

    /// Frees an entry; returns its action.
    #[inline]
    fn free(&mut self, slot: u32) -> Action {
        let at = slot as usize;
        self.items[at] = NO_ITEM;
        self.live -= 1;
        self.freed += 1;
        let time = &mut self.times[at];
        time.generation += 1;
        let vacant = Action::Vacant { next: self.vacant };
        if time.generation < LAST_GENERATION {
            self.vacant = slot;
        }
        mem::replace(&mut self.entries[at].action, vacant)
    }

    /// Adds a free entry to the table.
    #[cold]
    fn add_slot(&mut self) {
        let slot = u32::try_from(self.items.len())
            .ok()
            .filter(|&slot| slot != NO_SLOT)
            .expect("memory ends before 2^32 timers");
        self.items.push(NO_ITEM);
        self.times.push(Time {
            deadline: self.base,
            surfaces: NEVER,
            order: 0,
            generation: self.generation,
        });
        self.entries.push(TimerEntry {
            location: Location::caller(),
            action: Action::Vacant { next: NO_SLOT },
        });
        self.vacant = slot;
        self.checks_left = MAX_CHECKS;
    }

    #[inline]
    fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        if self.seq == NO_ITEM {
            self.seq += 1;
        }
        seq
    }

    /// Returns the times of a pending timer.
    #[inline]
    pub(super) fn time(&self, key: Key) -> Option<&Time> {
        self.times
            .get(key.slot as usize)
            .filter(|time| time.generation == key.generation)
    }

    /// Returns the action of a pending timer.
    pub(super) fn action(&mut self, key: Key) -> Option<&mut Action> {
        self.time(key)?;
        Some(&mut self.entries[key.slot as usize].action)
    }

    /// Returns the line that requested a pending timer.
    pub(super) fn location(&self, key: Key) -> Option<&'static Location<'static>> {
        self.time(key)?;
        Some(self.entries[key.slot as usize].location)
    }

    /// Returns the pending timers in the order in which they will fire.
    pub(super) fn in_order(&self) -> Vec<(Key, &Time, &TimerEntry)> {
        let mut all: Vec<_> = (0..)
            .zip(self.times.iter().zip(&self.entries))
            .filter(|(_, (_, entry))| !matches!(entry.action, Action::Vacant { .. }))
            .map(|(slot, (time, entry))| {
                let generation = time.generation;
                (Key { generation, slot }, time, entry)
            })
            .collect();
        // The numbers wrap around, so the entry with the most requests after it comes first.
        index::sort(&mut all, |(_, time, _)| {
            let age = self.seq.wrapping_sub(time.order);
            (u128::from(self.nanos(time.deadline)) << 64) | u128::from(!age)
        });
        all
    }
}

/// Returns the duration in nanoseconds, at most [`NEVER`].
#[inline]
pub(super) fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos()))
}

/// A deadline that never comes: 584 years from the base, and everything beyond.
pub(super) const NEVER: u64 = u64::MAX;

/// The index of no entry.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The number of no item.
pub(super) const NO_ITEM: u32 = 0;

/// An entry with this generation is not used again, so that no key is ever valid twice.
pub(super) const LAST_GENERATION: u32 = u32::MAX;

/// Up to this number, stale items are not cleaned up.
const MIN_STALE: usize = 50;

/// How often a table is checked that is too long, and may have its end in use.
const MAX_CHECKS: u32 = 16;
