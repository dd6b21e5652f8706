//! What is to happen, and when: the table of timers.
//!
//! A timer is an *entry* in a table (what to do, and the deadline that counts) and an *item* in a
//! [heap](super::heap) (when to look at the entry). The two are allowed to disagree, and that is what makes the
//! common things cheap: calling off frees the entry and leaves the item behind, *stale*; putting off changes the
//! entry and leaves the item where it is, to be corrected when it surfaces. Only a timer that is to come sooner
//! needs a new item. An item is put among the *fresh* ones first and goes into the heap at the start of the next
//! turn, so that a timer that is called off before that has never touched the heap.
//!
//! A timer is known by its place in the table and the generation of that place, which changes when the entry is
//! freed, and not when the timer is reset. A place whose generations are used up (four billion timers) is given up,
//! so that a handle, however old, never reaches a stranger.
//!
//! A *limit* is a timer that ends something which takes too long. What it limits may have come to
//! its end in time without the loop having seen that yet, so a limit that comes due is not handed
//! out at once where the owner does I/O: it is *held*, still pending, until the owner has looked
//! (see [`Timers`](super::Timers)).
//!
//! Nothing here runs or drops what a user gave: it is handed out.
//!
//! An entry's deadline is an `Instant`, as it was given. The heap counts in nanoseconds since the
//! clock's base, in 64 bits: 584 years; what lies beyond is [`NEVER`]. A deadline is converted only
//! when an item is made of it, so a timer that is put off again and again is never converted.
//!
//! # Invariants
//!
//! 1. Each entry in use has exactly one item that is not stale: the one whose `seq` stands in `items`. It lies in
//!    the heap, among the fresh ones or among those held, and surfaces (at `surfaces`) no later
//!    than the entry's deadline.
//! 2. The entry's deadline is what counts: an item that surfaces before it is put back with that deadline.
//!    So nothing fires early, even should a number come round again while a stale item still has it.
//! 3. Timers fire by deadline, then by order of asking. Putting off and bringing forward count as asking anew.
//! 4. What is asked for during a pass waits for the next pass, whatever its deadline.
//! 5. An entry is free before its action is handed out: a timer that runs is no longer pending.
//! 6. Stale items are at most half of the heap, or fifty, and the same holds for the fresh ones.
//! 7. A held limit can be cancelled and reset as any other timer. Cancelled, it is not handed out;
//!    put off, it goes back into the heap when it is looked at again.
//! 8. The table ends with an entry in use, or is not much longer than it has entries in use, or few entries were freed
//!    since that was last looked at. A place that was given back and is made again begins with a generation that no
//!    place that was given back has had.

use std::collections::VecDeque;
use std::mem;
use std::panic::Location;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::heap::{self, Heap, Item};

/// What has come due.
pub(crate) enum Due {
    /// A call, and where it was asked for.
    Call(Box<dyn FnOnce()>, &'static Location<'static>),
    /// Somebody sleeping.
    Wake(Waker),
}

/// What is to happen.
pub(super) enum Action {
    Call(Box<dyn FnOnce()>),
    Wake(Waker),
    /// As `Call`, at the end of a limit.
    Limit(Box<dyn FnOnce()>),
    /// As `Wake`, at the end of a limit.
    WakeLimit(Waker),
    /// Nothing: the entry is free. `next` is the next free one, or [`NO_SLOT`].
    Vacant {
        next: u32,
    },
}

impl Action {
    fn is_limit(&self) -> bool {
        matches!(self, Self::Limit(_) | Self::WakeLimit(_))
    }

    /// What it is called in lists.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Wake(_) => "sleep",
            Self::Limit(_) | Self::WakeLimit(_) => "time limit",
            Self::Call(_) | Self::Vacant { .. } => "delayed call",
        }
    }
}

/// Which timer: a place in the table, and which of those that have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    generation: u32,
    pub(super) slot: u32,
}

impl Key {
    /// As a number that no other timer of the same clock has.
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// A timer that never was.
    pub(super) const NOBODY: Self = Self {
        generation: 0,
        slot: NO_SLOT,
    };
}

