//! Lateness, and time that passes within a step: what a virtual clock does not show.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::*;
use crate::clock::sealed::HasTimers;
use crate::clock::{Clock, Due, Timers};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// What the machine's time would be.
    static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A clock whose turns may come late, and whose time passes also within a turn.
struct Machine {
    timers: Timers,
    start: Instant,
}

impl HasTimers for Machine {
    fn timers(&self) -> &Timers {
        &self.timers
    }
}

impl Clock for Machine {}

impl Machine {
    fn new() -> Self {
        let start = Instant::now();
        TIME.set(Some(start));
        let timers = Timers::passing(start, || TIME.get().expect("it was set"));
        Self { timers, start }
    }

    /// A turn at that time.
    fn turn(&self, at: Duration) {
        TIME.set(Some(self.start + at));
        self.timers.let_time_pass();
        self.timers.absorb();
        self.timers.fire_due(|due| match due {
            Due::Call(f, _) => f(),
            Due::Wake(waker) => waker.wake(),
        });
    }

    /// How long until there is something to do.
    fn next(&self) -> Option<Duration> {
        self.timers.absorb();
        self.timers.next_deadline().map(|next| next - self.start)
    }
}

fn pass(time: Duration) {
    TIME.set(TIME.get().map(|now| now + time));
}

/// What was called, and what notes it.
fn notes() -> (Rc<RefCell<Vec<u64>>>, impl Fn(u64) + 'static) {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let log = notes.clone();
    (notes, move |n| log.borrow_mut().push(n))
}

#[test]
fn after_a_late_call_comes_the_next_point_of_the_grid() {
    let machine = Machine::new();
    let (counts, note) = notes();
    let (looping, _) = LoopingCall::with_count(note).start(&machine, SECOND);
    let mut times = Vec::new();
    for at in [0, 1_000, 3_700, 4_000] {
        let due = machine.next().unwrap();
        machine.turn(MS * at);
        times.push(due.as_millis());
    }
    assert_eq!(times, [0, 1_000, 2_000, 4_000]);
    assert_eq!(*counts.borrow(), [1, 1, 2, 1]);
    assert_eq!(looping.deadline(), Some(machine.start + SECOND * 5));
}

#[test]
fn a_call_during_which_time_passes_is_followed_by_the_next_point() {
    let machine = Machine::new();
    let (counts, note) = notes();
    LoopingCall::with_count(move |n| {
        note(n);
        pass(MS * 2_500);
    })
    .start(&machine, SECOND);
    machine.turn(Duration::ZERO);
    assert_eq!(machine.next(), Some(SECOND * 3));
    machine.turn(SECOND * 3);
    assert_eq!(machine.next(), Some(SECOND * 6));
    assert_eq!(*counts.borrow(), [1, 3]);
}

#[test]
fn a_call_that_ends_exactly_at_a_point_has_missed_it() {
    let machine = Machine::new();
    LoopingCall::new(|| pass(SECOND * 2)).start(&machine, SECOND);
    machine.turn(Duration::ZERO);
    assert_eq!(machine.next(), Some(SECOND * 3));
}

#[test]
fn points_that_were_missed_before_a_reset_are_counted_after_it() {
    let machine = Machine::new();
    let (counts, note) = notes();
    let (looping, _) = LoopingCall::with_count(note).start(&machine, SECOND);
    machine.turn(Duration::ZERO);
    pass(MS * 2_500);
    machine.timers.let_time_pass();
    assert!(looping.reset());
    assert_eq!(looping.deadline(), Some(machine.start + MS * 3_500));
    machine.turn(MS * 3_500);
    machine.turn(MS * 4_500);
    assert_eq!(*counts.borrow(), [1, 3, 1]);
}

#[test]
fn a_first_call_that_comes_late_counts_what_was_missed() {
    let machine = Machine::new();
    let (counts, note) = notes();
    LoopingCall::with_count(note).start_later(&machine, SECOND);
    machine.turn(MS * 3_700);
    assert_eq!(*counts.borrow(), [3]);
}

#[test]
fn without_an_interval_it_is_called_once_a_turn() {
    let machine = Machine::new();
    let (counts, note) = notes();
    let (looping, _) = LoopingCall::with_count(note).start(&machine, Duration::ZERO);
    for _ in 0..3 {
        machine.turn(SECOND);
    }
    looping.reset();
    machine.turn(SECOND);
    assert_eq!(*counts.borrow(), [1; 4]);
}

#[test]
fn no_interval_is_too_long() {
    let machine = Machine::new();
    let (counts, note) = notes();
    let (looping, _) = LoopingCall::with_count(note).start(&machine, Duration::MAX);
    machine.turn(Duration::ZERO);
    assert_eq!(*counts.borrow(), [1]);
    assert_eq!(machine.next(), None);
    assert!(looping.reset() && looping.stop());
    let mut ticks = interval(&machine, Duration::MAX).missed_ticks(MissedTicks::Skip);
    ticks.reset();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(ticks.poll_tick(&mut cx).is_pending());
}

#[test]
fn a_slice_ends_when_its_time_is_over() {
    let machine = Machine::new();
    let (steps, note) = notes();
    let task = Cooperator::new(&machine).cooperate((0..8).map(move |n| {
        note(n);
        pass(MS * 4);
    }));
    let mut seen = Vec::new();
    while !task.is_over() {
        machine.turn(TIME.get().unwrap() - machine.start);
        seen.push(steps.borrow().len());
    }
    assert_eq!(seen, [3, 6, 8]);
}

#[test]
fn a_pace_gives_way_when_its_time_is_over_and_costs_nothing_before() {
    let machine = Machine::new();
    let mut pace = Pace::new(&machine);
    let mut given_way = Vec::new();
    for n in 1..=6 {
        pass(MS * 4);
        let mut step = pin!(pace.step());
        let mut cx = Context::from_waker(Waker::noop());
        if step.as_mut().poll(&mut cx).is_pending() {
            given_way.push(n);
            assert_eq!(step.as_mut().poll(&mut cx), Poll::Ready(()));
        }
    }
    assert_eq!(given_way, [3, 6]);
}

#[test]
fn a_tick_that_is_a_little_late_does_not_make_a_delayed_interval_drift() {
    let machine = Machine::new();
    let mut ticks = interval(&machine, SECOND).missed_ticks(MissedTicks::Delay);
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = Vec::new();
    for at in [0, 1_004, 2_005, 3_006, 5_000] {
        assert!(ticks.poll_tick(&mut cx).is_pending());
        machine.turn(MS * at);
        assert!(ticks.poll_tick(&mut cx).is_ready());
        next.push((ticks.deadline() - machine.start).as_millis());
    }
    assert_eq!(next, [1_000, 2_000, 3_000, 4_006, 6_000]);
}
