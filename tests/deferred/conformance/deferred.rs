//! The behaviour of Deferreds.
//!
//! A script is a list of commands, separated by `;`. Most take `@name` as their last word, the
//! Deferred they are about; without it they are about `@d`.
//!
//! | command                        | does                                                                 |
//! |--------------------------------|----------------------------------------------------------------------|
//! | `pair`, `succeed N`, `fail E`  | makes a Deferred                                                     |
//! | `cb L …`, `eb L …`, `both L …` | adds a callback that logs `L(N)` or `L(E)`                           |
//! | `cbs L M`                      | adds a pair, of which the first fails with `boom`                    |
//! | `map N`                        | adds N by `map`                                                      |
//! | `fire N`, `errback E`, `lose`  | uses the resolver                                                    |
//! | `errback_plain`                | gives it an error that is no `Failure` yet: `ResultTaken`           |
//! | `same L`, `errback_kept`       | logs `L(same)` if it gets the very failure that the other one gives  |
//! | `line N`                       | N, each waiting for the next; the resolver is that of the last       |
//! | `on_cancel L …`, `cancel`      | the canceller logs `L`                                               |
//! | `held L`                       | the same, and `-L` when it is dropped                                |
//! | `pause`, `unpause`             | the last pause goes first                                            |
//! | `drop`                         | drops the Deferred                                                   |
//! | `poll`                         | polls it: logs `=N`, `=E` or `=?`                                    |
//! | `shown`                        | logs how it stands, as `{:?}` says                                   |
//! | `timeout N`                    | limits it to N seconds                                               |
//! | `timeout_with L N`             | the same; what comes of it is logged as `L(N,S)`, with the limit, and -1 from there on |
//! | `advance N`, `calls`           | lets seconds go by; logs how many calls are pending                  |
//! | `log L`                        | logs `L`                                                             |
//!
//! After a callback's label comes what it does and returns, in that order: `do {…}` runs commands,
//! `-> N` returns that, `-> +N` adds to what it got, `-> !E` fails, `-> @x` returns that Deferred,
//! `-> panic` panics. Without `->` it passes on what it got.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use torsade::clock::TimedOut;
use torsade::defer::{DeferredError, Pause};
use torsade::{Cancelled, Clock, Deferred, Failure, Resolver, VirtualClock};

