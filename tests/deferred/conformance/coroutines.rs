//! The behaviour of futures that run as Deferreds, where Twisted has coroutines and
//! `inlineCallbacks`.
//!
//! A script is a list of commands, separated by `;`.
//!
//! | command                        | does                                                                     |
//! |--------------------------------|--------------------------------------------------------------------------|
//! | `pair a b`, `succeed a N`, `fail a E` | makes Deferreds                                                   |
//! | `on_cancel a X`                | its canceller logs `~a` and gives X, or `nothing`                        |
//! | `fire a N`, `errback a E`, `lose a` | uses its resolver                                                   |
//! | `cb a`, `cb_var a`             | adds a callback that logs `a(N)`, or what the task-local is              |
//! | `go f {…}`                     | makes a Deferred of a future that does what the braces say; logs `f=N` or `f=E` in the end |
//! | `way f {…}`                    | the same, and the way its failure has come                               |
//! | `loose f {…}`                  | the same without a callback                                              |
//! | `nested f a`                   | makes one of a future that returns a, and logs what that is              |
//! | `cancel f`, `drop f`           | cancels it; drops it                                                     |
//! | `limit f S {…}`                | the same as `go`, with a limit of S seconds                              |
//! | `sleep S`                      | lets so many seconds pass                                                |
//! | `with V {…}`                   | runs commands, separated by `,`, with the task-local set to V            |
//! | `later l`                      | a call without delay logs what the task-local is                         |
//! | `var`, `log L`                 | logs what the task-local is, or `L`                                      |
//! | `step`, `turn`                 | lets tasks run, once, or until all is done                               |
//!
//! What a future does is separated by `,`, and its last value is what it returns:
//!
//! | command                    | does                                                                 |
//! |----------------------------|----------------------------------------------------------------------|
//! | `await a`, `try a`         | awaits it and logs `f:N`; logs `f:E` as well and goes on             |
//! | `or a N`, `else a E`       | awaits it; makes N, or E, of a failure                               |
//! | `call g {…}`               | awaits a Deferred made of another future                             |
//! | `in V {…}`                 | does something with the task-local set to V                          |
//! | `many N`                   | awaits so many that are there                                        |
//! | `forever`                  | waits for something that is no Deferred                              |
//! | `hold`                     | has something that logs `-f` when it is dropped                      |
//! | `return N`, `raise E`, `panic` | ends it                                                          |
//! | `var`, `log L`             | as above                                                             |
//!
//! The task-local is logged with the name of the code that reads it, as `f<V>` or `f<>`; a failure
//! that is reported as `!E`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use torsade::clock::TimedOut;
use torsade::failure::TraceFrame;
use torsade::task::TaskLocal;
use torsade::{Cancelled, Clock, Deferred, Failure, Reactor, Resolver, yield_now};

use super::split;

