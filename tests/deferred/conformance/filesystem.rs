//! The behaviour of the lock between processes.
//!
//! A script is a list of commands, separated by `;`. Each name is a separate handle for one and
//! the same lock.
//!
//! | command                | does                                                                               |
//! |------------------------|------------------------------------------------------------------------------------|
//! | `lock a`, `unlock a`   | tries, now: logs `a` or `a-`; an error is logged                                   |
//! | `wait a [S]`           | `defer_until_locked`, with a limit of S seconds or none: logs `a`, keeps the guard |
//! | `also a`               | the same at the same time, as `a2`                                                 |
//! | `release a`            | drops the guard                                                                    |
//! | `cancel a`             | cancels what waits                                                                 |
//! | `go S`, `stop clock`   | lets so many seconds pass; drops the clock                                         |
//! | `dead`, `alive`        | another process has it, which is dead, or alive                                    |
//! | `junk`                 | there is something else instead                                                    |
//! | `clean a`              | logs `clean` or `unclean`: how a found it                                          |
//! | `held`, `timers`       | logs `held` or `free`; the number of timers                                        |
//! | `log L`                | logs `L`                                                                           |
//!
//! A failure of `a` is logged as `a!Cancelled` and the like.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use torsade::clock::TimedOut;
use torsade::defer::DeferredError;
use torsade::locks::{DeferredFilesystemLock, FilesystemLockGuard, LockError};
use torsade::{Cancelled, Clock, Deferred, Failure, VirtualClock};

use support::folder::Folder;

const TABLE: &[(&str, &str, &str)] = &[
    // Locking at once.
    (
        "a held lock excludes all others",
        "held; lock a; held; lock b; lock a; unlock a; held; lock b",
        "free a held b- a- free b",
    ),
    (
        "only the holder can unlock it",
        "unlock a; alive; lock a; unlock a; held",
        "a!NotFound a- a!NotOurLock held",
    ),
    (
        "the lock of a dead process is taken over",
        "dead; held; lock a; held; clean a; unlock a; lock a; clean a",
        "free a held unclean a clean",
    ),
    (
        "a file that is not a lock is an error and is left alone",
        "junk; lock a; unlock a; wait a; lock a",
        "a!NotALock a!NotALock a!NotALock a!NotALock",
    ),
    // Waiting.
    (
        "a free lock is acquired at once, without a timer",
        "wait a 5; log then; timers; held; release a; held",
        "a then 0 held free",
    ),
    (
        "a held lock is tried every second",
        "lock a; wait b; timers; go 1; go 1; unlock a; go 0.75; held; timers; go 0.25; timers; held",
        "a 1 free 1 b 0 held",
    ),
    (
        "it is tried for as long as it takes",
        "lock a; wait b; go 3600; timers; unlock a; go 1",
        "a 1 b",
    ),
    (
        "a lock of another process is waited for as well",
        "alive; wait a 3; go 2; timers; go 1; timers",
        "2 a!TimedOut(3) 0",
    ),
    (
        "the lock of a dead process is acquired at once",
        "dead; wait a 5; timers; clean a",
        "a 0 unclean",
    ),
    (
        "a lock whose holder dies during the wait is acquired at the next try",
        "alive; wait a; go 1; log then; dead; go 1; clean a",
        "then a unclean",
    ),
    (
        "a lock that was waited for can be unlocked",
        "lock a; wait b; unlock a; go 1; unlock b; held",
        "a b free",
    ),
    (
        "two waiters get it one after the other",
        "lock a; wait b; wait c; unlock a; go 1; log then; release b; go 1",
        "a b then c",
    ),
    // Limits.
    (
        "the limit counts from the first try, which failed",
        "lock a; go 7; wait b 5; timers; go 4.5; log then; go 0.5; timers; go 9",
        "a 2 then b!TimedOut(5) 0",
    ),
    (
        "when the limit is over it is tried once more",
        "lock a; wait b 1.5; go 1; unlock a; go 0.25; log then; go 0.25; timers",
        "a then b 0",
    ),
    (
        "a limit that does not come changes nothing",
        "lock a; wait b 5; unlock a; go 1; timers; go 9; held",
        "a b 0 held",
    ),
    (
        "with a limit of zero there is one more try",
        "lock a; wait b 0; log then; go 0; timers",
        "a then b!TimedOut(0) 0",
    ),
    // Two at a time.
    (
        "a second wait of the same handle is refused, and does not affect the first",
        "lock a; wait b 9; also b; timers; unlock a; go 1",
        "a b2!AlreadyTryingToLock 2 b",
    ),
    (
        "it can be waited for again when the first has its end",
        "lock a; wait b 1; go 1; wait b; cancel b; wait b; unlock a; go 1; release b; wait b",
        "a b!TimedOut(1) b!Cancelled b b",
    ),
    // Cancelling.
    (
        "cancelling removes the timers",
        "lock a; wait b 5; timers; cancel b; log then; timers; unlock a; go 9; held",
        "a 2 b!Cancelled then 0 free",
    ),
    // In Twisted the lock is tried once more, and may be taken all the same.
    (
        "cancelling does not try again",
        "lock a; wait b 5; unlock a; cancel b; held",
        "a b!Cancelled free",
    ),
    (
        "cancelling a Deferred that has the lock does nothing",
        "wait a; cancel a; held; release a; held",
        "a held free",
    ),
    // Errors meanwhile.
    (
        "an error during the wait fails the Deferred",
        "lock a; wait b 9; junk; go 1; timers",
        "a b!NotALock 0",
    ),
    (
        "an error at the last try fails the Deferred",
        "lock a; wait b 0.5; junk; go 1; timers",
        "a b!NotALock 0",
    ),
    (
        "when the clock stops, the Deferred fails",
        "lock a; wait b 5; stop clock",
        "a b!Abandoned",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let world = Rc::new(World::new());
        for command in script.split(';') {
            let words: Vec<_> = command.split_whitespace().collect();
            world.run(&words);
        }
        world.clear()
    });
}

