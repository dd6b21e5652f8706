//! The runner of the tables about several Deferreds at once and about the ways to make one.
//!
//! A script is a list of commands, separated by `;`. Members have names of one letter.
//!
//! | command                            | does                                                             |
//! |------------------------------------|------------------------------------------------------------------|
//! | `pair a b`, `succeed a N`, `fail a E` | makes members                                                 |
//! | `future a N`, `future a E`         | makes one of a future that logs `a…`, yields once, and gives that |
//! | `pending a`                        | makes one of a future that logs `dropped` when it is dropped     |
//! | `inner a b`                        | adds a callback to a that waits for b                            |
//! | `cb a`                             | adds a callback that logs `a(N)` and passes it on                |
//! | `eb a X`                           | adds an errback that logs `a(E)` and gives X                     |
//! | `way a`                            | adds an errback that logs the way the failure has come           |
//! | `debug on`, `debug off`            | begins and ends debug mode                                       |
//! | `on_cancel a X`                    | its canceller logs `~a` and gives X, or `nothing`, or panics      |
//! | `pause a`, `unpause`               | holds it back                                                    |
//! | `fire a N`, `errback a E`, `lose a` | uses its resolver                                               |
//! | `list`, `gather`, `race`, `first` and names | waits for those, and logs the outcome                   |
//! | `twins a b E`                      | makes two of one failure                                         |
//! | `compare a b`, `compare_second a b` | logs whether a `gather` of a fails as one of b does, with b as the second member too |
//! | `loose race a b` and so on         | the same with `let_rest_run`                                     |
//! | `given a`, `given_later a`         | a Deferred whose value is that member, there at once or fired    |
//! | `execute X`, `maybe X`, `ensure a` | calls a function that gives X, which may be a member, and logs the outcome |
//! | `maybe_future N`, `ensure_future N` | the same with a future that logs `f…`                           |
//! | `channel a`, `receive`, `close`    | makes a channel of it, logs what that got, closes it             |
//! | `receiver a`, `send N`, `unsend`   | makes a member of a channel, sends something, drops the sender   |
//! | `chain a b`, `chains N a b`        | a fires b, also by way of N others                               |
//! | `share a`, `wait b`, `unshare`     | makes it shared, makes b wait for that, drops the handle         |
//! | `watch a`                          | logs the outcome of a member                                     |
//! | `gather_quietly a b`               | does not log, and handles nothing                                |
//! | `cancel`, `drop`, `poll`           | the outcome, which is not there: a poll logs `=?`                |
//! | `cancel a`, `drop a`, `poll a`     | the same for a member; handles that it was cancelled             |
//! | `ask a`                            | cancels a member and leaves it where it is                       |
//! | `turn`                             | lets tasks run                                                   |
//! | `log L`                            | logs `L`                                                         |
//!
//! A failure that is reported is logged as `!E`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::channel::oneshot;
use torsade::defer::{self, DeferredError, DeferredList, FailureGroup, FirstError, Pause, Shared};
use torsade::failure::TraceFrame;
use torsade::{Cancelled, Deferred, Failure, Reactor, Resolver, yield_now};