const TABLE: &[(&str, &str, &str)] = &[
    // Awaiting. In Twisted the coroutine continues inside the firing.
    (
        "a coroutine continues in its turn, not inside the firing",
        "pair a; go f {await a,log on}; step; fire a 1; log then; step",
        "then f:1 on f=1",
    ),
    (
        "a result that is there is not waited for",
        "succeed a 1; pair b; fire b 2; go f {await a,await b}; step",
        "f:1 f:2 f=2",
    ),
    (
        "a hundred settled Deferreds are awaited in one turn",
        "go f {many 100}; step",
        "f=100",
    ),
    (
        "ten thousand settled Deferreds use no stack, and other tasks get turns in between",
        "go f {many 10000}; step; log then; turn",
        "then f=10000",
    ),
    (
        "callbacks that were added before come first",
        "pair a; cb a; go f {await a}; step; fire a 1; log then; step",
        "a(1) then f:1 f=1",
    ),
    (
        "a failure comes up where it waits, and so is handled",
        "pair a; go f {try a,return 3}; step; errback a E; step",
        "f:E f=3",
    ),
    (
        "a failure that was there comes up as well",
        "fail a E; go f {try a,return 3}; step",
        "f:E f=3",
    ),
    (
        "a failure that it lets pass is its own",
        "pair a; go f {await a,log never}; step; errback a E; step",
        "f=E",
    ),
    (
        "the value that it returns is the Deferred's",
        "go f {return 7}; step",
        "f=7",
    ),
    (
        "its error is the Deferred's failure",
        "go f {raise E}; step",
        "f=E",
    ),
    (
        "its panic is the Deferred's failure",
        "go f {panic}; step",
        "f=panic",
    ),
    (
        "a failure of a dropped coroutine is reported",
        "loose f {raise E}; drop f; log then; step",
        "then !E",
    ),
    (
        "a dropped coroutine runs on",
        "pair a; loose f {await a,log on}; step; drop f; fire a 1; step",
        "f:1 on",
    ),
    (
        "a coroutine may wait for another",
        "pair a; go f {call g {await a,return 5},log on}; step; fire a 1; turn",
        "g:1 on f=5",
    ),
    (
        "a failure passes through all coroutines that wait for each other",
        "pair a; go f {call g {call h {await a}}}; turn; errback a E; turn",
        "f=E",
    ),
    (
        "a Deferred that it returns is its value, and is not waited for",
        "pair a; nested f a; turn; log then; fire a 1",
        "Deferred then",
    ),
    (
        "a failure's trace names all coroutines that it passed through, the innermost first",
        "pair a; way f {call g {await a}}; turn; errback a E; turn",
        "f=E Deferred await Deferred await",
    ),
    // Cancelling.
    (
        "a cancel reaches the Deferred that it awaits, and its failure appears at that await",
        "pair a; on_cancel a nothing; go f {await a,log never}; step; cancel f; log then; step",
        "~a then f=Cancelled",
    ),
    (
        "it may make another failure of being cancelled",
        "pair a; go f {else a E}; step; cancel f; step",
        "f=E",
    ),
    (
        "it may succeed all the same",
        "pair a; go f {or a 7}; step; cancel f; step",
        "f=7",
    ),
    (
        "it may wait for something else",
        "pair a b; go f {try a,await b}; step; cancel f; step; log then; fire b 2; step",
        "f:Cancelled then f:2 f=2",
    ),
    (
        "and be cancelled again",
        "pair a b; on_cancel b nothing; go f {try a,await b}; step; cancel f; step; log then; cancel f; step",
        "f:Cancelled then ~b f=Cancelled",
    ),
    (
        "it continues with the value that a canceller fires",
        "pair a; on_cancel a 5; go f {await a}; step; cancel f; step",
        "~a f:5 f=5",
    ),
    (
        "it gets the failure that a canceller fires",
        "pair a; on_cancel a E; go f {try a,return 1}; step; cancel f; step",
        "~a f:E f=1",
    ),
    (
        "a cancel reaches the innermost of coroutines that wait for each other",
        "pair a; on_cancel a nothing; go f {call g {call h {await a}}}; turn; cancel f; log then; turn",
        "~a then f=Cancelled",
    ),
    (
        "the innermost coroutine may handle the cancel for all others",
        "pair a; go f {call g {or a 7,log on},log on}; turn; cancel f; turn",
        "on on f=7",
    ),
    (
        "a coroutine in the middle may handle the cancel and continue",
        "pair a b; go f {call g {call h {await a,log never},log never},log never}; turn; log then; cancel f; turn; pair c d; go k {call l {try c,await d},log on}; turn; cancel k; turn; fire d 1; turn",
        "then f=Cancelled l:Cancelled l:1 on k=1",
    ),
    (
        "a result that comes after a cancel is dropped",
        "pair a; go f {await a}; step; cancel f; fire a 1; step",
        "f=Cancelled",
    ),
    (
        "cancelling a finished coroutine does nothing",
        "pair a; go f {await a}; step; fire a 1; step; cancel f; turn",
        "f:1 f=1",
    ),
    // The awaited result has come, and the future has not had its turn yet.
    (
        "a cancel before its turn loses no result, and reaches the next await",
        "pair a b; on_cancel b nothing; go f {await a,await b}; step; fire a 1; cancel f; log then; step; step",
        "then f:1 ~b f=Cancelled",
    ),
    (
        "a cancel before its turn comes too late if it awaits nothing more",
        "pair a; go f {await a,log on}; step; fire a 1; cancel f; step; turn",
        "f:1 on f=1",
    ),
    (
        "a time limit cancels the Deferred that it awaits, once",
        "pair a; on_cancel a nothing; limit f 5 {await a,log never}; sleep 4; log then; sleep 2",
        "then ~a f=TimedOut",
    ),
    (
        "it may succeed when the limit is over, and that passes unchanged",
        "pair a; limit f 5 {or a 7}; sleep 6",
        "f=7",
    ),
    (
        "it may continue after its time limit",
        "pair a b; limit f 5 {try a,await b}; sleep 6; log then; fire b 2; step",
        "f:Cancelled then f:2 f=2",
    ),
    // Unknown to Twisted.
    (
        "a coroutine that awaits no Deferred is cancelled at once, and dropped in its turn",
        "go f {hold,forever}; step; cancel f; log then; turn",
        "f=Cancelled then -f",
    ),
    (
        "a coroutine that is cancelled before its first poll is never polled",
        "go f {log never}; cancel f; log then; turn",
        "f=Cancelled then",
    ),
    // Leftovers.
    (
        "a coroutine that has returned leaves nothing behind",
        "pair a; go f {hold,await a}; step; fire a 1; step",
        "f:1 -f f=1",
    ),
    (
        "a coroutine that has failed or was cancelled leaves nothing behind",
        "pair a b; go f {hold,await a}; go g {hold,await b}; step; errback a E; cancel g; step",
        "-f f=E -g g=Cancelled",
    ),
    (
        "a coroutine whose Deferred was abandoned leaves nothing behind",
        "pair a; go f {hold,await a}; step; lose a; step",
        "-f f=the Deferred was abandoned: its resolver was dropped without firing",
    ),
    // Task-locals, where Twisted has context variables.
    (
        "it sees the task-locals that were set where it was spawned, in every poll",
        "pair a; with v {go f {var,await a,var}}; step; with w {fire a 1}; step; var",
        "f<v> f:1 f<v> f=1 <>",
    ),
    (
        "a task-local that it sets holds across its awaits, and ends with its scope",
        "pair a; go f {in w {var,await a,var},var}; step; var; fire a 1; step",
        "f<w> <> f:1 f<w> f<> f=1",
    ),
    (
        "a task-local that it sets is not visible to its parent or to other tasks",
        "pair a b; with v {go f {in w {await a}},go g {await b,var},var}; step; fire b 2; step; var",
        "<v> g:2 g<v> g=2 <>",
    ),
    (
        "a coroutine that it awaits sees the task-locals that it has set",
        "go f {in w {call g {var}},var}; turn",
        "g<w> f<> f=0",
    ),
    (
        "a callback sees the task-locals that are set where it is fired",
        "pair a b; with v {cb_var a,cb_var b}; with w {fire a 1}; fire b 1",
        "a<w> b<>",
    ),
    (
        "a delayed call sees no task-locals",
        "with v {later l}; turn",
        "l<>",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let reactor = Reactor::builder().in_memory().debug(true).build().unwrap();
        let world = Rc::new(World::default());
        let log = world.clone();
        reactor.on_report(move |report| log.say(format!("!{}", name(report.failure()))));
        let inside = reactor.clone();
        let played = reactor.run_until(async {
            for command in split(script, ';') {
                match command {
                    "step" => yield_now().await,
                    "turn" => {
                        for _ in 0..100 {
                            yield_now().await;
                        }
                    }
                    command => match command.strip_prefix("sleep ") {
                        Some(time) => inside.sleep(seconds(time)).await.unwrap(),
                        None => world.run(&inside, command),
                    },
                }
            }
            world.log.take()
        });
        // The rest ends without a trace.
        std::mem::forget(world.resolvers.take());
        played.unwrap()
    });
}