/// The table is three columns, because whoever walks through a million timers wants only one of them.
pub(super) struct Table {
    /// The `seq` of each entry's item; [`NO_ITEM`] if it is vacant. Small, for it is read with every item of the heap
    /// when the heap is tidied up.
    pub(super) items: Vec<u32>,
    pub(super) times: Vec<Time>,
    pub(super) deeds: Vec<TimerEntry>,
    /// The first vacant entry, or [`NO_SLOT`].
    vacant: u32,
    /// How many entries are not vacant.
    pub(super) live: usize,
    /// How many were freed since it was last looked whether the table is too long.
    freed: usize,
    /// The last entry in use when that was looked at, and how often it may be looked at again when that is free.
    last: u32,
    looks_left: u32,
    /// The generation of an entry that is added.
    generation: u32,
    pub(super) heap: Heap,
    /// Items not yet in the heap.
    pub(super) fresh: Vec<Item>,
    /// Items of limits that have come due and wait for the owner to look.
    pub(super) held: VecDeque<Item>,
    /// How many of those held, from the front, are handed out next.
    released: usize,
    /// How many of the heap's items are stale. Exact but for numbers that came round again.
    stale: usize,
    /// How many of the fresh ones are.
    stale_fresh: usize,
    /// The number of the next asking. Wraps around, and is never [`NO_ITEM`].
    pub(super) seq: u32,
    /// `seq` as it was when there last were no fresh ones: they have the numbers from here on.
    absorbed: u32,
    /// The zero of the heap's nanoseconds.
    base: Instant,
}

/// When an entry's timer fires: all that is read and written when it is put off.
pub(super) struct Time {
    /// When it fires.
    pub(super) deadline: Instant,
    /// When its item surfaces: that item's deadline, never after the entry's (invariant 1).
    surfaces: u64,
    /// The number of its last asking; differs from its item's only when it has been put off.
    order: u32,
    /// Counts those who have had this place. A key fits only while it is equal.
    pub(super) generation: u32,
}

/// What an entry's timer does.
pub(super) struct TimerEntry {
    /// Where it was asked for.
    pub(super) location: &'static Location<'static>,
    pub(super) action: Action,
}

impl Table {
    /// An empty one; the first asking has the number `seq`.
    pub(super) fn new(seq: u32, base: Instant) -> Self {
        Self {
            items: Vec::new(),
            times: Vec::new(),
            deeds: Vec::new(),
            vacant: NO_SLOT,
            live: 0,
            freed: 0,
            last: NO_SLOT,
            looks_left: LOOKS,
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

    /// Enters a timer.
    #[inline]
    pub(super) fn ask(
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
        let entry = &mut self.deeds[at];
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

    /// Takes a timer out, if it is pending. Gives what it was to do, and where it was asked for.
    #[inline]
    pub(super) fn cancel(&mut self, key: Key) -> Option<(Action, &'static Location<'static>)> {
        self.time(key)?;
        let (item, location) = (
            self.items[key.slot as usize],
            self.deeds[key.slot as usize].location,
        );
        let action = self.free(key.slot);
        self.leave_behind(item, key.slot);
        Some((action, location))
    }

    /// Gives a timer the deadline that `new` makes of its present one; `false` if it was not pending.
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

    /// The deadline of an entry is sooner than it was: its item may have to surface sooner.
    #[inline(never)]
    fn bring_forward(&mut self, slot: u32, seq: u32) {
        let at = slot as usize;
        let deadline = self.nanos(self.times[at].deadline);
        if deadline >= self.times[at].surfaces {
            return;
        }
        self.times[at].surfaces = deadline;
        let old = mem::replace(&mut self.items[at], seq);
        self.leave_behind(old, slot);
        self.fresh.push(Item {
            deadline,
            seq,
            slot,
        });
    }

    /// A deadline as the heap counts it. What lies before the base is at the base.
    #[inline]
    pub(super) fn nanos(&self, deadline: Instant) -> u64 {
        nanos(deadline.saturating_duration_since(self.base))
    }

    /// The item that an entry needs now; from here on it has that one.
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

    /// Puts the fresh items into the heap, and gives memory back.
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

    /// Takes out the next one due at `now` that was asked for before the pass that began at the
    /// number `pass`. Limits among them are held, if so told.
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
                // Asked for since the pass began (invariant 4).
                self.heap.pop();
                self.fresh.push(item);
            } else if item != first {
                self.heap.replace_first(item);
            } else if holds_limits && self.deeds[at].action.is_limit() {
                self.heap.pop();
                self.held.push_back(item);
            } else {
                self.heap.pop();
                if let Some(due) = self.hand_out(item.slot) {
                    return Some(due);
                }
            }
        }
    }

    /// Frees an entry and gives what has come due.
    fn hand_out(&mut self, slot: u32) -> Option<Due> {
        let location = self.deeds[slot as usize].location;
        match self.free(slot) {
            Action::Call(f) | Action::Limit(f) => Some(Due::Call(f, location)),
            Action::Wake(waker) | Action::WakeLimit(waker) => Some(Due::Wake(waker)),
            Action::Vacant { .. } => None,
        }
    }

    /// Lets [`pop_released`](Self::pop_released) have the limits that are held now.
    pub(super) fn release_held(&mut self) {
        self.released = self.held.len();
    }

