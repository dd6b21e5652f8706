//! The behaviour of several Deferreds at once, and of the ways to make one.
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
//! | `on_cancel a X`                    | its canceller logs `~a` and gives X, or `nothing`, or panics      |
//! | `pause a`, `unpause`               | holds it back                                                    |
//! | `fire a N`, `errback a E`, `lose a` | uses its resolver                                               |
//! | `list`, `gather`, `race`, `first` and names | waits for those, and logs the outcome                   |
//! | `loose race a b` and so on         | the same with `let_rest_run`                                     |
//! | `execute X`, `maybe X`, `ensure a` | calls a function that gives X, which may be a member, and logs the outcome |
//! | `maybe_future N`, `ensure_future N` | the same with a future that logs `f…`                           |
//! | `channel a`, `receive`, `close`    | makes a channel of it, logs what that got, closes it             |
//! | `receiver a`, `send N`, `unsend`   | makes a member of a channel, sends something, drops the sender   |
//! | `chain a b`                        | a fires b                                                        |
//! | `share a`, `wait b`, `unshare`     | makes it shared, makes b wait for that, drops the handle         |
//! | `watch a`                          | logs the outcome of a member                                     |
//! | `gather_quietly a b`               | does not log, and handles nothing                                |
//! | `cancel`, `drop`, `poll`           | the outcome, which is not there: a poll logs `=?`                |
//! | `cancel a`, `drop a`               | the same for a member                                            |
//! | `turn`                             | lets tasks run                                                   |
//! | `log L`                            | logs `L`                                                         |
//!
//! A failure that is reported is logged as `!E`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures::channel::oneshot;
use torsade::defer::{
    self, Abandoned, DeferredList, FailureGroup, FirstError, NothingToWaitFor, Pause, Shared,
};
use torsade::{Cancelled, Deferred, Failure, Reactor, Resolver, yield_now};