/// Runs each row of a table: its name, its script and the log.
#[track_caller]
pub(crate) fn check(table: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (name, script, trace) in table {
        let got = play(script);
        if got != *trace {
            wrong.push(format!(
                "{name}\n  {script}\n  expected {trace}\n  got      {got}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut names: Vec<_> = table.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table.len(), "two rows of one name");
}

/// Runs a script on a separate reactor; returns its log.
fn play(script: &str) -> String {
    let builder = Reactor::builder().in_memory();
    let builder = match script.contains("debug ") {
        true => builder.debug(false),
        false => builder,
    };
    let reactor = builder.build().unwrap();
    let world = Rc::new(World::default());
    let log = world.clone();
    reactor.on_report(move |report| log.say(format!("!{}", name(report.failure()))));
    let ended = reactor.run_until(async {
        for command in script.split(';') {
            world.run(command.trim()).await;
        }
        // What is left over ends without a trace.
        let got = world.log.take().join(" ");
        std::mem::forget(world.resolvers.take());
        world.outcome.take();
        world.members.take();
        world.shared.take();
        got
    });
    ended.unwrap()
}

type Number = i64;

/// The state of a script. Nothing is borrowed while a Deferred is being used.
#[derive(Default)]
struct World {
    members: RefCell<HashMap<char, Deferred<Number>>>,
    resolvers: RefCell<HashMap<char, Resolver<Number>>>,
    /// The Deferred of the last command that waits for something; stays in place while it is
    /// cancelled.
    outcome: RefCell<Option<Rc<RefCell<Deferred<()>>>>>,
    pauses: RefCell<Vec<Pause>>,
    shared: RefCell<Option<Shared<Number>>>,
    /// While there is one, debug mode is on.
    debugging: RefCell<Option<Reactor>>,
    receiver: RefCell<Option<oneshot::Receiver<Result<Number, Failure>>>>,
    sender: RefCell<Option<oneshot::Sender<Number>>>,
    log: RefCell<Vec<String>>,
}

impl World {
    async fn run(self: &Rc<Self>, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let names: Vec<char> = words
            .iter()
            .filter_map(|word| word.chars().next())
            .collect();
        let last = words.last().copied().unwrap_or_default();
        match verb {
            "pair" => names.iter().for_each(|name| self.pair(*name)),
            "succeed" => self.put(names[0], Deferred::succeed(last.parse().unwrap())),
            "fail" => self.put(names[0], Deferred::fail(failure(last))),
            "future" => self.put(names[0], Deferred::from_future(self.future(names[0], last))),
            "pending" => {
                let held = Dropped(self.clone());
                self.put(
                    names[0],
                    Deferred::from_future(async move {
                        let _held = held;
                        std::future::pending().await
                    }),
                );
            }
            "cb" => {
                let (world, name) = (self.clone(), names[0]);
                self.change(name, |d| {
                    d.map(move |n| {
                        world.say(format!("{name}({n})"));
                        n
                    })
                });
            }
            "eb" => {
                let (world, name, gives) = (self.clone(), names[0], last.to_owned());
                self.change(name, |d| {
                    d.add_errback(move |failure| {
                        world.say(format!("{name}({})", self::name(&failure)));
                        world.gives(&gives)
                    })
                });
            }
            "way" => {
                let (world, name) = (self.clone(), names[0]);
                self.change(name, |d| {
                    d.add_errback(move |failure| {
                        let way: Vec<_> = failure.trace().iter().map(show_hop).collect();
                        world.say(format!("{name}({})", way.join(",")));
                        Ok(0)
                    })
                });
            }
            "debug" => {
                let debugged = || Reactor::builder().in_memory().debug(true).build().unwrap();
                let old = self.debugging.replace((last == "on").then(debugged));
                drop(old);
            }
            "on_cancel" => {
                let (world, name, brings) = (self.clone(), names[0], last.to_owned());
                self.change(name, |d| d.on_cancel(move || world.stop(name, &brings)));
            }
            "inner" => {
                let inner = self.take(names[1]);
                self.change(names[0], |d| d.add_callback(move |_| inner));
            }
            "pause" => {
                let mut deferred = self.take(names[0]);
                self.pauses.borrow_mut().push(deferred.pause());
                self.put(names[0], deferred);
            }
            "unpause" => drop(self.pauses.take()),
            "fire" => self.resolver(names[0]).callback(last.parse().unwrap()),
            "errback" => self.resolver(names[0]).errback(failure(last)),
            "lose" => drop(self.resolver(names[0])),
            "list" | "gather" | "race" | "first" => self.wait_for(verb, &names, false),
            "loose" => self.wait_for(words[0], &names[1..], true),
            "twins" => {
                let failure = failure(last);
                self.put(names[0], Deferred::fail(failure.clone()));
                self.put(names[1], Deferred::fail(failure));
            }
            "compare" | "compare_second" => {
                let mut second = vec![self.take(names[1])];
                if verb == "compare_second" {
                    second.insert(0, Deferred::succeed(0));
                }
                let (one, other) = (
                    defer::gather([self.take(names[0])]).await.unwrap_err(),
                    defer::gather(second).await.unwrap_err(),
                );
                let are_equal =
                    one.downcast_ref::<FirstError>() == other.downcast_ref::<FirstError>();
                self.say(if are_equal { "equal" } else { "different" });
            }
            "gather_quietly" => {
                let all = defer::gather(self.take_all(&names)).map(|_| ());
                self.keep(all);
            }
            "given" => {
                let given = Deferred::succeed(self.take(names[0]));
                self.note_deferred(given);
            }
            "given_later" => {
                let (given, resolver) = Deferred::pair();
                self.note_deferred(given);
                resolver.callback(self.take(names[0]));
            }
            "execute" => {
                let world = self.clone();
                let last = last.to_owned();
                self.watch(defer::execute(move || world.gives(&last)));
            }
            "execute_deferred" => {
                let deferred = self.take(names[0]);
                self.note_deferred(defer::execute(move || Ok(deferred)));
            }
            "maybe" if last.len() == 1 && self.members.borrow().contains_key(&names[0]) => {
                let deferred = self.take(names[0]);
                self.watch(defer::maybe_deferred(move || deferred));
            }
            "maybe" => {
                let (world, last) = (self.clone(), last.to_owned());
                self.watch(defer::maybe_deferred(move || world.gives(&last)));
            }
            "maybe_future" => {
                let future = self.future('f', last);
                self.watch(defer::maybe_deferred(move || future));
            }
            "ensure" => self.watch(defer::ensure(self.take(names[0]))),
            "ensure_future" => self.watch(defer::ensure(self.future('f', last))),
            "watch" => self.watch(self.take(names[0])),
            "channel" => *self.receiver.borrow_mut() = Some(self.take(names[0]).into_oneshot()),
            "close" => drop(self.receiver.take()),
            "receive" => {
                let mut receiver = self.receiver.take().unwrap();
                self.say(show(&receiver.try_recv().unwrap().unwrap()));
            }
            "receiver" => {
                let (sender, receiver) = oneshot::channel();
                *self.sender.borrow_mut() = Some(sender);
                self.put(names[0], receiver.into());
            }
            "send" => {
                let sender = self.sender.take().unwrap();
                if sender.send(last.parse().unwrap()).is_err() {
                    self.say("closed");
                }
            }
            "unsend" => drop(self.sender.take()),
            "chain" => self.take(names[0]).chain_deferred(self.resolver(names[1])),
            "chains" => {
                let mut last = self.take(names[1]);
                for _ in 0..words[0].parse().unwrap() {
                    let (next, resolver) = Deferred::pair();
                    last.chain_deferred(resolver);
                    last = next;
                }
                last.chain_deferred(self.resolver(names[2]));
            }
            "share" => *self.shared.borrow_mut() = Some(self.take(names[0]).shared()),
            "wait" => {
                let waiter = self.shared.borrow().as_ref().unwrap().wait();
                self.put(names[0], waiter);
            }
            "unshare" => {
                let shared = self.shared.take();
                drop(shared);
            }
            "cancel" if !names.is_empty() => {
                let deferred = self.take(names[0]);
                deferred.cancel();
                drop(deferred.add_errback(|failure| failure.trap::<Cancelled>().map(|_| 0)));
            }
            "cancel" => {
                let outcome = self.outcome.borrow().clone().unwrap();
                outcome.borrow().cancel();
            }
            "ask" => {
                let deferred = self.take(names[0]);
                deferred.cancel();
                self.put(names[0], deferred);
            }
            "poll" if !names.is_empty() => {
                let mut deferred = self.take(names[0]);
                let mut cx = Context::from_waker(Waker::noop());
                self.say(match Pin::new(&mut deferred).poll(&mut cx) {
                    Poll::Ready(result) => format!("={}", show(&result)),
                    Poll::Pending => "=?".into(),
                });
                self.put(names[0], deferred);
            }
            "drop" if !names.is_empty() => drop(self.take(names[0])),
            "drop" => drop(self.outcome.take()),
            "poll" => {
                let outcome = self.outcome.borrow().clone().unwrap();
                let mut cx = Context::from_waker(Waker::noop());
                let polled = Pin::new(&mut *outcome.borrow_mut()).poll(&mut cx);
                assert!(polled.is_pending());
                self.say("=?");
            }
            "turn" => {
                for _ in 0..5 {
                    yield_now().await;
                }
            }
            "log" => self.say(last),
            _ => panic!("no such command: {command}"),
        }
    }

    /// Waits for members, and logs the outcome.
    fn wait_for(self: &Rc<Self>, how: &str, names: &[char], loose: bool) {
        let members = self.take_all(names);
        if loose {
            let list = DeferredList::new(members).let_rest_run();
            match how {
                "list" => self.watch_as(list.all(), show_all),
                "gather" => self.watch_as(list.gather(), show_values),
                "race" => self.watch_as(list.race(), show_winner),
                _ => self.watch_as(list.first(), show_first),
            }
        } else {
            match how {
                "list" => self.watch_as(defer::list(members), show_all),
                "gather" => self.watch_as(defer::gather(members), show_values),
                "race" => self.watch_as(defer::race(members), show_winner),
                _ => self.watch_as(defer::first(members), show_first),
            }
        }
    }

    fn watch(self: &Rc<Self>, deferred: Deferred<Number>) {
        self.watch_as(deferred, |n| n.to_string());
    }

    fn watch_as<T>(self: &Rc<Self>, deferred: Deferred<T>, show: fn(T) -> String) {
        let world = self.clone();
        self.keep(deferred.add_both(move |result| match result {
            Ok(value) => world.say(show(value)),
            Err(failure) => world.say(name(&failure)),
        }));
    }

    /// Of a Deferred whose value is a Deferred; that is dropped.
    fn note_deferred(self: &Rc<Self>, given: Deferred<Deferred<Number>>) {
        let world = self.clone();
        drop(given.add_callback(move |deferred| {
            world.say("Deferred");
            drop(deferred);
        }));
    }

    fn keep(&self, outcome: Deferred<()>) {
        let old = self.outcome.replace(Some(Rc::new(RefCell::new(outcome))));
        drop(old);
    }

    /// Returns the result of a function.
    fn gives(&self, what: &str) -> Result<Number, Failure> {
        match what.parse() {
            Ok(n) => Ok(n),
            Err(_) if what == "panic" => std::panic::resume_unwind(Box::new("oh")),
            Err(_) => Err(failure(what)),
        }
    }

    fn future(
        self: &Rc<Self>,
        name: char,
        what: &str,
    ) -> impl Future<Output = Result<Number, Failure>> + use<> {
        let (world, what) = (self.clone(), what.to_owned());
        async move {
            world.say(format!("{name}…"));
            yield_now().await;
            world.gives(&what)
        }
    }

    /// Does what a canceller does.
    fn stop(&self, name: char, brings: &str) {
        self.say(format!("~{name}"));
        if brings != "nothing" {
            let brought = self.gives(brings);
            self.resolver(name).resolve(brought);
        }
    }

    fn say(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }

    fn pair(&self, name: char) {
        let (deferred, resolver) = Deferred::pair();
        self.put(name, deferred);
        self.resolvers.borrow_mut().insert(name, resolver);
    }

    fn put(&self, name: char, deferred: Deferred<Number>) {
        let old = self.members.borrow_mut().insert(name, deferred);
        assert!(old.is_none(), "{name} is in use");
    }

    fn take(&self, name: char) -> Deferred<Number> {
        let taken = self.members.borrow_mut().remove(&name);
        taken.unwrap_or_else(|| panic!("no member {name}"))
    }

    fn take_all(&self, names: &[char]) -> Vec<Deferred<Number>> {
        names.iter().map(|name| self.take(*name)).collect()
    }

    fn change(&self, name: char, f: impl FnOnce(Deferred<Number>) -> Deferred<Number>) {
        let changed = f(self.take(name));
        self.put(name, changed);
    }

    fn resolver(&self, name: char) -> Resolver<Number> {
        let taken = self.resolvers.borrow_mut().remove(&name);
        taken.unwrap_or_else(|| panic!("no resolver {name}"))
    }
}

/// Logs when it is dropped.
struct Dropped(Rc<World>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.say("dropped");
    }
}

fn failure(text: &str) -> Failure {
    match text {
        "Cancelled" => Cancelled.into(),
        _ => Failure::new(text),
    }
}

fn show(result: &Result<Number, Failure>) -> String {
    match result {
        Ok(n) => n.to_string(),
        Err(failure) => name(failure),
    }
}

fn show_all(results: Vec<Result<Number, Failure>>) -> String {
    let shown: Vec<_> = results.iter().map(show).collect();
    format!("[{}]", shown.join(","))
}

fn show_values(values: Vec<Number>) -> String {
    show_all(values.into_iter().map(Ok).collect())
}

fn show_winner((index, value): (usize, Number)) -> String {
    format!("{index}:{value}")
}

fn show_first((index, result): (usize, Result<Number, Failure>)) -> String {
    format!("{index}:{}", show(&result))
}

fn show_hop(hop: &TraceFrame) -> &'static str {
    match hop {
        TraceFrame::Callback { .. } => "callback",
        TraceFrame::Deferred { fired: None, .. } => "made",
        TraceFrame::Deferred { .. } => "made+fired",
        _ => "elsewhere",
    }
}

fn name(failure: &Failure) -> String {
    if let Some(error) = failure.downcast_ref::<FirstError>() {
        return format!("FirstError({},{})", error.index(), name(error.failure()));
    }
    if let Some(group) = failure.downcast_ref::<FailureGroup>() {
        let shown: Vec<_> = group.failures().iter().map(name).collect();
        return format!("FailureGroup({})", shown.join(","));
    }
    let names = [
        (failure.is::<Cancelled>(), "Cancelled"),
        (is_error!(failure, DeferredError::Abandoned), "Abandoned"),
        (is_error!(failure, DeferredError::Empty), "NothingToWaitFor"),
        (failure.is_panic(), "panic"),
    ];
    match names.iter().find(|(is_it, _)| *is_it) {
        Some((_, name)) => (*name).into(),
        None => failure.to_string(),
    }
}
