//! The behaviour of delayed calls, and of the virtual clock.
//!
//! A script is a list of commands, separated by `;`.
//!
//! | command                    | does                                                                         |
//! |----------------------------|------------------------------------------------------------------------------|
//! | `later a S {…}`            | `call_later`: `a` logs its name and time, and runs commands separated by `,` |
//! | `defer a S {…}`            | `defer_later`: the same; `-> N`, `-> !E`, `-> panic` after the brace say what it returns, `-> @x` a Deferred |
//! | `go S`, `pump S S …`       | moves the clock; a panic is logged as `panic`                                |
//! | `off a`, `delay a S`, `again a S` | calls a `later` off, puts it off, resets it; a refusal is logged as `no` |
//! | `cancel a`, `drop a`       | cancels, drops the Deferred of a `defer`                                     |
//! | `fire x N`                 | fires the Deferred that was returned                                         |
//! | `endless a`                | a call without delay that asks for another like it                           |
//! | `stop clock`               | drops the clock                                                              |
//! | `pending`                  | logs the number of timers                                                    |
//! | `log L`, `panic`           | logs `L`; panics                                                             |
//!
//! The Deferred of `defer a` logs `a=N` or `a=E`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use torsade::clock::ClockStopped;
use torsade::{
    Cancelled, Clock, Deferred, DelayedCall, Failure, Resolver, VirtualClock, defer_later,
};

const TABLE: &[(&str, &str, &str)] = &[
    // Delayed calls.
    (
        "a deferred call runs when it is due, and its value is the Deferred's",
        "defer a 1 -> 7; log then; go 0.5; go 0.5",
        "then a@1 a=7",
    ),
    (
        "without delay it waits for the next turn",
        "defer a 0 -> 7; log then; go 0",
        "then a@0 a=7",
    ),
    (
        "its failure is the Deferred's",
        "defer a 1 -> !E; go 1",
        "a@1 a=E",
    ),
    (
        "its panic is the Deferred's failure, and the clock runs later calls",
        "defer a 1 -> panic; later b 1; go 1",
        "a@1 a=panic b@1",
    ),
    (
        "a Deferred that it returns is waited for",
        "defer a 1 -> @x; go 1; log then; fire x 3",
        "a@1 then a=3",
    ),
    (
        "cancelling removes its timer",
        "defer a 1 -> 7; cancel a; pending; go 5",
        "a=Cancelled 0",
    ),
    (
        "cancelling after the call cancels the Deferred that it returned",
        "defer a 1 -> @x; go 1; cancel a; go 5",
        "a@1 x a=Cancelled",
    ),
    (
        "cancelling when all is over does nothing",
        "defer a 1 -> 7; go 1; cancel a",
        "a@1 a=7",
    ),
    (
        "it may be cancelled inside its call",
        "defer a 1 {cancel a,log inside} -> 7; go 1",
        "a@1 inside a=7",
    ),
    (
        "dropping the Deferred changes nothing",
        "defer a 1 -> 7; drop a; go 1",
        "a@1 a=7",
    ),
    (
        "when the clock stops, the Deferred fails",
        "defer a 1 -> 7; stop clock",
        "a=ClockStopped",
    ),
    // The virtual clock.
    (
        "time begins at zero and moves only by advance",
        "later a 0; go 0; go 1.5; later b 0; go 0; pump 1 2 0.5; later c 0; go 0",
        "a@0 b@1.5 c@5",
    ),
    (
        "calls run by deadline",
        "later a 3; later b 1; later c 2; go 5",
        "b@1 c@2 a@3",
    ),
    (
        "equal deadlines keep their order",
        "later a 1; later b 1; later c 1; go 1",
        "a@1 b@1 c@1",
    ),
    (
        "calls that are not due stay pending",
        "later a 1; later b 2; go 1.5; pending; go 0.5",
        "a@1 1 b@2",
    ),
    (
        "a call that a call requests runs in the same advance if it is due",
        "later a 1 {later b 1,later c 9,later d 0}; go 5; pending",
        "a@1 d@1 b@2 1",
    ),
    // In Twisted this never ends.
    (
        "calls without delay that never end are ended by a panic",
        "endless a; later b 1; go 5; log caught",
        "panic caught",
    ),
    // In Twisted the time is that of the end, for all of them.
    (
        "each call sees its own time, and not that of the end",
        "later a 1 {later b 0}; later c 2; go 60",
        "a@1 b@1 c@2",
    ),
    (
        "a panic reaches the caller, and later calls stay pending",
        "later a 1 {panic}; later b 1; later c 2; go 5; log caught; go 0; go 5",
        "a@1 panic caught b@1 c@2",
    ),
    (
        "a call is no longer pending when it runs",
        "later a 1 {off a,delay a 1,again a 1}; go 5",
        "a@1 no no no",
    ),
    (
        "a call may be delayed, and cancelled",
        "later a 1; later b 1; delay a 1; again b 4; go 3; off b; go 5; off b; pending",
        "a@2 no 0",
    ),
    (
        "a call may cancel another that is due at the same time",
        "later a 1 {off b}; later b 1; go 1",
        "a@1",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let world = World::new();
        world.run_all(script, ';');
        world.is_finished.set(true);
        let log = world.log.take();
        world.clock.take();
        log
    });
}