type Number = i64;

/// The state of a script. Nothing is borrowed while a Deferred is being used.
#[derive(Default)]
struct World {
    deferreds: RefCell<HashMap<String, Deferred<Number>>>,
    resolvers: RefCell<HashMap<String, Resolver<Number>>>,
    /// The Deferred that `go` has made: it may be cancelled from inside.
    running: RefCell<HashMap<String, Rc<Deferred<()>>>>,
    log: RefCell<Vec<String>>,
}

impl World {
    fn run(self: &Rc<Self>, reactor: &Reactor, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (name, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "pair" => rest.split(' ').for_each(|name| self.pair(name)),
            "succeed" => self.put(name, Deferred::succeed(number(more))),
            "fail" => self.put(name, Deferred::fail(Failure::new(more))),
            "fire" => self.resolver(name).callback(number(more)),
            "errback" => self.resolver(name).errback(Failure::new(more)),
            "lose" => drop(self.resolver(name)),
            "on_cancel" => {
                let (world, label, brings) = (self.clone(), name.to_owned(), more.to_owned());
                let deferred = self.take(name).on_cancel(move || {
                    world.say(format!("~{label}"));
                    match brings.parse() {
                        Ok(n) => world.resolver(&label).callback(n),
                        Err(_) if brings == "nothing" => {}
                        Err(_) => world.resolver(&label).errback(Failure::new(&*brings)),
                    }
                });
                self.put(name, deferred);
            }
            "cb" | "cb_var" => {
                let (world, label, looks) = (self.clone(), name.to_owned(), verb == "cb_var");
                let deferred = self.take(name).map(move |n| {
                    match looks {
                        true => world.look(&label),
                        false => world.say(format!("{label}({n})")),
                    }
                    n
                });
                self.put(name, deferred);
            }
            "go" | "way" | "limit" => {
                let (world, label, observed) = (self.clone(), name.to_owned(), verb == "way");
                let (limit, braces) = match verb {
                    "limit" => more.split_once(' ').expect("a limit"),
                    _ => ("", more),
                };
                let mut deferred = Deferred::from_future(self.body(name, inside(braces)));
                if !limit.is_empty() {
                    deferred = deferred.timeout(seconds(limit), &reactor);
                }
                let deferred = deferred.add_both(move |result| {
                    world.say(format!("{label}={}", show(&result)));
                    let way = result.err().map(|failure| failure.trace());
                    for hop in way.iter().flatten().filter(|_| observed) {
                        world.say(match hop {
                            TraceFrame::Callback { .. } => "callback",
                            TraceFrame::Deferred { .. } => "Deferred",
                            TraceFrame::Awaited { .. } => "await",
                            _ => "task",
                        });
                    }
                });
                self.running
                    .borrow_mut()
                    .insert(name.into(), Rc::new(deferred));
            }
            "loose" => self.put(name, Deferred::from_future(self.body(name, inside(more)))),
            "nested" => {
                let (world, inner) = (self.clone(), self.take(more));
                let outer = Deferred::from_future(async { Ok(inner) });
                drop(outer.add_callback(move |inner: Deferred<Number>| {
                    world.say("Deferred");
                    drop(inner);
                }));
            }
            "cancel" => {
                let running = self.running.borrow().get(name).cloned();
                running.expect("it was begun").cancel();
            }
            "drop" => drop(self.take(name)),
            "with" => VARIABLE.sync_scope(name.to_owned(), || {
                for command in split(inside(more), ',') {
                    self.run(reactor, command);
                }
            }),
            "later" => {
                let (world, label) = (self.clone(), name.to_owned());
                reactor.call_later(Duration::ZERO, move || world.look(&label));
            }
            "var" => self.look(""),
            "log" => self.say(rest),
            _ => panic!("no such command: {command}"),
        }
    }

