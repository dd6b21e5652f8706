//! The behaviour of looping calls.
//!
//! A script is a list of commands, separated by `;`.
//!
//! | command                 | does                                                                        |
//! |-------------------------|-----------------------------------------------------------------------------|
//! | `every S`, `later S`    | makes a looping call and starts it, now or an interval later                |
//! | `counting`, `waiting`   | come first: the function logs its count; it returns a Deferred              |
//! | `on N {…}`              | what the function does in its call number N                                 |
//! | `go S`                  | lets so many seconds pass                                                   |
//! | `stop`, `reset`         | uses the handle; a refusal is logged as `no`                                |
//! | `fire`, `errback E`     | uses the resolver of what the function returned                             |
//! | `cancel`, `drop`        | cancels the loop's Deferred; drops it and the handle                        |
//! | `again S`               | starts the looping call that the Deferred gave                              |
//! | `stop clock`            | drops the clock                                                             |
//! | `running`, `timers`     | logs `yes` or `no`; the number of timers                                    |
//! | `log L`                 | logs `L`                                                                    |
//!
//! In a call the commands are separated by `,` and there are `fail E` and `panic` besides. The
//! function logs the time since the beginning, and `:n` if it is counting; the loop's Deferred logs
//! `done` or `done(E)`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use torsade::clock::ClockStopped;
use torsade::defer::DeferredError;
use torsade::repeat::Looping;
use torsade::{Cancelled, Clock, Deferred, Failure, LoopingCall, Resolver, VirtualClock};