const TABLE: &[(&str, &str, &str)] = &[
    // The model.
    (
        "callbacks run in order, inside the firing",
        "pair; cb a; cb b; fire 3; log after",
        "a(3) b(3) after",
    ),
    (
        "the next callback gets the value that a callback returns",
        "pair; cb a -> +1; cb b -> 10; cb c; fire 3",
        "a(3) b(4) c(10)",
    ),
    (
        "a failure skips callbacks until an errback",
        "pair; cb a; eb b; cb c; errback E",
        "b(E)",
    ),
    (
        "an errback that returns a value recovers",
        "pair; eb a -> 5; cb b; eb c; errback E",
        "a(E) b(5)",
    ),
    ("a value skips errbacks", "pair; eb a; cb b; fire 1", "b(1)"),
    (
        "an errback may pass another failure on",
        "pair; eb a -> !F; eb b; errback E",
        "a(E) b(F)",
    ),
    (
        "the next errback gets a callback's failure",
        "pair; cb a -> !E; cb b; eb c; fire 1",
        "a(1) c(E)",
    ),
    (
        "a panic becomes a failure",
        "pair; cb a -> panic; cb b; eb c -> 2; cb d; fire 1",
        "a(1) c(panic) d(2)",
    ),
    (
        "a panic in an errback becomes the failure",
        "pair; eb a -> panic; eb b; errback E",
        "a(E) b(panic)",
    ),
    (
        "both sees a value",
        "pair; both a; cb b; fire 1",
        "a(1) b(1)",
    ),
    (
        "both sees a failure",
        "pair; both a -> 2; cb b; errback E",
        "a(E) b(2)",
    ),
    (
        "of a pair the errback does not get the failure of its callback",
        "pair; cbs a b; eb c; fire 1",
        "a(1) c(boom)",
    ),
    (
        "of a pair the errback gets an earlier failure",
        "pair; cbs a b; cb c; errback E",
        "b(E) c(-1)",
    ),
    (
        "errbacks run inside the firing as well",
        "pair; both a; both b; errback E; log after",
        "a(E) b(E) after",
    ),
    (
        "a failure is passed on as it is",
        "pair; cb a; same b; errback_kept; pair @x; same c @x; errback E @x",
        "b(same) c(another)",
    ),
    (
        "any other error becomes a failure",
        "pair; eb a; errback_plain",
        "a(ResultTaken)",
    ),
    (
        "a callback runs once",
        "pair; cb a; fire 1; cb b; cb c; log then",
        "a(1) b(1) c(1) then",
    ),
    (
        "map changes values and lets failures by",
        "pair; map 1; map 2; cb a; fire 1; pair @x; map 1 @x; eb b @x; errback E @x",
        "a(4) b(E)",
    ),
    (
        "a Deferred that has its value calls at once",
        "succeed 3; cb a; log then; cb b -> +1; poll",
        "a(3) then b(3) =4",
    ),
    (
        "a Deferred that has failed calls at once",
        "fail E; eb a -> 1; log then; poll",
        "a(E) then =1",
    ),
    (
        "a callback that is added to a fired Deferred runs before the call returns",
        "pair; fire 3; cb a; log then; cb b",
        "a(3) then b(3)",
    ),
    (
        "a fired Deferred takes more callbacks after its callbacks ran",
        "pair; cb a -> +1; fire 3; cb b -> +1; poll",
        "a(3) b(4) =5",
    ),
    (
        "a panic in a callback of a fired Deferred becomes a failure",
        "succeed 1; cb a -> panic; eb b; poll",
        "a(1) b(panic) =panic",
    ),
    (
        "a callback that adds a callback puts it at the end",
        "pair; cb a do {cb c}; cb b; fire 1",
        "a(1) b(1) c(1)",
    ),
    (
        "a callback that is added inside a callback does not run inside it",
        "pair; cb a do {cb b; log after}; fire 1",
        "a(1) after b(1)",
    ),
    (
        "callbacks may be added inside callbacks repeatedly",
        "pair; cb a do {cb b do {cb c}}; fire 1",
        "a(1) b(1) c(1)",
    ),
    (
        "firing another Deferred inside a callback is a call as well",
        "pair; pair @x; cb x @x; cb a do {fire 7 @x; log after}; cb b; fire 1",
        "a(1) x(7) after b(1)",
    ),
    (
        "a lost resolver is a failure",
        "pair; eb a; lose",
        "a(Abandoned)",
    ),
    (
        "a Deferred whose resolver was dropped before callbacks were added fails as well",
        "pair; lose; eb a",
        "a(Abandoned)",
    ),
    (
        "a dropped Deferred runs on",
        "pair; cb a; drop; fire 3",
        "a(3)",
    ),
    (
        "a Deferred that its own callback drops runs on",
        "pair; cb a do {drop}; cb b; fire 3",
        "a(3) b(3)",
    ),
    // Chaining.
    (
        "an inner Deferred that has fired continues the chain at once",
        "pair @i; fire 5 @i; pair; cb a -> @i; cb b; fire 1",
        "a(1) b(5)",
    ),
    (
        "an inner Deferred that has its value continues the chain at once",
        "succeed 5 @i; pair; cb a -> @i; cb b; fire 1",
        "a(1) b(5)",
    ),
    (
        "an inner Deferred that has failed continues the chain at once",
        "fail E @i; pair; cb a -> @i; cb b; eb c; fire 1",
        "a(1) c(E)",
    ),
    (
        "a chain waits for a Deferred that a callback returns",
        "pair @i; pair; cb a -> @i; cb b; fire 1; log then; fire 2 @i",
        "a(1) then b(2)",
    ),
    (
        "a chain that waits gets the failure as well",
        "pair @i; pair; cb a -> @i; cb b; eb c; fire 1; errback E @i",
        "a(1) c(E)",
    ),
    (
        "a waiting chain fails when the inner Deferred's resolver is dropped",
        "pair @i; pair; cb a -> @i; eb c; fire 1; lose @i",
        "a(1) c(Abandoned)",
    ),
    (
        "an errback may return a Deferred too",
        "pair @i; pair; eb a -> @i; cb b; errback E; fire 2 @i",
        "a(E) b(2)",
    ),
    (
        "the inner Deferred's callbacks run first and may change the value",
        "pair @i; cb x -> +1 @i; pair; cb a -> @i; cb b; fire 1; fire 2 @i",
        "a(1) x(2) b(3)",
    ),
    (
        "callbacks that are added while a chain waits run after the wait",
        "pair @i; pair; cb a -> @i; fire 1; cb b; cb c; fire 2 @i",
        "a(1) b(2) c(2)",
    ),
    (
        "a waiting chain is not settled",
        "pair @i; pair; cb a -> @i; fire 1; poll; fire 2 @i; poll",
        "a(1) =? =2",
    ),
    (
        "the inner may fire before the outer",
        "pair @i; pair; cb a -> @i; cb b; fire 2 @i; log then; fire 1",
        "then a(1) b(2)",
    ),
    (
        "a paused Deferred holds back the chain that waits for it",
        "pair @i; pause @i; fire 2 @i; pair; cb a -> @i; cb b; fire 1; log then; unpause @i",
        "a(1) then b(2)",
    ),
    (
        "a pause in the middle holds back later callbacks and no earlier ones",
        "pair @i; cb x @i; pair @m; pause @m; cb m -> @i @m; cb n @m; fire 1 @m; pair; cb a -> @m; cb b; fire 1; fire 2 @i; log then; unpause @m",
        "a(1) x(2) then m(1) n(2) b(2)",
    ),
    (
        "waiting is transitive",
        "pair @c; pair @b; cb b -> @c @b; pair; cb a -> @b; cb z; fire 1; fire 2 @b; log then; fire 3 @c",
        "a(1) b(2) then z(3)",
    ),
    (
        "waiting is transitive from the inside out",
        "pair @c; pair @b; cb b -> @c @b; pair; cb a -> @b; cb z; fire 3 @c; fire 2 @b; log then; fire 1",
        "b(2) then a(1) z(3)",
    ),
    (
        "a chain waits for a Deferred that waits already",
        "pair @c; pair @b; cb b -> @c @b; fire 2 @b; pair; cb a -> @b; cb z; fire 1; log then; fire 3 @c",
        "b(2) a(1) then z(3)",
    ),
    (
        "a chain may wait more than once",
        "pair @i; pair @j; pair; cb a -> @i; cb b -> @j; cb c; fire 1; fire 2 @i; log then; fire 3 @j",
        "a(1) b(2) then c(3)",
    ),
    (
        "a fired Deferred waits for the Deferred that a later callback returns",
        "pair @i; succeed 1; cb a -> @i; cb b; log then; fire 2 @i",
        "a(1) then b(2)",
    ),
    (
        "a chain may be dropped while it waits",
        "pair @i; pair; cb a -> @i; cb b; fire 1; drop; fire 2 @i",
        "a(1) b(2)",
    ),
    (
        "twenty thousand Deferreds that wait for each other are a chain like any other",
        "line 20000; cb a; log then; fire 1; log after",
        "then a(1) after",
    ),
    // Twisted lets it wait forever.
    (
        "a Deferred whose callback returns it fails with WaitsForItself",
        "pair; cb a -> @d; cb b; eb c -> 0; fire 1",
        "a(1) c(WaitsForItself)",
    ),
    (
        "a Deferred that a later callback of it returns fails with WaitsForItself",
        "pair; cb a do {cb b -> @d}; fire 1; log then",
        "a(1) b(1) then",
    ),
    // Pausing.
    (
        "a paused Deferred runs no callbacks when it fires",
        "pair; cb a; pause; fire 1; log then; unpause",
        "then a(1)",
    ),
    (
        "pauses add up",
        "pair; cb a; pause; pause; fire 1; unpause; log then; unpause",
        "then a(1)",
    ),
    (
        "unpausing before the firing does not fire",
        "pair; cb a; pause; unpause; log then; fire 1",
        "then a(1)",
    ),
    (
        "a fired Deferred can be paused",
        "succeed 1; pause; cb a; log then; unpause",
        "then a(1)",
    ),
    (
        "a callback may pause its own",
        "pair; cb a do {pause}; cb b; fire 1; log then; unpause",
        "a(1) then b(1)",
    ),
    (
        "a pause may be undone inside another's callback",
        "pair; cb a; pause; fire 1; pair @x; cb x do {unpause; log after} @x; fire 2 @x",
        "x(2) a(1) after",
    ),
    (
        "a paused Deferred is not settled",
        "succeed 1; pause; poll; unpause; poll",
        "=? =1",
    ),
    (
        "a paused failure waits as well",
        "pair; pause; eb a; errback E; log then; unpause",
        "then a(E)",
    ),
    (
        "a chain that waits may be paused",
        "pair @i; pair; cb a -> @i; cb b; fire 1; pause; fire 2 @i; log then; unpause",
        "a(1) then b(2)",
    ),
    (
        "unpausing a waiting chain does not end its wait",
        "pair @i; pair; cb a -> @i; cb b; fire 1; pause; unpause; log then; fire 2 @i",
        "a(1) then b(2)",
    ),
    // `Debug`.
    (
        "Debug shows the state",
        "pair; shown; pause; shown; unpause; cb a; fire 1; shown; succeed 2; shown; fail E; shown; poll; shown",
        "pending paused a(1) fired has its value failed: E =E its result was taken",
    ),
    (
        "it shows that it waits for another",
        "pair @i; pair; cb a -> @i; fire 1; shown; fire 2 @i; shown",
        "a(1) waiting for another fired",
    ),
    // Awaiting and giving up, which Twisted does not have.
    (
        "a polled Deferred that is dropped is cancelled",
        "pair; on_cancel x; both a; poll; drop",
        "=? x a(Cancelled)",
    ),
    (
        "a polled Deferred that waits passes the cancel on",
        "pair @i; on_cancel x @i; pair; cb a -> @i; fire 1; poll; drop",
        "a(1) =? x",
    ),
    (
        "a polled Deferred that gets a callback counts as unpolled again",
        "pair; on_cancel x; poll; cb a; drop; fire 1",
        "=? a(1)",
    ),
    (
        "a polled Deferred that a callback returns counts as unpolled again",
        "pair @i; poll @i; pair; cb a -> @i; cb b; fire 1; drop; fire 2 @i",
        "=? a(1) b(2)",
    ),
    (
        "a value that a canceller fires when an await is given up is dropped",
        "pair; on_cancel x do {fire 5}; poll; drop; log then",
        "=? x then",
    ),
    // In Twisted a fired Deferred may be awaited any number of times; here that is what `Shared` is
    // for.
    (
        "a result can be had once",
        "succeed 1; poll; poll; eb a",
        "=1 =ResultTaken a(ResultTaken)",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    check(TABLE);
}

/// Runs each row of a table: its name, its script and the log.
#[track_caller]
pub(crate) fn check(table: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (name, script, trace) in table {
        let world = Rc::new(World::default());
        world.run_all(script);
        let got = world.log.take().join(" ");
        if got != *trace {
            wrong.push(format!(
                "{name}\n  {script}\n  expected {trace}\n  got      {got}"
            ));
        }
        world.clear();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut names: Vec<_> = table.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table.len(), "two rows of one name");
}

type Number = i64;

/// The state of a script. Nothing is borrowed while a Deferred is being used.
#[derive(Default)]
struct World {
    deferreds: RefCell<HashMap<String, Kept>>,
    resolvers: RefCell<HashMap<String, Resolver<Number>>>,
    pauses: RefCell<Vec<(String, Pause)>>,
    clock: VirtualClock,
    /// The result of `errback_kept`.
    kept: RefCell<Option<Failure>>,
    log: RefCell<Vec<String>>,
}

/// A Deferred that may be cancelled in place. `None` once it was taken.
type Kept = Rc<RefCell<Option<Deferred<Number>>>>;

/// Logs when it is dropped.
struct Held(Rc<World>, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.say(&format!("-{}", self.1));
    }
}

