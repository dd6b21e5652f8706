//! The behaviour of cooperators.
//!
//! A script is a list of commands, separated by `;`. There is a cooperator whose slices are a
//! second apart.
//!
//! | command                        | does                                                                     |
//! |--------------------------------|--------------------------------------------------------------------------|
//! | `slice N`, `unstarted`         | makes a new one with N steps a slice; makes it wait for `start`          |
//! | `co a …`, `iter a …`           | `cooperate`s an iterator called `a`; `coiterate`s it                     |
//! | `turn`                         | lets a second pass: a slice                                              |
//! | `ask a`                        | `when_done`                                                              |
//! | `pause a`, `resume a`, `stop a`| uses the handle; the last pause goes first; an error is logged           |
//! | `fire x`, `errback x E`        | uses the resolver of a Deferred that was yielded                         |
//! | `cancel a`                     | cancels what `iter` gave                                                 |
//! | `end`, `start`                 | stops and starts the cooperator                                          |
//! | `stop clock`                   | drops the clock                                                          |
//! | `running`, `timers`            | logs `yes` or `no`; the number of timers                                 |
//! | `log L`                        | logs `L`                                                                 |
//!
//! An iterator yields one thing a step: nothing (`1`, which it logs with its name), a Deferred
//! (`@x`), a failure (`!E`); `panic` panics, and `{…}` runs commands first, separated by `,`, and
//! then yields nothing. It logs `-a` when it is dropped. `ask a` logs `a=done` or `a=E` in time,
//! `iter a` logs `a:done(left)` or `a:E`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use torsade::clock::ClockStopped;
use torsade::defer::DeferredError;
use torsade::repeat::{CooperateError, CooperativeTask, Slice, TaskPause};
use torsade::{Cancelled, Clock, Cooperator, Deferred, Failure, Resolver, VirtualClock};