const TABLE: &[(&str, &str, &str)] = &[
    // The grid.
    (
        "it is called at the start and then every interval",
        "every 1; go 3",
        "0 1 2 3",
    ),
    // In Twisted it does.
    (
        "its first call does not run inside the start",
        "every 1; log started; go 0",
        "started 0",
    ),
    ("it may begin an interval later", "later 1; go 3", "1 2 3"),
    (
        "each call sees its own time, however far the clock is moved at once",
        "every 0.3; go 1",
        "0 0.3 0.6 0.9",
    ),
    (
        "the grid is that of the start",
        "go 0.5; every 1; go 0.25; go 0.25; go 1; go 2",
        "0.5 1.5 2.5 3.5",
    ),
    (
        "without an interval it is called until it is stopped, and no time passes",
        "on 4 {stop}; every 0; go 1; log after",
        "0 0 0 0 done after",
    ),
    (
        "once a turn without an interval, also if its Deferred is waited for",
        "waiting; on 1 {fire}; on 2 {fire}; on 3 {stop,fire}; every 0; go 1",
        "0 0 0 done",
    ),
    (
        "dropping the handle and the Deferred changes nothing",
        "every 1; drop; go 2",
        "0 1 2",
    ),
    // The function's results.
    (
        "it waits for the Deferred that the function returns",
        "waiting; every 1; go 2.5; log fires; fire; go 1",
        "0 fires 3",
    ),
    (
        "after the Deferred it continues on the grid of its start",
        "waiting; every 1; go 0.5; fire; go 1; fire; go 0.75; fire; go 1",
        "0 1 2 3",
    ),
    (
        "a Deferred that fires on a point has missed it",
        "waiting; every 1; go 2; fire; go 0.9; log then; go 0.1",
        "0 then 3",
    ),
    (
        "a Deferred that has fired makes no difference",
        "waiting; on 1 {fire}; on 2 {fire}; every 1; go 2",
        "0 1 2",
    ),
    (
        "a failure ends it",
        "on 2 {fail E}; every 1; go 5; running; timers",
        "0 1 done(E) no 0",
    ),
    (
        "a panic ends it",
        "on 1 {panic}; every 1; go 5; running; timers",
        "0 done(panic) no 0",
    ),
    (
        "a Deferred that fails ends it",
        "waiting; every 1; go 1.5; errback E; go 5; running; timers",
        "0 done(E) no 0",
    ),
    (
        "a resolver that is lost ends it",
        "waiting; every 1; go 1; lose; go 5",
        "0 done(Abandoned)",
    ),
    // Stopping.
    (
        "stopping fires the Deferred at once",
        "every 1; go 1; stop; log after; go 5; timers",
        "0 1 done after 0",
    ),
    (
        "stopping removes its timer",
        "every 1; timers; stop; timers; every 1; go 1; timers; stop; timers; every 1; cancel; timers",
        "1 done 0 0 1 1 done 0 done(Cancelled) 0",
    ),
    (
        "it may be stopped before its first call",
        "every 1; stop; go 5; timers",
        "done 0",
    ),
    (
        "stopped inside the function it ends right after it",
        "on 2 {stop,log inside,running}; every 1; go 5; timers",
        "0 1 inside no done 0",
    ),
    (
        "stopped while a Deferred is pending it ends with that",
        "waiting; every 1; go 1; stop; running; go 5; log now; fire; go 5",
        "0 no now done",
    ),
    (
        "stopped while a Deferred is pending that fails it fails",
        "waiting; every 1; go 1; stop; errback E",
        "0 done(E)",
    ),
    (
        "stopped inside a function that returns a Deferred it ends with that",
        "waiting; on 1 {stop}; every 1; go 1; log now; fire; go 5",
        "0 now done",
    ),
    // In Twisted this is an error of the code that stops it.
    (
        "stopping again does nothing",
        "every 1; stop; stop; waiting; every 1; go 0; stop; stop; fire",
        "done no 0 no done",
    ),
    (
        "a stopped loop can be started again, on a new grid",
        "every 1; go 1.5; stop; again 2; go 4",
        "0 1 done 1.5 3.5 5.5",
    ),
    (
        "a failing function that stops itself fails",
        "on 1 {stop,fail E}; every 1; go 5",
        "0 done(E)",
    ),
    (
        "the end of the clock is its end",
        "every 1; go 1; stop clock; running",
        "0 1 done(ClockStopped) no",
    ),
    (
        "when the clock stops, a pending call is waited for, and then the loop fails",
        "waiting; every 1; go 1; stop clock; running; fire; running",
        "0 yes done(ClockStopped) no",
    ),
    (
        "callbacks of a dropped Deferred run at the end",
        "every 1; go 1; drop; stop clock",
        "0 1 done(ClockStopped)",
    ),
    // Resetting.
    (
        "reset begins a new grid now",
        "every 1; go 1.5; reset; go 2.25",
        "0 1 2.5 3.5",
    ),
    (
        "reset does nothing while the function runs",
        "on 2 {reset}; every 1; go 3",
        "0 1 no 2 3",
    ),
    (
        "reset does nothing while a Deferred is pending",
        "waiting; every 1; go 0.5; reset; fire; go 1",
        "0 no 1",
    ),
    (
        "reset of an ended loop does nothing",
        "every 1; stop; reset; go 2",
        "done no",
    ),
    (
        "repeated resets delay the call for ever",
        "every 1; go 0; go 0.75; reset; go 0.75; reset; go 0.75; reset; go 1; timers",
        "0 3.25 1",
    ),
    (
        "reset before the first call delays it",
        "every 1; reset; go 1",
        "1",
    ),
    // Counting.
    (
        "the count is 1 when no point is missed",
        "counting; every 1; go 3",
        "0:1 1:1 2:1 3:1",
    ),
    (
        "the count is 1 at a first call of start_later",
        "counting; later 1; go 2",
        "1:1 2:1",
    ),
    (
        "the count includes the points that were missed",
        "counting; waiting; every 1; go 2.5; fire; go 1; fire; go 3; log then; go 2.1; fire; go 1",
        "0:1 3:3 4:1 then 9:5",
    ),
    (
        "the count is 1 without an interval",
        "counting; on 3 {stop}; every 0; go 1",
        "0:1 0:1 0:1 done",
    ),
    (
        "the count after a reset is 1",
        "counting; every 1; go 1.5; reset; go 1",
        "0:1 1:1 2.5:1",
    ),
    (
        "a new start counts anew",
        "counting; every 1; go 0; stop; go 5; again 1; go 1",
        "0:1 done 5:1 6:1",
    ),
    // Cancelling, which Twisted's loop does not notice.
    (
        "cancelling the Deferred stops the loop",
        "every 1; go 1; cancel; go 5; running; timers",
        "0 1 done(Cancelled) no 0",
    ),
    (
        "cancelling the Deferred cancels the Deferred that a call waits for",
        "waiting; every 1; go 1; cancel; go 5; running",
        "0 x done(Cancelled) no",
    ),
    (
        "the result of a cancelled call is the result of the loop",
        "waiting; on cancel {errback E}; every 1; go 1; cancel; go 5",
        "0 x done(E)",
    ),
    (
        "cancelled inside the function it ends after it",
        "on 1 {cancel,log inside}; every 1; go 5; timers",
        "0 done(Cancelled) inside 0",
    ),
    (
        "cancelled inside the function, the loop cancels the Deferred that the function returns",
        "waiting; on 1 {cancel}; every 1; go 5; timers",
        "0 done(Cancelled) x 0",
    ),
    (
        "cancelling does nothing when it is over",
        "every 1; stop; cancel",
        "done",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let world = World::new();
        world.run_all(script, ';');
        world.clear()
    });
}