/// The state of a script. Nothing is borrowed while a timer is being used.
struct World {
    clock: RefCell<Option<VirtualClock>>,
    start: Instant,
    calls: RefCell<HashMap<String, DelayedCall>>,
    deferreds: RefCell<HashMap<String, Rc<Deferred<()>>>>,
    resolvers: RefCell<HashMap<String, Resolver<u32>>>,
    is_finished: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl World {
    fn new() -> Rc<Self> {
        let clock = VirtualClock::new();
        Rc::new(Self {
            start: clock.now(),
            clock: RefCell::new(Some(clock)),
            calls: RefCell::default(),
            deferreds: RefCell::default(),
            resolvers: RefCell::default(),
            is_finished: Cell::default(),
            log: RefCell::default(),
        })
    }

    fn run_all(self: &Rc<Self>, script: &str, separator: char) {
        for command in script.split(separator) {
            self.run(command.trim());
        }
    }

    fn run(self: &Rc<Self>, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (name, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "" => {}
            "later" => {
                let (delay, act) = self.act(name, more);
                let call = self.clock().call_later(delay, move || act.run());
                self.calls.borrow_mut().insert(name.into(), call);
            }
            "defer" => {
                let (more, returns) = more.split_once(" -> ").expect("it returns something");
                let (delay, act) = self.act(name, more);
                let (world, label, returns) = (self.clone(), name.to_owned(), returns.to_owned());
                let deferred = defer_later(&self.clock(), delay, move || {
                    act.run();
                    act.world.give(&returns)
                });
                let deferred = deferred.add_both(move |result| {
                    let how = result.map_or_else(|failure| show(&failure), |n| n.to_string());
                    world.say(&format!("{label}={how}"));
                });
                self.deferreds
                    .borrow_mut()
                    .insert(name.into(), Rc::new(deferred));
            }
            "go" => self.go(&[rest]),
            "pump" => self.go(&rest.split(' ').collect::<Vec<_>>()),
            "endless" => self.endless(),
            "off" => self.say_if_not(self.call(name).cancel()),
            "delay" => self.say_if_not(self.call(name).delay(seconds(more))),
            "again" => self.say_if_not(self.call(name).reset(seconds(more))),
            "cancel" => {
                let deferred = self.deferreds.borrow().get(name).cloned();
                deferred.expect("it was deferred").cancel();
            }
            "drop" => drop(self.deferreds.borrow_mut().remove(name)),
            "fire" => {
                let resolver = self.resolvers.borrow_mut().remove(name);
                resolver
                    .expect("it was returned")
                    .callback(more.parse().expect("a number"));
            }
            "stop" => drop(self.clock.take()),
            "pending" => {
                let count = self.clock().delayed_calls().len();
                self.say(&count.to_string());
            }
            "log" => self.say(rest),
            "panic" => resume_unwind(Box::new("oh")),
            _ => panic!("no such command: {command}"),
        }
    }

    fn endless(self: &Rc<Self>) {
        let world = self.clone();
        let again = move || world.endless();
        self.clock().call_later(Duration::ZERO, again);
    }

    /// Advances the clock without a borrow, so that a panic may go through.
    fn go(&self, steps: &[&str]) {
        let clock = self.clock();
        let steps: Vec<_> = steps.iter().map(|step| seconds(step)).collect();
        let moved = catch_unwind(AssertUnwindSafe(|| match &*steps {
            [step] => clock.advance(*step),
            steps => clock.pump(steps.iter().copied()),
        }));
        if moved.is_err() {
            self.say("panic");
        }
    }

    fn act(self: &Rc<Self>, name: &str, more: &str) -> (Duration, Act) {
        let (delay, commands) = more.split_once(" {").unwrap_or((more, "}"));
        let act = Act {
            world: self.clone(),
            name: name.into(),
            commands: commands.trim_end_matches('}').into(),
        };
        (seconds(delay), act)
    }

    /// The result of a delayed call.
    fn give(self: &Rc<Self>, returns: &str) -> Deferred<u32> {
        match returns.split_at(1) {
            ("!", error) => Deferred::fail(Failure::new(error)),
            ("@", name) => {
                let (deferred, resolver) = Deferred::pair();
                self.resolvers.borrow_mut().insert(name.into(), resolver);
                let (world, name) = (self.clone(), name.to_owned());
                deferred.on_cancel(move || world.say(&name))
            }
            _ if returns == "panic" => resume_unwind(Box::new("oh")),
            _ => Deferred::succeed(returns.parse().expect("a number")),
        }
    }

    fn clock(&self) -> VirtualClock {
        self.clock.borrow().clone().expect("it has not stopped")
    }

    fn call(&self, name: &str) -> DelayedCall {
        let call = self.calls.borrow().get(name).cloned();
        call.expect("it was asked for")
    }

    fn say_if_not(&self, done: bool) {
        if !done {
            self.say("no");
        }
    }

    fn say(&self, what: &str) {
        if !self.is_finished.get() {
            self.log.borrow_mut().push(what.into());
        }
    }
}

/// Does what a timer does.
struct Act {
    world: Rc<World>,
    name: String,
    commands: String,
}

impl Act {
    fn run(&self) {
        let time = (self.world.clock().now() - self.world.start).as_secs_f64();
        self.world.say(&format!("{}@{time}", self.name));
        self.world.run_all(&self.commands, ',');
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number"))
}

fn show(failure: &Failure) -> String {
    if failure.is::<Cancelled>() {
        "Cancelled".into()
    } else if failure.is::<ClockStopped>() {
        "ClockStopped".into()
    } else if failure.is_panic() {
        "panic".into()
    } else {
        failure.to_string()
    }
}
