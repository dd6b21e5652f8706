//! The behaviour of a program that is one function: Twisted's `react`.
//!
//! A script is what the function does, separated by `;`.
//!
//! | command            | does                                                                   |
//! |--------------------|------------------------------------------------------------------------|
//! | `log L`            | logs `L`                                                               |
//! | `running`          | logs `yes` or `no`                                                     |
//! | `trigger L`        | has `L` logged before the shutdown                                     |
//! | `later L`, `hour L` | has `L` logged in the next turn, in an hour                           |
//! | `sleep`, `turn`    | awaits a timer, a turn                                                 |
//! | `spawn L`          | spawns a task that waits for ever, and logs `L` when it is dropped     |
//! | `stop`             | stops the reactor; a refusal is logged as `no`                         |
//! | `forever`          | never ends                                                             |
//! | `fail E`, `panic`  | ends it                                                                |
//! | `code N`           | comes first: the script is run by `run_until`, and has to end with this code |
//!
//! Last comes the code that a `main` that returns this ends with, or `panic`.

use std::cell::RefCell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{ExitCode, Termination};
use std::rc::Rc;
use std::time::Duration;

use torsade::{Clock, Failure, Phase, Reactor, yield_now};

const TABLE: &[(&str, &str, &str)] = &[
    // In Twisted the function is called before the reactor runs.
    (
        "it is called on the reactor that runs, which runs until it is done",
        "running; log a; sleep; log b",
        "yes a b code 0",
    ),
    (
        "when main is done, the reactor stops in good order, and drops everything that is left",
        "trigger t; hour never; spawn x; later l; turn; log end",
        "l end t x code 0",
    ),
    (
        "a failure is printed, and is exit code 1",
        "trigger t; sleep; fail E; log never",
        "t E code 1",
    ),
    (
        "it may choose another code",
        "code 3; trigger t; log end",
        "end t code 3",
    ),
    (
        "a stop ends it before it is done, with code 0",
        "trigger t; stop; forever",
        "t code 0",
    ),
    (
        "it is not stopped twice if it is stopping already",
        "trigger t; stop; stop; running; log end",
        "no no end t code 0",
    ),
    (
        "a failure counts if it is stopping already",
        "trigger t; stop; fail E",
        "t E code 1",
    ),
    (
        "a panic leaves it, after the reactor has stopped in good order",
        "trigger t; panic",
        "t panic",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let log = Log::default();
        let code = catch_unwind(AssertUnwindSafe(|| match script.strip_prefix("code ") {
            Some(rest) => {
                let (code, rest) = rest.split_once("; ").expect("it does something");
                let reactor = Reactor::new().unwrap();
                let inside = reactor.clone();
                let ended = reactor.run_until(async {
                    main(&inside, &log, rest).await.unwrap();
                    ExitCode::from(code.parse::<u8>().expect("a code"))
                });
                ended.unwrap()
            }
            None => {
                let result = torsade::run(async |reactor| main(&reactor, &log, script).await);
                if let Err(failure) = &result {
                    log.say(&failure.to_string());
                }
                result.report()
            }
        }));
        let is_it = |code: Option<&ExitCode>, n: u8| code == Some(&ExitCode::from(n));
        let known = (0..4).find(|n| is_it(code.as_ref().ok(), *n));
        log.say(&known.map_or_else(|| "panic".into(), |n| format!("code {n}")));
        log.0.take()
    });
}

async fn main(reactor: &Reactor, log: &Log, script: &str) -> Result<(), Failure> {
    for command in script.split("; ") {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (to, what) = (log.clone(), rest.to_owned());
        match verb {
            "log" => log.say(rest),
            "running" => log.say(if reactor.is_running() { "yes" } else { "no" }),
            "trigger" => {
                let trigger = move || to.say(&what);
                reactor.add_system_event_trigger(Phase::Before, "shutdown", trigger);
            }
            "later" => {
                reactor.call_later(Duration::ZERO, move || to.say(&what));
            }
            "hour" => {
                reactor.call_later(Duration::from_secs(3600), move || to.say(&what));
            }
            "sleep" => reactor.sleep(Duration::from_millis(1)).await?,
            "turn" => yield_now().await,
            "spawn" => {
                let held = Held(to, what);
                let waits = async move {
                    let _held = held;
                    pending::<()>().await;
                };
                reactor.spawn(waits).detach();
            }
            "stop" => {
                if reactor.stop().is_err() {
                    log.say("no");
                }
            }
            "forever" => pending().await,
            "fail" => return Err(Failure::new(rest)),
            "panic" => resume_unwind(Box::new("oh")),
            _ => panic!("no such command: {command}"),
        }
    }
    Ok(())
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, what: &str) {
        self.0.borrow_mut().push(what.into());
    }
}

/// Logs when it is dropped.
struct Held(Log, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.say(&self.1);
    }
}