const TABLE: &[(&str, &str, &str)] = &[
    // Slices.
    (
        "no step runs inside the call that adds the work",
        "co a 1 2; log then; turn",
        "then a1 a2 -a",
    ),
    (
        "tasks take turns, a step each",
        "co a 1 2 3; co b 1; co c 1 2; turn",
        "a1 b1 c1 a2 -b c2 a3 -c -a",
    ),
    (
        "a slice has a number of steps, and the next slice continues where it ended",
        "slice 2; co a 1 2 3; co b 1 2; turn; log |; turn; log |; turn; log |; turn",
        "a1 b1 | a2 b2 | a3 -b | -a",
    ),
    (
        "the position is kept when the number of steps does not fit",
        "slice 2; co a 1 2; co b 1 2; co c 1 2; turn; log |; turn; log |; turn",
        "a1 b1 | c1 a2 | b2 c2",
    ),
    (
        "a slice runs at least one step",
        "slice 0; co a 1 2; turn; log |; turn",
        "a1 | a2",
    ),
    (
        "a task that is added later is behind the others",
        "slice 1; co a 1 2; turn; co b 1; turn; turn; turn",
        "a1 a2 b1 -a",
    ),
    (
        "a task that is added inside a step is behind the others",
        "co a {co c 1} 2; co b 1; turn",
        "b1 c1 a2 -b -c -a",
    ),
    (
        "there is a timer while there is something to do",
        "timers; co a 1; timers; turn; timers",
        "0 1 a1 -a 0",
    ),
    (
        "stopping the last task removes the timer",
        "co a 1; co b 1; stop a; timers; stop b; timers",
        "-a 1 -b 0",
    ),
    (
        "pausing the last task removes the timer",
        "co a 1; pause a; timers; resume a; timers; turn",
        "0 1 a1 -a",
    ),
    (
        "an unstarted cooperator runs nothing before its start",
        "unstarted; co a 1; turn; timers; running; start; running; turn",
        "0 no yes a1 -a",
    ),
    (
        "starting again does nothing",
        "start; co a 1; start; timers; turn",
        "1 a1 -a",
    ),
    // What a step yields.
    (
        "a Deferred that is yielded is waited for",
        "co a @x 2; co b 1 2; turn; log |; turn; fire x; turn",
        "b1 b2 -b | a2 -a",
    ),
    (
        "while it waits there is no timer",
        "co a @x 2; turn; timers; fire x; timers",
        "0 1",
    ),
    (
        "a task that waited returns to the end of the queue",
        "slice 1; co a @x 2; turn; co b 1 2; co c 1 2; fire x; turn; turn; turn",
        "b1 c1 a2",
    ),
    (
        "a Deferred that has fired makes no difference",
        "iter a 1 2; co b 1 2; turn",
        "a1 b1 a2 b2 a:done(0) -a -b",
    ),
    (
        "a Deferred that fails fails the task",
        "co a @x 2; ask a; turn; errback x E; turn",
        "-a a=E",
    ),
    (
        "a failure that is yielded fails the task",
        "co a 1 !E 3; ask a; co b 1 2 3; turn",
        "a1 b1 -a a=E b2 b3 -b",
    ),
    (
        "a panic of the iterator fails its task only",
        "co a panic 2; ask a; co b 1; turn",
        "-a a=panic b1 -b",
    ),
    (
        "a Deferred whose resolver is lost fails the task",
        "co a @x 2; ask a; turn; lose x",
        "-a a=Abandoned",
    ),
    // The end. In Twisted every waiter gets the iterator; here its one owner does, the code that
    // called `coiterate`.
    (
        "when_done fires when the task is done",
        "co a 1; ask a; log then; turn",
        "then a1 -a a=done",
    ),
    (
        "all Deferreds of when_done fire, in the order of the calls",
        "co a !E; ask a {log 1}; ask a {log 2}; ask a {log 3}; turn; log |; ask a",
        "-a a=E 1 a=E 2 a=E 3 | a=E",
    ),
    (
        "when_done after the end fires at once",
        "co a 1; turn; ask a; co b 1; stop b; ask b",
        "a1 -a a=done -b b=TaskStopped",
    ),
    (
        "coiterate gives the iterator back",
        "iter a 1 2; turn",
        "a1 a2 a:done(0) -a",
    ),
    (
        "coiterate fails with the failure that the iterator yields",
        "iter a 1 !E 3; turn",
        "a1 -a a:E",
    ),
    // Unknown to Twisted's cooperator.
    (
        "cancelling the Deferred of coiterate ends the work",
        "iter a 1 2; cancel a; turn; timers",
        "-a a:Cancelled 0",
    ),
    (
        "cancelling the Deferred of coiterate cancels the Deferred that the work waits for",
        "iter a @x 2; turn; cancel a",
        "x -a a:Cancelled",
    ),
    (
        "it may be cancelled inside its own step",
        "iter a {cancel a,log inside} 2; turn",
        "a:Cancelled inside -a",
    ),
    (
        "a task has ended before its when_done fires",
        "co a 1; ask a {pause a}; turn",
        "a1 -a a=done TaskDone",
    ),
    (
        "a callback of when_done may stop the cooperator",
        "co a 1; co b 1 2 3; ask a {end}; ask b; turn",
        "a1 b1 -a a=done -b b=SchedulerStopped",
    ),
    (
        "a callback of when_done may add work",
        "co a 1; ask a {co b 1}; turn",
        "a1 -a a=done b1 -b",
    ),
    // Stopping.
    (
        "stopping ends a task",
        "co a 1 2; ask a; stop a; turn; timers",
        "-a a=TaskStopped 0",
    ),
    (
        "stopping a waiting task cancels the Deferred that it waits for",
        "co a @x 2; ask a; turn; stop a",
        "x -a a=TaskStopped",
    ),
    (
        "a task may stop itself, and is dropped after its step",
        "co a {stop a,log inside} 2; ask a; turn",
        "a=TaskStopped inside -a",
    ),
    (
        "a task may stop another",
        "co a {stop b} 2; co b 1 2; turn",
        "-b a2 -a",
    ),
    (
        "a Deferred that is yielded after a stop is cancelled",
        "co a {stop a}@x 2; ask a; turn",
        "a=TaskStopped -a x",
    ),
    (
        "stopping a task that has ended fails with the way it ended",
        "co a; turn; stop a; co b !E; ask b; turn; stop b; co c 1; stop c; stop c; co d; end; stop d",
        "-a TaskDone -b b=E TaskFailed -c TaskStopped -d SchedulerStopped",
    ),
    // Pausing.
    (
        "a paused task does nothing",
        "slice 1; co a 1 2 3; turn; pause a; turn; turn; resume a; turn",
        "a1 a2",
    ),
    (
        "pauses add up",
        "co a 1; pause a; pause a; turn; resume a; turn; log now; resume a; turn",
        "now a1 -a",
    ),
    (
        "a task may pause itself",
        "co a {pause a} 2; turn; log now; resume a; turn",
        "now a2 -a",
    ),
    (
        "a task that pauses and resumes itself takes its turn once",
        "slice 1; co a {pause a,resume a} 2 3; co b 1 2; turn; turn; turn; turn",
        "b1 a2 b2",
    ),
    (
        "a paused task that waits continues after the pause and the wait, when the wait ends first",
        "co a @x 2; turn; pause a; fire x; turn; log now; resume a; turn",
        "now a2 -a",
    ),
    (
        "a paused task that waits continues after the pause and the wait, when the pause ends first",
        "co a @x 2; turn; pause a; resume a; turn; log now; fire x; turn",
        "now a2 -a",
    ),
    (
        "a paused task whose Deferred fails fails at once",
        "co a @x 2; ask a; turn; pause a; errback x E; resume a; turn",
        "-a a=E",
    ),
    (
        "resuming a task that was stopped does nothing",
        "co a 1; pause a; stop a; resume a; turn; timers",
        "-a 0",
    ),
    (
        "pausing a task that has ended fails with the way it ended",
        "co a; turn; pause a; co b !E; ask b; turn; pause b; co c 1; stop c; pause c; co d; end; pause d",
        "-a TaskDone -b b=E TaskFailed -c TaskStopped -d SchedulerStopped",
    ),
    // The cooperator's end.
    (
        "stopping the cooperator ends all tasks, in the order of adding",
        "slice 3; co a 1 2; iter b 1 2; co c @x; ask a; ask c; turn; end; timers; running",
        "a1 b1 -a a=SchedulerStopped -b b:SchedulerStopped x -c c=SchedulerStopped 0 no",
    ),
    (
        "stopping the cooperator ends paused tasks as well",
        "co a 1; ask a; pause a; end; resume a",
        "-a a=SchedulerStopped",
    ),
    (
        "a cooperator that was stopped refuses work",
        "end; co a 1; ask a; iter b 1; timers",
        "-a a=SchedulerStopped -b b:SchedulerStopped 0",
    ),
    (
        "stopped inside a step it does no more steps",
        "co a {end,log inside} 2; co b 1 2; ask a; ask b; turn; turn",
        "a=SchedulerStopped -b b=SchedulerStopped inside -a",
    ),
    ("stopping it again does nothing", "co a 1; end; end", "-a"),
    (
        "it can be started again",
        "co a 1; end; start; co b 1; turn",
        "-a b1 -b",
    ),
    (
        "stopping an unstarted cooperator ends its work",
        "unstarted; co a 1; ask a; end",
        "-a a=SchedulerStopped",
    ),
    (
        "dropping an unstarted cooperator ends its work",
        "unstarted; co a 1; ask a; slice 1",
        "-a a=SchedulerStopped",
    ),
    (
        "dropping a running cooperator changes nothing",
        "co a 1 2; co b @x 2; slice 1; turn; fire x; turn",
        "a1 a2 -a b2 -b",
    ),
    (
        "when the clock stops, queued work ends",
        "co a 1; ask a; iter b 1; stop clock",
        "-a a=ClockStopped -b b:ClockStopped",
    ),
    (
        "when the clock has stopped, waiting work ends once its Deferred fires",
        "co a @x 2; ask a; turn; stop clock; log now; fire x",
        "now -a a=ClockStopped",
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

/// The state of a script. Nothing is borrowed while a cooperator is being used.
struct World {
    clock: RefCell<Option<VirtualClock>>,
    cooperator: RefCell<Option<Cooperator>>,
    tasks: RefCell<HashMap<String, CooperativeTask>>,
    iterations: RefCell<HashMap<String, Rc<Deferred<()>>>>,
    pauses: RefCell<Vec<(String, TaskPause)>>,
    resolvers: RefCell<HashMap<String, Resolver<()>>>,
    /// The row is over: later logs are ignored.
    is_finished: Cell<bool>,
    log: RefCell<Vec<String>>,
}

/// An iterator that follows a script.
struct Script {
    name: String,
    words: VecDeque<String>,
    world: Weak<World>,
}

/// Returns the result of a step.
enum Step {
    Done,
    Fails(Failure),
    Waits(Deferred<()>),
}

impl Script {
    fn step(&mut self) -> Option<Step> {
        let word = self.words.pop_front()?;
        let world = self.world.upgrade()?;
        let (commands, yields) = match word.strip_prefix('{').and_then(|w| w.split_once('}')) {
            Some((commands, yields)) => (commands, yields),
            None => ("", &*word),
        };
        if !commands.is_empty() {
            world.run_all(commands, ',');
        }
        if let Some(error) = yields.strip_prefix('!') {
            return Some(Step::Fails(Failure::new(error)));
        }
        if let Some(name) = yields.strip_prefix('@') {
            return Some(Step::Waits(world.make(name)));
        }
        match yields {
            "" => {}
            "panic" => std::panic::resume_unwind(Box::new("oh")),
            step => world.say(&format!("{}{step}", self.name)),
        }
        Some(Step::Done)
    }
}

impl Iterator for Script {
    type Item = Deferred<()>;

    fn next(&mut self) -> Option<Deferred<()>> {
        Some(match self.step()? {
            Step::Done => Deferred::succeed(()),
            Step::Fails(failure) => Deferred::fail(failure),
            Step::Waits(deferred) => deferred,
        })
    }
}

/// A script that yields no Deferreds.
struct Plain(Script);

impl Iterator for Plain {
    type Item = Result<(), Failure>;

    fn next(&mut self) -> Option<Result<(), Failure>> {
        match self.0.step()? {
            Step::Done => Some(Ok(())),
            Step::Fails(failure) => Some(Err(failure)),
            Step::Waits(_) => panic!("a plain one does not wait"),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(world) = self.world.upgrade() {
            world.say(&format!("-{}", self.name));
        }
    }
}

impl World {
    fn new() -> Rc<Self> {
        let world = Rc::new(Self {
            clock: RefCell::new(Some(VirtualClock::new())),
            cooperator: RefCell::default(),
            tasks: RefCell::default(),
            iterations: RefCell::default(),
            pauses: RefCell::default(),
            resolvers: RefCell::default(),
            is_finished: Cell::default(),
            log: RefCell::default(),
        });
        world.renew(1_000, true);
        world
    }

    fn renew(&self, steps: u32, started: bool) {
        let (clock, rest) = (self.clock(), Duration::from_secs(1));
        let slice = Slice {
            steps,
            rest,
            ..Slice::default()
        };
        let new = match started {
            true => Cooperator::with_slice(&clock, slice),
            false => Cooperator::unstarted(&clock, slice),
        };
        let old = self.cooperator.replace(Some(new));
        drop(old);
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
            "slice" => self.renew(rest.parse().expect("a number"), true),
            "unstarted" => self.renew(1_000, false),
            "co" => {
                let script = self.script(name, more);
                let task = match more.contains('@') {
                    true => self.cooperator().cooperate(script),
                    false => self.cooperator().cooperate(Plain(script)),
                };
                self.tasks.borrow_mut().insert(name.into(), task);
            }
            "iter" => {
                let script = self.script(name, more);
                let (world, label) = (self.clone(), name.to_owned());
                let done = self.cooperator().coiterate(script);
                let done = done.add_both(move |result| match result {
                    Ok(script) => world.say(&format!("{label}:done({})", script.words.len())),
                    Err(failure) => world.say(&format!("{label}:{}", show(&failure))),
                });
                self.iterations
                    .borrow_mut()
                    .insert(name.into(), Rc::new(done));
            }
            "turn" => self.clock().advance(Duration::from_secs(1)),
            "ask" => {
                let (world, label) = (self.clone(), name.to_owned());
                let commands = more.trim_matches(['{', '}']).to_owned();
                self.task(name).when_done().add_both(move |result| {
                    let how = result.map_or_else(|failure| show(&failure), |()| "done".into());
                    world.say(&format!("{label}={how}"));
                    if !commands.is_empty() {
                        world.run_all(&commands, ',');
                    }
                });
            }
            "pause" => match self.task(name).pause() {
                Ok(pause) => self.pauses.borrow_mut().push((name.into(), pause)),
                Err(failure) => self.say(&show(&failure)),
            },
            "resume" => {
                let mut pauses = self.pauses.borrow_mut();
                let last = pauses.iter().rposition(|(whose, _)| whose == name);
                let (_, pause) = pauses.remove(last.expect("it is paused"));
                drop(pauses);
                pause.resume();
            }
            "stop" if name == "clock" => drop(self.clock.take()),
            "stop" => {
                if let Err(failure) = self.task(name).stop() {
                    self.say(&show(&failure));
                }
            }
            "fire" => self.resolver(name).callback(()),
            "errback" => self.resolver(name).errback(Failure::new(more)),
            "lose" => drop(self.resolver(name)),
            "cancel" => {
                let iteration = self.iterations.borrow().get(name).cloned();
                iteration.expect("it was begun").cancel();
            }
            "end" => self.cooperator().stop(),
            "start" => self.cooperator().start(),
            "running" => self.say(match self.cooperator().is_running() {
                true => "yes",
                false => "no",
            }),
            "timers" => {
                let count = self.clock().delayed_calls().len();
                self.say(&count.to_string());
            }
            "log" => self.say(rest),
            _ => panic!("no such command: {command}"),
        }
    }

    fn script(self: &Rc<Self>, name: &str, words: &str) -> Script {
        let mut depth = 0;
        let between = |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ' ' && depth == 0
        };
        let words = words.split(between).filter(|word| !word.is_empty());
        Script {
            name: name.into(),
            words: words.map(str::to_owned).collect(),
            world: Rc::downgrade(self),
        }
    }

    /// A Deferred that is yielded.
    fn make(self: &Rc<Self>, name: &str) -> Deferred<()> {
        let (deferred, resolver) = Deferred::pair();
        self.resolvers.borrow_mut().insert(name.into(), resolver);
        let (world, name) = (self.clone(), name.to_owned());
        deferred.on_cancel(move || world.say(&name))
    }

    fn clock(&self) -> VirtualClock {
        self.clock.borrow().clone().expect("it has not stopped")
    }

    fn cooperator(&self) -> Cooperator {
        self.cooperator
            .borrow()
            .clone()
            .expect("the row is not over")
    }

    fn task(&self, name: &str) -> CooperativeTask {
        let task = self.tasks.borrow().get(name).cloned();
        task.unwrap_or_else(|| panic!("no task {name}"))
    }

    fn resolver(&self, name: &str) -> Resolver<()> {
        let resolver = self.resolvers.borrow_mut().remove(name);
        resolver.unwrap_or_else(|| panic!("no Deferred {name}"))
    }

    fn say(&self, what: &str) {
        if !self.is_finished.get() {
            self.log.borrow_mut().push(what.into());
        }
    }

    /// Ends a row; returns its log.
    fn clear(&self) -> Vec<String> {
        self.is_finished.set(true);
        let cooperator = self.cooperator.take();
        if let Some(cooperator) = cooperator {
            cooperator.stop();
        }
        self.pauses.take();
        self.tasks.take();
        self.iterations.take();
        self.resolvers.take();
        self.clock.take();
        self.log.take()
    }
}

fn show(failure: &Failure) -> String {
    let names = [
        ("Cancelled", failure.is::<Cancelled>()),
        ("Abandoned", is_error!(failure, DeferredError::Abandoned)),
        ("ClockStopped", failure.is::<ClockStopped>()),
        (
            "SchedulerStopped",
            is_error!(failure, CooperateError::SchedulerStopped),
        ),
        ("TaskDone", is_error!(failure, CooperateError::TaskDone)),
        (
            "TaskFailed",
            is_error!(failure, CooperateError::TaskFailed(..)),
        ),
        (
            "TaskStopped",
            is_error!(failure, CooperateError::TaskStopped),
        ),
        ("panic", failure.is_panic()),
    ];
    let named = names.iter().find(|(_, is)| *is);
    named.map_or_else(|| failure.to_string(), |(name, _)| (*name).into())
}