    /// Takes out the next limit that was released and has not been cancelled or put off since it
    /// came due.
    pub(super) fn pop_released(&mut self) -> Option<Due> {
        while self.released > 0 {
            self.released -= 1;
            let item = self.held.pop_front()?;
            let at = item.slot as usize;
            if self.items[at] != item.seq {
                // It was counted when it was left behind, as one in the heap.
                self.stale = self.stale.saturating_sub(1);
                continue;
            }
            let time = &self.times[at];
            if time.order == item.seq && time.surfaces == item.deadline {
                if let Some(due) = self.hand_out(item.slot) {
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

    /// Was this number given since there last were no fresh items?
    #[inline]
    fn is_fresh(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.absorbed) < self.seq.wrapping_sub(self.absorbed)
    }

    /// When to look again, or [`NEVER`]. Stale items at the front are dropped on the way, and memory is given back.
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

    /// Counts an item that no entry has any more, and tidies up when there are too many (invariant 6).
    #[inline]
    fn leave_behind(&mut self, seq: u32, slot: u32) {
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
            if self.stale_fresh > FEW && self.stale_fresh > self.fresh.len() / 2 {
                self.tidy_fresh();
            }
        } else {
            self.stale += 1;
            if self.stale > FEW && self.stale > self.heap.len() / 2 {
                self.tidy_heap();
            }
        }
    }

    /// Gives back memory that has been of no use since a peak.
    #[inline]
    pub(super) fn give_back(&mut self) {
        self.heap.shrink();
        heap::shrink(&mut self.fresh);
        let len = self.items.len();
        if len > 4 * self.live + heap::MANY && self.held.is_empty() {
            let last = self.items.get(self.last as usize);
            let is_in_the_way = last.is_some_and(|item| *item != NO_ITEM);
            if self.freed > len / 8 || (!is_in_the_way && self.looks_left > 0) {
                self.shorten();
            }
        }
    }

    /// Gives back the vacant entries at the end of the table.
    #[cold]
    fn shorten(&mut self) {
        self.freed = 0;
        self.looks_left = self.looks_left.saturating_sub(1);
        // Nothing stale is left that could name them.
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
            self.deeds.pop();
        }
        self.last = (self.items.len() as u32).wrapping_sub(1);
        // The first places are used first, so that the last ones become vacant.
        self.vacant = NO_SLOT;
        for slot in (0..self.items.len()).rev() {
            if self.items[slot] == NO_ITEM && self.times[slot].generation < LAST_GENERATION {
                self.deeds[slot].action = Action::Vacant { next: self.vacant };
                self.vacant = slot as u32;
            }
        }
        heap::shrink(&mut self.items);
        heap::shrink(&mut self.times);
        heap::shrink(&mut self.deeds);
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

    /// Makes an entry vacant; gives what it was to do.
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
        mem::replace(&mut self.deeds[at].action, vacant)
    }

    /// Adds a vacant entry to the table.
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
        self.deeds.push(TimerEntry {
            location: Location::caller(),
            action: Action::Vacant { next: NO_SLOT },
        });
        self.vacant = slot;
        self.looks_left = LOOKS;
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

    /// The times of a pending timer.
    #[inline]
    pub(super) fn time(&self, key: Key) -> Option<&Time> {
        self.times
            .get(key.slot as usize)
            .filter(|time| time.generation == key.generation)
    }

    /// What a pending timer is to do.
    pub(super) fn action(&mut self, key: Key) -> Option<&mut Action> {
        self.time(key)?;
        Some(&mut self.deeds[key.slot as usize].action)
    }

    /// Where a pending timer was asked for.
    pub(super) fn location(&self, key: Key) -> Option<&'static Location<'static>> {
        self.time(key)?;
        Some(self.deeds[key.slot as usize].location)
    }

    /// Those pending, as they will fire.
    pub(super) fn in_order(&self) -> Vec<(Key, &Time, &TimerEntry)> {
        let mut all: Vec<_> = (0..)
            .zip(self.times.iter().zip(&self.deeds))
            .filter(|(_, (_, entry))| !matches!(entry.action, Action::Vacant { .. }))
            .map(|(slot, (time, entry))| {
                let generation = time.generation;
                (Key { generation, slot }, time, entry)
            })
            .collect();
        // The numbers wrap around, so those with the most askings after them come first.
        all.sort_by_key(|(_, time, _)| {
            let age = self.seq.wrapping_sub(time.order);
            (self.nanos(time.deadline), !age)
        });
        all
    }
}

/// In nanoseconds, [`NEVER`] at most.
#[inline]
pub(super) fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos()))
}

/// A deadline that does not come: 584 years from the base, and all beyond.
pub(super) const NEVER: u64 = u64::MAX;

/// No entry has this number.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// No item has this number.
pub(super) const NO_ITEM: u32 = 0;

/// An entry that has come so far is not used again, so that no key ever fits a second time.
pub(super) const LAST_GENERATION: u32 = u32::MAX;

/// So many stale items are never worth tidying up.
const FEW: usize = 50;

/// So often a table is looked at that is too long, and may have its end in use.
const LOOKS: u32 = 16;