/// Runs a callback's actions, and returns its result.
#[derive(Clone, Default)]
struct Act {
    label: String,
    commands: String,
    returns: Option<String>,
}

impl World {
    fn run_all(self: &Rc<Self>, script: &str) {
        let mut depth = 0;
        let between = |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ';' && depth == 0
        };
        for command in script.split(between) {
            self.run(command.trim());
        }
    }

    fn run(self: &Rc<Self>, command: &str) {
        let (command, name) = match command.rsplit_once(" @") {
            Some((rest, name)) if !rest.ends_with("->") && !name.contains('}') => (rest, name),
            _ => (command, "d"),
        };
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "" => {}
            "pair" => {
                let (deferred, resolver) = Deferred::pair();
                self.put(name, deferred);
                self.resolvers.borrow_mut().insert(name.into(), resolver);
            }
            "succeed" => self.put(name, Deferred::succeed(number(rest))),
            "fail" => self.put(name, Deferred::fail(failure(rest))),
            "cb" | "eb" | "both" => {
                let (world, act) = (self.clone(), Act::parse(rest));
                let waits = act.returns.as_ref().is_some_and(|to| to.starts_with('@'));
                self.change(name, |d| match (verb, waits) {
                    ("cb", false) => d.add_callback(move |n| world.act(&act, Ok(n))),
                    ("cb", true) => d.add_callback(move |n| world.act_and_wait(&act, Ok(n))),
                    ("eb", false) => d.add_errback(move |f| world.act(&act, Err(f))),
                    ("eb", true) => d.add_errback(move |f| world.act_and_wait(&act, Err(f))),
                    (_, false) => d.add_both(move |r| world.act(&act, r)),
                    (_, true) => d.add_both(move |r| world.act_and_wait(&act, r)),
                });
            }
            "cbs" => {
                let (first, second) = rest.split_once(' ').expect("two labels");
                let ok = (self.clone(), Act::parse(&format!("{first} -> !boom")));
                let err = (self.clone(), Act::parse(&format!("{second} -> -1")));
                self.change(name, |d| {
                    d.add_callbacks(
                        move |n| ok.0.act(&ok.1, Ok(n)),
                        move |f| err.0.act(&err.1, Err(f)),
                    )
                });
            }
            "map" => {
                let more = number(rest);
                self.change(name, |d| d.map(move |n| n + more));
            }
            "fire" => self.resolver(name).callback(number(rest)),
            "errback" => self.resolver(name).errback(failure(rest)),
            "errback_plain" => self.resolver(name).errback(DeferredError::ResultTaken),
            "errback_kept" => {
                let failure = failure("kept");
                let old = self.kept.replace(Some(failure.clone()));
                drop(old);
                self.resolver(name).errback(failure);
            }
            "same" => {
                let (world, label) = (self.clone(), rest.to_owned());
                self.change(name, |d| {
                    d.add_errback(move |failure| {
                        let ptr_eq = world.kept.take().is_some_and(|kept| kept.ptr_eq(&failure));
                        let which = if ptr_eq { "same" } else { "another" };
                        world.say(&format!("{label}({which})"));
                        Err(failure)
                    })
                });
            }
            "line" => {
                let (mut first, resolver) = Deferred::pair();
                for _ in 1..number(rest) {
                    let inner = first;
                    let (outer, fire) = Deferred::pair();
                    first = outer.add_callback(move |()| inner);
                    fire.callback(());
                }
                self.put(name, first);
                self.resolvers.borrow_mut().insert(name.into(), resolver);
            }
            "lose" => drop(self.resolver(name)),
            "on_cancel" => {
                let (world, act) = (self.clone(), Act::parse(rest));
                self.change(name, |d| {
                    d.on_cancel(move || {
                        world.say(&act.label);
                        world.run_all(&act.commands);
                    })
                });
            }
            "held" => {
                let held = Held(self.clone(), rest.to_owned());
                self.change(name, |d| d.on_cancel(move || held.0.say(&held.1)));
            }
            "cancel" => {
                // A canceller or a callback may need it again: it stays in place.
                let deferred = self.deferreds.borrow().get(name).cloned();
                let deferred = deferred.unwrap_or_else(|| panic!("no Deferred @{name}"));
                deferred
                    .borrow()
                    .as_ref()
                    .expect("it is not in use")
                    .cancel();
            }
            "pause" => {
                let mut deferred = self.take(name);
                let pause = deferred.pause();
                self.put(name, deferred);
                self.pauses.borrow_mut().push((name.into(), pause));
            }
            "unpause" => {
                let mut pauses = self.pauses.borrow_mut();
                let last = pauses.iter().rposition(|(whose, _)| whose == name);
                let (_, pause) = pauses.remove(last.expect("it is paused"));
                drop(pauses);
                pause.unpause();
            }
            "drop" => drop(self.take(name)),
            "poll" => {
                let mut deferred = self.take(name);
                let mut cx = Context::from_waker(Waker::noop());
                let polled = Pin::new(&mut deferred).poll(&mut cx);
                self.put(name, deferred);
                self.say(&match polled {
                    Poll::Pending => "=?".into(),
                    Poll::Ready(result) => format!("={}", show(&result)),
                });
            }
            "shown" => {
                let deferred = self.take(name);
                let shown = format!("{deferred:?}");
                self.put(name, deferred);
                let begin = shown.trim_start_matches("Deferred(").trim_end_matches(')');
                let how = begin.split(", made at").next().expect("the first part");
                let waits = shown.contains("waits for the Deferred made at");
                self.say(&format!("{how}{}", if waits { " for another" } else { "" }));
            }
            "timeout" => self.change(name, |d| d.timeout(seconds(rest), &self.clock)),
            "timeout_with" => {
                let (label, limit) = rest.split_once(' ').expect("a label and seconds");
                let (world, label) = (self.clone(), label.to_owned());
                let translate = move |result: Result<Number, Failure>, limit: Duration| {
                    world.say(&format!("{label}({},{})", show(&result), limit.as_secs()));
                    Ok(-1)
                };
                self.change(name, |d| {
                    d.timeout_with(seconds(limit), &self.clock, translate)
                });
            }
            "advance" => self.clock.advance(seconds(rest)),
            "calls" => self.say(&format!("{} calls", self.clock.delayed_calls().len())),
            "log" => self.say(rest),
            "panic" => std::panic::resume_unwind(Box::new("oh")),
            _ => panic!("no such command: {command}"),
        }
    }

    /// Runs a callback.
    fn act(self: &Rc<Self>, act: &Act, result: Result<Number, Failure>) -> Result<Number, Failure> {
        self.say(&format!("{}({})", act.label, show(&result)));
        self.run_all(&act.commands);
        let Some(returns) = &act.returns else {
            return result;
        };
        match returns.split_at(1) {
            ("!", error) => Err(failure(error)),
            ("+", more) => Ok(result? + number(more)),
            _ if returns == "panic" => std::panic::resume_unwind(Box::new("oh")),
            _ => Ok(number(returns)),
        }
    }

    /// Runs a callback that returns a Deferred.
    fn act_and_wait(
        self: &Rc<Self>,
        act: &Act,
        result: Result<Number, Failure>,
    ) -> Deferred<Number> {
        self.say(&format!("{}({})", act.label, show(&result)));
        self.run_all(&act.commands);
        self.take(&act.returns.as_ref().expect("it waits for one")[1..])
    }

    fn say(&self, what: &str) {
        self.log.borrow_mut().push(what.into());
    }

    fn put(&self, name: &str, deferred: Deferred<Number>) {
        let kept = Rc::new(RefCell::new(Some(deferred)));
        let old = self.deferreds.borrow_mut().insert(name.into(), kept);
        drop(old);
    }

    fn take(&self, name: &str) -> Deferred<Number> {
        let taken = self.deferreds.borrow_mut().remove(name);
        let taken = taken.and_then(|kept| kept.take());
        taken.unwrap_or_else(|| panic!("no Deferred @{name}"))
    }

    fn resolver(&self, name: &str) -> Resolver<Number> {
        let taken = self.resolvers.borrow_mut().remove(name);
        taken.unwrap_or_else(|| panic!("no resolver @{name}"))
    }

    fn change(&self, name: &str, f: impl FnOnce(Deferred<Number>) -> Deferred<Number>) {
        let changed = f(self.take(name));
        self.put(name, changed);
    }

    /// Ends a row without reports of leftovers.
    fn clear(&self) {
        self.pauses.take();
        for (_, kept) in self.deferreds.take() {
            if let Some(deferred) = kept.take() {
                drop(deferred.add_both(|_| Ok(())));
            }
        }
        self.resolvers.take();
    }
}

