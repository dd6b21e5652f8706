//! The line in front of a lock, a semaphore or a queue: who waits, who has been offered something, who comes next.
//!
//! What stands there is counted: a lock has one thing or none, a semaphore its permits, a queue its items. That is the
//! [`Stock`]. The module docs of [`locks`](super) say why a waiter is offered what it waits for, and not given it.
//!
//! # States of a waiter
//!
//! ```text
//!           there is enough, and a callback wants it
//! Here ───────────────────────────────────────────────▶ has it
//!  │ ▲                                                    ▲
//!  │ └────────── it asks, and there is not enough ──┐     │ it asks, and there is enough
//!  │ there is enough                                │     │
//!  └──────────▶ Asked ──────────────────────────▶ Away ───┘
//!                      it did not ask in its round
//! ```
//!
//! | state   | means                                                           | of the stock          |
//! |---------|-----------------------------------------------------------------|-----------------------|
//! | `Here`  | waits in line                                                   | nothing               |
//! | `Asked` | was offered what it waits for, in the present round or the next | is reserved for it    |
//! | `Away`  | did not take the offer in time, or never stood in line          | what it finds there   |
//!
//! # Invariants
//!
//! 1. Nothing is given past one that is `Here`, but to those in front of it; and the first that is `Here` finds too
//!    little, but for the time in which [`serve`] runs.
//! 2. What is reserved is there.
//! 3. A number is never given twice, so the line is in the order of the numbers, also for one that comes back.
//! 4. [`serve`] does not run inside itself: however many waiters have a release in their callback, they run one after
//!    the other.
//! 5. A round ends when its errand was run or dropped, and there is one whenever something is reserved.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::grants::{Granted, Grants};
use super::numbered::Numbered;
use crate::debug::{Id, Thing};
use crate::defer::{Deferred, Giver, Resolver};
use crate::failure::Failure;
use crate::task::{Executor, WorkItem};

/// Something countable that is handed out to those in a line. None of its methods runs anybody's code, but for the last.
pub(super) trait Stock: Sized + 'static {
    /// What one of the line gets.
    type Given: 'static;

    /// What it is, in a word or two.
    const KIND: &'static str;

    /// Are things held, and given back?
    const IS_LENT: bool = true;

    fn line(&self) -> &Line<Self>;

    /// How much there is.
    fn left(&self) -> usize;

    /// Takes so much, which is there.
    fn take(self: &Rc<Self>, count: usize, granted: Granted) -> Self::Given;

    /// How it stands, in words; whether it `is_told` who holds it, is said after that.
    fn about(&self, is_told: bool) -> String;

    /// That something of it is held, in words.
    fn held(count: usize) -> String;

    /// Can nothing ever come in again?
    fn is_over(&self) -> bool {
        false
    }

    /// Something has been taken, or somebody has come back into the line: there may be room.
    fn taken(self: &Rc<Self>) {}
}

/// Those who wait for a stock.
pub(super) struct Line<S: Stock> {
    state: RefCell<State<S::Given>>,
    serving: Cell<bool>,
    grants: Grants,
    made: &'static Location<'static>,
}

struct State<T: 'static> {
    /// Those who are `Here`.
    here: Numbered<Waiter<T>>,
    /// Those who are `Asked` or `Away`.
    offered: Numbered<Waiter<T>>,
    reserved: usize,
    /// The number of the next to come.
    next: u64,
    /// Those who were `Asked` since the present round began.
    fresh: Vec<u64>,
    /// Those whose round it is.
    round: Vec<u64>,
    /// There is an errand.
    has_round: bool,
}

struct Waiter<T: 'static> {
    count: usize,
    /// It is `Asked`.
    is_reserved: bool,
    resolver: Resolver<T>,
}

/// Joins the line.
pub(super) fn join<S: Stock>(
    stock: &Rc<S>,
    count: usize,
    place: &'static Location<'static>,
) -> Deferred<S::Given> {
    let is_free = is_free(stock, count);
    let mut state = stock.line().state.borrow_mut();
    let number = state.next;
    state.next += 1;
    let (deferred, resolver) = Deferred::in_line(stock.clone(), number, is_free, place);
    let waiter = Waiter {
        count,
        is_reserved: false,
        resolver,
    };
    let list = match is_free {
        true => &mut state.offered,
        false => &mut state.here,
    };
    list.insert(number, waiter);
    deferred
}

