//! The timers against a simple model: a list, sorted anew at each query.
//!
//! Random operations run on both, also from inside the calls that run, and everything visible is
//! compared: the result of each operation, deadlines, and which call ran at what time. There are
//! few different delays, so many deadlines are equal. In half of the runs the request numbers begin
//! near their wrap-around.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::sealed::HasTimers;
use super::{Clock, DelayedCall, Timers, VirtualClock};

const RUNS: u64 = 200;
const OPERATIONS: u32 = 2_000;
/// Delays and steps are shorter than this, in nanoseconds.
const LONGEST: u64 = 60;

/// An operation; `usize` is the number of a call, in the order of the requests.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Ask(u64),
    AskAt(u64),
    Cancel(usize),
    Reset(usize, u64),
    ResetAt(usize, u64),
    Delay(usize, u64),
    Nothing,
}

/// Returns an operation, when `asked` calls were requested.
fn operation(random: u64, asked: usize) -> Operation {
    let amount = (random >> 8) % LONGEST;
    // Mostly a recent call, because the old ones have run.
    let back = (random >> 16) as usize % 64.min(asked.max(1));
    let which = asked.saturating_sub(1 + back);
    match random % 16 {
        0..6 => Operation::Ask(amount),
        6 => Operation::AskAt(amount * 100),
        7 | 8 => Operation::Cancel(which),
        9 | 10 => Operation::Reset(which, amount),
        11 => Operation::ResetAt(which, amount * 100),
        12 | 13 => Operation::Delay(which, amount),
        _ => Operation::Nothing,
    }
}

/// Returns what the call `id` does when it runs; `asked` is the count at that time.
fn action_of(seed: u64, id: usize, asked: usize) -> Operation {
    let mut random = Random(seed ^ ((id as u64 + 1) << 20));
    random.next();
    match operation(random.next(), asked) {
        // Half of the calls request no call, otherwise there would be ever more of them.
        Operation::Ask(_) | Operation::AskAt(_) if id % 2 == 0 => Operation::Nothing,
        operation => operation,
    }
}

/// The time, and the number of a call.
type Ran = (u64, usize);

#[derive(Default)]
struct Model {
    seed: u64,
    now: u64,
    orders: u64,
    asked: usize,
    /// The deadline, the request number, and the number of the call.
    pending: Vec<(u64, u64, usize)>,
    ran: Vec<Ran>,
}

impl Model {
    fn put(&mut self, deadline: u64, id: usize) {
        self.orders += 1;
        self.pending.push((deadline, self.orders, id));
        self.pending.sort_unstable();
    }

    fn take(&mut self, id: usize) -> Option<u64> {
        let at = self.pending.iter().position(|&(.., other)| other == id)?;
        Some(self.pending.remove(at).0)
    }

    fn request(&mut self, deadline: u64) -> bool {
        self.asked += 1;
        self.put(deadline, self.asked - 1);
        true
    }

    fn reset(&mut self, id: usize, new: impl FnOnce(u64) -> u64) -> bool {
        let old = self.take(id);
        if let Some(old) = old {
            self.put(new(old), id);
        }
        old.is_some()
    }

    fn perform(&mut self, operation: Operation) -> bool {
        let now = self.now;
        match operation {
            Operation::Ask(delay) => self.request(now + delay),
            Operation::AskAt(deadline) => self.request(deadline),
            Operation::Cancel(id) => self.take(id).is_some(),
            Operation::Reset(id, delay) => self.reset(id, |_| now + delay),
            Operation::ResetAt(id, deadline) => self.reset(id, |_| deadline),
            Operation::Delay(id, extra) => self.reset(id, |old| old + extra),
            Operation::Nothing => true,
        }
    }

    /// Runs the calls that are due and were requested before.
    fn pass(&mut self) {
        let (now, last) = (self.now, self.orders);
        let is_due = |&(deadline, order, _): &(u64, u64, usize)| deadline <= now && order <= last;
        while let Some(at) = self.pending.iter().position(is_due) {
            let (.., id) = self.pending.remove(at);
            self.ran.push((now, id));
            self.perform(action_of(self.seed, id, self.asked));
        }
    }

