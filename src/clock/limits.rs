//! Tests of time limits: when due they are held until their owner has polled its I/O.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::timers::Timers;
use super::{DelayedCall, Due};

const SECOND: Duration = Duration::from_secs(1);

/// The numbers of the limits that have fired.
type Fired = Rc<RefCell<Vec<u32>>>;

fn call(timers: &Timers, delay: Duration, f: impl FnOnce() + 'static) {
    let deadline = timers.later(timers.now(), delay);
    drop(timers.call_at(deadline, Location::caller(), f));
}

/// Sets a limit that logs its number when it fires.
fn limit(timers: &Timers, limit: Duration, fired: &Fired, n: u32) -> DelayedCall {
    let fired = fired.clone();
    timers.limit(limit, Location::caller(), move || {
        fired.borrow_mut().push(n)
    })
}

/// Makes the pass of an owner with I/O, `step` later.
fn pass(timers: &Timers, step: Duration) {
    timers.absorb();
    timers.set_now(timers.now() + step);
    timers.fire_due_and_hold_limits(run, || false);
}

fn run(due: Due) {
    match due {
        Due::Call(f, _) => f(),
        Due::Wake(waker) => waker.wake(),
    }
}

#[test]
fn a_due_limit_is_held_and_stays_pending_until_it_is_released() {
    let start = Instant::now();
    let (timers, fired) = (Timers::new(start), Fired::default());
    let late = limit(&timers, SECOND * 2, &fired, 2);
    let early = limit(&timers, SECOND, &fired, 1);
    let log = fired.clone();
    call(&timers, SECOND * 3, move || log.borrow_mut().push(3));
    pass(&timers, SECOND * 3);
    assert_eq!(*fired.borrow(), [3], "an ordinary call does not wait");
    assert!(timers.holds_limits() && early.is_pending() && late.is_pending());
    assert_eq!(timers.list().len(), 2);
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3], "nothing was released");
    timers.release_limits();
    let next = limit(&timers, Duration::ZERO, &fired, 4);
    pass(&timers, Duration::ZERO);
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3, 1, 2]);
    assert!(!early.is_pending() && !late.is_pending() && next.is_pending());
    timers.release_limits();
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3, 1, 2, 4]);
    assert!(!timers.holds_limits());
    assert_eq!(timers.items(), 0);
}

#[test]
fn a_held_limit_can_be_cancelled_delayed_and_brought_forward() {
    let start = Instant::now();
    let (timers, fired) = (Timers::new(start), Fired::default());
    let calls: Vec<_> = (0..4).map(|n| limit(&timers, SECOND, &fired, n)).collect();
    pass(&timers, SECOND);
    assert!(calls[0].cancel());
    assert!(calls[1].reset(SECOND * 5));
    assert!(calls[2].reset_at(start + SECOND / 2));
    timers.release_limits();
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3]);
    assert!(!timers.holds_limits());
    // Brought forward counts as a new request, so the limit is held, and I/O is polled, once more.
    pass(&timers, Duration::ZERO);
    assert!(timers.holds_limits());
    timers.release_limits();
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3, 2]);
    assert_eq!(timers.next_deadline(), Some(start + SECOND * 6));
    pass(&timers, SECOND * 5);
    timers.release_limits();
    assert!(calls[1].reset(SECOND));
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3, 2]);
    pass(&timers, SECOND);
    timers.release_limits();
    timers.fire_limits(run, || false);
    assert_eq!(*fired.borrow(), [3, 2, 1]);
    assert_eq!(timers.items(), 0);
}

#[test]
fn a_clock_without_io_fires_limits_in_order_among_the_other_timers() {
    let start = Instant::now();
    let (timers, fired) = (Timers::new(start), Fired::default());
    limit(&timers, SECOND, &fired, 1);
    let log = fired.clone();
    call(&timers, SECOND, move || log.borrow_mut().push(2));
    limit(&timers, SECOND, &fired, 3);
    timers.absorb();
    timers.set_now(timers.now() + SECOND);
    assert_eq!(timers.fire_due(run), 3);
    assert_eq!(*fired.borrow(), [1, 2, 3]);
}