/// Could somebody who comes just now have so much?
pub(super) fn is_free<S: Stock>(stock: &Rc<S>, count: usize) -> bool {
    let state = stock.line().state.borrow();
    state.here.is_empty() && count <= stock.left() - state.reserved
}

/// Takes so much for somebody who comes just now, if that is possible.
#[track_caller]
pub(super) fn try_take<S: Stock>(stock: &Rc<S>, count: usize) -> Option<S::Given> {
    if !is_free(stock, count) {
        return None;
    }
    let granted = match S::IS_LENT {
        true => stock.line().grants.to_caller(count, Location::caller()),
        false => None,
    };
    Some(stock.take(count, granted))
}

/// How many stand in line, those who were passed over among them.
pub(super) fn waiting<S: Stock>(stock: &S) -> usize {
    let state = stock.line().state.borrow();
    state.here.len() + state.offered.len()
}

/// How much those who are in line have not been able to take yet: what they wait for, and what is reserved.
pub(super) fn expected<S: Stock>(stock: &S) -> usize {
    let state = stock.line().state.borrow();
    state.here.len() + state.reserved
}

/// Gives out what there is: fires those who have a use for it at once, offers it to the others.
pub(super) fn serve<S: Stock>(stock: &Rc<S>) {
    if stock.line().serving.replace(true) {
        return;
    }
    loop {
        while serve_one(stock) {}
        if !begin_round(stock) {
            break;
        }
    }
    stock.line().serving.set(false);
}

/// Nothing will come in any more: those who wait for that are abandoned.
pub(super) fn end<S: Stock>(stock: &Rc<S>) {
    let mut state = stock.line().state.borrow_mut();
    let here = mem::take(&mut state.here);
    drop(state);
    drop(here);
}

/// Ends all waiting: each waiter gets a failure.
pub(super) fn dismiss<S: Stock>(stock: &Rc<S>, why: impl Fn() -> Failure) {
    let mut state = stock.line().state.borrow_mut();
    state.reserved = 0;
    let mut waiters = mem::take(&mut state.here);
    for (number, waiter) in mem::take(&mut state.offered) {
        waiters.insert(number, waiter);
    }
    drop(state);
    for (_, waiter) in waiters {
        waiter.resolver.errback(why());
    }
}

/// Does what is to be done for the first in line. `false` if that is nothing.
fn serve_one<S: Stock>(stock: &Rc<S>) -> bool {
    let mut state = stock.line().state.borrow_mut();
    let free = stock.left() - state.reserved;
    if state
        .here
        .first()
        .is_none_or(|(_, first)| first.count > free)
    {
        return false;
    }
    let Some((number, mut waiter)) = state.here.pop_first() else {
        return false;
    };
    if waiter.resolver.is_wanted() {
        drop(state);
        let given = take_for(stock, &waiter);
        waiter.resolver.callback(given);
        stock.taken();
    } else {
        let wake = waiter.resolver.offer(stock.clone());
        waiter.is_reserved = true;
        state.reserved += waiter.count;
        state.fresh.push(number);
        state.offered.insert(number, waiter);
        drop(state);
        wake();
    }
    true
}

/// Takes what this one waits for.
fn take_for<S: Stock>(stock: &Rc<S>, waiter: &Waiter<S::Given>) -> S::Given {
    let granted = match S::IS_LENT {
        true => stock
            .line()
            .grants
            .to_waiter(waiter.count, &waiter.resolver),
        false => None,
    };
    stock.take(waiter.count, granted)
}