impl Act {
    fn parse(text: &str) -> Self {
        let (head, returns) = match text.rsplit_once(" -> ") {
            Some((head, returns)) if !returns.contains('}') => (head, Some(returns.into())),
            _ => (text, None),
        };
        let (label, commands) = head.split_once(" do {").unwrap_or((head, "}"));
        Self {
            label: label.into(),
            commands: commands.strip_suffix('}').expect("a brace").into(),
            returns,
        }
    }
}

fn number(text: &str) -> Number {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse().expect("seconds"))
}

fn failure(text: &str) -> Failure {
    Failure::new(text)
}

fn show(result: &Result<Number, Failure>) -> String {
    let timed_out = |failure: &Failure| failure.downcast_ref::<TimedOut>().copied();
    if let Some(TimedOut(limit)) = result.as_ref().err().and_then(timed_out) {
        return format!("TimedOut({})", limit.as_secs());
    }
    match result {
        Ok(n) => n.to_string(),
        Err(failure) if failure.is::<Cancelled>() => "Cancelled".into(),
        Err(failure) if is_error!(failure, DeferredError::Abandoned) => "Abandoned".into(),
        Err(failure) if is_error!(failure, DeferredError::WaitsForItself) => {
            "WaitsForItself".into()
        }
        Err(failure) if is_error!(failure, DeferredError::ResultTaken) => "ResultTaken".into(),
        Err(failure) if failure.is_panic() => "panic".into(),
        Err(failure) => failure.to_string(),
    }
}