    /// A future that follows the script.
    fn body(
        self: &Rc<Self>,
        name: &str,
        text: &str,
    ) -> Pin<Box<dyn Future<Output = Result<Number, Failure>>>> {
        let (world, label, text) = (self.clone(), name.to_owned(), text.to_owned());
        Box::pin(async move {
            let mut last = 0;
            let mut held = Vec::new();
            for command in split(&text, ',') {
                let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
                let (name, more) = rest.split_once(' ').unwrap_or((rest, ""));
                match verb {
                    "await" => {
                        last = world.take(name).await?;
                        world.say(format!("{label}:{last}"));
                    }
                    "try" => {
                        let result = world.take(name).await;
                        world.say(format!("{label}:{}", show(&result)));
                    }
                    "or" => last = world.take(name).await.unwrap_or_else(|_| number(more)),
                    "else" => {
                        let result = world.take(name).await;
                        last = result.map_err(|_| Failure::new(more))?;
                    }
                    "call" => last = Deferred::from_future(world.body(name, inside(more))).await?,
                    "in" => {
                        let body = world.body(&label, inside(more));
                        last = VARIABLE.scope(name.to_owned(), body).await?;
                    }
                    "many" => {
                        for _ in 0..number(rest) {
                            last += Deferred::succeed(1).await?;
                        }
                    }
                    "forever" => std::future::pending().await,
                    "hold" => held.push(Held(world.clone(), label.clone())),
                    "return" => return Ok(number(rest)),
                    "raise" => return Err(Failure::new(rest)),
                    "panic" => std::panic::resume_unwind(Box::new("oh")),
                    "var" => world.look(&label),
                    "log" => world.say(rest),
                    _ => panic!("no such command: {command}"),
                }
            }
            Ok(last)
        })
    }

