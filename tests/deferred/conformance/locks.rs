//! The behaviour of locks, semaphores and queues.
//!
//! A script is a list of commands, separated by `;`. The first says what it is about: `lock`,
//! `semaphore N`, or `queue` with a size and a backlog, each a number or `-`.
//!
//! | command             | does                                                                            |
//! |---------------------|---------------------------------------------------------------------------------|
//! | `acquire L [N]`     | acquires, with a callback that logs `L` and keeps the guard                     |
//! | `through L [N]`     | the same, but the guard is dropped in the callback                              |
//! | `within L X`        | acquires, with a callback that logs `L`, releases X, and logs `L.`              |
//! | `with L V`          | acquires, with a callback that has the guard to its end and returns V (`panic` and `!E` as well) |
//! | `failing L`         | acquires, with a callback that keeps the guard and fails                        |
//! | `want L [N]`        | acquires or gets, and keeps the Deferred                                        |
//! | `poll L`            | polls what was wanted: logs `L=`, and keeps the guard, or `L?`                   |
//! | `use L`             | adds the callback of `acquire` or `get` to what was wanted                      |
//! | `drop L`            | drops what was wanted                                                           |
//! | `release L`         | drops the guard                                                                 |
//! | `cancel L`          | cancels it                                                                      |
//! | `run L [V]`         | runs `L`, which returns V as above or waits for `finish L V`, and logs `~L` when that is cancelled |
//! | `try L`             | tries to acquire or to get                                                      |
//! | `put V`, `get L`    | puts and gets: logs `L(V)`                                                      |
//! | `state`             | logs `locked` or `free`, or how many permits or items there are, and `+N` if so many wait |
//!
//! A failure of `L` is logged as `L!cancelled` and the like.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use torsade::locks::{LockError, LockGuard, SemaphorePermit};
use torsade::{
    Cancelled, Deferred, DeferredLock, DeferredQueue, DeferredSemaphore, Failure, Resolver,
};