    fn advance(&mut self, step: u64) {
        let end = self.now + step;
        while let Some(&(deadline, ..)) = self.pending.first() {
            if deadline > end {
                break;
            }
            self.now = self.now.max(deadline);
            self.pass();
        }
        self.now = end;
    }
}

struct Real {
    seed: u64,
    clock: VirtualClock,
    start: Instant,
    calls: RefCell<Vec<DelayedCall>>,
    ran: RefCell<Vec<Ran>>,
}

impl Real {
    fn at(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }

    fn run(self: &Rc<Self>, id: usize) {
        let now = (self.clock.now() - self.start).as_nanos() as u64;
        self.ran.borrow_mut().push((now, id));
        assert!(!self.call(id).is_pending());
        let asked = self.calls.borrow().len();
        self.perform(action_of(self.seed, id, asked));
    }

    fn call(&self, id: usize) -> DelayedCall {
        self.calls.borrow()[id].clone()
    }

    fn perform(self: &Rc<Self>, operation: Operation) -> bool {
        let id = self.calls.borrow().len();
        let this = self.clone();
        let f = move || this.run(id);
        let call = match operation {
            Operation::Ask(delay) => self.clock.call_later(Duration::from_nanos(delay), f),
            Operation::AskAt(deadline) => self.clock.call_at(self.at(deadline), f),
            Operation::Nothing => return true,
            // There may be no call yet.
            _ if id == 0 => return false,
            Operation::Cancel(id) => return self.call(id).cancel(),
            Operation::Reset(id, delay) => return self.call(id).reset(Duration::from_nanos(delay)),
            Operation::ResetAt(id, deadline) => return self.call(id).reset_at(self.at(deadline)),
            Operation::Delay(id, extra) => return self.call(id).delay(Duration::from_nanos(extra)),
        };
        self.calls.borrow_mut().push(call);
        true
    }
}

/// xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn check(seed: u64) {
    let start = Instant::now();
    let first = if seed % 2 == 0 { 1 } else { u32::MAX - 500 };
    let clock = VirtualClock::with_timers(Timers::starting_at(start, first));
    let real = Rc::new(Real {
        seed,
        clock: clock.clone(),
        start,
        calls: RefCell::default(),
        ran: RefCell::default(),
    });
    let mut model = Model {
        seed,
        ..Model::default()
    };
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for i in 0..OPERATIONS {
        let choice = random.next();
        if choice % 11 == 0 {
            let step = random.next() % LONGEST;
            clock.advance(Duration::from_nanos(step));
            model.advance(step);
            assert_eq!(*real.ran.borrow(), model.ran, "seed {seed}, operation {i}");
            real.ran.borrow_mut().clear();
            model.ran.clear();
        } else {
            let operation = operation(random.next(), model.asked);
            let (ours, theirs) = (real.perform(operation), model.perform(operation));
            assert_eq!(ours, theirs, "seed {seed}, operation {i}: {operation:?}");
        }
        if i % 16 == 0 {
            let ours: Vec<_> = clock
                .delayed_calls()
                .iter()
                .filter_map(DelayedCall::deadline)
                .collect();
            let theirs: Vec<_> = model
                .pending
                .iter()
                .map(|&(nanos, ..)| real.at(nanos))
                .collect();
            assert_eq!(ours, theirs, "seed {seed}, operation {i}");
            for &(nanos, _, id) in &model.pending {
                assert_eq!(real.call(id).deadline(), Some(real.at(nanos)));
            }
        }
        assert!(clock.timers().items() <= 2 * model.pending.len() + 1_000);
    }
    clock.timers().clear();
}

#[test]
fn the_timers_behave_like_a_sorted_list() {
    for seed in 1..=RUNS {
        check(seed);
    }
}