/// Gives those who have been offered something a batch of the loop to take it: by then a task that was woken has had its
/// poll. `true` if nothing is to be waited for, or no longer.
fn begin_round<S: Stock>(stock: &Rc<S>) -> bool {
    let mut state = stock.line().state.borrow_mut();
    if state.fresh.is_empty() {
        return false;
    }
    let Some(executor) = Executor::current() else {
        state.begin_round();
        state.end_round();
        return true;
    };
    if state.has_round {
        // They were woken later than the errand was queued.
        return false;
    }
    state.begin_round();
    drop(state);
    executor.push(Rc::new(Round(Rc::downgrade(stock))));
    // An executor that is shut down drops it.
    !stock.line().state.borrow().has_round
}

impl<S: Stock> Line<S> {
    /// The line of what is made by its caller.
    #[track_caller]
    pub(super) fn new() -> Self {
        Self {
            state: RefCell::new(State {
                here: Numbered::default(),
                offered: Numbered::default(),
                reserved: 0,
                next: 0,
                fresh: Vec::new(),
                round: Vec::new(),
                has_round: false,
            }),
            serving: Cell::new(false),
            grants: Grants::default(),
            made: Location::caller(),
        }
    }
}

impl<S: Stock> Line<S> {
    /// Where it was made.
    pub(super) fn made(&self) -> &'static Location<'static> {
        self.made
    }
}

impl<T> State<T> {
    fn begin_round(&mut self) {
        mem::swap(&mut self.round, &mut self.fresh);
        self.has_round = true;
    }

    /// Those whose round it was have had their time.
    fn end_round(&mut self) {
        self.has_round = false;
        for number in self.round.drain(..) {
            if let Some(waiter) = self.offered.get_mut(number) {
                if mem::take(&mut waiter.is_reserved) {
                    self.reserved -= waiter.count;
                }
            }
        }
        if self.round.capacity() > FEW {
            self.round = Vec::new();
        }
    }
}

impl<S: Stock> Giver for S {
    fn ask(self: Rc<Self>, number: u64) {
        let mut state = self.line().state.borrow_mut();
        let Some(mut waiter) = state.offered.remove(number) else {
            return;
        };
        let was_reserved = mem::take(&mut waiter.is_reserved);
        if was_reserved {
            state.reserved -= waiter.count;
        }
        let is_first = state.here.first().is_none_or(|(first, _)| number < first);
        let is_free = is_first && waiter.count <= self.left() - state.reserved;
        if was_reserved || is_free {
            drop(state);
            let given = take_for(&self, &waiter);
            waiter.resolver.give(given);
            self.taken();
        } else if self.is_over() {
            drop(state);
            drop(waiter);
        } else {
            state.here.insert(number, waiter);
            drop(state);
            self.taken();
        }
    }

    fn leave(&self, number: u64) {
        let mut state = self.line().state.borrow_mut();
        let waiter = state.here.remove(number);
        let waiter = waiter.or_else(|| state.offered.remove(number));
        if let Some(waiter) = &waiter {
            if waiter.is_reserved {
                state.reserved -= waiter.count;
            }
        }
        drop(state);
        drop(waiter);
    }

    fn thing(self: Rc<Self>) -> Thing {
        let line = self.line();
        let (mut texts, waits) = line.grants.tell(Self::held);
        texts.insert(0, self.about(!texts.is_empty()));
        texts.retain(|text| !text.is_empty());
        Thing {
            id: Id::At(Rc::as_ptr(&self).addr()),
            kind: Self::KIND,
            name: None,
            place: line.made,
            about: texts.join(", "),
            waits,
        }
    }

    fn serve(self: Rc<Self>) {
        serve(&self);
    }
}

/// The errand that ends a round, when it is run and when it is dropped.
struct Round<S: Stock>(Weak<S>);

impl<S: Stock> WorkItem for Round<S> {
    fn run(self: Rc<Self>) {}
}

impl<S: Stock> Drop for Round<S> {
    fn drop(&mut self) {
        if let Some(stock) = self.0.upgrade() {
            let mut state = stock.line().state.borrow_mut();
            state.end_round();
            drop(state);
            serve(&stock);
        }
    }
}

impl<S: Stock> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Line")
            .field("waiting", &(state.here.len() + state.offered.len()))
            .field("reserved", &state.reserved)
            .finish()
    }
}

/// A list with a capacity above this is not kept for the next round.
const FEW: usize = 64;