    fn look(&self, label: &str) {
        self.say(format!("{label}<{}>", VARIABLE.get().unwrap_or_default()));
    }

    fn say(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }

    fn pair(&self, name: &str) {
        let (deferred, resolver) = Deferred::pair();
        self.put(name, deferred);
        self.resolvers.borrow_mut().insert(name.into(), resolver);
    }

    fn put(&self, name: &str, deferred: Deferred<Number>) {
        let old = self.deferreds.borrow_mut().insert(name.into(), deferred);
        assert!(old.is_none(), "{name} is in use");
    }

    fn take(&self, name: &str) -> Deferred<Number> {
        let taken = self.deferreds.borrow_mut().remove(name);
        taken.unwrap_or_else(|| panic!("no Deferred {name}"))
    }

    fn resolver(&self, name: &str) -> Resolver<Number> {
        let taken = self.resolvers.borrow_mut().remove(name);
        taken.unwrap_or_else(|| panic!("no resolver {name}"))
    }
}

/// Logs when it is dropped.
struct Held(Rc<World>, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.say(format!("-{}", self.1));
    }
}

/// Returns the content of the braces.
fn inside(text: &str) -> &str {
    let text = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    text.expect("braces")
}

fn number(text: &str) -> Number {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse().expect("seconds"))
}

fn show(result: &Result<Number, Failure>) -> String {
    match result {
        Ok(n) => n.to_string(),
        Err(failure) => name(failure),
    }
}

fn name(failure: &Failure) -> String {
    if failure.is::<Cancelled>() {
        "Cancelled".into()
    } else if failure.is::<TimedOut>() {
        "TimedOut".into()
    } else if failure.is_panic() {
        "panic".into()
    } else {
        failure.to_string()
    }
}

static VARIABLE: TaskLocal<String> = TaskLocal::new();