const TABLE: &[(&str, &str, &str)] = &[
    // The lock.
    (
        "a free lock is had at once",
        "lock; acquire a; state",
        "a locked",
    ),
    (
        "a lock is released",
        "lock; acquire a; release a; state",
        "a free",
    ),
    (
        "a second waiter gets the lock inside the release",
        "lock; acquire a; acquire b; state; release a; log after; state",
        "a locked+1 b after locked",
    ),
    (
        "first come, first served",
        "lock; acquire a; acquire b; acquire c; release a; release b; release c; state",
        "a b c free",
    ),
    (
        "a new waiter does not overtake the queue",
        "lock; acquire a; acquire b; try x; release a; try y; release b; try z",
        "a x- b y- z",
    ),
    // In Twisted inside the release, however deep that is.
    (
        "a release inside a callback hands over when that has returned",
        "lock; acquire a; within b c; acquire c; acquire d; release a; state",
        "a b b. c locked+1",
    ),
    (
        "waiters that release at once are served one after the other",
        "lock; acquire a; through b; through c; through d; release a; state",
        "a b c d free",
    ),
    (
        "cancelling a waiter removes it from the queue, and does not affect others",
        "lock; acquire a; acquire b; acquire c; cancel b; state; release a",
        "a b!cancelled locked+1 c",
    ),
    (
        "cancelling a Deferred that has the lock does nothing",
        "lock; acquire a; acquire b; cancel a; state; release a",
        "a locked+1 b",
    ),
    (
        "cancelling the last waiter leaves the lock to its holder",
        "lock; acquire a; acquire b; cancel b; release a; state; acquire c",
        "a b!cancelled free c",
    ),
    (
        "it stays locked when the holder's own callback fails",
        "lock; failing a; acquire b; state; release a",
        "a a!oh locked+1 b",
    ),
    // `run`, and its outcomes.
    (
        "run passes the result on",
        "lock; run a 3; state",
        "a a=3 free",
    ),
    (
        "run passes a failure on",
        "lock; run a !E; state",
        "a a!E free",
    ),
    (
        "run passes a panic on",
        "lock; run a panic; state",
        "a a!panic free",
    ),
    (
        "run holds the lock until the returned Deferred is done",
        "lock; run a; state; finish a 7; state",
        "a locked a=7 free",
    ),
    (
        "run releases the lock when the returned Deferred fails",
        "lock; run a; acquire b; finish a !E; state",
        "a b a!E locked",
    ),
    (
        "run releases before it passes the result on",
        "lock; run a; acquire b; finish a 7",
        "a b a=7",
    ),
    (
        "run waits for its turn",
        "lock; acquire a; run b 1; run c 2; state; release a; state",
        "a locked+2 b b=1 c c=2 free",
    ),
    (
        "a run that is cancelled while it waits never runs",
        "lock; acquire a; run b 1; acquire c; cancel b; release a",
        "a b!cancelled c",
    ),
    (
        "a run that is cancelled while it runs cancels that, and releases",
        "lock; run a; acquire b; cancel a; state",
        "a ~a b a!cancelled locked",
    ),
    (
        "a guard that its callback keeps to the end is released, whatever comes of that",
        "lock; with a 3; with b !E; with c panic; state",
        "a a=3 b b!E c c!panic free",
    ),
    // The semaphore.
    (
        "a semaphore without permits is refused",
        "semaphore 0",
        "refused",
    ),
    (
        "as many as there are permits",
        "semaphore 2; acquire a; acquire b; acquire c; state; release a; state",
        "a b 0+1 c 0",
    ),
    (
        "permits are given back",
        "semaphore 2; acquire a; acquire b; release b; release a; state",
        "a b 2",
    ),
    (
        "a semaphore serves in order",
        "semaphore 1; acquire a; acquire b; acquire c; acquire d; release a; release b; release c",
        "a b c d",
    ),
    (
        "a request for many permits is not overtaken",
        "semaphore 3; acquire a 2; acquire b 2; acquire c; try x; release a; state",
        "a x- b c 0",
    ),
    (
        "cancelling a waiter leaves the line",
        "semaphore 1; acquire a; acquire b; acquire c; cancel b; release a; state",
        "a b!cancelled c 0",
    ),
    (
        "cancelling a request for many permits serves the others",
        "semaphore 2; acquire a; acquire b 2; acquire c; cancel b; state",
        "a b!cancelled c 0",
    ),
    (
        "cancelling after the grant does nothing",
        "semaphore 1; acquire a; cancel a; state",
        "a 0",
    ),
    (
        "run gives the permit back",
        "semaphore 1; run a 3; run b !E; run c panic; state",
        "a a=3 b b!E c c!panic 1",
    ),
    (
        "run of a semaphore is cancelled while it waits and while it runs",
        "semaphore 1; run a; run b; run c; cancel b; cancel a; state; finish c 1; state",
        "a b!cancelled ~a c a!cancelled 0 c=1 1",
    ),
    (
        "a permit that its callback holds to the end is given back, whatever the result",
        "semaphore 1; with a 3; with b !E; with c panic; state",
        "a a=3 b b!E c c!panic 1",
    ),
    (
        "a second waiter gets a permit inside the release",
        "semaphore 1; acquire a; acquire b; state; release a; log after; state",
        "a 0+1 b after 0",
    ),
    (
        "a permit stays out when its holder's own callback fails",
        "semaphore 1; failing a; acquire b; state; release a",
        "a a!oh 0+1 b",
    ),
    (
        "a permit that is given back inside a callback is handed over when that has returned",
        "semaphore 1; acquire a; within b c; acquire c; acquire d; release a; state",
        "a b b. c 0+1",
    ),
    (
        "run of a semaphore waits for its turn, and holds until the returned Deferred is done",
        "semaphore 1; acquire a; run b; state; release a; state; finish b !E; state",
        "a 0+1 b 0 b!E 1",
    ),
    (
        "run of a semaphore gives back before it passes the result on",
        "semaphore 1; run a; acquire b; finish a 7",
        "a b a=7",
    ),
    (
        "several waiters share one permit",
        "semaphore 1; acquire a; through b; through c; through d; release a; state",
        "a b c d 1",
    ),
    // The queue.
    (
        "get returns a stored item at once",
        "queue - -; put 1; put 2; get a; get b; state",
        "a(1) b(2) 0",
    ),
    (
        "get waits for an item, and gets it inside the put",
        "queue - -; get a; get b; state; put 1; log after; put 2; state",
        "0+2 a(1) after b(2) 0",
    ),
    (
        "an item for which no Deferred waits is stored",
        "queue - -; get a; put 1; put 2; state",
        "a(1) 1",
    ),
    (
        "the store has a limit",
        "queue 2 -; put 1; put 2; put 3; get a; put 4; state",
        "3!overflow a(1) 2",
    ),
    (
        "a store of none still serves waiters",
        "queue 0 -; put 1; get a; put 2; put 3",
        "1!overflow a(2) 3!overflow",
    ),
    (
        "waiting has a limit",
        "queue - 2; get a; get b; get c; put 1; get d; put 2; put 3",
        "c!underflow a(1) b(2) d(3)",
    ),
    (
        "with a backlog of 0 get still returns stored items",
        "queue - 0; get a; put 1; get b; state",
        "a!underflow b(1) 0",
    ),
    (
        "cancelling a get loses nothing",
        "queue - -; get a; get b; cancel a; put 1; put 2; state",
        "a!cancelled b(1) 1",
    ),
    (
        "an item that is put after a cancel is stored",
        "queue - -; get a; cancel a; put 1; state; get b",
        "a!cancelled 1 b(1)",
    ),
    (
        "cancelling a get that has its item does nothing",
        "queue - -; get a; put 1; cancel a; put 2; state",
        "a(1) 1",
    ),
    (
        "a cancelled get does not count for the backlog",
        "queue - 1; get a; get b; cancel a; get c; put 1; state",
        "b!underflow a!cancelled c(1) 0",
    ),
    (
        "a cancelled get makes no room in a store of none",
        "queue 0 -; get a; get b; cancel a; put 1; put 2; state",
        "a!cancelled b(1) 2!overflow 0",
    ),
    (
        "an item that overflowed is not in the queue later",
        "queue 1 -; put 1; put 2; get a; get b; state; put 3",
        "2!overflow a(1) 0+1 b(3)",
    ),
    (
        "try_get returns a stored item",
        "queue - -; try x; put 1; try y; state",
        "x- y(1) 0",
    ),
    // Waiters that are not polled, which Twisted does not have.
    (
        "a Deferred that is kept and not polled does not hold the lock",
        "lock; want a; state; acquire b; release b; poll a; state",
        "free+1 b a= locked",
    ),
    (
        "a waiter that polls late keeps its position",
        "lock; acquire a; want b; release a; acquire d; acquire e; poll b; use b; release d; release b",
        "a d b? b e",
    ),
    (
        "a waiter that is polled in time is served in its turn",
        "lock; acquire a; want b; acquire c; poll b; cancel c; release a; poll b",
        "a b? c!cancelled b=",
    ),
    (
        "a waiter that gets a callback while it has an offer is served at once",
        "lock; acquire a; want b; release a; use b; state",
        "a b locked",
    ),
    (
        "a waiter that gets a callback while it waits is served inside the release",
        "lock; acquire a; want b; use b; acquire c; release a; release b",
        "a b c",
    ),
    (
        "dropping a waiter removes it from the queue",
        "lock; acquire a; want b; acquire c; drop b; state; release a",
        "a locked+1 c",
    ),
    (
        "cancelling a waiter with an offer passes the offer on",
        "lock; acquire a; want b; release a; cancel b; state; acquire c",
        "a free c",
    ),
    (
        "an item stays in the queue until it is taken",
        "queue - -; want a; put 1; state; drop a; state; get b",
        "1+1 1 b(1)",
    ),
    (
        "an item that was there stays as well",
        "queue - -; put 1; want a; state; drop a; get b",
        "1+1 b(1)",
    ),
    (
        "items go to waiters in the order of their calls",
        "queue - -; want a; want b; put 1; put 2; poll b; use a; state",
        "b=1 a(2) 0",
    ),
    (
        "a waiter that polls too late waits again",
        "queue - -; want a; put 1; try x; poll a; put 2; poll a",
        "x(1) a? a=2",
    ),
];

