//! Lateness, and time that passes within a step, which a virtual clock does not show.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::*;
use crate::clock::sealed::HasTimers;
use crate::clock::{Clock, Due, TimedOut, Timers};
use crate::defer::Deferred;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// The time that the machine's clock would show.
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

    /// Runs a turn at this time.
    fn turn(&self, at: Duration) {
        TIME.set(Some(self.start + at));
        self.timers.absorb();
        self.timers.fire_due(|due| match due {
            Due::Call(f, _) => f(),
            Due::Wake(waker) => waker.wake(),
        });
    }

    /// Returns the time until there is something to do.
    fn next(&self) -> Option<Duration> {
        self.timers.absorb();
        self.timers.next_deadline().map(|next| next - self.start)
    }
}

fn pass(time: Duration) {
    TIME.set(TIME.get().map(|now| now + time));
}

/// Returns a log, and a function that writes to it.
fn notes() -> (Rc<RefCell<Vec<u64>>>, impl Fn(u64) + 'static) {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let log = notes.clone();
    (notes, move |n| log.borrow_mut().push(n))
}

/// A looping call on a machine, with the commands that `tests/deferred/conformance` uses on a
/// virtual clock: each row is a name, a script and the log.
///
/// | command              | does                                                              |
/// |----------------------|-------------------------------------------------------------------|
/// | `takes S`            | comes first: each call takes this many seconds                    |
/// | `every S`, `later S` | starts it, now or an interval later                               |
/// | `at S`               | a turn at that time; a call logs its count and when it began       |
/// | `reset S`            | resets it at that time, which no turn has seen yet                |
/// | `next`               | logs when the next call is due                                    |
const LATE: &[(&str, &str, &str)] = &[
    (
        "after a late call comes the next point of the grid",
        "every 1; at 0; at 1; next; at 3.7; next; at 4; next",
        "1@0 1@1 (2) 2@3.7 (4) 1@4 (5)",
    ),
    (
        "however late it is there is one call",
        "every 1; at 0; at 60.5; next; at 60.75; at 61",
        "1@0 60@60.5 (61) 1@61",
    ),
    (
        "a call that is exactly a point late has missed that point",
        "every 1; at 0; at 2; next",
        "1@0 2@2 (3)",
    ),
    (
        "a call during which time passes is followed by the next point",
        "takes 2.5; every 1; at 0; next; at 3; next",
        "1@0 (3) 3@3 (6)",
    ),
    (
        "a call that ends exactly at a point has missed it",
        "takes 2; every 1; at 0; next",
        "1@0 (3)",
    ),
    (
        "points that were missed before a reset are counted after it",
        "every 1; at 0; reset 2.5; next; at 3.5; at 4.5",
        "1@0 (3.5) 3@3.5 1@4.5",
    ),
    (
        "a first call that comes late counts what was missed",
        "later 1; next; at 3.7; next",
        "(1) 3@3.7 (4)",
    ),
    (
        "without an interval it is called once a turn, and nothing is missed",
        "every 0; at 1; at 2; reset 3; at 4; next",
        "1@1 1@2 1@4 (4)",
    ),
];

#[test]
fn a_late_looping_call_keeps_to_its_grid() {
    for (name, script, trace) in LATE {
        assert_eq!(play(script).join(" "), *trace, "{name}: {script}");
    }
}

fn play(script: &str) -> Vec<String> {
    let (machine, log) = (Machine::new(), Rc::new(RefCell::new(Vec::new())));
    let (start, mut takes, mut looping) = (machine.start, Duration::ZERO, None);
    let since = move |now: Instant| (now - start).as_secs_f64();
    for command in script.split("; ") {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, "0"));
        let time = Duration::from_secs_f64(rest.parse().unwrap());
        match verb {
            "takes" => takes = time,
            "every" | "later" => {
                let log = log.clone();
                let call = LoopingCall::with_count(move |n| {
                    let now = TIME.get().expect("it was set");
                    log.borrow_mut().push(format!("{n}@{}", since(now)));
                    pass(takes);
                });
                looping = Some(match verb {
                    "every" => call.start(&machine, time).0,
                    _ => call.start_later(&machine, time).0,
                });
            }
            "at" => machine.turn(time),
            "reset" => {
                TIME.set(Some(start + time));
                assert!(looping.as_ref().is_some_and(Looping::reset));
            }
            "next" => {
                let next = looping.as_ref().and_then(Looping::deadline).unwrap();
                // The timers may be checked before that, when the call was put off.
                assert!(machine.next().is_some_and(|look| look <= next - start));
                log.borrow_mut().push(format!("({})", since(next)));
            }
            _ => panic!("no such command: {command}"),
        }
    }
    log.take()
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
    while !task.is_finished() {
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

/// Each way to request a timer counts the delay from the call, however old the turn is.
#[test]
fn a_delay_counts_from_the_call_and_not_from_the_turn() {
    let machine = Machine::new();
    let (fired, note) = notes();
    let note = Rc::new(note);
    machine.turn(Duration::ZERO);
    // Half a second of work, with no turn in between.
    pass(MS * 500);
    let asked = machine.start + MS * 500;
    let delay = MS * 200;

    let said = note.clone();
    let call = machine.call_later(delay, move || said(1));
    assert_eq!(call.deadline(), Some(asked + delay));
    let mut sleep = pin!(machine.sleep(delay));
    assert_eq!(sleep.deadline(), asked + delay);
    let said = note.clone();
    let later = defer_later(&machine, delay, move || said(2));
    let said = note.clone();
    let (deferred, _resolver) = Deferred::<()>::pair();
    let limited = deferred
        .timeout(delay, &machine)
        .add_errback(move |failure| {
            failure.trap::<TimedOut>()?;
            said(3);
            Ok(())
        });
    let (looping, _end) = LoopingCall::with_count(move |_| note(4)).start_later(&machine, delay);
    assert_eq!(looping.deadline(), Some(asked + delay));
    let mut ticks = interval(&machine, delay);
    assert_eq!(ticks.deadline(), asked);
    ticks.reset();
    assert_eq!(ticks.deadline(), asked + delay);
    let put_off = machine.call_later(MS, || unreachable!());
    pass(MS * 100);
    put_off.reset(delay);
    assert_eq!(put_off.deadline(), Some(asked + MS * 100 + delay));
    assert!(put_off.cancel());
    assert_eq!(machine.now(), asked + MS * 100);

    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
    machine.turn(MS * 699);
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
    assert!(fired.borrow().is_empty());
    machine.turn(MS * 700);
    assert!(sleep.as_mut().poll(&mut cx).is_ready());
    assert_eq!(*fired.borrow(), [1, 2, 3, 4]);
    drop((later, limited));
}

#[test]
fn a_loop_that_is_reset_late_in_a_turn_waits_a_whole_interval() {
    let machine = Machine::new();
    let (looping, _end) = LoopingCall::new(|| ()).start_later(&machine, SECOND);
    machine.turn(MS * 100);
    pass(MS * 300);
    assert!(looping.reset());
    assert_eq!(looping.deadline(), Some(machine.start + MS * 1400));
}