/// The state of a script. Nothing is borrowed while a looping call is being used.
struct World {
    clock: RefCell<Option<VirtualClock>>,
    start: Instant,
    counts: Cell<bool>,
    waits: Cell<bool>,
    /// What the function does in which call.
    acts: RefCell<HashMap<String, String>>,
    calls: Cell<u32>,
    looping: RefCell<Option<Looping>>,
    done: RefCell<Option<Rc<Deferred<()>>>>,
    /// What a stopped loop returned.
    stopped: RefCell<Option<LoopingCall>>,
    resolver: RefCell<Option<Resolver<()>>>,
    /// How the present call fails.
    failing: RefCell<Option<Failure>>,
    /// What the present call knows of the resolver it has not made yet.
    fires: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl World {
    fn new() -> Rc<Self> {
        let clock = VirtualClock::new();
        Rc::new(Self {
            start: clock.now(),
            clock: RefCell::new(Some(clock)),
            counts: Cell::default(),
            waits: Cell::default(),
            acts: RefCell::default(),
            calls: Cell::default(),
            looping: RefCell::default(),
            done: RefCell::default(),
            stopped: RefCell::default(),
            resolver: RefCell::default(),
            failing: RefCell::default(),
            fires: Cell::default(),
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
        match verb {
            "counting" => self.counts.set(true),
            "waiting" => self.waits.set(true),
            "on" => {
                let (which, acts) = rest.split_once(" {").expect("acts");
                let acts = acts.strip_suffix('}').expect("a brace");
                self.acts.borrow_mut().insert(which.into(), acts.into());
            }
            "every" => self.start(self.make(), seconds(rest), true),
            "later" => self.start(self.make(), seconds(rest), false),
            "again" => {
                let call = self.stopped.take().expect("it was stopped");
                self.start(call, seconds(rest), true);
            }
            "go" => self.clock().advance(seconds(rest)),
            "stop" if rest == "clock" => drop(self.clock.take()),
            "stop" => self.say_if_not(self.looping().stop()),
            "reset" => self.say_if_not(self.looping().reset()),
            "running" => {
                let is_running = self.looping().is_running();
                self.say(if is_running { "yes" } else { "no" });
            }
            "timers" => {
                let count = self.clock().delayed_calls().len();
                self.say(&count.to_string());
            }
            "cancel" => {
                let done = self.done.borrow().clone();
                done.expect("it was started").cancel();
            }
            "drop" => {
                let (looping, done) = (self.looping.take(), self.done.take());
                drop((looping, done));
            }
            "fire" => match self.resolver.take() {
                Some(resolver) => resolver.callback(()),
                None => self.fires.set(true),
            },
            "errback" => {
                let resolver = self.resolver.take();
                resolver.expect("it waits").errback(Failure::new(rest));
            }
            "lose" => drop(self.resolver.take()),
            "fail" => drop(self.failing.replace(Some(Failure::new(rest)))),
            "panic" => std::panic::resume_unwind(Box::new("oh")),
            "log" => self.say(rest),
            _ => panic!("no such command: {command}"),
        }
    }

    fn make(self: &Rc<Self>) -> LoopingCall {
        let world = self.clone();
        match (self.counts.get(), self.waits.get()) {
            (false, false) => LoopingCall::new(move || world.called(None)),
            (true, false) => LoopingCall::with_count(move |n| world.called(Some(n))),
            (false, true) => LoopingCall::new(move || world.called_and_waits(None)),
            (true, true) => LoopingCall::with_count(move |n| world.called_and_waits(Some(n))),
        }
    }

    fn start(self: &Rc<Self>, call: LoopingCall, interval: Duration, now: bool) {
        let clock = self.clock();
        let (looping, done) = match now {
            true => call.start(&clock, interval),
            false => call.start_later(&clock, interval),
        };
        assert_eq!(looping.interval(), interval);
        drop(self.looping.replace(Some(looping)));
        let world = self.clone();
        let done = done.add_both(move |result| match result {
            Ok(call) => {
                drop(world.stopped.replace(Some(call)));
                world.say("done");
            }
            Err(failure) => world.say(&format!("done({})", show(&failure))),
        });
        drop(self.done.replace(Some(Rc::new(done))));
    }

    /// Does what the function does.
    fn called(self: &Rc<Self>, count: Option<u64>) -> Result<(), Failure> {
        let time = (self.now() - self.start).as_secs_f64();
        match count {
            Some(count) => self.say(&format!("{time}:{count}")),
            None => self.say(&time.to_string()),
        }
        self.calls.set(self.calls.get() + 1);
        let acts = self
            .acts
            .borrow()
            .get(&self.calls.get().to_string())
            .cloned();
        if let Some(acts) = acts {
            self.run_all(&acts, ',');
        }
        self.failing.take().map_or(Ok(()), Err)
    }

    fn called_and_waits(self: &Rc<Self>, count: Option<u64>) -> Deferred<()> {
        if let Err(failure) = self.called(count) {
            return Deferred::fail(failure);
        }
        if self.fires.take() {
            return Deferred::succeed(());
        }
        let (deferred, resolver) = Deferred::pair();
        drop(self.resolver.replace(Some(resolver)));
        let world = self.clone();
        deferred.on_cancel(move || {
            world.say("x");
            let acts = world.acts.borrow().get("cancel").cloned();
            if let Some(acts) = acts {
                world.run_all(&acts, ',');
            }
        })
    }

    fn clock(&self) -> VirtualClock {
        self.clock.borrow().clone().expect("it has not stopped")
    }

    fn now(&self) -> Instant {
        self.clock().now()
    }

    fn looping(&self) -> Looping {
        self.looping.borrow().clone().expect("it was started")
    }

    fn say_if_not(&self, done: bool) {
        if !done {
            self.say("no");
        }
    }

    fn say(&self, what: &str) {
        self.log.borrow_mut().push(what.into());
    }

    /// Ends a row; returns its log.
    fn clear(&self) -> Vec<String> {
        let log = self.log.take();
        self.clock.take();
        self.done.take();
        self.stopped.take();
        self.resolver.take();
        log
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number"))
}

fn show(failure: &Failure) -> String {
    if failure.is::<Cancelled>() {
        "Cancelled".into()
    } else if is_error!(failure, DeferredError::Abandoned) {
        "Abandoned".into()
    } else if failure.is::<ClockStopped>() {
        "ClockStopped".into()
    } else if failure.is_panic() {
        "panic".into()
    } else {
        failure.to_string()
    }
}