const TABLE: &[(&str, &str, &str)] = &[
    // A list.
    (
        "a list has all results in the members' order, when the last is there",
        "pair a b c; list a b c; fire c 3; errback a E; log then; fire b 2",
        "then [E,2,3]",
    ),
    (
        "a list of nothing is there at once",
        "list; log then",
        "[] then",
    ),
    (
        "a list of what is there is there at once",
        "succeed a 1; fail b E; list a b; log then",
        "[1,E] then",
    ),
    (
        "a list waits for those that are not there",
        "succeed a 1; pair b; list a b; log then; fire b 2",
        "then [1,2]",
    ),
    (
        "a list has those that fired before it was made",
        "pair a b; fire a 1; errback b E; list a b",
        "[1,E]",
    ),
    (
        "a list never fails",
        "pair a b; list a b; lose a; errback b E",
        "[Abandoned,E]",
    ),
    (
        "the members' own callbacks run first",
        "pair a b; cb a; list a b; fire a 1; log then; fire b 2",
        "a(1) then [1,2]",
    ),
    (
        "a member that waits for another is waited for",
        "pair a b; pair c; inner a b; list a c; fire a 1; fire c 3; log then; fire b 2",
        "then [2,3]",
    ),
    (
        "a paused member is waited for",
        "pair a b; pause a; list a b; fire a 1; fire b 2; log then; unpause",
        "then [1,2]",
    ),
    (
        "a failure in a list is handled",
        "pair a; list a; errback a E; drop; log then",
        "[E] then",
    ),
    (
        "a cancelled list cancels every member, and has what they came to",
        "pair a b; on_cancel a nothing; list a b; cancel",
        "~a [Cancelled,Cancelled]",
    ),
    (
        "a cancelled list has what a canceller brings",
        "pair a b; on_cancel a 5; on_cancel b E; list a b; cancel",
        "~a ~b [5,E]",
    ),
    (
        "a canceller that panics does not spare the others",
        "pair a b c; on_cancel a panic; on_cancel b nothing; on_cancel c nothing; list a b c; cancel",
        "~a ~b ~c [panic,Cancelled,Cancelled]",
    ),
    (
        "cancelling a list leaves what is there alone",
        "pair a b; on_cancel a nothing; on_cancel b nothing; list a b; fire a 1; cancel",
        "~b [1,Cancelled]",
    ),
    (
        "cancelling does nothing when the outcome is there",
        "pair a b; on_cancel a nothing; loose race a b; fire b 2; cancel; log then",
        "1:2 then",
    ),
    (
        "cancelling twice asks once",
        "pair a; on_cancel a nothing; list a; cancel; cancel",
        "~a [Cancelled]",
    ),
    (
        "a list that was polled and dropped cancels its members",
        "pair a b; on_cancel a nothing; on_cancel b nothing; list a b; poll; drop",
        "=? ~a ~b [Cancelled,Cancelled]",
    ),
    (
        "a list that was never polled runs on when it is dropped",
        "pair a; list a; drop; fire a 1",
        "[1]",
    ),
    // Gathering.
    (
        "gather has all values",
        "pair a b; gather a b; fire b 2; log then; fire a 1",
        "then [1,2]",
    ),
    (
        "gather of nothing is there at once",
        "gather; log then",
        "[] then",
    ),
    (
        "gather of what is there is there at once",
        "succeed a 1; succeed b 2; gather a b; log then",
        "[1,2] then",
    ),
    (
        "gather fails with the first failure, and says whose it was",
        "pair a b; loose gather a b; errback b E; log then; fire a 1",
        "FirstError(1,E) then",
    ),
    (
        "gather of what has failed fails at once",
        "pair a; fail b E; gather a b; log then",
        "FirstError(1,E) then",
    ),
    (
        "of several that have failed before the one that stands first counts, and the others are reported",
        "fail a E; fail b F; fail c G; gather a b c",
        "!F !G FirstError(0,E)",
    ),
    (
        "a failed gather cancels the rest, before it goes on",
        "pair a b c; on_cancel a nothing; on_cancel c nothing; gather a b c; errback b E; log then",
        "~a ~c FirstError(1,E) then",
    ),
    (
        "a gather that has failed at once cancels the rest",
        "pair a b; fail c E; pair d; on_cancel a nothing; on_cancel b nothing; on_cancel d nothing; gather a b c d",
        "~a ~b ~d FirstError(2,E)",
    ),
    (
        "the rest may bring something, which is dropped",
        "pair a b; on_cancel a 5; gather a b; errback b E",
        "~a FirstError(1,E)",
    ),
    (
        "a failure that the rest brings is reported",
        "pair a b; on_cancel a F; gather a b; errback b E",
        "~a !F FirstError(1,E)",
    ),
    (
        "a canceller of the rest that panics is reported, and the others are cancelled",
        "pair a b c; on_cancel a panic; on_cancel b nothing; gather a b c; errback c E",
        "~a !panic ~b FirstError(2,E)",
    ),
    (
        "with the rest let run a later failure is reported",
        "pair a b; loose gather a b; errback a E; errback b F",
        "FirstError(0,E) !F",
    ),
    (
        "with the rest let run callbacks of the rest run",
        "pair a b; cb b; on_cancel b nothing; loose gather a b; errback a E; fire b 2",
        "FirstError(0,E) b(2)",
    ),
    (
        "a cancelled gather cancels every member, and is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; gather a b; cancel",
        "~a ~b Cancelled",
    ),
    (
        "a cancelled gather goes on when the cancellers bring values",
        "pair a b; on_cancel a 1; on_cancel b 2; gather a b; cancel",
        "~a ~b [1,2]",
    ),
    (
        "a cancelled gather fails when a canceller brings a failure",
        "pair a b; on_cancel a E; on_cancel b nothing; gather a b; cancel",
        "~a ~b FirstError(0,E)",
    ),
    (
        "a member that somebody else cancelled is a failed one",
        "pair a b; gather a b; errback a Cancelled; log then",
        "FirstError(0,Cancelled) then",
    ),
    (
        "a gather that was polled and dropped says nothing of its members' end",
        "pair a b; gather_quietly a b; poll; drop; log then",
        "=? then",
    ),
    (
        "a gather that was dropped unpolled reports its failure",
        "pair a b; gather_quietly a b; drop; errback a E; log then",
        "!FirstError(0,E) then",
    ),
    // Racing.
    (
        "the first value wins the race",
        "pair a b; race a b; fire b 2; log then; fire a 1",
        "1:2 then",
    ),
    (
        "the first value wins, not the first result",
        "pair a b c; race a b c; errback a E; fire c 3",
        "2:3",
    ),
    (
        "of several that are there the one that stands first wins",
        "fail a E; succeed b 2; succeed c 3; race a b c",
        "1:2",
    ),
    (
        "the losers are cancelled, and not the winner",
        "pair a b c; on_cancel a nothing; on_cancel b nothing; on_cancel c nothing; race a b c; fire b 2",
        "~a ~c 1:2",
    ),
    (
        "a race that is decided at once cancels the losers",
        "pair a; succeed b 2; pair c; on_cancel a nothing; on_cancel c nothing; race a b c",
        "~a ~c 1:2",
    ),
    (
        "when all fail the race has all failures in the members' order",
        "pair a b; race a b; errback b F; log then; errback a E",
        "then FailureGroup(E,F)",
    ),
    (
        "a race of what has failed fails at once",
        "fail a E; fail b F; race a b",
        "FailureGroup(E,F)",
    ),
    (
        "a race of nobody fails at once",
        "race; log then",
        "NothingToWaitFor then",
    ),
    (
        "a loser's failure before the race is won is dropped",
        "pair a b; race a b; errback a E; fire b 2; drop; log then",
        "1:2 then",
    ),
    (
        "a loser's value after the race is dropped",
        "pair a b; loose race a b; fire b 2; fire a 1; log then",
        "1:2 then",
    ),
    (
        "a loser's failure after the race is reported",
        "pair a b; loose race a b; fire b 2; errback a E",
        "1:2 !E",
    ),
    (
        "a failure that a loser's canceller brings is reported",
        "pair a b; on_cancel a E; race a b; fire b 2",
        "~a !E 1:2",
    ),
    (
        "with the rest let run nobody is cancelled",
        "pair a b; on_cancel a nothing; cb a; loose race a b; fire b 2; fire a 1",
        "1:2 a(1)",
    ),
    (
        "with the rest let run all may fail as well",
        "pair a b; loose race a b; errback a E; errback b F",
        "FailureGroup(E,F)",
    ),
    (
        "a cancelled race cancels every member, and is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; race a b; cancel",
        "~a ~b Cancelled",
    ),
    (
        "a cancelled race is won by a canceller that brings a value",
        "pair a b c; on_cancel b 5; on_cancel c nothing; race a b c; cancel",
        "~b ~c 1:5",
    ),
    (
        "a cancelled race is cancelled, whatever failed before",
        "pair a b; race a b; errback a E; cancel",
        "Cancelled",
    ),
    // The first of either kind.
    (
        "the first result may be a value",
        "pair a b; on_cancel a nothing; first a b; fire b 2; log then",
        "~a 1:2 then",
    ),
    (
        "the first result may be a failure",
        "pair a b; on_cancel a nothing; first a b; errback b E; log then",
        "~a 1:E then",
    ),
    (
        "the first of what is there is the one that stands first",
        "pair a; fail b E; succeed c 1; first a b c",
        "1:E",
    ),
    (
        "the first of nothing fails at once",
        "first; log then",
        "NothingToWaitFor then",
    ),
    (
        "with the rest let run the others go on",
        "pair a b; cb a; loose first a b; fire b 2; fire a 1",
        "1:2 a(1)",
    ),
    (
        "a cancelled first is cancelled",
        "pair a b; on_cancel a nothing; on_cancel b nothing; first a b; cancel",
        "~a ~b Cancelled",
    ),
    // Futures among them.
    (
        "a future is run",
        "future a 1; pair b; gather a b; log then; turn; fire b 2",
        "then a… [1,2]",
    ),
    (
        "futures run side by side",
        "future a 1; future b 2; list a b; turn",
        "a… b… [1,2]",
    ),
    (
        "a future that fails fails the gather and stops the others",
        "future a E; pair b; on_cancel b nothing; gather a b; turn",
        "a… ~b FirstError(0,E)",
    ),
    (
        "a future that loses is dropped in its turn",
        "pair a; pending b; race a b; turn; fire a 1; turn",
        "0:1 dropped",
    ),
    // Making them.
    (
        "what execute's function returns is there",
        "execute 1; log then",
        "1 then",
    ),
    ("its error is a failure", "execute E", "E"),
    ("its panic is a failure", "execute panic", "panic"),
    (
        "execute leaves a Deferred that its function returns alone",
        "pair a; execute_deferred a; log then; fire a 1",
        "Deferred then",
    ),
    (
        "what maybe_deferred's function returns is there",
        "maybe 1; log then",
        "1 then",
    ),
    ("of maybe_deferred an error is a failure", "maybe E", "E"),
    (
        "of maybe_deferred a panic is a failure",
        "maybe panic",
        "panic",
    ),
    (
        "a Deferred that maybe_deferred's function returns is the one that comes back",
        "pair a; on_cancel a nothing; maybe a; log then; cancel",
        "then ~a Cancelled",
    ),
    (
        "maybe_deferred drives a future",
        "maybe_future 1; log then; turn",
        "then f… 1",
    ),
    (
        "ensure lets a Deferred pass",
        "succeed a 1; ensure a; log then",
        "1 then",
    ),
    (
        "ensure drives a future",
        "ensure_future 1; log then; turn",
        "then f… 1",
    ),
    (
        "a future that became a Deferred starts in its turn, not inside the call",
        "future a 1; watch a; log then; turn",
        "then a… 1",
    ),
    // Channels.
    (
        "a channel gets the value",
        "pair a; channel a; fire a 1; receive",
        "1",
    ),
    (
        "a channel gets the failure, which so is handled",
        "pair a; channel a; errback a E; receive",
        "E",
    ),
    (
        "a failure that a closed channel does not take is reported",
        "pair a; channel a; close; errback a E",
        "!E",
    ),
    (
        "a value that a closed channel does not take is dropped",
        "pair a; channel a; close; fire a 1; log then",
        "then",
    ),
    (
        "a Deferred gets what a channel brings",
        "receiver a; watch a; turn; log then; send 1; turn",
        "then 1",
    ),
    (
        "a Deferred of a channel that is lost is abandoned",
        "receiver a; watch a; turn; unsend; turn",
        "Abandoned",
    ),
    (
        "cancelling a Deferred of a channel closes that",
        "receiver a; watch a; turn; cancel; turn; send 1",
        "Cancelled closed",
    ),
    // One fires the other.
    (
        "one fires the other with its value",
        "pair a b; watch b; chain a b; fire a 1; log then",
        "1 then",
    ),
    (
        "one fires the other with its failure, which so is handled",
        "pair a b; watch b; chain a b; errback a E; log then",
        "E then",
    ),
    (
        "one that has fired fires the other at once",
        "succeed a 1; pair b; watch b; chain a b; log then",
        "1 then",
    ),
    (
        "callbacks of the one run before those of the other",
        "pair a b; cb a; cb b; watch b; chain a b; fire a 1",
        "a(1) b(1) 1",
    ),
    (
        "cancelling the other does not concern the one, whose value is dropped",
        "pair a b; on_cancel a nothing; cb a; watch b; chain a b; cancel; fire a 1",
        "Cancelled a(1)",
    ),
    (
        "and whose failure is dropped",
        "pair a b; watch b; chain a b; cancel; errback a E; log then",
        "Cancelled then",
    ),
    // One for many.
    (
        "each waiter gets the value, in order",
        "pair a; share a; wait b; wait c; cb b; cb c; fire a 1; log then",
        "b(1) c(1) then",
    ),
    (
        "a late waiter gets it at once",
        "pair a; share a; fire a 1; wait b; cb b; log then",
        "b(1) then",
    ),
    (
        "each waiter gets the failure",
        "pair a; share a; wait b; wait c; errback a E; watch b; watch c",
        "E E",
    ),
    (
        "each waiter answers for its own failure",
        "pair a; share a; wait b; wait c; errback a E; watch b; drop c; log then",
        "E !E then",
    ),
    (
        "a failure that nobody waits for is reported once",
        "pair a; share a; errback a E; log then; unshare",
        "then !E",
    ),
    (
        "cancelling one waiter leaves the others and the source alone",
        "pair a; on_cancel a nothing; share a; wait b; wait c; cb c; cancel b; fire a 1",
        "c(1)",
    ),
    (
        "while there is a handle the source is not cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cancel b; log then; wait c; cb c; fire a 1",
        "then c(1)",
    ),
    (
        "while there is a waiter the source is not cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cb b; unshare; log then; fire a 1",
        "then b(1)",
    ),
    (
        "when the last waiter gives up after the handle is gone the source is cancelled",
        "pair a; on_cancel a nothing; share a; wait b; wait c; unshare; cancel b; log then; cancel c; log end",
        "then ~a end",
    ),
    (
        "when the handle goes after the last waiter has given up the source is cancelled",
        "pair a; on_cancel a nothing; share a; wait b; cancel b; log then; unshare; log end",
        "then ~a end",
    ),
    (
        "a handle that nobody uses cancels the source when it goes",
        "pair a; on_cancel a nothing; share a; unshare; log then",
        "~a then",
    ),
    (
        "a failure that such a cancel brings is reported",
        "pair a; on_cancel a E; share a; unshare",
        "~a !E",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    let mut wrong = Vec::new();
    for (name, script, trace) in TABLE {
        let got = play(script);
        if got != *trace {
            wrong.push(format!(
                "{name}\n  {script}\n  expected {trace}\n  got      {got}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn row_names_differ() {
    let mut names: Vec<_> = TABLE.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

/// Runs a script on a reactor of its own; gives what it logged.
fn play(script: &str) -> String {
    let reactor = Reactor::in_memory().unwrap();
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

/// What a script works on. Nothing is borrowed while a Deferred is being used.
#[derive(Default)]
struct World {
    members: RefCell<HashMap<char, Deferred<Number>>>,
    resolvers: RefCell<HashMap<char, Resolver<Number>>>,
    /// What the last command that waits for something has made of it; stays in place while it is cancelled.
    outcome: RefCell<Option<Rc<RefCell<Deferred<()>>>>>,
    pauses: RefCell<Vec<Pause>>,
    shared: RefCell<Option<Shared<Number>>>,
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
            "gather_quietly" => {
                let all = defer::gather(self.take_all(&names)).map(|_| ());
                self.keep(all);
            }
            "execute" => {
                let world = self.clone();
                let last = last.to_owned();
                self.watch(defer::execute(move || world.gives(&last)));
            }
            "execute_deferred" => {
                let deferred = self.take(names[0]);
                let world = self.clone();
                drop(defer::execute(move || Ok(deferred)).add_callback(
                    move |deferred: Deferred<Number>| {
                        world.say("Deferred");
                        drop(deferred);
                    },
                ));
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

    fn keep(&self, outcome: Deferred<()>) {
        let old = self.outcome.replace(Some(Rc::new(RefCell::new(outcome))));
        drop(old);
    }

    /// What a function gives.
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

    /// What a canceller does.
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

/// Says so when it is dropped.
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

fn name(failure: &Failure) -> String {
    if let Some(error) = failure.check::<FirstError>() {
        return format!("FirstError({},{})", error.index(), name(error.failure()));
    }
    if let Some(group) = failure.check::<FailureGroup>() {
        let shown: Vec<_> = group.failures().iter().map(name).collect();
        return format!("FailureGroup({})", shown.join(","));
    }
    let names = [
        (failure.is::<Cancelled>(), "Cancelled"),
        (failure.is::<Abandoned>(), "Abandoned"),
        (failure.is::<NothingToWaitFor>(), "NothingToWaitFor"),
        (failure.is_panic(), "panic"),
    ];
    match names.iter().find(|(is_it, _)| *is_it) {
        Some((_, name)) => (*name).into(),
        None => failure.to_string(),
    }
}