/// The state of a script. Nothing is borrowed while a lock is being used.
struct World {
    folder: Folder,
    clock: RefCell<Option<VirtualClock>>,
    locks: RefCell<HashMap<String, DeferredFilesystemLock>>,
    guards: RefCell<HashMap<String, FilesystemLockGuard>>,
    waiting: RefCell<HashMap<String, Deferred<()>>>,
    log: RefCell<Vec<String>>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: Folder::create(),
            clock: RefCell::new(Some(VirtualClock::new())),
            locks: RefCell::default(),
            guards: RefCell::default(),
            waiting: RefCell::default(),
            log: RefCell::default(),
        }
    }

    fn run(self: &Rc<Self>, words: &[&str]) {
        match *words {
            ["lock", name] => match self.lock(name).lock() {
                Ok(true) => self.say(name),
                Ok(false) => self.say(format!("{name}-")),
                Err(error) => self.say(format!("{name}!{}", show_io(&error))),
            },
            ["unlock", name] => {
                let unlocked = self.lock(name).unlock();
                // There is nothing left for its guard to do.
                let guard = self.guards.borrow_mut().remove(name);
                let _ = guard.map(FilesystemLockGuard::release);
                if let Err(error) = unlocked {
                    self.say(format!("{name}!{}", show_io(&error)));
                }
            }
            ["wait", name] => self.wait(name, name, None),
            ["wait", name, limit] => self.wait(name, name, Some(seconds(limit))),
            ["also", name] => self.wait(name, &format!("{name}2"), None),
            ["release", name] => {
                let guard = self.guards.borrow_mut().remove(name);
                drop(guard.expect("it has it"));
            }
            ["cancel", name] => {
                let waiting = self.waiting.borrow_mut().remove(name);
                waiting.expect("it waits").cancel();
            }
            ["go", step] => self.clock().advance(seconds(step)),
            ["stop", "clock"] => drop(self.clock.take()),
            ["dead"] => self.put(|path| {
                let mut child = Command::new("true").spawn()?;
                child.wait()?;
                symlink(child.id().to_string(), path)
            }),
            ["alive"] => self.put(|path| symlink("1", path)),
            ["junk"] => self.put(|path| fs::write(path, "")),
            ["clean", name] => self.say(match self.lock(name).was_clean() {
                true => "clean",
                false => "unclean",
            }),
            ["held"] => {
                let is_held = DeferredFilesystemLock::is_locked(self.path()).unwrap();
                self.say(if is_held { "held" } else { "free" });
            }
            ["timers"] => self.say(self.clock().delayed_calls().len().to_string()),
            ["log", what] => self.say(what),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn wait(self: &Rc<Self>, name: &str, label: &str, limit: Option<Duration>) {
        let (world, key) = (self.clone(), label.to_owned());
        let waits = self.lock(name).defer_until_locked(limit);
        let waits = waits.add_both(move |result| match result {
            Ok(guard) => {
                world.say(&*key);
                world.guards.borrow_mut().insert(key, guard);
            }
            Err(failure) => world.say(format!("{key}!{}", show(&failure))),
        });
        let old = self.waiting.borrow_mut().insert(label.into(), waits);
        drop(old);
    }

    /// Puts something else at the lock's path.
    fn put(&self, make: impl FnOnce(&PathBuf) -> io::Result<()>) {
        let path = self.path();
        let _ = fs::remove_file(&path);
        make(&path).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path("lock")
    }

    fn lock(&self, name: &str) -> DeferredFilesystemLock {
        let made = self.locks.borrow().get(name).cloned();
        made.unwrap_or_else(|| {
            let lock = DeferredFilesystemLock::new(self.path(), &self.clock());
            self.locks.borrow_mut().insert(name.into(), lock.clone());
            lock
        })
    }

    fn clock(&self) -> VirtualClock {
        self.clock.borrow().clone().expect("it has not stopped")
    }

    fn say(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }

    /// Ends a row; returns its log.
    fn clear(&self) -> Vec<String> {
        let log = self.log.take();
        // Not under test: a guard whose lock has been removed would report that.
        for (_, guard) in self.guards.take() {
            let _ = guard.release();
        }
        self.waiting.take();
        self.clock.take();
        log
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number"))
}

fn show(failure: &Failure) -> String {
    if let Some(error) = failure.downcast_ref::<io::Error>() {
        return show_io(error);
    }
    if let Some(TimedOut(limit)) = failure.downcast_ref() {
        return format!("TimedOut({})", limit.as_secs_f64());
    }
    let names = [
        ("Abandoned", is_error!(failure, DeferredError::Abandoned)),
        (
            "AlreadyTryingToLock",
            is_error!(failure, LockError::AlreadyWaiting),
        ),
        ("Cancelled", failure.is::<Cancelled>()),
    ];
    let named = names.iter().find(|(_, is)| *is);
    named.map_or_else(|| failure.to_string(), |(name, _)| (*name).into())
}

fn show_io(error: &io::Error) -> String {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| is_error!(inner, LockError::NotALock { .. })) {
        "NotALock".into()
    } else if inner.is_some_and(|inner| is_error!(inner, LockError::NotHeld { .. })) {
        "NotOurLock".into()
    } else if error.kind() == ErrorKind::NotFound {
        "NotFound".into()
    } else {
        error.to_string()
    }
}