#[test]
fn locks_behave_as_the_table_says() {
    let mut wrong = Vec::new();
    for (name, script, trace) in TABLE {
        let found = Stage::play(script);
        if found != *trace {
            wrong.push(format!(
                "{name}\n  {script}\n  should: {trace}\n  does:   {found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The type under test.
#[derive(Clone)]
enum Thing {
    Lock(DeferredLock),
    Semaphore(DeferredSemaphore),
    Queue(DeferredQueue<u32>),
}

/// What a waiter gets: a guard, or an item.
enum Got {
    Guard { _held: Box<dyn Any> },
    Item(u32),
}

/// A Deferred without any callback.
enum Wanted {
    Lock(Deferred<LockGuard>),
    Permit(Deferred<SemaphorePermit>),
    Item(Deferred<u32>),
}

impl Wanted {
    /// With a callback.
    fn used(self) -> Deferred<Got> {
        match self {
            Self::Lock(deferred) => deferred.map(guard),
            Self::Permit(deferred) => deferred.map(guard),
            Self::Item(deferred) => deferred.map(Got::Item),
        }
    }

    fn poll(&mut self) -> Poll<Result<Got, Failure>> {
        fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, Failure>> {
            Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
        }
        match self {
            Self::Lock(deferred) => poll(deferred).map_ok(guard),
            Self::Permit(deferred) => poll(deferred).map_ok(guard),
            Self::Item(deferred) => poll(deferred).map_ok(Got::Item),
        }
    }

    fn cancel(&self) {
        match self {
            Self::Lock(deferred) => deferred.cancel(),
            Self::Permit(deferred) => deferred.cancel(),
            Self::Item(deferred) => deferred.cancel(),
        }
    }
}

/// The state of a script.
#[derive(Clone, Default)]
struct Stage(Rc<Inner>);

#[derive(Default)]
struct Inner {
    log: RefCell<Vec<String>>,
    thing: RefCell<Option<Thing>>,
    guards: RefCell<HashMap<String, Got>>,
    wanted: RefCell<HashMap<String, Wanted>>,
    chains: RefCell<HashMap<String, Deferred<()>>>,
    works: RefCell<HashMap<String, Resolver<u32>>>,
}

impl Stage {
    fn play(script: &str) -> String {
        let stage = Self::default();
        for command in script.split(';') {
            let words: Vec<_> = command.split_whitespace().collect();
            stage.run(&words);
        }
        stage.0.log.take().join(" ")
    }

    fn run(&self, words: &[&str]) {
        let limit = |word: &str| word.parse().ok();
        match *words {
            ["lock"] => self.set(Thing::Lock(DeferredLock::default())),
            ["semaphore", n] => match DeferredSemaphore::new(number(n)) {
                Ok(semaphore) => self.set(Thing::Semaphore(semaphore)),
                Err(error) => {
                    assert_eq!(error, LockError::NoPermits);
                    self.log("refused");
                }
            },
            ["queue", size, backlog] => {
                let queue = DeferredQueue::with_limits(limit(size), limit(backlog));
                self.set(Thing::Queue(queue));
            }
            ["acquire" | "get", name, ref n @ ..] => self.keep(name, self.want(n).used()),
            ["through", name, ref n @ ..] => {
                let (stage, label) = (self.clone(), name.to_owned());
                self.chain(
                    name,
                    self.want(n).used().add_callback(move |_| stage.log(label)),
                );
            }
            ["within", name, freed] => {
                let (stage, label, freed) = (self.clone(), name.to_owned(), freed.to_owned());
                let chain = self.want(&[]).used().add_callback(move |guard| {
                    stage.log(&label);
                    drop(guard);
                    drop(stage.0.guards.borrow_mut().remove(&freed));
                    stage.log(format!("{label}."));
                });
                self.chain(name, chain);
            }
            ["with", name, returns] => {
                let (stage, label, returns) = (self.clone(), name.to_owned(), returns.to_owned());
                let used = self.want(&[]).used().add_callback(move |_guard| {
                    stage.log(label);
                    match &*returns {
                        "panic" => resume_unwind(Box::new("oh")),
                        returns => outcome(returns),
                    }
                });
                let (stage, label) = (self.clone(), name.to_owned());
                let used = used.add_callback(move |value| stage.log(format!("{label}={value}")));
                self.chain(name, used);
            }
            ["failing", name] => {
                let (stage, label) = (self.clone(), name.to_owned());
                let chain = self.want(&[]).used().add_callback(move |got| {
                    stage.log(&label);
                    stage.0.guards.borrow_mut().insert(label, got);
                    Err(Failure::new("oh"))
                });
                self.chain(name, chain);
            }
            ["want", name, ref n @ ..] => {
                let wanted = self.want(n);
                self.0.wanted.borrow_mut().insert(name.to_owned(), wanted);
            }
            ["poll", name] => {
                let mut wanted = self.take_wanted(name);
                match wanted.poll() {
                    Poll::Ready(Ok(got)) => {
                        let item = match got {
                            Got::Item(item) => item.to_string(),
                            Got::Guard { .. } => String::new(),
                        };
                        self.log(format!("{name}={item}"));
                        self.0.guards.borrow_mut().insert(name.to_owned(), got);
                    }
                    Poll::Ready(Err(failure)) => self.log_failure(name, &failure),
                    Poll::Pending => {
                        self.log(format!("{name}?"));
                        self.0.wanted.borrow_mut().insert(name.to_owned(), wanted);
                    }
                }
            }
            ["use", name] => self.keep(name, self.take_wanted(name).used()),
            ["drop", name] => drop(self.take_wanted(name)),
            ["release", name] => {
                let guard = self.0.guards.borrow_mut().remove(name);
                match guard {
                    Some(guard) => drop(guard),
                    None => self.log(format!("{name} has it not")),
                }
            }
            ["cancel", name] => {
                let chain = self.0.chains.borrow_mut().remove(name);
                match chain {
                    Some(chain) => chain.cancel(),
                    None => {
                        let wanted = self.take_wanted(name);
                        wanted.cancel();
                        wanted.used().add_both(|result| assert!(result.is_err()));
                    }
                }
            }
            ["run", name, ref returned @ ..] => self.run_held(name, returned.first().copied()),
            ["finish", name, value] => {
                let work = self.0.works.borrow_mut().remove(name).expect("a work");
                work.resolve(outcome(value));
            }
            ["try", name] => {
                let got = match self.thing() {
                    Thing::Lock(lock) => lock.try_acquire().map(guard),
                    Thing::Semaphore(semaphore) => semaphore.try_acquire().map(guard),
                    Thing::Queue(queue) => queue.try_get().map(Got::Item),
                };
                match got {
                    Some(got) => self.got(name, got),
                    None => self.log(format!("{name}-")),
                }
            }
            ["put", value] => {
                let Thing::Queue(queue) = self.thing() else {
                    panic!("not a queue")
                };
                if let Err(full) = queue.put(number(value)) {
                    self.log(format!("{}!overflow", full.0));
                }
            }
            ["log", what] => self.log(what),
            ["state"] => {
                let (state, waiting) = match self.thing() {
                    Thing::Lock(lock) => match lock.is_locked() {
                        true => ("locked".to_owned(), lock.waiting()),
                        false => ("free".to_owned(), lock.waiting()),
                    },
                    Thing::Semaphore(it) => (it.available().to_string(), it.waiting()),
                    Thing::Queue(it) => (it.len().to_string(), it.waiting()),
                };
                match waiting {
                    0 => self.log(state),
                    n => self.log(format!("{state}+{n}")),
                }
            }
            _ => panic!("no command: {words:?}"),
        }
    }

    fn set(&self, thing: Thing) {
        self.0.thing.replace(Some(thing));
    }

    fn thing(&self) -> Thing {
        self.0.thing.borrow().clone().expect("a thing")
    }

    fn want(&self, n: &[&str]) -> Wanted {
        match (self.thing(), n) {
            (Thing::Lock(lock), _) => Wanted::Lock(lock.acquire()),
            (Thing::Semaphore(it), [n]) => Wanted::Permit(it.acquire_many(number(n))),
            (Thing::Semaphore(it), _) => Wanted::Permit(it.acquire()),
            (Thing::Queue(queue), _) => Wanted::Item(queue.get()),
        }
    }

    fn take_wanted(&self, name: &str) -> Wanted {
        let wanted = self.0.wanted.borrow_mut().remove(name);
        wanted.expect("something wanted")
    }

    /// Logs and stores what comes.
    fn keep(&self, name: &str, wanted: Deferred<Got>) {
        let (stage, label) = (self.clone(), name.to_owned());
        self.chain(name, wanted.add_callback(move |got| stage.got(&label, got)));
    }

    fn got(&self, name: &str, got: Got) {
        match got {
            Got::Item(item) => self.log(format!("{name}({item})")),
            Got::Guard { .. } => self.log(name),
        }
        self.0.guards.borrow_mut().insert(name.to_owned(), got);
    }

    fn chain(&self, name: &str, chain: Deferred<()>) {
        let (stage, label) = (self.clone(), name.to_owned());
        let chain = chain.add_errback(move |failure| stage.log_failure(&label, &failure));
        self.0.chains.borrow_mut().insert(name.to_owned(), chain);
    }

    fn run_held(&self, name: &str, returned: Option<&str>) {
        let (stage, label) = (self.clone(), name.to_owned());
        let (work, resolver) = Deferred::pair();
        let (asked, what) = (self.clone(), format!("~{name}"));
        let work = work.on_cancel(move || asked.log(what));
        let resolver = Cell::new(Some(resolver));
        match returned {
            None => self
                .0
                .works
                .borrow_mut()
                .extend(resolver.take().map(|it| (label.clone(), it))),
            Some(value) if value != "panic" => {
                let resolver = resolver.take().expect("it was set");
                resolver.resolve(outcome(value));
            }
            Some(_) => {}
        }
        let panics = returned == Some("panic");
        let held = move || {
            stage.log(&label);
            if panics {
                resume_unwind(Box::new("oh"));
            }
            drop(resolver);
            work
        };
        let run = match self.thing() {
            Thing::Lock(lock) => lock.run(move |()| held()),
            Thing::Semaphore(semaphore) => semaphore.run(held),
            Thing::Queue(_) => panic!("a queue runs nothing"),
        };
        let (stage, label) = (self.clone(), name.to_owned());
        self.chain(
            name,
            run.add_callback(move |value| stage.log(format!("{label}={value}"))),
        );
    }

    fn log(&self, what: impl Into<String>) {
        self.0.log.borrow_mut().push(what.into());
    }

    fn log_failure(&self, name: &str, failure: &Failure) {
        let what = if failure.is::<Cancelled>() {
            "cancelled".to_owned()
        } else if is_error!(failure, LockError::QueueUnderflow { .. }) {
            "underflow".to_owned()
        } else if failure.is_panic() {
            "panic".to_owned()
        } else {
            failure.to_string()
        };
        self.log(format!("{name}!{what}"));
    }
}

fn guard(guard: impl Any) -> Got {
    Got::Guard {
        _held: Box::new(guard),
    }
}

fn number<N: std::str::FromStr<Err: std::fmt::Debug>>(word: &str) -> N {
    word.parse().expect("a number")
}

fn outcome(word: &str) -> Result<u32, Failure> {
    match word.strip_prefix('!') {
        Some(failure) => Err(Failure::new(failure)),
        None => Ok(number(word)),
    }
}
